"""Shared runs: what is copied is found in any key, what is not is not, and candidates say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import pipeline
from assistant.pipeline import Options, continue_request, propose
from models.drawing import Sampling
from models.errors import ControlError, UserError
from models.generators import Progress, Task
from models.known_bars import SHIPPED as BARS
from models.known_bars import KnownBars, shipped_bars, window_hashes
from models.originality import GRAM, SHIPPED, TRIVIAL, WINDOW, Index, Run, kept, lines, longest_run, shipped_index
from models.piece import DRUMS, Piece
from models.training.sampling import transpose
from models.training.shards import Item, write_shards
from scripts.make_originality_index import main as make_index
from tests.builders import random_piece, simple_score


def melody(seed: int, count: int, programs: tuple[int, ...] = (0,)) -> Piece:
    """A line of `count` different steps and rhythms, eight notes a bar at most."""
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.integers(1, 5, count) * 6) * 2
    pitch = np.clip(np.cumsum(rng.integers(-5, 6, count)) + 60, 20, 100)
    bars = int(time[-1]) // 96 + 1
    table = np.tile(np.array([[96, 4, 120, 0]], dtype=np.int32), (bars, 1))
    columns = [
        time // 96,
        np.zeros(count),
        time % 96,
        pitch,
        np.full(count, 5),
        np.full(count, 20),
        np.zeros(count),
    ]
    notes = np.stack(columns, axis=1).astype(np.int32)
    return Piece(np.array(programs, dtype=np.int32), table, notes, np.zeros((0, 3), dtype=np.int32))


def joined(*parts: Piece) -> Piece:
    """Lines one after the other."""
    bars = np.concatenate([part.bars for part in parts])
    shifts = np.cumsum([0] + [len(part.bars) for part in parts])
    notes = [part.notes + np.array([shift, 0, 0, 0, 0, 0, 0]) for part, shift in zip(parts, shifts, strict=False)]
    return replace(parts[0], bars=bars, notes=np.concatenate(notes).astype(np.int32))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(GRAM + WINDOW - 1, 60), st.integers(-5, 6))
def test_a_copied_run_is_found_in_any_key(seed: int, length: int, semitones: int) -> None:
    known = melody(seed, 120)
    index = Index.of([known, melody(seed + 1, 60)])
    start = seed % (120 - length)
    rows = known.notes[start : start + length]
    copied = replace(known, notes=rows)
    other = joined(melody(seed + 2, 40), transpose(copied, semitones), melody(seed + 3, 40))
    found = longest_run(lines(other), index)
    # A run can lose the parts of it before the first trace and after the last one.
    assert length - 2 * (WINDOW - 1) <= found.notes <= length + 2
    assert found.notes >= GRAM and 0 < found.bars <= 20


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_what_is_not_copied_is_not_found(seed: int) -> None:
    index = Index.of([melody(seed, 120)])
    assert longest_run(lines(melody(seed + 50_000, 120)), index) == Run(0, 0)
    (line,) = lines(melody(seed, 120))
    without_trace = int((line.hashes == TRIVIAL).sum())  # notes that say the same over and over
    assert longest_run([line], index).notes >= 120 - 2 * WINDOW - without_trace


def test_drums_are_not_transposed_and_trills_are_everybodys() -> None:
    drums = melody(1, 80, (DRUMS,))
    index = Index.of([drums])
    assert longest_run(lines(drums), index).notes > 60
    higher = replace(drums, notes=drums.notes + np.array([0, 0, 0, 1, 0, 0, 0]))
    assert longest_run(lines(higher), index).notes == 0
    assert longest_run(lines(replace(drums, programs=np.array([0], dtype=np.int32))), index).notes == 0
    trill = melody(1, 64)
    trill.notes[:, 0], trill.notes[:, 2] = np.arange(64) // 16, np.arange(64) % 16 * 6
    trill.notes[:, 3] = 60 + np.arange(64) % 2
    assert len(Index.of([trill])) == 0


def line_of(*steps: tuple[int, int], notes: int = 120) -> Piece:
    """A line that goes on as `steps` say, over and over: (grid ticks later, semitones higher)."""
    gaps, moves = np.array([steps[at % len(steps)] for at in range(notes - 1)]).T
    time, pitch = np.concatenate([[0], np.cumsum(gaps)]), 40 + np.concatenate([[0], np.cumsum(moves)])
    bars = np.tile(np.array([[96, 4, 120, 0]], dtype=np.int32), (int(time[-1]) // 96 + 1, 1))
    zero = np.zeros(notes)
    rows = np.stack([time // 96, zero, time % 96, pitch, zero + 5, zero + 6, zero], axis=1).astype(np.int32)
    return Piece(np.array([0], dtype=np.int32), bars, rows, np.zeros((0, 3), dtype=np.int32))


CHORD = ((0, 4), (0, 3), (12, -7))  # struck over and over
ARPEGGIO = ((6, 4), (6, 3), (6, 5), (6, -12))
TREMOLO = ((3, 0),)
RHYTHM = ((18, 0), (6, 0), (12, 0))  # on one pitch


@pytest.mark.parametrize("pattern", [CHORD, ARPEGGIO, TREMOLO, RHYTHM])
def test_what_repeats_counts_once(pattern: tuple[tuple[int, int], ...]) -> None:
    piece = line_of(*pattern)
    found = longest_run(lines(piece), Index.of([piece]))
    assert found.notes <= GRAM - 1 + len(pattern) and found.bars < 2
    # A tune after it counts whole, and one that comes twice counts once.
    tune = melody(3, 60)
    for music in (joined(piece, tune), joined(tune, tune)):
        found = longest_run(lines(music), Index.of([piece, tune]))
        assert 60 - 2 * WINDOW <= found.notes <= 60 and found.bars <= len(tune.bars)


@pytest.mark.parametrize("steps", [(2, 2, 1, 2, 2, 2, 1), (2, 1, 2, 2, 1, 3, 1), (-1,), (-2, -1, -3)])
def test_a_plain_scale_is_everybodys(steps: tuple[int, ...]) -> None:
    scale = line_of(*((6, step) for step in steps), notes=30)
    scale.notes[:, 3] += 40 if steps[0] < 0 else 0
    assert longest_run(lines(scale), Index.of([scale])).notes == 0
    # With a rhythm of its own it is a tune.
    scale.notes[::5, 2] += 2
    assert longest_run(lines(scale), Index.of([scale])).notes > GRAM


def test_the_shipped_index_calls_no_accompaniment_a_copy() -> None:
    index = shipped_index()
    assert index is not None
    for pattern in (CHORD, ARPEGGIO, TREMOLO, RHYTHM):
        assert longest_run(lines(line_of(*pattern)), index).notes <= index.human.notes


def test_every_window_leaves_a_trace() -> None:
    hashes = np.random.default_rng(0).integers(0, 1000, 500).astype(np.uint32)
    places = kept(hashes)
    assert (np.diff(places) <= WINDOW).all() and places[0] < WINDOW and places[-1] >= 500 - WINDOW
    assert len(places) < 500 * 2.5 / (WINDOW + 1)


def test_an_index_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    index = Index.of([random_piece(np.random.default_rng(n), bars=20) for n in range(5)])
    index.human = Run(14, 2.5)
    index.save(tmp_path / "index.safetensors")
    again = Index.load(tmp_path / "index.safetensors")
    assert len(again) == len(index) and again.human == index.human
    hashes = np.concatenate([line.hashes for line in lines(random_piece(np.random.default_rng(2), bars=20))])
    assert np.array_equal(again.knows(hashes), index.knows(hashes)) and index.knows(hashes).any()
    (tmp_path / "broken").write_bytes(b"no index")
    for name in ("broken", "nowhere"):
        with pytest.raises(UserError, match="originality index"):
            Index.load(tmp_path / name)


def test_the_shipped_index_is_small_and_knows_the_human_baseline() -> None:
    assert SHIPPED.stat().st_size < 6_000_000
    index = shipped_index()
    assert index is not None and len(index) > 1_000_000 and index.human.notes >= GRAM
    # What nobody wrote is not in it.
    assert longest_run(lines(melody(7, 200)), index).notes < 3 * GRAM


def test_known_bars_are_all_found_and_few_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    known, other = (rng.integers(0, 1 << 64, 20_000, dtype=np.uint64) for _ in range(2))
    bars = KnownBars.of(known)
    bars.save(tmp_path / "bars")
    again = KnownBars.load(tmp_path / "bars")
    assert again.has(known).all() and not again.has(known[:0]).size
    assert (again.has(other) == bars.has(other)).all() and again.has(other).mean() < 0.02
    (tmp_path / "bars").write_bytes(b"none")
    with pytest.raises(UserError, match="known bars"):
        KnownBars.load(tmp_path / "bars")
    shipped = shipped_bars()
    assert shipped is not None and shipped.has(other).mean() < 0.02 and BARS.stat().st_size < 3_000_000


class Quoting:
    """A generator that writes a line it knows, at first, and another one later."""

    model_hash = "quoting"

    def __init__(self, quotes: int) -> None:
        self.quotes, self.written = quotes, 0

    def generate(
        self,
        task: Task,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Progress]:
        for candidate, _ in enumerate(seeds):
            line = melody(1 if self.written < self.quotes else 100 + self.written, 120).notes
            self.written += 1
            for done, bar in enumerate(task.bars, 1):
                rows = [(bar, *row[1:]) for row in map(tuple, line.tolist()) if row[0] == bar - task.bars[0]]
                yield Progress(candidate, bar, done, len(task.bars), rows)


@pytest.fixture
def knows_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.of([melody(1, 120)])
    index.human = Run(12, 2.0)
    monkeypatch.setattr(pipeline, "shipped_index", lambda: index)


@pytest.mark.usefixtures("knows_the_line")
def test_a_candidate_says_what_it_shares() -> None:
    request = continue_request(simple_score(4), 8, Options(candidates=1))
    candidate = propose(request, Quoting(1))[0]
    assert candidate.originality is not None
    assert candidate.originality.training.notes > 12 and candidate.originality.human.notes == 12
    assert "human music: up to 12" in candidate.originality.sentence()
    fresh = propose(request, Quoting(0))[0].originality
    assert fresh is not None and fresh.training == Run(0, 0) and fresh.own is None


@pytest.mark.usefixtures("knows_the_line")
def test_a_copy_is_written_again_and_refused_when_it_stays_one() -> None:
    request = continue_request(simple_score(4), 8, Options(candidates=1, max_copy=16))
    generator = Quoting(2)
    candidate = propose(request, generator)[0]
    assert candidate.originality and candidate.originality.training.notes == 0 and generator.written == 3
    with pytest.raises(ControlError, match="in a row with known music"):
        propose(request, Quoting(10))


def test_the_index_is_made_from_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [
        Item(melody(n, 120), {"set": "a", "split": "valid" if n % 3 == 2 else "train", "work": str(n)})
        for n in range(6)
    ]
    write_shards(items, tmp_path / "shards")
    assert make_index([str(tmp_path / "shards"), "--out", str(tmp_path / "out")]) == 0
    index, bars = Index.load(tmp_path / "out" / SHIPPED.name), KnownBars.load(tmp_path / "out" / BARS.name)
    assert longest_run(lines(items[0].piece), index).notes > 80
    assert bars.has(window_hashes(items[0].piece)).all() and bars.has(window_hashes(items[2].piece)).mean() < 0.1
    assert f"{len(index):,} numbers" in capsys.readouterr().out
    write_shards(items[:1], tmp_path / "few")
    assert make_index([str(tmp_path / "few"), "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
