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
JUMP_BEATS = 0.25  # off the line so far, and it is another session's line: a peer was met


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
        self._line = Line(0.0, 0.0, 60 / bpm)
        self.steps = 0

        async def begin() -> None:
            link = aalink.Link(bpm)
            await asyncio.sleep(SETTLE_SECONDS)
            link.quantum = self._quantum
            link.enabled = True
            self._link, self._enabled = link, True

        self._loop.create_task(begin())
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    @property
    def rolling(self) -> bool:
        return self._enabled

    @property
    def line(self) -> Line:
        """Where the session is. Whoever joins another one takes over its beats, which is a step."""
        if self._link is not None:
            now, beat, tempo = time.perf_counter(), float(self._link.beat), float(self._link.tempo)
            if abs(beat - self._line.beat_at(now)) > JUMP_BEATS:
                self.steps += 1
            self._line = Line(now, beat, 60 / tempo)
        return self._line

    def set_quantum(self, beats: float) -> None:
        self._quantum = beats
        if self._link is not None:
            self._link.quantum = beats

    def close(self) -> None:
        if self._link is not None:
            self._link.enabled = False
        self._loop.call_soon_threadsafe(self._loop.stop)
