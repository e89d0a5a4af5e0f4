"""Notes that are drawn around, or locked with the keys, stay in every candidate."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from models.midi_file import read_midi
from tests.page.conftest import Opener
from tests.page.test_page import notes_of, propose, state
from tests.served import Served, wait_for


def locked(page: Page) -> list[tuple[int, int, int]]:
    """Track, start and pitch of the locked notes, as the page knows them."""
    found = page.evaluate(
        "() => [...descant.state.locks].flatMap(([track, keys]) =>"
        " [...keys].map((key) => [track, Math.floor(key / 128), key % 128]))"
    )
    return [(track, start, pitch) for track, start, pitch in found]


def draw_around(page: Page, bars: tuple[float, float], pitches: tuple[int, int]) -> None:
    """A line around a part of the roll: bars from 0, lowest and highest pitch."""
    box = page.locator("canvas.roll").bounding_box()
    view = page.evaluate(
        "() => { const { view, rollHeight } = descant.stage; const bar = view.music.bars[0][1] * view.perTick;"
        " return { bar, row: rollHeight / (view.high - view.low + 1), high: view.high }; }"
    )
    assert box
    x = [box["x"] + bar * view["bar"] for bar in bars]
    y = [
        box["y"] + (view["high"] - pitch + half) * view["row"]
        for pitch, half in zip(pitches, (0.9, 0.1), strict=True)
    ]
    page.mouse.move(x[0], y[0])
    page.mouse.down()
    page.mouse.move(x[1], y[1], steps=4)
    page.mouse.up()


def stay(server: Served, page: Page, notes: list[tuple[int, int, int]]) -> None:
    """Every candidate has the notes, just as the piece had them."""
    known = state(page)
    with server.client() as client:
        old = read_midi(client.score_midi(known["score"])).score
        proposal = client.proposal(known["proposal"])
        for candidate in proposal.candidates:
            new = read_midi(client.candidate_midi(known["proposal"], candidate.number)).score
            for track, start, pitch in notes:
                (note,) = (n for n in notes_of(old)[track] if n[:2] == (start, pitch))
                assert note in notes_of(new)[track]


def test_notes_that_are_drawn_around_stay(open_page: Opener, server: Served) -> None:
    page = open_page("string-quartet")
    draw_around(page, (1, 3), (60, 90))
    wait_for(lambda: locked(page))
    kept = locked(page)
    expect(page.locator("button.main")).to_contain_text("around the locked notes")
    expect(page.locator(".chip.locked")).to_contain_text(f"{len(kept)} notes")
    draw_around(page, (1, 2), (60, 90))  # all of these are locked: they are not any more
    wait_for(lambda: 0 < len(locked(page)) < len(kept))
    kept = locked(page)
    propose(page, 2)
    expect(page.locator(".card .badge.good")).to_have_text(["keeps locked notes"] * 2)
    stay(server, page, kept)
    page.get_by_role("button", name="Unlock all notes").click()
    assert locked(page) == []
    expect(page.locator("button.main")).not_to_contain_text("around")


def test_notes_are_locked_with_the_keys(open_page: Opener, server: Served) -> None:
    page = open_page("piano-minuet")
    page.get_by_role("region", name="Bars and tracks").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("n")
    page.keyboard.press("n")
    page.keyboard.press("l")
    expect(page.locator("#say")).to_contain_text("bar 2")
    expect(page.locator("#say")).to_contain_text("locked")
    assert len(locked(page)) == 1
    propose(page, 1)
    stay(server, page, locked(page))
    page.keyboard.press("0")
    page.get_by_role("region", name="Bars and tracks").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("l")
    assert len(locked(page)) > 1
