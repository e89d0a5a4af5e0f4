"""Measure the network on held-out music, beside the Markov baseline. Every figure in a model card is made here.

    python3 scripts/evaluate.py heldout SHARDS --weights models/weights/small --json heldout.json

heldout: nats per note on the pieces of a split that was not trained on, by data set and by field. The Markov
baseline is trained on the train split of the same shards, which takes a few minutes; `--markov-cache` keeps it.
tasks, statistics, copying: what the network writes on held-out pieces, beside what their composers wrote.
memory: what earlier passages in the window are worth in long pieces, and how soon a first bar comes.
jsb: the public benchmark of Bach's chorales; ablations: the network trained again without each of its parts.
synth: the neural synth beside the sound font it learned from and another one.
hum: how well notes are heard out of singing, whistling and instruments.
instrument: how near the synth comes to instruments learned from a minute of sound.
constraints: how often random requests are answered with a note that breaks what was asked.
"one chain" is an order-five interpolated backoff model with transposition, for each field the best of ours;
"Markov" combines several of them, and is what the network is held against.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from models.choice import Choice
from models.constraints import Controls
from models.engine import Engine
from models.errors import UserError
from models.generators import TransformerGenerator
from models.synth import evaluation as synth_evaluation
from models.synth import hum_evaluation, instrument_evaluation
from models.training import evaluation_ablations, evaluation_style, jsb
from models.training.checkpoint import load_weights
from models.training.evaluation import (
    CHAIN,
    MIXTURE,
    Row,
    by_field,
    by_set,
    cached_markov,
    fewer,
    markov_nats,
    network_nats,
    predictions,
    prior_nats,
    table,
)
from models.training.evaluation_commands import add_commands
from models.training.evaluation_music import Line, text_table
from models.training.sampling import fixed_windows, with_words
from models.training.shards import read_shards
from models.transformer import MusicTransformer

WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "weights" / "small"


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout holds the tables alone."""
    print(text, file=sys.stderr, flush=True)


def heldout(args: argparse.Namespace) -> None:
    """Nats per note of an untrained prior, the Markov baseline and the network on the same predictions."""
    items = list(read_shards(args.shards))
    windows = fixed_windows([i for i in items if i.info["split"] == args.split], args.length, args.per_piece)
    if not windows:
        raise UserError(
            f'{args.shards} has no pieces of the split "{args.split}"', "Make shards with scripts/prepare_data.py."
        )
    network = None if args.without_network else load_network(args.weights)
    found = predictions(windows)
    nats = {"untrained": prior_nats(found)}
    say(f"{len(windows)} windows, {int(found.is_note.sum()):,} notes; the Markov baseline ...")
    began = time.monotonic()
    train_items = [item for item in items if item.info["split"] == "train"]
    model = cached_markov(train_items, args.shards, args.markov_cache, args.length, args.per_piece)
    say(f"ready after {time.monotonic() - began:.0f} s, scoring ...")
    nats[CHAIN], nats[MIXTURE] = markov_nats(model, windows)
    del model
    if network is not None:
        told = windows if args.words is None else with_words(windows, args.words == "own")
        nats["network"] = network_nats(
            network, told, lambda done: say(f"network: {done}/{len(windows)}") if done % 100 == 0 else None
        )
    tables = {
        "sets": by_set(found, nats),
        "fields": by_field(found, nats),
        "fields_in_region": by_field(found, nats, region_only=True),
    }
    print(f"Nats per note on the {args.split} split, {len(windows)} windows of up to {args.length} steps\n")
    for title, rows in zip(("data set", "field", "field, region only"), tables.values(), strict=True):
        print(table(title, rows) + "\n")
    if network is not None:
        whole = tables["sets"][-1].nats
        for name in (CHAIN, MIXTURE):
            print(f"The network needs {1 - whole['network'] / whole[name]:.1%} fewer nats than {name}.")
    if args.json:
        settings = {
            "split": args.split,
            "length": args.length,
            "per_piece": args.per_piece,
            "windows": len(windows),
        }
        report = settings | {name: [as_json(row) for row in rows] for name, rows in tables.items()}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def constraints(args: argparse.Namespace) -> None:
    """Violations over random requests, by control, as the validator finds them in the finished candidates."""
    from random_requests import answered  # stands beside this script, and needs the assistant

    generator = TransformerGenerator(Engine(args.weights), Choice.load(args.weights))
    asked: dict[str, Callable[[Controls], bool]] = {
        "any": lambda controls: True,
        "key": lambda controls: controls.key is not None,
        "chords": lambda controls: controls.follow_chords,
        "range": lambda controls: controls.pitch_range is not None,
        "density": lambda controls: controls.density is not None,
        "polyphony": lambda controls: controls.max_polyphony is not None,
    }
    figures = {name: dict.fromkeys(("requests", "candidates", "notes", "violations"), 0) for name in asked}
    for done, (request, candidates) in enumerate(answered(args.seed, args.requests, generator), start=1):
        for name, applies in asked.items():
            if applies(request.options.controls):
                figures[name]["requests"] += 1
                figures[name]["candidates"] += len(candidates)
                figures[name]["notes"] += sum(candidate.note_count for candidate in candidates)
                figures[name]["violations"] += sum(len(candidate.violations) for candidate in candidates)
        if done % 100 == 0:
            say(f"{done}/{args.requests} requests")
    lines = [
        Line(name, row["requests"], {column: float(value) for column, value in row.items()})
        for name, row in figures.items()
    ]
    print(f"{args.requests} random requests, seed {args.seed}\n")
    print(text_table("control", lines, digits=0))
    if args.json:
        report = {"seed": args.seed, "model_hash": generator.model_hash, "controls": figures}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def load_network(folder: Path) -> MusicTransformer:
    if not (folder / "config.json").exists():
        raise UserError(
            f"There are no weights in {folder}", "Name a folder with --weights, or use --without-network."
        )
    return load_weights(folder)


def as_json(row: Row) -> dict[str, object]:
    share = fewer(row)
    return asdict(row) | ({} if share is None else {"fewer_by": share})


def text(args: argparse.Namespace) -> None:
    """Whether sketches do what the words say; docs/text.md shows the tables."""
    from text_evaluation import run  # stands beside this script, and needs the assistant

    run(args)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("heldout", help="nats per note, by data set and by field")
    command.add_argument("shards", type=Path, metavar="SHARDS", help="token shards of scripts/prepare_data.py")
    command.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the network's weights")
    command.add_argument("--without-network", action="store_true", help="the baseline alone")
    command.add_argument("--split", default="valid")
    command.add_argument("--length", type=int, default=640, help="most steps a window has")
    command.add_argument("--per-piece", type=int, default=2, help="windows a piece")
    command.add_argument(
        "--words", choices=["own", "others"], help="tell it the piece's caption, or another piece's"
    )
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--markov-cache", type=Path, metavar="FILE", help="keep the trained baseline here")
    command.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
    command.set_defaults(run=heldout)
    add_commands(commands, WEIGHTS)
    evaluation_style.add_command(commands, WEIGHTS)
    jsb.add_command(commands)
    evaluation_ablations.add_command(commands)
    synth_evaluation.add_command(commands, say)
    hum_evaluation.add_command(commands, say)
    instrument_evaluation.add_command(commands, say)
    command = commands.add_parser("constraints", help="violations over random requests")
    command.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the network's weights")
    command.add_argument("--requests", type=int, default=300, metavar="N", help="fewer are quicker")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
    command.set_defaults(run=constraints)
    command = commands.add_parser("text", help="whether sketches do what the words say")
    command.add_argument("--limit", type=int, default=0, metavar="N", help="write only N prompts, drawn by chance")
    command.add_argument(
        "--kept", type=Path, metavar="FILE", help="keep every sketch's checks, and go on from them"
    )
    command.add_argument("--data", type=Path, metavar="DIR", help="unpacked data sets, for keys and genres")
    command.add_argument("--only", nargs="+", metavar="TABLE", help="these tables alone")
    command.add_argument("--only-kept", action="store_true", help="print from what is kept, and sketch nothing")
    command.add_argument("--write-vectors", action="store_true", help="only embed genres.toml anew, after a change")
    command.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
    command.set_defaults(run=text, threads=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    try:
        args.run(args)
    except UserError as error:
        print(f"{error.message}. {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
