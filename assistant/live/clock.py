"""Where in the song we are: a line of beats over time, followed from MIDI clock or kept by ourselves.

Beats are quarter notes, times seconds of `time.perf_counter`. No clock here asks what time it is: the time
is always given, so that an hour passes in a test as fast as it can be counted.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean
from typing import NamedTuple

from assistant.live.live_settings import FASTEST, SLOWEST

TICKS = 24  # clock messages a quarter note
LOST_SECONDS = 0.5  # without a tick: the clock has stopped without saying so
MEMORY = 96  # ticks over which the line is fitted once the clock is steady
FIRST_MEMORY = 6  # what an earlier tempo counts for, in ticks, when a clock begins
JUMP_TICKS = 8  # so many ticks off to one side, and the clock has moved
JUMP_SECONDS = 0.003
STEADY_SECONDS = 0.002  # that a jump may change from its first ticks to its last, unless the tempo changes
MOST_ERROR = 0.007  # seconds that one tick may be believed to be off
LOST_TICKS = 4  # at once that a MIDI system may lose
LOST_ERROR = 0.0012  # seconds: how near to whole ticks a jump has to be for them to have been lost on the way


class Line(NamedTuple):
    """`beat` falls at `time`, and from there a beat takes `beat_seconds`."""

    time: float
    beat: float
    beat_seconds: float

    def beat_at(self, time: float) -> float:
        return self.beat + (time - self.time) / self.beat_seconds

    def time_of(self, beat: float) -> float:
        return self.time + (beat - self.beat) * self.beat_seconds

    @property
    def bpm(self) -> float:
        return 60 / self.beat_seconds


class Follower:
    """Follows MIDI clock. Song position is exact in ticks; the time of a tick is filtered.

    Each tick corrects time and length of a tick by the gains of a growing-memory g-h filter, which is a
    least-squares line through the ticks so far, up to MEMORY ticks, from where on it forgets (E. Brookner,
    Tracking and Kalman Filtering Made Easy, 1998, ch. 1.2.10).
    """

    def __init__(self, bpm: float = 120.0) -> None:
        self._tick_seconds = 60 / bpm / TICKS
        self._count = 0  # ticks the filter has seen since it began anew
        self._time = 0.0  # filtered time of the last tick
        self._raw: deque[float] = deque([-1e9], maxlen=JUMP_TICKS)  # when the last ticks came in
        self._errors: deque[float] = deque(maxlen=JUMP_TICKS)
        self._ticks = 0  # song position of the last tick
        self._running = self._waiting = False
        self._begins = False  # the next tick is the first one of a start
        self.steps = 0  # jumps of the song position so far: starts, locates

    @property
    def rolling(self) -> bool:
        """Whether the song moves: it was started, and a tick has come since."""
        return self._running and not self._waiting

    @property
    def line(self) -> Line:
        """Where the song is; meant for the time since the last tick, while it rolls."""
        return Line(self._time, self._ticks / TICKS, self._tick_seconds * TICKS)

    @property
    def place(self) -> float:
        """The beat from which it will roll on, once it stands."""
        return (self._ticks + 1) / TICKS

    def is_lost(self, now: float) -> bool:
        """Whether ticks have stopped coming."""
        return now - self._raw[-1] > max(LOST_SECONDS, 3 * self._tick_seconds)

    def start(self) -> None:
        """The next tick is beat 0."""
        self.locate(0)
        self.resume()

    def resume(self) -> None:
        """The next tick is the place where the song stands."""
        self._running = self._waiting = self._begins = True
        self.steps += 1

    def stop(self) -> None:
        self._running = False

    def lose(self) -> None:
        """The ticks have stopped coming; with the next one it goes on."""
        self._waiting = True

    def locate(self, ticks: int) -> None:
        """The song stands at this place; the tick that comes next, once it rolls, is there."""
        self._ticks = ticks - 1
        self.steps += 1

    def restore(self, line: Line, now: float) -> None:
        """Go on, rolling, where another follower was when it was lost a moment ago."""
        self._tick_seconds = line.beat_seconds / TICKS
        self._ticks = int(line.beat_at(now) * TICKS)
        self._time = line.time_of(self._ticks / TICKS)
        self._raw.append(self._time)
        self._count, self._running, self._waiting = MEMORY // 4, True, False

    def tick(self, now: float) -> None:
        gap = now - self._raw[-1]
        if self._running:
            self._ticks += 1
            self._waiting = False
        self._raw.append(now)
        expected = self._time + self._tick_seconds
        error = now - expected
        silent = gap > max(LOST_SECONDS, 3 * self._tick_seconds) and gap > LOST_TICKS * self._tick_seconds
        # Some clocks rest while the song stands, and begin anew with it: their pause is no tick that was lost.
        anew, self._begins = self._begins and abs(error) > JUMP_SECONDS, False
        if silent or anew:
            self._time, self._count = now, FIRST_MEMORY
            self._errors.clear()
            return
        self._errors.append(error)
        n = self._count = min(MEMORY, self._count + 1)
        if n > JUMP_TICKS and abs(error) > MOST_ERROR:  # it is late, not the tempo; should it go on, it is a jump
            error = 0.0 if n > TICKS else math.copysign(MOST_ERROR, error)
        self._time = expected + error * 2 * (2 * n + 1) / ((n + 1) * (n + 2))
        self._tick_seconds = _believed(self._tick_seconds + error * 6 / ((n + 1) * (n + 2)))
        self._look_for_a_jump()

    def _look_for_a_jump(self) -> None:
        """Begin anew where the last ticks have all been off to one side, and count ticks that never came.

        A song that stands still for a moment, as a DAW's does when its computer is busy, looks nearly alike;
        only what is whole ticks is taken for lost ones.
        """
        errors, raw, half = list(self._errors), self._raw, JUMP_TICKS // 2
        if len(errors) < JUMP_TICKS or (min(errors) < JUMP_SECONDS and max(errors) > -JUMP_SECONDS):
            return
        if abs(fmean(errors[half:]) - fmean(errors[:half])) < STEADY_SECONDS:  # the tempo has stayed
            missing = round(fmean(errors) / self._tick_seconds)
            near = abs(fmean(errors) - missing * self._tick_seconds) < LOST_ERROR
            if self._running and self._count > TICKS + JUMP_TICKS and near and 1 <= missing <= LOST_TICKS:
                self._ticks += missing
            self._count = min(self._count, TICKS)
        else:
            self._tick_seconds = _believed((raw[-1] - raw[0]) / (JUMP_TICKS - 1))
            self._count = JUMP_TICKS
        self._time = fmean(raw) + self._tick_seconds * (JUMP_TICKS - 1) / 2
        self._errors.clear()


def _believed(tick_seconds: float) -> float:
    return min(60 / SLOWEST / TICKS, max(60 / FASTEST / TICKS, tick_seconds))


class OwnTransport:
    """A transport of our own: it rolls, stops and locates when told to."""

    def __init__(self, bpm: float = 120.0) -> None:
        self._line = Line(0.0, 0.0, 60 / bpm)
        self.rolling = False
        self.steps = 0

    @property
    def line(self) -> Line:
        return self._line

    def start(self, now: float, beat: float | None = None) -> None:
        """Roll from `beat`, or from where it stands."""
        self._line = self._line._replace(time=now, beat=self._line.beat if beat is None else beat)
        self.rolling = True
        self.steps += 1

    def stop(self, now: float) -> None:
        if self.rolling:
            self._line = self._line._replace(time=now, beat=self._line.beat_at(now))
        self.rolling = False

    def locate(self, now: float, beat: float) -> None:
        self._line = self._line._replace(time=now, beat=beat)
        self.steps += 1

    def set_tempo(self, now: float, bpm: float) -> None:
        beat = self._line.beat_at(now) if self.rolling else self._line.beat
        self._line = Line(now, beat, 60 / bpm)


def next_quantum(beat: float, quantum: float, origin: float = 0.0) -> float:
    """The first multiple of `quantum` beats, counted from `origin`, that is not before `beat`."""
    steps = -((origin - beat) // quantum)
    return origin + steps * quantum
