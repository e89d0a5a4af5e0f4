"""A musician's own files -> an adapter that makes the network sound more like them, with the figures to prove it.

train_style   the training loop over the network's adapters, within a time, killed and resumed at will
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.adapters import Adapter
from models.tokens import Steps
from models.training.checkpoint import load_weights
from models.training.loop import TrainConfig, batch_losses, evaluate, is_memory, nats_per_note, to_device, train
from models.training.lora import adapter_tensors, add_adapters
from models.training.sampling import Corpus, fixed_windows, random_batch
from models.training.shards import Item
from models.training.style_intake import Intake, Parts
from models.transformer import MusicTransformer

BASE_SHARE = 0.3  # of what is trained on is the base's own music, so that it is not forgotten
LENGTH = 640
WINDOWS_A_PIECE, MOST_WINDOWS = 4, 64
MOST_MEMORY_ROWS = 120_000
PATIENCE = 6  # validations without a better one
NOTES_A_STEP, LEAST_STEPS, MOST_STEPS = 45, 150, 1500  # how long is trained, going by the folder's notes
SAFETY = 0.9  # of the steps that there seems to be time for
LEAST_VALIDATIONS = 10
WEAKER = (0.85, 0.7, 0.55)  # strengths that are tried where much is forgotten
MOST_FORGOTTEN = 0.015  # on other music, before an adapter is made weaker
LEAST_TRAINED = 10  # steps, however little time there is
CPU = torch.device("cpu")


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
    """How an adapter is trained. `rank` and the most steps, `total`, follow the amount of data (see `for_notes`).

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
    bfloat16: bool = False


def for_notes(notes: int, config: StyleConfig = StyleConfig()) -> StyleConfig:
    """More music bears more freedom. Products are in bfloat16 where this computer has units for it."""
    rank = 4 if notes < 2_500 else 8 if notes < 50_000 else 16
    total = min(MOST_STEPS, max(LEAST_STEPS, notes // NOTES_A_STEP))
    return replace(config, rank=rank, total=total, bfloat16=has_bfloat16())


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16; without units for it that would take longer."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) if torch.backends.mkldnn.is_available() else False


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


def windows_of(items: Sequence[Item], per_piece: int = WINDOWS_A_PIECE, most: int = MOST_WINDOWS) -> list[Steps]:
    """Windows to measure on, always the same ones: so many of each piece, and not many of a large folder."""
    some = list(items)[:: -(-len(items) // most) or 1]
    per_piece = max(1, min(per_piece, most // max(1, len(some))))
    return [steps for _, steps in fixed_windows(some, LENGTH, per_piece)]


def nats(model: MusicTransformer, windows: list[Steps]) -> float:
    rows = evaluate(model, windows, CPU)
    return float(rows[:, :-1].sum() / rows[:, -1].sum())


@dataclass(frozen=True)
class Step:
    """Where a training stands: `share` of the time there is, nats per note on the tuning pieces, the best so
    far. Step 0 is the network without the style; `own` and `other` are then its nats per note on the pieces that
    are held out and on other music: how far they are from what it knows."""

    step: int
    share: float
    nats: float
    best: float
    own: float | None = None
    other: float | None = None


@dataclass(frozen=True)
class Trained:
    """An adapter as it is to be saved, and what it does."""

    tensors: dict[str, Tensor]
    memory: tuple[Tensor, Tensor]
    figures: Figures
    curve: tuple[tuple[int, float], ...]
    steps: int


class Run:
    """The folder of a training that may be killed at any moment: its curve, how many steps it is to have, how long
    it took, and its best adapter, each replaced in one move."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.best = folder / "best.safetensors"
        self.curve: list[tuple[int, float]] = []
        self.total, self.spent, self.over = 0, 0.0, False
        if self._state.exists() and self.best.exists():
            state = json.loads(self._state.read_text("utf-8"))
            self.curve = [(int(step), float(value)) for step, value in state["curve"]]
            self.total, self.spent, self.over = state["total"], state["spent"], state["over"]

    @property
    def _state(self) -> Path:
        return self.folder / "run.json"

    @property
    def lowest(self) -> float:
        return min((value for _, value in self.curve), default=math.inf)

    def add(self, step: int, value: float, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """A point of the curve, and the adapter where it is the best so far."""
        self.curve = [row for row in self.curve if row[0] < step]  # a run that was killed does its last steps again
        if value < self.lowest:
            save_file(tensors(), self.best.with_suffix(".part"))
            os.replace(self.best.with_suffix(".part"), self.best)
        self.curve.append((step, value))

    def since_best(self) -> int:
        """Steps since the best point of the curve."""
        return self.curve[-1][0] - min(self.curve, key=lambda row: row[1])[0]

    def save(self) -> None:
        state = {"curve": self.curve, "total": self.total, "spent": round(self.spent, 1), "over": self.over}
        _replace_text(self._state, json.dumps(state))


def _replace_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def train_style(
    weights: Path,
    parts: Parts,
    sample: Sequence[Item],
    run: Path,
    config: StyleConfig,
    seconds: float = math.inf,
    report: Callable[[Step], None] = lambda step: None,
    start: Adapter | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train an adapter for the network in `weights`, for `seconds` or until the tuning pieces stop getting cheaper.

    sample: music of the base, splits train and valid, to be mixed in and to measure what is forgotten. run: folder
    of the checkpoints; the same call goes on from there, with what is left of the time. start: an adapter to begin
    with. clock: what the seconds are counted by.
    """
    warnings.filterwarnings("ignore", "Mismatch dtype")  # torch says where bfloat16 is not at its fastest
    torch.set_num_threads(config.threads)
    began = clock()
    model = load_weights(weights)
    held, tuning = windows_of(parts.held_out), windows_of(parts.tuning)
    general = windows_of([item for item in sample if item.info["split"] == "valid"], 1)
    own_before, base_before = nats(model, held), nats(model, general)
    unstyled = nats(model, tuning)
    report(Step(0, 0.0, unstyled, unstyled, own_before, base_before))
    corpus = Mixture(parts.learning, [item for item in sample if item.info["split"] == "train"])
    settings = TrainConfig(
        total=config.total,
        rows=config.rows,
        length=LENGTH,
        other_rate=config.rate,
        memory_rate=config.memory_rate,
        warmup=10,
        ema=0.98,
        seed=config.seed,
        bfloat16=config.bfloat16,
    )
    add_adapters(model, config.rank, config.seed)
    if model.fields.memory and config.memory_rate > 0:
        model.fields.memory.table.requires_grad_(True)
    if start is not None:
        begin_with(model, start)
    table = _table(model)
    kept = Run(run)
    before = kept.spent
    if not kept.curve:
        kept.add(0, unstyled if start is None else nats(model, tuning), lambda: _learned(model, table))
        kept.total = config.total
        if seconds < math.inf:
            one = seconds_a_step(model, corpus, settings, clock)
            affordable = SAFETY * (seconds - (clock() - began)) / one
            kept.total = int(min(config.total, max(LEAST_TRAINED, affordable)))
        kept.save()
    total, every = kept.total, min(config.validate_every, max(1, kept.total // LEAST_VALIDATIONS))

    def validate(step: int, averaged: MusicTransformer) -> bool:
        kept.add(step, nats(averaged, tuning), lambda: _learned(averaged, table))
        kept.spent = before + clock() - began
        kept.over = step >= total or kept.since_best() >= PATIENCE * every
        kept.save()
        share = max(step / total, kept.spent / seconds)
        report(Step(step, min(1.0, share), kept.curve[-1][1], kept.lowest))
        return kept.over

    if not kept.over:
        left = seconds - before - (clock() - began)
        train(
            model,
            corpus,
            replace(settings, total=total, save_every=every),
            run,
            device=CPU,
            stop_after=left if clock is time.monotonic and total > LEAST_TRAINED else math.inf,
            report=lambda row: None,
            validate=validate,
            validate_every=every,
        )
        kept.over = True
        kept.save()
    learned = forgetting_little(model, load_file(kept.best), table, general[::2])
    memory = learned.pop("memory.rows"), learned.pop("memory.change")
    apply_to(model, learned, memory, table)
    figures = Figures(own_before, nats(model, held), base_before, nats(model, general))
    return Trained(learned, memory, figures, tuple(kept.curve), kept.curve[-1][0])


def _table(model: MusicTransformer) -> Tensor:
    """The memory's table as it is, apart from what training makes of it."""
    if model.fields.memory is None:
        return torch.zeros(0, 0)
    table = model.fields.memory.table
    return table.detach().clone() if table.requires_grad else table.detach()


def forgetting_little(
    model: MusicTransformer, learned: dict[str, Tensor], table: Tensor, general: list[Steps]
) -> dict[str, Tensor]:
    """The adapter, made weaker where other music has become too dear."""
    model.eval()
    unstyled = nats_with(model, learned, table, 0.0, general)
    for strength in (1.0, *WEAKER):
        if nats_with(model, learned, table, strength, general) <= (1 + MOST_FORGOTTEN) * unstyled:
            break
    return _scaled(learned, strength)


def nats_with(
    model: MusicTransformer, learned: dict[str, Tensor], table: Tensor, strength: float, windows: list[Steps]
) -> float:
    tensors = _scaled(learned, strength)
    memory = tensors.pop("memory.rows"), tensors.pop("memory.change")
    apply_to(model, tensors, memory, table)
    return nats(model, windows)


def _scaled(learned: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
    moving = (".lora_B.", "memory.change")
    return {
        name: value * strength if any(part in name for part in moving) else value for name, value in learned.items()
    }


def seconds_a_step(
    model: MusicTransformer, corpus: Corpus, settings: TrainConfig, clock: Callable[[], float]
) -> float:
    """How long a training step takes here: the middle one of three. Nothing is learned from them."""
    taken = []
    model.train()
    for step in range(4):
        tick = clock()
        tensors = to_device(random_batch(corpus, settings.seed, step, range(settings.rows), settings.length), CPU)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            losses, counted, _ = batch_losses(model, tensors)
        nats_per_note(losses, counted).backward()
        model.zero_grad(set_to_none=True)
        taken.append(clock() - tick)
    return max(1e-3, sorted(taken[1:])[1])  # the first one finds out how to go about it


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
    rows, change = memory
    with torch.no_grad():
        for name, value in tensors.items():
            known[name[prefix:]].copy_(value)
        for name, parameter in known.items():
            if is_memory(name) and parameter.data_ptr() != table.data_ptr():
                parameter.copy_(table)
            if is_memory(name) and len(rows):
                parameter[rows.long()] = table[rows.long()] + change


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
