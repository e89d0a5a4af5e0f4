"""How long a stretch of some music is found, note for note and in any key, in music that is known.

A track is a row of notes in order; from note to note it says how many grid ticks later and how many semitones
higher the next one begins (drums: which key it strikes). Each GRAM notes in a row are hashed to a number. Known
music is kept as some of its numbers, trills and repeated notes left out: of every WINDOW in a row the least
(Schleimer, Wilkerson and Aiken, "Winnowing", SIGMOD 2003), so that any run of GRAM + WINDOW - 1 shared notes leaves
a trace. A run of a candidate is as long as its numbers that would have been kept are all known. It may be pieced
together from several known works: the length is never too small by more than two WINDOWs, and sometimes too large.
What repeats counts once, and a plain scale not at all: a chord that is struck sixty times is no longer a copy than
one that is struck four times.

The index of the training set ships as 32-bit numbers: the upper half as 65,537 starts, the lower half as they
come. One number in 65,536 or so that was never seen seems known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.errors import UserError
from models.piece import DRUMS, Piece

Hashes = NDArray[np.uint32]
GRAM = 8  # notes
WINDOW = 8
LEAST_DIFFERENT = 3  # of the GRAM - 1 steps of a gram: a trill or a steady hi-hat is everybody's
SCALE_STEP = 3  # semitones; no step of a scale is larger
TRIVIAL = (1 << 32) - 1
LONGEST_GAP = 96  # grid ticks; a longer wait is as good as that
SHIPPED = Path(__file__).resolve().parent / "weights" / "originality" / "index.safetensors"
HUMAN_SHARE = 0.95  # the human baseline is the run that this share of human passages stays below


class Run(NamedTuple):
    """The longest shared run of some notes: how many notes, and how many bars they span, repetitions left out."""

    notes: int
    bars: float


NOTHING = Run(0, 0.0)


@dataclass(frozen=True, slots=True)
class Originality:
    """The longest run that a candidate shares with the training set, and with the user's own files where these were
    named. human: the run that 95 of 100 human passages stay below, against the same training set."""

    training: Run
    human: Run
    own: Run | None = None

    def as_json(self) -> dict[str, object]:
        """The runs as JSON has them."""
        runs = {"training": self.training, "human": self.human, "own": self.own}
        return {name: run and {"notes": run.notes, "bars": round(run.bars, 2)} for name, run in runs.items()}

    def sentence(self) -> str:
        """ "longest shared run 9 notes, 1.5 bars (human music: up to 14)"."""
        own = "" if self.own is None else f", with your files {self.own.notes}"
        run = f"{self.training.notes} notes, {self.training.bars:.1f} bars"
        return f"longest shared run {run} (human music: up to {self.human.notes}){own}"


# --- Numbers of notes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A track's notes as numbers. hashes: [n - GRAM + 1], that of each GRAM notes, and TRIVIAL where these say the
    same over and over. scale: [n - GRAM + 1], whether they run evenly up or down a scale. bar: [n] when the notes
    begin, in bars."""

    hashes: Hashes
    scale: NDArray[np.bool_]
    bar: NDArray[np.float64]


def lines(piece: Piece, tracks: Iterable[int] | None = None, first: int = 0, stop: int | None = None) -> list[Line]:
    """The tracks of a piece that have GRAM notes or more in grid bars `first`..`stop`-1."""
    stop = len(piece.bars) if stop is None else stop
    notes = np.asarray(piece.notes, dtype=np.int64)
    notes = notes[(notes[:, 0] >= first) & (notes[:, 0] < stop)]
    starts = np.concatenate([[0], np.cumsum(piece.bars[:, 0])]).astype(np.int64)
    found = []
    for track in range(len(piece.programs)) if tracks is None else tracks:
        rows = notes[notes[:, 1] == track]
        if len(rows) < GRAM:
            continue
        rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 0]))]
        bar = rows[:, 0] + rows[:, 2] / piece.bars[rows[:, 0], 0]
        time, pitch, drums = starts[rows[:, 0]] + rows[:, 2], rows[:, 3], piece.programs[track] == DRUMS
        found.append(Line(_hashes(time, pitch, drums), _scale(time, pitch) & ~drums, bar))
    return found


def _hashes(time: NDArray[np.int64], pitch: NDArray[np.int64], drums: bool) -> Hashes:
    gap = np.minimum(np.diff(time), LONGEST_GAP)
    step = pitch[1:] if drums else np.diff(pitch) + 128
    symbol = (gap * 512 + step + (1 << 20 if drums else 0) + 1).astype(np.uint64)
    count = len(symbol) - GRAM + 2
    total = np.zeros(max(0, count), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(GRAM - 1):
            total = (total ^ symbol[place : place + count]) * np.uint64(0x9E3779B97F4A7C15)
            total ^= total >> np.uint64(29)
        total *= np.uint64(0xBF58476D1CE4E5B9)
    number = np.minimum(total >> np.uint64(32), np.uint64(TRIVIAL - 1)).astype(np.uint32)
    grams = np.sort(np.lib.stride_tricks.sliding_window_view(symbol, GRAM - 1), axis=1)
    different = 1 + (grams[:, 1:] != grams[:, :-1]).sum(axis=1)
    return np.where(different < LEAST_DIFFERENT, np.uint32(TRIVIAL), number)


def _scale(time: NDArray[np.int64], pitch: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each GRAM notes are a scale in even values: [n - GRAM + 1]."""
    gap, step = (np.lib.stride_tricks.sliding_window_view(np.diff(row), GRAM - 1) for row in (time, pitch))
    even = (gap == gap[:, :1]).all(axis=1) & (gap[:, 0] > 0)
    one_way = (step > 0).all(axis=1) | (step < 0).all(axis=1)
    return even & one_way & (np.abs(step) <= SCALE_STEP).all(axis=1)


def kept(hashes: Hashes) -> NDArray[np.int64]:
    """Which of a line's numbers are kept: the least of every WINDOW in a row (the last of several), never a trivial
    one."""
    if not len(hashes):
        return np.zeros(0, dtype=np.int64)
    size = min(WINDOW, len(hashes))
    windows = np.lib.stride_tricks.sliding_window_view(hashes, size)[:, ::-1]
    places = np.unique(np.arange(len(windows)) + size - 1 - windows.argmin(axis=1))
    return places[hashes[places] != TRIVIAL]


# --- What is known ------------------------------------------------------------------------------------


class Index:
    """The numbers of some music. starts: [65537]; rest: [n], the lower halves of the numbers in order."""

    def __init__(self, starts: NDArray[np.uint32], rest: NDArray[np.uint16], human: Run = NOTHING) -> None:
        self.starts, self.rest, self.human = starts, rest, human

    def __len__(self) -> int:
        return len(self.rest)

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> Index:
        """The index of some pieces."""
        parts: list[Hashes] = []
        waiting: list[Hashes] = []
        for piece in pieces:
            waiting += [line.hashes[kept(line.hashes)] for line in lines(piece)]
            if len(waiting) > 4000:
                parts.append(np.unique(np.concatenate(waiting)))
                waiting = []
        numbers = np.unique(np.concatenate([np.zeros(0, np.uint32), *parts, *waiting]))
        upper = np.arange((1 << 16) + 1, dtype=np.uint64) << np.uint64(16)
        starts = np.searchsorted(numbers.astype(np.uint64), upper)
        return cls(starts.astype(np.uint32), (numbers & np.uint32(0xFFFF)).astype(np.uint16))

    def knows(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Whether each number is known: [n]."""
        upper, lower = (hashes >> np.uint32(16)).astype(np.int64), (hashes & np.uint32(0xFFFF)).astype(np.uint16)
        found = np.zeros(len(hashes), dtype=bool)
        for place, (bucket, value) in enumerate(zip(upper.tolist(), lower, strict=True)):
            part = self.rest[self.starts[bucket] : self.starts[bucket + 1]]
            at = int(np.searchsorted(part, value))
            found[place] = at < len(part) and part[at] == value
        return found

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"gram": str(GRAM), "window": str(WINDOW), "human": f"{self.human.notes} {self.human.bars:.3f}"}
        save_file({"starts": self.starts, "rest": self.rest}, path, facts)

    @classmethod
    def load(cls, path: Path) -> Index:
        """Raises UserError where the file is not there, or was made for other grams."""
        try:
            with safe_open(path, framework="numpy") as file:
                facts = file.metadata() or {}
                notes, bars = facts["human"].split()
                if (facts["gram"], facts["window"]) != (str(GRAM), str(WINDOW)):
                    raise ValueError("other grams")
                return cls(file.get_tensor("starts"), file.get_tensor("rest"), Run(int(notes), float(bars)))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            hint = "Install Descant again, or make it with scripts/make_originality_index.py."
            raise UserError(f"The originality index {path} cannot be read", hint) from error


@cache
def shipped_index() -> Index | None:
    """The index of the training set, where it is installed."""
    return Index.load(SHIPPED) if SHIPPED.exists() else None


def longest_run(found: Sequence[Line], index: Index) -> Run:
    """The longest run that some lines share with what is known; what repeats within a run counts once."""
    best = NOTHING
    for line in found:
        places = kept(line.hashes)
        known = index.knows(line.hashes[places])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(np.int8), [0]])))
        for begin, end in edges.reshape(-1, 2):
            run = _length(line, int(places[begin]), int(places[end - 1]))
            if run.notes > best.notes:
                best = run
    return best


def _length(line: Line, first: int, last: int) -> Run:
    """How long the run from gram `first` to gram `last` is: each different gram adds its last note, the first one
    all of its notes."""
    own = np.arange(first, last + 1)
    own = own[(line.hashes[own] != TRIVIAL) & ~line.scale[own]]
    own = own[np.unique(line.hashes[own], return_index=True)[1]]
    if not len(own):
        return NOTHING
    start, ends = own.min(), own + GRAM - 1
    bars = line.bar[start + GRAM - 1] - line.bar[start] + np.diff(line.bar)[ends[own > start] - 1].sum()
    return Run(len(own) + GRAM - 1, float(bars))
