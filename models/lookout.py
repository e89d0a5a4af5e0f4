"""The hints of candidates that are written side by side, note by note: those of models/hints.py, only faster.

What does not change while a cell is written (earlier bars, other tracks, harmony) is looked up once, when a lane
enters it; the rest is kept up with every note. A test holds the hints against those of the whole piece.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.figures import LAGS, Words, past_words, pitch_words, position_words
from models.hints import (
    DURATION,
    ECHOES,
    END,
    HINTS,
    MEMORY,
    MICRO,
    NEXT,
    NONE,
    ONSETS,
    PROFILE,
    PROFILE_BARS,
    REST_MEMORY,
    SAME,
    SOUNDING,
    USUAL,
    Notes,
    cell_order,
    pack_profile,
    usual,
)
from models.piece import DRUMS, DURATIONS, MAX_BAR, MICRO_LIMIT

IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]
_PLAIN = USUAL.stop  # columns before the figures' keys
_ROWS = 11  # of what is kept of a note
_BAR, _TRACK, _POSITION, _PITCH, _START, _END, _ORDER, _IN_REGION = range(8)
_REST = slice(8, 11)
_VELOCITY = 9
_LENGTHS = DURATIONS.tolist()
_HERE = 256  # keys of a pitch at one place are its code and this
Row = tuple[int, int, int, int, int, int, int]  # as Piece.notes has it


class Lookout:
    """What some lanes are told: `table` [lanes, HINTS] and `onsets` [lanes, ONSETS, MAX_BAR + 2]."""

    def __init__(self, notes: Sequence[Notes], lanes: int, programs: IntArray, slots: IntArray, first: int) -> None:
        """notes: what each lane in use has in sight. programs, slots: [T]. first: the first bar in sight."""
        self.table = np.full((lanes, HINTS), NONE, dtype=np.int32)
        self._plain = list(self.table[:, :_PLAIN])
        self.onsets = np.zeros((lanes, ONSETS, MAX_BAR + 2), dtype=bool)
        self._words = Words(lanes)
        self._lanes = [_Lane(seen, programs.tolist(), slots.tolist(), first) for seen in notes]

    def enter(self, lane: int, bar: int, track: int, begin: int, length: int) -> None:
        """A lane begins a cell; begin and length of its bar in grid ticks."""
        here = self._lanes[lane]
        here.enter(bar, track, begin, length)
        self.table[lane, PROFILE] = here.profile
        self.onsets[lane] = False
        self.onsets[lane, 0, [code >> 8 for code in here.codes[0]]] = True
        self.onsets[lane, 1, here.others] = True

    def leave(self, lane: int) -> None:
        """A lane forgets the cell it is in, and begins it anew."""
        self._lanes[lane].leave()

    def look(self, lanes: Sequence[int]) -> None:
        """Fill in what is told before the position is drawn."""
        for lane in lanes:
            self._words.set(lane, 0, self._lanes[lane].look(self._plain[lane]))
        self.table[:, MEMORY[0]] = self._words.rows(0)

    def draw_position(self, drawn: Sequence[tuple[int, int]]) -> None:
        """Fill in what is told before the pitch is drawn. drawn: lanes and their positions."""
        for lane, position in drawn:
            self._words.set(lane, 1, self._lanes[lane].draw_position(position, self._plain[lane]))
        self.table[:, MEMORY[1]] = self._words.rows(1)

    def draw_pitch(self, drawn: Sequence[tuple[int, int]]) -> None:
        """Fill in what is told before the other fields are drawn. drawn: lanes and their pitches, as FIELDS has
        them."""
        for lane, pitch in drawn:
            self._words.set(lane, 2, self._lanes[lane].draw_pitch(pitch, self._plain[lane]))
        self.table[:, REST_MEMORY] = self._words.rows(2)

    def add(self, lane: int, row: Row) -> None:
        """A lane has written a note in its cell."""
        self._lanes[lane].add(row)


class _Lane:
    """One candidate: the notes it has in sight, and what the cell it is in makes of them."""

    def __init__(self, notes: Notes, programs: list[int], slots: list[int], first: int) -> None:
        table = np.stack([*notes[:8], *notes.rest])
        self._count = table.shape[1]
        self._table = np.concatenate([table, np.zeros((_ROWS, 256), dtype=np.int32)], axis=1, dtype=np.int32)
        self._programs, self._slots, self._first = programs, slots, first

    def enter(self, bar: int, track: int, begin: int, length: int) -> None:
        """Begin a cell; all notes so far are of cells before it, or not of the region."""
        self._bar, self._track, self._begin, self._length = bar, track, begin, length
        self._count_before = self._count
        self.program = self._programs[track]
        self._order = cell_order(bar, self._slots[track])
        table = self._table[:, : self._count]
        mine = table[_TRACK] == track
        own = table[:, mine]
        code = own[_POSITION] * 256 + own[_PITCH]
        self.codes: list[list[int]] = []
        self._echoes: list[list[list[int]]] = []
        for back in ECHOES:
            there = (own[_BAR] == bar - back).nonzero()[0]
            self.codes.append(code[there].tolist())
            self._echoes.append(own[_REST].take(there, 1).T.tolist())
        near = (np.abs(own[_BAR] - bar) <= PROFILE_BARS).nonzero()[0]
        self._near, self._near_velocity = code.take(near), own[_VELOCITY].take(near)
        self._loudness: dict[int, tuple[int, int]] = {}  # by pitch, and by _HERE + code: total velocity, and notes
        self._known = [END if bar - back >= self._first else NONE for back in ECHOES]
        self._look_back(own, code, bar)
        tuned = table[_PITCH] < 128
        self._listen(table, ~mine, tuned, bar, begin)
        heard = table[_PITCH, (np.abs(table[_BAR] - bar) <= PROFILE_BARS) & tuned]
        counts = np.bincount(heard % 12, minlength=12).astype(np.float32)
        self.profile = int(pack_profile(counts[None])[0])
        self._after = NONE  # position * 256 + pitch of the cell's last note

    def leave(self) -> None:
        """Forget the notes of the cell."""
        self._count = self._count_before

    def _heard(self, key: int) -> tuple[int, int]:
        """How loud a pitch is in the bars near by, or at a place (_HERE + code): total velocity, and notes."""
        if key not in self._loudness:
            notes = self._near == key - _HERE if key >= _HERE else self._near & 255 == key
            velocities = self._near_velocity[notes]
            self._loudness[key] = int(velocities.sum()), len(velocities)
        return self._loudness[key]

    def _look_back(self, own: IntArray, code: IntArray, bar: int) -> None:
        """The track's last notes, and what the cell's first note is heard against."""
        earlier = (own[_BAR] < bar).nonzero()[0]
        when = own[_BAR].take(earlier) * 65_536 + code.take(earlier)
        latest = earlier[when.argsort(kind="stable")[: -LAGS - 1 : -1]]
        self._past = own[:, latest][[_START, _END, _PITCH, *range(_ROWS)[_REST]]].T.tolist()
        self._reference, self._before = NONE, [NONE, NONE, NONE]
        if self._past:
            note = own[:, earlier[when.argmax()]]
            self._reference = int(note[_PITCH]) if note[_PITCH] < 128 else NONE
            self._before = note[_REST].tolist()

    def _listen(self, table: IntArray, others: BoolArray, tuned: BoolArray, bar: int, begin: int) -> None:
        """Where other tracks strike in this bar, and the pitch classes they sound at every place, as bits."""
        self.others = sorted(set(table[_POSITION, others & (table[_BAR] == bar)].tolist()))
        end = begin + self._length
        sounding = others & tuned & (table[_END] > begin) & (table[_START] < end)
        pitch, starts, ends = table[_PITCH : _END + 1].compress(sounding, 1)[:, :, None]
        ticks = np.arange(begin, end, dtype=np.int32)
        sounds = (starts <= ticks) & (ends > ticks)
        self._bits = np.bitwise_or.reduce(sounds * (1 << pitch % 12), axis=0).tolist()

    def look(self, plain: IntArray) -> list[int]:
        """Fill in the plain hints before anything is drawn. Returns the words of figures that are known by then."""
        after, place = self._after, self._after >> 8  # NONE stays NONE
        nexts = list(self._known)
        for index, codes in enumerate(self.codes):
            found = bisect_right(codes, after)
            if found < len(codes):
                nexts[index] = codes[found] >> 8
        told = [self._reference, place, *nexts, *(NONE,) * (_PLAIN - NEXT.stop)]
        told[DURATION.start : MICRO.stop : 1 + len(ECHOES)] = self._before
        plain[:] = told
        found = bisect_right(self.others, place)
        coming = self.others[found] if found < len(self.others) else NONE
        return past_words(self._past, self._begin, self._length, self.program, coming)

    def draw_position(self, position: int, plain: IntArray) -> tuple[int, ...]:
        """Fill in what becomes known with the position, and return its words."""
        self._position = position
        least = max(position * 256, self._after + 1)
        for index, codes in enumerate(self.codes):
            found = bisect_left(codes, least)
            if found < len(codes) and codes[found] >> 8 == position:
                plain[SAME.start + index] = codes[found] & 255
        plain[SOUNDING] = sounding = self._bits[position]
        latest = self._past[0][0] if self._past else NONE
        return position_words(latest, self._begin, position, self._reference, sounding)

    def draw_pitch(self, pitch: int, plain: IntArray) -> tuple[int, ...]:
        """Fill in what becomes known with the pitch, and return its words."""
        wanted = self._position * 256 + pitch
        for index, codes in enumerate(self.codes):
            found = bisect_left(codes, wanted)
            if found < len(codes) and codes[found] == wanted:
                plain[DURATION.start + 1 + index : MICRO.stop : 1 + len(ECHOES)] = self._echoes[index][found]
        plain[USUAL] = [usual(*self._heard(key)) for key in (pitch, _HERE + wanted)]
        return pitch_words(self._past[0][2] if self._past else NONE, pitch)

    def add(self, row: Row) -> None:
        """Take in a note of the cell."""
        bar, track, position, pitch, duration, velocity, micro = row
        if self.program == DRUMS:
            pitch += 128
        start = self._begin + position
        end = start + _LENGTHS[duration]
        rest = [duration, velocity, micro + MICRO_LIMIT]
        if self._count == self._table.shape[1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], axis=1)
        self._table[:, self._count] = [bar, track, position, pitch, start, end, self._order, 1, *rest]
        self._count += 1
        for key in (pitch, _HERE + position * 256 + pitch):
            total, count = self._heard(key)
            self._loudness[key] = total + velocity, count + 1
        self._after = position * 256 + pitch
        self._reference, self._before = (pitch if pitch < 128 else NONE), rest
        self._past = [[start, end, pitch, *rest], *self._past[: LAGS - 1]]
