"""A sung line becomes notes on the page, from a real microphone of the browser's and from a file: those of
`descant hum`."""

from __future__ import annotations

import base64
import io
import subprocess
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, Playwright, expect

from models.midi_file import read_midi
from models.score import Note
from models.synth.sound import SAMPLE_RATE, Floats, hertz
from tests.page.conftest import ARGUMENTS, CHROMIUM, Held, Opener, opened, settle
from tests.page.test_page import state
from tests.served import Served, command, environment, wait_for

TUNE = [60, 64, 67, 72]
ROUNDS = 3.5  # of the tune that are recorded: on a busy computer some of its sound does not come through

DROP = """([name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""

# Keeps the sound that the page sends, and gives it away.
KEEP = """() => {
  const send = window.fetch;
  window.fetch = (url, options) => {
    if (url.startsWith("/audio/hum")) window.sent = options.body;
    return send(url, options);
  };
}"""
KEPT = """async () => {
  const bytes = new Uint8Array(await window.sent.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}"""


def tune() -> Floats:
    """Half a second each, with a pause after it and a longer one in the end."""
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    fade = np.clip(np.minimum(time, 0.5 - time) / 0.02, 0, 1)
    parts = []
    for pitch in TUNE:
        parts += [0.2 * fade * sum(np.sin(2 * np.pi * k * float(hertz(pitch)) * time) / k for k in (1, 2, 3))]
        parts += [np.zeros(SAMPLE_RATE // 5)]
    return np.concatenate([*parts, np.zeros(SAMPLE_RATE // 2)]).astype(np.float32)


@pytest.fixture(scope="module")
def sung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sung") / "Tune.wav"
    soundfile.write(path, tune(), SAMPLE_RATE)
    return path


def drop(page: Page, name: str, content: bytes, kind: str = "audio/wav") -> None:
    page.evaluate(DROP, [name, kind, base64.b64encode(content).decode()])


def by_command(server: Served, path: Path) -> list[Note]:
    """The notes of `descant hum` on the grid."""
    line = [*command("hum"), str(path), "-o", "out.mid", "--force"]
    environs = environment(server.folder, server.weights)
    subprocess.run(line, cwd=path.parent, env=environs, check=True, capture_output=True)
    return list(read_midi(path.parent / "out-quantised.mid").score.tracks[0].notes)


def on_the_stage(server: Served, page: Page) -> list[Note]:
    with server.client() as client:
        return list(read_midi(client.score_midi(state(page)["score"])).score.tracks[0].notes)


def test_a_sound_file_that_is_dropped_becomes_its_notes(open_page: Opener, server: Served, sung: Path) -> None:
    page = open_page()
    drop(page, "Tune.wav", sung.read_bytes())
    expect(page.locator(".piece strong")).to_have_text("Tune")
    notes = on_the_stage(server, page)
    assert [note.pitch for note in notes] == TUNE
    assert notes == by_command(server, sung)


def test_a_file_that_only_the_browser_can_read_is_sent_as_plain_sound(
    open_page: Opener, server: Served, sung: Path
) -> None:
    page = open_page()
    # The page goes by the name; what is in the file, the browser finds out by itself.
    page.set_input_files("#file", {"name": "Tune.m4a", "mimeType": "audio/mp4", "buffer": sung.read_bytes()})
    expect(page.locator(".piece strong")).to_have_text("Tune.m4a")
    assert [note.pitch for note in on_the_stage(server, page)] == TUNE


def test_sound_without_a_note_is_one_sentence_and_the_piece_stays(open_page: Opener, sung: Path) -> None:
    page = open_page()
    before = state(page)
    drop(page, "Letter.wav", b"To be, or not to be")
    expect(page.locator(".notice.bad")).to_contain_text("Letter.wav is no sound file that can be read")
    page.get_by_role("button", name="Close").click()
    drop(page, "Letter.m4a", b"To be, or not to be", "audio/mp4")
    expect(page.locator(".notice.bad")).to_contain_text("no sound that the browser can read")
    assert state(page) == before


def test_listening_can_be_stopped(open_page: Opener, sung: Path) -> None:
    page = open_page()
    before = state(page)
    hum = Held("POST", "/audio/hum")
    hum.begin(page.context)
    drop(page, "Tune.wav", sung.read_bytes())
    expect(page.get_by_role("progressbar", name="Listening for notes…")).to_be_visible()
    page.locator(".notice.coming").get_by_role("button", name="Stop").click()
    expect(page.locator(".notice")).to_have_count(0)
    settle(page)
    assert state(page) == before


def test_what_is_hummed_into_the_microphone_becomes_notes(
    playwright: Playwright, server: Served, sung: Path, tmp_path: Path
) -> None:
    microphone = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={sung}"]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *microphone])
    with opened(browser, server, permissions=["microphone"]) as page:
        page.evaluate(KEEP)
        page.locator("nav").get_by_role("button", name="Record").click()
        dialog = page.get_by_role("dialog", name="Record")
        dialog.get_by_role("button", name="Hum").click()
        expect(dialog.locator(".light.on")).to_contain_text("one line")
        long = ROUNDS * len(tune()) / SAMPLE_RATE
        wait_for(lambda: page.evaluate("() => descant.state.recorder.recorder.seconds") > long)
        dialog.get_by_role("button", name="Stop and use it").click()
        expect(page.locator(".piece strong")).to_have_text("Sung")
        expect(page.get_by_role("dialog")).to_have_count(0)
        notes = on_the_stage(server, page)
        sent = base64.b64decode(page.evaluate(KEPT))

        # Whoever closes the screen is not recorded any further.
        page.locator("nav").get_by_role("button", name="Record").click()
        dialog.get_by_role("button", name="Hum").click()
        expect(dialog.locator(".light.on")).to_contain_text("one line")
        page.keyboard.press("Escape")
        wait_for(lambda: page.evaluate("() => descant.state.recorder === null"))
    browser.close()

    samples, rate = soundfile.read(io.BytesIO(sent))
    assert samples.ndim == 1 and len(samples) / rate > long
    (tmp_path / "sent.wav").write_bytes(sent)
    assert notes == by_command(server, tmp_path / "sent.wav")
    heard = [pitch for pitch, _ in groupby(note.pitch for note in notes)]
    assert any(heard[at : at + 4] == TUNE for at in range(len(heard)))
