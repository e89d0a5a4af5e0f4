"""REAPER: Lua in its background, candidates as takes, messages as files. See remote/reaper/descant.lua."""

from __future__ import annotations

from pathlib import Path

from integrations.scripts import Connection, Script, System, quoted

ACTIONS = ("continue", "fill", "accompany", "sketch", "next", "previous", "accept", "cancel", "controls")


def _places(system: System) -> list[Path]:
    if system.platform == "darwin":
        return [system.home / "Library" / "Application Support" / "REAPER" / "Scripts"]
    if system.platform == "win32":
        return [system.folder("APPDATA", "AppData", "Roaming") / "REAPER" / "Scripts"]
    return [system.folder("XDG_CONFIG_HOME", ".config") / "REAPER" / "Scripts"]


def _generated(connection: Connection) -> dict[str, str]:
    folder = quoted(connection.folder.as_posix())
    return {"descant_folder.lua": f"-- Written by `descant daw install`.\nDESCANT_FOLDER = {folder}\n"}


SCRIPT = Script(
    name="reaper",
    title="REAPER",
    versions="6.44 or newer",
    places=_places,
    files=(
        ("descant.lua", "reaper/descant.lua"),
        ("descant_project.lua", "reaper/descant_project.lua"),
        ("descant_takes.lua", "reaper/descant_takes.lua"),
        ("descant_press.lua", "reaper/descant_press.lua"),
        ("descant_link.lua", "lua/descant_link.lua"),
        *((f"descant_{action}.lua", f"reaper/descant_{action}.lua") for action in ACTIONS),
    ),
    generated=_generated,
    steps=(
        "In REAPER: Actions > Show action list > New action > Load ReaScript.",
        "Choose descant_continue.lua and the others in the folder Scripts/Descant, and give each a key.",
    ),
)
