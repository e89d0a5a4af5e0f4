"""What a long piece's earlier passages are worth: nats for the composer's notes with and without them in the
window, and the time until the first bar of a long piece and of a short one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.drawing import Sampling
from models.generators import WINDOW, Generator, window_around, window_with_memory
from models.piece import Piece
from models.tokens import build_steps, step_counts
from models.training.evaluation import network_nats
from models.training.evaluation_music import crop, task_of
from models.training.sampling import as_int32
from models.training.shards import Item
from models.transformer import MusicTransformer

BARS = 4  # written at a time
LEAST_BEFORE = 32  # bars
SHORT = 24  # bars that a short piece has


class Recall(NamedTuple):
    """One place in a long piece: nats of its notes with the nearest bars alone, and with what is recalled."""

    data_set: str
    notes: int
    near: float
    recalled: float
    used: bool


def places(items: Sequence[Item], count: int) -> list[tuple[Item, Piece, list[int]]]:
    """Long pieces that end with the bars to be written, with more than a window before these; always the same."""
    found = []
    rng = np.random.default_rng(5)
    for index in rng.permutation(len(items)).tolist():
        item = items[index]
        bars = len(item.piece.bars)
        if bars < LEAST_BEFORE + BARS:
            continue
        begin = int(rng.integers(LEAST_BEFORE, bars - BARS + 1))
        piece = crop(as_int32(item.piece), 0, begin + BARS)
        counts = step_counts(piece)
        sounding = (piece.notes[:, 0] >= begin).sum() >= 2 * BARS
        if sounding and counts[:begin].sum() >= WINDOW and counts[begin:].sum() < WINDOW / 2:
            found.append((item, piece, list(range(begin, begin + BARS))))
        if len(found) == count:
            break
    return found


def measure(model: MusicTransformer, item: Item, piece: Piece, stretch: list[int]) -> Recall:
    """The nats of the composer's notes in the last bars of a piece."""
    region = np.zeros((len(piece.bars), len(piece.programs)), dtype=bool)
    region[stretch] = True
    task = task_of(piece, region)
    inside = region[piece.notes[:, 0], piece.notes[:, 1]]
    writing = float(inside.sum() + BARS * (1 + len(piece.programs)))

    def nats(shown: Piece, first: int) -> float:
        whole = Piece(piece.programs, shown.bars, _sorted(shown.notes, piece.notes[inside]), shown.chords)
        steps = build_steps(whole, region, first, len(piece.bars))
        costs = network_nats(model, [(item, steps)])
        return float(costs[steps.in_region[steps.targets[:, 0] >= 0]].sum())

    first, _ = window_around(task.piece, writing, stretch, len(piece.bars))
    longer, begin, _ = window_with_memory(task.piece, writing, stretch, len(piece.bars))
    used = longer is not task.piece
    near = nats(task.piece, first)
    return Recall(str(item.info["set"]), int(inside.sum()), near, nats(longer, begin) if used else near, used)


def _sorted(shown: NDArray[np.int32], truth: NDArray[np.int32]) -> NDArray[np.int32]:
    notes = np.concatenate([shown, truth])
    return notes[np.lexsort(notes[:, 3::-1].T)]


def first_bar_ms(generator: Generator, piece: Piece, stretch: list[int]) -> tuple[float, float]:
    """Processor milliseconds until the first bar: after the last SHORT bars alone, and after all of the piece."""
    found = []
    for first in (stretch[0] - SHORT, 0):
        part = crop(piece, first, len(piece.bars))
        region = np.zeros((len(part.bars), len(part.programs)), dtype=bool)
        region[[bar - first for bar in stretch]] = True
        began = time.process_time()
        next(iter(generator.generate(task_of(part, region), [(0, 0)], Sampling(), lambda: False)))
        found.append(1000 * (time.process_time() - began))
    return found[0], found[1]
