"""Ableton Link as a transport, through aalink: an extra, off unless asked for, since it speaks to the network.

Link tells beat and tempo, and no song position: its bars begin where everyone's do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from assistant.live.clock import Line
from models.errors import UserError

SETTLE_SECONDS = 0.5  # aalink wants its loop to run for a while before it is enabled


class LinkTransport:
    """Follows a Link session from a thread with an event loop of its own. UserError without aalink."""

    def __init__(self, bpm: float) -> None:
        try:
            import aalink
        except ImportError as error:
            raise UserError("Ableton Link needs the package aalink", 'Install "descant[link]".') from error
        self._loop = asyncio.new_event_loop()
        self._link: Any = None
        self._enabled = False
        self._quantum = 4.0
        self.steps = 0

        async def begin() -> None:
            self._link = aalink.Link(bpm, self._loop)
            await asyncio.sleep(SETTLE_SECONDS)
            self._link.quantum = self._quantum
            self._link.enabled = True
            self._enabled = True
            self.steps += 1

        self._loop.create_task(begin())
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    @property
    def rolling(self) -> bool:
        return self._enabled

    @property
    def line(self) -> Line:
        if self._link is None:
            return Line(0.0, 0.0, 0.5)
        return Line(time.perf_counter(), float(self._link.beat), 60 / float(self._link.tempo))

    def set_quantum(self, beats: float) -> None:
        self._quantum = beats
        if self._link is not None:
            self._link.quantum = beats

    def close(self) -> None:
        if self._link is not None:
            self._link.enabled = False
        self._loop.call_soon_threadsafe(self._loop.stop)
