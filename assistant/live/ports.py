"""MIDI ports through python-rtmidi: two virtual ones, and any further ones by a part of their name.

ALSA, JACK and CoreMIDI let a program make ports of its own, `Descant In` and `Descant Out`. Windows does
not: there the ports of loopMIDI take their place. No system tells rtmidi when a device comes or goes, so
`poll` looks, opens what has come and closes what has gone. A port of Descant is never connected to itself.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from assistant.live.jack import JackWatch
from models.errors import UserError

if TYPE_CHECKING:
    from types import ModuleType

IN, OUT = "Descant In", "Descant Out"
OWN_IN, OWN_OUT = f"{IN}:{IN}", f"{OUT}:{OUT}"  # as JACK names them
OURS = "descant"
WINDOWS_PORTS = "loopMIDI"
MOST_NAME_SECONDS = 0.5  # waited for the port of a guard that died to leave its name
OPEN_TRIES, OPEN_PAUSE = 3, 0.2
CONNECT_SECONDS = 10.0  # for which connections that a guard that died had are made again
OnMessage = Callable[[float, int, bytes], None]  # time, number of the port, MIDI bytes
Send = Callable[[bytes], None]  # one MIDI message


class Listing(NamedTuple):
    """Names of the ports that could be listened to, of those that could be played to, and of the open ones.

    heard_by, fed_by: whom others have connected to `Descant Out` and `Descant In`, where that can be known.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    connected: tuple[str, ...]
    heard_by: tuple[str, ...] = ()
    fed_by: tuple[str, ...] = ()


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


class Ports:
    """`Descant Out` at once, the others from `listen` on. UserError when a port cannot be made.

    on_message: called from threads of rtmidi's own; one number stands for one port. on_output: told of every
    further output that has just been opened how to send there, and with None of a new connection to `Descant Out`.
    """

    def __init__(self, asked: str, on_message: OnMessage, on_output: Callable[[Send | None], None]) -> None:
        self._rtmidi = load_rtmidi()
        self._api = choose_api(self._rtmidi, asked)
        self._on_message, self._on_output = on_message, on_output
        self._lock = threading.Lock()  # held to send, and to take a port out of use: none is closed while it sends
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
        self._server = JackWatch() if self._api == self._rtmidi.API_UNIX_JACK else None
        self._xruns = 0
        self._heard_by: tuple[str, ...] = ()
        self._lost: list[tuple[str, str]] = []  # connections to be made again
        self._lost_until = 0.0

    def listen(self) -> None:
        """Open `Descant In` too, and the further ports. Messages come from now on. Raises UserError."""
        try:
            self._in = self._open_own(self._rtmidi.MidiIn, IN)
            until = time.perf_counter() + MOST_NAME_SECONDS
            while not self._names_are_right() and time.perf_counter() < until:
                time.sleep(0.02)
        except (self._rtmidi.RtMidiError, SystemError, OSError) as error:
            raise UserError(f"The MIDI system does not answer: {error}", self._start_hint()) from error
        if not self.poll().connected and not self.virtual:
            hint = "Install loopMIDI from tobias-erichsen.de, which makes ports that programs share."
            raise UserError("Windows has no port that Descant could share with a DAW", hint)

    def _open_own(self, kind: Any, name: str) -> Any:
        """A port of that name. A MIDI system that is busy may refuse at first."""
        for _ in range(OPEN_TRIES - 1):
            with suppress(self._rtmidi.RtMidiError, SystemError, OSError):
                return self._make_own(kind, name)
            time.sleep(OPEN_PAUSE)
        return self._make_own(kind, name)

    def _make_own(self, kind: Any, name: str) -> Any:
        port = kind(rtapi=self._api, name=name)
        if kind is self._rtmidi.MidiIn:
            self._listen(port, name)
        if self.virtual:
            port.open_virtual_port(name)
        return port

    def _names_are_right(self) -> bool:
        """JACK numbers a name that is taken, as that of a guard killed a moment ago may be: ask for it again when
        it is free. Whether there is nothing left to wait for."""
        if self._api != self._rtmidi.API_UNIX_JACK:
            return True
        sources, targets = self._in.get_ports(), self._out.get_ports()
        if OWN_OUT not in sources:
            new, old = self._open_own(self._rtmidi.MidiOut, OUT), self._out
            with self._lock:
                self._out = new
            self._close(old)
        elif OWN_IN not in targets:
            old, self._in = self._in, self._open_own(self._rtmidi.MidiIn, IN)
            self._close(old)
        else:
            return not any(name.startswith((f"{OUT}-", f"{IN}-")) for name in (*sources, *targets))
        return False

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

    def open_outputs(self) -> None:
        """Open the further outputs that are there, before anything else is looked at."""
        with suppress(self._rtmidi.RtMidiError, SystemError):
            self._follow_outputs()

    def poll(self) -> Listing:
        """Open and close what has come and gone. Raises PortsLost when our own ports are gone."""
        try:
            if (self._server is not None and self._server.look()) or (self.virtual and not self._alive()):
                raise PortsLost
            self._names_are_right()
            sources = [name for name in self._in.get_ports() if not is_ours(name)]
            self._follow(sources, self._wanted[0], self._inputs, self._rtmidi.MidiIn)
            targets = self._follow_outputs()
            heard_by, fed_by = self._follow_peers()
        except (self._rtmidi.RtMidiError, SystemError) as error:
            raise PortsLost from error
        return Listing(tuple(sources), tuple(targets), (*self._inputs, *self._outputs), heard_by, fed_by)

    @property
    def complete(self) -> bool:
        """Whether whoever should hear what is sent is there: every further output that is wanted, or else someone
        at `Descant Out`, where that can be known."""
        open_ = [any(part.lower() in name.lower() for name in self._outputs) for part in self._wanted[1]]
        return all(open_) if open_ else self._server is None or bool(self._heard_by)

    def lost_time(self) -> bool:
        """Whether the MIDI system has lost time since this was last asked, and maybe messages. JACK tells."""
        before, self._xruns = self._xruns, self._server.xruns if self._server is not None else 0
        return self._xruns != before

    def connect_again(self, heard_by: Sequence[str], fed_by: Sequence[str]) -> None:
        """Whom others had connected to the ports of a guard that died is connected to these as soon as may be."""
        self._lost = [(OWN_OUT, name) for name in heard_by] + [(name, OWN_IN) for name in fed_by]
        self._lost_until = time.perf_counter() + CONNECT_SECONDS

    def _follow_peers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Connect again what was; and see who is there. Whoever is new hears what has ended."""
        if self._server is None:
            return (), ()
        for source, target in self._lost:
            self._server.connect(source, target)
        heard_by, fed_by = self._server.peers(OWN_OUT) or [], self._server.peers(OWN_IN) or []
        there = {(OWN_OUT, name) for name in heard_by} | {(name, OWN_IN) for name in fed_by}
        waiting = time.perf_counter() < self._lost_until
        self._lost = [pair for pair in self._lost if waiting and pair not in there]
        if set(heard_by) - set(self._heard_by):
            self._on_output(None)
        self._heard_by = tuple(heard_by)
        return self._heard_by, tuple(fed_by)

    def _follow_outputs(self) -> list[str]:
        targets = [name for name in self._out.get_ports() if not is_ours(name)]
        for name in self._follow(targets, self._wanted[1], self._outputs, self._rtmidi.MidiOut):
            self._on_output(partial(self._send_to, self._outputs[name]))
        return targets

    def _follow(self, names: Sequence[str], wanted: Sequence[str], opened: dict[str, Any], kind: Any) -> list[str]:
        """Close what has gone or is no longer wanted, open what has come. What was opened."""
        matching = [name for name in names if any(part.lower() in name.lower() for part in wanted)]
        for name in [name for name in opened if name not in matching]:
            with self._lock:
                port = opened.pop(name)
            self._close(port)
        new = [name for name in matching if name not in opened]
        for name in new:
            with suppress(self._rtmidi.RtMidiError, SystemError, ValueError):
                port = self._open(kind, name)
                with self._lock:
                    opened[name] = port
        return [name for name in new if name in opened]

    def _alive(self) -> bool:
        return any(name.startswith(OUT) for name in self._in.get_ports())

    def _open(self, kind: Any, name: str) -> Any:
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
        with self._lock:
            for port in (*([self._out] if self.virtual else []), *self._outputs.values()):
                with suppress(self._rtmidi.RtMidiError, SystemError):
                    port.send_message(data)

    def _send_to(self, port: Any, data: bytes) -> None:
        with self._lock, suppress(self._rtmidi.RtMidiError, SystemError):
            port.send_message(data)

    def close(self) -> None:
        for port in (*self._inputs.values(), *self._outputs.values(), self._in, self._out):
            if port is not None:
                self._close(port)
