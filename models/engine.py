"""The network's arithmetic for the running assistant: steps in, steps out, one processor thread, no torch.

    prefill   a context, CHUNK steps at a time                -> Context, kept and shared by all candidates
    step      one more step of four candidates side by side   -> their states
    write     a note, field by field, under the masks of a Draft

The products are ONNX Runtime's (models/graphs.py); matrices are held in eight bits, one thread does it all.
Candidates advance in lockstep in groups of LANES, idle lanes included: the matrices are read once for all
four, and because the products always have the same shape, a candidate comes out bit for bit the same
whether it was asked for alone or among others. Where the processor's products of one row are those same bits, which
is tried, a single candidate has no idle lanes beside it. A context is always read in the same chunks, so that it
comes out the same whether or not its beginning was known from an earlier request.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models import graphs
from models.adapters import Adapter, merged, styled_hash
from models.architecture import MEMORY_FILES, MODEL_FILE, RECENT, ModelConfig, rotation_speeds
from models.constraints import Draft
from models.errors import Cancelled, UserError
from models.graphs import FAINT, GATES, STAGES, Picks
from models.hints import DURATION, HINTS, MEMORY, MICRO, NEXT, NONE, ONSETS, SAME, VELOCITY, Notes
from models.lookout import Lookout
from models.piece import MAX_BAR, MICRO_LIMIT
from models.tokens import (
    END,
    FIELD_SIZES,
    FIELDS,
    NOTE_TARGET,
    OFFSET,
    TRACK_TARGET,
    WIDEST_INTERVAL,
    WIDTH,
    Steps,
)  # fmt: skip

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Ints = NDArray[np.int32]
Kept = NDArray[Any]  # keys and values: whole numbers, or exact ones
LANES = 4
CHUNK = 64  # steps of a context that are read at once
KEPT_CONTEXTS = 8
BELOW_ONE = 1 - 2**-20  # no random number may round to 1
ROOM = 320  # steps that lanes have room for at first


class Sampling(NamedTuple):
    """How fields are drawn: `temperature` 1 as learned, lower is safer; `top_p` the share of probability kept;
    `guidance` how firmly words are followed, 1 as learned (classifier-free guidance, Ho and Salimans, 2022)."""

    temperature: float = 1.0
    top_p: float = 0.93
    guidance: float = 1.0

    @property
    def sharpness(self) -> np.float32:
        """What logits are multiplied by; without any temperature the best wins."""
        return np.float32(1 / max(self.temperature, 1e-6))

    @property
    def kept(self) -> Floats:
        """top_p as the graphs take it."""
        return np.array([max(self.top_p, 1e-9)], dtype=np.float32)


# Where there is no music around what is written the likeliest notes lead to themselves: see docs/quality.md.
FROM_NOTHING = Sampling(temperature=1.1, top_p=0.96)


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


class _Bound:
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


class Lanes:
    """Candidates' keys and values, and the embeddings of their last steps, in arrays with room to grow."""

    def __init__(self, engine: Engine, contexts: Sequence[Context], room: int = ROOM, count: int = LANES) -> None:
        """Those of `count` lanes that have no context are idle: what goes on in them means nothing."""
        c = engine.config
        self._bound = _Bound(engine.sessions[1])
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


class Plan(NamedTuple):
    """What is to be written: the headers of the region's cells in order, and what a note's facts need.

    headers: steps of kind BAR_TARGET and TRACK_TARGET. programs, slots: [T]. chords: grid bar -> [length]
    chord ids by position. first: the first bar in sight. bar_time: [B] grid ticks at which bars start.
    """

    headers: Steps
    programs: Ints
    slots: Ints
    chords: dict[int, Ints]
    first: int
    bar_time: Ints


class Desk:
    """What is drawn in n rows, and from what: hints [n, HINTS] and onsets as Lookout has them, and

    masks: a field each, [n, size + 1] what is added to its logits, FAINT where not allowed; the last column stands
    for no value. randoms: [fields, n, 1] in 0..1. chord: [n] that sounds at the position. blend: [n, n] how much of
    each row's logits goes into each row's, over the temperature. drawn: [fields, n, 1] values.
    """

    def __init__(self, engine: Engine, state: Floats, hints: Ints, onsets: BoolArray, sampling: Sampling) -> None:
        n = len(state)
        self.hints, self.onsets, self._sampling = hints, onsets, sampling
        self.masks = [np.full((n, size + 1), FAINT, dtype=np.float32) for size in FIELD_SIZES]
        for mask in self.masks:  # a row without a writer draws, too
            mask[:, 0] = 0
        self._allowed: list[dict[int, BoolArray]] = [{} for _ in FIELDS]
        self.randoms = np.zeros((len(FIELDS), n, 1), dtype=np.float32)
        self.chord = np.zeros(n, dtype=np.int64)
        self.blend, self._apart = np.eye(n, dtype=np.float32) * sampling.sharpness, n
        self.drawn = np.zeros((len(FIELDS), n, 1), dtype=np.int64)
        self._picks = Picks(n)
        self._echoes = [np.zeros((n, size), dtype=np.int32) for size in GATES]
        self._columns = [NEXT, SAME, DURATION, VELOCITY, MICRO]
        self._keys: list[tuple[slice, Ints, Ints]] = []
        seen, heard = np.zeros((2, n, engine.config.field_width), dtype=np.float32)
        self.bound = [_Bound(session) for session in engine.sessions[2:]]
        for bound, fields in zip(self.bound, STAGES, strict=True):
            bound.give(blend=self.blend, top_p=sampling.kept)
            for field in fields:
                bound.give(**{f"mask.{field}": self.masks[field], f"random.{field}": self.randoms[field]})
                bound.give(**{f"echoes.{field}": self._echoes[field]})
                if field in self._picks.of:
                    bound.give(**{f"picks.{field}": self._picks.of[field]})
                bound.take(**{list(FIELDS)[field]: self.drawn[field]})
        for bound, fields, memory in zip(self.bound, STAGES, engine.memory, strict=False):
            columns = slice(MEMORY[fields[0]].start, MEMORY[fields[-1]].stop)
            kinds, rows = columns.stop - columns.start, engine.config.memory_rows
            self._keys.append(
                (columns, np.zeros((n, kinds), dtype=np.int32), rows * np.arange(kinds, dtype=np.int32))
            )
            bound.give(keys=self._keys[-1][1], **memory)
        self._low = np.int32(engine.config.memory_rows - 1)
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
        if self._allowed[field].get(row) is mask and not mask.flags.writeable:
            return
        self._allowed[field][row] = mask
        for line in self.masks[field][self.rows(row), :-1]:
            line.fill(FAINT)
            line[mask] = 0

    def throw(self, row: int, numbers: NDArray[np.float64]) -> None:
        """Random numbers for a row, one a field."""
        self.randoms[:, self.rows(row), 0] = (numbers * BELOW_ONE)[:, None]

    def guide(self) -> None:
        """The second half of the rows is the first without the words; both draw what goes past the first."""
        self._apart = len(self.blend) // 2
        half = np.eye(self._apart, dtype=np.float32) * self._sampling.sharpness
        strength = np.float32(self._sampling.guidance)
        self.blend[:] = np.tile(np.hstack([strength * half, (1 - strength) * half]), (2, 1))

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
            columns, keys, first = self._keys[stage]
            np.bitwise_and(hints[:, columns], self._low, out=keys)
            keys += first
        (self._picks.position, self._picks.pitch, self._picks.rest)[stage](hints)
        for field in STAGES[stage]:
            self._echoes[field][:] = hints[:, self._columns[field]]
        self.bound[stage].run()


class CellDone(NamedTuple):
    """A candidate has finished a cell."""

    candidate: int
    bar: int
    track: int


class Engine:
    """The network of a weights folder (`config.json`, `model.safetensors`, `memory-FIELD.safetensors`)."""

    def __init__(self, folder: Path, bits: int = 8) -> None:
        """bits: what matrices are held in; 32 does the reference's arithmetic, 8 is fast."""
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            raw = load_file(folder / MODEL_FILE)
            self.model_hash: str = config["sha256"]
            self.config = ModelConfig(**config["architecture"])
            self._bits = bits
            self._raw = {name: value.astype(np.float32) for name, value in raw.items()}
            self._load(self._raw)
            self.memory = _read_memory(folder) if self.config.memory_rows else []
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            hint = "Install Descant again, or name another folder of weights."
            raise UserError(f"The weights in {folder} cannot be read", hint) from error

    def styled(self, styles: Sequence[tuple[Adapter, float]]) -> Engine:
        """This network with styles of some strengths laid over it; itself where all strengths are 0. Reads no file.

        Raises UserError for a style that was made for other weights.
        """
        active = [(adapter, strength) for adapter, strength in styles if strength != 0]
        if not active:
            return self
        for adapter, _ in active:
            if adapter.base != self.model_hash:
                raise UserError(
                    f'The style "{adapter.about.get("name", "")}" was made for other weights than these',
                    "Make it again from the same folder with `descant style train`.",
                )
        other = copy.copy(self)
        other.__dict__.pop("rows_alone", None)
        other._load(merged(self._raw, active))
        other.memory = self._with_rows(active) if self.memory else []
        other.model_hash = styled_hash(self.model_hash, active)
        return other

    def _with_rows(self, styles: Sequence[tuple[Adapter, float]]) -> list[dict[str, NDArray[Any]]]:
        """The memory with the rows that styles change."""
        result = []
        first = 0
        for stage in self.memory:
            values, scale = stage["memory"].copy(), stage["scale"].copy()
            for adapter, strength in styles:
                inside = (adapter.rows >= first) & (adapter.rows < first + len(values))
                if not inside.any():
                    continue
                rows = adapter.rows[inside] - first
                change = np.float32(strength) * adapter.values[inside]
                whole = (values[rows] - np.float32(128)) * scale[rows] + change
                step = np.maximum(np.abs(whole).max(axis=1, initial=0), 1e-3) / 127
                scale[rows] = step[:, None]
                values[rows] = np.clip(np.rint(whole / scale[rows]), -127, 127) + 128
            result.append({"memory": values, "scale": scale})
            first += len(values)
        return result

    @property
    def parameters(self) -> int:
        """Numbers in the network, without its memory."""
        return sum(value.size for value in self._raw.values())

    @cached_property
    def bytes_a_step(self) -> float:
        """Bytes of matrices that a step of all lanes reads, or CHUNK steps of a context."""
        return self._bytes("blocks.")

    @cached_property
    def bytes_a_note(self) -> float:
        """Bytes of matrices that all fields of a note in all lanes read, those that they share once for each."""
        return self._bytes("fields.") + (len(FIELDS) - 1) * self._bytes("fields.mlps.")

    def _bytes(self, prefix: str) -> float:
        size = 0.0
        for name, value in self._raw.items():
            if value.ndim == 2 and name.startswith(prefix) and name not in ("fields.chord", "fields.start"):
                size += value.size * (4.0 if self._bits == 32 else 1 + 4 / graphs.block_of(value.shape[1]))
        return size

    def _load(self, raw: Mapping[str, Floats]) -> None:
        c = self.config
        self._embedding = raw["embedding.weight"]
        self._embedding[0] = 0
        self._mixed_in = raw["recent"][::-1]  # the latest last
        self._text = raw.get("text.weight")
        self._speeds = rotation_speeds(c)
        self._turning = np.repeat(np.arange(c.kv_heads), c.heads // c.kv_heads).tolist() + [*range(c.kv_heads)]
        self.held = graphs.held_in(self._bits)
        self._scales = [graphs.kept_scales(c, raw, layer) for layer in range(c.layers)]
        made = (graphs.read, graphs.step, graphs.position, graphs.pitch, graphs.rest)
        self.sessions = [_session(make(c, raw, self._bits)) for make in made]
        self._contexts: OrderedDict[bytes, tuple[list[bytes], Context]] = OrderedDict()

    # --- The network ----------------------------------------------------------------------------------

    def _angles(self, index: NDArray[np.integer[Any]], time: Ints) -> NDArray[np.float64]:
        """How far every key head of n steps is turned: [n, kv_heads, head_size / 2]."""
        c = self.config
        place = np.empty((len(time), c.kv_heads, 1), dtype=np.float64)
        place[:, : c.heads_by_steps, 0], place[:, c.heads_by_steps :, 0] = index, time[:, None]
        angles: NDArray[np.float64] = place * self._speeds
        return angles

    def prefill(self, steps: Steps, after: Context | None = None) -> Context:
        """Keys and values of a context, which may continue another. What was read lately is not read again."""
        if after is not None:
            return self.read(steps, after)[0]
        names = _names(steps)
        known, length = self._known(names)
        if known is None or length < len(steps):
            if known is not None:
                recent = self._embedding[steps.facts[length - RECENT : length]].sum(axis=1)
                known = Context(known.exact[:, :, :, :length], known.held[:, :, :, :length], recent)
            known = self.read(steps.part(length), known)[0]
        self._contexts[names[-1]] = (names, known)
        self._contexts.move_to_end(names[-1])
        if len(self._contexts) > KEPT_CONTEXTS:
            self._contexts.popitem(last=False)
        return known

    def _known(self, names: list[bytes]) -> tuple[Context | None, int]:
        """The kept context that has the longest beginning in common with these steps, and how long that is."""
        if names[-1] in self._contexts:
            context = self._contexts[names[-1]][1]
            return context, context.length
        best, most = None, 0
        for kept, context in self._contexts.values():
            same = sum(one == other for one, other in zip(names[:-1], kept[:-1], strict=False))
            if same > most:
                best, most = context, same
        return best, most * CHUNK

    def read(self, steps: Steps, after: Context | None = None) -> tuple[Context, Floats]:
        """The context that steps make, read CHUNK by CHUNK, and their states [len(steps), width]."""
        c = self.config
        known, count = after.length if after else 0, len(steps)
        kept = np.empty((2, c.layers, 1, c.kv_heads, known + count, c.head_size), dtype=np.float32)
        fresh = self._embedding[steps.facts].sum(axis=1)
        if len(steps.text) and self._text is not None:
            fresh[0] += self._text @ steps.text[0]
        start = np.zeros((RECENT, c.width), dtype=np.float32)
        if after:
            kept[:, :, 0, :, :known] = after.exact
            start = after.recent
        trail = np.concatenate([start, fresh])
        x = fresh + sum(trail[k : k + count] * self._mixed_in[k] for k in range(RECENT))
        angles = self._angles(np.arange(known, known + count)[:, None], steps.time)[:, self._turning]
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        states = np.empty((count, c.width), dtype=np.float32)
        bound = _Bound(self.sessions[0])
        bound.bind_kept(kept)
        for first in range(0, count, CHUNK):
            part = slice(first, min(first + CHUNK, count))
            total = known + part.stop
            bound.give(
                x=x[None, part],
                cos=cos[part].reshape(-1, c.head_size // 2),
                sin=sin[part].reshape(-1, c.head_size // 2),
                places=np.arange(cos[part].shape[0] * cos.shape[1])[None],
                lengths=np.array([total - 1], dtype=np.int32),
                total=np.array([total], dtype=np.int32),
            )
            bound.take(state=states[None, part])
            bound.run()
        exact = kept[:, :, 0]
        held = exact if self._bits == 32 else graphs.made_whole(exact, self._scales)
        return Context(exact, held, trail[-RECENT:]), states

    @cached_property
    def rows_alone(self) -> bool:
        """Whether on this processor a row comes out bit for bit the same alone and among LANES.

        Then one candidate needs no idle lanes beside it. Products may go another way for a single row; that hangs
        on the processor, so it is tried.
        """
        c, rng = self.config, np.random.default_rng(0)
        exact = rng.uniform(-1, 1, (2, c.layers, c.kv_heads, 9, c.head_size)).astype(np.float32)
        held = (127 * exact).astype(self.held)
        context = Context(exact, held, rng.standard_normal((RECENT, c.width)).astype(np.float32))
        facts, time = (
            rng.integers(1, c.vocabulary, (LANES, WIDTH), dtype=np.int32),
            np.arange(LANES, dtype=np.int32),
        )
        hints, targets = np.full((LANES, HINTS), NONE, np.int32), np.ones((LANES, len(FIELDS)), np.int32)
        onsets, chord = np.zeros((LANES, ONSETS, MAX_BAR), dtype=bool), np.zeros(LANES, np.int32)

        def results(rows: slice) -> list[Floats]:
            count = len(facts[rows])
            lanes = Lanes(self, [context] * count, 1, count)
            states = Engine.step(self, lanes, facts[rows], time[rows])  # not one that counts or listens
            return [states, *self.logits(states, targets[rows], chord[rows], hints[rows], onsets[rows])]

        among, alone = results(slice(None)), [results(slice(i, i + 1)) for i in range(LANES)]
        return all((row[k][0] == among[k][i]).all() for i, row in enumerate(alone) for k in range(len(among)))

    def step(self, lanes: Lanes, facts: Ints, time: Ints) -> Floats:
        """States of one more step in each of n lanes: [n, width], overwritten by the next step.

        facts: [n, WIDTH]; time: [n].
        """
        fresh = np.add.reduce(self._embedding.take(facts, axis=0), axis=1)
        np.add.reduce(lanes.recent * self._mixed_in, axis=1, out=lanes.x[:, 0])
        lanes.x[:, 0] += fresh
        lanes.recent[:, :-1] = lanes.recent[:, 1:]
        lanes.recent[:, -1] = fresh
        lanes.make_room()
        angles = self._angles(lanes.lengths[:, : self.config.heads_by_steps], time)
        np.cos(angles, out=lanes.cos, casting="same_kind")
        np.sin(angles, out=lanes.sin, casting="same_kind")
        lanes.run()
        return lanes.state[:, 0]

    # --- Writing --------------------------------------------------------------------------------------

    def logits(
        self, states: Floats, targets: Ints, chord: Ints, hints: Ints, onsets: NDArray[np.bool_]
    ) -> list[Floats]:
        """Logits of every field, [n, FIELD_SIZES[field]], where the fields before have the values of targets.

        states: [n, width]; targets: [n, 5], a negative value standing for "not there"; chord: [n]. hints, onsets:
        as Outlook has them.
        """
        struck = np.pad(onsets, ((0, 0), (0, 0), (0, 2)))
        desk = Desk(self, np.ascontiguousarray(states), np.ascontiguousarray(hints), struck, Sampling())
        desk.chord[:] = chord
        desk.enter()
        logits = [np.empty((len(states), size + 1), dtype=np.float32) for size in FIELD_SIZES]
        for field, mask in enumerate(desk.masks):
            mask[:] = FAINT
            mask[np.arange(len(states)), np.maximum(targets[:, field], 0)] = 0
            desk.bound[min(field, 2)].take(**{f"logits.{field}": logits[field]})
        for stage in range(len(STAGES)):
            desk.draw(stage)
        return [table[:, :-1] for table in logits]

    def draw(self, desk: Desk, stage: int) -> None:
        """Draw the fields of STAGES[stage] for every row of a desk."""
        desk.draw(stage)

    def _write_notes(
        self,
        writers: list[tuple[int, Draft]],
        desk: Desk,
        lookout: Lookout,
        plan: Plan,
        randoms: Sequence[np.random.Generator],
    ) -> list[int]:
        """Draw the next note, or the cell's end, for the lanes that have a writer. Says which wrote a note."""
        lookout.look([i for i, _ in writers])
        for i, draft in writers:
            desk.allow(0, i, draft.positions())
            desk.throw(i, randoms[i].random(len(FIELDS)))
        self.draw(desk, 0)
        positions = desk.drawn[0, :, 0].tolist()
        writers = [(i, draft) for i, draft in writers if positions[i] != END]
        if not writers:
            return []
        lookout.draw_position([(i, positions[i]) for i, _ in writers])
        for i, draft in writers:
            desk.chord[desk.rows(i)] = plan.chords[draft.cell.bar][positions[i]]
            desk.allow(1, i, draft.pitches(positions[i]))
        self.draw(desk, 1)
        pitches = desk.drawn[1, :, 0].tolist()
        lookout.draw_pitch([(i, pitches[i]) for i, _ in writers])
        for i, draft in writers:
            desk.allow(2, i, draft.durations(positions[i], pitches[i]))
            desk.allow(3, i, draft.velocities())
            desk.allow(4, i, draft.micros(positions[i]))
        self.draw(desk, 2)
        values = desk.drawn[2:, :, 0].T.tolist()
        for i, draft in writers:
            draft.accept(positions[i], pitches[i], *values[i])
            lookout.add(i, draft.rows[-1])
        return [i for i, _ in writers]

    def write(
        self,
        contexts: Sequence[Context],
        notes: Sequence[Notes],
        plan: Plan,
        drafts: Sequence[Draft],
        randoms: Sequence[np.random.Generator],
        sampling: Sampling,
        cancelled: Callable[[], bool] = lambda: False,
        wordless: Sequence[Context] = (),
        stale: Callable[[Draft], bool] = lambda _: False,
    ) -> Iterator[CellDone]:
        """Fill the plan's cells in up to LANES drafts at once, each from its context, the notes in that context and
        its own random numbers. wordless: the same contexts without the words, for guidance; then LANES / 2 drafts.
        stale: whether the cell that a draft has finished is to be written once more; it is asked once a cell.

        Yields as cells are finished. Raises Cancelled within a step of `cancelled()` turning true.
        """
        count = 1 if len(drafts) == 1 and not wordless and self.rows_alone else LANES
        apart = count // 2 if wordless else count
        spare = list(contexts[:1]) * (apart - len(contexts)) if wordless else []
        lanes = Lanes(self, [*contexts, *spare, *wordless], count=count)
        lookout = Lookout(notes, count, plan.programs, plan.slots, plan.first)
        desk = Desk(self, lanes.state[:, 0], lookout.table, lookout.onsets, sampling)
        if wordless:
            desk.guide()
        kinds = (plan.headers.facts[:, 0] - OFFSET["kind"]).tolist()
        at = [0] * len(drafts)  # the header each lane is at
        facts = np.zeros((count, WIDTH), dtype=np.int32)
        time = np.zeros(count, dtype=np.int32)
        facts[: len(drafts)], time[: len(drafts)] = plan.headers.facts[0], plan.headers.time[0]
        writing = list(range(len(drafts)))

        def both(i: int) -> tuple[int, ...]:
            """The lanes of a draft, with and without the words."""
            return (i, i + apart) if wordless else (i,)

        fresh = [True] * len(drafts)  # whether the lane's cell is written for the first time
        while writing:
            if cancelled():
                raise Cancelled
            facts[apart:], time[apart:] = facts[: count - apart], time[: count - apart]
            self.step(lanes, facts, time)
            writers = [(i, drafts[i]) for i in writing if kinds[at[i]] == TRACK_TARGET]
            entered = False
            for i, draft in writers:
                bar, track = plan.headers.cell[at[i]].tolist()
                if draft.place != (bar, track):
                    cell = draft.enter(bar, track)
                    lookout.enter(i, bar, track, cell.start, len(cell.micros))
                    entered = True
            if entered:
                desk.enter()
            wrote = self._write_notes(writers, desk, lookout, plan, randoms) if writers else []
            for i in list(writing):
                if i in wrote:
                    facts[i], time[i] = _note_step(drafts[i], plan)
                    continue
                if kinds[at[i]] == TRACK_TARGET:
                    fresh[i] = not (fresh[i] and stale(drafts[i]))
                    if not fresh[i]:
                        drafts[i].leave()
                        lookout.leave(i)
                        for lane in both(i):
                            lanes.rewind(lane)
                        facts[i], time[i] = plan.headers.facts[at[i]], plan.headers.time[at[i]]
                        continue
                    yield CellDone(i, *drafts[i].place)
                at[i] += 1
                if at[i] < len(kinds):
                    facts[i], time[i] = plan.headers.facts[at[i]], plan.headers.time[at[i]]
                    for lane in both(i):
                        lanes.mark(lane)
                else:
                    facts[i] = 0
                    writing.remove(i)
                    for lane in both(i):
                        lanes.dismiss(lane)


def _read_memory(folder: Path) -> list[dict[str, NDArray[Any]]]:
    """The memory of each of STAGES: values [rows, memory_width] around 128, scale [rows, 1]."""
    fields = [load_file(folder / name) for name in MEMORY_FILES]
    return [
        {
            "memory": np.concatenate([fields[i]["values"].view(np.uint8) for i in stage]) ^ np.uint8(128),
            "scale": np.concatenate([fields[i]["scale"] for i in stage]).astype(np.float32)[:, None],
        }
        for stage in STAGES
    ]


def _session(graph: bytes) -> InferenceSession:
    """A graph, ready to run on one thread."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # builds for Windows would report to the system
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _names(steps: Steps) -> list[bytes]:
    """A name for every beginning of steps that ends with a CHUNK, and one for all of them."""
    digest = hashlib.blake2b(steps.text.tobytes(), digest_size=16)
    names = []
    for first in range(0, len(steps), CHUNK):
        digest.update(steps.facts[first : first + CHUNK].tobytes())
        digest.update(steps.time[first : first + CHUNK].tobytes())
        names.append(digest.digest())
    return names


def _note_step(draft: Draft, plan: Plan) -> tuple[list[int], int]:
    """Facts and time of the note a draft wrote last; the same facts as `tokens.note_facts`."""
    _, track, position, pitch, duration, velocity, micro = draft.rows[-1]
    drum = draft.cell.drum
    chord = int(plan.chords[draft.cell.bar][position])
    interval = since = 0
    if draft.in_cell > 1:
        _, _, before, lower, *_ = draft.rows[-2]
        since = OFFSET["since"] + position - before
        step = max(-WIDEST_INTERVAL, min(WIDEST_INTERVAL, pitch - lower)) + WIDEST_INTERVAL
        interval = 0 if drum else OFFSET["interval"] + step
    facts = [
        OFFSET["kind"] + NOTE_TARGET,
        OFFSET["slot"] + int(plan.slots[track]),
        OFFSET["program"] + int(plan.programs[track]),
        OFFSET["position"] + position,
        0 if drum else OFFSET["pitch"] + pitch,
        OFFSET["drum"] + pitch if drum else 0,
        0 if drum else OFFSET["pitch_class"] + pitch % 12,
        OFFSET["duration"] + duration,
        OFFSET["velocity"] + velocity,
        OFFSET["micro"] + micro + MICRO_LIMIT,
        interval,
        since,
        OFFSET["chord"] + chord if chord else 0,
    ]
    return facts, draft.cell.start + position


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
