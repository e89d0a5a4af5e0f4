"""What the chorale benchmark's network is told of every time step and cell: numbers of facts, all from the past.

A chorale is a table [steps, VOICES] of classes: semitones above LOWEST_CLASS, or REST. The benchmark has 46
pitches; MARGIN more on either side are there so that a chorale can be learned in every key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

VOICES = 4
LOWEST, PITCHES, MARGIN = 36, 46, 6
LOWEST_CLASS = LOWEST - MARGIN
REST = PITCHES + 2 * MARGIN
CLASSES = REST + 1
BEGIN = CLASSES  # stands for every voice before the first step
DISTANCES = 2 * REST  # from -(REST - 1) to REST - 1 semitones, and one for where something does not sound
LONGEST_HOLD = 33
PHASES = 16  # sixteenths that a place in the bar is told by
BINS = 8  # for how many steps the music now has gone as it did once before
RECENT = 32  # steps: two bars
SHARES = (0.001, 0.03, 0.08, 0.15)  # levels of how often something was heard
LEVELS = (len(SHARES) + 1) ** 3
ECHOES = 3  # pitches that are hinted at: of the chorale's repeat, of the voice's repeat, the note before

Chorale = NDArray[np.int64]
Array = TypeVar("Array")


@dataclass(frozen=True, slots=True)
class Facts(Generic[Array]):
    """step: [..., STEP_FACTS] ids of facts, 0 for none; cell: [..., VOICES, CELL_FACTS]. near: [..., VOICES,
    VOICES] the class that each voice has when a cell is written: drawn already, or that of the step before; BEGIN
    for none. echo: [..., VOICES, ECHOES] classes hinted at, -1 for none. heard: [..., VOICES, CLASSES] one of
    LEVELS for each class: how often its pitch class was heard in all voices, of late and at all, and it in this
    voice."""

    step: Array
    cell: Array
    near: Array
    echo: Array
    heard: Array


@dataclass(frozen=True, slots=True)
class Seen:
    """A chorale, and where its past resembles its present. For all voices together and for each alone, [1 + VOICES,
    steps + 1]: `length`, for how many steps up to a step the music has gone as it did once before, and `source`,
    the step that followed then (-1 for none)."""

    chorale: Chorale
    length: NDArray[np.int64]
    source: NDArray[np.int64]


def transposed(chorale: Chorale, semitones: int) -> Chorale:
    return np.where(chorale == REST, REST, chorale + semitones)


def repeats(chorale: Chorale) -> Seen:
    """The longest passage up to each step that was heard before, the latest of them."""
    steps = len(chorale)
    together = np.unique(chorale, axis=0, return_inverse=True)[1].reshape(-1)
    lines = np.concatenate([together[None], chorale.T])
    length = np.zeros((1 + VOICES, steps + 1), dtype=np.int64)
    source = np.full((1 + VOICES, steps + 1), -1, dtype=np.int64)
    run = np.zeros((1 + VOICES, steps + 1), dtype=np.int64)  # of the passage that ends before each step
    for now in range(steps):
        same = lines[:, :now] == lines[:, now, None]
        run[:, 1 : now + 1] = np.where(same, run[:, :now] + 1, 0)
        if now:
            back = run[:, now:0:-1]
            latest = back.argmax(axis=1)
            length[:, now + 1] = back[np.arange(1 + VOICES), latest]
            source[:, now + 1] = np.where(length[:, now + 1] > 0, now - latest, -1)
    return Seen(chorale, length, source)


def held(chorale: Chorale) -> tuple[Chorale, Chorale]:
    """For how many steps each voice has had its pitch, counted from 1, and its pitch before that, BEGIN for none:
    [steps, VOICES] each."""
    same = np.zeros(chorale.shape, dtype=bool)
    same[1:] = chorale[1:] == chorale[:-1]
    index = np.arange(len(chorale))[:, None]
    began = np.maximum.accumulate(np.where(same, 0, index), axis=0)
    before = np.where(began > 0, np.take_along_axis(chorale, np.maximum(began - 1, 0), axis=0), BEGIN)
    return np.minimum(index - began + 1, LONGEST_HOLD), before


def distance(a: Chorale, b: Chorale) -> Chorale:
    """Semitones from `b` to `a` counted from 0; the last value where either does not sound."""
    return np.where((a >= REST) | (b >= REST) | (a < 0) | (b < 0), DISTANCES - 1, a - b + (DISTANCES - 1) // 2)


def heard(chorale: Chorale) -> Chorale:
    """How often each class was heard before each step, and after the last: [steps + 1, VOICES, CLASSES]."""
    steps = len(chorale)
    sounding = np.zeros((steps + 1, VOICES, CLASSES), dtype=np.int64)
    sounding[np.arange(1, steps + 1)[:, None], np.arange(VOICES), chorale] = 1
    own = sounding.cumsum(axis=0)
    together = own[..., :REST].sum(axis=1)
    classes = np.stack([together[:, pitch::12].sum(axis=1) for pitch in range(12)], axis=1)
    before = np.maximum(np.arange(steps + 1) - RECENT, 0)
    result = np.zeros((steps + 1, VOICES, CLASSES), dtype=np.int64)
    for counts in (classes - classes[before], classes):
        level = np.searchsorted(SHARES, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), side="right")
        result[..., :REST] = result[..., :REST] * (len(SHARES) + 1) + level[:, None, np.arange(REST) % 12]
    shares = own / np.maximum(np.arange(steps + 1), 1)[:, None, None]
    return result * (len(SHARES) + 1) + np.searchsorted(SHARES, shares, side="right")


def _ids(columns: list[tuple[Chorale, int]]) -> tuple[Chorale, int]:
    """Fact ids [..., columns] of (values, how many values there are); a negative value is no fact. And how many ids
    there are in all, the 0 for none included."""
    first, parts = 1, []
    for values, count in columns:
        parts.append(np.where(values >= 0, first + values, 0))
        first += count
    return np.stack(parts, axis=-1), first


def chorale_facts(seen: Seen, first: int, stop: int) -> Facts[Chorale]:
    """Of the prediction of steps `first`..`stop` - 1. Nothing in a row knows the step itself, but for what a
    cell is told of the voices before it."""
    return _facts(seen, first, stop)[0]


def _facts(seen: Seen, first: int, stop: int) -> tuple[Facts[Chorale], int, int]:
    chorale = seen.chorale
    nothing = np.full((1, VOICES), BEGIN, dtype=np.int64)
    holds, turned = held(chorale)
    last = np.concatenate([nothing, chorale])[first:stop]
    hold = np.concatenate([np.zeros((1, VOICES), np.int64), holds])[first:stop]
    turn = np.concatenate([nothing, turned])[first:stop]
    now = chorale[first:stop]
    phase = np.arange(first, stop) % PHASES
    bins = np.minimum(np.ceil(np.log2(seen.length[:, first:stop] + 1)).astype(np.int64), BINS - 1)
    source = seen.source[:, first:stop]
    again = np.where(source[0, :, None] >= 0, chorale[source[0]], -1)  # what followed the whole passage
    alone = np.where(source[1:] >= 0, chorale.T[np.arange(VOICES)[:, None], source[1:]], -1).T

    columns = [(phase, PHASES), (bins[0], BINS)]
    for each in range(VOICES):
        columns.append((last[:, each], CLASSES + 1))
        columns.append((hold[:, each], LONGEST_HOLD + 1))
        columns.append((distance(last[:, each], turn[:, each]), DISTANCES))
        columns.append((distance(again[:, each], last[:, each]), DISTANCES))
        for other in range(each):
            columns.append((distance(last[:, each], last[:, other]), DISTANCES))
    step, step_vocabulary = _ids(columns)

    voice = np.broadcast_to(np.arange(VOICES), last.shape)
    right = np.cumsum(np.concatenate([np.zeros((len(now), 1), bool), now == again], axis=1)[:, :VOICES], axis=1)
    agrees = right == voice  # whether the repeat foretold all voices drawn so far

    def by_voice(values: Chorale, count: int) -> tuple[Chorale, int]:
        return np.where(values >= 0, voice * count + values, -1), VOICES * count

    cells = [
        by_voice(np.broadcast_to(phase[:, None], last.shape), PHASES),
        by_voice(hold, LONGEST_HOLD + 1),
        by_voice(last, CLASSES + 1),
        by_voice(distance(last, turn), DISTANCES),
        by_voice(2 * bins[0][:, None] + agrees, 2 * BINS),
        by_voice(2 * distance(again, last) + agrees, 2 * DISTANCES),
        by_voice(bins[1:].T, BINS),
        by_voice(distance(alone, last), DISTANCES),
    ]
    for other in range(VOICES - 1):
        drawn = voice > other
        there = now[:, other, None]
        cells.append(by_voice(np.where(drawn, there, -1), CLASSES))
        cells.append(by_voice(np.where(drawn, distance(there, last[:, other, None]), -1), DISTANCES))
        cells.append(by_voice(np.where(drawn, distance(there, last), -1), DISTANCES))
    cell, cell_vocabulary = _ids(cells)

    near = np.repeat(last[:, None, :], VOICES, axis=1)
    for each in range(VOICES):
        near[:, each, :each] = now[:, :each]
    echo = np.stack([again, alone, np.where(turn < BEGIN, turn, -1)], axis=-1)
    return Facts(step, cell, near, echo, heard(chorale)[first:stop]), step_vocabulary, cell_vocabulary


_shortest, STEP_VOCABULARY, CELL_VOCABULARY = _facts(repeats(np.zeros((1, VOICES), dtype=np.int64)), 0, 1)
STEP_FACTS, CELL_FACTS = _shortest.step.shape[-1], _shortest.cell.shape[-1]
