"""What the network is held against where music is written: the Markov model as a generator, and plain copying.

Both fill the same Task as the network does. The Markov generator draws its fields under the same Draft, so
that it keeps the same rules; copying keeps none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.constraints import Draft
from models.drawing import Sampling, sample
from models.errors import Cancelled
from models.generators import Progress, Rows, Task
from models.markov import MarkovModel, Situation
from models.markov_events import ORDER
from models.piece import DRUMS
from models.tokens import END


class MarkovGenerator:
    """The Markov baseline behind the same protocol as the network (`models.generators.Generator`)."""

    model_hash = "markov"

    def __init__(self, model: MarkovModel) -> None:
        self._model = model

    def generate(
        self,
        task: Task,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Progress]:
        for candidate, seed in enumerate(seeds):
            draft, random = task.rules.draft(), np.random.default_rng(list(seed))
            for done, bar in enumerate(task.bars, start=1):
                for track in np.flatnonzero(task.region[bar]).tolist():
                    if cancelled():
                        raise Cancelled
                    draft.enter(bar, track)
                    self._write_cell(task, draft, random, sampling)
                rows = [row for row in draft.rows if row[0] == bar]
                yield Progress(candidate, bar, done, len(task.bars), rows)

    def _write_cell(self, task: Task, draft: Draft, random: np.random.Generator, sampling: Sampling) -> None:
        bar, track = draft.place
        program = int(task.piece.programs[track])
        while True:
            situation = Situation(
                past=self._past(task, draft, track),
                program=program,
                bar_time=draft.cell.start,
                length=int(task.piece.bars[bar, 0]),
            )
            drawn: list[int] = []

            def draw(
                field: str, mask: NDArray[np.bool_], situation: Situation = situation, drawn: list[int] = drawn
            ) -> int:
                chance = self._model.distribution(field, situation, drawn)
                with np.errstate(divide="ignore"):
                    logits = np.log(chance)
                # What the model rules out altogether can still be all that the rules leave.
                logits = np.maximum(logits, -1e4).astype(np.float32)
                drawn.append(sample(logits, mask, random.random(), sampling.of(len(drawn))))
                return drawn[-1]

            position = draw("position", draft.positions())
            if position == END:
                return
            pitch = draw("pitch", draft.pitches(position))
            duration = draw("duration", draft.durations(position, pitch))
            velocity = draw("velocity", draft.velocities())
            micro = draw("micro", draft.micros(position))
            draft.accept(position, pitch, duration, velocity, micro)

    @staticmethod
    def _past(task: Task, draft: Draft, track: int) -> NDArray[np.int32]:
        """The last notes of the track before the place that is written, as `Situation.past`."""
        bar, notes = draft.place[0], task.piece.notes
        before = notes[(notes[:, 1] == track) & (notes[:, 0] < bar)]
        written = np.array([row for row in draft.rows if row[1] == track], dtype=np.int32).reshape(-1, 7)
        rows = np.concatenate([before, written])
        rows = rows[np.lexsort(rows[:, 3::-1].T)][-ORDER:]
        starts = np.concatenate([[0], np.cumsum(task.piece.bars[:, 0])])
        time = starts[rows[:, 0]] + rows[:, 2]
        return np.stack([time, *rows[:, 2:].T]).astype(np.int32)


def copied_rows(task: Task) -> Rows:
    """Every cell of the region as its track's bar before it, already copied bars included.

    A track that plays nowhere outside the region (an accompaniment) doubles the busiest part of its kind
    instead, drums for drums; where there is none, it stays silent.
    """
    piece, region = task.piece, task.region
    cells: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for row in piece.notes.tolist():
        cells.setdefault((row[0], row[1]), []).append(tuple(row))
    busy = np.bincount(piece.notes[:, 1], minlength=len(piece.programs))
    result: Rows = []
    for bar in task.bars:
        length = int(piece.bars[bar, 0])
        for track in np.flatnonzero(region[bar]).tolist():
            source = (bar - 1, track)
            if not busy[track]:
                alike = [t for t in np.argsort(-busy).tolist() if busy[t] and _alike(task, t, track)]
                source = (bar, alike[0]) if alike else (-1, -1)
            new = [(bar, track, *row[2:]) for row in cells.get(source, ()) if row[2] < length]
            cells[bar, track] = new
            result.extend((r[0], r[1], r[2], r[3], r[4], r[5], r[6]) for r in new)
    return result


def _alike(task: Task, left: int, right: int) -> bool:
    programs = task.piece.programs
    return bool((programs[left] == DRUMS) == (programs[right] == DRUMS))
