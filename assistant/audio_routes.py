"""Sound into notes over HTTP: `descant hum` in a process of its own, with limits of time and memory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request

from assistant.facts import score_facts
from assistant.jobs import Busy
from assistant.page_sound import ROOT
from assistant.service import Service
from assistant.session import ScoreInfo
from models.errors import UserError
from models.midi_file import read_midi

MAX_SOUND = 64 << 20  # bytes of a recording; ten minutes of one 16-bit channel at 48 kHz have 58 MB
MOST_WAITING = 3  # recordings, with the one that is being written down
MEMORY = 2 << 30  # bytes of address space; the longest recording takes a seventh of it
PROCESSOR_SECONDS = 180  # the longest recording takes eight
MOST_SECONDS = 900.0  # by the clock, on a computer that does much else
LOOK_SECONDS = 0.1  # between two looks whether the client still waits
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
LONGEST_NAME = 80  # characters
PROGRAM = "import sys; from assistant.cli import main; sys.exit(main())"
BROKEN = UserError("The recording could not be written down", "Send a shorter part of it.")

MaybeText = Annotated[str | None, Query(max_length=200)]


class Turns:
    """One recording is written down at a time; a few wait."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise Busy(10)
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.hums = Turns()
    yield


router = APIRouter(lifespan=_lifespan)


def is_sound(path: str) -> bool:
    """Routes whose body may be as large as a recording."""
    return path == "/audio/hum"


@router.post("/audio/hum", status_code=201, openapi_extra={"requestBody": {"content": {"audio/wav": {}}}})
async def hum(
    request: Request,
    name: str = "",
    session: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    performed: bool = False,
    tempo: MaybeText = None,
    key: MaybeText = None,
    grid: MaybeText = None,
    program: MaybeText = None,
) -> ScoreInfo:
    """Keep what is hummed, whistled or played in a sound file, sent as it is, as a score.

    Its notes are those of `descant hum` on the grid; performed: with the timing of the recording. tempo, key, grid,
    program: as the flags of the command.

    name: of the file, which names the score. A client that leaves calls it off.
    """
    service: Service = request.app.state.service
    words = {"tempo": tempo, "key": key, "grid": grid, "program": program}
    flags = [f"--{word}={value}" for word, value in words.items() if value]
    if any("\0" in flag for flag in flags):
        raise UserError("The flags make no sense", "Write them as `descant hum --help` shows.")
    title, suffix = _title(name)
    with tempfile.TemporaryDirectory(prefix="descant-") as folder:
        sound = Path(folder) / f"{title}{suffix}"
        with sound.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        async with request.app.state.hums.taken():
            told = await _written_down(sound, flags, request)
        midi = (Path(folder) / told["paths"][0 if performed else 1]).read_bytes()
    remarks = told["remarks"]
    facts = await service.read(lambda: score_facts(read_midi(midi).score, remarks))
    return await service.add_score(title, midi, facts, session)


def _title(name: str) -> tuple[str, str]:
    """What the score is called, which is a file's name too, and the kind of file."""
    stem, dot, kind = name.rpartition(".")
    suffix = f"{dot}{kind}".lower()
    text = stem if suffix in SUFFIXES else name
    plain = "".join("_" if char in '/\\:*?"<>|' or not char.isprintable() else char for char in text)
    plain = " ".join(plain.split()).strip(" .")[:LONGEST_NAME].strip(" .")
    return plain or "Sung", suffix if suffix in SUFFIXES else ".wav"


async def _written_down(sound: Path, flags: list[str], request: Request) -> dict[str, Any]:
    """Run `descant hum` beside the sound file; what it tells. Raises the UserError that it ends with."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", PROGRAM),
        *("hum", *flags, "--json", "-o", "notes.mid", "--", sound.name),
        cwd=sound.parent,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    _limit(process.pid)
    output, said = await _ended(process, request)
    if process.returncode == 0:
        told: dict[str, Any] = json.loads(output)
        return told
    lines = dict(line.partition(": ")[::2] for line in said.decode("utf-8", "replace").splitlines())
    if process.returncode == 2 and "descant" in lines:
        raise UserError(lines["descant"], lines.get("hint", ""))
    raise BROKEN


async def _ended(process: Process, request: Request) -> tuple[bytes, bytes]:
    """What a process has said when it has ended. It is ended when nobody waits for it, or it takes too long."""
    loop = asyncio.get_running_loop()
    told, last = asyncio.create_task(process.communicate()), loop.time() + MOST_SECONDS
    try:
        while not (await asyncio.wait({told}, timeout=LOOK_SECONDS))[0]:
            if loop.time() > last or await request.is_disconnected():
                raise BROKEN
        return told.result()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.wait({told})


def _limit(number: int) -> None:
    """Bound what a process may take, where the system can; the files it reads are bounded everywhere."""
    if sys.platform != "linux":
        return
    import resource

    with suppress(ProcessLookupError):
        for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, PROCESSOR_SECONDS)):
            hard = resource.prlimit(number, kind)[1]
            limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.prlimit(number, kind, (limit, limit))
