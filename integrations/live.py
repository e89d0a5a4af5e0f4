"""Ableton Live: Python on its main thread, candidates in clip slots, messages over a socket. See remote/live."""

from __future__ import annotations

import json
from pathlib import Path

from integrations.scripts import Connection, Script, System


def _places(system: System) -> list[Path]:
    if system.platform == "darwin":
        return [system.home / "Music" / "Ableton" / "User Library" / "Remote Scripts"]
    if system.platform == "win32":
        return [system.home / "Documents" / "Ableton" / "User Library" / "Remote Scripts"]
    return []  # Live does not exist there


def _generated(connection: Connection) -> dict[str, str]:
    return {"link.json": json.dumps({"port": connection.port, "secret": connection.secret}) + "\n"}


SCRIPT = Script(
    name="live",
    title="Ableton Live",
    versions="11 and 12, every edition",
    places=_places,
    files=tuple(
        (name, f"live/Descant/{name}") for name in ("__init__.py", "clips.py", "connection.py", "surface.py")
    ),
    generated=_generated,
    steps=(
        "Start Live again; in Settings > Link, Tempo & MIDI choose Descant as a Control Surface.",
        "Keys: controllers 102 to 108 on channel 16 of the input you choose there, or the page of descant serve.",
    ),
)
