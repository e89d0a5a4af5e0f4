"""Training: what is drawn, how it is learnt, and that a run goes on where it was stopped."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from models.architecture import MEMORY_FILES, MEMORY_TAGS, MODEL_FILE, SIZES, ModelConfig
from models.figures import CLOSED
from models.midi_file import write_midi
from models.piece import DRUMS, NO_CHORD, Piece, to_piece
from models.score import KeySignature, Marker, Note, Score
from models.theory import chord_track, with_chord_track
from models.tokens import END, FIELD_SIZES, MAX_TRACKS, TEXT_WIDTH, Steps, build_steps, step_counts
from models.training.checkpoint import EXPORTED_PACE, export_weights, load_checkpoint, load_weights, save_checkpoint
from models.training.loop import (
    TrainConfig,
    averaged,
    batch_losses,
    batches,
    evaluate,
    is_matrix,
    is_memory,
    learning_share,
    make_optimizers,
    nats_per_note,
    to_device,
    train,
)
from models.training.muon import Muon, orthogonalise
from models.training.sampling import (
    SET_WEIGHTS,
    Batch,
    Corpus,
    augment,
    choose_window,
    fixed_windows,
    keep_tracks,
    pack,
    random_batch,
    random_region,
    transpose,
    usable,
)
from models.training.shards import Item, read_shards, write_shards
from models.training.shared_figures import shared_figures
from models.transformer import MusicTransformer
from tests.builders import random_model, random_piece, simple_score

ROOT = Path(__file__).resolve().parents[2]
TINY = ModelConfig(
    width=32,
    layers=1,
    heads=2,
    head_size=16,
    hidden=32,
    field_width=24,
    field_hidden=24,
    memory_rows=64,
    memory_width=4,
)
CONFIG = TrainConfig(total=6, rows=2, length=128, warmup=2, save_every=2, dropout=0.1)
CPU = torch.device("cpu")
torch.set_num_threads(1)  # matrices this small only wait for each other
seeds = st.integers(0, 2**32 - 1)


def items(count: int = 6, seed: int = 0) -> list[Item]:
    rng = np.random.default_rng(seed)
    return [
        Item(
            random_piece(rng, 8, int(rng.integers(1, 5)), 6),
            {"set": "tunes", "split": "train", "work": f"w{number}", "path": f"midi/{number}.mid"},
        )
        for number in range(count)
    ]


def same_piece(one: Piece, other: Piece) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Piece.__slots__)


# --- Muon ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 48, 12), (1, 12, 96)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 7
    found = orthogonalise(matrices)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6 and values.max() < 1.3
    # Nearest means: the singular vectors stay.
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    agreement = (found * (u @ v)).sum(dim=(1, 2)) / min(shape[1:])
    assert agreement.min() > 0.75


def test_muon_treats_each_matrix_alone() -> None:
    generator = torch.Generator().manual_seed(2)
    start = [torch.randn(8, 12, generator=generator) for _ in range(3)]
    slopes = [torch.randn(8, 12, generator=generator) for _ in range(3)]

    def moved(chosen: list[int]) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(start[index].clone()) for index in chosen]
        optimizer = Muon(parameters, lr=0.1)
        for _ in range(3):
            for parameter, index in zip(parameters, chosen, strict=True):
                parameter.grad = slopes[index].clone()
            optimizer.step()
        return [parameter.detach() for parameter in parameters]

    together = moved([0, 1, 2])
    for index in range(3):
        assert torch.allclose(moved([index])[0], together[index], atol=1e-6)


# --- Drawing ------------------------------------------------------------------------------------------


def equal(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Batch.__slots__)


def test_a_batch_is_a_function_of_seed_step_and_row() -> None:
    corpus = Corpus(items())
    whole = random_batch(corpus, 1, 5, range(4), 200)
    assert equal(whole, random_batch(Corpus(items()), 1, 5, range(4), 200))
    halves = [random_batch(corpus, 1, 5, rows, 200) for rows in (range(0, 2), range(2, 4))]
    joined = Batch(*(np.concatenate([getattr(half, name) for half in halves]) for name in Batch.__slots__))
    assert equal(whole, joined)
    assert not equal(whole, random_batch(corpus, 1, 6, range(4), 200))
    assert not equal(whole, random_batch(corpus, 2, 5, range(4), 200))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_drawn_ahead_are_those_of_their_steps(workers: int) -> None:
    config = TrainConfig(rows=2, length=200, seed=1)
    ahead = batches(Corpus(items()), config, 5, workers)
    for step in range(5, 9):
        assert equal(next(ahead), random_batch(Corpus(items()), 1, step, range(2), 200))
    ahead.close()


def test_rows_hold_whole_windows_that_do_not_see_each_other() -> None:
    batch = random_batch(Corpus(items()), 3, 0, range(6), 300)
    assert (np.diff(batch.window, axis=1)[batch.window[:, 1:] >= 0] >= 0).all()
    padding = batch.window < 0
    assert not batch.facts[padding].any() and (batch.targets[padding] == -1).all()
    mask = to_device(batch, CPU)["mask"][:, 0].numpy()
    for row in range(6):
        same = batch.window[row][:, None] == batch.window[row][None, :]
        assert (mask[row] == (same & np.tril(np.ones_like(same)))).all()


@settings(max_examples=50)
@given(seeds)
def test_a_drawn_window_fits_and_asks_for_something(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = Corpus(items()).draw(rng, 256)
    assert 0 < len(steps) <= 256
    assert (steps.targets[:, 0] >= 0).any()
    assert steps.targets.max(axis=0).tolist() <= [size - 1 for size in FIELD_SIZES]


@settings(max_examples=50)
@given(seeds)
def test_a_region_lies_inside_its_window(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bars, tracks = int(rng.integers(1, 20)), int(rng.integers(1, 6))
    first = int(rng.integers(0, bars))
    stop = int(rng.integers(first + 1, bars + 1))
    for task in (None, "continue", "accompany", "fill", "scatter", "all"):
        region = random_region(rng, first, stop, bars, tracks, task)
        assert region.shape == (bars, tracks)
        assert not region[:first].any() and not region[stop:].any()
        if task in ("continue", "accompany", "fill", "all"):
            assert region.any()
        if task == "accompany" and tracks > 1:
            assert not region.all()


def test_a_window_is_as_long_as_its_budget_allows() -> None:
    counts = np.array([5, 5, 100, 5, 5], dtype=np.int32)
    assert [choose_window(counts, first, 20) for first in range(5)] == [2, 2, 3, 5, 5]


def test_drawn_pieces_follow_the_weights_of_their_sets() -> None:
    heavy, light = items(2)
    corpus = Corpus([replace(heavy, info={**heavy.info, "set": "pop909"}), light])
    weighed = SET_WEIGHTS["pop909"] * len(heavy.piece.notes)
    share = weighed / (weighed + len(light.piece.notes))
    assert corpus._cumulative[0] == pytest.approx(share)


def test_pieces_that_cannot_be_learnt_from_are_left_out() -> None:
    good, short = items(1)[0], items(1)[0]
    short = replace(short, piece=replace(short.piece, notes=short.piece.notes[:7]))
    assert usable(good.piece) and not usable(short.piece)
    assert Corpus([good, short]).items == [good]
    with pytest.raises(ValueError):
        Corpus([short])


# --- Augmentation -------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(seeds, st.integers(-11, 11))
def test_transposition_moves_notes_keys_and_chords_together(seed: int, semitones: int) -> None:
    rng = np.random.default_rng(seed)
    score = simple_score(2, 480, 2)
    keys = (KeySignature(0, int(rng.integers(-7, 8)), bool(rng.random() < 0.5)),)
    markers = tuple(Marker(tick, text) for tick, text in ((0, "Cm7"), (480, "N.C."), (960, "F#dim"), (1440, "Bb")))
    score = replace(score, keys=keys, markers=markers)
    moved = score.with_tracks(
        replace(track, notes=tuple(note._replace(pitch=note.pitch + semitones) for note in track.notes))
        for track in score.tracks
    )
    chords = [c._replace(chord=c.chord.transposed(semitones) if c.chord else None) for c in chord_track(score)]
    moved = with_chord_track(moved, chords)
    # Seven semitones up is one fifth up.
    moved = replace(moved, keys=(keys[0]._replace(fifths=(keys[0].fifths + 7 * semitones + 6) % 12 - 6),))
    assert same_piece(transpose(to_piece(score)[0], semitones), to_piece(moved)[0])


def classes(piece: Piece, semitones: int) -> np.ndarray:
    """The notes as they were before transposition, drums with their pitch and others with its class, in an order
    that does not hang on octaves."""
    rows = piece.notes.copy()
    pitched = piece.programs[rows[:, 1]] != DRUMS
    rows[pitched, 3] = (rows[pitched, 3] - semitones) % 12
    return rows[np.lexsort(rows.T[::-1])]


@settings(max_examples=40)
@given(seeds, st.integers(-11, 11))
def test_transposition_leaves_drums_and_stays_in_range(seed: int, semitones: int) -> None:
    piece = random_piece(np.random.default_rng(seed), 4, 4, 10)
    moved = transpose(piece, semitones)
    assert (classes(moved, semitones) == classes(piece, 0)).all()
    assert (np.lexsort(moved.notes[:, 3::-1].T) == np.arange(len(moved.notes))).all()
    assert moved.notes[:, 3].min(initial=60) >= 0 and moved.notes[:, 3].max(initial=60) <= 127
    assert ((moved.bars[:, 3] == 0) == (piece.bars[:, 3] == 0)).all()
    assert ((moved.chords[:, 2] == NO_CHORD) == (piece.chords[:, 2] == NO_CHORD)).all()


@settings(max_examples=40)
@given(seeds)
def test_an_augmented_piece_is_a_piece(seed: int) -> None:
    rng = np.random.default_rng(seed)
    piece = random_piece(rng, 6, int(rng.integers(1, 45)), 20)
    if not usable(piece):
        return
    found = augment(rng, piece)
    assert 1 <= len(found.programs) <= MAX_TRACKS
    assert found.notes[:, 1].max(initial=0) < len(found.programs)
    region = random_region(rng, 0, 6, 6, len(found.programs))
    build_steps(found, region, 0, 6)
    places = found.notes[:, :4].tolist()
    assert sorted(places) == places
    step_counts(found)


def test_tracks_that_are_kept_are_numbered_anew() -> None:
    piece = random_piece(np.random.default_rng(3), 4, 5, 20)
    kept = keep_tracks(piece, np.array([1, 4]))
    assert kept.programs.tolist() == piece.programs[[1, 4]].tolist()
    for new, old in enumerate((1, 4)):
        mine = kept.notes[kept.notes[:, 1] == new]
        wanted = piece.notes[piece.notes[:, 1] == old]
        assert (np.delete(mine, 1, axis=1) == np.delete(wanted, 1, axis=1)).all()


# --- Shards -------------------------------------------------------------------------------------------


def test_shards_give_back_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.shards.PIECES_PER_SHARD", 3)
    silence = Item(to_piece(Score(), 2)[0], {"set": "empty", "split": "valid", "work": "", "path": ""})
    given_items = [*items(7), silence]
    assert write_shards(iter(given_items), tmp_path) == 8
    assert len(list(tmp_path.glob("*.zst"))) == 3
    texts = np.arange(8 * 2 * TEXT_WIDTH, dtype=np.int64).reshape(8, 2, TEXT_WIDTH).astype(np.int8)
    given_items = [replace(item, texts=texts[index]) for index, item in enumerate(given_items)]
    assert write_shards(iter(given_items), tmp_path) == 8
    found = list(read_shards(tmp_path))
    assert all((one.texts == other.texts).all() for one, other in zip(found, given_items, strict=True))
    assert [item.info for item in found] == [item.info for item in given_items]
    assert all(same_piece(one.piece, other.piece) for one, other in zip(found, given_items, strict=True))


# --- From files to shards -----------------------------------------------------------------------------


def tune(seed: int) -> bytes:
    """A MIDI file of twelve notes of its own."""
    rng = np.random.default_rng(seed)
    notes = [Note(240 * index, int(rng.integers(40, 90)), 200, 90) for index in range(12)]
    score = simple_score(1)
    return write_midi(score.with_tracks([score.tracks[0].with_notes(notes)]))


def make_set(folder: Path, names: dict[str, str], first_seed: int) -> None:
    """A data set: file name -> split."""
    (folder / "midi").mkdir(parents=True)
    rows = []
    for number, (name, split) in enumerate(names.items()):
        (folder / "midi" / name).write_bytes(tune(first_seed + number))
        rows.append({"path": f"midi/{name}", "split": split, "work_key": name, "title": "Tune"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def prepare(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.prepare_data", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_excluded_songs_styles_and_other_splits_never_enter(tmp_path: Path) -> None:
    data = tmp_path / "data" / "train"
    make_set(data / "pop909", {"001.mid": "train", "002.mid": "train", "003.mid": "valid"}, 0)
    make_set(data / "mixed", {"a.mid": "train", "b.mid": "style", "c.mid": "test", "d.mid": "valid"}, 10)
    make_set(data / "unwanted", {"e.mid": "train"}, 20)
    make_set(tmp_path / "packed" / "tunes", {"f.mid": "train", "g.mid": "style"}, 30)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(tmp_path / "packed" / "tunes", arcname="tunes")
    (data / "tunes.tar.zst").write_bytes(zstandard.ZstdCompressor().compress(archive.getvalue()))
    make_set(tmp_path / "data" / "style" / "singer", {"h.mid": "style"}, 40)
    index = tmp_path / "data" / "index.json"

    refused = prepare(data, "--out", tmp_path / "none")
    assert refused.returncode == 2 and "pop909" in refused.stderr and not (tmp_path / "none").exists()

    index.write_text(json.dumps({"excluded_pop909_songs": ["001", "003"]}), encoding="utf-8")
    done = prepare(data, "--out", tmp_path / "shards", "--without", "unwanted")
    assert done.returncode == 0, done.stderr
    found = {(item.info["set"], item.info["path"]): item for item in read_shards(tmp_path / "shards")}
    assert set(found) == {
        ("pop909", "midi/002.mid"),
        ("mixed", "midi/a.mid"),
        ("mixed", "midi/d.mid"),
        ("tunes", "midi/f.mid"),
    }
    assert "2 x excluded song" in done.stdout
    assert found["tunes", "midi/f.mid"].info["title"] == "Tune"
    # No excluded song under another name either: the notes are those of the files that may be used.
    pitches = {tuple(item.piece.notes[:, 3].tolist()) for item in found.values()}
    allowed = [1, 10, 13, 30]
    assert pitches == {tuple(np.random.default_rng(seed).integers(40, 90, 12).tolist()) for seed in allowed}
    assert prepare(data, "--out", tmp_path / "none", "--split", "style").returncode == 2


# --- The network --------------------------------------------------------------------------------------


def test_losses_count_fields_and_ends(tmp_path: Path) -> None:
    model = random_model(TINY)
    windows = fixed_windows(items(2), 200, 2)
    for _, steps in windows:
        batch = pack([[steps]], len(steps))
        losses, counted, where = batch_losses(model, to_device(batch, CPU))
        targets = steps.targets[steps.targets[:, 0] >= 0]
        assert (where.numpy() == np.flatnonzero(steps.targets[:, 0] >= 0)).all()
        notes = targets[:, 0] != END
        assert (counted.numpy() == np.stack([np.ones_like(notes), *[notes] * 4], axis=1)).all()
        assert (losses[counted] > 0).all()
        total = (losses * counted).sum() / notes.sum()
        assert nats_per_note(losses, counted).item() == pytest.approx(total.item())
    rows = evaluate(model, [steps for _, steps in windows], CPU)
    assert rows.shape == (len(windows), 6) and (rows > 0).all()


def test_packed_windows_cost_what_they_cost_alone() -> None:
    model = random_model(TINY)
    windows = [steps for _, steps in fixed_windows(items(3), 100, 1)]
    words = np.random.default_rng(1).normal(size=(1, TEXT_WIDTH)).astype(np.float32)
    windows = [replace(steps, text=words[: number != 1]) for number, steps in enumerate(windows)]
    together = pack([windows], sum(map(len, windows)) + 20)
    losses, counted, _ = batch_losses(model, to_device(together, CPU))
    assert together.text_at.tolist() == [[0, 0], [0, len(windows[0]) + len(windows[1])]]
    alone = evaluate(model, windows, CPU)
    assert (losses * counted).sum(dim=0).detach().numpy() == pytest.approx(alone[:, :5].sum(axis=0), rel=1e-4)


def test_fixed_windows_are_fixed_and_tell_nothing_beyond_the_notes() -> None:
    one, other = fixed_windows(items(4), 200, 2), fixed_windows(items(4), 200, 2)
    assert all((a[1].facts == b[1].facts).all() for a, b in zip(one, other, strict=True))
    assert all(len(steps) <= 200 and not steps.chord.any() for _, steps in one)


def test_only_hidden_matrices_are_muons() -> None:
    model = MusicTransformer(TINY)
    names = {name for name, parameter in model.named_parameters() if is_matrix(name, parameter)}
    assert "blocks.0.attention.qkv.weight" in names and "fields.mlps.0.down.weight" in names
    assert not any("embedding" in name or "tables" in name or "norm" in name for name in names)
    counted = sum(len(group["params"]) for o in make_optimizers(model, CONFIG) for group in o.param_groups)
    assert counted == len(list(model.parameters()))


def test_the_learning_rate_rises_stays_and_falls() -> None:
    config = TrainConfig(total=1000, warmup=100, decay_share=0.5)
    shares = [learning_share(step, config) for step in range(1001)]
    assert shares[0] == 0.01 and shares[99] == shares[500] == 1 and shares[750] == 0.5 and shares[1000] == 0


# --- Stopping and going on ----------------------------------------------------------------------------


class Stops(Corpus):
    """A corpus whose run is stopped while it draws for a training step."""

    def __init__(self, all_items: list[Item], draws: int) -> None:
        super().__init__(all_items)
        self.left = draws

    def draw(self, rng: np.random.Generator, budget: int) -> Steps:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().draw(rng, budget)


def run(folder: Path, corpus: Corpus, config: TrainConfig = CONFIG) -> dict[str, torch.Tensor]:
    torch.manual_seed(config.seed)
    model = MusicTransformer(TINY, config.dropout)
    folder.mkdir(exist_ok=True)
    best = train(model, corpus, config, folder, device=CPU, report=lambda row: None)
    weights = {f"last.{name}": p.detach().clone() for name, p in model.named_parameters()}
    return weights | {f"average.{name}": p.detach().clone() for name, p in best.named_parameters()}


def same_weights(one: dict[Any, torch.Tensor], other: dict[Any, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, corpus = MusicTransformer(TINY), Corpus(items(2))
    windows = [steps for _, steps in fixed_windows(items(2), 128, 2)]
    before = evaluate(model.eval(), windows, CPU)[:, :5].sum()
    best = train(model, corpus, replace(CONFIG, total=40), tmp_path, device=CPU, report=lambda row: None)
    assert evaluate(best, windows, CPU)[:, :5].sum() < 0.9 * before


@pytest.mark.parametrize("draws", [0, 7, 11])
def test_a_run_that_is_stopped_ends_where_an_uninterrupted_one_does(tmp_path: Path, draws: int) -> None:
    whole = run(tmp_path / "whole", Corpus(items()))
    assert same_weights(whole, run(tmp_path / "again", Corpus(items())))
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run(stopped, Stops(items(), draws))
    steps_before = json.loads((stopped / "latest.json").read_text())["step"] if draws else 0
    assert steps_before < CONFIG.total and (draws == 0 or steps_before > 0)
    assert same_weights(whole, run(stopped, Corpus(items())))


def test_a_run_that_is_finished_stays_as_it_is(tmp_path: Path) -> None:
    whole = run(tmp_path, Corpus(items()))
    assert same_weights(whole, run(tmp_path, Stops(items(), 0)))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("point", range(7))
def test_a_kill_while_saving_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    model = random_model(TINY)
    average = {name: p.detach() * 2 for name, p in model.named_parameters()}
    optimizers = make_optimizers(model, CONFIG)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    save_checkpoint(tmp_path, model, average, optimizers, 10, {"train": {}})
    wanted = {name: p.detach().clone() for name, p in model.named_parameters()}
    for optimizer in optimizers:
        optimizer.step()
    calls = 0

    def counted(function: Any, cut_short: bool) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if not any(str(argument).startswith(str(tmp_path)) for argument in arguments[:2]):
                return function(*arguments, **options)  # another thread's
            calls += 1
            if calls == point + 1:
                if cut_short:  # killed in the middle of a file
                    Path(arguments[1]).write_bytes(b"half a file")
                raise Killed
            return function(*arguments)

        return call

    with monkeypatch.context() as patched:
        patched.setattr("models.training.checkpoint.save_file", counted(save_file, cut_short=True))
        patched.setattr("os.replace", counted(os.replace, cut_short=False))
        patched.setattr("shutil.rmtree", counted(shutil.rmtree, cut_short=False))
        with pytest.raises(Killed):
            save_checkpoint(tmp_path, model, average, optimizers, 20, {"train": {}})
    if point == 6:  # all was on disk, and only the old state was still there
        wanted = {name: p.detach().clone() for name, p in model.named_parameters()}
    other = random_model(TINY, seed=9)
    found = {name: torch.zeros_like(p) for name, p in other.named_parameters()}
    step = load_checkpoint(tmp_path, other, found, make_optimizers(other, CONFIG))
    assert step == (20 if point == 6 else 10)
    assert all(torch.equal(p, wanted[name]) for name, p in other.named_parameters())
    assert all(torch.equal(found[name], average[name]) for name in average)
    # The next save clears what the kill left.
    save_checkpoint(tmp_path, model, average, optimizers, 30, {"train": {}})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.json", "state-0000030"]


def test_optimizers_come_back_with_all_they_know(tmp_path: Path) -> None:
    def states(optimizers: list[torch.optim.Optimizer]) -> dict[tuple[int, int, str], torch.Tensor]:
        return {
            (number, index, name): torch.as_tensor(value)
            for number, optimizer in enumerate(optimizers)
            for index, entry in optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }

    model = random_model(TINY)
    optimizers = make_optimizers(model, CONFIG)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    save_checkpoint(tmp_path, model, dict(model.named_parameters()), optimizers, 1, {})
    fresh = random_model(TINY, seed=1)
    restored = make_optimizers(fresh, CONFIG)
    load_checkpoint(tmp_path, fresh, {n: p.detach().clone() for n, p in fresh.named_parameters()}, restored)
    assert len(states(optimizers)) > len(list(model.parameters()))
    assert same_weights(states(optimizers), states(restored))


def test_weights_that_ship_are_half_precision_and_the_memory_has_eight_bits(tmp_path: Path) -> None:
    model = random_model(SIZES["tiny"])
    digest = export_weights(model, tmp_path, {"step": 3})
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", MODEL_FILE, *MEMORY_FILES}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["sha256"] == digest and config["step"] == 3
    loaded = dict(load_weights(tmp_path).named_parameters())
    for name, parameter in model.named_parameters():
        if is_memory(name):
            coarse = parameter.abs().amax(dim=1, keepdim=True) / 127
            assert ((loaded[name] - parameter).abs() <= 0.55 * coarse).all()
        else:
            assert torch.equal(loaded[name], parameter.half().float())


def test_a_run_can_learn_on_from_another_ones_end(tmp_path: Path) -> None:
    wordless = replace(TINY, text_width=0)
    first = train(MusicTransformer(wordless), Corpus(items()), CONFIG, tmp_path / "first", device=CPU)
    torch.manual_seed(5)
    fresh = MusicTransformer(TINY)
    still = replace(CONFIG, total=0)
    second = train(fresh, Corpus(items()), still, tmp_path / "second", device=CPU, start=tmp_path / "first")
    known = dict(first.named_parameters())
    assert all((p == known[name]).all() for name, p in second.named_parameters() if name in known)
    assert not second.state_dict()["text.weight"].any()
    pace = load_file(next((tmp_path / "first").glob("state-*/optimizer-2.safetensors")))["0.sum"]
    later = train(
        fresh, Corpus(items()), replace(CONFIG, total=1), tmp_path / "third", device=CPU, start=tmp_path / "first"
    )
    assert all(torch.isfinite(p).all() for p in later.parameters())
    moved = load_file(next((tmp_path / "third").glob("state-*/optimizer-2.safetensors")))["0.sum"]
    assert (moved >= pace).all() and (moved > pace).any() and pace.any()


def test_a_run_can_learn_on_from_exported_weights(tmp_path: Path) -> None:
    first = train(MusicTransformer(TINY), Corpus(items()), CONFIG, tmp_path / "first", device=CPU)
    export_weights(first, tmp_path / "weights", {})
    known = dict(load_weights(tmp_path / "weights").named_parameters())
    still = replace(CONFIG, total=0)
    begun = train(
        MusicTransformer(TINY), Corpus(items()), still, tmp_path / "second", device=CPU, start=tmp_path / "weights"
    )
    assert all((p == known[name]).all() for name, p in begun.named_parameters())
    gentle = replace(CONFIG, total=20, matrix_rate=1e-4, other_rate=1e-4)
    reported: list[dict[str, float]] = []
    train(
        MusicTransformer(TINY),
        Corpus(items()),
        gentle,
        tmp_path / "third",
        device=CPU,
        start=tmp_path / "weights",
        report=reported.append,
        report_every=10,
    )
    pace = load_file(next((tmp_path / "third").glob("state-*/optimizer-2.safetensors")))["0.sum"]
    assert pace.min() == pytest.approx(EXPORTED_PACE) and pace.max() > 2 * EXPORTED_PACE
    assert reported[-1]["loss"] < 1.05 * reported[0]["loss"]


def test_half_precision_learns_nearly_the_same(tmp_path: Path) -> None:
    losses = []
    for bfloat16 in (False, True):
        torch.manual_seed(2)
        reported: list[dict[str, float]] = []
        config = replace(CONFIG, total=20, dropout=0.0, bfloat16=bfloat16)
        folder = tmp_path / str(bfloat16)
        model = MusicTransformer(TINY)
        train(model, Corpus(items()), config, folder, device=CPU, report=reported.append, report_every=4)
        losses.append([row["loss"] for row in reported])
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_average_is_a_model_of_its_own() -> None:
    model = random_model(TINY)
    average = {name: value + 1 for name, value in model.state_dict().items()}
    copy = averaged(model, average)
    assert all(torch.equal(p, average[name]) for name, p in copy.named_parameters())
    assert not copy.training and model.fields.start is not copy.fields.start


def losses_of_run(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_two_processes_learn_what_one_with_twice_the_rows_does(tmp_path: Path) -> None:
    write_shards(items(4), tmp_path / "shards")
    script = [str(ROOT / "scripts" / "train.py"), str(tmp_path / "shards"), "--size", "tiny", "--total", "4"]
    script += ["--length", "96", "--report-every", "1", "--validation-windows", "0"]
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for command in (
        [sys.executable, *script, "--rows", "4", "--folder", str(tmp_path / "one")],
        [*together, *script, "--rows", "2", "--folder", str(tmp_path / "two")],
    ):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = losses_of_run(tmp_path / "one"), losses_of_run(tmp_path / "two")
    assert len(one) == 4 and one[-1] < one[0]
    assert two == pytest.approx(one, abs=2e-4)
    wanted = shared_figures(list(read_shards(tmp_path / "shards")), SIZES["tiny"].memory_rows)
    for run in ("one", "two"):
        tags = load_file(next((tmp_path / run).glob("state-*/model.safetensors")))[MEMORY_TAGS].numpy()
        assert (tags == wanted).all() and (tags != CLOSED).any()


@pytest.mark.parametrize("exported", [False, True], ids=["runs", "weights"])
def test_runs_from_one_beginning_are_exported_together(exported: bool, tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for seed, run in enumerate(runs):
        torch.manual_seed(1)
        train(MusicTransformer(TINY), Corpus(items()), replace(CONFIG, seed=seed), run, device=CPU)

    def export(run: Path, folder: Path, *more: str) -> None:
        script = [str(ROOT / "scripts" / "train.py"), "shards", "--folder", str(run), "--export", str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *script, *more], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    if exported:
        export(runs[1], tmp_path / "alone")
    believed = {f"fields.memory.read.{field}.weight": share for field, share in enumerate((0.5, 1, 1, 1, 0))}
    shares = ["--believe", *map(str, believed.values())]
    export(runs[0], tmp_path / "w", "--together", str(tmp_path / "alone" if exported else runs[1]), *shares)
    averages = [load_file(next(run.glob("state-*")) / "average.safetensors") for run in runs]
    assert any((averages[0][name] != averages[1][name]).any() for name in averages[0])
    assert set(believed) < set(averages[0])
    for name, parameter in load_weights(tmp_path / "w").named_parameters():
        wanted = (averages[0][name] + averages[1][name]) / 2 * believed.get(name, 1)
        near = wanted.abs().amax() / 200 if is_memory(name) else wanted.abs() * 2e-3 + 1e-6
        assert ((parameter - wanted).abs() <= near).all(), name
