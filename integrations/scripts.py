"""What is put into a DAW, and where: one Script a DAW, declared in the DAW's own module."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

REMOTE = Path(__file__).resolve().parent / "remote"
FOLDER = "Descant"  # of ours, within the DAW's folder of scripts


@dataclass(frozen=True, slots=True)
class System:
    """The computer as far as it says where a DAW keeps its files."""

    platform: str  # as sys.platform
    home: Path
    environment: Mapping[str, str]

    @classmethod
    def here(cls) -> System:
        return cls(sys.platform, Path.home(), os.environ)

    def settings(self, mac: str, windows: str) -> Path:
        """Where programs keep a user's settings: a folder of ~/Library, of AppData (Roaming, Local), or .config."""
        if self.platform == "darwin":
            return self.home / "Library" / mac
        if self.platform == "win32":
            return self._named({"Roaming": "APPDATA", "Local": "LOCALAPPDATA"}[windows], "AppData", windows)
        return self._named("XDG_CONFIG_HOME", ".config")

    def _named(self, variable: str, *usual: str) -> Path:
        """What a variable of the environment names, else a folder in the user's home."""
        named = self.environment.get(variable)
        return Path(named) if named else self.home.joinpath(*usual)


@dataclass(frozen=True, slots=True)
class Connection:
    """How a script finds the program: the watched folder, or port and secret of the socket."""

    folder: Path
    port: int
    secret: str


@dataclass(frozen=True, slots=True)
class Script:
    """One DAW's script.

    places: folders of scripts that this DAW may have on a system; it is installed where the parent of one exists.
    files: (name within our folder, path within integrations/remote). generated: further files, with what only
    this computer knows. steps: what the user does next in the DAW.
    """

    name: str
    title: str
    versions: str
    places: Callable[[System], list[Path]]
    files: tuple[tuple[str, str], ...]
    generated: Callable[[Connection], dict[str, str]]
    steps: tuple[str, ...]

    def contents(self, connection: Connection) -> dict[str, bytes]:
        """Every file of our folder by its name."""
        made = {name: (REMOTE / source).read_bytes() for name, source in self.files}
        return made | {name: text.encode("utf-8") for name, text in self.generated(connection).items()}


def lua_folder(connection: Connection) -> dict[str, str]:
    """What is generated for scripts in Lua, which have no sockets: where the program looks for their files."""
    folder = quoted(connection.folder.as_posix())
    return {"descant_folder.lua": f"-- Written by `descant daw install`.\nDESCANT_FOLDER = {folder}\n"}


def quoted(text: str) -> str:
    """A string as Python, Lua 5.3 and JavaScript all read it."""
    return json.dumps(text, ensure_ascii=False)
