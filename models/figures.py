"""Figures: the last few notes of a track as numbers that look up rows in the network's memory.

An n-gram model remembers what followed a certain few notes; a network of a few million weights has no room to.
So it is given a table with a row for every such figure (hashed, as in Svenstrup et al. 2017, "Hash embeddings"),
several kinds of figure a field, and learns what each row should say. Looking rows up costs next to nothing, which
is what makes this worth it on a processor. Figures of intervals are the same in every transposition.

    FIGURES   field -> kinds of figure; each is a list of features of the notes before and of what is drawn so far
    keys      the row each prediction has in each kind's table
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


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


class Drawn(NamedTuple):
    """What is drawn of the predicted note, and what sounds beside it: [n] each; NONE where it is not there, or not
    yet. others: where in the bar another track strikes next. reference, sounding: as models/hints.py has them."""

    others: IntArray
    position: IntArray
    pitch: IntArray
    reference: IntArray
    sounding: IntArray


def _known(past: Past, lag: int) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = past.start[lag - 1] != NONE
    return known


def _time(past: Past, drawn: Drawn, lag: int) -> IntArray:
    return past.begin + drawn.position if lag == 0 else past.start[lag - 1]


def _since(past: Past, drawn: Drawn, lag: int) -> IntArray:
    """Ticks from the note before to this one."""
    ticks = np.minimum(_time(past, drawn, lag) - past.start[lag], 2 * MAX_BAR)
    return np.where(_known(past, lag + 1), ticks, NONE)


def _together(past: Past, drawn: Drawn, lag: int) -> IntArray:
    return np.where(_known(past, lag + 1), _time(past, drawn, lag) == past.start[lag], NONE)


def _interval(past: Past, drawn: Drawn, lag: int) -> IntArray:
    upper = drawn.pitch if lag == 0 else past.pitch[lag - 1]
    return np.where(_known(past, lag + 1), upper - past.pitch[lag] + 256, NONE)


def _where(past: Past, drawn: Drawn, lag: int) -> IntArray:
    """The last note's place if it is in this bar, else how many bars ago it was."""
    place = past.start[0] - past.begin
    ago = np.minimum(-(place // np.maximum(past.length, 1)), 5)
    return np.where(_known(past, 1), np.where(place >= 0, place, MAX_BAR + ago), NONE)


def _end(past: Past, drawn: Drawn, lag: int) -> IntArray:
    """Where in this bar an earlier note falls silent."""
    return np.where(_known(past, lag), np.clip(past.end[lag - 1] - past.begin, -1, MAX_BAR) + 1, NONE)


def _harmony(past: Past, drawn: Drawn, lag: int) -> IntArray:
    """The pitch classes that sound, counted from the note that the next one is heard against."""
    turn = np.maximum(drawn.reference, 0) % 12
    bits = np.maximum(drawn.sounding, 0)
    return np.where(drawn.reference == NONE, NONE, (bits >> turn | bits << (12 - turn)) & 0xFFF)


# A digit after a name says how many notes back; without one it is the predicted note itself, or its bar.
FEATURES: dict[str, Callable[[Past, Drawn, int], IntArray]] = {
    "length": lambda past, drawn, lag: past.length,
    "program": lambda past, drawn, lag: past.program,
    "place": lambda past, drawn, lag: drawn.position,
    "beat": lambda past, drawn, lag: drawn.position % GRID,
    "where": _where,
    "others": lambda past, drawn, lag: drawn.others,
    "end": _end,
    "since": _since,
    "together": _together,
    "interval": _interval,
    "harmony": _harmony,
    "pitch": lambda past, drawn, lag: drawn.pitch if lag == 0 else past.pitch[lag - 1],
    "duration": lambda past, drawn, lag: past.duration[lag - 1],
    "velocity": lambda past, drawn, lag: past.velocity[lag - 1],
    "micro": lambda past, drawn, lag: past.micro[lag - 1],
}


def _parse(figure: str) -> list[tuple[str, int]]:
    words = []
    for word in figure.split():
        name = word.rstrip("0123456789")
        words.append((name, int(word[len(name) :] or 0)))
    return words


_PARSED = [_parse(figure) for figure in KINDS]
_WORDS = [sorted({word for parsed in _PARSED[kinds] for word in parsed}) for kinds in OF_FIELD]


def keys(field: int, past: Past, drawn: Drawn) -> IntArray:
    """Hashes of HASH_BITS bits of a field's figures: [n, number of its kinds]. A table of fewer rows takes the
    lowest bits."""
    values = {word: np.asarray(FEATURES[word[0]](past, drawn, word[1])).astype(np.uint64) for word in _WORDS[field]}
    out = np.empty((len(past.begin), OF_FIELD[field].stop - OF_FIELD[field].start), dtype=np.int32)
    with np.errstate(over="ignore"):
        for column, words in enumerate(_PARSED[OF_FIELD[field]]):
            state = np.zeros(len(out), dtype=np.uint64)
            for word in words:
                state = (state ^ values[word]) * _FACTOR
                state ^= state >> np.uint64(29)
            out[:, column] = (state * _FACTOR) >> np.uint64(64 - HASH_BITS)
    return out
