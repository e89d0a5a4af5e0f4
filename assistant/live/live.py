"""Live: the one object that the command line and the server hold. It keeps the processes, remembers what was
played, and answers.

Every method may be called from any thread. Whoever subscribed is told what happens in threads of Live's own.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.live.answer import Answer, describe, rows_of
from assistant.live.capture import Capture, Captured, Played
from assistant.live.clock import Line, next_quantum
from assistant.live.live_settings import MOST_ANSWER_BARS, LiveSettings
from assistant.live.modes import LEAST_LEAD, Modes, Stage, Transport
from assistant.live.ports import IN, OUT, load_rtmidi
from assistant.live.processes import Processes
from assistant.live.wire import PLACED, parse
from assistant.settings import home
from models.errors import Cancelled, UserError
from models.instruments import Instrument, parse_instrument
from models.score import Score

if TYPE_CHECKING:
    from assistant.pipeline import Candidate, Options, Request

    Propose = Callable[[Request, Callable[[], bool]], list[Candidate]]
    Warm = Callable[[Request | None, Callable[[], bool]], None]

START_SECONDS = 60.0
USUAL_BAND = ("bass", "drums")
KEPT_CLIPS = 64


class Live:
    """Ports, player, capture and answers. `start` it, `close` it; a context manager does both.

    propose: makes candidates of a request, in a thread of Live's; by default it loads the network here.
    state_folder: where the ledger of sounding notes lies. warm: loads what `propose` needs, and reads what a
    request builds on.
    """

    def __init__(
        self,
        settings: LiveSettings | None = None,
        propose: Propose | None = None,
        state_folder: Path | None = None,
        warm: Warm | None = None,
    ) -> None:
        if propose is None:
            propose, warm = own_generator()
        self.settings = settings or LiveSettings()
        self.settings.check()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        ledger = (state_folder or home()) / "sounding-notes"
        self._processes = Processes(ledger, self._wanted_ports, self._hear)
        self._capture = Capture()
        self._modes = Modes(
            Stage(
                transport=lambda: self._transport,
                settings=lambda: self.settings,
                play=self._play_from,
                queue=self._queue,
                soonest=self._soonest,
                publish=self._publish,
                capture=self._capture,
                changed=self._changed,
                propose=propose,
                warm=warm or (lambda request, cancelled: None),
            )
        )
        self._transport = Transport()
        self._listeners: list[Callable[[dict[str, Any]], None]] = []
        self._ready: dict[str, Any] | None = None
        self._failed: UserError | None = None
        self._ports: dict[str, Any] = {"sources": [], "targets": [], "connected": []}
        self._peers: dict[str, Any] = {"heard_by": [], "fed_by": []}  # whom others connected to our ports
        self._listed = False  # whether the ports were told at all
        self._pids: dict[str, int] = {}
        self._players = 0
        self._clips: list[dict[str, Any]] = []  # what a player that starts anew has to be told
        self._playing = False
        self._mode = "off"
        self._stop = threading.Event()
        self._figures: dict[str, Any] | None = None

    def __enter__(self) -> Live:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Open the ports. UserError when there is no MIDI system, no rtmidi, or another Descant is live."""
        if importlib.util.find_spec("rtmidi") is None:
            load_rtmidi()
        self._processes.start()
        with self._changed:
            self._changed.wait_for(lambda: (self._ready and self._listed) or self._failed, START_SECONDS)
            if self._ready is None:
                self._processes.give_up()
                failed = self._failed or UserError("The MIDI ports did not open in time", "Try again.")
        if self._ready is None:
            self._processes.close()
            raise failed

    def close(self) -> None:
        """Release every note and end both processes."""
        self.stop()
        self._processes.close()
        with self._lock:
            self._ready = None

    # --- What the processes say -----------------------------------------------------------------------

    def _hear(self, kind: bytes, body: bytes) -> None:
        if kind == b"N":
            at, beat, run = PLACED.unpack_from(body)
            self._hear_played(Played(at, beat, run, body[PLACED.size :]))
            return
        event = parse(body)
        name = event["event"]
        with self._changed:
            if name == "ready":
                again, self._ready, self._failed = self._ready is not None, event, None
                self._pids["guard"] = event["pid"]
                self._ports = {**self._ports, "connected": []}  # until it tells what it has opened
                event = {"event": "restarted", "which": "guard"} if again else event
            elif name == "failed":
                known = self._failed is not None
                self._failed = UserError(event["message"], event["hint"])
                self._processes.failed()
                event = {**event, "event": "figures" if known else "problem"}  # said once is enough
            elif name == "player":
                self._pids["player"] = event["pid"]
                self._players += 1
                self._playing = False
                self._brief_player()
                event = {"event": "restarted", "which": "player"} if self._players > 1 else event
            elif name == "ports":
                self._listed = True
                self._peers = {key: event.pop(key) for key in self._peers}
                self._ports = {key: event[key] for key in self._ports}
            elif name == "transport":
                line = Line(event["time"], event["beat"], event["beat_seconds"])
                self._transport = Transport(event["source"], event["rolling"], line, event["run"])
                event = {"event": "transport", "changed": event["changed"], **self._transport_state()}
            elif name == "playing":
                self._playing = event["state"] == "started"
            elif name == "figures":
                self._figures = event
            self._changed.notify_all()
        if event["event"] not in ("figures", "ready"):
            self._publish(event)

    def _brief_player(self) -> None:
        """Tell a player that has just begun what it has to know, and where the song is by now."""
        self._send_settings()
        for clip in self._clips:
            self._processes.tell_player(**clip)
        transport = self._transport
        if transport.rolling:
            self._processes.tell_player(
                do="restore", source=transport.source, line=list(transport.line), run=transport.run
            )

    def _hear_played(self, item: Played) -> None:
        for trigger in self.settings.triggers:
            if trigger.belongs(item.data):
                if trigger.fits(item.data):
                    threading.Thread(target=self._pull, args=[trigger.verb], daemon=True).start()
                return
        with self._changed:
            self._capture.add(item)
            self._changed.notify_all()
        if item.data[0] & 0xF0 in (0x80, 0x90):
            self._publish(
                {
                    "event": "note",
                    "on": item.data[0] & 0xF0 == 0x90 and item.data[2] > 0,
                    "pitch": item.data[1],
                    "velocity": item.data[2],
                    "channel": item.data[0] & 15,
                    "beat": round(item.beat, 4),
                }
            )

    def _pull(self, verb: str) -> None:
        verbs: dict[str, Callable[[], Any]] = {
            "continue": self.continue_played,
            "answer": self.answer,
            "accompany": lambda: self.accompany([parse_instrument(name) for name in USUAL_BAND]),
            "stop": self.stop,
            "panic": self.panic,
        }
        try:
            verbs[verb]()
        except UserError as error:
            self._publish({"event": "problem", "message": error.message, "hint": error.hint})

    def subscribe(self, callback: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Have `callback` told of every event, as a dict for JSON; the result ends that."""
        with self._lock:
            self._listeners = [*self._listeners, callback]

        def end() -> None:
            with self._lock:
                self._listeners = [listener for listener in self._listeners if listener is not callback]

        return end

    def _publish(self, event: dict[str, Any]) -> None:
        for listener in self._listeners:
            with suppress(Exception):  # whoever cannot listen any more must not silence the others
                listener(event)

    # --- State ----------------------------------------------------------------------------------------

    def configure(self, **changes: Any) -> LiveSettings:
        """Change settings. UserError for what makes no sense; then nothing is changed."""
        settings = replace(self.settings, **changes)
        settings.check()
        with self._lock:
            self.settings = settings
            self._send_settings()
            self._processes.tell_guard(do="connect", inputs=settings.inputs, outputs=settings.outputs)
        return settings

    def _wanted_ports(self) -> dict[str, Any]:
        settings = self.settings
        return {"api": settings.api, "inputs": settings.inputs, "outputs": settings.outputs, **self._peers}

    def _send_settings(self) -> None:
        settings = self.settings
        self._processes.tell_player(
            do="settings",
            sync=settings.sync,
            bpm=settings.bpm,
            meter=settings.meter,
            offset_ms=settings.offset_ms,
            count_in=settings.count_in,
            song_position=settings.song_position,
        )

    def _transport_state(self) -> dict[str, Any]:
        transport = self._transport
        beat = transport.beat(time.perf_counter())
        return {
            "source": transport.source,
            "rolling": transport.rolling,
            "beat": round(beat, 4),
            "bar": int((beat + 1e-6) // self.settings.bar_beats) + 1,
            "bpm": round(transport.line.bpm, 2),
            "meter": list(self.settings.meter),
        }

    def state(self) -> dict[str, Any]:
        """Everything there is to see, for JSON."""
        with self._lock:
            ready = self._ready or {}
            return {
                "running": self._ready is not None,
                "ports": {
                    "api": ready.get("api"),
                    "in": IN,
                    "out": OUT,
                    "virtual": ready.get("virtual"),
                    **self._ports,
                },
                "transport": self._transport_state(),
                "mode": self._mode,
                "playing": self._playing,
                "settings": asdict(self.settings),
                "captured": {"notes": self._capture.note_count()},
                "answer": describe(self._modes.last),
                "processes": dict(self._pids),
            }

    def figures(self, reset: bool = False) -> dict[str, Any]:
        """From due to sent: how many messages, and p50, p99 and the most in ms. Bars of accompaniment: by how many
        bars the earliest 1 % and the median were ready ahead, and how many were late."""
        with self._changed:
            self._figures = None
            self._processes.tell_guard(do="figures", reset=reset)
            self._changed.wait_for(lambda: self._figures, 5.0)
            found: dict[str, Any] = self._figures or {"sent": 0, "lateness": []}
            ahead = sorted(self._modes.ahead)
            bars: dict[str, float] = {"bars": len(ahead), "late": self._modes.late}
            if ahead:
                bars |= {"ahead_p1": ahead[len(ahead) // 100], "ahead_p50": ahead[len(ahead) // 2]}
            return {"sent": found["sent"], "ms": [round(1000 * value, 3) for value in found["lateness"]], **bars}

    def last_answer(self) -> Answer | None:
        """What was answered last, to be kept."""
        return self._modes.last

    # --- Transport ------------------------------------------------------------------------------------

    def play_transport(self) -> None:
        """Start our own transport where it stands. UserError while a clock leads."""
        self._check_leading()
        self._processes.tell_player(do="start")

    def stop_transport(self) -> None:
        self._check_leading()
        self._processes.tell_player(do="halt")

    def locate(self, beat: float) -> None:
        """Move our own transport to a beat of the song."""
        self._check_leading()
        self._processes.tell_player(do="locate", beat=float(beat))

    def _check_leading(self) -> None:
        if self._transport.source != "own" and self._transport.rolling:
            raise UserError("The DAW leads", "Start, stop and locate there.")

    # --- Playing --------------------------------------------------------------------------------------

    def play(self, score: Score, at: float | None = None, channel: int | None = None) -> float:
        """Play a score from its tick 0, at beat `at` of the song or from the next bar (or beat) on, in place of
        what was to be played. The beat where it begins.

        Our own transport starts when nothing leads. What was played stays in its place: a DAW that goes back
        hears it again, until `stop`.
        """
        with self._lock:
            begin = self._soonest() if at is None else float(at)
            self._queue(score, begin, keep=False, channel=channel)
            if not self._transport.rolling and self._transport.source == "own":
                self._processes.tell_player(
                    do="start", beat=begin if at is None else min(begin, self._transport.line.beat)
                )
            return begin

    def _soonest(self) -> float:
        """The next place where a proposal may begin."""
        quantum = self.settings.bar_beats if self.settings.quantum == "bar" else 4 / self.settings.meter[1]
        transport = self._transport
        beat = transport.beat(time.perf_counter())
        if transport.rolling:
            beat += (LEAST_LEAD + max(0.0, self.settings.offset_ms / 1000)) / transport.line.beat_seconds
        return next_quantum(beat - 1e-6, quantum)

    def _play_from(self, score: Score, at: float | None) -> float:
        """Play at the next place there is, but not before `at`."""
        return self.play(score, None if at is None else max(at, self._soonest()))

    def _queue(self, score: Score, at: float, keep: bool, channel: int | None = None) -> None:
        notes, events = rows_of(score, channel)
        clip = {"do": "play", "keep": keep, "from": at, "at": at, "notes": notes, "events": events}
        with self._lock:
            self._clips = (
                [*[kept for kept in self._clips if kept["at"] < at][-KEPT_CLIPS:], clip] if keep else [clip]
            )
        self._processes.tell_player(**clip)

    def stop(self) -> None:
        """Play nothing more, and end what sounds and what is being answered."""
        self._end_work()
        with self._lock:
            self._clips = []
            self._processes.tell_player(do="stop")

    def panic(self) -> None:
        """Stop, and tell all sixteen channels to be silent."""
        self.stop()
        self._processes.tell_guard(do="panic")

    # --- Answers --------------------------------------------------------------------------------------

    def capture(self, bars: int | None = None) -> Captured:
        """What was played last. UserError when nothing was."""
        return self._capture.take(self.settings.meter, self._transport.line.bpm, bars)

    def continue_played(self, bars: int = 4, options: Options | None = None) -> None:
        """Go on from what was just played, from the next bar on; every bar is written while the one before plays.

        UserError when nothing was played yet.
        """
        count, asked, captured = _checked(bars), _given(options), self.capture()
        self._begin_work("continue", lambda stop: self._modes.go_on(captured, count, asked, None, stop))

    def answer(self, bars: int = 4, options: Options | None = None, phrase: bool = False) -> None:
        """Call and response until `stop`: after so many bars of playing, as many bars of answer.

        phrase: a call is over when nothing was played for two beats, in place of after its bars.
        """
        count, asked = _checked(bars), _given(options)
        self._begin_work("answer", lambda stop: self._modes.call_and_response(count, asked, phrase, stop))

    def accompany(self, instruments: Sequence[Instrument], options: Options | None = None) -> None:
        """Play along with these instruments, bar by bar and a bar ahead, until `stop`."""
        if not instruments:
            raise UserError("No instrument to play along with", 'Name one or more, such as "bass, drums".')
        asked = _given(options)
        self._begin_work("accompany", lambda stop: self._modes.play_along(instruments, asked, stop))

    def _begin_work(self, mode: str, work: Callable[[threading.Event], object]) -> None:
        self._end_work()
        stop = threading.Event()

        def run() -> None:
            try:
                work(stop)
            except Cancelled:
                pass
            except UserError as error:
                self._publish({"event": "answer", "state": "failed", "message": error.message})
                self._publish({"event": "problem", "message": error.message, "hint": error.hint})
            except Exception as error:  # a fault of ours ends the answer, not the session
                message = f"This should not have happened: {type(error).__name__}: {error}"
                self._publish({"event": "answer", "state": "failed", "message": message})
                self._publish({"event": "problem", "message": message, "hint": "Please report it with this line."})
            finally:
                with self._lock:
                    if self._stop is stop:
                        self._set_mode("off")

        with self._lock:
            self._stop = stop
            self._set_mode(mode)
            threading.Thread(target=run, daemon=True).start()

    def _end_work(self) -> None:
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
            self._set_mode("off")

    def _set_mode(self, mode: str) -> None:
        if mode != self._mode:
            self._mode = mode
            self._publish({"event": "mode", "mode": mode})


def _checked(bars: int) -> int:
    if not 1 <= bars <= MOST_ANSWER_BARS:
        raise UserError(f"An answer of {bars} bars is not possible", f"Ask for 1 to {MOST_ANSWER_BARS}.")
    return bars


def _given(options: Options | None) -> Options:
    from assistant.pipeline import Options

    return options or Options(candidates=1)


def own_generator() -> tuple[Propose, Warm]:
    """Proposals by the network in this process, which is loaded when it is first wanted, and a way to warm it."""
    loaded: list[Any] = []
    turn = threading.Lock()  # an answer that was called off may still be at it

    def generator() -> Any:
        from assistant.pipeline import load_generator

        if not loaded:
            loaded.append(load_generator())
        return loaded[0]

    def make(request: Request, cancelled: Callable[[], bool]) -> list[Candidate]:
        from assistant.pipeline import propose

        with turn:
            return propose(request, generator(), cancelled=cancelled)

    def read(request: Request | None, cancelled: Callable[[], bool]) -> None:
        from assistant.pipeline import warm

        with turn:
            network = generator()
            if request is not None:
                warm(request, network)

    return make, read
