"""What the commands refuse, how they say it, and that a failure leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import assistant.pipeline
from assistant.cli import main
from models import midi_file
from models.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
Captured = pytest.CaptureFixture[str]

FILLED = ["fill", "song.mid", "-o", "new.mid"]
CONTINUED = ["continue", "song.mid", "-o", "new.mid"]


@pytest.fixture(autouse=True)
def song(weights: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A song for voice and piano, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "song.mid"
    path.write_bytes((data_dir / "song-voice-piano.mid").read_bytes())
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


def refused(argv: list[str], capsys: Captured) -> str:
    """Run a command that must be refused and change nothing; its complaint."""
    before = contents(Path.cwd())
    assert main(argv) == 2
    said, complained = capsys.readouterr()
    sentence, hint = complained.splitlines()
    assert said == "" and contents(Path.cwd()) == before
    assert sentence.startswith("descant: ") and hint.startswith("hint: ") and len(hint) > len("hint: ")
    assert "Traceback" not in complained
    return complained


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["sing"], 'no command "sing"'),
        (["contniue", "song.mid"], "Did you mean continue?"),
        (["song.mid"], "descant continue song.mid -o next.mid"),
        (["--seed", "4"], 'no command "--seed"'),
        (["continue"], "Missing: IN.mid, -o/--output"),
        (["continue", "song.mid"], "Missing: -o/--output"),
        (["fill", "song.mid", "-o", "new.mid"], "Missing: --bars"),
        (["accompany", "song.mid", "-o", "new.mid"], "Missing: --add"),
        ([*CONTINUED, "--sed", "4"], "Did you mean --seed?"),
        ([*CONTINUED, "more.mid"], '"more.mid" is one word too many'),
        ([*CONTINUED, "--seed"], "--seed needs a value"),
        ([*CONTINUED, "--bars", "0"], "from 1 to 256"),
        ([*CONTINUED, "--bars", "257"], "from 1 to 256"),
        ([*CONTINUED, "--bars", "a few"], '--bars cannot be "a few"'),
        ([*CONTINUED, "--candidates", "0"], "from 1 to 64"),
        ([*CONTINUED, "--candidates", "65"], "from 1 to 64"),
        ([*CONTINUED, "--seed", "-1"], "--seed"),
        ([*CONTINUED, "--seed", "9" * 30], "from 0 to 4294967295"),
        ([*CONTINUED, "--temperature", "2.5"], "from 0 to 2"),
        ([*CONTINUED, "--temperature", "nan"], "from 0 to 2"),
        ([*CONTINUED, "--temperature", "warm"], "from 0 to 2"),
        ([*CONTINUED, "--top-p", "0"], "above 0 and up to 1"),
        ([*CONTINUED, "--top-p", "1.1"], "above 0 and up to 1"),
        ([*CONTINUED, "--key", "Q"], '"Q" is not a key'),
        ([*CONTINUED, "--chords", "Dm | Gq"], '"Gq" (bar 2, character 6)'),
        ([*CONTINUED, "--range", "C5-C3"], "C3-C5"),
        ([*CONTINUED, "--range", "low"], "C3-C5"),
        ([*CONTINUED, "--density", "0"], '--density cannot be "0"'),
        ([*CONTINUED, "--density", "8-2"], '--density cannot be "8-2"'),
        ([*CONTINUED, "--density", "some"], '--density cannot be "some"'),
        ([*CONTINUED, "--max-polyphony", "0"], "from 1 to 128"),
        ([*FILLED, "--bars", "8-5"], "Did you mean 5-8?"),
        ([*FILLED, "--bars", "0-3"], '--bars cannot be "0-3"'),
        ([*FILLED, "--bars", "1-1000"], "more than 256 bars"),
        ([*FILLED, "--bars", "900"], "beyond the end of the music"),
        ([*FILLED, "--bars", "2", "--tracks", "Tuba"], "1 Singstimme Voice, 2 Pianoforte"),
        ([*FILLED, "--bars", "2", "--tracks", "3"], "1 Singstimme Voice, 2 Pianoforte"),
        ([*FILLED, "--bars", "2", "--tracks", "Piano,,2"], "nothing between two commas"),
        (["accompany", "song.mid", "-o", "new.mid", "--add", "basoon"], "bassoon"),
        (["continue", "none.mid", "-o", "new.mid"], "There is no file none.mid"),
        (["continue", ".", "-o", "new.mid"], "is a folder"),
        (["continue", "song.mid", "-o", "."], "is a folder"),
        (["continue", "song.mid", "-o", "new.wav"], "does not end in .mid"),
        (["continue", "song.mid", "-o", "nowhere/new.mid"], "no folder nowhere"),
        (["continue", "song.mid", "-o", "song.mid", "--candidates", "1"], "song.mid is the input file"),
        (["continue", "song.mid", "-o", f"{'n' * 300}.mid"], "Cannot write"),
        (["info", "none.mid"], "There is no file none.mid"),
        (["play", "none.mid"], "There is no file none.mid"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(argv: list[str], part: str, capsys: Captured) -> None:
    assert part in refused(argv, capsys)


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVEfmt ", b"to be or not to be", bytes(range(256))])
def test_a_file_that_is_not_midi(content: bytes, capsys: Captured) -> None:
    Path("text.mid").write_bytes(content)
    assert "(byte " in refused(["continue", "text.mid", "-o", "new.mid"], capsys)


def test_a_file_without_notes(capsys: Captured) -> None:
    header = b"MThd\0\0\0\x06\0\0\0\x01\x01\xe0MTrk\0\0\0\x0c\0\xff\x58\x04\x04\x02\x18\x08\0\xff\x2f\0"
    Path("silent.mid").write_bytes(header)
    for command in (["continue"], ["fill", "--bars", "1"], ["accompany", "--add", "bass"]):
        refused([*command, "silent.mid", "-o", "new.mid"], capsys)


def test_any_of_the_files_that_exists_is_kept(capsys: Captured) -> None:
    Path("new-3.mid").write_bytes(b"mine")
    assert "new-3.mid exists already" in refused(CONTINUED, capsys)
    Path("new-4.mid").write_bytes(b"mine")
    assert "new-3.mid and 1 more exist already" in refused(CONTINUED, capsys)


def test_the_input_by_another_name_is_still_the_input(song: Path, capsys: Captured) -> None:
    (song.parent / "same-1.mid").hardlink_to(song)
    assert "same-1.mid is the input file" in refused(["continue", "song.mid", "-o", "same.mid"], capsys)


@pytest.mark.parametrize(
    "wishes",
    [
        ["--key", "C major", "--range", "C#4-C#4"],
        ["--chords", "C | F#", "--key", "C minor pentatonic", "--range", "C4-D4"],
        ["--chords", "C | Gb", "--range", "C4-C4"],
    ],
)
def test_wishes_that_contradict_each_other_are_refused_before_anything_is_written(
    wishes: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def unexpected() -> None:
        raise AssertionError("the network was loaded")

    monkeypatch.setattr(assistant.pipeline, "load_generator", unexpected)
    refused([*CONTINUED, *wishes], capsys)


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_is_generated(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def denied(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    assert "Cannot write new-1.mid: Permission denied" in refused(CONTINUED, capsys)


def test_a_disk_that_fills_up_midway_leaves_none_of_the_files(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    real, written = os.replace, []

    def full(source: str, target: str) -> None:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(target)
        real(source, target)

    monkeypatch.setattr(midi_file.os, "replace", full)
    assert "No space left on device" in refused([*CONTINUED, "--bars", "1"], capsys)
    assert len(written) == 2


def test_a_file_that_appears_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    real = assistant.pipeline.propose

    def slow(*arguments: object, **named: object) -> object:
        Path("new-2.mid").write_bytes(b"mine")
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(assistant.pipeline, "propose", slow)
    assert main([*CONTINUED, "--bars", "1"]) == 2
    assert "new-2.mid exists already" in capsys.readouterr().err
    assert {name: body for name, body in contents(Path.cwd()).items() if name != "song.mid"} == {
        "new-2.mid": b"mine"
    }


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("DESCANT_WEIGHTS", str(tmp_path / "none"))
    refused(CONTINUED, capsys)


def test_the_demo_leaves_no_folder_when_it_fails(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def broken() -> None:
        raise UserError("No weights", "Install them.")

    monkeypatch.setattr(assistant.pipeline, "load_generator", broken)
    before = contents(Path.cwd())
    assert main(["demo"]) == 2
    assert contents(Path.cwd()) == before


# --- Faults and interruptions -------------------------------------------------------------------------


def test_a_fault_of_the_program_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def broken() -> None:
        raise ZeroDivisionError("nothing goes into nothing")

    monkeypatch.setattr(assistant.pipeline, "load_generator", broken)
    assert main(CONTINUED) == 1
    complained = capsys.readouterr().err
    assert "ZeroDivisionError: nothing goes into nothing" in complained and "report" in complained
    assert "Traceback" not in complained
    monkeypatch.setenv("DESCANT_DEBUG", "1")
    assert main(CONTINUED) == 1
    assert "Traceback" in capsys.readouterr().err


def test_stopped_while_generating(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    real = assistant.pipeline.propose

    def interrupted(request: object, generator: object, on_progress: object) -> object:
        def stop(_: object) -> None:
            raise KeyboardInterrupt

        return real(request, generator, stop)  # type: ignore[arg-type]

    monkeypatch.setattr(assistant.pipeline, "propose", interrupted)
    before = contents(Path.cwd())
    for command in (CONTINUED, ["demo"]):
        assert main(command) == 130
    assert capsys.readouterr().err.splitlines() == ["descant: stopped; no file was written"] * 2
    assert contents(Path.cwd()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="there a console sends Ctrl-C, not a process")
@pytest.mark.parametrize("after", [0.0, 0.4, 0.8])
def test_ctrl_c_leaves_nothing(after: float, song: Path) -> None:
    song.write_bytes(song.read_bytes()[:-40])  # the reader's note about it tells when the work begins
    before = contents(Path.cwd())
    words = [*CONTINUED, "--bars", "256", "--candidates", "64"]
    source = "import sys; from assistant.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", source, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr and process.stderr.readline().startswith("note: ")
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    assert complained.splitlines()[-1] == "descant: stopped; no file was written" and "Traceback" not in complained
    assert contents(Path.cwd()) == before
