"""Train the generator on token shards made by scripts/prepare_data.py.

    python3 scripts/train.py SHARDS --folder runs/small --size small --total 4800
    python3 scripts/train.py SHARDS --folder runs/small --export models/weights/small

A run that is stopped, or killed, goes on from its last checkpoint when the same command is given again. Several
processes train together under torchrun: `torchrun --nproc-per-node 2 scripts/train.py SHARDS ...`, each with
--rows rows of its own.
`--minutes` stops it in good order. `--export` writes the averaged weights of the run's last checkpoint; with
`--together`, the mean of those of several runs that began from the same weights, and of these weights as well where
they are named, which is better than each of them ("model soups", Wortsman et al. 2022).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed

from models.architecture import SIZES, ModelConfig
from models.tokens import FIELDS
from models.training.checkpoint import export_weights, load_checkpoint, load_weights
from models.training.loop import (
    TrainConfig,
    averaged,
    evaluate,
    make_optimizers,
    mean_of,
    start_average,
    train,
    validation_report,
)
from models.training.sampling import Corpus, fixed_windows
from models.training.shards import read_shards
from models.training.shared_figures import shared_figures
from models.transformer import MusicTransformer

DEFAULTS = TrainConfig()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the run's checkpoints and log")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--memory-rows", type=int, metavar="N", help="rows a kind of figure has; 0 for no memory")
    parser.add_argument("--total", type=int, default=DEFAULTS.total, help="training steps in all")
    parser.add_argument("--rows", type=int, default=DEFAULTS.rows, help="sequences a training step")
    parser.add_argument("--length", type=int, default=DEFAULTS.length, help="steps a sequence")
    parser.add_argument("--matrix-rate", type=float, default=DEFAULTS.matrix_rate)
    parser.add_argument("--other-rate", type=float, default=DEFAULTS.other_rate)
    parser.add_argument("--memory-rate", type=float, default=DEFAULTS.memory_rate)
    parser.add_argument("--weight-decay", type=float, default=DEFAULTS.weight_decay)
    parser.add_argument("--bfloat16", action="store_true", help="twice as fast on a processor that knows it")
    parser.add_argument("--dropout", type=float, default=DEFAULTS.dropout)
    parser.add_argument("--memory-dropout", type=float, default=DEFAULTS.memory_dropout)
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop in good order after this long")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--validation-windows", type=int, default=96)
    parser.add_argument("--report-every", type=int, default=50, metavar="STEPS")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw batches, and count figures")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="RUN",
        help="learn on from where another run ended, or from a folder of exported weights",
    )
    parser.add_argument("--export", type=Path, help="write the weights of the run here, and train no further")
    parser.add_argument(
        "--together",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="with --export: other runs from the same beginning, or folders of exported weights such as that "
        "beginning, that are averaged with this one's",
    )
    parser.add_argument(
        "--believe",
        type=float,
        nargs=len(FIELDS),
        default=[],
        metavar="SHARE",
        help=f"with --export: by how much the memory is believed of {', '.join(FIELDS)}, 1 as learned",
    )
    args = parser.parse_args()
    if (args.together or args.believe) and not args.export:
        parser.error("--together and --believe go with --export")
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = TrainConfig(
        total=args.total,
        rows=args.rows,
        length=args.length,
        matrix_rate=args.matrix_rate,
        other_rate=args.other_rate,
        memory_rate=args.memory_rate,
        weight_decay=args.weight_decay,
        dropout=args.dropout,
        memory_dropout=args.memory_dropout,
        seed=args.seed,
        bfloat16=args.bfloat16,
    )
    if args.export:
        return export([args.folder, *args.together], args.export, args.believe)
    if torch.distributed.is_torchelastic_launched():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.manual_seed(args.seed)
    shape = SIZES[args.size]
    if args.memory_rows is not None:
        shape = replace(shape, memory_rows=args.memory_rows)
    model = MusicTransformer(shape, args.dropout, args.memory_dropout)
    items = list(read_shards(args.shards))
    if not items:
        print(f"No shards in {args.shards}; make them with scripts/prepare_data.py.", file=sys.stderr)
        return 2
    corpus = Corpus([item for item in items if item.info["split"] == "train"])
    held = [item for item in items if item.info["split"] == "valid"]
    every = max(1, len(held) // max(1, args.validation_windows))
    validation = [steps for _, steps in fixed_windows(held[::every], args.length, 1)]
    args.folder.mkdir(parents=True, exist_ok=True)
    with (args.folder / "log.jsonl").open("a", encoding="utf-8") as log:

        def report(row: dict[str, float]) -> None:
            line = json.dumps(row)
            print(line, flush=True)
            log.write(line + "\n")
            log.flush()

        def check(step: int, averaged_model: MusicTransformer) -> bool:
            report({"step": step, **validation_report(evaluate(averaged_model, validation, device))})
            return False

        parameters = sum(p.numel() for p in model.parameters())
        if model.fields.memory and not args.start and not (args.folder / "latest.json").exists():
            tags = shared_figures(corpus.items, shape.memory_rows, args.workers)
            model.fields.memory.tags.copy_(torch.from_numpy(tags))
        print(f"{parameters:,} parameters, {len(corpus.items)} pieces, {len(validation)} validation windows")
        train(
            model,
            corpus,
            config,
            args.folder,
            device=device,
            start=args.start,
            stop_after=args.minutes * 60,
            report=report,
            report_every=args.report_every,
            validate=check if validation else None,
            compiled=args.compile,
            workers=args.workers,
        )
    return 0


def export(runs: list[Path], folder: Path, believe: Sequence[float] = ()) -> int:
    """Write the averaged weights of the runs' last checkpoints, the mean of them where there are several. After the
    first, a run may be a folder of exported weights. believe: by how much the memory is believed, a share a field.
    """
    found: list[MusicTransformer] = []
    first: dict[str, object] = {}
    step = 0
    for run in runs:
        if found and not (run / "latest.json").exists():
            found.append(load_weights(run))
            print(f"{run}: exported weights")
            continue
        info = json.loads((run / "latest.json").read_text("utf-8"))
        model = MusicTransformer(ModelConfig(**info["model"]))
        average = start_average(model)
        step = load_checkpoint(run, model, average, make_optimizers(model, TrainConfig(**info["train"])))
        first = first or info["train"]
        found.append(averaged(model, average))
        print(f"{run}: step {step}")
    mean = mean_of(found)
    if mean.fields.memory and believe:
        for read, share in zip(mean.fields.memory.read, believe, strict=True):
            for weight in read.parameters():
                weight.data.mul_(share)
    digest = export_weights(mean, folder, {"step": step, "train": first, "runs": len(runs)})
    print(f"{folder}: sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
