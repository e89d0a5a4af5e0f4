"""Measures the page in Chromium: script a frame while a large piece scrolls, and memory over many proposals.

    .venv/bin/python scripts/measure_page.py frames
    .venv/bin/python scripts/measure_page.py memory --proposals 200

It starts a server of its own, with a folder of its own; DESCANT_WEIGHTS names other weights than those that ship.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from assistant.client import Client, connect
from assistant.settings import HOME_VARIABLE
from models.errors import UserError
from models.midi_file import write_midi
from models.score import Note, Score, Track

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
TRACKS, BARS, NOTES = 10, 250, 20_000
SCROLLING = 300  # steps from one end to the other
WAIT = 120.0  # seconds for the server
SCREENS = "drsch"  # keys of the dialogs
LOOKS = (10, 50, 100)  # proposals after which memory is looked at, and after the last

_STEP = """async (share) => {
  const { scroller } = descant.stage;
  scroller.scrollLeft = (scroller.scrollWidth - scroller.clientWidth) * share;
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
}"""

_DONE = "(known) => descant.state.proposal?.id > known && descant.state.proposal.state === 'done'"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("frames", "memory"))
    parser.add_argument("--proposals", type=int, default=200, help="how many are asked for (default: 200)")
    arguments = parser.parse_args()
    with _page() as (page, folder):
        if arguments.what == "frames":
            _frames(page, folder)
        else:
            _memory(page, folder, arguments.proposals)
    return 0


def _frames(page: Page, folder: Path) -> None:
    """Scroll from one end to the other, at the zoom the page opens with and with everything far smaller. What is
    counted is processor time, so that a busy machine does not change it."""
    _open(page, folder, large_score())
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    for zoom, times in (("as it opens", 0), ("far out", 8)):
        for _ in range(times):
            page.get_by_role("button", name="Zoom out").click()
        page.wait_for_timeout(500)
        took = []
        before = _script(devtools)
        for step in range(SCROLLING):
            page.evaluate(_STEP, step / SCROLLING)
            after = _script(devtools)
            took.append(after - before)
            before = after
        took.sort()
        p50, p99 = (took[int(len(took) * share)] for share in (0.5, 0.99))
        print(
            f"{NOTES:,} notes, zoom {zoom}: {SCROLLING} steps, script a frame "
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {took[-1]:.1f} ms"
        )


def _script(devtools: CDPSession) -> float:
    """Milliseconds of processor time that script has taken so far."""
    metrics = {item["name"]: item["value"] for item in devtools.send("Performance.getMetrics")["metrics"]}
    return float(metrics["ScriptDuration"]) * 1000


def _memory(page: Page, folder: Path, proposals: int) -> None:
    """Ask, hear, open every screen and reject, again and again; what stays in memory after garbage collection."""
    _open(page, folder, large_score(bars=8, notes=200))
    devtools = page.context.new_cdp_session(page)
    page.locator('input[name="continue.bars"]').fill("1")
    page.locator("button.more").click()
    page.locator('input[name="candidates"]').fill("2")
    known, first = 0, 0.0
    for number in range(1, proposals + 1):
        page.locator("button.main").click()
        page.wait_for_function(_DONE, arg=known)  # what is painted may still be the proposal before
        known = page.evaluate("() => descant.state.proposal.id")
        page.keyboard.press("1")
        page.wait_for_function("() => descant.stage.playhead > 0")
        page.keyboard.press("x")
        page.locator(".card.reject").wait_for()
        for key in SCREENS if number % 10 == 0 else "":
            page.keyboard.press(key)
            page.locator("dialog[open]").wait_for()
            page.keyboard.press("Escape")
        if number in (*LOOKS, proposals):
            size = _megabytes(devtools)
            first = first or size
            print(f"after {number} proposals: {size:.1f} MB, grown by {size - first:.1f} MB", flush=True)


def _megabytes(devtools: CDPSession) -> float:
    """What script keeps after garbage collection: objects, what the browser holds for them, and raw samples."""
    devtools.send("HeapProfiler.collectGarbage")
    usage = devtools.send("Runtime.getHeapUsage")
    kinds = ("usedSize", "embedderHeapUsedSize", "backingStorageSize")
    return float(sum(usage.get(kind, 0.0) for kind in kinds)) / 1e6


def large_score(bars: int = BARS, notes: int = NOTES) -> Score:
    """Random notes, evenly spread over ten tracks."""
    chance = random.Random(1)
    tracks = []
    for index in range(TRACKS):
        starts = sorted(chance.randrange(bars * 16) * 120 for _ in range(notes // TRACKS))
        own = {(start, chance.randint(36, 84)) for start in starts}
        while len(own) < notes // TRACKS:
            own.add((chance.randrange(bars * 16) * 120, chance.randint(36, 84)))
        written = tuple(Note(start, pitch, 110, chance.randint(30, 120)) for start, pitch in sorted(own))
        tracks.append(Track(f"Part {index + 1}", 8 * index, False, index if index < 9 else index + 1, written))
    return Score(ticks_per_quarter=480, tracks=tuple(tracks), length=bars * 1920)


def _open(page: Page, folder: Path, score: Score) -> None:
    path = folder / "measured.mid"
    path.write_bytes(write_midi(score))
    page.set_input_files("#file", path)
    page.locator(".piece strong", has_text="measured").wait_for()
    page.locator(".go button.main:enabled").wait_for()


@contextmanager
def _page() -> Iterator[tuple[Page, Path]]:
    with served(*ARGUMENTS) as (browser, client, folder):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(WAIT * 1000)
        page.goto(client.make_link())
        page.locator("nav").get_by_role("button", name="Open").wait_for()
        yield page, folder


@contextmanager
def served(*arguments: str) -> Iterator[tuple[Browser, Client, Path]]:
    """Chromium with such arguments, a client of a fresh server, and the folder that the server has to itself."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        os.environ[HOME_VARIABLE] = name
        line = [sys.executable, "-c", "import sys; from assistant.cli import main; sys.exit(main())"]
        path = {"PYTHONPATH": str(ROOT)}
        server = subprocess.Popen([*line, "serve", "--no-browser", "--port", "8790"], env=os.environ | path)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            with _connected() as client:
                yield browser, client, Path(name)
        finally:
            browser.close()
            server.terminate()
            server.wait()


def _connected() -> Client:
    end = time.monotonic() + WAIT
    while True:
        try:
            return connect()
        except (UserError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
