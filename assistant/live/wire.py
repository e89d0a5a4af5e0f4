"""Messages between the live processes: one byte of kind, four of length, then JSON or packed numbers.

    J  JSON, to Live       an event
    G  JSON, to the guard  a command
    P  JSON, to the player a command
    I  guard to player     TIMED + MIDI bytes: what came in, when, from which port
    N  player to Live      PLACED + MIDI bytes: the same, with its place in the song
    O  player to guard     DUE + MIDI bytes: to be sent now, and when it was due

All times are `time.perf_counter` seconds, which every process of a computer counts alike.
"""

from __future__ import annotations

import json
import struct
import threading
from collections import deque
from typing import Any, BinaryIO

HEADER = struct.Struct("<cI")
TIMED = struct.Struct("<dB")  # time, number of the port
PLACED = struct.Struct("<ddI")  # time, beat, number of the run (a stretch of time without a jump)
DUE = struct.Struct("<d")
LONGEST = 1 << 24  # bytes of one message
MOST_WAITING = 20_000  # messages to a process that does not read


def pack(kind: bytes, body: bytes) -> bytes:
    return HEADER.pack(kind, len(body)) + body


def pack_json(kind: bytes, value: dict[str, Any]) -> bytes:
    return pack(kind, json.dumps(value, separators=(",", ":")).encode())


def parse(body: bytes) -> dict[str, Any]:
    value = json.loads(body)
    if not isinstance(value, dict):
        raise ValueError("a message is an object")
    return value


def read(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """Kind and body of the next message; None when the other side is gone or speaks nonsense."""
    try:
        header = stream.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        kind, length = HEADER.unpack(header)
        body = stream.read(length) if length <= LONGEST else b""
        return (kind, body) if len(body) == length else None
    except (OSError, ValueError):
        return None


class Sender:
    """Writes to a pipe from a thread of its own, so that whoever sends never waits for whoever reads.

    What a reader leaves unread for too long is dropped, oldest first.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def send(self, message: bytes) -> None:
        with self._wake:
            self._waiting.append(message)
            self._wake.notify()

    def close(self, seconds: float = 1.0) -> None:
        """Write what is waiting, for at most so long, and close the pipe."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(seconds)

    def _write(self) -> None:
        try:
            while True:
                with self._wake:
                    while not self._waiting and not self._closed:
                        self._wake.wait()
                    waiting = b"".join(self._waiting)
                    self._waiting.clear()
                    closed = self._closed
                if waiting:
                    self._stream.write(waiting)
                    self._stream.flush()
                if closed:
                    self._stream.close()
                    return
        except (OSError, ValueError):
            self._closed = True  # the reader is gone; whoever waits for its answers notices
