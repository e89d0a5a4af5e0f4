"""One process at a time: a file that the system locks, and lets go of when its process ends in whatever way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Taken(Exception):
    """Another process, or another part of this one, is at it."""


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the file `path`, made for this and gone afterwards. Raises Taken at once where it is held already."""
    file = _held(path)
    try:
        yield
    finally:
        if sys.platform == "win32":  # a file that is open cannot be removed there
            os.close(file)
        with suppress(OSError):
            path.unlink()
        if sys.platform != "win32":
            os.close(file)


def _held(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(file)
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(file)
            raise Taken from error
        os.close(file)  # whoever held it before has removed it since


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
