"""Where Descant keeps its own files, and the few settings that last.

HOME ─┬─ token           the secret that lets a program talk to the server; its owner alone may read it
      ├─ server.json     where the server runs, while it runs
      ├─ history.db      sessions, scores, requests, candidates and decisions
      ├─ settings.json
      └─ files/          MIDI files that were taken out of the page
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from models.errors import UserError

HOME_VARIABLE = "DESCANT_HOME"
DEFAULT_PORT = 8733
PORTS = (1024, 65535)


def program_version() -> str:
    """The installed version, or a few words where nothing is installed."""
    try:
        return version("descant")
    except PackageNotFoundError:
        return "from a source folder, not installed"


def home() -> Path:
    """The folder of Descant's own files, made for its owner alone: what DESCANT_HOME names, or the system's place.

    Raises UserError when it cannot be made.
    """
    asked = os.environ.get(HOME_VARIABLE)
    if asked:
        folder = Path(asked)
    else:
        from platformdirs import user_data_path

        folder = user_data_path("descant", appauthor=False)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = f"Name another folder with {HOME_VARIABLE}."
        raise UserError(f"Cannot make the folder {folder}: {error.strerror}", hint) from error
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a small file that only its owner can read: whole, or not at all. UserError when it cannot be done."""
    try:
        # tempfile makes files for the owner alone, and the replace keeps that.
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".descant-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror}", "Make room, or mend the folder's rights."
        ) from error


def token(folder: Path) -> str:
    """The 256-bit secret of this folder's server, made when there is none yet."""
    path = token_path(folder)
    with suppress(OSError):
        found = path.read_text(encoding="ascii", errors="replace").strip()
        if len(found) == 64 and set(found) <= set("0123456789abcdef"):
            return found
    made = secrets.token_hex(32)
    write_private(path, made + "\n")
    return made


def token_path(folder: Path) -> Path:
    return folder / "token"


# --- Settings -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """What a musician may set for good. Every field has its check in `changed`."""

    port: int = DEFAULT_PORT
    open_browser: bool = True
    candidates: int = 4  # of a request that does not say how many

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with some changed. Raises UserError for an unknown name or a value out of reach."""
        reach: dict[str, tuple[int, int]] = {"port": PORTS, "candidates": (1, 64)}
        known = {field.name for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise UserError(f'There is no setting "{name}"', f"The settings are {', '.join(sorted(known))}.")
            if name in reach:
                least, most = reach[name]
                if type(value) is not int or not least <= value <= most:
                    raise UserError(f"{name} cannot be {value!r}", f"Write a whole number from {least} to {most}.")
            elif type(value) is not bool:
                raise UserError(f"{name} cannot be {value!r}", "Write true or false.")
        return replace(self, **changes)


def read_settings(folder: Path) -> Settings:
    """What was saved; the defaults for what is missing or makes no sense."""
    try:
        saved = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Settings()
    settings = Settings()
    for name, value in saved.items() if isinstance(saved, dict) else ():
        with suppress(UserError):  # a file from another version, or edited by hand
            settings = settings.changed({name: value})
    return settings


def save_settings(folder: Path, settings: Settings) -> None:
    write_private(folder / "settings.json", json.dumps(asdict(settings), indent=1) + "\n")


# --- Which server runs --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """A server that says it runs: its port, and the number by which it proves to be the one meant."""

    port: int
    instance: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def save_running(folder: Path, running: Running) -> None:
    write_private(folder / "server.json", json.dumps(asdict(running)) + "\n")


def read_running(folder: Path) -> Running | None:
    """What the last server wrote about itself; it may be gone. `client.find_server` asks it."""
    try:
        said = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        return Running(int(said["port"]), str(said["instance"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_running(folder: Path, running: Running) -> None:
    """Forget a server that has ended, unless another has taken its place."""
    if read_running(folder) == running:
        with suppress(OSError):
            (folder / "server.json").unlink()
