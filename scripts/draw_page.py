"""Draws the pictures of docs/page.md: the page in Chromium, with the weights that ship and a MIDI server.

.venv/bin/python scripts/draw_page.py [--out docs]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Route

from assistant.client import Client
from measure_page import ROOT, WAIT, served
from midi_rig import jack_server

PIECES = sorted([*(ROOT / "tests" / "data").glob("*.mid"), *(ROOT / "assistant" / "demo").glob("*.mid")])
WINDOW = {"width": 1280, "height": 860}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
SEED = 1  # the same candidates every time
MINUTES = "2"  # for a style
LEARNED = 0.2  # of a style, in its picture
PATIENCE = 600_000  # milliseconds for a style
HUMMED = 4.0  # seconds
RATE = 48_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the pictures (default: docs)")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name, jack_server("descant-draw", Path(name)):
        tune = Path(name) / "tune.wav"
        soundfile.write(tune, hummed(), RATE)
        microphone = [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={tune}",
        ]
        with served("--no-sandbox", "--disable-gpu", *microphone) as (browser, client, _):
            _draw(browser, client, out)
    return 0


def _draw(browser: Browser, client: Client, out: Path) -> None:
    def take(page: Page, name: str) -> None:
        page.mouse.move(0, 0)
        page.wait_for_timeout(400)  # until what was asked for last is painted
        page.screenshot(path=out / f"page-{name}.png")
        print(out / f"page-{name}.png", flush=True)

    page = _opened(browser, client, viewport=WINDOW)
    page.get_by_role("button", name="Aloha Oe").wait_for()
    page.locator(".describe button.main:enabled").wait_for()
    take(page, "welcome")

    page.get_by_role("button", name="Aloha Oe").click()
    _propose(page)
    page.get_by_role("button", name="Hear candidate 1").click()
    page.wait_for_function("() => descant.stage.playhead > descant.state.music.barStart(20)")
    take(page, "candidates")
    page.keyboard.press("Escape")

    page.keyboard.press("d")
    page.locator("dialog .ways").wait_for()
    take(page, "take")
    page.keyboard.press("Escape")

    page.keyboard.press("b")
    page.get_by_role("button", name="Hear A").click()
    page.wait_for_function("() => descant.state.playing && !descant.state.waiting")
    take(page, "blind")
    page.keyboard.press("b")

    page.keyboard.press("r")
    page.get_by_role("button", name="Hum").click()
    page.wait_for_function(f"() => descant.state.recorder?.recorder.seconds > {HUMMED}")
    take(page, "record")
    page.keyboard.press("Escape")

    page.keyboard.press("c")
    page.get_by_role("button", name="Send a test note").click()
    take(page, "ports")
    page.keyboard.press("Escape")

    page.keyboard.press("s")
    page.locator('input[name="style.name"]').fill("evenings")
    page.locator('input[name="style.minutes"]').fill(MINUTES)
    page.set_input_files("#style-files", PIECES)
    page.get_by_role("button", name="Make it").click()
    learning = f"() => descant.state.trainings.some((one) => one.state === 'training' && one.share > {LEARNED})"
    page.wait_for_function(learning, timeout=PATIENCE)
    take(page, "styles")
    page.context.close()

    page = _opened(browser, client, viewport=WINDOW, color_scheme="dark")
    page.set_input_files("#file", ROOT / "tests" / "data" / "string-quartet.mid")
    page.get_by_text("Fill", exact=True).click()
    page.locator('input[name="fill.bars"]').fill("5-8")
    page.locator('input[name="fill.tracks"]').fill("1, 2")
    page.locator('input[name="key"]').fill("Bb major")
    _propose(page)
    page.get_by_role("button", name="Hear candidate 1").click()
    page.wait_for_function("() => descant.stage.playhead > descant.state.music.barStart(5)")
    take(page, "fill-dark")
    page.context.close()

    page = _opened(browser, client, **PHONE)
    page.locator(".piece strong", has_text="string-quartet").wait_for()
    page.get_by_role("button", name="Hear candidate 1").click()
    page.wait_for_function("() => descant.stage.playhead > descant.state.music.barStart(5)")
    take(page, "phone")
    page.context.close()


def _opened(browser: Browser, client: Client, **options: Any) -> Page:
    page = browser.new_context(reduced_motion="reduce", permissions=["microphone"], **options).new_page()
    page.set_default_timeout(WAIT * 1000)
    page.route("**/proposals", _with_seed)
    page.goto(client.make_link())
    page.locator("nav").get_by_role("button", name="Open").wait_for()
    return page


def _with_seed(route: Route) -> None:
    if route.request.method == "POST":
        asked: dict[str, Any] = route.request.post_data_json or {}
        route.continue_(post_data=asked | {"seed": SEED})
    else:
        route.continue_()


def _propose(page: Page) -> None:
    page.locator(".go button.main:enabled").click()
    page.locator(".card .accept:enabled").nth(3).wait_for()


def hummed() -> NDArray[np.float64]:
    """A rising triad, half a second each."""
    time = np.arange(RATE // 2) / RATE
    fade = np.clip(np.minimum(time, 0.5 - time) / 0.02, 0, 1)
    return np.concatenate([0.4 * fade * np.sin(2 * np.pi * hertz * time) for hertz in (261.6, 329.6, 392.0)])


if __name__ == "__main__":
    sys.exit(main())
