"""Which bars are known from the training set: two of a track at a time, in any key.

A window is two neighbouring bars of one track: where in the bars its notes start, and by which intervals they
follow from its first one (which drums they are, for drums). Loudness, length and micro-timing do not count, so
that a copy that was only played differently is a copy still. Windows of fewer than LEAST_NOTES notes are
everybody's and are left out.

The windows of the training set ship as a Bloom filter (Bloom, 1970): what is known always seems so, and of what is
not, one window in a hundred or so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.constraints import Draft
from models.errors import UserError
from models.piece import DRUMS, Piece

Hashes = NDArray[np.uint64]
Row = tuple[int, int, int, int, int, int, int]  # as Piece.notes has it
LEAST_NOTES = 4
BITS_A_WINDOW = 10
PROBES = 7  # bits that a window sets
SHIPPED = Path(__file__).resolve().parent / "weights" / "originality" / "bars.safetensors"


def _mixed(value: Hashes) -> Hashes:
    """A 64-bit finaliser (SplitMix64: Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def window_hashes(piece: Piece, notes: NDArray[np.integer] | None = None) -> Hashes:
    """The hash of every window of a piece, or of other `notes` (as Piece.notes) on its bars and tracks.

    A window begins with a bar that sounds; the bar after it may be empty, but must be one of the piece.
    """
    rows = np.asarray(piece.notes if notes is None else notes, dtype=np.int64).reshape(-1, 7)
    if not len(rows):
        return np.zeros(0, dtype=np.uint64)
    rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 0], rows[:, 1]))]
    cell = rows[:, 1] * (len(piece.bars) + 2) + rows[:, 0]
    first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
    sizes = np.diff(first, append=len(rows))
    drums = piece.programs[rows[first, 1]] == DRUMS
    root = np.where(drums, 0, rows[first, 3])
    interval = rows[:, 3] - np.repeat(root, sizes) + 128
    note = _mixed((rows[:, 2] * 512 + interval + 1).astype(np.uint64))
    with np.errstate(over="ignore"):
        inside = np.add.reduceat(note, first)  # notes of a bar come in any order
    here = cell[first]
    length = piece.bars[rows[first, 0], 0].astype(np.int64)
    follows = np.concatenate([here[1:] == here[:-1] + 1, [False]])
    left = np.arange(len(first))
    right = np.where(follows, left + 1, left)
    step = np.where(follows, root[right] - root[left], 0) + 256
    tag = (drums * 2**20 + step * 2**10 + length).astype(np.uint64)
    with np.errstate(over="ignore"):
        second = np.where(follows, _mixed(inside[right] ^ _mixed(tag)), np.uint64(0))
        pair = _mixed(inside + second * np.uint64(3) + _mixed(tag + np.uint64(1)))
    count = sizes + np.where(follows, sizes[right], 0)
    last = rows[first, 0] == len(piece.bars) - 1
    return pair[(count >= LEAST_NOTES) & (follows | ~last)]


@dataclass(frozen=True, slots=True)
class KnownBars:
    """A set of windows: `bits` of a Bloom filter, eight a number."""

    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, windows: Hashes) -> KnownBars:
        """The set of some different windows."""
        known = cls(np.zeros(1 + BITS_A_WINDOW * len(windows) // 8, dtype=np.uint8))
        places = known._places(windows).ravel()
        np.bitwise_or.at(known.bits, places >> 3, np.left_shift(1, places & 7).astype(np.uint8))
        return known

    def _places(self, windows: Hashes) -> NDArray[np.int64]:
        """The bits of each window, [n, PROBES], from two halves of its hash (Kirsch and Mitzenmacher, 2006)."""
        low, high = windows & np.uint64(0xFFFFFFFF), windows >> np.uint64(32) | np.uint64(1)
        steps = np.arange(PROBES, dtype=np.uint64)
        places = (low[:, None] + steps * high[:, None]) % np.uint64(8 * len(self.bits))
        return places.astype(np.int64)

    def has(self, windows: Hashes) -> NDArray[np.bool_]:
        """Which of some windows are known: [n]."""
        places = self._places(windows)
        return np.asarray((self.bits[places >> 3] >> (places & 7).astype(np.uint8) & 1).all(axis=1))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"bits": self.bits}, path)

    @classmethod
    def load(cls, path: Path) -> KnownBars:
        """Raises UserError where the file cannot be read."""
        try:
            return cls(load_file(path)["bits"])
        except (OSError, KeyError, SafetensorError) as error:
            hint = "Install Descant again, or make it with scripts/make_originality_index.py."
            raise UserError(f"The known bars {path} cannot be read", hint) from error


@cache
def shipped_bars() -> KnownBars | None:
    """Those of the training set, where they are installed."""
    return KnownBars.load(SHIPPED) if SHIPPED.exists() else None


class Recogniser:
    """Tells what of the notes that are written into a piece is known, and is not the piece's own."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece

    @cached_property
    def _own(self) -> Hashes:
        return window_hashes(self._piece)

    def known(self, rows: Sequence[Row]) -> NDArray[np.bool_]:
        """Which of the windows of notes (as Piece.notes) are known: [n]."""
        windows = window_hashes(self._piece, np.array(rows, dtype=np.int64).reshape(-1, 7))
        if (shipped := shipped_bars()) is None:
            return np.zeros(len(windows), dtype=bool)
        return shipped.has(windows) & ~np.isin(windows, self._own)

    def knows_last(self, draft: Draft) -> bool:
        """Whether the cell that a draft has finished and the one before it on the track are known."""
        bar, track = draft.place
        rows = list(takewhile(lambda row: row[0] >= bar - 1, reversed(draft.rows)))
        rows = [row for row in rows if row[1] == track]
        if len(rows) < LEAST_NOTES or rows[-1][0] == bar or not draft.free:
            return False
        return bool(self.known(rows)[0])
