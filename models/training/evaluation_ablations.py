"""Ablations: what each part of the network is worth. Every row is trained alike, for the same number of steps, from
the same seed and on the same windows, and differs from what ships in one thing only.

What is taken away is taken out of the windows or out of the shape of the network here, so that the product has no
switch for it.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.architecture import SIZES, ModelConfig
from models.errors import UserError
from models.hints import MEMORY, MICRO, NONE
from models.tokens import (
    ATTRIBUTES,
    FIELDS,
    MAX_TRACKS,
    NOTE,
    NOTE_TARGET,
    OFFSET,
    PIECE,
    TRACK_TARGET,
    Steps,
    cell_attributes,
)
from models.training.evaluation import MIXTURE, cached_markov, markov_nats
from models.training.loop import TrainConfig, evaluate, train, validation_report
from models.training.sampling import Corpus, as_int32, fixed_windows
from models.training.shards import Item, read_shards
from models.transformer import MusicTransformer

SHIPPED, TOLD = "as shipped", "as shipped, told the attributes"
_ASKED = slice(3, 3 + len(ATTRIBUTES))  # where a TRACK_TARGET step has the attributes of its cell
_MICRO, _TIMING_KIND = 9, 2  # where a note and the header have theirs
Change = Callable[[Steps], Steps]


def unchanged(steps: Steps) -> Steps:
    return steps


def _kinds(steps: Steps) -> np.ndarray[Any, np.dtype[np.int32]]:
    return steps.facts[:, 0] - OFFSET["kind"]


def without_attributes(steps: Steps) -> Steps:
    facts = steps.facts.copy()
    facts[_kinds(steps) == TRACK_TARGET, _ASKED] = 0
    return replace(steps, facts=facts)


def with_attributes(item: Item, steps: Steps) -> Steps:
    """The window with the true attributes of every cell that is to be filled."""
    if len(item.piece.programs) > MAX_TRACKS:
        return steps  # its tracks go by other numbers in the window
    facts = steps.facts.copy()
    rows = _kinds(steps) == TRACK_TARGET
    given = cell_attributes(as_int32(item.piece))[steps.cell[rows, 0], steps.cell[rows, 1]]
    first = np.array([OFFSET[name] for name in ATTRIBUTES])
    facts[rows, _ASKED] = np.where(given > 0, first + given, 0)
    return replace(steps, facts=facts)


def without_micro(steps: Steps) -> Steps:
    """Micro-timing is neither seen nor predicted."""
    facts, hints, targets = steps.facts.copy(), steps.hints.copy(), steps.targets.copy()
    kinds = _kinds(steps)
    facts[(kinds == NOTE) | (kinds == NOTE_TARGET), _MICRO] = 0
    facts[kinds == PIECE, _TIMING_KIND] = 0
    hints[:, MICRO] = NONE
    targets[:, list(FIELDS).index("micro")] = -1
    return replace(steps, facts=facts, hints=hints, targets=targets)


def without_hints(steps: Steps) -> Steps:
    """All of models.hints but the keys of the memory, which has a row of its own."""
    hints = np.full_like(steps.hints, NONE)
    memory = slice(MEMORY[0].start, MEMORY[-1].stop)
    hints[:, memory] = steps.hints[:, memory]
    return replace(steps, hints=hints, onsets=np.zeros_like(steps.onsets))


class _IndexAlone(ModelConfig):
    """Every head sees how many steps apart two steps are, none how many grid ticks."""

    @property
    def heads_by_steps(self) -> int:
        return self.kv_heads


class _TimeAlone(ModelConfig):
    @property
    def heads_by_steps(self) -> int:
        return 0


@dataclass(frozen=True)
class Variant:
    """A row: the network's shape, and what is done to every window, in training and in validation."""

    shape: ModelConfig
    change: Change = unchanged


def variants(size: str) -> dict[str, Variant]:
    shape = SIZES[size]
    fields = asdict(shape)
    return {
        SHIPPED: Variant(shape),
        "rotation by index alone": Variant(_IndexAlone(**fields)),
        "rotation by time alone": Variant(_TimeAlone(**fields)),
        "without memory": Variant(replace(shape, memory_rows=0)),
        "without hints": Variant(shape, without_hints),
        "trained without attributes": Variant(shape, without_attributes),
        "without micro-timing": Variant(shape, without_micro),
        "two field layers": Variant(replace(shape, field_layers=2)),
        "base": Variant(SIZES["base"]),
    }


class ChangedCorpus(Corpus):
    """Draws what Corpus draws, with a change made to every window."""

    def __init__(self, items: list[Item], change: Change) -> None:
        super().__init__(items)
        self._change = change

    def draw(self, rng: np.random.Generator, budget: int) -> Steps:
        return self._change(super().draw(rng, budget))


def train_row(
    variant: Variant,
    items: Sequence[Item],
    windows: Sequence[tuple[Item, Steps]],
    config: TrainConfig,
    folder: Path,
    stop_after: float,
    told: bool,
    report: Callable[[str], None],
) -> list[dict[str, float]] | None:
    """Nats per note of a variant, all and by field, on the windows, and where `told` on the windows with attributes
    too. None where time ran out first; what was learned is kept in `folder`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    model = MusicTransformer(variant.shape, config.dropout, config.memory_dropout)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = ChangedCorpus(list(items), variant.change)
    best = train(
        model,
        corpus,
        config,
        folder,
        device=device,
        stop_after=stop_after,
        report=lambda row: report(json.dumps(row)),
    )
    if json.loads((folder / "latest.json").read_text("utf-8"))["step"] < config.total:
        return None
    plain = [variant.change(steps) for _, steps in windows]
    asked = [[with_attributes(item, steps) for item, steps in windows]] if told else []
    return [validation_report(evaluate(best, chosen, device)) for chosen in (plain, *asked)]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`ablations`, for scripts/evaluate.py."""
    command = commands.add_parser("ablations", help="trains the network again without each of its parts")
    command.add_argument("shards", type=Path, metavar="SHARDS", help="token shards of scripts/prepare_data.py")
    command.add_argument("--folder", type=Path, required=True, help="keeps finished rows, and one under way")
    command.add_argument("--size", choices=SIZES, default="small")
    command.add_argument("--steps", type=int, default=400, metavar="N", help="of training, for each row")
    command.add_argument("--rows", type=int, default=4, help="sequences a training step")
    command.add_argument("--length", type=int, default=640, help="most steps a sequence has")
    command.add_argument("--windows", type=int, default=96, metavar="N", help="of validation")
    command.add_argument("--only", nargs="+", metavar="ROW", help="train these rows; the table shows all there are")
    command.add_argument("--minutes", type=float, default=math.inf, help="stop in good order after this long")
    command.add_argument("--with-markov", action="store_true", help="the baseline on the same windows too")
    command.add_argument("--markov-cache", type=Path, metavar="FILE", help="keep the trained baseline here")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
    command.set_defaults(run=_ablations)


def _ablations(args: argparse.Namespace) -> None:
    found = variants(args.size)
    unknown = [name for name in args.only or () if name not in found]
    if unknown:
        raise UserError(f"There is no row {unknown[0]!r}", f"Rows are: {', '.join(found)}.")
    items = list(read_shards(args.shards))
    held = [item for item in items if item.info["split"] == "valid"]
    training = [item for item in items if item.info["split"] == "train"]
    if not held or not training:
        raise UserError(f"{args.shards} lacks pieces", "Make shards with scripts/prepare_data.py.")
    windows = fixed_windows(held[:: max(1, len(held) // args.windows)], args.length, 1)
    config = TrainConfig(
        total=args.steps,
        rows=args.rows,
        length=args.length,
        matrix_rate=5e-3,
        other_rate=3e-3,
        memory_rate=0.8,
        memory_dropout=0.25,
        bfloat16=True,
    )
    ends = time.monotonic() + 60 * args.minutes
    rows: dict[str, dict[str, float]] = {}
    for name, variant in found.items():
        path = args.folder / f"{name.replace(' ', '-')}.json"
        wanted = args.only is None or name in args.only
        made_with = {"train": asdict(config), "size": args.size, "windows": len(windows)}
        kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if kept and kept["made_with"] != made_with:
            raise UserError(f"{args.folder} holds rows of another training", "Name another --folder.")
        if not kept and wanted and time.monotonic() < ends:
            _say(f"{name} ...")
            run = path.with_suffix("")
            left = ends - time.monotonic()
            figures = train_row(variant, training, windows, config, run, left, name == SHIPPED, _say)
            if figures is None:
                continue
            kept = {"made_with": made_with, "figures": dict(zip((name, TOLD), figures, strict=False))}
            path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(run)
        rows |= kept.get("figures", {})
    if args.with_markov:
        model = cached_markov(training, args.shards, args.markov_cache, args.length, 2)
        rows[MIXTURE] = _markov(markov_nats(model, windows)[1], windows)
    _print(rows, args, len(windows))
    if args.json:
        report = {"train": asdict(config), "windows": len(windows), "rows": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _markov(nats: np.ndarray[Any, np.dtype[np.float64]], windows: Sequence[tuple[Item, Steps]]) -> dict[str, float]:
    notes = sum(int((steps.targets[:, 1] >= 0).sum()) for _, steps in windows)
    fields = dict(zip(FIELDS, (nats.sum(axis=0) / notes).tolist(), strict=True))
    return {"valid": sum(fields.values()), **fields}


def _print(rows: dict[str, dict[str, float]], args: argparse.Namespace, windows: int) -> None:
    """Under `fields 1-4` is the sum without micro-timing, which all rows predict."""
    print(
        f"Nats per note on {windows} validation windows after {args.steps} training steps of {args.rows} x "
        f"{args.length}, {args.size}\n"
    )
    columns = ("all", "fields 1-4", *FIELDS)
    first = max(map(len, rows), default=0)
    print(" " * first + "".join(column.rjust(12) for column in columns))
    for name, row in rows.items():
        cells = [row["valid"], row["valid"] - row["micro"], *(row[field] for field in FIELDS)]
        shown = ["-" if column == "micro" and cell == 0 else f"{cell:.3f}" for column, cell in
                 zip(columns, cells, strict=True)]  # fmt: skip
        print(name.ljust(first) + "".join(cell.rjust(12) for cell in shown))


def _say(text: str) -> None:
    """Progress goes to stderr, so that stdout holds the table alone."""
    print(text, file=sys.stderr, flush=True)
