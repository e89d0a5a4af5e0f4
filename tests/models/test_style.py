"""Styles: what is read from a folder, what is learned, that a killed training ends the same, and how it is used."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from models.adapters import ABOUT_FILE, TENSORS_FILE, Adapter, read_adapter
from models.architecture import SIZES
from models.drawing import Sampling
from models.engine import Engine
from models.errors import UserError
from models.generators import TransformerGenerator
from models.midi_file import save_midi, write_midi
from models.piece import Piece
from models.score import Note, Score
from models.tokens import build_steps
from models.training import style_intake
from models.training.checkpoint import export_weights, load_weights
from models.training.loop import ROWS_TOGETHER, batch_losses, to_device
from models.training.lora import add_adapters, save_adapter
from models.training.sampling import Corpus, pack, random_batch
from models.training.shards import Item
from models.training.style import (
    LEAST_TRAINED,
    MOST_FORGOTTEN,
    WEAKER,
    Step,
    StyleConfig,
    Trained,
    adapter_tensors,
    apply_to,
    for_notes,
    train_style,
    windows_of,
)
from models.training.style_intake import Parts, fingerprint, midi_files, read_folder, split
from models.training.style_measures import FEATURES, distance, divergence, histograms, tell_apart
from scripts import soak_style
from tests.builders import random_model, random_piece, random_task, simple_score

seeds = st.integers(0, 2**32 - 1)
CONFIG = StyleConfig(rank=2, rate=2e-3, memory_rate=0.05, rows=1, total=8, validate_every=2)
torch.set_num_threads(1)


def tune(start: int, count: int = 64) -> Score:
    """A line of eighths that is the same for no two starts."""
    track = simple_score().tracks[0]
    rng = np.random.default_rng(start)
    pitches = np.clip(60 + np.cumsum(rng.integers(-3, 4, count)), 40, 90)
    notes = [Note(240 * i, int(pitch), 200, 80) for i, pitch in enumerate(pitches)]
    return replace(simple_score(), tracks=(track.with_notes(notes),), length=240 * count)


def own_items(count: int, seed: int = 0) -> tuple[Item, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        Item(random_piece(rng, 8, 2, 6), {"set": "style", "split": "train", "work": f"{n}", "path": f"{n}.mid"})
        for n in range(count)
    )


def base_sample() -> list[Item]:
    return [
        Item(item.piece, item.info | {"split": split})
        for item, split in zip(own_items(4, 9), ("train", "train", "valid", "valid"), strict=True)
    ]


PARTS = Parts(own_items(4), own_items(1, 1), own_items(1, 2))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    export_weights(random_model(SIZES["tiny"]), folder, {})
    return folder


@pytest.fixture(scope="module")
def trained(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_style(weights, PARTS, base_sample(), tmp_path_factory.mktemp("run"), CONFIG)


@pytest.fixture(scope="module")
def adapter(weights: Path, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = tmp_path_factory.mktemp("style")
    about = {"name": "mine", "base": Engine(weights).model_hash}
    save_adapter(folder, trained.tensors, trained.memory, about)
    return read_adapter(folder)


# --- Reading a folder ---------------------------------------------------------------------------------


def test_a_folder_is_read_whatever_is_in_it(tmp_path: Path) -> None:
    inside = tmp_path / "music" / "deep er" / "ünïcode '\"$(x)"
    inside.mkdir(parents=True)
    for number in range(3):
        save_midi(tune(number), inside / f"tune {number}.mid")
    higher = tune(0)
    higher = higher.with_tracks(
        [t.with_notes(n._replace(pitch=n.pitch + 5) for n in t.notes) for t in higher.tracks]
    )
    save_midi(higher, tmp_path / "music" / "again, higher.MID")
    (tmp_path / "music" / "broken.mid").write_bytes(b"MThd\0\0\0\6 nothing of the kind")
    (tmp_path / "music" / "notes.txt").write_text("not music")
    (tmp_path / "music" / "folder.mid").mkdir()
    save_midi(tune(7), tmp_path / "outside.mid")
    os.symlink(tmp_path / "outside.mid", tmp_path / "music" / "link.mid")
    os.symlink(tmp_path / "music", inside / "loop", target_is_directory=True)
    os.symlink(tmp_path, tmp_path / "music" / "up", target_is_directory=True)
    intake = read_folder(tmp_path / "music")
    assert len(intake.items) == 3 and intake.notes == 3 * 64
    reasons = dict(intake.skipped)
    assert set(reasons) == {"broken.mid", os.path.join("deep er", "ünïcode '\"$(x)", "tune 0.mid")}
    assert reasons[os.path.join("deep er", "ünïcode '\"$(x)", "tune 0.mid")] == "the same as again, higher.MID"
    assert all("outside" not in path.name for path in midi_files(tmp_path / "music"))


def test_too_many_files_are_said_and_too_many_notes_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        save_midi(tune(number, 100), tmp_path / f"{number}.mid")
    monkeypatch.setattr(style_intake, "MOST_NOTES", 250)
    intake = read_folder(tmp_path)
    assert len(intake.items) == 3 and {reason for _, reason in intake.skipped} == {
        "there is enough music without it"
    }
    monkeypatch.setattr(style_intake, "MOST_FILES", 5)
    with pytest.raises(UserError, match="more than 5 MIDI files"):
        read_folder(tmp_path)


def test_what_is_found_is_told(tmp_path: Path) -> None:
    for number in range(4):
        save_midi(tune(number, 100), tmp_path / f"{number}.mid")
    intake = read_folder(tmp_path)
    assert sum(intake.keys.values()) == 4 and sum(intake.roles.values()) == 4
    slowest, middle, fastest = intake.tempos
    assert 0 < slowest <= middle <= fastest < 400


def test_windows_to_measure_on_are_not_many() -> None:
    items = own_items(30)
    assert len(windows_of(items, 4, 8)) <= 8 and len(windows_of(items, 4, 64)) <= 64
    assert len(windows_of(items[:2], 4, 64)) == 8 and windows_of([], 4, 8) == []


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        read_folder(tmp_path / "nothing")


@pytest.mark.parametrize(("pieces", "notes"), [(3, 4000), (20, 20)])
def test_too_little_is_refused(tmp_path: Path, pieces: int, notes: int) -> None:
    for number in range(pieces):
        save_midi(tune(number, notes), tmp_path / f"{number}.mid")
    with pytest.raises(UserError, match="too little"):
        split(read_folder(tmp_path))


def test_whole_pieces_are_set_apart_and_always_the_same_ones(tmp_path: Path) -> None:
    for number in range(20):
        save_midi(tune(number), tmp_path / f"{number}.mid")
    parts = split(read_folder(tmp_path))
    assert (len(parts.learning), len(parts.tuning), len(parts.held_out)) == (14, 2, 4)
    names = [{str(item.info["path"]) for item in part} for part in (parts.learning, parts.tuning, parts.held_out)]
    assert len(names[0] | names[1] | names[2]) == 20
    again = split(read_folder(tmp_path))
    assert [item.info for item in again.held_out] == [item.info for item in parts.held_out]


@given(seeds, st.integers(1, 11))
def test_a_fingerprint_is_deaf_to_the_key_and_nothing_else(seed: int, semitones: int) -> None:
    rng = np.random.default_rng(seed)
    piece = random_piece(rng, 4, 2, 6)
    moved = piece.notes.copy()
    moved[piece.programs[moved[:, 1]] < 128, 3] += semitones
    assert fingerprint(replace(piece, notes=moved)) == fingerprint(piece)
    if len(moved):
        moved[int(rng.integers(len(moved))), 2] += 1
        assert fingerprint(replace(piece, notes=moved)) != fingerprint(piece)


def test_more_music_bears_more_freedom() -> None:
    configs = [for_notes(notes) for notes in (1_000, 10_000, 200_000)]
    for values in ([config.rank for config in configs], [config.total for config in configs]):
        assert values == sorted(values) and len(set(values)) == 3


# --- Training -----------------------------------------------------------------------------------------


def test_a_fresh_adapter_changes_nothing() -> None:
    model = random_model(SIZES["tiny"])
    steps = build_steps(random_piece(np.random.default_rng(0), 4, 2, 6), np.zeros((4, 2), bool), 0, 4)
    facts, time = torch.from_numpy(steps.facts).long()[None], torch.from_numpy(steps.time)[None]
    with torch.no_grad():
        before = model(facts, time)
        layers = add_adapters(model, 4)
        assert torch.equal(model(facts, time), before)
    assert len(layers) == len({*layers}) > 10
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning and all(".lora_" in name for name in learning)


def test_products_in_bfloat16_come_in_few_sizes_and_cost_the_same() -> None:
    """Every new size takes memory for good: a training would pass two gigabytes."""
    model = random_model(SIZES["tiny"]).eval()
    sizes: list[int] = []
    model.fields.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    corpus = Corpus(list(PARTS.learning))
    for step in range(12):
        tensors = to_device(random_batch(corpus, 1, step, range(2), 300), torch.device("cpu"))
        with torch.no_grad():
            exact, counted, where = batch_losses(model, tensors)
            with torch.autocast("cpu", torch.bfloat16):
                losses, counted_again, where_again = batch_losses(model, tensors)
        assert torch.equal(where, where_again) and torch.equal(counted, counted_again)
        assert (losses * counted).sum().item() == pytest.approx((exact * counted).sum().item(), rel=0.02)
    exact_sizes, rounded = sizes[::2], sizes[1::2]
    assert len(set(exact_sizes)) > 6 and all(size % ROWS_TOGETHER == 0 for size in rounded)
    assert all(size <= more < size + ROWS_TOGETHER for size, more in zip(exact_sizes, rounded, strict=True))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_killed_training_ends_as_an_uninterrupted_one(
    weights: Path, trained: Trained, tmp_path: Path, when: int
) -> None:
    heard: list[Step] = []

    def die(step: Step) -> None:
        heard.append(step)
        if len(heard) == when:
            raise Killed

    with pytest.raises(Killed):
        train_style(weights, PARTS, base_sample(), tmp_path, CONFIG, report=die)
    again = train_style(weights, PARTS, base_sample(), tmp_path, CONFIG)
    assert again.curve == trained.curve and again.steps == trained.steps
    assert all(torch.equal(again.tensors[name], value) for name, value in trained.tensors.items())
    assert torch.equal(again.memory[0], trained.memory[0]) and torch.equal(again.memory[1], trained.memory[1])


def test_a_process_that_is_killed_again_and_again_learns_the_same(tmp_path: Path) -> None:
    """Twice here, once of it while saving; scripts/soak_style.py kills a training of 200 steps 20 times."""
    assert soak_style.killed(tmp_path, int(os.environ.get("DESCANT_KILLS", "2")), 24)


def test_training_makes_the_pieces_it_learns_from_likelier(weights: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, total=60, validate_every=20, rate=5e-3)
    learned = train_style(
        weights, Parts(PARTS.learning, PARTS.learning, PARTS.learning), base_sample(), tmp_path, config
    )
    assert learned.figures.own_after < 0.9 * learned.figures.own_before
    assert learned.curve[-1][1] < learned.curve[0][1]


def test_a_style_that_makes_the_base_forget_is_made_weaker(weights: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, total=60, validate_every=20, rate=2e-2)
    learned = train_style(weights, PARTS, base_sample(), tmp_path, config)
    best = load_file(tmp_path / "best.safetensors")
    name = next(name for name in learned.tensors if ".lora_B." in name and best[name].abs().max() > 0)
    strength = (learned.tensors[name].abs().max() / best[name].abs().max()).item()
    assert any(strength == pytest.approx(known, abs=1e-3) for known in (1.0, *WEAKER))
    if strength > min(WEAKER) + 1e-3:
        assert learned.figures.forgotten < 2 * MOST_FORGOTTEN


def test_a_training_sized_to_the_time_keeps_its_size_when_it_goes_on(weights: Path, tmp_path: Path) -> None:
    first = train_style(weights, PARTS, base_sample(), tmp_path, replace(CONFIG, total=500), 0.01)
    assert first.steps == LEAST_TRAINED  # however little time there is
    again = train_style(weights, PARTS, base_sample(), tmp_path, replace(CONFIG, total=500), 1000.0)
    assert again.steps == first.steps and again.curve == first.curve


# --- Use ----------------------------------------------------------------------------------------------


def test_the_engine_plays_what_the_reference_learned(weights: Path, trained: Trained, adapter: Adapter) -> None:
    model = load_weights(weights)
    assert model.fields.memory is not None
    table = model.fields.memory.table.detach().clone()
    add_adapters(model, CONFIG.rank)
    halves = {name: value.half().float() for name, value in trained.tensors.items()}
    apply_to(model, halves, trained.memory, table)
    assert sorted(adapter_tensors(model)) == sorted(trained.tensors)
    steps = build_steps(random_piece(np.random.default_rng(5), 4, 2, 6), np.zeros((4, 2), bool), 0, 4)
    engine = Engine(weights, bits=32).styled([(adapter, 1.0)])
    asked = np.flatnonzero(steps.targets[:, 0] >= 0)
    state = np.random.default_rng(6).standard_normal((len(asked), engine.config.width)).astype(np.float32)
    tensors = [
        torch.from_numpy(a)
        for a in (
            steps.targets[asked].astype(int),
            steps.chord[asked].astype(int),
            steps.hints[asked].astype(int),
            steps.onsets[asked],
        )
    ]
    with torch.no_grad():
        wanted = model.fields(torch.from_numpy(state), *tensors)
    given = [steps.targets[asked], steps.chord[asked], steps.hints[asked], steps.onsets[asked]]
    found = engine.logits(state, *given)[0]
    assert np.abs(found - wanted[0].numpy()).max() < 0.05  # the memory has eight bits
    plain = Engine(weights, bits=32).logits(state, *given)[0]
    assert np.abs(plain - wanted[0].numpy()).max() > 3 * np.abs(found - wanted[0].numpy()).max()


def test_peft_loads_the_adapter_and_computes_the_same(weights: Path, trained: Trained, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft") if os.environ.get("CI") != "true" else importlib.import_module("peft")
    save_adapter(tmp_path, trained.tensors, None, {"name": "mine", "base": "any"})
    theirs = peft.PeftModel.from_pretrained(load_weights(weights), str(tmp_path)).eval()
    ours = load_weights(weights)
    add_adapters(ours, CONFIG.rank)
    halves = {name: value.half().float() for name, value in trained.tensors.items()}
    assert ours.fields.memory is not None
    table = ours.fields.memory.table.detach().clone()
    apply_to(ours.eval(), halves, (trained.memory[0][:0], trained.memory[1][:0]), table)
    plain = load_weights(weights)
    steps = build_steps(random_piece(np.random.default_rng(5), 4, 2, 6), np.zeros((4, 2), bool), 0, 4)
    tensors = to_device(pack([[steps]], len(steps)), torch.device("cpu"))
    with torch.no_grad():
        found, wanted, without = (
            batch_losses(model, tensors)[0] for model in (theirs.base_model.model, ours, plain)
        )
    assert torch.allclose(found, wanted, atol=1e-5)
    assert (without - wanted).abs().max() > 1e-2


def written(engine: Engine, seed: int) -> list[tuple[int, ...]]:
    task = random_task(np.random.default_rng(seed), bars=4)
    return [r for p in TransformerGenerator(engine).generate(task, [(seed, 0)], Sampling()) for r in p.rows]


@pytest.mark.parametrize("seed", range(3))
def test_strength_0_is_the_base_and_strengths_add_up(weights: Path, adapter: Adapter, seed: int) -> None:
    engine = Engine(weights, bits=32)
    none = engine.styled([(adapter, 0.0)])
    assert none.model_hash == engine.model_hash and written(none, seed) == written(engine, seed)
    half, whole = engine.styled([(adapter, 0.5)]), engine.styled([(adapter, 1.0)])
    assert len({engine.model_hash, half.model_hash, whole.model_hash}) == 3
    steps = build_steps(random_piece(np.random.default_rng(seed), 4, 2, 6), np.zeros((4, 2), bool), 0, 4)
    both = engine.styled([(adapter, 0.5), (adapter, 0.5)])
    assert np.abs(both.prefill(steps).exact - whole.prefill(steps).exact).max() < 1e-4
    assert np.abs(both.prefill(steps).exact - engine.prefill(steps).exact).max() > 1e-3
    assert written(engine, seed) == written(Engine(weights, bits=32), seed)  # and the base is what it was


def test_a_style_for_other_weights_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    export_weights(random_model(SIZES["tiny"], seed=5), tmp_path, {})
    with pytest.raises(UserError, match=r"mine.*other weights"):
        Engine(tmp_path).styled([(adapter, 1.0)])


@pytest.mark.parametrize("name", [TENSORS_FILE, ABOUT_FILE, "adapter_config.json"])
def test_a_damaged_style_is_refused(weights: Path, trained: Trained, tmp_path: Path, name: str) -> None:
    save_adapter(tmp_path, trained.tensors, trained.memory, {"name": "x", "base": "y"})
    read_adapter(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        read_adapter(tmp_path)


# --- Measures -----------------------------------------------------------------------------------------


def test_divergence_is_a_bit_at_most() -> None:
    a, b = np.array([3.0, 0, 0]), np.array([0, 0, 9.0])
    assert divergence(a, b) == pytest.approx(1.0) and divergence(a, 7 * a) == pytest.approx(0.0)
    assert divergence(a, np.zeros(3)) == 0.0


@settings(max_examples=15)
@given(seeds)
def test_music_is_nearest_to_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = [piece_around(rng, 45) for _ in range(3)]
    high = [replace(piece, notes=piece.notes + np.array([0, 0, 0, 36, 0, 0, 0])) for piece in low]
    assert distance(low, low) == pytest.approx(0.0)
    if any(len(piece.notes) for piece in low):
        a, b = histograms(low), histograms(high)
        apart = {name for name in FEATURES if divergence(a[name], b[name]) > 1e-9}
        assert apart == {"register"} and distance(low, high) == pytest.approx(1 / len(FEATURES))


def piece_around(rng: np.random.Generator, middle: int) -> Piece:
    piece = random_piece(rng, 8, 2, 8)
    notes = piece.notes.copy()
    notes[:, 3] = middle + notes[:, 3] % 12
    return replace(piece, notes=notes[np.lexsort(notes[:, 3::-1].T)])


def test_what_is_told_apart_is_told_apart_on_new_music() -> None:
    rng = np.random.default_rng(0)
    low, high = ([piece_around(rng, middle) for _ in range(12)] for middle in (45, 80))
    odds = tell_apart(low[:8], high[:8])
    assert all(odds(piece) > 0 for piece in low[8:]) and all(odds(piece) < 0 for piece in high[8:])


def test_files_written_by_us_are_read_back(tmp_path: Path) -> None:
    paths: Sequence[Path] = [tmp_path / f"{n}.mid" for n in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(write_midi(tune(number, 300)))
    intake = read_folder(tmp_path)
    assert [item.info["path"] for item in intake.items] == [path.name for path in paths]
    assert intake.seconds == pytest.approx(5 * 75, rel=0.05)
