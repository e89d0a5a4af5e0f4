"""Rules that hold for every file of the project, whoever writes it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

TOP_LEVEL = {
    ".ci",
    ".gitattributes",
    ".gitignore",
    "LICENSE",
    "README.md",
    "assistant",
    "docs",
    "integrations",
    "models",
    "pyproject.toml",
    "scripts",
    "tests",
}
MEGABYTE = 1_000_000
LARGEST_FILE = 20 * MEGABYTE
LARGEST_WEIGHTS = 80 * MEGABYTE

# Modules that run code when they read data, or that do nothing else.
BANNED_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal"}
BANNED_CALLS = {"eval", "exec", "torch.load", "os.system", "os.popen"}
BANNED_ARGUMENTS = {"shell", "allow_pickle"}


def files() -> list[Path]:
    """What is tracked, or would be once added; a file that was deleted but not yet committed is left out."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return sorted({ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()})


FILES = files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
MARKDOWN = [path for path in FILES if path.suffix == ".md"]
BINARY = {".mid", ".png", ".safetensors", ".zst"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def banned(source: str) -> list[str]:
    """What in `source` the project does not do, as 'line: what'."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for name in (prefix + alias.name for alias in node.names):
                if name.partition(".")[0] in BANNED_MODULES or name in BANNED_CALLS:
                    found.append((node, name))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).removeprefix("builtins.")
            if name in BANNED_CALLS:
                found.append((node, name))
            found += [
                (node, f"{keyword.arg}=")
                for keyword in node.keywords
                if keyword.arg in BANNED_ARGUMENTS and getattr(keyword.value, "value", True) is not False
            ]
    return [f"{node.lineno}: {name}" for node, name in found]


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_nothing_runs_code_from_data_or_a_shell(path: Path) -> None:
    assert banned(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import dill as d",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "eval('1')",
        "exec(code)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
    ],
)
def test_what_is_banned_is_noticed(source: str) -> None:
    assert banned(source) != []


@pytest.mark.parametrize(
    "source", ["model.eval()", "run('ls', shell=False)", "re.compile('x')", "safetensors.load(b)"]
)
def test_what_is_allowed_is_left_alone(source: str) -> None:
    assert banned(source) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix not in BINARY], ids=relative)
def test_no_path_of_anyones_own_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"(?<![\w.])/(?:home|Users|root|work|workspace)/\w+|\b[A-Z]:\\+Users\\+\w+", text) == []


def test_no_file_is_too_large() -> None:
    assert [relative(path) for path in FILES if path.stat().st_size > LARGEST_FILE] == []


def test_the_weights_stay_small_enough_to_clone() -> None:
    weights = [path for path in FILES if path.is_relative_to(ROOT / "models" / "weights")]
    assert sum(path.stat().st_size for path in weights) < LARGEST_WEIGHTS


def test_the_top_level_is_what_was_agreed() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == TOP_LEVEL


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in found if requirement.name != project["name"]]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_each_dependency_is_explained_and_pinned_inside_its_range(requirement: Requirement) -> None:
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert re.search(rf"(?<!\w){re.escape(requirement.name)}(?!\w)", explained)
    pins = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8")
    pin = re.search(rf"^{re.escape(requirement.name)}==(\S+)$", pins, re.MULTILINE)
    assert pin and requirement.specifier.contains(pin[1])


@pytest.mark.parametrize("path", MARKDOWN, ids=relative)
def test_links_between_files_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(<?([^)>\s]+)", text) if "://" not in target]
    assert [target for target in targets if target and not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".mid"], ids=relative)
def test_each_shipped_piece_has_its_licence_beside_it(path: Path) -> None:
    assert f"`{path.name}`" in (path.parent / "LICENCES.md").read_text(encoding="utf-8")


LEFT_OUT = """
import unittest

def test_left_out():
    raise unittest.SkipTest("no sound card")
"""
MODULE_LEFT_OUT = 'import unittest\nraise unittest.SkipTest("no sound card")\n'


# pytest's exit codes: 0 passed, 1 failed, 2 not collected, 5 nothing to run.
@pytest.mark.parametrize(("source", "codes"), [(LEFT_OUT, (1, 0)), (MODULE_LEFT_OUT, (2, 5))])
def test_a_test_that_is_left_out_fails_in_ci(source: str, codes: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_sample.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]

    def run(in_ci: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CI": in_ci}
        return subprocess.run(
            [*command, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    assert (run("true").returncode, run("false").returncode) == codes
    assert "no sound card" in run("true").stdout
