"""The ledger: which notes may sound at this moment, in a memory-mapped file that survives whoever wrote it.

One byte for each channel and pitch counts the note-ons that still want their note-off. A second one says that
the note-off was sent, but that nobody can know yet whether it was heard: a MIDI system takes what is sent out
of the sender's memory some milliseconds later, so a note-off dies with its sender. One byte more for each
channel says that something was sent on it. The kernel keeps the pages when a process is killed, so the next
guard finds there what the last one may have left sounding.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

from models.errors import UserError

CHANNELS, PITCHES = 16, 128
NOTES = CHANNELS * PITCHES
ENDED, USED = NOTES, 2 * NOTES  # where the other bytes begin
SIZE = USED + CHANNELS + 1  # the last byte is the one that is locked
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
        """One note-off was sent."""
        if self.count(channel, pitch) > 1:
            self._bytes[channel * PITCHES + pitch] -= 1
        else:
            self.end(channel, pitch)

    def end(self, channel: int, pitch: int) -> None:
        """The note is not meant to sound any more. It may, until it is settled."""
        place = channel * PITCHES + pitch
        if self._bytes[place]:
            self._bytes[ENDED + place] = 1  # first: at no moment is the note in neither of both
            self._bytes[place] = 0

    def settle(self, channel: int, pitch: int) -> None:
        """Whoever listens has heard the note end."""
        self._bytes[ENDED + channel * PITCHES + pitch] = 0

    def use(self, channel: int) -> None:
        self._bytes[USED + channel] = 1

    def sounding(self) -> list[tuple[int, int]]:
        """(channel, pitch) of every note that is on."""
        notes = self._bytes[:NOTES]
        return [divmod(place, PITCHES) for place in range(NOTES) if notes[place]] if any(notes) else []

    def unsettled(self) -> list[tuple[int, int]]:
        """(channel, pitch) of every note that is on, or that may be because its note-off may be lost."""
        both = self._bytes[:USED]
        if not any(both):
            return []
        return [divmod(place, PITCHES) for place in range(NOTES) if both[place] or both[ENDED + place]]

    def used(self) -> list[int]:
        """The channels on which anything was sent since the last `clear`."""
        return [channel for channel in range(CHANNELS) if self._bytes[USED + channel]]

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
