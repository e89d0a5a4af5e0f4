"""Of several drafts the one is kept that a composer would sooner have written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.architecture import CHOICE_FILE
from models.choice import MARKS, Around, Choice, again, alike, clashes
from models.drawing import Sampling
from models.engine import Engine
from models.errors import UserError
from models.generators import DRAFT, DRAFTS, Rows, Task, TransformerGenerator
from models.known_bars import KnownBars, Recogniser, window_hashes
from models.piece import DRUMS, DURATIONS, GRID, Piece
from models.training.choosing import KNOWN, Groups, fit, recognised
from models.training.evaluation_music import task_of
from tests.builders import random_task, tiny_generator

QUARTER = int(np.searchsorted(DURATIONS, GRID))
seeds = st.integers(0, 2**32 - 1)


def line(bars: range, pitches: list[int], track: int = 0) -> list[tuple[int, ...]]:
    """Four quarter notes a bar, going round the pitches."""
    return [
        (bar, track, GRID * beat, pitches[(4 * bar + beat) % len(pitches)], QUARTER, 16, 0)
        for bar in bars
        for beat in range(4)
    ]


def line_task(pitches: list[int]) -> Task:
    """Eight bars of a melody, of which the last two are to be written."""
    bars = np.tile(np.array([[4 * GRID, 0, 0, 0, 0]], dtype=np.int32), (8, 1))[:, : random_bars_width()]
    rows = np.array(line(range(8), pitches), dtype=np.int32)
    piece = Piece(np.array([0], dtype=np.int32), bars, rows, np.zeros((0, 3), dtype=np.int32))
    region = np.zeros((8, 1), dtype=bool)
    region[6:] = True
    return task_of(piece, region)


def random_bars_width() -> int:
    return int(random_task(np.random.default_rng(0), 2, 1).piece.bars.shape[1])


def mark(task: Task, rows: list[tuple[int, ...]], name: str) -> float:
    return float(Around(task).marks(list(rows))[MARKS.index(name)])  # type: ignore[arg-type]


def table(**slopes: float) -> Choice:
    """A table that goes by a few marks."""
    zeros, ones = np.zeros((2, len(MARKS))), np.ones((2, len(MARKS)))
    slope = zeros.copy()
    for name, value in slopes.items():
        slope[:, MARKS.index(name.replace("_", " "))] = value
    return Choice(zeros, ones, slope, zeros)


MELODY = [60, 62, 64, 65, 67, 65, 64, 62, 60, 64, 67, 72, 71, 67, 65, 62, 64, 60, 59, 62]


def test_marks_of_what_goes_on_as_before_and_of_what_does_not() -> None:
    task = line_task(MELODY)
    same, stuck = line(range(6, 8), MELODY), line(range(6, 8), [60])
    for name in ("density", "empty bars", "longest gap", "loudness", "later"):
        assert mark(task, same, name) == pytest.approx(0.0, abs=0.2), name
    assert mark(task, same, "rhythm") == mark(task, same, "lengths") == pytest.approx(1.0)
    assert mark(task, stuck, "same pitch") == pytest.approx(1.0)
    assert mark(task, stuck, "last bar again") > mark(task, same, "last bar again")
    assert mark(task, stuck, "intervals") == pytest.approx(0.0)
    assert mark(task, [], "density") < -2 and mark(task, [], "empty bars") == pytest.approx(1.0)
    octaves = [(*row[:3], row[3] + 24, *row[4:]) for row in same]
    assert mark(task, octaves, "outside") == 1.0 and mark(task, octaves, "register") > 20
    clashing = [*same, *((*row[:3], row[3] + 1, *row[4:]) for row in same)]
    assert mark(task, same, "clashes") == 0.0 and mark(task, clashing, "clashes") == 1.0


def test_the_parts_of_marks() -> None:
    assert alike(np.array([0, 0, 4]), np.array([0, 4, 4])) == pytest.approx(2 / 3)
    notes = np.array(line(range(3), [60, 64, 67, 72]), dtype=np.int64)
    assert again(notes, notes, 4) == 1.0
    assert math.isnan(again(notes[:4], notes, 4))  # nothing is before the first bar
    one = notes[:1]
    assert math.isnan(clashes(one, one[:, 2]))


@settings(max_examples=40)
@given(seeds)
def test_any_draft_of_any_task_has_marks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    task = random_task(rng, int(rng.integers(1, 20)), int(rng.integers(1, 5)))
    cells = np.argwhere(task.region)
    drafts: list[Rows] = []
    for count in (0, 1, 40):
        drafts.append([])
        for bar, track in cells[rng.integers(0, len(cells), count)].tolist():
            pitch = int(rng.integers(0, 128)) + (128 if task.piece.programs[track] == DRUMS else 0)
            drafts[-1].append((bar, track, int(rng.integers(0, task.piece.bars[bar, 0])), pitch, 5, 9, 0))
    around = Around(task)
    for draft in drafts:
        marks = around.marks(draft)
        assert marks.shape == (len(MARKS),) and not np.isinf(marks).any()
    chosen = table(density=1.0).best(Around(task), drafts)
    assert 0 <= chosen < len(drafts)


def test_the_composers_win_under_the_fitted_table() -> None:
    rng = np.random.default_rng(3)
    marks = rng.normal(size=(300, 5, len(MARKS)))
    marks[:, 1:, MARKS.index("same pitch")] += 2.0  # drafts repeat pitches
    marks[:, 1:, MARKS.index("density")] *= 4.0  # and are too full or too thin
    marks[:, :, MARKS.index("drums")] = np.nan
    found = Groups(marks, np.full(300, KNOWN))
    choice = fit(found)
    assert recognised(choice, found)["going on"] > 0.9
    assert choice.slope[KNOWN, MARKS.index("same pitch")] < 0 > choice.bend[KNOWN, MARKS.index("density")]
    assert np.isfinite(choice.worth(KNOWN, marks)).all()


def test_what_is_known_is_kept_only_where_it_is_much_better(monkeypatch: pytest.MonkeyPatch) -> None:
    task = line_task(MELODY)
    known, new = line(range(6, 8), [60, *MELODY]), line(range(6, 8), [60, 67, 64, 71, 62, 69, 65, 72])
    windows = window_hashes(task.piece, np.array(known, dtype=np.int32))
    monkeypatch.setattr("models.known_bars.shipped_bars", lambda: KnownBars.of(windows))
    assert table().best(Around(task), [known, new]) == 1  # type: ignore[list-item]
    assert table(intervals=10.0).best(Around(task), [known, new]) == 0  # type: ignore[list-item]
    monkeypatch.setattr("models.known_bars.shipped_bars", lambda: None)
    assert table().best(Around(task), [known, new]) == 0  # type: ignore[list-item]


def test_what_the_piece_has_already_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    task = line_task(MELODY[:8])  # goes round in two bars
    again, new = line(range(6, 8), MELODY[:8]), line(range(6, 8), [60, 67, 64, 71, 62, 69, 65, 72])
    both = [window_hashes(task.piece, np.array(rows, dtype=np.int32)) for rows in (again, new)]
    monkeypatch.setattr("models.known_bars.shipped_bars", lambda: KnownBars.of(np.concatenate(both)))
    assert table().best(Around(task), [new, again]) == 1  # type: ignore[list-item]


def test_a_bar_is_known_with_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    task = line_task(MELODY)
    known, new = line(range(6, 8), [60, *MELODY]), line(range(6, 8), [60, 67, 64, 71, 62, 69, 65, 72])
    windows = window_hashes(task.piece, np.array(known, dtype=np.int32))
    monkeypatch.setattr("models.known_bars.shipped_bars", lambda: KnownBars.of(windows))
    recogniser = Recogniser(task.piece)

    def last(rows: list[tuple[int, ...]], place: tuple[int, int] = (7, 0), free: bool = True) -> bool:
        draft = task.rules.draft()
        draft.rows, draft.place, draft.free = rows, place, free  # type: ignore[assignment]
        return recogniser.knows_last(draft)

    half = [row for row in known if row[0] == 6]
    assert last(known) and last([*line(range(2, 4), MELODY), *known])
    assert not last(new) and not last(known, free=False) and not last(known, (7, 1))
    assert not last(half, (6, 0)) and not last(known[len(half) :])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("weights")
    tiny_generator(where)
    return where


def written(generator: TransformerGenerator, task: Task, numbers: list[tuple[int, ...]]) -> tuple[list[Rows], int]:
    """What the candidates are in the end, and how many were reported anew."""
    rows: list[Rows] = [[] for _ in numbers]
    begun = 0
    for progress in generator.generate(task, numbers, Sampling()):
        if progress.done == 1:
            rows[progress.candidate] = []
            begun += 1
        rows[progress.candidate].extend(progress.rows)
    return rows, begun - len(numbers)


def test_the_best_draft_is_kept_whatever_else_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.known_bars.shipped_bars", lambda: None)  # no bar is written once more
    task = random_task(np.random.default_rng(11), 12, 3)
    engine, choice = Engine(folder), table(density=1.0)
    asked: list[tuple[int, ...]] = [(5, number) for number in range(6)]
    kept, anew = written(TransformerGenerator(engine, choice), task, asked)
    plain = TransformerGenerator(engine)
    best = []
    for number, rows in zip(asked, kept, strict=True):
        drafts = [
            written(plain, task, [(*number, *((DRAFT, draft) if draft else ()))])[0][0] for draft in range(DRAFTS)
        ]
        best.append(choice.best(Around(task), drafts))
        assert rows == drafts[best[-1]]
    assert anew == sum(number > 0 for number in best) > 0
    assert written(TransformerGenerator(engine, choice), task, asked[3:4])[0][0] == kept[3]


def test_a_table_is_kept_and_what_is_none_is_refused(tmp_path: Path) -> None:
    assert Choice.load(tmp_path) is None
    choice = table(density=0.5, same_pitch=-1.25)
    choice.save(tmp_path)
    again = Choice.load(tmp_path)
    assert again is not None
    assert all(
        np.array_equal(getattr(choice, name), getattr(again, name)) for name in ("centre", "spread", "slope")
    )
    (tmp_path / CHOICE_FILE).write_bytes(b"{}")
    with pytest.raises(UserError, match="cannot be read"):
        Choice.load(tmp_path)
