"""The user's own instruments on this computer: where they lie, and how they come and go.

    INSTRUMENTS/NAME/   instrument.safetensors, instrument.json, README.md

An instrument is moved to its place in one piece when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.audio_options import checked_name
from assistant.overview import find_tracks
from assistant.settings import home
from models.errors import UserError
from models.score import Score

if TYPE_CHECKING:
    from models.synth.network import Bank

Choices = Sequence[tuple[str, str]]  # track and instrument, as --instrument gives them
ABOUT_FILE = "instrument.json"


def instruments_folder() -> Path:
    """Where they lie; not made before there is one."""
    return home() / "instruments"


def instrument_names() -> list[str]:
    return sorted(path.parent.name for path in instruments_folder().glob(f"*/{ABOUT_FILE}"))


def find_instrument(name: str) -> Path:
    """The folder of an instrument. Raises UserError, naming those there are."""
    folder = instruments_folder() / checked_name(name)
    if not (folder / ABOUT_FILE).exists():
        known = ", ".join(instrument_names())
        hint = f"There are {known}." if known else "Make one with `descant instrument train NAME RECORDING`."
        raise UserError(f'There is no instrument "{name}"', hint)
    return folder


def facts_of_instrument(name: str) -> dict[str, Any]:
    """What its training wrote down."""
    path = find_instrument(name) / ABOUT_FILE
    try:
        facts = json.loads(path.read_text("utf-8"))
        return {"notes": int(facts["notes"]), "distance": float(facts["held_out_log_mel_db"]), **facts}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"The instrument in {path.parent} cannot be read", "Train it again.") from error


def check_free(name: str, force: bool) -> None:
    """Raises UserError where an instrument of this name exists and may not be replaced."""
    if not force and (instruments_folder() / checked_name(name)).exists():
        raise UserError(
            f'There is an instrument "{name}" already', "Choose another name, or replace it with --force."
        )


@contextmanager
def new_instrument(name: str, force: bool) -> Iterator[Path]:
    """A folder to write an instrument into; at the end it is moved to its place, all or nothing."""
    check_free(name, force)
    folder = instruments_folder()
    target = folder / checked_name(name)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        try:
            yield making
            old = target.with_name(f".old-{making.name}")
            with suppress(FileNotFoundError):
                os.replace(target, old)
            os.replace(making, target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise UserError(f"Cannot write the instrument to {folder}: {error.strerror}", "Make room.") from error


def remove_instrument(name: str) -> None:
    shutil.rmtree(find_instrument(name))


def chosen(score: Score, choices: Choices, bank: Bank) -> tuple[Bank, dict[int, int]]:
    """The synth with the instruments that were chosen, and the program of each track that has one.

    Raises UserError for a track or an instrument that there is not.
    """
    from models.synth.instruments import load
    from models.synth.sound import MELODIC

    names = list(dict.fromkeys(name for _, name in choices))
    bank = bank.with_learned([load(find_instrument(name), bank) for name in names])
    programs = {}
    for track, name in choices:
        (index,) = find_tracks(score, [track])
        if score.tracks[index].is_drum:
            raise UserError(f'The track "{track}" is a drum track', "Your own instruments play melodies.")
        programs[index] = MELODIC + names.index(name)
    return bank, programs
