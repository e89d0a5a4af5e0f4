"""Commands that write what they are asked for without a network: groove, interpolate and chords."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.outputs import check_outputs, midi_names, write_all
from assistant.overview import find_tracks
from models.errors import UserError
from models.midi_file import read_midi, save_midi
from models.score import Score
from models.theory import chord_symbol, with_chord_track

if TYPE_CHECKING:
    from models.chord_finder import FoundChord


def run_groove(arguments: Namespace) -> None:
    from models.transforms import groove_of, with_groove

    score, clip = read_midi(arguments.input).score, read_midi(arguments.clip).score
    tracks = find_tracks(score, arguments.tracks) if arguments.tracks else None
    result = with_groove(score, groove_of(clip), arguments.strength, tracks)
    _write(arguments, [result], [arguments.input, arguments.clip])


def run_interpolate(arguments: Namespace) -> None:
    from models.transforms import interpolate

    first, second = read_midi(arguments.input).score, read_midi(arguments.second).score
    _write(arguments, interpolate(first, second, arguments.steps), [arguments.input, arguments.second])


def _write(arguments: Namespace, scores: Sequence[Score], sources: Sequence[Path]) -> None:
    paths = midi_names(arguments.output, len(scores))
    for source in sources:
        check_outputs(paths, source, arguments.force)
    writers = [(path, partial(save_midi, score)) for path, score in zip(paths, scores, strict=True)]
    write_all(writers, arguments.force)
    for path in paths:
        print(path)


def run_chords(arguments: Namespace) -> None:
    from models.chord_finder import chord_changes, find_chords

    score = read_midi(arguments.input).score
    found = find_chords(score, arguments.by_bar)
    if not found:
        raise UserError("The file has no pitched notes to find chords in", "Choose a file with some.")
    if arguments.output:
        paths = midi_names(arguments.output, 1)
        check_outputs(paths, arguments.input, arguments.force)
        marked = with_chord_track(score, chord_changes(found))
        write_all([(path, partial(save_midi, marked)) for path in paths], arguments.force)
    if arguments.json:
        print(json.dumps({"chords": [_described(score, item) for item in found]}, indent=1))
        return
    for item in found:
        place = _described(score, item)
        print(
            f"bar {place['bar']:>4}  beat {place['beat']:<6g} {chord_symbol(item.chord):10} {item.confidence:4.0%}"
        )
    if arguments.output:
        print(f"they are markers in {paths[0]}")


def _described(score: Score, item: FoundChord) -> dict[str, object]:
    bar = score.bar_at(item.tick)
    beat = 1 + (item.tick - bar.start) * bar.denominator / (4 * score.ticks_per_quarter)
    return {
        "bar": bar.index + 1,
        "beat": round(beat, 3),
        "tick": item.tick,
        "chord": chord_symbol(item.chord),
        "confidence": round(item.confidence, 3),
    }
