"""Which of several drafts a composer would sooner have written, going by the music around it.

A network that goes on from its own notes repeats pitches and bars more than composers do, however well it knows
what comes next. Some drafts do so less than others. Each draft is described by MARKS, figures of its notes beside
those of the music around the region; a table of weights, fitted on pieces of the training set so that the
composer's own notes win over drafts (a conditional logit: McFadden, 1974; models/training/choosing.py), says how
likely a composer is to have written it. To that comes what it shares with the other drafts (models/agreement.py):
likely music and lively music are two virtues, and the table knows only the second. The best of both is the
candidate, unless too much of it is known music (models/known_bars.py): drafts are found in the training set oftener
than composers are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.agreement import agreement
from models.architecture import CHOICE_FILE
from models.errors import UserError
from models.known_bars import Recogniser
from models.piece import DRUMS, DURATIONS, GRID

if TYPE_CHECKING:
    from models.generators import Rows, Task

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
NEAR = 16  # bars before and after the region that it is held against
LEAST_NOTES = 8  # that a track must have there to be compared with itself
LOOK_BACK = 4  # bars in which a repetition is looked for
COPIED = (2.0, 5.0)  # worth that is lost where every two bars are known, and not from the piece; by row of a table
AGREED = (20.0, 0.0)  # worth of a draft that is what all others are, over one unlike them all; by row of a table
FAR = 4.0  # spreads; what is further off counts as that
MOST_AT_ONCE = 400  # notes that are compared pair by pair
MARKS = (
    "density", "empty bars", "rhythm", "lengths", "loudness", "accents", "chords", "drums", "intervals",
    "same pitch", "leap", "register", "outside", "again", "last bar again", "patterns", "longest gap", "together",
    "repeated", "later", "pitch classes", "clashes",
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The fitted table. centre, spread, slope, bend: [2, len(MARKS)] of each mark; row 0 for regions in which a
    track goes on or is filled, row 1 where all that is written is new. A draft's worth is the sum over its marks of
    slope times x and bend times |x|, x the mark less its centre, in spreads."""

    centre: Floats
    spread: Floats
    slope: Floats
    bend: Floats

    @classmethod
    def load(cls, folder: Path) -> Choice | None:
        """The table of a weights folder; None where it has none. Raises UserError where it cannot be read."""
        path = folder / CHOICE_FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("marks") != ",".join(MARKS):
                    raise ValueError("other marks")
                return cls(*(file.get_tensor(part.name).astype(np.float64) for part in fields(cls)))
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read", "Install Descant again.") from error

    def save(self, folder: Path) -> None:
        """Write the table into a weights folder."""
        table = {part.name: getattr(self, part.name).astype(np.float32) for part in fields(self)}
        save_file(table, folder / CHOICE_FILE, {"marks": ",".join(MARKS)})

    def best(self, around: Around, drafts: Sequence[Rows]) -> int:
        """The number of the draft that a composer would soonest have written, that the others come nearest to, and
        that nobody has written yet; the first of several."""
        row = 0 if around.known else 1
        worth = self.worth(row, np.stack([around.marks(draft) for draft in drafts]))
        worth += AGREED[row] * agreement(drafts, around.programs, around.bars)
        known = [around.recogniser.known(draft) for draft in drafts]
        worth -= COPIED[row] * np.array([each.mean() if len(each) else 0.0 for each in known])
        return int(np.argmax(worth))

    def worth(self, row: int, marks: Floats) -> Floats:
        """How likely a composer is to have written what has these marks, by one row of the table; [...] for marks
        [..., len(MARKS)]. Only differences between drafts of one place say anything."""
        weights = np.concatenate([self.slope[row], self.bend[row]])
        return np.asarray(terms(marks, self.centre[row], self.spread[row]) @ weights)


def terms(marks: Floats, centre: Floats, spread: Floats) -> Floats:
    """What the weights of a table are multiplied by: [..., 2 * len(MARKS)]; a mark that has no meaning is 0."""
    x = np.nan_to_num(np.clip((marks - centre) / spread, -FAR, FAR))
    return np.concatenate([x, np.where(np.isnan(marks), 0.0, np.abs(x))], axis=-1)


# --- Marks --------------------------------------------------------------------------------------------


class Around:
    """The music around a task's region, that drafts are held against. programs: of its tracks. bars: of the region.
    known: whether a track of the region plays in it."""

    def __init__(self, task: Task) -> None:
        piece, self._region = task.piece, task.region
        self.programs, self.bars = piece.programs, task.bars
        self._drums = piece.programs == DRUMS
        self._bars = np.array(task.bars)
        first, last = int(self._bars[0]), int(self._bars[-1])
        notes = piece.notes.astype(np.int64).reshape(-1, 7)
        self._notes = notes[(notes[:, 0] >= first - NEAR) & (notes[:, 0] <= last + NEAR)]
        self._start = np.concatenate([[0], np.cumsum(piece.bars[:, 0])]).astype(np.int64)
        self._seen = max(1, min(first, NEAR) + min(len(piece.bars) - 1 - last, NEAR))  # bars beside the region
        heard = self._notes[~self._drums[self._notes[:, 1]], 3] % 12
        self._share = (np.bincount(heard, minlength=12) + 0.5) / (len(heard) + 6)
        self._clashes = clashes(self._pitched(self._notes), self._time(self._pitched(self._notes)))
        self._of = {int(t): self._own(int(t)) for t in np.flatnonzero(self._region.any(axis=0))}
        self.known = any(own is not None for own in self._of.values())
        self.recogniser = Recogniser(piece)

    def _time(self, notes: Ints) -> Ints:
        return np.asarray(self._start[notes[:, 0]] + notes[:, 2])

    def _pitched(self, notes: Ints) -> Ints:
        return notes[~self._drums[notes[:, 1]]]

    def _own(self, track: int) -> _Line | None:
        """A track's own music around the region; None where it is too little to go by."""
        notes = self._notes[self._notes[:, 1] == track]
        return _Line(notes, self._time(notes), bool(self._drums[track])) if len(notes) >= LEAST_NOTES else None

    def marks(self, rows: Rows) -> Floats:
        """The MARKS of a draft, the mean over its tracks of most: [len(MARKS)]; nan where one has no meaning."""
        new = np.array(rows, dtype=np.int64).reshape(-1, 7)
        new = new[np.lexsort((new[:, 3], new[:, 2], new[:, 0]))]
        tracks = [self._of_track(track, new[new[:, 1] == track], own) for track, own in self._of.items()]
        found = {mark: _mean([figures[mark] for figures in tracks if mark in figures]) for mark in MARKS}
        heard = self._notes[np.isin(self._notes[:, 0], self._bars)]
        pitched = self._pitched(np.concatenate([heard, new]))
        before = 0.0 if math.isnan(self._clashes) else self._clashes
        found["clashes"] = clashes(pitched, self._time(pitched)) - before
        return np.array([found[mark] for mark in MARKS])

    def _of_track(self, track: int, notes: Ints, own: _Line | None) -> dict[str, float]:
        """The marks of one track's new notes."""
        cells = int(self._region[:, track].sum())
        found: dict[str, float] = {}
        if own:
            found["density"] = math.log((len(notes) + 1) / cells) - math.log((len(own.notes) + 1) / own.bars)
            found["empty bars"] = 1 - len(np.unique(notes[:, 0])) / cells - max(0.0, 1 - own.bars / self._seen)
        if not len(notes):
            return found
        new = _Line(notes, self._time(notes), bool(self._drums[track]))
        middle = self._bars[len(self._bars) // 2]
        found["later"] = float((notes[:, 0] >= middle).mean() - (self._bars >= middle).mean())
        found["repeated"] = again(notes, notes, LOOK_BACK)
        if not self._drums[track]:
            share = self._share
            usual = float((share * np.log(12 * share)).sum())
            found["pitch classes"] = float(np.log(12 * share[notes[:, 3] % 12]).mean()) - usual
        others = self._notes[self._notes[:, 1] != track]
        beside = others[np.isin(others[:, 0], self._bars)]
        if len(beside):
            found["together"] = float(np.isin(new.time, self._time(beside)).mean())
            if own:
                found["together"] -= float(np.isin(own.time, self._time(others)).mean())
        found["patterns"] = new.patterns - (own.patterns if own else 0.0)
        found["longest gap"] = new.gap - (own.gap if own else 0.0)
        if own:
            both = np.concatenate([own.notes, notes])
            found["again"] = again(notes, both, LOOK_BACK) - own.again
            found["last bar again"] = again(notes, both, 1) - own.last_again
            found |= new.beside(own)
        return found


class _Line:
    """One track's notes, and what of them is compared with other notes of the track. time: [n] in grid ticks."""

    def __init__(self, notes: Ints, time: Ints, drums: bool) -> None:
        self.notes, self.time, self.drums = notes, time, drums
        bars = np.unique(notes[:, 0])
        self.bars = len(bars)
        rhythms = {tuple(notes[notes[:, 0] == bar, 2].tolist()) for bar in bars}
        self.patterns = len(rhythms) / self.bars
        waits = np.diff(np.sort(time))
        self.gap = math.log1p(min(float(waits.max()), 32 * GRID) / GRID) if len(waits) else 2.0
        self.at_once = math.log(len(notes) / len(np.unique(time)))
        self.steps = np.abs(np.diff(_upper(notes, time)))
        self.again = _or_zero(again(notes, notes, LOOK_BACK))
        self.last_again = _or_zero(again(notes, notes, 1))

    def beside(self, own: _Line) -> dict[str, float]:
        """Where this line differs from another of the same track."""
        mine, theirs = self.notes, own.notes
        found = {
            "rhythm": alike(mine[:, 2], theirs[:, 2]),
            "lengths": alike(mine[:, 4], theirs[:, 4]),
            "loudness": float(mine[:, 5].mean() - theirs[:, 5].mean()),
            "accents": float(mine[:, 5].std() - theirs[:, 5].std()),
            "chords": self.at_once - own.at_once,
        }
        if self.drums:
            return found | {"drums": alike(mine[:, 3], theirs[:, 3])}
        low, high = theirs[:, 3].min() - 2, theirs[:, 3].max() + 2
        found["register"] = float(mine[:, 3].mean() - theirs[:, 3].mean())
        found["outside"] = float(((mine[:, 3] < low) | (mine[:, 3] > high)).mean())
        if len(self.steps) > 1 and len(own.steps) > 3:
            x, y = np.minimum(self.steps, 15), np.minimum(own.steps, 15)
            found["intervals"] = alike(x, y)
            found["same pitch"] = float((x == 0).mean() - (y == 0).mean())
            found["leap"] = float(x.mean() - y.mean())
        return found


def alike(left: Ints, right: Ints) -> float:
    """The common area of the histograms of two rows of small whole numbers, 0..1."""
    size = int(max(left.max(), right.max())) + 1
    shares = [np.bincount(values, minlength=size) / len(values) for values in (left, right)]
    return float(np.minimum(*shares).sum())


def again(notes: Ints, played: Ints, back: int) -> float:
    """Share of the notes that one of the `back` bars of `played` before theirs has too, at the same place and
    pitch, the likest of them; nan where nothing is before any. Both of one track."""
    bars: dict[int, set[int]] = {}
    for bar, place in zip(played[:, 0].tolist(), (played[:, 2] * 256 + played[:, 3]).tolist(), strict=True):
        bars.setdefault(bar, set()).add(place)
    same = total = 0
    for bar in np.unique(notes[:, 0]).tolist():
        if before := [bars[b] for b in range(bar - back, bar) if b in bars]:
            total += len(bars[bar])
            same += max(len(bars[bar] & other) for other in before)
    return same / total if total else math.nan


def clashes(notes: Ints, time: Ints) -> float:
    """How much of the time for which two pitches sound together they are a semitone apart, or octaves more; nan for
    fewer than two notes."""
    if len(notes) < 2:
        return math.nan
    first = np.argsort(time, kind="stable")[:MOST_AT_ONCE]
    start, pitch = time[first], notes[first, 3]
    end = start + DURATIONS[notes[first, 4]]
    together = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    together = np.triu(np.where(together >= GRID // 8, together, 0), 1)  # less is legato, not harmony
    apart = (pitch[:, None] - pitch) % 12
    total = together[apart != 0].sum()
    return float(together[np.isin(apart, (1, 11))].sum() / total) if total else 0.0


def _upper(notes: Ints, time: Ints) -> Ints:
    """The highest pitch at every onset, in order."""
    order = np.lexsort((notes[:, 3], time))
    last = np.append(np.diff(time[order]) != 0, True)
    return np.asarray(notes[order, 3][last])


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _mean(values: Sequence[float]) -> float:
    real = [value for value in values if not math.isnan(value)]
    return sum(real) / len(real) if real else math.nan
