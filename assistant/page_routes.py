"""The server's routes that only the page needs: hearing, sound files, where files go, keyboards of the browser.

What is heard is made in a process of its own (page_sound.py), sound files by `descant render`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from assistant.facts import score_facts
from assistant.page_sound import ROOT, Excerpt, Sounds
from assistant.service import Service
from assistant.session import ScoreInfo
from assistant.settings import write_private
from models.errors import UserError
from models.midi_file import write_midi
from models.score import Note, Score, Track

JsonObject = Annotated[dict[str, Any], Body()]
MOST_NUMBER = 2**53  # that a browser can count to without a mistake
MOST_TICKS = 2**40
MOST_RENDERS = 100  # remembered
MOST_FILES = 1000  # that can be fetched by a link of their own at a time
MOST_MESSAGES = 20_000
LONGEST_MESSAGE = 3  # bytes; system messages are not music
SETTINGS_FILE = "page.json"
SOUND_TYPES = {".wav": "audio/wav", ".zip": "application/zip"}
TEST_NOTE = Note(0, 60, 480, 90)
TEST_SECONDS = 2.0
LOOK_SECONDS = 0.1  # between two looks whether a client still waits


class Work:
    """What these routes keep: the synth, and sound files that are being written."""

    def __init__(self) -> None:
        self.sounds = Sounds()
        self.renders: dict[int, Render] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)

    def begin(self, make: Callable[[int], Render]) -> Render:
        while len(self.renders) >= MOST_RENDERS:
            del self.renders[next(iter(self.renders))]
        render = make(next(self._numbers))
        self.renders[render.number] = render
        self.start(render.run())
        return render

    def start(self, work: Any) -> None:
        """Let something go on after its request was answered."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def close(self) -> None:
        for render in self.renders.values():
            render.stop()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=5)
        await self.sounds.close()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.page = Work()
    yield
    await app.state.page.close()


router = APIRouter(lifespan=_lifespan)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _work(request: Request) -> Work:
    work: Work = request.app.state.page
    return work


def _number(body: dict[str, Any], name: str, least: int = 1, most: int = MOST_NUMBER) -> int | None:
    value = body.get(name)
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise UserError(f"{name} makes no sense", f"It is a whole number from {least} on.")
    return value


async def _midi(service: Service, body: dict[str, Any], only_new: bool = False) -> tuple[bytes, str]:
    """The MIDI file that a body names, and what a file of it is called."""
    score, proposal, candidate = (_number(body, name) for name in ("score", "proposal", "candidate"))
    history = service.history
    if score is not None:
        info = await service.keep(history.score, score)
        return await service.keep(history.score_midi, score), info.name
    if proposal is None or candidate is None:
        raise UserError("There is nothing named to play", "Name a score, or a proposal and a candidate.")
    asked = await service.keep(history.proposal, proposal)
    midi = await service.keep(history.candidate_midi, proposal, candidate, only_new)
    if asked.score is None:
        name = (await service.keep(history.session, asked.session)).name
    else:
        name = (await service.keep(history.score, asked.score)).name
    return midi, f"{name} {proposal}-{candidate}{' new' if only_new else ''}"


# --- Hearing ------------------------------------------------------------------------------------------


@router.post("/sound")
async def sound(request: Request, body: JsonObject) -> StreamingResponse:
    """A score, or a proposal's candidate, from tick `begin` to `end` as 16-bit stereo at 48 kHz, as it is made.

    silent: tracks, from 1, that are not to be heard.
    """
    midi, _ = await _midi(_service(request), body)
    silent = body.get("silent") or []
    if not isinstance(silent, list) or any(type(track) is not int or track < 1 for track in silent):
        raise UserError("The silent tracks make no sense", "They are a list of numbers from 1 on.")
    begin, end = _number(body, "begin", 0, MOST_TICKS) or 0, _number(body, "end", 0, MOST_TICKS)
    if end is not None and end <= begin:
        raise UserError("What is to be heard ends before it begins", "Choose another place.")
    blocks = _work(request).sounds.listen(Excerpt(midi, begin, end, tuple(track - 1 for track in silent)))
    first = await _first(blocks, request)  # so that what cannot be played is told as an error

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield first
            async for block in blocks:
                yield block
        finally:
            await blocks.aclose()

    return StreamingResponse(stream(), media_type="audio/x-raw")


async def _first(blocks: AsyncIterator[bytes], request: Request) -> bytes:
    """The first block; nothing for a client that has left, whose sound is not made any further."""

    async def get() -> bytes:
        return await anext(blocks, b"")

    asked = asyncio.create_task(get())
    while not asked.done():
        await asyncio.wait({asked}, timeout=LOOK_SECONDS)
        if not asked.done() and await request.is_disconnected():
            asked.cancel()
            with suppress(asyncio.CancelledError):
                await asked
            return b""
    return asked.result()


# --- Sound files --------------------------------------------------------------------------------------


class Render:
    """A sound file that is being written by a process of its own: the mix as WAV, or its stems in a zip file."""

    def __init__(self, number: int, service: Service, midi: bytes, name: str, stems: bool) -> None:
        self.number, self.stems, self.state = number, stems, "running"
        self.name = f"{name} stems.zip" if stems else f"{name}.wav"
        self.file: dict[str, str] | None = None
        self.error: dict[str, str] | None = None
        self._service, self._midi = service, midi
        self._process: Process | None = None

    def told(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in ("state", "name", "stems", "file", "error")}
        return {"render": self.number, **told}

    def stop(self) -> None:
        if self.state == "running":
            self.state = "cancelled"
            if self._process and self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self._process.kill()

    async def run(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="descant-") as folder:
                path = await self._write(Path(folder))
                if path is not None:
                    target = _files(self._service) / self.name
                    await asyncio.to_thread(_move, path, target)
                    self.file = _told(self._service, target)
                    self.state = "done"
        except (UserError, OSError) as error:
            hint = error.hint if isinstance(error, UserError) else "Make room on the disk."
            self.state, self.error = "failed", {"message": str(error), "hint": hint}
        self._service.events.publish({"type": "render", **self.told()})

    async def _write(self, folder: Path) -> Path | None:
        """The finished file in a temporary folder; None when it was called off."""
        source, sound = folder / "in.mid", folder / "out.wav"
        source.write_bytes(self._midi)
        line = ["render", str(source), "-o", str(sound)]
        if self.stems:
            line += ["--stems", str(folder / "stems")]
        if self.state != "running":
            return None
        program = "import sys; from assistant.cli import main; sys.exit(main())"
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", program, *line),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        _, said = await self._process.communicate()
        if self.state != "running":
            return None
        if self._process.returncode:
            lines = said.decode("utf-8", "replace").strip().splitlines() or ["The synth ended unexpectedly"]
            raise UserError(lines[0].removeprefix("descant: ").removeprefix("error: "), "Try once more.")
        if not self.stems:
            return sound
        packed = folder / "stems.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for stem in sorted((folder / "stems").iterdir()):
                await asyncio.to_thread(archive.write, stem, stem.name)
        return packed


def _move(path: Path, target: Path) -> None:
    draft = target.with_name(f".descant-{secrets.token_hex(8)}")
    try:
        shutil.move(path, draft)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


@router.post("/renders", status_code=201)
async def render(request: Request, body: JsonObject) -> dict[str, Any]:
    """Begin to write a sound file of a score or a candidate (only_new: of its new notes); stems: one a track.

    An event of type "render" tells when it is there.
    """
    service = _service(request)
    midi, name = await _midi(service, body, body.get("only_new") is True)
    stems = body.get("stems") is True
    return _work(request).begin(lambda number: Render(number, service, midi, _plain(name), stems)).told()


@router.get("/renders/{number}")
async def render_state(request: Request, number: int) -> dict[str, Any]:
    return _find(request, number).told()


@router.delete("/renders/{number}")
async def stop_render(request: Request, number: int) -> dict[str, Any]:
    """Call it off; nothing is left of it."""
    found = _find(request, number)
    found.stop()
    return found.told()


def _find(request: Request, number: int) -> Render:
    found = _work(request).renders.get(number)
    if found is None:
        raise HTTPException(404)
    return found


def _plain(name: str) -> str:
    """A name as part of a file's name."""
    plain = "".join("_" if char in '/\\:*?"<>|' or not char.isprintable() else char for char in name)
    return plain.strip(" .")[:100] or "Descant"


def _files(service: Service) -> Path:
    folder = service.folder / "files"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _told(service: Service, path: Path) -> dict[str, str]:
    """Where a file is, and a link under which a browser can fetch it."""
    code = secrets.token_urlsafe(32)
    while len(service.files) >= MOST_FILES:
        del service.files[next(iter(service.files))]
    service.files[code] = path
    return {
        "path": str(path),
        "url": f"{service.running.address}/files/{code}/{quote(path.name)}",
        "name": path.name,
    }


@router.post("/files", status_code=201)
async def make_file(request: Request, body: JsonObject) -> dict[str, str]:
    """Write a score as a file that stays, byte for byte: where it is, and a link to fetch it."""
    service, number = _service(request), _number(body, "score")
    if number is None:
        raise UserError("There is nothing named to write", "Name a score.")
    midi, name = await _midi(service, {"score": number})
    target = _files(service) / f"{_plain(name)} {number}.mid"
    await service.read(_write, midi, target)
    return _told(service, target)


def _write(data: bytes, target: Path) -> None:
    draft = target.with_name(f".descant-{secrets.token_hex(8)}")
    try:
        draft.write_bytes(data)
        os.replace(draft, target)
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror}", "Make room on the disk.") from error
    finally:
        draft.unlink(missing_ok=True)


@router.get("/words")
async def words(request: Request) -> dict[str, list[str]]:
    """What the words of a brief can be: styles, drums, bass lines, textures, loudness."""

    def known() -> dict[str, list[str]]:
        from models.text.genres import styles
        from models.text.lexicon import DYNAMICS

        found = styles()
        ranked = {name: list(getattr(found, name)) for name in ("genres", "drums", "textures")}
        return {**ranked, "bass": ["free", *found.bass], "dynamics": list(DYNAMICS)}

    return await _service(request).read(known)


# --- Where files go -----------------------------------------------------------------------------------


@router.get("/folder")
async def settings(request: Request) -> dict[str, Any]:
    """folder: where copies go, which a DAW or sampler watches; None while none is chosen."""
    return {"folder": _watched(_service(request))}


@router.patch("/folder")
async def change_settings(request: Request, body: JsonObject) -> dict[str, Any]:
    service, text = _service(request), body.get("folder")
    if text is not None:
        folder = Path(str(text)).expanduser()
        if not folder.is_absolute() or not folder.is_dir():
            raise UserError(
                f"There is no folder {ascii(str(text))[1:-1][:200]}", "Write its whole path; make it first."
            )
        text = str(folder)
    write_private(service.folder / SETTINGS_FILE, json.dumps({"folder": text}) + "\n")
    return {"folder": text}


def _watched(service: Service) -> str | None:
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads((service.folder / SETTINGS_FILE).read_text("utf-8")).get("folder")
        return found if isinstance(found, str) else None
    return None


def _taken(request: Request, body: dict[str, Any]) -> Path:
    """A file that was made for taking away, by the code of its link."""
    path = _service(request).files.get(str(body.get("code")))
    if path is None or not path.is_file():
        raise UserError("This file is not there any more", "Take it out again.")
    return path


@router.post("/copies", status_code=201)
async def copy(request: Request, body: JsonObject) -> dict[str, str]:
    """Copy a file into the watched folder, whole or not at all, never over another one."""
    path, folder = _taken(request, body), _watched(_service(request))
    if folder is None:
        raise UserError("No folder is chosen for copies", "Choose one on the screen of ports and folders.")
    return {"path": str(await asyncio.to_thread(_copy, path, Path(folder)))}


def _copy(path: Path, folder: Path) -> Path:
    try:
        handle, draft = tempfile.mkstemp(dir=folder, prefix=".descant-")
        try:
            with os.fdopen(handle, "wb") as file, path.open("rb") as source:
                shutil.copyfileobj(source, file)
            for number in itertools.count(1):
                target = folder / (path.name if number == 1 else f"{path.stem} ({number}){path.suffix}")
                if target.exists():
                    continue
                os.chmod(draft, 0o644)
                with suppress(FileExistsError):
                    os.link(draft, target)
                    return target
        finally:
            os.unlink(draft)
    except OSError as error:
        raise UserError(f"Cannot copy to {folder}: {error.strerror}", "Choose another folder.") from error
    raise AssertionError  # the numbers do not end


@router.post("/reveal")
async def reveal(request: Request, body: JsonObject) -> dict[str, str]:
    """Show a file in the system's file manager."""
    path = _taken(request, body)
    line = _reveal_line(path)
    if line is None:
        raise UserError("This computer has no file manager that Descant knows", f"The file is {path}.")
    try:
        subprocess.Popen(line, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
    except OSError as error:
        raise UserError(f"The file manager does not open: {error.strerror}", f"The file is {path}.") from error
    return {"path": str(path)}


def _reveal_line(path: Path) -> list[str] | None:
    if sys.platform == "darwin":
        return ["open", "-R", str(path)]
    if sys.platform == "win32":
        return ["explorer", f"/select,{path}"]
    opener = shutil.which("xdg-open")
    return [opener, str(path.parent)] if opener else None


# --- Keyboards and ports ------------------------------------------------------------------------------


@router.post("/played", status_code=201)
async def played(request: Request, body: JsonObject) -> ScoreInfo:
    """Keep what was played on a keyboard of the browser's as a score, treated as what comes into `Descant In`.

    messages: [seconds, [status, data, ...]] each; bpm; meter, such as [3, 4]; session: a new one where there is
    none.
    """
    from assistant.live.capture import Capture, Played

    service, session = _service(request), _number(body, "session")
    bpm, meter = body.get("bpm", 120.0), body.get("meter", [4, 4])
    if isinstance(bpm, bool) or not isinstance(bpm, int | float) or not 20 <= bpm <= 400:
        raise UserError("The tempo makes no sense", "Choose 20 to 400 beats a minute.")
    if (
        not isinstance(meter, list)
        or len(meter) != 2
        or type(meter[0]) is not int
        or not 1 <= meter[0] <= 32
        or meter[1] not in (1, 2, 4, 8, 16, 32)
    ):
        raise UserError("The meter makes no sense", "Write one like 4/4 or 7/8.")
    capture = Capture()
    for time, data in _messages(body.get("messages")):
        capture.add(Played(time, time * bpm / 60, 1, data))
    captured = capture.take((meter[0], meter[1]), float(bpm))
    midi = await service.read(write_midi, captured.quantised)
    facts = await service.read(score_facts, captured.quantised, ())
    return await service.add_score("Played", midi, facts, session)


def _messages(given: Any) -> list[tuple[float, bytes]]:
    """Checked channel messages, with their seconds from the first note on."""
    refusal = UserError("What was played cannot be read", "Play it once more.")
    if not isinstance(given, list) or len(given) > MOST_MESSAGES:
        raise refusal
    found: list[tuple[float, bytes]] = []
    for item in given:
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], list):
            raise refusal
        time, data = item
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time < 1e9:
            raise refusal
        if not 2 <= len(data) <= LONGEST_MESSAGE or any(type(byte) is not int for byte in data):
            raise refusal
        if not 0x80 <= data[0] < 0xF0 or any(not 0 <= byte < 128 for byte in data[1:]):
            raise refusal
        if data[0] >> 4 not in (0xC, 0xD) and len(data) != LONGEST_MESSAGE:
            raise refusal
        found.append((float(time), bytes(data)))
    starts = [time for time, data in found if data[0] & 0xF0 == 0x90 and data[2]]
    if not starts:
        raise UserError("Nothing was played yet", "Press record, and play a few notes.")
    return [(max(0.0, time - starts[0]), data) for time, data in sorted(found, key=lambda item: item[0])]


@router.post("/live/test-note")
async def test_note(request: Request) -> dict[str, Any]:
    """Play one note through `Descant Out`. waits: whether it waits for the DAW to roll."""
    service = _service(request)
    transport = service.live.state()["transport"]
    score = Score(tracks=(Track("Test", notes=(TEST_NOTE,)),), length=4 * 480)
    rolling, leads = transport["rolling"], transport["source"] != "own"
    at = transport["beat"] + 0.5 if rolling else None
    await asyncio.to_thread(lambda: service.live.play(score, at))
    if not rolling and not leads:  # it was started for this note alone
        _work(request).start(_stop_later(service))
    return {"waits": not rolling and leads}


async def _stop_later(service: Service) -> None:
    await asyncio.sleep(TEST_SECONDS)
    with suppress(UserError):
        await asyncio.to_thread(service.live.stop_transport)
