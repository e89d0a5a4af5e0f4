"""Who may talk to the server: programs of this computer that know the token, and the page that got it from us.

    Guard:  foreign Host or Origin -> 403 | without the token -> 401 | a body too large -> 413 | the application

Pure ASGI, so that WebSockets pass the same checks and nothing of a request is read before them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from pathlib import Path
from typing import Any

from models.errors import UserError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_UPLOAD = 10 << 20  # bytes of a MIDI file
MAX_JSON = 256 << 10  # bytes of any other body
MOST_DISCARDED = 64 << 20  # bytes beyond a limit that are read and forgotten before the answer
DISCARD_SECONDS = 0.5  # of silence that end this
SUBPROTOCOL = "descant"  # a browser cannot set headers of a WebSocket: it offers this and "bearer.TOKEN"
LINK_SECONDS = 10 * 60  # for which a one-time link waits


class Guard:
    """Wraps an ASGI application. `port` is the one the server listens on, `token` the secret it wants."""

    def __init__(
        self,
        app: App,
        port: int,
        token: str,
        is_open: Callable[[str, str], bool],
        most: Callable[[str], int],
    ) -> None:
        """is_open(method, path): the few routes that need no token. most(path): bytes that a body may have."""
        self._app = app
        self._hosts = {f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()}
        self._origins = {b"http://" + host for host in self._hosts}
        self._token = token.encode()
        self._is_open = is_open
        self._most = most
        self._headers = security_headers(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            await _refuse(scope, receive, send, *refusal, self._headers)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._with_limit(scope, receive, self._with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        """Status, sentence and hint of what is wrong with a request, judged by its head alone."""
        hosts = _values(scope, b"host")
        origins = _values(scope, b"origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 403, "This address is not the server's", "Use the address that `descant serve` shows."
        if len(origins) > 1 or (origins and origins[0] not in self._origins):
            return 403, "Pages of other sites may not use this server", "Open the link that `descant serve` shows."
        if self._is_open(scope.get("method", "WEBSOCKET"), scope["path"]) or self._knows_token(scope):
            return None
        return 401, "The token is missing or wrong", "`descant token` says where it is kept."

    def _knows_token(self, scope: Scope) -> bool:
        offered = [value[7:] for value in _values(scope, b"authorization") if value[:7].lower() == b"bearer "]
        if scope["type"] == "websocket":
            protocols = [
                part.strip() for value in _values(scope, b"sec-websocket-protocol") for part in value.split(b",")
            ]
            offered += [part[7:] for part in protocols if part[:7] == b"bearer."]
        return len(offered) == 1 and compare_digest(offered[0], self._token)

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message.get("headers", ())}
                added = [header for header in self._headers if header[0] not in present]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        return sending

    async def _with_limit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its body cut off where it grows too large: nothing larger is ever kept."""
        most = self._most(scope["path"])
        too_large = (413, f"More than {_size(most)} cannot be sent", "Split it, or leave parts of it out.")
        lengths = _values(scope, b"content-length")
        if lengths and (not re.fullmatch(rb"\d{1,15}", lengths[0]) or int(lengths[0]) > most):
            await _discard(receive)
            await _refuse(scope, receive, send, *too_large, self._headers)
            return
        received = 0
        started = refused = False

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise _TooLarge
            return message

        async def sending(message: Message) -> None:
            nonlocal started, refused
            if received <= most or started:
                started = True
                await send(message)
            elif not refused:  # whatever the application makes of a body that broke off
                refused = True
                await _refuse(scope, receive, send, *too_large, self._headers)

        try:
            await self._app(scope, counting, sending)
        except _TooLarge:
            await _discard(receive)
            await sending({"type": "http.response.start"})


class _TooLarge(Exception):
    """Stops the application where it reads a body that has grown too large."""


async def _discard(receive: Receive) -> None:
    """Read on without keeping anything, for as long as it flows: a client that still sends hears no answer."""
    discarded = 0
    while discarded < MOST_DISCARDED:
        try:
            message = await asyncio.wait_for(receive(), DISCARD_SECONDS)
        except TimeoutError:
            return
        discarded += len(message.get("body", b""))
        if not message.get("more_body"):
            return


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count >> 10} KB"


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


async def _refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    message: str,
    hint: str,
    headers: list[tuple[bytes, bytes]],
) -> None:
    body = json.dumps({"error": {"message": message, "hint": hint}}).encode()
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    if scope["type"] == "websocket" and kind not in scope.get("extensions", {}):
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": message})  # answered with 403
        return
    named = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the body is never read
    ]
    if status == 401:
        named.append((b"www-authenticate", b"Bearer"))
    await send({"type": f"{kind}.start", "status": status, "headers": [*named, *headers]})
    await send({"type": f"{kind}.body", "body": body})


def security_headers(port: int) -> list[tuple[bytes, bytes]]:
    """What every answer carries: the page may load and reach this server, and nothing else."""
    sockets = f"ws://127.0.0.1:{port} ws://localhost:{port}"  # not every browser counts them as 'self'
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "font-src": "'self'",
        "media-src": "'self' blob:",
        "worker-src": "'self'",
        "connect-src": f"'self' {sockets}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(self), midi=(self)",
        "cache-control": "no-store",
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class OneTimeLinks:
    """Codes that are worth the token once, and for ten minutes."""

    MOST = 32  # that wait at a time; the oldest gives way

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._ends: dict[str, float] = {}

    def make(self) -> str:
        code = secrets.token_urlsafe(32)
        while len(self._ends) >= self.MOST:
            del self._ends[next(iter(self._ends))]
        self._ends[code] = self._now() + LINK_SECONDS
        return code

    def take(self, code: str) -> bool:
        """True the first time a code is shown, if it is one of ours and in time."""
        # Codes are random and as long as the token: how long a look-up takes tells nobody anything.
        return self._ends.pop(code, 0.0) > self._now()


def resolve_inside(root: Path, name: str) -> Path:
    """The path of the file or folder `name` within `root`, whatever `name` is; it need not exist.

    Raises UserError for a name that leads outside, through links too, or that no system would take.
    """
    refusal = UserError(f'"{name[:100]!a}" is not a name within this folder', "Use a plain file name.")
    if not name or "\0" in name or "\\" in name or ":" in name or name.startswith("/"):
        raise refusal
    if any(part in ("", ".", "..") or part.rstrip(". ") != part for part in name.split("/")):
        raise refusal
    try:
        base = root.resolve()
        path = Path(os.path.realpath(base / name))
    except (OSError, ValueError, RuntimeError) as error:
        raise refusal from error
    if not path.is_relative_to(base):
        raise refusal
    return path
