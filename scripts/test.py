"""Installs what tests need, then runs lint, types and tests: `python3 scripts/test.py [pytest arguments]`.

Arguments go to pytest, which runs in the repository's root. Without any, the tests that hang on nobody's time run
side by side on all cores; those of the page, of MIDI ports and of DAWs follow one by one. Every stage runs even
when one before it has failed; the exit code is 0 only when all have passed. With CI=true a missing program is a
failure.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from environment import ROOT, SECONDS_TO_TEST, Environment, SetupError

TIMED = ("tests/page", "tests/assistant/live", "tests/integrations")
SIDE_BY_SIDE = ("-n", "auto", "--dist", "worksteal", "tests", *(f"--ignore={folder}" for folder in TIMED))
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # a process each core is enough
EXTRAS = frozenset({"dev", "link", "text", "train"})

# What the tests need beyond Python: Debian's package, and the file or command that shows it is there.
SYSTEM_PACKAGES = {
    "chromium": "chromium",
    "fluidsynth": "fluidsynth",
    "fluid-soundfont-gm": "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "libportaudio2": "/usr/share/doc/libportaudio2",
    "jackd2": "jackd",
    "ardour": "ardour7-lua",
    "xvfb": "Xvfb",
    "lua5.4": "lua5.4",
    "nodejs": "node",
}


def main() -> int:
    environment = Environment()
    stages: dict[str, Callable[[], bool]] = {
        "python packages": partial(_python_packages, environment),
        "system packages": _system_packages,
        "lint": partial(_tool, environment, ["ruff", "check", "."]),
        "format": partial(_tool, environment, ["ruff", "format", "--check", "."]),
        "types": partial(_tool, environment, ["mypy", "models", "assistant", "integrations", "scripts"]),
    }
    if sys.argv[1:]:
        stages["tests"] = partial(_tool, environment, ["pytest", "-q", *sys.argv[1:]])
    else:
        stages["tests"] = partial(_tool, environment, ["pytest", "-q", *SIDE_BY_SIDE], ONE_THREAD)
        stages["timed tests"] = partial(_tool, environment, ["pytest", "-q", *TIMED])

    report: list[tuple[str, bool, float]] = []
    for stage, run in stages.items():
        print(f"--- {stage}", flush=True)
        began = time.monotonic()
        passed = run()
        report.append((stage, passed, time.monotonic() - began))
        if stage == "python packages" and not passed:
            break  # nothing else can run without them
    print("--- summary")
    for stage, passed, seconds in report:
        print(f"{stage:16} {'ok' if passed else 'FAILED':7} {seconds:6.1f} s")
    return 0 if all(passed for _, passed, _ in report) else 1


def _python_packages(environment: Environment) -> bool:
    try:
        environment.ensure(EXTRAS, SECONDS_TO_TEST)
    except SetupError as error:
        print(error)
        return False
    return True


def _system_packages() -> bool:
    """Installs what is missing where that needs no password. True when nothing is missing in the end."""
    missing = _missing_packages()
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", *command], env=apt, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            if done.returncode != 0:
                print(f"apt-get {command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        missing = _missing_packages()
    if not missing:
        return True
    print(f"Missing: {' '.join(missing)}. On Debian and Ubuntu: sudo apt install {' '.join(missing)}")
    return os.environ.get("CI") != "true"


def _missing_packages() -> list[str]:
    return [
        package
        for package, sign in SYSTEM_PACKAGES.items()
        if not (Path(sign).exists() if sign.startswith("/") else shutil.which(sign))
    ]


def _tool(environment: Environment, arguments: list[str], settings: Mapping[str, str] = {}) -> bool:
    command = [str(environment.command("python")), "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, env=os.environ | settings).returncode == 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
