"""The page's jobs, each done in a real browser as a musician does it."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, FileChooser, Locator, Page, expect

from models.midi_file import read_midi
from models.score import Score
from tests.page.conftest import Opener, opened
from tests.served import SECONDS, Served, served, wait_for

expect.set_options(timeout=SECONDS * 1000)
LONG = 256


def state(page: Page) -> dict[str, Any]:
    """What the page itself knows: the numbers under which the server keeps what it shows."""
    found: dict[str, Any] = page.evaluate(
        "() => ({score: descant.state.score.id, session: descant.state.score.session,"
        " proposal: descant.state.proposal?.id, shown: descant.state.shown, notes: descant.state.music.count})"
    )
    return found


def chip(page: Page, name: str) -> Locator:
    """The chip of a word or a limit, which may have to be brought out first."""
    found = page.locator(f'.chip input[name="{name.replace("__", ".")}"]')
    if not found.count():
        page.locator("button.more").click()
    return found


def propose(page: Page, candidates: int = 2, **words: str) -> None:
    """Set chips and ask, then wait until every candidate is there."""
    for name, text in {"candidates": str(candidates), **words}.items():
        chip(page, name).fill(text)
    page.locator(".go button.main").click()
    expect(page.locator(".card .accept:enabled")).to_have_count(candidates)


def drag_cells(page: Page, bars: tuple[int, int], tracks: tuple[int, int]) -> None:
    """Drag over the grid from the first bar and track to the last, all from 0 and in view."""
    box = page.locator("canvas.grid").bounding_box()
    assert box
    width = page.evaluate("() => { const v = descant.stage.view; return v.music.bars[0][1] * v.perTick; }")
    x, y = ([box["x"] + (bar + 0.5) * width for bar in bars], [box["y"] + 22 + 24 * t + 12 for t in tracks])
    page.mouse.move(x[0], y[0])
    page.mouse.down()
    page.mouse.move(x[1], y[1], steps=3)
    page.mouse.up()


def notes_of(score: Score) -> list[list[tuple[int, int, int, int]]]:
    return [[tuple(note[:4]) for note in track.notes] for track in score.tracks]


# --- The three jobs -----------------------------------------------------------------------------------


def test_a_continuation_by_the_keyboard_alone(open_page: Opener, server: Served, data_dir: Path) -> None:
    page = open_page()
    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.evaluate("() => 0")  # by now the browser knows that it shall not show a dialog of its own
    page.keyboard.press("o")
    wait_for(lambda: page.evaluate("() => 0") or choosers)
    choosers[0].set_files(data_dir / "piano-minuet.mid")
    expect(page.locator(".piece strong")).to_have_text("piano-minuet")
    before = state(page)

    page.keyboard.press("p")
    expect(page.locator(".card .accept:enabled")).to_have_count(4)
    page.keyboard.press("2")
    expect(page.get_by_role("button", name="Stop candidate 2")).to_be_visible()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Hear candidate 2")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".card.accept .verdict")).to_have_text("Accepted")
    after = state(page)
    assert after["score"] != before["score"] and after["notes"] > before["notes"]
    with server.client() as client:
        score = client.score(after["score"])
        assert (score.proposal, score.candidate) == (after["proposal"], 2)
        assert client.session(after["session"]).score == after["score"]

        page.keyboard.press("z")
        expect(page.locator(".card .verdict")).to_have_count(0)
        assert state(page)["score"] == before["score"]
        assert client.score_midi(before["score"]) == (data_dir / "piano-minuet.mid").read_bytes()

    page.keyboard.press("3")
    page.keyboard.press("x")
    expect(page.locator(".card.reject .verdict")).to_have_text("Rejected")
    page.keyboard.press("1")
    page.keyboard.press("k")
    expect(page.locator(".card.keep .verdict")).to_have_text("Kept")
    page.keyboard.press("0")
    assert state(page)["shown"] == 0


def test_cells_that_are_dragged_over_are_filled_within_the_limits(open_page: Opener, server: Served) -> None:
    page = open_page("string-quartet")
    drag_cells(page, (1, 2), (0, 1))
    expect(page.locator("button.main")).to_contain_text("Fill bars 2–3 of")
    propose(page, key="C major", max_polyphony="1")
    expect(page.locator(".card .badge.good")).to_have_text(["keeps key, voices"] * 2)
    known = state(page)
    with server.client() as client:
        proposal = client.proposal(known["proposal"])
        assert proposal.request and proposal.request["bars"] == [2, 3] and proposal.request["tracks"] == [1, 2]
        old = notes_of(read_midi(client.score_midi(known["score"])).score)
        new = notes_of(read_midi(client.candidate_midi(known["proposal"], 1)).score)
    assert new[2:] == old[2:] and new[:2] != old[:2]

    expect(page.locator(".card .badges").first).to_contain_text("2 bars · ")
    expect(page.locator(".card .badge.original")).to_have_count(2)  # random notes share nothing with anybody
    page.locator(".card summary").first.click()
    expect(page.locator(".why dl").first).to_contain_text("in a row with the music it learned from")
    expect(page.locator(".why dd").first).to_have_text("fill, bars 2–3")
    assert "C major" in page.locator(".why dl").first.inner_text()


def test_new_tracks_are_added_under_the_piece(open_page: Opener, server: Served) -> None:
    page = open_page()
    page.get_by_text("Accompany").click()
    propose(page, 1, accompany__add="flute, upright bass")
    expect(page.locator(".names .ghost")).to_have_text(["flute", "upright bass"])
    tracks = page.locator(".names .name").count()
    page.locator(".card .accept").click()
    expect(page.locator(".names .name")).to_have_count(tracks + 2)
    with server.client() as client:
        assert len(client.score(state(page)["score"]).facts["tracks"]) == tracks + 2


def test_a_sketch_from_words_whose_chips_are_changed(open_page: Opener, server: Served) -> None:
    page = open_page()
    page.get_by_text("Sketch", exact=True).click()
    page.get_by_label("Describe a piece").fill("slow blues in A, piano and bass, 4 bars")
    expect(page.locator('input[name="brief.instruments"]')).to_have_value("Acoustic Grand Piano, Fingered Bass")
    expect(page.locator(".chip.set", has_text="Bars").locator("input")).to_have_value("4")
    page.locator('input[name="brief.tempo"]').fill("fast")
    page.keyboard.press("Tab")
    expect(page.locator(".refusal")).to_be_visible()
    page.locator('input[name="brief.tempo"]').fill("91")
    page.keyboard.press("Tab")
    expect(page.locator(".refusal")).to_have_count(0)
    page.get_by_role("button", name="Sketch it").click()
    expect(page.locator(".card .accept:enabled")).to_have_count(4)
    page.locator("h1").click()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".card.accept .verdict")).to_have_text("Accepted")
    with server.client() as client:
        facts = client.score(state(page)["score"]).facts
    assert (facts["bars"], round(facts["bpm"])) == (4, 91)
    assert [track["program"] for track in facts["tracks"]] == [1, 34]
    page.keyboard.press("z")
    expect(page.locator("nav").get_by_role("button", name="Save")).to_be_disabled()
    expect(page.locator(".card .accept:enabled")).to_have_count(4)


def test_a_piece_is_varied_and_changed_by_words(open_page: Opener, server: Served) -> None:
    page = open_page()
    page.get_by_text("Vary", exact=True).click()
    drag_cells(page, (2, 3), (1, 1))
    expect(page.locator("button.main")).to_contain_text("Vary bars 3–4 of Pianoforte")
    propose(page, 1, vary__strength="1")
    page.get_by_text("Edit", exact=True).click()
    page.locator('input[name="edit.text"]').fill("an octave higher")
    page.locator("button.main").click()
    expect(page.locator("#cards h2")).to_have_text("Edited")
    page.locator(".card .accept:enabled").first.click()
    expect(page.locator(".card.accept .verdict")).to_have_text("Accepted")
    with server.client() as client:
        old, new = (
            notes_of(read_midi(client.score_midi(score.id)).score)
            for score in client.scores(state(page)["session"])
        )
    assert sum(note[1] for track in new for note in track) > sum(note[1] for track in old for note in track)


def test_the_arrow_keys_choose_a_region_and_say_which(open_page: Opener) -> None:
    page = open_page("string-quartet")
    page.get_by_role("region", name="Bars and tracks").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator("#say")).to_contain_text("bars 2–3")
    expect(page.locator('input[name="fill.bars"]')).to_have_value("2-3")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    expect(page.locator("button.main")).to_contain_text("Continue for 1 bar")


# --- Long work, errors, a server that is lost ---------------------------------------------------------


def test_notes_stream_in_and_the_work_can_be_stopped(open_page: Opener, server: Served) -> None:
    page = open_page()
    page.locator('input[name="continue.bars"]').fill(str(LONG))
    chip(page, "candidates").fill("64")
    page.locator("button.main").click()
    expect(page.get_by_role("progressbar", name="Bars written")).to_be_visible()
    expect(page.locator(".card .pad:enabled").first).to_be_visible()
    known = state(page)
    with server.client() as client:
        assert client.proposal(known["proposal"]).state == "running"
        page.locator("button.main", has_text="Stop").click()
        expect(page.locator("#cards")).to_contain_text("Stopped")
        expect(page.locator("button.main")).to_contain_text(f"Continue for {LONG} bars")
        assert client.proposal(known["proposal"]).state == "cancelled"


def test_what_cannot_be_is_one_sentence_with_a_hint(open_page: Opener, tmp_path: Path) -> None:
    page = open_page()
    before = state(page)
    page.locator('input[name="key"]').fill("P sharp")
    page.keyboard.press("Enter")
    expect(page.locator(".refusal")).to_contain_text("P sharp")
    expect(page.locator('input[name="key"]')).to_have_attribute("aria-invalid", "true")
    page.locator('input[name="key"]').fill("")
    expect(page.locator(".refusal")).to_have_count(0)

    (tmp_path / "letter.mid").write_text("To be, or not to be")
    page.set_input_files("#file", tmp_path / "letter.mid")
    expect(page.locator(".notice.bad")).to_contain_text("byte")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".notice")).to_have_count(0)
    assert state(page) == before


def test_the_first_minute_and_a_server_that_goes_and_comes(
    chromium: Browser, tmp_path: Path, weights: Path
) -> None:
    with served(tmp_path, weights) as server:
        server.wait_until_ready()
        with opened(chromium, server) as page:
            expect(page.get_by_role("heading", level=2)).to_contain_text("Bring a few bars")
            page.get_by_role("button", name="Aloha Oe").click()
            expect(page.locator(".names .name")).to_have_count(4)
            propose(page)

            server.stop()
            expect(page.get_by_role("alert")).to_contain_text("Descant has stopped answering")
            server.start()
            expect(page.get_by_role("alert")).to_have_count(0)
            server.wait_until_ready()
            page.locator(".card .accept").first.click()
            expect(page.locator(".card.accept .verdict")).to_have_text("Accepted")

            page.reload()
            expect(page.locator(".piece strong")).to_have_text("Aloha Oe")
            expect(page.locator(".card.accept .verdict")).to_have_text("Accepted")
            page.keyboard.press("h")
            expect(page.get_by_role("dialog")).to_contain_text("1 accepted")
        with opened(chromium, server) as page:
            expect(page.locator(".piece strong")).to_have_text("Aloha Oe")
            page.evaluate("() => sessionStorage.clear()")
            page.goto(f"http://127.0.0.1:{server.port}/")
            expect(page.get_by_role("heading", level=2)).to_have_text("This page needs a fresh link")
            page.evaluate("() => sessionStorage.setItem('token', 'of-another-day')")
            page.reload()
            expect(page.get_by_role("heading", level=2)).to_have_text("This page needs a fresh link")


# --- Taking it away -----------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["new notes", "whole piece"])
def test_a_card_that_is_dragged_carries_a_file_that_is_there_already(
    open_page: Opener, server: Served, whole: bool
) -> None:
    page = open_page()
    propose(page)
    if whole:
        page.get_by_text("whole piece").click()
    page.evaluate(
        "() => addEventListener('dragstart', (event) => {"
        " window.carried = event.dataTransfer.getData('DownloadURL'); })"
    )
    card = page.locator(".card").nth(1)
    card.hover()
    expect(card).to_have_attribute("draggable", "true")
    files = {path.name: path.read_bytes() for path in (server.folder / "files").iterdir()}
    grip = card.locator(".grip").bounding_box()
    assert grip
    page.mouse.move(grip["x"] + 10, grip["y"] + 5)
    page.mouse.down()
    page.mouse.move(grip["x"] + 60, grip["y"] - 60, steps=5)
    wait_for(lambda: page.evaluate("() => Boolean(window.carried)"))
    page.mouse.up()

    kind, name, url = page.evaluate("() => window.carried").split(":", 2)
    assert kind == "audio/midi" and name in files
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == files[name]
    with server.client() as client:
        expected = client.candidate_midi(state(page)["proposal"], 2, only_new=not whole)
    assert notes_of(read_midi(files[name]).score) == notes_of(read_midi(expected).score)
    assert (server.folder / "files" / name).read_bytes() == files[name]


def test_downloads_are_the_files_that_the_server_keeps(open_page: Opener, server: Served, data_dir: Path) -> None:
    page = open_page()
    propose(page, 1)
    with page.expect_download() as taken:
        page.locator(".card").get_by_role("button", name="Download").click()
    kept = server.folder / "files" / taken.value.suggested_filename
    assert taken.value.path().read_bytes() == kept.read_bytes()
    page.locator("nav").get_by_role("button", name="Save").click()
    with page.expect_download() as piece:
        page.get_by_role("button", name="Download MIDI").click()
    assert piece.value.path().read_bytes() == (data_dir / "song-voice-piano.mid").read_bytes()
