"""The server for Python programs: every route as a method, every answer with its type.

    with connect() as client:
        score = client.upload(Path("song.mid").read_bytes(), name="Song")
        proposal = client.propose(score.id, "continue", bars=8, key="D minor")
        midi = client.candidate_midi(proposal.id, 1)

Errors of the server are raised as the UserError they were. A client is for one thread at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

from assistant.session import CandidateInfo, DecisionInfo, ProposalInfo, ScoreInfo, SessionInfo
from assistant.settings import Running, home, read_running, token
from models.errors import UserError

ADDRESS = "127.0.0.1"


class ServerError(UserError):
    """What the server refused or could not do. status: of HTTP; retry_after: seconds, where it said so."""

    def __init__(self, message: str, hint: str, status: int, retry_after: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status
        self.retry_after = retry_after


def is_running(running: Running, timeout: float = 5.0) -> bool:
    """Whether the server that wrote `running` about itself is the one that answers there."""
    try:
        with Client(running.port, "", timeout) as client:
            return bool(client.health()["instance"] == running.instance)
    except (UserError, KeyError, TypeError):
        return False


def connect(folder: Path | None = None, timeout: float = 60.0) -> Client:
    """A client of the server that runs on this computer. UserError when none does.

    folder: of the server's own files, `settings.home()` where not given. timeout: seconds for any one answer.
    """
    folder = folder or home()
    running = read_running(folder)
    if running is None or not is_running(running):
        raise UserError("No Descant server runs", "Start it with: descant serve")
    return Client(running.port, token(folder), timeout)


class Client:
    """A connection to the server on a port; also a context manager."""

    def __init__(self, port: int, token: str, timeout: float = 60.0) -> None:
        self.port = port
        self._token = token
        self._connection = HTTPConnection(ADDRESS, port, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # --- The server ---------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        return self._object("GET", "/health")

    def make_link(self) -> str:
        """A link that opens the page once."""
        return str(self._object("POST", "/links")["url"])

    def operations(self) -> dict[str, Any]:
        return self._object("GET", "/operations")

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The settings, after `changes` were made to them."""
        return self._object("PATCH", "/settings", changes) if changes else self._object("GET", "/settings")

    # --- Sessions and scores ------------------------------------------------------------------------------

    def add_session(self, name: str = "") -> SessionInfo:
        return SessionInfo(**self._object("POST", "/sessions", {"name": name}))

    def session(self, session: int) -> SessionInfo:
        return SessionInfo(**self._object("GET", f"/sessions/{session}"))

    def sessions(self) -> list[SessionInfo]:
        return [SessionInfo(**item) for item in self._list("/sessions")]

    def undo(self, session: int) -> DecisionInfo:
        return DecisionInfo(**self._object("POST", f"/sessions/{session}/undo"))

    def upload(self, midi: bytes, name: str = "", session: int | None = None) -> ScoreInfo:
        """Send a MIDI file. session: a new one where not given."""
        query = urlencode({"name": name} | ({} if session is None else {"session": session}))
        body = self._bytes("POST", f"/scores?{query}", midi, "audio/midi")
        return ScoreInfo(**json.loads(body))

    def hum(self, sound: bytes, name: str = "", session: int | None = None, **words: Any) -> ScoreInfo:
        """Send a sound file; what is hummed, whistled or played in it, as a score.

        name: of the file. words: performed (its own timing, not the grid), tempo, key, grid, program.
        """
        query = urlencode({"name": name, **words} | ({} if session is None else {"session": session}))
        return ScoreInfo(**json.loads(self._bytes("POST", f"/audio/hum?{query}", sound, "audio/wav")))

    def score(self, number: int) -> ScoreInfo:
        return ScoreInfo(**self._object("GET", f"/scores/{number}"))

    def scores(self, session: int) -> list[ScoreInfo]:
        return [ScoreInfo(**item) for item in self._list(f"/sessions/{session}/scores")]

    def score_midi(self, number: int) -> bytes:
        return self._bytes("GET", f"/scores/{number}/midi")

    def score_notes(self, number: int) -> dict[str, Any]:
        return self._object("GET", f"/scores/{number}/notes")

    # --- Proposals ----------------------------------------------------------------------------------------

    def ask(self, score: int, operation: str, **words: Any) -> ProposalInfo:
        """Ask for candidates in the words of the command line, and do not wait for them."""
        return _proposal(self._object("POST", "/proposals", {"score": score, "operation": operation, **words}))

    def propose(self, score: int, operation: str, **words: Any) -> ProposalInfo:
        """Ask for candidates, and wait for them. Raises ServerError when that fails."""
        for event in self.follow(score, operation, **words):
            if event["type"] in ("done", "failed", "cancelled"):
                result = _proposal(event["result"])
                if result.error:
                    raise ServerError(result.error["message"], result.error["hint"], 422)
                return result
        raise ServerError("The server has gone", "See whether it still runs.", 0)

    def follow(self, score: int, operation: str, **words: Any) -> Iterator[dict[str, Any]]:
        """The events of a new proposal as they happen. Whoever closes the iterator early calls it off."""
        words = {"score": score, "operation": operation, **words}
        yield from self._lines("/proposals?follow=true", words)

    def replay(self, number: int) -> ProposalInfo:
        """Make a proposal again, without waiting for it."""
        return _proposal(self._object("POST", f"/proposals/{number}/replay"))

    def cancel(self, number: int) -> ProposalInfo:
        return _proposal(self._object("DELETE", f"/proposals/{number}"))

    def proposal(self, number: int) -> ProposalInfo:
        return _proposal(self._object("GET", f"/proposals/{number}"))

    def proposals(self, session: int | None = None) -> list[ProposalInfo]:
        query = "" if session is None else f"?session={session}"
        return [_proposal(item) for item in self._list(f"/proposals{query}")]

    def candidate_midi(self, proposal: int, candidate: int, only_new: bool = False) -> bytes:
        only = "?only_new=true" if only_new else ""
        return self._bytes("GET", f"/proposals/{proposal}/candidates/{candidate}/midi{only}")

    def decide(self, proposal: int, candidate: int, verdict: str) -> DecisionInfo:
        """verdict: accept, keep or reject."""
        path = f"/proposals/{proposal}/candidates/{candidate}/decision"
        return DecisionInfo(**self._object("POST", path, {"verdict": verdict}))

    def make_file(self, proposal: int, candidate: int, only_new: bool = False, name: str = "") -> dict[str, Any]:
        """Have a candidate written as a file that stays; its path and a link to it."""
        path = f"/proposals/{proposal}/candidates/{candidate}/file"
        return self._object("POST", path, {"only_new": only_new, "name": name})

    # --- DAWs ---------------------------------------------------------------------------------------------

    def daws(self) -> dict[str, Any]:
        """The DAWs whose scripts are connected, and what hinders others."""
        return self._object("GET", "/daws")

    def test_daw(self, name: str) -> dict[str, Any]:
        """Read, write and take back in a DAW with a clip selected; what was tried, step by step."""
        return self._object("POST", f"/daws/{name}/test")

    def press_daw(self, name: str, action: str, **options: Any) -> None:
        """The same as a key in a DAW that is connected; it tells its user what becomes of it."""
        self._object("POST", f"/daws/{name}/press", {"action": action, "options": options})

    # --- Styles -------------------------------------------------------------------------------------------

    def styles(self, *names: str) -> list[dict[str, Any]]:
        """The cards of all styles, or of those named, side by side."""
        query = urlencode([("name", name) for name in names])
        found: list[dict[str, Any]] = self._object("GET", f"/styles?{query}")["styles"]
        return found

    def style(self, name: str) -> dict[str, Any]:
        return self._object("GET", f"/styles/{quote(name)}")

    def export_style(self, name: str) -> bytes:
        """A style as a zip file."""
        return self._bytes("GET", f"/styles/{quote(name)}/file")

    def import_style(self, parcel: bytes, name: str | None = None, force: bool = False) -> dict[str, Any]:
        """Take in what `export_style` gave; its card. name: what to call it here."""
        query = urlencode({"force": force} | ({} if name is None else {"name": name}))
        card: dict[str, Any] = json.loads(self._bytes("POST", f"/styles?{query}", parcel, "application/zip"))
        return card

    def remove_style(self, name: str) -> None:
        self._object("DELETE", f"/styles/{quote(name)}")

    def trainings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._object("GET", "/trainings")["trainings"]
        return found

    def training(self, name: str) -> dict[str, Any]:
        return self._object("GET", f"/trainings/{quote(name)}")

    def send_for_training(self, name: str, file: str, midi: bytes) -> dict[str, Any]:
        """Send a MIDI file that the style is to learn from."""
        path = f"/trainings/{quote(name)}/files?{urlencode({'file': file})}"
        sent: dict[str, Any] = json.loads(self._bytes("POST", path, midi, "audio/midi"))
        return sent

    def train(self, name: str, **words: Any) -> dict[str, Any]:
        """Start a training, or go on with one that was stopped, and do not wait for it.

        words: folder (without it, what was sent), minutes, from, threads, force.
        """
        return self._object("POST", f"/trainings/{quote(name)}", words)

    def stop_training(self, name: str, forget: bool = False) -> dict[str, Any]:
        query = "?forget=true" if forget else ""
        return self._object("DELETE", f"/trainings/{quote(name)}{query}")

    # --- Everything as it happens -------------------------------------------------------------------------

    @contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """All events of the server, from the moment the context is entered."""
        from websockets.sync.client import connect as connect_socket

        uri = f"ws://{ADDRESS}:{self.port}/events"
        headers = {"Authorization": f"Bearer {self._token}"}
        with connect_socket(uri, additional_headers=headers, max_size=None, proxy=None) as socket:
            yield (json.loads(text) for text in socket)

    # --- HTTP ---------------------------------------------------------------------------------------------

    def _object(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None and method in ("GET", "DELETE") else json.dumps(body or {}).encode()
        result: dict[str, Any] = json.loads(self._bytes(method, path, data))
        return result

    def _list(self, path: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = json.loads(self._bytes("GET", path))
        return result

    def _bytes(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        with self._answer(method, path, body, kind) as answer:
            return answer.read()

    def _lines(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        with self._answer("POST", path, json.dumps(body).encode(), "application/json") as answer:
            finished = False
            try:
                for line in answer:
                    if line.strip():  # an empty one says that the server is there
                        yield json.loads(line)
                finished = True
            finally:
                if not finished:  # what is left of the stream is in the way of the next request
                    self._connection.close()

    @contextmanager
    def _answer(self, method: str, path: str, body: bytes | None, kind: str) -> Iterator[HTTPResponse]:
        headers = {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            answer = self._send(method, path, body, headers)
            if answer.status >= 400:
                raise _server_error(answer)
            yield answer
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise UserError(f"The server at port {self.port} does not answer", "Start it: descant serve") from error

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> HTTPResponse:
        fresh = self._connection.sock is None
        try:
            self._connection.request(method, path, body, headers)
            return self._connection.getresponse()
        except (ConnectionError, HTTPException):
            self._connection.close()
            if fresh:
                raise
        # The server closes connections that were idle for a while; nothing of the request was looked at.
        self._connection.request(method, path, body, headers)
        return self._connection.getresponse()


def _server_error(answer: HTTPResponse) -> ServerError:
    try:
        said = json.loads(answer.read())["error"]
        message, hint = str(said["message"]), str(said["hint"])
    except (ValueError, KeyError, TypeError):
        message, hint = f"The server answered with status {answer.status}", "Is it Descant that runs there?"
    return ServerError(message, hint, answer.status, int(answer.getheader("Retry-After") or 0))


def _proposal(item: dict[str, Any]) -> ProposalInfo:
    candidates = [CandidateInfo(**candidate) for candidate in item["candidates"]]
    return ProposalInfo(**{**item, "candidates": candidates})
