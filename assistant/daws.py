"""Puts Descant's scripts into DAWs, takes them out again, and tries them: `descant daw`.

Nothing of a DAW's own settings is ever changed. What stands in our folder there and is not what would be written
is copied to `backups` in Descant's folder first.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from assistant.bridges import SOCKET_PORT, secret
from assistant.daw_asking import ask_nothing
from assistant.settings import home, token
from integrations.base import Changed, Daw, DawError, Part, Selection, Written
from integrations.known import SCRIPTS
from integrations.scripts import FOLDER, Connection, Script, System
from models.errors import UserError
from models.score import Note

BACKUPS = "backups"
WAIT_SECONDS = 20.0  # for a DAW to come, once somebody listens


def run(arguments: Namespace) -> None:
    """`descant daw ...`, as assistant/daw_options.py reads it."""
    if arguments.verb == "list":
        for line in listing(System.here(), home()):
            print(line)
    elif arguments.verb == "install":
        _install(find_script(arguments.name), arguments.folder, arguments.dry_run)
    elif arguments.verb == "sketch":
        _sketch(find_script(arguments.name), " ".join(arguments.words), arguments.candidates)
    elif arguments.verb == "watch":
        from assistant.daw_folder import run as watch

        watch(arguments)
    elif arguments.verb == "remove":
        _remove(find_script(arguments.name), arguments.folder, arguments.dry_run)
    else:
        _test(find_script(arguments.name))


def find_script(name: str) -> Script:
    """A DAW by its name or title. UserError for one that has no script."""
    for script in SCRIPTS:
        if name.casefold() in (script.name, script.title.casefold()):
            return script
    names = [script.name for script in SCRIPTS]
    near = get_close_matches(name.lower(), names, n=1)
    hint = f"Did you mean {near[0]}?" if near else "docs/daws.md says how it works with any other DAW."
    raise UserError(f'There is no script for "{name}"; there are {", ".join(names)}', hint)


def connection_of(folder: Path) -> Connection:
    return Connection(folder / "daw", SOCKET_PORT, secret(token(folder)))


# --- What is there ------------------------------------------------------------------------------------


def places_here(script: Script, system: System) -> list[Path]:
    """The folders of scripts of the DAWs that are on this computer."""
    return [place for place in script.places(system) if place.is_dir() or place.parent.is_dir()]


def state_of(script: Script, place: Path, connection: Connection) -> str:
    """ "installed", "not installed", or "another version"."""
    planned = plan_install(script, place, connection)
    found = [path.is_file() and path.read_bytes() == content for path, content in planned]
    if all(found):
        return "installed"
    return "another version" if any(path.exists() for path, _ in planned) else "not installed"


def listing(system: System, folder: Path) -> list[str]:
    """A line for every DAW, and one for every place it has."""
    connection = connection_of(folder)
    lines = []
    for script in SCRIPTS:
        places = places_here(script, system)
        lines.append(f"{script.name:8} {script.title} {script.versions}{'' if places else ': not found here'}")
        lines += [f"         {state_of(script, place, connection)}: {place / FOLDER}" for place in places]
    return lines


# --- Writing and removing -----------------------------------------------------------------------------


def plan_install(script: Script, place: Path, connection: Connection) -> list[tuple[Path, bytes]]:
    """Every file that would be written, and what would stand in it."""
    contents = script.contents(connection)
    return [(Path(os.path.normpath(place / FOLDER / name)), content) for name, content in contents.items()]


def install(script: Script, place: Path, connection: Connection, backups: Path) -> Path | None:
    """Write the script. Returns where the files that were replaced have been copied, None where there were none."""
    planned = plan_install(script, place, connection)
    kept = _back_up([path for path, content in planned if path.exists() and path.read_bytes() != content], backups)
    written: list[Path] = []
    try:
        for path, content in planned:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            _write(path, content)
            written += [path] if is_new else []
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise UserError(f"Cannot write {error.filename or place}: {error.strerror}", "Mend its rights.") from error
    return kept


def remove(script: Script, place: Path, connection: Connection, backups: Path) -> tuple[list[Path], Path | None]:
    """Delete what `install` writes, and our folder where nothing else is in it.

    Returns what was deleted, and where copies are of what had been changed by hand, None where nothing had.
    """
    planned = plan_install(script, place, connection)
    kept = _back_up([path for path, content in planned if path.exists() and path.read_bytes() != content], backups)
    gone = []
    for path, _ in planned:
        with suppress(FileNotFoundError):
            path.unlink()
            gone.append(path)
    folder = place / FOLDER
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # Live's own
    with suppress(OSError):
        folder.rmdir()
    return gone, kept


def _back_up(paths: list[Path], backups: Path) -> Path | None:
    if not paths:
        return None
    try:
        backups.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y-%m-%d-"), dir=backups))
        for path in paths:
            shutil.copy2(path, folder / path.name)
    except OSError as error:
        raise UserError(f"Cannot make a backup in {backups}: {error.strerror}", "Make room there.") from error
    return folder


def _write(path: Path, content: bytes) -> None:
    """The whole file or the old one. Only its owner may read it: some of them hold the secret."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".descant-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise


def _chosen_places(script: Script, asked: Path | None) -> list[Path]:
    if asked is not None:
        if not asked.is_dir():
            raise UserError(f"There is no folder {asked}", "Name the folder of scripts that your DAW shows.")
        return [asked]
    places = places_here(script, System.here())
    if not places:
        hint = f"If it is somewhere else: descant daw install {script.name} --folder SCRIPTS."
        raise UserError(f"{script.title} was not found on this computer", hint)
    return places


def _install(script: Script, asked: Path | None, dry_run: bool) -> None:
    folder = home()
    connection = connection_of(folder)
    for place in _chosen_places(script, asked):
        print(f"{'would write' if dry_run else 'writing'} to {place}:")
        for path, content in plan_install(script, place, connection):
            same = path.is_file() and path.read_bytes() == content
            print(f"  {path.relative_to(place)}{' (as it is)' if same else ''}")
        if not dry_run and (kept := install(script, place, connection, folder / BACKUPS)):
            print(f"what stood there before is in {kept}")
    if not dry_run:
        for step in script.steps:
            print(step)
        print(f"Then, with a clip selected and descant serve running: descant daw test {script.name}")


def _remove(script: Script, asked: Path | None, dry_run: bool) -> None:
    folder = home()
    connection = connection_of(folder)
    for place in _chosen_places(script, asked):
        kept = None
        if dry_run:
            gone = [path for path, _ in plan_install(script, place, connection) if path.exists()]
        else:
            gone, kept = remove(script, place, connection, folder / BACKUPS)
        print(f"{'would delete' if dry_run else 'deleted'} {len(gone)} files in {place}")
        if kept:
            print(f"what had been changed by hand is in {kept}")


def _sketch(script: Script, words: str, candidates: int | None) -> None:
    from assistant.client import connect

    number = {} if candidates is None else {"candidates": candidates}
    with connect() as client:
        client.press_daw(script.name, "sketch", text=words, **number)
    print(f"{script.title} has it; what becomes of it is said there.")


# --- Trying -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried: its name, whether it went well, and what to do where it did not."""

    name: str
    passed: bool
    note: str = ""

    @property
    def line(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.name}{f': {self.note}' if self.note else ''}"


def round_trip(daw: Daw) -> list[Step]:
    """Read, refuse a stale write, write, take back, write and undo: what is selected is afterwards what it was."""
    steps: list[Step] = []
    try:
        began = time.monotonic()
        before = daw.read("continue")
        spent = _milliseconds(began)
        count, bars = len(before.score.tracks[before.tracks[0]].notes), before.bars
        steps.append(Step("read the selection", True, f"{count} notes, bars {bars[0] + 1}-{bars[1] + 1}, {spent}"))
        candidate = _test_candidate(before)
        try:
            daw.write(replace(before, stamp="stale"), [candidate], "continue")
            steps.append(Step("refuse a write to changed music", False, "it was written"))
        except Changed:
            steps.append(Step("refuse a write to changed music", True))
        began = time.monotonic()
        daw.write(before, [candidate], "continue")
        steps.append(Step("write a candidate", True, _milliseconds(began)))
        daw.cancel()
        steps.append(_compared("take it back", before, daw.read("continue")))
        if daw.capabilities.undo:
            daw.write(before, [candidate], "continue")
            daw.undo()
            steps.append(_compared("undo it in one step", before, daw.read("continue")))
    except DawError as error:
        steps.append(Step("go on", False, f"{error.message}. {error.hint}"))
    return steps


def _milliseconds(began: float) -> str:
    return f"{1000 * (time.monotonic() - began):.0f} ms"


def _compared(name: str, before: Selection, after: Selection) -> Step:
    same = after.stamp == before.stamp and after.score.tracks == before.score.tracks
    return Step(name, same, "" if same else "the music is not what it was; use the DAW's undo")


def _test_candidate(selection: Selection) -> Written:
    """One note in the bar after the selection."""
    bar = selection.score.bar(selection.bars[1] + 1)
    note = Note(bar.start, 60, max(1, bar.length // 2), 80)
    return Written(1, "Descant 1", (Part(selection.tracks[0], bar.start, bar.end, (note,)),))


def _test(script: Script) -> None:
    steps = run_round_trip(script.name)
    for step in steps:
        print(step.line)
    if not all(step.passed for step in steps):
        raise UserError(f"{script.title} did not pass", "The lines above say where it stopped.")


def run_round_trip(
    name: str, tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr)
) -> list[Step]:
    """The round trip with a DAW that runs: through the server where one does, else by listening for it."""
    from assistant.client import connect

    try:
        client = connect()
    except UserError:
        pass  # none runs: we listen ourselves
    else:
        with client:
            return [Step(**step) for step in client.test_daw(name)["steps"]]
    from assistant.bridges import Bridges

    folder = home()
    bridges = Bridges(folder, token(folder), ask_nothing)
    tell(f"waiting for {name}; press any of Descant's keys there")
    bridges.start()
    try:
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            for daw in bridges.connected:
                if daw.name == name:
                    return round_trip(daw)
            time.sleep(0.1)
    finally:
        bridges.close()
    note = "it did not come; start it, see that the script is on, and select a clip"
    return [Step("connect", False, "; ".join([note, *(problem.message for problem in bridges.problems)]))]


def outdated(system: System, folder: Path) -> Iterable[tuple[Script, Path, str]]:
    """Every place of a DAW on this computer, and the state of the script there."""
    connection = connection_of(folder)
    for script in SCRIPTS:
        for place in places_here(script, system):
            yield script, place, state_of(script, place, connection)
