"""What JACK knows and rtmidi does not tell: that the server has ended or has lost time, and who is connected.

JACK calls `sem_post`, not Python: its server waits for what it calls, and would wait for ever if Python, in
another thread, was just asking the server for something.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = b"descant watch"
NO_START = 1  # JackNoStartServer
SEMAPHORE = ctypes.c_char * 64  # more than a sem_t of any system


class JackWatch:
    """A client without ports. Where JACK's own library is not to be had it knows nothing, and says so."""

    def __init__(self) -> None:
        self._jack: Any = None
        self._client: int | None = None
        self._end, self._xruns = SEMAPHORE(), SEMAPHORE()

    def look(self) -> bool:
        """Whether the server has ended. Begins to watch where it could not yet: a busy server takes no client."""
        if self._client is None:
            with suppress(OSError):  # no library of JACK's own is found
                self._open()
        return self._count(self._end) > 0

    @property
    def xruns(self) -> int:
        """How often the server has lost time, and maybe messages with it."""
        return self._count(self._xruns)

    def peers(self, port: str) -> list[str] | None:
        """The ports that a port is connected to; None when that cannot be known."""
        place = self._client and self._jack.jack_port_by_name(self._client, port.encode())
        if not place:
            return None
        names = self._jack.jack_port_get_all_connections(self._client, place)
        found: list[str] = []
        while names and names[len(found)]:
            found.append(names[len(found)].decode(errors="replace"))
        if names:
            self._jack.jack_free(names)
        return found

    def connect(self, source: str, target: str) -> None:
        """Connect two ports, if they are there."""
        if self._client is not None:
            self._jack.jack_connect(self._client, source.encode(), target.encode())

    def _count(self, semaphore: Any) -> int:
        count = ctypes.c_int()
        if self._client is not None:
            ctypes.CDLL(None).sem_getvalue(semaphore, ctypes.byref(count))
        return count.value

    def _open(self) -> None:
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        maps = Path("/proc/self/maps").read_text().split()  # the very library that rtmidi has loaded
        jack = ctypes.CDLL(next((path for path in maps if "/libjack" in path), "libjack.so.0"))
        for name, result, *arguments in (
            ("jack_client_open", pointer, text, ctypes.c_int, pointer),
            ("jack_on_shutdown", None, pointer, pointer, pointer),
            ("jack_set_xrun_callback", ctypes.c_int, pointer, pointer, pointer),
            ("jack_activate", ctypes.c_int, pointer),
            ("jack_port_by_name", pointer, pointer, text),
            ("jack_port_get_all_connections", ctypes.POINTER(text), pointer, pointer),
            ("jack_connect", ctypes.c_int, pointer, text, text),
            ("jack_free", None, pointer),
        ):
            function = getattr(jack, name)
            function.restype, function.argtypes = result, arguments
        self._jack, self._client = jack, jack.jack_client_open(NAME, NO_START, None)
        if self._client is not None:
            system = ctypes.CDLL(None)
            post = ctypes.cast(system.sem_post, pointer)
            for semaphore in (self._end, self._xruns):
                system.sem_init(semaphore, 0, 0)
            jack.jack_on_shutdown(self._client, post, ctypes.addressof(self._end))
            jack.jack_set_xrun_callback(self._client, post, ctypes.addressof(self._xruns))
            jack.jack_activate(self._client)
