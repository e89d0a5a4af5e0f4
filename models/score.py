"""The one type that crosses every border: a Score of tracks on integer ticks.

Everything is frozen. A Score keeps the tick grid, tempo map, meters, keys, markers and controllers
of the file it came from, so that whatever is not regenerated goes back out as it came in.

    Score ─┬─ tempos, meters, keys, markers, events    (belong to no single track)
           └─ Track ─┬─ Note(start, pitch, duration, velocity, release)
                     └─ Event(tick, data)               (controllers and the like, as raw MIDI bytes)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

DEFAULT_TEMPO = 500_000  # microseconds per quarter note: 120 bpm, what a MIDI file means when it says nothing


class Note(NamedTuple):
    """One note. `start` and `duration` in ticks, `pitch`, `velocity` and `release` velocity 0..127."""

    start: int
    pitch: int
    duration: int
    velocity: int
    release: int = 64

    @property
    def end(self) -> int:
        return self.start + self.duration


class Event(NamedTuple):
    """Any other MIDI message at `tick`, as the raw bytes of a MIDI file (running status undone).

    Channel messages start with their status byte, SysEx with F0 or F7 followed by its payload
    (without the length), meta events with FF, type, payload (without the length).
    """

    tick: int
    data: bytes


class Tempo(NamedTuple):
    tick: int
    microseconds: int  # per quarter note

    @property
    def bpm(self) -> float:
        return 60_000_000 / self.microseconds


class Meter(NamedTuple):
    tick: int
    numerator: int
    denominator: int


class KeySignature(NamedTuple):
    tick: int
    fifths: int  # -7 (seven flats) .. 7 (seven sharps)
    minor: bool


class Marker(NamedTuple):
    """A marker or cue text. A marker whose text is a chord symbol is part of the chord track."""

    tick: int
    text: str


class Bar(NamedTuple):
    """One bar of the grid: `start` and `length` in ticks; `index` counts from 0."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a bar
    start: int
    length: int
    numerator: int
    denominator: int

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Track:
    """One part. `notes` are sorted by (start, pitch); `events` by tick. `program` is General MIDI 0..127."""

    name: str = ""
    program: int = 0
    is_drum: bool = False
    channel: int = 0
    notes: tuple[Note, ...] = ()
    events: tuple[Event, ...] = ()

    def with_notes(self, notes: Iterable[Note]) -> Track:
        return replace(self, notes=tuple(sorted(notes)))


@dataclass(frozen=True, slots=True)
class Score:
    """A piece of music on a grid of `ticks_per_quarter`. `length` is its declared end in ticks."""

    ticks_per_quarter: int = 480
    tracks: tuple[Track, ...] = ()
    tempos: tuple[Tempo, ...] = ()
    meters: tuple[Meter, ...] = ()
    keys: tuple[KeySignature, ...] = ()
    markers: tuple[Marker, ...] = ()
    events: tuple[Event, ...] = ()
    name: str = ""
    length: int = 0
    # Filled on first use: the first bar of every meter, and the seconds at every tempo.
    _meter_starts: list[Bar] = field(default_factory=list, init=False, repr=False, compare=False)
    _tempo_seconds: list[float] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def last_note_start(self) -> int:
        """Start tick of the last note, or -1 when there is none."""
        return max((track.notes[-1].start for track in self.tracks if track.notes), default=-1)

    @property
    def end(self) -> int:
        """The first tick after everything: notes' ends, events and the declared length."""
        ends = [self.length]
        for track in self.tracks:
            ends.extend(note.end for note in track.notes)
            if track.events:
                ends.append(track.events[-1].tick)
        return max(ends)

    def bar(self, index: int) -> Bar:
        """Bar `index` (from 0); the grid goes on beyond the end of the music in the last meter."""
        starts = self._starts_of_meters()
        place = bisect_right(starts, index, key=lambda bar: bar.index) - 1
        return self._bar_in_meter(max(0, place), index)

    def bar_at(self, tick: int) -> Bar:
        """The bar that holds `tick`."""
        starts = self._starts_of_meters()
        place = max(0, bisect_right(starts, tick, key=lambda bar: bar.start) - 1)
        first = starts[place]
        return self._bar_in_meter(place, first.index + (tick - first.start) // first.length)

    def _bar_in_meter(self, place: int, index: int) -> Bar:
        first = self._meter_starts[place]
        start, length = first.start + (index - first.index) * first.length, first.length
        if place + 1 < len(self._meter_starts):
            # A meter change inside a bar cuts it short, as DAWs show it.
            length = min(length, self._meter_starts[place + 1].start - start)
        return Bar(index, start, length, first.numerator, first.denominator)

    def _starts_of_meters(self) -> list[Bar]:
        """The first bar of every meter, at its full length, so that no grid costs more than its meters."""
        if not self._meter_starts:
            meters = {0: (4, 4)} | {max(0, tick): (over, under) for tick, over, under in self.meters}
            index = 0
            starts: list[Bar] = []
            for start, (numerator, denominator) in sorted(meters.items()):
                if starts:
                    index += -((starts[-1].start - start) // starts[-1].length)
                length = max(1, self.ticks_per_quarter * 4 * numerator // denominator)
                starts.append(Bar(index, start, length, numerator, denominator))
            self._meter_starts[:] = starts  # not extend: two threads may come here at once
        return self._meter_starts

    def tempo_at(self, tick: int) -> Tempo:
        """The tempo in force at `tick`."""
        index = bisect_right(self.tempos, tick, key=lambda tempo: tempo.tick) - 1
        return self.tempos[index] if index >= 0 else Tempo(0, DEFAULT_TEMPO)

    def seconds_at(self, tick: float) -> float:
        """Seconds from the start to `tick` through the tempo map."""
        if not self._tempo_seconds:
            self._tempo_seconds[:] = self._seconds_at_tempos()
        index = bisect_left(self.tempos, tick, key=lambda tempo: tempo.tick) - 1
        last, microseconds = self.tempos[index] if index >= 0 else (0, DEFAULT_TEMPO)
        return self._tempo_seconds[index + 1] + (tick - last) * microseconds / 1e6 / self.ticks_per_quarter

    def _seconds_at_tempos(self) -> list[float]:
        """Seconds at the start and at each tempo."""
        total, seconds, last, microseconds = 0, [0.0], 0, DEFAULT_TEMPO
        for tick, following in self.tempos:
            total += (tick - last) * microseconds
            seconds.append(total / 1e6 / self.ticks_per_quarter)
            last, microseconds = tick, following
        return seconds

    def with_tracks(self, tracks: Iterable[Track]) -> Score:
        return replace(self, tracks=tuple(tracks))
