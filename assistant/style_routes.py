"""Styles over HTTP: what there is, making one from a folder or from files that are sent, taking them elsewhere."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response

from assistant.styles import (
    find_style,
    import_style,
    packed_style,
    read_card,
    remove_style,
    style_names,
)
from assistant.trainings import Trainings
from models.errors import UserError

router = APIRouter()
ZIP_TYPE = "application/zip"


def _trainings(request: Request) -> Trainings:
    trainings: Trainings = request.app.state.service.trainings
    return trainings


def is_upload(path: str) -> bool:
    """Routes whose body may be as large as a file."""
    return path == "/styles" or (path.startswith("/trainings/") and path.endswith("/files"))


def changed(request: Request, name: str, what: str) -> None:
    request.app.state.service.events.publish({"type": "style", "name": name, "change": what})


# --- What there is --------------------------------------------------------------------------------------


@router.get("/styles")
async def styles(request: Request, name: Annotated[list[str] | None, Query()] = None) -> dict[str, Any]:
    """The cards of all styles, or of those named, to compare. A damaged one has an error in place of figures."""
    return {"styles": await asyncio.to_thread(lambda: [_card(one) for one in name or style_names()])}


def _card(name: str) -> dict[str, Any]:
    find_style(name)
    try:
        return read_card(name)
    except UserError as error:
        return {"name": name, "usable": False, "error": {"message": error.message, "hint": error.hint}}


@router.get("/styles/{name}")
async def style(name: str) -> dict[str, Any]:
    return await asyncio.to_thread(read_card, name)


@router.delete("/styles/{name}")
async def remove(request: Request, name: str) -> dict[str, str]:
    await asyncio.to_thread(remove_style, name)
    changed(request, name, "removed")
    return {"removed": name}


@router.get("/styles/{name}/file")
async def export(name: str) -> Response:
    """The style as one zip file."""
    body = await asyncio.to_thread(packed_style, name)
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_")
    headers = {"Content-Disposition": f'attachment; filename="{ascii_name}.zip"'}
    return Response(body, media_type=ZIP_TYPE, headers=headers)


@router.post("/styles", status_code=201, openapi_extra={"requestBody": {"content": {ZIP_TYPE: {}}}})
async def bring(request: Request, name: str | None = None, force: bool = False) -> dict[str, Any]:
    """Take in a style from a zip file, sent as it is."""
    body = await request.body()
    found = await asyncio.to_thread(import_style, body, name, force)
    changed(request, found, "imported")
    return await asyncio.to_thread(read_card, found)


# --- Making one -----------------------------------------------------------------------------------------


@router.get("/trainings")
async def trainings(request: Request) -> dict[str, Any]:
    """All trainings: running, stopped, and those that ended since the server started."""
    return {"trainings": [training.as_json() for training in _trainings(request).all()]}


@router.get("/trainings/{name}")
async def training(request: Request, name: str) -> dict[str, Any]:
    return _trainings(request).get(name).as_json()


@router.post("/trainings/{name}/files", status_code=201)
async def add_file(request: Request, name: str, file: str) -> dict[str, Any]:
    """Send one MIDI file, as it is, to learn from; it stays in a private folder until the style is made."""
    return (await _trainings(request).add_file(name, file, await request.body())).as_json()


@router.post("/trainings/{name}", status_code=202)
async def begin(request: Request, name: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """Start, or go on with one that was stopped: {"folder": "/music/midi", "minutes": 10, "from": null,
    "threads": 1, "force": false}. Without a folder it learns from the files that were sent."""
    return (await _trainings(request).begin(name, body)).as_json()


@router.delete("/trainings/{name}")
async def stop(request: Request, name: str, forget: bool = False) -> dict[str, Any]:
    """Stop; it can go on later. forget: drop what it has learned and what was sent for it, too."""
    return (await _trainings(request).stop(name, forget)).as_json()
