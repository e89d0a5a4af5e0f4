"""The page with the weights that ship: from a demo piece to a continuation, from words to a sketch that is dragged
out, from files to a style, as somebody does it who follows what is on the screen."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, expect

from models.midi_file import read_midi
from tests.page.conftest import opened
from tests.page.test_page import propose, state
from tests.served import SECONDS, served, wait_for

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / "weights" / "small"


def test_a_first_visit(chromium: Browser, tmp_path: Path) -> None:
    with served(tmp_path, SHIPPED) as server:
        server.wait_until_ready()
        with opened(chromium, server) as page:
            page.get_by_role("button", name="Aloha Oe").click()
            propose(page, 2, continue__bars="2")
            page.get_by_role("button", name="Hear candidate 1").click()
            page.wait_for_function("() => descant.stage.playhead > 0")
            page.get_by_role("button", name="Accept").first.click()
            expect(page.locator(".card.accept .verdict")).to_have_text("Accepted")
            with server.client() as client:
                facts = client.score(state(page)["score"]).facts
            assert facts["bars"] == 23 and len(facts["tracks"]) == 4

            page.get_by_text("Sketch", exact=True).click()
            page.get_by_label("Describe a piece").fill("slow blues in A, piano and bass, 91 bpm, 4 bars")
            page.get_by_role("button", name="Sketch it").click()
            expect(page.locator(".card .accept:enabled")).to_have_count(2)
            page.locator(".card").first.hover()
            expect(page.locator(".card").first).to_have_attribute("draggable", "true")
            wait_for(lambda: page.evaluate("() => Boolean(descant.state.proposal.candidates[0].file)"))
            file = page.evaluate("() => descant.state.proposal.candidates[0].file")
            with urllib.request.urlopen(file["url"]) as answer:
                carried = answer.read()
            assert Path(file["path"]).read_bytes() == carried
            score = read_midi(carried).score
            assert round(score.tempo_at(0).bpm) == 91
            assert [track.program for track in score.tracks] == [0, 33] and score.last_note_start >= 0


def test_a_style_from_ones_own_pieces(chromium: Browser, tmp_path: Path, data_dir: Path) -> None:
    """Seven pieces in the public domain, learned from in earnest, if only for as many steps as is the least."""
    pieces = sorted([*data_dir.glob("*.mid"), *(ROOT / "assistant" / "demo").glob("*.mid")])
    with served(tmp_path, SHIPPED) as server:
        server.wait_until_ready()
        with opened(chromium, server) as page:
            page.get_by_role("button", name="Styles").click()
            dialog = page.get_by_role("dialog", name="Styles")
            dialog.locator('input[name="style.name"]').fill("songs")
            page.set_input_files("#style-files", pieces)
            expect(dialog).to_contain_text(f"{len(pieces)} files are here")
            dialog.locator('input[name="style.minutes"]').fill("0.01")
            dialog.get_by_role("button", name="Make it").click()
            made = dialog.get_by_role("region", name="The style songs", exact=True)
            expect(made).to_contain_text("pieces it has not seen", timeout=10 * SECONDS * 1000)
            with server.client() as client:
                style = client.style("songs")
            assert style["pieces"] == len(pieces) and style["usable"]
            assert 0 < style["nats_per_note"]["own_after"] <= style["nats_per_note"]["own_before"] * 1.02

            made.get_by_role("button", name="Use it").click()
            page.get_by_role("button", name="Aloha Oe").click()
            expect(page.locator('select[name="style"]')).to_have_value("songs")
            propose(page, 1, continue__bars="2")
            known = state(page)
            with server.client() as client:
                info = client.proposal(known["proposal"])
                assert info.words["style"] == "songs:1"
                asked = {"bars": 2, "candidates": 1, "seed": info.candidates[0].seed}
                plain = client.propose(known["score"], "continue", **asked)
                styled = client.propose(known["score"], "continue", style="songs:1", **asked)
                [on_the_page, without, with_it] = [
                    client.candidate_midi(number, 1) for number in (info.id, plain.id, styled.id)
                ]
            assert on_the_page == with_it != without
