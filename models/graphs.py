"""The network of models/transformer.py as four ONNX graphs, which models/engine.py runs one after the other.

    trunk       embedded steps, keys and values so far   -> states, keys and values with theirs
    position    states, hints                            -> what the other fields go on from, positions drawn
    pitch       position and the chord there, hints      -> pitches drawn
    rest        pitch, hints                             -> duration, velocity and micro drawn

Values are drawn inside of the graphs, under masks, from random numbers that are given. Matrices are held in eight
bits with a scale for every BLOCK or fewer of a row's numbers, or exactly (`bits` 32).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.architecture import NORM_EPSILON, ModelConfig
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
)
from models.onnx_graph import Graph
from models.piece import MAX_BAR, VELOCITY_BINS
from models.tokens import FIELD_SIZES, FIELDS, WIDEST_INTERVAL

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
BLOCK = 64
STAGES = ((0,), (1,), (2, 3, 4))  # fields that one graph draws
FAINT = -1e30  # the logit of what is not allowed


class Network(Graph):
    """A graph of this network: its matrices are held in `bits` bits."""

    def __init__(self, config: ModelConfig, raw: Weights, bits: int) -> None:
        super().__init__()
        self.config, self.raw, self.bits = config, raw, bits

    def of(self, *numbers: int) -> str:
        """Whole numbers as a constant."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def matmul(self, x: str, matrix: Floats) -> str:
        """x @ matrix.T. matrix: [out, in]."""
        if self.bits == 32:
            return self.op("MatMul", x, self.constant(matrix.T))
        rows, columns = matrix.shape
        block = next((size for size in (BLOCK, 32, 16) if columns % size == 0), 16)
        values, scales = quantised(matrix, block)
        return self.op(
            "MatMulNBits",
            x,
            self.constant(values),
            self.constant(scales),
            K=columns,
            N=rows,
            bits=8,
            block_size=block,
            accuracy_level=4,  # products of eight-bit numbers
        )

    def linear(self, x: str, name: str) -> str:
        return self.matmul(x, self.raw[name + ".weight"])

    def normalise(self, x: str, weight: Floats) -> str:
        scale = self.constant(weight)
        return self.op("SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=NORM_EPSILON, stash_type=1)

    def normalised_sum(self, x: str, y: str, weight: Floats) -> tuple[str, str]:
        """The sum of two values, normalised, and the sum itself."""
        out, *_, total = self.op(
            "SkipSimplifiedLayerNormalization", x, y, self.constant(weight), outputs=4, epsilon=NORM_EPSILON
        )
        return out, total

    def swiglu(self, x: str, name: str) -> str:
        gate, up = self.op("Split", self.linear(x, f"{name}.gate_up"), outputs=2, axis=-1, num_outputs=2)
        active = self.op("QuickGelu", gate, alpha=1.0)  # with alpha 1 it is SiLU
        return self.linear(self.op("Mul", active, up), f"{name}.down")

    def part(self, table: str, where: slice) -> str:
        """Some columns of a table: [n, columns]."""
        return self.op("Slice", table, self.of(where.start), self.of(where.stop), self.of(1))

    def column(self, table: str, index: int) -> str:
        """One column of a table: [n]."""
        return self.op("Gather", table, self.constant(np.array(index, dtype=np.int64)), axis=1)

    def rows(self, table: NDArray[np.generic], index: str) -> str:
        """Rows of a constant; -1 names the last one."""
        return self.op("Gather", self.constant(table), index, axis=0)

    def picked(self, table: str, index: str) -> str:
        """For every row of index the values that it names in the same row of the table; -1 names the last one."""
        return self.op("GatherElements", table, index, axis=1)

    def draw(self, logits: str, mask: str, random: str, sampling: tuple[str, str], size: int) -> str:
        """One allowed value a row: [n, 1].

        mask: [n, size] True where allowed. random: [n, 1] in 0..1, a little less than 1 at most. sampling: one over
        the temperature, and the share of probability that is kept: [1] each.
        """
        sharpness, top_p = sampling
        nothing, along = self.constant(np.array(0, dtype=np.float32)), self.constant(np.array(1, dtype=np.int64))
        allowed = self.op(
            "Where", mask, self.op("Mul", logits, sharpness), self.constant(np.array(FAINT, dtype=np.float32))
        )
        chance = self.op("Softmax", allowed, axis=-1)
        ordered, value = self.op("TopK", chance, self.of(size), outputs=2, axis=-1, largest=1, sorted=1)
        before = self.op("CumSum", ordered, along, exclusive=1)
        kept = self.op("Where", self.op("Less", before, top_p), ordered, nothing)
        total = self.op("CumSum", kept, along)
        end = self.op("Mul", random, self.part(total, slice(size - 1, size)))
        passed = self.op("Cast", self.op("LessOrEqual", total, end), to=7)
        return self.picked(value, self.op("ReduceSum", passed, self.of(1), keepdims=1))


def quantised(matrix: Floats, block: int) -> tuple[NDArray[np.uint8], Floats]:
    """A matrix [out, in] in eight bits: values [out, blocks, block] around 128, and scales [out * blocks]."""
    rows, columns = matrix.shape
    blocks = -(-columns // block)
    padded = np.zeros((rows, blocks * block), dtype=np.float32)
    padded[:, :columns] = matrix
    parts = padded.reshape(rows, blocks, block)
    scales = np.maximum(np.abs(parts).max(axis=2), 1e-10) / np.float32(127)
    values = np.rint(parts / scales[:, :, None]) + 128
    return values.astype(np.uint8), scales.ravel()


def trunk(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph of a pass over steps.

    x: [batch, steps, width] embedded steps. cos, sin: [batch * steps * (heads + kv_heads), head_size / 2] of the
    rotations of every head of every step; places: [1, as many] 0, 1, 2, ... lengths: [batch] steps known in all,
    less one; total: the longest of these, and one. keys.i, values.i: [batch, kv_heads, room, head_size], written to
    in place.
    state: [batch, steps, width].
    """
    c, g = config, Network(config, raw, bits)
    rotated = c.heads + c.kv_heads
    x = g.input("x", np.float32, ("batch", "steps", c.width))
    turns = [g.input(name, np.float32, ("turns", c.head_size // 2)) for name in ("cos", "sin")]
    places = g.input("places", np.int64, (1, "turns"))
    lengths, total = g.input("lengths", np.int32, ("batch",)), g.input("total", np.int32, (1,))
    parts = [c.heads * c.head_size, c.kv_heads * c.head_size]
    size = g.op("Slice", g.op("Shape", x), g.of(0), g.of(2))
    flat = g.op("Concat", size, g.of(sum(parts)), axis=0)
    update = None
    for i in range(c.layers):
        block = f"blocks.{i}"
        norm = raw[f"{block}.attention_norm.weight"]
        if update is None:
            normal = g.normalise(x, norm)
        else:
            normal, x = g.normalised_sum(x, update, norm)
        mixed = g.linear(normal, f"{block}.attention.qkv")
        turning, value = g.op("Split", mixed, g.of(sum(parts), parts[1]), outputs=2, axis=2)
        turning = g.op("Reshape", turning, g.of(-1, rotated, c.head_size))
        turning = g.normalise(turning, np.ones(c.head_size, dtype=np.float32))
        weights = [raw[f"{block}.attention.{name}.weight"] for name in ("query_norm", "key_norm")]
        turning = g.op("Mul", turning, g.constant(np.repeat(np.stack(weights), [c.heads, c.kv_heads], axis=0)))
        # Every head of every step is a step of its own, with its own angles.
        turning = g.op("Reshape", turning, g.of(1, -1, c.head_size))
        turning = g.op("RotaryEmbedding", turning, places, *turns, num_heads=1)
        query, key = g.op("Split", g.op("Reshape", turning, flat), g.of(*parts), outputs=2, axis=2)
        room = ("batch", c.kv_heads, "room", c.head_size)
        mixed, *written = g.op(
            "GroupQueryAttention",
            query,
            key,
            value,
            *(g.input(f"{name}.{i}", np.float32, room) for name in ("keys", "values")),
            lengths,
            total,
            names=[f"mixed.{i}", f"keys_out.{i}", f"values_out.{i}"],
            num_heads=c.heads,
            kv_num_heads=c.kv_heads,
        )
        for name in written:
            g.output(name, np.float32, room)
        mixed = g.linear(mixed, f"{block}.attention.out")
        normal, x = g.normalised_sum(x, mixed, raw[f"{block}.mlp_norm.weight"])
        update = g.swiglu(normal, f"{block}.mlp")
    g.op(
        "SkipSimplifiedLayerNormalization",
        x,
        update or x,
        g.constant(raw["final_norm.weight"]),
        names=["state"],
        epsilon=NORM_EPSILON,
    )
    g.output("state", np.float32, ("batch", "steps", c.width))
    return g.to_bytes()


class _Fields(Network):
    """A graph that draws fields."""

    def __init__(self, config: ModelConfig, raw: Weights, bits: int, fields: Sequence[int]) -> None:
        super().__init__(config, raw, bits)
        self.hints = self.input("hints", np.int32, ("n", HINTS))
        self.blend = self.input("blend", np.float32, ("n", "n"))
        self.sampling = (self.input("sharpness", np.float32, (1,)), self.input("top_p", np.float32, (1,)))
        self.found: dict[int, str] = {}  # by field, [n, kinds * memory_width]
        self.recalled(fields)

    def field(self, seen: str, field: int, heads: Sequence[tuple[str, int]]) -> tuple[str, list[str]]:
        """A field's logits from its table and its memory, with one more column that stands for nothing, and what
        further heads say.

        seen: [n, field_width], with the field's start in it. heads: names of further matrices, and how many rows of
        zeros follow each.
        """
        c, raw = self.config, self.raw
        x = seen
        if c.memory_rows:
            x = self.op("Add", seen, self.linear(self.found[field], f"fields.memory.read.{field}"))
        update = ""
        for i in range(c.field_layers):
            norm = raw[f"fields.norms.{i}.weight"]
            if i:
                normal, x = self.normalised_sum(x, update, norm)
            else:
                normal = self.normalise(x, norm)
            update = self.swiglu(normal, f"fields.mlps.{i}")
        x, _ = self.normalised_sum(x, update, raw["fields.final_norm.weight"])
        named = [(f"tables.{field}", 1), *heads]
        tables, biases = [], []
        for name, spare in named:
            table = raw[f"fields.{name}" if f"fields.{name}" in raw else f"fields.{name}.weight"]
            bias = raw.get(f"fields.{name}.bias", np.zeros(len(table), dtype=np.float32))
            tables.append(np.pad(table, ((0, spare), (0, 0))))
            biases.append(np.pad(bias, (0, spare)))
        said = self.matmul(x, np.concatenate(tables))
        said = self.op("Add", said, self.constant(np.concatenate(biases)))
        sizes = self.of(*(len(table) for table in tables))
        logits, *others = self.op("Split", said, sizes, outputs=len(named), axis=1)
        return logits, others

    def recalled(self, fields: Sequence[int]) -> None:
        """Look up what the memory has for the figures of fields whose hints lie side by side."""
        c = self.config
        if not c.memory_rows:
            return
        kinds = [MEMORY[field].stop - MEMORY[field].start for field in fields]
        values = self.input("memory", np.int8, (sum(kinds) * c.memory_rows, c.memory_width))
        scale = self.input("scale", np.float32, (sum(kinds) * c.memory_rows, 1))
        low = self.constant(np.array(c.memory_rows - 1, dtype=np.int32))
        first = self.constant(c.memory_rows * np.arange(sum(kinds), dtype=np.int32))
        keys = self.part(self.hints, slice(MEMORY[fields[0]].start, MEMORY[fields[-1]].stop))
        rows = self.op("Add", self.op("BitwiseAnd", keys, low), first)
        found = self.op("Cast", self.op("Gather", values, rows, axis=0), to=1)
        found = self.op("Mul", found, self.op("Gather", scale, rows, axis=0))
        flat = self.op("Reshape", found, self.of(-1, sum(kinds) * c.memory_width))
        parts = [flat]
        if len(fields) > 1:
            sizes = self.of(*(count * c.memory_width for count in kinds))
            parts = self.op("Split", flat, sizes, outputs=len(fields), axis=1)
        self.found = dict(zip(fields, parts, strict=True))

    def drawn(self, logits: str, field: int, echoes: tuple[str, slice], random: str) -> str:
        """The values of a field: [n, 1]. Its logits, each hinted value raised by its gate, are given away; NONE
        raises the column that stands for nothing. Rows draw from a blend of all rows' logits.

        echoes: gates [n, columns], and the columns of hints.
        """
        size = FIELD_SIZES[field] + 1
        mask = self.input(f"mask.{field}", np.bool_, ("n", size))
        gates, columns = echoes
        where, name = self.part(self.hints, columns), f"logits.{field}"
        self.op("ScatterElements", logits, where, gates, names=[name], axis=1, reduction="add")
        self.output(name, np.float32, ("n", size))
        return self.draw(self.op("MatMul", self.blend, name), mask, random, self.sampling, size)

    def with_drawn(self, seen: str, field: int, value: str) -> str:
        """What the next field goes on from. value: [n]."""
        start = self.raw["fields.start"]
        table = self.raw[f"fields.tables.{field}"] + (start[field + 1] - start[field])
        return self.op("Add", seen, self.rows(table, value))

    def gives(self, name: str, value: str, dtype: type, shape: Sequence[int | str]) -> None:
        self.op("Identity", value, names=[name])
        self.output(name, dtype, shape)


def position(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph that draws positions.

    state: [n, width]. hints: [n, HINTS]. onsets: [n, ONSETS, MAX_BAR + 2] 1 where others strike. mask.0: [n,
    MAX_BAR + 2] what is allowed; the last column, as in all masks, is not a value and always False. random: [n, 1].
    seen: [n, field_width]. position: [n, 1].
    """
    g = _Fields(config, raw, bits, STAGES[0])
    state = g.input("state", np.float32, ("n", config.width))
    onsets = g.input("onsets", np.float32, ("n", ONSETS, MAX_BAR + 2))
    random = g.input("random", np.float32, ("n", 1))
    seen = g.op("Add", g.linear(state, "fields.from_state"), g.constant(raw["fields.start"][0]))
    logits, (distance, gates) = g.field(seen, 0, [("distance", 1), ("position_gates", 0)])
    by_echo, by_onset = g.op("Split", gates, g.of(len(ECHOES), ONSETS), outputs=2, axis=1)
    since = g.rows(_since(), g.column(g.hints, AFTER))
    logits = g.op("Add", logits, g.picked(distance, since))
    struck = g.op("MatMul", g.op("Unsqueeze", by_onset, g.of(1)), onsets)
    logits = g.op("Add", logits, g.op("Squeeze", struck, g.of(1)))
    g.gives("position", g.drawn(logits, 0, (by_echo, NEXT), random), np.int64, ("n", 1))
    g.gives("seen", seen, np.float32, ("n", config.field_width))
    return g.to_bytes()


def _since() -> NDArray[np.int32]:
    """By where the last note is, NONE last, how far each position is after it; NONE where it is not after it."""
    places = np.arange(MAX_BAR + 2)
    distance = places - np.arange(MAX_BAR)[:, None]
    table = np.where((distance >= 0) & (places < MAX_BAR), distance, NONE)
    return np.concatenate([table, np.full((1, MAX_BAR + 2), NONE)]).astype(np.int32)


def pitch(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph that draws pitches.

    seen: [n, field_width]. position: [n, 1]. chord: [n]. anchor: [257] is added to the logits. The rest as in
    `position`. heard: [n, field_width]. pitch: [n, 1].
    """
    g = _Fields(config, raw, bits, STAGES[1])
    width = ("n", config.field_width)
    seen, place = g.input("seen", np.float32, width), g.input("position", np.int64, ("n", 1))
    chord, anchor = g.input("chord", np.int64, ("n",)), g.input("anchor", np.float32, (FIELDS["pitch"] + 1,))
    random = g.input("random", np.float32, ("n", 1))
    seen = g.with_drawn(seen, 0, g.op("Squeeze", place, g.of(1)))
    seen = g.op("Add", seen, g.rows(raw["fields.chord"], chord))
    logits, (interval, gates, profile) = g.field(
        seen, 1, [("interval", 1), ("pitch_gates", 0), ("profile_gates", 0)]
    )
    by_echo, by_sounding = g.op("Split", gates, g.of(len(ECHOES), 1), outputs=2, axis=1)
    steps = g.rows(_intervals(), g.column(g.hints, REFERENCE))
    logits = g.op("Add", logits, g.picked(interval, steps))
    bits_of = (np.arange(1 << 12)[:, None] >> np.arange(12)) & 1
    sounding = np.concatenate([bits_of, np.zeros((1, 12))]).astype(np.float32)
    by_class = g.op("Mul", by_sounding, g.rows(sounding, g.column(g.hints, SOUNDING)))
    levels = g.op("Max", g.part(g.hints, slice(PROFILE, PROFILE + 1)), g.constant(np.array(0, dtype=np.int32)))
    shift = g.constant(2 * np.arange(12, dtype=np.uint32))
    levels = g.op("BitShift", g.op("Cast", levels, to=12), shift, direction="RIGHT")
    levels = g.op("BitwiseAnd", levels, g.constant(np.array(LEVELS - 1, dtype=np.uint32)))
    by_class = g.op("Add", by_class, g.picked(profile, g.op("Cast", levels, to=7)))
    by_class = g.op("Pad", by_class, g.of(0, 0, 0, 1))
    keys = np.arange(FIELDS["pitch"] + 1)
    spread = g.op("Gather", by_class, g.constant(np.where(keys < 128, keys % 12, NONE)), axis=1)
    logits = g.op("Add", g.op("Add", logits, spread), anchor)
    g.gives("pitch", g.drawn(logits, 1, (by_echo, SAME), random), np.int64, ("n", 1))
    g.gives("heard", seen, np.float32, width)
    return g.to_bytes()


def _intervals() -> NDArray[np.int32]:
    """By the pitch that the next one is heard against, NONE last, the interval to each pitch; NONE for a kit's."""
    keys, widest = np.arange(FIELDS["pitch"] + 1), WIDEST_INTERVAL + 1
    steps = np.clip(keys - np.arange(128)[:, None], -widest, widest) + widest
    table = np.where(keys < 128, steps, NONE)
    return np.concatenate([table, np.full((1, len(keys)), NONE)]).astype(np.int32)


def rest(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph that draws duration, velocity and micro.

    heard: [n, field_width]. pitch: [n, 1]. random: [n, 3]. The rest as in `position`. values: [n, 3].
    """
    g = _Fields(config, raw, bits, STAGES[2])
    seen = g.input("heard", np.float32, ("n", config.field_width))
    value = g.input("pitch", np.int64, ("n", 1))
    randoms = g.op("Split", g.input("random", np.float32, ("n", 3)), outputs=3, axis=1, num_outputs=3)
    values = []
    for index, columns in enumerate((DURATION, VELOCITY, MICRO)):
        field = 2 + index
        seen = g.with_drawn(seen, field - 1, g.op("Squeeze", value, g.of(1)))
        heads = [(f"rest_gates.{index}", 0), *([("loudness", 1)] if columns == VELOCITY else [])]
        logits, (gates, *loudness) = g.field(seen, field, heads)
        if loudness:
            change = g.rows(_changes(), g.column(g.hints, VELOCITY.start))
            logits = g.op("Add", logits, g.picked(loudness[0], change))
        value = g.drawn(logits, field, (gates, columns), randoms[index])
        values.append(value)
    g.gives("values", g.op("Concat", *values, axis=1), np.int64, ("n", 3))
    return g.to_bytes()


def _changes() -> NDArray[np.int32]:
    """By the velocity before, NONE last, how much louder each one is, counted from 0; NONE for none."""
    values = np.arange(VELOCITY_BINS + 1)
    change = values - np.arange(VELOCITY_BINS)[:, None] + VELOCITY_BINS
    table = np.where(values < VELOCITY_BINS, change, NONE)
    return np.concatenate([table, np.full((1, len(values)), NONE)]).astype(np.int32)
