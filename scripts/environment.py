"""The clone's own virtual environment, `.venv`: made once, made anew when what it was made from changes.

Needs nothing but Python. The stamp inside `.venv` is written last and removed before any change, so that
an environment whose making was interrupted is never taken for a whole one.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

# Stands before anything that an older Python could not run, so that it gets a sentence and no traceback.
if sys.version_info < (3, 11) or sys.version_info >= (3, 14):
    sys.exit(
        "Descant needs Python 3.11, 3.12 or 3.13, and this is Python {}.{}. "
        "Start it with one of those, for example: python3.12 {}".format(*sys.version_info[:2], sys.argv[0])
    )

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"

# Seconds that a first set-up takes on two slow cores; said to the user, nothing depends on them.
SECONDS_TO_RUN = 20
SECONDS_TO_TRAIN = 60
SECONDS_TO_TEST = 120


class SetupError(Exception):
    """The environment could not be made. The text is a sentence and what to do about it."""


class Environment:
    """A virtual environment at `venv` that holds the project at `root`, installed editable."""

    def __init__(self, root: Path = ROOT, venv: Path = VENV, constraints: Path = CONSTRAINTS) -> None:
        self.root = root
        self.venv = venv
        self.constraints = constraints
        self.stamp = venv / "descant-stamp.json"

    def command(self, name: str) -> Path:
        """Where the environment keeps the program `name`."""
        return self.venv / "Scripts" / f"{name}.exe" if os.name == "nt" else self.venv / "bin" / name

    def ensure(self, extras: frozenset[str], seconds: int) -> None:
        """Makes the environment hold the project with at least `extras`; returns at once when it does.

        Raises SetupError when it cannot be made; what is left then is rebuilt by the next call.
        """
        base, inputs = self._base(), self._inputs()
        made = self._read_stamp()
        usable = made.get("base") == base and self.command("python").exists()
        present = frozenset(made.get("extras", ())) if usable else frozenset()
        if usable and made.get("inputs") == inputs and extras <= present:
            return
        print(f"Setting up (once, about {seconds} seconds)...", end="", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            self.stamp.unlink(missing_ok=True)
            if not usable:
                self._create()
            self._install(extras | present)
            made = {"base": base, "inputs": inputs, "extras": sorted(extras | present)}
            self.stamp.write_text(json.dumps(made), encoding="utf-8")
        except OSError as error:
            raise SetupError(f"Cannot write to {self.venv} ({error.strerror}).") from error
        finally:
            seconds = round(time.monotonic() - began)
            print(f" {seconds} s, {self._megabytes()} MB", file=sys.stderr, flush=True)

    def _base(self) -> str:
        """What the environment is bound to: another Python or a moved clone needs a new one."""
        version = "{}.{}".format(*sys.version_info[:2])
        return f"Python {version} {sysconfig.get_platform()} {self.root}"

    def _inputs(self) -> str:
        """Digest of what decides the versions that are installed."""
        texts = (self.root / "pyproject.toml").read_bytes(), self.constraints.read_bytes()
        return hashlib.sha256(b"\0".join(texts)).hexdigest()

    def _read_stamp(self) -> dict[str, Any]:
        try:
            made = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return made if isinstance(made, dict) else {}

    def _megabytes(self) -> int:
        """Disk that the environment takes."""
        return sum(path.lstat().st_size for path in self.venv.rglob("*")) // 1_000_000

    def _create(self) -> None:
        if importlib.util.find_spec("ensurepip") is None:
            raise SetupError(
                "This Python cannot make virtual environments because ensurepip is missing. "
                "On Debian and Ubuntu install it with: sudo apt install python3-venv"
            )
        _run([sys.executable, "-m", "venv", "--clear", str(self.venv)], self.root)

    def _install(self, extras: frozenset[str]) -> None:
        project = ".[{}]".format(",".join(sorted(extras))) if extras else "."
        pip = [str(self.command("python")), "-m", "pip", "install", "--no-input", "-q"]
        _run([*pip, "--constraint", str(self.constraints), "--editable", project], self.root)


def _run(command: list[str], folder: Path) -> None:
    """Runs a step of the set-up in silence; what it printed is shown when it fails."""
    # A user's own setting of these would put the packages elsewhere, or hide that they are missing.
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET"}}
    environment |= {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-20:])
        raise SetupError(
            f"{last}\n\nSetting up failed while installing (the lines above say why). "
            "If it is the network, check the connection; then start the same command again."
        )
