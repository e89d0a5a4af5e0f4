"""The network's arithmetic for the running assistant: steps in, steps out, one processor thread, no torch.

    prefill   the context in one pass                         -> Context, kept and shared by all candidates
    step      one more step of four candidates side by side   -> their states
    write     a note, field by field, under the masks of a Draft

Candidates advance in lockstep in groups of LANES, idle lanes included: the matrices are read once for all
four, and because the products always have the same shape, a candidate comes out bit for bit the same
whether it was asked for alone or among others.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.adapters import Adapter, merged
from models.architecture import MEMORY_FILES, MODEL_FILE, NORM_EPSILON, RECENT, ModelConfig, rotation_speeds
from models.constraints import Draft
from models.errors import Cancelled, UserError
from models.hints import (
    AFTER,
    DURATION,
    ECHOES,
    HINTS,
    LEVELS,
    MEMORY,
    MICRO,
    NEXT,
    NONE,
    ONSETS,
    PROFILE,
    REFERENCE,
    SAME,
    SOUNDING,
    VELOCITY,
    Cells,
    Notes,
    Outlook,
    cell_order,
    note_table,
)  # fmt: skip
from models.piece import MAX_BAR, MICRO_LIMIT, VELOCITY_BINS
from models.tokens import (
    END,
    FIELDS,
    NOTE_TARGET,
    OFFSET,
    TRACK_TARGET,
    WIDEST_INTERVAL,
    WIDTH,
    Steps,
)  # fmt: skip

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
LANES = 4


class Sampling(NamedTuple):
    """How fields are drawn: `temperature` 1 as learned, lower is safer; `top_p` the share of probability kept."""

    temperature: float = 0.95
    top_p: float = 0.95


@dataclass(frozen=True, slots=True)
class Context:
    """A prefilled context: keys and values [layers, kv_heads, length, head_size], and the embeddings of its last
    RECENT steps [RECENT, width], the latest last."""

    keys: Floats
    values: Floats
    recent: Floats

    @property
    def length(self) -> int:
        return self.keys.shape[2]


class _Lane:
    """One candidate's keys and values in buffers with room to grow, and the embeddings of its last steps."""

    def __init__(self, context: Context, room: int = 256) -> None:
        self.length = context.length
        self.recent = context.recent.copy()
        self.keys = self._widen(context.keys, self.length + room)
        self.values = self._widen(context.values, self.length + room)

    @staticmethod
    def _widen(array: Floats, capacity: int) -> Floats:
        wide = np.zeros((*array.shape[:2], capacity, array.shape[3]), dtype=np.float32)
        wide[:, :, : array.shape[2]] = array
        return wide

    def grow(self) -> None:
        """Make room for one more step."""
        if self.length == self.keys.shape[2]:
            self.keys = self._widen(self.keys, 2 * self.length)
            self.values = self._widen(self.values, 2 * self.length)
        self.length += 1


class Plan(NamedTuple):
    """What is to be written: the headers of the region's cells in order, and what a note's facts need.

    headers: steps of kind BAR_TARGET and TRACK_TARGET. programs, slots: [T]. chords: grid bar -> [length]
    chord ids by position. first: the first bar in sight. bar_time: [B] grid ticks at which bars start.
    anchor: [256] what is added to the logits of pitches, so that what is written stays with the notes around it.
    """

    headers: Steps
    programs: Ints
    slots: Ints
    chords: dict[int, Ints]
    first: int
    bar_time: Ints
    anchor: Floats


class _Sight:
    """The notes that the lanes can look back on, each on its own: its context's, then those it writes."""

    def __init__(self, notes: Sequence[Notes], plan: Plan) -> None:
        self._plan = plan
        tables = [np.stack([*lane[:8], *lane.rest, np.full_like(lane.bar, i)]) for i, lane in enumerate(notes)]
        self._count = sum(table.shape[1] for table in tables)
        room = np.zeros((len(tables[0]), 512), dtype=np.int32)
        self._table = np.concatenate([*tables, room], axis=1, dtype=np.int32)

    def _notes(self) -> Notes:
        rows = self._table[:, : self._count]
        bar, track, position, pitch, start, end, order, in_region = rows[:8]
        return Notes(bar, track, position, pitch, start, end, order, in_region != 0, rows[8:11], rows[11])

    def outlook(self, drafts: Sequence[Draft], lanes: Sequence[int]) -> Outlook:
        """What the notes in sight suggest for the next notes of some lanes, whose drafts these are."""
        plan = self._plan
        cells = [draft.cell for draft in drafts]
        bar, track, begin = (
            np.array(column, dtype=np.int32)
            for column in zip(*((cell.bar, cell.track, cell.start) for cell in cells), strict=True)
        )
        last = np.array([_last_of_cell(draft) for draft in drafts], dtype=np.int32).T
        return Outlook(
            self._notes(),
            Cells(
                bar=bar,
                track=track,
                order=cell_order(bar, plan.slots[track]),
                in_region=np.ones(len(drafts), dtype=bool),
                after=last[0],
                above=last[1],
                last=last[2:],
                known=bar[:, None] - np.array(ECHOES) >= plan.first,
                begin=begin,
                length=np.array([len(cell.micros) for cell in cells], dtype=np.int32),
                program=plan.programs[track],
                lane=np.array(lanes, dtype=np.int32),
            ),
        )

    def add(self, drafts: Sequence[Draft], lanes: Sequence[int]) -> None:
        """Take in the notes that some lanes' drafts wrote last."""
        stop = self._count + len(drafts)
        if stop > self._table.shape[1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], axis=1)
        rows = np.array([draft.rows[-1] for draft in drafts], dtype=np.int32)
        plan = self._plan
        fresh = note_table(rows, plan.programs, plan.slots, plan.bar_time, np.ones(len(rows), dtype=bool))
        self._table[:, self._count : stop] = [*fresh[:8], *fresh.rest, lanes]
        self._count = stop


def _last_of_cell(draft: Draft) -> tuple[int, int, int, int, int]:
    """Position, pitch, duration, velocity and micro of the last note of a draft's cell, as FIELDS has them."""
    if not draft.in_cell:
        return (NONE,) * 5
    _, _, position, pitch, duration, velocity, micro = draft.rows[-1]
    return position, pitch + (128 if draft.cell.drum else 0), duration, velocity, micro + MICRO_LIMIT


class CellDone(NamedTuple):
    """A candidate has finished a cell."""

    candidate: int
    bar: int
    track: int


class Engine:
    """The network of a weights folder (`config.json`, `model.safetensors`, `memory-FIELD.safetensors`)."""

    def __init__(self, folder: Path) -> None:
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            raw = load_file(folder / MODEL_FILE)
            self.model_hash: str = config["sha256"]
            self.config = ModelConfig(**config["architecture"])
            self._raw = {name: value.astype(np.float32) for name, value in raw.items()}
            self._load(self._raw)
            self._memory = [load_file(folder / name) for name in MEMORY_FILES] if self.config.memory_rows else []
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
        other._load(merged(self._raw, active))
        other._memory = self._with_rows(active) if self._memory else []
        marks = [f"{adapter.hash}:{strength!r}" for adapter, strength in active]
        other.model_hash = hashlib.sha256(" ".join([self.model_hash, *marks]).encode()).hexdigest()
        return other

    def _with_rows(self, styles: Sequence[tuple[Adapter, float]]) -> list[dict[str, NDArray[Any]]]:
        """The memory with the rows that styles change."""
        result = []
        first = 0
        for field in self._memory:
            values, scale = field["values"].copy(), field["scale"].copy()
            for adapter, strength in styles:
                inside = (adapter.rows >= first) & (adapter.rows < first + len(values))
                if not inside.any():
                    continue
                rows = adapter.rows[inside] - first
                change = np.float32(strength) * adapter.values[inside]
                whole = values[rows] * scale[rows].astype(np.float32)[:, None] + change
                step = np.maximum(np.abs(whole).max(axis=1, initial=0), 1e-3) / 127
                scale[rows] = step.astype(scale.dtype)
                exact = scale[rows].astype(np.float32)[:, None]
                values[rows] = np.clip(np.rint(whole / exact), -127, 127).astype(values.dtype)
            result.append({"values": values, "scale": scale})
            first += len(values)
        return result

    def _load(self, raw: Mapping[str, Floats]) -> None:
        c = self.config

        def matrix(name: str) -> Floats:
            return raw[name + ".weight"]

        self._embedding = raw["embedding.weight"]
        self._embedding[0] = 0
        self._recent = raw["recent"][::-1]  # the latest last
        self._text = raw.get("text.weight")
        self._layers = [
            (
                raw[f"blocks.{i}.attention_norm.weight"],
                matrix(f"blocks.{i}.attention.qkv"),
                np.float32(c.head_size**-0.5) * raw[f"blocks.{i}.attention.query_norm.weight"],
                raw[f"blocks.{i}.attention.key_norm.weight"],
                matrix(f"blocks.{i}.attention.out"),
                raw[f"blocks.{i}.mlp_norm.weight"],
                matrix(f"blocks.{i}.mlp.gate_up"),
                matrix(f"blocks.{i}.mlp.down"),
            )
            for i in range(c.layers)
        ]
        self._final_norm = raw["final_norm.weight"]
        self._from_state = matrix("fields.from_state")
        self._tables = [raw[f"fields.tables.{i}"] for i in range(len(FIELDS))]
        self._chord = raw["fields.chord"]
        self._start = raw["fields.start"]
        self._field_layers = [
            (
                raw[f"fields.norms.{i}.weight"],
                matrix(f"fields.mlps.{i}.gate_up"),
                matrix(f"fields.mlps.{i}.down"),
            )
            for i in range(c.field_layers)
        ]
        self._field_norm = raw["fields.final_norm.weight"]
        self._distance, self._interval = raw["fields.distance"], raw["fields.interval"]
        self._loudness = raw["fields.loudness"]
        gates = ["position_gates", "pitch_gates", *(f"rest_gates.{i}" for i in range(3))]
        self._profile_gates = raw["fields.profile_gates.weight"], raw["fields.profile_gates.bias"]
        self._gates = [(raw[f"fields.{name}.weight"], raw[f"fields.{name}.bias"]) for name in gates]
        if c.memory_rows:
            self._read = [matrix(f"fields.memory.read.{i}") for i in range(len(FIELDS))]
        self._speeds = rotation_speeds(c)

    # --- The network ----------------------------------------------------------------------------------

    def _embed(self, facts: Ints) -> Floats:
        out: Floats = self._embedding[facts].sum(axis=1)
        return out

    def _turns(self, index: NDArray[np.int64], time: Ints) -> tuple[Floats, Floats]:
        """Cosines and sines of the rotations: [n, kv_heads, head_size / 2] each."""
        by_steps = self.config.heads_by_steps
        place = np.stack([index] * by_steps + [time] * (self.config.kv_heads - by_steps), axis=1).astype(np.float64)
        angle = place[:, :, None] * self._speeds
        return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def _project(self, x: Floats, layer: int, cos: Floats, sin: Floats) -> tuple[Floats, Floats, Floats]:
        """Rotated queries [n, kv_heads, group, head_size], keys and values [n, kv_heads, head_size]."""
        c = self.config
        norm, qkv, query_norm, key_norm, *_ = self._layers[layer]
        mixed = _apply(qkv, _normalise(x, norm)).reshape(len(x), c.heads + 2 * c.kv_heads, c.head_size)
        query = _normalise(mixed[:, : c.heads], query_norm).reshape(len(x), c.kv_heads, -1, c.head_size)
        key = _normalise(mixed[:, c.heads : c.heads + c.kv_heads], key_norm)
        value = mixed[:, c.heads + c.kv_heads :]
        return _rotate(query, cos[:, :, None], sin[:, :, None]), _rotate(key, cos, sin), value

    def _finish(self, x: Floats, mixed: Floats, layer: int) -> Floats:
        *_, out, norm, gate_up, down = self._layers[layer]
        x = x + _apply(out, mixed)
        return x + _swiglu(_normalise(x, norm), gate_up, down)

    def prefill(self, steps: Steps, after: Context | None = None) -> Context:
        """Keys and values of a context, all of its steps in one pass; `after` continues an earlier one."""
        c = self.config
        known = after.length if after else 0
        count = len(steps)
        keys = np.empty((c.layers, c.kv_heads, known + count, c.head_size), dtype=np.float32)
        values = np.empty_like(keys)
        if after:
            keys[:, :, :known], values[:, :, :known] = after.keys, after.values
        fresh = self._embed(steps.facts)
        if len(steps.text) and self._text is not None:
            fresh[0] += _apply(self._text, steps.text)[0]
        start = after.recent if after else np.zeros((RECENT, c.width), dtype=np.float32)
        trail = np.concatenate([start, fresh])
        x = fresh + sum(trail[k : k + count] * self._recent[k] for k in range(RECENT))
        cos, sin = self._turns(np.arange(known, known + count), steps.time)
        hidden = np.triu(np.full((count, known + count), -np.inf, dtype=np.float32), known + 1)
        for layer in range(c.layers):
            query, key, value = self._project(x, layer, cos, sin)
            keys[layer, :, known:], values[layer, :, known:] = key.swapaxes(0, 1), value.swapaxes(0, 1)
            scores = query.transpose(1, 2, 0, 3) @ keys[layer][:, None].swapaxes(2, 3) + hidden
            mixed = _softmax(scores) @ values[layer][:, None]
            x = self._finish(x, mixed.transpose(2, 0, 1, 3).reshape(count, -1), layer)
        return Context(keys, values, trail[-RECENT:])

    def step(self, lanes: Sequence[_Lane], facts: Ints, time: Ints) -> Floats:
        """States of one more step in each of LANES lanes: [LANES, width]. facts: [LANES, WIDTH]; time: [LANES]."""
        c = self.config
        fresh = self._embed(facts)
        x = fresh + np.stack([(lane.recent * self._recent).sum(axis=0) for lane in lanes])
        for lane, embedded in zip(lanes, fresh, strict=True):
            lane.recent = np.concatenate([lane.recent[1:], embedded[None]])
        cos, sin = self._turns(np.array([lane.length for lane in lanes]), time)
        for lane in lanes:
            lane.grow()
        mixed = np.empty((len(lanes), c.kv_heads, c.heads // c.kv_heads, c.head_size), dtype=np.float32)
        for layer in range(c.layers):
            query, key, value = self._project(x, layer, cos, sin)
            for index, lane in enumerate(lanes):
                last = lane.length - 1
                keys, values = lane.keys[layer], lane.values[layer]
                keys[:, last], values[:, last] = key[index], value[index]
                scores = query[index] @ keys[:, : lane.length].swapaxes(1, 2)
                mixed[index] = _softmax(scores) @ values[:, : lane.length]
            x = self._finish(x, mixed.reshape(len(lanes), -1), layer)
        return _normalise(x, self._final_norm)

    # --- Writing --------------------------------------------------------------------------------------

    def field_logits(self, seen: Floats, field: int, hints: Ints, onsets: NDArray[np.bool_]) -> Floats:
        """Logits of a field: [n, FIELD_SIZES[field]].

        seen: [n, field_width], the state projected plus what was drawn before. hints, onsets: as Outlook has them.
        """
        x = seen + self._start[field] + self._recalled(field, hints)
        for norm, gate_up, down in self._field_layers:
            x = x + _swiglu(_normalise(x, norm), gate_up, down)
        x = _normalise(x, self._field_norm)
        logits = np.ascontiguousarray(_apply(self._tables[field], x))
        weight, bias = self._gates[field]
        gates = _apply(weight, x) + bias
        rows = np.arange(len(x))[:, None]
        echoes = hints[:, (NEXT, SAME, DURATION, VELOCITY, MICRO)[field]]
        np.add.at(logits, (rows, np.maximum(echoes, 0)), np.where(echoes >= 0, gates[:, : echoes.shape[1]], 0))
        if field == 0:
            since = np.arange(MAX_BAR) - hints[:, AFTER, None]
            by_distance = _apply(self._distance, x)[rows, np.clip(since, 0, MAX_BAR - 1)]
            logits[:, :MAX_BAR] += np.where((since >= 0) & (hints[:, AFTER, None] >= 0), by_distance, 0)
            logits[:, :MAX_BAR] += np.einsum("nk,nkp->np", gates[:, len(ECHOES) :], onsets.astype(np.float32))
        elif field == 1:
            reference = hints[:, REFERENCE, None]
            widest = WIDEST_INTERVAL + 1
            interval = np.clip(np.arange(128) - reference, -widest, widest) + widest
            logits[:, :128] += np.where(reference >= 0, _apply(self._interval, x)[rows, interval], 0)
            sounding = (np.maximum(hints[:, SOUNDING, None], 0) >> (np.arange(128) % 12)) & 1
            logits[:, :128] += gates[:, len(ECHOES) :] * sounding
            level = (np.maximum(hints[:, PROFILE, None], 0) >> (2 * (np.arange(128) % 12))) & (LEVELS - 1)
            weight, bias = self._profile_gates
            logits[:, :128] += (_apply(weight, x) + bias)[rows, level]
        elif field == 3:
            last = hints[:, VELOCITY.start, None]
            change = np.arange(VELOCITY_BINS) - last + VELOCITY_BINS
            logits += np.where(last >= 0, _apply(self._loudness, x)[rows, change], 0)
        return logits

    def _recalled(self, field: int, hints: Ints) -> Floats:
        """What the memory has for the figures of a field: [n, field_width]."""
        if not self._memory:
            return np.zeros(1, dtype=np.float32)
        count = self.config.memory_rows
        memory, keys = self._memory[field], hints[:, MEMORY[field]]
        rows = (keys & (count - 1)) + count * np.arange(keys.shape[1])
        found = memory["values"][rows] * memory["scale"][rows].astype(np.float32)[:, :, None]
        return _apply(self._read[field], found.reshape(len(hints), -1))

    def _write_notes(
        self,
        states: Floats,
        writers: list[Draft | None],
        sight: _Sight,
        plan: Plan,
        randoms: Sequence[np.random.Generator],
        sampling: Sampling,
    ) -> list[bool]:
        """Draw the next note, or the cell's end, for every lane that has a writer. Says which wrote a note."""
        lanes = [i for i, draft in enumerate(writers) if draft]
        drafts = [draft for draft in writers if draft]
        wrote = [False] * len(writers)
        if not drafts:
            return wrote
        seen = _apply(self._from_state, states)
        outlook = sight.outlook(drafts, lanes)
        hints = np.full((len(writers), HINTS), NONE, dtype=np.int32)
        onsets = np.zeros((len(writers), ONSETS, MAX_BAR), dtype=bool)
        onsets[lanes] = outlook.onsets
        values = np.zeros((len(FIELDS), len(writers)), dtype=np.int32)

        def draw(field: int, mask: Callable[[Draft, int], NDArray[np.bool_]]) -> None:
            hints[lanes] = outlook.table
            logits = self.field_logits(seen, field, hints, onsets)
            if field == 1:
                logits = logits + plan.anchor
            for i, draft in zip(lanes, drafts, strict=True):
                if field == 0 or values[0, i] != END:
                    values[field, i] = sample(logits[i], mask(draft, i), randoms[i], sampling)

        draw(0, lambda draft, i: draft.positions())
        position, pitch, duration, velocity, _ = values
        going_on = [(draft, i) for draft, i in zip(drafts, lanes, strict=True) if position[i] != END]
        if not going_on:
            return wrote
        chord = np.zeros(len(writers), dtype=np.int32)
        for draft, i in going_on:
            chord[i] = plan.chords[draft.cell.bar][position[i]]
        place = np.where(position[lanes] == END, NONE, position[lanes])
        outlook.draw_position(place, place + np.array([draft.cell.start for draft in drafts], dtype=np.int32))
        seen = seen + self._tables[0][position] + self._chord[chord]
        draw(1, lambda draft, i: draft.pitches(int(position[i])))
        outlook.draw_pitch(pitch[lanes])
        seen = seen + self._tables[1][pitch]
        draw(2, lambda draft, i: draft.durations(int(position[i]), int(pitch[i])))
        seen = seen + self._tables[2][duration]
        draw(3, lambda draft, i: draft.velocities())
        seen = seen + self._tables[3][velocity]
        draw(4, lambda draft, i: draft.micros(int(position[i])))
        for draft, i in going_on:
            draft.accept(*(int(value) for value in values[:, i]))
            wrote[i] = True
        sight.add([draft for draft, _ in going_on], [i for _, i in going_on])
        return wrote

    def write(
        self,
        contexts: Sequence[Context],
        notes: Sequence[Notes],
        plan: Plan,
        drafts: Sequence[Draft],
        randoms: Sequence[np.random.Generator],
        sampling: Sampling,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[CellDone]:
        """Fill the plan's cells in up to LANES drafts at once, each from its context, the notes in that context and
        its own random numbers.

        Yields as cells are finished. Raises Cancelled within a step of `cancelled()` turning true.
        """
        active = len(drafts)
        spare = LANES - active
        lanes = [_Lane(context) for context in [*contexts, *[contexts[0]] * spare]]
        sight = _Sight(notes, plan)
        kinds = plan.headers.facts[:, 0] - OFFSET["kind"]
        at = [0] * active  # the header each lane is at
        facts = np.zeros((LANES, WIDTH), dtype=np.int32)
        time = np.zeros(LANES, dtype=np.int32)
        facts[:active], time[:active] = plan.headers.facts[0], plan.headers.time[0]
        while any(place < len(kinds) for place in at):
            if cancelled():
                raise Cancelled
            states = self.step(lanes, facts, time)
            writers: list[Draft | None] = [None] * LANES
            for i in range(active):
                if at[i] < len(kinds) and kinds[at[i]] == TRACK_TARGET:
                    bar, track = (int(v) for v in plan.headers.cell[at[i]])
                    if drafts[i].place != (bar, track):
                        drafts[i].enter(bar, track)
                    writers[i] = drafts[i]
            wrote = self._write_notes(states, writers, sight, plan, randoms, sampling)
            for i in range(active):
                if at[i] >= len(kinds):
                    facts[i] = 0
                elif wrote[i]:
                    facts[i], time[i] = _note_step(drafts[i], plan)
                else:
                    if kinds[at[i]] == TRACK_TARGET:
                        yield CellDone(i, *drafts[i].place)
                    at[i] += 1
                    if at[i] < len(kinds):
                        facts[i], time[i] = plan.headers.facts[at[i]], plan.headers.time[at[i]]


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


def sample(logits: Floats, mask: NDArray[np.bool_], random: np.random.Generator, sampling: Sampling) -> int:
    """Draw one allowed value. Takes exactly one number from `random`, so runs stay in step."""
    values = np.flatnonzero(mask)
    draw = random.random()
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
    index = int(np.searchsorted(cumulative[:kept], draw * cumulative[min(kept, len(values)) - 1], side="right"))
    return int(values[order[min(index, len(values) - 1)]])


def _normalise(x: Floats, weight: Floats) -> Floats:
    mean = np.einsum("...i,...i->...", x, x)[..., None] / np.float32(x.shape[-1])
    out: Floats = x / np.sqrt(mean + np.float32(NORM_EPSILON)) * weight
    return out


def _rotate(x: Floats, cos: Floats, sin: Floats) -> Floats:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def _apply(matrix: Floats, x: Floats) -> Floats:
    """x @ matrix.T, in the order that is twice as fast for a few rows. matrix: [out, in]; x: [n, in]."""
    return (matrix @ np.ascontiguousarray(x.T)).T


def _swiglu(x: Floats, gate_up: Floats, down: Floats) -> Floats:
    gate, up = np.split(_apply(gate_up, x), 2, axis=-1)
    return _apply(down, gate / (1 + np.exp(np.minimum(-gate, 80))) * up)


def _softmax(scores: Floats) -> Floats:
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores
