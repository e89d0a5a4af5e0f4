"""The Markov baseline: its distributions are exact, its scores are their products, and it does learn."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import UserError
from models.markov import (
    DRUM_CHAINS,
    PITCHED_CHAINS,
    FieldModel,
    MarkovModel,
    Situation,
    Spec,
    ascending,
    chain_distributions,
    count_level,
)
from models.markov_events import ORDER, Events, join, piece_events, window_events
from models.piece import DRUMS, DURATIONS, MAX_BAR, MICRO_LIMIT, VELOCITY_BINS, Piece
from models.tokens import END, FIELDS, Steps, build_steps
from tests.builders import random_piece, random_region

QUARTER = 24
SCALE = (0, 2, 4, 5, 7, 9, 11, 12)


def melody(start: int, program: int = 0, bars: int = 8) -> Piece:
    """Quarter notes up and down a major scale in 4/4; a drum track has two strokes in every other bar."""
    pitches = [start + SCALE[min(i % 14, 14 - i % 14)] for i in range(4 * bars)]
    notes = [(i // 4, 0, i % 4 * QUARTER, pitch, 18, 20, 0) for i, pitch in enumerate(pitches)]
    notes += [(bar, 1, 0, start - 12 + step, 37, 12, 1) for bar in range(0, bars, 2) for step in (0, 4)]
    table = np.array([(96, 4, 120, 0)] * bars, dtype=np.int32)
    rows = np.array(sorted(notes), dtype=np.int32)
    return Piece(np.array([program, DRUMS], np.int32), table, rows, np.zeros((0, 3), np.int32))


def whole(piece: Piece, region: NDArray[np.bool_] | None = None) -> Steps:
    empty = np.zeros((len(piece.bars), len(piece.programs)), dtype=bool)
    return build_steps(piece, empty if region is None else region, 0, len(piece.bars))


def random_pieces(seed: int, count: int) -> list[Piece]:
    rng = np.random.default_rng(seed)
    pieces = [random_piece(rng, lengths=(96, 72, MAX_BAR)) for _ in range(count)]
    return [piece for piece in pieces if len(piece.notes)]


@pytest.fixture(scope="module")
def model() -> MarkovModel:
    pieces = [melody(start) for start in (48, 55, 60)] + random_pieces(1, 6)
    return MarkovModel.train(pieces, [whole(melody(62)), *map(whole, random_pieces(2, 3))])


# --- one chain, against a plain implementation with dictionaries ---


def slow_chain(contexts: list[list[int]], symbols: list[int], size: int) -> list[dict[tuple[int, int], int]]:
    """Kneser-Ney counts of every level: of events at the top, of distinct continuations below."""
    tables: list[dict[tuple[int, int], int]] = []
    rows = list(range(len(symbols)))
    for level in reversed(contexts):
        counts: dict[tuple[int, int], int] = defaultdict(int)
        firsts = []
        for row in rows:
            pair = level[row], symbols[row]
            if pair not in counts:
                firsts.append(row)
            counts[pair] += 1
        rows = firsts
        tables.append(counts)
    return tables[::-1]


def test_a_chain_is_interpolated_kneser_ney() -> None:
    rng = np.random.default_rng(0)
    size, n = 6, 400
    parts = rng.integers(0, 3, (3, n))
    contexts = [parts[0], parts[0] * 3 + parts[1], parts[0] * 9 + parts[1] * 3 + parts[2]]
    symbols = (parts[0] + parts[2] + rng.integers(0, 2, n)) % size
    hashes = [(context.astype(np.uint64) + np.uint64(1)) << np.uint64(8) for context in contexts]

    levels, kept = [], np.arange(n)
    for level_hashes in reversed(hashes):
        level, distinct = count_level(level_hashes[kept], symbols[kept].astype(np.uint8))
        levels.append(level)
        kept = kept[distinct]
    levels.reverse()
    asked = [np.append(level_hashes[:20], np.uint64(2**40)) for level_hashes in hashes]  # the last was never seen
    fast = chain_distributions(levels, asked, size)

    tables = slow_chain([context.tolist() for context in contexts], symbols.tolist(), size)
    for row in range(20):
        expected = np.full(size, 1 / size)
        for level, context, counts in zip(levels, contexts, tables, strict=True):
            here = np.array([counts.get((int(context[row]), symbol), 0) for symbol in range(size)])
            off = np.where(here > 0, level.discounts[np.clip(here, 1, 3) - 1], 0)
            expected = (here - off + off.sum() * expected) / here.sum()
        np.testing.assert_allclose(fast[row], expected, rtol=1e-12)
    np.testing.assert_allclose(fast[20], 1 / size)


def test_sorting_survives_hashes_that_agree_in_their_leading_bits() -> None:
    rng = np.random.default_rng(0)
    keys = (rng.integers(0, 5, 3000).astype(np.uint64) << np.uint64(60)) | rng.integers(0, 200, 3000).astype(
        np.uint64
    )
    assert (keys[ascending(keys)] == np.sort(keys)).all()
    assert sorted(ascending(keys).tolist()) == list(range(3000))


@pytest.mark.parametrize(
    "text", [text for chains in (PITCHED_CHAINS, DRUM_CHAINS) for t in chains.values() for text in t]
)
def test_chains_look_no_further_back_than_their_order(text: str) -> None:
    reach = {"since": 1, "together": 1, "interval": 1}
    for level in Spec(text).levels:
        assert all(lag + reach.get(name, 0) <= ORDER for name, lag in level)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("drums", [False, True])
def test_no_field_looks_at_what_is_not_yet_chosen(field: str, drums: bool) -> None:
    order = ["position", "pitch", "duration", "velocity", "micro"]
    own = {"place": 0, "beat": 0, "since": 0, "together": 0, "pitch": 1, "interval": 1}
    own |= {"duration": 2, "velocity": 3, "micro": 4}
    for text in (DRUM_CHAINS if drums else PITCHED_CHAINS)[field]:
        for name, lag in (feature for level in Spec(text).levels for feature in level):
            assert lag > 0 or name not in own or own[name] < order.index(field), name


def test_a_feature_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(ValueError, match="colour1"):
        Spec("together | colour1")


# --- distributions ---

NOTE = st.tuples(
    st.integers(0, 4),
    st.integers(0, 127),
    st.integers(0, len(DURATIONS) - 1),
    st.integers(0, VELOCITY_BINS - 1),
    st.integers(-MICRO_LIMIT, MICRO_LIMIT),
)


@settings(max_examples=40)
@given(
    notes=st.lists(NOTE, max_size=8),
    program=st.sampled_from([0, 33, DRUMS]),
    bar=st.integers(0, 2),
    certain=st.booleans(),
    values=st.tuples(st.integers(0, 95), NOTE),
)
def test_every_distribution_sums_to_one(
    model: MarkovModel,
    notes: list[tuple[int, ...]],
    program: int,
    bar: int,
    certain: bool,
    values: tuple[int, tuple[int, ...]],
) -> None:
    time = np.cumsum([note[0] for note in notes], dtype=np.int32) % 96
    past = np.array([(t, t % 96, *note[1:]) for t, note in zip(np.sort(time), notes, strict=True)], dtype=np.int32)
    situation = Situation(past.reshape(-1, 6).T, program, 96 * bar, 96, certain)
    position, (_, pitch, duration, velocity, _) = values
    partial = (position, pitch + 128 * (program == DRUMS), duration, velocity)
    for index, (field, size) in enumerate(FIELDS.items()):
        chance = model.distribution(field, situation, partial[:index])
        assert chance.shape == (size,) and chance.dtype == np.float64
        assert (chance >= 0).all()
        assert chance.sum() == pytest.approx(1, abs=1e-12)


def histories(piece: Piece, region: NDArray[np.bool_], bar: int, track: int, count: int) -> list[list[int]]:
    """The notes known before note `count` of a cell is chosen, found the slow way."""
    start = np.concatenate([[0], np.cumsum(piece.bars[:, 0])])
    rows = []
    in_cell = 0
    for note in piece.notes.tolist():
        here = note[0] == bar and note[1] == track
        known = region[bar, track] or not region[note[0], note[1]]
        if note[1] == track and (note[0] < bar or (here and in_cell < count)) and known:
            rows.append([int(start[note[0]]) + note[2], *note[2:]])
        in_cell += here
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_the_score_of_a_sequence_is_the_product_of_the_distributions(model: MarkovModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    piece = random_piece(rng, bars=4, tracks=3, notes_a_bar=6, lengths=(96, 72))
    region = random_region(rng, piece)
    steps = whole(piece, region)
    events, where = window_events(steps)
    scored = model.nats(events)
    assert len(where) == (steps.targets[:, 0] >= 0).sum()

    expected = np.zeros_like(scored)
    chosen: dict[tuple[int, int], int] = defaultdict(int)
    for row, step in enumerate(where):
        bar, track = (int(value) for value in steps.cell[step])
        past = np.array(histories(piece, region, bar, track, chosen[bar, track]), np.int32).reshape(-1, 6).T
        chosen[bar, track] += 1
        situation = Situation(
            past=past,
            program=int(piece.programs[track]),
            bar_time=int(piece.bars[:bar, 0].sum()),
            length=int(piece.bars[bar, 0]),
            certain=not region[bar, track],
        )
        target = [int(value) for value in steps.targets[step]]
        for index, field in enumerate(FIELDS if target[0] != END else ("position",)):
            expected[row, index] = -np.log(model.distribution(field, situation, target[:index])[target[index]])
    np.testing.assert_allclose(scored, expected, rtol=1e-9, atol=1e-12)
    assert np.isfinite(scored).all()


def test_what_cannot_follow_has_no_chance(model: MarkovModel) -> None:
    past = np.array([[96, 0, 60, 18, 20, 0], [120, 24, 64, 18, 20, 0]], np.int32).T
    position = model.distribution("position", Situation(past, 0, 96, 72))
    assert (position[:24] == 0).all() and position[24] > 0
    assert (position[72:END] == 0).all() and position[END] > 0
    chord = model.distribution("pitch", Situation(past, 0, 96, 72), (24,))
    assert (chord[:65] == 0).all() and chord[65] > 0
    assert model.distribution("pitch", Situation(past, 0, 96, 72), (48,))[:65].all()
    drum = model.distribution("pitch", Situation(past, DRUMS, 96, 72), (48,))
    assert (drum[:128] == 0).all()
    assert model.distribution("position", Situation(past, 0, 192, 96, certain=True))[END] == 0
    assert model.distribution("position", Situation(past, 0, 192, 96))[END] > 0
    top = np.array([[96, 0, 127, 18, 20, 0]], np.int32).T
    assert model.distribution("position", Situation(top, 0, 96, 96))[0] == 0


def test_a_field_needs_the_fields_before_it(model: MarkovModel) -> None:
    with pytest.raises(ValueError, match="duration needs the 2 fields before it"):
        model.distribution("duration", Situation(np.zeros((6, 0), np.int32), 0, 0, 96), (0,))


# --- events ---


def test_a_piece_has_an_event_for_every_note_and_every_cell() -> None:
    piece = melody(60)
    events = piece_events(piece)
    assert events.is_note.sum() == len(piece.notes)
    assert len(events) == len(piece.notes) + len(piece.bars) * len(piece.programs)
    both = join([events, piece_events(melody(48))])
    assert (both.column(0, 2)[len(events) :] == events.column(0, 2) - 12)[both.is_note[len(events) :]].all()


def test_a_hole_is_written_with_what_comes_before_it_in_time_as_history() -> None:
    piece = melody(60)
    region = np.zeros((8, 2), dtype=bool)
    region[3, 0] = True
    steps = whole(piece, region)
    events, where = window_events(steps)
    first_of_hole = events.take(np.flatnonzero(steps.in_region[where])[:1])
    last_before = piece.notes[(piece.notes[:, 0] == 2) & (piece.notes[:, 1] == 0)][-1]
    assert first_of_hole.column(1, 0)[0] == 2 * 96 + last_before[2]
    after_the_hole = (steps.cell[where] == (4, 0)).all(axis=1)
    assert events.take(np.flatnonzero(after_the_hole)[:1]).column(1, 0)[0] == 2 * 96 + last_before[2]


# --- what it learns ---


def mean_nats(model: MarkovModel, piece: Piece) -> float:
    events, _ = window_events(whole(piece))
    return float(model.nats(events).sum() / events.is_note.sum())


def test_what_was_heard_is_cheap_and_transposition_is_free() -> None:
    model = MarkovModel.train([melody(start) for start in (48, 55, 60)], [whole(melody(62))])
    untrained = sum(np.log(size) for size in FIELDS.values())
    heard, transposed = mean_nats(model, melody(60)), mean_nats(model, melody(66))
    assert heard < 0.15 * untrained
    assert transposed < 1.6 * heard
    assert mean_nats(model, random_pieces(9, 1)[0]) > 3 * heard

    # C D E F in F sharp major, a key that was never heard: the next note is the fifth.
    past = np.array([(24 * i, 24 * i, 66 + SCALE[i], 18, 20, 0) for i in range(4)], np.int32).T
    assert model.distribution("pitch", Situation(past, 0, 96, 96), (0,)).argmax() == 66 + SCALE[4]


def test_fitted_weights_are_better_than_equal_ones() -> None:
    events = join([piece_events(piece) for piece in [*random_pieces(3, 20), melody(50), melody(60)]])
    held = join([piece_events(melody(start)) for start in (53, 64)])
    field = FieldModel("pitch", drums=False)
    field.count(events)
    chosen = held.take(field.select(held))

    def cost() -> float:
        chance = field.distributions(chosen)
        return float(-np.log(chance[np.arange(len(chosen)), chosen.column(0, 2)]).mean())

    equal = cost()
    field.fit(held)
    fitted = cost()
    assert fitted < equal - 0.01
    weights = field.weights
    for index in range(len(weights)):  # nothing near by is better: the maximum was found
        for change in (-0.05, 0.05):
            field.weights = weights + change * (np.arange(len(weights)) == index)
            assert cost() > fitted - 1e-3


def test_a_model_without_any_drums_still_scores_them() -> None:
    piece = melody(60)
    silent = Piece(np.zeros(2, np.int32), piece.bars, piece.notes, piece.chords)
    model = MarkovModel.train([silent], [])
    assert np.isfinite(mean_nats(model, piece))


def test_save_and_load(model: MarkovModel, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "markov.safetensors"
    model.save(path, "some shards")
    events: Events = join([window_events(whole(piece))[0] for piece in random_pieces(4, 2)])
    assert (MarkovModel.load(path, "some shards").nats(events) == model.nats(events)).all()
    with pytest.raises(UserError, match="other data"):
        MarkovModel.load(path, "other shards")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        MarkovModel.load(path, "some shards")
    with pytest.raises(UserError, match="cannot be read"):
        MarkovModel.load(tmp_path / "nothing", "some shards")
