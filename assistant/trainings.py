"""Trainings of styles that the server looks after: each is a process of its own, one at a time.

    STYLES/.making/NAME/   task.json, files/ (music sent from the page), training.json, run/ (checkpoint, curve)

A training that was stopped, or whose server has ended, is listed as "stopped" and goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.settings import write_private
from assistant.style_options import MOST_MINUTES, checked_name
from assistant.style_training import PLAN, RUN, Event, StyleTask, error_of, task_from, task_text
from assistant.styles import (
    MAKING,
    NoStyle,
    being_made,
    check_free,
    find_style,
    making_folder,
    read_card,
    source_of,
    style_names,
    styles_folder,
)
from models.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
FILES = "files"  # of a training: what was sent for it
SUFFIXES = (".mid", ".midi", ".smf", ".kar")
MOST_FILES = 2_000  # that may be sent for one style
MOST_BYTES = 200 << 20  # of all of them
LONGEST_LINE = 4 << 20  # bytes of an event
RUNNING = ("reading", "training", "proving")
GONE = UserError("The training ended unexpectedly", "Start it again; it goes on where it was.")


@dataclass
class Training:
    """A training as it stands. state: collecting (files), reading, training, proving, done, failed or stopped.

    curve: [step, nats per note on the pieces that say when to stop], beginning with the base's own. style: the
    card, once it is done.
    """

    name: str
    state: str = "collecting"
    task: StyleTask | None = None
    files: int = 0
    intake: dict[str, Any] | None = None
    share: float = 0.0
    seconds_left: float | None = None
    curve: list[list[float]] = field(default_factory=list)
    style: dict[str, Any] | None = None
    error: dict[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """What GET /trainings shows."""
        task = self.task
        return {
            "name": self.name,
            "state": self.state,
            "folder": task.folder if task else None,
            "minutes": task.minutes if task else None,
            "from": task.start if task else None,
            "threads": task.threads if task else None,
            "files": self.files,
            "intake": self.intake,
            "share": round(self.share, 4),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "curve": self.curve,
            "style": self.style,
            "error": self.error,
        }


class Trainings:
    """All trainings of this computer's owner. publish: hears of every change, as {"type": "training", ...}."""

    def __init__(self, publish: Callable[[Event], None]) -> None:
        self._publish = publish
        self._known: dict[str, Training] = {}
        self._process: Process | None = None
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Find what an earlier server left unfinished."""
        for place in sorted((styles_folder() / MAKING).glob("*")):
            with suppress(UserError):
                found = _found(checked_name(place.name), place)
                if found.task or found.files:
                    self._known[found.name] = found

    async def close(self) -> None:
        """End the training that runs; it can go on later."""
        await self._end()

    def all(self) -> list[Training]:
        return list(self._known.values())

    def get(self, name: str) -> Training:
        """Raises UserError where there is none."""
        if name not in self._known:
            raise NoStyle(f'There is no training "{name[:60]}"', "GET /trainings names those there are.")
        return self._known[name]

    async def add_file(self, name: str, file: str, midi: bytes) -> Training:
        """Keep a MIDI file for a style that is to be made, in a private folder of its own."""
        training = self._known.get(checked_name(name)) or Training(name)
        if training.state in RUNNING:
            raise UserError(f'The style "{name}" is being made', "Stop it first, or choose another name.")
        added = await asyncio.to_thread(_keep_file, name, file, midi)
        if added:
            training.files += 1
        if training.state in ("done", "failed"):
            training = Training(name, files=training.files)
        self._known[name] = training
        return training

    async def begin(self, name: str, said: dict[str, Any]) -> Training:
        """Start a training, or go on with one that was stopped. Raises UserError where it cannot be.

        said: folder (of this computer; without it the files that were sent), minutes, from, threads, force; what is
        not said stays as it was.
        """
        old = self._known.get(checked_name(name))
        if running := [one.name for one in self.all() if one.state in RUNNING]:
            raise UserError(f'The style "{running[0]}" is being made', "Wait until it is done, or stop it.")
        task = _task(name, said, old.task if old else None)
        check_free(name, task.force)
        with being_made(name):  # by a command, that is
            pass
        if task.start is not None:
            find_style(task.start)
        training = Training(name, "reading", task, files=old.files if old else 0)
        if old and old.state == "stopped":
            training.curve = old.curve
        write_private(making_folder(name) / PLAN, task_text(task))
        self._known[name] = training
        self._tell(training)
        self._work = asyncio.create_task(self._run(training, task))
        return training

    async def stop(self, name: str, forget: bool = False) -> Training:
        """Stop a training. forget: and all that belongs to it goes; else it can go on later."""
        training = self.get(name)
        if training.state in RUNNING:
            await self._end()
            if training.state in RUNNING:  # it was called off before it had begun
                training.state = "stopped"
        if forget:
            with being_made(name):
                await asyncio.to_thread(shutil.rmtree, making_folder(name), True)
            self._known.pop(name, None)
            training.state = "forgotten"
            self._tell(training)
        return training

    # --- The process ------------------------------------------------------------------------------------

    async def _run(self, training: Training, task: StyleTask) -> None:
        ended: dict[str, Any] = {}
        try:
            process = self._process = await _start(task)
            assert process.stdout is not None  # it was started with a pipe
            while line := await process.stdout.readline():
                event = json.loads(line)
                if "done" in event or "failed" in event:
                    ended = event
                else:
                    self._hear(training, event)
            await process.wait()
        except (OSError, ValueError) as error:
            ended = {"failed": {"message": f"The training does not start: {error}", "hint": GONE.hint}}
        except asyncio.CancelledError:
            training.state, training.seconds_left = "stopped", None
            self._tell(training)
            return
        finally:
            await _kill(self._process)
            self._process = None
        training.seconds_left = None
        if "done" in ended:
            training.state, training.share, training.style = "done", 1.0, read_card(task.name)
            training.files = 0
        else:
            training.state, training.error = "failed", ended.get("failed") or error_of(GONE)
        self._tell(training)

    async def _end(self) -> None:
        work, self._work = self._work, None
        if work and not work.done():
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work

    def _hear(self, training: Training, event: Event) -> None:
        if "intake" in event:
            training.intake, training.state = event["intake"], "training"
        elif "proving" in event:
            training.state, training.share = "proving", event["proving"]
            training.seconds_left = event["seconds_left"]
        elif "step" in event:
            training.share, training.seconds_left = event["share"], event["seconds_left"]
            curve = [point for point in training.curve if point[0] < event["step"]]
            training.curve = [*curve, [event["step"], round(event["nats"], 4)]]
        self._tell(training)

    def _tell(self, training: Training) -> None:
        self._publish({"type": "training", "training": training.as_json()})


async def _start(task: StyleTask) -> Process:
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), str(task.threads)
    )
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "assistant.style_training"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=None if os.environ.get("DESCANT_DEBUG") == "1" else DEVNULL,
        limit=LONGEST_LINE,
        env={**os.environ, **threads, "PYTHONPATH": paths},
    )
    assert process.stdin is not None  # it was started with a pipe, which stays open: its end is the training's
    process.stdin.write(task_text(task).encode() + b"\n")
    await process.stdin.drain()
    return process


async def _kill(process: Process | None) -> None:
    if process and process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# --- Files ----------------------------------------------------------------------------------------------


def _found(name: str, place: Path) -> Training:
    """What an earlier server left of a training."""
    training = Training(name)
    if (place / FILES).is_dir():
        training.files = len(list((place / FILES).iterdir()))
    with suppress(OSError, ValueError, TypeError):
        training.task = task_from(json.loads((place / PLAN).read_text("utf-8")))
        training.state = "stopped"
        training.curve = json.loads((place / RUN / "run.json").read_text("utf-8"))["curve"]
    return training


def _keep_file(name: str, file: str, midi: bytes) -> bool:
    """Whether it is a new one: the same file sent again is kept once."""
    place = making_folder(name) / FILES
    place.mkdir(mode=0o700, exist_ok=True)
    there = list(place.iterdir())
    plain = "".join("_" if char in '/\\:*?"<>|' or not char.isprintable() else char for char in file).strip(" .")
    stem, suffix = os.path.splitext(plain)
    if suffix.lower() not in SUFFIXES:
        raise UserError(f'"{plain[:80]}" is not a MIDI file', "Send files that end in .mid or .midi.")
    stem = stem.encode()[-180:].decode(errors="ignore")  # what a disk takes, with a number and an ending
    if len(there) >= MOST_FILES:
        raise UserError(f"More than {MOST_FILES:,} files are too many to send", "Name their folder instead.")
    if sum(path.stat().st_size for path in there) + len(midi) > MOST_BYTES:
        raise UserError(f"More than {MOST_BYTES >> 20} MB are too much to send", "Name their folder instead.")
    path, number = place / f"{stem}{suffix}", 1
    while path.exists():
        if path.read_bytes() == midi:
            return False
        number += 1
        path = place / f"{stem} ({number}){suffix}"
    part = place.parent / "file.part"
    part.write_bytes(midi)
    os.replace(part, path)
    return True


def _task(name: str, said: dict[str, Any], old: StyleTask | None) -> StyleTask:
    """What was said, checked, with what was said before. Raises UserError."""
    known = ("folder", "minutes", "from", "threads", "force")
    if unknown := [word for word in said if word not in known]:
        raise UserError(f"A training knows no {ascii(unknown[0])[:60]}", f"It knows {', '.join(known)}.")
    sent = styles_folder() / MAKING / name / FILES
    before = old or StyleTask(name, str(sent) if sent.is_dir() else "")
    minutes, threads = said.get("minutes", before.minutes), said.get("threads", before.threads)
    folder, start = said.get("folder", before.folder), said.get("from", before.start)
    again = not folder and name in style_names()
    if again:
        folder = source_of(name)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= MOST_MINUTES:
        raise UserError("The minutes make no sense", f"Say how many, up to {MOST_MINUTES:.0f}.")
    if type(threads) is not int or not 1 <= threads <= 64:
        raise UserError("The threads make no sense", "Say how many, from 1 to 64.")
    if not isinstance(folder, str) or not folder or "\0" in folder:
        raise UserError("There is nothing to learn from", "Name a folder, or send files first.")
    if start is not None and not isinstance(start, str):
        raise UserError("The style to begin with makes no sense", "Give its name.")
    place = Path(folder).expanduser()
    if not place.is_absolute() or not place.is_dir():
        raise UserError(f"{folder[:200]} is not a folder", "Name it in full, as /music/midi.")
    return StyleTask(
        name, str(place), float(minutes), start, threads, again or said.get("force", before.force) is True
    )
