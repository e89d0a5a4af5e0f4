"""The flags of the commands that vary, play, harmonise and join pieces, and limits for single tracks and bars."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from assistant.options import (
    MOST_VOICES,
    CommandParser,
    add_common,
    add_input,
    add_lock,
    bar_span,
    decimal,
    density,
    whole,
    words,
)
from models.drum_maps import DRUM_MAPS, parse_drum_map
from models.errors import ControlError
from models.instruments import parse_instrument
from models.theory import parse_pitch_range

LEVELS = ("few", "some", "many", "most")  # quarters, from 1


class SpotWords(NamedTuple):
    """Limits as they were written: for tracks by name (None: all) and bars from 1 (None: all)."""

    tracks: list[str] | None
    bars: tuple[int, int] | None
    limits: dict[str, object]
    text: str


def level(flag: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if (word := text.strip().lower()) not in LEVELS:
            raise ControlError(f'{flag} cannot be "{text}"', f"Say {', '.join(LEVELS)}.")
        return LEVELS.index(word) + 1

    return parse


_SPOT = re.compile(r"\s*(?P<tracks>[^@:]*?)\s*(?:@\s*(?P<bars>[^:]*?)\s*)?:\s*(?P<limits>.+)", re.DOTALL)
_SPOT_HINT = 'Write tracks, @ and bars, a colon, and what holds there: "Bass@5-8: density 2-4, leaps few".'


def spot(text: str) -> SpotWords:
    """ "Bass@5-8: density 2-4, range E1-G2, polyphony 1, leaps few, syncopation some"."""
    match = _SPOT.fullmatch(text)
    if match is None:
        raise ControlError(f'--at cannot be "{text}"', _SPOT_HINT)
    readers: dict[str, tuple[str, Callable[[str], object]]] = {
        "density": ("density", density),
        "range": ("pitch_range", parse_pitch_range),
        "polyphony": ("max_polyphony", whole("polyphony", 1, MOST_VOICES)),
        "leaps": ("leaps", level("leaps")),
        "syncopation": ("syncopation", level("syncopation")),
    }
    limits: dict[str, object] = {}
    for part in match["limits"].split(","):
        name, _, value = part.strip().partition(" ")
        if name not in readers or not value.strip():
            raise ControlError(
                f'"{part.strip()}" is no limit', f"The limits are {', '.join(readers)}. {_SPOT_HINT}"
            )
        field, read = readers[name]
        limits[field] = read(value)
    tracks = None if match["tracks"] in ("", "*") else words(match["tracks"])
    return SpotWords(tracks, bar_span(match["bars"]) if match["bars"] else None, limits, text)


def add_limits(notes: argparse._ArgumentGroup) -> None:
    """The flags of limits that every command that writes notes has beside those of `add_common`."""
    for name, what in {"leaps": "steps wider than a whole tone", "syncopation": "notes off the eighths"}.items():
        notes.add_argument(
            f"--{name}",
            type=level(f"--{name}"),
            metavar="LEVEL",
            help=f"{what}: {', '.join(LEVELS)}. The network is told so; it is not forced to it",
        )
    notes.add_argument(
        "--at",
        type=spot,
        action="append",
        metavar="SPOT",
        help='limits of some tracks and bars only: "Bass@5-8: density 2-4, range E1-G2, polyphony 1, leaps few". '
        "It may be given several times; the last that speaks of a place counts",
    )
    notes.add_argument(
        "--max-copy",
        type=whole("--max-copy", 8, 10_000),
        metavar="N",
        help="refuse candidates that share more than N notes in a row, in any key, with the music the model "
        "learned from, or with --my-music",
    )
    notes.add_argument(
        "--my-music",
        type=Path,
        metavar="FOLDER",
        help="MIDI files of your own: say how much a candidate shares with them, the input file left out",
    )
    notes.add_argument(
        "--drum-map",
        type=parse_drum_map,
        metavar="MAP",
        help=f"the keys of the drum tracks, read and written: {', '.join(DRUM_MAPS)}, or General MIDI drums with "
        'their keys: "36=35, 38=40" (default: gm)',
    )


# --- Commands -----------------------------------------------------------------------------------------


def add_vary(parser: CommandParser) -> None:
    parser.usage = "descant vary IN.mid -o OUT.mid [--strength S] [--keep WHAT] [options]"
    parser.description = """\
Writes part of what is there anew. Notes that do not change stay to the tick;
weak places change before strong ones."""
    parser.epilog = """\
example:
  descant vary song.mid -o varied.mid --tracks Piano --bars 5-8 --strength 0.4
  descant vary song.mid -o melody.mid --tracks 1 --bars 1-8 --strength 1 --keep rhythm"""
    work = add_input(parser)
    _add_tracks(work)
    work.add_argument("--bars", type=bar_span, metavar="BARS", help='"5", or "5-8" with both ends (default: all)')
    _add_strength(work, "0 changes nothing, 1 everything (default: 0.5)", 0.5)
    work.add_argument(
        "--keep",
        choices=("rhythm", "contour", "pitch"),
        help="what notes that change keep: rhythm (places, lengths, loudness), contour (the same, and where the "
        "line rises and falls), or pitch (in its order)",
    )
    add_lock(work)
    add_common(parser)


def add_humanise(parser: CommandParser) -> None:
    parser.usage = "descant humanise IN.mid -o OUT.mid [--tracks LIST] [--strength S] [options]"
    parser.description = """\
Plays your notes: their loudness and timing are written anew as a musician would
play them. Pitches, lengths and the places on the grid stay."""
    parser.epilog = """\
example:
  descant humanise song.mid -o played.mid --tracks Piano"""
    work = add_input(parser)
    _add_tracks(work)
    _add_strength(work, "how far notes move from what they were, 0 to 1 (default: 1)", 1.0)
    add_common(parser)


def add_drumify(parser: CommandParser) -> None:
    parser.usage = "descant drumify IN.mid -o OUT.mid [--tracks LIST] [options]"
    parser.description = """\
Adds drums that strike wherever a part has its accents."""
    parser.epilog = """\
example:
  descant drumify riff.mid -o beat.mid --tracks Guitar --only-new"""
    _add_tracks(add_input(parser), "the parts to follow")
    add_common(parser)


def add_harmonise(parser: CommandParser) -> None:
    parser.usage = 'descant harmonise IN.mid -o OUT.mid [--with INSTRUMENT] [--chords "Dm | G7"] [options]'
    parser.description = """\
Adds a track that plays the harmony: the chords you give, else those of the
file's markers, else chords that fit its notes. They become markers in the file."""
    parser.epilog = """\
example:
  descant harmonise melody.mid -o chords.mid --with strings"""
    work = add_input(parser)
    work.add_argument(
        "--with",
        dest="instrument",
        type=parse_instrument,
        metavar="INSTRUMENT",
        help="what plays it, by name or General MIDI program 1 to 128 (default: piano)",
    )
    add_common(parser)


def add_groove(parser: CommandParser) -> None:
    parser.usage = "descant groove IN.mid --from CLIP.mid -o OUT.mid [--strength S]"
    parser.description = """\
Lays the feel of a performed clip onto your notes: how early or late, and how
loud, each place in the bar is played. Pitches and lengths stay."""
    parser.epilog = """\
example:
  descant groove beat.mid --from drummer.mid -o grooving.mid --strength 0.8"""
    work = add_input(parser)
    work.add_argument(
        "--from", dest="clip", type=Path, required=True, metavar="CLIP.mid", help="the clip that has the feel"
    )
    _add_tracks(work)
    _add_strength(work, "how much of the feel, 0 to 1 (default: 1)", 1.0)
    _add_file(parser)


def add_interpolate(parser: CommandParser) -> None:
    parser.usage = "descant interpolate A.mid B.mid -o OUT.mid [--steps N]"
    parser.description = """\
Leads from one clip to another: OUT-1.mid is the first, the last is the second,
and in between ever more of the one gives way to the other."""
    parser.epilog = """\
example:
  descant interpolate verse.mid chorus.mid -o bridge.mid --steps 5"""
    work = add_input(parser, "A.mid")
    work.add_argument("second", type=Path, metavar="B.mid", help="the clip to arrive at")
    work.add_argument(
        "--steps",
        type=whole("--steps", 2, 64),
        default=5,
        metavar="N",
        help="files, both ends included (default: 5)",
    )
    _add_file(parser)


def add_chords(parser: CommandParser) -> None:
    parser.usage = "descant chords IN.mid [-o OUT.mid] [--by-bar] [--json]"
    parser.description = """\
Finds the chords in the notes, whatever the markers say, and how sure each is.
With -o it writes them as markers into a copy of the file."""
    parser.epilog = """\
example:
  descant chords song.mid -o marked.mid"""
    work = add_input(parser)
    work.add_argument("--by-bar", action="store_true", help="at most one chord a bar, as for a melody alone")
    _add_file(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for other programs")


BUILDERS = {
    "vary": add_vary,
    "humanise": add_humanise,
    "drumify": add_drumify,
    "harmonise": add_harmonise,
    "groove": add_groove,
    "interpolate": add_interpolate,
    "chords": add_chords,
}


def _add_tracks(work: argparse._ArgumentGroup, what: str = "which tracks") -> None:
    work.add_argument(
        "--tracks",
        type=words,
        metavar="LIST",
        help=f"{what}: names or their beginnings, or numbers from 1, with commas between them (default: all)",
    )


def _add_strength(work: argparse._ArgumentGroup, what: str, default: float) -> None:
    work.add_argument("--strength", type=decimal("--strength", 0, 1), default=default, metavar="S", help=what)


def _add_file(parser: CommandParser, required: bool = True) -> None:
    files = parser.add_argument_group("what comes out")
    files.add_argument("-o", "--output", type=Path, required=required, metavar="OUT.mid", help="where to write")
    files.add_argument("--force", action="store_true", help="overwrite files that exist, the input files included")
