"""When scripts/run.py makes its environment anew, and when not. Only the processes are stood in for."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from scripts import environment
from scripts.environment import Environment, SetupError

NOTHING: frozenset[str] = frozenset()


class Steps(list[str]):
    """Stands in for the processes of the set-up: notes each, and leaves an interpreter as venv does."""

    def __init__(self, venv: Path) -> None:
        super().__init__()
        self.venv = venv
        self.fails = False

    def __call__(self, command: list[str], folder: Path) -> None:
        if command[1:3] == ["-m", "venv"]:
            self.append("create")
            shutil.rmtree(self.venv, ignore_errors=True)
            interpreter = Environment(venv=self.venv).command("python")
            interpreter.parent.mkdir(parents=True)
            interpreter.touch()
            return
        if self.fails:
            raise SetupError("no network")
        self.append(f"install {command[-1]}")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Environment, Steps]:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\n")
    steps = Steps(tmp_path / ".venv")
    monkeypatch.setattr(environment, "_run", steps)
    return Environment(tmp_path, tmp_path / ".venv", tmp_path / "constraints.txt"), steps


def test_it_is_made_once(clone: tuple[Environment, Steps], capsys: pytest.CaptureFixture[str]) -> None:
    made, steps = clone
    made.ensure(NOTHING, 20)
    made.ensure(NOTHING, 20)
    assert steps == ["create", "install ."]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Setting up (once, about 20 seconds)...") and said.err.count("\n") == 1


def test_extras_are_added_and_never_lost(clone: tuple[Environment, Steps]) -> None:
    made, steps = clone
    made.ensure(NOTHING, 20)
    made.ensure(frozenset({"train", "dev"}), 20)
    made.ensure(frozenset({"dev"}), 20)
    made.constraints.write_text("numpy==2.4.7\n")
    made.ensure(NOTHING, 20)
    assert steps == ["create", "install .", "install .[dev,train]", "install .[dev,train]"]


def test_a_failed_set_up_is_never_taken_for_a_whole_one(clone: tuple[Environment, Steps]) -> None:
    made, steps = clone
    steps.fails = True
    with pytest.raises(SetupError, match="no network"):
        made.ensure(NOTHING, 20)
    steps.fails = False
    made.ensure(NOTHING, 20)
    made.ensure(NOTHING, 20)
    assert steps == ["create", "create", "install ."]


def test_a_failed_change_of_a_whole_one_is_noticed_too(clone: tuple[Environment, Steps]) -> None:
    made, steps = clone
    made.ensure(NOTHING, 20)
    (made.root / "pyproject.toml").write_text("[project]\nname = 'descant'\n")
    steps.fails = True
    with pytest.raises(SetupError):
        made.ensure(NOTHING, 20)
    steps.fails = False
    made.ensure(NOTHING, 20)
    assert steps == ["create", "install .", "create", "install ."]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"base": 1, "inputs": 2}'])
def test_a_damaged_stamp_means_a_new_environment(clone: tuple[Environment, Steps], text: str) -> None:
    made, steps = clone
    made.ensure(NOTHING, 20)
    made.stamp.write_text(text)
    made.ensure(NOTHING, 20)
    assert steps == ["create", "install ."] * 2


def test_a_vanished_interpreter_means_a_new_environment(clone: tuple[Environment, Steps]) -> None:
    made, steps = clone
    made.ensure(NOTHING, 20)
    made.command("python").unlink()
    made.ensure(NOTHING, 20)
    assert steps == ["create", "install ."] * 2


def test_a_moved_clone_means_a_new_environment(clone: tuple[Environment, Steps], tmp_path: Path) -> None:
    made, steps = clone
    made.ensure(NOTHING, 20)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "pyproject.toml").write_bytes((made.root / "pyproject.toml").read_bytes())
    Environment(moved, made.venv, made.constraints).ensure(NOTHING, 20)
    assert steps == ["create", "install ."] * 2


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"disk is full[\s\S]*start the same command again"):
        environment._run([sys.executable, "-c", "raise SystemExit('disk is full')"], tmp_path)
