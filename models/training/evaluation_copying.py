"""How much of some music is in the training set note for note: two bars of a track at a time, in any key
(models/known_bars.py), counted exactly.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.known_bars import Hashes, window_hashes
from models.piece import Piece


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
