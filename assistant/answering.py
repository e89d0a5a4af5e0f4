"""What the engine's process does with a request: words and a score in, candidates as MIDI out."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from assistant.asking import build_request, describe_request, options_of, parse_words
from assistant.pipeline import Candidate, propose
from models.errors import Cancelled
from models.generators import Generator, Progress
from models.midi_file import read_midi, write_midi
from models.score import Note, Score

if TYPE_CHECKING:
    from assistant.session import Answer

Listen = Callable[[Progress, list[tuple[int, Note]]], None]


def answers(
    words: Mapping[str, Any],
    midi: bytes | None,
    generator: Generator,
    understood: Callable[[dict[str, Any]], None],
    listen: Listen,
    cancelled: Callable[[], bool],
) -> Iterator[Answer]:
    """The candidates of a request.

    words: as `asking.parse_words` takes them. midi: the score's file. understood: is told the request with
    everything filled in. listen: hears of every bar. Raises UserError and Cancelled, as the pipeline.
    """
    arguments = parse_words(words)
    if cancelled():
        raise Cancelled
    if arguments.command == "sketch":
        yield from _sketched(arguments, words.get("brief"), generator, understood, listen, cancelled)
        return
    score = read_midi(midi).score if midi else Score()
    if arguments.command == "edit":
        yield from _edited(arguments, score, generator, understood, cancelled)
        return
    request = build_request(arguments, score)
    understood(describe_request(arguments.command, request))
    for candidate in propose(request, generator, cancelled=cancelled, on_notes=listen):
        yield _answer(candidate, candidate.score, candidate.only_new())


def _sketched(
    arguments: Namespace,
    brief_given: Any,
    generator: Generator,
    understood: Callable[[dict[str, Any]], None],
    listen: Listen,
    cancelled: Callable[[], bool],
) -> Iterator[Answer]:
    from assistant.sketch_commands import brief_of, sketch_options
    from assistant.sketching import sketch

    brief = brief_of(arguments, None if brief_given is None else json.dumps(brief_given))
    options = sketch_options(arguments)
    said = {"command": "sketch", "brief": asdict(brief), "candidates": options.candidates, "seed": options.seed}
    understood({**said, "temperature": options.sampling.temperature, "top_p": options.sampling.top_p})
    for made in sketch(brief, generator, options, lambda progress: listen(progress, []), cancelled):
        yield _answer(made.candidate, made.score, made.score)


def _edited(
    arguments: Namespace,
    score: Score,
    generator: Generator,
    understood: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
) -> Iterator[Answer]:
    from assistant.editing import edit
    from assistant.session import Answer
    from models.text.edits import read_edit

    def stop(_: Progress) -> None:
        if cancelled():
            raise Cancelled

    changes = read_edit(arguments.text)
    options = options_of(arguments)
    lines = [{"text": change.text, "change": change.line, "exact": change.exact} for change in changes]
    understood({"command": "edit", "changes": lines, "candidates": options.candidates, "seed": options.seed})
    for number, made in enumerate(edit(score, changes, lambda: generator, options, stop), 1):
        midi = write_midi(made.score)
        count = sum(len(track.notes) for track in made.score.tracks)
        facts = _facts(count, options.seed, made.model_hash or generator.model_hash, made.violations, 0.0, 0.0)
        yield Answer(number, midi, midi, facts)


def _answer(candidate: Candidate, whole: Score, new: Score) -> Answer:
    from assistant.session import Answer

    count = candidate.note_count if whole is candidate.score else sum(len(track.notes) for track in whole.tracks)
    speed = candidate.first_bar_ms, candidate.notes_per_second
    facts = _facts(count, candidate.seed, candidate.model_hash, candidate.violations, *speed)
    if candidate.originality:
        facts["originality"] = candidate.originality.as_json()
    return Answer(candidate.number, write_midi(whole), write_midi(new), facts)


def _facts(
    notes: int, seed: int, model_hash: str, violations: tuple[str, ...], first_bar: float, speed: float
) -> dict[str, Any]:
    return {
        "notes": notes,
        "seed": seed,
        "model_hash": model_hash,
        "violations": list(violations),
        "ms_to_first_bar": round(first_bar, 1),
        "notes_per_second": round(speed, 1),
    }
