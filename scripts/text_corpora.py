"""The unpacked data sets, as the text figures need them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.errors import UserError


def pieces_of(data: Path, name: str) -> list[dict[str, Any]]:
    """The metadata of an unpacked set, with each piece's full path."""
    found = sorted(data.glob(f"**/{name}/metadata.jsonl"))
    if not found:
        raise UserError(f"There is no {name} in {data}", "Unpack the archives of docs/data.md there.")
    rows = [json.loads(line) for line in found[0].read_text(encoding="utf-8").splitlines()]
    return [row | {"file": found[0].parent / row["path"]} for row in rows]
