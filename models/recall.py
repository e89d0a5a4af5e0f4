"""What a long piece has said before: earlier bars that resemble the place that is written, brought into its window.

The network sees some 640 steps around the bars that it writes, which in a long piece is not the verse of three
minutes ago. `passage_like` looks for the place whose surroundings are most like those of the bars to be written;
`with_passage` puts the bars found there right before the nearest ones, in place of bars that would not be seen
anyway. So the network reads them as if the music had just been there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.piece import Piece

IntArray = NDArray[np.int32]
LEAST_LIKENESS = 0.5  # of the surroundings, below which nothing is recalled
BEFORE, AFTER = (0.4, 0.3, 0.2, 0.1), (0.5, 0.5)  # weights of the bars before and after a place
FARTHEST = 1024  # bars away
LEAD = 1  # bars before the place that are recalled with it


def likeness(piece: Piece, bar: int) -> NDArray[np.float64]:
    """How like a bar every bar of the piece is, 0..1: [B]. The share of notes in common (Dice), half by place and
    pitch, half by place alone, part by part; silence is like nothing."""
    low, high = np.searchsorted(piece.notes[:, 0], (bar - FARTHEST, bar + FARTHEST))
    notes = piece.notes[low:high].astype(np.int64)
    place = notes[:, 1] * 256 + notes[:, 2]
    total = np.zeros(len(piece.bars))
    for keys in (place * 128 + notes[:, 3], place):
        wanted = np.unique(keys[notes[:, 0] == bar])
        if not len(wanted):
            return total
        found, first = np.unique(notes[:, 0] * 2**32 + keys, return_index=True)
        bars = notes[first, 0]
        shared = np.bincount(bars, weights=np.isin(found % 2**32, wanted), minlength=len(total))
        size = np.bincount(bars, minlength=len(total))
        total += 0.5 * 2 * shared / (size + len(wanted))
    return total


def best_place(
    piece: Piece, stretch: Sequence[int], hidden: NDArray[np.bool_], known: NDArray[np.bool_]
) -> int | None:
    """The bar at which a passage begins whose surroundings are most like those of the stretch; None where none is.

    hidden: [B] bars that the window does not show. known: [B] bars of which nothing is to be written.
    """
    count, length = len(piece.bars), len(stretch)
    score, weight = np.zeros(count), 0.0
    around = [(-back - 1, w) for back, w in enumerate(BEFORE)]
    around += [(length + ahead, w) for ahead, w in enumerate(AFTER)]
    for offset, share in around:
        bar = stretch[0] + offset
        if not 0 <= bar < count or not known[bar]:
            continue
        alike = likeness(piece, bar)
        shifted = np.zeros(count)
        low, high = max(0, -offset), min(count, count - offset)
        shifted[low:high] = alike[low + offset : high + offset]
        score += share * shifted
        weight += share
    if not weight:
        return None
    inside = np.arange(count)
    fits = (inside >= LEAD) & (inside + length <= count)
    for offset in range(-LEAD, length):
        fits &= np.where(fits, (hidden & known)[np.clip(inside + offset, 0, count - 1)], False)
    score = np.where(fits, score / weight, 0.0)
    best = int(count - 1 - score[::-1].argmax())  # the latest of several
    return best if score[best] >= LEAST_LIKENESS else None


def passage_like(
    piece: Piece, stretch: Sequence[int], window: tuple[int, int], known: NDArray[np.bool_], most: int
) -> list[int]:
    """Bars outside of the window (first, end) whose surroundings resemble those of the stretch, in order, with the
    LEAD bars before them; at most `most` in all. Empty where all is in sight or nothing is alike.

    known: [B] bars of which nothing is to be written.
    """
    first, stop = window
    hidden = np.ones(len(piece.bars), dtype=bool)
    hidden[first:stop] = False
    if first <= most or not hidden[:first].any():
        return []
    place = best_place(piece, stretch[: most - LEAD], hidden, known)
    return [] if place is None else list(range(place - LEAD, place + min(len(stretch), most - LEAD)))


def with_passage(piece: Piece, source: Sequence[int], first: int) -> tuple[Piece, int]:
    """The piece with the source bars copied to right before bar `first`, over what is there, and the bar at which
    they begin; unchanged where the bars that they would stand in for have other lengths."""
    target = list(range(first - len(source), first))
    if not source or target[0] < 0 or not np.array_equal(piece.bars[list(source), 0], piece.bars[target, 0]):
        return piece, first
    bars = piece.bars.copy()
    bars[target] = piece.bars[list(source)]
    notes, chords = _moved(piece.notes, source, target), _moved(piece.chords, source, target)
    if (
        len(before := piece.chords[piece.chords[:, 0] <= first])
        and not (chords[:, :2] == (first, 0)).all(axis=1).any()
    ):
        resumed = before[before[:, 0] < first][-1:]  # what sounds from here on is not what was recalled
        chords = _sorted(np.concatenate([chords, resumed * [0, 0, 1] + [first, 0, 0]]).astype(np.int32))
    return replace(piece, bars=bars, notes=notes, chords=chords), target[0]


def _moved(table: IntArray, source: Sequence[int], target: Sequence[int]) -> IntArray:
    """Rows of a table by bar, with those of the target bars replaced by copies of the source bars'."""
    rest = table[~np.isin(table[:, 0], target)]
    parts = [rest]
    for before, after in zip(source, target, strict=True):
        part = table[table[:, 0] == before].copy()
        part[:, 0] = after
        parts.append(part)
    return _sorted(np.concatenate(parts))


def _sorted(rows: IntArray) -> IntArray:
    """Rows by their first columns."""
    return rows[np.lexsort(rows[:, : min(4, rows.shape[1])].T[::-1])]
