"""Requests on their way: one is made, eight wait, more are sent away; and everyone who listens hears of it.

submit ── waiting ── the engine's process ── History.finish ── event
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

from assistant.engine_process import EngineProcess
from assistant.session import UNFINISHED, Answer, History, ProposalInfo, State
from assistant.worker import Message
from models.errors import UserError

MOST_WAITING = 8
ENDS = ("done", "failed", "cancelled")  # types of the last event about a proposal
MOST_EVENTS = 5000  # that wait for one slow listener, before it is let go
P = ParamSpec("P")
R = TypeVar("R")
Event = dict[str, Any]

LOST = {"message": "The end of this could not be kept", "hint": "Ask again, once there is room on the disk."}


class Busy(UserError):
    """The queue is full. retry_after: seconds until there should be room."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many requests are waiting", f"Try again in {retry_after} seconds.")
        self.retry_after = retry_after


class Events:
    """Hands every event to every listener."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event | None]] = set()

    def publish(self, event: Event) -> None:
        for queue in list(self._queues):
            if queue.qsize() < MOST_EVENTS:
                queue.put_nowait(event)
            else:
                self._queues.discard(queue)
                queue.put_nowait(None)

    def listen(self) -> asyncio.Queue[Event | None]:
        """A queue of the events from now on, until `leave`. None ends it: the listener was too slow."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[Event | None]) -> None:
        self._queues.discard(queue)


class Keeper:
    """The history for many tasks: every call is made in one thread of its own, one after the other."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._thread = ThreadPoolExecutor(1, "history")

    async def __call__(self, method: Callable[P, R], *values: P.args, **named: P.kwargs) -> R:
        # Shielded: a client that leaves does not leave a half-known state behind.
        work = partial(method, *values, **named)
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def close(self) -> None:
        self._thread.shutdown()
        self.history.close()


@dataclass(eq=False)
class Job:
    """A proposal that is queued or running."""

    proposal: ProposalInfo
    midi: bytes | None
    state: State = "queued"
    request: dict[str, Any] | None = None
    answers: list[Answer] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Jobs:
    """The queue in front of the engine."""

    def __init__(self, engine: EngineProcess, keep: Keeper, events: Events) -> None:
        self._engine = engine
        self._keep = keep
        self._events = events
        self._waiting: deque[Job] = deque()
        self._active: dict[int, Job] = {}  # by number of the proposal; also those that are just being kept
        self._lost: set[int] = set()  # whose end could not be kept
        self._places = 0  # taken by submissions on their way
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._usual = 2.0  # seconds that a job has taken lately

    def start(self) -> None:
        self._runner = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Call everything off, and return when the history knows."""
        for number in list(self._active):
            await self.cancel(number)
        if self._runner:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._runner

    @property
    def counts(self) -> dict[str, int]:
        running = sum(job.state == "running" for job in self._active.values())
        return {"running": running, "waiting": len(self._waiting)}

    @contextmanager
    def place(self) -> Iterator[None]:
        """Room in the queue, held while a submission is prepared. Raises Busy when there is none."""
        ahead = self._places + len(self._active)
        if ahead > MOST_WAITING:
            raise Busy(min(120, max(1, round(self._usual * ahead / 2))))
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    def submit(self, proposal: ProposalInfo, midi: bytes | None) -> None:
        """Queue a proposal that the history has. midi: its score's file."""
        job = Job(proposal, midi)
        self._active[proposal.id] = job
        self._waiting.append(job)
        self._events.publish({"type": "queued", "proposal": proposal.id, "session": proposal.session})
        self._wake.set()

    def cancel_soon(self, number: int) -> None:
        """Call a proposal off; nothing happens when it has ended."""
        if job := self._active.get(number):
            job.stop.set()
            if job in self._waiting:
                self._wake.set()

    async def cancel(self, number: int) -> None:
        """Call a proposal off and wait until it has ended, half a second at most where the disk is not slow."""
        if job := self._active.get(number):
            self.cancel_soon(number)
            await job.ended.wait()

    async def ended(self, number: int) -> None:
        """Wait until a proposal has ended."""
        if job := self._active.get(number):
            await job.ended.wait()

    async def proposal(self, number: int) -> ProposalInfo:
        """A proposal in the state that it is in by now."""
        return (await self._by_now(lambda: [self._keep.history.proposal(number)]))[0]

    async def proposals(self, session: int | None, most: int) -> list[ProposalInfo]:
        """Those of a session, or of all, the newest first."""
        return await self._by_now(lambda: self._keep.history.proposals(session, most))

    async def _by_now(self, read: Callable[[], list[ProposalInfo]]) -> list[ProposalInfo]:
        found = await self._keep(read)
        if any(info.state in UNFINISHED and info.id not in self._active for info in found):
            found = await self._keep(read)  # it ended while it was read
        return [self._with_state(info) if info.state in UNFINISHED else info for info in found]

    def _with_state(self, info: ProposalInfo) -> ProposalInfo:
        if job := self._active.get(info.id):
            return replace(info, state=job.state)
        return replace(info, state="failed", error=LOST) if info.id in self._lost else info

    async def _run(self) -> None:
        """Make one job after the other; those that were called off before their turn end beside it."""
        making: asyncio.Task[None] | None = None
        while True:
            self._wake.clear()
            for job in [job for job in self._waiting if job.stop.is_set()]:
                self._waiting.remove(job)
                await self._finish(job, {"type": "cancelled"})
            if making is None and self._waiting:
                making = asyncio.create_task(self._make(self._waiting.popleft()))
                making.add_done_callback(lambda _: self._wake.set())
            await self._wake.wait()
            if making and making.done():
                making.result()
                making = None

    async def _make(self, job: Job) -> None:
        began = time.monotonic()
        job.state = "running"
        self._events.publish({"type": "started", "proposal": job.proposal.id})
        midi = None if job.midi is None else b64encode(job.midi).decode()
        try:
            asked = {"words": job.proposal.words, "midi": midi}
            end = await self._engine.run(asked, partial(self._hear, job), job.stop)
        except Exception as error:  # a fault of ours must not stop the queue
            end = {"type": "failed", "error": {"message": f"This should not have happened: {error!r}", "hint": ""}}
        self._usual = 0.7 * self._usual + 0.3 * (time.monotonic() - began)
        await self._finish(job, end)

    def _hear(self, job: Job, message: Message) -> None:
        if message["type"] == "request":
            job.request = message["request"]
            self._events.publish({"type": "request", "proposal": job.proposal.id, "request": job.request})
        elif message["type"] == "notes":
            event = {name: message[name] for name in ("type", "candidate", "done", "total", "notes")}
            self._events.publish({**event, "proposal": job.proposal.id})
        elif message["type"] == "candidate":
            midi, new = (b64decode(message[name]) for name in ("midi", "new_midi"))
            job.answers.append(Answer(message["number"], midi, new, message["facts"]))

    async def _finish(self, job: Job, end: Message) -> None:
        """Keep how a job ended, and say so; in this order, so that what was announced is there."""
        state: State = end["type"]
        answers = job.answers if state == "done" else []
        number = job.proposal.id
        try:
            info = await self._keep(
                self._keep.history.finish, number, state, job.request, end.get("error"), answers
            )
        except Exception as error:
            lost = {"message": error.message, "hint": error.hint} if isinstance(error, UserError) else LOST
            info = replace(job.proposal, state="failed", request=job.request, error=lost)
            self._lost.add(number)
        del self._active[number]
        job.state = "failed" if info.state == "failed" else state
        job.ended.set()
        self._events.publish({"type": info.state, "proposal": number, "result": info})
