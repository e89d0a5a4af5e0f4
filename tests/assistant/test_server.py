"""What the server does for those who may ask: a real one, asked over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.cli import main
from assistant.client import Client, ServerError, connect
from assistant.server import lines_of
from assistant.serving import _listen
from assistant.session import ScoreInfo
from assistant.settings import HOME_VARIABLE, read_running
from models.errors import UserError
from models.midi_file import read_midi
from tests.served import ENDED, Served, command, environment, free_port, served, wait_for

SMALL = {"bars": 1, "candidates": 2, "seed": 3}
ENDLESS = {"bars": 256, "candidates": 64}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), weights_folder) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def song(data_dir: Path) -> bytes:
    return (data_dir / "song-voice-piano.mid").read_bytes()


@pytest.fixture
def score(client: Client, song: bytes) -> ScoreInfo:
    return client.upload(song, "Song")


def test_a_stream_in_which_nothing_happens_says_that_the_server_is_there() -> None:
    async def told() -> list[str]:
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        lines = lines_of(7, queue, 0.05)
        first = await anext(lines)
        for event in (
            {"type": "bar", "proposal": 8},
            {"type": "bar", "proposal": 7},
            {"type": "done", "proposal": 7},
        ):
            queue.put_nowait(event)
        return [first, *[line async for line in lines]]

    first, *rest = asyncio.run(told())
    assert first == "\n"
    assert [json.loads(line)["type"] for line in rest if line.strip()] == ["bar", "done"]


def test_an_answer_is_sent_at_once_and_not_when_its_head_was_acknowledged() -> None:
    async def asked() -> int:
        without_delay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            without_delay.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        port = free_port()
        async with await asyncio.start_server(answer, sock=_listen(port)):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            found = await without_delay
            writer.close()
        return found

    assert asyncio.run(asked()) != 0


# --- Scores and sessions ------------------------------------------------------------------------------


def test_an_upload_is_kept_as_it_came_and_described(client: Client, score: ScoreInfo, song: bytes) -> None:
    assert client.score_midi(score.id) == song
    assert client.score(score.id) == score
    assert (score.facts["bars"], score.facts["meter"], score.facts["warnings"]) == (25, "2/4", [])
    assert [track["name"] for track in score.facts["tracks"]] == ["Singstimme Voice", "Pianoforte"]
    drawn, read = client.score_notes(score.id), read_midi(song).score
    assert [len(track["notes"]) for track in drawn["tracks"]] == [len(track.notes) for track in read.tracks]
    assert drawn["tracks"][0]["notes"][0] == list(read.tracks[0].notes[0][:4])
    assert drawn["bars"][1] == [read.bar(1).start, read.bar(1).length, 2, 4]


def test_a_new_session_begins_with_a_score_unless_one_is_named(client: Client, song: bytes) -> None:
    first = client.upload(song, "One")
    second = client.upload(song, "Two", first.session)
    assert [info.id for info in client.scores(first.session)] == [first.id, second.id]
    session = client.session(first.session)
    assert (session.name, session.score) == ("One", second.id)
    assert client.upload(song, "Three").session != first.session
    named = client.add_session("Ü\u202e\n x")
    assert (named.name, named.score) == ("Ü x", None) and client.sessions()[0] == named


def test_what_is_not_midi_is_refused_in_a_sentence(client: Client) -> None:
    with pytest.raises(ServerError, match=r"byte") as caught:
        client.upload(b"to be or not to be", "No")
    assert caught.value.status == 422 and caught.value.hint


# --- Proposals ----------------------------------------------------------------------------------------


def test_progress_notes_and_candidates_come_as_they_are_made(client: Client, score: ScoreInfo) -> None:
    events = list(client.follow(score.id, "continue", **SMALL, key="D minor"))
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["queued", "started", "request"] and kinds[-1] == "done"
    assert set(kinds[3:-1]) == {"notes"} and len(kinds) == 4 + SMALL["candidates"] * SMALL["bars"]
    result = events[-1]["result"]
    assert result["request"]["key"] == "D minor" and result["request"]["bars"] == [26, 26]
    for candidate in result["candidates"]:
        piece = read_midi(client.candidate_midi(result["id"], candidate["number"])).score
        new = read_midi(client.candidate_midi(result["id"], candidate["number"], only_new=True)).score
        own = [event for event in events if event.get("candidate") == candidate["number"]]
        drawn = [note for event in own for note in event["notes"]]
        assert candidate["notes"] == sum(len(track.notes) for track in new.tracks) > 0
        assert candidate["violations"] == [] and candidate["notes"] <= len(drawn)
        begin = piece.bar(25).start
        streamed = {(track, start, pitch) for track, start, pitch, _, _ in drawn}
        kept = {
            (number, note.start, note.pitch)
            for number, track in enumerate(piece.tracks, 1)
            for note in track.notes
            if note.start >= begin
        }
        assert kept and kept <= streamed


def test_the_users_notes_stay(client: Client, score: ScoreInfo, song: bytes) -> None:
    proposal = client.propose(score.id, "fill", tracks="Piano", bars="2-3", candidates=1)
    before = read_midi(song).score
    after = read_midi(client.candidate_midi(proposal.id, 1)).score
    assert after.tracks[0].notes == before.tracks[0].notes and after.tracks[1].notes != before.tracks[1].notes


@pytest.mark.parametrize(
    ("operation", "words", "understood"),
    [
        ("continue", {"bars": 2}, {"bars": [26, 27], "tracks": [1, 2], "candidates": 1}),
        ("fill", {"tracks": [2], "bars": [5, 6]}, {"bars": [5, 6], "tracks": [2]}),
        ("fill", {"bars": 5, "density": "2-8"}, {"bars": [5, 5], "tracks": [1, 2], "density": [2, 8]}),
        ("accompany", {"add": "upright bass"}, {"bars": [1, 25], "tracks": [3]}),
        (
            "continue",
            {"bars": 1, "chords": "Dm | Gm A7", "range": "c3-C5", "max_polyphony": 3, "density": [0, 9]},
            {"chords": "Dm | Gm A7", "range": "C3-C5", "max_polyphony": 3, "density": [0, 9]},
        ),
        (
            "continue",
            {"bars": 1, "temperature": 0.9, "top_p": 0.8, "seed": 4, "key": None},
            {"temperature": 0.9, "top_p": 0.8, "seed": 4, "key": None},
        ),
    ],
)
def test_everything_the_command_line_can_ask(
    client: Client, score: ScoreInfo, operation: str, words: dict[str, object], understood: dict[str, object]
) -> None:
    proposal = client.propose(score.id, operation, **{"candidates": 1, **words})
    assert proposal.state == "done" and proposal.request
    assert {name: proposal.request[name] for name in understood} == understood


def test_the_same_request_gives_the_same_files_as_the_command(
    server: Served, client: Client, score: ScoreInfo, song: bytes, tmp_path: Path
) -> None:
    proposal = client.propose(score.id, "continue", **SMALL, range="C3-C5")
    (tmp_path / "song.mid").write_bytes(song)
    line = "continue song.mid -o next.mid --bars 1 --candidates 2 --seed 3 --range C3-C5"
    environs = environment(server.folder, server.weights)
    subprocess.run(command(*line.split()), cwd=tmp_path, env=environs, check=True, capture_output=True)
    for number in (1, 2):
        assert (tmp_path / f"next-{number}.mid").read_bytes() == client.candidate_midi(proposal.id, number)


def test_every_operation_that_is_named_can_be_asked(client: Client, score: ScoreInfo) -> None:
    own = {
        "continue": {"bars": 1, "loop": True},
        "fill": {"bars": "2"},
        "accompany": {"add": "bass"},
        "vary": {"bars": "2-3", "strength": 0.5},
        "humanise": {"tracks": "Piano", "strength": 0.5},
        "drumify": {"tracks": "Piano"},
        "harmonise": {"with": "piano"},
        "edit": {"text": "--louder; bars 2-3 denser"},
    }
    named = client.operations()["operations"]
    assert set(named) == {*own, "sketch"}
    for operation, words in own.items():
        assert set(words) <= {*named[operation]}
        made = client.propose(score.id, operation, **words, candidates=1, seed=1)
        assert made.state == "done" and made.request and made.request["command"] == operation
        assert read_midi(client.candidate_midi(made.id, 1)).score.tracks


def test_a_sketch_needs_no_score_and_can_be_made_from_its_brief(server: Served, client: Client) -> None:
    understood = client._object("POST", "/briefs", {"text": "slow waltz in D minor, 2 bars, piano"})
    brief = understood["brief"]
    assert (brief["key"], brief["meter"], brief["bars"]) == ("D minor", [3, 4], 2) and understood["lines"]
    words = {"operation": "sketch", "candidates": 1, "seed": 4}
    asked = client._object("POST", "/proposals", {**words, "brief": brief | {"bars": 1}})
    made = server.ended(client, asked["id"])
    assert made.state == "done" and made.score is None and made.request and made.request["brief"]["bars"] == 1
    accepted = client.decide(made.id, 1, "accept")
    assert accepted.score and client.session(made.session).score == accepted.score
    assert client.undo(made.session).score is None
    again = server.ended(client, client.replay(made.id).id)
    assert [c.sha256 for c in again.candidates] == [c.sha256 for c in made.candidates]


@pytest.mark.parametrize(
    ("operation", "words", "part"),
    [
        ("sing", {}, 'no operation "sing"'),
        ("continue", {"barz": 4}, 'no "barz"'),
        ("continue", {"output": "x.mid"}, 'no "output"'),
        ("continue", {"force": 1}, 'no "force"'),
        ("continue", {"help": 1}, 'no "help"'),
        ("continue", {"input": "song.mid"}, 'no "input"'),
        ("continue", {"bars": 0}, 'bars cannot be "0"'),
        ("continue", {"bars": True}, "bars needs a value"),
        ("sketch", {}, "needs a text"),
        ("edit", {}, "needs a text"),
        ("sketch", {"text": "waltz", "brief": "brief.json"}, "brief is no object"),
        ("sketch", {"text": "waltz", "render": "out.wav"}, 'no "render"'),
        ("continue", {"bars": {"from": 1}}, "bars has to be"),
        ("continue", {"bars": []}, "bars has to be"),
        ("continue", {"key": "--force"}, '"--force" is not a key'),
        ("continue", {"key": "D\u0000"}, "is unknown"),
        ("continue", {"chords": "C " * 9000}, "longer than"),
        ("continue", {"density": "8-2"}, "density cannot be"),
        ("continue", {"max_polyphony": 1.5}, "max_polyphony cannot be"),
        ("fill", {}, "Missing: bars"),
        ("accompany", {"add": "basoon"}, "basoon"),
    ],
)
def test_words_that_make_no_sense_are_refused_at_once(
    client: Client, score: ScoreInfo, operation: str, words: dict[str, object], part: str
) -> None:
    with pytest.raises(ServerError, match=re.escape(part)) as caught:
        client.ask(score.id, operation, **words)
    assert caught.value.status == 422 and caught.value.hint


def test_what_the_score_does_not_have_fails_with_the_commands_sentence(client: Client, score: ScoreInfo) -> None:
    with pytest.raises(ServerError, match="beyond the end of the music"):
        client.propose(score.id, "fill", bars="900")
    failed = client.proposals(score.session)[0]
    assert failed.state == "failed" and failed.error and failed.error["hint"] and failed.candidates == []


def test_a_proposal_goes_on_when_nobody_listens(server: Served, client: Client, score: ScoreInfo) -> None:
    asked = client.ask(score.id, "continue", **SMALL)
    assert asked.state == "queued" and asked.words["seed"] == 3
    assert server.ended(client, asked.id).state == "done"


def test_one_that_is_called_off_ends(server: Served, client: Client, score: ScoreInfo) -> None:
    running = client.ask(score.id, "continue", **ENDLESS)
    waiting = client.ask(score.id, "continue", **ENDLESS)
    assert client.cancel(waiting.id).state == "cancelled"
    wait_for(lambda: client.proposal(running.id).state == "running")
    cancelled = client.cancel(running.id)
    assert (cancelled.state, cancelled.candidates) == ("cancelled", [])
    assert client.cancel(running.id) == cancelled
    assert server.health()["queue"] == {"running": 0, "waiting": 0}
    assert client.propose(score.id, "continue", **SMALL).state == "done"


def test_a_replay_has_the_same_bytes(server: Served, client: Client, score: ScoreInfo) -> None:
    first = client.propose(score.id, "continue", bars=1, candidates=2)
    again = server.ended(client, client.replay(first.id).id)
    assert again.replay_of == first.id
    assert [c.sha256 for c in again.candidates] == [c.sha256 for c in first.candidates]
    failed = client.ask(score.id, "fill", bars="900")
    server.ended(client, failed.id)
    with pytest.raises(ServerError, match="no candidates to make again"):
        client.replay(failed.id)


# --- Decisions, files, history ------------------------------------------------------------------------


def test_decisions_can_be_undone_one_by_one(client: Client, score: ScoreInfo) -> None:
    proposal = client.propose(score.id, "continue", **SMALL)
    assert client.decide(proposal.id, 1, "reject").score == score.id
    accepted = client.decide(proposal.id, 2, "accept")
    assert accepted.score and client.session(score.session).score == accepted.score != score.id
    made = client.score(accepted.score)
    assert (made.proposal, made.candidate, made.name) == (proposal.id, 2, "Song")
    assert client.score_midi(made.id) == client.candidate_midi(proposal.id, 2)
    assert [c.verdict for c in client.proposal(proposal.id).candidates] == ["reject", "accept"]
    assert client.propose(made.id, "continue", bars=1, candidates=1).request["bars"] == [27, 27]  # type: ignore[index]
    undone = client.undo(score.session)
    assert (undone.verdict, undone.undone, undone.score) == ("accept", True, score.id)
    assert client.undo(score.session).verdict == "reject"
    assert [c.verdict for c in client.proposal(proposal.id).candidates] == [None, None]
    with pytest.raises(ServerError, match="nothing to undo"):
        client.undo(score.session)
    with pytest.raises(ServerError, match="verdict"):
        client.decide(proposal.id, 1, "love")
    with pytest.raises(ServerError, match="no candidate 3") as caught:
        client.decide(proposal.id, 3, "accept")
    assert caught.value.status == 404


@pytest.mark.parametrize("name", ["", "My.mid", "../../etc/passwd", "C:\\x\\y", "con\u0000\n", "  ..  ", "é" * 300])
def test_a_candidate_as_a_file_that_stays(server: Served, client: Client, score: ScoreInfo, name: str) -> None:
    proposal = client.propose(score.id, "continue", bars=1, candidates=1, seed=1)
    made = client.make_file(proposal.id, 1, name=name)
    path = Path(made["path"])
    assert path.parent == server.folder / "files" and path.suffix == ".mid"
    assert path.read_bytes() == client.candidate_midi(proposal.id, 1)
    status, headers, body = server.raw("GET", made["url"].partition(str(server.port))[2])
    assert (status, body, headers["content-type"]) == (200, path.read_bytes(), "audio/midi")
    assert server.raw("GET", f"/files/{'0' * 43}/{path.name.encode().hex()}")[0] == 404


def test_history_can_be_looked_at_and_exported(
    server: Served, client: Client, score: ScoreInfo, tmp_path: Path
) -> None:
    proposal = client.propose(score.id, "continue", **SMALL)
    client.decide(proposal.id, 2, "keep")

    def said(*words: str, status: int = 0) -> str:
        line, environs = command("history", *words), environment(server.folder, server.weights)
        done = subprocess.run(line, cwd=tmp_path, env=environs, capture_output=True, text=True)
        assert done.returncode == status and "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr

    newest = said().splitlines()[0]
    assert newest.split()[0] == str(proposal.id) and "continue Song: 2 candidates, 2 kept" in newest
    assert "candidate 2:" in said("show", str(proposal.id)) and "2 kept" in said("list")
    files = said("export", str(proposal.id), "-o", "keepers").splitlines()
    assert [(tmp_path / name).read_bytes() for name in files] == [
        client.candidate_midi(proposal.id, number) for number in (1, 2)
    ]
    assert "exist already" in said("export", str(proposal.id), "-o", "keepers", status=2)
    assert "There is no proposal 99999" in said("show", "99999", status=2)


# --- Everything as it happens -------------------------------------------------------------------------


def test_events_reach_every_listener(server: Served, client: Client, song: bytes) -> None:
    with server.client().events() as one, server.client().events() as two:
        assert next(one)["type"] == next(two)["type"] == "hello"
        score = client.upload(song, "Heard")
        proposal = client.ask(score.id, "continue", **SMALL)
        heard = []
        for events in (one, two):
            seen = []
            for event in events:
                seen.append(event)
                if event["type"] in ENDED:
                    break
            heard.append(seen)
    assert heard[0] == heard[1]
    assert heard[0][0]["score"]["id"] == score.id
    assert {event["proposal"] for event in heard[0][1:]} == {proposal.id}
    # What was announced is there.
    assert heard[0][-1]["result"]["candidates"] and client.proposal(proposal.id).state == "done"


# --- Page, description, settings ----------------------------------------------------------------------


def test_the_page_and_what_it_loads_come_from_here(server: Served) -> None:
    status, headers, page = server.raw("GET", "/")
    assert status == 200 and headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    files = [link for link in links if not link.startswith(("data:", "#"))]
    assert files and all(link.startswith("/page/") for link in files)
    assert [server.raw("GET", link)[0] for link in files] == [200] * len(files)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.decode())


def test_a_one_time_link_is_worth_the_token_once(server: Served, client: Client) -> None:
    code = client.make_link().partition("#")[2]
    body = json.dumps({"code": code}).encode()
    kind = {"Content-Type": "application/json"}
    status, _, answer = server.raw("POST", "/login", kind, body)
    assert (status, json.loads(answer)) == (200, {"token": server.token})
    assert server.raw("POST", "/login", kind, body)[0] == 403
    for wrong in (b'{"code": ""}', b'{"code": null}', b"{}", b'{"code": ["x"]}'):
        assert server.raw("POST", "/login", kind, wrong)[0] == 403


def test_the_description_names_every_route(server: Served) -> None:
    bearer = {"Authorization": f"Bearer {server.token}"}
    described = json.loads(server.raw("GET", "/openapi.json", bearer)[2])
    assert described["info"]["title"] == "Descant"
    assert {"/health", "/scores", "/proposals", "/proposals/{number}", "/settings"} <= set(described["paths"])


def test_settings_last_and_are_checked(server: Served, client: Client, score: ScoreInfo) -> None:
    assert client.settings(candidates=1)["candidates"] == 1
    assert client.settings()["candidates"] == 1
    assert len(client.propose(score.id, "continue", bars=1).candidates) == 1
    for wrong in ({"candidates": 0}, {"candidates": "2"}, {"port": 80}, {"colour": "blue"}, {"open_browser": 1}):
        with pytest.raises(ServerError) as caught:
            client.settings(**wrong)
        assert caught.value.status == 422 and caught.value.hint
    assert client.settings()["candidates"] == 1
    client.settings(candidates=4)


# --- Starting and ending ------------------------------------------------------------------------------


def test_a_second_server_says_where_the_first_is(server: Served) -> None:
    environs = environment(server.folder, server.weights)
    second = subprocess.run(command("serve", "--no-browser"), env=environs, capture_output=True, text=True)
    assert second.returncode == 0 and f"runs already, at http://127.0.0.1:{server.port}" in second.stdout
    assert re.search(rf"http://127\.0\.0\.1:{server.port}/#\S{{43}}", second.stdout)
    other = command("serve", "--no-browser", "--port", str(free_port()))
    third = subprocess.run(other, env=environs, capture_output=True, text=True)
    assert third.returncode == 2 and "runs already" in third.stderr and "Traceback" not in third.stderr


def test_a_port_that_is_taken_is_a_sentence(server: Served, tmp_path: Path) -> None:
    words = command("serve", "--no-browser", "--port", str(server.port))
    done = subprocess.run(words, env=environment(tmp_path, server.weights), capture_output=True, text=True)
    assert done.returncode == 2 and f"Port {server.port} is used by another program" in done.stderr
    assert "hint: " in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_ends_it_and_its_engine(weights_folder: Path, tmp_path: Path, song: bytes) -> None:
    with served(tmp_path, weights_folder) as server:
        assert read_running(tmp_path) is not None
        with server.client() as client:
            asked = client.ask(client.upload(song).id, "continue", **ENDLESS)
        children = engine_pids(server)
        assert len(children) == 1
        said = server.stop()
        assert server.process.returncode == 0 and "Traceback" not in said
        assert read_running(tmp_path) is None
        wait_for(lambda: not alive(children[0]))
        with pytest.raises(UserError, match="No Descant server runs"):
            connect(tmp_path)
        server.start()
        with connect(tmp_path) as client:
            assert client.proposal(asked.id).state == "cancelled"


def engine_pids(server: Served) -> list[int]:
    """The processes that the server has started for its engine."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [int(row[0]) for row in rows if int(row[1]) == server.process.pid and "assistant.worker" in row[2]]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_a_command_the_page_opens_where_there_is_a_screen(
    server: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setenv(HOME_VARIABLE, str(server.folder))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda link: not opened.append(link))
    assert main([]) == 0
    assert "runs already" in capsys.readouterr().out
    assert len(opened) == 1 and opened[0].startswith(f"http://127.0.0.1:{server.port}/#")
