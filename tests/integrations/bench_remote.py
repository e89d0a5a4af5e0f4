"""A DAW whose script talks to Bridges, and a double that runs as a process of its own."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from assistant.bridges import Bridges, secret
from assistant.daws import plan_install
from integrations import wire
from integrations.scripts import FOLDER, Connection, Script
from tests.integrations.bench import LONGEST, TOKEN, Bench, until


@dataclass
class Double:
    """A DAW's double as a process that takes a JSON command a line and answers each with one."""

    process: subprocess.Popen[str]
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def start(cls, *command: str, environment: dict[str, str] | None = None) -> Self:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if environment is None else subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        return cls(process)

    def __call__(self, cmd: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        with self.lock:
            self._tell({"cmd": cmd, "now": time.monotonic(), **arguments})
            while True:
                line = self._read()
                if not line:
                    raise AssertionError(f"the double ended: {self.process.wait()}")
                answer: dict[str, Any] = json.loads(line)
                if "make" not in answer:
                    assert "failed" not in answer, answer["failed"]
                    return answer
                Path(answer["make"]).mkdir(parents=True, exist_ok=True)
                self._tell({})

    def _read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()


class RemoteBench(Bench):
    """A bench whose DAW talks to Bridges. Subclasses start the double and give it turns."""

    def serve(self) -> None:
        self.bridges = Bridges(self.folder / "home", TOKEN, self.asked, port=getattr(self, "port", 0))
        wire.PATIENCE = LONGEST  # of whoever connects from now on: a busy machine may take its time
        self.bridges.start()
        assert self.bridges.problems == []
        self.port = self.bridges.port

    def install(self, script: Script) -> Path:
        """Our folder among the DAW's scripts, as the command writes it."""
        connection = Connection(self.folder / "home" / "daw", self.port, secret(TOKEN))
        for path, content in plan_install(script, self.folder / "scripts", connection):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.folder / "scripts" / FOLDER

    def turn(self) -> None:
        """Let the DAW work for a moment; one that takes turns by itself has nothing to be told."""

    def go(self) -> None:
        """Give the DAW turns from now on, and wait until it has come to us."""
        self.stopping = threading.Event()
        self.turning = threading.Thread(target=self._turns, daemon=True)
        self.turning.start()
        until(lambda: self.bridges.connected)
        self.daw = self.bridges.connected[0]

    def _turns(self) -> None:
        while not self.stopping.is_set():
            self.turn()
            time.sleep(0.003)

    def stop_turns(self) -> None:
        self.stopping.set()
        self.turning.join()

    def restart_server(self) -> None:
        self.bridges.close()
        self.serve()
        until(lambda: self.bridges.connected)
        self.daw = self.bridges.connected[0]
