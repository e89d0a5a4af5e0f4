"""Every DAW that has a script of ours. A new one is a module and a line here."""

from __future__ import annotations

from integrations import ardour, bitwig, live, reaper
from integrations.scripts import Script

SCRIPTS: tuple[Script, ...] = (reaper.SCRIPT, live.SCRIPT, bitwig.SCRIPT, ardour.SCRIPT)
