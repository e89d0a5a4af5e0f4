"""The player: keeps the song's time, sends every note of a proposal when it is due, and places what comes in.

    python -m assistant.live.player

`Player` is told the time with everything it is asked, so that tests run hours of it in seconds; `main` runs
it as a process of its own between the note guard's pipes.
"""

from __future__ import annotations

import heapq
import os
import queue
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from assistant.live.clock import Follower, Line, OwnTransport
from assistant.live.guard import be_quick, ignore_interrupts
from assistant.live.live_settings import POSITION_TICKS
from assistant.live.wire import DUE, PLACED, TIMED, pack, pack_json, parse, read

if TYPE_CHECKING:
    from assistant.live.link import LinkTransport

CLOCK, START, CONTINUE, STOP, POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2
CLOCK_GONE_SECONDS = 2.0  # without a tick before our own transport may lead again
PORT_GONE_SECONDS = 1.0  # without a tick before another port may bring the clock
LATE_SECONDS = 0.03  # what is later than this is not played at all
IDLE_BARS = 8  # after which a transport that a note has started stops by itself
HEARTBEAT_SECONDS = 0.25
KEPT_BEATS = 1000.0  # of what was sent, for a DAW that goes back and plays it again
CLICK_CHANNEL, CLICK_HIGH, CLICK_LOW, CLICK_BEATS = 9, 76, 77, 0.1

Send = Callable[[float, bytes], None]  # when it is due, a MIDI message
Report = Callable[[dict[str, Any]], None]
Place = Callable[[float, float, int, bytes], None]  # time, beat, run, a MIDI message


class Due(NamedTuple):
    """A MIDI message at a beat of the song; a note-on knows how long it lasts. Sorted as it has to be sent."""

    beat: float
    order: int  # controllers come before notes
    data: bytes
    beats: float = 0.0
    release: int = 64


def read_notes(rows: Sequence[Sequence[float]], events: Sequence[tuple[float, str]], at: float) -> list[Due]:
    """What to send, from rows of beat, length, channel, pitch, velocity and release, and (beat, bytes in hex)."""
    notes = [
        Due(at + beat, 1, bytes([0x90 | int(channel), int(pitch), int(velocity)]), beats, int(release))
        for beat, beats, channel, pitch, velocity, release in rows
    ]
    return sorted([*notes, *(Due(at + beat, 0, bytes.fromhex(data)) for beat, data in events)])


class Player:
    """Sends what is due through `send`; says through `report` what happens and through `place` what came in."""

    def __init__(self, send: Send, report: Report, place: Place) -> None:
        self._send, self._report, self._place = send, report, place
        self._follower, self._own = Follower(), OwnTransport()
        self._link: LinkTransport | None = None
        self._source = "own"
        self._sync = "auto"
        self._meter = (4, 4)
        self._offset = 0.0
        self._count_in = 0
        self._position_ticks = 6
        self._clock_seen = False
        self._clock_port: int | None = None
        self._last_tick = -1e9
        self._dues: list[Due] = []
        self._next = 0
        self._sounding: list[tuple[float, int, bytes]] = []  # heap of the beat of its end, a number, the note-off
        self._number = 0
        self._run = 0
        self._steps = -1
        self._was_rolling = False
        self._by_note = False  # a note that was played has started our own transport
        self._last_input = -1e9
        self._free = Line(-1e9, 0.0, 0.5)  # where what is played belongs while nothing rolls
        self._reported_beat = 0
        self._playing = False
        self._song_end = 0.0

    # --- Time -----------------------------------------------------------------------------------------

    @property
    def bar_beats(self) -> float:
        return 4 * self._meter[0] / self._meter[1]

    def _transport(self) -> Follower | OwnTransport | LinkTransport:
        if self._source == "clock":
            return self._follower
        return self._link if self._source == "link" and self._link is not None else self._own

    def _line(self) -> Line:
        line: Line = self._transport().line
        return line

    def _stands_at(self, now: float) -> float:
        """The beat where the song is."""
        transport = self._transport()
        if self._source == "clock" and not transport.rolling:
            return self._follower.place
        return float(transport.line.beat_at(now) if transport.rolling else transport.line.beat)

    def _choose_source(self, now: float) -> None:
        ticking = now - self._last_tick < CLOCK_GONE_SECONDS
        if self._sync in ("own", "clock", "link"):
            source = self._sync
        elif ticking or (self._clock_seen and not self._own.rolling):
            source = "clock"
        else:
            source = "own"
        if source != self._source:
            self._source = source
            if source == "clock":
                self._own.stop(now)
            self._steps = -1

    # --- What is asked --------------------------------------------------------------------------------

    def obey(self, command: dict[str, Any], now: float) -> None:
        """A command of Live, as `live.py` writes it."""
        match command["do"]:
            case "settings":
                self._sync, self._meter = command["sync"], tuple(command["meter"])
                self._offset, self._count_in = command["offset_ms"] / 1000, command["count_in"]
                self._position_ticks = POSITION_TICKS[command["song_position"]]
                self._own.set_tempo(now, command["bpm"])
                self._follow_link(command["bpm"])
            case "play":
                if not command["keep"]:
                    self._release(now)
                    self._dues, self._next = [], 0
                self._add(read_notes(command["notes"], command["events"], command["at"]), command["from"], now)
            case "stop":
                self._dues, self._next = [], 0
                self._release(now)
            case "start":
                beat = command.get("beat")
                self._by_note = False
                stands = self._own.line.beat if beat is None else beat
                self._own.start(now, stands - self._count_in * self.bar_beats)
                self._clock_seen = False
                self._count_in_clicks(stands)
            case "halt":
                self._own.stop(now)
            case "locate":
                self._own.locate(now, command["beat"])
            case "restore":
                line = Line(*command["line"])
                if command["source"] == "clock":
                    self._follower.restore(line, now)
                    self._clock_seen, self._last_tick, self._source = True, now, "clock"
                elif command["source"] == "own":
                    self._own.set_tempo(now, line.bpm)
                    self._own.start(now, line.beat_at(now))
                self._steps = self._transport().steps
                self._run, self._was_rolling = command["run"], True
                self._aim(now)
        self._notice(now)

    def _follow_link(self, bpm: float) -> None:
        if self._sync == "link" and self._link is None:
            from assistant.live.link import LinkTransport

            self._link = LinkTransport(bpm)
        elif self._sync != "link" and self._link is not None:
            self._link.close()
            self._link = None
        if self._link is not None:
            self._link.set_quantum(self.bar_beats)

    def _count_in_clicks(self, stands: float) -> None:
        pulse = 4 / self._meter[1]
        for number in range(self._count_in * self._meter[0]):
            pitch = CLICK_LOW if number % self._meter[0] else CLICK_HIGH
            data = bytes([0x90 | CLICK_CHANNEL, pitch, 100])
            self._dues.append(Due(stands - self._count_in * self.bar_beats + number * pulse, 1, data, CLICK_BEATS))
        self._dues.sort()

    # --- What comes in --------------------------------------------------------------------------------

    def receive(self, at: float, port: int, data: bytes, now: float) -> None:
        """A MIDI message that came in `at` that time through a port."""
        kind = data[0]
        if kind in (CLOCK, START, CONTINUE, STOP, POSITION):
            self._receive_clock(at, port, data)
            self._notice(now)
        elif kind < 0xF0:
            beat = self._beat_of_input(at)
            self._last_input = at
            self._place(at, beat, self._run, data)

    def _receive_clock(self, at: float, port: int, data: bytes) -> None:
        if port != self._clock_port:
            if at - self._last_tick < PORT_GONE_SECONDS and self._clock_port is not None:
                return  # two clocks at once: the first one leads until it is silent
            self._clock_port = port
        follower = self._follower
        match data[0]:
            case 0xF8:
                follower.tick(at)
                self._last_tick, self._clock_seen = at, True
            case 0xFA:
                follower.start()
                self._clock_seen = True
            case 0xFB:
                follower.resume()
                self._clock_seen = True
            case 0xFC:
                follower.stop()
            case 0xF2 if len(data) == 3:
                follower.locate((data[1] | data[2] << 7) * self._position_ticks)

    def _beat_of_input(self, at: float) -> float:
        """Where in the song something was played. The first note starts our own transport, when that leads."""
        self._choose_source(at)
        if self._transport().rolling:
            return self._line().beat_at(at)
        if self._source == "own":
            self._own.start(at, 0.0)
            self._by_note = True
            self._notice(at)
            return 0.0
        if at - self._last_input > 2 * self.bar_beats * self._line().beat_seconds:
            self._free = Line(at, 0.0, self._line().beat_seconds)
            self._run += 1
        return self._free.beat_at(at)

    # --- What goes out --------------------------------------------------------------------------------

    def run(self, now: float) -> float:
        """Send what is due. When to be asked again, at the latest."""
        self._notice(now)
        if not self._transport().rolling:
            return now + HEARTBEAT_SECONDS
        line = self._line()
        while True:
            on = self._dues[self._next].beat if self._next < len(self._dues) else float("inf")
            off = self._sounding[0][0] if self._sounding else float("inf")
            beat = min(on, off)
            if beat == float("inf"):
                break
            due = line.time_of(beat) - self._offset
            if due > now:
                return min(due, now + HEARTBEAT_SECONDS)
            if off <= on:
                self._send(due, heapq.heappop(self._sounding)[2])
            else:
                self._begin(self._dues[self._next], due, now)
                self._next += 1
        return now + HEARTBEAT_SECONDS

    def _begin(self, item: Due, due: float, now: float) -> None:
        if item.order and now - due - max(0.0, self._offset) > LATE_SECONDS:
            return
        self._send(due, item.data)
        if item.order:
            off = bytes([0x80 | item.data[0] & 0x0F, item.data[1], item.release])
            self._number += 1
            heapq.heappush(self._sounding, (item.beat + item.beats, self._number, off))

    def _release(self, now: float) -> None:
        """End what sounds now."""
        for _, _, off in sorted(self._sounding):
            self._send(now, off)
        self._sounding.clear()

    def _add(self, items: list[Due], begin: float, now: float) -> None:
        """Take in `items` for what was there from `begin` on. What is over by now counts as sent."""
        gone = self._stands_at(now) - LATE_SECONDS / self._line().beat_seconds
        sent = [due for due in self._dues[: self._next] if gone - KEPT_BEATS < due.beat < begin]
        coming = [due for due in self._dues[self._next :] if due.beat < begin]
        sent += [due for due in items if due.beat < gone]
        coming += [due for due in items if due.beat >= gone]
        self._dues, self._next = sorted(sent) + sorted(coming), len(sent)
        self._song_end = max((due.beat + due.beats for due in self._dues), default=0.0)

    def _aim(self, now: float) -> None:
        """Go on with what begins from here on."""
        late = LATE_SECONDS / self._line().beat_seconds
        self._dues.sort()
        self._next = bisect_left(self._dues, self._stands_at(now) - late, key=lambda due: due.beat)

    # --- Noticing -------------------------------------------------------------------------------------

    def _notice(self, now: float) -> None:
        """See whether the transport started, stopped or jumped since the last look, and report where it is."""
        self._choose_source(now)
        if self._source == "clock" and self._follower.rolling and self._follower.is_lost(now):
            self._follower.lose()
        transport = self._transport()
        rolling = bool(transport.rolling)
        if self._by_note and rolling and self._source == "own" and self._is_idle(now):
            self._own.stop(now)
            rolling = False
        changed = rolling != self._was_rolling or transport.steps != self._steps
        if changed:
            if self._was_rolling:
                self._release(now)
            if rolling:
                self._run += 1
            self._was_rolling, self._steps = rolling, transport.steps
            self._aim(now)
        beat = self._stands_at(now)
        if changed or (rolling and int(beat // 1) != self._reported_beat):
            self._reported_beat = int(beat // 1)
            self._report_transport(now, beat, changed)
        playing = rolling and (self._next < len(self._dues) or bool(self._sounding))
        if playing != self._playing:
            self._playing = playing
            self._report({"event": "playing", "state": "started" if playing else "ended", "beat": round(beat, 4)})

    def _is_idle(self, now: float) -> bool:
        beats = IDLE_BARS * self.bar_beats
        line = self._own.line
        return line.beat_at(now) > max(self._song_end, line.beat_at(self._last_input)) + beats

    def _report_transport(self, now: float, beat: float, changed: bool) -> None:
        line = self._line()
        self._report(
            {
                "event": "transport",
                "source": self._source,
                "rolling": self._was_rolling,
                "changed": changed,
                "time": now,
                "beat": beat,
                "beat_seconds": line.beat_seconds,
                "run": self._run,
            }
        )


def main() -> None:
    ignore_interrupts()
    be_quick()
    commands, out = sys.stdin.buffer, sys.stdout.buffer
    waiting: queue.SimpleQueue[tuple[bytes, bytes] | None] = queue.SimpleQueue()

    def listen() -> None:
        while (message := read(commands)) is not None:
            waiting.put(message)
        os._exit(0)  # the guard is gone, and with it whatever could be sent

    threading.Thread(target=listen, daemon=True).start()

    def write(message: bytes) -> None:
        try:
            out.write(message)
            out.flush()
        except OSError:
            os._exit(0)

    player = Player(
        send=lambda due, data: write(pack(b"O", DUE.pack(due) + data)),
        report=lambda event: write(pack_json(b"J", event)),
        place=lambda at, beat, run, data: write(pack(b"N", PLACED.pack(at, beat, run) + data)),
    )
    beaten = 0.0
    while True:
        now = time.perf_counter()
        again = player.run(now)
        if now - beaten > HEARTBEAT_SECONDS:
            beaten = now
            write(pack(b"H", b""))
        try:
            message = waiting.get(timeout=max(0.0, again - time.perf_counter()))
        except queue.Empty:
            continue
        kind, body = message or (b"", b"")
        if kind == b"I":
            at, port = TIMED.unpack_from(body)
            player.receive(at, port, body[TIMED.size :], time.perf_counter())
        elif kind == b"P":
            player.obey(parse(body), time.perf_counter())


if __name__ == "__main__":
    main()
