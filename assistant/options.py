"""The command line as a musician meets it: every command and flag, its help, and the value it stands for.

A flag's text becomes its value while the line is read; whatever it cannot mean is a UserError then and
there, before a file is opened.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from models.errors import ControlError, UserError
from models.instruments import Instrument, parse_instrument
from models.theory import parse_key, parse_pitch_range, parse_progression

MOST_BARS = 256
MOST_CANDIDATES = 64
MOST_TEMPERATURE = 2.0
MOST_DENSITY = 1000
MOST_VOICES = 128
SEEDS = 1 << 32

COMMANDS = {
    "continue": "write the next bars of a piece",
    "fill": "write chosen bars of chosen tracks anew",
    "accompany": "add new tracks under what is there",
    "vary": "write part of what is there anew",
    "humanise": "play your notes as a musician would",
    "drumify": "add drums that follow a part",
    "harmonise": "add chords under a melody",
    "groove": "lay the feel of a clip onto your notes",
    "interpolate": "lead from one clip to another",
    "chords": "find the chords, and how sure each is",
    "sketch": "write a new piece from words",
    "edit": "change a piece by saying how",
    "style": "learn from your own MIDI files",
    "hum": "write down what you hum, sing or whistle",
    "timbre": "play a recorded line with another instrument",
    "instrument": "teach the synth the sound of your instrument",
    "play": "hear a MIDI file",
    "render": "write a MIDI file as a sound file",
    "info": "list a file's tracks, bars, key and chords",
    "live": "play along through MIDI ports, in time with the DAW",
    "serve": "open the page, and let other programs ask for notes",
    "daw": "connect Descant with a DAW",
    "doctor": "see whether everything works, and what to mend",
    "bench": "measure how fast this computer answers",
    "history": "look back at what was asked and answered",
    "token": "say where the server's secret is kept",
    "demo": "continue a piece that comes with Descant",
}

_DESCRIPTION = """\
Descant is a MIDI co-writer. Give it a piece, and it proposes several ways to
go on, to fill bars you choose, or to add instruments, each as a MIDI file of
its own. Your notes stay as they are, and nothing leaves this computer.

Without a command it opens its page in the browser. Where there is no screen,
it continues a piece that comes with it, as a demo, and names the files."""

_EPILOG = """\
example:
  descant continue song.mid -o next.mid      writes next-1.mid to next-4.mid

`descant COMMAND --help` tells what a command can do.

Two variables of the environment are for those who work on Descant itself:
DESCANT_WEIGHTS names a folder of weights to use in place of the shipped ones,
DESCANT_DEBUG=1 shows where in the program an unexpected error happened."""


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command in `command` (None for the demo) and its flags. UserError when they make no sense.

    Exits, as argparse does, after --help.
    """
    if argv and argv[0] not in (*COMMANDS, "-h", "--help", "--version"):
        raise UserError(f'There is no command "{argv[0]}"', _command_hint(argv[0]))
    parser, commands = _build_parser()
    arguments, beyond = parser.parse_known_args(argv)
    if beyond:
        meant = commands.get(arguments.command, parser)
        raise _left_over(beyond[0], meant)
    return arguments


def _command_hint(word: str) -> str:
    if Path(word).suffix.lower() in (".mid", ".midi"):
        return f"To write its next bars: descant continue {word} -o next.mid"
    near = get_close_matches(word.lower(), COMMANDS, n=1)
    return f"Did you mean {near[0]}?" if near else f"The commands are {', '.join(COMMANDS)}."


def _left_over(word: str, parser: CommandParser) -> UserError:
    if not word.startswith("-"):
        return UserError(f'"{word}" is one word too many', "Put names that contain spaces into quotes.")
    flag = word.partition("=")[0]
    flags = [name for action in parser._actions for name in action.option_strings]
    near = get_close_matches(flag, flags, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"{parser.prog} --help lists all there are."
    return UserError(f"{parser.prog} has no option {flag}", hint)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of our texts, and every command on one line with its purpose."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)
        self._action_max_length = max(map(len, COMMANDS)) + 4


class CommandParser(argparse.ArgumentParser):
    """An argparse parser whose complaints are sentences."""

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help shows an example."
        if match := re.fullmatch(r"the following arguments are required: (.*)", message):
            raise UserError(f"Missing: {match[1]}", hint)
        if match := re.fullmatch(r"argument (.+): expected .*argument.*", message):
            raise UserError(f"{match[1]} needs a value after it", hint)
        raise UserError(message[:1].upper() + message[1:], hint)


def _build_parser() -> tuple[CommandParser, dict[str, CommandParser]]:
    """The parser, and those of the commands by name."""
    from assistant.audio_options import add_hum, add_instrument, add_timbre
    from assistant.daw_options import add_daw, add_doctor
    from assistant.live.live_options import add_live
    from assistant.operation_options import BUILDERS  # which is built from what stands below
    from assistant.style_options import add_style

    parser = CommandParser(
        prog="descant",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version and stop")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    builders = {
        "continue": _add_continue,
        "fill": _add_fill,
        "accompany": _add_accompany,
        **BUILDERS,
        "sketch": _add_sketch,
        "edit": _add_edit,
        "play": _add_play,
        "render": _add_render,
        "info": _add_info,
        "live": add_live,
        "serve": _add_serve,
        "daw": add_daw,
        "doctor": add_doctor,
        "bench": _add_bench,
        "history": _add_history,
        "token": _add_token,
        "style": add_style,
        "hum": add_hum,
        "timbre": add_timbre,
        "instrument": add_instrument,
        "demo": _add_demo,
    }
    parsers: dict[str, CommandParser] = {}
    for name, purpose in COMMANDS.items():
        parsers[name] = commands.add_parser(
            name,
            help=purpose,
            formatter_class=Formatter,
            allow_abbrev=False,
        )
        builders[name](parsers[name])
    return parser, parsers


# --- The commands -------------------------------------------------------------------------------------


def _add_continue(parser: CommandParser) -> None:
    parser.usage = "descant continue IN.mid -o OUT.mid [--bars N] [options]"
    parser.description = """\
Writes the next bars of every track that has been playing lately. They start
at the next bar line after the last note, in the tempo and meter in force there."""
    parser.epilog = """\
example:
  descant continue song.mid -o next.mid --bars 8 --key "D minor"
                                             writes next-1.mid to next-4.mid"""
    work = add_input(parser)
    work.add_argument(
        "--bars",
        type=whole("--bars", 1, MOST_BARS),
        default=8,
        metavar="N",
        help="how many bars (default: 8)",
    )
    work.add_argument(
        "--loop", action="store_true", help="lead back to the first bar, so that the whole can repeat"
    )
    work.add_argument("--ending", action="store_true", help="end the piece there, on the tonic")
    add_like(work)
    add_common(parser)


def add_like(work: argparse._ArgumentGroup) -> None:
    """The flag of operations that hear words beside the music."""
    work.add_argument(
        "--like", metavar="TEXT", help='what it is to sound like, in your words: "late-night bossa with brushes"'
    )


def _add_fill(parser: CommandParser) -> None:
    parser.usage = "descant fill IN.mid -o OUT.mid --tracks LIST --bars BARS [options]"
    parser.description = """\
Writes chosen bars of chosen tracks anew, to fit what is around them. What was
there before is replaced in the new files; the input file stays as it is."""
    parser.epilog = """\
example:
  descant fill song.mid -o filled.mid --tracks Piano,2 --bars 5-8"""
    work = add_input(parser)
    work.add_argument(
        "--tracks",
        type=words,
        metavar="LIST",
        help="names or the beginnings of names, or numbers from 1, with commas between them; "
        "`descant info` lists both (default: all tracks)",
    )
    work.add_argument(
        "--bars",
        type=bar_span,
        required=True,
        metavar="BARS",
        help='counted from 1: "5", or "5-8" with both ends',
    )
    add_lock(work)
    add_like(work)
    add_common(parser)


def _add_accompany(parser: CommandParser) -> None:
    parser.usage = "descant accompany IN.mid -o OUT.mid --add LIST [options]"
    parser.description = """\
Adds new tracks under yours, from the first bar to the last."""
    parser.epilog = """\
example:
  descant accompany song.mid -o band.mid --add "bass, drums"
                                             writes band-1.mid to band-4.mid"""
    work = add_input(parser)
    work.add_argument(
        "--add",
        type=_instruments,
        required=True,
        metavar="LIST",
        help='instruments with commas between them: "upright bass, drums", or General MIDI programs 1 to 128',
    )
    work.add_argument(
        "--follow-chords",
        action="store_true",
        help="keep to the chords of the file's markers, or to ones found in its notes; a bass plays their roots",
    )
    add_like(work)
    add_common(parser)


def _add_sketch(parser: CommandParser) -> None:
    parser.usage = 'descant sketch "TEXT" -o OUT.mid [--bars N] [options]'
    parser.description = """\
Writes a new piece from words: style, tempo, key, meter, length, instruments,
chords, mood. What was understood is shown first. What you say outright is kept;
the rest comes from the style that is nearest."""
    parser.epilog = """\
example:
  descant sketch "slow blues in A, 12 bars, piano, bass and drums" -o blues.mid
  descant sketch "rainy lo-fi beat, no bass" -o beat.mid --json > brief.json
  descant sketch --brief brief.json -o beat2.mid      after changing brief.json"""
    work = parser.add_argument_group("what to write")
    work.add_argument("text", nargs="?", metavar="TEXT", help="what you want to hear, in your own words")
    work.add_argument(
        "--brief", type=Path, metavar="FILE", help="a brief in place of words: what --json printed, edited"
    )
    work.add_argument(
        "--bars", type=whole("--bars", 1, MOST_BARS), metavar="N", help="how many bars, whatever the words say"
    )
    work.add_argument("--render", type=Path, metavar="OUT.wav", help="write the sound too, by the neural synth")
    _add_instrument_flag(work)
    add_common(parser)


def _add_edit(parser: CommandParser) -> None:
    parser.usage = 'descant edit IN.mid "TEXT" -o OUT.mid [options]'
    parser.description = """\
Changes a piece as your words say. Moving, muting, loudness, tempo, swing and
thinning out are exact; sparser, denser, new notes and new tracks are written by
the network, for as many proposals as you like."""
    parser.epilog = """\
example:
  descant edit song.mid "bars 5-8 sparser, keep the contour" -o out.mid
  descant edit song.mid "move the bass down an octave; drums louder" -o out.mid"""
    add_input(parser).add_argument("text", metavar="TEXT", help="what to change, in your own words")
    add_common(parser)


def _add_play(parser: CommandParser) -> None:
    parser.usage = "descant play FILE [-o OUT.wav] [options]"
    parser.description = """\
Sounds a MIDI file through the synth that comes along. Where there is no sound
card, it writes the sound to a WAV file beside the input and names it."""
    parser.epilog = """\
example:
  descant play next-1.mid
  descant play next-1.mid -o next-1.wav"""
    add_input(parser, "FILE")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT.wav",
        help="write the sound to this file in place of playing it",
    )
    _add_synth(parser)
    parser.add_argument("--force", action="store_true", help="overwrite the sound file if it exists")


def _add_render(parser: CommandParser) -> None:
    parser.usage = "descant render IN.mid -o OUT.wav [options]"
    parser.description = """\
Writes a MIDI file as a sound file, 24-bit WAV or FLAC, played by the synth
that comes along."""
    parser.epilog = """\
example:
  descant render song.mid -o song.wav --stems song-stems"""
    add_input(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.wav", help="the file to write, .wav or .flac"
    )
    parser.add_argument(
        "--stems",
        type=Path,
        metavar="DIR",
        help="write every track by itself too, and the reverberation, into this folder",
    )
    _add_instrument_flag(parser)
    _add_synth(parser)
    parser.add_argument(
        "--loudness",
        type=decimal("--loudness", -60.0, -6.0),
        default=-16.0,
        metavar="LUFS",
        help="how loud the whole piece is, -60 to -6 (default: -16)",
    )
    parser.add_argument(
        "--rate",
        type=whole("--rate", 8_000, 96_000),
        default=48_000,
        metavar="HZ",
        help="samples a second, 8000 to 96000 (default: 48000)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite sound files that exist")


def _add_instrument_flag(parser: argparse._ActionsContainer) -> None:
    from assistant.audio_options import add_instrument_flag  # which is built from what stands here

    add_instrument_flag(parser)


def _add_synth(parser: CommandParser) -> None:
    """What a file is played with."""
    parser.add_argument(
        "--synth",
        choices=("neural", "soundfont"),
        default="neural",
        help="neural: the synth that comes along (default). soundfont: FluidSynth, a program of its own that has "
        "to be installed",
    )
    parser.add_argument(
        "--soundfont",
        type=Path,
        metavar="FILE",
        help="an .sf2 or .sf3 file for --synth soundfont (default: one that is installed)",
    )


def _add_info(parser: CommandParser) -> None:
    parser.usage = "descant info FILE"
    parser.description = """\
Lists what is in a MIDI file: length, tempo, meter, key, chords, and its tracks
by the numbers and names that `descant fill --tracks` understands."""
    parser.epilog = """\
example:
  descant info song.mid"""
    add_input(parser, "FILE")


def _add_serve(parser: CommandParser) -> None:
    parser.usage = "descant serve [--port N] [--no-browser] [--no-midi]"
    parser.description = """\
Opens Descant's page in the browser, and answers other programs of this computer,
DAW scripts among them, until it is stopped with Ctrl-C. Nothing of it can be
reached from another computer."""
    parser.epilog = """\
example:
  descant serve --port 9000"""
    parser.add_argument(
        "--port",
        type=whole("--port", 1024, 65535),
        metavar="N",
        help="the port on 127.0.0.1 (default: 8733, or what the settings say)",
    )
    parser.add_argument(
        "--no-browser",
        dest="browser",
        action="store_const",
        const=False,
        help="only show the link to the page",
    )
    parser.add_argument("--no-midi", dest="midi", action="store_false", help="open no virtual MIDI ports")


def _add_history(parser: CommandParser) -> None:
    parser.usage = "descant history [list | show N | export N -o FOLDER]"
    parser.description = """\
What was asked through the page or a DAW, newest first; one request with its
candidates and what became of them; or its candidates as MIDI files again."""
    parser.epilog = """\
example:
  descant history
  descant history export 12 -o keepers"""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    parser.set_defaults(action="list")
    actions.add_parser("list", help="the requests (default)", allow_abbrev=False, formatter_class=Formatter)
    for name, purpose in {"show": "one request in full", "export": "write its candidates as MIDI files"}.items():
        action = actions.add_parser(name, help=purpose, allow_abbrev=False, formatter_class=Formatter)
        action.add_argument("number", type=whole("N", 1, 10**15), metavar="N", help="the request's number")
        if name == "export":
            action.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where to write")
            action.add_argument("--force", action="store_true", help="overwrite files that exist")


def _add_token(parser: CommandParser) -> None:
    parser.usage = "descant token"
    parser.description = """\
Prints the name of the file that holds the server's secret, and makes it where
there is none. A program that may talk to the server reads it there. To change
the secret, delete the file and start the server again."""
    parser.epilog = """\
example:
  descant token                              a script reads the file it names"""


def _add_bench(parser: CommandParser) -> None:
    parser.usage = "descant bench [options]"
    parser.description = """\
Measures how fast this computer writes notes, how soon the first bar is there
and what it takes, on one core, idle and with every core busy. Takes some
minutes. With the extra `train` installed it also measures what a network of
the same size does through the usual library, and a larger network of ours."""
    sizes = ("small", "base")
    parser.add_argument("--size", choices=sizes, action="append", help="one of the sizes (default: both)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure to a file")
    parser.add_argument(
        "--exactness", action="store_true", help="in place of that: what eight bits cost, and the reference's notes"
    )
    parser.epilog = """\
example:
  descant bench --size small                 what ships, without the larger one
  descant bench --exactness                  whether it writes what the network means (takes the extra `train`)"""


def _add_demo(parser: CommandParser) -> None:
    parser.usage = "descant demo"
    parser.description = """\
Continues a piece that comes with Descant, into a new folder here."""
    parser.epilog = """\
example:
  descant demo                               writes four proposals and names them"""


def add_input(parser: CommandParser, metavar: str = "IN.mid") -> argparse._ArgumentGroup:
    """The file a command reads, in a group for whatever else says what to work on."""
    group = parser.add_argument_group("what to work on")
    group.add_argument("input", type=Path, metavar=metavar, help="a MIDI file")
    return group


def add_common(parser: CommandParser) -> None:
    """The flags of every command that writes notes."""
    from assistant.operation_options import add_limits
    from assistant.style_options import add_style_flag

    files = parser.add_argument_group("what comes out")
    files.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT.mid",
        help="where to write: OUT-1.mid, OUT-2.mid ... or OUT.mid itself with --candidates 1",
    )
    files.add_argument(
        "--candidates",
        type=whole("--candidates", 1, MOST_CANDIDATES),
        default=4,
        metavar="N",
        help="how many proposals (default: 4)",
    )
    files.add_argument(
        "--only-new",
        action="store_true",
        help="write only the new bars or tracks, without the rest of the piece",
    )
    files.add_argument("--force", action="store_true", help="overwrite files that exist, the input file included")
    files.add_argument(
        "--json", action="store_true", help="describe the result as one JSON object, for other programs"
    )

    notes = parser.add_argument_group("what every new note keeps to")
    notes.add_argument(
        "--key",
        type=parse_key,
        metavar="KEY",
        help='only notes of this scale: "D minor" (the natural scale and the raised seventh), "Bb major", '
        '"F# dorian", "A harmonic minor" ...',
    )
    notes.add_argument(
        "--chords",
        type=parse_progression,
        metavar="CHORDS",
        help='chords bar by bar, repeated over the new bars: "Dm | Gm A7 | Dm". Notes on the beat and long '
        "notes are tones of the chord",
    )
    notes.add_argument(
        "--range",
        type=parse_pitch_range,
        metavar="LOW-HIGH",
        help="lowest and highest note, such as C3-C5; middle C is C4. Drums are free",
    )
    notes.add_argument(
        "--density",
        type=density,
        metavar="NOTES",
        help='notes a bar and track: "8" for at most 8, "2-8" for 2 to 8',
    )
    notes.add_argument(
        "--max-polyphony",
        type=whole("--max-polyphony", 1, MOST_VOICES),
        metavar="N",
        help="at most so many notes of a track sound at once; 1 for a single line",
    )
    add_limits(notes)
    add_style_flag(notes)

    chance = parser.add_argument_group("chance")
    chance.add_argument(
        "--seed",
        type=whole("--seed", 0, SEEDS - 1),
        metavar="N",
        help="the same seed and request give the same notes again (default: a new one, which is named)",
    )
    chance.add_argument(
        "--temperature",
        type=decimal("--temperature", 0.0, MOST_TEMPERATURE),
        metavar="T",
        help="lower is safer, higher more daring; 0 to 2 (default: 0.95; of a sketch 1.15, for pitches 1)",
    )
    chance.add_argument(
        "--top-p",
        type=decimal("--top-p", 0.0, 1.0, above=True),
        metavar="P",
        help="leave out the unlikeliest, keep this share of chance; above 0, up to 1 (default: 0.93, sketch 0.96)",
    )


# --- From text to values ------------------------------------------------------------------------------


def whole(flag: str, least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"\s*\d{1,18}\s*", text, re.ASCII) else -1
        if not least <= number <= most:
            raise ControlError(f'{flag} cannot be "{text}"', f"Write a whole number from {least} to {most}.")
        return number

    return parse


def decimal(flag: str, least: float, most: float, above: bool = False) -> Callable[[str], float]:
    """Numbers from `least` to `most`; `above` leaves `least` itself out."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not least <= number <= most or (above and number == least):
            reach = f"above {least:g} and up to" if above else f"from {least:g} to"
            raise ControlError(f'{flag} cannot be "{text}"', f"Write a number {reach} {most:g}, such as 0.9.")
        return number

    return parse


_SPAN = re.compile(r"\s*(\d{1,9})\s*(?:(?:-|–|—|\.\.|:|to)\s*(\d{1,9})\s*)?", re.ASCII)


def bar_span(text: str) -> tuple[int, int]:
    """First and last bar, counted from 1, of "5" or "5-8"."""
    match = _SPAN.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if first < 1:
        raise ControlError(f'--bars cannot be "{text}"', 'Write one bar or a span, counted from 1: "5" or "5-8".')
    if last < first:
        raise ControlError(f'The bars "{text}" end before they begin', f"Did you mean {last}-{first}?")
    if last - first >= MOST_BARS:
        raise ControlError(f'"{text}" is more than {MOST_BARS} bars', "Fill them in several steps.")
    return first, last


def density(text: str) -> tuple[int, int]:
    """Least and most notes a bar and track of "8" (0 to 8) or "2-8"."""
    match = _SPAN.fullmatch(text)
    if match is None:
        hint = 'Write the most notes a bar, or the least and the most: "8" or "2-8".'
        raise ControlError(f'--density cannot be "{text}"', hint)
    least, most = (int(match[1]), int(match[2])) if match[2] else (0, int(match[1]))
    if not 1 <= most <= MOST_DENSITY or least > most:
        hint = f"The most is 1 to {MOST_DENSITY} notes a bar, and not below the least."
        raise ControlError(f'--density cannot be "{text}"', hint)
    return least, most


def locked_notes(text: str) -> tuple[tuple[int, int, int], ...]:
    """ "1:0:60,2:480:64": notes as track, tick and pitch; tracks from 1, and from 0 in what is returned."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3}):(\d{1,12}):(\d{1,3})\s*", part)
        if match is None or int(match[1]) < 1 or int(match[3]) > 127:
            hint = 'Write notes as track:tick:pitch, with commas between them: "1:0:60,1:480:64".'
            raise ControlError(f'--lock cannot be "{text[:60]}"', hint)
        found.append((int(match[1]) - 1, int(match[2]), int(match[3])))
    return tuple(found)


def add_lock(work: argparse._ArgumentGroup) -> None:
    work.add_argument(
        "--lock",
        type=locked_notes,
        default=(),
        metavar="NOTES",
        help="notes that stay as they are, as track:tick:pitch with commas between them",
    )


def words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ControlError(f'"{text}" names nothing between two commas', "Write Piano,2 for example.")
    return words


def _instruments(text: str) -> list[Instrument]:
    return [parse_instrument(word) for word in words(re.sub(r"\s+and\s+|[+&;]", ",", text))]
