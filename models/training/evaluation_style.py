"""What a style is worth, on folders of one musician's music: one row a folder, from the weights that ship.

Each folder is cut down to so many pieces, split by whole pieces, and a style is trained on it as `descant style
train` does. Then both networks continue the pieces that were held out.

    before, after   nats per note on the held-out pieces
    forgotten       by how much the base's own music became dearer
    nearer          share of candidates that a classifier, which tells the musician's music from the base's, finds
                    more like the musician's with the style than the same candidate without it
    distance        of what is written to the musician's music (see style_measures), without and with the style
    copied          two-bar windows of what is written that are in the pieces learned from; human: the same figure
                    for the musician's own held-out pieces
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from models.adapters import read_adapter
from models.engine import Engine, Sampling
from models.generators import Generator, TransformerGenerator
from models.piece import Piece
from models.training.evaluation_copying import share_known, training_windows, window_hashes
from models.training.evaluation_music import Excerpt, continuations, writer
from models.training.lora import save_adapter
from models.training.shards import Item, read_shards
from models.training.style import (
    Figures,
    Intake,
    Step,
    StyleConfig,
    about,
    fingerprint,
    for_notes,
    read_folder,
    split,
    train_style,
)
from models.training.style_measures import distance, share_higher, tell_apart

SAMPLE = Path(__file__).resolve().parents[1] / "weights" / "sample"  # music of the base that ships
CANDIDATES = 4
EXCERPTS = 8
BARS, CONTEXT = 8, 8


@dataclass(frozen=True)
class StyleRow:
    """One folder's figures; `size` of the adapter in bytes."""

    name: str
    pieces: int
    notes: int
    figures: Figures
    nearer: float
    distance_before: float
    distance_after: float
    copied_before: float
    copied: float
    human: float
    size: int
    steps: int


def some_pieces(intake: Intake, count: int) -> Intake:
    """The folder with at most `count` of its pieces, always the same ones."""
    ranked = sorted(intake.items, key=lambda item: fingerprint(item.piece))
    step = max(1, len(ranked) // count)
    return replace(intake, items=tuple(ranked[::step][:count]))


def written(excerpts: Sequence[Excerpt], generator: Generator) -> dict[tuple[str, int, int], Piece]:
    """Candidates by (name, place, number), each as a piece of its own on the bars of its region."""
    write = writer(generator, CANDIDATES, Sampling())
    return {
        (excerpt.name, place, number): replace(
            excerpt.task.piece, notes=np.array(rows, dtype=np.int32).reshape(-1, 7), chords=excerpt.chords[:0]
        )
        for place, excerpt in enumerate(excerpts)
        for number, rows in enumerate(write(excerpt.task))
    }


def composed(excerpts: Sequence[Excerpt]) -> list[Piece]:
    """What the musician has in the excerpts' places."""
    return [replace(excerpt.task.piece, notes=excerpt.truth) for excerpt in excerpts]


def excerpts_of(items: Sequence[Item], count: int) -> list[Excerpt]:
    """Places in pieces to go on from; short pieces give shorter ones."""
    several = [
        Item(item.piece, {**item.info, "set": str(turn), "path": f"{item.info['path']} {turn}"})
        for turn in range(-(-count // max(1, len(items))))
        for item in items
    ]
    for bars, context in ((BARS, CONTEXT), (4, 4), (2, 2)):
        if found := continuations(several, count, bars, context):
            return found
    return []


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
    trained = train_style(weights, parts, sample, run, config, seconds, report)
    base = Engine(weights)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_adapter(
            folder, trained.tensors, trained.memory, about(name, base.model_hash, intake, parts, config, trained)
        )
        adapter = read_adapter(folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
    plain, styled = TransformerGenerator(base), TransformerGenerator(base.styled([(adapter, 1.0)]))
    learned, held = excerpts_of(parts.learning, 2 * EXCERPTS), excerpts_of(parts.held_out, EXCERPTS)
    odds = tell_apart(composed(learned), list(written(learned[:EXCERPTS], plain).values()))
    without, with_style = written(held, plain), written(held, styled)
    own = composed(learned) + composed(held)
    known = training_windows(item.piece for item in parts.learning)

    def copied(pieces: Sequence[Piece]) -> float:
        return share_known(np.concatenate([window_hashes(piece) for piece in pieces]), known)

    return StyleRow(
        name=name,
        pieces=len(intake.items),
        notes=intake.notes,
        figures=trained.figures,
        nearer=share_higher(
            {key: odds(piece) for key, piece in with_style.items()},
            {key: odds(piece) for key, piece in without.items()},
        ),
        distance_before=distance(list(without.values()), own),
        distance_after=distance(list(with_style.values()), own),
        copied_before=copied(list(without.values())),
        copied=copied(list(with_style.values())),
        human=copied([item.piece for item in parts.held_out]),
        size=size,
        steps=trained.steps,
    )


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
                f"{row.nearer:.0%}",
                f"{row.distance_before:.3f}",
                f"{row.distance_after:.3f}",
                f"{row.copied_before:.1%}",
                f"{row.copied:.1%}",
                f"{row.human:.1%}",
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
    print(f"Styles after {args.minutes:g} minutes on {args.threads} thread(s)\n")
    print(style_table(rows))
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
