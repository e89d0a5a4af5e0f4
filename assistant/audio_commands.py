"""`descant hum` and `descant timbre`: from a recording to notes, and to another instrument's sound."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.instruments import find_instrument, instrument_names
from assistant.outputs import check_outputs, midi_names, write_all
from assistant.overview import clock, counted, printable
from assistant.recordings import Recording, read_recording
from models.errors import ControlError, UserError
from models.instruments import parse_instrument
from models.midi_file import save_midi
from models.synth.hum import Hummed, hum

if TYPE_CHECKING:
    from models.synth.network import Bank


def run_hum(arguments: Namespace) -> None:
    """`descant hum`."""
    paths = _names(arguments.output)
    check_outputs(paths, arguments.input, arguments.force)
    recording = read_recording(arguments.input)
    found = hum_file(recording, arguments)
    write_all(
        [(path, partial(save_midi, s)) for path, s in zip(paths, _scores(found), strict=True)], arguments.force
    )
    if arguments.json:
        print(json.dumps({**describe(found, recording), "paths": [str(path) for path in paths]}, indent=1))
        return
    tell(recording)
    told = describe(found, recording)
    print(f"{counted(told['notes'], 'note')} in {clock(recording.seconds)}: {told['key']}, {told['tempo']:g} bpm")
    if abs(found.tuning) >= 10:
        side = "above" if found.tuning > 0 else "below"
        print(f"it lies {abs(found.tuning):.0f} cents {side} A = 440 Hz, which the notes leave out")
    for path, what in zip(paths, ("as you performed it", "on the grid"), strict=True):
        print(f"  {path}  {what}")


def run_timbre(arguments: Namespace) -> None:
    """`descant timbre`."""
    from assistant.sound import bank, check_sound_file, write_sound
    from models.synth.transfer import transfer

    check_sound_file(arguments.output, arguments)
    synth, program = _instrument(arguments.to, bank())
    recording = read_recording(arguments.input)
    tell(recording)
    sound = ([block] for block in transfer(recording.samples, synth, program, arguments.octave))
    write_sound(sound, [arguments.output], loudness=arguments.loudness, force=arguments.force)
    print(f"the sound is in {arguments.output}")


def _instrument(name: str, synth: Bank) -> tuple[Bank, int]:
    """The synth and the program of it that a name means: one's own instrument before one of General MIDI."""
    if name in instrument_names():
        from models.synth.instruments import load
        from models.synth.sound import MELODIC

        return synth.with_learned([load(find_instrument(name), synth)]), MELODIC
    try:
        found = parse_instrument(name)
    except ControlError as error:
        own = ", ".join(instrument_names())
        raise ControlError(error.message, f"{error.hint} Your own are {own}." if own else error.hint) from error
    if found.is_drum:
        raise UserError("Drums have no pitch to follow a line with", "Choose another instrument.")
    return synth, found.program


def hum_file(recording: Recording, arguments: Namespace) -> Hummed:
    return hum(
        recording.samples,
        tempo=arguments.tempo,
        key=arguments.key,
        grid=arguments.grid,
        program=arguments.program,
    )


def describe(found: Hummed, recording: Recording) -> dict[str, Any]:
    """What was heard, for other programs."""
    return {
        "notes": len(found.performed.tracks[0].notes),
        "seconds": round(recording.seconds, 3),
        "tempo": found.tempo,
        "key": found.key.name,
        "cents_off": round(found.tuning, 1),
        "remarks": list(recording.notes),
    }


def tell(recording: Recording) -> None:
    for note in recording.notes:
        print(f"note: {printable(note)}", file=sys.stderr)


def _scores(found: Hummed) -> tuple[Any, Any]:
    return found.performed, found.quantised


def _names(asked: Path) -> list[Path]:
    (path,) = midi_names(asked, 1)
    return [path, path.with_name(f"{path.stem}-quantised{path.suffix}")]
