"""Bitwig Studio: a controller script, candidates in launcher slots, messages over a socket. See remote/bitwig."""

from __future__ import annotations

from pathlib import Path

from integrations.scripts import Connection, Script, System, quoted


def _places(system: System) -> list[Path]:
    documents = system.home if system.platform.startswith("linux") else system.home / "Documents"
    return [documents / "Bitwig Studio" / "Controller Scripts"]


def _generated(connection: Connection) -> dict[str, str]:
    facts = f"var PORT = {connection.port};\nvar SECRET = {quoted(connection.secret)};\n"
    return {"descant_link.js": "// Written by `descant daw install`.\n" + facts}


SCRIPT = Script(
    name="bitwig",
    title="Bitwig Studio",
    versions="5 and newer",
    places=_places,
    files=(("descant.control.js", "bitwig/descant.control.js"),),
    generated=_generated,
    steps=(
        "In Bitwig: Settings > Controllers > Add controller > Descant.",
        "The keys are buttons in the Studio I/O panel, and can be mapped to any controller.",
    ),
)
