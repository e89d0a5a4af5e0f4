"""The server under load and in a broken world: crowds, clients that leave, bad files, killed processes, full disks.

The counts here are a tenth or less of those that scripts/soak_server.py runs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assistant.client import ServerError
from assistant.jobs import MOST_WAITING
from assistant.security import MAX_UPLOAD
from assistant.session import History
from models.midi_file import read_midi
from scripts.make_bad_midi import mutants, named_cases
from tests.assistant.test_server import engine_pids
from tests.served import SECONDS, Served, served, wait_for

MUTANTS = int(os.environ.get("DESCANT_MUTANTS", "200"))
ABORTS = int(os.environ.get("DESCANT_ABORTS", "40"))
ENDLESS = {"operation": "continue", "bars": 256, "candidates": 64}
IDLE = {"running": 0, "waiting": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), weights_folder) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def song(server: Served, data_dir: Path) -> int:
    with server.client() as client:
        return client.upload((data_dir / "piano-minuet.mid").read_bytes(), "Minuet").id


def idle(server: Served) -> bool:
    return bool(server.health()["queue"] == IDLE)


def test_of_fifty_at_once_one_runs_eight_wait_and_the_rest_are_told_when_to_come(server: Served, song: int) -> None:
    with server.client() as client:
        first = client.ask(song, **ENDLESS)
        wait_for(lambda: client.proposal(first.id).state == "running")

        def ask(_: int) -> tuple[int, int]:
            with server.client() as own:
                try:
                    return 202, own.ask(song, "continue", bars=1, candidates=1, seed=1).id
                except ServerError as error:
                    return error.status, error.retry_after

        with ThreadPoolExecutor(50) as crowd:
            answers = list(crowd.map(ask, range(50)))
        assert Counter(status for status, _ in answers) == {202: MOST_WAITING, 429: 50 - MOST_WAITING}
        assert all(1 <= seconds <= 120 for status, seconds in answers if status == 429)
        assert server.health()["queue"] == {"running": 1, "waiting": MOST_WAITING}
        client.cancel(first.id)
        ended = [server.ended(client, number) for status, number in answers if status == 202]
        assert {info.state for info in ended} == {"done"}
        assert len({info.candidates[0].sha256 for info in ended}) == 1
    wait_for(lambda: idle(server))


def test_fifty_uploads_and_looks_at_once_are_all_answered(server: Served, song: int, data_dir: Path) -> None:
    midi = (data_dir / "string-quartet.mid").read_bytes()

    def work(number: int) -> bool:
        with server.client() as client:
            score = client.upload(midi, f"Quartet {number}")
            client.settings(candidates=4)
            return client.score_midi(score.id) == midi and client.score_notes(score.id)["ticks_per_quarter"] > 0

    with ThreadPoolExecutor(50) as crowd:
        assert all(crowd.map(work, range(50)))


def abort(server: Served, song: int, path: str, wait: float, lines: int) -> None:
    """Ask, read some lines of the answer, wait, and be gone: in good form or by a reset."""
    body = json.dumps({"score": song, **ENDLESS}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as connection:
        connection.sendall(head.encode() + body)
        with connection.makefile("rb") as answer:
            for _ in range(lines):
                answer.readline()
        threading.Event().wait(wait)
        if random.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_clients_that_leave_leave_no_job(server: Served, song: int) -> None:
    rng = random.Random(5)
    for _ in range(ABORTS):
        abort(
            server, song, "/proposals?follow=true", rng.choice([0.0, 0.0, 0.02, 0.1]), rng.choice([0, 0, 1, 9, 14])
        )
    with server.client() as client:

        def states() -> Counter[str]:
            return Counter(info.state for info in client.proposals() if info.words.get("bars") == 256)

        wait_for(lambda: idle(server) and set(states()) == {"cancelled"})  # the last may be on their way yet
        assert client.propose(song, "continue", bars=1, candidates=1).state == "done"


def test_listeners_that_leave_or_do_not_read_harm_nobody(server: Served, song: int) -> None:
    with server.client() as client:
        for _ in range(20):
            with client.events() as events:
                assert next(events)["type"] == "hello"
        with client.events() as unread, client.events() as events:
            assert client.propose(song, "continue", bars=2, candidates=2).state == "done"
            kinds = []
            for event in events:
                kinds.append(event["type"])
                if kinds[-1] == "done":
                    break
            assert kinds.count("notes") == 4
            del unread
    assert server.health()["status"] == "ok"


def test_bad_files_are_scores_or_sentences(server: Served, data_dir: Path) -> None:
    songs = [path.read_bytes() for path in sorted(data_dir.glob("*.mid"))]
    statuses: Counter[int] = Counter()
    # The large cases take the reader long, and are tried on the reader itself.
    cases = [midi for midi in named_cases().values() if len(midi) < 100_000 or len(midi) > MAX_UPLOAD]
    with server.client() as client:
        for midi in (*cases, *mutants(songs, MUTANTS)):
            try:
                score = client.upload(midi, "Mutant")
                statuses[201] += 1
                assert client.score_midi(score.id) == midi and score.facts["bars"] >= 0
            except ServerError as error:
                statuses[error.status] += 1
                assert error.hint and "Traceback" not in error.message
    assert set(statuses) == {201, 413, 422} and statuses[201] > MUTANTS / 2
    assert server.health()["status"] == "ok"


def test_mutants_that_are_read_can_be_continued_or_say_why_not(server: Served, data_dir: Path) -> None:
    songs = [path.read_bytes() for path in sorted(data_dir.glob("*.mid"))]
    with server.client() as client:
        tried = Counter()
        for midi in mutants(songs, MUTANTS // 20, seed=3):
            try:
                score = client.upload(midi, "Mutant")
                made = client.propose(score.id, "continue", bars=1, candidates=1)
                tried[made.state] += 1
                assert read_midi(client.candidate_midi(made.id, 1)).score.tracks
            except ServerError as error:
                tried[error.status] += 1
                assert error.hint and "should not have happened" not in error.message
    assert set(tried) <= {"done", 422} and tried["done"] > MUTANTS // 60


# --- Killed -------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there nothing is killed as hard as by SIGKILL")
def test_an_engine_that_dies_fails_its_job_and_is_there_again(server: Served, song: int) -> None:
    with server.client() as client:
        for _ in range(2):
            running, waiting = client.ask(song, **ENDLESS), client.ask(song, "continue", bars=1, candidates=1)
            wait_for(lambda number=running.id: client.proposal(number).state == "running")  # type: ignore[misc]
            (pid,) = engine_pids(server)
            os.kill(pid, signal.SIGKILL)
            failed = server.ended(client, running.id)
            assert failed.state == "failed" and failed.error and "engine ended" in failed.error["message"]
            assert server.ended(client, waiting.id).state == "done"
            assert engine_pids(server) != [pid] and server.health()["engine"]["state"] == "ready"
        # Also while it has nothing to do.
        (pid,) = engine_pids(server)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: engine_pids(server) not in ([], [pid]))
        assert client.propose(song, "continue", bars=1, candidates=1).state == "done"


@pytest.mark.skipif(sys.platform == "win32", reason="there nothing is killed as hard as by SIGKILL")
def test_a_server_that_is_killed_leaves_no_engine_and_what_it_kept(
    weights_folder: Path, tmp_path: Path, data_dir: Path
) -> None:
    midi = (data_dir / "piano-minuet.mid").read_bytes()
    with served(tmp_path, weights_folder) as server:
        with server.client() as client:
            score = client.upload(midi, "Minuet")
            done = client.propose(score.id, "continue", bars=1, candidates=2)
            running = client.ask(score.id, **ENDLESS)
            wait_for(lambda: client.proposal(running.id).state == "running")
            (pid,) = engine_pids(server)
            server.process.kill()
            server.process.wait()
        wait_for(lambda: not Path(f"/proc/{pid}").exists() if Path("/proc").exists() else True)
        server.start()
        with server.client() as client:
            assert client.score_midi(score.id) == midi
            assert client.proposal(done.id) == done
            assert client.proposal(running.id).state == "cancelled"
            assert client.propose(score.id, "continue", bars=1, candidates=1).state == "done"


def test_weights_that_do_not_load_are_a_sentence_and_the_server_stays(tmp_path: Path, data_dir: Path) -> None:
    with served(tmp_path, tmp_path / "nothing") as server:
        wait_for(lambda: server.health()["engine"]["state"] == "failed")
        with server.client() as client:
            score = client.upload((data_dir / "piano-minuet.mid").read_bytes())
            for _ in range(2):
                with pytest.raises(ServerError) as caught:
                    client.propose(score.id, "continue", bars=1)
                assert caught.value.hint and "should not have happened" not in caught.value.message
        assert server.health()["engine"]["error"]["message"] == caught.value.message


# --- Full ---------------------------------------------------------------------------------------------

# The server with no file of its growing beyond a limit: what a full disk does to it.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from assistant.cli import main
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there a process cannot limit itself")
def test_a_full_disk_is_said_and_nothing_that_was_kept_is_lost(
    weights_folder: Path, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    midi = (data_dir / "string-quartet.mid").read_bytes()
    limited = [sys.executable, "-P", "-c", LIMITED, "300000"]
    monkeypatch.setattr("tests.served.command", lambda *words: [*limited, *words])
    with served(tmp_path, weights_folder) as server, server.client() as client:
        kept = [client.upload(midi, "Quartet").id]
        server.wait_until_ready()
        with pytest.raises(ServerError, match="disk is full") as caught:
            while True:
                padded = midi + b"JUNK" + (40_000).to_bytes(4, "big") + bytes(40_000)
                kept.append(client.upload(padded, "Quartet").id)
        assert caught.value.status == 507 and caught.value.hint
        with pytest.raises(ServerError, match=r"disk is full|could not be kept"):
            while True:
                client.propose(kept[0], "continue", bars=4, candidates=8)
        assert client.score_midi(kept[0]) == midi and server.health()["status"] == "ok"
        assert idle(server)
    history = History(tmp_path)
    assert {info.id for info in history.scores(1)} | {info.id for info in history.scores(2)} <= set(kept)
    assert [history.score(number).name for number in kept] == ["Quartet"] * len(kept)
    history.close()
