"""The flags of `descant daw` and `descant doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path

from assistant.options import CommandParser

VERBS = {
    "list": "the DAWs that have a script, and whether they are here",
    "install": "write the script of a DAW, and say what to do in it",
    "remove": "delete it",
    "test": "read, write and take back in a DAW that runs, with a clip selected",
    "sketch": "put a new piece from words onto new tracks of a DAW that runs",
    "watch": "answer every MIDI file that is dropped into a folder, for any DAW",
}


def add_daw(parser: CommandParser) -> None:
    parser.usage = "descant daw list | install NAME | remove NAME | test NAME | sketch NAME WORDS | watch FOLDER"
    parser.description = """\
Connects Descant with a DAW: select, press a key, choose among candidates, and
undo in one step. Nothing of the DAW's own settings is changed."""
    parser.epilog = """\
example:
  descant daw install reaper --dry-run     shows what it would write
  descant daw install reaper
  descant daw watch ~/Desktop/Descant      files dropped there are continued"""
    verbs = parser.add_subparsers(dest="verb", title="what to do", metavar="VERB", required=True)
    for verb, purpose in VERBS.items():
        below = verbs.add_parser(
            verb,
            help=purpose,
            description=f"Descant {verb}s: {purpose}."
            if verb == "test"
            else f"{purpose[:1].upper()}{purpose[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if verb == "list":
            continue
        if verb == "watch":
            below.add_argument("folder", type=Path, metavar="FOLDER", help="where your DAW drops MIDI files")
            below.add_argument("--bars", type=int, metavar="N", help="how many to continue by; 4 where not given")
            below.add_argument("--add", metavar="INSTRUMENTS", help='to accompany with; "bass, drums"')
            below.add_argument("--candidates", type=int, metavar="N", help="how many of each file")
            below.add_argument("--key", metavar="KEY", help='to keep to, such as "D minor"')
            below.add_argument("--whole", action="store_true", help="write them with the music that was dropped")
            continue
        below.add_argument("name", metavar="NAME", help="as `descant daw list` names it, such as reaper")
        if verb == "sketch":
            below.add_argument("words", nargs="+", metavar="WORDS", help='such as "slow blues in A, piano"')
            below.add_argument("--candidates", type=int, metavar="N", help="how many")
        if verb in ("install", "remove"):
            below.add_argument("--folder", type=Path, metavar="SCRIPTS", help="the DAW's folder of scripts")
            below.add_argument("--dry-run", action="store_true", help="only show what would be done")


def add_doctor(parser: CommandParser) -> None:
    parser.usage = "descant doctor [--quick]"
    parser.description = """\
Looks whether everything that Descant needs is there and works. Each line says
pass, or what to do."""
    parser.epilog = """\
example:
  descant doctor"""
    parser.add_argument("--quick", action="store_true", help="leave out what loads the network")
