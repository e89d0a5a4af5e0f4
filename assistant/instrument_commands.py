"""`descant instrument`: train, list, show, remove."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable

from assistant.audio_commands import tell
from assistant.instruments import (
    check_free,
    facts_of_instrument,
    find_instrument,
    instrument_names,
    new_instrument,
    remove_instrument,
)
from assistant.overview import clock, printable
from assistant.recordings import read_recording
from models.instruments import PROGRAM_NAMES
from models.theory import pitch_name


def run(arguments: Namespace) -> None:
    actions: dict[str, Callable[[Namespace], None]] = {
        "train": _train,
        "list": lambda _: _list(),
        "show": lambda said: print((find_instrument(said.name) / "README.md").read_text("utf-8"), end=""),
        "remove": _remove,
    }
    actions[arguments.action](arguments)


def _list() -> None:
    names = instrument_names()
    if not names:
        print("there is no instrument yet; `descant instrument train` makes one")
    for name in names:
        facts = facts_of_instrument(name)
        print(f"{name:20} {facts['notes']:4} notes   {facts['distance']:.1f} dB from notes it has not heard")


def _remove(arguments: Namespace) -> None:
    remove_instrument(arguments.name)
    print(f"the instrument {arguments.name} is gone")


def _train(arguments: Namespace) -> None:
    from assistant.sound import bank
    from models.synth.instruments import CARD_FILE, MOST_NOTES, Example, collect, save, train

    check_free(arguments.name, arguments.force)
    began = time.monotonic()
    # What is learned from the notes takes seconds; finding and analysing them takes the rest.
    until = began + 60 * arguments.minutes * 0.8
    synth, seconds = bank(), 0.0
    examples: list[Example] = []
    left_out: list[str] = []
    for path in arguments.recordings:
        if time.monotonic() > until or len(examples) >= MOST_NOTES:
            left_out.append(path.name)
            continue
        recording = read_recording(path)
        if not arguments.json:
            tell(recording)
        found: list[Example] = collect(recording.samples, lambda: time.monotonic() > until)
        examples += found[: MOST_NOTES - len(examples)]
        seconds += recording.seconds
        if not arguments.json:
            print(f"  {printable(path.name)}: {len(found)} clear notes in {clock(recording.seconds)}")
    trained = train(synth, examples, arguments.name)
    with new_instrument(arguments.name, arguments.force) as folder:
        about: dict[str, object] = {
            "recordings": len(arguments.recordings) - len(left_out),
            "recorded_seconds": round(seconds, 1),
            "training_seconds": round(time.monotonic() - began, 1),
        }
        facts = save(trained, synth, folder, about)
        (folder / CARD_FILE).write_text(card(facts), encoding="utf-8")
    if arguments.json:
        print(json.dumps({**facts, "left_out": left_out}, indent=1))
        return
    for name in left_out:
        print(f"  {printable(name)} was left out: there was no more time, or there were notes enough")
    print(verdict(facts))
    print(f'use it with render --instrument "1={arguments.name}" or timbre --to "{arguments.name}"')


def verdict(facts: dict[str, object]) -> str:
    """What came out, in a sentence or two."""
    distance, before = facts["held_out_log_mel_db"], facts["nearest_program_log_mel_db"]
    text = f"{distance:.1f} dB from notes of yours that it has not heard; "
    text += f"the nearest program, {_program(facts)}, lies {before:.1f} dB away"
    if isinstance(distance, float) and distance > 4:
        text += "\nthat is not near: the notes may differ much among themselves, or lie in noise or reverberation"
    return text


def _program(facts: dict[str, object]) -> str:
    program = facts["program"]
    assert isinstance(program, int)
    return PROGRAM_NAMES[program]


def card(facts: dict[str, object]) -> str:
    """The README of an instrument."""
    pitches = facts["pitches"]
    assert isinstance(pitches, list)
    low, high = (pitch_name(pitch) for pitch in pitches)
    return f"""# {facts["name"]}

An instrument for Descant's synth, learned from {facts["notes"]} notes ({facts["seconds"]} s) in
{facts["recordings"]} recordings, from {low} to {high}, in {facts["training_seconds"]} s.
It begins with the program {_program(facts)}, and fits the weights {str(facts["base"])[:12]} only.

| mean difference in dB over 96 mel bands | median |
|---|---|
| every fifth note, played by the instrument as learned without them | {facts["held_out_log_mel_db"]} |
| the same notes, played by the program it begins with | {facts["nearest_program_log_mel_db"]} |

Beyond {low} and {high} it sounds more and more like that program.
"""
