"""The Markov baseline: interpolated Kneser-Ney backoff of order five over the fields the network writes.

Every claim for the network is held against this model, so it is made as strong as its kind gets. It sees
the last five notes of a track, which is what an n-gram sees; each field of the next note is predicted in turn.

One *chain* is a classic backoff model: a list of contexts, each the one before it with more known, from
nothing to five notes. Level k interpolates its own discounted counts with level k - 1 (Chen & Goodman 1998,
"modified Kneser-Ney": three discounts a level, and lower levels count in how many longer contexts a symbol
occurs). Contexts made of intervals share their counts over all transpositions.

A field has several chains, each looking at the past in its own way (intervals, absolute pitches, the metre).
They are combined as a weighted geometric mean, which for music beats a weighted sum (Pearce 2005). The weights
are fitted on pieces that were not counted. What cannot follow (a place before the last note) has probability 0.

Distributions are dense and exact: a sequence's score is the product of what `MarkovModel.distribution` gives.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.errors import UserError
from models.markov_events import (
    COLUMNS,
    FEATURES,
    ORDER,
    PITCH,
    PLACE,
    TIME,
    WINDOW_NOTES,
    Events,
    join,
    piece_events,
    together,
    window_events,
)
from models.piece import DRUMS, MICRO_LIMIT, Piece
from models.tokens import END, FIELDS, IntArray, Steps

FloatArray = NDArray[np.float64]
HashArray = NDArray[np.uint64]
CHUNK = 8192

# A chain: its levels from general to special, each adding features to the one before. In chains that start
# with "relative:" the symbol is the interval from the last note.
PITCHED_CHAINS = {
    "position": (
        "length | where | end1 | chord program | since1 duration2 | since2 duration3 | since3 duration4"
        " | since4 duration5",
        "length | where | end1 | end2 | interval1 | end3 | interval2 | end4",
        "where | end1 chord | program | pitch1 | velocity1 micro1 | since1",
    ),
    "pitch": (
        "relative: together | interval1 together1 | interval2 together2 | interval3 together3"
        " | interval4 together4",
        "relative: together | interval1 together1 | beat | since duration1 | program | interval2 together2",
        "together | pitch1 | pitch2 together1 | pitch3 together2 | pitch4 | pitch5",
        "program | together | pitch1 | since | place duration1",
    ),
    "duration": (
        "together duration1 | since | program | beat | duration2 together1 | duration3 | duration4 duration5",
        "together duration1 | since | duration2 together1 | duration3 since1 | duration4 since2"
        " | duration5 since3 | place length",
        "place length | together duration1 | interval | since interval1 | duration2",
    ),
    "velocity": (
        "velocity1 | together velocity2 | velocity3 | velocity4 | velocity5",
        "velocity1 | together interval | velocity2 | velocity3 | beat | duration",
        "velocity1 | beat together | velocity2 together1 | program | length place | pitch",
    ),
    "micro": (
        "together micro1 | micro2 | micro3 | micro4 | micro5",
        "beat together | micro1 | duration | micro2 | micro3",
    ),
}
DRUM_CHAINS = {
    "position": (
        "length | where | since1 | since2 | since3 | since4",
        "length | where | pitch1 | pitch2 since1 | pitch3 since2 | pitch4 since3",
        "length | where velocity1 | pitch1 | micro1",
    ),
    "pitch": (
        "together pitch1 | pitch2 together1 | pitch3 together2 | pitch4 | pitch5",
        "beat together | place | pitch1 | pitch2 together1 | pitch3 together2",
        "together pitch1 | velocity1 | since | beat",
    ),
    "duration": (
        "together duration1 | duration2 together1 | duration3 | duration4 | duration5",
        "pitch | duration1 | pitch1 | since duration2 | place",
    ),
    "velocity": (
        "velocity1 pitch | together velocity2 | pitch1 | velocity3 pitch2 | velocity4 pitch3 | velocity5",
        "pitch beat | together pitch1 | velocity1 | since | pitch2 velocity2 | velocity3 pitch3",
        "pitch | place | pitch1 together | velocity1 | since",
    ),
    "micro": (
        "together micro1 | micro2 | micro3 | micro4 | micro5",
        "beat together | micro1 | pitch | micro2",
        "place together | pitch pitch1 | micro1",
    ),
}
SIZES = {**FIELDS, "pitch": 128}
RELATIVE_SIZE = 256  # intervals from -128 to 127, or 128 + pitch where there is no last note


# --- one chain ---

_SYMBOL_BITS = np.uint64(0xFF)  # a context's hash leaves its low byte to the symbol


def _mixed(state: HashArray, value: IntArray) -> HashArray:
    """The hash of `state` with one more value in it (multiply and fold, as in SplitMix64)."""
    with np.errstate(over="ignore"):
        bits = (state ^ value.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        return bits ^ (bits >> np.uint64(29))


class Spec:
    """A chain's description: `levels` of (feature, lag), and whether its symbols are intervals."""

    def __init__(self, text: str) -> None:
        self.relative = text.startswith("relative:")
        self.levels = [
            [self._feature(name) for name in level.split()] for level in text.removeprefix("relative:").split("|")
        ]

    @staticmethod
    def _feature(name: str) -> tuple[str, int]:
        match = re.fullmatch(r"([a-z]+)(\d?)", name)
        if match is None or match[1] not in FEATURES:
            raise ValueError(f"no feature {name!r}")
        return match[1], int(match[2] or 0)

    def contexts(self, events: Events, rows: IntArray | None = None, lowest: int = 0) -> list[HashArray]:
        """The hash of the context of every event, or of some `rows` of them, at the levels from `lowest` up."""
        count = len(events) if rows is None else len(rows)
        kept = [np.empty(count, dtype=np.uint64) for _ in self.levels[lowest:]]
        for at in range(0, count, CHUNK):  # what fits the processor's cache is several times faster
            here = slice(at, at + CHUNK)
            part = events.take(here if rows is None else rows[here])
            state = np.zeros(len(part), dtype=np.uint64)
            for number, level in enumerate(self.levels):
                for name, lag in level:
                    state = _mixed(state, FEATURES[name](part, lag))
                if number >= lowest:
                    kept[number - lowest][here] = state & ~_SYMBOL_BITS
        return kept


def _reference(events: Events) -> IntArray:
    """The symbol of an interval is the pitch less this."""
    return np.where(events.has(1), events.column(1, PITCH), 0) - 128


@dataclass(frozen=True, slots=True)
class Level:
    """Counts of one level, a sparse row a context.

    contexts: [C] sorted hashes; row i is starts[i]:starts[i + 1] of symbols and counts.
    discounts: [3] what is taken off a count of one, of two, and of more.
    """

    contexts: HashArray
    starts: NDArray[np.uint32]
    symbols: NDArray[np.uint8]
    counts: NDArray[np.uint32]
    discounts: FloatArray

    def refine(self, wanted: HashArray, lower: FloatArray) -> FloatArray:
        """Interpolate: [n, size] from the hashes [n] and the level below's distributions [n, size]."""
        row = np.minimum(np.searchsorted(self.contexts, wanted), len(self.contexts) - 1)
        begin = self.starts[row].astype(np.int64)
        found = self.contexts[row] == wanted
        width = np.where(found, self.starts[row + 1] - begin, 0)
        owner = np.repeat(np.arange(len(wanted)), width)
        entry = np.arange(len(owner)) + np.repeat(begin - (np.cumsum(width) - width), width)
        count = self.counts[entry].astype(np.float64)
        off = self.discounts[np.minimum(self.counts[entry], 3) - 1]
        total = np.where(found, np.bincount(owner, count, len(wanted)), 1.0)
        freed = np.where(found, np.bincount(owner, off, len(wanted)), 1.0)
        refined = lower * (freed / total)[:, None]
        refined[owner, self.symbols[entry]] += (count - off) / total[owner]
        return refined


def _discounts(counts: NDArray[np.int64]) -> FloatArray:
    """Chen & Goodman's estimate from how many counts are 1, 2, 3 and 4; add-one where these are few."""
    ones, twos, threes, fours = np.bincount(np.minimum(counts, 5), minlength=6)[1:5] + 1.0
    share = ones / (ones + 2 * twos)
    estimate = [1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes]
    return np.clip(estimate, [0.05, 0.1, 0.1], [0.95, 1.8, 2.7])


def ascending(key: HashArray) -> NDArray[np.int64]:
    """np.argsort for hashes. Sorting their leading bits with the row in the others takes a third of the time,
    and leaves so little to do that the stable sort, which looks for runs, does it in passing."""
    row_bits = np.uint64(max(1, len(key).bit_length()))
    packed = (key >> row_bits << row_bits) | np.arange(len(key), dtype=np.uint64)
    packed.sort()
    order = (packed & ((np.uint64(1) << row_bits) - np.uint64(1))).astype(np.int64)
    nearly = key[order]
    return order if (nearly[1:] >= nearly[:-1]).all() else order[np.argsort(nearly, kind="stable")]


def count_level(contexts: HashArray, symbols: NDArray[np.uint8]) -> tuple[Level, NDArray[np.int64]]:
    """Count (context, symbol), and say which of the n events are the first of theirs."""
    key = contexts | symbols
    order = ascending(key)
    key = key[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    key, counts = key[first], np.diff(first, append=len(key))
    hashes = key & ~_SYMBOL_BITS
    starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    level = Level(
        contexts=hashes[starts],
        starts=np.append(starts, len(key)).astype(np.uint32),
        symbols=(key & _SYMBOL_BITS).astype(np.uint8),
        counts=counts.astype(np.uint32),
        discounts=_discounts(counts),
    )
    return level, np.sort(order[first])


def count_chain(spec: Spec, events: Events, rows: IntArray, symbols: NDArray[np.uint8]) -> list[Level]:
    """Count from the longest context down: each level counts the distinct (context, symbol) of the one above."""
    top = len(spec.levels) - 1
    level, distinct = count_level(spec.contexts(events, rows, top)[0], symbols)
    rows, symbols = rows[distinct], symbols[distinct]
    levels = [level]
    kept = np.arange(len(rows))
    for contexts in reversed(spec.contexts(events, rows)[:top]):
        level, distinct = count_level(contexts[kept], symbols[kept])
        kept = kept[distinct]
        levels.append(level)
    return levels[::-1]


def chain_distributions(levels: list[Level], contexts: list[HashArray], size: int) -> FloatArray:
    """[n, size]. Events that share a context share the work."""
    dense = np.full((1, size), 1 / size)
    parent = np.zeros(len(contexts[0]), dtype=np.int64)
    for level, hashes in zip(levels, contexts, strict=True):
        wanted, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        dense = level.refine(wanted, dense[parent[first]])
        parent = inverse
    return dense[parent]


# --- one field ---


def symbols_of(field: str, events: Events) -> IntArray:
    """What an event's note has in a field, counted from 0."""
    if field == "position":
        return np.where(events.is_note, events.column(0, PLACE), END)
    value = events.column(0, COLUMNS.index(field))
    return value + MICRO_LIMIT if field == "micro" else value


def _allowed(field: str, events: Events) -> NDArray[np.bool_]:
    """What can follow at all: [n, SIZES[field]]. Notes of a cell go up in place, those of a chord in pitch."""
    symbols = np.arange(SIZES[field])
    in_bar = events.has(1) & (events.column(1, TIME) >= events.bar_time)
    if field == "position":
        # Nothing fits above the highest pitch there is.
        earliest = np.where(in_bar, events.column(1, PLACE) + (events.column(1, PITCH) == 127), 0)
        allowed = (symbols >= earliest[:, None]) & (symbols < events.length[:, None])
        allowed[:, END] = in_bar | ~events.certain
        return allowed
    if field == "pitch":
        lowest = np.where(together(events, 0) == 1, np.minimum(events.column(1, PITCH) + 1, 127), 0)
        return symbols >= lowest[:, None]
    return np.ones((len(events), len(symbols)), dtype=bool)


def _combined(logs: NDArray[np.floating], weights: FloatArray, allowed: NDArray[np.bool_]) -> FloatArray:
    """Weighted geometric mean over the first axis, zero where not allowed, rows summing to 1."""
    total = np.where(allowed, np.tensordot(weights, logs.astype(np.float64), axes=1), -np.inf)
    chance = np.exp(total - total.max(axis=1, keepdims=True))
    return chance / chance.sum(axis=1, keepdims=True)


class FieldModel:
    """The chains of one field, for pitched tracks or for drums, and their weights."""

    def __init__(self, field: str, drums: bool) -> None:
        self.field = field
        self.drums = drums
        self.specs = [Spec(text) for text in (DRUM_CHAINS if drums else PITCHED_CHAINS)[field]]
        self.chains: list[list[Level]] = []
        self.weights = np.full(len(self.specs), 1 / len(self.specs))

    def select(self, events: Events) -> IntArray:
        """Rows of the events that this model is for."""
        chosen = (events.program == DRUMS) == self.drums
        return np.flatnonzero(chosen if self.field == "position" else chosen & events.is_note).astype(np.int32)

    def count(self, events: Events) -> None:
        rows = self.select(events)
        if not len(rows):
            self.chains = [[] for _ in self.specs]
            return
        chosen = events.take(rows)
        plain = symbols_of(self.field, chosen)
        relative = plain - _reference(chosen) if self.field == "pitch" else plain
        symbols = {False: plain.astype(np.uint8), True: relative.astype(np.uint8)}
        del chosen, plain, relative  # large
        self.chains = [count_chain(spec, events, rows, symbols[spec.relative]) for spec in self.specs]

    def _log_experts(self, events: Events) -> FloatArray:
        """Log probabilities of every chain: [chains, n, size]."""
        size = SIZES[self.field]
        result = np.empty((len(self.specs), len(events), size))
        for index, (spec, levels) in enumerate(zip(self.specs, self.chains, strict=True)):
            contexts = spec.contexts(events) if levels else []
            if not levels:
                result[index] = 1 / size
            elif spec.relative:
                dense = chain_distributions(levels, contexts, RELATIVE_SIZE)
                result[index] = np.take_along_axis(dense, np.arange(size) - _reference(events)[:, None], axis=1)
            else:
                result[index] = chain_distributions(levels, contexts, size)
        return np.log(result)

    def distributions(self, events: Events) -> FloatArray:
        """[n, SIZES[field]]; rows sum to 1. The events must be of this model's kind of track."""
        return _combined(self._log_experts(events), self.weights, _allowed(self.field, events))

    def chain_nats(self, events: Events, chain: int) -> FloatArray:
        """What each event costs one chain alone: [n]."""
        alone = np.eye(len(self.specs))[chain]
        parts = [np.zeros(0)]
        for at in range(0, len(events), CHUNK):
            part = events.take(slice(at, at + CHUNK))
            chance = _combined(self._log_experts(part), alone, _allowed(self.field, part))
            parts.append(-np.log(chance[np.arange(len(part)), symbols_of(self.field, part)]))
        return np.concatenate(parts)

    def fit(self, events: Events, most: int = 40_000) -> None:
        """Find the weights under which these events, at most `most` of them, are likeliest (Newton's method;
        the likelihood of a weighted geometric mean is concave in the weights)."""
        rows = self.select(events)
        events = events.take(rows[:: max(1, -(-len(rows) // most))])
        if not len(events):
            return
        chunks = [events.take(slice(at, at + CHUNK)) for at in range(0, len(events), CHUNK)]
        prepared = [
            (self._log_experts(c).astype(np.float32), _allowed(self.field, c), symbols_of(self.field, c))
            for c in chunks
        ]
        for _ in range(15):
            gradient, curvature = np.zeros(len(self.specs)), np.eye(len(self.specs))
            for logs, allowed, symbols in prepared:
                chance = _combined(logs, self.weights, allowed)
                mean = np.einsum("cns,ns->cn", logs, chance)
                seen = logs[:, np.arange(len(symbols)), symbols]
                centred = (logs - mean[:, :, None]) * np.sqrt(chance)
                gradient += (seen - mean).sum(axis=1)
                curvature += np.einsum("cns,dns->cd", centred, centred)
            step = np.clip(np.linalg.solve(curvature, gradient), -0.3, 0.3)
            self.weights = self.weights + step
            if np.abs(step).max() < 1e-3:
                break


# --- all fields ---


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a note is to be predicted.

    past: [6, m], rows COLUMNS, at least the last ORDER notes of the track in order (all there are, if fewer).
    bar_time, length: where the bar starts, in the same ticks as the notes' times, and how long it is.
    certain: whether the cell is known to hold a note, so that it cannot end empty.
    """

    past: IntArray
    program: int
    bar_time: int
    length: int
    certain: bool = False


class MarkovModel:
    """Predicts the fields of the next note, or that the cell ends. Made by `train` or `load`."""

    def __init__(self) -> None:
        self._models = {(field, drums): FieldModel(field, drums) for field in FIELDS for drums in (False, True)}

    @classmethod
    def train(cls, pieces: Iterable[Piece], tuning: Iterable[Steps]) -> MarkovModel:
        """Count `pieces`, then weigh the chains on `tuning`, windows of other pieces.

        Twenty-three million notes take three minutes of one core and 5.4 GB.
        """
        model = cls()
        counted = join([piece_events(piece) for piece in pieces if len(piece.notes)])
        held = [window_events(steps)[0] for steps in tuning]
        aside = join(held) if held else None
        for field_model in model._models.values():
            field_model.count(counted)
            if aside is not None:
                field_model.fit(aside)
        return model

    def nats(self, events: Events) -> FloatArray:
        """What each field of each event costs: [n, 5] in the order of FIELDS, 0 where a field is not there."""
        result = np.zeros((len(events), len(FIELDS)))
        for (field, _), model in self._models.items():
            selected = model.select(events)
            for at in range(0, len(selected), CHUNK):
                rows = selected[at : at + CHUNK]
                chosen = events.take(rows)
                chance = model.distributions(chosen)[np.arange(len(rows)), symbols_of(field, chosen)]
                result[rows, list(FIELDS).index(field)] = -np.log(chance)
        return result

    def best_chain_nats(self, events: Events) -> NDArray[np.float64]:
        """As `nats`, by one chain a field and kind of track instead of all together: the plain n-gram model. Which
        chain is settled on these very events, to its favour."""
        result = np.zeros((len(events), len(FIELDS)))
        for (field, _), model in self._models.items():
            rows = model.select(events)
            costs = [model.chain_nats(events.take(rows), chain) for chain in range(len(model.specs))]
            result[rows, list(FIELDS).index(field)] = min(costs, key=np.sum)
        return result

    def distribution(self, field: str, situation: Situation, partial: Sequence[int] = ()) -> FloatArray:
        """The probability of every value of a field: [FIELDS[field]], summing to 1.

        partial: the values of the fields before it, as in `Steps.targets` (a drum's pitch is its key + 128).
        """
        names = list(FIELDS)
        if len(partial) != names.index(field):
            raise ValueError(f"{field} needs the {names.index(field)} fields before it")
        drums = situation.program == DRUMS
        known = dict(zip(names, partial, strict=False))
        place = known.get("position", 0)
        pitch = known.get("pitch", 0) - (128 if drums and "pitch" in known else 0)
        now = [situation.bar_time + place, place, pitch, known.get("duration", 0), known.get("velocity", 0), 0]
        past = situation.past[:, -ORDER:]
        events = Events(
            notes=np.concatenate([past, np.array(now, dtype=np.int32)[:, None]], axis=1),
            at=np.array([past.shape[1]], dtype=np.int32),
            begin=np.zeros(1, dtype=np.int32),
            bar_time=np.array([situation.bar_time], dtype=np.int32),
            length=np.array([situation.length], dtype=np.int32),
            program=np.array([situation.program], dtype=np.int32),
            certain=np.array([situation.certain]),
            is_note=np.array([True]),
        )
        dense = self._models[field, drums].distributions(events)[0]
        if field != "pitch":
            return dense
        nothing = np.zeros(128)
        return np.concatenate([nothing, dense] if drums else [dense, nothing])

    def save(self, path: Path, source: str = "") -> None:
        """Write everything to one safetensors file; `source` says what it was counted from."""
        tensors: dict[str, NDArray[Any]] = {}
        for (field, drums), model in self._models.items():
            prefix = f"{field}.{'drums' if drums else 'pitched'}"
            tensors[f"{prefix}.weights"] = model.weights
            for chain, levels in enumerate(model.chains):
                for number, level in enumerate(levels):
                    for column in fields(Level):
                        tensors[f"{prefix}.{chain}.{number}.{column.name}"] = getattr(level, column.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, {"source": source, "chains": _CHAINS_ID})

    @classmethod
    def load(cls, path: Path, source: str = "") -> MarkovModel:
        """Raises UserError when the file is not there, or was counted from another source or with other chains."""
        try:
            with safe_open(path, framework="numpy") as file:
                if file.metadata() != {"source": source, "chains": _CHAINS_ID}:
                    raise UserError(f"{path} was counted from other data", "Remove it, and it is made anew.")
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read", "Remove it, and it is made anew.") from error
        model = cls()
        for (field, drums), field_model in model._models.items():
            prefix = f"{field}.{'drums' if drums else 'pitched'}"
            field_model.weights = tensors[f"{prefix}.weights"]
            field_model.chains = [
                [
                    Level(*(tensors[f"{prefix}.{chain}.{number}.{column.name}"] for column in fields(Level)))
                    for number in range(len(spec.levels))
                    if f"{prefix}.{chain}.{number}.contexts" in tensors
                ]
                for chain, spec in enumerate(field_model.specs)
            ]
        return model


_CHAINS_ID = hashlib.sha256(repr((PITCHED_CHAINS, DRUM_CHAINS, WINDOW_NOTES)).encode()).hexdigest()
