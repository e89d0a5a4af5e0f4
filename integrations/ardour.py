"""Ardour: Lua in its editor, candidates as regions on tracks beside, messages as files. See remote/ardour."""

from __future__ import annotations

from pathlib import Path

from integrations.scripts import Connection, Script, System, quoted

VERSIONS = (7, 8)
ACTIONS = ("continue", "fill", "accompany", "next", "previous", "accept", "cancel")


def _places(system: System) -> list[Path]:
    if system.platform == "darwin":
        return [system.home / "Library" / "Preferences" / f"Ardour{version}" / "scripts" for version in VERSIONS]
    if system.platform == "win32":
        folder = system.folder("LOCALAPPDATA", "AppData", "Local")
        return [folder / f"Ardour{version}" / "scripts" for version in VERSIONS]
    folder = system.folder("XDG_CONFIG_HOME", ".config")
    return [folder / f"ardour{version}" / "scripts" for version in VERSIONS]


def _generated(connection: Connection) -> dict[str, str]:
    folder = quoted(connection.folder.as_posix())
    return {"descant_folder.lua": f"-- Written by `descant daw install`.\nDESCANT_FOLDER = {folder}\n"}


SCRIPT = Script(
    name="ardour",
    title="Ardour",
    versions="7 and 8",
    places=_places,
    files=(
        ("descant_link.lua", "lua/descant_link.lua"),
        ("descant_host.lua", "ardour/descant_host.lua"),
        ("descant_session.lua", "ardour/descant_session.lua"),
        ("../descant_background.lua", "ardour/descant_background.lua"),
        *((f"../descant_{action}.lua", f"ardour/descant_{action}.lua") for action in ACTIONS),
    ),
    generated=_generated,
    steps=(
        "In Ardour: Edit > Lua Scripts > Script Manager > Action Hooks: set Descant in the background.",
        "In the same window's Action Scripts set Descant: Continue and the others, each with a key.",
    ),
)
