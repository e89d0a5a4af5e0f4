"""A second opinion on what key music is in, for measuring sketches: nothing that makes music imports it.

It differs from models/theory.py's estimate in method and in numbers: a naive Bayes reading of how long each pitch
class sounds, with the shares of Temperley, "Music and Probability" (MIT Press, 2007), chapter 6 (from the
Kostka-Payne corpus), and the lowest notes at the beginning and the end as evidence of the tonic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.score import Note, Score
from models.theory import Key

# How often a pitch class occurs in a stretch of music in a key, by its interval above the tonic.
PRESENCE = {
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}
# How often the lowest last note of a piece is the tonic, and its first; the rest is shared by the other classes.
LAST_IS_TONIC, FIRST_IS_TONIC = 0.75, 0.5
NOTES_WEIGHT, ENDS_WEIGHT = 5.0, 0.1


def find_key(score: Score) -> Key:
    """The major or minor key that makes the notes of a score likeliest. C major for a score without pitches."""
    notes = sorted(note for track in score.tracks if not track.is_drum for note in track.notes)
    if not notes:
        return Key(0, "major")
    lasting = [0.0] * 12
    for note in notes:
        lasting[note.pitch % 12] += note.duration
    shares = [value / sum(lasting) for value in lasting]
    keys = [Key(tonic, mode) for mode in PRESENCE for tonic in range(12)]
    ends = _ends(notes, score.ticks_per_quarter)
    return max(keys, key=lambda key: NOTES_WEIGHT * _sounding(shares, key) + ENDS_WEIGHT * _tonics(ends, key))


def _sounding(shares: Sequence[float], key: Key) -> float:
    profile = PRESENCE[key.mode]
    total = sum(profile)
    return sum(shares[(key.tonic + step) % 12] * math.log(value / total) for step, value in enumerate(profile))


def _ends(notes: Sequence[Note], quarter: int) -> tuple[int, int]:
    """The lowest pitches of the first and the last onset."""
    end = max(note.end for note in notes)
    last = min(note.pitch for note in notes if note.end > end - quarter // 2)
    return min(note.pitch for note in notes if note.start < notes[0].start + quarter // 4), last


def _tonics(ends: tuple[int, int], key: Key) -> float:
    total = 0.0
    for pitch, share in zip(ends, (FIRST_IS_TONIC, LAST_IS_TONIC), strict=True):
        total += math.log(share if pitch % 12 == key.tonic else (1 - share) / 11)
    return total
