"""Locks: what of a cell's own notes must come again while the rest is written anew.

A cell's anchors are its locked notes in order, each with some of its fields known. A LockedDraft goes through
them as it writes: what is known of an anchor is the only value its masks leave, so a lock holds by
construction. Where `free` allows it, notes of the generator's own stand between the anchors.

    everything known            the user's note stays                          vary, accents, notes that are locked
    place, length, loudness     its rhythm stays, the pitch is drawn           keep rhythm
    the same, and a direction   its rhythm and the rise and fall of the line   keep contour
    pitch                       its pitches stay, in their order               keep pitch
    place, pitch, length        loudness and micro-timing are drawn            humanise
    place                       something is struck there                      drumify, harmonise
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.constraints import LONGEST_CELL, NO_LIMIT, BoolArray, Cell, Controls, Draft, IntArray, Rules
from models.errors import ControlError
from models.piece import DURATIONS, GRID, MICRO_LIMIT, GridBar, Piece, VelocityTable, snap, to_note
from models.score import Note, Score
from models.tokens import END, FIELDS


@dataclass(frozen=True, slots=True)
class Anchor:
    """A locked note; None where a field is free. Values as in Piece.notes.

    direction: whether the upper voice rises (1), falls (-1) or stays (0) to the chord whose top this is; None
        where it is free. pitch_class: what a note whose pitch is drawn must be an octave of. note: the note of the
        score it stands for.
    """

    position: int | None = None
    pitch: int | None = None
    duration: int | None = None
    velocity: int | None = None
    micro: int | None = None
    direction: int | None = None
    pitch_class: int | None = None
    note: Note | None = None

    @property
    def whole(self) -> bool:
        """Whether it is the user's note itself, of which nothing is drawn."""
        return self.note is not None and None not in (
            self.position,
            self.pitch,
            self.duration,
            self.velocity,
            self.micro,
        )

    def stands_for(self, position: int, pitch: int) -> bool:
        """Whether a note of such a place and pitch is the anchored one."""
        return self.position in (None, position) and self.pitch in (None, pitch)

    def restored(self, note: Note, amount: float = 1.0) -> Note:
        """A written note with what is locked just as the score had it, off the grid too.

        amount: how far loudness and micro-timing that were drawn move from the score's, 0..1.
        """
        if self.note is None:
            return note
        if amount < 1:
            was = self.note
            note = note._replace(
                start=was.start + round(amount * (note.start - was.start)),
                velocity=was.velocity + round(amount * (note.velocity - was.velocity)),
            )
        if self.position is not None and self.micro is not None:
            note = note._replace(start=self.note.start)
        if self.duration is not None:
            note = note._replace(duration=self.note.duration)
        if self.velocity is not None:
            note = note._replace(velocity=self.note.velocity)
        return note._replace(release=self.note.release)


@dataclass(frozen=True, slots=True)
class CellLock:
    """A cell's anchors, by place and pitch, and how many notes may be written beside them."""

    anchors: tuple[Anchor, ...]
    free: int = NO_LIMIT

    def match(self, notes: Sequence[tuple[int, int]]) -> list[Anchor | None]:
        """The anchor of each of a cell's notes (position, pitch) in order, as a LockedDraft books them."""
        result: list[Anchor | None] = []
        at = 0
        for position, pitch in notes:
            found = at < len(self.anchors) and self.anchors[at].stands_for(position, pitch)
            result.append(self.anchors[at] if found else None)
            at += found
        return result


Locks = dict[tuple[int, int], CellLock]  # by grid bar and track


Strike = tuple[int, int | None]  # a tick, and the pitch class of what sounds there


@dataclass(frozen=True, slots=True)
class Keep:
    """What of the region's own notes stays.

    kind: of the notes that change, what is locked all the same: nothing ("notes"), or one of the rows above
        ("rhythm", "contour", "pitch", "place"). strength: the share of the onsets that change, 0..1; the rest
        stay as they are. amount: for "place", how far loudness and micro-timing may move, 0..1.
    locked: single notes that stay as they are, as (track, start, pitch); with kind "locked" nothing else does, and
        as much is written around them as where nothing stays.
    accents: by track, ticks of the score at which it must strike, each as often as notes are wanted there, with the
        pitch class that these must have or None.
    """

    kind: str = "notes"
    strength: float = 1.0
    amount: float = 1.0
    accents: tuple[tuple[int, tuple[Strike, ...]], ...] = ()
    locked: frozenset[tuple[int, int, int]] = frozenset()


class Kept(NamedTuple):
    """Locks by grid bar and track, and the notes of each track that stay as they are.

    doubles: notes that stay too and that the grid cannot tell from one whose place and pitch are locked.
    """

    locks: Locks
    stay: list[list[Note]]
    doubles: list[list[Note]]


def make_locks(
    keep: Keep,
    score: Score,
    piece: Piece,
    grid: Sequence[GridBar],
    membership: Sequence[IntArray],
    region: BoolArray,
    seed: int,
) -> Kept:
    """The locks of a region of a score. piece, grid, membership: as `to_piece` gives them for the score."""
    random = np.random.default_rng([seed, 1])
    locks: Locks = {}
    kept = Kept(locks, [[] for _ in score.tracks], [[] for _ in score.tracks])
    if keep.accents:
        for track, strikes in keep.accents:
            for bar, places in _places(strikes, score, grid).items():
                if bar < len(region) and region[bar, track]:
                    struck = sorted(places, key=lambda place: place[0])
                    locks[bar, track] = CellLock(
                        tuple(Anchor(position=at, pitch_class=tone) for at, tone in struck)
                    )
        return kept
    if keep.strength >= 1 and keep.kind == "notes" and not keep.locked:
        return kept
    velocities = VelocityTable(score)
    for track in np.flatnonzero(region.any(axis=0)).tolist():
        top: int | None = None
        of_bar: dict[int, list[Note]] = {}
        for note, bar in zip(score.tracks[track].notes, membership[track].tolist(), strict=True):
            of_bar.setdefault(bar, []).append(note)
        for bar in np.flatnonzero(region[:, track]).tolist():
            rows = piece.notes[(piece.notes[:, 0] == bar) & (piece.notes[:, 1] == track)]
            notes = of_bar.get(bar, [])
            changing = _changing(rows, keep.strength, random)
            anchors: list[Anchor] = []
            meant = [to_note(row, grid[bar], score.ticks_per_quarter, velocities) for row in rows]
            of_row = _shared_out(notes, meant)
            for index, (row, changes) in enumerate(zip(rows, changing, strict=True)):
                note, *doubles = of_row[index]
                if not changes or any((track, other.start, other.pitch) in keep.locked for other in of_row[index]):
                    anchors.append(_anchor("all", row, note))
                    kept.stay[track] += [note, *doubles]
                elif keep.kind not in ("notes", "locked"):
                    anchors.append(_anchor(keep.kind, row, note))
                    kept.doubles[track] += doubles if keep.kind == "place" else []
            if keep.kind == "contour":
                anchors, top = _with_directions(anchors, rows, top)
            free = -(-3 * int(changing.sum()) // 2) if keep.kind == "notes" else 0
            free = NO_LIMIT if keep.kind == "locked" else free
            locks[bar, track] = CellLock(tuple(anchors), free)
    return kept


def _shared_out(notes: Sequence[Note], meant: Sequence[Note]) -> list[list[Note]]:
    """A cell's notes by the row that stands for them, nearest first: several where the grid has but one place."""
    found: list[list[Note]] = [[] for _ in meant]
    for note in notes:
        alike = [index for index, other in enumerate(meant) if other.pitch == note.pitch]
        found[min(alike, key=lambda index: abs(meant[index].start - note.start))].append(note)
    for index, other in enumerate(meant):
        found[index].sort(key=lambda note: (abs(note.start - other.start), -note.duration))
        if not found[index]:  # all its notes are nearer to another row
            near = [note for note in notes if note.pitch == other.pitch]
            found[index] = [min(near, key=lambda note: abs(note.start - other.start))]
    return found


def _places(strikes: Sequence[Strike], score: Score, grid: Sequence[GridBar]) -> dict[int, list[Strike]]:
    """Strikes as grid positions, by grid bar."""
    found: dict[int, list[Strike]] = {}
    for bar in grid:
        inside = [(tick - bar.start, tone) for tick, tone in strikes if bar.start <= tick < bar.end]
        if inside:
            ticks = np.array([tick for tick, _ in inside], dtype=np.float64)
            positions = np.minimum(snap(ticks * (GRID / score.ticks_per_quarter)), bar.grid_length - 1)
            found[bar.index] = [(at, tone) for at, (_, tone) in zip(positions.tolist(), inside, strict=True)]
    return found


def _changing(rows: IntArray, strength: float, random: np.random.Generator) -> BoolArray:
    """Which of a cell's notes change: a share of its onsets, weak places first."""
    onsets, of_row = np.unique(rows[:, 2], return_inverse=True)
    firm = random.random(len(onsets)) + 0.5 * (onsets % GRID == 0) + 0.5 * (onsets == 0)
    count = round(strength * len(onsets))
    changes = np.zeros(len(onsets), dtype=bool)
    changes[np.argsort(firm, kind="stable")[:count]] = True
    return changes[of_row]


def _anchor(kind: str, row: IntArray, note: Note) -> Anchor:
    _, _, position, pitch, duration, velocity, micro = (int(value) for value in row)
    if kind == "pitch":
        return Anchor(pitch=pitch, note=note)
    if kind == "place":
        return Anchor(position=position, pitch=pitch, duration=duration, note=note)
    whole = Anchor(position, pitch, duration, velocity, micro, note=note)
    return whole if kind == "all" else replace(whole, pitch=None)


def _with_directions(
    anchors: Sequence[Anchor], rows: IntArray, before: int | None
) -> tuple[list[Anchor], int | None]:
    """Each chord's top with the direction to the top before it, which is `before` at first; and the last top."""
    result: list[Anchor] = []
    for index, (anchor, row) in enumerate(zip(anchors, rows.tolist(), strict=True)):
        if _is_top(anchors, index):
            anchor = replace(anchor, direction=None if before is None else int(np.sign(row[3] - before)))
            before = row[3]
        result.append(anchor)
    return result, before


class LockedRules(Rules):
    """The rules of a region some of whose cells are locked.

    Raises ControlError, as Rules does, and where a locked rhythm has more notes than there are pitches.
    """

    def __init__(
        self,
        piece: Piece,
        grid: Sequence[GridBar],
        region: BoolArray,
        controls: Controls,
        kept: Sequence[NDArray[np.int64]],
        ticks_per_quarter: int,
        new_tracks: frozenset[int],
        locks: Locks,
        final: frozenset[int] | None = None,
    ) -> None:
        """As Rules, with locks. final: the pitch classes that the last bar of the region may have."""
        super().__init__(piece, grid, region, controls, kept, ticks_per_quarter, new_tracks)
        self.locks: Locks = {place: lock for place, lock in locks.items() if place in self.cells}
        if final is not None:
            self._end_on(final)
        self.tops: dict[
            tuple[int, int, int], BoolArray
        ] = {}  # bar, track, anchor -> pitches [256] of a chord's top
        for place, lock in self.locks.items():
            self._check(self.cells[place], lock)
        for track in {track for _, track in self.locks}:
            self._find_tops(track)

    def draft(self) -> LockedDraft:
        return LockedDraft(self)

    def _end_on(self, final: frozenset[int]) -> None:
        last = max(bar for bar, _ in self.cells)
        tones = np.isin(np.arange(FIELDS["pitch"]) % 12, list(final))
        for (bar, _), cell in self.cells.items():
            if bar == last and not cell.drum and (cell.allowed & tones).any():
                cell.allowed = cell.allowed & tones

    def _check(self, cell: Cell, lock: CellLock) -> None:
        bar = self._grid[cell.bar].score_bar + 1
        if len(lock.anchors) > cell.density[1]:
            raise ControlError(
                f"Bar {bar} keeps more notes than the density allows", "Keep less of it, or allow more notes."
            )
        for anchor in lock.anchors:
            if anchor.position is None or anchor.pitch is not None:
                continue
            wanted = sum(other.position == anchor.position for other in lock.anchors)
            if _pitches(cell, anchor).sum() < wanted:
                raise ControlError(
                    f"Bar {bar} has no pitch left for a note that keeps its place",
                    "Widen the range, or drop the key.",
                )

    def _find_tops(self, track: int) -> None:
        """For each chord whose pitches are free: those its top can have so that all tops that follow in the track
        can still go the way they must."""
        following: tuple[int, BoolArray] | None = None  # direction to it, and its possible tops
        for place in sorted((place for place in self.locks if place[1] == track), reverse=True):
            cell, anchors = self.cells[place], self.locks[place].anchors
            for index in range(len(anchors) - 1, -1, -1):
                position, pitch = anchors[index].position, anchors[index].pitch
                if not _is_top(anchors, index) or position is None:
                    continue
                below = sum(other.position == position for other in anchors[:index])
                if pitch is None:
                    tops = _pitches(cell, anchors[index])
                    tops &= np.cumsum(tops) > below
                else:
                    tops = _only(pitch + (128 if cell.drum else 0), FIELDS["pitch"])
                if following is not None:
                    tops &= _reaching(*following)
                direction = anchors[index].direction
                if not tops.any():
                    bar = self._grid[cell.bar].score_bar + 1
                    raise ControlError(
                        f"The line cannot keep its shape in bar {bar}", "Widen the range, or keep the rhythm alone."
                    )
                self.tops[(*place, index)] = tops
                following = (direction, tops) if direction is not None else None


def _pitches(cell: Cell, anchor: Anchor) -> BoolArray:
    """Pitches that an anchor whose place is locked may have, at any length; those for short notes where there is no
    other. A pitch class that the controls leave no room for does not bind."""
    assert anchor.position is not None
    fits = np.ones(FIELDS["pitch"], dtype=bool)
    if anchor.pitch_class is not None and not cell.drum:
        fits = np.arange(FIELDS["pitch"]) % 12 == anchor.pitch_class
    short, long = cell.allowed[anchor.position]
    for allowed in (long & fits, short & fits, long):
        if allowed.any():
            return np.array(allowed)
    return np.array(short)


def _is_top(anchors: Sequence[Anchor], index: int) -> bool:
    return index + 1 == len(anchors) or anchors[index + 1].position != anchors[index].position


def _reaching(direction: int, tops: BoolArray) -> BoolArray:
    """Pitches from which one of `tops` is reached in a direction."""
    if direction == 0:
        return tops
    if direction > 0:  # some top above
        return np.append(np.cumsum(tops[::-1])[::-1][1:] > 0, False)
    return np.append(False, np.cumsum(tops)[:-1] > 0)


class LockedDraft(Draft):
    """A draft that writes the anchors of its cells."""

    def __init__(self, rules: LockedRules) -> None:
        super().__init__(rules)
        self._locks = rules
        self._lock: CellLock | None = None
        self._at = 0  # anchors of the cell that are written
        self._now: Anchor | None = None  # the one that is being written
        self._upper: dict[int, int] = {}  # by track, the top of its last chord

    def enter(self, bar: int, track: int) -> Cell:
        self._lock, self._at, self._now = self._locks.locks.get((bar, track)), 0, None
        self._upper_before = dict(self._upper)
        self.free = self._lock is None
        return super().enter(bar, track)

    def leave(self) -> None:
        super().leave()
        self._upper = self._upper_before

    def _next(self) -> Anchor | None:
        lock = self._lock
        return lock.anchors[self._at] if lock and self._at < len(lock.anchors) else None

    def _free(self) -> bool:
        """Whether a note that is not locked may still be written in the cell."""
        lock = self._lock
        if lock is None:
            return True
        owed = len(lock.anchors) - self._at
        most = min(self.cell.density[1], LONGEST_CELL)
        return self.in_cell - self._at < lock.free and self.in_cell + owed < most

    def positions(self) -> BoolArray:
        if self._lock is None:
            return super().positions()
        anchor = self._next()
        if anchor is not None and anchor.position is None:
            return self._places_of_pitches(anchor)
        allowed = super().positions()
        if not self._free():
            allowed[:] = False
        if anchor is None:
            allowed[END] |= not allowed.any()
            return allowed
        assert anchor.position is not None
        allowed[anchor.position :] = False
        allowed[anchor.position] = True
        return allowed

    def _places_of_pitches(self, anchor: Anchor) -> BoolArray:
        """Where a note may begin whose pitch is all that is locked, so that all that follow find a place."""
        assert self._lock is not None and anchor.pitch is not None
        cell = self.cell
        shift = 128 if cell.drum else 0
        allowed = np.zeros(FIELDS["position"], dtype=bool)
        segment = [anchor]
        until: int | None = None  # the place of the next note that stays where it is
        for other in self._lock.anchors[self._at + 1 :]:
            if other.position is not None:
                until = other.position
                break
            segment.append(other)
        # The user's own pitches stay, whatever key or range is asked for.
        playable: BoolArray = np.array(cell.micros.any(axis=1))
        places: BoolArray = np.logical_and(playable, cell.allowed[:, 0, anchor.pitch + shift])
        places = places if places.any() else playable.copy()
        if until is not None:
            playable[until:] = False
            places[until:] = False
        if self.in_cell:
            _, _, last, pitch, *_ = self.rows[-1]
            places[: last + (anchor.pitch <= pitch)] = False
        rest = [other.pitch or 0 for other in segment]
        apart = sum(after <= before for before, after in pairwise(rest))
        room = np.cumsum(playable[::-1])[::-1] - 1  # places after each
        fitting = places & (room >= apart)
        places = fitting if fitting.any() else places
        allowed[: len(places)] = places
        allowed[END] = not places.any()
        return allowed

    def pitches(self, position: int) -> BoolArray:
        anchor = self._next()
        if self._lock is None:
            return super().pitches(position)
        shift = 128 if self.cell.drum else 0
        if anchor is None or anchor.position not in (None, position):
            return self._spared(super().pitches(position), position)
        if anchor.pitch is not None:
            allowed = np.zeros(FIELDS["pitch"], dtype=bool)
            if anchor.position is not None and self._free():
                allowed = self._spared(super().pitches(position), position)
                allowed[anchor.pitch + shift :] = False
            allowed[anchor.pitch + shift] = True
            return allowed
        return self._pitches_of_rhythm(position)

    def _spared(self, allowed: BoolArray, position: int) -> BoolArray:
        """Free pitches without those of locked notes that still ring, unless nothing else is left."""
        quiet = allowed & ~self._ringing(position)
        return quiet if quiet.any() else allowed

    def _ringing(self, position: int) -> BoolArray:
        """Pitches of the track's written notes that sound at a place: [256]."""
        place = self.cell.start + position
        shift = 128 if self.cell.drum else 0
        ringing = np.zeros(FIELDS["pitch"], dtype=bool)
        for row in reversed(self.rows):
            if row[1] != self.cell.track:
                continue
            begin = self._locks.cells[row[0], row[1]].start + row[2]
            if begin + int(DURATIONS[row[4]]) > place:
                ringing[row[3] + shift] = True
            if place - begin > int(DURATIONS[-1]):
                break
        return ringing

    def _pitches_of_rhythm(self, position: int) -> BoolArray:
        """Pitches for a note whose place is locked, with room above it for the rest of its chord."""
        assert self._lock is not None
        anchors, track = self._lock.anchors, self.cell.track
        top = self._at
        while not _is_top(anchors, top):
            top += 1
        tops = self._locks.tops.get((*self.place, top))
        if tops is None:
            return super().pitches(position)
        direction, last = anchors[top].direction, self._upper.get(track)
        if direction is not None and last is not None:
            pitch = np.arange(len(tops))
            tops = tops & (pitch > last if direction > 0 else pitch < last if direction < 0 else pitch == last)
        allowed = _pitches(self.cell, anchors[self._at])
        if self.in_cell and self.rows[-1][2] == position:
            shift = 128 if self.cell.drum else 0
            allowed[: self.rows[-1][3] + shift + 1] = False
        left = top - self._at  # notes of the chord above this one
        if left == 0:
            allowed &= tops
        else:
            # The top is chosen last: whatever is chosen now must leave a top with the others below it.
            highest = int(np.flatnonzero(tops)[-1])
            allowed[highest:] = False
            above = np.cumsum(allowed[::-1])[::-1] - 1
            allowed &= above >= left - 1
        quiet = allowed & ~self._ringing(position)
        return quiet if quiet.any() else allowed

    def durations(self, position: int, pitch: int) -> BoolArray:
        shift = 128 if self.cell.drum else 0
        anchor = self._next()
        # A free note may stand on the place of an anchor that names its pitch, but below it.
        self._now = anchor if anchor and anchor.stands_for(position, pitch - shift) else None
        if self._now and self._now.duration is not None:
            return _only(self._now.duration, FIELDS["duration"])
        return super().durations(position, pitch)

    def velocities(self) -> BoolArray:
        if self._now and self._now.velocity is not None:
            return _only(self._now.velocity, FIELDS["velocity"])
        return super().velocities()

    def micros(self, position: int) -> BoolArray:
        if self._now and self._now.micro is not None:
            return _only(self._now.micro + MICRO_LIMIT, FIELDS["micro"])
        allowed = super().micros(position)
        return allowed if allowed.any() else _only(MICRO_LIMIT, FIELDS["micro"])

    def accept(self, position: int, pitch: int, duration: int, velocity: int, micro: int) -> None:
        super().accept(position, pitch, duration, velocity, micro)
        if self._now is not None:
            assert self._lock is not None
            if _is_top(self._lock.anchors, self._at):
                self._upper[self.cell.track] = pitch
            self._at += 1
            self._now = None


def _only(value: int, size: int) -> BoolArray:
    mask = np.zeros(size, dtype=bool)
    mask[value] = True
    return mask
