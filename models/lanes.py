"""Candidates side by side: what they have read and written, in arrays that the graphs of models/graphs.py read and
write where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.architecture import RECENT

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from models.engine import Engine

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Kept = NDArray[Any]  # keys and values: whole numbers, or exact ones
LANES = 4
ROOM = 320  # steps that lanes have room for at first


class Bound:
    """A graph that reads from and writes to arrays where they lie."""

    def __init__(self, session: InferenceSession) -> None:
        self._binding = session.io_binding()
        # What run_with_iobinding asks first, whether all is on a graphics card, takes as long as a small graph.
        self.run = partial(session._sess.run_with_iobinding, self._binding._iobinding, None)
        self._arrays: dict[str, NDArray[Any]] = {}

    def give(self, **arrays: NDArray[Any]) -> None:
        for name, array in arrays.items():
            self._arrays[name] = array
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def take(self, **arrays: NDArray[Any]) -> None:
        for name, array in arrays.items():
            self._arrays[name + " out"] = array
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def bind_kept(self, kept: Kept) -> None:
        """Keys and values [2, layers, batch, kv_heads, room, head_size], which are written to in place."""
        for i, (keys, values) in enumerate(zip(*kept, strict=True)):
            self.give(**{f"keys.{i}": keys, f"values.{i}": values})
            self.take(**{f"keys_out.{i}": keys, f"values_out.{i}": values})


@dataclass(frozen=True, slots=True)
class Context:
    """A prefilled context: keys and values [2, layers, kv_heads, length, head_size], exact and as lanes hold them,
    and the embeddings of its last RECENT steps [RECENT, width], the latest last."""

    exact: Floats
    held: Kept
    recent: Floats

    @property
    def length(self) -> int:
        return self.held.shape[3]


class Lanes:
    """Candidates' keys and values, and the embeddings of their last steps, in arrays with room to grow."""

    def __init__(self, engine: Engine, contexts: Sequence[Context], room: int = ROOM, count: int = LANES) -> None:
        """Those of `count` lanes that have no context are idle: what goes on in them means nothing."""
        c = engine.config
        self._bound = Bound(engine.sessions[1])
        self.lengths = np.zeros((count, c.kv_heads), dtype=np.int32)
        self.lengths[: len(contexts)] = np.array([[context.length] for context in contexts])
        self.idle = np.arange(count) >= len(contexts)
        self._marks: dict[int, tuple[Ints, Floats]] = {}
        self._count_lengths()
        self.recent = np.zeros((count, RECENT, c.width), dtype=np.float32)
        shape = (2, c.layers, count, c.kv_heads, self._longest + room, c.head_size)
        self._kept = np.zeros(shape, dtype=engine.held)
        for i, context in enumerate(contexts):
            self.recent[i] = context.recent
            self._kept[:, :, i, :, : context.length] = context.held
        self.x = np.zeros((count, 1, c.width), dtype=np.float32)
        self.state = np.zeros((count, 1, c.width), dtype=np.float32)
        self._total, places = np.ones(1, dtype=np.int32), np.arange(count * c.kv_heads)[:, None]
        self._bound.give(x=self.x, places=places, lengths=self.lengths.reshape(-1), total=self._total)
        self._bound.take(state=self.state)
        self._bind()

    def _bind(self) -> None:
        _, layers, lanes, kv_heads, room, size = self._kept.shape
        turns = np.zeros((2, room, size // 2), dtype=np.float32)
        self.cos, self.sin = (table[: lanes * kv_heads].reshape(lanes, kv_heads, -1) for table in turns)
        self._bound.give(cos=turns[0], sin=turns[1])
        self._bound.bind_kept(self._kept.reshape(2, layers, lanes * kv_heads, 1, room, size))

    def make_room(self) -> None:
        """See to it that there is room for one more step."""
        if self._longest >= self._kept.shape[4]:
            self._kept = np.concatenate([self._kept, np.zeros_like(self._kept)], axis=4)
            self._bind()

    def run(self) -> None:
        """Take in the step that lies in x and turns; `lengths` are those before it."""
        self._longest += 1
        self._total[0] = self._longest
        self._bound.run()
        self.lengths += self._advance

    def dismiss(self, lane: int) -> None:
        """A lane has nothing more to write."""
        self.idle[lane], self.lengths[lane] = True, 0
        self._count_lengths()

    def mark(self, lane: int) -> None:
        """Remember where a lane is."""
        self._marks[lane] = (self.lengths[lane].copy(), self.recent[lane].copy())

    def rewind(self, lane: int) -> None:
        """A lane goes back to where it was marked."""
        self.lengths[lane], self.recent[lane] = self._marks[lane]
        self._count_lengths()

    def _count_lengths(self) -> None:
        """Keep what every step asks of lengths and idle lanes."""
        self._advance, self._longest = ~self.idle[:, None], int(self.lengths.max())
