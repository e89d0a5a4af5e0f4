"""The flags and commands of styles, for assistant/options.py."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from assistant.options import CommandParser, Formatter, decimal, whole
from models.errors import UserError

Styles = tuple[tuple[str, float], ...]
MOST_STRENGTH = 1.5
MOST_MINUTES = 600.0
EXAMPLE = "Write it as NAME or NAME:0.7; two are mixed with A:0.5,B:0.3."


def checked_name(name: str) -> str:
    """A style's name as it can stand for a folder. Raises UserError."""
    if not re.fullmatch(r"[\w][\w .+-]{0,59}", name) or name.endswith((" ", ".")):
        raise UserError(f'"{name}" cannot be the name of a style', "Use letters, digits, spaces and - only.")
    return name


def parse_styles(text: str) -> Styles:
    """`A:0.5,B:0.3` -> names and strengths; a name alone has strength 1. Raises UserError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, strength = part.strip().partition(":")
        try:
            value = float(strength) if strength else 1.0
        except ValueError:
            raise UserError(f'"{strength}" is not a strength', EXAMPLE) from None
        if not 0 <= value <= MOST_STRENGTH:
            raise UserError(f"The strength {strength} of {name} is out of range", f"Use 0 to {MOST_STRENGTH}.")
        if name in found:
            raise UserError(f"The style {name} is named twice", EXAMPLE)
        found[checked_name(name)] = value
    return tuple(found.items())


def add_style_flag(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--style",
        type=parse_styles,
        default=(),
        metavar="NAME[:S]",
        help="in your own style, S from 0 to 1.5 (default: 1); A:0.5,B:0.3 mixes two. `descant style` makes them",
    )


def add_style(parser: CommandParser) -> None:
    """`descant style ACTION`."""
    parser.usage = "descant style ACTION [options]"
    parser.description = """\
Teaches Descant how you play, from MIDI files of your own. A training takes
minutes on this computer, keeps some pieces aside to prove what it has learned,
and can be stopped and resumed. Nothing is sent anywhere."""
    parser.epilog = """\
example:
  descant style train mine ~/midi              makes the style "mine"
  descant continue song.mid -o next.mid --style mine:0.8"""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)

    def action(name: str, purpose: str, usage: str, description: str) -> CommandParser:
        made: CommandParser = actions.add_parser(name, help=purpose, allow_abbrev=False, formatter_class=Formatter)
        made.usage, made.description = usage, description
        return made

    train = action(
        "train",
        "make a style from a folder",
        "descant style train NAME [FOLDER] [--minutes M] [--from STYLE]",
        """\
Reads every MIDI file below FOLDER, says what it found, trains for at most so many
minutes and measures what came out. The same command goes on where it was stopped.
Without FOLDER a style is made again from the folder it was made from, as after an
update of Descant that brings other weights.""",
    )
    train.add_argument("name", metavar="NAME", type=checked_name, help="what to call the style")
    train.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", help="where your MIDI files are")
    train.add_argument(
        "--minutes",
        type=decimal("--minutes", 0.0, MOST_MINUTES, above=True),
        default=10.0,
        metavar="M",
        help="how long at most (default: 10); it ends by itself when nothing more is gained",
    )
    train.add_argument("--from", dest="start", type=checked_name, metavar="STYLE", help="begin with another style")
    train.add_argument(
        "--threads",
        type=whole("--threads", 1, 64),
        default=1,
        metavar="N",
        help="processor threads (default: 1, which leaves the rest to your DAW)",
    )
    train.add_argument("--force", action="store_true", help="replace a style of this name")
    train.add_argument("--json", action="store_true", help="print what came out as one JSON object")

    action("list", "name the styles there are", "descant style list", "Names the styles on this computer.")
    show = action("show", "tell what a style is", "descant style show NAME", "Shows a style's card.")
    show.add_argument("name", metavar="NAME", type=checked_name)
    compare = action(
        "compare", "put styles side by side", "descant style compare NAME...", "Shows styles' figures together."
    )
    compare.add_argument("names", metavar="NAME", nargs="+", type=checked_name)
    export = action(
        "export",
        "write a style to one file",
        "descant style export NAME -o FILE.zip",
        "Writes a style to a file that `descant style import` reads on another computer.",
    )
    export.add_argument("name", metavar="NAME", type=checked_name)
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.zip")
    export.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    bring = action(
        "import", "take in a style from a file", "descant style import FILE.zip", "Takes in an exported style."
    )
    bring.add_argument("file", metavar="FILE.zip", type=Path)
    bring.add_argument("--name", type=checked_name, metavar="NAME", help="call it this")
    bring.add_argument("--force", action="store_true", help="replace a style of this name")
    remove = action("remove", "delete a style", "descant style remove NAME", "Deletes a style.")
    remove.add_argument("name", metavar="NAME", type=checked_name)
