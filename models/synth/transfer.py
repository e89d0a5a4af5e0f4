"""Timbre transfer: a followed line, played by another instrument with every slide and swell of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.synth.mix import Reverb
from models.synth.network import Bank
from models.synth.pitch import HOP, PitchLine, follow
from models.synth.render import SEND
from models.synth.sound import SAMPLE_RATE, Floats
from models.synth.tone import Tone
from models.synth.transcription import HeardNote, hear_notes
from models.synth.voices import ENDLESS_RELEASE, Tones

Doubles = NDArray[np.float64]

LOUDEST = 112  # velocity of the loudest note
ATTACK = 0.04  # seconds in which an instrument begins by itself, whatever the line does
MOST_LIFT = 12.0  # dB that the instrument is made louder than it is by itself, as when it has died away
DEEPEST = 40.0  # dB that it is made softer
OFF = 3.0  # semitones from its note that a line is followed: slides
SMOOTH = 3  # frames
LONGEST = 20.0  # seconds of a note that are made at a time
RING = 1.5  # seconds that a note rings on at most


def transfer(samples: Floats, bank: Bank, program: int, octave: int = 0) -> Iterator[Floats]:
    """Blocks (2, samples) of a recorded line (samples,) as `program` of the bank plays it, with reverberation.

    octave: how many octaves higher. UserError when no note is heard.
    """
    line = follow(samples)
    notes = [part for note in hear_notes(line) for part in _parts(note)]
    if not notes:
        hint = "Sing, hum or whistle one line, nearer to the microphone; chords and drums cannot be heard out."
        raise UserError("No note can be heard in the recording", hint)
    tones, reverb = Tones(bank, 0), Reverb()
    loudest = max(note.level for note in notes)
    waiting = np.zeros(0, dtype=np.float32)
    done = 0
    for note, after in zip(notes, [*notes[1:], None], strict=True):
        start = int(note.start * SAMPLE_RATE)
        if start > done:
            ready, waiting = _take(waiting, start - done)
            yield from _wet(ready, reverb)
            done = start
        played = _note(line, note, after, tones, program, octave, loudest)
        waiting = np.pad(waiting, (0, max(0, len(played) - len(waiting))))
        waiting[: len(played)] += played
    yield from _wet(waiting, reverb)
    yield from _wet(np.zeros(2 * SAMPLE_RATE, dtype=np.float32), reverb)


def _parts(note: HeardNote) -> list[HeardNote]:
    """A note that is held very long as several, so that memory stays bounded."""
    starts = np.arange(note.start, note.end - 0.5, LONGEST)
    starts = starts if len(starts) else np.array([note.start])
    return [
        replace(note, start=float(start), end=float(end))
        for start, end in zip(starts, [*starts[1:], note.end], strict=True)
    ]


def _take(waiting: Floats, count: int) -> tuple[Floats, Floats]:
    return np.pad(waiting[:count], (0, max(0, count - len(waiting)))), waiting[count:]


def _wet(mono: Floats, reverb: Reverb) -> Iterator[Floats]:
    for first in range(0, len(mono), SAMPLE_RATE):
        part = mono[first : first + SAMPLE_RATE]
        yield part[None] * np.float32(np.sqrt(0.5)) + reverb.process(part * np.float32(SEND))


def _note(
    line: PitchLine,
    note: HeardNote,
    after: HeardNote | None,
    tones: Tones,
    program: int,
    octave: int,
    loudest: float,
) -> Floats:
    """One note from its start to the end of its release, (samples,)."""
    pitch = int(np.clip(round(note.pitch) + 12 * octave, 0, 127))
    velocity = int(np.clip(round(LOUDEST * 10 ** ((note.level - loudest) / 40)), 16, 127))
    tone, release, gain = tones.get(program, pitch, velocity, False)
    held = int((note.end - note.start) * SAMPLE_RATE)
    ring = int(RING * SAMPLE_RATE)
    off, level = _curves(line, note)
    place = np.arange(held + ring) / HOP  # in frames
    rate = 2 ** (np.interp(place, np.arange(len(off)), off) / 12)
    # What is lifted and lowered is the difference between the line and what the instrument does by itself.
    own = np.array([tone.level(int(frame * HOP)) for frame in range(len(level))])
    wanted = level - note.level + own.max()
    shape = np.clip(wanted - own, -DEEPEST, MOST_LIFT)
    settled = np.clip(np.arange(len(shape)) * HOP / SAMPLE_RATE / ATTACK - 1, 0, 1)
    gains = 10 ** (np.interp(place, np.arange(len(shape)), shape * settled) / 20) * gain
    out = _read(tone, np.concatenate([[0.0], np.cumsum(rate)[:-1]])) * gains
    if tone.sustains:
        release = max(release, ENDLESS_RELEASE)
    # A note that another follows at once leaves it room: the instrument has one voice.
    joined = after is not None and after.start - note.end < 0.03
    fall = max(release, 400.0 if joined else 60.0) / SAMPLE_RATE
    since = np.maximum(0, np.arange(len(out)) - held)
    out *= np.clip(1 - since / ring, 0, 1) * 10 ** (-since * fall / 20)
    out[: min(96, len(out))] *= np.linspace(0, 1, min(96, len(out)))
    return out.astype(np.float32)


def _curves(line: PitchLine, note: HeardNote) -> tuple[Doubles, Doubles]:
    """Semitones off the whole pitch of a note, and level in dB, at each of its frames."""
    first = round(note.start * SAMPLE_RATE / HOP)
    last = max(first + 2, round(note.end * SAMPLE_RATE / HOP))
    pitch, level = line.pitch[first:last], line.level[first:last]
    off = pitch - note.pitch
    known = np.flatnonzero(~np.isnan(off))
    off = np.interp(np.arange(len(off)), known, off[known]) if len(known) else np.zeros(len(off))
    off = np.clip(off, -OFF, OFF) + note.pitch - round(note.pitch)
    return _smoothed(off), _smoothed(level)


def _smoothed(curve: Doubles) -> Doubles:
    window = np.hanning(SMOOTH + 2)[1:-1]
    return np.convolve(np.pad(curve, SMOOTH // 2, mode="edge"), window / window.sum(), "valid")


def _read(tone: Tone, places: Doubles) -> Doubles:
    """The tone at fractional places, by cubic interpolation (Catmull-Rom)."""
    whole = places.astype(np.int64)
    share = places - whole
    source = tone.read(0, int(whole[-1]) + 3).astype(np.float64)
    before = source[np.maximum(whole - 1, 0)]
    here, after, next_ = source[whole], source[whole + 1], source[whole + 2]
    bend = 2 * before - 5 * here + 4 * after - next_ + share * (3 * (here - after) + next_ - before)
    return np.asarray(here + 0.5 * share * (after - before + share * bend))
