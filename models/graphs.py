"""The network of models/transformer.py as ONNX graphs, which models/engine.py runs one after the other.

    read        embedded steps of one context, exact keys and values     -> states, keys and values with theirs
    step        one embedded step of each lane, keys and values so far   -> states, keys and values with theirs
    position    states, what they are told                               -> what other fields go on from, positions
    pitch       position and the chord there, what they are told         -> pitches drawn
    rest        pitch, what they are told                                -> duration, velocity and micro drawn

Values are drawn inside of the graphs, under masks, from random numbers that are given. Matrices are held in eight
bits with a scale for every 128 or fewer of a row's numbers, keys and values in eight bits with a scale for each
column; or all of them exactly (`bits` 32). Small operations cost more than their arithmetic, so there are few; but
reading takes many rows at once, where arithmetic counts: there every row of a matrix has one scale, what it is
multiplied by is rounded to eight bits as well, with one scale in all, and attention is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.architecture import NORM_EPSILON, ModelConfig
from models.hints import (
    AFTER,
    ECHOES,
    LEVELS,
    LOUD,
    MEMORY,
    ONSETS,
    PROFILE,
    REFERENCE,
    SOUNDING,
)
from models.onnx_graph import Graph
from models.piece import MAX_BAR, VELOCITY_BINS
from models.tokens import FIELD_SIZES, FIELDS, WIDEST_INTERVAL

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Weights = Mapping[str, Floats]
BLOCKS = (128, 64, 32, 16)  # numbers of a row that share a scale; wider is faster
MOST_PADDING = 1.05  # of a row, for a wider block
STAGES = ((0,), (1,), (2, 3, 4))  # fields that one graph draws
FAINT = -1e30  # what is added to the logit of what is not allowed
REACH = 7.0  # standard deviations of keys and values that eight bits hold


class Network(Graph):
    """A graph of this network: its matrices are held in `bits` bits."""

    many_rows = False  # whether products are of so many that arithmetic counts for more than reading matrices

    def __init__(self, config: ModelConfig, raw: Weights, bits: int) -> None:
        super().__init__()
        self.config, self.raw, self.bits = config, raw, bits

    def of(self, *numbers: int) -> str:
        """Whole numbers as a constant."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def matmul(self, x: str, matrix: Floats, bias: Floats | None = None, name: str = "") -> str:
        """x @ matrix.T + bias. matrix: [out, in]; bias: [out]."""
        names = [name] if name else []
        if self.bits == 32:
            if bias is None:
                return self.op("MatMul", x, self.constant(matrix.T), names=names)
            return self.op("Add", self.op("MatMul", x, self.constant(matrix.T)), self.constant(bias), names=names)
        rows, columns = matrix.shape
        if self.many_rows and bias is None:
            values, scales = quantised(matrix, columns)
            whole = (values[:, 0].T ^ np.uint8(128)).view(np.int8)
            return self.op("DynamicQuantizeMatMul", x, self.constant(whole), self.constant(scales), names=names)
        block = block_of(columns)
        values, scales = quantised(matrix, block)
        return self.op(
            "MatMulNBits",
            x,
            self.constant(values),
            self.constant(scales),
            *([] if bias is None else ["", "", self.constant(bias)]),
            K=columns,
            N=rows,
            bits=8,
            block_size=block,
            accuracy_level=4,  # products of eight-bit numbers
            names=names,
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

    def rows(self, table: NDArray[np.generic], index: str) -> str:
        """Rows of a constant."""
        return self.op("Gather", self.constant(table), index, axis=0)

    def draw(self, logits: str, blend: str, mask: str, random: str, top_p: str, size: int, name: str) -> str:
        """One allowed value a row: [n, 1].

        The fewest and likeliest values that reach the probability top_p, [1], are kept (nucleus sampling, Holtzman
        et al., 2020). blend: [n, n] how much of each row's logits goes into each row's, over the temperature. mask:
        [n, size] what is added then, FAINT where not allowed. random: [n, 1] in 0..1, a little less at most.
        """
        chance = self.op("Softmax", self.op("Gemm", blend, logits, mask), axis=-1)
        ordered, value = self.op("TopK", chance, self.of(size), outputs=2, axis=-1, largest=1, sorted=1)
        reached = self.op("CumSum", ordered, self.constant(np.array(1, dtype=np.int64)))
        whole = self.constant(np.array(1, dtype=np.float32))
        ends = self.op("Where", self.op("Less", reached, top_p), whole, reached)
        wanted = self.op("Mul", random, self.op("ReduceMin", ends, self.of(1), keepdims=1))
        first = self.op("ArgMax", self.op("Min", reached, wanted), axis=1, keepdims=1)  # that reaches it
        return self.op("GatherElements", value, first, axis=1, names=[name])


def block_of(columns: int) -> int:
    """How many numbers of a row of a matrix share a scale."""
    return next((size for size in BLOCKS if -(-columns // size) * size <= MOST_PADDING * columns), BLOCKS[-1])


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


class _Trunk(Network):
    """A graph of the main network, but for how queries and keys are turned and attend."""

    def __init__(
        self, config: ModelConfig, raw: Weights, bits: int, held: Any, batch: str, heads: int, kv_heads: int
    ) -> None:
        """held: the type of keys and values. batch, heads, kv_heads: those of attention."""
        super().__init__(config, raw, bits)
        self.held, self.heads, self.kv_heads = held, heads, kv_heads
        self.room = (batch, kv_heads, "room", config.head_size)
        self.lengths, self.total = self.input("lengths", np.int32, (batch,)), self.input("total", np.int32, (1,))

    def attend(self, layer: int, query: str, key: str, value: str, *turns: str) -> str:
        """What queries find among all keys and values, those that are given included.

        query, key, value: [batch, steps, their heads * head_size]. turns: cosines, sines and places of rotations,
        for keys and queries that are not turned yet.
        """
        scales: list[str] = []
        attributes: dict[str, Any] = {"num_heads": self.heads, "kv_num_heads": self.kv_heads}
        if self.held is np.int8:
            kinds = dict.fromkeys(("k_quant_type", "v_quant_type"), "PER_TENSOR")
            attributes |= {"kv_cache_bit_width": 8, **kinds}
            scales = ["", "", *[self.constant(np.ones(1, dtype=np.float32))] * 2]
        if turns:
            attributes["do_rotary"] = 1
        mixed, *written = self.op(
            "GroupQueryAttention",
            query,
            key,
            value,
            *(self.input(f"{name}.{layer}", self.held, self.room) for name in ("keys", "values")),
            self.lengths,
            self.total,
            *(turns or [""] * 3),
            *scales,
            names=[f"mixed.{layer}", f"keys_out.{layer}", f"values_out.{layer}"],
            **attributes,
        )
        for name in written:
            self.output(name, self.held, self.room)
        found: str = mixed
        return found

    def layers(self, x: str, attention: Callable[[int, str], str]) -> None:
        """The way of steps [batch, steps, width] through all layers. attention: what a layer's attention makes of
        queries, keys and values that are side by side."""
        raw, update = self.raw, ""
        for i in range(self.config.layers):
            block = f"blocks.{i}"
            norm = raw[f"{block}.attention_norm.weight"]
            if update:
                normal, x = self.normalised_sum(x, update, norm)
            else:
                normal = self.normalise(x, norm)
            mixed = self.linear(attention(i, normal), f"{block}.attention.out")
            normal, x = self.normalised_sum(x, mixed, raw[f"{block}.mlp_norm.weight"])
            update = self.swiglu(normal, f"{block}.mlp")
        final = self.constant(raw["final_norm.weight"])
        self.op("SkipSimplifiedLayerNormalization", x, update, final, names=["state"], epsilon=NORM_EPSILON)
        self.output("state", np.float32, ("batch", "steps", self.config.width))


def kept_scales(config: ModelConfig, raw: Weights, layer: int) -> tuple[Floats, Floats]:
    """What one of the 127 levels of keys and of values is worth, [head_size] each; REACH deviations in all.

    Deviations go by the weights: what is multiplied by them is normalised. Two halves of a key are turned into one
    another, and all key heads have the same scales.
    """
    block = f"blocks.{layer}.attention"
    keys = np.abs(raw[f"{block}.key_norm.weight"]).reshape(2, -1).max(axis=0)
    norm = raw[f"blocks.{layer}.attention_norm.weight"]
    matrix = raw[f"{block}.qkv.weight"][-config.kv_heads * config.head_size :] * norm
    values = np.sqrt((matrix**2).sum(axis=1)).reshape(config.kv_heads, -1).max(axis=0)
    step = np.float32(REACH / 127)
    return np.tile(keys, 2) * step, np.maximum(values, 1e-6) * step


def in_levels(config: ModelConfig, raw: Weights) -> Weights:
    """The same network, whose keys and values count levels, as they are kept: what a level is worth lies in the
    queries, and in what is made of the values that were found. One scale for all columns is quicker to apply.
    """
    changed = dict(raw)
    for layer in range(config.layers):
        keys, values = kept_scales(config, raw, layer)
        block = f"blocks.{layer}.attention"
        changed[f"{block}.query_norm.weight"] = raw[f"{block}.query_norm.weight"] * keys
        changed[f"{block}.key_norm.weight"] = raw[f"{block}.key_norm.weight"] / keys
        qkv = raw[f"{block}.qkv.weight"].copy()
        qkv[-config.kv_heads * config.head_size :] /= np.tile(values, config.kv_heads)[:, None]
        changed[f"{block}.qkv.weight"] = qkv
        changed[f"{block}.out.weight"] = raw[f"{block}.out.weight"] * np.tile(values, config.heads)
    return changed


def held_in(bits: int) -> Any:
    """The type that the lanes' keys and values have."""
    return np.float32 if bits == 32 else np.int8


def made_whole(kept: Floats, scales: Sequence[tuple[Floats, Floats]]) -> NDArray[np.int8]:
    """Exact keys and values [2, layers, kv_heads, steps, head_size] in the 127 levels of the lanes. scales:
    `kept_scales` of every layer."""
    levels = kept / np.array(scales).transpose(1, 0, 2)[:, :, None, None]
    np.rint(levels, out=levels)
    whole: NDArray[np.int8] = np.clip(levels, -127, 127, out=levels).astype(np.int8)
    return whole


def read(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph that reads steps of one context.

    x: [1, steps, width] embedded steps. cos, sin: [steps * (heads + kv_heads), head_size / 2] of the rotations of
    every head of every step; places: [1, as many] 0, 1, 2, ... lengths: [1] steps known in all, less one; total:
    and one. keys.i, values.i: [1, kv_heads, room, head_size], exact, written to in place. state: [1, steps, width].
    """
    c, g = config, _Trunk(config, raw, bits, np.float32, "batch", config.heads, config.kv_heads)
    g.many_rows = bits == 8 and whole_products_are_exact()
    x = g.input("x", np.float32, ("batch", "steps", c.width))
    turns = [g.input(name, np.float32, ("turns", c.head_size // 2)) for name in ("cos", "sin")]
    places = g.input("places", np.int64, (1, "turns"))
    parts = [c.heads * c.head_size, c.kv_heads * c.head_size]

    def attention(layer: int, normal: str) -> str:
        block = f"blocks.{layer}.attention"
        turning, value = g.op(
            "Split", g.linear(normal, f"{block}.qkv"), g.of(sum(parts), parts[1]), outputs=2, axis=2
        )
        turning = g.op("Reshape", turning, g.of(-1, c.heads + c.kv_heads, c.head_size))
        turning = g.normalise(turning, np.ones(c.head_size, dtype=np.float32))
        weights = np.stack([raw[f"{block}.{name}.weight"] for name in ("query_norm", "key_norm")])
        turning = g.op("Mul", turning, g.constant(np.repeat(weights, [c.heads, c.kv_heads], axis=0)))
        # Every head of every step is a step of its own, with its own angles.
        turning = g.op("Reshape", turning, g.of(1, -1, c.head_size))
        turning = g.op("RotaryEmbedding", turning, places, *turns, num_heads=1)
        turning = g.op("Reshape", turning, g.of(1, -1, sum(parts)))
        query, key = g.op("Split", turning, g.of(*parts), outputs=2, axis=2)
        return g.attend(layer, query, key, value)

    g.layers(x, attention)
    return g.to_bytes()


def step(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph that takes in a step of each lane.

    x: [lanes, 1, width]. cos, sin: [room, head_size / 2], of which the first rows are those of every key head of
    every lane; places: [lanes * kv_heads, 1] 0, 1, 2, ... lengths: [lanes * kv_heads]. keys.i, values.i: [lanes *
    kv_heads, 1, room, head_size]. state: [lanes, 1, width]. The rest as in `read`.

    To attention every key head of a lane is a lane of its own, since heads turn by different angles.
    """
    c, group, held = config, config.heads // config.kv_heads, held_in(bits)
    raw = in_levels(config, raw) if held is np.int8 else raw
    g = _Trunk(config, raw, bits, held, "heads", group, 1)
    x = g.input("x", np.float32, ("batch", "steps", c.width))
    turns = [g.input(name, np.float32, ("turns", c.head_size // 2)) for name in ("cos", "sin")]
    turns.append(g.input("places", np.int64, ("heads", 1)))
    rows = np.arange((c.heads + 2 * c.kv_heads) * c.head_size).reshape(-1, c.head_size)
    queries, keys, values = np.split(rows, [c.heads, c.heads + c.kv_heads])
    together = [*(part.reshape(c.kv_heads, -1) for part in (queries, keys, values))]
    order = np.concatenate(together, axis=1).ravel()  # every key head after its queries, and then its values

    def attention(layer: int, normal: str) -> str:
        block = f"blocks.{layer}.attention"
        mixed = g.op(
            "Reshape", g.matmul(normal, raw[f"{block}.qkv.weight"][order]), g.of(-1, group + 2, c.head_size)
        )
        query, key, value = g.op("Split", mixed, g.of(group, 1, 1), outputs=3, axis=1)
        query, key = (
            g.normalise(query, raw[f"{block}.query_norm.weight"]),
            g.normalise(key, raw[f"{block}.key_norm.weight"]),
        )
        query = g.op("Reshape", query, g.of(-1, 1, group * c.head_size))
        return g.op("Reshape", g.attend(layer, query, key, value, *turns), g.of(-1, 1, c.heads * c.head_size))

    g.layers(x, attention)
    return g.to_bytes()


@cache
def whole_products_are_exact() -> bool:
    """Whether this processor adds up products of eight-bit numbers in full. Those that lack instructions for it
    (VNNI) stop at what sixteen bits hold; what is known of an instruction set differs, so it is tried."""
    from onnxruntime import InferenceSession

    g, length = Graph(), 64
    x = g.input("x", np.uint8, ("rows", length))
    g.op("MatMulInteger", x, g.constant(np.full((length, 1), 127, np.int8)), names=["y"])
    g.output("y", np.int32, ("rows", 1))
    session = InferenceSession(g.to_bytes(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.full((8, length), 255, np.uint8)})
    return bool((found == 127 * 255 * length).all())


# --- Fields ---------------------------------------------------------------------------------------------
# What a field says of a row is one product: its logits, a column of zeros, gates of the hints, and what else some
# of its values gain. `picks` name the columns that are added up for each value.

GATES = [len(ECHOES), len(ECHOES), *[1 + len(ECHOES)] * 3]  # of values that are hinted
PLANES = [2 + ONSETS, 4, 1, 1 + len(LOUD), 1]  # columns that are added up for a value


class Picks:
    """The picks of n rows: `of` by field [n, PLANES * (size + 1)], for those fields that add up more than one."""

    def __init__(self, n: int) -> None:
        self.of: dict[int, Ints] = {}
        self._planes: dict[int, Ints] = {}
        for field, planes in enumerate(PLANES):
            if planes > 1:
                size = FIELD_SIZES[field] + 1
                self._planes[field] = np.tile(np.arange(size, dtype=np.int32), (n, planes, 1))
                self._planes[field][:, 1:] = size - 1
                self.of[field] = self._planes[field].reshape(n, -1)

    def enter(self, hints: Ints, onsets: NDArray[np.bool_]) -> None:
        """Take in what stays the same in a cell; hints and onsets as Outlook has them."""
        gate = _POSITION_SIZE + GATES[0] + np.arange(ONSETS)
        self._planes[0][:, 2:] = np.where(onsets, gate[:, None], _POSITION_SIZE - 1)
        level = (np.maximum(hints[:, PROFILE, None], 0) >> 2 * np.arange(12)) & (LEVELS - 1)
        columns = np.pad(_PITCH_SIZE + GATES[1] + 1 + level, ((0, 0), (0, 1)), constant_values=_PITCH_SIZE - 1)
        self._planes[1][:, 3] = columns[:, _CLASS]

    def position(self, hints: Ints) -> None:
        """Take in what is told before the position is drawn."""
        self._planes[0][:, 1] = _SINCE[hints[:, AFTER]]

    def pitch(self, hints: Ints) -> None:
        """Take in what is told before the pitch is drawn."""
        planes = self._planes[1]
        planes[:, 1] = _INTERVALS[hints[:, REFERENCE]]
        planes[:, 2] = _SOUNDING.take(hints[:, SOUNDING], 0).take(_CLASS, 1)

    def rest(self, hints: Ints) -> None:
        """Take in what is told before duration, velocity and micro are drawn."""
        self._planes[3][:, 1:] = _CHANGES[_LOUD, hints[:, LOUD]]


_POSITION_SIZE, _PITCH_SIZE, _, _VELOCITY_SIZE, _ = (size + 1 for size in FIELD_SIZES)
_LOUD = np.arange(len(LOUD))
_CLASS = np.where(np.arange(_PITCH_SIZE) < 128, np.arange(_PITCH_SIZE) % 12, 12)


def _since() -> Ints:
    """By where the last note is, NONE last: what each position gains for its distance after it."""
    places = np.arange(_POSITION_SIZE)
    distance = places - np.arange(MAX_BAR)[:, None]
    there = (distance >= 0) & (places < MAX_BAR)
    table = np.where(there, _POSITION_SIZE + GATES[0] + ONSETS + distance, _POSITION_SIZE - 1)
    return np.pad(table, ((0, 1), (0, 0)), constant_values=_POSITION_SIZE - 1).astype(np.int32)


def _intervals() -> Ints:
    """By the pitch that the next one is heard against, NONE last: what each pitch gains for the interval."""
    keys, widest = np.arange(_PITCH_SIZE), WIDEST_INTERVAL + 1
    steps = np.clip(keys - np.arange(128)[:, None], -widest, widest) + widest
    table = np.where(keys < 128, _PITCH_SIZE + GATES[1] + 1 + LEVELS + steps, _PITCH_SIZE - 1)
    return np.pad(table, ((0, 1), (0, 0)), constant_values=_PITCH_SIZE - 1).astype(np.int32)


def _sounding() -> Ints:
    """By the bits of sounding pitch classes, NONE last: what each class gains, and a kit's keys in the end."""
    sounds = (np.arange(1 << 12)[:, None] >> np.arange(13)) & 1
    table = np.where(sounds == 1, _PITCH_SIZE + GATES[1], _PITCH_SIZE - 1)
    return np.pad(table, ((0, 1), (0, 0)), constant_values=_PITCH_SIZE - 1).astype(np.int32)


def _changes() -> Ints:
    """By the number in LOUD and what velocity it is, NONE last: what each velocity gains for the change."""
    values = np.arange(_VELOCITY_SIZE)
    change = values - np.arange(VELOCITY_BINS)[:, None] + VELOCITY_BINS
    first = _VELOCITY_SIZE + GATES[3] + (2 * VELOCITY_BINS + 1) * _LOUD[:, None, None]
    table = np.where(values < VELOCITY_BINS, first + change, _VELOCITY_SIZE - 1)
    return np.pad(table, ((0, 0), (0, 1), (0, 0)), constant_values=_VELOCITY_SIZE - 1).astype(np.int32)


_SINCE, _INTERVALS, _SOUNDING, _CHANGES = _since(), _intervals(), _sounding(), _changes()


class _Fields(Network):
    """A graph that draws fields."""

    def __init__(self, config: ModelConfig, raw: Weights, bits: int, fields: Sequence[int]) -> None:
        super().__init__(config, raw, bits)
        self.blend, self.top_p = self.input("blend", np.float32, ("n", "n")), self.input("top_p", np.float32, (1,))
        self.found: dict[int, str] = {}  # by field, [n, kinds * memory_width]
        if config.memory_rows:
            self._recall(fields)

    def _recall(self, fields: Sequence[int]) -> None:
        """Look up the memory's rows for the figures of some fields."""
        c = self.config
        kinds = [MEMORY[field].stop - MEMORY[field].start for field in fields]
        table = sum(kinds) * c.memory_rows + 1
        values = self.input("memory", np.uint8, (table, c.memory_width))
        scale = self.input("scale", np.float32, (table, 1))
        keys = self.input("keys", np.int32, ("n", sum(kinds)))
        block = max(16, 1 << (c.memory_width - 1).bit_length())
        about: dict[str, Any] = {"bits": 8, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
        found = self.op("GatherBlockQuantized", values, keys, scale, **about)
        parts = [self.op("Reshape", found, self.of(-1, sum(kinds) * c.memory_width))]
        if len(fields) > 1:
            sizes = self.of(*(count * c.memory_width for count in kinds))
            parts = self.op("Split", parts[0], sizes, outputs=len(fields), axis=1)
        self.found = dict(zip(fields, parts, strict=True))

    def drawn(self, seen: str, field: int, heads: Sequence[str], random: str, name: str) -> str:
        """The values of a field: [n, 1]. Its logits are given away as well; a hinted value is raised by its gate,
        and what hints nothing raises the column of zeros.

        seen: [n, field_width], with the field's start in it. heads: what the field says beside its logits; gates of
        hinted values come first.
        """
        c, raw, size = self.config, self.raw, FIELD_SIZES[field] + 1
        mask = self.input(f"mask.{field}", np.float32, ("n", size))
        echoes = self.input(f"echoes.{field}", np.int32, ("n", GATES[field]))
        norms = [raw[f"fields.norms.{i}.weight"] for i in range(c.field_layers)]
        x, update = seen, ""
        if c.memory_rows:
            update = self.linear(self.found[field], f"fields.memory.read.{field}")
        for i, norm in enumerate([*norms, raw["fields.final_norm.weight"]]):
            if update:
                normal, x = self.normalised_sum(x, update, norm)
            else:
                normal = self.normalise(x, norm)
            if i < c.field_layers:
                update = self.swiglu(normal, f"fields.mlps.{i}")
        tables, biases = [np.pad(raw[f"fields.tables.{field}"], ((0, 1), (0, 0)))], [np.zeros(size, np.float32)]
        for head in heads:
            table = raw[f"fields.{head}" if f"fields.{head}" in raw else f"fields.{head}.weight"]
            tables.append(table.reshape(-1, table.shape[-1]))
            biases.append(raw.get(f"fields.{head}.bias", np.zeros(len(tables[-1]), dtype=np.float32)))
        said = self.matmul(normal, np.concatenate(tables), np.concatenate(biases))
        if PLANES[field] > 1:
            picks = self.input(f"picks.{field}", np.int32, ("n", PLANES[field] * size))
            planes = self.op("Reshape", self.op("GatherElements", said, picks, axis=1), self.of(0, -1, size))
            gates = self.op("Slice", said, self.of(size), self.of(size + GATES[field]), self.of(1))
            logits = self.op("ReduceSum", planes, self.of(1), keepdims=0)
        else:
            logits, gates = self.op("Split", said, self.of(size, GATES[field]), outputs=2, axis=1)
        given = f"logits.{field}"
        self.op("ScatterElements", logits, echoes, gates, names=[given], axis=1, reduction="add")
        self.output(given, np.float32, ("n", size))
        value: str = self.draw(given, self.blend, mask, random, self.top_p, size, name)
        self.output(name, np.int64, ("n", 1))
        return value

    def with_drawn(self, seen: str, field: int, value: str, *more: str, name: str = "") -> str:
        """What the next field goes on from. value: [n]; more: [n, field_width] to be added as well."""
        start = self.raw["fields.start"]
        table = self.raw[f"fields.tables.{field}"] + (start[field + 1] - start[field])
        return self.op("Sum", seen, self.rows(table, value), *more, names=[name] if name else ())


def position(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph that draws positions.

    state: [n, width]. keys: [n, kinds] rows of the memory [rows + 1, memory_width], which is in eight bits, 128 for
    0, with a scale for each row. picks.0: as in Picks. echoes.0: [n, GATES] hinted values, NONE for none. blend,
    mask.0, random.0, top_p: as `draw` takes them. seen: [n, field_width]. position: [n, 1].
    """
    g = _Fields(config, raw, bits, STAGES[0])
    state, random = g.input("state", np.float32, ("n", config.width)), g.input("random.0", np.float32, ("n", 1))
    seen = g.matmul(state, raw["fields.from_state.weight"], raw["fields.start"][0], "seen")
    g.output("seen", np.float32, ("n", config.field_width))
    g.drawn(seen, 0, ["position_gates", "distance"], random, "position")
    return g.to_bytes()


def pitch(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph that draws pitches.

    seen: [n, field_width]. position, chord: [n]. The rest as in `position`. heard: [n, field_width]. pitch: [n, 1].
    """
    g = _Fields(config, raw, bits, STAGES[1])
    width = ("n", config.field_width)
    seen, random = g.input("seen", np.float32, width), g.input("random.1", np.float32, ("n", 1))
    place, chord = g.input("position", np.int64, ("n",)), g.input("chord", np.int64, ("n",))
    heard = g.with_drawn(seen, 0, place, g.rows(raw["fields.chord"], chord), name="heard")
    g.output("heard", np.float32, width)
    g.drawn(heard, 1, ["pitch_gates", "profile_gates", "interval"], random, "pitch")
    return g.to_bytes()


def rest(config: ModelConfig, raw: Weights, bits: int) -> bytes:
    """The graph that draws duration, velocity and micro.

    heard: [n, field_width]. pitch: [n]. The rest as in `position`. duration, velocity, micro: [n, 1].
    """
    g = _Fields(config, raw, bits, STAGES[2])
    seen = g.input("heard", np.float32, ("n", config.field_width))
    value = g.input("pitch", np.int64, ("n",))
    for index, field in enumerate(STAGES[2]):
        name, random = list(FIELDS)[field], g.input(f"random.{field}", np.float32, ("n", 1))
        seen = g.with_drawn(seen, field - 1, value)
        heads = [f"rest_gates.{index}", *(["loudness"] if name == "velocity" else [])]
        value = g.op("Squeeze", g.drawn(seen, field, heads, random, name), g.of(1))
    return g.to_bytes()
