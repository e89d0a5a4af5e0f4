"""What the commands do when all is well: which files they write, and what they say about them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from assistant import cli, options, pipeline
from assistant.cli import main
from assistant.overview import find_tracks, overview
from assistant.progress import ProgressBar
from models.drawing import FROM_NOTHING, Sampling
from models.errors import ControlError
from models.generators import Progress
from models.midi_file import read_midi, save_midi
from models.score import Note, Score, Track
from models.theory import Key

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("weights")
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def song(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A song for voice and piano, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    path = Path("song.mid")
    path.write_bytes((data_dir / "song-voice-piano.mid").read_bytes())
    return path


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four bars of one track without a name, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    path = Path("line.mid")
    save_midi(Score(480, (Track(notes=tuple(Note(240 * i, 60 + i % 5, 200, 80) for i in range(32))),)), path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_four_candidates_are_four_numbered_files(song: Path, tmp_path: Path, capsys: Captured) -> None:
    before = song.read_bytes()
    assert main(["continue", "song.mid", "-o", "next.mid", "--bars", "1", "--seed", "7"]) == 0
    assert names(tmp_path) == ["next-1.mid", "next-2.mid", "next-3.mid", "next-4.mid", "song.mid"]
    assert song.read_bytes() == before
    said = capsys.readouterr().out
    assert all(f"next-{number}.mid" in said for number in (1, 2, 3, 4))
    assert said.splitlines()[-1] == "--seed 7 repeats this"


def test_one_candidate_is_the_file_itself(song: Path, tmp_path: Path) -> None:
    assert main(["continue", "song.mid", "-o", "next.mid", "--bars", "1", "--candidates", "1"]) == 0
    assert names(tmp_path) == ["next.mid", "song.mid"]


def test_a_name_without_ending_gets_one(song: Path, tmp_path: Path) -> None:
    assert main(["continue", "song.mid", "-o", "next", "--bars", "1", "--candidates", "1"]) == 0
    assert names(tmp_path) == ["next.mid", "song.mid"]


def test_the_new_bars_follow_the_last_note_and_the_piece_stays(song: Path) -> None:
    assert main(["continue", "song.mid", "-o", "next.mid", "--bars", "2", "--candidates", "1"]) == 0
    before, after = read_midi(song).score, read_midi("next.mid").score
    begin = before.bar(before.bar_at(before.last_note_start).index + 1).start
    for old, new in zip(before.tracks, after.tracks, strict=True):
        assert new.notes[: len(old.notes)] == old.notes
        assert all(begin - before.ticks_per_quarter <= note.start for note in new.notes[len(old.notes) :])


def test_the_named_seed_repeats_the_run(song: Path, capsys: Captured) -> None:
    common = ["continue", "song.mid", "--bars", "1", "--candidates", "1"]
    assert main([*common, "-o", "a.mid"]) == 0
    seed = re.findall(r"--seed (\d+) repeats this", capsys.readouterr().out)[0]
    assert main([*common, "-o", "b.mid", "--seed", seed]) == 0
    assert Path("a.mid").read_bytes() == Path("b.mid").read_bytes()
    assert main([*common, "-o", "c.mid", "--seed", f"{int(seed) + 1}"]) == 0
    assert Path("a.mid").read_bytes() != Path("c.mid").read_bytes()


def test_only_new_writes_the_new_bars_alone(song: Path) -> None:
    common = ["continue", "song.mid", "--bars", "2", "--candidates", "1", "--seed", "5"]
    assert main([*common, "-o", "whole.mid"]) == 0
    assert main([*common, "-o", "new.mid", "--only-new"]) == 0
    before, whole, new = (read_midi(name).score for name in ("song.mid", "whole.mid", "new.mid"))
    counts = [sum(len(track.notes) for track in score.tracks) for score in (before, whole, new)]
    assert counts[2] == counts[1] - counts[0]
    assert new.end <= 2 * new.bar(0).length + new.ticks_per_quarter


def test_fill_replaces_bars_of_the_tracks_that_are_named(song: Path) -> None:
    line = "fill song.mid -o filled.mid --tracks pia --bars 2-3 --candidates 1"
    assert main(line.split()) == 0
    before, after = read_midi(song).score, read_midi("filled.mid").score
    start, end = before.bar(1).start, before.bar(2).end
    assert [track.name for track in before.tracks] == ["Singstimme\nVoice", "Pianoforte"]
    assert after.tracks[0].notes == before.tracks[0].notes
    outside = [
        [note for note in score.tracks[1].notes if not start - 60 <= note.start < end + 60]
        for score in (before, after)
    ]
    assert outside[0] == outside[1]
    assert after.tracks[1].notes != before.tracks[1].notes


def test_accompany_adds_a_track_for_each_instrument(line: Path) -> None:
    words = ["accompany", "line.mid", "-o", "band.mid", "--add", "upright bass and drums", "--candidates", "1"]
    assert main(words) == 0
    before, after = read_midi(line).score, read_midi("band.mid").score
    assert after.tracks[0].notes == before.tracks[0].notes
    assert [(track.program, track.is_drum) for track in after.tracks[1:]] == [(32, False), (0, True)]
    assert all(track.notes for track in after.tracks)


def test_json_is_one_object_that_tells_everything(song: Path, capsys: Captured) -> None:
    line = ["continue", "song.mid", "-o", "next.mid", "--bars", "1", "--candidates", "2", "--seed", "3", "--json"]
    wishes = {"--key": "d MINOR", "--chords": "Dm | Gm A7", "--range": "c3-C5", "--density": "2-8"}
    wishes |= {"--max-polyphony": "3", "--temperature": "0.9", "--top-p": "0.8"}
    assert main([*line, *(word for pair in wishes.items() for word in pair)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"candidates", "request", "warnings"}
    assert [candidate["path"] for candidate in result["candidates"]] == ["next-1.mid", "next-2.mid"]
    for number, candidate in enumerate(result["candidates"], start=1):
        assert (candidate["number"], candidate["seed"], candidate["violations"]) == (number, 3, [])
        assert re.fullmatch("[0-9a-f]{64}", candidate["model_hash"])
        assert candidate["notes"] >= 4 and candidate["ms_to_first_bar"] > 0 and candidate["notes_per_second"] > 0
    last = read_midi(song).score
    bar = last.bar_at(last.last_note_start).index + 2
    assert result["request"] == {
        "command": "continue",
        "input": "song.mid",
        "bars": [bar, bar],
        "tracks": [1, 2],
        "candidates": 2,
        "seed": 3,
        "temperature": 0.9,
        "top_p": 0.8,
        "style": None,
        "key": "D minor",
        "chords": "Dm | Gm A7",
        "range": "C3-C5",
        "density": [2, 8],
        "max_polyphony": 3,
        "leaps": None,
        "syncopation": None,
        "at": None,
        "max_copy": None,
        "like": None,
        "only_new": False,
    }


def test_a_scale_lock_and_a_range_hold(song: Path) -> None:
    line = ["continue", "song.mid", "-o", "next.mid", "--bars", "2", "--only-new", "--key", "D minor"]
    assert main([*line, "--range", "C3-C5"]) == 0
    for number in range(1, 5):
        pitches = [note.pitch for track in read_midi(f"next-{number}.mid").score.tracks for note in track.notes]
        assert pitches
        assert {pitch % 12 for pitch in pitches} <= Key(2, "minor").pitch_classes
        assert all(48 <= pitch <= 72 for pitch in pitches)


def test_names_in_any_script_work(song: Path, tmp_path: Path, capsys: Captured) -> None:
    song.rename("Übung № 7 – 旋律.mid")
    line = ["continue", "Übung № 7 – 旋律.mid", "-o", "näch🎹ste.mid", "--bars", "1", "--candidates", "1"]
    assert main(line) == 0
    assert "näch🎹ste.mid" in capsys.readouterr().out
    assert names(tmp_path) == ["näch🎹ste.mid", "Übung № 7 – 旋律.mid"]


def test_force_overwrites_even_the_input(song: Path) -> None:
    before = song.read_bytes()
    assert main(["continue", "song.mid", "-o", "song.mid", "--bars", "1", "--candidates", "1", "--force"]) == 0
    assert len(song.read_bytes()) > len(before)


def test_the_demo_continues_a_piece_and_names_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "descant-demo").mkdir()
    assert main(["demo"]) == 0
    assert names(tmp_path) == ["descant-demo", "descant-demo-2"] and names(tmp_path / "descant-demo") == []
    files = [path.relative_to(tmp_path) for path in (tmp_path / "descant-demo-2").iterdir()]
    said = capsys.readouterr().out
    assert len(files) == 4 and all(str(path) in said for path in files)
    assert "descant continue" in said.splitlines()[-1]


def test_the_readers_warnings_are_a_few_short_lines(song: Path, capsys: Captured) -> None:
    song.write_bytes(song.read_bytes()[:-40])
    line = ["continue", "song.mid", "-o", "next.mid", "--bars", "1", "--candidates", "1", "--json"]
    assert main(line) == 0
    said, complained = capsys.readouterr()
    warnings = json.loads(said)["warnings"]
    assert len(warnings) >= 1 and complained.count("note: ") == min(len(warnings), 4)


# --- Looking at a piece -------------------------------------------------------------------------------


def test_info_lists_the_tracks_by_number_and_name(song: Path, capsys: Captured) -> None:
    assert main(["info", "song.mid"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^1 +Singstimme Voice +Voice Oohs +\d+ +\d+-\d+ ", said, re.MULTILINE)
    assert re.search(r"^2 +Pianoforte +Acoustic Grand Piano +\d+ +\d+-\d+ ", said, re.MULTILINE)
    assert re.search(r"^meter +\d+/\d+", said, re.MULTILINE) and re.search(
        r"^tempo +[\d.]+ bpm", said, re.MULTILINE
    )


def test_info_of_a_piece_without_notes_or_tracks() -> None:
    assert overview(Score())[0] == "length  0 bars, 0:00"
    assert overview(Score(tracks=(Track("Empty"),)))[-1].split() == [
        "1",
        "Empty",
        "Acoustic",
        "Grand",
        "Piano",
        "0",
    ]


def test_a_tracks_name_cannot_talk_to_the_terminal() -> None:
    lines = overview(Score(tracks=(Track("\x1b[2Jboo\r\nhoo", notes=(Note(0, 60, 10, 64),)),)))
    assert "[2Jboo hoo" in lines[-1] and all(line.isprintable() for line in lines)


NAMED = Score(tracks=tuple(Track(name, 32) for name in ("Piano", "Piano 2", "Bass", "", "bass")))


@pytest.mark.parametrize(
    ("words", "tracks"),
    [(["piano"], [0]), (["PIANO 2", "1"], [0, 1]), (["5", "4"], [3, 4]), (["aco"], [3]), (["2", "piano 2"], [1])],
)
def test_tracks_are_found_by_number_name_or_beginning(words: list[str], tracks: list[int]) -> None:
    assert find_tracks(NAMED, words) == tracks


@pytest.mark.parametrize(("word", "hint"), [("bass", "3 Bass, 5 bass"), ("0", "1 Piano"), ("6", "4 Acoustic Bass")])
def test_a_track_that_is_not_clear_is_asked_for(word: str, hint: str) -> None:
    with pytest.raises(ControlError) as refused:
        find_tracks(NAMED, [word])
    assert hint in refused.value.hint


# --- Help and start -----------------------------------------------------------------------------------

COMMON = {"--output", "--candidates", "--seed", "--temperature", "--top-p", "--key", "--chords", "--range"}
COMMON |= {"--density", "--max-polyphony", "--only-new", "--force", "--json"}
OWN = {"continue": {"--bars"}, "fill": {"--bars", "--tracks"}, "accompany": {"--add"}}


@pytest.mark.parametrize("command", options.COMMANDS)
def test_help_tells_every_flag_with_an_example(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert re.search(rf"example:\n  descant {command}[ \n]", text)
    wanted = (COMMON | OWN[command]) if command in OWN else set()
    flags = set(re.findall(r"^  (?:-\w(?: \S+)?, )?(--[\w-]+)", text, re.MULTILINE))
    assert wanted <= flags
    described = re.findall(r"^  (?:-|[A-Z]).*\n? {20,}\S|^  (?:-|[A-Z]).*?\S {2,}\S", text, re.MULTILINE)
    places = re.findall(r"^  [A-Z][\w.]*(?!\n    \w)\b", text, re.MULTILINE)  # files; no list of actions
    assert len(described) == len(flags) + len(places)


def test_help_says_what_a_musician_must_know(capsys: Captured) -> None:
    for command in OWN:
        with pytest.raises(SystemExit):
            main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for said in ("next bar line after the last note", "middle C is C4", "raised seventh"):
        assert said in text


def test_the_limits_and_defaults_in_the_help_are_those_of_the_program() -> None:
    assert options.MOST_BARS == pipeline.MOST_BARS
    assert Sampling() == (0.95, 0.93, 1.0, 1.0) and FROM_NOTHING == (1.15, 0.96, 1.0, 0.87)
    arguments = options.parse_arguments(["continue", "a.mid", "-o", "b.mid"])
    assert (arguments.candidates, arguments.bars) == (pipeline.Options().candidates, 8)


@pytest.mark.parametrize(
    ("text", "density"), [("8", (0, 8)), ("2-8", (2, 8)), ("3 - 3", (3, 3)), ("2..8", (2, 8)), ("1", (0, 1))]
)
def test_density(text: str, density: tuple[int, int]) -> None:
    arguments = options.parse_arguments(["continue", "a.mid", "-o", "b.mid", "--density", text])
    assert arguments.density == density


def program(*words: str, folder: Path, watch: str = "pass") -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a Python of its own; `watch` is run there after it."""
    source = f"import sys; from assistant.cli import main; status = main(sys.argv[1:]); {watch}; sys.exit(status)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    return subprocess.run([sys.executable, "-c", source, *words], cwd=folder, env=environment, capture_output=True)


def test_a_run_loads_neither_torch_nor_transformers(song: Path, tmp_path: Path) -> None:
    watch = "print(sorted({'torch', 'transformers', 'scipy', 'pytest'} & set(sys.modules)))"
    done = program(*["continue", "song.mid", "-o", "next.mid", "--bars", "1"], folder=tmp_path, watch=watch)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == b"[]"


def test_help_and_complaints_load_no_numpy(tmp_path: Path) -> None:
    watch = "print('numpy' in sys.modules)"
    assert program("--version", folder=tmp_path, watch=watch).stdout.splitlines()[-1] == b"False"
    refused = program("continue", "none.mid", "-o", "x.mid", "--key", "H", folder=tmp_path, watch=watch)
    assert (refused.returncode, refused.stdout.split()) == (2, [b"False"])


def test_a_terminal_that_lacks_a_letter_stops_nothing(song: Path, tmp_path: Path) -> None:
    done = program(*["continue", "song.mid", "-o", "♯.mid", "--bars", "1", "--candidates", "1"], folder=tmp_path)
    assert done.returncode == 0 and b"\\u266f.mid" in done.stdout
    assert (tmp_path / "♯.mid").exists()


# --- Progress -----------------------------------------------------------------------------------------


class Terminal:
    """What a stream to a terminal is asked."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


def test_progress_counts_the_bars_of_all_candidates_and_leaves_no_trace() -> None:
    terminal = Terminal()
    with ProgressBar(terminal, candidates=2, bars=8) as bar:  # type: ignore[arg-type]
        bar.show(Progress(0, 20, 3, 8, [(20, 0, 0, 60, 3, 3, 0)] * 5))
        bar.show(Progress(1, 18, 1, 8, []))
        assert " 4 of 16 bars, " in bar.line() and bar.line().startswith("[#")
        assert "better" not in terminal.text
        bar.show(Progress(0, 25, 8, 8, []))
        bar.show(Progress(1, 25, 8, 8, []))
        assert "trying for better ones" in terminal.text  # later drafts are not reported
    assert terminal.text.endswith("\r") and terminal.text.split("\r")[-2].strip() == ""


def test_progress_is_silent_where_there_is_no_terminal(song: Path, capsys: Captured) -> None:
    assert main(["continue", "song.mid", "-o", "next.mid", "--bars", "1", "--candidates", "1"]) == 0
    assert capsys.readouterr().err == ""


def test_a_track_without_a_name_is_filled_by_its_number_or_instrument(line: Path) -> None:
    for track in ("1", "acoustic grand"):
        words = ["fill", "line.mid", "-o", "filled.mid", "--tracks", track, "--bars", "2", "--force", "--seed", "1"]
        assert main([*words, "--candidates", "1"]) == 0
        assert read_midi("filled.mid").score.tracks[0].notes != read_midi(line).score.tracks[0].notes


def test_many_warnings_end_in_a_count(capsys: Captured) -> None:
    cli._warn([f"Fault {number}." for number in range(5)])
    assert capsys.readouterr().err.splitlines() == [*(f"note: Fault {n}." for n in range(3)), "note: and 2 more"]


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such pipe")
def test_a_reader_that_has_seen_enough_is_no_fault(data_dir: Path, tmp_path: Path) -> None:
    piece = str(data_dir / "piano-minuet.mid")
    source = "import sys; from assistant.cli import main; sys.exit(main(['info', sys.argv[1]]))"
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", source, piece], cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert done.stderr == b""
