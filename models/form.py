"""Form: which bars of a piece take up earlier ones, so that it has phrases and not only bars.

    notes     the earlier bar again, its pitches moved no further than the chords and the key ask for
    varied    its notes at the strong places again, about as many notes in all; what lies between is drawn
    contour   its rhythm again, and the rise and fall of its line; the pitches are drawn
    rhythm    its rhythm and the number of its voices; the pitches are drawn

Nobody knows the earlier bar before it is written. So a FormDraft looks it up among its own notes when it comes to a
bar that takes it up, and leaves the masks of its rules only what agrees; where nothing agrees, the rules win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.constraints import BoolArray, Cell, Controls, Draft, Rules, strong_place
from models.piece import MICRO_LIMIT, GridBar, Piece
from models.tokens import END, FIELDS

Kind = Literal["notes", "varied", "contour", "rhythm"]
# How singing lines move: wide steps are few, lead to strong places, and a small one follows them (after von Hippel
# and Huron, "Why do skips precede reversals?", 2000).
WIDEST_STEP, LEAP, THIRD, TONE = 9, 5, 4, 2  # semitones
REMEMBERED = 4  # notes among which at most one repeats the one before
EIGHTH, SIXTEENTH, TRIPLET = 12, 6, 8  # grid ticks
Row = tuple[int, int, int, int, int, int, int]


class Again(NamedTuple):
    """A cell (bar, track) that takes up that of an earlier bar of its track; bars from 0."""

    bar: int
    track: int
    source: int
    kind: Kind


class Form(NamedTuple):
    """The cells of a region that take up earlier ones, and the tracks that carry a single singing line."""

    again: tuple[Again, ...] = ()
    singing: frozenset[int] = frozenset()


class FormRules(Rules):
    """The rules of a region with a form. again: by grid bar and track, the source's grid bar and the kind."""

    def __init__(
        self,
        piece: Piece,
        grid: Sequence[GridBar],
        region: BoolArray,
        controls: Controls,
        kept: Sequence[NDArray[np.int64]],
        ticks_per_quarter: int,
        new_tracks: frozenset[int],
        again: Mapping[tuple[int, int], tuple[int, Kind]],
        singing: frozenset[int],
    ) -> None:
        super().__init__(piece, grid, region, controls, kept, ticks_per_quarter, new_tracks)
        self.again, self.singing = again, singing

    def draft(self) -> FormDraft:
        return FormDraft(self)


class FormDraft(Draft):
    """A draft that looks back on its own notes."""

    def __init__(self, rules: FormRules) -> None:
        super().__init__(rules)
        self._form = rules
        self._kind: Kind | None = None
        self._left: list[Row] = []  # the source's notes that are still to come
        self._before: int | None = None  # pitch of the source's note before those
        self._lines: dict[int, list[int]] = {}  # by singing track, its last pitches

    def enter(self, bar: int, track: int) -> Cell:
        source, self._kind = self._form.again.get((bar, track), (-1, None))
        self._left = [row for row in self.rows if row[:2] == (source, track)] if self._kind else []
        self._before = None
        self._plain = super().enter(bar, track)
        if self._kind == "varied":
            self._vary()
        self._owe()
        return self.cell

    def _vary(self) -> None:
        """Of the source's notes those at strong places are owed, and one more or one less than it has in all."""
        (least, most), count = self._plain.density, len(self._left)
        most = max(least, min(most, count + (count > 0)))
        self._plain = replace(self._plain, density=(max(least, min(most, count - 1)), most))
        strong = strong_place(len(self._plain.micros))
        self._left = [row for row in self._left if row[2] % strong == 0]

    def _owe(self) -> None:
        """The source's next note is owed: what still rings from the bar before gives way to it."""
        least, most = self._plain.density
        if self._kind is not None:
            self.cell = replace(self._plain, density=(max(least, min(most, self.in_cell + bool(self._left))), most))

    def positions(self) -> BoolArray:
        allowed = super().positions()
        if self._kind is None:
            return allowed if self.cell.drum else self._even(allowed)
        while self._left and not allowed[self._left[0][2]]:
            self._skip()  # there is no room for it here
            self._owe()
            allowed = super().positions()
        if self._kind == "varied":
            return self._between(allowed)
        if self._left:
            return _only(self._left[0][2], len(allowed))
        return _only(END, len(allowed)) if allowed[END] else allowed

    def _between(self, allowed: BoolArray) -> BoolArray:
        """Positions as far as the source's next note, that one included, while there is room for others."""
        even = self._even(allowed)
        if not self._left:
            return even
        next_one = self._left[0][2]
        if self.in_cell + len(self._left) >= self.cell.density[1]:
            return _only(next_one, len(allowed))
        even[next_one] = True
        even[next_one + 1 :] = False
        return even

    def _even(self, allowed: BoolArray) -> BoolArray:
        """Positions on sixteenths and triplets, with an eighth or a sixteenth left for every note that is owed."""
        length = len(self.cell.micros)
        place = np.arange(len(allowed))
        owed = max(0, self.cell.density[0] - self.in_cell - 1)
        even = allowed & ((place % SIXTEENTH == 0) | (place % TRIPLET == 0))
        for gap in (EIGHTH, SIXTEENTH):
            roomy = even & (place <= max(0, length - (owed + 1) * gap))
            if roomy.any() or allowed[END]:
                roomy[END] = allowed[END]
                return roomy
        return even if even.any() else allowed

    def _skip(self) -> None:
        self._before = self._left.pop(0)[3]

    def _model(self, position: int) -> Row | None:
        """The source's note that the one at a position stands for."""
        return self._left[0] if self._left and self._left[0][2] == position else None

    def pitches(self, position: int) -> BoolArray:
        allowed = super().pitches(position)
        model = self._model(position)
        if model is None:
            return self._singable(self._reaching(allowed), position)
        shift = 128 if self.cell.drum else 0
        above = sum(row[2] == position for row in self._left) - 1
        if above > 0:  # leave room for the rest of the chord
            roomy = allowed & (np.cumsum(allowed[::-1])[::-1] > above)
            allowed = roomy if roomy.any() else allowed
        options = np.flatnonzero(allowed)
        if self._kind in ("notes", "varied") and len(options):
            return _only(int(options[np.abs(options - model[3] - shift).argmin()]), len(allowed))
        if self._kind == "contour" and self._before is not None and self.in_cell:
            last, pitch = self.rows[-1][3] + shift, np.arange(len(allowed))
            rise = model[3] - self._before
            going = allowed & (pitch > last if rise > 0 else pitch < last if rise < 0 else pitch == last)
            near = going & (np.abs(pitch - last) <= WIDEST_STEP)
            if going.any():
                return near if near.any() else going
        return self._singable(allowed, position)

    def _reaching(self, allowed: BoolArray) -> BoolArray:
        """Pitches from which the source's next note is no leap, in a bar that is varied."""
        if self._kind != "varied" or not self._left:
            return allowed
        near = allowed & (np.abs(np.arange(len(allowed)) - self._left[0][3]) < LEAP)
        return near if near.any() else allowed

    def _singable(self, allowed: BoolArray, position: int) -> BoolArray:
        """Pitches that a singing line reaches from where it is, without staying on one for ever."""
        line = self._lines.get(self.cell.track)
        if not line:
            return allowed
        before = abs(line[-1] - line[-2]) if len(line) > 1 else 0
        strong = position % strong_place(len(self.cell.micros)) == 0
        reaches = [WIDEST_STEP]
        if before >= LEAP or not strong:
            reaches.insert(0, THIRD)
        if before > TONE and not strong:
            reaches.insert(0, TONE)
        pitch = np.arange(len(allowed))
        stayed = any(a == b for a, b in pairwise(line))
        moving = allowed & (pitch != line[-1]) if stayed else allowed
        for reach in reaches:
            near = moving & (np.abs(pitch - line[-1]) <= reach)
            if near.any():
                return np.asarray(near)
        return moving if moving.any() else allowed

    def durations(self, position: int, pitch: int) -> BoolArray:
        allowed = super().durations(position, pitch)
        model = self._model(position) if self._kind != "varied" else None
        return allowed if model is None else _only(int(np.flatnonzero(allowed[: model[4] + 1])[-1]), len(allowed))

    def velocities(self) -> BoolArray:
        return _only(self._left[0][5], FIELDS["velocity"]) if self._left else super().velocities()

    def micros(self, position: int) -> BoolArray:
        allowed = super().micros(position)
        model = self._model(position)
        wanted = model is not None and allowed[model[6] + MICRO_LIMIT]
        return _only(model[6] + MICRO_LIMIT, len(allowed)) if model is not None and wanted else allowed

    def accept(self, position: int, pitch: int, duration: int, velocity: int, micro: int) -> None:
        if self._model(position) is not None:
            self._skip()
        super().accept(position, pitch, duration, velocity, micro)
        self._owe()
        if self.cell.track in self._form.singing:
            self._lines[self.cell.track] = [*self._lines.get(self.cell.track, []), pitch][-REMEMBERED:]


def _only(value: int, size: int) -> BoolArray:
    mask = np.zeros(size, dtype=bool)
    mask[value] = True
    return mask
