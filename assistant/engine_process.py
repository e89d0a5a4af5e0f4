"""The engine worker as the server sees it: started, fed one job at a time, stopped, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from assistant.worker import Message, pack

PATIENCE = 0.3  # seconds that the worker gets to stop by itself, before it is killed and started anew
ROOT = Path(__file__).resolve().parents[1]

DIED = {
    "message": "The engine ended unexpectedly while it was making this",
    "hint": "It has been started again; ask once more, and for less if it happens again.",
}
NOT_STARTED = {
    "message": "The engine ended before it had started",
    "hint": "See whether `descant demo` works; Descant may have to be installed again.",
}


class _Current(NamedTuple):
    """The job that runs: where, what waits for its end, and who hears of it."""

    job: int
    process: Process
    end: asyncio.Future[Message]
    listener: Callable[[Message], None]


class EngineProcess:
    """One worker process. `state` is "starting", "ready" or "failed"; `error` says why it failed."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        """changed: called after every change of `state`."""
        self.state = "starting"
        self.error: dict[str, str] | None = None
        self.model_hash = ""
        self._changed = changed
        self._wanted = asyncio.Event()
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._jobs = 0
        self._failures = 0  # to start
        self._current: _Current | None = None

    def start(self) -> None:
        """Start the worker, and keep it running until `close`."""
        self._wanted.set()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the worker, whatever it does."""
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    async def run(
        self, asked: Mapping[str, Any], listener: Callable[[Message], None], stop: asyncio.Event
    ) -> Message:
        """Have one request made. Returns the last message about it: type done, cancelled or failed (with an error).

        asked: what the worker takes with "propose": words and midi, or request. listener: gets every message.
        stop: once set, the work ends within half a second. Not to be called while another job runs.
        """
        self._jobs += 1
        job = self._jobs
        end: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        stopping = asyncio.ensure_future(stop.wait())
        try:
            process = await self._running(stopping)
            if process is None:
                return {"type": "cancelled"} if stopping.done() else {"type": "failed", "error": self.error}
            self._current = _Current(job, process, end, listener)
            await self._send(process, {"do": "propose", "job": job, **asked})
            await asyncio.wait([end, stopping], return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
            if not end.done():
                await self._send(process, {"do": "cancel", "job": job})
                await asyncio.wait({end}, timeout=PATIENCE)
            if end.done():
                return end.result()
            if self.state == "ready":  # one that is still loading has not begun, and will not
                self._process = None  # nobody is to be sent there any more
                process.kill()
            return {"type": "cancelled"}
        finally:
            self._current = None
            stopping.cancel()

    async def _running(self, stopping: asyncio.Future[Any]) -> Process | None:
        """The process, once there is one; None when it does not start, or the job is stopped before that."""
        failures = self._failures
        self._wanted.set()
        while self._process is None and self._failures == failures and not stopping.done():
            await asyncio.sleep(0.01)
        return self._process

    async def _send(self, process: Process, message: Message) -> None:
        assert process.stdin is not None  # it was started with pipes
        with contextlib.suppress(OSError):  # it died; its keeper says so
            process.stdin.write(pack(message))
            await process.stdin.drain()

    async def _keep(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._change("starting")
            try:
                process = self._process = await _start()
            except OSError as error:
                self._fail({"message": f"The engine does not start: {error.strerror}", "hint": NOT_STARTED["hint"]})
                continue
            try:
                await self._listen(process)
            except asyncio.CancelledError:
                await _end(process)
                raise
            self._process = None
            await _end(process, patience=2.0)  # it has closed its end, or was killed
            if self.state == "ready":
                self._wanted.set()
                self._finish(process, {"type": "failed", "error": DIED})  # unless it was killed for a cancel
            else:  # it will not do any better at once: the next job tries again
                reason = self.error or NOT_STARTED
                self._finish(process, {"type": "failed", "error": reason})
                self._fail(reason)

    async def _listen(self, process: Process) -> None:
        """Pass on what the worker says, until it says no more."""
        assert process.stdout is not None  # it was started with pipes
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, ValueError):
            while True:
                size = int.from_bytes(await process.stdout.readexactly(4), "big")
                body = await process.stdout.readexactly(size)
                # A candidate of a long piece is large: reading it may not hold up the server.
                message = json.loads(body) if size < 100_000 else await asyncio.to_thread(json.loads, body)
                if message["type"] == "ready":
                    self.model_hash = message["model_hash"]
                    self._change("ready")
                elif message["type"] == "broken":
                    self.error = message["error"]
                elif message["type"] in ("done", "cancelled", "failed"):
                    self._finish(process, message)
                elif self._current and self._current.job == message["job"]:
                    self._current.listener(message)

    def _change(self, state: str, error: dict[str, str] | None = None) -> None:
        self.state, self.error = state, error
        self._changed()

    def _fail(self, error: dict[str, str]) -> None:
        self._failures += 1
        self._change("failed", error)

    def _finish(self, process: Process, message: Message) -> None:
        """End the job that runs there, if one does."""
        current = self._current
        if current is None or current.process is not process or current.end.done():
            return
        if message.get("job", current.job) == current.job:
            current.end.set_result(message)


async def _start() -> Process:
    # One thread: the musician's DAW needs the other cores. -P: a numpy.py beside a song is never imported.
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
    )
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "assistant.worker"),
        stdin=PIPE,
        stdout=PIPE,
        env={**os.environ, **threads, "PYTHONPATH": paths},
    )


async def _end(process: Process, patience: float = 0.0) -> None:
    """Wait for a process to end, and kill it when it does not within `patience` seconds."""
    if patience:  # killing one that is dead, but not yet noticed, would hide from asyncio how it ended
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
