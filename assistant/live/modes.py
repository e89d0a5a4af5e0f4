"""The three ways to answer what is played: go on from it, call and response, and play along.

Each is a loop that waits for its moment, has a bar written, and hands it to the player. It ends by Cancelled
when `stop` is set.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from assistant.live.answer import CONTEXT_BARS, Answer, accompanying_bar, continuing_bar, joined, new_parts
from assistant.live.capture import EARLY_BEATS, Capture, Captured
from assistant.live.clock import Line, next_quantum
from assistant.live.live_settings import LiveSettings
from models.errors import Cancelled, UserError
from models.instruments import Instrument
from models.score import Score, Track

if TYPE_CHECKING:
    from assistant.pipeline import Candidate, Options, Request

    Propose = Callable[[Request, Callable[[], bool]], list[Candidate]]
    Warm = Callable[[Request | None, Callable[[], bool]], None]

FIRST_LEAD = 0.5  # seconds before it is due that an answer is begun, until it is known how long that takes
LEAD_FACTOR = 1.5
LEAST_LEAD = 0.05
REST_BARS = 4  # without a note, after which an accompaniment rests
KEPT_BARS = 64  # of an accompaniment
PHRASE_BEATS = 2.0  # of silence that end a phrase
READ_BEATS = 0.25  # after a bar line the bar before it is read: an early or a late note has come by then
LOOK_SECONDS = 0.05
SEED_STEP = 7919  # between one answer and the next


class Transport(NamedTuple):
    """Where the song is, as the player last told. run: a stretch of time without a jump."""

    source: str = "own"
    rolling: bool = False
    line: Line = Line(0.0, 0.0, 0.5)
    run: int = 0

    def beat(self, now: float) -> float:
        return self.line.beat_at(now) if self.rolling else self.line.beat


@dataclass(frozen=True)
class Stage:
    """What a mode may see and do: what Live lends it.

    play: a score at the next place from a beat on, in place of all there is; the beat where it begins. queue: a
    score at a beat, in place of what was there from that beat on. soonest: the next place where anything may
    begin. changed: told whenever something comes in. warm: has the network loaded and, given a request, what that
    builds on read, so that the next request is answered sooner.
    """

    transport: Callable[[], Transport]
    settings: Callable[[], LiveSettings]
    play: Callable[[Score, float | None], float]
    queue: Callable[[Score, float, bool], None]
    soonest: Callable[[], float]
    publish: Callable[[dict[str, Any]], None]
    capture: Capture
    changed: threading.Condition
    propose: Propose
    warm: Warm

    def beat(self) -> float:
        return self.transport().beat(time.perf_counter())


class Modes:
    """The loops, and what they remember: how long bars take, and what was answered last."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._took: deque[float] = deque(maxlen=8)  # seconds that the last bars took to write
        self.ahead: deque[float] = deque(maxlen=10_000)  # bars by which the bars of an accompaniment were early
        self.late = 0
        self.last: Answer | None = None

    def _write(self, request: Request, stop: threading.Event) -> tuple[Candidate, float]:
        """The candidate of a request for a bar, and the seconds it took."""
        began = time.perf_counter()
        candidates = self._stage.propose(request, stop.is_set)
        if stop.is_set():
            raise Cancelled
        (candidate,) = candidates
        took = time.perf_counter() - began
        self._took.append(took)
        return candidate, took

    def _warm(self, request: Request | None, stop: threading.Event) -> None:
        with suppress(UserError, Cancelled):  # whoever then asks in earnest will be told
            self._stage.warm(request, stop.is_set)

    def _lead(self) -> float:
        """Beats before it is due that an answer has to be begun."""
        seconds = LEAD_FACTOR * sorted(self._took)[len(self._took) // 2] if self._took else FIRST_LEAD
        return seconds / self._stage.transport().line.beat_seconds

    def _wait(self, stop: threading.Event, ready: Callable[[], bool]) -> None:
        """Until `ready`; Cancelled when it is stopped before."""
        with self._stage.changed:
            while not ready():
                if stop.is_set():
                    raise Cancelled
                self._stage.changed.wait(LOOK_SECONDS)

    def _wait_for_beat(self, stop: threading.Event, beat: float, run: int) -> bool:
        """Whether the song came to `beat`; False when it jumped, or stopped for good, before."""
        self._wait(stop, lambda: self._stage.beat() >= beat or self._jumped(run))
        return not self._jumped(run)

    def _jumped(self, run: int) -> bool:
        return self._stage.transport().run != run

    # --- Go on ----------------------------------------------------------------------------------------

    def go_on(
        self, captured: Captured, bars: int, options: Options, at: float | None, stop: threading.Event
    ) -> float:
        """Write and queue bar after bar from beat `at`, or as soon as may be. The beat where the last one ends."""
        stage = self._stage
        stage.publish({"event": "answer", "state": "asked", "bars": bars})
        written: list[Score] = []
        place = begin = 0.0
        for number in range(bars):
            candidate, took = self._write(continuing_bar(captured.quantised, written, options), stop)
            bar = candidate.only_new()
            with stage.changed:
                if number == 0:
                    begin = place = stage.play(bar, at)
                else:
                    place = max(stage.soonest(), place)
                    stage.queue(bar, place, True)
            written.append(bar)
            self.last = Answer("continue", _whole(written), begin, options.seed, candidate.model_hash)
            stage.publish(_ready(number + 1, place, took))
            place += stage.settings().bar_beats
        return place

    # --- Call and response ----------------------------------------------------------------------------

    def call_and_response(self, bars: int, options: Options, phrase: bool, stop: threading.Event) -> None:
        stage = self._stage
        heard_from, run, number = stage.beat(), stage.transport().run, 0
        self._warm(None, stop)
        while True:
            first = self._first_note(stop, heard_from, run)
            if first is None:
                heard_from, run = -1e9, stage.transport().run
                continue
            bar_beats = stage.settings().bar_beats
            due: float | None = None
            if phrase:
                self._read_along(stop, run, self._phrase_is_over, options)
            else:
                due = end = (first + EARLY_BEATS) // bar_beats * bar_beats + bars * bar_beats
                self._read_along(stop, run, lambda end=end: stage.beat() >= end - self._lead(), options)  # type: ignore[misc]
            if self._jumped(run):
                continue
            captured = stage.capture.take(stage.settings().meter, stage.transport().line.bpm)
            varied = replace(options, seed=options.seed + SEED_STEP * number)
            end = self.go_on(captured, bars, varied, due, stop)
            self._wait_for_beat(stop, end - EARLY_BEATS, run)
            heard_from, number = end - EARLY_BEATS, number + 1

    def _read_along(self, stop: threading.Event, run: int, over: Callable[[], bool], options: Options) -> None:
        """Until the call is over or the song jumps. At every bar line the network reads what was played so far, so
        that little is left to be read when the answer is due."""
        stage = self._stage
        while not over() and not self._jumped(run):
            line = next_quantum(stage.beat(), stage.settings().bar_beats) + READ_BEATS
            self._wait(stop, lambda line=line: over() or self._jumped(run) or stage.beat() >= line)  # type: ignore[misc]
            if not over() and not self._jumped(run):
                with suppress(UserError):
                    captured = stage.capture.take(stage.settings().meter, stage.transport().line.bpm)
                    self._warm(continuing_bar(captured.quantised, (), options), stop)

    def _first_note(self, stop: threading.Event, since: float, run: int) -> float | None:
        """The beat of the first note played from `since` on; None when the song jumped meanwhile."""
        found: list[float] = []

        def look() -> bool:
            beats = (item.beat for item in self._stage.capture.last_run() if item.run == run and item.begins_note)
            found[:] = [beat for beat in beats if beat >= since][:1]
            return bool(found) or self._jumped(run)

        self._wait(stop, look)
        return found[0] if found else None

    def _phrase_is_over(self) -> bool:
        items = self._stage.capture.last_run()
        return bool(items) and not self._stage.capture.held and self._stage.beat() - items[-1].beat >= PHRASE_BEATS

    # --- Play along -----------------------------------------------------------------------------------

    def play_along(self, instruments: Sequence[Instrument], options: Options, stop: threading.Event) -> None:
        stage = self._stage
        self._warm(None, stop)
        parts = new_parts(instruments)
        written: dict[int, Score] = {}
        run, done = -1, -1
        good: Score | None = None
        stage.queue(Score(), -1.0, False)
        while True:
            self._wait(stop, lambda: stage.transport().rolling)
            bar_beats = stage.settings().bar_beats
            target = int((stage.beat() + 1e-3) // bar_beats) + 1
            if self._jumped(run):
                run, done = stage.transport().run, -1
                written.clear()
            if target > done:
                done = target
                good = self._along_bar(parts, written, target, good, options, stop)
            self._wait_for_beat(stop, target * bar_beats, run)

    def _along_bar(
        self,
        parts: Sequence[Track],
        written: dict[int, Score],
        target: int,
        good: Score | None,
        options: Options,
        stop: threading.Event,
    ) -> Score | None:
        """Write bar `target` of the parts while the bar before it plays. The last good bar: this one, or when it
        comes too late the one before, which then plays once more."""
        stage = self._stage
        transport, settings = stage.transport(), stage.settings()
        due = target * settings.bar_beats
        heard = due - settings.bar_beats
        captured = stage.capture.in_run(transport.run, settings.meter, transport.line.bpm, CONTEXT_BARS, heard)
        if captured is None or captured.last_beat < heard - REST_BARS * settings.bar_beats:
            return good
        request = accompanying_bar(captured, parts, written, target, options)
        if request is None:
            return good
        if good is not None:
            stage.queue(good, due, True)
        candidate, took = self._write(request, stop)
        with stage.changed:
            left = due - stage.beat()
            in_time = left * transport.line.beat_seconds > LEAST_LEAD
            if in_time:
                good = candidate.only_new()
                stage.queue(good, due, True)
        self.ahead.append(left / settings.bar_beats)
        self.late += not in_time
        if good is not None:
            written[target] = good
            for old in [number for number in written if number <= target - KEPT_BARS]:
                del written[old]
            begin = min(written) * settings.bar_beats
            score = _whole([written[number] for number in sorted(written)])
            self.last = Answer("accompany", score, begin, options.seed, candidate.model_hash)
        stage.publish(_ready(target + 1, due, took) | ({} if in_time else {"state": "late"}))
        return good


def _ready(bar: int, beat: float, seconds: float) -> dict[str, Any]:
    return {"event": "answer", "state": "ready", "bar": bar, "beat": beat, "seconds": round(seconds, 3)}


def _whole(bars: Sequence[Score]) -> Score:
    """Bars laid one after the other."""
    return joined(bars[0], bars[1:])
