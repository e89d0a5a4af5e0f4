"""Figures: the last few notes of a track as numbers that look up rows in the network's memory.

An n-gram model remembers what followed a certain few notes; a network of a few million weights has no room to.
So it is given a table with a row for every such figure (hashed, as in Svenstrup et al. 2017, "Hash embeddings"),
several kinds of figure a field, and learns what each row should say. Looking rows up costs next to nothing, which
is what makes this worth it on a processor. Figures of intervals are the same in every transposition.

There are more figures than rows. A row belongs to one of those that lead to it, the one that most pieces share, and
its tag says which; the others find nothing, nor does a figure that hardly any piece shares: what a row learned
from one piece alone is that piece by heart.

    FIGURES   field -> kinds of figure; each is a list of words: numbers about the notes before and the one drawn
    Words     the words of some predictions, known in three stages: before anything is drawn, with the position,
              with the pitch
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.piece import GRID, MAX_BAR

IntArray = NDArray[np.int32]
LAGS = 5
NONE = -1
FIGURES = {
    "position": (
        "length where program since1 duration1 since2",
        "length where since1 since2 since3 duration1",
        "length where end1 end2 end3 interval1",
        "where program pitch1 pitch2 since1",
        "length where since1 since2 since3 since4 interval1 interval2 interval3",
        "where since1 velocity1 micro1 pitch1",
        "where program others since1 since2",
    ),
    "pitch": (
        "since interval1 interval2 interval3",
        "place since interval1 duration1 program",
        "together pitch1 pitch2 pitch3 together1",
        "program place pitch1 since since1",
        "together interval1 harmony",
        "program place harmony together interval1 interval2",
        "since since1 since2 interval1 interval2 interval3 interval4",
    ),
    "duration": (
        "since duration1 duration2 program together1",
        "place length together duration1 interval since1",
        "since since1 since2 duration1 duration2 duration3",
        "program pitch place since",
    ),
    "velocity": (
        "together velocity1 velocity2 velocity3 interval",
        "program place together velocity1",
        "program pitch place velocity1",
        "since velocity1 velocity2 velocity3 velocity4",
    ),
    "micro": (
        "since micro1 micro2 micro3",
        "beat together micro1 duration1",
        "program place pitch micro1",
    ),
}
KINDS = [figure for figures in FIGURES.values() for figure in figures]
OF_FIELD: list[slice] = []
for _figures in FIGURES.values():
    _first = OF_FIELD[-1].stop if OF_FIELD else 0
    OF_FIELD.append(slice(_first, _first + len(_figures)))
HASH_BITS = 24
TAG_BITS = 8  # the highest of a hash
OPEN, CLOSED = 0, 255  # tags of rows that belong to all figures, or to none
# Arrays rather than numbers: NumPy is faster with them.
_FACTOR = np.array(0x9E3779B97F4A7C15, dtype=np.uint64)
_SHIFT, _LAST_SHIFT = np.array(29, dtype=np.uint64), np.array(64 - HASH_BITS, dtype=np.uint64)


class Past(NamedTuple):
    """What figures are made of, n predictions at once. Rows of [LAGS, n] are the track's last notes, the latest
    first, NONE where there are fewer; a kit's pitches count from 128.

    begin: [n] grid ticks at which the bar starts. length: [n] its length. program: [n].
    """

    start: IntArray
    end: IntArray
    pitch: IntArray
    duration: IntArray
    velocity: IntArray
    micro: IntArray
    begin: IntArray
    length: IntArray
    program: IntArray


# A digit after a word says how many notes back; without one it is the predicted note itself, or its bar.
_PAST = (
    *("since1", "since2", "since3", "since4", "interval1", "interval2", "interval3", "interval4"),
    *("end1", "end2", "end3", "pitch1", "pitch2", "pitch3", "duration1", "duration2", "duration3"),
    *("velocity1", "velocity2", "velocity3", "velocity4", "micro1", "micro2", "micro3"),
    *("together1", "where", "length", "program", "others"),
)
_WITH_POSITION = ("place", "beat", "since", "together", "harmony")
_WITH_PITCH = ("interval", "pitch")
WORDS = (*_PAST, *_WITH_POSITION, *_WITH_PITCH)
_OF_STAGE = (
    slice(0, len(_PAST)),
    slice(len(_PAST), len(_PAST) + len(_WITH_POSITION)),
    slice(len(_PAST) + len(_WITH_POSITION), len(WORDS)),
)


class _Hashing(NamedTuple):
    """How to hash the kinds of some fields together. words: [rounds, kinds] of WORDS, kinds with more words first.
    active: how many kinds still have a word in each round. order: the column that each of these kinds has."""

    words: NDArray[np.int64]
    active: list[int]
    order: NDArray[np.int64]


def _hashing(first: int, stop: int) -> _Hashing:
    kinds = [[WORDS.index(word) for word in kind.split()] for kind in KINDS[first:stop]]
    order = np.array(sorted(range(len(kinds)), key=lambda k: -len(kinds[k])))
    rounds = len(kinds[order[0]])
    words = np.array([[kinds[k][r] if r < len(kinds[k]) else 0 for k in order] for r in range(rounds)])
    return _Hashing(words, [sum(len(kind) > r for kind in kinds) for r in range(rounds)], order)


_STAGES = [_hashing(0, OF_FIELD[0].stop), _hashing(OF_FIELD[1].start, OF_FIELD[1].stop)]
_STAGES.append(_hashing(OF_FIELD[2].start, OF_FIELD[-1].stop))


class _Desk:
    """Where the words of n predictions are hashed, in arrays made once: lanes ask for it with every note."""

    def __init__(self, words: NDArray[np.uint64], hashing: _Hashing) -> None:
        self._words, (chosen, active, order) = words, hashing
        rounds, kinds = chosen.shape
        self._chosen, self._taken = chosen.ravel(), np.empty((rounds * kinds, words.shape[1]), dtype=np.uint64)
        values = self._taken.reshape(rounds, kinds, -1)
        # Hashes grow where the words of the first round lie: those are what a hash of nothing becomes.
        self._state, shifted = values[0], np.empty(values.shape[1:], dtype=np.uint64)
        self._rounds = [(self._state[:k], values[r, :k], shifted[:k]) for r, k in enumerate(active)]
        self._place = np.argsort(order)

    def rows(self) -> IntArray:
        self._words.take(self._chosen, 0, self._taken, "clip")
        for number, (part, value, shifted) in enumerate(self._rounds):
            if number:
                np.bitwise_xor(part, value, part)
            np.multiply(part, _FACTOR, part)
            np.right_shift(part, _SHIFT, shifted)
            np.bitwise_xor(part, shifted, part)
        np.multiply(self._state, _FACTOR, self._state)
        np.right_shift(self._state, _LAST_SHIFT, self._state)
        return self._state.take(self._place, 0).T  # of HASH_BITS bits, so that any type will do


class Words:
    """The words of n predictions, [len(WORDS), n], and the rows that they lead to: [n, kinds] hashes of HASH_BITS
    bits; a table of fewer rows takes the lowest."""

    def __init__(self, count: int) -> None:
        self._words = np.zeros((len(WORDS), count), dtype=np.int64)
        self._desks = [_Desk(self._words.view(np.uint64), hashing) for hashing in _STAGES]

    def of_past(self, past: Past, others: IntArray) -> IntArray:
        """Rows for the position. others: [n] where in the bar another track strikes next."""
        words, known = self._words, past.start != NONE
        since, interval, pair = words[:4], words[4:8], known[1:]
        np.subtract(past.start[:-1], past.start[1:], out=since)
        words[24] = np.where(pair[0], since[0] == 0, NONE)
        since[:] = np.where(pair, np.minimum(since, 2 * MAX_BAR), NONE)
        np.subtract(past.pitch[:-1], past.pitch[1:], out=interval)
        interval[:] = np.where(pair, interval + 256, NONE)
        # Where in this bar an earlier note falls silent.
        words[8:11] = np.where(known[:3], np.minimum(np.maximum(past.end[:3] - past.begin, -1), MAX_BAR) + 1, NONE)
        words[11:14], words[14:17] = past.pitch[:3], past.duration[:3]
        words[17:21], words[21:24] = past.velocity[:4], past.micro[:3]
        # The last note's place if it is in this bar, else how many bars ago it was.
        place = past.start[0] - past.begin
        ago = np.minimum(-(place // np.maximum(past.length, 1)), 5)
        words[25] = np.where(known[0], np.where(place >= 0, place, MAX_BAR + ago), NONE)
        words[26], words[27], words[28] = past.length, past.program, others
        return self.rows(0)

    def set(self, row: int, stage: int, words: Sequence[int]) -> None:
        """The words of one prediction that become known before the position (stage 0, as past_words has them), with
        it (1, as position_words has them), or with the pitch (2, as pitch_words has them)."""
        self._words[_OF_STAGE[stage], row] = words

    def rows(self, stage: int) -> IntArray:
        """Rows for the position (stage 0), for the pitch (1), or for the other fields, side by side (2)."""
        return self._desks[stage].rows()

    def of_position(self, past: Past, position: IntArray, reference: IntArray, sounding: IntArray) -> IntArray:
        """Rows for the pitch. reference, sounding: [n] as models/hints.py has them."""
        words, known = self._words, past.start[0] != NONE
        words[29], words[30] = position, position % GRID
        since = past.begin + position - past.start[0]
        words[31] = np.where(known, np.minimum(since, 2 * MAX_BAR), NONE)
        words[32] = np.where(known, since == 0, NONE)
        # The pitch classes that sound, counted from the note that the next one is heard against.
        turn, bits = np.maximum(reference, 0) % 12, np.maximum(sounding, 0)
        words[33] = np.where(reference == NONE, NONE, (bits >> turn | bits << (12 - turn)) & 0xFFF)
        return self.rows(1)

    def of_pitch(self, past: Past, pitch: IntArray) -> IntArray:
        """Rows for duration, velocity and micro, side by side."""
        words = self._words
        words[34] = np.where(past.start[0] != NONE, pitch - past.pitch[0] + 256, NONE)
        words[35] = pitch
        return self.rows(2)


def tags_of(hashes: Any) -> Any:
    """The tags of rows that belong to figures of these hashes; arrays of any shape, NumPy's or torch's."""
    top = hashes >> (HASH_BITS - TAG_BITS)
    return top + (top == OPEN) + (top == CLOSED) * -1  # plain operators: many times as fast as clip


def belong(tags: Any, hashes: Any) -> Any:
    """Whether rows with these tags belong to figures of these hashes; arrays of one shape, NumPy's or torch's."""
    return (tags == tags_of(hashes)) | (tags == OPEN)


def past_words(past: list[list[int]], begin: int, length: int, program: int, others: int) -> list[int]:
    """The words of one prediction that do not depend on its note: those of Words.of_past.

    past: start, end, pitch, duration, velocity and micro of the track's last notes, the latest first, at most LAGS.
    """
    notes = [*past, *[[NONE] * 6] * (LAGS - len(past))]
    since, interval = [], []
    for (start, _, pitch, *_), (earlier, _, lower, *_) in pairwise(notes):
        since.append(NONE if earlier == NONE else min(start - earlier, 2 * MAX_BAR))
        interval.append(NONE if earlier == NONE else pitch - lower + 256)
    starts, ends, pitches, durations, velocities, micros = zip(*notes, strict=True)
    silent = [NONE if end == NONE else min(max(end - begin, -1), MAX_BAR) + 1 for end in ends[:3]]
    place = starts[0] - begin
    where = place if place >= 0 else MAX_BAR + min(-(place // max(length, 1)), 5)
    together = NONE if since[0] == NONE else int(since[0] == 0)
    tail = [together, where if past else NONE, length, program, others]
    return [*since, *interval, *silent, *pitches[:3], *durations[:3], *velocities[:4], *micros[:3], *tail]


def position_words(
    latest: int, begin: int, position: int, reference: int, sounding: int
) -> tuple[int, int, int, int, int]:
    """The words of one prediction that become known with its position: those of Words.of_position. latest: when the
    track's last note begins."""
    since = together = harmony = NONE
    if latest != NONE:
        apart = begin + position - latest
        since, together = min(apart, 2 * MAX_BAR), int(apart == 0)
    if reference != NONE:
        turn, bits = reference % 12, max(sounding, 0)
        harmony = (bits >> turn | bits << (12 - turn)) & 0xFFF
    return position, position % GRID, since, together, harmony


def pitch_words(last: int, pitch: int) -> tuple[int, int]:
    """The words of one prediction that become known with its pitch: those of Words.of_pitch. last: the pitch of the
    track's last note."""
    return NONE if last == NONE else pitch - last + 256, pitch
