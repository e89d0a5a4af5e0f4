"""What carries the messages: a socket on this computer, or files in a folder. Both end in a Conversation.

SocketLink    Ableton Live, Bitwig: 4 bytes of length, the highest first, then JSON; a secret comes first
FolderLink    REAPER, Ardour, whose Lua has no sockets: one file a message, made under another name and renamed

    FOLDER ─┬─ server.json            which program watches, and a count that goes on while it does
            └─ SESSION/ ─┬─ in-N.json     from the script, taken away when read
                         ├─ out-N.json    to the script
                         ├─ alive         written every second by the script
                         └─ gone          the script has ended
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import Any

from integrations.base import PROTOCOLS, Incompatible, agree, read_hello
from integrations.wire import Conversation, RemoteDaw
from models.errors import UserError

MOST_BYTES = 32 << 20  # of one message
MOST_CONNECTIONS = 16
GREETING_SECONDS = 5.0  # within which a connection has to say who it is
SILENT_SECONDS = 60.0  # after which a script whose "alive" does not change is gone
POLL_SECONDS = 0.03
BEAT_SECONDS = 1.0

Arrived = Callable[[RemoteDaw], None]


def _greet(message: Any, conversation: Conversation, instance: str) -> tuple[dict[str, Any], RemoteDaw | None]:
    """The answer to a first message, and the DAW where it is welcome."""
    try:
        hello = read_hello(message["hello"] if isinstance(message, dict) and "hello" in message else {})
        protocol = agree(hello)
    except Incompatible as error:
        return {"refused": {"message": error.message, "hint": error.hint}}, None
    return {"welcome": {"protocol": protocol, "instance": instance}}, RemoteDaw(conversation, hello)


def _parse(data: bytes) -> dict[str, Any]:
    """A message. ValueError for anything else."""
    try:
        message = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


# --- Sockets ------------------------------------------------------------------------------------------


class SocketLink:
    """Listens on this computer only. `arrived(daw)` is called in the connection's thread after the handshake."""

    def __init__(self, port: int, secret: str, arrived: Arrived) -> None:
        self.instance = secrets.token_hex(8)
        self._secret = secret.encode()
        self._arrived = arrived
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        try:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=4)
        except OSError as error:
            hint = "Another Descant may be running; or choose another port in the settings."
            raise UserError(f"Port {port} for DAWs is taken: {error.strerror}", hint) from error
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="daw sockets", daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close alone does not
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                crowded = len(self._open) >= MOST_CONNECTIONS
                if not crowded:
                    self._open.add(connection)
            if crowded:
                connection.close()
            else:
                threading.Thread(target=self._serve, args=(connection,), name="daw", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        writing = threading.Lock()

        def send(message: dict[str, Any]) -> None:
            with writing:
                connection.sendall(frame(message))

        conversation = Conversation(send)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(GREETING_SECONDS)
            first = receive(connection)
            offered = first.get("secret")
            if not isinstance(offered, str) or not compare_digest(offered.encode(), self._secret):
                send({"refused": {"message": "The secret is wrong", "hint": "Install the DAW's script again."}})
                return
            answer, daw = _greet(first, conversation, self.instance)
            send(answer)
            if daw is None:
                return
            connection.settimeout(None)
            self._arrived(daw)
            while True:
                conversation.received(receive(connection))
        except (OSError, ValueError, EOFError):
            pass  # it has closed, or speaks another language: either way it is over
        finally:
            conversation.close()
            with self._lock:
                self._open.discard(connection)
            connection.close()


def frame(message: dict[str, Any]) -> bytes:
    data = json.dumps(message, separators=(",", ":")).encode("ascii")
    return struct.pack(">I", len(data)) + data


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next message. EOFError at the end, ValueError for what is none."""
    (length,) = struct.unpack(">I", _exactly(connection, 4))
    if length > MOST_BYTES:
        raise ValueError("a message too long")
    data = _exactly(connection, length)
    if data[:1] != b"{" and int.from_bytes(data[:4], "big") == length - 4:
        # Bitwig's documents leave open whether it adds a header of its own to the one its script sends.
        data = data[4:]
    return _parse(data)


def _exactly(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(1 << 16, length - len(parts)))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


# --- Files in a folder --------------------------------------------------------------------------------


@dataclass
class _Session:
    folder: Path
    conversation: Conversation
    daw: RemoteDaw | None = None
    read: int = 0
    written: int = 0
    alive: float = -1.0  # what the file says: only whether it changes counts, clocks may differ
    seen: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)


class FolderLink:
    """Watches a folder. `arrived(daw)` is called in its thread after the handshake."""

    def __init__(self, folder: Path, arrived: Arrived, silent_seconds: float = SILENT_SECONDS) -> None:
        self.folder = folder
        self.instance = secrets.token_hex(8)
        self._arrived = arrived
        self._silent = silent_seconds
        self._sessions: dict[str, _Session] = {}
        self._stopped = threading.Event()
        self._free = ""  # a session's folder that waits for a script: Ardour's Lua cannot make one
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in folder.iterdir():  # of a program that has ended; scripts begin anew when they see us
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old, ignore_errors=True)
            self._make_free()
        except OSError as error:
            raise UserError(f"Cannot use the folder {folder}: {error.strerror}", "Mend its rights.") from error
        self._thread = threading.Thread(target=self._watch, name="daw folder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _beat(self, number: int) -> None:
        state = {"instance": self.instance, "protocols": list(PROTOCOLS), "beat": number, "free": self._free}
        _write(self.folder / "server.json", state)

    def _make_free(self) -> None:
        self._free = f"free-{secrets.token_hex(4)}"
        (self.folder / self._free).mkdir(mode=0o700)
        self._beat(0)

    def _watch(self) -> None:
        beat, next_beat = 0, 0.0
        while not self._stopped.wait(POLL_SECONDS):
            if time.monotonic() >= next_beat:
                beat, next_beat = beat + 1, time.monotonic() + BEAT_SECONDS
                with suppress(OSError):
                    self._beat(beat)
            with suppress(OSError):
                names = {entry.name for entry in os.scandir(self.folder) if entry.is_dir(follow_symlinks=False)}
                for name in names - self._sessions.keys():
                    self._open(self.folder / name)
            for name, session in list(self._sessions.items()):
                if not self._serve(session):
                    del self._sessions[name]
                    session.conversation.close()
                    shutil.rmtree(session.folder, ignore_errors=True)
            taken = self._free in self._sessions and self._sessions[self._free].read > 0
            if taken or not (self.folder / self._free).is_dir():
                with suppress(OSError):
                    self._make_free()
        for session in self._sessions.values():
            session.conversation.close()
        with suppress(OSError):
            (self.folder / "server.json").unlink()

    def _open(self, folder: Path) -> None:
        if len(self._sessions) >= MOST_CONNECTIONS:
            return

        def send(message: dict[str, Any]) -> None:
            with session.lock:
                session.written += 1
                _write(folder / f"out-{session.written}.json", message)

        session = _Session(folder, Conversation(send))
        self._sessions[folder.name] = session

    def _serve(self, session: _Session) -> bool:
        """Take what has come; False when the session is over."""
        while (message := self._next(session)) is not None:
            if session.daw is None:
                answer, session.daw = _greet(message, session.conversation, self.instance)
                session.written += 1
                with suppress(OSError):
                    _write(session.folder / f"out-{session.written}.json", answer)
                if session.daw is not None:
                    self._arrived(session.daw)
            else:
                session.conversation.received(message)
        now = time.monotonic()
        with suppress(OSError):
            alive = (session.folder / "alive").stat().st_mtime
            if alive != session.alive:
                session.alive, session.seen = alive, now
        if session.folder.name == self._free:
            return True
        return now - session.seen < self._silent and not (session.folder / "gone").exists()

    @staticmethod
    def _next(session: _Session) -> dict[str, Any] | None:
        path = session.folder / f"in-{session.read + 1}.json"
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError
            data = path.read_bytes()
        except OSError:
            return None
        except ValueError:
            data = b"{}"
        session.read += 1
        session.seen = time.monotonic()
        with suppress(OSError):
            path.unlink()
        try:
            return _parse(data)
        except ValueError:
            return {}


def _write(path: Path, message: dict[str, Any]) -> None:
    """A whole file or none: made beside its place, then renamed."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        draft.write_text(json.dumps(message, separators=(",", ":")), encoding="ascii")
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
