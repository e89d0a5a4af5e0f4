"""A real server for tests: `descant serve` as a process of its own, with a folder of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from assistant.client import Client
from assistant.session import ProposalInfo
from assistant.settings import HOME_VARIABLE, token

ROOT = Path(__file__).resolve().parents[1]
ENDED = ("done", "failed", "cancelled")
SECONDS = 60  # that a slow machine may take for what is waited for


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """A running server. `folder` holds its files, `process` is its own process."""

    def __init__(self, folder: Path, weights: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.weights = weights
        self._arguments = arguments
        self._environment = environment
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*command("serve"), "--no-browser", "--no-midi", "--port", str(self.port), *self._arguments],
            env=environment(self.folder, self.weights) | self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[0]
        try:
            self.health()
        except OSError:
            return False
        return True

    def stop(self) -> str:
        """End it as Ctrl-C does; what it said."""
        if self.process.poll() is None:
            self.process.send_signal(2)
        return self.process.communicate(timeout=SECONDS)[0]

    @property
    def token(self) -> str:
        return token(self.folder)

    def client(self) -> Client:
        return Client(self.port, self.token)

    def health(self) -> dict[str, Any]:
        status, _, body = self.raw("GET", "/health")
        assert status == 200
        result: dict[str, Any] = json.loads(body)
        return result

    def raw(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own, with only the headers given (and the right Host)."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.health()["engine"]["state"] == "ready")

    def ended(self, client: Client, number: int) -> ProposalInfo:
        """A proposal once it has ended."""
        wait_for(lambda: client.proposal(number).state in ENDED)
        return client.proposal(number)


def command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-c", "import sys; from assistant.cli import main; sys.exit(main())", *words]


def environment(folder: Path, weights: Path) -> dict[str, str]:
    """The environment of a command that has a folder of its own and small weights."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        HOME_VARIABLE: str(folder),
        "DESCANT_WEIGHTS": str(weights),
    }


def wait_for(condition: Any, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


@contextmanager
def served(folder: Path, weights: Path, *arguments: str, **more: str) -> Iterator[Served]:
    server = Served(folder, weights, *arguments, **more)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()
