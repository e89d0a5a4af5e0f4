"""What a listener would count in a sketch: its lines, its phrases, its drums and its bass, as figures.

    lines     how a melody moves: notes a bar, pitches that stay, steps, wide leaps
    phrases   how much of a bar's rhythm, and of its notes, is heard again four bars later, and elsewhere
    drums     strokes a bar, on which grid they stand, and whether a style's own signature is there
    bass      register, and the root at changes of chord

Real pieces are counted in the same way, to know what is usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.instruments import family_of
from models.score import Note, Score, Track
from models.theory import chord_track

Bars = list[list[Note]]  # of one track, the notes of every bar


def bars_of(score: Score, track: Track) -> Bars:
    """The notes of a track by the bar they begin in, as far as the piece's last note."""
    end = max((note.start for other in score.tracks for note in other.notes), default=0)
    found: Bars = [[] for _ in range(score.bar_at(end).index + 1)]
    for note in track.notes:
        found[score.bar_at(note.start).index].append(note)
    return found


def top_line(track: Track) -> list[Note]:
    """The highest note of every onset."""
    tops: dict[int, Note] = {}
    for note in track.notes:
        if note.start not in tops or note.pitch > tops[note.start].pitch:
            tops[note.start] = note
    return [tops[start] for start in sorted(tops)]


def line_figures(score: Score, track: Track) -> dict[str, float]:
    """How the top line of a track moves."""
    line = top_line(track)
    steps = np.abs([b.pitch - a.pitch for a, b in pairwise(line)])
    if len(steps) < 4:
        return {}
    bars = bars_of(score, track)
    run = longest = 1
    for step in steps:
        run = run + 1 if step == 0 else 1
        longest = max(longest, run)
    return {
        "notes a bar": len(line) / max(1, len(bars)),
        "stays": float(np.mean(steps == 0)),
        "steps": float(np.mean((steps > 0) & (steps <= 2))),
        "thirds to fifths": float(np.mean((steps > 2) & (steps <= 7))),
        "wider": float(np.mean(steps > 7)),
        "longest stay": float(longest),
        "silent bars": float(np.mean([not bar for bar in bars])),
    }


def likeness(
    score: Score, one: Sequence[Note], first: int, other: Sequence[Note], second: int, pitch: bool
) -> float:
    """Share of the onsets (on a sixteenth grid; with their pitches) that two bars have in common (Dice)."""
    cell = max(1, score.ticks_per_quarter // 4)

    def keys(notes: Sequence[Note], begin: int) -> set[tuple[int, int]]:
        return {(round((note.start - begin) / cell), note.pitch if pitch else 0) for note in notes}

    a, b = keys(one, first), keys(other, second)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def phrase_figures(score: Score, track: Track) -> dict[str, float]:
    """How like the bars of a track are to those four and eight bars later, and to those at lags in between."""
    bars = bars_of(score, track)
    if len(bars) < 8:
        return {}
    starts = [score.bar(index).start for index in range(len(bars))]

    def mean(lags: Sequence[int], pitch: bool) -> float:
        pairs = [(i, i + lag) for lag in lags for i in range(len(bars) - 1 - lag) if bars[i] or bars[i + lag]]
        found = [likeness(score, bars[i], starts[i], bars[j], starts[j], pitch) for i, j in pairs]
        return float(np.mean(found)) if found else 0.0

    return {
        "rhythm at 4 bars": mean((4, 8), False),
        "rhythm elsewhere": mean((1, 3, 5, 7), False),
        "notes at 4 bars": mean((4, 8), True),
        "notes elsewhere": mean((1, 3, 5, 7), True),
    }


def melody_of(score: Score) -> Track | None:
    """The pitched track with the highest single line: nearly one note an onset, highest mean."""
    pitched = [track for track in score.tracks if not track.is_drum and len(track.notes) >= 8]
    single = [track for track in pitched if len(track.notes) <= 1.3 * len(top_line(track))]
    single = [track for track in single if family_of(track.program) != "Bass"] or single or pitched
    return max(single, key=lambda track: float(np.mean([note.pitch for note in track.notes])), default=None)


def bass_of(score: Score) -> Track | None:
    """The track of a bass instrument, else the lowest one."""
    pitched = [track for track in score.tracks if not track.is_drum and track.notes]
    basses = [track for track in pitched if family_of(track.program) == "Bass"] or pitched
    return min(basses, key=lambda track: float(np.mean([note.pitch for note in track.notes])), default=None)


def bass_figures(score: Score) -> dict[str, float]:
    """Lowest and highest pitch of the bass, and how often it has the root where the chord changes."""
    bass = bass_of(score)
    changes = [change for change in chord_track(score) if change.chord]
    if bass is None:
        return {}
    pitches = [note.pitch for note in bass.notes]
    slack = score.ticks_per_quarter // 8
    heard = [
        next((n.pitch % 12 for n in bass.notes if abs(n.start - change.tick) <= slack), None) for change in changes
    ]
    right = [
        pitch in (change.chord.root, change.chord.bass)
        for pitch, change in zip(heard, changes, strict=True)
        if pitch is not None and change.chord
    ]
    return {
        "bass lowest": float(min(pitches)),
        "bass highest": float(max(pitches)),
        "root at changes": float(np.mean(right)) if right else 0.0,
    }


def chord_figures(score: Score) -> dict[str, float]:
    """Voices at an onset of the tracks that play chords, and bars of theirs with a silent second half."""
    sizes, halves = [], []
    melody, bass = melody_of(score), bass_of(score)
    for track in score.tracks:
        if track.is_drum or track is melody or track is bass or not track.notes:
            continue
        onsets: dict[int, int] = {}
        for note in track.notes:
            onsets[note.start] = onsets.get(note.start, 0) + 1
        sizes += list(onsets.values())
        for index, bar in enumerate(bars_of(score, track)):
            middle = score.bar(index).start + score.bar(index).length // 2
            halves.append(not any(note.end > middle for note in bar))
    return {
        "voices": float(np.mean(sizes)) if sizes else 0.0,
        "bars that stop": float(np.mean(halves)) if halves else 0.0,
    }


def drum_figures(score: Score) -> dict[str, float]:
    """Strokes a bar, and the shares that stand on eighths, on sixteenths between them, and on triplets."""
    notes = [note for track in score.tracks if track.is_drum for note in track.notes]
    if not notes:
        return {}
    quarter = score.ticks_per_quarter
    inside = np.array([note.start % quarter / quarter for note in notes])
    near = [np.abs(inside[:, None] - np.array(places)).min(axis=1) for places in ((0, 1 / 2, 1), (1 / 4, 3 / 4),
            (1 / 3, 2 / 3, 1 / 6, 5 / 6))]  # fmt: skip
    bars = score.bar_at(max(note.start for note in notes)).index + 1
    nearest = np.argmin(near, axis=0)
    return {
        "strokes a bar": len(notes) / bars,
        **{name: float(np.mean(nearest == i)) for i, name in enumerate(("eighths", "sixteenths", "triplets"))},
    }


def figures(score: Score) -> dict[str, float]:
    """All figures of a score."""
    melody = melody_of(score)
    found = {} if melody is None else line_figures(score, melody) | phrase_figures(score, melody)
    return found | chord_figures(score) | bass_figures(score) | drum_figures(score)


def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of every figure over the scores that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
