"""`descant style`: train, list, show, compare, export, import, remove."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from typing import Any

from assistant.overview import clock, counted, printable
from assistant.style_card import verdict
from assistant.style_training import Event, StyleTask, make_style
from assistant.styles import (
    describe_styles,
    export_style,
    find_style,
    import_style,
    remove_style,
    source_of,
    style_names,
)

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
    again = arguments.folder is None
    task = StyleTask(
        arguments.name,
        source_of(arguments.name) if again else str(arguments.folder.absolute()),
        arguments.minutes,
        arguments.start,
        arguments.threads,
        arguments.force or again,
    )
    say = _quietly if arguments.json else print

    def show(event: Event) -> None:
        if "intake" in event:
            _report(event["intake"], say)
        elif "own" in event:
            far = f"{event['own']:.3f} nats a note on your pieces, {event['other']:.3f} on other music"
            say(f"without a style: {far}")
        elif "step" in event:
            text = f"step {event['step']}: {event['nats']:.3f} nats a note on pieces kept aside"
            left = f"at most {clock(event['seconds_left'])} left"
            print(f"{text}, best {event['best']:.3f}, {left}", file=sys.stderr, flush=True)
        elif event.get("proving") == 0:
            print("measuring what it is worth", file=sys.stderr, flush=True)

    described = make_style(task, show)
    if arguments.json:
        print(json.dumps(described, indent=1))
    else:
        print(verdict(described))
        print(f"use it with --style {arguments.name}, or --style {arguments.name}:0.5 for half of it")


def _quietly(_: str) -> None:
    pass


def _report(intake: dict[str, Any], say: Callable[[str], None]) -> None:
    """What was found, once; then how it was shared out."""
    if "learning" in intake:
        learning, tuning, held = (len(intake[name]) for name in ("learning", "tuning", "held_out"))
        aside = f"{tuning} kept aside to know when to stop, {held} to measure on"
        say(f"learning from {counted(learning, 'piece')}; {aside} (whole pieces, by a hash of their notes)")
        return
    say(f"{counted(intake['pieces'], 'piece')}, {intake['notes']:,} notes, {clock(intake['seconds'])} of music")
    if intake["keys"]:
        say("keys: " + ", ".join(f"{name} ({count})" for name, count in list(intake["keys"].items())[:6]))
    if intake["roles"]:
        say("tracks: " + ", ".join(f"{name} ({count})" for name, count in list(intake["roles"].items())[:6]))
        slowest, middle, fastest = (round(tempo) for tempo in intake["tempos"])
        say(f"tempos: {slowest} to {fastest}, the middle one {middle} quarter notes a minute")
    skipped = intake["skipped"]
    for left_out in skipped[:MOST_SKIPPED]:
        say(f"  left out {printable(left_out['name'])}: {left_out['reason']}")
    if intake["skipped_in_all"] > MOST_SKIPPED:
        reasons = Counter(
            "the same as another" if item["reason"].startswith("the same") else item["reason"] for item in skipped
        )
        said = ", ".join(f"{count} ({reason})" for reason, count in reasons.most_common(4))
        say(f"  left out in all {intake['skipped_in_all']}: {said}")
