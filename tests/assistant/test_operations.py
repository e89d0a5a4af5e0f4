"""What the operations promise, held against a generator that draws anything the locks allow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assistant.asking import own_index
from assistant.cli import main
from assistant.operations import (
    accents_of,
    accompany_with_chords,
    drumify_request,
    harmonise_request,
    humanise_request,
    vary_request,
)
from assistant.pipeline import Candidate, Options, Request, continue_request, fill_request, propose, with_spots
from models.constraints import Controls, Limits, Spot
from models.drawing import Sampling
from models.errors import ControlError
from models.generators import Progress, Task
from models.instruments import parse_instrument
from models.midi_file import read_midi, save_midi
from models.piece import to_piece
from models.score import Event, KeySignature, Marker, Note, Score, Track
from models.theory import Key, chord_track, parse_progression
from scripts.random_requests import random_score
from tests.builders import AnyNotes, simple_score

BAR = 1920
SEEDS = range(16)


def tidy(seed: int) -> Score:
    """A random score in which no two notes of a track and pitch overlap, so that a file can hold it either way."""
    score = random_score(np.random.default_rng(seed))
    tracks = []
    for track in score.tracks:
        ends: dict[int, int] = {}
        notes = []
        for note in track.notes:
            if note.start >= ends.get(note.pitch, 0):
                notes.append(note)
                ends[note.pitch] = note.end
        rows = to_piece(score.with_tracks([track.with_notes(notes)]))[0].notes
        if len(rows) == len(notes) > 0:
            tracks.append(track.with_notes(notes))
    if not any(track.notes for track in tracks):
        tracks = list(simple_score().tracks)
        score = replace(score, ticks_per_quarter=480, meters=())
    return score.with_tracks(tracks)


def one(request: Request) -> Candidate:
    return propose(request, AnyNotes())[0]


def written_bars(score: Score) -> int:
    return score.bar_at(score.last_note_start).index + 1


def cells(score: Score, track: int) -> dict[tuple[int, int], list[Note]]:
    """A track's notes by grid bar and position, as anyone would read them."""
    piece, grid, membership = to_piece(score)
    found: dict[tuple[int, int], list[Note]] = {}
    rows = [row for row in piece.notes.tolist() if row[1] == track]
    for note, bar in zip(score.tracks[track].notes, membership[track].tolist(), strict=True):
        near = [row for row in rows if row[0] == bar and row[3] == note.pitch]
        offset = (note.start - grid[bar].start) * 24 / score.ticks_per_quarter
        row = min(near, key=lambda row: abs(row[2] + row[6] / 5 - offset))
        found.setdefault((bar, row[2]), []).append(note)
    return found


@pytest.mark.parametrize("keep", [None, "rhythm", "contour", "pitch"])
@pytest.mark.parametrize("seed", SEEDS[:6])
def test_no_strength_changes_nothing(seed: int, keep: str | None) -> None:
    score = random_score(np.random.default_rng(seed))  # untidy: doubled notes stay too
    candidate = one(vary_request(score, range(len(score.tracks)), None, 0.0, keep, Options(candidates=1)))
    assert [track.notes for track in candidate.score.tracks] == [track.notes for track in score.tracks]
    assert not candidate.violations


@pytest.mark.parametrize("seed", SEEDS)
def test_what_does_not_change_stays_to_the_tick(seed: int) -> None:
    score = tidy(seed)
    strength = (0.25, 0.5, 0.8)[seed % 3]
    options = Options(candidates=1, seed=seed)
    candidate = one(vary_request(score, range(len(score.tracks)), None, strength, None, options))
    assert not candidate.violations
    for index, track in enumerate(score.tracks):
        left = Counter(candidate.score.tracks[index].notes)
        by_bar: dict[int, list[list[Note]]] = {}
        for (bar, _), notes in cells(score, index).items():
            by_bar.setdefault(bar, []).append(notes)
        for onsets in by_bar.values():
            stay = sum(all(left[note] for note in notes) for notes in onsets)
            assert stay >= len(onsets) - round(strength * len(onsets))
        assert sum(left.values()) <= 2.5 * len(track.notes) + len(by_bar)


@pytest.mark.parametrize("keep", ["rhythm", "contour"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_kept_rhythm_is_the_same_rhythm(seed: int, keep: str) -> None:
    score = tidy(seed)
    options = Options(candidates=1, seed=seed)
    candidate = one(vary_request(score, range(len(score.tracks)), None, 1.0, keep, options))
    for before, after in zip(score.tracks, candidate.score.tracks, strict=True):
        assert Counter((n.start, n.velocity) for n in before.notes) == Counter(
            (n.start, n.velocity) for n in after.notes
        )
        later = {(n.pitch, n.start) for n in after.notes}
        for start in {note.start for note in before.notes}:
            was = sorted(n.duration for n in before.notes if n.start == start)
            now = sorted(n.duration for n in after.notes if n.start == start)
            whole = [n for n in after.notes if n.start == start and (n.pitch, n.end) not in later]
            if len(whole) == len(now):
                assert now == was


@pytest.mark.parametrize("seed", SEEDS)
def test_a_kept_contour_rises_and_falls_alike(seed: int) -> None:
    score = tidy(seed)
    candidate = one(vary_request(score, range(len(score.tracks)), None, 1.0, "contour", Options(candidates=1)))
    for index in range(len(score.tracks)):

        def tops(of: Score, index: int = index) -> list[int]:
            return [max(n.pitch for n in notes) for _, notes in sorted(cells(of, index).items())]

        before, after = tops(score), tops(candidate.score)
        assert np.array_equal(np.sign(np.diff(before)), np.sign(np.diff(after)))


@pytest.mark.parametrize("seed", SEEDS)
def test_kept_pitches_come_in_their_order(seed: int) -> None:
    score = tidy(seed)
    strength = 1.0 if seed % 2 else 0.5
    options = Options(candidates=1, seed=seed)
    candidate = one(vary_request(score, range(len(score.tracks)), None, strength, "pitch", options))
    for index in range(len(score.tracks)):

        def order(of: Score, index: int = index) -> list[tuple[int, int]]:
            found = cells(of, index)
            return [(bar, n.pitch) for (bar, _), notes in sorted(found.items()) for n in sorted(notes)]

        left, right = order(score), order(candidate.score)
        assert [p for _, p in left] == [p for _, p in right] or Counter(right) <= Counter(left)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_humanised_score_has_the_same_notes_in_the_same_places(seed: int) -> None:
    score = tidy(seed)
    candidate = one(humanise_request(score, range(len(score.tracks)), 1.0, Options(candidates=1, seed=seed)))
    for index in range(len(score.tracks)):
        before, after = cells(score, index), cells(candidate.score, index)
        assert before.keys() == after.keys()
        for place, notes in before.items():
            assert [n.pitch for n in sorted(notes, key=lambda n: n.pitch)] == sorted(n.pitch for n in after[place])
            assert all(n.duration >= 1 for n in after[place])
    assert candidate.request.variety == 0


def test_humanising_by_nothing_changes_nothing() -> None:
    score = random_score(np.random.default_rng(5))
    candidate = one(humanise_request(score, range(len(score.tracks)), 0.0, Options(candidates=1)))
    assert [track.notes for track in candidate.score.tracks] == [track.notes for track in score.tracks]


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_drums_strike_at_every_accent(seed: int) -> None:
    score = tidy(seed)
    parts = [index for index, track in enumerate(score.tracks) if track.notes]
    request = drumify_request(score, parts, Options(candidates=1, seed=seed))
    candidate = one(request)
    assert not candidate.violations
    hits = cells(candidate.score, len(score.tracks))
    for part in parts:
        accents = score.with_tracks([Track(notes=tuple(Note(t, 60, 1, 80) for t in accents_of(score, part)))])
        struck = {place for place in cells(accents, 0) if place[0] <= max(bar for bar, _ in request.region)}
        assert struck <= hits.keys() or len(to_piece(score)[1]) != written_bars(score)


def test_accents_are_where_the_part_is_strong() -> None:
    notes = (Note(0, 60, 480, 110), Note(240, 62, 60, 40), Note(480, 64, 480, 100), Note(720, 65, 60, 40))
    assert accents_of(Score(480, (Track(notes=notes),)), 0) == [0, 480]


LINE = replace(
    simple_score(4), markers=(Marker(0, "C"), Marker(BAR, "Am7"), Marker(2 * BAR, "Dm/F"), Marker(3 * BAR, "C/D"))
)


def test_a_bass_plays_the_roots_of_the_chords() -> None:
    request = accompany_with_chords(LINE, [parse_instrument("bass")], Options(candidates=3))
    for candidate in propose(request, AnyNotes()):
        assert not candidate.violations
        bass = candidate.score.tracks[-1].notes
        # The last chord's bass is none of its tones: there the root stands for it.
        for bar, pitch_class in enumerate((0, 9, 5, 0)):
            assert pitch_class in {note.pitch % 12 for note in bass if abs(note.start - bar * BAR) <= 32}


@pytest.mark.parametrize("given", ["markers", "asked", "found"])
def test_a_harmony_strikes_its_chords(given: str) -> None:
    score = LINE if given == "markers" else replace(LINE, markers=())
    progression = parse_progression("F | G7 C") if given == "asked" else None
    request = harmonise_request(score, None, Options(candidates=2, progression=progression))
    for candidate in propose(request, AnyNotes()):
        assert not candidate.violations
        changes = chord_track(candidate.score)
        assert changes
        if given == "asked":
            assert [change.chord.root for change in changes if change.chord][:4] == [5, 7, 0, 5]
        for change in changes:
            struck = [n for n in candidate.score.tracks[-1].notes if abs(n.start - change.tick) <= 32]
            assert change.chord and len({n.pitch for n in struck}) >= 3
            tones = change.chord._replace(bass=change.chord.root).pitch_classes
            assert all(n.pitch % 12 in tones for n in struck)


class Seen(AnyNotes):
    """Keeps the task that it is given."""

    def generate(
        self,
        task: Task,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Progress]:
        self.task = task
        yield from super().generate(task, seeds, sampling, cancelled)


def test_a_loop_is_written_towards_its_beginning() -> None:
    score, generator = simple_score(6), Seen()
    request = replace(continue_request(score, 2, Options(candidates=1)), loop=True)
    candidate = propose(request, generator)[0]
    piece = generator.task.piece
    assert len(piece.bars) == 6 + 2 + 4
    again = piece.notes[piece.notes[:, 0] >= 8] - np.array([8, 0, 0, 0, 0, 0, 0])
    assert np.array_equal(again, piece.notes[piece.notes[:, 0] < 4])
    assert not generator.task.region[8:].any()
    end = score.bar(7).end
    assert all(note.end <= end for track in candidate.score.tracks for note in track.notes)
    assert candidate.score.length == end


@pytest.mark.parametrize("key", [None, Key(9, "minor")])
def test_an_ending_closes_on_the_tonic(key: Key | None) -> None:
    score, generator = replace(simple_score(6), keys=(KeySignature(0, 1, False),)), Seen()
    options = Options(controls=Controls(key=key), candidates=3)
    request = replace(continue_request(score, 3, options), ending=True)
    tones = {9, 0, 4} if key else {7, 11, 2}
    for candidate in propose(request, generator):
        last = [note for _, note in candidate.written if note.start >= score.bar(8).start - 32]
        assert {note.pitch % 12 for note in last} <= tones
        assert not candidate.violations
    assert generator.task.ends_known and len(generator.task.piece.bars) == 9


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_limits_of_single_tracks_and_bars_hold_there(seed: int) -> None:
    score = simple_score(6, tracks=3)
    spots = [
        Spot(Limits(density=(2, 3)), frozenset({0}), (2, 3)),
        Spot(Limits(pitch_range=(40, 45), max_polyphony=1), frozenset({1})),
        Spot(Limits(density=(1, 1)), None, (4, 4)),
    ]
    controls = Controls(density=(0, 9), max_polyphony=4)
    request = with_spots(
        fill_request(score, range(3), 1, 5, Options(controls=controls, candidates=2, seed=seed)), spots
    )
    for candidate in propose(request, AnyNotes()):
        assert not candidate.violations
        counts: Counter[tuple[int, int]] = Counter()
        for index in range(3):
            for (bar, _), notes in cells(candidate.score, index).items():
                counts[bar, index] += len(notes)
        for bar in range(1, 6):
            for index in range(3):
                least, most = (1, 1) if bar == 4 else (2, 3) if index == 0 and bar in (2, 3) else (0, 9)
                assert least <= counts[bar, index] <= most
        line = sorted(note for index, note in candidate.written if index == 1)
        assert all(40 <= note.pitch <= 45 for note in line)
        edges = sorted([(n.start, 1) for n in line] + [(n.end, 0) for n in line])
        sounding = most_at_once = 0
        for _, begins in edges:
            sounding += 1 if begins else -1
            most_at_once = max(most_at_once, sounding)
        assert most_at_once <= 1


DRUMS_ALONE = Score(480, (Track(is_drum=True, notes=(Note(0, 36, 9, 9),)),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vary_request(simple_score(), [0], None, 1.5), "strength"),
        (lambda: vary_request(simple_score(), [0], None, 1.0, "mood"), "keep"),
        (
            lambda: vary_request(simple_score().with_tracks([*simple_score().tracks, Track()]), [1], None),
            "no notes",
        ),
        (lambda: drumify_request(simple_score(), [3]), "no such track"),
        (lambda: humanise_request(simple_score(), [0], -1), "strength"),
        (lambda: harmonise_request(DRUMS_ALONE), "chords"),
    ],
)
def test_what_cannot_be_is_said(make: Callable[[], Request], message: str) -> None:
    with pytest.raises(ControlError, match=message):
        make()


def test_a_line_that_cannot_keep_its_shape_is_refused() -> None:
    options = Options(controls=Controls(pitch_range=(60, 62)), candidates=1)
    with pytest.raises(ControlError, match="shape"):
        one(vary_request(simple_score(), [0], None, 1.0, "contour", options))


# --- From the command line ----------------------------------------------------------------------------


@pytest.fixture
def song(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first bars of a song, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    path = Path("song.mid")
    whole = read_midi(data_dir / "song-three-eight.mid").score
    end = whole.bar(6).start
    tracks = [track.with_notes(note for note in track.notes if note.start < end) for track in whole.tracks]
    save_midi(replace(whole.with_tracks(tracks), length=end), path)
    return path


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    "line",
    [
        "vary song.mid --tracks 2 --bars 2-3 --strength 1 --keep rhythm",
        "humanise song.mid --tracks 1 --strength 0.5",
        "drumify song.mid --tracks 1 --only-new",
        "harmonise song.mid --with organ",
        "accompany song.mid --add bass --follow-chords",
        "continue song.mid --bars 1 --loop --leaps few --syncopation most",
        "continue song.mid --bars 1 --ending",
    ],
)
def test_every_operation_is_one_command(line: str, song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = song.read_bytes()
    assert main([*line.split(), "-o", "out.mid", "--candidates", "1"]) == 0
    assert song.read_bytes() == before and read_midi("out.mid").score.tracks
    said = capsys.readouterr().out
    assert "out.mid" in said and "but" not in said


@pytest.mark.usefixtures("weights")
def test_spots_name_new_tracks_and_old(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["fill", "song.mid", "-o", "out.mid", "--bars", "2-3", "--candidates", "1"]
    assert main([*line, "--at", "1@2: density 1-2, range C4-C5", "--at", "@3: polyphony 1"]) == 0
    assert main([*line, "--force", "--at", "Kazoo: density 2"]) == 2
    assert 'no track "Kazoo"' in capsys.readouterr().err
    assert main([*line, "--force", "--at", "1@2 density 2"]) == 2
    assert "Bass@5-8" in capsys.readouterr().err


@pytest.mark.usefixtures("weights")
def test_drum_keys_of_the_file_stay_and_new_ones_follow_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Open hats B and C of the kit are both open hats to General MIDI.
    notes = tuple(Note(240 * i, (36, 55, 38, 56)[i % 4], 100, 90) for i in range(32))
    save_midi(Score(480, (Track("Kit", 0, True, 9, notes, (Event(0, bytes([0xC9, 0])),)),)), "beat.mid")
    line = "continue beat.mid -o out.mid --bars 2 --candidates 1 --drum-map addictive"
    assert main(line.split()) == 0
    after = read_midi("out.mid").score.tracks[0].notes
    assert after[:32] == notes


@pytest.mark.usefixtures("weights")
def test_a_folder_of_ones_own_is_compared_with(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    song = tmp_path / "mine" / "song.mid"
    song.write_bytes((data_dir / "song-voice-piano.mid").read_bytes())
    line = [
        "continue",
        str(song),
        "-o",
        "out.mid",
        "--bars",
        "1",
        "--candidates",
        "1",
        "--json",
        "--my-music",
        "mine",
    ]
    assert main(line) == 2 and "no other MIDI files" in capsys.readouterr().err
    save_midi(simple_score(8), tmp_path / "mine" / "other.midi")
    (tmp_path / "mine" / "not.mid").write_bytes(b"no music")
    assert main(line) == 0
    said = json.loads(capsys.readouterr().out)["candidates"][0]["originality"]
    assert set(said) == {"training", "human", "own"} and said["own"]["notes"] >= 0
    assert len(own_index(tmp_path / "mine")) > 0
