"""Score <-> Piece: the same music on the network's grid, as small integer arrays.

The grid has 24 ticks to the quarter note, which holds straight 32nds and sixteenth triplets exactly.
A note is snapped to the musically nearest place of that grid and what is left over, up to a third of
a sixteenth, is its micro-timing in fifths of a grid tick (4 ms at 120 bpm). Quantised music has
micro-timing zero throughout; a performance keeps its feel.

A note belongs to the bar of the place it snaps to: a downbeat that is played a little early belongs
to the bar it opens, for the network and for the user's region alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.score import Note, Score
from models.theory import QUALITIES, Chord, chord_track

GRID = 24  # grid ticks per quarter note
MAX_BAR = 8 * GRID  # two whole notes; a longer bar is laid out as several grid bars
MICRO_PER_TICK = 5
MICRO_LIMIT = 8  # micro-timing runs from -8 to 8 fifths of a grid tick
MAX_BPM = 9999  # what files call faster is no tempo
DRUMS = 128  # the program number that stands for a drum kit

# Log-spaced, in grid ticks; every binary, triplet and dotted value up to a breve is exact.
DURATIONS = np.array(
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 21, 22, 24, 28, 30, 32, 36, 40, 42, 44, 48, 54]
    + [60, 66, 72, 84, 90, 96, 108, 120, 144, 168, 192, 240, 288, 336, 384, 480, 576, 768],
    dtype=np.int32,
)
_DURATION_EDGES = np.sqrt(DURATIONS[1:] * DURATIONS[:-1])  # geometric means: nearest in ratio
VELOCITY_BINS = 32

CHORD_PERIOD = 8  # bars of harmony that are taken to come again
UNKNOWN_CHORD = 0
NO_CHORD = 1 + 12 * 16
CHORDS = NO_CHORD + 1

# How far a place lies from where musicians write notes, in grid ticks of extra distance: sixteenths
# and eighth triplets attract, 32nds and sixteenth triplets less, all others least.
_PULL = np.array(
    [
        0.0 if tick % 6 == 0 or tick % 8 == 0 else 0.6 if tick % 3 == 0 or tick % 4 == 0 else 1.2
        for tick in range(GRID)
    ]
)

NOTE_COLUMNS = ("bar", "track", "position", "pitch", "duration", "velocity", "micro")


Whole = TypeVar("Whole", int, NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class Piece:
    """Music on the grid. All arrays int32; B bars, T tracks, N notes, C chord changes.

    programs: [T], 0..127 or DRUMS.
    bars: [B, 4], columns length in grid ticks (1..MAX_BAR), denominator, tempo in bpm, key (see `key_id`).
    notes: [N, 7], columns NOTE_COLUMNS, sorted by them; duration is an index into DURATIONS,
        velocity a bin 0..31, micro -8..8. No two notes share bar, track, position and pitch.
    chords: [C, 3], columns bar, position, chord id (see `chord_id`), sorted.
    """

    programs: NDArray[np.int32]
    bars: NDArray[np.int32]
    notes: NDArray[np.int32]
    chords: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class GridBar:
    """One bar of the grid and where it lies in the score: `start` and `length` in the score's ticks."""

    index: int
    score_bar: int
    start: int
    length: int
    grid_length: int

    @property
    def end(self) -> int:
        return self.start + self.length


def grid_bars(score: Score, count: int) -> list[GridBar]:
    """The grid bars that cover score bars 0..count-1; over-long bars are cut into parts at whole quarters."""
    result: list[GridBar] = []
    for index in range(count):
        bar = score.bar(index)
        quarters = Fraction(bar.length, score.ticks_per_quarter)
        parts = -(-quarters * GRID // MAX_BAR)
        # Cut between quarters, so that what is on a beat of the bar is on a beat of its part.
        step = -(-quarters // parts) * score.ticks_per_quarter if parts > 1 else bar.length
        for start in range(0, bar.length, step):
            length = min(step, bar.length - start)
            grid_length = -(-length * GRID // score.ticks_per_quarter)
            result.append(GridBar(len(result), index, bar.start + start, length, grid_length))
    return result


def key_id(fifths: int, minor: bool) -> int:
    """1..12 for major keys by tonic pitch class from C, 13..24 for minor ones; 0 is reserved for unknown."""
    return 1 + (fifths * 7 + (9 if minor else 0)) % 12 + (12 if minor else 0)


def chord_id(chord: Chord | None) -> int:
    """A chord's number on the network's side; None (no chord) is NO_CHORD."""
    if chord is None:
        return NO_CHORD
    return 1 + chord.root * 16 + QUALITIES.index(chord.quality)


def duration_bin(ticks: NDArray[np.float64]) -> NDArray[np.int32]:
    """Index into DURATIONS of the nearest value, in ratio, to durations in grid ticks."""
    return np.searchsorted(_DURATION_EDGES, ticks).astype(np.int32)


def ticks_of(fifths: Whole, ticks_per_quarter: int) -> Whole:
    """Ticks of the score nearest to a distance in fifths of a grid tick; halves go up, so that distances that
    are a tick or more apart stay apart."""
    whole = GRID * MICRO_PER_TICK
    return (2 * fifths * ticks_per_quarter + whole) // (2 * whole)


def snap(offset: NDArray[np.float64]) -> NDArray[np.int32]:
    """Grid positions of offsets from the bar start, in grid ticks (fractions allowed)."""
    near = np.floor(offset)[:, None] + np.arange(-1, 3)
    cost = np.abs(near - offset[:, None]) + _PULL[near.astype(np.int64) % GRID]
    cost[near < 0] = np.inf
    rows = np.arange(len(offset))
    return near[rows, cost.argmin(axis=1)].astype(np.int32)


def bars_needed(score: Score) -> int:
    """How many score bars hold every note's start, the place it snaps to included."""
    last = score.last_note_start
    return 0 if last < 0 else score.bar_at(last).index + 2


def to_piece(score: Score, bar_count: int | None = None) -> tuple[Piece, list[GridBar], list[NDArray[np.int32]]]:
    """Lay a score on the grid.

    Returns the piece, its grid bars, and for each track of the score the grid bar of each of its notes
    in the track's own order (so a region can be cut out of the score note by note).
    `bar_count` asks for at least that many score bars, empty ones included.
    """
    grid = grid_bars(score, max(bars_needed(score), bar_count or 0, 1))
    starts = np.array([bar.start for bar in grid], dtype=np.float64)
    lengths = np.array([bar.grid_length for bar in grid], dtype=np.int32)
    scale = GRID / score.ticks_per_quarter
    tables: list[NDArray[np.int32]] = []
    membership: list[NDArray[np.int32]] = []
    for index, track in enumerate(score.tracks):
        raw = np.array([note[:4] for note in track.notes], dtype=np.float64).reshape(-1, 4)
        bar = np.searchsorted(starts, raw[:, 0], side="right").astype(np.int32) - 1
        position = snap((raw[:, 0] - starts[bar]) * scale)
        pushed = (position >= lengths[bar]) & (bar + 1 < len(grid))
        bar = bar + pushed
        position = np.where(pushed, 0, np.minimum(position, lengths[bar] - 1))
        late = np.rint(((raw[:, 0] - starts[bar]) * scale - position) * MICRO_PER_TICK)
        micro = np.clip(late, -MICRO_LIMIT, MICRO_LIMIT).astype(np.int32)
        velocity = raw[:, 3].astype(np.int32) * VELOCITY_BINS // 128
        columns = (bar, np.full_like(bar, index), position, raw[:, 1].astype(np.int32))
        tables.append(np.stack([*columns, duration_bin(raw[:, 2] * scale), velocity, micro], axis=1))
        membership.append(bar)
    notes = np.concatenate(tables) if tables else np.zeros((0, 7), np.int32)
    # Longest first among equals, so that the doubled note that stays is the one that is heard.
    order = np.lexsort((-notes[:, 4], notes[:, 3], notes[:, 2], notes[:, 1], notes[:, 0]))
    notes = notes[order]
    fresh = np.ones(len(notes), dtype=bool)
    fresh[1:] = (notes[1:, :4] != notes[:-1, :4]).any(axis=1)
    piece = Piece(
        programs=np.array([DRUMS if t.is_drum else t.program for t in score.tracks], dtype=np.int32),
        bars=_bar_table(score, grid),
        notes=np.ascontiguousarray(notes[fresh], dtype=np.int32),
        chords=_chord_table(score, grid, starts, lengths),
    )
    return piece, grid, membership


def _bar_table(score: Score, grid: list[GridBar]) -> NDArray[np.int32]:
    rows = np.zeros((len(grid), 4), dtype=np.int32)
    keys = list(score.keys)
    key = 0
    for row, bar in zip(rows, grid, strict=True):
        while keys and keys[0].tick < bar.end:
            change = keys.pop(0)
            key = key_id(change.fifths, change.minor)
        denominator = score.bar(bar.score_bar).denominator
        row[:] = bar.grid_length, denominator, min(MAX_BPM, round(score.tempo_at(bar.start).bpm)), key
    return rows


def _chord_table(
    score: Score, grid: list[GridBar], starts: NDArray[np.float64], lengths: NDArray[np.int32]
) -> NDArray[np.int32]:
    changes = [(change.tick, chord_id(change.chord)) for change in chord_track(score)]
    rows = []
    for tick, chord in changes:
        bar = int(np.searchsorted(starts, tick, side="right")) - 1
        position = round((tick - starts[bar]) * GRID / score.ticks_per_quarter)
        if position >= lengths[bar]:
            bar, position = bar + 1, 0
        if bar < len(grid):
            rows.append((bar, position, chord))
    latest = {(bar, position): chord for bar, position, chord in rows}
    return np.array([(*place, latest[place]) for place in sorted(latest)], dtype=np.int32).reshape(-1, 3)


class VelocityTable:
    """Velocity bin -> MIDI velocity, spelled the way the score at hand spells it.

    A file whose every note has velocity 100 is continued with 100, not with the middle of 100's bin.
    """

    def __init__(self, score: Score) -> None:
        totals = np.zeros(VELOCITY_BINS)
        counts = np.zeros(VELOCITY_BINS)
        for track in score.tracks:
            values = np.array([note.velocity for note in track.notes], dtype=np.int64)
            np.add.at(totals, values * VELOCITY_BINS // 128, values)
            np.add.at(counts, values * VELOCITY_BINS // 128, 1)
        middle = np.arange(VELOCITY_BINS) * 4 + 2
        self._velocity = np.where(counts > 0, np.rint(totals / np.maximum(counts, 1)), middle).astype(int)

    def __getitem__(self, velocity_bin: int) -> int:
        return max(1, int(self._velocity[velocity_bin]))


def to_note(
    row: NDArray[np.int32] | tuple[int, ...], bar: GridBar, ticks_per_quarter: int, velocities: VelocityTable
) -> Note:
    """One row of `Piece.notes` as a Note in the score's ticks."""
    _, _, position, pitch, duration, velocity, micro = (int(value) for value in row)
    start = bar.start + ticks_of(position * MICRO_PER_TICK + micro, ticks_per_quarter)
    length = ticks_of(int(DURATIONS[duration]) * MICRO_PER_TICK, ticks_per_quarter)
    return Note(max(0, start), pitch, max(1, length), velocities[velocity])


def score_bar_span(grid: list[GridBar], first: int, last: int) -> range:
    """Grid bars of score bars `first`..`last` (both included)."""
    inside = [bar.index for bar in grid if first <= bar.score_bar <= last]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def chords_going_on(piece: Piece, first: int) -> NDArray[np.int32]:
    """The chord table with its last bars repeated over a region that begins at bar `first` and lies beyond them.

    Only the network is told so. Left as it is, the last chord would seem to sound on to the end, and the music
    freezes on it.
    """
    if not len(piece.chords) or piece.chords[-1, 0] >= first:
        return piece.chords
    period = min(CHORD_PERIOD, first)
    last = piece.chords[piece.chords[:, 0] >= first - period]
    shifts = range(period, len(piece.bars) - first + period, period)
    repeated = [last + np.array([shift, 0, 0], dtype=np.int32) for shift in shifts]
    table = np.concatenate([piece.chords, *repeated])
    lengths = piece.bars[:, 0]
    inside = table[:, 0] < len(lengths)
    table = table[inside]
    return table[table[:, 1] < lengths[table[:, 0]]]


def opening(score: Score, bars: int) -> Score:
    """The first bars of a score, as a file that ends there: longer notes are cut off, early downbeats gone."""
    _, grid, membership = to_piece(score)
    end = score.bar(bars).start
    tracks = []
    for track, bar_of_note in zip(score.tracks, membership, strict=True):
        notes = [
            note._replace(duration=max(1, min(note.duration, end - note.start)))
            for note, bar in zip(track.notes, bar_of_note.tolist(), strict=True)
            if grid[bar].score_bar < bars
        ]
        events = tuple(event for event in track.events if event.tick < end)
        tracks.append(replace(track, events=events).with_notes(notes))
    return replace(
        score,
        tracks=tuple(tracks),
        tempos=tuple(tempo for tempo in score.tempos if tempo.tick < end),
        meters=tuple(meter for meter in score.meters if meter.tick < end),
        keys=tuple(key for key in score.keys if key.tick < end),
        markers=tuple(marker for marker in score.markers if marker.tick < end),
        events=tuple(event for event in score.events if event.tick < end),
        length=end,
    )
