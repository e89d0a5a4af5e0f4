"""What Bitwig's users feel beyond what every DAW does: places between steps, long clips, slots that are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.bridges import propose_to
from integrations.base import TICKS, DawError
from integrations.memory import Clip, Song
from models.score import Note
from tests.integrations.bench import lane, rows, scale, until
from tests.integrations.bench_bitwig import BitwigBench
from tests.integrations.benches import bench_of

BAR = 4 * TICKS


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[BitwigBench]:
    with bench_of(BitwigBench, tmp_path) as made:
        assert isinstance(made, BitwigBench)
        yield made


def slots(bench: BitwigBench) -> list[str | None]:
    return [clip and clip["name"] for clip in bench.double("state")["tracks"][0]["slots"]]


def test_triplets_and_quintuplets_are_read_and_written_where_they_are(bench: BitwigBench) -> None:
    """240 steps to the quarter note hold what divides a beat by 2, 3, 5 and their products; the rest is rounded."""
    places = [TICKS // 3, 2 * TICKS // 5, 5 * TICKS // 6, TICKS + TICKS // 16, 2 * TICKS]
    notes = tuple(Note(at, 60 + number, TICKS // 12, 90) for number, at in enumerate(places))
    bench.load(Song((lane("Keys", Clip(0, BAR, notes)),)), (0,), 0, BAR)
    selection = bench.daw.read("fill")
    assert rows(selection.score.tracks[0].notes) == rows(notes)
    propose_to(bench.daw, "continue", {"candidates": 2, "bars": 2}, bench.asked)
    for found, score in zip(bench.candidates(), bench.asked.scores, strict=True):
        new = rows((note for note in score.tracks[0].notes if note.start >= BAR), -BAR)
        assert [(note[1], *note[3:]) for note in found["Keys"]] == [(note[1], *note[3:]) for note in new]
        assert all(abs(a[0] - b[0]) <= TICKS / 480 for a, b in zip(found["Keys"], new, strict=True))


def test_a_clip_longer_than_the_window_is_read_to_its_end(bench: BitwigBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 12)),)), (0,), 0, 12 * BAR)
    own = bench.own()["Keys"]
    assert rows(bench.daw.read("continue").score.tracks[0].notes) == own
    assert len(own) == 48
    propose_to(bench.daw, "fill", {"candidates": 1}, bench.asked)
    assert bench.candidates()[0]["Keys"] == bench.snap(rows(bench.asked.scores[0].tracks[0].notes))


def test_candidates_go_into_the_next_slots_that_are_empty(bench: BitwigBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 2 * BAR)
    bench.double("put", slot=2, name="mine")
    propose_to(bench.daw, "continue", {"candidates": 3}, bench.asked)
    assert slots(bench)[:6] == ["own", "Descant 1", "mine", "Descant 2", "Descant 3", None]
    bench.daw.cancel()
    assert slots(bench)[:6] == ["own", None, "mine", None, None, None]


def test_an_accepted_fill_leaves_the_users_clip_in_its_slot(bench: BitwigBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 2 * BAR)
    own = bench.own()
    propose_to(bench.daw, "fill", {"candidates": 3}, bench.asked)
    bench.daw.audition(2)
    bench.daw.accept()
    assert slots(bench)[:5] == ["own", None, "Descant 2", None, None]
    assert bench.own() == own


def test_too_few_slots_are_said_and_nothing_is_left(bench: BitwigBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 2 * BAR)
    for slot in range(3, 12):
        bench.double("put", slot=slot, name="mine")
    before = slots(bench)
    with pytest.raises(DawError, match="too few empty slots"):
        propose_to(bench.daw, "continue", {"candidates": 4}, bench.asked)
    assert slots(bench) == before


def test_muted_notes_are_not_read(bench: BitwigBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 2 * BAR)
    own = bench.own()["Keys"]
    bench.double("mute", note=1)
    assert rows(bench.daw.read("continue").score.tracks[0].notes) == [own[0], *own[2:]]


def test_the_keys_of_the_panel_carry_its_numbers(bench: BitwigBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 2 * BAR)
    bench.press("continue", candidates=3, bars=2)
    until(lambda: len(bench.candidates()) == 3)
    assert bench.asked.calls[-1][1]["bars"] == "3-4"
