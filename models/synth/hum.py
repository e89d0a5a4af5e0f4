"""Heard notes as a score: as they were performed, and put on a grid and into a key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ControlError, UserError
from models.score import KeySignature, Note, Score, Tempo, Track
from models.synth.pitch import follow
from models.synth.sound import Floats
from models.synth.transcription import HeardNote, hear_notes, tuning_of
from models.theory import Key, estimate_key

TICKS = 480  # a quarter note
LOUDEST = 112  # velocity of the loudest note
SOFTEST = 20
TEMPOS = np.arange(50.0, 190.0, 0.25)  # bpm that are tried
USUAL, SPREAD = 105.0, 0.45  # bpm, and octaves of tempo, that people hum in
FEWEST = 4  # notes from which a tempo is told
UNSURE = 120.0
GRIDS = {"1/4": 480, "1/8": 240, "1/8t": 160, "1/16": 120, "1/16t": 80, "1/32": 60}


@dataclass(frozen=True, slots=True)
class Hummed:
    """performed: with the timing and the loudness of the recording. quantised: on the grid and in the key.

    Both have the same notes, tempo and key. tuning: cents above A 440 that all of it was sung, which was taken out.
    """

    performed: Score
    quantised: Score
    tempo: float
    key: Key
    tuning: float


def parse_grid(text: str) -> int:
    """Ticks of a grid such as "1/16" or "1/8t". Raises ControlError."""
    name = re.sub(r"\s+", "", text.lower())
    if name not in GRIDS:
        raise ControlError(f'"{text}" is not a grid', f"The grids are {', '.join(GRIDS)}; t is for triplets.")
    return GRIDS[name]


def hum(
    samples: Floats,
    *,
    tempo: float | None = None,
    key: Key | None = None,
    grid: int = GRIDS["1/16"],
    program: int = 0,
) -> Hummed:
    """The score of a hummed, sung, whistled or played line, mono at 48 kHz (samples,).

    tempo: bpm; the recording then begins on a bar line. Without it, it is estimated, and the first note begins
    the first bar. key: what the quantised notes keep to; without it, it is estimated, and no note is moved for
    it. grid: ticks of the quantised notes, TICKS a quarter. program: the General MIDI sound. UserError when no
    note is heard.
    """
    heard = hear_notes(follow(samples))
    if not heard:
        hint = "Sing, hum or whistle one line, nearer to the microphone; chords and drums cannot be heard out."
        raise UserError("No note can be heard in the recording", hint)
    tuning = tuning_of(heard)
    if tempo is None:
        tempo, first = _tempo(heard)
    else:
        first = 0.0
    ticks = TICKS * tempo / 60
    loudest = max(note.level for note in heard)
    played = [
        Note(
            max(0, round((note.start - first) * ticks)),
            _clip(note.pitch - tuning),
            max(1, round((note.end - note.start) * ticks)),
            int(np.clip(round(LOUDEST * 10 ** ((note.level - loudest) / 40)), SOFTEST, LOUDEST)),
        )
        for note in heard
    ]
    # One voice: where rounding makes two notes meet, the first gives way.
    played = [
        note if after is None else note._replace(duration=max(1, min(note.duration, after.start - note.start)))
        for note, after in zip(played, [*played[1:], None], strict=True)
    ]
    performed = _score(played, tempo, None, program)
    found = key or estimate_key(performed)[0]
    pitches = [_in_key(note.pitch - tuning, key) if key else _clip(note.pitch - tuning) for note in heard]
    quantised = _score(_on_grid(played, pitches, grid), tempo, found, program)
    return Hummed(_score(played, tempo, found, program), quantised, tempo, found, 100 * tuning)


def _clip(pitch: float) -> int:
    return int(np.clip(round(pitch), 0, 127))


def _in_key(pitch: float, key: Key) -> int:
    """The pitch of the key that is nearest to what was sung."""
    near = [p for p in range(128) if p % 12 in key.pitch_classes]
    return min(near, key=lambda p: abs(p - pitch))


def _on_grid(played: Sequence[Note], pitches: Sequence[int], grid: int) -> list[Note]:
    starts = [round(note.start / grid) * grid for note in played]
    notes: list[Note] = []
    for note, pitch, start in zip(played, pitches, starts, strict=True):
        if notes and notes[-1].start >= start:
            start = notes[-1].start + grid  # two notes that fall on one line of the grid are both kept
        if notes and notes[-1].end > start:
            notes[-1] = notes[-1]._replace(duration=start - notes[-1].start)
        end = max(start + grid, round(note.end / grid) * grid)
        notes.append(note._replace(start=start, pitch=pitch, duration=end - start))
    return notes


def _score(notes: Sequence[Note], tempo: float, key: Key | None, program: int) -> Score:
    keys = () if key is None else (KeySignature(0, key.fifths, "min" in key.mode),)
    track = Track("Hummed", program, notes=tuple(notes))
    bar = 4 * TICKS
    length = -(-max(note.end for note in notes) // bar) * bar
    return Score(TICKS, (track,), (Tempo(0, round(60e6 / tempo)),), keys=keys, length=length)


def _tempo(heard: Sequence[HeardNote]) -> tuple[float, float]:
    """bpm, and the seconds of the first bar line: where the grid that fits best begins, by the first note.

    A tempo is as good as the notes' starts agree on a place between its eighths and between its sixteenths
    (mean direction on a circle), more so if people usually hum in it.
    """
    starts = np.array([note.start for note in heard])
    if len(starts) < FEWEST:
        return UNSURE, float(starts[0])
    weight = np.sqrt(np.array([note.end - note.start for note in heard]))

    def agreement(step: NDArray[np.float64]) -> NDArray[np.complex128]:
        return np.asarray((weight * np.exp(2j * np.pi * starts / step[:, None])).sum(axis=1) / weight.sum())

    beat = 60 / TEMPOS
    usual = np.exp(-0.5 * (np.log2(TEMPOS / USUAL) / SPREAD) ** 2)
    fit = 0.5 * np.abs(agreement(beat)) + np.abs(agreement(beat / 2)) + 0.6 * np.abs(agreement(beat / 4))
    best = int(np.argmax(fit * usual**0.35))
    step = beat[best : best + 1] / 4
    shift = float(np.angle(agreement(step))[0] / (2 * np.pi) * step[0])
    place = round((starts[0] - shift) / step[0]) * step[0] + shift
    return float(TEMPOS[best]), float(place)
