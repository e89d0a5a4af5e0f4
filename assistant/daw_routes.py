"""The server's routes about DAWs: which are there, trying one out, and pressing its keys from elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from assistant.bridges import Bridges
from assistant.daws import round_trip
from integrations.base import ACTIONS, Closed
from models.errors import UserError

router = APIRouter()


def _bridges(request: Request) -> Bridges:
    bridges: Bridges = request.app.state.service.bridges
    return bridges


@router.get("/daws")
async def daws(request: Request) -> dict[str, Any]:
    """The DAWs whose scripts are connected, what they can do, and what hinders others."""
    bridges = _bridges(request)
    return {
        "daws": [asdict(daw.hello) for daw in bridges.connected],
        "problems": [{"message": problem.message, "hint": problem.hint} for problem in bridges.problems],
    }


@router.post("/daws/{name}/test")
async def test(request: Request, name: str) -> dict[str, Any]:
    """Read, write and take back in a DAW with a clip selected."""
    for daw in _bridges(request).connected:
        if daw.name == name:
            return {"steps": [asdict(step) for step in await asyncio.to_thread(round_trip, daw)]}
    raise _absent(name)


@router.post("/daws/{name}/press", status_code=202)
async def press(request: Request, name: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """The same as a key in the DAW: {"action": "continue", "options": {"bars": 4}}."""
    action, options = body.get("action"), body.get("options") or {}
    if action not in (*ACTIONS, "cancel") or not isinstance(options, dict):
        raise UserError("There is no such key", f"The keys are {', '.join((*ACTIONS, 'cancel'))}.")
    if not _bridges(request).press(name, action, options):
        raise _absent(name)
    return {"pressed": action}


def _absent(name: str) -> UserError:
    return Closed(f"{name[:40]} is not connected", "Start it, and press one of Descant's keys there.")
