"""What was played in the last minutes, always there: as it was played, and on a grid for the network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.errors import UserError
from models.score import Event, Meter, Note, Score, Tempo, Track

MINUTES = 10
MOST_MESSAGES = 60_000
TICKS = 480  # a quarter note
MOST_BARS = 32
EARLY_BEATS = 0.25  # a note so little before a bar line is meant for that bar
GRIDS = (4, 3, 6, 8)  # places a beat that are tried, the plainest first
GRID_COST = (1.0, 1.6, 2.4, 2.6)  # what a finer grid has to gain before it is believed
GRID_SLACK = 0.015  # beats by which anyone is off
DRUM_CHANNEL = 9


class Played(NamedTuple):
    """A MIDI message that came in: when, at which beat of the song, in which run of it (no jump inside one)."""

    time: float
    beat: float
    run: int
    data: bytes

    @property
    def begins_note(self) -> bool:
        return self.data[0] & 0xF0 == 0x90 and self.data[2] > 0


@dataclass(frozen=True, slots=True)
class Captured:
    """What was played: `played` to the tick, `quantised` on a grid. Tick 0 of both is `start_beat` of the song."""

    played: Score
    quantised: Score
    start_beat: float

    @property
    def last_beat(self) -> float:
        """The beat of the song where the last note began."""
        return self.start_beat + self.played.last_note_start / TICKS


class Capture:
    """A ring of what came in. Safe to use from several threads."""

    def __init__(self) -> None:
        self._ring: deque[Played] = deque(maxlen=MOST_MESSAGES)
        self._lock = threading.Lock()
        self._held: set[tuple[int, int]] = set()

    def add(self, item: Played) -> None:
        kind, channel = item.data[0] & 0xF0, item.data[0] & 0x0F
        with self._lock:
            self._ring.append(item)
            while self._ring[0].time < item.time - MINUTES * 60:
                self._ring.popleft()
            if kind == 0x90 and item.data[2]:
                self._held.add((channel, item.data[1]))
            elif kind in (0x80, 0x90):
                self._held.discard((channel, item.data[1]))

    @property
    def held(self) -> int:
        """How many keys are down."""
        return len(self._held)

    def last_run(self) -> list[Played]:
        """Everything of the last stretch in which a note was played, oldest first."""
        with self._lock:
            items = list(self._ring)
        runs = [item.run for item in items if item.begins_note]
        return [item for item in items if item.run == runs[-1]] if runs else []

    def note_count(self) -> int:
        return sum(item.begins_note for item in self.last_run())

    def take(
        self,
        meter: tuple[int, int],
        bpm: float,
        bars: int | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Captured:
        """What was played last, from a bar line on. UserError when nothing was.

        bars: at most so many, the last ones. since, until: beats of the song before and after which nothing
        counts; a note that sounds at the end is cut there.
        """
        captured = to_scores(self.last_run(), meter, bpm, bars, since, until)
        if captured is None:
            hint = "Play something into Descant In, or see with `descant live --list` what it is connected to."
            raise UserError("Nothing was played yet", hint)
        return captured

    def in_run(self, run: int, meter: tuple[int, int], bpm: float, bars: int, until: float) -> Captured | None:
        """The last bars that were played in one run before the beat `until`; None when nothing was."""
        with self._lock:
            items = [item for item in self._ring if item.run == run]
        return to_scores(items, meter, bpm, bars, until=until)


class _Struck(NamedTuple):
    channel: int
    pitch: int
    begin: float
    end: float
    velocity: int
    release: int


def to_scores(
    items: Sequence[Played],
    meter: tuple[int, int],
    bpm: float,
    bars: int | None = None,
    since: float | None = None,
    until: float | None = None,
) -> Captured | None:
    """Scores of what was played; None when that holds no note. Arguments as of `Capture.take`."""
    bar_beats = 4 * meter[0] / meter[1]
    notes = _struck(items, until)
    if since is not None:
        notes = [note for note in notes if note.begin >= since - EARLY_BEATS]
    if until is not None:
        notes = [note for note in notes if note.begin < until]
    if not notes:
        return None
    last_bar = (max(note.begin for note in notes) + EARLY_BEATS) // bar_beats
    first_bar = (min(note.begin for note in notes) + EARLY_BEATS) // bar_beats
    first_bar = max(first_bar, last_bar + 1 - min(bars or MOST_BARS, MOST_BARS))
    start = first_bar * bar_beats
    notes = [note for note in notes if note.begin >= start - EARLY_BEATS]
    programs = {item.data[0] & 15: item.data[1] for item in items if item.data[0] & 0xF0 == 0xC0}
    controls = [item for item in items if item.data[0] & 0xF0 in (0xB0, 0xE0, 0xD0) and item.beat >= start]
    snapped = _snap(notes)

    def score(struck: Iterable[_Struck], events: Sequence[Played]) -> Score:
        tracks = []
        for channel in sorted({note.channel for note in notes}):
            own = [_to_note(note, start) for note in struck if note.channel == channel]
            track = Track(
                name="Played" if channel != DRUM_CHANNEL else "Played drums",
                program=programs.get(channel, 0),
                is_drum=channel == DRUM_CHANNEL,
                channel=channel,
                events=tuple(
                    Event(round((item.beat - start) * TICKS), item.data)
                    for item in events
                    if item.data[0] & 15 == channel
                ),
            )
            tracks.append(track.with_notes(_apart(own)))
        return Score(
            ticks_per_quarter=TICKS,
            tracks=tuple(tracks),
            tempos=(Tempo(0, round(60_000_000 / bpm)),),
            meters=(Meter(0, *meter),),
            length=round((last_bar - first_bar + 1) * bar_beats * TICKS),
        )

    return Captured(score(notes, controls), score(snapped, ()), start)


def _struck(items: Sequence[Played], until: float | None) -> list[_Struck]:
    """Note-ons with their note-offs; a key that is still down sounds to the end."""
    down: dict[tuple[int, int], tuple[float, int]] = {}
    notes = []

    def end(key: tuple[int, int], beat: float, release: int) -> None:
        begin, velocity = down.pop(key)
        notes.append(_Struck(*key, begin, max(beat, begin + 1 / TICKS), velocity, release))

    for item in items:
        kind, key = item.data[0] & 0xF0, (item.data[0] & 15, item.data[1])
        if kind not in (0x80, 0x90):
            continue
        if key in down:
            end(key, item.beat, item.data[2] if kind == 0x80 else 64)
        if kind == 0x90 and item.data[2]:
            down[key] = (item.beat, item.data[2])
    last = max([until or 0.0, *(item.beat for item in items)], default=0.0)
    for key in list(down):
        end(key, last, 64)
    return sorted(notes, key=lambda note: (note.begin, note.pitch))


def _to_note(note: _Struck, start: float) -> Note:
    begin = max(0, round((note.begin - start) * TICKS))
    end = round((note.end - start) * TICKS)
    return Note(begin, note.pitch, max(1, end - begin), note.velocity, note.release)


def _apart(notes: Iterable[Note]) -> list[Note]:
    """One note at a time on a pitch: what the grid moved together is cut or dropped."""
    kept: dict[int, list[Note]] = {}
    for note in sorted(notes):
        own = kept.setdefault(note.pitch, [])
        if own and own[-1].start == note.start:
            continue
        if own and own[-1].end > note.start:
            own[-1] = own[-1]._replace(duration=note.start - own[-1].start)
        own.append(note)
    return [note for own in kept.values() for note in own]


def _snap(notes: Sequence[_Struck]) -> list[_Struck]:
    """Every note moved to the nearest place of the plainest grid that fits its beat."""
    by_beat: dict[int, list[_Struck]] = {}
    for note in notes:
        by_beat.setdefault(int((note.begin + 1 / 16) // 1), []).append(note)
    snapped = []
    for group in by_beat.values():
        grid = min(zip(GRIDS, GRID_COST, strict=True), key=lambda pair: _misfit(group, *pair))[0]
        for note in group:
            begin = round(note.begin * grid) / grid
            length = max(1, round((note.end - note.begin) * grid)) / grid
            snapped.append(note._replace(begin=begin, end=begin + length))
    return snapped


def _misfit(notes: Sequence[_Struck], grid: int, cost: float) -> float:
    errors = [abs(note.begin - round(note.begin * grid) / grid) for note in notes]
    return cost * (GRID_SLACK + sum(errors) / len(errors))
