"""The public chorale benchmark: nats per cell on Bach's chorales in sixteenths, with the network's own blocks.

The protocol is that of Huang et al. 2018 (Music Transformer): 229 chorales to train on, 76 and 77 to validate and
test (the split of Boulanger-Lewandowski et al. 2012), a time step a sixteenth, four cells a step (soprano, alto,
tenor, bass), each one of the pitches or a rest; a held note looks like a repeated one. The figure is the mean
negative log likelihood of a cell, over all cells of a split. No chords are given.

As in the generator, one step of attention stands for everything that happens at a time, its embedding is the sum
of facts, and a small decoder writes its fields one after the other, told outright how they lie to what sounded
before (models.training.jsb_facts). What is trained here is for this table alone and never ships.

So little music is soon known by heart. So there are generations of networks: those of a later one are held against
what those before together find likely of the same windows, as well as against the notes (born-again networks:
Furlanello et al., 2018). Nothing but the train split is learned from.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.architecture import ModelConfig, rotation_speeds
from models.errors import UserError
from models.training.jsb_facts import (
    CELL_FACTS,
    CELL_VOCABULARY,
    CLASSES,
    DISTANCES,
    ECHOES,
    LEVELS,
    LOWEST_CLASS,
    MARGIN,
    PITCHES,
    REST,
    STEP_FACTS,
    STEP_VOCABULARY,
    VOICES,
    Chorale,
    Facts,
    Seen,
    chorale_facts,
    repeats,
    transposed,
)
from models.training.muon import Muon
from models.transformer import Block, RMSNorm, SwiGLU

SIXTEENTH = 6  # grid ticks
TEMPERATURES = (1.0, 1.1, 1.2, 1.3)  # what little data teaches is too sure of itself; validation picks one
GENERATIONS = ("first", "second")
LONGER = 2  # times the steps of the first, for those that are taught: they know the music by heart much later
TAUGHT = 0.7  # share of what the networks before say in what a network is held against
TEACHING_TEMPERATURE = 1.2  # of those, while they teach


@dataclass(frozen=True, slots=True)
class JsbConfig:
    """The network and its training. `rows` windows of `length` time steps a training step."""

    shape: ModelConfig = ModelConfig(  # noqa: RUF009  (frozen)
        width=128, layers=4, heads=4, kv_heads=2, head_size=32, hidden=352, field_width=160, field_hidden=320
    )
    dropout: float = 0.35
    fact_dropout: float = 0.2  # of the facts of a step or cell
    total: int = 700
    rows: int = 8
    length: int = 128
    matrix_rate: float = 5e-3
    other_rate: float = 3e-3
    weight_decay: float = 0.3
    warmup: int = 60
    decay_share: float = 0.7
    ema: float = 0.99
    seed: int = 1


def read_chorales(path: Path) -> dict[str, list[Chorale]]:
    """Chorales by split, each [steps, VOICES] of classes: a pitch, counted from LOWEST_CLASS, or REST. The file may
    be compressed with zstandard. Raises UserError."""
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
    table = np.array(
        [[REST if pitch is None else pitch - LOWEST_CLASS for pitch in row] for row in rows], dtype=np.int64
    )
    inside = (table == REST) | ((table >= MARGIN) & (table < MARGIN + PITCHES))
    if table.ndim != 2 or table.shape[1] != VOICES or not inside.all():
        raise ValueError("not four voices between the lowest and the highest pitch")
    return table


class ChoraleTransformer(nn.Module):
    """Reads time steps of four voices, writes the next step's voices one after the other."""

    def __init__(self, config: JsbConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.shape
        width, field = shape.width, shape.field_width
        self.step = nn.Embedding(STEP_VOCABULARY, width, padding_idx=0)
        self.blocks = nn.ModuleList([Block(shape, config.dropout) for _ in range(shape.layers)])
        self.final_norm = RMSNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.speeds: Tensor
        self.register_buffer("speeds", torch.from_numpy(rotation_speeds(shape)), persistent=False)

        self.from_state = nn.Linear(width, field, bias=False)
        self.cell = nn.Embedding(CELL_VOCABULARY, field, padding_idx=0)
        self.norms = nn.ModuleList([RMSNorm(field) for _ in range(2)])
        self.mlps = nn.ModuleList([SwiGLU(field, shape.field_hidden) for _ in range(2)])
        self.field_norm = RMSNorm(field)
        self.out = nn.Parameter(torch.randn(VOICES, field, CLASSES) * 0.02)
        self.by_distance = nn.Parameter(torch.zeros(VOICES, field, VOICES * DISTANCES))
        self.echo_gates = nn.Parameter(torch.zeros(VOICES, field, ECHOES))
        self.heard_gates = nn.Parameter(torch.zeros(VOICES, field, LEVELS))
        for name, parameter in self.named_parameters():
            if name in ("step.weight", "cell.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith(("out.weight", "down.weight")):
                nn.init.zeros_(parameter)
            elif name.endswith(".weight") and parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        with torch.no_grad():
            self.step.weight[0].zero_()
            self.cell.weight[0].zero_()

    def forward(self, facts: Facts[Tensor]) -> Tensor:
        """Logits of every cell: [batch, length, VOICES, CLASSES], each given the cells before it."""
        batch, length, _ = facts.step.shape
        x = self._sum(self.step, facts.step.flatten(0, 1)).view(batch, length, -1)
        x = self.dropout(x)
        step = torch.arange(length, dtype=torch.float64)
        by_steps = self.config.shape.heads_by_steps
        ticks = self.config.shape.kv_heads - by_steps
        place = torch.stack([step] * by_steps + [SIXTEENTH * step] * ticks)
        angle = (place[..., None] * self.speeds[:, None, :])[None]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        mask = None
        if torch.is_autocast_enabled("cpu"):
            mask = torch.full((length, length), -torch.inf, dtype=torch.bfloat16).triu(1)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        state = self.dropout(self.from_state(self.final_norm(x)))  # [batch, length, field]
        cells = batch * length
        known = self._sum(self.cell, facts.cell.flatten(0, 2)).view(batch, length, VOICES, -1)
        y = (state[:, :, None] + known).transpose(0, 2).reshape(VOICES, length, batch, -1)
        y = y.transpose(1, 2).reshape(VOICES, cells, -1)
        for norm, mlp in zip(self.norms, self.mlps, strict=True):
            y = y + self.dropout(mlp(norm(y)))
        y = self.field_norm(y)

        def by_voice(table: Tensor) -> Tensor:
            return table.flatten(0, 1).transpose(0, 1).contiguous()

        logits = y @ self.out
        distances = (y @ self.by_distance).view(VOICES, cells, VOICES, DISTANCES)
        classes = torch.arange(CLASSES)
        for other in range(VOICES):
            wanted = distance(classes, by_voice(facts.near[..., other])[..., None])
            logits = logits + distances[:, :, other].gather(-1, wanted)
        gates = y @ self.echo_gates
        echoes = by_voice(facts.echo)
        spare = torch.zeros(VOICES, cells, CLASSES + 1, dtype=gates.dtype)
        echoed = spare.scatter_add(-1, torch.where(echoes >= 0, echoes, CLASSES), gates)
        logits = logits + echoed[..., :CLASSES] + (y @ self.heard_gates).gather(-1, by_voice(facts.heard))
        return logits.view(VOICES, batch, length, CLASSES).permute(1, 2, 0, 3)

    def _sum(self, table: nn.Embedding, facts: Tensor) -> Tensor:
        """Sums of embeddings: [n, k] ids -> [n, width]. In training some of the facts are left out."""
        if self.training and self.config.fact_dropout:
            facts = facts * (torch.rand(facts.shape) >= self.config.fact_dropout)
        return F.embedding_bag(facts, table.weight, mode="sum", padding_idx=0)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Semitones from `b` to `a` counted from 0; the last value where either does not sound."""
    return torch.where((a >= REST) | (b >= REST), DISTANCES - 1, a - b + (DISTANCES - 1) // 2)


def cell_nats(logits: Tensor, target: Tensor, shift: int | None = None) -> Tensor:
    """Nats of every cell, 0 where the target is negative: [batch, length, VOICES]. With `shift`, only the pitches
    that the benchmark has can follow, in that transposition."""
    if shift is not None:
        possible = torch.zeros(CLASSES, dtype=torch.bool)
        possible[MARGIN + shift : MARGIN + shift + PITCHES] = possible[REST] = True
        logits = logits.masked_fill(~possible, -torch.inf)
    return F.cross_entropy(logits.float().permute(0, 3, 1, 2), target, ignore_index=-1, reduction="none")


def batch_of(windows: Sequence[tuple[Seen, int, int, int]]) -> tuple[Facts[Tensor], Tensor]:
    """Tensors for the network, and the true classes [batch, length, VOICES], from (chorale, transposition, first
    step, step after the last), padded to the longest."""
    longest = max(stop - first for _, _, first, stop in windows)
    rows = []
    target = np.full((len(windows), longest, VOICES), -1, dtype=np.int64)
    for row, (seen, shift, first, stop) in enumerate(windows):
        moved = transposed(seen.chorale, shift)
        rows.append(chorale_facts(Seen(moved, seen.length, seen.source), first, stop))
        target[row, : stop - first] = moved[first:stop]

    def padded(parts: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]], empty: int) -> Tensor:
        table = np.full((len(parts), longest, *parts[0].shape[1:]), empty, dtype=np.int64)
        for row, part in enumerate(parts):
            table[row, : len(part)] = part
        return torch.from_numpy(table)

    facts = Facts(
        padded([row.step for row in rows], 0),
        padded([row.cell for row in rows], 0),
        padded([row.near for row in rows], REST),
        padded([row.echo for row in rows], -1),
        padded([row.heard for row in rows], 0),
    )
    assert facts.step.shape[-1] == STEP_FACTS and facts.cell.shape[-1] == CELL_FACTS
    return facts, torch.from_numpy(target)


def random_windows(seen: Sequence[Seen], config: JsbConfig, step: int) -> list[tuple[Seen, int, int, int]]:
    """What training step `step` sees: windows in random transpositions, often from a chorale's first step on."""
    rng = np.random.default_rng([config.seed, step])
    chances = np.array([len(one.chorale) for one in seen], dtype=np.float64)
    result = []
    for index in rng.choice(len(seen), config.rows, p=chances / chances.sum()):
        steps = len(seen[index].chorale)
        first = int(rng.integers(0, max(1, steps - config.length + 1)))
        first = 0 if rng.random() < 0.3 else first
        shift = int(rng.integers(-MARGIN + 1, MARGIN + 1))
        result.append((seen[index], shift, first, min(steps, first + config.length)))
    return result


@torch.no_grad()
def nats_per_cell(
    models: Sequence[ChoraleTransformer], chorales: Sequence[Seen], temperature: float = 1.0
) -> float:
    """The mean over all cells, each chorale read as a whole, logits divided by the temperature. Of several networks
    the mean of the chances counts."""
    total = 0.0
    for seen in chorales:
        facts, target = batch_of([(seen, 0, 0, len(seen.chorale))])
        each = torch.stack([-cell_nats(model.eval()(facts) / temperature, target, 0) for model in models])
        total -= float((each.logsumexp(0) - math.log(len(models))).sum())
    return total / (VOICES * sum(len(seen.chorale) for seen in chorales))


def train_chorales(
    chorales: dict[str, list[Chorale]],
    config: JsbConfig,
    report: Callable[[str], None] = print,
    every: int = 100,
    teachers: Sequence[ChoraleTransformer] = (),
) -> ChoraleTransformer:
    """Train on the train split, with teachers also on what they find likely there; the averaged weights that
    validation likes best come back."""
    torch.manual_seed(config.seed)
    model = ChoraleTransformer(config)
    train, valid = ([repeats(chorale) for chorale in chorales[split]] for split in ("train", "valid"))
    matrices = [
        p for name, p in model.named_parameters() if p.dim() == 2 and name.startswith(("blocks", "mlps", "from"))
    ]
    held = {id(p) for p in matrices}
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=config.matrix_rate, weight_decay=config.weight_decay, bfloat16=True),
        torch.optim.AdamW(
            [p for p in model.parameters() if id(p) not in held],
            lr=config.other_rate,
            weight_decay=0.01,
            betas=(0.9, 0.95),
        ),
    ]
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    best, kept = math.inf, dict(average)
    copy = ChoraleTransformer(config)
    fall = max(1, int(config.total * config.decay_share))
    began, seen = time.monotonic(), 0.0
    for step in range(config.total):
        model.train()
        facts, target = batch_of(random_windows(train, config, step))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(facts)
        nats = cell_nats(logits, target)
        if teachers:
            nats = (1 - TAUGHT) * nats + TAUGHT * _nats_taught(logits, facts, target, teachers)
        loss = nats.sum() / (target >= 0).sum()
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
            copy.load_state_dict(average)
            found = nats_per_cell([copy], valid)
            spent = time.monotonic() - began
            report(f"step {step + 1}: train {seen / every:.4f}, valid {found:.4f}, {spent:.0f} s")
            seen = 0.0
            if found < best:
                best, kept = found, {name: value.clone() for name, value in average.items()}
    copy.load_state_dict(kept)
    return copy.eval()


def _nats_taught(
    logits: Tensor, facts: Facts[Tensor], target: Tensor, teachers: Sequence[ChoraleTransformer]
) -> Tensor:
    """Nats of every cell where what comes is as likely as teachers say: [batch, length, VOICES]."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        said = [(teacher(facts).float() / TEACHING_TEMPERATURE).softmax(-1) for teacher in teachers]
    chances = torch.stack(said).mean(0)
    return -(chances * logits.float().log_softmax(-1)).sum(-1) * (target >= 0)


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`jsb`, for scripts/evaluate.py."""
    command = commands.add_parser("jsb", help="the public chorale benchmark: trains and measures")
    command.add_argument("file", type=Path, metavar="FILE", help="jsb16.json or jsb16.json.zst")
    command.add_argument("--seeds", type=int, default=3, metavar="N")
    command.add_argument("--total", type=int, default=JsbConfig().total, metavar="STEPS", help="of the first ones")
    command.add_argument("--folder", type=Path, metavar="DIR", help="keep the networks that are trained")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
    command.set_defaults(run=_jsb)


def _jsb(args: argparse.Namespace) -> None:
    chorales = read_chorales(args.file)
    seen = {split: [repeats(chorale) for chorale in chorales[split]] for split in ("valid", "test")}
    lines: list[Line] = []
    teachers: list[ChoraleTransformer] = []
    for number, generation in enumerate(GENERATIONS):
        models = []
        for seed in range(1, args.seeds + 1):
            config = JsbConfig(total=args.total * (LONGER if teachers else 1), seed=10 * number + seed)
            models.append(_kept(chorales, config, teachers, args.folder, f"{generation}-{seed}"))
            lines.append(Line(f"{generation}, seed {seed}", *_measured(models[-1:], seen)))
        own_lines = lines[-args.seeds :]
        mean = [sum(getattr(line, name) for line in own_lines) / args.seeds for name in ("valid", "test")]
        lines.append(Line(f"{generation}, mean", *mean))
        lines.append(Line(f"{generation}, together", *_measured(models, seen)))
        teachers = models
    steps = f"{args.total} training steps, {LONGER * args.total} for those that are taught"
    print(f"Nats per cell on the chorale benchmark, {steps}\n")
    print("".ljust(20) + "valid".rjust(10) + "test".rjust(10))
    for line in lines:
        print(f"{line.name:20}{line.valid:10.4f}{line.test:10.4f}")
    if args.json:
        args.json.write_text(json.dumps([line._asdict() for line in lines], indent=1) + "\n", encoding="utf-8")


class Line(NamedTuple):
    """A line of the table: nats per cell."""

    name: str
    valid: float
    test: float


def _measured(models: Sequence[ChoraleTransformer], seen: dict[str, list[Seen]]) -> tuple[float, float]:
    """Nats per cell on validation and test, at the temperature that validation likes best."""
    found = {chosen: nats_per_cell(models, seen["valid"], chosen) for chosen in TEMPERATURES}
    temperature = min(found, key=lambda chosen: found[chosen])
    return found[temperature], nats_per_cell(models, seen["test"], temperature)


def _kept(
    chorales: dict[str, list[Chorale]],
    config: JsbConfig,
    teachers: Sequence[ChoraleTransformer],
    folder: Path | None,
    name: str,
) -> ChoraleTransformer:
    """A trained network, from `folder` where it was trained in the same way before."""

    def report(line: str) -> None:
        print(f"{name}, {line}", file=sys.stderr, flush=True)

    if folder is None:
        return train_chorales(chorales, config, report, teachers=teachers)
    path, made_with = folder / f"{name}.safetensors", json.dumps(asdict(config))
    if not path.exists():
        model = train_chorales(chorales, config, report, teachers=teachers)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path, {"made_with": made_with})
        return model
    with safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("made_with") != made_with:
            raise UserError(f"{folder} holds networks of another training", "Name another --folder.")
    model = ChoraleTransformer(config)
    model.load_state_dict(load_file(path))
    return model.eval()
