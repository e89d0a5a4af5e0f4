"""The local server's routes. What they do is elsewhere: jobs.py, session.py, asking.py; who may call: security.py.

GET  /health                                   open to all programs of this computer
POST /login, /links                            the page's way to the token
/sessions /scores /proposals /settings /files  what docs/server.md tells by example
WS   /events                                   everything as it happens
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, FastAPI, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from assistant import asking, audio_routes, live_routes, page_routes, style_routes
from assistant.daw_routes import router as daw_router
from assistant.facts import notes_of, score_facts
from assistant.jobs import ENDS, Busy, Event
from assistant.security import MAX_JSON, MAX_UPLOAD, SUBPROTOCOL, Guard, Receive, Scope, Send, resolve_inside
from assistant.service import Service
from assistant.session import (
    VERDICTS,
    DecisionInfo,
    DiskFull,
    History,
    Missing,
    ProposalInfo,
    ScoreInfo,
    SessionInfo,
)
from assistant.settings import program_version, read_settings, save_settings
from assistant.styles import NoStyle, hash_with_styles
from models.errors import UserError
from models.midi_file import read_midi, save_midi

PAGE = Path(__file__).parent / "page"
MIDI_TYPE = "audio/midi"
DEMO_FOLDER = Path(__file__).parent / "demo"
DEMOS = {  # by file name: title and composer
    "aloha-oe": ("Aloha Oe", "Queen Liliuokalani"),
    "into-my-heart": ("Into my Heart an Air that kills", "Arthur Somervell"),
}
LONGEST_NAME = 200  # characters
MOST_NUMBER = 2**53  # that a browser can count to without a mistake
QUIET_SECONDS = 10.0  # after which a stream says that the server is there: later drafts are written unheard
MOST_FILES = 1000  # that can be fetched by a link of their own at a time


def create_app(service: Service) -> Guard:
    """The application, guarded. Routes are added here, and nowhere else."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.close()

    app = FastAPI(
        title="Descant",
        version=program_version(),
        summary="A MIDI co-writer on this computer. Every route but /health and the page wants the token.",
        docs_url=None,  # FastAPI's pages load from the network
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={
            UserError: _user_error,
            HTTPException: _http_error,
            RequestValidationError: _validation_error,
            Exception: _fault,
        },
    )
    app.state.service = service
    others = (live_routes.router, daw_router, style_routes.router, page_routes.router, audio_routes.router)
    for router in (_open, _sessions, _scores, _proposals, _events, *others):
        app.include_router(router)
    return Guard(app, service.running.port, service.token, _is_open, _most)


def _is_open(method: str, path: str) -> bool:
    """Routes without a token: health, the page's own files, and links that are secrets themselves."""
    if method in ("GET", "HEAD"):
        return path in ("/", "/health") or path.startswith(("/page/", "/files/"))
    return method == "POST" and path == "/login"


def _most(path: str) -> int:
    """Bytes that a body may have."""
    if audio_routes.is_sound(path):
        return audio_routes.MAX_SOUND
    return MAX_UPLOAD if path == "/scores" or style_routes.is_upload(path) else MAX_JSON


def _service(request: Request | WebSocket) -> Service:
    service: Service = request.app.state.service
    return service


# --- Errors: {"error": {"message", "hint"}} whatever it was ---------------------------------------------


def _error(status: int, message: str, hint: str = "", **headers: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "hint": hint}}, status, headers)


async def _user_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, UserError)  # what it is registered for
    if isinstance(error, Busy):
        return _error(429, error.message, error.hint, **{"Retry-After": str(error.retry_after)})
    status = 404 if isinstance(error, Missing | NoStyle) else 507 if isinstance(error, DiskFull) else 422
    return _error(status, error.message, error.hint)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # what it is registered for
    sentences = {404: "There is nothing at this address", 405: "This address does not answer to this method"}
    message = sentences.get(error.status_code, "This request cannot be read")
    return _error(error.status_code, message, "docs/server.md shows every request.")


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # what it is registered for
    first = error.errors()[0]
    place = ascii(".".join(str(part) for part in first["loc"] if part != "body"))[1:-1][:100]
    return _error(422, f"{place or 'The body'}: {first['msg']}", "docs/server.md shows every request.")


async def _fault(_: Request, error: Exception) -> Response:
    return _error(
        500, f"This should not have happened: {type(error).__name__}", "Please report what you asked for."
    )


def _object(body: dict[str, Any]) -> dict[str, Any]:
    """A JSON object, if it can be written down again: half of a character, or a number like NaN, cannot."""
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise UserError("The body holds text or numbers that make no sense", "Send UTF-8.") from error
    return body


def _name(text: str) -> str:
    """A name as it is kept and shown: one line, not too long."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(plain.split())[:LONGEST_NAME].strip()


JsonObject = Annotated[dict[str, Any], Body()]
Number = Annotated[int, InPath(ge=1, le=MOST_NUMBER)]
MaybeNumber = Annotated[int | None, Query(ge=1, le=MOST_NUMBER)]

# --- Open to all programs of this computer -------------------------------------------------------------

_open = APIRouter()


@_open.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """That the server runs, what its engine does, and how long the queue is."""
    service = _service(request)
    return {
        "status": "ok",
        "version": program_version(),
        "instance": service.running.instance,
        "engine": service.engine_state(),
        "queue": service.jobs.counts,
    }


@_open.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(PAGE / "index.html")


@_open.get("/page/{name:path}", include_in_schema=False)
async def page_file(name: str) -> FileResponse:
    path = resolve_inside(PAGE, name)
    if not path.is_file():
        raise HTTPException(404)
    return FileResponse(path)


@_open.post("/login")
async def login(request: Request, body: JsonObject) -> dict[str, str]:
    """The token for the code of a one-time link."""
    code = _object(body).get("code")
    if not isinstance(code, str) or not _service(request).links.take(code):
        raise HTTPException(403)
    return {"token": _service(request).token}


@_open.get("/files/{code}/{name}")
async def fetch_file(request: Request, code: str, name: str) -> FileResponse:
    """A file that was made for taking away. The code stands for the token: drag and drop sends no headers."""
    path = _service(request).files.get(code)
    if path is None or path.name != name or not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type=page_routes.SOUND_TYPES.get(path.suffix, MIDI_TYPE), filename=path.name)


# --- Sessions and settings -----------------------------------------------------------------------------

_sessions = APIRouter()


@_sessions.post("/links")
async def make_link(request: Request) -> dict[str, str]:
    """A link that opens the page once, for a browser that has no token yet."""
    return {"url": _service(request).link()}


@_sessions.get("/operations")
async def operations() -> dict[str, Any]:
    """What can be asked for, and the words of each."""
    kinds = {name: list(operation.words) for name, operation in asking.OPERATIONS.items()}
    return {"operations": kinds, "controls": list(asking.CONTROLS)}


@_sessions.get("/settings")
async def settings(request: Request) -> dict[str, Any]:
    return asdict(read_settings(_service(request).folder))


@_sessions.patch("/settings")
async def change_settings(request: Request, body: JsonObject) -> dict[str, Any]:
    """Change some settings for good; `port` counts from the next start."""
    folder = _service(request).folder
    changed = read_settings(folder).changed(_object(body))
    save_settings(folder, changed)
    return asdict(changed)


@_sessions.get("/sessions")
async def sessions(request: Request) -> list[SessionInfo]:
    service = _service(request)
    return await service.keep(service.history.sessions)


@_sessions.post("/sessions", status_code=201)
async def add_session(request: Request, body: JsonObject) -> SessionInfo:
    service = _service(request)
    return await service.keep(service.history.add_session, _name(str(_object(body).get("name", ""))))


@_sessions.get("/sessions/{session}")
async def session(request: Request, session: Number) -> SessionInfo:
    service = _service(request)
    return await service.keep(service.history.session, session)


@_sessions.get("/sessions/{session}/scores")
async def scores(request: Request, session: Number) -> list[ScoreInfo]:
    service = _service(request)
    return await service.keep(service.history.scores, session)


@_sessions.post("/sessions/{session}/undo")
async def undo(request: Request, session: Number) -> DecisionInfo:
    """Take back the session's last decision that still stands."""
    service = _service(request)
    decision = await service.keep(service.history.undo, session)
    service.events.publish({"type": "decision", "decision": decision})
    return decision


@_sessions.get("/demos")
async def demos() -> list[dict[str, str]]:
    """The pieces that come with Descant, to begin with; assistant/demo/LICENCES.md tells where they are from."""
    return [{"name": name, "title": title, "composer": composer} for name, (title, composer) in DEMOS.items()]


@_sessions.get("/demos/{name}")
async def demo(name: str) -> FileResponse:
    if name not in DEMOS:
        raise HTTPException(404)
    return FileResponse(DEMO_FOLDER / f"{name}.mid", media_type=MIDI_TYPE)


# --- Scores --------------------------------------------------------------------------------------------

_scores = APIRouter()


@_scores.post("/scores", status_code=201, openapi_extra={"requestBody": {"content": {MIDI_TYPE: {}}}})
async def upload(request: Request, name: str = "", session: MaybeNumber = None) -> ScoreInfo:
    """Keep a MIDI file, sent as it is. It becomes the current score of its session, which is a new one if none
    is named."""
    service = _service(request)
    midi = await request.body()
    facts = await service.read(_facts, midi)
    title = _name(name) or "Untitled"
    return await service.add_score(title, midi, facts, session)


def _facts(midi: bytes) -> dict[str, Any]:
    result = read_midi(midi)
    return score_facts(result.score, result.warnings)


@_scores.get("/scores/{number}")
async def score(request: Request, number: Number) -> ScoreInfo:
    service = _service(request)
    return await service.keep(service.history.score, number)


@_scores.get("/scores/{number}/midi")
async def score_midi(request: Request, number: Number) -> Response:
    """The file, exactly as it came."""
    service = _service(request)
    return Response(await service.keep(service.history.score_midi, number), media_type=MIDI_TYPE)


@_scores.get("/scores/{number}/notes")
async def score_notes(request: Request, number: Number) -> dict[str, Any]:
    """Every note and bar line, to draw."""
    service = _service(request)
    midi = await service.keep(service.history.score_midi, number)
    return await service.read(lambda: notes_of(read_midi(midi).score))


# --- Proposals -----------------------------------------------------------------------------------------

_proposals = APIRouter()
_EXAMPLE = {"score": 1, "operation": "continue", "bars": 8, "key": "D minor", "candidates": 4}


@_proposals.post("/proposals", status_code=202, response_model=ProposalInfo)
async def propose(
    request: Request,
    body: Annotated[dict[str, Any], Body(examples=[_EXAMPLE])],
    follow: Annotated[bool, Query()] = False,
) -> Any:
    """Ask for candidates, in the words of the command line. The answer comes at once, the candidates later.

    follow: answer with the events of this proposal as they happen, one JSON object a line, an empty line where
        nothing happens for long; a client that leaves calls it off. Without, it goes on whoever leaves.
    """
    service = _service(request)
    words = {name: value for name, value in _object(body).items() if name not in ("score", "session")}
    with service.jobs.place():
        operation = asking.OPERATIONS.get(str(words.get("operation")))
        if body.get("score") is None and operation and not operation.needs_score:
            words = service.complete(words)
            session = _number(body, "session")
            if session is None:
                title = _name(str(words.get("text") or "Sketch"))
                session = (await service.keep(service.history.add_session, title)).id
            await service.keep(service.history.session, session)
            return await _asked(service, session, None, words, None, follow)
        number = _number(body, "score")
        if number is None:
            raise UserError("The request names no score", "Send one to /scores first, and name it by its number.")
        info = await service.keep(service.history.score, number)
        return await _asked(service, info.session, info.id, service.complete(words), None, follow)


def _number(body: dict[str, Any], name: str) -> int | None:
    """A number of a session or a score; None where there is none."""
    value = body.get(name)
    if value is not None and (type(value) is not int or not 1 <= value <= MOST_NUMBER):
        raise UserError(f"{name} is not a number of one", "Numbers count from 1.")
    return value


async def _asked(
    service: Service, session: int, score: int | None, words: dict[str, Any], replay_of: int | None, follow: bool
) -> Any:
    queue = service.events.listen()  # before the first event
    try:
        proposal = await service.submit(session, score, words, replay_of)
    except BaseException:
        service.events.leave(queue)
        raise
    if follow:
        return _Followed(service, proposal, queue)
    service.events.leave(queue)
    return proposal


class _Followed(StreamingResponse):
    """The events of one proposal as they happen. However this ends, the proposal has ended or is called off."""

    def __init__(self, service: Service, proposal: ProposalInfo, queue: asyncio.Queue[Event | None]) -> None:
        self._service, self._proposal, self._queue = service, proposal, queue
        super().__init__(lines_of(proposal.id, queue), media_type="application/x-ndjson")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.events.leave(self._queue)
            self._service.jobs.cancel_soon(self._proposal.id)


async def lines_of(
    proposal: int, queue: asyncio.Queue[Event | None], quiet: float = QUIET_SECONDS
) -> AsyncIterator[str]:
    """The events of a proposal until it ends, a line each, and an empty line after so many seconds without one."""
    while True:
        try:
            event = await asyncio.wait_for(queue.get(), quiet)
        except TimeoutError:
            yield "\n"
            continue
        if not event:
            return
        if event.get("proposal") == proposal:
            yield _encode(event) + "\n"
            if event["type"] in ENDS:
                return


def _encode(event: Event) -> str:
    return json.dumps(event, default=asdict)


@_proposals.post("/briefs")
async def brief(request: Request, body: JsonObject) -> dict[str, Any]:
    """What a sketch's words would be understood as: the brief, and the lines that say it. Nothing is made yet."""
    words = {"operation": "sketch", **_object(body)}
    arguments = asking.parse_words(words)
    given = None if words.get("brief") is None else json.dumps(words["brief"])

    def understand() -> dict[str, Any]:
        from assistant.sketch_commands import brief_of

        found = brief_of(arguments, given)
        return {"brief": asdict(found), "lines": found.lines()}

    return await _service(request).read(understand)


@_proposals.get("/proposals")
async def proposals(
    request: Request, session: MaybeNumber = None, most: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[ProposalInfo]:
    """Those of a session, or of all, the newest first."""
    service = _service(request)
    return await service.jobs.proposals(session, most)


@_proposals.get("/proposals/{number}")
async def proposal(request: Request, number: Number) -> ProposalInfo:
    return await _service(request).jobs.proposal(number)


@_proposals.delete("/proposals/{number}")
async def cancel(request: Request, number: Number) -> ProposalInfo:
    """Call a proposal off. Answers when it has ended, within half a second; what has ended stays as it is."""
    service = _service(request)
    await service.keep(service.history.proposal, number)
    await service.jobs.cancel(number)
    return await proposal(request, number)


@_proposals.post("/proposals/{number}/replay", status_code=202, response_model=ProposalInfo)
async def replay(request: Request, number: Number, follow: Annotated[bool, Query()] = False) -> Any:
    """Make a proposal again: the same score, words and seed. Its candidates' sha256 are those of the first time
    as long as the weights are the same, which is checked."""
    service = _service(request)
    with service.jobs.place():
        old = await service.keep(service.history.proposal, number)
        made_by = {candidate.model_hash for candidate in old.candidates}
        if not made_by:
            raise UserError(f"Proposal {number} has no candidates to make again", "Ask anew.")
        while not service.engine.model_hash and service.engine.state == "starting":
            await asyncio.sleep(0.02)  # which weights are in use is not known before
        with_style = old.words.get("style")
        weights = await service.read(hash_with_styles, service.engine.model_hash, with_style)
        if service.engine.model_hash and made_by != {weights}:
            hint = "Its candidates are kept as MIDI all the same."
            raise UserError(f"Proposal {number} was made by other weights than those in use", hint)
        return await _asked(service, old.session, old.score, old.words, number, follow)


@_proposals.get("/proposals/{number}/candidates/{candidate}/midi")
async def candidate_midi(request: Request, number: Number, candidate: Number, only_new: bool = False) -> Response:
    """The whole piece with the new notes in it, or the new notes alone."""
    service = _service(request)
    midi = await service.keep(service.history.candidate_midi, number, candidate, only_new)
    return Response(midi, media_type=MIDI_TYPE)


@_proposals.get("/proposals/{number}/candidates/{candidate}/notes")
async def candidate_notes(
    request: Request, number: Number, candidate: Number, only_new: bool = False
) -> dict[str, Any]:
    """Every note and bar line, to draw. Alone, the new notes begin at tick 0."""
    service = _service(request)
    midi = await service.keep(service.history.candidate_midi, number, candidate, only_new)
    return await service.read(lambda: notes_of(read_midi(midi).score))


@_proposals.post("/proposals/{number}/candidates/{candidate}/decision")
async def decide(request: Request, number: Number, candidate: Number, body: JsonObject) -> DecisionInfo:
    """Accept, keep or reject. What is accepted becomes the session's current score."""
    service = _service(request)
    verdict = _object(body).get("verdict")
    if verdict not in VERDICTS:
        raise UserError("The verdict makes no sense", f"It is one of {', '.join(VERDICTS)}.")
    facts, name = None, ""
    if verdict == "accept":
        facts = await service.read(_facts, await service.keep(service.history.candidate_midi, number, candidate))
        name = await service.keep(_name_after, service.history, number)
    decision = await service.keep(service.history.decide, number, candidate, verdict, name, facts)
    service.events.publish({"type": "decision", "decision": decision})
    return decision


def _name_after(history: History, number: int) -> str:
    """ "Waltz" for the first that is accepted and for all that follow from it."""
    proposal = history.proposal(number)
    return (history.session(proposal.session) if proposal.score is None else history.score(proposal.score)).name


@_proposals.post("/proposals/{number}/candidates/{candidate}/file", status_code=201)
async def make_file(request: Request, number: Number, candidate: Number, body: JsonObject) -> dict[str, str]:
    """Write a candidate as a MIDI file that stays: where it is, and a link under which a browser can fetch it.

    Body: name (optional, without folders), only_new (optional, false).
    """
    service = _service(request)
    only_new = _object(body).get("only_new", False) is True
    midi = await service.keep(service.history.candidate_midi, number, candidate, only_new)
    stem = _name(str(body.get("name") or await service.keep(_name_after, service.history, number)))
    stem = "".join("_" if char in '/\\:*?"<>|' else char for char in stem.removesuffix(".mid"))
    name = f"{stem.strip(' .')[:80] or 'Descant'} {number}-{candidate}{' new' if only_new else ''}.mid"
    files = service.folder / "files"
    try:
        files.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {files}: {error.strerror}", "Make room.") from error
    path = resolve_inside(files, name)
    await service.read(lambda: save_midi(read_midi(midi).score, path))
    code = secrets.token_urlsafe(32)
    while len(service.files) >= MOST_FILES:
        del service.files[next(iter(service.files))]
    service.files[code] = path
    return {"path": str(path), "url": f"{service.running.address}/files/{code}/{quote(path.name)}"}


# --- Everything as it happens --------------------------------------------------------------------------

_events = APIRouter()


@_events.websocket("/events")
async def events(socket: WebSocket) -> None:
    """Every event as one JSON text. What a client sends is not looked at."""
    service = _service(socket)
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope.get("subprotocols", ()) else None)
    queue = service.events.listen()
    leaving = asyncio.create_task(_until_left(socket))
    try:
        hello = {"type": "hello", "version": program_version(), "engine": service.engine_state()}
        await socket.send_text(_encode({**hello, "queue": service.jobs.counts}))
        while not leaving.done():
            next_event = asyncio.create_task(queue.get())
            await asyncio.wait({next_event, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not next_event.done():
                next_event.cancel()
                break
            event = next_event.result()
            if event is None:
                await socket.close(1013, "You are too slow; connect again")
                break
            await socket.send_text(_encode(event))
    except (WebSocketDisconnect, RuntimeError):  # it left while something was being sent
        pass
    finally:
        service.events.leave(queue)
        leaving.cancel()


async def _until_left(socket: WebSocket) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.receive()
