"""What a style is worth in what it writes: both networks go on from places in pieces that were held out.

    nearer     share of candidates that a classifier, which tells the musician's music from the base's, finds more
               like the musician's with the style than the same candidate without it
    distance   of what is written to the musician's music (see style_measures), without and with the style
    copied     two-bar windows of what is written that are in the pieces learned from; human: the same figure for
               the musician's own held-out pieces

The classifier learns from places in the pieces that the style learned from, and judges places in the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.adapters import read_adapter
from models.drawing import Sampling
from models.engine import Engine
from models.generators import Generator, TransformerGenerator
from models.known_bars import window_hashes
from models.piece import Piece
from models.training.evaluation_copying import share_known, training_windows
from models.training.evaluation_music import Excerpt, continuations, writer
from models.training.shards import Item
from models.training.style_intake import Parts
from models.training.style_measures import distance, share_higher, tell_apart

CANDIDATES = 4
EXCERPTS, LEAST_EXCERPTS = 8, 2
BARS, CONTEXT = 8, 8


@dataclass(frozen=True)
class Proof:
    """`candidates`: how many the figures stand on. The shares are 0..1; distances in bits."""

    candidates: int
    nearer: float
    distance_before: float
    distance_after: float
    copied_before: float
    copied_after: float
    human: float

    @property
    def copies(self) -> bool:
        """Whether more is copied than the musician copies, which a musician must be told."""
        return self.copied_after > self.human + 1e-9 and self.copied_after > self.copied_before + 1e-9


def prove_adapter(
    weights: Path,
    adapter: Path,
    parts: Parts,
    seconds: float = math.inf,
    report: Callable[[float], None] = lambda share: None,
) -> Proof | None:
    """`prove` for the adapter in a folder, at its full strength."""
    base = Engine(weights)
    styled = base.styled([(read_adapter(adapter), 1.0)])
    return prove(TransformerGenerator(base), TransformerGenerator(styled), parts, seconds, report)


def prove(
    plain: Generator,
    styled: Generator,
    parts: Parts,
    seconds: float = math.inf,
    report: Callable[[float], None] = lambda share: None,
) -> Proof | None:
    """Measure what a style writes, in about so many seconds: where time is short, on fewer places. None where the
    pieces are too short to go on from.

    report: hears the share that is done.
    """
    learned, held = excerpts_of(parts.learning, 2 * EXCERPTS), excerpts_of(parts.held_out, EXCERPTS)
    if not learned or not held:
        return None
    began = time.monotonic()
    first = written(learned[:1], plain)
    affordable = seconds / max(1e-3, 3 * (time.monotonic() - began))
    count = int(min(EXCERPTS, max(LEAST_EXCERPTS, affordable)))
    learned, held = learned[: 2 * count], held[:count]
    count = len(held)
    of_base = [*first.values()]
    without: dict[tuple[str, int, int], Piece] = {}
    with_style: dict[tuple[str, int, int], Piece] = {}
    for place in range(count):
        if 0 < place < len(learned):
            of_base += written(learned[place : place + 1], plain).values()
        without |= written(held[place : place + 1], plain, place)
        with_style |= written(held[place : place + 1], styled, place)
        report((place + 1) / count)
    odds = tell_apart(composed(learned), of_base)
    own = composed(learned) + composed(held)
    known = training_windows(item.piece for item in parts.learning)

    def copied(pieces: Sequence[Piece]) -> float:
        share = share_known(np.concatenate([np.zeros(0, np.uint64), *map(window_hashes, pieces)]), known)
        return 0.0 if math.isnan(share) else share

    return Proof(
        candidates=len(with_style),
        nearer=share_higher(
            {key: odds(piece) for key, piece in with_style.items()},
            {key: odds(piece) for key, piece in without.items()},
        ),
        distance_before=distance(list(without.values()), own),
        distance_after=distance(list(with_style.values()), own),
        copied_before=copied(list(without.values())),
        copied_after=copied(list(with_style.values())),
        human=copied([item.piece for item in parts.held_out]),
    )


def written(excerpts: Sequence[Excerpt], generator: Generator, first: int = 0) -> dict[tuple[str, int, int], Piece]:
    """Candidates by (name, place from `first` on, number), each as a piece of its own on the bars of its region."""
    write = writer(generator, CANDIDATES, Sampling())
    return {
        (excerpt.name, first + place, number): replace(
            excerpt.task.piece, notes=np.array(rows, dtype=np.int32).reshape(-1, 7), chords=excerpt.chords[:0]
        )
        for place, excerpt in enumerate(excerpts)
        for number, rows in enumerate(write(excerpt.task))
    }


def composed(excerpts: Sequence[Excerpt]) -> list[Piece]:
    """What the musician has in the excerpts' places."""
    return [replace(excerpt.task.piece, notes=excerpt.truth) for excerpt in excerpts]


def excerpts_of(items: Sequence[Item], count: int) -> list[Excerpt]:
    """Places in pieces to go on from; short pieces give shorter ones."""
    several = [
        Item(item.piece, {**item.info, "set": str(turn), "path": f"{item.info['path']} {turn}"})
        for turn in range(-(-count // max(1, len(items))))
        for item in items
    ]
    for bars, context in ((BARS, CONTEXT), (4, 4), (2, 2)):
        if found := continuations(several, count, bars, context):
            return found
    return []
