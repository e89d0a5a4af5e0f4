"""How much of some music is in the training set note for note: two bars of a track at a time, in any key.

A window is two neighbouring bars of one track: where in the bars its notes start, and by which intervals they
follow from its first one (which drums they are, for drums). Loudness, length and micro-timing do not count, so
that a copy that was only played differently is a copy still. Windows of fewer than LEAST_NOTES notes are
everybody's and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.piece import DRUMS, Piece

Hashes = NDArray[np.uint64]
LEAST_NOTES = 4


def _mixed(value: Hashes) -> Hashes:
    """A 64-bit finaliser (SplitMix64: Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def window_hashes(piece: Piece, notes: NDArray[np.integer] | None = None) -> Hashes:
    """The hash of every window of a piece, or of other `notes` (as Piece.notes) on its bars and tracks.

    A window begins with a bar that sounds; the bar after it may be empty, but must be one of the piece.
    """
    rows = np.asarray(piece.notes if notes is None else notes, dtype=np.int64).reshape(-1, 7)
    if not len(rows):
        return np.zeros(0, dtype=np.uint64)
    rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 0], rows[:, 1]))]
    cell = rows[:, 1] * (len(piece.bars) + 2) + rows[:, 0]
    first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
    sizes = np.diff(first, append=len(rows))
    drums = piece.programs[rows[first, 1]] == DRUMS
    root = np.where(drums, 0, rows[first, 3])
    interval = rows[:, 3] - np.repeat(root, sizes) + 128
    note = _mixed((rows[:, 2] * 512 + interval + 1).astype(np.uint64))
    with np.errstate(over="ignore"):
        inside = np.add.reduceat(note, first)  # notes of a bar come in any order
    here = cell[first]
    length = piece.bars[rows[first, 0], 0].astype(np.int64)
    follows = np.concatenate([here[1:] == here[:-1] + 1, [False]])
    left = np.arange(len(first))
    right = np.where(follows, left + 1, left)
    step = np.where(follows, root[right] - root[left], 0) + 256
    tag = (drums * 2**20 + step * 2**10 + length).astype(np.uint64)
    with np.errstate(over="ignore"):
        second = np.where(follows, _mixed(inside[right] ^ _mixed(tag)), np.uint64(0))
        pair = _mixed(inside + second * np.uint64(3) + _mixed(tag + np.uint64(1)))
    count = sizes + np.where(follows, sizes[right], 0)
    last = rows[first, 0] == len(piece.bars) - 1
    return pair[(count >= LEAST_NOTES) & (follows | ~last)]


def training_windows(pieces: Iterable[Piece]) -> Hashes:
    """All different windows of some pieces, sorted."""
    parts: list[Hashes] = []
    waiting: list[Hashes] = []
    for piece in pieces:
        waiting.append(np.unique(window_hashes(piece)))
        if len(waiting) == 500:
            parts.append(np.unique(np.concatenate(waiting)))
            waiting = []
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *parts, *waiting]))


def share_known(windows: Hashes, known: Hashes) -> float:
    """The share of windows that are among the sorted `known` ones; nan where there is no window."""
    if not len(windows):
        return float("nan")
    if not len(known):
        return 0.0
    place = np.minimum(np.searchsorted(known, windows), len(known) - 1)
    return float((known[place] == windows).mean())
