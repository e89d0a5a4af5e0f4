"""The capability table of docs/daws.md: every row names tests that exist, and says what the scripts say."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

from tests.integrations.bench import HERE

TABLE = HERE.parents[1] / "docs" / "daws.md"
COLUMNS = ("REAPER", "Live", "Bitwig", "Ardour")
EVERYWHERE = "test_every_daw.py"

# Rows that tell what a script says of itself: its field of integrations.base.Capabilities.
FIELDS = {
    "other tracks are read too": "context",
    "the DAW's own scale": "scale",
    "Accompany: new tracks": "new_tracks",
    "Sketch from text: new tracks": "sketch",
    "first bars are heard while others are written": "grows",
    "the DAW's undo takes a proposal back in one step": "undo",
    "Next, Accept": "audition",
    "loops": "loops",
}


class Row(NamedTuple):
    title: str
    cells: dict[str, str]
    tests: tuple[str, ...]
    file: str


def rows() -> list[Row]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in lines[0].split("|")[2:-2]] == list(COLUMNS)
    found = []
    for line in lines[2:]:
        title, *cells, tests = [cell.strip() for cell in line.split("|")[1:-1]]
        named = re.findall(r"`(test_\w+)`(?:[^`]* in (test_\w+\.py))?", tests)
        for names, file in _by_file(named):
            found.append(Row(title, dict(zip(COLUMNS, cells, strict=True)), names, file))
    return found


def _by_file(named: list[tuple[str, str]]) -> list[tuple[tuple[str, ...], str]]:
    """A file that is named stands for the tests before it."""
    found, names = [], []
    for name, file in named:
        names.append(name)
        if file:
            found.append((tuple(names), file))
            names = []
    return [*found, (tuple(names), EVERYWHERE)] if names or not found else found


def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_names_a_test_that_exists() -> None:
    assert len(rows()) > 30
    missing = [(row.title, name) for row in rows() for name in row.tests if name not in functions(row.file)]
    assert missing == [] and all(row.tests for row in rows())


def test_what_is_said_of_every_daw_is_tried_with_every_daw() -> None:
    here = functions(EVERYWHERE)
    names = {name for row in rows() if row.file == EVERYWHERE for name in row.tests}
    tried = {name: [argument.arg for argument in here[name].args.args] for name in names}
    assert tried and all(arguments == ["bench"] for arguments in tried.values())


def test_the_tests_of_the_table_hold_something() -> None:
    empty = [
        name
        for row in rows()
        for name in row.tests
        if not any(isinstance(node, ast.Assert) for node in ast.walk(functions(row.file)[name]))
    ]
    assert empty == []


def test_every_field_of_the_table_is_one_of_its_rows() -> None:
    assert FIELDS.keys() <= {row.title for row in rows()}


def claimed(daw: str, field: str) -> bool:
    """Whether the table says that a DAW, by its bench's name, has a capability."""
    column = next(name for name in COLUMNS if daw.lower().startswith(name.lower()))
    (cell,) = {row.cells[column] for row in rows() if FIELDS.get(row.title) == field}
    return cell.startswith("yes")


def test_links_of_the_page_lead_to_the_doubles() -> None:
    text = TABLE.read_text(encoding="utf-8")
    for double in ("reaper.lua", "live.py", "bitwig.js"):
        assert f"doubles/{double}" in text
        head = (HERE / "doubles" / double).read_text(encoding="utf-8")[:3000]
        assert "https://" in head  # where its calls are documented


def test_ardours_lists_are_held_while_they_are_gone_through() -> None:
    """A list that nothing but a loop knows may be collected in its midst, and Ardour dies of it."""
    remote = HERE.parents[1] / "integrations" / "remote" / "ardour"
    loops = [
        line.strip()
        for path in (*remote.glob("*.lua"), HERE / "doubles" / "ardour.lua")
        for line in Path(path).read_text(encoding="utf-8").splitlines()
        if ":iter()" in line
    ]
    assert loops and all(re.search(r"\bin \w+:iter\(\)", line) for line in loops)
