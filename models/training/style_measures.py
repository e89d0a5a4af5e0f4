"""How near some music is to a style: histograms of what a listener notices, and how far they lie apart.

    interval    steps of the upper line of each track, in semitones
    rhythm      where in the quarter notes start
    step        time from one start to the next of a track
    duration    of the notes
    density     notes of a track in a bar
    register    pitch, in bands of half an octave; which drum, for drums
    chord       what sounds together in a track, as intervals above its lowest note
    velocity    loudness
    timing      how early or late against the grid

The distance of two sets of music is the mean, over these, of the Jensen-Shannon divergence in bits (Lin 1991).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.piece import DRUMS, GRID, MICRO_LIMIT, VELOCITY_BINS, Piece

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
LONGEST_STEP = 4 * GRID
FEATURES: dict[str, int] = {
    "interval": 26,
    "rhythm": GRID,
    "step": LONGEST_STEP + 1,
    "duration": 64,
    "density": 41,
    "register": 22 + 128,
    "chord": 4096,
    "velocity": VELOCITY_BINS,
    "timing": 2 * MICRO_LIMIT + 1,
}


def histograms(pieces: Sequence[Piece]) -> dict[str, Floats]:
    """Counts of every feature over some music."""
    total = {name: np.zeros(size) for name, size in FEATURES.items()}
    for piece in pieces:
        for name, values in _values(piece).items():
            total[name] += np.bincount(values, minlength=FEATURES[name])[: FEATURES[name]]
    return total


def _values(piece: Piece) -> dict[str, Rows]:
    notes = piece.notes.astype(np.int64)
    nothing = np.zeros(0, dtype=np.int64)
    if not len(notes):
        return dict.fromkeys(FEATURES, nothing)
    begin = np.concatenate([[0], np.cumsum(piece.bars[:, 0])]).astype(np.int64)
    drum = piece.programs[notes[:, 1]] == DRUMS
    cells = np.unique(notes[:, 0] * len(piece.programs) + notes[:, 1], return_counts=True)[1]
    intervals, steps, chords = [nothing], [nothing], [nothing]
    for track, program in enumerate(piece.programs):
        own = notes[notes[:, 1] == track]
        if not len(own):
            continue
        time = begin[own[:, 0]] + own[:, 2]
        first = np.flatnonzero(np.diff(time, prepend=-1))
        steps.append(np.clip(np.diff(time[first]), 0, LONGEST_STEP))
        if program == DRUMS:
            continue
        ends = np.append(first[1:], len(own)) - 1
        top, lowest = own[ends, 3], own[first, 3]  # a chord's notes ascend
        intervals.append(np.clip(np.diff(top), -12, 12) + 13)
        above = 1 << (own[:, 3] - np.repeat(lowest, ends - first + 1)) % 12
        chords.append(np.bitwise_or.reduceat(above, first))
    return {
        "interval": np.concatenate(intervals),
        "rhythm": notes[:, 2] % GRID,
        "step": np.concatenate(steps),
        "duration": notes[:, 4],
        "density": np.minimum(cells, 40),
        "register": np.where(drum, 22 + notes[:, 3], notes[:, 3] // 6),
        "chord": np.concatenate(chords),
        "velocity": notes[:, 5],
        "timing": notes[:, 6] + MICRO_LIMIT,
    }


def divergence(a: Floats, b: Floats) -> float:
    """Jensen-Shannon divergence of two histograms in bits, from 0 (alike) to 1; 0 where either is empty."""
    if not a.sum() or not b.sum():
        return 0.0
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2

    def towards(one: Floats) -> float:
        here = one > 0
        return float((one[here] * np.log2(one[here] / middle[here])).sum())

    return (towards(p) + towards(q)) / 2


def distance(some: Sequence[Piece], others: Sequence[Piece]) -> float:
    """The mean divergence over all features."""
    a, b = histograms(some), histograms(others)
    return float(np.mean([divergence(a[name], b[name]) for name in FEATURES]))


def described(piece: Piece) -> Floats:
    """One piece as a point: square roots of its histograms' shares, one after the other (rare chords apart)."""
    parts = []
    for name, counts in histograms([piece]).items():
        folded = counts.reshape(-1, 64).sum(axis=0) if name == "chord" else counts
        parts.append(np.sqrt(folded / max(1.0, folded.sum())))
    return np.concatenate(parts)


def tell_apart(some: Sequence[Piece], others: Sequence[Piece], strength: float = 1.0) -> Callable[[Piece], float]:
    """A logistic regression that tells `some` from `others` (Newton's method, L2 penalty `strength`); what comes
    back gives a piece's log odds of being one of `some`."""
    points = np.stack([described(piece) for piece in (*some, *others)])
    points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    wanted = np.concatenate([np.ones(len(some)), np.zeros(len(others))])
    # In the span of the points themselves, of which there are fewer than features.
    kernel = points @ points.T
    weights = np.zeros(len(points))
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(kernel @ weights, -30, 30)))
        slope = np.maximum(chance * (1 - chance), 1e-6)
        gradient = wanted - chance - strength * weights
        step = np.linalg.solve(kernel * slope[:, None] + strength * np.eye(len(points)), gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    direction = points.T @ weights
    return lambda piece: float(described(piece) @ direction[:-1] + direction[-1])


def share_higher(styled: Mapping[object, float], plain: Mapping[object, float]) -> float:
    """The share of candidates that score higher with the style than the same candidate without it."""
    return float(np.mean([styled[key] > plain[key] for key in styled]))
