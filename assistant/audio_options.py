"""The flags and commands that begin with a recording, for assistant/options.py: hum, timbre and instrument."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from assistant.options import CommandParser, Formatter, decimal
from models.errors import ControlError, UserError
from models.instruments import parse_instrument
from models.theory import parse_key

MOST_MINUTES = 60.0
TEMPOS = (20.0, 400.0)


def checked_name(name: str) -> str:
    """An instrument's name as it can stand for a folder. Raises UserError."""
    if not re.fullmatch(r"[\w][\w .+-]{0,59}", name) or name.endswith((" ", ".")) or name.isdecimal():
        raise UserError(f'"{name}" cannot be the name of an instrument', "Use letters, digits, spaces and - only.")
    return name


def parse_choice(text: str) -> tuple[str, str]:
    """A track and the instrument that plays it, from TRACK=NAME. Raises UserError."""
    track, sign, name = text.rpartition("=")
    if not sign or not track.strip():
        hint = 'Write the track\'s number or name, then the instrument: 1=mine or "Lead=my flute".'
        raise UserError(f'--instrument cannot be "{text}"', hint)
    return track.strip(), checked_name(name.strip())


def add_instrument_flag(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--instrument",
        type=parse_choice,
        action="append",
        default=[],
        metavar="TRACK=NAME",
        help="play a track, by its number or name, with an instrument of your own; may be said more than once. "
        "`descant instrument` makes them",
    )


def add_hum(parser: CommandParser) -> None:
    """`descant hum`."""
    from models.instruments import PROGRAM_NAMES

    parser.usage = "descant hum IN.wav -o OUT.mid [--tempo BPM] [--key KEY] [--grid GRID]"
    parser.description = """\
Writes down what you hum, sing, whistle or play on one instrument, one note at a
time. OUT.mid has your own timing and loudness; OUT-quantised.mid has the same
notes on a grid, in a key."""
    parser.epilog = """\
example:
  descant hum idea.wav -o idea.mid --key "D minor"
  descant continue idea.mid -o next.mid"""
    _recording(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.mid", help="the file to write")
    parser.add_argument(
        "--tempo",
        type=decimal("--tempo", *TEMPOS),
        metavar="BPM",
        help="the tempo it was sung in, with a bar beginning where the recording does (default: estimated, with a "
        "bar beginning at the first note)",
    )
    parser.add_argument(
        "--key",
        type=parse_key,
        metavar="KEY",
        help='move quantised notes to this scale, such as "D minor" (default: estimated, and no note is moved)',
    )
    parser.add_argument(
        "--grid",
        type=_grid,
        default=120,
        metavar="GRID",
        help="1/4, 1/8, 1/8t, 1/16, 1/16t or 1/32 (default: 1/16)",
    )
    parser.add_argument(
        "--program",
        type=_program,
        default=parse_instrument(PROGRAM_NAMES[0]).program,
        metavar="NAME",
        help='the instrument that is to play it, such as "violin" (default: piano)',
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")
    parser.add_argument("--json", action="store_true", help="describe the result as one JSON object")


def add_timbre(parser: CommandParser) -> None:
    """`descant timbre`."""
    parser.usage = "descant timbre IN.wav --to INSTRUMENT -o OUT.wav"
    parser.description = """\
Plays a recorded line with another instrument: every slide, vibrato and swell of
what you sang or whistled stays, and the sound is the instrument's."""
    parser.epilog = """\
example:
  descant timbre whistle.wav --to strings -o strings.wav"""
    _recording(parser)
    parser.add_argument(
        "--to",
        required=True,
        metavar="INSTRUMENT",
        help="a General MIDI instrument, its program number 1 to 128, or an instrument of your own",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.wav", help="the file to write, .wav or .flac"
    )
    parser.add_argument(
        "--octave",
        type=_octave,
        default=0,
        metavar="N",
        help="play it so many octaves higher, or lower with a minus (default: 0)",
    )
    parser.add_argument(
        "--loudness", type=decimal("--loudness", -60.0, -6.0), default=-16.0, metavar="LUFS", help="default: -16"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the sound file if it exists")


def add_instrument(parser: CommandParser) -> None:
    """`descant instrument ACTION`."""
    parser.usage = "descant instrument ACTION [options]"
    parser.description = """\
Teaches the synth the sound of your own instrument, from recordings of it that
hold one note at a time. A minute is enough. Nothing is sent anywhere."""
    parser.epilog = """\
example:
  descant instrument train "my flute" flute1.wav flute2.wav
  descant render song.mid -o song.wav --instrument "Lead=my flute\""""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)

    def action(name: str, purpose: str, usage: str, description: str) -> CommandParser:
        made: CommandParser = actions.add_parser(name, help=purpose, allow_abbrev=False, formatter_class=Formatter)
        made.usage, made.description = usage, description
        return made

    train = action(
        "train",
        "make an instrument from recordings",
        "descant instrument train NAME RECORDING... [--minutes M]",
        """\
Finds the notes in the recordings, learns how the instrument sounds high and low,
soft and loud, and measures itself on notes that were kept aside.""",
    )
    train.add_argument("name", metavar="NAME", type=checked_name, help="what to call the instrument")
    train.add_argument("recordings", metavar="RECORDING", nargs="+", type=Path, help="sound files")
    train.add_argument(
        "--minutes",
        type=decimal("--minutes", 0.0, MOST_MINUTES, above=True),
        default=5.0,
        metavar="M",
        help="how long it may take at most (default: 5)",
    )
    train.add_argument("--force", action="store_true", help="replace an instrument of this name")
    train.add_argument("--json", action="store_true", help="print what came out as one JSON object")
    action("list", "name the instruments there are", "descant instrument list", "Names your instruments.")
    for name, purpose in {"show": "tell what an instrument is", "remove": "delete an instrument"}.items():
        one = action(name, purpose, f"descant instrument {name} NAME", purpose[:1].upper() + purpose[1:] + ".")
        one.add_argument("name", metavar="NAME", type=checked_name)


def _recording(parser: CommandParser) -> None:
    parser.add_argument("input", type=Path, metavar="IN.wav", help="a WAV, FLAC, OGG, MP3 or AIFF file")


def _grid(text: str) -> int:
    from models.synth.hum import parse_grid

    return parse_grid(text)


def _program(text: str) -> int:
    return parse_instrument(text).program


def _octave(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-4]", text):
        raise ControlError(f'--octave cannot be "{text}"', "Write a whole number from -4 to 4.")
    return int(text)
