"""MIDI ports through python-rtmidi: two virtual ones, and any further ones by a part of their name.

ALSA, JACK and CoreMIDI let a program make ports of its own, `Descant In` and `Descant Out`. Windows does
not: there the ports of loopMIDI take their place. No system tells rtmidi when a device comes or goes, so
`poll` looks, opens what has come and closes what has gone. A port of Descant is never connected to itself.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from models.errors import UserError

if TYPE_CHECKING:
    from types import ModuleType

IN, OUT = "Descant In", "Descant Out"
OURS = "descant"
WINDOWS_PORTS = "loopMIDI"
MOST_NAME_SECONDS = 0.5  # waited for the port of a guard that died to leave its name
OnMessage = Callable[[float, int, bytes], None]  # time, number of the port, MIDI bytes


class Listing(NamedTuple):
    """Names of the ports that could be listened to, of those that could be played to, and of the open ones."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    connected: tuple[str, ...]


class PortsLost(Exception):
    """The MIDI system went away; the ports have to be made anew."""


def load_rtmidi() -> ModuleType:
    """The module rtmidi. UserError when it is not installed."""
    try:
        import rtmidi
    except ImportError as error:
        hint = "Install it with `pip install python-rtmidi`; on Python 3.13 that takes a C++ compiler."
        raise UserError("MIDI ports need the package python-rtmidi, which cannot be loaded", hint) from error
    return rtmidi


def choose_api(rtmidi: Any, asked: str) -> int:
    """rtmidi's number for the MIDI system asked for; "auto" takes ALSA where it is there, else JACK."""
    known = {
        "alsa": rtmidi.API_LINUX_ALSA,
        "jack": rtmidi.API_UNIX_JACK,
        "coremidi": rtmidi.API_MACOSX_CORE,
        "windows": rtmidi.API_WINDOWS_MM,
    }
    if asked == "auto":
        usual = {"darwin": "coremidi", "win32": "windows"}
        asked = usual.get(sys.platform, "alsa" if Path("/dev/snd/seq").exists() else "jack")
    if known[asked] not in rtmidi.get_compiled_api():
        raise UserError(f"MIDI through {asked} is not there on this computer", "Choose another with --api.")
    return int(known[asked])


def is_ours(name: str) -> bool:
    return name.lower().startswith(OURS)


class ServerWatch:
    """Notices that the JACK server has ended, of which rtmidi does not tell: a client that only waits for that."""

    NO_START = 1  # JackNoStartServer
    CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    def __init__(self) -> None:
        self.ended = False
        self._watching = False
        self._callback = self.CALLBACK(self._end)

    def look(self) -> bool:
        """Whether the server has ended. Begins to watch where it could not yet: a busy server takes no client."""
        if not self._watching:
            with suppress(OSError):  # no library of JACK's own is found
                self._watching = self._watch()
        return self.ended

    def _watch(self) -> bool:
        maps = Path("/proc/self/maps").read_text().split()
        library = ctypes.CDLL(next((path for path in maps if "/libjack" in path), "libjack.so.0"))
        library.jack_client_open.restype = ctypes.c_void_p
        library.jack_client_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
        library.jack_on_shutdown.argtypes = [ctypes.c_void_p, self.CALLBACK, ctypes.c_void_p]
        client = library.jack_client_open(f"{OURS} watch".encode(), self.NO_START, None)
        if client:
            library.jack_on_shutdown(client, self._callback, None)
        return bool(client)

    def _end(self, _: object) -> None:
        self.ended = True


class Ports:
    """`Descant Out` at once, the others from `listen` on. UserError when a port cannot be made.

    on_message: called from threads of rtmidi's own; one number stands for one port.
    """

    def __init__(self, asked: str, on_message: OnMessage) -> None:
        self._rtmidi = load_rtmidi()
        self._api = choose_api(self._rtmidi, asked)
        self._on_message = on_message
        self._wanted: tuple[Sequence[str], Sequence[str]] = ((), ())
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}
        self._numbers: dict[str, int] = {}
        self.virtual = self._api != self._rtmidi.API_WINDOWS_MM
        self._in: Any = None
        try:
            self._out = self._open_own(self._rtmidi.MidiOut, OUT)
        except (self._rtmidi.RtMidiError, SystemError, OSError) as error:
            raise UserError(f"The MIDI system does not answer: {error}", self._start_hint()) from error
        self._server = ServerWatch() if self._api == self._rtmidi.API_UNIX_JACK else None

    def listen(self) -> None:
        """Open `Descant In` too, and the further ports. Messages come from now on. Raises UserError."""
        try:
            self._in = self._open_own(self._rtmidi.MidiIn, IN)
            self._keep_name()
        except (self._rtmidi.RtMidiError, SystemError, OSError) as error:
            raise UserError(f"The MIDI system does not answer: {error}", self._start_hint()) from error
        if not self.poll().connected and not self.virtual:
            hint = "Install loopMIDI from tobias-erichsen.de, which makes ports that programs share."
            raise UserError("Windows has no port that Descant could share with a DAW", hint)

    def _open_own(self, kind: Any, name: str) -> Any:
        port = kind(rtapi=self._api, name=name)
        if kind is self._rtmidi.MidiIn:
            self._listen(port, name)
        if self.virtual:
            port.open_virtual_port(name)
        return port

    def _keep_name(self) -> None:
        """JACK numbers a name that is taken, as that of a guard killed a moment ago may be: wait, and ask again."""
        until = time.perf_counter() + MOST_NAME_SECONDS
        while self._api == self._rtmidi.API_UNIX_JACK and time.perf_counter() < until:
            sources, targets = self._in.get_ports(), self._out.get_ports()
            right = f"{OUT}:{OUT}" in sources, f"{IN}:{IN}" in targets
            if all(right) and not any(name.startswith((f"{OUT}-", f"{IN}-")) for name in (*sources, *targets)):
                return
            time.sleep(0.02)
            self._close(self._out)
            self._close(self._in)
            self._out = self._open_own(self._rtmidi.MidiOut, OUT)
            self._in = self._open_own(self._rtmidi.MidiIn, IN)

    @property
    def api(self) -> str:
        return (
            str(self._rtmidi.get_api_name(self._api)) if hasattr(self._rtmidi, "get_api_name") else str(self._api)
        )

    def _start_hint(self) -> str:
        if self._api == self._rtmidi.API_UNIX_JACK:
            return "Start the JACK server (or PipeWire) first, or choose another system with --api."
        return "See that MIDI works in another program, or choose another system with --api."

    def _listen(self, port: Any, name: str) -> None:
        number = self._numbers.setdefault(name, len(self._numbers) % 256)
        port.ignore_types(sysex=True, timing=False, active_sense=True)

        def receive(event: tuple[list[int], float], _: object) -> None:
            self._on_message(time.perf_counter(), number, bytes(event[0]))

        port.set_callback(receive)

    def connect(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Keep open from now on every port whose name contains one of these parts, whatever the case."""
        further = () if self.virtual else (WINDOWS_PORTS,)
        self._wanted = ((*inputs, *further), (*outputs, *further))

    def poll(self) -> Listing:
        """Open and close what has come and gone. Raises PortsLost when our own ports are gone."""
        try:
            if (self._server is not None and self._server.look()) or (self.virtual and not self._alive()):
                raise PortsLost
            sources = [name for name in self._in.get_ports() if not is_ours(name)]
            targets = [name for name in self._out.get_ports() if not is_ours(name)]
        except (self._rtmidi.RtMidiError, SystemError) as error:
            raise PortsLost from error
        for names, wanted, opened, kind in (
            (sources, self._wanted[0], self._inputs, self._rtmidi.MidiIn),
            (targets, self._wanted[1], self._outputs, self._rtmidi.MidiOut),
        ):
            matching = [name for name in names if any(part.lower() in name.lower() for part in wanted)]
            for name in [name for name in opened if name not in matching]:
                self._close(opened.pop(name))
            for name in [name for name in matching if name not in opened]:
                with suppress(self._rtmidi.RtMidiError, SystemError, ValueError):
                    opened[name] = self._open(kind, name, names)
        return Listing(tuple(sources), tuple(targets), (*self._inputs, *self._outputs))

    def _alive(self) -> bool:
        return any(name.startswith(OUT) for name in self._in.get_ports())

    def _open(self, kind: Any, name: str, names: Sequence[str]) -> Any:
        port = kind(rtapi=self._api, name=f"Descant: {name.partition(':')[0][:20]}")
        if kind is self._rtmidi.MidiIn:
            self._listen(port, name)
        every = list(port.get_ports())
        port.open_port(every.index(name), "port")
        return port

    def _close(self, port: Any) -> None:
        with suppress(Exception):  # it is gone already; what closing it thinks of that changes nothing
            port.close_port()
            port.delete()

    def send(self, data: bytes) -> None:
        """To `Descant Out` and every further output. A port that fails is looked after by the next poll."""
        for port in (*([self._out] if self.virtual else []), *list(self._outputs.values())):
            with suppress(self._rtmidi.RtMidiError, SystemError):
                port.send_message(data)

    def close(self) -> None:
        for port in (*self._inputs.values(), *self._outputs.values(), self._in, self._out):
            if port is not None:
                self._close(port)
