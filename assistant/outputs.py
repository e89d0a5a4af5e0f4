"""The files a command writes: their names, whether they may be written, and writing all of them or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from models.errors import UserError

MIDI_SUFFIXES = (".mid", ".midi")


def midi_names(asked: Path, count: int) -> list[Path]:
    """`asked` itself for one candidate, else OUT-1.mid, OUT-2.mid ...; a name without ending gets .mid.

    Raises UserError for a folder, and for a name that ends like something other than a MIDI file.
    """
    if os.path.isdir(asked):
        raise UserError(f"{asked} is a folder", f"Name a file in it: -o {asked / 'next.mid'}")
    if not asked.suffix:
        asked = asked.with_name(f"{asked.name}.mid")
    if asked.suffix.lower() not in MIDI_SUFFIXES:
        raise UserError(f"{asked.name} does not end in .mid", f"Name it {asked.name}.mid, for example.")
    if count == 1:
        return [asked]
    return [asked.with_name(f"{asked.stem}-{number}{asked.suffix}") for number in range(1, count + 1)]


def check_outputs(paths: Sequence[Path], source: Path, force: bool) -> None:
    """Raise UserError unless all of `paths` could be written now, without harm to a file that exists.

    source: the input file, which is refused by its own sentence. force: overwriting is meant.
    """
    try:
        _check_folder(paths[0].parent)
        for path in paths:
            if path.is_dir():
                raise UserError(f"{path} is a folder", "Choose another name with -o.")
            if not force and path.exists() and source.exists() and path.samefile(source):
                raise UserError(f"{path} is the input file", "Choose another name with -o, or add --force.")
        if not force:
            _check_absent(paths)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"Cannot write {paths[0]}: {reason}", "Choose another folder or name.") from error


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}", "Make it first, or choose another with -o.")
    # Rights as the system reports them say little on Windows and for a disk that is read-only: try.
    with tempfile.TemporaryFile(dir=folder):
        pass


def _check_absent(paths: Sequence[Path]) -> None:
    taken = [path for path in paths if os.path.lexists(path)]
    if taken:
        others = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        verb = "exist" if others else "exists"
        hint = "Choose another name with -o, or add --force to overwrite."
        raise UserError(f"{taken[0]}{others} {verb} already", hint)


def write_all(writers: Sequence[tuple[Path, Callable[[Path], None]]], force: bool) -> None:
    """Write every file, or leave none that was not there before.

    writers: a path and the function that writes a whole file there or raises.
    """
    if not force:
        _check_absent([path for path, _ in writers])  # another program may have been quicker
    new = [path for path, _ in writers if not os.path.lexists(path)]
    try:
        for path, write in writers:
            write(path)
    except BaseException:
        for path in new:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def new_folder(name: Path) -> Path:
    """Make the folder `name`, or the first of name-2, name-3 ... that does not exist yet."""
    folder, number = name, 1
    while os.path.lexists(folder):
        number += 1
        folder = name.with_name(f"{name.name}-{number}")
    try:
        folder.mkdir()
    except OSError as error:
        hint = "Start it in a folder of your own."
        raise UserError(f"Cannot make a folder {folder} here: {error.strerror}", hint) from error
    return folder
