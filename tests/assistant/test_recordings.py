"""Commands that begin with a recording: bad files are answered clearly, and nothing is left half written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant.cli import main
from assistant.recordings import MOST_SECONDS, read_recording
from models.midi_file import read_midi
from models.synth.sound import SAMPLE_RATE, Floats

Captured = pytest.CaptureFixture[str]
RATE = SAMPLE_RATE


def melody(rate: int = RATE, level: float = 0.3) -> Floats:
    """C, E, G, each 0.4 s."""
    parts = []
    for hertz in (261.63, 329.63, 392.0):
        time = np.arange(int(0.4 * rate)) / rate
        fade = np.clip(np.minimum(time, 0.4 - time) / 0.02, 0, 1)
        parts += [
            np.zeros(rate // 10),
            level * fade * sum(np.sin(2 * np.pi * k * hertz * time) / k for k in (1, 2, 3)),
        ]
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESCANT_HOME", str(tmp_path / ".home"))
    return tmp_path


def pitches(path: str) -> list[int]:
    return [note.pitch for note in read_midi(path).score.tracks[0].notes]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".home")


def test_a_hummed_line_becomes_two_files_that_can_be_continued(here: Path, capsys: Captured) -> None:
    soundfile.write("in.wav", melody(), RATE)
    assert main(["hum", "in.wav", "-o", "out.mid", "--tempo", "120", "--key", "C major", "--program", "flute"]) == 0
    assert pitches("out.mid") == pitches("out-quantised.mid") == [60, 64, 67]
    assert "3 notes" in capsys.readouterr().out
    assert read_midi("out.mid").score.tracks[0].program == 73
    assert main(["continue", "out.mid", "-o", "next.mid", "--bars", "1", "--candidates", "1", "--seed", "1"]) == 0
    assert files(here) == ["in.wav", "next.mid", "out-quantised.mid", "out.mid"]


def test_other_programs_get_one_json_object(capsys: Captured) -> None:
    soundfile.write("in.wav", melody(), RATE)
    assert main(["hum", "in.wav", "-o", "out.mid", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["notes"] == 3 and told["paths"] == ["out.mid", "out-quantised.mid"]


@pytest.mark.parametrize(
    ("rate", "channels", "subtype", "name"),
    [
        (8_000, 1, "PCM_U8", "a.wav"),
        (96_000, 2, "PCM_24", "a.wav"),
        (44_100, 6, "FLOAT", "a.wav"),
        (44_100, 2, "PCM_16", "a.flac"),
        (48_000, 1, "VORBIS", "a.ogg"),
    ],
)
def test_any_usual_format_gives_the_same_notes(rate: int, channels: int, subtype: str, name: str) -> None:
    soundfile.write(name, np.repeat(melody(rate)[:, None], channels, axis=1), rate, subtype=subtype)
    assert main(["hum", name, "-o", "out.mid"]) == 0
    assert pitches("out.mid") == [60, 64, 67]


def test_what_is_clipped_or_of_eight_bits_is_used_and_said(capsys: Captured) -> None:
    soundfile.write("in.wav", np.clip(melody(level=3.0), -1, 1), RATE, subtype="PCM_U8")
    assert main(["hum", "in.wav", "-o", "out.mid"]) == 0
    said = capsys.readouterr().err
    assert "clipped" in said and "8 bits" in said
    assert pitches("out.mid") == [60, 64, 67]


@pytest.mark.parametrize("name", ["in.wav", "in.flac"])
def test_what_is_cut_off_is_used_as_far_as_it_goes_and_said(name: str, capsys: Captured) -> None:
    long = np.tile(melody(), 8)
    long += np.random.default_rng(0).standard_normal(len(long)).astype(np.float32) * 0.003
    soundfile.write(name, long, RATE)
    whole = Path(name).read_bytes()
    Path(name).write_bytes(whole[: len(whole) // 2])
    assert main(["hum", name, "-o", "out.mid"]) == 0
    assert "is cut off" in capsys.readouterr().err
    assert 9 <= len(pitches("out.mid")) <= 14


def write_bad(kind: str) -> None:
    if kind == "silent":
        soundfile.write("in.wav", np.zeros(RATE), RATE)
    elif kind == "long":
        with soundfile.SoundFile("in.wav", "w", 8000, 1, subtype="PCM_U8") as file:
            for _ in range(61):
                file.write(np.zeros(60 * 8000, dtype=np.float32))
    elif kind == "short":
        soundfile.write("in.wav", melody()[:100], RATE)
    elif kind == "noise":
        soundfile.write("in.wav", np.random.default_rng(1).standard_normal(RATE) * 0.1, RATE)
    elif kind == "numbers":
        soundfile.write("in.wav", np.full(RATE, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    elif kind == "empty":
        Path("in.wav").touch()
    elif kind == "text":
        Path("in.wav").write_text("this is no sound")
    elif kind == "folder":
        Path("in.wav").mkdir()


BAD = {
    "silent": "is silent",
    "long": "61 minutes long",
    "short": "less than a tenth",
    "noise": "note",
    "numbers": "no numbers",
    "empty": "is empty",
    "text": "no sound file",
    "folder": "is a folder",
    "missing": "Cannot read",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("command", ["hum in.wav -o out.mid", "timbre in.wav --to flute -o out.wav",
                                     "instrument train mine in.wav"])  # fmt: skip
def test_what_cannot_be_used_is_said_and_nothing_is_left(
    kind: str, command: str, here: Path, capsys: Captured
) -> None:
    write_bad(kind)
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert BAD[kind] in said.err and "hint:" in said.err
    assert files(here) == ([] if kind == "missing" else ["in.wav"])
    assert not [path for path in here.rglob("*") if path.is_file() and path.name != "in.wav"]


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--grid", "1/5"], "is not a grid"),
        (["--tempo", "5"], "--tempo cannot be"),
        (["--key", "H flat"], "is not a key"),
        (["--program", "kazoophone"], "no instrument"),
    ],
)
def test_flags_that_make_no_sense_are_said(flags: list[str], part: str, capsys: Captured) -> None:
    assert main(["hum", "in.wav", "-o", "out.mid", *flags]) == 2
    assert part in capsys.readouterr().err


def test_no_file_is_overwritten_unless_asked(here: Path) -> None:
    soundfile.write("in.wav", melody(), RATE)
    Path("out-quantised.mid").write_bytes(b"mine")
    assert main(["hum", "in.wav", "-o", "out.mid"]) == 2
    assert files(here) == ["in.wav", "out-quantised.mid"]
    assert main(["hum", "in.wav", "-o", "out.mid", "--force"]) == 0
    assert pitches("out-quantised.mid") == [60, 64, 67]


def test_a_recording_of_the_greatest_length_is_bounded_in_memory() -> None:
    with soundfile.SoundFile("in.wav", "w", 8000, 1, subtype="PCM_U8") as file:
        file.write(np.full(int(MOST_SECONDS) * 8000, 0.3, dtype=np.float32))
    assert read_recording(Path("in.wav")).samples.nbytes <= 4 * MOST_SECONDS * SAMPLE_RATE + 4096
