"""The public chorale benchmark: nats per cell on Bach's chorales in sixteenths, with the network's own blocks.

The protocol is that of Huang et al. 2018 (Music Transformer): 229 chorales to train on, 76 and 77 to validate and
test (the split of Boulanger-Lewandowski et al. 2012), a time step a sixteenth, four cells a step (soprano, alto,
tenor, bass), each one of the pitches or a rest; a held note looks like a repeated one. The figure is the mean
negative log likelihood of a cell, over all cells of a split. No chords are given.

As in the generator, one step of attention stands for everything that happens at a time, and a small decoder
writes its fields one after the other, told outright how they lie to what sounded before. What is trained here is
for this table alone and never ships.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.architecture import ModelConfig, rotation_speeds
from models.errors import UserError
from models.training.muon import Muon
from models.transformer import Block, RMSNorm, SwiGLU

VOICES = 4
LOWEST, HIGHEST = 36, 81  # the pitches of the collection, 46 of them
REST = HIGHEST - LOWEST + 1
CLASSES = REST + 1
BEGIN = CLASSES  # stands for every voice before the first step
SIXTEENTH = 6  # grid ticks
LONGEST_HOLD = 33
WIDEST = 60  # semitones; a rest's distance to anything is WIDEST + 1
DISTANCES = 2 * WIDEST + 2
Chorale = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class JsbConfig:
    """The network and its training. `rows` windows of `length` time steps a training step."""

    shape: ModelConfig = ModelConfig(  # noqa: RUF009  (frozen)
        width=192, layers=5, heads=4, kv_heads=2, head_size=48, hidden=512, field_width=192, field_hidden=384
    )
    dropout: float = 0.2
    total: int = 2400
    rows: int = 8
    length: int = 192
    matrix_rate: float = 5e-3
    other_rate: float = 3e-3
    weight_decay: float = 0.3
    warmup: int = 60
    decay_share: float = 0.6
    ema: float = 0.995
    seed: int = 1


def read_chorales(path: Path) -> dict[str, list[Chorale]]:
    """Chorales by split, each [steps, VOICES] of classes: a pitch less LOWEST, or REST. The file may be compressed
    with zstandard. Raises UserError."""
    hint = "Name the file jsb16.json or jsb16.json.zst of the benchmark."
    try:
        raw = path.read_bytes()
        if path.suffix == ".zst":
            import zstandard

            raw = zstandard.ZstdDecompressor().stream_reader(raw).read()
        data = json.loads(raw)
        return {split: [_chorale(rows) for rows in data[split]] for split in ("train", "valid", "test")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not hold the chorale benchmark", hint) from error


def _chorale(rows: Sequence[Sequence[int | None]]) -> Chorale:
    table = np.array([[REST if pitch is None else pitch - LOWEST for pitch in row] for row in rows], dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != VOICES or table.min() < 0 or table.max() > REST:
        raise ValueError("not four voices between the lowest and the highest pitch")
    return table


def transposed(chorale: Chorale, semitones: int) -> Chorale:
    return np.where(chorale == REST, REST, chorale + semitones)


def room(chorale: Chorale) -> tuple[int, int]:
    """By how many semitones a chorale can go down and up within the pitches there are."""
    pitches = chorale[chorale != REST]
    return -int(pitches.min(initial=0)), REST - 1 - int(pitches.max(initial=0))


def held(chorale: Chorale) -> Chorale:
    """For how many steps each voice has had its pitch, counted from 1: [steps, VOICES]."""
    same = np.zeros(chorale.shape, dtype=bool)
    same[1:] = chorale[1:] == chorale[:-1]
    index = np.arange(len(chorale))[:, None]
    began = np.maximum.accumulate(np.where(same, 0, index), axis=0)
    return np.minimum(index - began + 1, LONGEST_HOLD)


class ChoraleTransformer(nn.Module):
    """Reads time steps of four voices, writes the next step's voices one after the other."""

    def __init__(self, config: JsbConfig) -> None:
        super().__init__()
        shape = config.shape
        self.shape = shape
        width, field = shape.width, shape.field_width
        self.voice = nn.Parameter(torch.randn(VOICES, CLASSES + 1, width) * 0.02)
        self.hold = nn.Parameter(torch.randn(VOICES, LONGEST_HOLD + 1, width) * 0.02)
        self.motion = nn.Parameter(torch.randn(VOICES, DISTANCES, width) * 0.02)
        self.gap = nn.Parameter(torch.randn(VOICES - 1, DISTANCES, width) * 0.02)
        self.blocks = nn.ModuleList([Block(shape, config.dropout) for _ in range(shape.layers)])
        self.final_norm = RMSNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.speeds: Tensor
        self.register_buffer("speeds", torch.from_numpy(rotation_speeds(shape)), persistent=False)

        self.from_state = nn.Linear(width, field, bias=False)
        self.start = nn.Parameter(torch.randn(VOICES, field) * 0.02)
        self.drawn = nn.Parameter(torch.randn(VOICES, CLASSES, field) * 0.02)
        self.moved = nn.Parameter(torch.randn(VOICES, DISTANCES, field) * 0.02)  # of a voice drawn before
        self.apart = nn.Parameter(torch.randn(VOICES, VOICES, DISTANCES, field) * 0.02)  # it and this one's last
        self.held = nn.Parameter(torch.randn(VOICES, LONGEST_HOLD + 1, field) * 0.02)
        self.norms = nn.ModuleList([RMSNorm(field) for _ in range(2)])
        self.mlps = nn.ModuleList([SwiGLU(field, shape.field_hidden) for _ in range(2)])
        self.field_norm = RMSNorm(field)
        self.out = nn.Parameter(torch.randn(VOICES, CLASSES, field) * 0.02)
        self.by_motion = nn.Parameter(torch.zeros(VOICES, DISTANCES, field))
        self.by_gap = nn.Parameter(torch.zeros(VOICES, VOICES, DISTANCES, field))
        for name, parameter in self.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.zeros_(parameter)
            elif name.endswith(".weight") and parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    def forward(self, steps: Tensor, hold: Tensor, target: Tensor) -> Tensor:
        """Nats of every cell: [batch, length, VOICES].

        steps, hold: [batch, length, VOICES] what sounds and for how long, BEGIN and 0 before the first step.
        target: [batch, length, VOICES] what sounds at the step after; a negative value costs nothing.
        """
        voices = torch.arange(VOICES, device=steps.device)
        before = torch.cat([torch.full_like(steps[:, :1], BEGIN), steps[:, :-1]], dim=1)
        x = self.voice[voices, steps].sum(2) + self.hold[voices, hold].sum(2)
        x = x + self.motion[voices, distance(steps, before)].sum(2)
        x = x + self.gap[voices[1:] - 1, distance(steps[..., 1:], steps[..., :-1])].sum(2)
        x = self.dropout(x)
        length = steps.shape[1]
        step = torch.arange(length, device=steps.device, dtype=torch.float64)
        by_steps = self.shape.heads_by_steps
        place = torch.stack([step] * by_steps + [SIXTEENTH * step] * (self.shape.kv_heads - by_steps))
        angle = (place[..., None] * self.speeds[:, None, :])[None]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin, None)
        state = self.dropout(self.from_state(self.final_norm(x)))
        return torch.stack([self._cell(state, voice, steps, hold, target) for voice in range(VOICES)], dim=2)

    def _cell(self, state: Tensor, voice: int, steps: Tensor, hold: Tensor, target: Tensor) -> Tensor:
        """Nats of one voice, given those before it: [batch, length]."""
        last = steps[..., voice]
        x = state + self.start[voice] + self.held[voice, hold[..., voice]]
        known = target.clamp(min=0)
        for other in range(voice):
            now = known[..., other]
            x = x + self.drawn[other, now] + self.moved[other, distance(now, steps[..., other])]
            x = x + self.apart[voice, other, distance(now, last)]
        for norm, mlp in zip(self.norms, self.mlps, strict=True):
            x = x + self.dropout(mlp(norm(x)))
        x = self.field_norm(x)
        logits = x @ self.out[voice].T
        classes = torch.arange(CLASSES, device=x.device)
        logits = logits + (x @ self.by_motion[voice].T).gather(-1, distance(classes, last[..., None]))
        for other in range(voice):
            gap = distance(classes, known[..., other, None])
            logits = logits + (x @ self.by_gap[voice, other].T).gather(-1, gap)
        wanted = target[..., voice]
        return F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=-1, reduction="none")


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Semitones from `b` to `a` counted from 0; the last value where either does not sound."""
    steps = (a - b).clamp(-WIDEST, WIDEST) + WIDEST
    return torch.where((a >= REST) | (b >= REST), DISTANCES - 1, steps)


def batch_of(windows: Sequence[tuple[Chorale, int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Tensors for the network from (chorale, first step, steps after it), padded to the longest."""
    longest = max(stop - first for _, first, stop in windows)
    steps = np.full((len(windows), longest, VOICES), BEGIN, dtype=np.int64)
    hold = np.zeros_like(steps)
    target = np.full_like(steps, -1)
    for row, (chorale, first, stop) in enumerate(windows):
        sounding = np.concatenate([np.full((1, VOICES), BEGIN), chorale])
        lasting = np.concatenate([np.zeros((1, VOICES), np.int64), held(chorale)])
        steps[row, : stop - first] = sounding[first:stop]
        hold[row, : stop - first] = lasting[first:stop]
        target[row, : stop - first] = chorale[first:stop]
    return torch.from_numpy(steps), torch.from_numpy(hold), torch.from_numpy(target)


def random_windows(chorales: Sequence[Chorale], config: JsbConfig, step: int) -> list[tuple[Chorale, int, int]]:
    """What training step `step` sees: windows in random transpositions, often from a chorale's first step on."""
    rng = np.random.default_rng([config.seed, step])
    chances = np.array([len(chorale) for chorale in chorales], dtype=np.float64)
    result = []
    for index in rng.choice(len(chorales), config.rows, p=chances / chances.sum()):
        low, high = room(chorales[index])
        chorale = transposed(chorales[index], int(rng.integers(max(low, -5), min(high, 6) + 1)))
        first = int(rng.integers(0, max(1, len(chorale) - config.length + 1)))
        first = 0 if rng.random() < 0.3 else first
        result.append((chorale, first, min(len(chorale), first + config.length)))
    return result


@torch.no_grad()
def nats_per_cell(model: ChoraleTransformer, chorales: Sequence[Chorale]) -> float:
    """The mean over all cells, each chorale read as a whole."""
    model.eval()
    total = sum(float(model(*batch_of([(chorale, 0, len(chorale))])).sum()) for chorale in chorales)
    return total / (VOICES * sum(len(chorale) for chorale in chorales))


def train_chorales(
    chorales: dict[str, list[Chorale]],
    config: JsbConfig,
    report: Callable[[str], None] = print,
    every: int = 200,
) -> ChoraleTransformer:
    """Train on the train split; the averaged weights that validation likes best come back."""
    torch.manual_seed(config.seed)
    model = ChoraleTransformer(config)
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and name.endswith(".weight")]
    tables = [p for name, p in model.named_parameters() if not (p.dim() == 2 and name.endswith(".weight"))]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=config.matrix_rate, weight_decay=config.weight_decay),
        torch.optim.AdamW(tables, lr=config.other_rate, weight_decay=0.01, betas=(0.9, 0.95)),
    ]
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    best, kept = math.inf, dict(average)
    fall = max(1, int(config.total * config.decay_share))
    began, seen = time.monotonic(), 0.0
    for step in range(config.total):
        model.train()
        losses = model(*batch_of(random_windows(chorales["train"], config, step)))
        loss = losses.sum() / (losses > 0).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        share = min(1.0, (step + 1) / config.warmup, (config.total - step) / fall)
        for optimizer, rate in zip(optimizers, (config.matrix_rate, config.other_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(config.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                average[name].lerp_(parameter, 1 - decay)
        seen += loss.item()
        if (step + 1) % every == 0 or step + 1 == config.total:
            copy = ChoraleTransformer(replace(config, dropout=0.0))
            copy.load_state_dict(average)
            valid = nats_per_cell(copy, chorales["valid"])
            spent = time.monotonic() - began
            report(f"step {step + 1}: train {seen / every:.4f}, valid {valid:.4f}, {spent:.0f} s")
            seen = 0.0
            if valid < best:
                best, kept = valid, {name: value.clone() for name, value in average.items()}
    result = ChoraleTransformer(replace(config, dropout=0.0))
    result.load_state_dict(kept)
    return result.eval()


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`jsb`, for scripts/evaluate.py."""
    command = commands.add_parser("jsb", help="the public chorale benchmark: trains and measures, seed after seed")
    command.add_argument("file", type=Path, metavar="FILE", help="jsb16.json or jsb16.json.zst")
    command.add_argument("--seeds", type=int, default=3, metavar="N")
    command.add_argument("--total", type=int, default=JsbConfig().total, metavar="STEPS", help="of training")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
    command.set_defaults(run=_jsb)


def _jsb(args: argparse.Namespace) -> None:
    chorales = read_chorales(args.file)
    rows = []
    for seed in range(1, args.seeds + 1):
        config = JsbConfig(total=args.total, seed=seed)

        def report(line: str, seed: int = seed) -> None:
            print(f"seed {seed}, {line}", file=sys.stderr, flush=True)

        model = train_chorales(chorales, config, report)
        rows.append({split: nats_per_cell(model, chorales[split]) for split in ("valid", "test")})
    print(f"Nats per cell on the chorale benchmark, {args.total} training steps\n")
    print("seed      valid    test")
    for seed, row in enumerate(rows, start=1):
        print(f"{seed:<8}{row['valid']:8.4f}{row['test']:8.4f}")
    mean = {split: sum(row[split] for row in rows) / len(rows) for split in ("valid", "test")}
    print(f"{'mean':<8}{mean['valid']:8.4f}{mean['test']:8.4f}")
    if args.json:
        args.json.write_text(json.dumps({"seeds": rows, "mean": mean}, indent=1) + "\n", encoding="utf-8")
