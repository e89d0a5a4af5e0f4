"""A musician's own files -> an adapter that makes the network sound more like them, with the figures to prove it.

read_folder   every MIDI file below a folder -> Intake: pieces, and why others were left out
split         whole pieces apart: to learn from, to know when to stop, to be measured on
train_style   the training loop over the network's adapters, within a time, killed and resumed at will
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.adapters import Adapter
from models.errors import UserError
from models.midi_file import read_midi
from models.piece import DRUMS, Piece, to_piece
from models.score import Score
from models.theory import estimate_key
from models.tokens import Steps
from models.training.checkpoint import load_weights
from models.training.loop import TrainConfig, evaluate, is_memory, train
from models.training.lora import adapter_tensors, add_adapters
from models.training.sampling import Corpus, fixed_windows, usable
from models.training.shards import Item
from models.transformer import MusicTransformer

SUFFIXES = (".mid", ".midi", ".smf", ".kar")
MOST_FILES = 10_000
LEAST_PIECES, LEAST_NOTES = 4, 1_000  # below this nothing can be held out and learned at once
HELD_OUT, TUNING = 0.2, 0.1  # shares of the pieces
BASE_SHARE = 0.25  # of what is trained on is the base's own music, so that it is not forgotten
LENGTH = 640
WINDOWS_A_PIECE = 4
MOST_MEMORY_ROWS = 120_000
PATIENCE = 6  # validations without a better one
NOTES_A_STEP, LEAST_STEPS, MOST_STEPS = 70, 80, 1500  # how long is trained, going by the folder's notes
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Intake:
    """What was found in a folder. items: the pieces, in the order of their names. skipped: (name, reason)."""

    folder: Path
    items: tuple[Item, ...]
    skipped: tuple[tuple[str, str], ...]
    seconds: float
    keys: Mapping[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> int:
        return sum(len(item.piece.notes) for item in self.items)


def midi_files(folder: Path) -> Iterator[Path]:
    """MIDI files below a folder, by name. Links are not followed, so nothing outside it is ever opened."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder", "Name the folder that your MIDI files are in.")
    found = 0
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink():
                found += 1
                if found > MOST_FILES:
                    raise UserError(
                        f"There are more than {MOST_FILES:,} MIDI files in {folder}",
                        "Name a smaller folder; a style needs ten to a few hundred pieces.",
                    )
                yield path


def read_folder(folder: Path) -> Intake:
    """Read everything that can be read. A piece that is there twice, in whatever key, counts once."""
    items: list[Item] = []
    skipped: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    keys: Counter[str] = Counter()
    seconds = 0.0
    for path in midi_files(folder):
        name = str(path.relative_to(folder))
        try:
            score = read_midi(path).score
            piece, _, _ = to_piece(score)
        except UserError as error:
            skipped.append((name, error.message))
            continue
        if not usable(piece):
            skipped.append((name, "fewer than 8 notes" if len(piece.notes) < 8 else "too long"))
            continue
        mark = fingerprint(piece)
        if mark in seen:
            skipped.append((name, f"the same as {seen[mark]}"))
            continue
        seen[mark] = name
        keys[_key_name(score)] += 1
        seconds += score.seconds_at(score.end)
        items.append(Item(piece, {"set": "style", "split": "train", "work": name, "path": name}))
    return Intake(folder, tuple(items), tuple(skipped), seconds, dict(keys.most_common()))


def fingerprint(piece: Piece) -> str:
    """The same for the same notes in any key, however loud."""
    notes = piece.notes.astype(np.int64)
    drums = piece.programs[notes[:, 1]] == DRUMS
    pitched = notes[~drums, 3]
    notes[~drums, 3] -= int(pitched.min()) if len(pitched) else 0
    return hashlib.sha256(np.ascontiguousarray(notes[:, :4]).tobytes()).hexdigest()


def _key_name(score: Score) -> str:
    key, margin = estimate_key(score)
    return key.name if margin > 0.1 else "no clear key"


@dataclass(frozen=True)
class Parts:
    """Whole pieces: what is learned from, what says when to stop, and what the figures are measured on."""

    learning: tuple[Item, ...]
    tuning: tuple[Item, ...]
    held_out: tuple[Item, ...]


def split(intake: Intake) -> Parts:
    """Pieces set apart by a hash of their notes, so the same folder is always split alike. Raises UserError where
    there is too little."""
    count = len(intake.items)
    if count < LEAST_PIECES or intake.notes < LEAST_NOTES:
        raise UserError(
            f"{count} {'piece' if count == 1 else 'pieces'} with {intake.notes:,} notes are too little for a style",
            f"It takes at least {LEAST_PIECES} different pieces and {LEAST_NOTES:,} notes; twenty pieces are good.",
        )
    ranked = sorted(intake.items, key=lambda item: fingerprint(item.piece))
    held = max(1, round(HELD_OUT * count))
    tuning = max(1, round(TUNING * count))
    return Parts(tuple(ranked[held + tuning :]), tuple(ranked[held : held + tuning]), tuple(ranked[:held]))


class Mixture(Corpus):
    """Personal pieces, and now and then one of the base's."""

    def __init__(self, own: Sequence[Item], base: Sequence[Item]) -> None:
        super().__init__([replace_set(item) for item in own])
        self._base = Corpus(list(base))

    def draw(self, rng: np.random.Generator, budget: int) -> Steps:
        if rng.random() < BASE_SHARE:
            return self._base.draw(rng, budget)
        return super().draw(rng, budget)


def replace_set(item: Item) -> Item:
    return Item(item.piece, {**item.info, "set": "style"})


@dataclass(frozen=True)
class StyleConfig:
    """How an adapter is trained. `rank` and `total` steps follow the amount of data (see `for_notes`).

    memory_rate: above 0, the memory's rows learn too. With twenty pieces that only learned them by heart: the
    pieces kept aside gained nothing or lost.
    """

    rank: int = 8
    rate: float = 7e-4
    memory_rate: float = 0.0
    rows: int = 2
    seed: int = 1
    total: int = 600
    validate_every: int = 20
    threads: int = 1


def for_notes(notes: int, config: StyleConfig = StyleConfig()) -> StyleConfig:
    """More music bears more freedom."""
    rank = 4 if notes < 5_000 else 8 if notes < 50_000 else 16
    return replace(config, rank=rank, total=min(MOST_STEPS, max(LEAST_STEPS, notes // NOTES_A_STEP)))


@dataclass(frozen=True)
class Figures:
    """Nats per note on pieces that were not learned from, before and after; the base's own music likewise."""

    own_before: float
    own_after: float
    base_before: float
    base_after: float

    @property
    def gain(self) -> float:
        """The share of the nats per note that the style saves."""
        return 1 - self.own_after / self.own_before

    @property
    def forgotten(self) -> float:
        """By which share the base's own music became dearer."""
        return self.base_after / self.base_before - 1


def windows_of(items: Sequence[Item], per_piece: int = WINDOWS_A_PIECE) -> list[Steps]:
    return [steps for _, steps in fixed_windows(list(items), LENGTH, per_piece)]


def nats(model: MusicTransformer, windows: list[Steps]) -> float:
    rows = evaluate(model, windows, CPU)
    return float(rows[:, :-1].sum() / rows[:, -1].sum())


@dataclass(frozen=True)
class Step:
    """Where a training stands: `share` of the time there is, nats per note on the tuning pieces, the best so
    far."""

    step: int
    share: float
    nats: float
    best: float


@dataclass(frozen=True)
class Trained:
    """An adapter as it is to be saved, and what it does."""

    tensors: dict[str, Tensor]
    memory: tuple[Tensor, Tensor]
    figures: Figures
    curve: tuple[tuple[int, float], ...]
    steps: int


def train_style(
    weights: Path,
    parts: Parts,
    sample: Sequence[Item],
    run: Path,
    config: StyleConfig,
    seconds: float = math.inf,
    report: Callable[[Step], None] = lambda step: None,
    start: Adapter | None = None,
) -> Trained:
    """Train an adapter for the network in `weights`, for `seconds` or until the tuning pieces stop getting cheaper.

    sample: music of the base, splits train and valid, to be mixed in and to measure what is forgotten. run: folder
    of the checkpoint; the same call goes on from there. start: an adapter to begin with.
    """
    torch.set_num_threads(config.threads)
    base = load_weights(weights)
    held, tuning = windows_of(parts.held_out), windows_of(parts.tuning)
    general = windows_of([item for item in sample if item.info["split"] == "valid"], 1)
    own_before, base_before = nats(base, held), nats(base, general)
    table = base.fields.memory.table.detach().clone() if base.fields.memory else torch.zeros(0, 0)
    model = base
    add_adapters(model, config.rank, config.seed)
    if model.fields.memory and config.memory_rate > 0:
        model.fields.memory.table.requires_grad_(True)
    if start is not None:
        begin_with(model, start)
    corpus = Mixture(parts.learning, [item for item in sample if item.info["split"] == "train"])
    best_file, curve_file = run / "best.safetensors", run / "curve.json"
    run.mkdir(parents=True, exist_ok=True)
    curve: list[tuple[int, float]] = []
    if curve_file.exists() and best_file.exists():
        curve = [(int(step), float(value)) for step, value in json.loads(curve_file.read_text("utf-8"))]
    began = time.monotonic()

    def validate(step: int, averaged: MusicTransformer) -> bool:
        value = nats(averaged, tuning)
        curve[:] = [row for row in curve if row[0] < step]  # a run that was killed does its last steps again
        best = min((old for _, old in curve), default=math.inf)
        if value < best:
            save_file(_learned(averaged, table), best_file.with_suffix(".part"))
            os.replace(best_file.with_suffix(".part"), best_file)
        curve.append((step, value))
        curve_file.with_suffix(".part").write_text(json.dumps(curve), encoding="utf-8")
        os.replace(curve_file.with_suffix(".part"), curve_file)
        share = max(step / config.total, (time.monotonic() - began) / seconds)
        report(Step(step, min(1.0, share), value, min(best, value)))
        since = step - min(curve, key=lambda row: row[1])[0]
        return since >= PATIENCE * config.validate_every

    settings = TrainConfig(
        total=config.total,
        rows=config.rows,
        length=LENGTH,
        other_rate=config.rate,
        memory_rate=config.memory_rate,
        warmup=10,
        ema=0.98,
        seed=config.seed,
        save_every=config.validate_every,
    )
    last = train(
        model,
        corpus,
        settings,
        run,
        device=CPU,
        stop_after=seconds,
        report=lambda row: None,
        validate=validate,
        validate_every=config.validate_every,
    )
    if not best_file.exists():  # the time was over before the first validation
        validate(1, last)
    learned = load_file(best_file)
    memory = learned.pop("memory.rows"), learned.pop("memory.change")
    apply_to(model, learned, memory, table)
    model.eval()
    figures = Figures(own_before, nats(model, held), base_before, nats(model, general))
    return Trained(learned, memory, figures, tuple(curve), curve[-1][0])


def _learned(model: MusicTransformer, table: Tensor) -> dict[str, Tensor]:
    """The adapter's matrices, and the rows of the memory that changed most."""
    rows, change = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0)
    if model.fields.memory:
        moved = model.fields.memory.table.detach() - table
        size = moved.abs().amax(dim=1)
        rows = torch.nonzero(size)[:, 0]
        if len(rows) > MOST_MEMORY_ROWS:
            rows = size.topk(MOST_MEMORY_ROWS).indices.sort().values
        change = moved[rows]
    tensors = {name: value.clone().contiguous() for name, value in adapter_tensors(model).items()}
    return {**tensors, "memory.rows": rows, "memory.change": change.contiguous()}


def apply_to(
    model: MusicTransformer, tensors: Mapping[str, Tensor], memory: tuple[Tensor, Tensor], table: Tensor
) -> None:
    """Put learned values into a network that has adapters."""
    prefix = len("base_model.model.")
    known = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in tensors.items():
            known[name[prefix:]].copy_(value)
        for name, parameter in known.items():
            if is_memory(name):
                parameter.copy_(table)
                parameter[memory[0].long()] += memory[1]


def begin_with(model: MusicTransformer, start: Adapter) -> None:
    """Begin from another style's adapter; of two ranks the smaller counts."""
    known = dict(model.named_parameters())
    with torch.no_grad():
        for weight, pair in start.pairs.items():
            name = weight.removesuffix(".weight")
            for part, values in zip("AB", pair, strict=True):
                own = known[f"{name}.lora_{part}.weight"]
                given = torch.from_numpy(values)
                rank = min(own.shape[part == "B"], given.shape[part == "B"])
                if part == "A":
                    own[:rank] = given[:rank]
                else:
                    own[:, :rank] = given[:, :rank] * (start.scale / 2.0)


def about(
    name: str, base: str, intake: Intake, parts: Parts, config: StyleConfig, trained: Trained
) -> dict[str, Any]:
    """What style.json says."""
    figures = trained.figures
    return {
        "name": name,
        "base": base,
        "pieces": len(intake.items),
        "notes": intake.notes,
        "held_out": [str(item.info["path"]) for item in parts.held_out],
        "tuning": [str(item.info["path"]) for item in parts.tuning],
        "rank": config.rank,
        "steps": trained.steps,
        "curve": [[step, round(value, 4)] for step, value in trained.curve],
        "nats_per_note": {
            "own_before": round(figures.own_before, 4),
            "own_after": round(figures.own_after, 4),
            "base_before": round(figures.base_before, 4),
            "base_after": round(figures.base_after, 4),
        },
    }
