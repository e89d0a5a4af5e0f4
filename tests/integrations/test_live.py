"""What Live's users feel beyond what every DAW does: scales, selected notes, take lanes, slots that are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.bridges import propose_to
from integrations.base import TICKS, DawError, NothingSelected
from integrations.memory import Song
from models.theory import parse_key
from tests.integrations.bench import Bench, lane, rows, scale, until
from tests.integrations.bench_live import LiveArrangementBench, LiveBench
from tests.integrations.benches import bench_of

BAR = 4 * TICKS
SONG = Song((lane("Keys", scale(0, 2)),))


@pytest.fixture(params=[LiveBench, LiveArrangementBench], ids=lambda kind: kind.name)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with bench_of(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def session(tmp_path: Path) -> Iterator[LiveBench]:
    with bench_of(LiveBench, tmp_path) as made:
        assert isinstance(made, LiveBench)
        yield made


@pytest.fixture
def arrangement(tmp_path: Path) -> Iterator[LiveBench]:
    with bench_of(LiveArrangementBench, tmp_path) as made:
        assert isinstance(made, LiveBench)
        yield made


def choose_scale(bench: LiveBench, root: int, name: str, *intervals: int) -> None:
    facts = {"scale_mode": True, "root_note": root, "scale_name": name, "scale_intervals": list(intervals)}
    bench.on_main(lambda: bench.rules.facts.update(facts))


def test_candidates_keep_to_lives_scale(bench: LiveBench) -> None:
    bench.load(SONG, (0,), 0, 2 * BAR)
    choose_scale(bench, 2, "Minor", 0, 2, 3, 5, 7, 8, 10)
    propose_to(bench.daw, "continue", {"candidates": 3, "bars": 4}, bench.asked)
    minor = {2, 4, 5, 7, 9, 10, 0}
    assert parse_key(bench.asked.calls[-1][1]["key"]).pitch_classes == minor
    pitches = {note[1] % 12 for found in bench.candidates() for note in found["Keys"]}
    assert pitches and pitches <= minor


def test_a_scale_that_is_no_key_or_off_locks_nothing(session: LiveBench) -> None:
    session.load(SONG, (0,), 0, 2 * BAR)
    choose_scale(session, 0, "Prometheus", 0, 2, 4, 6, 9, 10)
    propose_to(session.daw, "continue", {"candidates": 1}, session.asked)
    assert "key" not in session.asked.calls[-1][1]
    choose_scale(session, 2, "Minor", 0, 2, 3, 5, 7, 8, 10)
    session.on_main(lambda: session.rules.facts.update(scale_mode=False))
    propose_to(session.daw, "continue", {"candidates": 1}, session.asked)
    assert "key" not in session.asked.calls[-1][1]


def test_selected_notes_narrow_a_fill_to_their_bars(bench: LiveBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 4)),)), (0,), BAR, 2 * BAR)
    selection = bench.daw.read("fill")
    assert selection.bars == (1, 1)
    assert bench.daw.read("continue").bars == (0, 3)


def test_candidates_pass_over_slots_that_are_taken(session: LiveBench) -> None:
    session.load(SONG, (0,), 0, 2 * BAR)

    def take_slot() -> None:
        track = session.rules.tracks[0]
        track.slots[2] = session._clip(SONG, scale(0, 1))
        track.slots[2].facts["name"] = "mine"

    session.on_main(take_slot)
    propose_to(session.daw, "continue", {"candidates": 4}, session.asked)
    slots = session.on_main(lambda: [clip and clip.facts["name"] for clip in session.rules.tracks[0].slots])
    assert slots == ["", "Descant 1", "mine", "Descant 2", "Descant 3", "Descant 4"]  # two scenes were added
    session.daw.cancel()
    slots = session.on_main(lambda: [clip and clip.facts["name"] for clip in session.rules.tracks[0].slots])
    assert slots == ["", None, "mine", None, None, None]


def test_a_clip_in_a_take_lane_is_continued(arrangement: LiveBench) -> None:
    arrangement.load(SONG, (0,), 0, 2 * BAR)

    def into_lane() -> None:
        track = arrangement.rules.tracks[0]
        track.lanes.append([track.arrangement.pop()])

    arrangement.on_main(into_lane)
    selection = arrangement.daw.read("continue")
    assert (selection.score.tracks[0].name, selection.bars) == ("Keys", (0, 1))
    propose_to(arrangement.daw, "fill", {"candidates": 2}, arrangement.asked)
    assert len(arrangement.candidates()) == 2


def test_a_frozen_track_and_an_audio_clip_are_said(session: LiveBench) -> None:
    session.load(SONG, (0,), 0, 2 * BAR)
    session.on_main(lambda: setattr(session.rules.tracks[0], "frozen", True))
    with pytest.raises(DawError, match="frozen"):
        propose_to(session.daw, "continue", {"candidates": 1}, session.asked)
    assert session.candidates() == []
    session.on_main(lambda: setattr(session.rules.tracks[0], "audio", True))
    with pytest.raises(NothingSelected):
        session.daw.read("continue")


def test_what_is_not_on_lives_main_thread_is_noticed(session: LiveBench) -> None:
    """That the double holds Live's rule, so that all other tests mean something."""
    session.load(SONG, (0,), 0, 2 * BAR)
    with pytest.raises(RuntimeError, match="main thread"):
        session.surface._set._song.tracks  # noqa: B018
    assert session.rules.violations == ["a call off the main thread"]
    session.rules.violations.clear()


def test_a_fill_of_a_whole_clip_is_a_copy_with_its_loop(session: LiveBench) -> None:
    session.load(Song((lane("Keys", scale(0, 4)),)), (0,), BAR, 2 * BAR)
    own = session.own()
    session.press("fill", candidates=1)
    until(lambda: len(session.candidates()) == 1)
    kept = [note for note in own["Keys"] if not BAR <= note[0] < 2 * BAR]
    assert set(kept) <= set(session.candidates()[0]["Keys"])
    assert rows(session.asked.scores[0].tracks[0].notes) == session.candidates()[0]["Keys"]
