"""Live playing over HTTP: ports, transport, capture, answers. Everything it does is in assistant/live/."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from assistant import asking
from assistant.facts import score_facts
from assistant.service import Service
from assistant.session import ScoreInfo
from models.errors import UserError
from models.midi_file import read_midi, write_midi

router = APIRouter()
JsonObject = Annotated[dict[str, Any], Body()]


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _state_after(service: Service, work: Callable[[], object]) -> dict[str, Any]:
    await asyncio.to_thread(work)
    return service.live_state()


@router.get("/live")
async def live(request: Request) -> dict[str, Any]:
    """Ports, transport, mode and settings; running is false, and problem says why, where there is no MIDI."""
    return _service(request).live_state()


@router.post("/live/start")
async def start(request: Request) -> dict[str, Any]:
    """Open the virtual ports."""
    await _service(request).start_live()
    return _service(request).live_state()


@router.post("/live/close")
async def close(request: Request) -> dict[str, Any]:
    """Release every note and close the ports."""
    await _service(request).stop_live()
    return _service(request).live_state()


@router.patch("/live/settings")
async def configure(request: Request, body: JsonObject) -> dict[str, Any]:
    """Change some of the settings that GET /live shows."""
    service = _service(request)
    # JSON knows no tuples.
    changes = {
        name: tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if isinstance(value, list)
        else value
        for name, value in body.items()
    }
    known = service.live_state().get("settings", {})
    if unknown := [name for name in changes if known and name not in known]:
        raise UserError(f"There is no setting {ascii(unknown[0])[:60]}", f"The settings are {', '.join(known)}.")
    try:
        return await _state_after(service, lambda: service.live.configure(**changes))
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            "A value of these settings makes no sense", "GET /live shows what they look like."
        ) from error


@router.post("/live/transport")
async def transport(request: Request, body: JsonObject) -> dict[str, Any]:
    """do: play, stop, or locate (with beat, in quarter notes from the start)."""
    service = _service(request)
    beat = body.get("beat", 0.0)
    if isinstance(beat, bool) or not isinstance(beat, int | float) or not 0 <= beat <= 1e6:
        raise UserError("The beat makes no sense", "Say how many quarter notes from the start.")
    verbs: dict[str, Callable[[], object]] = {
        "play": lambda: service.live.play_transport(),
        "stop": lambda: service.live.stop_transport(),
        "locate": lambda: service.live.locate(float(beat)),
    }
    verb = verbs.get(str(body.get("do")))
    if verb is None:
        raise UserError("The transport cannot do this", f"It does one of {', '.join(verbs)}.")
    return await _state_after(service, verb)


@router.post("/live/play")
async def play(request: Request, body: JsonObject) -> dict[str, Any]:
    """Play a candidate's new notes (proposal, candidate) or a score through the output, from the next bar on, or
    from the song's beat `at`."""
    service = _service(request)
    at = body.get("at")
    if at is not None and (isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= 1e6):
        raise UserError("The beat makes no sense", "Say how many quarter notes from the start.")
    numbers = {name: body.get(name) for name in ("proposal", "candidate", "score")}
    if any(value is not None and (type(value) is not int or not 1 <= value <= 2**53) for value in numbers.values()):
        raise UserError("The numbers make no sense", "Name a proposal and a candidate, or a score.")
    history = service.history
    if numbers["score"] is not None:
        midi = await service.keep(history.score_midi, numbers["score"])
    elif numbers["proposal"] is not None and numbers["candidate"] is not None:
        midi = await service.keep(history.candidate_midi, numbers["proposal"], numbers["candidate"], True)
    else:
        raise UserError("There is nothing named to play", "Name a proposal and a candidate, or a score.")
    score = (await service.read(read_midi, midi)).score
    begins = await asyncio.to_thread(lambda: service.live.play(score, None if at is None else float(at)))
    return {**service.live_state(), "begins": begins}


@router.post("/live/stop")
async def stop(request: Request) -> dict[str, Any]:
    """Drop what is queued or sounding, and end a running answer."""
    service = _service(request)
    return await _state_after(service, lambda: service.live.stop())


@router.post("/live/panic")
async def panic(request: Request) -> dict[str, Any]:
    """The same, and silence on all channels."""
    service = _service(request)
    return await _state_after(service, lambda: service.live.panic())


@router.post("/live/capture", status_code=201)
async def capture(request: Request, body: JsonObject) -> ScoreInfo:
    """Keep what was played last (bars: the last so many) as a score. session: a new one where none is named."""
    service = _service(request)
    bars, session = body.get("bars"), body.get("session")
    for value in (bars, session):
        if value is not None and (type(value) is not int or not 1 <= value <= 2**53):
            raise UserError("The numbers make no sense", "Say how many bars, and the number of a session.")
    captured = await asyncio.to_thread(lambda: service.live.capture(bars))
    midi = await service.read(write_midi, captured.quantised)
    facts = await service.read(score_facts, captured.quantised, ())
    return await service.add_score("Played", midi, facts, session)


@router.post("/live/continue")
async def continue_played(request: Request, body: JsonObject) -> dict[str, Any]:
    """Go on from what was just played: bars, and the controls that every request has."""
    service, words = _service(request), _words("continue", body)
    options = asking.options_of(words)
    return await _state_after(service, lambda: service.live.continue_played(words.bars, options))


@router.post("/live/answer")
async def answer(request: Request, body: JsonObject) -> dict[str, Any]:
    """Call and response, so many bars each, until it is stopped."""
    service, words = _service(request), _words("continue", body)
    options = asking.options_of(words)
    return await _state_after(service, lambda: service.live.answer(words.bars, options))


@router.post("/live/accompany")
async def accompany(request: Request, body: JsonObject) -> dict[str, Any]:
    """Play along with the instruments that `add` names, until it is stopped."""
    service, words = _service(request), _words("accompany", body)
    options = asking.options_of(words)
    return await _state_after(service, lambda: service.live.accompany(words.add, options))


def _words(operation: str, body: dict[str, Any]) -> Namespace:
    said = {"candidates": 1, **({"bars": 4} if operation == "continue" else {}), **body}
    return asking.parse_words({**said, "operation": operation})
