"""Styles over HTTP: a real server, real trainings in processes of their own, killed and gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.client import Client, ServerError
from assistant.only_one import Taken, only_one
from models.midi_file import save_midi, write_midi
from tests.models.test_style import tune
from tests.served import Served, served, wait_for

ENDED = ("done", "failed", "stopped")
PATIENCE = 600.0  # seconds that a training may take on a machine with much else to do
RUNNING = ("reading", "training", "proving")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for number in range(5):
        save_midi(tune(number, 240), folder / f"{number}.mid")
    (folder / "broken.mid").write_bytes(b"MThd")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), weights_folder) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with server.client() as client:
        yield client


def ended(client: Client, name: str) -> dict[str, Any]:
    wait_for(lambda: client.training(name)["state"] in ENDED, PATIENCE)
    return client.training(name)


@pytest.fixture(scope="module")
def mine(server: Served, music: Path) -> dict[str, Any]:
    """The training of the style "mine", and the events that were heard of it."""
    heard: list[dict[str, Any]] = []
    with server.client() as client, client.events() as events:
        client.train("mine", folder=str(music), minutes=0.05)
        for event in events:
            if event["type"] == "training":
                heard.append(event["training"])
                if heard[-1]["state"] not in RUNNING:
                    break
        assert heard[-1]["error"] is None
        return {"last": ended(client, "mine"), "heard": heard}


def test_a_training_tells_what_it_reads_and_how_it_goes(mine: dict[str, Any], music: Path) -> None:
    states = [training["state"] for training in mine["heard"]]
    assert [state for at, state in enumerate(states) if state not in states[:at]] == [*RUNNING, "done"]
    assert mine["last"] == mine["heard"][-1]
    intake = mine["last"]["intake"]
    assert intake["pieces"] == 5 and intake["notes"] == 5 * 240
    assert [item["name"] for item in intake["skipped"]] == ["broken.mid"]
    kept = intake["learning"] + intake["tuning"] + intake["held_out"]
    assert sorted(kept) == [f"{number}.mid" for number in range(5)]
    curve = [training["curve"] for training in mine["heard"] if training["curve"]]
    assert all(len(point) == 2 for point in curve[-1]) and len(curve[-1]) >= len(curve[0]) >= 1
    timed = [training for training in mine["heard"] if training["state"] == "training" and training["curve"]]
    assert timed and all(training["seconds_left"] >= 0 and 0 <= training["share"] <= 1 for training in timed)


def test_styles_are_listed_shown_and_compared(client: Client, mine: dict[str, Any]) -> None:
    card = client.style("mine")
    assert card == mine["last"]["style"] and card["usable"] and card["bytes"] < 5_000_000
    assert card["pieces"] == 5 and set(card["nats_per_note"]) >= {"own_before", "own_after"}
    assert client.styles() == [card] and client.styles("mine", "mine") == [card, card]


def test_a_style_goes_out_and_comes_back_the_same(client: Client, mine: dict[str, Any]) -> None:
    parcel = client.export_style("mine")
    copy = client.import_style(parcel, "a copy")
    assert {**copy, "name": "mine"} == client.style("mine")
    assert [card["name"] for card in client.styles()] == ["a copy", "mine"]
    with pytest.raises(ServerError, match="already"):
        client.import_style(parcel, "a copy")
    client.import_style(parcel, "a copy", force=True)
    client.remove_style("a copy")
    assert [card["name"] for card in client.styles()] == ["mine"]
    with pytest.raises(ServerError, match="does not hold a style"):
        client.import_style(b"PK not a zip")


def test_a_proposal_is_made_in_the_style(
    server: Served, client: Client, mine: dict[str, Any], data_dir: Path
) -> None:
    score = client.upload((data_dir / "song-voice-piano.mid").read_bytes(), "Song")
    small = {"bars": 1, "candidates": 1, "seed": 3}
    asked = [
        client.propose(score.id, "continue", **small, **words)
        for words in ({}, {"style": "mine:0"}, {"style": "mine"})
    ]
    plain, none, full = (proposal.candidates[0] for proposal in asked)
    assert none.sha256 == plain.sha256 and none.model_hash == plain.model_hash != full.model_hash
    again = server.ended(client, client.replay(asked[2].id).id)
    assert again.candidates[0].sha256 == full.sha256 and again.candidates[0].model_hash == full.model_hash


def test_files_that_are_sent_are_learned_from_and_not_kept(server: Served, client: Client) -> None:
    names = ["a.mid", "a.mid", "../../out of here.mid", "C:\\x\\y.MID", "ünï 'code' $(x).midi"]
    for number, name in enumerate(names):
        sent = client.send_for_training("sent", name, write_midi(tune(number, 240)))
        assert (sent["state"], sent["files"]) == ("collecting", number + 1)
    again = client.send_for_training("sent", "a.mid", write_midi(tune(0, 240)))
    assert again["files"] == len(names)
    making = server.folder / "styles" / ".making" / "sent"
    assert len(list((making / "files").iterdir())) == len(names)
    assert not list(server.folder.parent.glob("*out of here*"))
    for refused in ("notes.txt", "", ".mid"):
        with pytest.raises(ServerError, match="not a MIDI file"):
            client.send_for_training("sent", refused, b"MThd")
    client.train("sent", minutes=0.05)
    last = ended(client, "sent")
    assert last["state"] == "done" and last["intake"]["pieces"] == len(names), last
    assert not making.exists()
    client.remove_style("sent")


def test_a_training_is_stopped_gone_on_with_and_forgotten(server: Served, client: Client, music: Path) -> None:
    client.train("long", folder=str(music), minutes=10)
    wait_for(lambda: len(client.training("long")["curve"]) > 1, PATIENCE)
    with pytest.raises(ServerError, match="is being made"):
        client.train("other", folder=str(music))
    lock = server.folder / "styles" / ".making" / ".long.lock"
    with pytest.raises(Taken), only_one(lock):  # no command trains it meanwhile
        pass
    stopped = client.stop_training("long")
    assert stopped["state"] == "stopped" and client.training("long") == stopped
    client.train("long")  # what was said before holds
    wait_for(lambda: client.training("long")["state"] in ("training", "proving", "done"), PATIENCE)
    assert client.training("long")["folder"] == str(music)
    client.stop_training("long")
    with only_one(lock):  # as a command that trains it would
        for refused in (lambda: client.train("long"), lambda: client.stop_training("long", forget=True)):
            with pytest.raises(ServerError, match="already"):
                refused()
    client.stop_training("long", forget=True)
    assert "long" not in [training["name"] for training in client.trainings()]
    assert not (server.folder / "styles" / ".making" / "long").exists()


def test_a_killed_servers_training_ends_with_it_and_goes_on_with_the_next(
    tmp_path: Path, weights_folder: Path, music: Path
) -> None:
    with served(tmp_path, weights_folder) as first:
        with first.client() as client:
            client.train("mine", folder=str(music), minutes=10)
            wait_for(lambda: len(client.training("mine")["curve"]) > 1, PATIENCE)
            curve = client.training("mine")["curve"]
        first.process.kill()
        first.process.wait()
        wait_for(lambda: not children_of_training(tmp_path))
        first.start()
        with first.client() as client:
            (found,) = client.trainings()
            assert found["state"] == "stopped" and found["minutes"] == 10 and found["folder"] == str(music)
            known = dict(found["curve"])
            assert all(known.get(step, nats) == pytest.approx(nats, abs=1e-4) for step, nats in curve)
            client.train("mine", minutes=0.05)
            assert ended(client, "mine")["state"] == "done"


def children_of_training(home: Path) -> list[str]:
    """Processes that train for the server of this folder (as Linux tells)."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
        except OSError:
            continue
        if b"assistant.style_training" in command and str(home).encode() in environment:
            found.append(place.name)
    return found


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("x", {}, "nothing to learn from"),
        ("x", {"folder": "relative"}, "not a folder"),
        ("x", {"folder": "/no/such/folder"}, "not a folder"),
        ("x", {"folder": "/tmp\0"}, "nothing to learn from"),
        ("x", {"folder": ["/tmp"]}, "nothing to learn from"),
        ("x", {"folder": "/tmp", "minutes": -1}, "minutes"),
        ("x", {"folder": "/tmp", "minutes": True}, "minutes"),
        ("x", {"folder": "/tmp", "threads": 0.5}, "threads"),
        ("x", {"folder": "/tmp", "from": "nobody"}, 'no style "nobody"'),
        ("x", {"folder": "/tmp", "colour": 3}, "knows no 'colour'"),
        ("a\\b", {"folder": "/tmp"}, "cannot be the name"),
        ("..", {"folder": "/tmp"}, "address|cannot be the name"),
        ("mine", {"folder": "/tmp"}, "already"),
    ],
)
def test_what_makes_no_sense_is_refused(
    client: Client, mine: dict[str, Any], name: str, words: dict[str, Any], message: str
) -> None:
    with pytest.raises(ServerError, match=message):
        client.train(name, **words)
    assert [card["name"] for card in client.styles()] == ["mine"]


def test_too_little_is_said_as_on_the_command_line(client: Client, tmp_path: Path) -> None:
    save_midi(tune(1), tmp_path / "one.mid")
    client.train("little", folder=str(tmp_path))
    last = ended(client, "little")
    assert last["state"] == "failed" and "too little" in last["error"]["message"] and last["error"]["hint"]
    client.stop_training("little", forget=True)


def test_what_is_not_there_is_said_with_404(client: Client) -> None:
    for ask in (client.style, client.export_style, client.remove_style, client.training, client.stop_training):
        with pytest.raises(ServerError, match="There is no") as caught:
            ask("nobody")
        assert caught.value.status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/styles"),
        ("POST", "/styles"),
        ("GET", "/styles/mine/file"),
        ("DELETE", "/styles/mine"),
        ("GET", "/trainings"),
        ("POST", "/trainings/x"),
        ("POST", "/trainings/x/files?file=a.mid"),
        ("DELETE", "/trainings/x"),
    ],
)
def test_nobody_without_the_token_or_from_another_page_is_served(server: Served, method: str, path: str) -> None:
    assert server.raw(method, path, body=b"{}")[0] == 401
    known = {"Authorization": f"Bearer {server.token}"}
    foreign = known | {"Origin": "http://evil.example"}
    assert server.raw(method, path, foreign, b"{}")[0] == 403
    assert server.raw(method, path, known | {"Host": "evil.example"}, b"{}")[0] == 403


def test_a_damaged_style_is_shown_as_such(server: Served, client: Client, mine: dict[str, Any]) -> None:
    client.import_style(client.export_style("mine"), "damaged")
    (server.folder / "styles" / "damaged" / "adapter_model.safetensors").write_bytes(b"\0" * 20)
    damaged, good = client.styles()
    assert damaged["usable"] is False and "cannot be read" in damaged["error"]["message"] and good["usable"]
    client.remove_style("damaged")


def test_the_server_itself_loads_no_torch(server: Served, mine: dict[str, Any]) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps")
    if not maps.exists():
        assert os.environ.get("CI") != "true", "this test needs /proc"
        pytest.skip("this system has no /proc")
    assert "libtorch" not in maps.read_text("utf-8")
    assert json.loads(server.raw("GET", "/health")[2])["status"] == "ok"
