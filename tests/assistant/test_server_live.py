"""Live playing over HTTP where there is no MIDI system: everything says so, and the rest of the server works."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.asking import build_request, parse_words
from assistant.client import Client, ServerError
from assistant.service import Service
from assistant.settings import Running
from models.errors import Cancelled, UserError
from models.midi_file import read_midi
from tests.served import Served, served, wait_for

CALLS = [
    ("PATCH", "/live/settings", {"bpm": 97}),
    ("POST", "/live/transport", {"do": "play"}),
    ("POST", "/live/stop", {}),
    ("POST", "/live/panic", {}),
    ("POST", "/live/capture", {}),
    ("POST", "/live/continue", {"bars": 2}),
    ("POST", "/live/answer", {}),
    ("POST", "/live/accompany", {"add": "bass"}),
]
NONSENSE = [
    ("POST", "/live/transport", {}),
    ("POST", "/live/transport", {"do": "locate", "beat": "x"}),
    ("POST", "/live/transport", {"do": "locate", "beat": -1}),
    ("POST", "/live/play", {}),
    ("POST", "/live/play", {"proposal": "1", "candidate": 1}),
    ("POST", "/live/play", {"score": 1, "at": []}),
    ("POST", "/live/capture", {"bars": -1}),
    ("POST", "/live/continue", {"bars": 0}),
    ("POST", "/live/accompany", {"add": "basoon"}),
    ("POST", "/live/answer", {"key": "Q"}),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), weights_folder) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with server.client() as client:
        yield client


def test_without_midi_live_playing_says_so(client: Client) -> None:
    assert client._object("GET", "/live")["running"] is False
    for method, path, body in CALLS:
        with pytest.raises(ServerError, match="not started") as caught:
            client._object(method, path, body)
        assert caught.value.status == 422 and caught.value.hint
    assert client._object("POST", "/live/close", {})["running"] is False


@pytest.mark.parametrize(("method", "path", "body"), NONSENSE)
def test_what_makes_no_sense_is_a_sentence(client: Client, method: str, path: str, body: dict[str, object]) -> None:
    with pytest.raises(ServerError) as caught:
        client._object(method, path, body)
    assert caught.value.status in (404, 422) and caught.value.hint


def test_live_requests_have_an_engine_of_their_own(weights: Path, tmp_path: Path, data_dir: Path) -> None:
    service = Service(tmp_path, Running(8733, "x"), midi=False)
    score = read_midi(data_dir / "piano-minuet.mid").score
    short = build_request(parse_words({"operation": "continue", "bars": 1, "candidates": 2, "seed": 3}), score)
    endless = build_request(parse_words({"operation": "continue", "bars": 256, "candidates": 64}), score)
    stop, told = threading.Event(), []

    def play() -> None:
        first = service.propose(short, stop.is_set)
        told.append([candidate.number for candidate in first])
        told.append(first == service.propose(short, stop.is_set))
        try:
            service.propose(endless, stop.is_set)
        except Cancelled:
            told.append("cancelled")
        broken = build_request(parse_words({"operation": "continue", "bars": 1}), score.with_tracks(score.tracks))
        try:
            service.propose(broken, lambda: False)
            told.append("made")
        except UserError as error:
            told.append(error.message)

    async def run() -> None:
        await service.start()
        try:
            playing = asyncio.get_running_loop().run_in_executor(None, play)
            while len(told) < 2 and not playing.done():
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
            stop.set()
            await playing
            assert service.jobs.counts == {"running": 0, "waiting": 0}
        finally:
            await service.close()

    asyncio.run(run())
    # The candidates' speeds differ, everything else is the same.
    assert told[0] == [1, 2] and told[2:] == ["cancelled", "made"]
    wait_for(lambda: threading.active_count() < 20)
