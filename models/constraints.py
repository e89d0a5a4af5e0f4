"""What the user asks for, as masks while notes are written and as a check of what came out.

`Rules` stands between the controls and the engine: before each field of a note is drawn it says which values
are allowed, so a hard control holds by construction. `violations` looks at a finished candidate with nothing
in hand but the controls, and is what every promise is tested against.

    key        notes are of its scale (drums are free)
    chords     a note that starts on a beat, or lasts a beat or longer, is a tone of the chord it starts in; on
               tracks that may pass through other tones, beats are the bar's begin and middle alone
    range      pitches lie in it (drums are free)
    density    notes a bar and track
    polyphony  notes of a track that sound at once
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ControlError
from models.piece import (
    DRUMS,
    DURATIONS,
    GRID,
    MICRO_LIMIT,
    MICRO_PER_TICK,
    NO_CHORD,
    UNKNOWN_CHORD,
    GridBar,
    Piece,
    chord_id,
    snap,
    ticks_of,
)
from models.score import Note, Score
from models.theory import CHORD_TYPES, Chord, ChordChange, Key, chord_symbol, chord_track, pitch_name
from models.tokens import ATTRIBUTES, END, FIELDS, chords_at, density_bin

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int32]
NO_LIMIT = 1_000_000
STEADY_BARS = 4  # after so many bars that all have a note, no bar is left empty
LONGEST_CELL = 160  # notes; a cell that has so many is closed


class Limits(NamedTuple):
    """What the notes of a track keep to in a bar. None means free.

    pitch_range: lowest and highest pitch. density: least and most notes a bar and track. max_polyphony: notes
    sounding at once. leaps, syncopation: quarters, 1 (few) to 4 (most), of the steps that are wider than a whole
    tone, and of the onsets that lie off the eighths; these two are told to the network and not forced.
    """

    pitch_range: tuple[int, int] | None = None
    density: tuple[int, int] | None = None
    max_polyphony: int | None = None
    leaps: int | None = None
    syncopation: int | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """Limits for some tracks and bars of the score (from 0, both ends included; None: all of them)."""

    limits: Limits
    tracks: frozenset[int] | None = None
    bars: tuple[int, int] | None = None

    def holds(self, bar: int, track: int) -> bool:
        """Whether the spot speaks of a cell."""
        return (self.tracks is None or track in self.tracks) and (
            self.bars is None or self.bars[0] <= bar <= self.bars[1]
        )


@dataclass(frozen=True, slots=True)
class Controls:
    """What every candidate must keep to. None means free.

    key: scale lock. follow_chords: keep to the score's chord track in the region. The rest are as in Limits, and
    hold everywhere but where one of `spots` says something else; of several, the last. passing: tracks whose short
    notes need a tone of the chord only at the begin and the middle of a bar, as melodies do.
    """

    key: Key | None = None
    follow_chords: bool = False
    pitch_range: tuple[int, int] | None = None
    density: tuple[int, int] | None = None
    max_polyphony: int | None = None
    leaps: int | None = None
    syncopation: int | None = None
    spots: tuple[Spot, ...] = ()
    passing: frozenset[int] = frozenset()

    @property
    def limits(self) -> Limits:
        """The limits that hold where no spot speaks."""
        return Limits(self.pitch_range, self.density, self.max_polyphony, self.leaps, self.syncopation)

    def at(self, bar: int, track: int) -> Limits:
        """The limits of a cell; bar of the score, from 0."""
        limits = self.limits
        for spot in self.spots:
            if spot.holds(bar, track):
                said = {name: value for name, value in spot.limits._asdict().items() if value is not None}
                limits = limits._replace(**said)
        return limits

    def check(self, chords: Iterable[Chord | None]) -> None:
        """Refuse controls that cannot hold together, with the reason; `chords` are those of the region."""
        known = list(chords) if self.follow_chords else []
        for limits in (self.limits, *(spot.limits for spot in self.spots)):
            self._check_limits(limits, known)

    def _check_limits(self, limits: Limits, chords: Sequence[Chord | None]) -> None:
        if limits.pitch_range and limits.pitch_range[0] > limits.pitch_range[1]:
            raise ControlError("The pitch range ends below its start", "Write it low to high, such as C3-C5.")
        if limits.density and (limits.density[0] > limits.density[1] or limits.density[1] < 1):
            raise ControlError(
                "The density asks for no notes", "Write most notes a bar, or least-most such as 2-8."
            )
        if limits.max_polyphony is not None and limits.max_polyphony < 1:
            raise ControlError("The polyphony limit must be at least 1", "Use 1 for a single line.")
        if any(level is not None and not 1 <= level <= 4 for level in (limits.leaps, limits.syncopation)):
            raise ControlError("Leaps and syncopation go from 1 to 4", "1 is few, 4 is most.")
        scale = self.key.pitch_classes if self.key else frozenset(range(12))
        low, high = limits.pitch_range or (0, 127)
        reach = {pitch % 12 for pitch in range(low, high + 1)}
        if self.key and not scale & reach:
            raise ControlError(
                f"No note of {self.key.name} lies between {pitch_name(low)} and {pitch_name(high)}",
                "Widen the range.",
            )
        for chord in chords:
            tones = _tones_of_id(chord_id(chord))
            if tones is not None and not tones & scale & reach:
                where = f"{self.key.name} " if self.key else ""
                raise ControlError(
                    f"The chord {chord_symbol(chord)} has no tone that {where}and the range allow",
                    "Change the chord, drop the key, or widen the range.",
                )


def _tones_of_id(chord: int) -> frozenset[int] | None:
    """Pitch classes a chord allows; None where there is no chord and anything goes."""
    if chord in (UNKNOWN_CHORD, NO_CHORD):
        return None
    root, quality = divmod(chord - 1, 16)
    return frozenset((root + interval) % 12 for interval in CHORD_TYPES[quality].intervals)


@dataclass(slots=True)
class Cell:
    """The rules of one cell of the region, the same for every candidate.

    bar, track: where it is. start: grid ticks from the piece's start. drum: whether its notes are a kit's
        keys. density: least and most notes. max_polyphony: notes sounding at once, None for any number.
    micros: [length, FIELDS["micro"]] how each position may be played.
    allowed: [length, 2, 256] pitches at each position, for a short note [:, 0] and for one of any length
        [:, 1]. kept_load: [length] how many of the user's notes sound there.
    run: begin and end of the region's unbroken run of bars in this track, in the score's ticks; run_end: its
        end in grid ticks.
    last_of_track, last_of_region: whether nothing after it can take a note. last_of_bar: the same for its bar,
        where music without a silent bar would fall silent.
    """

    bar: int
    track: int
    start: int
    drum: bool
    density: tuple[int, int]
    max_polyphony: int | None
    micros: BoolArray
    allowed: BoolArray
    kept_load: IntArray
    run: tuple[int, int]
    run_end: int
    last_of_track: bool = False
    last_of_region: bool = False
    last_of_bar: bool = False

    def room(self) -> BoolArray:
        """Positions at which at least one note can begin: [length]."""
        places: BoolArray = np.logical_and(self.micros.any(axis=1), self.allowed[:, 0].any(axis=1))
        if self.max_polyphony is not None and not self.drum:
            places &= self.kept_load < self.max_polyphony
        return places


class Rules:
    """The masks of a region.

    piece: the music without the region's notes. grid: its bars in the score. region: [B, T] True for cells to
    be written. kept: for each track the user's notes as rows of start, end and pitch, in the score's ticks.
    new_tracks: tracks that hold nothing yet and must not stay empty.

    Raises ControlError where the controls and the notes that stay leave no room for what is asked.
    """

    def __init__(
        self,
        piece: Piece,
        grid: Sequence[GridBar],
        region: BoolArray,
        controls: Controls,
        kept: Sequence[NDArray[np.int64]],
        ticks_per_quarter: int,
        new_tracks: frozenset[int] = frozenset(),
    ) -> None:
        self.controls = controls
        self.ticks_per_quarter = ticks_per_quarter
        self.new_tracks = new_tracks
        self._piece, self._grid, self._kept = piece, grid, kept
        # Durations that a note has when it "lasts less than a beat", once they are whole ticks.
        self.short: BoolArray = (
            np.maximum(1, self._ticks(DURATIONS.astype(np.int64) * MICRO_PER_TICK)) < ticks_per_quarter
        )
        self._tables: dict[tuple[bool, bool, int, bytes, tuple[int, int]], BoolArray] = {}
        self._played: dict[tuple[int, int], tuple[BoolArray, NDArray[np.int64]]] = {}
        self.cells: dict[tuple[int, int], Cell] = {}
        begins = np.concatenate([[0], np.cumsum(piece.bars[:, 0])]).astype(int)
        places = _places_in_score_bar(grid)
        for first, stop, track in _runs(region):
            for bar in range(first, stop):
                self.cells[bar, track] = self._cell(bar, track, (first, stop), begins, places[bar])
        self.cells = dict(sorted(self.cells.items()))
        self._check_room()

    def draft(self) -> Draft:
        """An empty candidate."""
        return Draft(self)

    def _cell(
        self, bar: int, track: int, run: tuple[int, int], begins: NDArray[np.int64], place: tuple[int, int]
    ) -> Cell:
        first, stop = run
        limits = self.controls.at(self._grid[bar].score_bar, track)
        grid, drum = self._grid[bar], bool(self._piece.programs[track] == DRUMS)
        begin, end = self._grid[first].start, self._grid[stop - 1].end
        micros, ticks = self._micros(bar)
        if bar == first:
            micros = micros & (ticks >= 0)
        passing = track in self.controls.passing
        allowed = self._table(bar, drum, limits.pitch_range or (0, 127), passing)
        load = np.zeros(len(allowed), dtype=np.int32)
        kept = self._kept[track]
        reach = self.ticks_per_quarter  # more than micro-timing reaches
        near = kept[(kept[:, 1] > grid.start - reach) & (kept[:, 0] < grid.end + reach)]
        if len(near):
            allowed = allowed.copy()
            early = grid.start + np.where(micros, ticks, grid.length).min(axis=1)
            late = grid.start + np.where(micros, ticks, -grid.length).max(axis=1)
            for start, stop_sounding, pitch in near.tolist():
                sounds = (early < stop_sounding) & (late >= start)
                load += sounds
                # In a file, a second note of this pitch would end the user's.
                allowed[sounds, :, pitch + (128 if drum else 0)] = False
        return Cell(
            bar=bar,
            track=track,
            start=int(begins[bar]),
            drum=drum,
            density=_share(limits.density or (0, NO_LIMIT), place),
            max_polyphony=limits.max_polyphony,
            micros=micros,
            allowed=allowed,
            kept_load=load,
            run=(begin, end),
            run_end=int(begins[stop]),
        )

    def _ticks(self, fifths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The score's ticks nearest to fifths of a grid tick."""
        return ticks_of(fifths, self.ticks_per_quarter)

    def _micros(self, bar: int) -> tuple[BoolArray, NDArray[np.int64]]:
        """How the positions of a bar may be played, and the ticks of that from the bar line: [length,
        FIELDS["micro"]] each.

        A note may be played only where reading the file again finds the same bar and position. So no two
        positions come to the same tick, notes stay in order, and what was written in a bar counts as of that bar.
        """
        grid, before = self._grid[bar], self._grid[bar - 1] if bar else None
        alike = (grid.length, before.length if before else 0)
        if alike not in self._played:
            place = np.arange(grid.grid_length)[:, None]
            ticks = self._ticks(place * MICRO_PER_TICK + np.arange(-MICRO_LIMIT, MICRO_LIMIT + 1))
            found = (self._snapped(ticks) == place) & (ticks >= 0) & (ticks < grid.length)
            if before:  # an early downbeat
                opens = self._snapped(ticks + before.length) >= before.grid_length
                found |= opens & (place == 0) & (ticks < 0)
            # A coarser grid of ticks cannot tell how a note is played from where it is placed.
            if self.ticks_per_quarter < 4 * GRID:
                found &= np.arange(found.shape[1]) == MICRO_LIMIT
            self._played[alike] = (found, ticks)
        return self._played[alike]

    def _snapped(self, ticks: NDArray[np.int64]) -> IntArray:
        """The positions that ticks from a bar line are read as."""
        return snap((ticks * np.float64(GRID / self.ticks_per_quarter)).ravel()).reshape(ticks.shape)

    def _table(self, bar: int, drum: bool, pitch_range: tuple[int, int], passing: bool = False) -> BoolArray:
        """What the controls allow in a bar: [length, 2, 256]. Shared by the bars that are alike."""
        grid, controls = self._grid[bar], self.controls
        where = np.arange(grid.grid_length, dtype=np.int32)
        chords = np.zeros(len(where), dtype=np.int32)
        if controls.follow_chords and not drum:
            chords = chords_at(self._piece, np.full(len(where), bar, dtype=np.int32), where)
        key = (drum, passing, grid.grid_length, chords.tobytes(), pitch_range)
        if key in self._tables:
            return self._tables[key]
        table = np.zeros((len(where), 2, FIELDS["pitch"]), dtype=bool)
        if drum:
            table[:, :, 128:] = True
        else:
            pitch = np.arange(128)
            low, high = pitch_range
            fits = (pitch >= low) & (pitch <= high)
            if controls.key:
                fits &= np.isin(pitch % 12, list(controls.key.pitch_classes))
            table[:, :, :128] = fits
            for chord in np.unique(chords):
                tones = _tones_of_id(int(chord))
                if tones is not None:
                    tone = np.isin(pitch % 12, list(tones))
                    table[chords == chord, 1, :128] &= tone
                    beat = strong_place(grid.grid_length) if passing else GRID
                    on_beat = where % beat == 0 if self.short.any() else True
                    table[(chords == chord) & on_beat, 0, :128] &= tone
        self._tables[key] = table
        return table

    def _check_room(self) -> None:
        latest: dict[int, Cell] = {}
        for cell in self.cells.values():
            room = min(int(cell.room().sum()), cell.density[1], LONGEST_CELL)
            if room:
                latest[cell.track] = cell
            if room < cell.density[0]:
                number = self._grid[cell.bar].score_bar + 1
                raise ControlError(
                    f"Bar {number} has no room for as many notes as the density asks for",
                    "Ask for fewer notes, a wider range or more voices.",
                )
        if self.cells and not latest:
            raise ControlError(
                "The controls leave no room for a note beside those that stay",
                "Widen the range, allow more voices, or choose other bars.",
            )
        if silent := sorted(self.new_tracks - latest.keys()):
            raise ControlError(
                f"The controls leave no room for a note in track {silent[0] + 1}",
                "Widen the range, or leave it out.",
            )
        for cell in latest.values():
            cell.last_of_track = True
        last_bar = max((cell.bar for cell in latest.values()), default=-1)
        for cell in self.cells.values():
            cell.last_of_region = cell.bar == last_bar
        self._keep_sounding()

    def _keep_sounding(self) -> None:
        """Mark the cells that may not leave their bar empty: where no bar around the region is."""
        bars = sorted({bar for bar, _ in self.cells})
        if not bars:
            return
        struck = np.bincount(self._piece.notes[:, 0], minlength=len(self._grid)) > 0
        around = struck[max(0, bars[0] - STEADY_BARS) : bars[0]]
        if len(around) < STEADY_BARS or not around.all():
            return
        open_cells = {cell.bar: cell for cell in self.cells.values() if cell.room().any()}
        for bar, cell in open_cells.items():
            cell.last_of_bar = not struck[bar]


def strong_place(length: int) -> int:
    """Grid ticks from one strong place of a bar of so many to the next: half the bar, or all of it where it has no
    middle."""
    return length // 2 if length % GRID == 0 else length  # a middle on an eighth


def _grid_length(score: Score, bar: int) -> int:
    return round(score.bar(bar).length * GRID / score.ticks_per_quarter)


def _runs(region: BoolArray) -> Iterator[tuple[int, int, int]]:
    """First bar, end bar and track of every unbroken run of cells."""
    for track in np.flatnonzero(region.any(axis=0)).tolist():
        edges = np.flatnonzero(np.diff(np.concatenate([[False], region[:, track], [False]]).astype(np.int8)))
        for first, stop in edges.reshape(-1, 2).tolist():
            yield first, stop, track


def _places_in_score_bar(grid: Sequence[GridBar]) -> list[tuple[int, int]]:
    """Which part of its score bar every grid bar is, from 0, and of how many."""
    parts = Counter(bar.score_bar for bar in grid)
    seen: Counter[int] = Counter()
    places = []
    for bar in grid:
        places.append((seen[bar.score_bar], parts[bar.score_bar]))
        seen[bar.score_bar] += 1
    return places


def _share(density: tuple[int, int], place: tuple[int, int]) -> tuple[int, int]:
    """Least and most notes of a part of a score bar, so that all parts come to the bar's least and most."""
    at, count = place
    least, most = (notes // count + (at < notes % count) for notes in density)
    return least, most


_EVERY_VELOCITY = np.ones(FIELDS["velocity"], dtype=bool)
_EVERY_VELOCITY.flags.writeable = False


class Draft:
    """One candidate while it is written: what may come next, given what has been written so far."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._ends: dict[int, list[int]] = {}  # per track, grid ticks at which written notes end
        self.rows: list[tuple[int, int, int, int, int, int, int]] = []  # as Piece.notes
        self.in_cell = 0  # notes written in the current cell
        self.place = (-1, -1)  # bar and track of the current cell
        self.free = True  # whether nothing of the current cell's notes is given

    def enter(self, bar: int, track: int) -> Cell:
        """Begin a cell; the methods below speak of the cell entered last."""
        self.place = (bar, track)
        self.cell = self._rules.cells[self.place]
        self._room = self.cell.room()
        self._ends_before = dict(self._ends)
        self.in_cell = 0
        return self.cell

    def leave(self) -> None:
        """Forget the current cell, to be begun anew."""
        del self.rows[len(self.rows) - self.in_cell :]
        self._ends = self._ends_before
        self.in_cell, self.place = 0, (-1, -1)

    def _must_sound(self) -> bool:
        """Whether the cell is the last chance for something that may not stay silent."""
        cell = self.cell
        if cell.last_of_track and cell.track in self._rules.new_tracks:
            return not any(row[1] == cell.track for row in self.rows)
        if cell.last_of_bar and not (self.rows and self.rows[-1][0] == cell.bar):
            return True
        return cell.last_of_region and not self.rows

    def _here(self, position: int) -> int:
        """How many notes the cell has at a position, which is the last one written or later."""
        rows = self.rows[len(self.rows) - self.in_cell :]
        return sum(row[2] == position for row in rows)

    def positions(self) -> BoolArray:
        """Allowed positions, END among them: [FIELDS["position"]]."""
        cell, limit = self.cell, self.cell.max_polyphony
        allowed = np.zeros(FIELDS["position"], dtype=bool)
        least, most = cell.density
        if self.in_cell < min(most, LONGEST_CELL):
            places = self._room.copy()
            last = self.rows[-1][2] if self.in_cell else -1
            places[: max(0, last)] = False
            if last >= 0:
                places[last] &= bool(np.count_nonzero(self.pitches(last)))
            if limit is not None and not cell.drum:
                load = cell.kept_load.copy()
                if last >= 0:
                    load[last] += self._here(last)
                # Notes that are still owed may cut a sounding one short; otherwise its length is respected.
                if self.in_cell >= least:
                    ticks = cell.start + np.arange(len(load))
                    for end in self._ends.get(cell.track, ()):
                        load += (end > ticks) & (np.arange(len(load)) != last)
                places &= load < limit
            owed = least - self.in_cell - 1
            if owed > 0 and len(left := places.nonzero()[0]):  # leave room for the notes that must still come
                places[left[max(0, len(left) - 1 - owed)] + 1 :] = False
            allowed[: len(places)] = places
        wanted = self.in_cell < least or (not self.in_cell and self._must_sound())
        allowed[END] = not (wanted and allowed.any())
        return allowed

    def pitches(self, position: int) -> BoolArray:
        """Allowed pitches at the position drawn: [FIELDS["pitch"]]; those of a chord ascend."""
        allowed: BoolArray = self.cell.allowed[position, 0].copy()
        if self.in_cell and self.rows[-1][2] == position:
            shift = 128 if self.cell.drum else 0
            allowed[: self.rows[-1][3] + shift + 1] = False
        return allowed

    def durations(self, position: int, pitch: int) -> BoolArray:
        """Allowed durations: inside the region, and short where only a short note may leave the chord."""
        allowed: BoolArray = self.cell.run_end - self.cell.start - position >= DURATIONS
        if not self.cell.allowed[position, 1, pitch]:
            allowed &= self._rules.short
        allowed[0] = True
        return allowed

    def velocities(self) -> BoolArray:
        """Allowed velocity bins: [FIELDS["velocity"]], not to be written to."""
        return _EVERY_VELOCITY

    def micros(self, position: int) -> BoolArray:
        """Allowed micro-timing: [FIELDS["micro"]]."""
        return self.cell.micros[position]

    def accept(self, position: int, pitch: int, duration: int, velocity: int, micro: int) -> None:
        """Book a note: field values as drawn (pitch with the drum shift, micro from 0)."""
        cell = self.cell
        row = (cell.bar, cell.track, position, pitch % 128, duration, velocity, micro - MICRO_LIMIT)
        self.rows.append(row)
        self.in_cell += 1
        place = cell.start + position
        ends = [end for end in self._ends.get(cell.track, ()) if end > place]
        self._ends[cell.track] = [*ends, place + int(DURATIONS[duration])]


def asked_attributes(controls: Controls, score_bars: Sequence[int], programs: IntArray) -> IntArray | None:
    """The controls as the network's cell attributes, so that it plans for them: [B, T, len(ATTRIBUTES)].

    score_bars: [B] the bar of the score that each grid bar belongs to.
    """
    table = np.zeros((len(score_bars), len(programs), len(ATTRIBUTES)), dtype=np.int32)
    for track, program in enumerate(programs.tolist()):
        rows = {bar: _attributes(controls.at(bar, track), program == DRUMS) for bar in set(score_bars)}
        table[:, track] = [rows[bar] for bar in score_bars]
    return table if table.any() else None


def _attributes(limits: Limits, drum: bool) -> list[int]:
    """The attributes of a cell under some limits, in the order of ATTRIBUTES; 0 says nothing."""
    asked = dict.fromkeys(ATTRIBUTES, 0)
    if limits.density:
        least, most = limits.density
        asked["density"] = int(density_bin(np.array((least + most) // 2 if most < NO_LIMIT else least)))
    if limits.max_polyphony == 1:
        asked["polyphony"] = 1
    if limits.pitch_range:
        asked["register"] = 1 + sum(limits.pitch_range) // 16
    asked["leaps"], asked["syncopation"] = limits.leaps or 0, limits.syncopation or 0
    if drum:  # none of these binds drums
        asked |= {"polyphony": 0, "register": 0, "leaps": 0}
    return list(asked.values())


Voices = Callable[[int], int | None]  # how many notes may sound at a tick, None for any number


def voices_at(score: Score, track: int, controls: Controls) -> Voices:
    """The polyphony limit of a track by tick. Where a bar line is near enough for a note to be played across it,
    the looser limit of the two bars holds."""
    if score.tracks[track].is_drum:
        return lambda tick: None
    if not controls.spots:
        return lambda tick: controls.max_polyphony
    reach = score.ticks_per_quarter * MICRO_LIMIT // (GRID * MICRO_PER_TICK) + 1

    def limit(tick: int) -> int | None:
        bars = {score.bar_at(max(0, place)).index for place in (tick - reach, tick, tick + reach)}
        found = [controls.at(bar, track).max_polyphony for bar in bars]
        return None if None in found else max(value for value in found if value is not None)

    return limit


def settle(notes: Iterable[Note], kept: Sequence[Note], voices: Voices) -> list[Note]:
    """Written notes of one track as they can stand in a file beside the kept ones.

    A written note ends where a note of its pitch begins, since a file cannot hold two at once, and where one
    more voice than `voices` allows would begin. Times in the score's ticks; kept notes are not touched.
    """
    result = sorted(notes)
    begin, end = result[0].start if result else 0, max((note.end for note in result), default=0)
    onsets = [(note.start, 0, note, -1) for note in kept if note.start < end and note.end > begin]
    onsets += [(note.start, 1, note, index) for index, note in enumerate(result)]
    ringing: list[Note] = []
    live: list[int] = []  # places in `result` of the written notes that sound, oldest first
    for tick, _, note, index in sorted(onsets):
        ringing = [other for other in ringing if other.end > tick]
        live = [other for other in live if result[other].end > tick]
        most = voices(tick)
        over = 0 if most is None else max(0, len(live) + len(ringing) + 1 - most)
        for rank, other in enumerate(live):
            if rank < over or result[other].pitch == note.pitch:
                result[other] = result[other]._replace(duration=tick - result[other].start)
        live = [other for other in live if result[other].end > tick]
        if index < 0:
            ringing.append(note)
        else:
            live.append(index)
    return [note for note in result if note.duration > 0]


class Written(NamedTuple):
    """A note of a candidate: bar of the score, track, grid position in its grid bar, that place in the score's
    ticks (before micro-timing), and the note itself."""

    bar: int
    track: int
    position: int
    place: int
    note: Note


def violations(
    score: Score,
    written: Sequence[Written],
    kept: Sequence[Sequence[Note]],
    controls: Controls,
    cells: Iterable[tuple[int, int]],
    locked: Mapping[tuple[int, int], int] | None = None,
) -> list[str]:
    """What a candidate breaks, in words; empty when it keeps every control.

    score: has the tracks and the chord track. kept: the user's notes of each track. cells: (bar, track) of
    the whole region. locked: how many notes of a cell stay as they were, and count towards its density;
    None where nothing is locked, and the region must not stay empty.
    """
    found: list[str] = []
    chords = chord_track(score) if controls.follow_chords else ()
    counts = dict.fromkeys(cells, 0)
    for bar, track, position, place, note in written:
        counts[bar, track] = counts.get((bar, track), 0) + 1
        if score.tracks[track].is_drum:
            continue
        name = f"{pitch_name(note.pitch)} at tick {note.start}"
        reach = controls.at(bar, track).pitch_range
        if reach and not reach[0] <= note.pitch <= reach[1]:
            found.append(f"{name} is out of range")
        if controls.key and note.pitch % 12 not in controls.key.pitch_classes:
            found.append(f"{name} is not of {controls.key.name}")
        long = note.duration >= score.ticks_per_quarter
        beat = strong_place(_grid_length(score, bar)) if track in controls.passing else GRID
        if chords and (position % beat == 0 or long):
            around = [chords[i].chord for i in _changes_near(chords, place, score.ticks_per_quarter / GRID / 2)]
            if around and all(chord and note.pitch % 12 not in chord.pitch_classes for chord in around):
                found.append(f"{name} is not a tone of {chord_symbol(around[0])}")
    if any(limits.max_polyphony is not None for limits in (controls.limits, *(s.limits for s in controls.spots))):
        for track in sorted({item.track for item in written}):
            new = [item.note for item in written if item.track == track]
            for tick, count in _too_many_voices(new, kept[track], voices_at(score, track, controls)):
                found.append(f"{count} notes of track {track + 1} sound at tick {tick}")
    for cell, stays in (locked or {}).items():
        counts[cell] = counts.get(cell, 0) + stays
    for (bar, track), count in counts.items():
        least, most = controls.at(bar, track).density or (0, NO_LIMIT)
        if not least <= count <= most:
            found.append(f"{count} notes in bar {bar + 1} of track {track + 1}")
    if counts and locked is None and not written:
        found.append("the region is empty")
    return found


def _too_many_voices(new: Sequence[Note], kept: Sequence[Note], limit: Voices) -> Iterator[tuple[int, int]]:
    """Ticks at which a note begins, a written one sounds, and more sound in all than `limit` allows there."""

    def edges(notes: Sequence[Note]) -> tuple[list[int], list[int]]:
        return sorted(note.start for note in notes), sorted(note.end for note in notes)

    written, every = edges(new), edges([*new, *kept])
    for tick in sorted(set(every[0])):
        mine, voices = (bisect_right(s, tick) - bisect_right(e, tick) for s, e in (written, every))
        most = limit(tick)
        if mine and most is not None and voices > most:
            yield tick, voices


def _changes_near(chords: Sequence[ChordChange], place: float, slack: float) -> range:
    """Indices of the chords that sound within `slack` ticks of a place, which rounding to the grid may confuse."""
    first = bisect_right(chords, place - slack, key=lambda change: change.tick) - 1
    last = bisect_right(chords, place + slack, key=lambda change: change.tick) - 1
    return range(max(0, first), last + 1)
