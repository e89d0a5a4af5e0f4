"""What a style is worth, on folders of one musician's music: one row a folder, from the weights that ship.

Each folder is cut down to so many pieces, split by whole pieces, and a style is trained on it as `descant style
train` does, for so many minutes of the processor's time. What it is worth is measured as for a style's own card
(see style_proof), with

    before, after   nats per note on the held-out pieces
    forgotten       by how much the base's own music became dearer
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from models.errors import UserError
from models.training.lora import save_adapter
from models.training.shards import Item, read_shards
from models.training.style import (
    Figures,
    Step,
    StyleConfig,
    about,
    for_notes,
    train_style,
)
from models.training.style_intake import Intake, fingerprint, read_folder, split
from models.training.style_proof import Proof, prove_adapter

SAMPLE = Path(__file__).resolve().parents[1] / "weights" / "sample"  # music of the base that ships


@dataclass(frozen=True)
class StyleRow:
    """One folder's figures; `size` of the adapter in bytes."""

    name: str
    pieces: int
    notes: int
    figures: Figures
    proof: Proof
    size: int
    steps: int


def some_pieces(intake: Intake, count: int) -> Intake:
    """The folder with at most `count` of its pieces, always the same ones."""
    ranked = sorted(intake.items, key=lambda item: fingerprint(item.piece))
    step = max(1, len(ranked) // count)
    return replace(intake, items=tuple(ranked[::step][:count]))


def measure_style(
    name: str,
    intake: Intake,
    weights: Path,
    sample: Sequence[Item],
    run: Path,
    config: StyleConfig,
    seconds: float,
    report: Callable[[Step], None] = lambda step: None,
) -> StyleRow:
    """Train a style on a folder's pieces and hold what it writes against what the base writes."""
    parts = split(intake)
    trained = train_style(weights, parts, sample, run, config, seconds, report, clock=time.process_time)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = json.loads((weights / "config.json").read_text("utf-8"))["sha256"]
        save_adapter(folder, trained.tensors, trained.memory, about(name, base, intake, parts, config, trained))
        size = sum(path.stat().st_size for path in folder.iterdir())
        proof = prove_adapter(weights, folder, parts)
    if proof is None:
        raise UserError(f"The pieces of {name} are too short to go on from", "Leave this folder out.")
    return StyleRow(name, len(intake.items), intake.notes, trained.figures, proof, size, trained.steps)


def style_table(rows: Sequence[StyleRow]) -> str:
    names = "folder pieces notes before after fewer forgotten nearer distance with copied with human MB"
    lines = [names.split(" ")]
    for row in rows:
        figures = row.figures
        lines.append(
            [
                row.name,
                str(row.pieces),
                f"{row.notes:,}",
                f"{figures.own_before:.3f}",
                f"{figures.own_after:.3f}",
                f"{figures.gain:.1%}",
                f"{figures.forgotten:+.1%}",
                f"{row.proof.nearer:.0%}",
                f"{row.proof.distance_before:.3f}",
                f"{row.proof.distance_after:.3f}",
                f"{row.proof.copied_before:.1%}",
                f"{row.proof.copied_after:.1%}",
                f"{row.proof.human:.1%}",
                f"{row.size / 1e6:.1f}",
            ]
        )
    first = max(len(line[0]) for line in lines)
    return "\n".join(line[0].ljust(first) + "".join(cell.rjust(10) for cell in line[1:]) for line in lines)


def name_of(folder: Path) -> str:
    """A folder's own name, or that of the one it is in where it is called "midi"."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "midi" else folder.name


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], weights: Path) -> None:
    """`style`, for scripts/evaluate.py."""
    command = commands.add_parser("style", help="what styles made from folders of MIDI files are worth")
    command.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="one musician's MIDI files each")
    command.add_argument("--weights", type=Path, default=weights, help="folder of the network's weights")
    command.add_argument("--minutes", type=float, default=10.0, metavar="M", help="of training for each folder")
    command.add_argument("--pieces", type=int, default=20, metavar="N", help="of each folder")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
    command.set_defaults(run=_style)


def _style(args: argparse.Namespace) -> None:
    sample = list(read_shards(SAMPLE))
    rows = []
    for folder in args.folders:
        intake = some_pieces(read_folder(folder), args.pieces)
        config = replace(for_notes(intake.notes), threads=args.threads)

        def report(step: Step, name: str = name_of(folder)) -> None:
            print(f"{name}: step {step.step}, {step.nats:.3f}, best {step.best:.3f}", file=sys.stderr, flush=True)

        with tempfile.TemporaryDirectory() as run:
            seconds = 60 * args.minutes
            row = measure_style(name_of(folder), intake, args.weights, sample, Path(run), config, seconds, report)
        rows.append(row)
    print(f"Styles after {args.minutes:g} processor minutes on {args.threads} thread(s)\n")
    print(style_table(rows))
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
