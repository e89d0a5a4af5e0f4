"""What every test shares: the example files, and two rules for CI, whose runs are whole and repeatable."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI") == "true"

# Deadlines fail on a busy machine, not on a wrong answer; in CI the same examples are tried every time.
settings.register_profile("descant", deadline=None, derandomize=IN_CI)
settings.load_profile("descant")


# A run that was started in the background is deaf to Ctrl-C, and so would be the programs that tests stop with it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """JACK's dummy driver loses time on a busy machine: what is recorded in its time may be tried three times.

    In CI so may whatever hangs on the time of a browser, a MIDI server or a DAW; pytest counts what was.
    """
    timed = ("tests/page/", "tests/assistant/live/", "tests/integrations/")
    for item in items:
        if item.nodeid.startswith(timed if IN_CI else "tests/assistant/live/test_ardour.py"):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of small public-domain pieces; its LICENCES.md says what each is."""
    return Path(__file__).parent / "data"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_left_out((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_left_out((yield))


def _failed_if_left_out(report: Any) -> Any:
    """In CI a test that was left out is a failure, whatever the reason: something it needs is missing."""
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"left out, which CI does not allow: {report.longrepr}"
    return report
