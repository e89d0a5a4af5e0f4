"""A progress bar on a terminal; silent anywhere else."""

from __future__ import annotations

import shutil
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # its module loads NumPy, which nobody needs who asks for help only
    from models.generators import Progress

SECONDS_BETWEEN = 0.1
WIDEST = 32  # characters of the bar itself


class ProgressBar:
    """Bars done of all candidates' bars, and notes a second. A context manager; `show` takes each Progress."""

    def __init__(self, stream: TextIO, candidates: int, bars: int) -> None:
        """candidates, bars: how many candidates, and how many bars each."""
        self._stream = stream
        self._visible = stream.isatty()
        self._candidates = candidates
        self._total = candidates * bars
        self._done: dict[int, int] = {}
        self._notes = 0
        self._began = time.monotonic()
        self._shown = 0.0
        self._width = 0

    def __enter__(self) -> ProgressBar:
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._visible:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    def show(self, progress: Progress) -> None:
        self._done[progress.candidate] = progress.done
        self._total = progress.total * self._candidates
        self._notes += len(progress.rows)
        if time.monotonic() - self._shown >= SECONDS_BETWEEN or self._first_drafts_done:
            self._draw()

    @property
    def _first_drafts_done(self) -> bool:
        return sum(self._done.values()) == self._total

    def line(self) -> str:
        """What the terminal shows now."""
        done = sum(self._done.values())
        speed = self._notes / max(time.monotonic() - self._began, 1e-3)
        counts = f" {done} of {self._total} bars, {speed:.0f} notes/s"
        if self._first_drafts_done:
            counts += ", trying for better ones"
        room = shutil.get_terminal_size().columns - len(counts) - 3
        width = max(0, min(WIDEST, room))
        filled = width * done // max(1, self._total)
        return f"[{'#' * filled}{'.' * (width - filled)}]{counts}"

    def _draw(self) -> None:
        if not self._visible:
            return
        text = self.line()
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = max(self._width, len(text))
        self._shown = time.monotonic()
