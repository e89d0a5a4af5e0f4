"""The note guard: the process that owns the ports, and whose only aim is that no note is left sounding.

    python -m assistant.live.guard LEDGER

It sends what the player hands it and keeps the ledger of what sounds. When the player dies or stands still,
it releases every note and starts another. When Live dies, it releases every note and ends. When it is killed
itself, Live starts another guard, which finds in the ledger what has to be released.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from assistant.live.ledger import Ledger
from assistant.live.ports import Ports, PortsLost, load_rtmidi
from assistant.live.wire import DUE, TIMED, Sender, pack, pack_json, parse, read
from models.errors import UserError

POLL_SECONDS = 1.0
REPEAT_SECONDS = 0.02  # after which everything that ends notes is sent again
LATE_REPEATS = (0.15, 0.4, 0.8)  # again after something died, for receivers that lose messages or have to come back
ECHO_SECONDS = 0.15  # what comes in so soon after the same went out is our own
MOST_ECHOES = 4096
HANGING_SECONDS = 2.0  # without a word from the player
RESTART_SECONDS = 0.1  # between a start of the player and the next one
LATENESS_KEPT = 100_000
PRIORITY = 5  # of real time, below any sound server's

NOTE_OFF, NOTE_ON, CONTROL, BEND = 0x80, 0x90, 0xB0, 0xE0
SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
SYSTEM = 0xF0


def release_messages(notes: list[tuple[int, int]], channels: list[int]) -> list[bytes]:
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

    send: writes one MIDI message to the ports.
    """

    def __init__(self, ledger: Ledger, send: Any) -> None:
        self._ledger, self._send = ledger, send
        self._lock = threading.RLock()
        self._sent: deque[tuple[float, bytes]] = deque(maxlen=MOST_ECHOES)

    def send(self, data: bytes) -> None:
        """One channel message. A note that sounds is ended before it begins anew; what is not on is not ended."""
        if len(data) < 2 or not NOTE_OFF <= data[0] < SYSTEM:
            return
        kind, channel = data[0] & 0xF0, data[0] & 0x0F
        with self._lock:
            if kind == NOTE_ON and data[2]:
                if self._ledger.count(channel, data[1]):
                    self._out(bytes([NOTE_OFF | channel, data[1], 64]))
                self._ledger.add(channel, data[1])  # before it is sent: a kill in between costs a note-off too many
                self._out(data)
            elif kind in (NOTE_ON, NOTE_OFF):
                if self._ledger.count(channel, data[1]) == 1:
                    self._out(data)
                self._ledger.remove(channel, data[1])
            else:
                self._ledger.use(channel)
                self._out(data)

    def release(self, channels: list[int] | None = None, later: tuple[float, ...] = ()) -> int:
        """End everything that sounds, twice. How many notes that were.

        channels: these too, whether anything was sent on them or not. later: seconds after which the note-offs
        are sent again, for notes that do not sound anew.
        """
        with self._lock:
            notes = self._ledger.sounding()
            used = sorted({*self._ledger.used(), *(channels or [])})
            if not notes and not used:
                return 0
            for message in release_messages(notes, used):
                self._out(message)
        time.sleep(REPEAT_SECONDS)
        with self._lock:
            for message in release_messages(notes, used):
                self._out(message)
            self._ledger.clear()
        for seconds in later:
            timer = threading.Timer(seconds, self._end_again, [notes])
            timer.daemon = True
            timer.start()
        return len(notes)

    def _end_again(self, notes: list[tuple[int, int]]) -> None:
        with self._lock:
            for channel, pitch in notes:
                if not self._ledger.count(channel, pitch):
                    self._out(bytes([NOTE_OFF | channel, pitch, 64]))

    def _out(self, data: bytes) -> None:
        if data[0] & 0xF0 in (NOTE_ON, NOTE_OFF):
            self._sent.append((time.perf_counter(), data))
        self._send(data)

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
            self._ports = Ports(settings["api"], self._receive)
            released = self._outlet.release(later=LATE_REPEATS)
            self._ports.connect(settings["inputs"], settings["outputs"])
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
            self._outlet.release(list(range(16)))
        elif command["do"] == "connect" and self._ports is not None:
            self._ports.connect(command["inputs"], command["outputs"])
        elif command["do"] == "figures":
            lateness = sorted(self._lateness)
            if command.get("reset"):
                self._lateness.clear()
            places = [min(len(lateness) - 1, int(part * len(lateness))) for part in (0.5, 0.99, 1.0) if lateness]
            places = [min(len(lateness) - 1, int(part * len(lateness))) for part in (0.5, 0.99, 1.0) if lateness]
            at = [lateness[place] for place in places]
            self._tell(event="figures", sent=len(lateness), lateness=at)

    def _end(self) -> None:
        self._ending = True
        if self._player is not None:
            self._player.kill()
        released = self._outlet.release(later=LATE_REPEATS[:1])
        if self._player is not None:
            self._player.wait()
            self._outlet.release()  # what the player had still said
        # The last messages have to leave the ports before they close.
        time.sleep(REPEAT_SECONDS + (LATE_REPEATS[0] if released else 0.0))
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
        """Look for ports that come and go, and for a player that stands still."""
        told = None
        while not self._ending:
            try:
                listing = self._ports.poll() if self._ports is not None else None
            except PortsLost:
                self._tell(event="lost")
                time.sleep(0.1)
                os._exit(1)  # nothing of ours can reach the ports; the next guard makes them anew
            if listing is not None and listing != told:
                told = listing
                self._tell(event="ports", **listing._asdict())
            if self._player is not None and time.perf_counter() - self._heard > HANGING_SECONDS:
                self._player.kill()
            time.sleep(POLL_SECONDS)

    # --- Player ---------------------------------------------------------------------------------------

    def _keep_player(self) -> None:
        """Start the player, send what it sends, and when it ends release its notes and start it again."""
        while not self._ending:
            began = time.perf_counter()
            self._heard = began + HANGING_SECONDS  # it takes its time to start
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


def be_quick() -> None:
    """Ask for the priority that audio programs have, or for as much as the system gives.

    The guard and the player sleep nearly all the time, so nobody else goes short.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    except (OSError, AttributeError):
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, 0, -11)


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
