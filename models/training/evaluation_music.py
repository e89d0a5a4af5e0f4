"""Measuring what is written, not what it costs: tasks on held-out songs, and the statistics of whole pieces.

    excerpts    held-out pieces -> (Task, the notes that their composers wrote there)
    scores      what was written beside what was composed, as figures
    statistics  pitch-class entropy, scale consistency and groove consistency of a passage

A writer is anything that fills a Task; the true notes are a writer too. Every figure of a table is a mean over
the same excerpts. Everything is on the network's grid, so no file is made or read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.agreement import sixteenths
from models.constraints import Controls, Rules
from models.drawing import Sampling
from models.generators import Generator, Rows, Task
from models.piece import (
    DRUMS,
    DURATIONS,
    GRID,
    MICRO_PER_TICK,
    NO_CHORD,
    UNKNOWN_CHORD,
    GridBar,
    Piece,
    chords_going_on,
)
from models.theory import CHORD_TYPES
from models.tokens import MAX_TRACKS, chords_at, describe, phrase_attributes
from models.training.sampling import as_int32, keep_tracks
from models.training.shards import Item

IntArray = NDArray[np.int32]
Writer = Callable[[Task], list[Rows]]  # one answer or several, each the rows of the region
RESOLUTION = GRID * MICRO_PER_TICK  # ticks to the quarter note at which grid and micro-timing are whole


class Excerpt(NamedTuple):
    """A place in a held-out piece. truth: the composer's notes of the task's region, as Piece.notes. chords: the
    composer's chords of the whole passage, as Piece.chords."""

    name: str
    data_set: str
    task: Task
    truth: IntArray
    chords: IntArray


# --- Excerpts -----------------------------------------------------------------------------------------


def crop(piece: Piece, first: int, stop: int) -> Piece:
    """Bars `first`..`stop`-1 as a piece, with the tracks that sound there (the busiest MAX_TRACKS) and the
    chord that sounds at its start."""
    inside = piece.notes[(piece.notes[:, 0] >= first) & (piece.notes[:, 0] < stop)].astype(np.int32)
    inside[:, 0] -= first
    chords = piece.chords[(piece.chords[:, 0] >= first) & (piece.chords[:, 0] < stop)].copy()
    before = piece.chords[piece.chords[:, 0] < first]
    chords[:, 0] -= first
    if len(before) and not (len(chords) and tuple(chords[0, :2]) == (0, 0)):
        chords = np.concatenate([[[0, 0, before[-1, 2]]], chords]).astype(np.int32)
    cropped = Piece(piece.programs, piece.bars[first:stop], inside, chords)
    busy = np.bincount(inside[:, 1], minlength=len(piece.programs))
    order = np.argsort(-busy, kind="stable")[:MAX_TRACKS]
    return keep_tracks(cropped, np.sort(order[busy[order] > 0]))


def task_of(piece: Piece, region: NDArray[np.bool_], controls: Controls = Controls()) -> Task:
    """The task to write the cells [B, T] of a piece anew; what the piece has there is not shown."""
    starts = np.concatenate([[0], np.cumsum(piece.bars[:, 0])]) * MICRO_PER_TICK
    grid = [
        GridBar(bar, bar, int(starts[bar]), int(starts[bar + 1] - starts[bar]), int(piece.bars[bar, 0]))
        for bar in range(len(piece.bars))
    ]
    shown = replace(piece, notes=piece.notes[~region[piece.notes[:, 0], piece.notes[:, 1]]])
    begin = starts[shown.notes[:, 0]] + shown.notes[:, 2] * MICRO_PER_TICK + shown.notes[:, 6]
    end = begin + DURATIONS[shown.notes[:, 4]] * MICRO_PER_TICK
    spans = np.stack([np.maximum(begin, 0), end, shown.notes[:, 3]], axis=1).astype(np.int64)
    kept = [spans[shown.notes[:, 1] == track] for track in range(len(piece.programs))]
    rules = Rules(shown, grid, region, controls, kept, RESOLUTION)
    return Task(shown, region, rules, describe(shown), phrase_attributes(shown, region), ends_known=False)


def _pieces(items: Sequence[Item], bars: int) -> Iterator[tuple[Item, Piece, int]]:
    """Pieces of at least `bars` bars, set after set in turn, and a bar at which to begin, the same every time."""
    by_set: dict[str, list[Item]] = {}
    for item in items:
        if len(item.piece.bars) >= bars:
            by_set.setdefault(str(item.info["set"]), []).append(item)
    queues = [sorted(group, key=lambda item: str(item.info["path"])) for _, group in sorted(by_set.items())]
    for queue in queues:  # far apart in a set first, so that a few pieces are of different works
        order = np.argsort([(place * 0.618034) % 1 for place in range(len(queue))], kind="stable")
        queue[:] = [queue[place] for place in order]
    for turn in range(max(map(len, queues), default=0)):
        for queue in queues:
            if turn < len(queue):
                item = queue[turn]
                rng = np.random.default_rng([len(item.piece.notes), len(item.piece.bars)])
                yield item, as_int32(item.piece), int(rng.integers(0, len(item.piece.bars) - bars + 1))


def _excerpt(item: Item, piece: Piece, region: NDArray[np.bool_], shown: IntArray | None = None) -> Excerpt | None:
    """None where the composer left the region, or everything around it, almost empty. shown: the chords that may be
    known, where these are not all."""
    inside = region[piece.notes[:, 0], piece.notes[:, 1]]
    if inside.sum() < 2 * region.any(axis=1).sum() or (~inside).sum() < 8:
        return None
    task = task_of(piece if shown is None else replace(piece, chords=shown), region)
    return Excerpt(str(item.info["path"]), str(item.info["set"]), task, piece.notes[inside], piece.chords)


def continuations(items: Sequence[Item], count: int, bars: int = 4, context: int = 12) -> list[Excerpt]:
    """The next `bars` bars of every track that plays in the `context` bars before them. Chords after
    the cut are not shown: those before it are taken to come again, as in the product."""
    found: list[Excerpt] = []
    for item, whole, first in _pieces(items, context + bars):
        both = crop(whole, first, first + context + bars)
        both = keep_tracks(both, np.unique(both.notes[both.notes[:, 0] < context, 1]))
        region = np.zeros((len(both.bars), len(both.programs)), dtype=bool)
        region[context:] = True
        known = replace(both, chords=both.chords[both.chords[:, 0] < context])
        if excerpt := _excerpt(item, both, region, chords_going_on(known, context)):
            found.append(excerpt)
        if len(found) == count:
            break
    return found


def fills(items: Sequence[Item], count: int, bars: int = 2, around: int = 7) -> list[Excerpt]:
    """A hole of `bars` bars in one track, or in the only one, with `around` bars on either side."""
    found: list[Excerpt] = []
    for item, whole, first in _pieces(items, bars + 2 * around):
        piece = crop(whole, first, first + bars + 2 * around)
        inside = piece.notes[(piece.notes[:, 0] >= around) & (piece.notes[:, 0] < around + bars)]
        playing = np.unique(inside[:, 1])
        if not len(playing):
            continue
        region = np.zeros((len(piece.bars), len(piece.programs)), dtype=bool)
        region[around : around + bars, playing[len(found) % len(playing)]] = True
        if excerpt := _excerpt(item, piece, region):
            found.append(excerpt)
        if len(found) == count:
            break
    return found


def accompaniments(items: Sequence[Item], count: int, bars: int = 8) -> list[Excerpt]:
    """One track of several, written anew over all bars."""
    found: list[Excerpt] = []
    for item, whole, first in _pieces(items, bars):
        piece = crop(whole, first, first + bars)
        cells = np.unique(piece.notes[:, :2], axis=0)
        steady = np.flatnonzero(np.bincount(cells[:, 1], minlength=len(piece.programs)) >= bars // 2)
        if len(piece.programs) < 2 or not len(steady):
            continue
        region = np.zeros((bars, len(piece.programs)), dtype=bool)
        region[:, steady[len(found) % len(steady)]] = True
        if excerpt := _excerpt(item, piece, region):
            found.append(excerpt)
        if len(found) == count:
            break
    return found


def frames(items: Sequence[Item], count: int, bars: int = 16) -> list[Excerpt]:
    """Held-out passages in one meter of which nothing is shown but instruments, meter and tempo."""
    found: list[Excerpt] = []
    for item, whole, first in _pieces(items, bars):
        piece = crop(whole, first, first + bars)
        table = piece.bars.copy()
        if len(piece.notes) < 4 * bars or len(np.unique(table[:, 0])) > 1:
            continue
        table[:, 3] = 0
        region = np.ones((bars, len(piece.programs)), dtype=bool)
        task = task_of(replace(piece, bars=table, chords=piece.chords[:0]), region)
        found.append(Excerpt(str(item.info["path"]), str(item.info["set"]), task, piece.notes, piece.chords))
        if len(found) == count:
            break
    return found


TASKS: dict[str, Callable[[Sequence[Item], int], list[Excerpt]]] = {
    "continue": continuations,
    "fill": fills,
    "accompany": accompaniments,
}


def writer(generator: Generator, candidates: int, sampling: Sampling, seed: int = 0) -> Writer:
    """A generator as a Writer of so many candidates a task."""

    def write(task: Task) -> list[Rows]:
        rows: list[Rows] = [[] for _ in range(candidates)]
        seeds = [(seed, number) for number in range(candidates)]
        for progress in generator.generate(task, seeds, sampling, lambda: False):
            if progress.done == 1:
                rows[progress.candidate] = []
            rows[progress.candidate].extend(progress.rows)
        return rows

    return write


# --- What was written beside what was composed ---------------------------------------------------------

SCORES = ("chord tones", "onset F1", "pitch F1", "chroma", "onsets", "notes/bar", "off by")
BETTER = {"chord tones": 1, "onset F1": 1, "pitch F1": 1, "chroma": 1, "onsets": 1, "notes/bar": 0, "off by": -1}


def scores(excerpt: Excerpt, rows: Rows | IntArray) -> dict[str, float]:
    """Figures of one answer; nan where one has no meaning.

    chord tones: share of the pitched notes that are tones of the chord that sounds, by the composer's chord
        symbols. onset F1, pitch F1: of (bar, track, sixteenth), and pitch too, against the composer's notes.
    chroma, onsets: mean over the bars of the cosine between the two histograms of pitch classes (by sounding
        time) and of onsets by sixteenth. notes/bar. off by: how many notes a bar that is off, in a bar.
    """
    task, truth = excerpt.task, excerpt.truth
    notes = np.array(rows, dtype=np.int32).reshape(-1, 7)
    bars = task.bars
    return {
        "chord tones": _chord_tones(replace(task.piece, chords=excerpt.chords), notes),
        "onset F1": _f1(_onset_set(notes), _onset_set(truth)),
        "pitch F1": _f1(_onset_set(notes, pitch=True), _onset_set(truth, pitch=True)),
        "chroma": _mean([_cosine(_chroma(task, notes, b), _chroma(task, truth, b)) for b in bars]),
        "onsets": _mean([_cosine(_onset_counts(notes, b), _onset_counts(truth, b)) for b in bars]),
        "notes/bar": len(notes) / len(bars),
        "off by": _mean([abs(float((notes[:, 0] == b).sum() - (truth[:, 0] == b).sum())) for b in bars]),
    }


def _mean(values: Sequence[float]) -> float:
    real = [value for value in values if not math.isnan(value)]
    return sum(real) / len(real) if real else math.nan


def _chord_tones(piece: Piece, notes: IntArray) -> float:
    notes = notes[piece.programs[notes[:, 1]] != DRUMS]
    ids = chords_at(piece, notes[:, 0], notes[:, 2])
    known = (ids != UNKNOWN_CHORD) & (ids != NO_CHORD)
    if not known.any():
        return math.nan
    root, quality = np.divmod(ids[known] - 1, 16)
    return float(_CHORD_TONES[quality, (notes[known, 3] - root) % 12].mean())


_CHORD_TONES = np.array([[tone in kind.intervals for tone in range(12)] for kind in CHORD_TYPES])


def _onset_set(notes: IntArray, pitch: bool = False) -> set[tuple[int, ...]]:
    columns = [notes[:, 0], notes[:, 1], sixteenths(notes[:, 2]), *([notes[:, 3]] if pitch else [])]
    return set(map(tuple, np.stack(columns, axis=1).tolist()))


def _f1(left: set[tuple[int, ...]], right: set[tuple[int, ...]]) -> float:
    return 2 * len(left & right) / (len(left) + len(right)) if left or right else math.nan


def _chroma(task: Task, notes: IntArray, bar: int) -> NDArray[np.float64]:
    here = notes[(notes[:, 0] == bar) & (task.piece.programs[notes[:, 1]] != DRUMS)]
    return np.bincount(here[:, 3] % 12, weights=DURATIONS[here[:, 4]], minlength=12).astype(np.float64)


def _onset_counts(notes: IntArray, bar: int) -> NDArray[np.float64]:
    return np.bincount(sixteenths(notes[notes[:, 0] == bar, 2]), minlength=33).astype(np.float64)


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """nan where both are empty, 0 where one is."""
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    if scale:
        return float(left @ right) / scale
    return 0.0 if left.any() or right.any() else math.nan


# --- Statistics of whole pieces ------------------------------------------------------------------------

STATISTICS = ("pitch-class entropy", "scale consistency", "groove consistency")
_SCALES = [frozenset((tonic + step) % 12 for step in (0, 2, 4, 5, 7, 9, 11)) for tonic in range(12)]


def statistics(piece: Piece, notes: IntArray) -> dict[str, float]:
    """The three figures of a passage in one meter, as muspy defines them (Dong et al., ISMIR 2020; the last after
    Wu and Yang, ISMIR 2020); drums have no pitch.

    Entropy of the pitch classes in bits. The largest share of notes that one major or minor scale holds (every
    natural minor scale is a major one). One less the mean share of places, on the network's grid, at which two
    neighbouring bars differ in whether anything starts there.
    """
    notes = np.asarray(notes, dtype=np.int32).reshape(-1, 7)
    pitched = notes[piece.programs[notes[:, 1]] != DRUMS]
    counts = np.bincount(pitched[:, 3] % 12, minlength=12)
    share = counts[counts > 0] / max(1, counts.sum())
    started = np.zeros((len(piece.bars), int(piece.bars[0, 0])), dtype=bool)
    started[notes[:, 0], notes[:, 2]] = True
    return {
        "pitch-class entropy": float(-(share * np.log2(share)).sum()) if len(pitched) else math.nan,
        "scale consistency": max(float(counts[list(scale)].sum()) for scale in _SCALES) / len(pitched)
        if len(pitched)
        else math.nan,
        "groove consistency": 1 - float((started[:-1] != started[1:]).mean()) if len(started) > 1 else math.nan,
    }


# --- Tables --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table: what it is of, over how many excerpts, and its figures by column."""

    name: str
    count: int
    figures: dict[str, float]


def mean_line(name: str, answers: Sequence[dict[str, float]]) -> Line:
    """The mean of every column over what has a figure there."""
    columns = list(answers[0]) if answers else []
    return Line(name, len(answers), {column: _mean([answer[column] for answer in answers]) for column in columns})


def text_table(title: str, lines: Sequence[Line], digits: int = 3) -> str:
    """Lines as text under a title for the first column; a dash where there is no figure."""
    columns = list(lines[0].figures)
    head = [title, *columns]
    body = [
        [line.name, *("-" if math.isnan(line.figures[c]) else f"{line.figures[c]:.{digits}f}" for c in columns)]
        for line in lines
    ]
    first = max(len(row[0]) for row in [head, *body]) + 1
    widths = [max(len(column), digits + 4) + 2 for column in columns]
    return "\n".join(
        row[0].ljust(first) + "".join(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))
        for row in [head, *body]
    )


def answered(excerpt: Excerpt, write: Writer) -> dict[str, float]:
    """The scores of what a writer makes of an excerpt, the mean of its answers."""
    return mean_line("", [scores(excerpt, rows) for rows in write(excerpt.task)]).figures


def count_by_set(excerpts: Sequence[Excerpt]) -> str:
    """ "pop909 3, mutopia 3": where the excerpts come from."""
    return ", ".join(f"{name} {n}" for name, n in Counter(e.data_set for e in excerpts).most_common())
