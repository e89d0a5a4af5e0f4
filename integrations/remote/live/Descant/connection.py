"""The socket to the program, looked after from Live's main thread: every call returns at once.

A message is 4 bytes of length, the highest first, then JSON. Verbs are generators: each `yield` gives Live its
turn, and an Again means that the rest has to wait for the next one.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # evaluated, these would need a newer Python than Live 11 has
    from collections.abc import Callable, Generator

    Verb = Callable[[dict[str, Any]], Generator[Any, None, Any]]

PROTOCOLS = [1]
SCRIPT_VERSION = "0.1.0"
MOST_BYTES = 32 << 20
SLICE = 0.010  # seconds of work at a time
PAUSE = 1.0  # seconds between two tries to connect
AGAIN = object()  # yielded by a verb that wants Live to have a turn before it goes on


class Failure(Exception):
    """What the program tells the user."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class Connection:
    def __init__(
        self,
        port: int,
        hello: dict[str, Any],
        verbs: dict[str, Verb],
        say: Callable[[str], None],
        secret: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port, self._hello, self._verbs, self._say, self._secret = port, hello, verbs, say, secret
        self._now = now
        self._next_try = 0.0
        self._forget()
        self.asked = False  # whether the end of something is awaited

    def _forget(self) -> None:
        self._socket = None  # type: socket.socket | None
        self._connecting = False
        self._in, self._out = bytearray(), bytearray()
        self._waiting = []  # type: list[dict[str, Any]]
        self.welcome = False
        self._refused = False
        self._work = deque()  # type: deque[Generator[Any, None, None]]

    def tick(self) -> None:
        """Once per turn of Live."""
        try:
            if self._socket is None:
                self._connect()
            elif self._connecting:
                self._finish_connecting()
            else:
                self._receive()
                self._run()
                self._flush()
        except (OSError, ValueError):
            self._lost()

    def act(self, action: str, options: dict[str, Any]) -> None:
        """The user pressed a key."""
        message = {"action": action, "options": options}
        if action != "cancel" and self._socket is not None:
            self.asked = True
        if self.welcome:
            self._send(message)
        elif self._socket is not None:
            self._waiting.append(message)
        elif action != "cancel":
            self._say("Descant is not running. Start it with: descant serve")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._forget()

    def _connect(self) -> None:
        if self._now() < self._next_try:
            return
        self._next_try = self._now() + PAUSE
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        begun = self._socket.connect_ex(("127.0.0.1", self._port))
        if begun not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)):
            raise OSError(begun)
        self._connecting = True

    def _finish_connecting(self) -> None:
        assert self._socket is not None
        _, ready, failed = select.select([], [self._socket], [self._socket], 0)
        if failed or (ready and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            raise OSError
        if ready:
            self._connecting = False
            self._send({"secret": self._secret, "hello": self._hello})
            self._flush()

    def _lost(self) -> None:
        refused = self._refused
        self.close()
        self._next_try = self._now() + (30.0 if refused else PAUSE)
        if self.asked:
            self.asked = False
            self._say("Descant has stopped; nothing was written. Ask again.")

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            while len(self._in) <= MOST_BYTES:
                part = self._socket.recv(1 << 16)
                if not part:
                    raise OSError("closed")
                self._in += part
        except (BlockingIOError, InterruptedError):
            pass
        while len(self._in) >= 4:
            (length,) = struct.unpack(">I", bytes(self._in[:4]))
            if length > MOST_BYTES:
                raise ValueError(length)
            if len(self._in) < 4 + length:
                break
            message = json.loads(bytes(self._in[4 : 4 + length]).decode("utf-8"))
            del self._in[: 4 + length]
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "welcome" in message:
            self.welcome = True
            for waiting in self._waiting:
                self._send(waiting)
            self._waiting = []
        elif "refused" in message:
            self._refused = True
            self._say("{message}. {hint}".format(**message["refused"]))
        elif message.get("do") == "say":
            self.asked = not message.get("done", True)  # the program's word: it may have been pressed elsewhere
            self._say(str(message["text"]))
            self._send({"id": message["id"], "ok": {}})
        elif "do" in message:
            self._work.append(self._answer(message))

    def _answer(self, message: dict[str, Any]) -> Generator[Any, None, None]:
        try:
            verb = self._verbs.get(str(message["do"]))
            if verb is None:
                raise Failure("unsupported", "Live's script cannot do that", "Install the script again.")
            result = yield from verb(message)
            answer = {"id": message["id"], "ok": result or {}}
        except Failure as failure:
            error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
            answer = {"id": message["id"], "error": error}
        except Exception as problem:  # whatever Live says: its script must go on, and the user must know
            text = f"{type(problem).__name__}: {problem}"
            answer = {"id": message["id"], "error": {"code": "failed", "message": text[:300], "hint": ""}}
        self._send(answer)

    def _run(self) -> None:
        ends = self._now() + SLICE
        while self._work and self._now() < ends:
            try:
                if next(self._work[0]) is AGAIN:
                    break
            except StopIteration:
                self._work.popleft()

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode("ascii")
        self._out += struct.pack(">I", len(data)) + data

    def _flush(self) -> None:
        assert self._socket is not None
        try:
            while self._out:
                del self._out[: self._socket.send(self._out[: 1 << 16])]
        except (BlockingIOError, InterruptedError):
            pass
