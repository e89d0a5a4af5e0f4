"""Descant in Ableton Live 11 and 12: a MIDI Remote Script. Live calls create_instance once.

Runs on Live's own Python: the standard library only, and no grammar newer than Python 3.7.
"""

from __future__ import annotations

from typing import Any


def create_instance(c_instance: Any) -> Any:
    from .surface import Surface

    return Surface(c_instance)
