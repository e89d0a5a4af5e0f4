"""A real MIDI server, and what is connected to Descant there: a listener that keeps books, a keyboard, a clock.

JACK runs with its dummy driver, so that no sound card is needed. Used by the tests of live MIDI and by
scripts/soak.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

RATE, FRAMES = 48_000, 256
LOOK_SECONDS = 0.002
SERVER_VARIABLE = "JACK_DEFAULT_SERVER"


class Heard(NamedTuple):
    time: float
    data: bytes


@dataclass(frozen=True)
class Jack:
    """A running server."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def xruns(self) -> int:
        """How often it has lost time so far, because the computer was busy."""
        return self.log.read_text(errors="replace").count("XRun")


@contextmanager
def jack_server(name: str, folder: Path) -> Iterator[Jack]:
    """A JACK server of that name, which programs started from here use; ended with the context."""
    jackd = shutil.which("jackd")
    if jackd is None:
        raise RuntimeError("jackd is not installed; on Debian and Ubuntu: sudo apt install jackd2")
    before = os.environ.get(SERVER_VARIABLE)
    os.environ[SERVER_VARIABLE] = name
    with open(folder / "jackd.log", "ab") as log:
        server = subprocess.Popen(
            [*with_us(), jackd, *realtime(), "-n", name, "-d", "dummy", "-r", str(RATE), "-p", str(FRAMES)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    hurry(server.pid)
    try:
        wait_for(lambda: _answers() or server.poll() is not None, 20)
        assert server.poll() is None, (folder / "jackd.log").read_text(errors="replace")[-2000:]
        yield Jack(server, folder / "jackd.log")
    finally:
        server.terminate()
        try:
            server.wait(30)  # one that is killed keeps its place among the eight servers there may be
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if before is None:
            os.environ.pop(SERVER_VARIABLE, None)
        else:
            os.environ[SERVER_VARIABLE] = before


def with_us() -> list[str]:
    """What a command begins with, so that it ends when this program does, however that ends."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def realtime() -> list[str]:
    """What JACK is told: real-time scheduling as musicians use it, where the system gives it."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except (OSError, AttributeError):
        return ["--no-realtime"]
    return ["--realtime", "--realtime-priority", "20"]


def hurry(process: int) -> None:
    """Priority for a process that keeps time, where the system gives it: this stands in for a sound card's."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, process, -15)


def kill(process: int) -> float:
    """SIGKILL; and when it was sent, with nobody getting in between."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    at = time.perf_counter()
    os.kill(process, signal.SIGKILL)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return at


def _answers() -> bool:
    return subprocess.run(["jack_lsp"], capture_output=True).returncode == 0


def wait_for(ready: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `ready` gives as soon as it is true. AssertionError when it does not become so."""
    until = time.perf_counter() + seconds
    while not (found := ready()):
        assert time.perf_counter() < until, "waited in vain"
        time.sleep(0.01)
    return found


class Listener:
    """A port that receives, as a DAW's track does: it comes back to `Descant Out` whenever that does."""

    def __init__(self, name: str = "listener", source: str | None = "Descant Out") -> None:
        import rtmidi

        # Not by a callback: that runs in JACK's own thread, and would hold up everyone while Python waits its turn.
        self._port = rtmidi.MidiIn(rtapi=rtmidi.API_UNIX_JACK, name=name, queue_size_limit=100_000)
        self._port.open_virtual_port("in")
        self.name, self._source = f"{name}:in", source
        self.heard: list[Heard] = []
        self._down: dict[tuple[int, int], float] = {}
        self.ons = self.offs = 0
        self.silent_at = 0.0  # when the last note that sounded ended
        self._lock = threading.Lock()
        self._passed, self._began = (
            0.0,
            float("inf"),
        )  # seconds between all messages so far; when the first one came
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            while (event := self._port.get_message()) is not None:
                self._passed += event[1]
                self._began = min(self._began, time.perf_counter() - self._passed)
                self._hear(self._began + self._passed, bytes(event[0]))

    def _hear(self, now: float, data: bytes) -> None:
        with self._lock:
            self.heard.append(Heard(now, data))
            sounded = bool(self._down)
            kind, key = data[0] & 0xF0, (data[0] & 15, data[1] if len(data) > 1 else 0)
            if kind == 0x90 and data[2]:
                self.ons += 1
                self._down[key] = now
            elif kind in (0x80, 0x90):
                self.offs += self._down.pop(key, None) is not None
            elif kind == 0xB0 and data[1] in (120, 123):
                for held in [held for held in self._down if held[0] == key[0]]:
                    del self._down[held]
                    self.offs += 1
            if not self._down:
                self.silent_at = max(self.silent_at, now if sounded else 0.0)

    @property
    def sounding(self) -> int:
        return len(self._down)

    def notes(self) -> list[Heard]:
        """The note-ons so far."""
        with self._lock:
            return [item for item in self.heard if item.data[0] & 0xF0 == 0x90 and item.data[2]]

    def connect(self) -> None:
        """Connect to `Descant Out` now; later connections made in vain are no fault."""
        assert self._source is not None
        source = f"{self._source}:{self._source}"
        wait_for(lambda: connect(source, self.name))

    def forget(self) -> None:
        with self._lock:
            self.heard.clear()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._port.close_port()
        self._port.delete()


class Keyboard:
    """A port that sends, connected to `Descant In`."""

    def __init__(self, name: str = "keyboard") -> None:
        import rtmidi

        self._port = rtmidi.MidiOut(rtapi=rtmidi.API_UNIX_JACK, name=name)
        self._port.open_virtual_port("out")
        self.name = f"{name}:out"
        self.closed = False
        self._lock = threading.Lock()  # a port that is deleted while another thread sends takes the program with it

    def connect(self, target: str = "Descant In:Descant In") -> None:
        wait_for(lambda: connect(self.name, target))

    def send(self, *data: int) -> None:
        with self._lock:
            if not self.closed:
                self._port.send_message(data)

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self._port.close_port()
            self._port.delete()


def connect(source: str, target: str) -> bool:
    """Connect two JACK ports; whether they are connected now."""
    done = subprocess.run(["jack_connect", source, target], capture_output=True, text=True)
    return done.returncode == 0 or "already connected" in (done.stdout + done.stderr)


def disconnect(source: str, target: str) -> None:
    with suppress(OSError):
        subprocess.run(["jack_disconnect", source, target], capture_output=True)


PROGRAM = """
import sys, time
from pathlib import Path
from assistant.live.live import Live
from assistant.live.live_settings import LiveSettings
from models.score import Note, Score, Track
live = Live(LiveSettings(api="jack", bpm=200), None, Path(sys.argv[1]))
live.start()
notes = [Note(480 * beat, 48 + beat % 24, 480 * 8, 90) for beat in range(400)]
print("up", flush=True)
sys.stdin.readline()
live.play(Score(tracks=(Track(notes=tuple(notes)),), length=480 * 400))
time.sleep(600)
"""


def start_program(folder: Path) -> subprocess.Popen[str]:
    """A program that holds Live, as the server does, and plays long notes once it reads a line."""
    root = Path(__file__).resolve().parents[1]
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None and program.stdout.readline() == "up\n"
    return program


def listed(name: str) -> bool:
    """Whether a port of that name is there."""
    return name in subprocess.run(["jack_lsp"], capture_output=True, text=True).stdout
