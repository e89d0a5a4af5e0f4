"""`descant render` and `descant play` with the synth that ships: real files, whole or not there at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile

from assistant.cli import main
from models.midi_file import save_midi
from models.score import Note, Score, Track

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two seconds of flute and drums, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    lead = Track("Lead: a/b", 73, notes=tuple(Note(480 * i, 60 + i, 400, 90) for i in range(4)))
    beat = Track("Drums", is_drum=True, channel=9, notes=tuple(Note(480 * i, 36, 100, 90) for i in range(4)))
    save_midi(Score(480, (lead, beat)), "tune.mid")
    return tmp_path / "tune.mid"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("name", "rate"), [("sound.wav", 48_000), ("sound.flac", 44_100)])
def test_a_file_becomes_a_recording(tune: Path, name: str, rate: int) -> None:
    assert main(["render", "tune.mid", "-o", name, "--rate", str(rate), "--loudness", "-20"]) == 0
    sound, found = soundfile.read(name)
    assert found == rate and soundfile.info(name).subtype == "PCM_24"
    assert 2.0 < len(sound) / rate < 7.0
    assert np.abs(sound).max() < 0.9
    assert abs(pyloudnorm.Meter(rate).integrated_loudness(sound) + 20) < 1
    assert names(tune.parent) == sorted([name, "tune.mid"])


def test_stems_add_up_to_the_mix(tune: Path) -> None:
    assert main(["render", "tune.mid", "-o", "mix.wav", "--stems", "parts", "--loudness", "-30"]) == 0
    expected = ["mix.wav", "parts/01 Lead ab.wav", "parts/02 Drums.wav", "parts/reverb.wav", "tune.mid"]
    assert names(tune.parent) == expected
    stems = [soundfile.read(path)[0] for path in sorted(Path("parts").iterdir())]
    assert np.abs(sum(stems) - soundfile.read("mix.wav")[0]).max() < 1e-5
    assert all(np.abs(stem).max() > 1e-4 for stem in stems)


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["-o", "sound.mp3"], "does not end in .wav or .flac"),
        (["-o", "no/sound.wav"], "There is no folder"),
        (["-o", "taken.wav"], "exists already"),
        (["-o", "sound.wav", "--stems", "taken.wav"], "is not a folder"),
        (["-o", "sound.wav", "--stems", "no/folder"], "Cannot make the folder"),
        (["-o", "sound.wav", "--stems", "parts", "--synth", "soundfont"], "writes stems"),
        (["-o", "sound.wav", "--rate", "1000"], "--rate cannot be"),
        (["-o", "sound.wav", "--loudness", "3"], "--loudness cannot be"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is_left(
    tune: Path, capsys: Captured, flags: list[str], part: str
) -> None:
    Path("taken.wav").write_bytes(b"mine")
    assert main(["render", "tune.mid", *flags]) == 2
    assert part in capsys.readouterr().err
    assert names(tune.parent) == ["taken.wav", "tune.mid"]
    assert Path("taken.wav").read_bytes() == b"mine"


def test_a_score_without_notes_is_refused(tune: Path, capsys: Captured) -> None:
    save_midi(Score(480, (Track("Empty"),)), "tune.mid")
    assert main(["render", "tune.mid", "-o", "sound.wav"]) == 2
    assert "no notes" in capsys.readouterr().err
    assert names(tune.parent) == ["tune.mid"]


def test_weights_that_are_missing_are_said(tune: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("DESCANT_SYNTH_WEIGHTS", str(tune.parent / "none"))
    assert main(["render", "tune.mid", "-o", "sound.wav"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert names(tune.parent) == ["tune.mid"]


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="FluidSynth is not installed")
def test_a_sound_font_plays_the_same_file(tune: Path) -> None:
    assert main(["render", "tune.mid", "-o", "sound.wav", "--synth", "soundfont"]) == 0
    sound, rate = soundfile.read("sound.wav")
    assert rate == 48_000 and len(sound) > 2 * rate and np.abs(sound).max() > 0.05


@pytest.mark.skipif(sys.platform != "linux", reason="sound cards are feigned through ALSA")
@pytest.mark.parametrize("card", [True, False])
def test_play_uses_the_sound_card_or_names_the_file_it_wrote_instead(tune: Path, card: bool) -> None:
    config = tune.parent / "asound.conf"
    config.write_text("pcm.!default { type null }\n" if card else "")
    environment = os.environ | {"ALSA_CONFIG_PATH": str(config), "JACK_NO_START_SERVER": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-m", "assistant.cli", "play", "tune.mid"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if card:
        assert "no sound card" not in done.stdout
    else:
        assert "no sound card" in done.stdout and "tune.wav" in done.stdout.splitlines()[-1]
    assert (tune.parent / "tune.wav").exists() != card
