"""The note guard: the process that owns the ports, and whose only aim is that no note is left sounding.

    python -m assistant.live.guard LEDGER

It sends what the player hands it and keeps the ledger of what may sound. When the player dies or stands still,
it releases every note and starts another. When Live dies, it releases every note and ends. When it is killed
itself, Live starts another guard, which finds in the ledger what has to be released, and tells it to every port
as that opens: whoever heard a note begin may be back long after the guard is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from assistant.live.ledger import Ledger
from assistant.live.ports import Ports, PortsLost, Send, load_rtmidi
from assistant.live.wire import DUE, TIMED, Sender, pack, pack_json, parse, read
from models.errors import UserError

POLL_SECONDS = 1.0
REPEAT_SECONDS = 0.02  # after which everything that ends notes is sent again
LATE_REPEATS = (0.15, 0.4, 0.8)  # again after something died, for receivers that lose messages
START_REPEATS = (*LATE_REPEATS, 1.6, 3.2, 6.4)  # after a guard died: they may have to connect again, too
SETTLED_SECONDS = 4.0  # after its note-off, with nothing amiss, a note is known to have ended
LEAVE_SECONDS = 0.05  # until what was sent has left the ports, and they may close
ECHO_SECONDS = 0.15  # what comes in so soon after the same went out is our own
MOST_ECHOES = 4096
HANGING_SECONDS = 2.0  # without a word from the player
LOADING_SECONDS = 30.0  # more than that until its first word, on a computer that is busy
RESTART_SECONDS = 0.1  # between a start of the player and the next one
LATENESS_KEPT = 100_000
PRIORITY = 5  # of real time, below any sound server's

NOTE_OFF, NOTE_ON, CONTROL, BEND = 0x80, 0x90, 0xB0, 0xE0
SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
SYSTEM = 0xF0


def release_messages(notes: Sequence[tuple[int, int]], channels: Sequence[int]) -> list[bytes]:
    """Note-offs, then for each channel: pedal up, pitch bend to the centre, all notes and all sound off."""
    offs = [bytes([NOTE_OFF | channel, pitch, 64]) for channel, pitch in notes]
    rest = (
        (
            bytes([CONTROL | channel, SUSTAIN, 0]),
            bytes([BEND | channel, 0, 64]),
            bytes([CONTROL | channel, ALL_NOTES_OFF, 0]),
            bytes([CONTROL | channel, ALL_SOUND_OFF, 0]),
        )
        for channel in channels
    )
    return [*offs, *(message for messages in rest for message in messages)]


class Outlet:
    """What goes out: every note-on with its note-off, through the ledger. Safe to call from any thread.

    What the ledger holds from before is not meant to sound: it is ended by `release`, and for every port that
    opens by `greet`. send: writes one MIDI message to the ports.
    """

    def __init__(self, ledger: Ledger, send: Send) -> None:
        self._ledger, self._send = ledger, send
        self._lock = threading.RLock()
        self._sent: deque[tuple[float, bytes]] = deque(maxlen=MOST_ECHOES)
        self._ended: dict[tuple[int, int], float] = {}  # notes that may sound yet, and when they were last ended
        self._quiet = set(ledger.used())  # channels on which nothing was sent since the last release
        self._closed = False
        self._end_all()

    def send(self, data: bytes) -> None:
        """One channel message. A note that sounds is ended before it begins anew; what is not on is not ended."""
        if len(data) < 2 or not NOTE_OFF <= data[0] < SYSTEM:
            return
        kind, channel = data[0] & 0xF0, data[0] & 0x0F
        with self._lock:
            if self._closed:
                return
            if kind in (NOTE_ON, NOTE_OFF) and not (kind == NOTE_ON and data[2]):
                if self._ledger.count(channel, data[1]) == 1:
                    self._out(data)
                    self._ended[channel, data[1]] = time.perf_counter()
                self._ledger.remove(channel, data[1])  # after it was sent: a kill in between costs one too many
                return
            self._quiet.discard(channel)
            if kind == NOTE_ON:
                if self._ledger.count(channel, data[1]):
                    self._out(bytes([NOTE_OFF | channel, data[1], 64]))
                self._ledger.add(channel, data[1])  # before it is sent, for the same reason
            else:
                self._ledger.use(channel)
            self._out(data)

    def release(self, channels: Sequence[int] = (), later: Sequence[float] = (), last: bool = False) -> int:
        """End everything that sounds or may, twice. How many notes that were.

        channels: these too, whether anything was sent on them or not. later: seconds after which all that is
        said again, for notes and channels that nothing was sent to meanwhile. last: nothing is sent after that.
        """
        with self._lock:
            self._closed |= last
            self._end_all()
            notes = len(self._ended)
            self._quiet = {*self._ledger.used(), *channels}
            if not notes and not self._quiet:
                return 0
            self._silence()
        time.sleep(REPEAT_SECONDS)
        self._silence()
        self._silence_later(later)
        return notes

    def greet(self, send: Send | None) -> None:
        """A port has just opened, through `send`, or without it someone was connected to `Descant Out`: what they
        may have heard begin, and were not there to hear end, is ended there."""
        with self._lock:
            channels = sorted(self._quiet) if send is None else self._ledger.used()
            for message in release_messages(self._over(), channels):
                self._note(message)
                (send or self._send)(message)
            again = bool(self._ended)
        if again:
            self._silence_later((REPEAT_SECONDS, *LATE_REPEATS))  # it may not be connected through yet

    def repeat(self) -> None:
        """Send the note-offs of the last moments again: they may have been lost."""
        with self._lock:
            since = time.perf_counter() - SETTLED_SECONDS
            for message in release_messages([note for note in self._over() if self._ended[note] > since], []):
                self._out(message)

    def settle(self) -> None:
        """Forget the notes that must have ended by now. To be called while every port is there to hear it."""
        with self._lock:
            before = time.perf_counter() - SETTLED_SECONDS
            for note in [note for note, at in self._ended.items() if at < before]:
                del self._ended[note]
                self._ledger.settle(*note)
            if not self._ended:
                self._quiet.clear()

    def _end_all(self) -> None:
        now = time.perf_counter()
        for note in self._ledger.unsettled():
            self._ledger.end(*note)
            self._ended[note] = now

    def _over(self) -> list[tuple[int, int]]:
        return [note for note in self._ended if not self._ledger.count(*note)]

    def _silence(self) -> None:
        with self._lock:
            over, now = self._over(), time.perf_counter()
            self._ended.update(dict.fromkeys(over, now))
            for message in release_messages(over, sorted(self._quiet)):
                self._out(message)

    def _silence_later(self, later: Sequence[float]) -> None:
        for seconds in later:
            timer = threading.Timer(seconds, self._silence)
            timer.daemon = True
            timer.start()

    def _out(self, data: bytes) -> None:
        self._note(data)
        self._send(data)

    def _note(self, data: bytes) -> None:
        if data[0] & 0xF0 in (NOTE_ON, NOTE_OFF):
            self._sent.append((time.perf_counter(), data))

    def is_echo(self, data: bytes, now: float) -> bool:
        """Whether this note message is one that went out a moment ago; each answers for one echo."""
        with self._lock:
            while self._sent and self._sent[0][0] < now - ECHO_SECONDS:
                self._sent.popleft()
            for place, (_, sent) in enumerate(self._sent):
                if sent == data or _both_end_the_note(sent, data):
                    del self._sent[place]
                    return True
        return False


def _both_end_the_note(one: bytes, other: bytes) -> bool:
    """Note-offs of the same note, however written: a note-on without velocity is one too."""

    def ends(data: bytes) -> bool:
        return data[0] & 0xF0 == NOTE_OFF or (data[0] & 0xF0 == NOTE_ON and not data[2])

    return ends(one) and ends(other) and one[0] & 0x0F == other[0] & 0x0F and one[1] == other[1]


class Guard:
    """The process. `commands` come from Live, `events` go there."""

    def __init__(self, ledger: Ledger, commands: BinaryIO, events: BinaryIO) -> None:
        self._ledger, self._commands = ledger, commands
        self._events = Sender(events)
        self._to_player: Sender | None = None
        self._player: subprocess.Popen[bytes] | None = None
        self._ports: Ports | None = None
        self._lateness: deque[float] = deque(maxlen=LATENESS_KEPT)
        self._heard = time.perf_counter()
        self._ending = False
        self._opened = threading.Event()
        self._outlet = Outlet(ledger, self._send)

    def run(self, settings: dict[str, Any]) -> None:
        """Until Live closes the pipe or is gone. settings: its first message, which says what to open."""
        keeper = threading.Thread(target=self._keep_player, daemon=True)
        keeper.start()  # it takes its time, as the ports do
        try:
            self._ports = Ports(settings["api"], self._receive, self._outlet.greet)
            self._ports.connect(settings["inputs"], settings["outputs"])
            self._ports.open_outputs()  # before anything else: a note may be sounding there
            released = self._outlet.release(later=START_REPEATS)
            self._ports.connect_again(settings["heard_by"], settings["fed_by"])
            self._ports.listen()
        except (UserError, PortsLost) as error:
            message, hint = (error.message, error.hint) if isinstance(error, UserError) else ("No MIDI system", "")
            self._tell(event="failed", message=message, hint=hint)
            self._end()
            return
        api, virtual = self._ports.api, self._ports.virtual
        self._tell(event="ready", pid=os.getpid(), released=released, api=api, virtual=virtual)
        self._opened.set()
        threading.Thread(target=self._watch, daemon=True).start()
        while (command := read(self._commands)) is not None:
            self._obey(*command)
        self._end()

    def _obey(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            if self._to_player is not None:
                self._to_player.send(pack(kind, body))
            return
        command = parse(body)
        if command["do"] == "panic":
            self._outlet.release(range(16), later=LATE_REPEATS)
        elif command["do"] == "connect" and self._ports is not None:
            self._ports.connect(command["inputs"], command["outputs"])
        elif command["do"] == "figures":
            lateness = sorted(self._lateness)
            if command.get("reset"):
                self._lateness.clear()
            places = [min(len(lateness) - 1, int(part * len(lateness))) for part in (0.5, 0.99, 1.0) if lateness]
            at = [lateness[place] for place in places]
            self._tell(event="figures", sent=len(lateness), lateness=at)

    def _end(self) -> None:
        self._ending = True
        if self._player is not None:
            self._player.kill()
        if self._ports is not None:  # without them nobody was told: the ledger is the next guard's
            waiting = self._outlet.release(later=LATE_REPEATS[:1], last=True)
            time.sleep(LEAVE_SECONDS + (LATE_REPEATS[0] if waiting else 0.0))
            if self._ports.complete:
                self._ledger.clear()
        if self._player is not None:
            self._player.wait()
        self._events.close(0.2)

    def _tell(self, **event: Any) -> None:
        self._events.send(pack_json(b"J", event))

    # --- Ports ----------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._ports is not None:
            self._ports.send(data)

    def _receive(self, now: float, port: int, data: bytes) -> None:
        if data[0] < SYSTEM and self._outlet.is_echo(data, now):
            return
        if self._to_player is not None:
            self._to_player.send(pack(b"I", TIMED.pack(now, port) + data))

    def _watch(self) -> None:
        """Look for ports that come and go, for messages that were lost, and for a player that stands still."""
        told, lost = None, False
        looked = time.perf_counter()
        while not self._ending and self._ports is not None:
            try:
                listing = self._ports.poll()
            except PortsLost:
                self._tell(event="lost")
                time.sleep(0.1)
                os._exit(1)  # nothing of ours can reach the ports; the next guard makes them anew
            if listing != told:
                told = listing
                self._tell(event="ports", **listing._asdict())
            before, lost = lost, self._ports.lost_time()
            if lost or before:  # twice, for this too may be lost
                self._outlet.repeat()
            elif self._ports.complete:
                self._outlet.settle()
            stood, looked = time.perf_counter() - looked > 2 * POLL_SECONDS, time.perf_counter()
            hangs = looked - self._heard > HANGING_SECONDS and not stood  # if it was us, the player may be well
            if self._player is not None and hangs:
                self._player.kill()
            time.sleep(POLL_SECONDS)

    # --- Player ---------------------------------------------------------------------------------------

    def _keep_player(self) -> None:
        """Start the player, send what it sends, and when it ends release its notes and start it again."""
        while not self._ending:
            began = time.perf_counter()
            self._heard = began + LOADING_SECONDS
            command = [sys.executable, "-m", "assistant.live.player"]
            player = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert player.stdin is not None and player.stdout is not None
            self._to_player = Sender(player.stdin)  # type: ignore[arg-type]
            self._player = player
            self._opened.wait()
            self._tell(event="player", pid=player.pid)
            while (message := read(player.stdout)) is not None:  # type: ignore[arg-type]
                kind, body = message
                self._heard = time.perf_counter()
                if kind == b"O":
                    self._outlet.send(body[DUE.size :])
                    self._lateness.append(time.perf_counter() - DUE.unpack_from(body)[0])
                elif kind != b"H":
                    self._events.send(pack(kind, body))
            player.kill()
            if self._ending:
                return
            self._outlet.release(later=LATE_REPEATS)
            player.wait()
            player.stdout.close()
            self._to_player.close(0.1)
            time.sleep(max(0.0, began + RESTART_SECONDS - time.perf_counter()))


def be_quick(process: int = 0) -> None:
    """Ask for the priority that audio programs have, or for as much as the system gives. process: 0 is this one.

    The guard and the player sleep nearly all the time, so nobody else goes short.
    """
    try:
        os.sched_setscheduler(process, os.SCHED_RR, os.sched_param(PRIORITY))
    except (OSError, AttributeError):
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, process, -11)


def ignore_interrupts() -> None:
    """Ctrl-C and a closed terminal reach every process of the terminal; Live alone decides what they mean."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def main() -> int:
    ignore_interrupts()
    be_quick()
    commands, events = sys.stdin.buffer, sys.stdout.buffer
    with suppress(UserError):
        load_rtmidi()
    first = read(commands)  # a spare guard waits here until it is wanted
    if first is None:
        return 0
    try:
        guard = Guard(Ledger(Path(sys.argv[1])), commands, events)
    except UserError as error:
        events.write(pack_json(b"J", {"event": "failed", "message": error.message, "hint": error.hint}))
        events.flush()
        return 1
    guard.run(parse(first[1]))
    return 0


if __name__ == "__main__":
    os._exit(main())  # rtmidi's threads may hold the interpreter open when the MIDI system is gone
