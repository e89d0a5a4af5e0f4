"""`descant style`: train, list, show, compare, export, import, remove."""

from __future__ import annotations

import json
import shutil
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.overview import clock, counted, printable
from assistant.styles import (
    check_free,
    describe_styles,
    export_style,
    find_style,
    import_style,
    making_folder,
    new_style,
    remove_style,
    style_names,
)
from models.adapters import read_adapter
from models.errors import UserError

if TYPE_CHECKING:
    from models.training.style import Figures, Intake, Parts, Step

MOST_SKIPPED = 8  # names shown


def run(arguments: Namespace) -> None:
    actions: dict[str, Callable[[Namespace], None]] = {
        "train": _train,
        "list": lambda _: _list(),
        "show": lambda said: print((find_style(said.name) / "README.md").read_text("utf-8"), end=""),
        "compare": lambda said: print("\n".join(describe_styles(said.names))),
        "export": _export,
        "import": _import,
        "remove": _remove,
    }
    actions[arguments.action](arguments)


def _list() -> None:
    names = style_names()
    print("\n".join(describe_styles(names)) if names else "there is no style yet; `descant style train` makes one")


def _export(arguments: Namespace) -> None:
    export_style(arguments.name, arguments.output, arguments.force)
    print(f"the style {arguments.name} is in {arguments.output}")


def _import(arguments: Namespace) -> None:
    name = import_style(arguments.file, arguments.name, arguments.force)
    print(f'use it with --style "{name}"')


def _remove(arguments: Namespace) -> None:
    remove_style(arguments.name)
    print(f"the style {arguments.name} is gone")


# --- Training -----------------------------------------------------------------------------------------


def _train(arguments: Namespace) -> None:
    try:
        import torch  # noqa: F401
        import zstandard  # noqa: F401
    except ImportError as error:
        raise UserError(
            "Training needs PyTorch, which is not installed",
            'In a clone, `python3 scripts/run.py style train ...` installs it; else pip install "descant[style]".',
        ) from error
    from assistant.pipeline import SAMPLE, weights_folder
    from models.training.lora import save_adapter
    from models.training.shards import read_shards
    from models.training.style import about, for_notes, read_folder, split, train_style

    check_free(arguments.name, arguments.force)
    intake = read_folder(arguments.folder)
    say = _quietly if arguments.json else print
    _report(intake, say)
    parts = split(intake)
    say(_parts_line(parts))
    start = read_adapter(find_style(arguments.start)) if arguments.start else None
    weights = weights_folder()
    base = json.loads((weights / "config.json").read_text("utf-8"))["sha256"]
    making = making_folder(arguments.name)
    config = replace(for_notes(intake.notes), threads=arguments.threads)
    _same_training(making, intake, base, arguments)
    seconds = 60 * arguments.minutes
    began = time.monotonic()

    def show(step: Step) -> None:
        spent = time.monotonic() - began
        left = max(0.0, spent / max(step.share, 1e-6) - spent)
        text = f"step {step.step}: {step.nats:.3f} nats a note on pieces kept aside, best {step.best:.3f}"
        print(f"{text}, at most {clock(left)} left", file=sys.stderr, flush=True)

    sample = list(read_shards(SAMPLE))
    trained = train_style(weights, parts, sample, making / "run", config, seconds, show, start)
    described = about(arguments.name, base, intake, parts, config, trained)
    described["minutes"] = round((time.monotonic() - began) / 60, 1)
    with new_style(arguments.name, arguments.force) as folder:
        save_adapter(folder, trained.tensors, trained.memory, described)
        (folder / "README.md").write_text(card(described), encoding="utf-8")
    shutil.rmtree(making, ignore_errors=True)
    if arguments.json:
        print(json.dumps(described, indent=1))
    else:
        print(verdict(trained.figures))
        print(f"use it with --style {arguments.name}, or --style {arguments.name}:0.5 for half of it")


def _quietly(_: str) -> None:
    pass


def _same_training(making: Path, intake: Intake, base: str, arguments: Namespace) -> None:
    """Go on only with a training of the same pieces for the same weights; another one begins anew."""
    from models.training.style import fingerprint

    told = {
        "base": base,
        "pieces": sorted(fingerprint(item.piece) for item in intake.items),
        "from": arguments.start,
    }
    note = making / "training.json"
    if not note.exists() or json.loads(note.read_text("utf-8")) != told:
        shutil.rmtree(making / "run", ignore_errors=True)
        note.write_text(json.dumps(told), encoding="utf-8")


def _report(intake: Intake, say: Callable[[str], None]) -> None:
    say(f"{counted(len(intake.items), 'piece')}, {intake.notes:,} notes, {clock(intake.seconds)} of music")
    if intake.keys:
        say("keys: " + ", ".join(f"{name} ({count})" for name, count in list(intake.keys.items())[:6]))
    for name, reason in intake.skipped[:MOST_SKIPPED]:
        say(f"  left out {printable(name)}: {reason}")
    if len(intake.skipped) > MOST_SKIPPED:
        reasons = Counter("the same as another" if r.startswith("the same") else r for _, r in intake.skipped)
        say(f"  left out in all: {', '.join(f'{count} ({reason})' for reason, count in reasons.most_common(4))}")


def _parts_line(parts: Parts) -> str:
    aside = f"{len(parts.tuning)} kept aside to know when to stop, {len(parts.held_out)} to measure on"
    return (
        f"learning from {counted(len(parts.learning), 'piece')}; {aside} (whole pieces, by a hash of their notes)"
    )


def verdict(figures: Figures) -> str:
    """What came out, in a sentence or two."""
    better = f"your own pieces, which it has not seen, became {figures.gain:.1%} likelier"
    text = f"{better} ({figures.own_before:.3f} to {figures.own_after:.3f} nats a note), "
    text += f"other music {abs(figures.forgotten):.1%} {'less likely' if figures.forgotten > 0 else 'likelier'}"
    if figures.gain < 0.02:
        text += "\nthat is hardly anything: the pieces may be too few, too different, or near the network already"
    return text


def card(described: dict[str, object]) -> str:
    """The README of a style."""
    figures = described["nats_per_note"]
    held, curve = described["held_out"], described["curve"]
    assert isinstance(figures, dict) and isinstance(held, list) and isinstance(curve, list)
    gain = 1 - figures["own_after"] / figures["own_before"]
    forgotten = figures["base_after"] / figures["base_before"] - 1
    points = "\n".join(f"| {step} | {value:.3f} |" for step, value in curve)
    size = f"{described['pieces']} pieces with {described['notes']:,} notes"
    effort = f"{described['steps']} steps in {described['minutes']} minutes"
    own, other = (f"{figures[f'{kind}_before']:.3f} | {figures[f'{kind}_after']:.3f}" for kind in ("own", "base"))
    return f"""# {described["name"]}

A style for Descant: an adapter of rank {described["rank"]}, trained for {effort} on {size}.
It fits the weights {str(described["base"])[:12]} only.

| nats per note | before | after | |
|---|---|---|---|
| the musician's own pieces that were kept aside | {own} | {gain:.1%} fewer |
| other music | {other} | {forgotten:+.1%} |

Kept aside and measured on, whole pieces: {", ".join(printable(str(name)) for name in held)}.

| step | nats per note on the pieces that say when to stop |
|---|---|
{points}
"""
