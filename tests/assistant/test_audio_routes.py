"""Sound files sent to a real server: the notes are those of `descant hum`, and so is what it refuses."""

from __future__ import annotations

import io
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant.audio_routes import MAX_SOUND
from assistant.client import Client, ServerError
from models.midi_file import read_midi
from models.score import Note
from models.synth.sound import SAMPLE_RATE, Floats
from tests.assistant.test_recordings import melody
from tests.served import SECONDS, Served, command, environment, served, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), weights_folder) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with server.client() as client:
        yield client


def sound_file(samples: Floats, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format=kind)
    return file.getvalue()


def by_command(server: Served, folder: Path, sound: bytes, *flags: str) -> list[list[Note]]:
    """The notes of `descant hum`: as they were performed, and on the grid."""
    (folder / "tune.wav").write_bytes(sound)
    line = [*command("hum"), "tune.wav", "-o", "out.mid", *flags]
    subprocess.run(
        line, cwd=folder, env=environment(server.folder, server.weights), check=True, capture_output=True
    )
    return [list(read_midi(folder / name).score.tracks[0].notes) for name in ("out.mid", "out-quantised.mid")]


def notes_of(client: Client, score: int) -> list[Note]:
    return list(read_midi(client.score_midi(score)).score.tracks[0].notes)


def test_the_notes_are_those_of_the_command(server: Served, client: Client, tmp_path: Path) -> None:
    sound = sound_file(melody())
    performed, quantised = by_command(server, tmp_path, sound, "--tempo", "100", "--program", "violin")
    score = client.hum(sound, "tune.wav", tempo="100", program="violin")
    assert (score.name, score.facts["warnings"], round(score.facts["bpm"])) == ("tune", [], 100)
    assert score.facts["tracks"][0]["program"] == 41
    assert notes_of(client, score.id) == quantised
    again = client.hum(sound, "tune.wav", score.session, performed=True, tempo="100", program="violin")
    assert again.session == score.session and notes_of(client, again.id) == performed


@pytest.mark.parametrize(("kind", "name"), [("FLAC", "a.flac"), ("OGG", "a.ogg"), ("MP3", "a.MP3"), ("WAV", "")])
def test_every_kind_of_file_can_be_sent(client: Client, kind: str, name: str) -> None:
    score = client.hum(sound_file(melody(), kind), name)
    assert sorted({note.pitch for note in notes_of(client, score.id)}) == [60, 64, 67]
    assert score.name == (name[:1] or "Sung")


def test_what_is_wrong_with_a_recording_but_can_be_used_is_said(client: Client) -> None:
    score = client.hum(sound_file(np.clip(10 * melody(), -1, 1)), "../-loud;.wav")
    assert score.name == "_-loud;"
    assert "clipped" in score.facts["warnings"][0]


@pytest.mark.parametrize(
    ("sound", "words", "part"),
    [
        (b"", {}, "tune.wav is empty"),
        (b"this is no sound", {}, "tune.wav is no sound file"),
        (sound_file(np.zeros(SAMPLE_RATE, dtype=np.float32)), {}, "tune.wav is silent"),
        (sound_file(melody()), {"tempo": "5"}, "--tempo cannot be"),
        (sound_file(melody()), {"grid": "1/5"}, "is not a grid"),
        (sound_file(melody()), {"key": "--force"}, "is not a key"),
    ],
    ids=["empty", "text", "silent", "tempo", "grid", "key"],
)
def test_what_cannot_be_used_is_refused_as_the_command_does(
    client: Client, sound: bytes, words: dict[str, str], part: str
) -> None:
    before = len(client.sessions())
    with pytest.raises(ServerError) as caught:
        client.hum(sound, "tune.wav", **words)
    assert caught.value.status == 422 and part in caught.value.message and caught.value.hint
    assert "/" not in caught.value.message.replace("1/", "")
    assert len(client.sessions()) == before


def test_a_recording_too_large_is_refused(server: Served) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Length": str(MAX_SOUND + 1)}
    status, _, body = server.raw("POST", "/audio/hum", headers)
    assert status == 413 and b"64 MB" in body


def test_a_client_that_leaves_ends_the_work(server: Served) -> None:
    sound = sound_file(np.tile(melody(), 300))
    head = f"POST /audio/hum?name=long HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += f"Authorization: Bearer {server.token}\r\nContent-Length: {len(sound)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as connection:
        connection.sendall(head.encode() + sound)
        wait_for(lambda: children(server))
    wait_for(lambda: not children(server))
    with server.client() as client:
        assert not [session for session in client.sessions() if session.name == "long"]


def children(server: Served) -> list[bytes]:
    """The processes of the server that write a recording down."""
    found = []
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        for number in (task / "children").read_text().split():
            with suppress(OSError):
                found.append((Path("/proc") / number / "cmdline").read_bytes())
    return [line for line in found if b"hum\0--json" in line]
