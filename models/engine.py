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
from functools import cached_property
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
from models.drawing import Desk, Sampling
from models.errors import Cancelled, UserError
from models.graphs import FAINT, STAGES
from models.hints import HINTS, NONE, ONSETS, Notes
from models.lanes import LANES, Bound, Context, Lanes
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
Ints = NDArray[np.int32]
CHUNK = 64  # steps of a context that are read at once
KEPT_CONTEXTS = 8


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
            self.memory, self.tags = _read_memory(folder) if self.config.memory_rows else ([], [])
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
            stop = first + len(values) - 1  # the last row says nothing, and belongs to no field
            for adapter, strength in styles:
                inside = (adapter.rows >= first) & (adapter.rows < stop)
                if not inside.any():
                    continue
                rows = adapter.rows[inside] - first
                change = np.float32(strength) * adapter.values[inside]
                whole = (values[rows] - np.float32(128)) * scale[rows] + change
                step = np.maximum(np.abs(whole).max(axis=1, initial=0), 1e-3) / 127
                scale[rows] = step[:, None]
                values[rows] = np.clip(np.rint(whole / scale[rows]), -127, 127) + 128
            result.append({"memory": values, "scale": scale})
            first = stop
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
            if value.ndim > 1 and name.startswith(prefix) and name not in ("fields.chord", "fields.start"):
                size += value.size * (4.0 if self._bits == 32 else 1 + 4 / graphs.block_of(value.shape[-1]))
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
        bound = Bound(self.sessions[0])
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


def _read_memory(folder: Path) -> tuple[list[dict[str, NDArray[Any]]], list[NDArray[np.uint8]]]:
    """The memory of each of STAGES: values [rows + 1, memory_width] around 128, scale [rows + 1, 1], of which the
    last row says nothing; and the tags of the rows, [rows + 1]."""
    fields = [load_file(folder / name) for name in MEMORY_FILES]

    def joined(part: str, stage: Sequence[int]) -> NDArray[Any]:
        parts = [fields[i][part] for i in stage]
        return np.concatenate([*parts, np.zeros_like(parts[0][:1])])

    memory = [
        {
            "memory": joined("values", stage).view(np.uint8) ^ np.uint8(128),
            "scale": joined("scale", stage).astype(np.float32)[:, None],
        }
        for stage in STAGES
    ]
    return memory, [joined("tags", stage) for stage in STAGES]


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
