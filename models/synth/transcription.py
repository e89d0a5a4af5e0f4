"""From a followed line to its notes: where they begin and end, their pitch and how loud they are.

The pitches are cut into notes by the likeliest course of steps (a Potts model, by Viterbi): being away from a
note's pitch costs, up to a semitone, and so does every new note. Vibrato and scoops are then cheaper as part of
their note than as notes of their own, and a slide changes notes in its middle. What is said anew on the same
pitch is found by its loudness: it dips, and comes back quickly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.synth.pitch import HOP, PitchLine
from models.synth.sound import SAMPLE_RATE

Doubles = NDArray[np.float64]

FRAME = HOP / SAMPLE_RATE  # seconds
GRID = 0.25  # semitones between the pitches that a note may have while notes are cut
FAR = 1.0  # semitones beyond which a frame is merely not of this note
CHANGE = 5.0  # frames FAR from their note that a new note is worth
PAUSE = 1.5  # the same, for falling silent and for beginning
UNPITCHED = 1.0  # cost of a frame without a pitch inside a note
OUTSIDE = 1.0  # cost of a frame with one outside of all notes
RISE, RISE_FRAMES = 5.0, 6  # dB and frames in which a note that is said anew comes back
DIP = 2.5  # dB that it was quieter before
CONSONANT = 9  # frames that one on the note's own pitch may last
SHORTEST = 6  # frames of a note
SLID = 0.8  # semitones that a short note passes through, and then is no note but a slide
SHORT = 11  # frames
QUIET = 38.0  # dB below the loudest note; what is quieter is an echo or a breath
OVERLAP = 7.0  # semitones
LATE = 0.01  # seconds that a note has sounded when half of a window holds it
SETTLED = 5  # frames until a voice has found its pitch


@dataclass(frozen=True, slots=True)
class HeardNote:
    """start and end in seconds. pitch: MIDI, with its fraction. level: dB of its loudest moment."""

    start: float
    end: float
    pitch: float
    level: float


def hear_notes(line: PitchLine) -> list[HeardNote]:
    """The notes of a line, in order; none sound at once."""
    spans = [
        (first, last)
        for stretch in _steps(line.pitch)
        for begun, last in _split(line, *stretch)
        if _is_note(line, first := _vowel(line, begun, last), last)
    ]
    notes = [_note(line, first, last) for first, last in spans]
    loudest = max((note.level for note in notes), default=0.0)
    return [
        note
        for before, note, after in zip([None, *notes], notes, [*notes[1:], None], strict=False)
        if note.level > loudest - QUIET
        and not (after and _leads_into(note, after))
        and not (before and after and _is_overlap(before, note, after))
    ]


def _is_overlap(before: HeardNote, note: HeardNote, after: HeardNote) -> bool:
    """Whether two notes that ring into each other were taken for the low one whose overtones both could be."""
    short = note.end - note.start < 1.5 * SHORT * FRAME and after.start - before.end < 2 * SHORT * FRAME
    return short and note.pitch < min(before.pitch, after.pitch) - OVERLAP


def _leads_into(note: HeardNote, after: HeardNote) -> bool:
    """Whether it is but the closed mouth before the next note."""
    short = note.end - note.start < SHORT * FRAME and after.start - note.end < 4 * FRAME
    return short and abs(note.pitch - after.pitch) < 0.5 and note.level < after.level - RISE


def _steps(pitch: Doubles) -> list[tuple[int, int]]:
    """First frame and the one after the last of every stretch on one pitch."""
    known = pitch[~np.isnan(pitch)]
    if not len(known):
        return []
    grid = np.arange(known.min() - GRID, known.max() + 2 * GRID, GRID)
    silent = len(grid)
    came = np.zeros((len(pitch), silent + 1), dtype=np.int16)
    stays = np.arange(silent + 1)
    best = np.full(silent + 1, PAUSE)
    best[silent] = 0.0
    for frame, value in enumerate(pitch):
        note, rest = int(best[:silent].argmin()), best[silent]
        begin, change = rest + PAUSE, best[note] + CHANGE
        other, cheapest = (silent, begin) if begin < change else (note, change)
        moved = best > cheapest
        moved[silent] = best[note] + PAUSE < rest
        came[frame] = np.where(moved, other, stays)
        if moved[silent]:
            came[frame, silent] = note
        fallen = min(rest, best[note] + PAUSE)
        best = np.minimum(best, cheapest)
        best[silent] = fallen
        if np.isnan(value):
            best[:silent] += UNPITCHED
        else:
            best[:silent] += np.minimum(np.abs(grid - value), FAR)
            best[silent] += OUTSIDE
    states = np.empty(len(pitch), dtype=np.int64)
    state = int(best.argmin())
    for frame in range(len(pitch) - 1, -1, -1):
        states[frame] = state
        state = int(came[frame, state])
    edges = np.flatnonzero(np.diff(states)) + 1
    bounds = [0, *edges.tolist(), len(states)]
    spans = [(a, b) for a, b in itertools.pairwise(bounds) if states[a] != silent]
    return [_trimmed(pitch, a, b) for a, b in spans]


def _trimmed(pitch: Doubles, first: int, last: int) -> tuple[int, int]:
    """Without the frames at its ends that have no pitch."""
    voiced = np.flatnonzero(~np.isnan(pitch[first:last]))
    return (first + int(voiced[0]), first + int(voiced[-1]) + 1) if len(voiced) else (first, first)


def _split(line: PitchLine, first: int, last: int) -> list[tuple[int, int]]:
    """A stretch on one pitch as the notes that are said anew in it."""
    level = line.level[first:last]
    cuts: list[int] = []
    frame = 1
    while frame < len(level) - 2:
        ahead = level[frame : frame + RISE_FRAMES + 1]
        rises = ahead.max() - level[frame] >= RISE
        lowest = level[frame] <= level[frame - 1] and level[frame] <= level[frame + 1]
        since = cuts[-1] if cuts else 0
        before = level[max(since, frame - 20) : frame]
        if rises and lowest and frame - since >= 4 and before.max() - level[frame] >= DIP:
            cut = frame + int(np.argmax(np.diff(ahead))) + 1
            cuts.append(cut)
            frame = cut + 3
        else:
            frame += 1
    bounds = [first, *(first + cut for cut in cuts), last]
    return list(itertools.pairwise(bounds))


def _vowel(line: PitchLine, first: int, last: int) -> int:
    """Where a note that begins with a closed mouth or a breath on its pitch becomes loud; `first` otherwise."""
    level = line.level[first : min(last, first + CONSONANT + RISE_FRAMES)]
    for frame in range(min(CONSONANT, len(level) - 2), -1, -1):
        ahead = level[frame : frame + RISE_FRAMES - 1]
        if ahead.max() - ahead[0] >= RISE and level[: frame + 1].max() < ahead.max() - RISE:
            return first + frame + int(np.argmax(np.diff(ahead)))
    return first


def _is_note(line: PitchLine, first: int, last: int) -> bool:
    if last - first < SHORTEST:
        return False
    pitch = line.pitch[first:last]
    pitch = pitch[~np.isnan(pitch)]
    if len(pitch) < SHORTEST:
        return False
    steps = np.diff(pitch)
    slid = abs(float(pitch[-1] - pitch[0])) > SLID and abs(float(np.sign(steps).sum())) > 0.7 * len(steps)
    return not (last - first < SHORT and slid)


def _note(line: PitchLine, first: int, last: int) -> HeardNote:
    pitch, level = line.pitch[first:last], line.level[first:last]
    settled = pitch[min(SETTLED, (last - first) // 3) : max(last - first - 2, SHORTEST // 2 + 1)]
    settled = settled[~np.isnan(settled)]
    if not len(settled):
        settled = pitch[~np.isnan(pitch)]
    return HeardNote(max(0.0, first * FRAME - LATE), last * FRAME, float(np.median(settled)), float(level.max()))


def tuning_of(notes: Sequence[HeardNote]) -> float:
    """Semitones, -0.5 to 0.5, that the notes lie above the nearest pitches of A 440, all in all.

    The mean direction on the circle of a semitone, each note as long as it lasts. 0 where they agree on none.
    """
    if not notes:
        return 0.0
    lasting = np.array([note.end - note.start for note in notes])
    turns = np.exp(2j * np.pi * np.array([note.pitch for note in notes]))
    mean = complex((lasting * turns).sum() / lasting.sum())
    return float(np.angle(mean) / (2 * np.pi)) if abs(mean) > 0.35 else 0.0
