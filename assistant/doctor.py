"""`descant doctor`: whether everything Descant needs is there and works. Each line says pass, or what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from assistant.bridges import SOCKET_PORT
from assistant.daws import Step, outdated, round_trip
from assistant.settings import home, program_version
from integrations.base import TICKS
from integrations.memory import Clip, Lane, MemoryDaw, Song
from integrations.scripts import System
from models.errors import UserError
from models.score import Note, Score, Track

PYTHONS = ((3, 11), (3, 13))
LATE_MS = 20.0  # a timer that wakes up later than this cannot keep time
SLOW_MS = 3000.0  # a first bar that takes longer is no answer to a key
PACKAGES = (
    *("numpy", "safetensors", "fastapi", "uvicorn", "websockets", "platformdirs", "python-rtmidi", "python-osc"),
    *("soundfile", "soxr", "sounddevice"),
)


def run(arguments: Namespace) -> None:
    """Print a line for everything that was looked at. UserError when something has to be mended."""
    failed = 0
    for step in examine(arguments.quick):
        print(step.line, flush=True)
        failed += not step.passed
    if failed:
        raise UserError(
            f"{failed} of these {'needs' if failed == 1 else 'need'} mending", "The lines above say how."
        )


def examine(quick: bool = False) -> Iterator[Step]:
    checks: list[Callable[[], Iterator[Step]]] = [_python, _packages, _folder, _weights, _ports, _clock, _scripts]
    for check in [*checks, _write_and_undo, _server, *([] if quick else [_sound, _latency])]:
        try:
            yield from check()
        except UserError as error:
            yield Step(check.__name__.strip("_").replace("_", " "), False, f"{error.message}. {error.hint}")


def _python() -> Iterator[Step]:
    here = sys.version_info[:2]
    named = ".".join(map(str, sys.version_info[:3]))
    good = PYTHONS[0] <= here <= PYTHONS[1]
    yield Step(f"Python {named}", good, "" if good else "install Python 3.11, 3.12 or 3.13")


def _packages() -> Iterator[Step]:
    found, missing = [f"descant {program_version()}"], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Step("versions", not missing, f"pip install {' '.join(missing)}" if missing else ", ".join(found))


def _folder() -> Iterator[Step]:
    folder = home()
    free = shutil.disk_usage(folder).free
    enough = free > 200 << 20
    yield Step(f"own folder {folder}", enough, "" if enough else f"only {free >> 20} MB are free there; make room")


def _weights() -> Iterator[Step]:
    from assistant.pipeline import weights_folder

    folder = weights_folder()
    try:
        expected = json.loads((folder / "config.json").read_text(encoding="utf-8"))["sha256"]
        digest = hashlib.sha256()
        for path in _weight_files(folder):
            digest.update(path.read_bytes())
    except (OSError, ValueError, KeyError):
        yield Step("weights", False, f"they cannot be read in {folder}; install Descant again")
        return
    same = digest.hexdigest() == expected
    note = f"sha256 {expected[:12]}" if same else "they are not what was trained; install Descant again"
    yield Step("weights", same, note)


def _weight_files(folder: Path) -> list[Path]:
    from models.architecture import CHOICE_FILE, MEMORY_FILES, MODEL_FILE

    return [path for name in (MODEL_FILE, *MEMORY_FILES, CHOICE_FILE) if (path := folder / name).exists()]


def _ports() -> Iterator[Step]:
    from assistant.live.ports import load_rtmidi

    rtmidi = load_rtmidi()
    systems = [rtmidi.get_api_display_name(api) for api in rtmidi.get_compiled_api()]
    try:
        names = rtmidi.MidiOut(name="descant doctor").get_ports()
    except rtmidi.RtMidiError as error:
        hint = "start JACK or load ALSA's sequencer" if sys.platform.startswith("linux") else str(error)
        yield Step("MIDI ports", False, f"no MIDI system answers; {hint} (files and DAW scripts work without)")
        return
    yield Step("MIDI ports", True, f"{', '.join(systems)}; {len(names)} to play to")


def _clock() -> Iterator[Step]:
    lateness = []
    for _ in range(200):
        began = time.perf_counter()
        time.sleep(0.001)
        lateness.append(1000 * (time.perf_counter() - began - 0.001))
    lateness.sort()
    middle, late = lateness[100], lateness[197]
    good = late < LATE_MS
    note = f"wakes {middle:.2f} ms late, 99 of 100 within {late:.2f} ms"
    yield Step("clock", good, note if good else f"{note}; close what keeps the computer busy")


def _scripts() -> Iterator[Step]:
    found = False
    for script, place, state in outdated(System.here(), home()):
        found = True
        ready = state == "installed"
        note = "" if ready else f"{state}; descant daw install {script.name}"
        yield Step(f"script of {script.title} in {place}", ready, note)
    if not found:
        yield Step(
            "scripts of DAWs", True, "none of the DAWs that have one is here; docs/daws.md is for the others"
        )


def _write_and_undo() -> Iterator[Step]:
    notes = tuple(Note(beat * TICKS, 60 + beat, TICKS, 80) for beat in range(4))
    daw = MemoryDaw(Song((Lane("Keys", (Clip(0, 4 * TICKS, notes),)),)), ((0,), 0, 4 * TICKS))
    steps = round_trip(daw)
    failed = [step.name for step in steps if not step.passed]
    done = ", ".join(step.name for step in steps)
    yield Step(
        "write and undo, without a DAW", not failed, f"could not {failed[0]}; report this" if failed else done
    )


def _server() -> Iterator[Step]:
    from assistant.client import connect

    try:
        with connect() as client:
            health = client.health()
            daws = client.daws()
    except UserError:
        yield Step("server", True, "none runs; descant serve starts one")
        return
    yield Step("server", health["status"] == "ok", f"on port {client.port}")
    for problem in daws["problems"]:
        yield Step(f"port {SOCKET_PORT} for DAWs", False, f"{problem['message']}. {problem['hint']}")
    for daw in daws["daws"]:
        answer = client.test_daw(daw["daw"])
        for step in answer["steps"]:
            yield Step(f"{daw['daw']}: {step['name']}", step["passed"], step["note"])


def _tune() -> Score:
    """Four bars for a piano."""
    notes = tuple(Note(beat * 480, 60 + (0, 4, 7, 4)[beat % 4], 240, 80) for beat in range(16))
    return Score(480, (Track("Keys", notes=notes),))


def _sound() -> Iterator[Step]:
    from assistant.sound import record

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        record(_tune(), Path(folder) / "tune.wav")
        spent = time.perf_counter() - began
    faster = _tune().seconds_at(_tune().end) / spent
    note = f"renders {faster:.1f} times as fast as it plays"
    yield Step("sound", faster > 1, note if faster > 1 else f"{note}; close what keeps the computer busy")


def _latency() -> Iterator[Step]:
    from assistant.pipeline import Options, continue_request, load_generator, propose

    generator = load_generator()
    request = continue_request(_tune(), 2, Options(candidates=1, seed=1))
    propose(request, generator)  # the first time, tables are made
    candidate = propose(request, generator)[0]
    note = f"{candidate.first_bar_ms:.0f} ms to the first bar, {candidate.notes_per_second:.0f} notes a second"
    quick = candidate.first_bar_ms < SLOW_MS
    yield Step("latency", quick, note if quick else f"{note}; close what keeps the computer busy")
