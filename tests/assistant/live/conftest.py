"""A JACK server for the tests of this folder, and Descant live on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.live.live import Live
from assistant.live.live_settings import LiveSettings
from scripts.midi_rig import Jack, Keyboard, Listener, jack_server

StartLive = Callable[..., Live]


@pytest.fixture(scope="session")
def jack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jack]:
    """A MIDI server of the tests' own, which every program started from here uses."""
    with jack_server(f"descant-test-{os.getpid()}", tmp_path_factory.mktemp("jack")) as server:
        yield server


@pytest.fixture
def start_live(jack: Jack, tmp_path: Path) -> Iterator[StartLive]:
    """Start Descant live with settings and a way to propose; it is closed after the test."""
    started: list[Live] = []

    def start(propose: Any = None, warm: Any = None, **settings: Any) -> Live:
        live = Live(LiveSettings(api="jack", **settings), propose, tmp_path, warm)
        live.start()
        started.append(live)
        return live

    yield start
    for live in started:
        live.close()


@pytest.fixture
def listener(jack: Jack) -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.fixture
def keyboard(jack: Jack) -> Iterator[Keyboard]:
    made = Keyboard()
    yield made
    made.close()
