"""The flags of `descant live`."""

from __future__ import annotations

import re
from typing import Any

from assistant.live.live_settings import APIS, MOST_ANSWER_BARS, POSITION_TICKS, SYNCS, VERBS, LiveSettings, Trigger
from assistant.options import CommandParser, decimal, density, whole, words
from assistant.style_options import add_style_flag
from models.errors import ControlError
from models.instruments import Instrument, parse_instrument
from models.theory import parse_key

OSC_PORT = 9010


def add_live(parser: CommandParser) -> None:
    parser.usage = "descant live [--continue BARS | --answer BARS | --accompany LIST] [options]"
    parser.description = """\
Plays along through MIDI ports of its own, "Descant In" and "Descant Out", in
time with the DAW's MIDI clock or with a clock of its own. It listens all the
time; what was played in the last minutes is never lost. Ctrl-C ends it.

While it runs, Enter does what was asked for once more (continue what was just
played, or begin to answer or to play along), "stop" and "panic" do what they
say, and "quit" ends it."""
    parser.epilog = """\
example:
  descant live --accompany "bass, drums" --bpm 96
  descant live --answer 4 --meter 7/8 --trigger "cc 64=answer\""""
    what = parser.add_argument_group("what it does").add_mutually_exclusive_group()
    what.add_argument(
        "--continue",
        dest="continue_bars",
        type=whole("--continue", 1, MOST_ANSWER_BARS),
        metavar="BARS",
        help="at Enter or a trigger, go on for so many bars from what was just played (default: 4)",
    )
    what.add_argument(
        "--answer",
        type=whole("--answer", 1, MOST_ANSWER_BARS),
        metavar="BARS",
        help="call and response: after so many bars of yours as many of its own, again and again",
    )
    what.add_argument(
        "--accompany",
        type=_instruments,
        metavar="LIST",
        help='play along, bar by bar and a bar ahead, with instruments such as "bass, drums"',
    )
    what.add_argument("--list", action="store_true", help="name the MIDI ports there are, and stop")
    parser.add_argument(
        "--phrase",
        action="store_true",
        help="with --answer: answer when you pause, not after a number of bars",
    )

    notes = parser.add_argument_group("what it plays")
    notes.add_argument("--key", type=parse_key, metavar="KEY", help='only notes of this scale, such as "D minor"')
    notes.add_argument("--density", type=density, metavar="NOTES", help='notes a bar and part: "8" or "2-8"')
    notes.add_argument(
        "--temperature",
        type=decimal("--temperature", 0.0, 2.0),
        metavar="T",
        help="lower is safer, higher more daring (default: 0.95)",
    )
    add_style_flag(notes)

    time = parser.add_argument_group("time")
    time.add_argument(
        "--sync",
        choices=SYNCS,
        default="auto",
        help="who leads: the DAW's clock, its own, Ableton Link; auto takes the clock when it comes (default)",
    )
    time.add_argument(
        "--bpm", type=decimal("--bpm", 20.0, 400.0), default=120.0, help="tempo of its own clock (default: 120)"
    )
    time.add_argument(
        "--meter", type=_meter, default=(4, 4), help="such as 3/4 or 7/8; MIDI clock carries none (default: 4/4)"
    )
    time.add_argument("--quantum", choices=("bar", "beat"), default="bar", help="where it may begin (default: bar)")
    time.add_argument(
        "--offset", type=_offset, default=0.0, metavar="MS", help="send so many milliseconds earlier; -5 is later"
    )
    time.add_argument(
        "--count-in", type=whole("--count-in", 0, 8), default=0, metavar="BARS", help="clicks before its own clock"
    )
    time.add_argument(
        "--song-position",
        choices=tuple(POSITION_TICKS),
        default="sixteenths",
        help="what the DAW counts when it locates; clocks for Ardour 7 (default: sixteenths)",
    )

    ports = parser.add_argument_group("ports and triggers")
    ports.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME",
        help="listen to this port too; part of a name will do",
    )
    ports.add_argument("--output", action="append", default=[], metavar="NAME", help="play to this port too")
    ports.add_argument("--api", choices=APIS, default="auto", help="MIDI system (default: auto)")
    ports.add_argument(
        "--trigger",
        action="append",
        default=[],
        type=_trigger,
        metavar="WHAT=VERB",
        help=f'a key or pedal that does something: "note 36=answer", "cc 64=continue"; verbs: {", ".join(VERBS)}',
    )
    ports.add_argument(
        "--osc",
        type=whole("--osc", 1024, 65534),
        nargs="?",
        const=OSC_PORT,
        metavar="PORT",
        help=f"take orders by OSC on this computer at this port ({OSC_PORT}), and report to the next one",
    )


def settings_of(arguments: Any) -> LiveSettings:
    """The settings that the flags ask for."""
    return LiveSettings(
        inputs=tuple(arguments.input),
        outputs=tuple(arguments.output),
        api=arguments.api,
        sync=arguments.sync,
        bpm=arguments.bpm,
        meter=arguments.meter,
        quantum=arguments.quantum,
        offset_ms=arguments.offset,
        count_in=arguments.count_in,
        song_position=arguments.song_position,
        triggers=tuple(arguments.trigger),
    )


def _instruments(text: str) -> list[Instrument]:
    return [parse_instrument(word) for word in words(re.sub(r"\s+and\s+|[+&;]", ",", text))]


def _meter(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,2})\s*/\s*(\d{1,2})\s*", text, re.ASCII)
    if match is None:
        raise ControlError(f'--meter cannot be "{text}"', "Write one like 4/4 or 7/8.")
    return int(match[1]), int(match[2])


def _offset(text: str) -> float:
    match = re.fullmatch(r"\s*[+-]?\d{1,3}(\.\d{1,3})?\s*", text, re.ASCII)
    if match is None:
        raise ControlError(f'--offset cannot be "{text}"', "Write milliseconds from -500 to 500.")
    return float(text)


def _trigger(text: str) -> Trigger:
    """A trigger from words like "note 36=answer" or "cc 64 channel 2=stop"."""
    pattern = r"\s*(note|cc)\s+(\d{1,3})(?:\s+channel\s+(\d{1,2}))?\s*=\s*(\w+)\s*"
    match = re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE)
    if match is None:
        raise ControlError(f'--trigger cannot be "{text}"', 'Write "note 36=answer" or "cc 64=continue".')
    return Trigger(match[1].lower(), int(match[2]), match[4].lower(), int(match[3]) - 1 if match[3] else None)
