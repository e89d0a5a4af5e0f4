"""Transforms without a network: interpolation, groove, drum maps; and chords that are found."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.cli import main
from models.chord_finder import chord_changes, find_chords
from models.drum_maps import DRUM_MAPS, from_general_midi, parse_drum_map, to_general_midi
from models.errors import ControlError
from models.midi_file import read_midi, save_midi, write_midi
from models.piece import to_piece
from models.score import Marker, Meter, Note, Score, Track
from models.theory import chord_track, with_chord_track
from models.transforms import distance, groove_of, interpolate, with_groove

BAR = 1920
CLIPS = st.lists(
    st.tuples(st.integers(0, 31), st.integers(55, 67), st.integers(1, 8), st.integers(1, 127)),
    min_size=1,
    max_size=24,
)


def clip(rows: list[tuple[int, int, int, int]], program: int = 0, quarter: int = 480) -> Score:
    """Notes on sixteenths without overlaps of one pitch."""
    ends: dict[int, int] = {}
    notes = []
    for start, pitch, length, velocity in sorted(rows):
        if start >= ends.get(pitch, 0):
            notes.append(Note(start * quarter // 4, pitch, length * quarter // 4, velocity))
            ends[pitch] = start + length
    return Score(quarter, (Track("Clip", program).with_notes(notes),), length=8 * quarter)


@settings(max_examples=60)
@given(CLIPS, CLIPS, st.integers(2, 9), st.booleans())
def test_the_ends_are_exact_and_the_distances_never_turn_back(
    a: list[tuple[int, int, int, int]], b: list[tuple[int, int, int, int]], steps: int, other: bool
) -> None:
    first, second = clip(a), clip(b, program=33 if other else 0, quarter=240 if other else 480)
    way = interpolate(first, second, steps)
    assert len(way) == steps and way[0] is first and way[-1] is second
    away = [distance(first, step) for step in way]
    left = [distance(step, second) for step in way]
    assert away[0] == 0 and left[-1] == 0
    assert all(x <= y for x, y in pairwise(away)) and all(x >= y for x, y in pairwise(left))
    for step in way:
        # A file holds every step as it is.
        assert [track.notes for track in read_midi(write_midi(step)).score.tracks] == [t.notes for t in step.tracks]


def test_clips_in_other_meters_are_refused() -> None:
    first = clip([(0, 60, 4, 90)])
    with pytest.raises(ControlError, match="different bars"):
        interpolate(first, replace(first, meters=(Meter(0, 3, 4),)), 3)
    with pytest.raises(ControlError, match="steps"):
        interpolate(first, first, 1)


STRAIGHT = Score(480, (Track("Beat", 0, True, 9, tuple(Note(240 * i, 42, 60, 80) for i in range(32))),))
# Off-beats late and soft, downbeats a little early.
PLAYED = Score(
    960,
    (
        Track(
            "Drummer", 0, True, 9,
            tuple(Note(max(0, 480 * i + (60 if i % 2 else -8)), 42, 100, 60 if i % 2 else 100) for i in range(16)),
        ),
    ),
)  # fmt: skip


def test_the_feel_of_a_clip_is_laid_onto_another() -> None:
    result = with_groove(STRAIGHT, groove_of(PLAYED)).tracks[0].notes
    late = [note.start - 240 * index for index, note in enumerate(result)]
    assert late[1::2] == [30] * 16 and late[2:16:2] == [-4] * 7
    assert {note.velocity for note in result[1::2]} == {60} and {note.velocity for note in result[::2]} == {100}
    assert [note.pitch for note in result] == [42] * 32 and {note.duration for note in result} == {60}
    half = with_groove(STRAIGHT, groove_of(PLAYED), 0.5).tracks[0].notes
    assert half[1].start == 240 + 15 and half[1].velocity == 70
    assert with_groove(STRAIGHT, groove_of(PLAYED), 0) == STRAIGHT
    with pytest.raises(ControlError, match="no notes"):
        groove_of(Score())


@settings(max_examples=40)
@given(CLIPS, st.floats(0, 1))
def test_a_groove_moves_nothing_to_another_place(rows: list[tuple[int, int, int, int]], strength: float) -> None:
    score = clip(rows)
    result = with_groove(score, groove_of(PLAYED), strength)
    before, after = to_piece(score)[0].notes, to_piece(result)[0].notes
    assert np.array_equal(before[:, :4], after[:, :4])


@pytest.mark.parametrize("name", DRUM_MAPS)
def test_a_drum_map_goes_there_and_back(name: str) -> None:
    drum_map = DRUM_MAPS[name]
    kit = Track("Kit", 0, True, 9, tuple(Note(10 * key, key, 5, 90) for key in range(128)))
    score = Score(480, (kit, Track("Piano", notes=(Note(0, 36, 5, 90),))))
    general = to_general_midi(score, drum_map)
    assert general.tracks[1] == score.tracks[1]
    assert from_general_midi(general, drum_map, score) == score  # the user's keys, several for one drum
    for drum in range(35, 82):  # what was written reads as what is written the same
        assert drum_map.key(drum_map.drum(drum_map.key(drum))) == drum_map.key(drum)


def test_drum_maps_by_name_and_by_hand() -> None:
    assert parse_drum_map("Roland").drum(22) == 42 and parse_drum_map("addictive").key(42) == 49
    by_hand = parse_drum_map("36=35, 38 = 40")
    assert (by_hand.key(36), by_hand.key(38), by_hand.key(42), by_hand.drum(40)) == (35, 40, 42, 38)
    for text in ("tr-808", "36=", "36=200", ""):
        with pytest.raises(ControlError, match="drum map"):
            parse_drum_map(text)


# --- Chords -------------------------------------------------------------------------------------------


def chorded(*chords: tuple[int, ...], length: int = BAR) -> Score:
    """Each chord for a bar, its lowest note an octave below too."""
    notes = []
    for bar, tones in enumerate(chords):
        notes += [Note(bar * length, pitch, length - 10, 80) for pitch in (min(tones) - 12, *tones)]
    return Score(480, (Track("Keys", notes=tuple(sorted(notes))),))


@pytest.mark.parametrize("shift", range(12))
def test_plain_chords_are_found_in_every_key(shift: int) -> None:
    progression = ((60, 64, 67), (57, 60, 64), (62, 65, 69), (55, 59, 62, 65), (60, 64, 67))
    score = chorded(*(tuple(pitch + shift for pitch in chord) for chord in progression))
    found = find_chords(score)
    expected = [(0, 0, "maj"), (1, 9, "min"), (2, 2, "min"), (3, 7, "7"), (4, 0, "maj")]
    names = [(item.tick // BAR, item.chord) for item in found]
    assert [(bar, chord and (chord.root - shift) % 12, chord and chord.quality) for bar, chord in names] == expected
    assert all(0.5 < item.confidence <= 1 for item in found)
    assert chord_track(with_chord_track(score, chord_changes(found))) == chord_changes(found)


def test_doubt_is_shown() -> None:
    sure = find_chords(chorded((60, 64, 67)))[0]
    third = find_chords(Score(480, (Track(notes=(Note(0, 60, BAR, 80), Note(0, 64, BAR, 80))),)))[0]
    assert third.confidence < sure.confidence
    assert find_chords(Score(480, (Track(is_drum=True, notes=(Note(0, 36, 10, 90),)),))) == ()


def test_silence_before_the_first_note_has_no_chord_and_a_melody_moves_by_the_bar() -> None:
    notes = tuple(Note(BAR + 480 * i, pitch, 480, 80) for i, pitch in enumerate((60, 64, 67, 64, 65, 69, 72, 69)))
    found = find_chords(Score(480, (Track(notes=notes),)), by_bar=True)
    assert [(item.tick, item.chord and item.chord.root) for item in found] == [(0, None), (BAR, 0), (2 * BAR, 5)]


def test_the_commands_write_what_they_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    score = replace(chorded((60, 64, 67), (55, 59, 62)), markers=(Marker(0, "Verse"),))
    save_midi(score, "song.mid")
    save_midi(STRAIGHT, "beat.mid")
    save_midi(PLAYED, "drummer.mid")
    assert main(["chords", "song.mid", "-o", "marked.mid"]) == 0
    assert "C " in capsys.readouterr().out
    marked = read_midi("marked.mid").score
    assert [change.chord.root for change in chord_track(marked) if change.chord] == [0, 7]
    assert marked.tracks == read_midi("song.mid").score.tracks
    assert main(["chords", "song.mid", "--json", "--by-bar"]) == 0
    assert '"confidence"' in capsys.readouterr().out
    assert main(["groove", "beat.mid", "--from", "drummer.mid", "-o", "grooving.mid", "--strength", "0.5"]) == 0
    assert read_midi("grooving.mid").score.tracks[0].notes[1].start == 255
    assert main(["interpolate", "beat.mid", "grooving.mid", "-o", "way.mid", "--steps", "3"]) == 0
    assert Path("way-1.mid").read_bytes() == write_midi(read_midi("beat.mid").score)
    assert {f"way-{n}.mid" for n in (1, 2, 3)} <= {path.name for path in tmp_path.iterdir()}
    assert main(["chords", "drummer.mid"]) == 2
    assert "no pitched notes" in capsys.readouterr().err
