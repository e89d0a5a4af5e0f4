"""How the fields of a note are drawn: by which rules, and from which masks, hints and random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.figures import belong
from models.graphs import FAINT, GATES, STAGES, Picks
from models.hints import DURATION, MEMORY, MICRO, NEXT, SAME, VELOCITY
from models.lanes import Bound
from models.tokens import FIELD_SIZES, FIELDS

if TYPE_CHECKING:
    from models.engine import Engine

Floats = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Ints = NDArray[np.int32]
PITCH = list(FIELDS).index("pitch")
BELOW_ONE = 1 - 2**-20  # no random number may round to 1


class Sampling(NamedTuple):
    """How fields are drawn: `temperature` 1 as learned, lower is safer, as where music goes on (docs/model.md);
    `top_p` the share of probability kept; `guidance` how firmly words are followed, 1 as learned (classifier-free
    guidance, Ho and Salimans, 2022); `pitch_factor` times the temperature is that of pitches."""

    temperature: float = 0.95
    top_p: float = 0.93
    guidance: float = 1.0
    pitch_factor: float = 1.0

    def of(self, field: int) -> Sampling:
        """This for one field of a note, its temperature the field's own."""
        factor = self.pitch_factor if field == PITCH else 1.0
        return self._replace(temperature=self.temperature * factor, pitch_factor=1.0)

    @property
    def sharpness(self) -> np.float32:
        """What logits are multiplied by; without any temperature the best wins."""
        return np.float32(1 / max(self.temperature, 1e-6))

    @property
    def kept(self) -> Floats:
        """top_p as the graphs take it."""
        return np.array([max(self.top_p, 1e-9)], dtype=np.float32)


# Where there is no music around what is written the likeliest rhythms lead to themselves, while daring pitches lead
# out of the key: see docs/quality.md.
FROM_NOTHING = Sampling(temperature=1.15, top_p=0.96, pitch_factor=0.87)


class Desk:
    """What is drawn in n rows, and from what: hints [n, HINTS] and onsets as Lookout has them, and

    masks: a field each, [n, size + 1] what is added to its logits, FAINT where not allowed; the last column stands
    for no value. randoms: [fields, n, 1] in 0..1. chord: [n] that sounds at the position. blends: a stage each,
    [n, n] how much of each row's logits goes into each row's, over the temperature. drawn: [fields, n, 1] values.
    """

    def __init__(self, engine: Engine, state: Floats, hints: Ints, onsets: BoolArray, sampling: Sampling) -> None:
        n = len(state)
        self.hints, self.onsets, self._sampling = hints, onsets, sampling
        self.masks = [np.full((n, size + 1), FAINT, dtype=np.float32) for size in FIELD_SIZES]
        for mask in self.masks:  # a row without a writer draws, too
            mask[:, 0] = 0
        self._lines = [list(mask[:, :-1]) for mask in self.masks]
        self._allowed: list[list[BoolArray | None]] = [[None] * n for _ in FIELDS]
        self.randoms = np.zeros((len(FIELDS), n, 1), dtype=np.float32)
        self.chord = np.zeros(n, dtype=np.int64)
        self.blends = [np.eye(n, dtype=np.float32) * sampling.of(fields[0]).sharpness for fields in STAGES]
        self._apart = n
        self.drawn = np.zeros((len(FIELDS), n, 1), dtype=np.int64)
        self._picks = Picks(n)
        self._echoes = [np.zeros((n, size), dtype=np.int32) for size in GATES]
        self._hinted = [hints[:, columns] for columns in (NEXT, SAME, DURATION, VELOCITY, MICRO)]
        self._keys: list[tuple[Ints, Ints, Ints]] = []
        self._tags = engine.tags
        seen, heard = np.zeros((2, n, engine.config.field_width), dtype=np.float32)
        self.bound = [Bound(session) for session in engine.sessions[2:]]
        for bound, fields, blend in zip(self.bound, STAGES, self.blends, strict=True):
            bound.give(blend=blend, top_p=sampling.kept)
            for field in fields:
                bound.give(**{f"mask.{field}": self.masks[field], f"random.{field}": self.randoms[field]})
                bound.give(**{f"echoes.{field}": self._echoes[field]})
                if field in self._picks.of:
                    bound.give(**{f"picks.{field}": self._picks.of[field]})
                bound.take(**{list(FIELDS)[field]: self.drawn[field]})
        for bound, fields, memory in zip(self.bound, STAGES, engine.memory, strict=False):
            columns = slice(MEMORY[fields[0]].start, MEMORY[fields[-1]].stop)
            kinds, rows = columns.stop - columns.start, engine.config.memory_rows
            keys = np.zeros((n, kinds), dtype=np.int32)
            self._keys.append((hints[:, columns], keys, rows * np.arange(kinds, dtype=np.int32)))
            bound.give(keys=keys, **memory)
        self._low = np.array(engine.config.memory_rows - 1, dtype=np.int32)
        position, pitch, rest = self.bound
        position.give(state=state)
        position.take(seen=seen)
        pitch.give(seen=seen, position=self.drawn[0, :, 0], chord=self.chord)
        pitch.take(heard=heard)
        rest.give(heard=heard, pitch=self.drawn[1, :, 0])

    def rows(self, row: int) -> slice:
        """A row, and the one that draws the same without having heard the words."""
        return slice(row, None, self._apart)

    def allow(self, field: int, row: int, mask: BoolArray) -> None:
        if self._allowed[field][row] is mask and not mask.flags.writeable:
            return
        self._allowed[field][row] = mask
        line = self._lines[field][row]
        line.fill(FAINT)
        line[mask] = 0
        if self._apart < len(self.hints):
            self._lines[field][row + self._apart][:] = line

    def throw(self, row: int, numbers: NDArray[np.float64]) -> None:
        """Random numbers for a row, one a field."""
        self.randoms[:, self.rows(row), 0] = (numbers * BELOW_ONE)[:, None]

    def guide(self) -> None:
        """The second half of the rows is the first without the words; both draw what goes past the first."""
        self._apart = len(self.hints) // 2
        half, strength = np.eye(self._apart, dtype=np.float32), np.float32(self._sampling.guidance)
        guided = np.tile(np.hstack([strength * half, (1 - strength) * half]), (2, 1))
        for blend, fields in zip(self.blends, STAGES, strict=True):
            blend[:] = guided * self._sampling.of(fields[0]).sharpness

    def enter(self) -> None:
        """Some rows have come to another cell."""
        if (apart := self._apart) < len(self.hints):
            self.hints[apart:], self.onsets[apart:] = self.hints[:apart], self.onsets[:apart]
        self._picks.enter(self.hints, self.onsets)

    def draw(self, stage: int) -> None:
        """Draw the fields of STAGES[stage] for every row, as hints say by now."""
        hints = self.hints
        if (apart := self._apart) < len(hints):
            hints[apart:] = hints[:apart]
        if self._keys:
            hashes, keys, first = self._keys[stage]
            np.bitwise_and(hashes, self._low, keys)
            keys += first
            tags = self._tags[stage]
            keys[~belong(tags.take(keys), hashes)] = len(tags) - 1  # the row that says nothing
        (self._picks.position, self._picks.pitch, self._picks.rest)[stage](hints)
        for field in STAGES[stage]:
            self._echoes[field][:] = self._hinted[field]
        self.bound[stage].run()


def sample(logits: Floats, mask: NDArray[np.bool_], random: float, sampling: Sampling) -> int:
    """Draw one allowed value as the graphs do, for generators that have none. random: in 0..1."""
    values = np.flatnonzero(mask)
    if len(values) == 1:
        return int(values[0])
    chosen = logits[values].astype(np.float64)
    if sampling.temperature <= 0:
        return int(values[chosen.argmax()])
    with np.errstate(over="ignore"):  # at hardly any temperature all but the best vanish
        chosen = np.exp((chosen - chosen.max()) / sampling.temperature)
    chosen /= chosen.sum()
    order = np.argsort(-chosen, kind="stable")
    cumulative = np.cumsum(chosen[order])
    kept = int(np.searchsorted(cumulative, sampling.top_p)) + 1
    index = int(np.searchsorted(cumulative[:kept], random * cumulative[min(kept, len(values)) - 1], side="right"))
    return int(values[order[min(index, len(values) - 1)]])
