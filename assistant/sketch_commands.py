"""`descant sketch` and `descant edit`: words in, files out, and what was understood said in between."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.asking import new_seed, options_of
from assistant.outputs import check_outputs, midi_names, write_all
from assistant.overview import counted, printable
from assistant.progress import ProgressBar
from models.errors import UserError
from models.midi_file import read_midi, save_midi

if TYPE_CHECKING:
    from assistant.pipeline import Options
    from assistant.sketching import Sketch
    from models.text.brief import Brief

LONGEST_BRIEF = 100_000  # characters of a brief's file


def run_sketch(arguments: Namespace) -> None:
    from assistant.pipeline import load_generator
    from assistant.sketching import sketch

    brief = brief_of(arguments)
    paths = midi_names(arguments.output, arguments.candidates)
    sounds = _sound_names(arguments, len(paths))
    nothing = Path("")
    check_outputs([*paths, *sounds], nothing, arguments.force)
    options = sketch_options(arguments)
    if not arguments.json:
        _echo(brief)
    with ProgressBar(sys.stderr, options.candidates, brief.bars) as bar:
        sketches = sketch(brief, load_generator(), options, bar.show)
    writers = [(path, partial(save_midi, made.score)) for path, made in zip(paths, sketches, strict=True)]
    write_all(writers, arguments.force)
    if sounds:
        from assistant.sound import record

        for path, made in zip(sounds, sketches, strict=True):
            record(made.score, path, force=arguments.force, instruments=arguments.instrument)
    if arguments.json:
        print(json.dumps(_described(brief, sketches, paths, sounds, options), indent=1, ensure_ascii=False))
    else:
        _print_files(
            paths, [made.note_count for made in sketches], [made.candidate.violations for made in sketches]
        )
        for sound in sounds:
            print(f"  {sound}")
        print(f"--seed {options.seed} repeats this")


def brief_of(arguments: Namespace, as_json: str | None = None) -> Brief:
    """The brief of a text, or of an edited file, with --bars, --key and --chords in it.

    as_json: the brief itself, in place of a file.
    """
    from models.text.brief import brief_from_json
    from models.text.reading import lay_out, understand
    from models.theory import chord_symbol

    if as_json is None and arguments.brief is not None:
        as_json = _read(arguments.brief)
    if (arguments.text is None) == (as_json is None):
        raise UserError(
            "Say what to sketch, in words or with --brief", 'For example: descant sketch "slow blues in A"'
        )
    brief = understand(arguments.text) if as_json is None else brief_from_json(as_json)
    changes: dict[str, Any] = {}
    if arguments.key is not None:
        changes["key"] = arguments.key.name
    if arguments.chords is not None:
        changes["chords"] = " | ".join(" ".join(map(chord_symbol, bar)) for bar in arguments.chords)
    if arguments.bars is not None:
        changes["bars"] = arguments.bars
    said = tuple(dict.fromkeys([*brief.said, *changes]))
    brief = replace(brief, **changes, said=said)
    sections, remark = lay_out([replace(s, bars=s.bars) for s in brief.sections], brief.bars)
    return replace(brief, sections=sections, remarks=(*brief.remarks, *([remark] if remark else [])))


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST_BRIEF + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"Cannot read {path}: {reason}", "Name the JSON file of a brief.") from error
    if len(text) > LONGEST_BRIEF:
        raise UserError(f"{path} is too long to be a brief", "Name the JSON file of a brief.")
    return text


def sketch_options(arguments: Namespace) -> Options:
    """The common flags, with what a sketch is drawn with where nothing is said."""
    from models.drawing import FROM_NOTHING

    options = options_of(arguments)
    chance = {"temperature": arguments.temperature, "top_p": arguments.top_p}
    sampling = FROM_NOTHING._replace(**{name: value for name, value in chance.items() if value is not None})
    return replace(options, sampling=sampling, progression=None)


def _sound_names(arguments: Namespace, count: int) -> list[Path]:
    if arguments.render is None:
        return []
    asked: Path = arguments.render
    if asked.suffix.lower() != ".wav":
        raise UserError(f"{asked.name} does not end in .wav", f"Name it {asked.stem or 'sketch'}.wav, for example.")
    if count == 1:
        return [asked]
    return [asked.with_name(f"{asked.stem}-{number}{asked.suffix}") for number in range(1, count + 1)]


def _echo(brief: Brief) -> None:
    print("understood (* from your words):")
    for line in brief.lines():
        print(f"  {printable_line(line)}")
    for remark in brief.remarks:
        print(f"note: {printable(remark)}", file=sys.stderr)


def printable_line(line: str) -> str:
    return "".join(char if char.isprintable() else " " for char in line)


def _print_files(paths: Sequence[Path], counts: Sequence[int], violations: Sequence[Sequence[str]]) -> None:
    width = max(len(str(path)) for path in paths)
    for path, count, broken in zip(paths, counts, violations, strict=True):
        print(f"  {str(path).ljust(width)}  {counted(count, 'note')}{f', but {broken[0]}' if broken else ''}")


def _described(
    brief: Brief, sketches: Sequence[Sketch], paths: Sequence[Path], sounds: Sequence[Path], options: Options
) -> dict[str, Any]:
    described = [
        {
            "number": made.candidate.number,
            "path": str(path),
            "seed": options.seed,
            "model_hash": made.candidate.model_hash,
            "violations": list(made.candidate.violations),
            "notes": made.note_count,
            "ms_to_first_bar": round(made.candidate.first_bar_ms, 1),
        }
        for made, path in zip(sketches, paths, strict=True)
    ]
    asked = {"command": "sketch", "candidates": options.candidates, "seed": options.seed,
             "temperature": options.sampling.temperature, "top_p": options.sampling.top_p}  # fmt: skip
    result = {"brief": asdict(brief), "candidates": described, "request": asked}
    return result | ({"sounds": [str(path) for path in sounds]} if sounds else {})


def run_edit(arguments: Namespace) -> None:
    from assistant.editing import edit
    from assistant.pipeline import load_generator
    from models.text.edits import read_edit

    changes = read_edit(arguments.text)
    source = read_midi(arguments.input)
    if arguments.seed is None:
        arguments.seed = new_seed()
    exact = all(change.exact for change in changes)
    paths = midi_names(arguments.output, 1 if exact else arguments.candidates)
    check_outputs(paths, arguments.input, arguments.force)
    options = options_of(arguments)
    if not arguments.json:
        print("understood:")
        for change in changes:
            print(f"  {printable_line(change.line)}")
    with ProgressBar(sys.stderr, options.candidates, 1) as bar:
        answers = edit(source.score, changes, load_generator, options, None if exact else bar.show)
    write_all(
        [(path, partial(save_midi, a.score)) for path, a in zip(paths, answers, strict=True)], arguments.force
    )
    counts = [sum(len(track.notes) for track in answer.score.tracks) for answer in answers]
    if arguments.json:
        described = [
            {"path": str(path), "notes": count, "model_hash": answer.model_hash or None,
             "violations": list(answer.violations)}
            for path, count, answer in zip(paths, counts, answers, strict=True)
        ]  # fmt: skip
        lines = [{"text": change.text, "change": change.line, "exact": change.exact} for change in changes]
        print(json.dumps({"changes": lines, "candidates": described, "seed": options.seed}, indent=1))
        return
    _print_files(paths, counts, [answer.violations for answer in answers])
    if not exact:
        print(f"--seed {options.seed} repeats this")
