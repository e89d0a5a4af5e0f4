"""The whole way once: a key in REAPER's double, the real server with its engine, candidates as takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from integrations.base import TICKS
from integrations.memory import Song
from tests.builders import tiny_generator
from tests.integrations.benches import Asked, ReaperBench, lane, scale, until
from tests.served import Served


class Connections:
    """What a bench asks of Bridges, asked of a server."""

    problems = ()

    def __init__(self, served: Served) -> None:
        self.served = served

    @property
    def connected(self) -> list[Any]:
        with self.served.client() as client:
            return list(client.daws()["daws"])

    def close(self) -> None:
        self.served.stop()


class ServedBench(ReaperBench):
    def serve(self) -> None:
        weights = self.folder / "weights"
        weights.mkdir()
        tiny_generator(weights)
        self.served = Served(self.folder / "home", weights)
        self.bridges = Connections(self.served)  # type: ignore[assignment]
        self.port = 0


def test_a_key_in_the_daw_and_the_servers_candidates(tmp_path: Path) -> None:
    bench = ServedBench(tmp_path, Asked())
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 8 * TICKS)
    try:
        own = bench.own()
        bench.press("continue", candidates=2, bars=2)
        until(lambda: len(bench.said()) > 2)  # that there is no proposal yet, that it is writing, and how it ended
        assert len(bench.candidates()) == 2, bench.said()
        assert bench.own() == own
        with bench.served.client() as client:
            assert client.proposals()[0].words["operation"] == "fill"
            bench.press("cancel")
            until(lambda: not bench.candidates())
            assert all(step["passed"] for step in client.test_daw("reaper")["steps"])
    finally:
        bench.close()
