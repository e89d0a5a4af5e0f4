"""scripts/try_continuations.py: the cut, and what each figure says of music whose answer is known."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from assistant.pipeline import Options
from models.drawing import Sampling
from models.generators import Progress, Task
from models.midi_file import read_midi, save_midi
from models.piece import opening
from models.score import Event, KeySignature, Marker, Meter, Note, Score, Tempo, Track
from models.theory import Key

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
BAR = 1920
C_MAJOR = Key(0, "major")


@pytest.fixture(scope="module")
def tries() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))  # the script imports its siblings, as when it is started
        yield importlib.import_module("try_continuations")


def line(*notes: tuple[int, int, int], program: int = 0, is_drum: bool = False) -> Track:
    """A track of notes given as start (sixteenths), pitch and length (sixteenths)."""
    return Track("", program, is_drum).with_notes(
        Note(120 * at, pitch, 120 * long, 80) for at, pitch, long in notes
    )


def heard(tries: ModuleType, *tracks: Track, bars: tuple[int, int] = (0, 1)) -> Any:
    return tries.passage(Score(480, tracks), *bars, range(len(tracks)))


def test_the_cut_leaves_a_file_that_ends_there(tries: ModuleType) -> None:
    notes = (
        Note(0, 60, 480, 80),
        Note(BAR - 240, 62, 960, 80),
        Note(2 * BAR - 5, 64, 480, 80),
        Note(2 * BAR, 65, 1, 80),
    )
    track = Track(notes=notes, events=(Event(0, b"\xb0\x40\x7f"), Event(2 * BAR, b"\xb0\x40\x00")))
    whole = Score(
        480,
        (track,),
        tempos=(Tempo(0, 500_000), Tempo(2 * BAR, 400_000)),
        meters=(Meter(0, 4, 4), Meter(2 * BAR, 3, 4)),
        keys=(KeySignature(0, 0, False), KeySignature(2 * BAR, 1, False)),
        markers=(Marker(0, "Am"), Marker(2 * BAR, "Dm")),
        events=(Event(2 * BAR, b"\xf0\x01\xf7"),),
    )
    context = opening(whole, 1)
    assert context.tracks[0].notes == (notes[0], notes[1]._replace(duration=240))
    assert context.length == BAR
    two = opening(whole, 2)
    assert two.tracks[0].notes == notes[:2]  # the note that is played early opens bar 3
    assert two.tracks[0].events == track.events[:1]
    assert (two.tempos, two.meters, two.keys) == (whole.tempos[:1], whole.meters[:1], whole.keys[:1])
    assert (two.markers, two.events) == (whole.markers[:1], ())


def test_the_chosen_files_are_spread_and_always_the_same(tries: ModuleType) -> None:
    sources = [tries.Source("set", b"", {"path": f"{number:02}.mid"}) for number in range(12)]
    chosen = tries.choose(sources, 3)
    assert [source.row["path"] for source in chosen] == ["02.mid", "06.mid", "10.mid"]
    assert tries.choose(sources[::-1], 3) == chosen
    assert tries.choose(sources[:2], 5) == sources[:2]


def test_a_passage_knows_its_bars_and_tracks(tries: ModuleType) -> None:
    right, left = line((0, 60, 4), (16, 62, 4), (32, 64, 4)), line((20, 40, 4))
    some = tries.passage(Score(480, (right, left)), 1, 1, [0])
    assert some.notes[:, 3].tolist() == [62]
    assert some.starts(some.notes).tolist() == [0]
    assert some.ticks == 96


def test_two_passages_differ_by_the_notes_they_do_not_share(tries: ModuleType) -> None:
    four = heard(tries, line((0, 60, 4), (4, 62, 4), (8, 64, 4), (12, 65, 4)))
    three = heard(tries, line((0, 60, 1), (4, 62, 1), (8, 64, 1), (12, 66, 4)))
    nothing = heard(tries, line())
    assert tries.difference(four, four) == 0
    assert tries.difference(four, three) == pytest.approx(0.25)
    assert tries.difference(four, nothing) == 1


def test_clashes_are_semitones_that_sound_together(tries: ModuleType) -> None:
    assert tries.clashes(heard(tries, line((0, 60, 4), (0, 64, 4), (0, 67, 4)))) == 0
    assert tries.clashes(heard(tries, line((0, 60, 4), (0, 73, 4)))) == 1
    assert tries.clashes(heard(tries, line((0, 60, 4), (0, 67, 4), (8, 60, 4), (8, 61, 4)))) == pytest.approx(0.5)
    assert tries.clashes(heard(tries, line((0, 60, 4), (4, 61, 4)))) == 0
    assert math.isnan(tries.clashes(heard(tries, line((0, 36, 4), (0, 37, 4), is_drum=True))))


def test_chord_tones_are_asked_for_on_beats(tries: ModuleType) -> None:
    score = Score(
        480, (line((0, 60, 1), (1, 61, 1), (4, 62, 1), (16, 62, 1)),), markers=(Marker(0, "Cm"), Marker(BAR, "Dm"))
    )
    tones = tries.tones_by_quarter(score, 0, 1)
    assert tones == [frozenset({0, 3, 7})] * 4 + [frozenset({2, 5, 9})] * 4
    assert tries.chord_tones(tries.passage(score, 0, 1, [0]), tones) == pytest.approx(2 / 3)
    assert tries.tones_by_quarter(Score(480, score.tracks), 0, 0) == [None] * 4


def test_a_loop_is_repeated_and_new_music_is_not(tries: ModuleType) -> None:
    riff = [(0, 60, 2), (3, 64, 2), (8, 67, 4)]
    loop = line(*((at + 16 * bar, pitch, long) for bar in range(4) for at, pitch, long in riff))
    rising = line(*((at + 16 * bar + bar % 2, pitch + bar, long) for bar in range(4) for at, pitch, long in riff))
    assert tries.repeated(heard(tries, loop, bars=(0, 3))) == 1
    assert tries.repeated(heard(tries, rising, bars=(0, 3))) == 0
    assert tries.patterns(heard(tries, loop, bars=(0, 3))) == 0.25
    assert tries.patterns(heard(tries, rising, bars=(0, 3))) == 0.5


def test_steps_are_those_of_the_upper_line_of_each_track(tries: ModuleType) -> None:
    chords = line((0, 48, 4), (0, 72, 4), (4, 50, 4), (4, 74, 4))
    bass = line((0, 36, 4), (4, 48, 4))
    assert tries.leap(heard(tries, chords)) == 2
    assert tries.leap(heard(tries, chords, bass)) == 7
    stuck = line((0, 60, 4), (4, 60, 4), (8, 60, 4), (12, 62, 4))
    assert tries.steps(heard(tries, stuck)).tolist() == [0, 0, 2]
    assert math.isnan(tries.leap(heard(tries, line((0, 36, 1), (4, 50, 1), is_drum=True))))


def test_outside_is_beyond_what_the_track_played_before(tries: ModuleType) -> None:
    context = heard(tries, line((0, 60, 4), (4, 72, 4)), line((0, 30, 4)))
    after = heard(tries, line((0, 58, 4), (4, 74, 4), (8, 75, 4), (12, 57, 4)), line((0, 30, 4)))
    assert tries.outside(after, context) == pytest.approx(2 / 5)


def test_gaps_reach_to_both_ends(tries: ModuleType) -> None:
    assert tries.longest_gap(heard(tries, line((12, 60, 1), (16, 60, 16)))) == 4
    assert tries.longest_gap(heard(tries, line())) == 8


def test_likeness_is_the_common_area_of_two_histograms(tries: ModuleType) -> None:
    assert tries.likeness([1, 1, 2, 2], [1, 2]) == 1
    assert tries.likeness([1, 1, 2, 2], [2, 2, 3]) == pytest.approx(0.5)
    assert math.isnan(tries.likeness([], [1]))


def test_the_figures_of_silence_are_plain(tries: ModuleType) -> None:
    context = heard(tries, line((0, 60, 4), (4, 64, 4)))
    figures = tries.measure(heard(tries, line()), context, C_MAJOR, [])
    assert (figures["notes per bar"], figures["empty bars"], figures["lost tracks"]) == (0, 1, 1)
    truth = tries.measure(context, context, C_MAJOR, [])
    assert "silent" in tries.doubts(figures, truth, truth)


def test_music_like_its_context_raises_no_doubt_and_noise_many(tries: ModuleType) -> None:
    scale = [60, 62, 64, 65, 67, 65, 64, 62]
    tune = heard(tries, line(*((4 * beat, scale[beat % 8], 4) for beat in range(32))), bars=(0, 7))
    figures = tries.measure(tune, tune, C_MAJOR, [])
    assert tries.doubts(figures, figures, figures) == []
    random = np.random.default_rng(1)
    noise = line(*((int(at), int(random.integers(20, 110)), 3) for at in range(128)))
    found = tries.doubts(tries.measure(heard(tries, noise, bars=(0, 7)), tune, C_MAJOR, []), figures, figures)
    assert {"dense", "out of scale", "leaps", "register", "clashes"} <= set(found)


class Composer:
    """A generator that knows how the piece went on."""

    model_hash = "composer"

    def __init__(self, rows: list[tuple[int, ...]]) -> None:
        self.rows = rows

    def generate(
        self, task: Task, seeds: Sequence[int], sampling: Sampling, cancelled: Callable[[], bool]
    ) -> Iterator[Progress]:
        for candidate in range(len(seeds)):
            for done, bar in enumerate(task.bars, start=1):
                yield Progress(candidate, bar, done, len(task.bars), [row for row in self.rows if row[0] == bar])


@pytest.fixture
def data(tmp_path: Path, data_dir: Path) -> Path:
    """A data folder with one set, which has one file to be used and one that is not for it."""
    source = read_midi(data_dir / "string-quartet.mid").score
    folder = tmp_path / "data" / "openscore-quartets"
    (folder / "midi").mkdir(parents=True)
    row = {"path": "midi/a.mid", "split": "valid", "n_tracks": 4, "instruments": []}
    row["n_bars"] = source.bar_at(source.last_note_start).index + 1
    rows = [row, {**row, "path": "midi/b.mid", "split": "train"}, {**row, "path": "midi/c.mid", "n_bars": 5}]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(each) for each in rows))
    for each in rows:
        save_midi(source, folder / str(each["path"]))
    return tmp_path / "data"


def test_the_true_continuation_is_measured_as_such(tries: ModuleType, data: Path, tmp_path: Path) -> None:
    (excerpt,) = tries.excerpts(data, 2, 4, Options(candidates=2))
    assert excerpt.path == "openscore-quartets/midi/a.mid"
    first, last = excerpt.request.bars
    assert last - first == 3
    assert excerpt.context.last_note_start < excerpt.context.length == excerpt.whole.bar(first).start
    true = tries.passage(excerpt.whole, first, last, range(4))
    result = tries.attempt(excerpt, Composer([tuple(row) for row in true.notes.tolist()]))
    assert result.least_difference == 0
    for figures in result.figures:
        assert {**figures, "length": 0, "clashes": 0} == {**result.truth, "length": 0, "clashes": 0}
    assert "least difference 0.00, violations 0" in tries.table([result])
    assert result.as_json()["candidates"][0]["violations"] == []

    tries.keep(result, tmp_path)
    names = {path.name.removeprefix("string-quartet-a") for path in tmp_path.iterdir() if path.is_file()}
    assert names == {"-context.mid", "-truth.mid", "-1.mid", "-2.mid", ".png"}
    assert read_midi(tmp_path / "string-quartet-a-context.mid").score.length == excerpt.context.length


def test_a_folder_without_the_sets_is_told_in_a_sentence(
    tries: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tries.main([str(tmp_path)]) == 2
    assert "No set that is needed" in capsys.readouterr().err
