"""Taking it away as sound, into a folder and into the file manager; and bringing it in by playing."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect

from models.midi_file import read_midi
from tests.page.conftest import Opener, opened
from tests.page.test_page import propose, state
from tests.served import Served, served, wait_for


@pytest.fixture
def with_file_manager(tmp_path: Path, weights: Path) -> Iterator[tuple[Served, Path]]:
    """A server on a computer whose file manager writes down what it is to show."""
    shown = tmp_path / "shown"
    program = tmp_path / "bin" / "xdg-open"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$1" > {shown}\n')
    program.chmod(0o755)
    (tmp_path / "home").mkdir()
    with served(tmp_path / "home", weights, PATH=f"{program.parent}:{os.environ['PATH']}") as server:
        server.wait_until_ready()
        yield server, shown


def open_piece(page: Page, path: Path) -> None:
    page.locator("nav").get_by_role("button", name="Open").wait_for()
    page.set_input_files("#file", path)
    page.locator(".piece strong", has_text=path.stem).wait_for()
    page.locator(".go button.main:enabled").wait_for()


def test_a_candidate_goes_into_the_file_manager_and_a_watched_folder(
    chromium: Browser, with_file_manager: tuple[Served, Path], data_dir: Path, tmp_path: Path
) -> None:
    server, shown = with_file_manager
    watched = tmp_path / "watched"
    watched.mkdir()
    with opened(chromium, server) as page:
        open_piece(page, data_dir / "piano-minuet.mid")
        propose(page, 1, continue__bars="2")
        page.get_by_role("button", name="More").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Show the file").click()
        wait_for(shown.exists)
        assert shown.read_text().strip() == str(server.folder / "files")
        place = dialog.get_by_role("button", name="Show the file").bounding_box()
        dialog.get_by_label("Folder for copies").fill(str(tmp_path / "nowhere"))
        page.keyboard.press("Tab")
        expect(dialog.locator(".notice.bad")).to_contain_text("There is no folder")
        assert dialog.get_by_role("button", name="Show the file").bounding_box() == place
        dialog.get_by_label("Folder for copies").fill(str(watched))
        page.keyboard.press("Tab")
        expect(dialog.locator(".notice.bad")).to_have_count(0)
        for _ in range(2):
            dialog.get_by_role("button", name="Copy MIDI there").click()
        wait_for(lambda: len(list(watched.glob("*.mid"))) == 2)
        (made,) = (server.folder / "files").glob("*.mid")
        assert {path.read_bytes() for path in watched.iterdir()} == {made.read_bytes()}
        page.keyboard.press("Escape")
        page.reload()
        page.locator(".go button.main:enabled").wait_for()
        page.keyboard.press("d")
        expect(page.get_by_label("Folder for copies")).to_have_value(str(watched))


def test_a_candidate_becomes_a_sound_file_and_stems(open_page: Opener, server: Served) -> None:
    page = open_page()
    propose(page, 1, continue__bars="2")
    page.keyboard.press("1")
    page.keyboard.press("d")
    dialog = page.get_by_role("dialog", name="Take candidate 1 away")
    with page.expect_download() as wav:
        dialog.get_by_role("button", name="Download WAV").click()
        expect(dialog.get_by_role("progressbar")).to_be_visible()
    samples, rate = soundfile.read(wav.value.path())
    assert rate == 48000 and samples.shape[1] == 2 and abs(samples).max() > 0.01
    assert (server.folder / "files" / wav.value.suggested_filename).read_bytes() == wav.value.path().read_bytes()
    dialog.get_by_text("whole piece", exact=True).click()
    with page.expect_download() as stems:
        dialog.get_by_role("button", name="Download stems").click()
    with zipfile.ZipFile(io.BytesIO(stems.value.path().read_bytes())) as archive:
        names = archive.namelist()
        assert len(names) == 3 and names[-1] == "reverb.wav"
        whole, _ = soundfile.read(io.BytesIO(archive.read(names[0])))
    assert len(whole) > len(samples)


def test_a_sound_file_can_be_called_off(open_page: Opener, server: Served) -> None:
    page = open_page("string-quartet")
    page.keyboard.press("d")
    page.get_by_role("dialog").get_by_role("button", name="Download stems").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.get_by_role("dialog").get_by_role("progressbar")).to_have_count(0)
    assert not list((server.folder / "files").glob("string-quartet*stems*"))


def test_what_is_played_on_a_keyboard_becomes_a_piece(open_page: Opener, server: Served) -> None:
    page = open_page()
    page.keyboard.press("r")
    dialog = page.get_by_role("dialog", name="Record")
    expect(dialog).to_contain_text("Descant In")
    dialog.get_by_role("button", name="Record").click()
    expect(dialog.locator(".notice.bad")).to_contain_text("MIDI keyboard")  # none is plugged in here
    # What the browser hands over once there is one: a scale in eighths at 100 bpm, from 3 seconds on.
    page.evaluate(
        """async () => {
          const recorder = new descant.record.Recorder();
          [60, 62, 64, 65, 67, 69, 71, 72].forEach((pitch, index) => {
            recorder.hear(3 + index * 0.3, new Uint8Array([0x90, pitch, 80]));
            recorder.hear(3.25 + index * 0.3, new Uint8Array([0x80, pitch, 64]));
            recorder.hear(3.25 + index * 0.3, new Uint8Array([0xf8]));
          });
          await descant.record.bring(recorder.messages);
        }"""
    )
    expect(page.locator(".piece strong")).to_have_text("Played")
    expect(page.get_by_role("dialog")).to_have_count(0)
    with server.client() as client:
        score = read_midi(client.score_midi(state(page)["score"])).score
    assert [(note.start, note.pitch) for note in score.tracks[0].notes] == [
        (240 * index, pitch) for index, pitch in enumerate([60, 62, 64, 65, 67, 69, 71, 72])
    ]
    assert round(score.tempo_at(0).bpm) == 100
