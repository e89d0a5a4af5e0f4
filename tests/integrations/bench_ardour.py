"""The real Ardour as a bench: its session without its screen, on a JACK server of the tests' own.

One program serves all tests, since it takes seconds to start; every test gets a song of its own in it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from integrations import ardour
from integrations.memory import Song
from scripts.midi_rig import jack_server
from tests.integrations.bench import HERE, Notes, layout, rows
from tests.integrations.bench_remote import Double, RemoteBench

ANSWER = "\1"
STARTS = 3  # of Ardour, which on a busy machine may lose its JACK server while it starts
PORT_SECONDS = 60.0
TAKES = 5  # the region of which all songs are made: JACK loses notes on a busy machine

_servers = count()  # that this process has started: two may run at a time


class Program(Double):
    """ardour7-lua with our driver in it; Ardour prints lines of its own between the answers."""

    def _read(self) -> str:
        assert self.process.stdout
        while line := self.process.stdout.readline():
            if ANSWER in line:
                return line.partition(ANSWER)[2]
        return ""


@contextmanager
def program(scripts: Path, folder: Path) -> Iterator[Program]:
    """Ardour with one region recorded, which all songs are made of."""
    with ExitStack() as stack:
        for start in range(STARTS):
            with ExitStack() as trial:
                made = trial.enter_context(_started(scripts, folder / f"start-{start}"))
                if _record(made):
                    stack.push(trial.pop_all())
                    break
        else:
            raise AssertionError("nothing was recorded")
        yield made


@contextmanager
def _started(scripts: Path, folder: Path) -> Iterator[Program]:
    """The program, on a server of its own."""
    folder.mkdir()
    with jack_server(f"descant-daw-{os.getpid()}-{next(_servers)}", folder):
        driver, session = HERE / "doubles" / "ardour.lua", folder / "session"
        environment = {**os.environ, "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
        made = Program.start("ardour7-lua", str(driver), str(scripts), str(session), environment=environment)
        try:
            yield made
        finally:
            made.end()


def _record(made: Program) -> bool:
    """Record a few notes; False where Ardour lost its server while it started, or never heard them."""
    import rtmidi

    keyboard = rtmidi.MidiOut(rtapi=rtmidi.API_UNIX_JACK, name="keyboard")
    try:
        made("arm")
        until = time.monotonic() + PORT_SECONDS
        while not (ports := [at for at, name in enumerate(keyboard.get_ports()) if "Recorder/midi_in" in name]):
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        keyboard.open_port(ports[0])
        for _ in range(TAKES):
            for message in ([0x90, 60, 80], [0x80, 60, 64]) * 3:
                keyboard.send_message(message)
                time.sleep(0.15)
            if made("stop")["recorded"]:
                return True
            made("arm")
        return False
    finally:
        keyboard.close_port()
        keyboard.delete()


class ArdourBench(RemoteBench):
    name = "ardour"
    whole_clips = True
    unlike = frozenset({"undo"})  # that is its editor's: see test_ardour_editor.py
    running: Program

    def load(self, song: Song, lanes: tuple[int, ...], start: int, end: int) -> None:
        self.serve()
        self.lanes = [lane.name for lane in song.lanes]
        self.running("load", folder=str(self.folder / "home" / "daw"), **layout(song, lanes, start, end))
        self.go()

    def turn(self) -> None:
        self.running("step")

    def state(self) -> dict[str, Any]:
        return self.running("state")

    def edit(self, lane: int) -> None:
        self.running("edit", name=self.lanes[lane])

    def _notes(self, ours: bool) -> Iterator[tuple[str, str, Notes]]:
        for track in self.state()["tracks"]:
            for region in track["regions"]:
                if region["name"].startswith("Descant") is ours:
                    yield track["name"], region["name"], rows(region["notes"])

    def own(self) -> dict[str, Notes]:
        found: dict[str, Notes] = {}
        for name, _, notes in self._notes(ours=False):
            found.setdefault(name, []).extend(notes)
        return {name: sorted(notes) for name, notes in found.items()}

    def candidates(self) -> list[dict[str, Notes]]:
        found: dict[str, dict[str, Notes]] = {}
        for name, label, notes in self._notes(ours=True):
            found.setdefault(label, {})[name] = notes
        return [found[label] for label in sorted(found)]

    def kept(self) -> dict[str, Notes]:
        found: dict[str, Notes] = {}
        for track in self.state()["tracks"]:
            for region in track["regions"]:
                if not region["muted"]:
                    found.setdefault(track["name"], []).extend(rows(region["notes"]))
        return found

    def shown(self) -> int:
        return int(self.state()["shown"])

    def press(self, action: str, **options: Any) -> None:
        self.running("press", action=action, options=options)

    def said(self) -> list[str]:
        said: list[str] = self.state()["said"]
        return said

    def close_daw(self) -> None:
        self.running("quit")

    def close(self) -> None:
        if self.running.process.poll() is None:
            if hasattr(self, "stopping"):
                self.stop_turns()
            self.running("quit")
        self.bridges.close()


def script_folder() -> Path:
    """Our files as they are installed, in a folder of their own."""
    from assistant.daws import plan_install
    from integrations.scripts import FOLDER, Connection

    place = Path(tempfile.mkdtemp(prefix="descant-ardour-"))
    for path, content in plan_install(ardour.SCRIPT, place, Connection(place, 0, "")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place / FOLDER
