"""The whole way once: a key in REAPER's double, the real server with its engine, candidates as takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant import doctor
from assistant.cli import main
from assistant.daw_asking import ask_server
from integrations.base import TICKS
from integrations.memory import Song
from models.errors import Cancelled, UserError
from models.score import Score, Track
from tests.builders import tiny_generator
from tests.integrations.bench import Asked, lane, scale, until
from tests.integrations.bench_reaper import ReaperBench
from tests.served import Served, free_port, served


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


def test_a_key_in_the_daw_and_the_servers_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
            steps = client.test_daw("reaper")["steps"]
            assert all(step["passed"] for step in steps) and len(steps) == 5
        monkeypatch.setenv("DESCANT_HOME", str(bench.served.folder))
        lines = [step.line for step in doctor.examine(quick=True)]
        assert any(line.startswith("pass  server: on port") for line in lines)
        assert len([line for line in lines if line.startswith("pass  reaper: ")]) == 5
    finally:
        bench.close()


def test_a_sketch_through_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = ServedBench(tmp_path, Asked())
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 8 * TICKS)
    monkeypatch.setenv("DESCANT_HOME", str(bench.served.folder))
    try:
        own = bench.own()
        main(["daw", "sketch", "reaper", "calm piano and bass,", "2 bars", "--candidates", "2"])
        until(lambda: any("2 candidates" in line for line in bench.said()))
        assert len(bench.candidates()) == 2 and all(len(found) == 2 for found in bench.candidates())
        assert bench.own() == own
    finally:
        bench.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    weights = folder / "weights"
    weights.mkdir()
    tiny_generator(weights)
    with served(folder / "home", weights) as running:
        running.wait_until_ready()
        yield running


KEYS = Score(TICKS, (Track("Keys", notes=scale(0, 2).notes), Track("Bass", 33, notes=scale(0, 2).notes)))
WORDS = {"operation": "fill", "tracks": "1", "bars": "3-6", "candidates": 2, "seed": 1}


def test_the_servers_candidates_grow_bar_by_bar_to_what_they_are(server: Served) -> None:
    drafts = list(ask_server(server.port, server.token)(KEYS, dict(WORDS), lambda: False))
    assert [drafted.complete for drafted in drafts] == [False] * (len(drafts) - 1) + [True]
    assert len(drafts) > 4 and {len(drafted.scores) for drafted in drafts} <= {1, 2}
    last = drafts[-1].scores
    for early, whole in zip(drafts[-2].scores, last, strict=True):
        # How long the notes sound is settled at the end, when it is known what comes after them.
        assert [note[:2] for note in early.tracks[0].notes] == [note[:2] for note in whole.tracks[0].notes]
    for drafted in drafts:
        assert all(score.tracks[1].notes == KEYS.tracks[1].notes for score in drafted.scores)
        assert all(set(KEYS.tracks[0].notes) <= set(score.tracks[0].notes) for score in drafted.scores)


def test_whoever_stops_listening_calls_the_request_off(server: Served) -> None:
    asked = {**WORDS, "bars": "3-64", "candidates": 8}
    drafts = ask_server(server.port, server.token)(KEYS, asked, lambda: False)
    next(drafts)
    drafts.close()  # type: ignore[attr-defined]
    with server.client() as client:
        until(lambda: client.proposals()[0].state == "cancelled")
    with pytest.raises(Cancelled):
        list(ask_server(server.port, server.token)(KEYS, asked, lambda: True))


def test_what_the_server_refuses_is_said(server: Served) -> None:
    with pytest.raises(UserError, match="range"):
        list(ask_server(server.port, server.token)(KEYS, {**WORDS, "range": "C9-C2"}, lambda: False))
    with pytest.raises(UserError, match="does not answer"):
        list(ask_server(free_port(), server.token)(KEYS, dict(WORDS), lambda: False))
