"""What is in a folder of MIDI files: the pieces, why others were left out, and whole pieces set apart."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from models.errors import UserError
from models.instruments import instrument_of
from models.midi_file import read_midi
from models.piece import DRUMS, Piece, to_piece
from models.score import Score
from models.theory import estimate_key
from models.training.sampling import usable
from models.training.shards import Item

SUFFIXES = (".mid", ".midi", ".smf", ".kar")
MOST_FILES = 10_000
MOST_NOTES = 3_000_000  # that are read; more would take long, and memory
LEAST_PIECES, LEAST_NOTES = 4, 1_000  # below this nothing can be held out and learned at once
HELD_OUT, TUNING = 0.2, 0.1  # shares of the pieces


@dataclass(frozen=True)
class Intake:
    """What was found in a folder. items: the pieces, in the order of their names. skipped: (name, reason).

    keys, roles: how many pieces are in a key, and how many tracks an instrument plays, the most first. tempos: the
    slowest, the middle and the fastest piece, in quarter notes a minute.
    """

    folder: Path
    items: tuple[Item, ...]
    skipped: tuple[tuple[str, str], ...]
    seconds: float
    keys: Mapping[str, int] = field(default_factory=dict)
    roles: Mapping[str, int] = field(default_factory=dict)
    tempos: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def notes(self) -> int:
        return sum(len(item.piece.notes) for item in self.items)


def midi_files(folder: Path) -> Iterator[Path]:
    """MIDI files below a folder, by name. Links are not followed, so nothing outside it is ever opened."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder", "Name the folder that your MIDI files are in.")
    found = 0
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink():
                found += 1
                if found > MOST_FILES:
                    raise UserError(
                        f"There are more than {MOST_FILES:,} MIDI files in {folder}",
                        "Name a smaller folder; a style needs ten to a few hundred pieces.",
                    )
                yield path


def read_folder(folder: Path) -> Intake:
    """Read everything that can be read. A piece that is there twice, in whatever key, counts once."""
    items: list[Item] = []
    skipped: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    keys: Counter[str] = Counter()
    roles: Counter[str] = Counter()
    tempos: list[float] = []
    seconds = 0.0
    notes = 0
    for path in midi_files(folder):
        name = str(path.relative_to(folder))
        if notes > MOST_NOTES:
            skipped.append((name, "there is enough music without it"))
            continue
        try:
            score = read_midi(path).score
            piece, _, _ = to_piece(score)
        except UserError as error:
            skipped.append((name, error.message))
            continue
        if not usable(piece):
            skipped.append((name, "fewer than 8 notes" if len(piece.notes) < 8 else "too long"))
            continue
        mark = fingerprint(piece)
        if mark in seen:
            skipped.append((name, f"the same as {seen[mark]}"))
            continue
        seen[mark] = name
        keys[_key_name(score)] += 1
        roles.update(instrument_of(track.program, track.is_drum).name for track in score.tracks if track.notes)
        length = score.seconds_at(score.end)
        tempos.append(60 * score.end / score.ticks_per_quarter / length if length else 0.0)
        seconds += length
        notes += len(piece.notes)
        piece = replace(piece, notes=piece.notes.astype(np.int16))  # half of the memory; every number fits
        items.append(Item(piece, {"set": "style", "split": "train", "work": name, "path": name}))
    tempos.sort()
    return Intake(
        folder,
        tuple(items),
        tuple(skipped),
        seconds,
        dict(keys.most_common()),
        dict(roles.most_common()),
        (tempos[0], tempos[len(tempos) // 2], tempos[-1]) if tempos else (0.0, 0.0, 0.0),
    )


def fingerprint(piece: Piece) -> str:
    """The same for the same notes in any key, however loud."""
    notes = piece.notes.astype(np.int64)
    drums = piece.programs[notes[:, 1]] == DRUMS
    pitched = notes[~drums, 3]
    notes[~drums, 3] -= int(pitched.min()) if len(pitched) else 0
    return hashlib.sha256(np.ascontiguousarray(notes[:, :4]).tobytes()).hexdigest()


def _key_name(score: Score) -> str:
    key, margin = estimate_key(score)
    return key.name if margin > 0.1 else "no clear key"


@dataclass(frozen=True)
class Parts:
    """Whole pieces: what is learned from, what says when to stop, and what the figures are measured on."""

    learning: tuple[Item, ...]
    tuning: tuple[Item, ...]
    held_out: tuple[Item, ...]


def split(intake: Intake) -> Parts:
    """Pieces set apart by a hash of their notes, so the same folder is always split alike. Raises UserError where
    there is too little."""
    count = len(intake.items)
    if count < LEAST_PIECES or intake.notes < LEAST_NOTES:
        raise UserError(
            f"{count} {'piece' if count == 1 else 'pieces'} with {intake.notes:,} notes are too little for a style",
            f"It takes at least {LEAST_PIECES} different pieces and {LEAST_NOTES:,} notes; twenty pieces are good.",
        )
    ranked = sorted(intake.items, key=lambda item: fingerprint(item.piece))
    held = max(1, round(HELD_OUT * count))
    tuning = max(1, round(TUNING * count))
    return Parts(tuple(ranked[held + tuning :]), tuple(ranked[held : held + tuning]), tuple(ranked[:held]))
