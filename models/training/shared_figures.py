"""Which figures the memory has room for: those that most pieces share (models/figures.py says why)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray

from models.figures import CLOSED, KINDS, tags_of
from models.hints import MEMORY
from models.tokens import build_steps, step_counts
from models.training.sampling import as_int32, augment, choose_window, set_weight, usable
from models.training.shards import Item

LEAST = 4  # pieces that must share a figure
WINDOW, MOST_WINDOWS = 544, 10  # steps, and windows that are looked at of one piece


def figures_of(item: Item) -> list[NDArray[np.int32]]:
    """The hashes of a piece's figures, those of every kind once; transposed as training may hear it."""
    piece = augment(np.random.default_rng([len(item.piece.notes), len(item.piece.bars)]), as_int32(item.piece))
    counts, bars, first = step_counts(piece), len(piece.bars), 0
    found: list[NDArray[np.int32]] = []
    while first < bars and len(found) < MOST_WINDOWS:
        stop = min(choose_window(counts, first, WINDOW), bars)
        region = np.zeros((bars, len(piece.programs)), dtype=bool)
        region[first:stop] = True
        steps = build_steps(piece, region, first, stop)
        found.append(steps.hints[steps.targets[:, 0] >= 0, MEMORY[0].start : MEMORY[-1].stop])
        first = stop
    return [np.unique(hashes) for hashes in np.concatenate(found).T]


def shared_figures(items: Sequence[Item], rows: int, workers: int = 0) -> NDArray[np.uint8]:
    """The tags of the memory's rows that these pieces make: [kinds * rows], rows those a kind has.

    Pieces count as often as training visits their sets, but a figure that fewer than LEAST share gets no row.
    `workers` processes look through the pieces.
    """
    items = [item for item in items if usable(item.piece)]
    weights = [set_weight(item) for item in items]
    pieces = list(_all_figures(items, workers))
    tags = np.full((len(KINDS), rows), CLOSED, dtype=np.uint8)
    for kind in range(len(KINDS)):
        sizes = [len(figures[kind]) for figures in pieces]
        hashes, which = np.unique(np.concatenate([figures[kind] for figures in pieces]), return_inverse=True)
        weight = np.bincount(which, np.repeat(weights, sizes))
        weight[np.bincount(which) < LEAST] = 0
        order = np.argsort(weight, kind="stable")[np.count_nonzero(weight == 0) :]
        tags[kind, hashes[order] & (rows - 1)] = tags_of(hashes[order])  # the last that is written stays
    return tags.ravel()


def _all_figures(items: Sequence[Item], workers: int) -> Iterator[list[NDArray[np.int32]]]:
    if not workers:
        yield from map(figures_of, items)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(figures_of, items, chunksize=64)
