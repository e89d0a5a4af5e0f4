"""How much several drafts of one passage have in common.

What most drafts do at a place is likelier to be right than what one of them does alone: of answers drawn by chance,
the one nearest to all others is the best guess (minimum Bayes risk decoding: Kumar and Byrne, NAACL 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.piece import DRUMS, DURATIONS, GRID

if TYPE_CHECKING:
    from models.generators import Rows

Floats = NDArray[np.float64]
SIXTEENTH = GRID // 4


def agreement(drafts: Sequence[Rows], programs: NDArray[np.int32], bars: Sequence[int]) -> Floats:
    """The mean likeness, 0..1, of every draft to the others: [len(drafts)]; 0 for one that is alone.

    drafts: rows as Piece.notes. programs: of the piece's tracks. bars: those that were written.
    """
    heard = [_Heard(draft, programs, bars) for draft in drafts]
    total = np.zeros(len(drafts))
    for left, right in combinations(range(len(drafts)), 2):
        total[[left, right]] += heard[left].likeness(heard[right])
    return total / max(1, len(drafts) - 1)


def sixteenths(position: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Grid positions as the sixteenths of the bar that are nearest."""
    return (position + SIXTEENTH // 2) // SIXTEENTH


class _Heard:
    """What of a draft is compared. starts, notes: where something starts in which track, by the sixteenth, and with
    which pitch. harmony: [bars, 12] time for which each pitch class sounds, of length 1. count: [bars] notes."""

    def __init__(self, draft: Rows, programs: NDArray[np.int32], bars: Sequence[int]) -> None:
        rows = np.array(draft, dtype=np.int64).reshape(-1, 7)
        bar, track, pitch = np.searchsorted(bars, rows[:, 0]), rows[:, 1], rows[:, 3]
        place = sixteenths(rows[:, 2])
        start = (bar * len(programs) + track) * 256 + place
        self.starts = set(start.tolist())
        self.notes = set((start * 256 + pitch).tolist())
        self.count = np.bincount(bar, minlength=len(bars))
        self.harmony = np.zeros((len(bars), 12))
        pitched = programs[track] != DRUMS
        np.add.at(self.harmony, (bar[pitched], pitch[pitched] % 12), DURATIONS[rows[pitched, 4]])
        self.harmony /= np.maximum(np.linalg.norm(self.harmony, axis=1, keepdims=True), 1e-9)

    def likeness(self, other: _Heard) -> float:
        """The mean of four: shared starts, shared notes (F1), harmony (cosine) and number of notes by bar."""
        most = np.maximum(self.count, other.count)
        sounding = self.harmony.any(axis=1) | other.harmony.any(axis=1)
        found = [
            _shared(self.starts, other.starts),
            _shared(self.notes, other.notes),
            float((1 - np.abs(self.count - other.count) / (1 + most)).mean()),
        ]
        if sounding.any():
            found.append(float((self.harmony * other.harmony).sum(axis=1)[sounding].mean()))
        return sum(found) / len(found)


def _shared(left: set[int], right: set[int]) -> float:
    """F1 of two sets; two empty ones are alike."""
    return 2 * len(left & right) / (len(left) + len(right)) if left or right else 1.0
