"""Long regions are written in stretches, each seeing what the candidate has written before."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.operations import vary_request
from assistant.pipeline import task_of
from models.constraints import Controls, Draft, Rules
from models.drawing import Sampling
from models.engine import Engine
from models.generators import (
    MOST_BARS,
    WINDOW,
    Progress,
    Task,
    TransformerGenerator,
    stretches,
    window_around,
)
from models.lanes import Context
from models.midi_file import read_midi
from models.piece import DURATIONS
from models.tokens import MAX_TRACKS, NOTE, OFFSET, TEXT_WIDTH, TRACK, TRACK_FILL, Steps, step_counts
from tests.builders import random_task, tiny_generator

seeds = st.integers(0, 2**32 - 1)


class RecordingEngine(Engine):
    """An engine that remembers the contexts it was shown."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shown: list[Steps] = []

    def prefill(self, steps: Steps, after: Context | None = None) -> Context:
        self.shown.append(steps)
        return super().prefill(steps, after)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("weights")
    tiny_generator(where)
    return where


def wide_task(seed: int, bars: int, tracks: int, controls: Controls = Controls()) -> Task:
    """A task whose region is whole bars of some tracks from somewhere on."""
    task = random_task(np.random.default_rng(seed), bars, tracks)
    region = np.zeros_like(task.region)
    region[bars // 3 :, : max(1, tracks // 2)] = True
    piece = task.piece
    outside = ~region[piece.notes[:, 0], piece.notes[:, 1]]
    grid = task.rules._grid
    kept = [np.zeros((0, 3), dtype=np.int64) for _ in range(tracks)]
    piece = replace(piece, notes=piece.notes[outside])
    rules = Rules(piece, grid, region, controls, kept, 480)
    return replace(task, piece=piece, region=region, rules=rules)


def run(folder: Path, task: Task, candidates: int) -> tuple[list[Progress], RecordingEngine]:
    engine = RecordingEngine(folder)
    numbers = [(1, number) for number in range(candidates)]
    generator = TransformerGenerator(engine)
    return list(generator.generate(task, numbers, Sampling(), lambda: False)), engine


@settings(max_examples=40)
@given(seeds)
def test_stretches_are_the_regions_bars_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    task = random_task(rng, int(rng.integers(1, 60)), int(rng.integers(1, 6)))
    cut = stretches(task)
    assert [bar for stretch in cut for bar in stretch] == task.bars
    assert all(stretch and stretch[-1] - stretch[0] < MOST_BARS for stretch in cut)


def test_many_notes_asked_for_make_stretches_shorter() -> None:
    few, many = (wide_task(2, 24, 4, Controls(density=density)) for density in ((1, 2), (20, 20)))
    assert len(stretches(few)) < len(stretches(many))


@settings(max_examples=40)
@given(seeds)
def test_a_window_holds_the_stretch_and_ends_where_it_may(seed: int) -> None:
    rng = np.random.default_rng(seed)
    task = random_task(rng, int(rng.integers(1, 60)), int(rng.integers(1, 6)))
    counts = step_counts(task.piece)
    for stretch in stretches(task):
        limit = int(rng.integers(stretch[-1] + 1, len(task.piece.bars) + 1))
        first, stop = window_around(task.piece, 100.0, stretch, limit)
        assert 0 <= first <= stretch[0] and stretch[-1] < stop <= limit
        beyond = counts[first:stop].sum() - counts[stretch[0] : stretch[-1] + 1].sum()
        assert not beyond or counts[first:stop].sum() + 100 <= WINDOW


@pytest.mark.parametrize(("seed", "bars", "tracks"), [(0, 1, 1), (1, 5, 2), (2, 30, 2), (3, 3, 40)])
def test_each_bar_is_reported_once_with_its_notes(folder: Path, seed: int, bars: int, tracks: int) -> None:
    task = wide_task(seed, bars, tracks)
    progress, _ = run(folder, task, 5)
    reported = Counter((p.candidate, p.bar) for p in progress)
    assert reported == Counter({(candidate, bar): 1 for candidate in range(5) for bar in task.bars})
    for candidate in range(5):
        mine = [p for p in progress if p.candidate == candidate]
        assert [p.bar for p in mine] == task.bars
        assert [p.done for p in mine] == list(range(1, len(task.bars) + 1))
        assert {p.total for p in mine} == {len(task.bars)}
        for p in mine:
            assert all(row[0] == p.bar and task.region[row[0], row[1]] for row in p.rows)
            places = [row[1:4] for row in p.rows]
            assert places == sorted(set(places))
            assert all(0 <= row[4] < len(DURATIONS) for row in p.rows)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["wide", "long", "locked"])
def test_a_cell_that_is_written_once_more_begins_where_it_did_before(
    folder: Path, data_dir: Path, kind: str, guidance: float
) -> None:
    """Without chance the second time is the first time again, in every cell."""
    if kind == "locked":
        score = read_midi(data_dir / "string-quartet.mid").score
        task = task_of(vary_request(score, [0, 1], (1, 6), 1.0, "contour"))
    else:
        task = wide_task(1, *((5, 4) if kind == "wide" else (40, 2)))
    text = np.zeros((1, TEXT_WIDTH), dtype=np.float32)
    task = replace(task, text=text + 0.1)
    generator, sampling = TransformerGenerator(Engine(folder)), Sampling(temperature=0.0, guidance=guidance)
    asked: list[tuple[int, int]] = []

    def written(again: bool) -> list[Progress]:
        def stale(draft: Draft) -> bool:
            asked.append(draft.place)
            return again

        return list(generator._generate_group(task, [(1, 0), (1, 1)], sampling, lambda: False, stale))

    once, twice = written(False), written(True)
    assert sum(len(progress.rows) for progress in once) > 20
    assert twice == once
    cells = 2 * int(task.region.sum())
    assert len(asked) == 2 * cells and Counter(asked[:cells]) == Counter(asked[cells:])


def notes_shown(steps: Steps) -> set[tuple[int, int]]:
    """Time and pitch of the pitched notes of a context."""
    notes = steps.facts[:, 0] == OFFSET["kind"] + NOTE
    pitch = steps.facts[:, 4] - OFFSET["pitch"]
    return {(int(t), int(p)) for t, p, note in zip(steps.time, pitch, notes, strict=True) if note and p >= 0}


def test_a_stretch_sees_what_the_candidate_wrote_before(folder: Path) -> None:
    task = wide_task(2, 60, 2)
    task.piece.programs[:] = 0
    assert len(stretches(task)) > 2
    candidates = 2
    progress, engine = run(folder, task, candidates)
    first, *later = engine.shown  # the first context is every candidate's
    assert len(later) == (len(stretches(task)) - 1) * candidates
    mine = {
        candidate: {(96 * row[0] + row[2], row[3]) for p in progress if p.candidate == candidate for row in p.rows}
        for candidate in range(candidates)
    }
    given_notes = {(96 * row[0] + row[2], row[3]) for row in task.piece.notes.tolist()}
    assert notes_shown(first) <= given_notes
    for number, steps in enumerate(later):
        shown = notes_shown(steps)
        assert shown <= given_notes | mine[number % candidates]
        assert shown & mine[number % candidates]


def test_no_context_is_longer_than_the_network_has_seen(folder: Path) -> None:
    for seed, bars, tracks in ((2, 40, 2), (4, 6, 12)):
        _, engine = run(folder, wide_task(seed, bars, tracks), 2)
        assert max(len(steps) for steps in engine.shown) <= WINDOW


def test_at_most_as_many_tracks_are_shown_as_there_are_slots(folder: Path) -> None:
    task = wide_task(6, 4, 60)
    task.region[:, 5:] = False
    _, engine = run(folder, task, 1)
    for steps in engine.shown:
        heads = np.isin(steps.facts[:, 0] - OFFSET["kind"], [TRACK, TRACK_FILL])
        slots = set((steps.facts[heads, 1] - OFFSET["slot"]).tolist())
        assert slots <= set(range(MAX_TRACKS))
        assert len(set(steps.cell[heads, 1].tolist())) <= MAX_TRACKS


def test_scattered_cells_are_all_written(folder: Path) -> None:
    task = random_task(np.random.default_rng(7), 30, 5, Controls(density=(1, 3)))
    progress, _ = run(folder, task, 2)
    for candidate in range(2):
        counts = Counter((row[0], row[1]) for p in progress if p.candidate == candidate for row in p.rows)
        assert set(counts) == {(bar, track) for bar, track in np.argwhere(task.region).tolist()}
        assert set(counts.values()) <= {1, 2, 3}
