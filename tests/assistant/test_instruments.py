"""`descant instrument` and `--instrument`: from a recording to a program of one's own, and back out of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant.cli import main
from models.midi_file import save_midi
from models.score import Note, Score, Track
from models.synth.pitch import follow
from models.synth.sound import SAMPLE_RATE, hertz

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESCANT_HOME", str(tmp_path / ".home"))
    parts = []
    for pitch in (60, 62, 64, 65, 67, 69, 71, 72, 67, 64):
        time = np.arange(int(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
        fade = np.clip(np.minimum(time, 0.4 - time) / 0.03, 0, 1)
        tones = [np.sin(2 * np.pi * k * float(hertz(pitch)) * time) / k for k in (1, 3, 5)]
        parts += [np.zeros(SAMPLE_RATE // 8), 0.3 * fade * np.sum(tones, axis=0)]
    soundfile.write("mine.wav", np.concatenate(parts), SAMPLE_RATE)
    lead = Track("Lead", 40, notes=(Note(0, 64, 480, 90), Note(480, 67, 480, 90)))
    beat = Track("Drums", is_drum=True, channel=9, notes=(Note(0, 36, 100, 90),))
    save_midi(Score(480, (lead, beat)), "tune.mid")
    return tmp_path


def test_an_instrument_is_trained_listed_played_and_removed(here: Path, capsys: Captured) -> None:
    assert main(["instrument", "train", "my reed", "mine.wav", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["notes"] == 10 and told["held_out_log_mel_db"] < told["nearest_program_log_mel_db"]
    assert main(["instrument", "list"]) == 0
    assert "my reed" in capsys.readouterr().out
    assert main(["instrument", "show", "my reed"]) == 0
    assert "every fifth note" in capsys.readouterr().out
    assert main(["instrument", "train", "my reed", "mine.wav"]) == 2
    assert "already" in capsys.readouterr().err

    assert main(["render", "tune.mid", "-o", "own.wav", "--instrument", "lead=my reed"]) == 0
    assert main(["render", "tune.mid", "-o", "plain.wav"]) == 0
    own, plain = soundfile.read("own.wav")[0], soundfile.read("plain.wav")[0]
    assert np.abs(own[: len(plain)] - plain[: len(own)]).max() > 0.01

    assert main(["timbre", "mine.wav", "--to", "my reed", "-o", "again.flac"]) == 0
    sound = soundfile.read("again.flac", dtype="float32")[0].mean(axis=1)
    # The third note, in its middle.
    assert np.nanmedian(follow(sound).pitch[150:180]) == pytest.approx(64, abs=0.2)

    assert main(["instrument", "remove", "my reed"]) == 0
    assert main(["render", "tune.mid", "-o", "none.wav", "--instrument", "1=my reed"]) == 2
    assert "no instrument" in capsys.readouterr().err
    assert not Path("none.wav").exists()
    assert list((here / ".home" / "instruments").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["render", "tune.mid", "-o", "o.wav", "--instrument", "mine"], "--instrument cannot be"),
        (["render", "tune.mid", "-o", "o.wav", "--instrument", "1=mine", "--synth", "soundfont"], "neural synth"),
        (["timbre", "mine.wav", "--to", "kazoophone", "-o", "o.wav"], "no instrument"),
        (["timbre", "mine.wav", "--to", "drums", "-o", "o.wav"], "no pitch"),
        (["timbre", "mine.wav", "--to", "violin", "-o", "o.mp3"], "does not end in .wav"),
        (["timbre", "mine.wav", "--to", "violin", "-o", "o.wav", "--octave", "9"], "--octave cannot be"),
        (["instrument", "show", "none"], "no instrument"),
        (["instrument", "train", "../x", "mine.wav"], "cannot be the name"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_written(words: list[str], part: str, capsys: Captured) -> None:
    assert main(words) == 2
    assert part in capsys.readouterr().err
    assert not Path("o.wav").exists()


def test_a_damaged_instrument_is_said(here: Path, capsys: Captured) -> None:
    assert main(["instrument", "train", "mine", "mine.wav"]) == 0
    folder = here / ".home" / "instruments" / "mine"
    (folder / "instrument.safetensors").write_bytes(b"nothing")
    assert main(["render", "tune.mid", "-o", "o.wav", "--instrument", "1=mine"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (folder / "instrument.json").write_text("{}")
    assert main(["instrument", "list"]) == 2
