"""The engine does the reference network's arithmetic, and candidates do not depend on their company."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import graphs
from models.architecture import SIZES
from models.drawing import BELOW_ONE, Desk, Sampling, sample
from models.engine import CHUNK, Engine, _session
from models.errors import Cancelled, UserError
from models.generators import Rows, TransformerGenerator
from models.hints import END, HINTS, MEMORY, SAME
from models.lanes import LANES, Context, Lanes
from models.piece import MAX_BAR
from models.tokens import FIELDS, MAX_TRACKS, TEXT_WIDTH, Steps, build_steps
from models.training.checkpoint import export_weights, load_weights
from models.transformer import MusicTransformer
from tests.builders import random_model, random_piece, random_region, random_task, tiny_generator

ROOT = Path(__file__).resolve().parents[2]
Pair = tuple[Engine, MusicTransformer]
SEEDS = [(5, number) for number in range(7)]


@pytest.fixture(scope="module", params=["tiny", "small"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The engine and the reference with the same random weights."""
    folder = tmp_path_factory.mktemp(request.param)
    export_weights(random_model(SIZES[request.param], 3), folder, {})
    return Engine(folder, bits=32), load_weights(folder)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> TransformerGenerator:
    return tiny_generator(tmp_path_factory.mktemp("weights"))


def random_steps(seed: int, bars: int = 5) -> Steps:
    rng = np.random.default_rng(seed)
    piece = random_piece(rng, bars, 4, 10, lengths=(96, 84, 72))
    slots = rng.permutation(MAX_TRACKS)[:4].astype(np.int32)
    text = rng.normal(size=(1, TEXT_WIDTH)).astype(np.float32)
    return build_steps(piece, random_region(rng, piece), 0, bars, slots=slots, ends_known=True, text=text)


def reference_states(model: MusicTransformer, steps: Steps) -> np.ndarray:
    facts, time = torch.from_numpy(steps.facts).long()[None], torch.from_numpy(steps.time)[None]
    text, first_step = torch.from_numpy(steps.text[:1]), torch.zeros(1, 2, dtype=torch.long)
    with torch.no_grad():
        return model(facts, time, text=text, text_at=first_step)[0].numpy()


def step_through(engine: Engine, context: Context, steps: Sequence[Steps]) -> list[np.ndarray]:
    """States of further steps, one lane for each of LANES sequences."""
    lanes = Lanes(engine, [context] * LANES, room=4)
    states = []
    for index in range(len(steps[0])):
        facts = np.stack([sequence.facts[index] for sequence in steps])
        time = np.array([sequence.time[index] for sequence in steps], dtype=np.int32)
        states.append(engine.step(lanes, facts, time).copy())
    return states


@pytest.mark.parametrize("seed", range(4))
def test_states_are_the_references(pair: Pair, seed: int) -> None:
    engine, model = pair
    steps = random_steps(seed)
    known = len(steps) // 2
    wanted = reference_states(model, steps)
    states = step_through(engine, engine.prefill(steps.part(0, known)), [steps.part(known)] * LANES)
    for lane in range(LANES):
        found = np.stack([state[lane] for state in states])
        assert np.abs(found - wanted[known:]).max() < 1e-4


@pytest.mark.parametrize("seed", range(2))
def test_eight_bits_are_near_the_reference(tmp_path: Path, seed: int) -> None:
    """Of a context that is read, and of the steps after it."""
    model = random_model(SIZES["small"], seed)
    export_weights(model, tmp_path, {})
    engine, steps = Engine(tmp_path), random_steps(seed)
    known, wanted = len(steps) // 2, reference_states(load_weights(tmp_path), steps)
    context, read = engine.read(steps.part(0, known))
    stepped = step_through(engine, context, [steps.part(known)] * LANES)
    assert context.held.dtype == np.int8
    found = np.concatenate([read, np.stack([state[0] for state in stepped])])
    assert np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()) < 0.1


def test_contexts_are_read_without_products_of_whole_numbers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on processors that do not add them up in full."""
    model = random_model(SIZES["small"], 3)
    export_weights(model, tmp_path, {})
    steps = random_steps(3)
    wanted = reference_states(load_weights(tmp_path), steps)

    def off() -> float:
        states = Engine(tmp_path).read(steps)[1]
        return float(np.sqrt(((states - wanted) ** 2).mean() / (wanted**2).mean()))

    assert off() < 0.1
    monkeypatch.setattr(graphs, "whole_products_are_exact", lambda: False)
    assert off() < 0.1


def test_what_is_read_is_held_in_the_levels_that_steps_write(tmp_path: Path) -> None:
    export_weights(random_model(SIZES["small"], 4), tmp_path, {})
    engine, steps = Engine(tmp_path), random_steps(5, bars=12).part(0, 90)
    lanes = Lanes(engine, [engine.read(steps.part(0, 80))[0]] * LANES)
    for index in range(80, 90):
        engine.step(lanes, np.tile(steps.facts[index], (LANES, 1)), np.repeat(steps.time[index], LANES))
    stepped, read = lanes._kept[:, :, 0, :, :90].astype(int), engine.read(steps)[0].held.astype(int)
    assert (stepped[..., :80, :] == engine.read(steps.part(0, 80))[0].held).all()
    assert np.abs(stepped - read).max() <= 6 < np.abs(read).max() and np.abs(stepped - read).mean() < 0.5


def test_words_change_what_is_read(pair: Pair) -> None:
    engine, _ = pair
    steps = random_steps(4)
    unsaid = engine.prefill(replace(steps, text=steps.text[:0]))
    assert np.abs(engine.prefill(steps).exact - unsaid.exact).max() > 1e-3


def test_lanes_do_not_mix(pair: Pair) -> None:
    engine, model = pair
    shared = random_steps(1)
    context = engine.prefill(shared)
    others = [random_steps(10 + lane).part(0, 30) for lane in range(LANES)]
    states = step_through(engine, context, others)
    for lane, other in enumerate(others):
        joined = Steps(*(np.concatenate([getattr(shared, n), getattr(other, n)]) for n in Steps.__slots__))
        wanted = reference_states(model, joined)[len(shared) :]
        assert np.abs(np.stack([state[lane] for state in states]) - wanted).max() < 1e-4


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_context_can_be_continued(pair: Pair, share: float) -> None:
    engine, _ = pair
    steps = random_steps(2)
    middle = max(1, int(share * len(steps)))
    whole = engine.prefill(steps)
    parts = engine.prefill(steps.part(middle), after=engine.prefill(steps.part(0, middle)))
    assert parts.length == whole.length == len(steps)
    assert np.abs(whole.exact - parts.exact).max() < 1e-4


class Reading(Engine):
    """An engine that counts the steps of contexts that it reads."""

    count = 0

    def read(self, steps: Steps, after: Context | None = None) -> tuple[Context, np.ndarray]:
        self.count += len(steps)
        return super().read(steps, after)


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    tiny_generator(tmp_path)
    engine, steps = Reading(tmp_path), random_steps(6, bars=24)
    first = engine.prefill(steps)
    assert engine.prefill(steps) is first and engine.count == len(steps)
    shorter = steps.part(0, 2 * CHUNK + 5)
    again = engine.prefill(shorter)
    assert engine.count == len(steps) + 5  # all but the last chunk was known
    fresh = Engine(tmp_path).prefill(shorter)
    assert all((getattr(again, name) == getattr(fresh, name)).all() for name in ("exact", "held", "recent"))
    other = replace(steps, text=steps.text + 1)
    assert np.abs(engine.prefill(other).exact - first.exact).max() > 1e-3  # other words are another context


def test_another_seed_or_warming_leaves_nothing_to_read(tmp_path: Path) -> None:
    tiny_generator(tmp_path)
    engine, task = Reading(tmp_path), random_task(np.random.default_rng(0))
    cold = written(TransformerGenerator(Engine(tmp_path)), 0, SEEDS[:2])
    generator = TransformerGenerator(engine)
    generator.warm(task)
    read = engine.count
    assert read > 0
    assert written(generator, 0, SEEDS[:2]) == cold  # and they are the same notes, bit for bit
    written(generator, 0, SEEDS[2:4])
    assert engine.count == read


def test_prefill_leaves_the_earlier_context_alone(pair: Pair) -> None:
    engine, _ = pair
    context = engine.prefill(random_steps(3))
    keys = context.held.copy()
    engine.prefill(random_steps(4), after=context)
    step_through(engine, context, [random_steps(5)] * LANES)
    assert (context.held == keys).all()


@pytest.mark.parametrize("seed", range(4))
def test_field_logits_are_the_references(pair: Pair, seed: int) -> None:
    """With the hints that real steps have: those of cells' first notes, of later ones, and of cells' ends."""
    engine, model = pair
    steps = random_steps(seed)
    asked = np.flatnonzero(steps.targets[:, 0] >= 0)
    state = np.random.default_rng(seed).standard_normal((len(asked), engine.config.width)).astype(np.float32)
    targets, chord = steps.targets[asked], steps.chord[asked]
    hints, onsets = steps.hints[asked], steps.onsets[asked]
    tensors = [torch.from_numpy(a) for a in (targets.astype(int), chord.astype(int), hints.astype(int), onsets)]
    with torch.no_grad():
        wanted = model.fields(torch.from_numpy(state), *tensors)
    found = engine.logits(state, targets, chord, hints, onsets)
    there = targets[:, 0] != END  # what follows an end is nothing
    for field in range(len(FIELDS)):
        rows = there if field else slice(None)
        assert np.abs(found[field] - wanted[field].numpy())[rows].max() < 1e-4


class Watched(Engine):
    """An engine that remembers what its first lane was fed and what hints it was given for each field."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fed: list[tuple[np.ndarray, int]] = []
        self.hinted: list[list[np.ndarray]] = []

    def step(self, lanes: Lanes, facts: np.ndarray, time: np.ndarray) -> np.ndarray:
        self.fed.append((facts[0].copy(), int(time[0])))
        self.hinted.append([])
        return super().step(lanes, facts, time)

    def draw(self, desk: Desk, stage: int) -> None:
        self.hinted[-1].append(np.concatenate([desk.hints[0], desk.onsets[0, :, :MAX_BAR].ravel()]))
        super().draw(desk, stage)


@pytest.mark.parametrize("seed", range(6))
def test_writing_feeds_what_training_would_show(tmp_path: Path, seed: int) -> None:
    """The steps and hints of a piece as it is written are those of the same piece laid out when it is done."""
    export_weights(random_model(SIZES["tiny"], seed), tmp_path, {})
    engine = Watched(tmp_path)
    task = random_task(np.random.default_rng(seed), bars=6)
    rows = [r for p in TransformerGenerator(engine).generate(task, [(seed, 0)], Sampling()) for r in p.rows]
    notes = np.concatenate([task.piece.notes, np.array(rows, dtype=np.int32).reshape(-1, 7)])
    done = replace(task.piece, notes=notes[np.lexsort(notes[:, 3::-1].T)])
    steps = build_steps(done, task.region, 0, len(done.bars), header=task.header)
    answer = np.flatnonzero(steps.in_region)
    assert len(rows) > 3
    assert [(f.tolist(), t) for f, t in engine.fed] == [
        (steps.facts[i].tolist(), int(steps.time[i])) for i in answer
    ]
    for at, hinted in zip(answer, engine.hinted, strict=True):
        if steps.targets[at, 0] < 0:
            continue
        told = np.concatenate([steps.hints[at], steps.onsets[at].ravel()])
        if steps.targets[at, 0] != END:
            assert (hinted[-1] == told).all()
        # Before the position is drawn, only what does not depend on it is told.
        drawn_later = [*range(SAME.start, MEMORY[0].start), *range(MEMORY[1].start, MEMORY[-1].stop)]
        early = np.delete(np.arange(HINTS), drawn_later)
        assert (hinted[0][early] == told[early]).all()


def written(generator: TransformerGenerator, seed: int, seeds: Sequence[tuple[int, int]]) -> list[Rows]:
    """The rows of every candidate."""
    task = random_task(np.random.default_rng(seed))
    rows: list[Rows] = [[] for _ in seeds]
    for progress in generator.generate(task, seeds, Sampling(), lambda: False):
        rows[progress.candidate].extend(progress.rows)
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_a_candidate_is_the_same_alone_and_in_company(generator: TransformerGenerator, seed: int) -> None:
    all_of_them = written(generator, seed, SEEDS)
    assert len({tuple(rows) for rows in all_of_them}) > 1
    for count in (1, 2, 4):
        assert written(generator, seed, SEEDS[:count]) == all_of_them[:count]
    assert written(generator, seed, SEEDS) == all_of_them


@pytest.mark.parametrize("alike", [True, False])
def test_a_single_candidate_is_the_same_with_idle_lanes_and_without(tmp_path: Path, alike: bool) -> None:
    """Without them only where rows come out the same, which the engine tries."""
    generator = tiny_generator(tmp_path, size="small")
    among = written(generator, 0, SEEDS[:LANES])
    generator._engine.rows_alone = alike and generator._engine.rows_alone
    assert written(generator, 0, SEEDS[:1]) == among[:1]


def test_states_are_the_same_bit_for_bit_alone_and_in_company(generator: TransformerGenerator) -> None:
    engine = generator._engine
    context = engine.prefill(random_steps(1))
    mine, others = random_steps(2).part(0, 40), [random_steps(3 + lane).part(0, 40) for lane in range(LANES - 1)]
    silent = [Steps(*(np.zeros_like(getattr(mine, name)) for name in Steps.__slots__))] * (LANES - 1)
    among = step_through(engine, context, [mine, *others])
    alone = step_through(engine, context, [mine, *silent])
    assert all((one[0] == other[0]).all() for one, other in zip(among, alone, strict=True))


PROGRAM = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from models.engine import Engine
from models.generators import TransformerGenerator
from tests.models.test_engine import SEEDS, written
generator = TransformerGenerator(Engine(Path(sys.argv[1])))
print(hashlib.sha256(json.dumps(written(generator, 1, SEEDS[:2])).encode()).hexdigest())
"""


def test_a_fresh_process_writes_the_same(tmp_path: Path) -> None:
    generator = tiny_generator(tmp_path)
    here = hashlib.sha256(json.dumps(written(generator, 1, SEEDS[:2])).encode()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == here


class CountingEngine(Engine):
    """An engine that counts its steps."""

    steps = 0

    def step(self, lanes: Lanes, facts: np.ndarray, time: np.ndarray) -> np.ndarray:
        self.steps += 1
        return super().step(lanes, facts, time)


@pytest.mark.parametrize("after", [0, 1, 7])
def test_cancelling_stops_before_another_step(tmp_path: Path, after: int) -> None:
    tiny_generator(tmp_path)
    engine = CountingEngine(tmp_path)
    cancelled: Callable[[], bool] = lambda: engine.steps >= after  # noqa: E731
    task = random_task(np.random.default_rng(0))
    with pytest.raises(Cancelled):
        list(TransformerGenerator(engine).generate(task, SEEDS[:2], Sampling(), cancelled))
    assert engine.steps == after


# --- Drawing ------------------------------------------------------------------------------------------


def drawn(logits: np.ndarray, mask: np.ndarray, random: np.ndarray, sampling: Sampling) -> np.ndarray:
    """What the part of the graphs that draws makes of rows of logits."""
    graph = graphs.Network(SIZES["tiny"], {}, 32)
    given = {
        "logits": logits,
        "blend": np.eye(len(logits), dtype=np.float32) * sampling.sharpness,
        "mask": np.where(mask, 0, graphs.FAINT).astype(np.float32),
        "random": (random[:, None] * BELOW_ONE).astype(np.float32),
    }
    logit, blend, added, chance = (graph.input(n, value.dtype, ("n", "m")) for n, value in given.items())
    given["top_p"] = sampling.kept
    graph.draw(logit, blend, added, chance, graph.input("top_p", np.float32, (1,)), logits.shape[1], "value")
    graph.output("value", np.int64, ("n", 1))
    session = _session(graph.to_bytes())
    return session.run(["value"], given)[0][:, 0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 3), st.floats(0, 1))
def test_only_allowed_values_are_drawn(seed: int, temperature: float, top_p: float) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((8, 50)) * 20).astype(np.float32)
    mask = rng.random((8, 50)) < rng.choice([0.02, 0.2, 0.9])
    mask[np.arange(8), rng.integers(50, size=8)] = True
    random = np.concatenate([rng.random(6), [0.0, 1 - 1e-12]])
    values = drawn(logits, mask, random, Sampling(temperature, top_p))
    assert mask[np.arange(8), values].all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 2), st.floats(0.3, 1))
def test_the_graph_draws_what_the_same_in_numpy_draws(seed: int, temperature: float, top_p: float) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((30, 40)) * 3).astype(np.float32)
    mask = rng.random((30, 40)) < 0.5
    mask[:, 0] = True
    random, sampling = rng.random(30), Sampling(temperature, top_p)
    wanted = [sample(*row, sampling) for row in zip(logits, mask, random, strict=True)]
    assert (drawn(logits, mask, random, sampling) != wanted).sum() <= 1  # a number may fall on an edge


def test_no_temperature_means_the_likeliest() -> None:
    logits = np.tile(np.array([1, 5, 3], dtype=np.float32), (20, 1))
    mask = np.tile([True, False, True], (20, 1))
    assert set(drawn(logits, mask, np.linspace(0, 0.999, 20), Sampling(0.0))) == {2}


def test_top_p_keeps_the_fewest_values_that_reach_it() -> None:
    logits = np.tile(np.log(np.array([0.5, 0.3, 0.15, 0.05])).astype(np.float32), (4000, 1))
    random = np.random.default_rng(0).random(4000)
    values = drawn(logits, np.ones((4000, 4), dtype=bool), random, Sampling(1.0, 0.75))
    assert set(values) == {0, 1}
    assert abs((values == 0).mean() - 0.5 / 0.8) < 0.03


def test_values_are_drawn_as_often_as_they_are_likely() -> None:
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    logits = np.tile(np.log(shares).astype(np.float32), (8000, 1))
    values = drawn(logits, np.ones((8000, 4), bool), np.random.default_rng(1).random(8000), Sampling(1.0, 1.0))
    assert np.abs(np.bincount(values, minlength=4) / 8000 - shares).max() < 0.02


# --- Weights ------------------------------------------------------------------------------------------


def test_weights_that_cannot_be_read_are_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        Engine(tmp_path / "missing")
    export_weights(random_model(SIZES["tiny"]), tmp_path, {})
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError):
        Engine(tmp_path)


def test_the_hash_names_the_weights(tmp_path: Path) -> None:
    one = tiny_generator(tmp_path / "one", seed=1)
    again = tiny_generator(tmp_path / "again", seed=1)
    other = tiny_generator(tmp_path / "other", seed=2)
    assert one.model_hash == again.model_hash != other.model_hash
