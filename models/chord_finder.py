"""The chords of music that names none, and how sure each of them is.

A hidden Markov model over beats. A state is a chord; what it sounds is the share of a beat's time that each
pitch class rings, weighed against what players of that chord sound; the lowest voice counts once more. From
beat to beat a chord stays, or moves, most of all at a bar line, to a chord of the key and down a fifth. The
best path is the answer (Viterbi), and a chord's confidence is its probability on the beats it stands for, with
all other paths counted (forward-backward; Rabiner, Proceedings of the IEEE 77, 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.score import Bar, Score
from models.theory import CHORD_TYPES, Chord, ChordChange, Key, estimate_key, key_from_signature

FloatArray = NDArray[np.float64]
LONGEST = 20_000  # beats

# How likely each quality is before anything is heard, relative to a plain triad, in nats.
_QUALITY_PRIOR = {
    "maj": 0.0,
    "min": -0.1,
    "7": -1.1,
    "maj7": -1.6,
    "min7": -1.2,
    "dim": -2.2,
    "dim7": -3.0,
    "hdim7": -2.4,
    "aug": -3.5,
    "sus4": -2.2,
    "sus2": -2.8,
    "maj6": -3.2,
    "min6": -3.2,
    "minmaj7": -4.5,
    "5": -2.5,
    "7sus4": -3.2,
}
_TONE_WEIGHTS = (0.30, 0.26, 0.22, 0.16)  # of a chord's tones from its root up
_OTHER = 0.022  # of each pitch class that is no tone of it
_SHARPNESS = 7.0  # nats that a beat says, at most, if every note of it decides
_BASS_WEIGHT = 1.3
_BASS_ROOT, _BASS_TONE, _BASS_OTHER = 0.55, 0.12, 0.02
_STAY = {"bar": 0.35, "half": 0.70, "beat": 0.90}
_DIATONIC = 1.2  # nats that a chord whose tones are all of the key gains
_FIFTH_DOWN, _FIFTH_UP, _STEP = 0.7, 0.3, 0.2

_STATES = [(root, kind) for root in range(12) for kind in range(len(CHORD_TYPES))]


class FoundChord(NamedTuple):
    """From `tick` on the harmony is `chord` (None: nothing sounds), with a probability of 0..1."""

    tick: int
    chord: Chord | None
    confidence: float


def find_chords(score: Score, by_bar: bool = False) -> tuple[FoundChord, ...]:
    """The chords of a score's pitched tracks, whatever its markers say. by_bar: at most one chord a bar, as for a
    melody alone. Empty where nothing pitched sounds."""
    notes = [note for track in score.tracks if not track.is_drum for note in track.notes]
    if not notes:
        return ()
    edges, levels = _beats(score, max(note.end for note in notes), by_bar)
    rings, bass = _heard(score, edges)
    key = key_from_signature(score.keys[0]) if score.keys else estimate_key(score)[0]
    emission = _emission(rings, bass)
    path, sure = _decode(emission, levels, _moves(key))
    found: list[FoundChord] = []
    first = int(np.argmax(rings.any(axis=1)))
    if first:
        found.append(FoundChord(0, None, 1.0))
    begin = first
    for beat in range(first + 1, len(path) + 1):
        if beat == len(path) or path[beat] != path[begin]:
            root, kind = _STATES[int(path[begin])]
            confidence = float(np.mean(sure[begin:beat]))
            found.append(FoundChord(int(edges[begin]), Chord(root, CHORD_TYPES[kind].name, root), confidence))
            begin = beat
    return tuple(found)


def chord_changes(found: Sequence[FoundChord]) -> tuple[ChordChange, ...]:
    """Found chords as a chord track."""
    return tuple(ChordChange(item.tick, item.chord) for item in found)


def _beats(score: Score, end: int, by_bar: bool) -> tuple[NDArray[np.int64], list[str]]:
    """Ticks at which beats begin, with the end of the last one; and what each of them is in its bar."""
    edges: list[int] = []
    levels: list[str] = []
    index = 0
    while (bar := score.bar(index)).start < end and len(edges) < LONGEST:
        beat = _beat_length(bar, score.ticks_per_quarter)
        count = 1 if by_bar else max(1, round(bar.length / beat))
        for number in range(count):
            edges.append(bar.start + number * bar.length // count)
            levels.append("bar" if number == 0 else "half" if 2 * number == count else "beat")
        index += 1
    return np.array([*edges, score.bar(index).start], dtype=np.int64), levels


def _beat_length(bar: Bar, quarter: int) -> float:
    """Ticks of what is felt as a beat: a dotted quarter in 6/8, a quarter in 4/4 and 4/8."""
    unit = 4 * quarter / bar.denominator
    if bar.denominator >= 8 and bar.numerator % 3 == 0 and bar.numerator > 3:
        return 3 * unit
    return max(unit, quarter) if bar.numerator * unit >= quarter else unit


def _heard(score: Score, edges: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """The time that each pitch class rings in each beat, and that it is the lowest: [beats, 12] each, as shares of
    the beat."""
    beats = len(edges) - 1
    rings, bass = np.zeros((beats, 12)), np.zeros((beats, 12))
    lowest = np.full(beats, 128)
    spans: list[tuple[int, int, float]] = []  # beat, pitch, share
    for track in score.tracks:
        if track.is_drum:
            continue
        for note in track.notes:
            beat = int(np.searchsorted(edges, note.start, side="right")) - 1
            while 0 <= beat < beats and edges[beat] < note.end:
                length = float(edges[beat + 1] - edges[beat])
                inside = min(note.end, int(edges[beat + 1])) - max(note.start, int(edges[beat]))
                spans.append((beat, note.pitch, inside / length))
                if inside >= length / 8:
                    lowest[beat] = min(lowest[beat], note.pitch)
                beat += 1
    for beat, pitch, share in spans:
        rings[beat, pitch % 12] += share
        if pitch == lowest[beat]:
            bass[beat, pitch % 12] += share
    return rings, bass


def _emission(rings: FloatArray, bass: FloatArray) -> FloatArray:
    """Log likelihood of every beat under every chord: [beats, states]."""
    sounds = np.full((len(_STATES), 12), _OTHER)
    low = np.full((len(_STATES), 12), _BASS_OTHER)
    for state, (root, kind) in enumerate(_STATES):
        for interval, weight in zip(CHORD_TYPES[kind].intervals, _TONE_WEIGHTS, strict=False):
            sounds[state, (root + interval) % 12] = weight
            low[state, (root + interval) % 12] = _BASS_TONE
        low[state, root] = _BASS_ROOT
    sounds /= sounds.sum(axis=1, keepdims=True)
    low /= low.sum(axis=1, keepdims=True)
    total = rings.sum(axis=1, keepdims=True)
    share = rings / np.maximum(total, 1e-9) * np.minimum(total, 1)
    depth = bass / np.maximum(bass.sum(axis=1, keepdims=True), 1e-9) * np.minimum(total, 1)
    return _SHARPNESS * share @ np.log(sounds).T + _BASS_WEIGHT * depth @ np.log(low).T


def _moves(key: Key) -> FloatArray:
    """Log probabilities of the chord that follows when it changes: [states, states]."""
    score = np.zeros((len(_STATES), len(_STATES)))
    scale = key.pitch_classes
    roots = np.array([root for root, _ in _STATES])
    for state, (root, kind) in enumerate(_STATES):
        tones = {(root + interval) % 12 for interval in CHORD_TYPES[kind].intervals}
        score[:, state] += _QUALITY_PRIOR[CHORD_TYPES[kind].name] + (_DIATONIC if tones <= scale else 0.0)
        motion = (root - roots) % 12
        score[:, state] += np.select(
            [motion == 5, motion == 7, np.isin(motion, (2, 10))], [_FIFTH_DOWN, _FIFTH_UP, _STEP]
        )
    np.fill_diagonal(score, -np.inf)
    return score - np.logaddexp.reduce(score, axis=1, keepdims=True)


def _decode(emission: FloatArray, levels: Sequence[str], moves: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """The best state of every beat, and its probability: [beats] each."""
    beats, states = emission.shape
    tables = {}
    for level, stay in _STAY.items():
        table = moves + np.log(1 - stay)
        np.fill_diagonal(table, np.log(stay))
        tables[level] = table
    start = np.logaddexp.reduce(moves, axis=0) - np.log(states)
    best, back = start + emission[0], np.zeros((beats, states), dtype=np.int64)
    forward = np.zeros((beats, states))
    forward[0] = _normalised(start + emission[0])
    linear = {level: np.exp(table) for level, table in tables.items()}
    for beat in range(1, beats):
        options = best[:, None] + tables[levels[beat]]
        back[beat] = options.argmax(axis=0)
        best = options[back[beat], np.arange(states)] + emission[beat]
        ahead = np.exp(forward[beat - 1]) @ linear[levels[beat]]
        forward[beat] = _normalised(np.log(np.maximum(ahead, 1e-300)) + emission[beat])
    path = np.zeros(beats, dtype=np.int64)
    path[-1] = int(best.argmax())
    for beat in range(beats - 1, 0, -1):
        path[beat - 1] = back[beat, path[beat]]
    backward = np.zeros(states)
    sure = np.zeros(beats)
    for beat in range(beats - 1, -1, -1):
        sure[beat] = np.exp(_normalised(forward[beat] + backward)[path[beat]])
        if beat:
            ahead = linear[levels[beat]] @ np.exp(_normalised(emission[beat] + backward))
            backward = np.log(np.maximum(ahead, 1e-300))
    return path, sure


def _normalised(logs: FloatArray) -> FloatArray:
    return logs - np.logaddexp.reduce(logs)
