"""The watched folder: a real one, beside a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.cli import main
from assistant.daw_folder import MADE, WatchedFolder
from integrations.base import TICKS
from models.errors import UserError
from models.midi_file import read_midi, save_midi, write_midi
from models.score import Meter, Score, Tempo, Track
from tests.builders import tiny_generator
from tests.integrations.bench import scale, until
from tests.served import Served, command, environment, served

BAR = 4 * TICKS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    weights = folder / "weights"
    weights.mkdir()
    tiny_generator(weights)
    with served(folder / "home", weights) as running:
        yield running


def song(bars: int = 2, **facts: object) -> Score:
    return Score(TICKS, (Track("Keys", notes=scale(0, bars).notes),), (Tempo(0, 500_000),), **facts)  # type: ignore[arg-type]


def settled(watched: WatchedFolder) -> list[Path]:
    """What is found dropped once it has been looked at twice."""
    watched.dropped()
    return watched.dropped()


def answers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "Descant" in path.name)


def test_a_file_that_is_dropped_gets_candidates_beside_it(server: Served, tmp_path: Path) -> None:
    old = tmp_path / "was here before.mid"
    save_midi(song(), old)
    before = old.read_bytes()
    line = command("daw", "watch", str(tmp_path), "--candidates", "2", "--bars", "3")
    watching = subprocess.Popen(
        line, env=environment(server.folder, server.weights), stdout=subprocess.PIPE, text=True
    )
    try:
        assert watching.stdout and "Drop MIDI files" in watching.stdout.readline()
        until(lambda: all((tmp_path / name).is_dir() for name in MADE))
        save_midi(song(), tmp_path / "riff.mid")
        save_midi(song(), tmp_path / "accompany" / "riff.mid")
        (tmp_path / "no music.mid").write_bytes(b"MThd and nothing that follows")
        until(lambda: len(answers(tmp_path)) == 3 and len(answers(tmp_path / "accompany")) == 2)
    finally:
        watching.send_signal(2)
        assert watching.wait() == 0
        watching.stdout.close()  # type: ignore[union-attr]
    assert answers(tmp_path) == ["no music - Descant.txt", "riff - Descant 1.mid", "riff - Descant 2.mid"]
    assert "MIDI" in (tmp_path / "no music - Descant.txt").read_text()
    made = read_midi(tmp_path / "riff - Descant 1.mid").score
    assert made.bar_at(made.end - 1).index < 3 and [track.name for track in made.tracks] == ["Keys"]
    beside = read_midi(tmp_path / "accompany" / "riff - Descant 1.mid").score
    assert any(track.is_drum for track in beside.tracks) and "Keys" not in [track.name for track in beside.tracks]
    assert old.read_bytes() == before


def test_a_file_that_comes_again_gets_further_candidates(server: Served, tmp_path: Path) -> None:
    watched = WatchedFolder(tmp_path, {"candidates": 1, "bars": 1}, whole=True)
    save_midi(song(meters=(Meter(0, 7, 8),)), tmp_path / "riff.mid")
    with server.client() as client:
        (found,) = settled(watched)
        assert [path.name for path in watched.answer(found, client)] == ["riff - Descant 1.mid"]
        assert settled(watched) == []
        first = (tmp_path / "riff - Descant 1.mid").read_bytes()
        save_midi(song(3, meters=(Meter(0, 7, 8),)), tmp_path / "riff.mid")
        (found,) = settled(watched)
        assert [path.name for path in watched.answer(found, client)] == ["riff - Descant 2.mid"]
    assert (tmp_path / "riff - Descant 1.mid").read_bytes() == first
    whole = read_midi(tmp_path / "riff - Descant 2.mid").score
    assert whole.bar(1).numerator == 7 and set(song(3).tracks[0].notes) <= set(whole.tracks[0].notes)


def test_a_file_that_still_grows_waits_and_what_is_ours_is_passed_over(tmp_path: Path) -> None:
    watched = WatchedFolder(tmp_path, {})
    data = write_midi(song())
    for name in ("riff - Descant 1.mid", ".hidden.mid", "notes.txt"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link.mid").symlink_to(tmp_path / "riff - Descant 1.mid")
    (tmp_path / "riff.mid").write_bytes(data[:20])
    assert watched.dropped() == []
    (tmp_path / "riff.mid").write_bytes(data)
    assert watched.dropped() == []
    assert watched.dropped() == [tmp_path / "riff.mid"]


def test_without_a_server_files_wait_and_that_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    watched = WatchedFolder(tmp_path, {}, tell=said.append)
    save_midi(song(), tmp_path / "riff.mid")
    looks = iter(range(6))

    def nobody() -> object:
        raise UserError("No Descant server runs", "Start it with: descant serve")

    watched.watch(nobody, lambda: next(looks, None) is None)  # type: ignore[arg-type]
    assert len(said) == 1 and "descant serve" in said[0]
    assert watched.dropped() == [tmp_path / "riff.mid"] and answers(tmp_path) == []


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daw", "watch", str(tmp_path / "nowhere")]) == 2
    assert "There is no folder" in capsys.readouterr().err
