"""REAPER: Lua in its background, candidates as takes, messages as files. See remote/reaper/descant.lua."""

from __future__ import annotations

from pathlib import Path

from integrations.scripts import Script, System, lua_folder

ACTIONS = ("continue", "fill", "accompany", "sketch", "next", "previous", "accept", "cancel", "controls")


def _places(system: System) -> list[Path]:
    return [system.settings("Application Support", "Roaming") / "REAPER" / "Scripts"]


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
    generated=lua_folder,
    steps=(
        "In REAPER: Actions > Show action list > New action > Load ReaScript.",
        "Choose descant_continue.lua and the others in the folder Scripts/Descant, and give each a key.",
    ),
)
