"""A request in words, as the command line, the page and the DAW scripts ask it alike.

    {"operation": "fill", "tracks": "Piano,2", "bars": "5-8", "key": "D minor"}   words
      = descant fill --tracks Piano,2 --bars 5-8 --key "D minor"                  a line, read by options.py
      = Namespace ── with a Score ──► pipeline.Request

A further operation is one line in OPERATIONS; its flags are declared in assistant/options.py.
"""

from __future__ import annotations

import re
import secrets
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.operation_options import LEVELS
from assistant.options import parse_arguments
from assistant.outputs import MIDI_SUFFIXES
from assistant.overview import find_tracks
from models.errors import ControlError, UserError
from models.score import Score
from models.theory import chord_symbol, pitch_name

if TYPE_CHECKING:
    from assistant.pipeline import Options, Request
    from models.constraints import Spot
    from models.originality import Index

NEW_SEEDS = 1_000_000  # seeds that are chosen for the user stay short enough to type
MOST_OWN_FILES = 5000
LONGEST_WORD = 10_000  # characters of one value

# What may be said with every operation.
CONTROLS = (
    "candidates",
    "seed",
    "temperature",
    "top_p",
    "key",
    "chords",
    "range",
    "density",
    "max_polyphony",
    "leaps",
    "syncopation",
    "at",
    "max_copy",
    "style",
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of request: its own words beside CONTROLS, and what it makes of them and a score.

    request: None where more than one request is made of it; assistant/answering.py knows how.
    """

    words: tuple[str, ...]
    request: Callable[[Namespace, Score, Options], Request] | None
    needs_score: bool = True


def _continue(arguments: Namespace, score: Score, options: Options) -> Request:
    from assistant.pipeline import continue_request

    request = continue_request(score, arguments.bars, options)
    return replace(request, loop=arguments.loop, ending=arguments.ending)


def _fill(arguments: Namespace, score: Score, options: Options) -> Request:
    from assistant.operations import fill_around
    from assistant.pipeline import fill_request

    tracks = find_tracks(score, arguments.tracks) if arguments.tracks else range(len(score.tracks))
    first, last = arguments.bars
    return fill_around(fill_request(score, tracks, first - 1, last - 1, options), arguments.lock)


def _accompany(arguments: Namespace, score: Score, options: Options) -> Request:
    from assistant.operations import accompany_with_chords
    from assistant.pipeline import accompany_request

    if arguments.follow_chords:
        return accompany_with_chords(score, arguments.add, options)
    return accompany_request(score, arguments.add, options)


def _vary(arguments: Namespace, score: Score, options: Options) -> Request:
    from assistant.operations import vary_request

    bars = (arguments.bars[0] - 1, arguments.bars[1] - 1) if arguments.bars else None
    return vary_request(
        score, _tracks(arguments, score), bars, arguments.strength, arguments.keep, options, arguments.lock
    )


def _humanise(arguments: Namespace, score: Score, options: Options) -> Request:
    from assistant.operations import humanise_request

    return humanise_request(score, _tracks(arguments, score), arguments.strength, options)


def _drumify(arguments: Namespace, score: Score, options: Options) -> Request:
    from assistant.operations import drumify_request

    return drumify_request(score, _tracks(arguments, score), options)


def _harmonise(arguments: Namespace, score: Score, options: Options) -> Request:
    from assistant.operations import harmonise_request

    return harmonise_request(score, arguments.instrument, options)


def _tracks(arguments: Namespace, score: Score) -> Sequence[int]:
    """The tracks that were named; all of them where none was."""
    return find_tracks(score, arguments.tracks) if arguments.tracks else range(len(score.tracks))


OPERATIONS = {
    "continue": Operation(("bars", "loop", "ending", "like"), _continue),
    "fill": Operation(("tracks", "bars", "lock", "like"), _fill),
    "accompany": Operation(("add", "follow_chords", "like"), _accompany),
    "vary": Operation(("tracks", "bars", "strength", "keep", "lock"), _vary),
    "humanise": Operation(("tracks", "strength"), _humanise),
    "drumify": Operation(("tracks",), _drumify),
    "harmonise": Operation(("with",), _harmonise),
    "edit": Operation(("text",), None),
    "sketch": Operation(("text", "brief", "bars"), None, needs_score=False),
}


def build_request(arguments: Namespace, score: Score) -> Request:
    """What `arguments`, from `parse_words` or a command line, ask of a score. Raises UserError, as the pipeline."""
    make = OPERATIONS[arguments.command].request
    assert make is not None  # the other operations have commands of their own
    request = make(arguments, score, options_of(arguments))
    return _with_spots(arguments, _with_words(arguments, request))


def _with_words(arguments: Namespace, request: Request) -> Request:
    """The request with what it is to sound like, where that was said."""
    from models.text.sentences import encoder_folder

    if not (said := getattr(arguments, "like", None)):
        return request
    if encoder_folder() is None:
        raise UserError("The sentence encoder is not installed, and --like needs it", "docs/text.md tells how.")
    return replace(request, words=said)


def _with_spots(arguments: Namespace, request: Request) -> Request:
    """The request with the limits of single tracks and bars; new tracks go by their names and numbers too."""
    from assistant.pipeline import with_spots
    from models.constraints import Limits, Spot

    if not arguments.at:
        return request
    spots = []
    for said in arguments.at:
        tracks = None if said.tracks is None else frozenset(find_tracks(request.score, said.tracks))
        bars = (said.bars[0] - 1, said.bars[1] - 1) if said.bars else None
        spots.append(Spot(Limits()._replace(**said.limits), tracks, bars))
    return with_spots(request, spots)


def options_of(arguments: Namespace) -> Options:
    """The flags that every operation has, as the pipeline takes them; a seed is chosen where none is given."""
    from assistant.pipeline import Options
    from models.constraints import Controls
    from models.drawing import Sampling

    controls = Controls(
        key=arguments.key,
        follow_chords=arguments.chords is not None,
        pitch_range=arguments.range,
        density=arguments.density,
        max_polyphony=arguments.max_polyphony,
        leaps=arguments.leaps,
        syncopation=arguments.syncopation,
    )
    chance = {"temperature": arguments.temperature, "top_p": arguments.top_p}
    own = own_index(arguments.my_music, getattr(arguments, "input", None)) if arguments.my_music else None
    return Options(
        controls=controls,
        progression=arguments.chords,
        candidates=arguments.candidates,
        seed=new_seed() if arguments.seed is None else arguments.seed,
        sampling=Sampling()._replace(**{name: value for name, value in chance.items() if value is not None}),
        styles=arguments.style,
        own=own,
        max_copy=arguments.max_copy,
    )


def own_index(folder: Path, without: Path | None = None) -> Index:
    """The originality index of a folder's MIDI files, those below it included; `without` one file.

    Files that cannot be read are passed over. Raises UserError where nothing is left.
    """
    from models.midi_file import read_midi
    from models.originality import Index
    from models.piece import to_piece

    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in MIDI_SUFFIXES]
    pieces = []
    for path in paths[:MOST_OWN_FILES]:
        if without is None or not (without.exists() and path.samefile(without)):
            with suppress(UserError):
                pieces.append(to_piece(read_midi(path).score)[0])
    if not pieces:
        raise UserError(f"There are no other MIDI files in {folder}", "Name a folder with some of your own.")
    return Index.of(pieces)


def new_seed() -> int:
    return secrets.randbelow(NEW_SEEDS)


def describe_request(command: str, request: Request) -> dict[str, Any]:
    """A request in words again, with everything that was left open; bars and tracks count from 1."""
    options = request.options
    controls, chords, span = options.controls, options.progression, options.controls.pitch_range
    return {
        "command": command,
        "bars": [bar + 1 for bar in request.bars],
        "tracks": sorted({track + 1 for _, track in request.region}),
        "candidates": options.candidates,
        "seed": options.seed,
        "temperature": options.sampling.temperature,
        "top_p": options.sampling.top_p,
        "style": ",".join(f"{name}:{strength:g}" for name, strength in options.styles) or None,
        "key": controls.key.name if controls.key else None,
        "chords": " | ".join(" ".join(map(chord_symbol, bar)) for bar in chords) if chords else None,
        "range": "-".join(map(pitch_name, span)) if span else None,
        "density": list(controls.density) if controls.density else None,
        "max_polyphony": controls.max_polyphony,
        "leaps": LEVELS[controls.leaps - 1] if controls.leaps else None,
        "syncopation": LEVELS[controls.syncopation - 1] if controls.syncopation else None,
        "at": [_describe_spot(spot) for spot in controls.spots] or None,
        "max_copy": options.max_copy,
        "like": request.words or None,
        **_describe_locks(request),
    }


def _describe_spot(spot: Spot) -> str:
    """A spot as `--at` reads it; tracks by their numbers."""
    tracks = "*" if spot.tracks is None else ",".join(str(track + 1) for track in sorted(spot.tracks))
    bars = "" if spot.bars is None else f"@{spot.bars[0] + 1}-{spot.bars[1] + 1}"
    limits, parts = spot.limits, []
    if limits.density:
        parts.append(f"density {limits.density[0]}-{limits.density[1]}")
    if limits.pitch_range:
        parts.append(f"range {'-'.join(map(pitch_name, limits.pitch_range))}")
    if limits.max_polyphony:
        parts.append(f"polyphony {limits.max_polyphony}")
    parts += [
        f"{name} {LEVELS[level - 1]}" for name in ("leaps", "syncopation") if (level := getattr(limits, name))
    ]
    return f"{tracks}{bars}: {', '.join(parts)}"


def _describe_locks(request: Request) -> dict[str, Any]:
    """What an operation keeps of the notes that are there, where it keeps any."""
    found: dict[str, Any] = {name: True for name in ("loop", "ending") if getattr(request, name)}
    if request.keep and request.keep.locked:
        found["lock"] = [f"{track + 1}:{start}:{pitch}" for track, start, pitch in sorted(request.keep.locked)]
    if request.keep and not request.keep.accents and request.keep.kind != "locked":
        found["strength"] = request.keep.amount if request.keep.kind == "place" else request.keep.strength
        found["keep"] = request.keep.kind
    return found


# --- Words --------------------------------------------------------------------------------------------


def parse_words(words: Mapping[str, Any]) -> Namespace:
    """A request's words as the command line would have them. Raises UserError for words that make no sense.

    Values are text, numbers, null (the same as nothing said), or lists where the text has "," or "-".
    """
    operation = words.get("operation")
    if not isinstance(operation, str) or operation not in OPERATIONS:
        hint = f"The operations are {', '.join(OPERATIONS)}."
        raise UserError(f"There is no operation {_shown(operation)}", hint)
    allowed = (*OPERATIONS[operation].words, *CONTROLS)
    line = [operation, *(["in.mid"] if OPERATIONS[operation].needs_score else []), "-o", "out.mid"]
    text = None
    for name, value in words.items():
        if name == "operation" or value is None:
            continue
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The words are {', '.join(allowed)}."
            raise UserError(f"{operation} has no {_shown(name)}", hint)
        if name == "text":
            text = _text(name, value)
        elif name == "brief":
            if not isinstance(value, dict):
                raise UserError(
                    "The brief is no object", "Take the one that a sketch's request holds, and change it."
                )
        elif isinstance(value, bool):
            line += [f"--{name.replace('_', '-')}"] if value else []
        else:
            line.append(f"--{name.replace('_', '-')}={_text(name, value)}")
    flags = {f"--{name.replace('_', '-')}": name for name in allowed}
    try:
        if "text" not in allowed:
            return parse_arguments(line)
        if text is None and "brief" not in words:
            raise UserError(f"{operation} needs a text", "Say in your own words what to do.")
        arguments = parse_arguments([*line, "text"])
        arguments.text = text  # whatever it begins with
        return arguments
    except UserError as error:
        # The same sentence, with the names as they are written here.
        said, hint = (
            _FLAG.sub(lambda flag: flags.get(flag[0], flag[0]), text) for text in (error.message, error.hint)
        )
        raise ControlError(said, hint) from error


_FLAG = re.compile(r"--[a-z][a-z-]*")


def _shown(value: object) -> str:
    return f'"{str(value)[:100]}"'


def _text(name: str, value: object) -> str:
    if isinstance(value, list) and value and all(_is_plain(item) for item in value):
        between = "-" if name in ("bars", "density", "range") else ","
        value = between.join(map(str, value))
    if not _is_plain(value):
        raise ControlError(f"{name} has to be a text or a number", "Write it as on the command line.")
    text = str(value)
    if len(text) > LONGEST_WORD:
        raise ControlError(f"{name} is longer than {LONGEST_WORD:,} characters", "Ask for it in several steps.")
    return text


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
