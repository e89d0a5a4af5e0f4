"""The screen of ports, on a real MIDI server: notes come and go, candidates play in the DAW, and silence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from scripts.midi_rig import Keyboard, Listener, jack_server
from tests.page.conftest import opened
from tests.page.test_page import propose
from tests.page.test_page_access import findings
from tests.served import Served, command, environment, wait_for


class WithPorts(Served):
    """A server that opens its virtual ports."""

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*command("serve"), "--no-browser", "--port", str(self.port)],
            env=environment(self.folder, self.weights),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(self._answers)


@pytest.fixture(scope="module")
def with_ports(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Served]:
    with jack_server(f"descant-page-{os.getpid()}", tmp_path_factory.mktemp("jack")):
        server = WithPorts(tmp_path_factory.mktemp("home"), weights)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()


@pytest.fixture
def page(chromium: Browser, with_ports: Served, data_dir: Path) -> Iterator[Page]:
    with opened(chromium, with_ports, bypass_csp=True) as page:
        page.locator("nav").get_by_role("button", name="Open").wait_for()
        page.set_input_files("#file", data_dir / "piano-minuet.mid")
        page.locator(".piece strong", has_text="piano-minuet").wait_for()
        page.locator(".go button.main:enabled").wait_for()
        yield page


@pytest.fixture
def listener(with_ports: Served) -> Iterator[Listener]:
    made = Listener()
    made.connect()
    yield made
    made.close()


@pytest.fixture
def keyboard(with_ports: Served) -> Iterator[Keyboard]:
    made = Keyboard()
    made.connect()
    yield made
    made.close()


def test_a_note_goes_out_and_a_note_comes_in(page: Page, listener: Listener, keyboard: Keyboard) -> None:
    page.keyboard.press("c")
    dialog = page.get_by_role("dialog", name="Ports")
    expect(dialog.get_by_role("region", name="Into Descant")).to_contain_text("Descant In")
    expect(dialog.get_by_role("region", name="Clock")).to_contain_text("Descant keeps its own time")
    dialog.get_by_role("button", name="Send a test note").click()
    expect(dialog.locator(".notice")).to_contain_text("A middle C went out")
    wait_for(lambda: [heard.data[1] for heard in listener.notes()] == [60])
    wait_for(lambda: not listener.sounding)

    keyboard.send(0x90, 67, 90)
    expect(dialog.locator(".light")).to_have_text("G4, channel 1")
    keyboard.send(0x80, 67, 64)
    expect(dialog.locator(".light")).to_have_text("Play a note there to see it here")
    assert findings(page) == []

    dialog.locator('input[name="live.meter"]').fill("7/8")
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("region", name="Clock")).to_contain_text("7/8")
    dialog.locator('input[name="live.meter"]').fill("4/5")
    page.keyboard.press("Tab")
    expect(dialog.locator(".notice.bad")).to_contain_text("There is no meter 4/5")
    dialog.locator('input[name="live.meter"]').fill("4/4")
    page.keyboard.press("Tab")
    dialog.get_by_role("button", name="Take what was played").click()
    expect(page.locator(".piece strong")).to_have_text("Played")


def test_a_candidate_is_heard_in_the_daw(page: Page, listener: Listener) -> None:
    propose(page, 1, continue__bars="2")
    page.get_by_label("Heard through").select_option("daw")
    page.locator("h1").click()
    page.keyboard.press("1")
    wait_for(lambda: len(listener.notes()) > 2)
    wait_for(lambda: page.evaluate("() => descant.stage.playhead > 0"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Hear candidate 1")).to_be_visible()
    wait_for(lambda: not listener.sounding)
    page.keyboard.press("c")
    page.get_by_role("button", name="Silence all").click()
    wait_for(lambda: {0xB0 | channel for channel in range(16)} <= {heard.data[0] for heard in listener.heard})
