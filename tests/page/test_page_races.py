"""Answers that come late, and in another order than they were asked for, as on a busy computer.

Each test holds answers of the server back until the musician has done the next thing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.conftest import Held, Opener, opened, settle
from tests.page.test_page import propose, state
from tests.served import Served, wait_for

SKETCH = "slow blues in A, piano and bass, 4 bars"


def choose(page: Page, path: Path) -> None:
    page.set_input_files("#file", path)


def shows(page: Page, piece: str) -> None:
    expect(page.locator(".piece strong")).to_have_text(piece)


def came(page: Page, held: Held, count: int = 1) -> None:
    """Wait until so many requests are held back."""
    wait_for(lambda: page.evaluate("() => true") and len(held.routes) >= count)


def ask_for_a_sketch(server: Served, text: str = SKETCH) -> int:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    words = {"operation": "sketch", "text": text, "candidates": 2}
    number: int = json.loads(server.raw("POST", "/proposals", headers, json.dumps(words).encode())[2])["id"]
    return number


def leave_a_last_piece(server: Served, data_dir: Path, kind: str) -> None:
    """What the page will open by itself."""
    with server.client() as client:
        if kind == "sketch":
            asked = ask_for_a_sketch(server)
        else:
            score = client.upload((data_dir / "song-three-eight.mid").read_bytes(), "before")
            asked = client.ask(score.id, "continue", bars=1, candidates=1).id
        server.ended(client, asked)


# --- Files that are chosen while the page begins -------------------------------------------------------


def test_a_file_that_is_chosen_before_the_page_has_its_token_is_shown(
    chromium: Browser, server: Served, data_dir: Path
) -> None:
    login = Held("POST", "/login$")
    with opened(chromium, server, held=[login]) as page:
        came(page, login)
        choose(page, data_dir / "piano-minuet.mid")
        login.release()
        shows(page, "piano-minuet")
        settle(page)
        shows(page, "piano-minuet")
        expect(page.locator(".notice.bad")).to_have_count(0)


@pytest.mark.parametrize(
    ("kind", "late"),
    [
        ("piece", "/operations$"),
        ("piece", r"/scores/\d+$"),
        ("piece", r"/proposals/\d+$"),
        ("piece", r"/candidates/1/notes$"),
        ("sketch", r"/proposals/\d+$"),
        ("sketch", r"/candidates/1/notes$"),
    ],
)
def test_a_file_stays_though_the_last_piece_comes_after_it(
    chromium: Browser, server: Served, data_dir: Path, kind: str, late: str
) -> None:
    leave_a_last_piece(server, data_dir, kind)
    last = Held("GET", late)
    with opened(chromium, server, held=[last]) as page:
        came(page, last)
        choose(page, data_dir / "piano-minuet.mid")
        shows(page, "piano-minuet")
        last.release()
        settle(page)
        shows(page, "piano-minuet")
        expect(page.locator(".card")).to_have_count(0)


def test_the_second_of_two_files_stays_though_the_first_comes_after_it(
    open_page: Opener, server: Served, data_dir: Path
) -> None:
    page = open_page()
    slow = Held("POST", "/scores[?]name=string-quartet")
    slow.begin(page.context)
    choose(page, data_dir / "string-quartet.mid")
    came(page, slow)
    choose(page, data_dir / "piano-minuet.mid")
    shows(page, "piano-minuet")
    slow.release()
    settle(page)
    shows(page, "piano-minuet")


def test_a_file_stays_though_the_page_looks_after_the_piece_before_it(
    chromium: Browser, server: Served, data_dir: Path
) -> None:
    operations, session = Held("GET", "/operations$"), Held("GET", r"/sessions/\d+$")
    with opened(chromium, server, held=[operations, session]) as page:
        came(page, operations)
        choose(page, data_dir / "string-quartet.mid")
        shows(page, "string-quartet")
        operations.release()
        came(page, session)
        choose(page, data_dir / "piano-minuet.mid")
        shows(page, "piano-minuet")
        session.release()
        settle(page)
        shows(page, "piano-minuet")


def test_a_dialog_stays_open_though_the_last_piece_comes_after_it(
    chromium: Browser, server: Served, data_dir: Path
) -> None:
    leave_a_last_piece(server, data_dir, "piece")
    last = Held("GET", "/sessions$")
    with opened(chromium, server, held=[last]) as page:
        came(page, last)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        last.release()
        shows(page, "before")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()


# --- Proposals -----------------------------------------------------------------------------------------


def test_the_sound_of_a_sketch_is_called_off_while_it_is_fetched_again(open_page: Opener) -> None:
    page = open_page()
    page.get_by_text("Sketch", exact=True).click()
    page.get_by_label("Describe a piece").fill(SKETCH)
    sound = Held("POST", "/sound$")
    sound.begin(page.context)
    page.get_by_role("button", name="Sketch it").click()
    expect(page.locator(".card .accept:enabled")).to_have_count(4)
    page.locator("h1").click()
    page.keyboard.press("1")
    came(page, sound)
    page.keyboard.press("Enter")
    expect(page.locator(".card.accept .verdict")).to_have_text("Accepted")
    again = Held("GET", "/candidates/1/notes$")
    again.begin(page.context)
    page.keyboard.press("z")
    came(page, again)
    page.keyboard.press("2")
    again.release()
    sound.release()
    expect(page.locator("nav").get_by_role("button", name="Save")).to_be_disabled()
    expect(page.locator(".card .accept:enabled")).to_have_count(4)


@pytest.mark.parametrize("kind", ["sketch", "continue"])
def test_candidates_come_though_they_were_ready_before_the_answer(
    open_page: Opener, server: Served, kind: str
) -> None:
    page = open_page()
    asked = Held("POST", "/proposals$", made=True)
    asked.begin(page.context)
    if kind == "sketch":
        page.get_by_text("Sketch", exact=True).click()
        page.get_by_label("Describe a piece").fill(SKETCH)
        page.get_by_role("button", name="Sketch it").click()
    else:
        page.locator(".go button.main").click()
    came(page, asked)
    with server.client() as client:
        server.ended(client, client.proposals()[0].id)
    page.evaluate("() => new Promise((done) => setTimeout(done, 50))")  # what was told has come by now
    asked.release()
    expect(page.locator(".card .accept:enabled")).to_have_count(4)


def test_what_is_asked_for_stays_though_the_last_proposal_comes_after_it(
    chromium: Browser, server: Served, data_dir: Path
) -> None:
    leave_a_last_piece(server, data_dir, "piece")
    last = Held("GET", r"/proposals/\d+$")
    with opened(chromium, server, held=[last]) as page:
        came(page, last)
        shows(page, "before")
        page.locator(".go button.main:enabled").click()
        expect(page.locator(".card")).to_have_count(4)
        last.release()
        expect(page.locator(".card .accept:enabled")).to_have_count(4)
        settle(page)
        with server.client() as client:
            assert state(page)["proposal"] == client.proposals()[0].id


def test_a_sketch_is_asked_for_once_however_often_enter_is_pressed(open_page: Opener, server: Served) -> None:
    page = open_page()
    with server.client() as client:
        before = len(client.proposals())
    page.get_by_text("Sketch", exact=True).click()
    page.get_by_label("Describe a piece").fill(SKETCH)
    sessions = Held("POST", "/sessions$")
    sessions.begin(page.context)
    page.keyboard.press("Enter")
    came(page, sessions)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    sessions.release()
    expect(page.locator(".card .accept:enabled")).to_have_count(4)
    with server.client() as client:
        assert len(client.proposals()) == before + 1


def test_an_answer_about_a_piece_that_has_gone_is_not_shown(
    open_page: Opener, server: Served, data_dir: Path
) -> None:
    page = open_page()
    asked = Held("POST", "/proposals$", made=True)
    asked.begin(page.context)
    page.locator(".go button.main").click()
    came(page, asked)
    choose(page, data_dir / "piano-minuet.mid")
    shows(page, "piano-minuet")
    asked.release()
    settle(page)
    expect(page.locator(".card")).to_have_count(0)
    with server.client() as client:
        server.ended(client, client.proposals()[0].id)
    propose(page, 1, continue__bars="1")


def test_a_piece_is_not_replaced_by_what_was_accepted_of_the_one_before(
    open_page: Opener, server: Served, data_dir: Path
) -> None:
    page = open_page()
    propose(page, 1, continue__bars="1")
    accepted = Held("POST", "/decision$")
    accepted.begin(page.context)
    page.locator(".card .accept").click()
    came(page, accepted)
    choose(page, data_dir / "piano-minuet.mid")
    shows(page, "piano-minuet")
    accepted.release()
    settle(page)
    shows(page, "piano-minuet")
    with server.client() as client:
        assert client.score(state(page)["score"]).proposal is None


def test_two_chips_of_a_sketch_that_are_changed_at_once_are_both_kept(open_page: Opener) -> None:
    page = open_page()
    page.get_by_text("Sketch", exact=True).click()
    page.get_by_label("Describe a piece").fill(SKETCH)
    expect(page.locator(".chip.set", has_text="Bars").locator("input")).to_have_value("4")
    briefs = Held("POST", "/briefs$")
    briefs.begin(page.context)
    page.locator('input[name="brief.tempo"]').fill("91")
    page.locator('input[name="brief.bars"]').fill("6")
    page.keyboard.press("Tab")
    came(page, briefs)
    briefs.release()
    settle(page)
    assert page.evaluate("() => [descant.state.sketch.brief.tempo, descant.state.sketch.brief.bars]") == [91, 6]
    expect(page.locator(".chip.set", has_text="Tempo").locator("input")).to_have_value("91")


# --- Taking away ---------------------------------------------------------------------------------------


def test_what_is_downloaded_is_what_was_chosen_last(open_page: Opener, server: Served) -> None:
    page = open_page()
    files = Held("POST", "/file$")
    files.begin(page.context)
    propose(page, 1, continue__bars="1")
    page.locator(".card").hover()
    came(page, files)
    page.get_by_text("whole piece").click()
    with page.expect_download() as taken:
        page.locator(".card").get_by_role("button", name="Download").click()
        files.release()
    with server.client() as client:
        whole = client.candidate_midi(state(page)["proposal"], 1)
    assert "new" not in taken.value.suggested_filename
    assert len(taken.value.path().read_bytes()) == pytest.approx(len(whole), rel=0.2)
