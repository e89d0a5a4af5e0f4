"""The sub-commands of scripts/evaluate.py that let the network write: tasks, statistics, copying.

Each holds what it writes on held-out pieces against what their composers wrote there, against the Markov
baseline, and, for tasks, against copying the bar before.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.baselines import MarkovGenerator, copied_rows
from models.choice import MARKS, Choice
from models.drawing import FROM_NOTHING, Sampling
from models.engine import Engine
from models.errors import UserError
from models.generators import DRAFTS, Rows, Task, TransformerGenerator
from models.known_bars import window_hashes
from models.training import choosing
from models.training.checkpoint import load_weights
from models.training.choosing import ANSWERS
from models.training.evaluation import cached_markov
from models.training.evaluation_copying import share_known, training_windows
from models.training.evaluation_memory import Recall, first_bar_ms, measure, places
from models.training.evaluation_music import (
    SCORES,
    STATISTICS,
    TASKS,
    Excerpt,
    Line,
    Writer,
    answered,
    continuations,
    count_by_set,
    frames,
    mean_line,
    scores,
    statistics,
    text_table,
    writer,
)
from models.training.sampling import as_int32
from models.training.shards import Item, read_shards

COMPOSER, NETWORK, MARKOV, COPY = "composer", "network", "Markov", "bar before"
TIMED = 12  # pieces
MARKOV_LENGTH, MARKOV_PER_PIECE = 640, 2  # as `heldout` trains it, so that one cache serves both


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout holds the tables alone."""
    print(text, file=sys.stderr, flush=True)


def add_commands(commands: Any, weights: Path) -> None:
    """Add the sub-commands to argparse's `commands`. weights: the folder that is measured by default."""

    def add(
        name: str, run: Callable[[argparse.Namespace], None], help: str, pieces: int
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help)
        command.add_argument("shards", type=Path, metavar="SHARDS", help="token shards of scripts/prepare_data.py")
        command.add_argument("--weights", type=Path, default=weights, help="folder of the network's weights")
        command.add_argument("--split", default="valid")
        command.add_argument("--pieces", type=int, default=pieces, metavar="N", help="fewer are quicker")
        command.add_argument("--candidates", type=int, default=4, help="answers of the network a piece")
        command.add_argument("--temperature", type=float, help="as the assistant draws where it is not given")
        command.add_argument("--top-p", type=float, help="the same")
        command.add_argument("--pitch-factor", type=float, help="what the temperature is multiplied by for pitches")
        command.add_argument("--one-draft", action="store_true", help="keep the first draft instead of the best")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--without-markov", action="store_true", help="leave the baseline out")
        command.add_argument("--markov-cache", type=Path, metavar="FILE", help="keep the trained baseline here")
        command.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
        command.set_defaults(run=run)
        return command

    for command in (
        add("tasks", _tasks, "continue, fill and accompany held-out pieces", 40),
        add("statistics", _statistics, "entropy, scale and groove of 16-bar pieces", 40),
    ):
        command.add_argument("--skip", type=int, default=0, metavar="N", help="not the first N excerpts")
    add("copying", _copying, "how much is found in the training set, note for note", 60)
    add("choice", _choice, "what keeping the best of several drafts changes", 120)
    add("memory", _memory, "what earlier passages are worth in pieces longer than a window", 150)


def _items(args: argparse.Namespace) -> tuple[list[Item], list[Item]]:
    """The held-out items and those of the training split."""
    items = list(read_shards(args.shards))
    held_out = [item for item in items if item.info["split"] == args.split]
    if not held_out:
        raise UserError(
            f'{args.shards} has no pieces of the split "{args.split}"', "Make shards with scripts/prepare_data.py."
        )
    return held_out, [item for item in items if item.info["split"] == "train"]


def _sampling(args: argparse.Namespace, usual: Sampling = Sampling()) -> Sampling:
    asked = {"temperature": args.temperature, "top_p": args.top_p, "pitch_factor": args.pitch_factor}
    return usual._replace(**{name: value for name, value in asked.items() if value is not None})


def _writers(args: argparse.Namespace, training: Sequence[Item]) -> tuple[dict[str, Writer], dict[str, Writer]]:
    """The network and, unless it is left out, the Markov baseline, which answers once: where there is music, and
    where there is none. The baseline strays more than composers already and is drawn alike in both."""
    choice = None if args.one_draft else Choice.load(args.weights)
    generator = TransformerGenerator(Engine(args.weights), choice)
    found, alone = (
        {NETWORK: writer(generator, args.candidates, _sampling(args, usual), args.seed)}
        for usual in (Sampling(), FROM_NOTHING)
    )
    if not args.without_markov:
        say("the Markov baseline ...")
        model = cached_markov(training, args.shards, args.markov_cache, MARKOV_LENGTH, MARKOV_PER_PIECE)
        found[MARKOV] = alone[MARKOV] = writer(MarkovGenerator(model), 1, _sampling(args), args.seed)
    return found, alone


def _report(args: argparse.Namespace, title: str, tables: dict[str, list[Line]], more: dict[str, object]) -> None:
    print(title + "\n")
    for name, lines in tables.items():
        print(text_table(name, lines) + "\n")
    if args.json:
        settings = {
            name: getattr(args, name)
            for name in ("split", "pieces", "candidates", "temperature", "top_p", "pitch_factor", "seed")
        }
        settings["model_hash"] = Engine(args.weights).model_hash
        rows = {
            name: [{"name": line.name, "count": line.count, **line.figures} for line in lines]
            for name, lines in tables.items()
        }
        text = json.dumps(settings | more | {"tables": rows}, indent=1).replace("NaN", "null")
        args.json.write_text(text + "\n", encoding="utf-8")


def _each(excerpts: Sequence[Excerpt], write: Writer, name: str) -> list[list[Rows]]:
    answers = []
    for done, excerpt in enumerate(excerpts, start=1):
        answers.append(write(excerpt.task))
        if done % 10 == 0:
            say(f"{name}: {done}/{len(excerpts)}")
    return answers


def _tasks(args: argparse.Namespace) -> None:
    held_out, training = _items(args)
    writers, _ = _writers(args, training)

    def copy(task: Task) -> list[Rows]:
        return [copied_rows(task)]

    tables: dict[str, list[Line]] = {}
    sets: dict[str, object] = {}
    for task, choose in TASKS.items():
        excerpts = choose(held_out, args.skip + args.pieces)[args.skip :]
        sets[task] = count_by_set(excerpts)
        say(f"{task}: {len(excerpts)} excerpts: {sets[task]}")
        lines = [mean_line(COMPOSER, [scores(excerpt, excerpt.truth) for excerpt in excerpts])]
        for name, write in {**writers, COPY: copy}.items():
            answers = []
            for done, excerpt in enumerate(excerpts, start=1):
                answers.append(answered(excerpt, write))
                if done % 10 == 0:
                    say(f"{task}, {name}: {done}/{len(excerpts)}")
            lines.append(mean_line(name, answers))
        tables[task] = lines
    assert all(list(lines[0].figures) == list(SCORES) for lines in tables.values())
    title = f"Written on the {args.split} split, {args.pieces} excerpts a task, {args.candidates} answers each"
    if args.skip:
        title += f", not the first {args.skip}"
    _report(args, title, tables, {"sets": sets, "skip": args.skip})


def _statistics(args: argparse.Namespace) -> None:
    held_out, training = _items(args)
    excerpts = frames(held_out, args.skip + args.pieces)[args.skip :]
    found = {COMPOSER: [statistics(excerpt.task.piece, excerpt.truth) for excerpt in excerpts]}
    for name, write in _writers(args, training)[1].items():
        found[name] = [
            mean_line("", [statistics(e.task.piece, np.array(rows, dtype=np.int32)) for rows in answers]).figures
            for e, answers in zip(excerpts, _each(excerpts, write, name), strict=True)
        ]
    means = {name: mean_line(name, values) for name, values in found.items()}
    truth = means[COMPOSER].figures
    away = [
        Line(name, line.count, {column: abs(line.figures[column] - truth[column]) for column in STATISTICS})
        for name, line in means.items()
        if name != COMPOSER
    ]
    tables = {"mean": list(means.values()), "away from the composers": away}
    title = f"{len(excerpts)} pieces of 16 bars, written from instruments, meter and tempo alone"
    if args.skip:
        title += f", not the first {args.skip}"
    _report(args, title, tables, {"sets": count_by_set(excerpts), "skip": args.skip})


def _choice(args: argparse.Namespace) -> None:
    held_out, _ = _items(args)
    choice = Choice.load(args.weights)
    if choice is None:
        raise UserError(f"{args.weights} has no table to choose by", "Make one with scripts/fit_choice.py.")
    write = writer(TransformerGenerator(Engine(args.weights)), ANSWERS, _sampling(args), args.seed)
    found = choosing.groups(choosing.places(held_out, args.pieces), write, say)
    lines = choosing.marks_table(choice, found, DRAFTS)
    turned = [Line(mark, lines[0].count, {line.name: line.figures[mark] for line in lines}) for mark in MARKS]
    shares = choosing.recognised(choice, found)
    title = f"Marks of what is written where tracks go on, {lines[0].count} places of the {args.split} split"
    _report(args, title, {"mark": turned}, {"recognised": shares})
    for name, share in shares.items():
        print(f"{name}: the composer's notes are preferred to a draft in {share:.1%} of comparisons")


def _memory(args: argparse.Namespace) -> None:
    held_out, _ = _items(args)
    model, generator = load_weights(args.weights), TransformerGenerator(Engine(args.weights))
    found: list[Recall] = []
    times: list[tuple[float, float]] = []
    for done, (item, piece, stretch) in enumerate(places(held_out, args.pieces), start=1):
        found.append(measure(model, item, piece, stretch))
        if len(times) < TIMED:
            times.append(first_bar_ms(generator, piece, stretch))
        if done % 10 == 0:
            say(f"{done}/{args.pieces}")
    if not found:
        raise UserError(
            f"{args.shards} has no held-out piece longer than a window", "Make shards of longer pieces."
        )
    used = [place for place in found if place.used]
    groups = {"all places": found, "where a passage was found": used}
    groups |= {name: [p for p in used if p.data_set == name] for name in sorted({p.data_set for p in used})}
    lines = [
        Line(
            name,
            len(group),
            {
                "places": float(len(group)),
                "nearest bars": sum(p.near for p in group) / sum(p.notes for p in group),
                "and a passage": sum(p.recalled for p in group) / sum(p.notes for p in group),
                "better": sum(p.recalled < p.near for p in group) / len(group),
            },
        )
        for name, group in groups.items()
        if group
    ]
    short, long = np.median(np.array(times), axis=0).tolist() if times else (float("nan"), float("nan"))
    title = "Nats per note of the last 4 bars of pieces longer than a window"
    _report(args, title, {"places": lines}, {"first_bar_ms": {"short": short, "long": long}})
    print(f"until the first bar: {short:.0f} ms of processor time after 24 bars, {long:.0f} ms with all of them")


def _copying(args: argparse.Namespace) -> None:
    held_out, training = _items(args)
    say("the windows of the training set ...")
    known = training_windows(as_int32(item.piece) for item in training)
    say(f"{len(known):,} different ones")
    going_on, alone = _writers(args, training)
    tables: dict[str, list[Line]] = {}
    for kind, excerpts, writers in (
        ("continued by 8 bars", continuations(held_out, args.pieces, 8), going_on),
        ("16 bars from nothing", frames(held_out, args.pieces // 3), alone),
    ):
        windows = {COMPOSER: [window_hashes(e.task.piece, e.truth) for e in excerpts]}
        for name, write in writers.items():
            windows[name] = [
                window_hashes(e.task.piece, np.array(rows, dtype=np.int32).reshape(-1, 7))
                for e, answers in zip(excerpts, _each(excerpts, write, f"{kind}, {name}"), strict=True)
                for rows in answers
            ]
        tables[kind] = [
            Line(
                name,
                len(parts),
                {
                    "found": share_known(np.concatenate(parts), known),
                    "windows": float(sum(map(len, parts))),
                },
            )
            for name, parts in windows.items()
            if parts
        ]
    title = f"Two-bar windows of one track found in the training set in any key; {len(known):,} are known there"
    _report(args, title, tables, {"training_windows": len(known)})
