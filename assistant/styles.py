"""Styles on this computer: where they lie, how they are named on a command line, how they come and go.

    STYLES/NAME/   adapter_config.json, adapter_model.safetensors, adapter_memory.safetensors, style.json, README.md
    STYLES/.making/NAME/   a training that is not done yet; .NAME.lock beside it is held while it runs

A style is moved to its place in one piece when it is whole.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from assistant.only_one import Taken, only_one
from assistant.settings import home
from assistant.style_options import Styles, checked_name, parse_styles
from models.adapters import ABOUT_FILE, CONFIG_FILE, MEMORY_FILE, TENSORS_FILE, Adapter, read_adapter, styled_hash
from models.errors import UserError

FILES = (CONFIG_FILE, TENSORS_FILE, MEMORY_FILE, ABOUT_FILE, "README.md")
MOST_BYTES = 20_000_000
MAKING = ".making"
SOURCE = "source.json"  # where the pieces are; it stays here when a style is exported


class NoStyle(UserError):
    """A style, or a training of one, that there is not."""


def styles_folder() -> Path:
    folder = home() / "styles"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def style_names() -> list[str]:
    """All styles, by name."""
    return sorted(path.parent.name for path in styles_folder().glob(f"*/{ABOUT_FILE}"))


def find_style(name: str) -> Path:
    """The folder of a style. Raises UserError, naming those there are."""
    folder = styles_folder() / checked_name(name)
    if not (folder / ABOUT_FILE).exists():
        known = ", ".join(style_names())
        hint = f"There are {known}." if known else "Make one with `descant style train NAME FOLDER`."
        raise NoStyle(f'There is no style "{name}"', hint)
    return folder


def load_styles(styles: Styles) -> list[tuple[Adapter, float]]:
    """The adapters of some styles with their strengths."""
    return [(_adapter(find_style(name), _stamp(find_style(name))), strength) for name, strength in styles]


def hash_with_styles(model_hash: str, text: str | None) -> str:
    """What names the weights that a request's style, as `A:0.5,B:0.3`, is written with."""
    return styled_hash(model_hash, load_styles(parse_styles(text))) if text else model_hash


@lru_cache(maxsize=8)
def _adapter(folder: Path, stamp: int) -> Adapter:
    return read_adapter(folder)


def _stamp(folder: Path) -> int:
    return (folder / TENSORS_FILE).stat().st_mtime_ns if (folder / TENSORS_FILE).exists() else 0


@contextmanager
def new_style(name: str, force: bool) -> Iterator[Path]:
    """A folder to write a style into; at the end it is checked and moved to its place, all or nothing."""
    target = styles_folder() / checked_name(name)
    check_free(name, force)
    making = Path(tempfile.mkdtemp(prefix=".new-", dir=styles_folder()))
    try:
        yield making
        read_adapter(making)
        old = target.with_name(f".old-{making.name}")
        with suppress(FileNotFoundError):
            os.replace(target, old)
        os.replace(making, target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def check_free(name: str, force: bool) -> None:
    """Raises UserError where a style of this name exists and may not be replaced."""
    if not force and (styles_folder() / checked_name(name)).exists():
        raise UserError(f'There is a style "{name}" already', "Choose another name, or replace it with --force.")


def packed_style(name: str) -> bytes:
    """A style as one zip file that `import_style` reads."""
    folder = find_style(name)
    parcel = io.BytesIO()
    with zipfile.ZipFile(parcel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in FILES:
            if (folder / file).exists():
                archive.write(folder / file, file)
    return parcel.getvalue()


def export_style(name: str, target: Path, force: bool) -> None:
    """Write a style as one zip file that `import_style` reads."""
    body = packed_style(name)
    if target.exists() and not force:
        raise UserError(f"{target} exists already", "Choose another name, or replace it with --force.")
    part = target.with_name(target.name + ".part")
    try:
        part.write_bytes(body)
        os.replace(part, target)
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror}", "Choose another place.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def import_style(source: Path | bytes, name: str | None, force: bool) -> str:
    """Take in a style from a zip file, or from its bytes; returns its name. Only the files a style has are read,
    whatever else the archive holds."""
    called = "This file" if isinstance(source, bytes) else str(source)
    hint = "Export it again with `descant style export`."
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            inside = {info.filename: info for info in archive.infolist() if info.filename in FILES}
            if sum(info.file_size for info in inside.values()) > MOST_BYTES:
                raise UserError(f"{called} is too large for a style", hint)
            about = json.loads(archive.read(inside[ABOUT_FILE]))
            name = checked_name(name or str(about["name"]))
            with new_style(name, force) as folder:
                for file, info in inside.items():
                    (folder / file).write_bytes(archive.read(info))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{called} does not hold a style", hint) from error
    return name


def remember_source(place: Path, folder: str) -> None:
    """Note beside a style where its pieces are, so that it can be made again, unless they were only sent."""
    if MAKING not in Path(folder).parts:
        (place / SOURCE).write_text(json.dumps({"folder": folder}) + "\n", encoding="utf-8")


def source_of(name: str) -> str:
    """The folder that a style was made from. Raises UserError where it is not known, or there is no such style."""
    try:
        return str(json.loads((find_style(name) / SOURCE).read_text("utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'Where the pieces of "{name}" are is not known here', "Name their folder.") from error


def remove_style(name: str) -> None:
    shutil.rmtree(find_style(name))


def making_folder(name: str) -> Path:
    """Where a training keeps its checkpoint until it is done."""
    folder = styles_folder() / MAKING / checked_name(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def being_made(name: str) -> Iterator[None]:
    """No other process trains a style of this name meanwhile, whether a command or a server started it. Raises
    UserError where one does already; one that was killed is in nobody's way."""
    place = styles_folder() / MAKING
    place.mkdir(mode=0o700, exist_ok=True)
    try:
        with only_one(place / f".{checked_name(name)}.lock"):
            yield
    except Taken as error:
        hint = "Wait until it is done, stop it, or choose another name."
        raise UserError(f'The style "{name}" is being made already', hint) from error


def read_card(name: str) -> dict[str, Any]:
    """What a style was made from and what it is worth, and whether it fits the weights in use. Raises UserError."""
    from assistant.pipeline import weights_folder

    folder = find_style(name)
    adapter = read_adapter(folder)
    base = json.loads((weights_folder() / "config.json").read_text("utf-8")).get("sha256")
    size = sum((folder / file).stat().st_size for file in FILES if (folder / file).exists())
    return {**adapter.about, "name": name, "usable": adapter.base == base, "bytes": size}


def describe_styles(names: Sequence[str]) -> list[str]:
    """A line for each style: what it was made from, and what it saves."""
    lines = []
    for name in names:
        about = read_adapter(find_style(name)).about
        figures = about["nats_per_note"]
        gain = 1 - figures["own_after"] / figures["own_before"]
        forgotten = figures["base_after"] / figures["base_before"] - 1
        lines.append(
            f"{name:20} {about['pieces']:4} pieces {about['notes']:8,} notes   "
            f"own music {gain:+.1%} likelier   other music {forgotten:+.1%}"
        )
    return lines
