"""The ledger: which notes sound at this moment, in a memory-mapped file that survives whoever wrote it.

One byte for each channel and pitch counts the note-ons that still want their note-off, one more for each
channel says that something was sent on it. The kernel keeps the pages when a process is killed, so the next
guard finds there what the last one left sounding.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

from models.errors import UserError

CHANNELS, PITCHES = 16, 128
NOTES = CHANNELS * PITCHES
SIZE = NOTES + CHANNELS + 1  # the last byte is the one that is locked
MOST = 255


class Ledger:
    """The ledger in the file `path`, which is made when missing. UserError when another program holds it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            _lock(self._file)
        except OSError as error:
            os.close(self._file)
            raise UserError("Descant is already live in another window", "Stop that one first.") from error
        if os.fstat(self._file).st_size != SIZE:
            os.ftruncate(self._file, 0)
            os.ftruncate(self._file, SIZE)
        self._bytes = mmap.mmap(self._file, SIZE)

    def count(self, channel: int, pitch: int) -> int:
        return self._bytes[channel * PITCHES + pitch]

    def add(self, channel: int, pitch: int) -> None:
        place = channel * PITCHES + pitch
        self._bytes[place] = min(MOST, self._bytes[place] + 1)
        self.use(channel)

    def remove(self, channel: int, pitch: int) -> None:
        place = channel * PITCHES + pitch
        self._bytes[place] = max(0, self._bytes[place] - 1)

    def use(self, channel: int) -> None:
        self._bytes[NOTES + channel] = 1

    def sounding(self) -> list[tuple[int, int]]:
        """(channel, pitch) of every note that is on."""
        notes = self._bytes[:NOTES]
        return [divmod(place, PITCHES) for place in range(NOTES) if notes[place]] if any(notes) else []

    def used(self) -> list[int]:
        """The channels on which anything was sent since the last `clear`."""
        return [channel for channel in range(CHANNELS) if self._bytes[NOTES + channel]]

    def clear(self) -> None:
        self._bytes[:] = bytes(SIZE)

    def close(self) -> None:
        self._bytes.close()
        os.close(self._file)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, SIZE - 1, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
