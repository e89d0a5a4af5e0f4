"""What the music around suggests for the next note: repetition, melody and harmony as plain numbers.

A network of attention finds these relations by itself, given enough music and time. Told them outright, it
learns with a fraction of both. A hint never says more than the steps before it already show.

    REFERENCE  the pitch that the next one is heard against: the last one of the track
    AFTER      the position of the cell's last note
    NEXT       for each of ECHOES bars back: where the track went on from here in that bar, or END
    SAME       for each of ECHOES: the pitch that bar has at the position drawn
    SOUNDING   pitch classes that the other tracks sound at the position drawn, as bits
    DURATION, VELOCITY, MICRO   of the track's last note, then of the same note in each of ECHOES
    USUAL       how loud the note is in its track within PROFILE_BARS bars: mean velocity, in all and at this place
    MEMORY      keys of the figures (models/figures.py) that the note would continue
    PROFILE     how often each pitch class is heard within PROFILE_BARS bars: LEVELS bits of a level each
    onsets     positions at which the track struck a bar ago, and at which others strike in this bar
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.figures import LAGS, OF_FIELD, Past, Words
from models.piece import DRUMS, DURATIONS, MAX_BAR, MICRO_LIMIT

IntArray = NDArray[np.int32]
Number = TypeVar("Number", int, IntArray)
BoolArray = NDArray[np.bool_]
ECHOES = (1, 2, 4)
END = MAX_BAR
NONE = -1
REFERENCE, AFTER, NEXT, SAME, SOUNDING = 0, 1, slice(2, 5), slice(5, 8), 8
DURATION, VELOCITY, MICRO = slice(9, 13), slice(13, 17), slice(17, 21)
USUAL = slice(MICRO.stop, MICRO.stop + 2)
MEMORY = [slice(USUAL.stop + kinds.start, USUAL.stop + kinds.stop) for kinds in OF_FIELD]
REST_MEMORY = slice(MEMORY[2].start, MEMORY[-1].stop)
PROFILE = MEMORY[-1].stop
HINTS = PROFILE + 1
PROFILE_BARS = 8
LEVELS = 4  # never, rarely, sometimes, often: two bits
_RARE, _OFTEN = 0.04, 0.1  # shares of the notes
ONSETS = 2
LOUD = (VELOCITY.start, USUAL.start, USUAL.start + 1)  # what a velocity is louder or softer than
MOST_SLOTS = 64
_MICRO_SHIFT = np.array([0, 0, MICRO_LIMIT], dtype=np.int32)
_BAR_KEY, _TRACK_KEY, _LANE_KEY = 1 << 16, 1 << 40, 1 << 52
_CLASSES = np.eye(12, dtype=np.float32)[np.arange(256) % 12]


class Notes(NamedTuple):
    """Notes in sight, [n] each; those of a cell ascend by position and pitch.

    pitch: as FIELDS has it, a kit's keys from 128. start, end: grid ticks. order: when a note's cell comes among
    the context's or the region's cells. rest: [3, n] duration, velocity and micro as FIELDS has them. lane: whose
    note it is, where several candidates are written side by side and none hears another.
    """

    bar: IntArray
    track: IntArray
    position: IntArray
    pitch: IntArray
    start: IntArray
    end: IntArray
    order: IntArray
    in_region: BoolArray
    rest: IntArray
    lane: IntArray


class Cells(NamedTuple):
    """Where notes are to be predicted, [q] each.

    after, above: position and pitch of the cell's last note, NONE at its start. last: [3, q] its duration,
    velocity and micro. known: [q, len(ECHOES)] whether the same cell so many bars back is in sight.
    begin, length: where the cell's bar starts and how long it is, in grid ticks. program: of its track.
    """

    bar: IntArray
    track: IntArray
    order: IntArray
    in_region: BoolArray
    after: IntArray
    above: IntArray
    last: IntArray
    known: BoolArray
    begin: IntArray
    length: IntArray
    program: IntArray
    lane: IntArray


def cell_order(bar: Number, slot: Number) -> Number:
    """Cells come bar by bar, in a bar by slot. Takes numbers, or arrays of them."""
    return bar * MOST_SLOTS + slot


def note_table(
    rows: IntArray, programs: IntArray, slots: IntArray, bar_time: IntArray, in_region: BoolArray
) -> Notes:
    """Notes from rows of Piece.notes. programs, slots: [T]; bar_time: [B] grid ticks at which bars start."""
    bar, track, position = rows[:, 0], rows[:, 1], rows[:, 2]
    start = bar_time[bar] + position
    pitch = rows[:, 3] + np.where(programs[track] == DRUMS, 128, 0).astype(np.int32)
    rest = (rows[:, 4:7] + _MICRO_SHIFT).T
    end = start + DURATIONS[rows[:, 4]]
    order = cell_order(bar, slots[track])
    return Notes(bar, track, position, pitch, start, end, order, in_region, rest, np.zeros_like(bar))


class Outlook:
    """The hints of some predictions, filled in as fields are drawn: `table` [q, HINTS], NONE where there is no
    hint, and `onsets` [q, ONSETS, MAX_BAR]."""

    def __init__(self, notes: Notes, cells: Cells) -> None:
        self._notes = notes
        count = len(cells.bar)
        self.table = np.full((count, HINTS), NONE, dtype=np.int32)
        self.onsets = np.zeros((count, ONSETS, MAX_BAR), dtype=bool)
        self._rest = self.table[:, DURATION.start : MICRO.stop].reshape(count, 3, 1 + len(ECHOES))  # a view
        self.table[:, REFERENCE] = np.where(cells.above < 128, cells.above, NONE)
        self.table[:, AFTER] = cells.after
        self.table[:, NEXT] = np.where(cells.known, END, NONE)
        self._rest[:, :, 0] = cells.last.T
        before = notes.order < cells.order[:, None]
        asked = cells.in_region[:, None]
        seen = np.where(notes.in_region, asked & before, asked | before) & (notes.lane == cells.lane[:, None])
        same_track = notes.track == cells.track[:, None]
        mine = seen & same_track
        distance = cells.bar[:, None] - notes.bar
        self._others = seen & ~same_track
        near = np.abs(distance) <= PROFILE_BARS
        self.table[:, PROFILE] = _profile(seen & near & (notes.pitch < 128), notes)
        self._echoes = [mine & (distance == back) for back in ECHOES]
        code = notes.position * 256 + notes.pitch
        self._further = code > np.where(cells.after == NONE, NONE, cells.after * 256 + cells.above)[:, None]
        own_cell = (notes.order == cells.order[:, None]) & (notes.in_region == asked) & ~self._further
        own_cell &= notes.lane == cells.lane[:, None]
        self._near = own_cell | mine & near
        if len(code):
            self._fill_openings(cells.after == NONE, mine & (distance > 0), notes.bar * 65_536 + code)
            self._fill_places(self._others & (distance == 0))
        self._past = _past(notes, cells)
        later = self.onsets[:, 1] & (np.arange(MAX_BAR) > cells.after[:, None])
        found, others = _first(later)
        coming = np.full(count, NONE, dtype=np.int32)
        coming[found] = others
        self._words = Words(count)
        self.table[:, MEMORY[0]] = self._words.of_past(self._past, coming)

    def _fill_openings(self, opening: BoolArray, earlier: BoolArray, when: IntArray) -> None:
        """A cell's first note is heard against the last note of the track before it."""
        rows = np.flatnonzero(opening)
        if not len(rows):
            return
        candidates = np.where(earlier[rows], when, NONE)
        last = candidates.argmax(axis=1)
        found = candidates[np.arange(len(rows)), last] >= 0
        rows, last = rows[found], last[found]
        pitch = self._notes.pitch[last]
        self.table[rows, REFERENCE] = np.where(pitch < 128, pitch, NONE)
        self._rest[rows, :, 0] = self._notes.rest[:, last].T

    def _fill_places(self, others_now: BoolArray) -> None:
        position = self._notes.position
        for index, echo in enumerate(self._echoes):
            found, first = _first(echo & self._further)
            self.table[found, NEXT.start + index] = position[first]
        for plane, struck in enumerate((self._echoes[0], others_now)):
            row, column = np.nonzero(struck)
            self.onsets[row, plane, position[column]] = True

    def draw_position(self, position: IntArray, time: IntArray) -> None:
        """Fill in what a position suggests for the pitch. time: grid ticks of the positions."""
        notes = self._notes
        self._here = notes.position == position[:, None]
        for index, echo in enumerate(self._echoes):
            found, first = _first(echo & self._further & self._here)
            self.table[found, SAME.start + index] = notes.pitch[first]
        when = time[:, None]
        sounds = self._others & (notes.pitch < 128) & (notes.start <= when) & (notes.end > when)
        classes = sounds.astype(np.float32) @ _CLASSES[notes.pitch]
        self.table[:, SOUNDING] = (classes > 0) @ (1 << np.arange(12))
        heard, sounding = self.table[:, REFERENCE], self.table[:, SOUNDING]
        self.table[:, MEMORY[1]] = self._words.of_position(self._past, position, heard, sounding)

    def draw_pitch(self, pitch: IntArray) -> None:
        """Fill in what a pitch suggests for duration, velocity and micro."""
        same = self._here & (self._notes.pitch == pitch[:, None])
        for index, echo in enumerate(self._echoes):
            found, first = _first(echo & same)
            self._rest[found, :, 1 + index] = self._notes.rest[:, first].T
        alike = self._near & (self._notes.pitch == pitch[:, None])
        for column, heard in zip(range(USUAL.start, USUAL.stop), (alike, alike & self._here), strict=True):
            self.table[:, column] = usual(heard @ self._notes.rest[1], heard.sum(axis=1))
        self.table[:, REST_MEMORY] = self._words.of_pitch(self._past, pitch)


def usual(total: Number, count: Number) -> Number:
    """The mean of so many velocities, to the nearest bin; NONE of none. Takes numbers, or arrays of them."""
    return (2 * total + count) // (2 * count + (count == 0)) - (count == 0)


def _profile(heard: BoolArray, notes: Notes) -> IntArray:
    """The level of every pitch class among the notes heard, [q, n] of them."""
    return pack_profile(heard.astype(np.float32) @ _CLASSES[notes.pitch])


def pack_profile(counts: NDArray[np.float32]) -> IntArray:
    """How often each pitch class is heard, [q, 12] notes, as levels: [q]."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    level = (counts > 0).astype(np.int32) + (share >= _RARE) + (share >= _OFTEN)
    packed: IntArray = level @ (1 << 2 * np.arange(12, dtype=np.int32))
    return packed


def _past(notes: Notes, cells: Cells) -> Past:
    """The notes each prediction's track played last, of those in sight: the context knows nothing of the region."""

    def place(table: Notes | Cells, inside: IntArray) -> NDArray[np.int64]:
        lane, track, bar = (column.astype(np.int64) for column in (table.lane, table.track, table.bar))
        return lane * _LANE_KEY + track * _TRACK_KEY + bar * _BAR_KEY + inside

    code = place(notes, notes.position * 256 + notes.pitch)
    wanted = place(cells, np.where(cells.after == NONE, 0, cells.after * 256 + cells.above + 1))
    rows = np.full((LAGS, len(wanted)), NONE, dtype=np.int64)
    for in_region in (False, True):
        asked = np.flatnonzero(cells.in_region == in_region)
        visible = np.arange(len(code)) if in_region else np.flatnonzero(~notes.in_region)
        if not len(asked) or not len(visible):
            continue
        order = visible[np.argsort(code[visible], kind="stable")]
        last = np.searchsorted(code[order], wanted[asked]) - 1 - np.arange(LAGS)[:, None]
        found = order[np.maximum(last, 0)]
        mine = (last >= 0) & (notes.track[found] == cells.track[asked]) & (notes.lane[found] == cells.lane[asked])
        rows[:, asked] = np.where(mine, found, NONE)
    missing = rows == NONE

    def of(column: IntArray) -> IntArray:
        return np.where(missing, NONE, column[rows]) if len(column) else rows.astype(np.int32)

    duration, velocity, micro = (of(column) for column in notes.rest)
    return Past(
        of(notes.start),
        of(notes.end),
        of(notes.pitch),
        duration,
        velocity,
        micro,
        cells.begin,
        cells.length,
        cells.program,
    )


def _first(mask: BoolArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of a mask that have anything, and where the first of it is."""
    if not mask.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first = mask.argmax(axis=1)
    found = np.flatnonzero(mask[np.arange(len(mask)), first])
    return found, first[found]
