"""What runs behind the routes: history, queue, engine, live playing and the DAWs' scripts, from start to close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from assistant import asking
from assistant.bridges import Bridges
from assistant.daw_asking import ask_server
from assistant.engine_process import EngineProcess
from assistant.jobs import Events, Jobs, Keeper
from assistant.security import OneTimeLinks
from assistant.session import History, ProposalInfo, ScoreInfo
from assistant.settings import Running, read_settings, token
from assistant.trainings import Trainings
from assistant.worker import Message
from models.errors import Cancelled, UserError

if TYPE_CHECKING:
    from assistant.live.live import Live
    from assistant.pipeline import Candidate
    from assistant.pipeline import Request as PipelineRequest

P = ParamSpec("P")
R = TypeVar("R")
LOOK_SECONDS = 0.02  # how often a waiting thread looks whether it was called off


class Service:
    """What the routes share. Nothing runs before `start`."""

    def __init__(self, folder: Path, running: Running, midi: bool = True) -> None:
        """folder: `settings.home()`, or a folder like it. midi: with virtual ports, where the system has them.

        Raises UserError when the history cannot be opened.
        """
        self.folder = folder
        self.running = running
        self.token = token(folder)
        self.links = OneTimeLinks()
        self.events = Events()
        self.keep = Keeper(History(folder))
        self.history = self.keep.history
        self.trainings = Trainings(self.events.publish)
        self.files: dict[str, Path] = {}  # by the code of their link
        self.live_problem: dict[str, str] | None = None
        self._with_midi = midi
        self._live: Live | None = None
        self.bridges = Bridges(folder, self.token, ask_server(running.port, self.token))
        # One file is read at a time: more would only take longer, and hold up what else goes on.
        self._reading = ThreadPoolExecutor(1, "reading")

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.keep(self.history.drop_unfinished)
        self.engine = EngineProcess(lambda: self.events.publish({"type": "engine", **self.engine_state()}))
        self.jobs = Jobs(self.engine, self.keep, self.events)
        self.engine.start()
        self.jobs.start()
        self.trainings.start()
        # Live playing has an engine of its own: its next bar cannot wait for what the page has asked.
        self._live_engine: EngineProcess | None = None
        self._live_turn = asyncio.Lock()
        self._beginning = asyncio.create_task(self._begin())

    async def _begin(self) -> None:
        """What may take a while, or be missing, and keeps nobody waiting."""
        if self._with_midi:
            with suppress(UserError):  # `live_problem` tells
                await self.start_live()
        await asyncio.to_thread(self.bridges.start)

    async def close(self) -> None:
        self._beginning.cancel()
        await self.trainings.close()
        await asyncio.to_thread(self.bridges.close)
        if self._live:
            await asyncio.to_thread(self._live.close)
        await self.jobs.close()
        await self.engine.close()
        if self._live_engine:
            await self._live_engine.close()
        self._reading.shutdown()
        self.keep.close()

    async def read(self, work: Callable[P, R], *values: P.args, **named: P.kwargs) -> R:
        """Work that takes a while, in a thread beside the server."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, lambda: work(*values, **named))

    async def add_score(
        self, title: str, midi: bytes, facts: dict[str, Any], session: int | None = None
    ) -> ScoreInfo:
        """Keep a score in a session, which is a new one of the same title where none is named, and say so."""
        if session is None:
            session = (await self.keep(self.history.add_session, title)).id
        score = await self.keep(self.history.add_score, session, title, midi, facts)
        self.events.publish({"type": "score", "score": score})
        return score

    def engine_state(self) -> dict[str, Any]:
        return {"state": self.engine.state, "model_hash": self.engine.model_hash, "error": self.engine.error}

    def link(self) -> str:
        """A link to the page that works once."""
        return f"{self.running.address}/#{self.links.make()}"

    # --- Requests -----------------------------------------------------------------------------------------

    def complete(self, words: Mapping[str, Any]) -> dict[str, Any]:
        """A request's words with all that makes it repeatable. UserError for words that make no sense."""
        said = dict(words)
        if said.get("candidates") is None:
            said["candidates"] = read_settings(self.folder).candidates
        if said.get("seed") is None:
            said["seed"] = asking.new_seed()
        asking.parse_words(said)
        return said

    async def submit(
        self, session: int, score: int | None, words: Mapping[str, Any], replay_of: int | None = None
    ) -> ProposalInfo:
        """Keep a request and queue it. The caller holds a place in the queue."""
        midi = None if score is None else await self.keep(self.history.score_midi, score)
        proposal = await self.keep(self.history.add_proposal, session, score, words, replay_of)
        self.jobs.submit(proposal, midi)
        return proposal

    # --- Other threads ------------------------------------------------------------------------------------

    def propose(self, request: PipelineRequest, cancelled: Callable[[], bool]) -> list[Candidate]:
        """The candidates of a live request, from an engine that does nothing else; nothing of it is kept.

        For other threads. Raises UserError, and Cancelled soon after `cancelled()` turns true.
        """
        from assistant.plain import from_plain, to_plain

        stop = asyncio.Event()
        written = self._wait(self._propose(to_plain(request), stop), stop, cancelled)
        return [replace(from_plain(candidate), request=request) for candidate in written]

    def warm(self, request: PipelineRequest | None, cancelled: Callable[[], bool]) -> None:
        """Have that engine started and, given a request, what it builds on read. As `propose` otherwise."""
        from assistant.plain import to_plain

        stop = asyncio.Event()
        plain = None if request is None else to_plain(request)
        self._wait(self._propose(plain, stop, warm=True), stop, cancelled)

    async def _propose(self, request: Any, stop: asyncio.Event, warm: bool = False) -> list[Any]:
        written: list[Any] = []

        def listen(message: Message) -> None:
            if message["type"] == "written":
                written.append(message["candidate"])

        async with self._live_turn:
            if self._live_engine is None:
                self._live_engine = EngineProcess()
                self._live_engine.start()
            end = await self._live_engine.run({"request": request, "warm": warm}, listen, stop)
        if end["type"] == "failed":
            raise UserError(end["error"]["message"], end["error"]["hint"])
        if end["type"] == "cancelled":
            raise Cancelled
        return written

    def _wait(self, work: Any, stop: asyncio.Event, cancelled: Callable[[], bool]) -> Any:
        """Have the server's own thread do `work`, and wait for it; `stop` is set when it is called off."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            with suppress(TimeoutError):
                return future.result(LOOK_SECONDS)
            if cancelled():
                self._loop.call_soon_threadsafe(stop.set)

    # --- Live playing and DAWs ----------------------------------------------------------------------------

    @property
    def live(self) -> Live:
        """Live playing. Raises UserError while there is none."""
        if self._live is None:
            problem = self.live_problem or {"message": "Live playing is not started", "hint": "Start it first."}
            raise UserError(problem["message"], problem["hint"])
        return self._live

    async def start_live(self) -> None:
        """Open the virtual ports, unless they are open. UserError when this computer has no MIDI for it."""
        if self._live:
            return
        try:
            self._live = await asyncio.to_thread(self._made_live)
            self.live_problem = None
        except UserError as error:
            self.live_problem = {"message": error.message, "hint": error.hint}
            raise
        finally:
            self._publish_live(
                {"event": "problem", **self.live_problem} if self.live_problem else {"event": "started"}
            )

    async def stop_live(self) -> None:
        """Release every note and close the ports."""
        live, self._live = self._live, None
        if live:
            await asyncio.to_thread(live.close)
            self._publish_live({"event": "stopped"})

    def _made_live(self) -> Live:
        from assistant.live.live import Live

        live = Live(propose=self.propose, state_folder=self.folder, warm=self.warm)
        live.subscribe(self._hear_live)
        live.start()
        return live

    def _hear_live(self, event: dict[str, Any]) -> None:
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._publish_live, event)

    def _publish_live(self, event: Mapping[str, Any]) -> None:
        self.events.publish({"type": "live", **event})

    def live_state(self) -> dict[str, Any]:
        """What live playing shows, with the reason where it does not run."""
        state = self._live.state() if self._live else {"running": False}
        return {**state, "problem": self.live_problem}
