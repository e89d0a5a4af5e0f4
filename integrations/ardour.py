"""Ardour: Lua in its editor, candidates as regions on tracks beside, messages as files. See remote/ardour."""

from __future__ import annotations

from pathlib import Path

from integrations.scripts import Script, System, lua_folder

VERSIONS = (7, 8)
ACTIONS = ("continue", "fill", "accompany", "next", "previous", "accept", "cancel")


def _places(system: System) -> list[Path]:
    name = "Ardour" if system.platform in ("darwin", "win32") else "ardour"
    return [system.settings("Preferences", "Local") / f"{name}{version}" / "scripts" for version in VERSIONS]


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
    generated=lua_folder,
    steps=(
        "In Ardour: Edit > Lua Scripts > Script Manager > Action Hooks: set Descant in the background.",
        "In the same window's Action Scripts set Descant: Continue and the others, each with a key.",
    ),
)
