"""Who may import whom: integrations -> models.score and errors; assistant -> both; scripts -> all."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.util import resolve_name
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
OURS = ("models", "integrations", "assistant", "scripts", "tests")

# The longest prefix of a module's name that stands here decides which of ours, and under them, it may import.
ALLOWED = {
    "models.errors": (),
    "models.score": ("models.errors",),
    "models": ("models",),
    "integrations": ("integrations", "models.score", "models.errors"),
    "assistant": ("assistant", "integrations", "models"),
    "scripts": OURS[:4],
    "tests": OURS,
}

# These stay importable in any Python: a plugin or a script reads a file with them and installs nothing.
STANDARD_LIBRARY_ONLY = ("models.errors", "models.score", "models.theory", "models.midi_file")

# Too slow to load, and too large to install, for a program that a musician starts.
HEAVY = ("torch", "transformers")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for top in OURS for path in sorted((ROOT / top).rglob("*.py"))}


def imports(name: str, source: str, is_package: bool = False) -> set[str]:
    """Every module that `source` imports. `from a import b` is a.b where that is a module of ours."""
    found: set[str] = set()
    package = name if is_package else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = resolve_name("." * node.level + base, package)
            members = {f"{base}.{alias.name}" for alias in node.names}
            found.update(members & MODULES.keys())
            if members - MODULES.keys():
                found.add(base)
    return found


def imports_of(name: str) -> set[str]:
    path = MODULES[name]
    return imports(name, path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py")


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def wrong_directions(name: str, imported: set[str]) -> list[str]:
    layer = max((prefix for prefix in ALLOWED if within(name, (prefix,))), key=len)
    return sorted(m for m in imported if within(m, OURS) and not within(m, ALLOWED[layer]))


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_the_right_way(name: str) -> None:
    assert wrong_directions(name, imports_of(name)) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("models.engine", "import assistant.cli"),
        ("models.engine", "def late():\n    from integrations import reaper"),
        ("models.score", "from . import theory"),
        ("models.errors", "import models.score"),
        ("integrations.reaper", "from models.midi_file import read"),
        ("integrations.reaper", "from assistant import jobs"),
        ("assistant.cli", "from scripts import train"),
    ],
)
def test_a_wrong_direction_is_noticed(name: str, source: str) -> None:
    assert wrong_directions(name, imports(name, source)) != []


@pytest.mark.parametrize("name", [name for name in STANDARD_LIBRARY_ONLY if name in MODULES])
def test_the_core_needs_only_the_standard_library(name: str) -> None:
    reached, waiting = set(), {name}
    while waiting:
        reached |= waiting
        waiting = {m for ours in waiting & MODULES.keys() for m in imports_of(ours)} - reached
    top_levels = {module.partition(".")[0] for module in reached}
    assert top_levels - sys.stdlib_module_names == {"models"}


IMPORT_NAMES = {"python-rtmidi": "rtmidi", "python-osc": "pythonosc"}  # where they are not the package's own


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {Requirement(line).name for group in groups for line in group}
    declared = {IMPORT_NAMES.get(name, name) for name in names}
    siblings = {name.rpartition(".")[2] for name in MODULES if name.startswith("scripts.")}
    known = sys.stdlib_module_names | declared | siblings | set(OURS)
    undeclared = {
        (name, imported)
        for name in MODULES
        for imported in imports_of(name)
        if imported.partition(".")[0] not in known
    }
    assert undeclared == set()


LIGHT = [name for name in (*STANDARD_LIBRARY_ONLY, "assistant.cli") if name in MODULES]


@pytest.mark.parametrize("name", LIGHT)
def test_what_a_musician_starts_loads_nothing_heavy(name: str) -> None:
    unwanted = HEAVY if name == "assistant.cli" else (*HEAVY, "numpy")
    program = f"import sys, {name}; print(*(set({unwanted!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
