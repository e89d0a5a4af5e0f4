"""Long pieces: what was played before is found again, and the window that holds it is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.drawing import Sampling
from models.generators import WINDOW, _view, window_with_memory
from models.piece import Piece
from models.recall import LEAD, best_place, likeness, passage_like, with_passage
from models.tokens import step_counts
from models.training.evaluation_music import task_of
from tests.builders import random_piece, tiny_generator

BARS = 120
VERSE = 12  # bars, which come again


def verses(notes_a_bar: int = 10, lengths: tuple[int, ...] = (96,)) -> Piece:
    """Random bars, of which the first VERSE, with the chords there, come again from bar 100 on."""
    piece = random_piece(np.random.default_rng(4), bars=BARS, tracks=2, notes_a_bar=notes_a_bar, lengths=lengths)
    piece.programs[:] = (0, 32)
    again = piece.notes[piece.notes[:, 0] < VERSE] + np.array([100, 0, 0, 0, 0, 0, 0], dtype=np.int32)
    notes = np.concatenate([piece.notes[piece.notes[:, 0] < 100], again])
    chords = np.array([[0, 0, 1], [2, 48, 17], [60, 0, 33]], dtype=np.int32)
    return Piece(piece.programs, piece.bars, notes, chords)


def test_likeness_is_one_for_the_same_bar_and_nothing_for_silence() -> None:
    piece = verses()
    found = likeness(piece, 103)
    assert found[103] == found[3] == 1 and (found >= 0).all()
    assert found[np.setdiff1d(np.arange(BARS), [3, 103])].max() < 0.6
    assert not likeness(piece, BARS - 1).any()  # an empty bar


def test_the_verse_is_found_again() -> None:
    piece = verses()
    known = np.ones(BARS, dtype=bool)
    known[106:] = False
    hidden = np.arange(BARS) < 90
    assert best_place(piece, range(106, 110), hidden, known) == 6
    assert passage_like(piece, range(106, 110), (90, BARS), known, 9) == list(range(6 - LEAD, 10))
    assert passage_like(piece, range(106, 110), (0, BARS), known, 9) == []  # all is in sight
    assert passage_like(piece, range(50, 54), (40, 60), np.arange(BARS) < 50, 9) == []  # nothing is like it


def test_a_passage_stands_before_the_nearest_bars_and_nothing_else_moves() -> None:
    piece = verses()
    longer, first = with_passage(piece, range(5, 10), 90)
    assert first == 85
    for source, target in zip(range(5, 10), range(85, 90), strict=True):
        assert np.array_equal(
            piece.notes[piece.notes[:, 0] == source, 1:], longer.notes[longer.notes[:, 0] == target, 1:]
        )
    outside = (longer.notes[:, 0] < 85) | (longer.notes[:, 0] >= 90)
    assert np.array_equal(longer.notes[outside], piece.notes[(piece.notes[:, 0] < 85) | (piece.notes[:, 0] >= 90)])
    assert np.array_equal(longer.notes, longer.notes[np.lexsort(longer.notes[:, 3::-1].T)])
    # The chord that sounds after it is still the one of bar 60.
    assert longer.chords[longer.chords[:, 0] <= 90][-1].tolist() == [90, 0, 33]
    odd = verses(lengths=(96, 72))
    differs = next(b for b in range(80, 90) if odd.bars[b, 0] != odd.bars[b - 75, 0])
    assert with_passage(odd, range(differs - 75, differs - 74), differs + 1) == (odd, differs + 1)


def test_a_window_with_a_memory_fits_and_shows_the_verse() -> None:
    piece = verses(notes_a_bar=12)
    region = np.zeros((BARS, 2), dtype=bool)
    region[106:110] = True
    task = task_of(piece, region)
    writing = float(task.steps_to_write[106:110].sum())
    longer, first, stop = window_with_memory(task.piece, writing, [106, 107, 108, 109], BARS)
    assert step_counts(longer)[first:stop].sum() + writing <= WINDOW
    shown = longer.notes[(longer.notes[:, 0] >= first) & (longer.notes[:, 0] < first + LEAD + 4)]
    verse = piece.notes[(piece.notes[:, 0] >= 6 - LEAD) & (piece.notes[:, 0] < 10)]
    assert np.array_equal(shown[:, 1:], verse[:, 1:])
    view = _view(task, [106, 107, 108, 109], task.rules.draft())
    assert len(view.context) <= WINDOW
    assert view.plan.chords[106][0] == 33


@pytest.mark.parametrize("first", [30, 106])
def test_candidates_of_a_long_piece_are_the_same_again(first: int, tmp_path: Path) -> None:
    region = np.zeros((BARS, 2), dtype=bool)
    region[first : first + 2] = True
    task = task_of(verses(), region)
    generator = tiny_generator(tmp_path)

    def rows(count: int) -> list[list[tuple[int, ...]]]:
        found: list[list[tuple[int, ...]]] = [[] for _ in range(count)]
        for progress in generator.generate(task, [(7, n) for n in range(count)], Sampling(top_p=0.9)):
            found[progress.candidate].extend(progress.rows)
        return found

    assert rows(3)[:2] == rows(2)
    assert all(region[row[0], row[1]] for row in rows(1)[0])
