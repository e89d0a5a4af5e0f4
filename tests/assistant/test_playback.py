"""`descant play --synth soundfont`: sound from FluidSynth, and a sentence wherever it cannot be had."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from assistant import playback
from assistant.cli import main
from models.midi_file import save_midi
from models.score import Event, Note, Score, Track

REAL = shutil.which("fluidsynth")
Captured = pytest.CaptureFixture[str]

needs_fluidsynth = pytest.mark.skipif(REAL is None, reason="FluidSynth is not installed")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in for FluidSynth is a shell script")


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two seconds of music, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    save_midi(
        Score(480, (Track("Lead", notes=tuple(Note(480 * i, 60 + i, 400, 90) for i in range(4))),)), "tune.mid"
    )
    return tmp_path / "tune.mid"


def stand_in(script: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let `fluidsynth` be a shell script."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "fluidsynth").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "fluidsynth").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    font = folder / "font.sf2"
    font.write_bytes(b"RIFF\0\0\0\0sfbk")
    monkeypatch.setattr(playback, "_font_folders", lambda: [folder])


PLAY = ["play", "tune.mid", "--synth", "soundfont"]


def samples(path: Path) -> NDArray[np.float64]:
    with soundfile.SoundFile(path) as sound:
        assert (sound.channels, sound.subtype, sound.samplerate) == (2, "PCM_24", 48_000)
        return sound.read()


@needs_fluidsynth
def test_a_file_becomes_sound_that_can_be_heard(tune: Path, capsys: Captured) -> None:
    assert main([*PLAY, "-o", "sound.wav"]) == 0
    assert "sound.wav" in capsys.readouterr().out
    sound = samples(tune.parent / "sound.wav")
    assert len(sound) >= 2 * 48_000 and sound.max() > 0.02
    assert sorted(path.name for path in tune.parent.iterdir()) == ["sound.wav", "tune.mid"]


@needs_fluidsynth
@pytest.mark.skipif(sys.platform != "linux", reason="a missing sound card is feigned through ALSA")
def test_without_a_sound_card_the_sound_is_a_file_beside_the_input(
    tune: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    fonts = playback._font_folders()
    stand_in(f'exec {REAL} -a alsa -o audio.alsa.device=none "$@"', monkeypatch, tmp_path_factory.mktemp("path"))
    monkeypatch.setattr(playback, "_font_folders", lambda: fonts)
    assert main(PLAY) == 0
    said = capsys.readouterr().out
    assert "no sound card" in said and "tune.wav" in said.splitlines()[-1]
    assert samples(tune.with_suffix(".wav")).max() > 0.02
    assert main(PLAY) == 2
    assert "tune.wav exists already" in capsys.readouterr().err
    assert main([*PLAY, "--force"]) == 0


def test_without_fluidsynth_the_hint_says_how_to_get_it(
    tune: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("PATH", str(tune.parent))
    assert main(PLAY) == 2
    sentence, hint = capsys.readouterr().err.splitlines()
    assert "not installed" in sentence and "nstall it" in hint


@needs_posix
def test_without_a_sound_font(tune: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    stand_in("exit 0", monkeypatch, tune.parent)
    monkeypatch.setattr(playback, "_font_folders", lambda: [tune.parent / "none"])
    assert main(PLAY) == 2
    assert "No General MIDI sound font" in capsys.readouterr().err
    for font, part in (("none.sf2", "Cannot read none.sf2"), ("tune.mid", "tune.mid is not a sound font")):
        assert main([*PLAY, "--soundfont", font]) == 2
        assert part in capsys.readouterr().err


@needs_posix
@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("exit 0", "FluidSynth could not write"),
        ("echo it is broken; exit 3", "it is broken"),
        ("echo 'Failed to load the SoundFont x'", "could not load the sound font"),
        ("kill -9 $$", "FluidSynth stopped"),
    ],
)
def test_a_fluidsynth_that_fails_is_told_and_leaves_nothing(
    script: str,
    part: str,
    tune: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    stand_in(script, monkeypatch, tmp_path_factory.mktemp("path"))
    assert main([*PLAY, "-o", "sound.wav"]) == 2
    assert part in capsys.readouterr().err
    assert [path.name for path in tune.parent.iterdir()] == ["tune.mid"]


@needs_posix
def test_a_fluidsynth_that_hangs_is_ended_in_time(
    tune: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    stand_in("exec sleep 60", monkeypatch, tmp_path_factory.mktemp("path"))
    monkeypatch.setattr(playback, "MARGIN", -1.5)  # of the two seconds that the tune lasts
    began = time.monotonic()
    assert main(PLAY) == 2
    assert time.monotonic() - began < 20
    assert "came to no end" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="the only system that keeps a limit on memory")
def test_memory_and_file_size_are_limited(
    tune: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    stand_in("ulimit -v; ulimit -f; ulimit -t; exit 9", monkeypatch, tmp_path_factory.mktemp("path"))
    status, log = playback._run(["fluidsynth"], seconds=5, file_bytes=1 << 20)
    memory, blocks, seconds = map(int, log.split())
    assert (status, memory, seconds) == (9, playback.MEMORY // 1024, 6)
    assert blocks in (1 << 10, 1 << 11)  # of a kilobyte or of half of one, as the shell counts


def test_what_cannot_be_played_is_refused(tune: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    synth = playback.FluidSynth("fluidsynth", Path("font.sf2"))
    endless = Score(480, (Track(notes=(Note(0, 60, 10, 64),), events=(Event(480 * 20_000, b"\xb0\x07\x40"),)),))
    for score, part in ((Score(), "no notes"), (endless, "longer than 2 hours")):
        with pytest.raises(playback.UserError, match=part):
            synth.play(score)
    for name, part in (
        ("sound.mp3", "does not end in .wav or .flac"),
        ("tune.mid", "does not end in .wav or .flac"),
    ):
        assert main([*PLAY, "-o", name]) == 2
        assert part in capsys.readouterr().err


def test_a_good_general_midi_font_is_preferred() -> None:
    fonts = [Path("Piano.sf2"), Path("TimGM6mb.sf2"), Path("FluidR3_GM.sf2"), Path("default-GM.sf3")]
    assert sorted(fonts, key=playback._rank) == fonts[::-1]
