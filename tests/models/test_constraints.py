"""Controls as masks and as a check: what contradicts is refused, what is broken is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.constraints import NO_LIMIT, Controls, Draft, Rules, Written, asked_attributes, settle, violations
from models.errors import ControlError
from models.piece import (
    DRUMS,
    DURATIONS,
    GRID,
    Piece,
    VelocityTable,
    grid_bars,
    to_note,
    to_piece,
)
from models.score import Marker, Meter, Note, Score, Track
from models.theory import Chord, Key
from models.tokens import ATTRIBUTES, END, FIELDS

EMPTY = Score(480)
C_MAJOR = Key(0, "major")
D_MINOR_CHORD = Chord(2, "min", 2)
PITCHED, DRUM = 0, 1


def rules_for(
    controls: Controls = Controls(),
    score: Score = EMPTY,
    bars: int = 2,
    kept: dict[int, list[Note]] | None = None,
    new_tracks: frozenset[int] = frozenset(),
) -> Rules:
    """Rules for all bars of a pitched track and a drum track."""
    notes = [Track(notes=tuple((kept or {}).get(0, ()))), Track(is_drum=True, notes=tuple((kept or {}).get(1, ())))]
    piece, _, _ = to_piece(score.with_tracks([Track(), Track(is_drum=True)]), bars)
    grid = grid_bars(score, bars)
    region = np.zeros((len(piece.bars), 2), dtype=bool)
    region[: len(grid)] = True
    tables = [np.array([(n.start, n.end, n.pitch) for n in t.notes], dtype=np.int64).reshape(-1, 3) for t in notes]
    piece = Piece(piece.programs, piece.bars[: len(grid)], piece.notes, piece.chords)
    return Rules(piece, grid, region[: len(grid)], controls, tables, score.ticks_per_quarter, new_tracks)


def pitches(draft: Draft, position: int) -> set[int]:
    return set(np.flatnonzero(draft.pitches(position)).tolist())


def positions(draft: Draft) -> set[int]:
    return set(np.flatnonzero(draft.positions()[:END]).tolist())


# --- What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("controls", "chords"),
    [
        (Controls(pitch_range=(60, 59)), []),
        (Controls(density=(5, 4)), []),
        (Controls(density=(0, 0)), []),
        (Controls(max_polyphony=0), []),
        (Controls(key=C_MAJOR, pitch_range=(61, 61)), []),
        (Controls(key=C_MAJOR, follow_chords=True), [Chord(6, "5", 6), Chord(1, "5", 1)]),
        (Controls(pitch_range=(60, 61), follow_chords=True), [D_MINOR_CHORD]),
        # The bass of a slash chord is no tone of its own to the network.
        (Controls(pitch_range=(62, 62), follow_chords=True), [Chord(0, "maj", 2)]),
    ],
)
def test_controls_that_contradict_each_other_are_refused(controls: Controls, chords: list[Chord]) -> None:
    with pytest.raises(ControlError) as caught:
        controls.check(chords)
    assert caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("controls", "chords"),
    [
        (Controls(), [D_MINOR_CHORD, None]),
        (Controls(key=C_MAJOR, pitch_range=(61, 62)), []),
        (Controls(key=Key(1, "major")), [D_MINOR_CHORD]),  # the chord track is there, and need not be followed
        (Controls(key=Key(1, "major"), follow_chords=True), [None]),
        (Controls(density=(0, 1), max_polyphony=1, pitch_range=(0, 127)), []),
    ],
)
def test_controls_that_can_hold_are_accepted(controls: Controls, chords: list[Chord]) -> None:
    controls.check(chords)


@pytest.mark.parametrize(
    ("controls", "kept", "words"),
    [
        (Controls(max_polyphony=1), [Note(0, 60, 3840, 90)], "no room for a note"),
        (Controls(max_polyphony=1, density=(1, 9)), [Note(0, 60, 1920, 90)], "Bar 1"),
        (Controls(pitch_range=(60, 60)), [Note(0, 60, 9999, 90)], "no room for a note"),
        (Controls(density=(97, 120)), [], "Bar 1"),
        (Controls(density=(4, 9), pitch_range=(60, 60)), [Note(1920, 60, 1910, 90)], "Bar 2"),
    ],
)
def test_notes_that_stay_and_leave_no_room_are_named(controls: Controls, kept: list[Note], words: str) -> None:
    score = Score(480)
    with pytest.raises(ControlError, match=words):
        piece, grid = to_piece(score.with_tracks([Track()]), 2)[0], grid_bars(score, 2)
        table = np.array([(note.start, note.end, note.pitch) for note in kept], dtype=np.int64).reshape(-1, 3)
        Rules(piece, grid, np.ones((2, 1), dtype=bool), controls, [table], 480)


def test_a_new_track_without_room_is_named() -> None:
    with pytest.raises(ControlError, match="track 1"):
        rules_for(Controls(max_polyphony=1), kept={0: [Note(0, 60, 9999, 90)]}, new_tracks=frozenset({0}))


# --- What may be written ------------------------------------------------------------------------------


def test_keys_and_ranges_bind_pitched_tracks_and_leave_drums_free() -> None:
    rules = rules_for(Controls(key=Key(2, "minor"), pitch_range=(60, 72)))
    draft = rules.draft()
    draft.enter(0, PITCHED)
    # The scale lock's minor has the natural and the raised seventh.
    assert pitches(draft, 0) == {60, 61, 62, 64, 65, 67, 69, 70, 72}
    draft.enter(0, DRUM)
    assert pitches(draft, 0) == set(range(128, 256))


def test_chords_bind_what_is_on_a_beat_or_long() -> None:
    score = Score(480, markers=(Marker(0, "Dm"), Marker(960, "G7")))
    draft = rules_for(Controls(follow_chords=True, pitch_range=(60, 71)), score).draft()
    draft.enter(0, PITCHED)
    assert pitches(draft, 0) == pitches(draft, 24) == {62, 65, 69}
    assert pitches(draft, 48) == {62, 65, 67, 71}
    assert pitches(draft, 36) == set(range(60, 72))
    beat = DURATIONS >= GRID
    assert not (draft.durations(36, 60) & beat).any()
    assert (draft.durations(36, 62) & beat).any()


def test_notes_ascend_and_density_is_kept() -> None:
    draft = rules_for(Controls(density=(3, 4))).draft()
    draft.enter(0, PITCHED)
    assert not draft.positions()[END]
    assert max(positions(draft)) < 95  # two more notes must find a place after it
    draft.accept(12, 60, 11, 10, 8)
    assert min(positions(draft)) == 12 and min(pitches(draft, 12)) == 61
    draft.accept(12, 127, 11, 10, 8)
    assert 12 not in positions(draft)
    draft.accept(95 - 11, 60, 0, 10, 8)
    assert draft.positions()[END]
    draft.accept(90, 60, 0, 10, 8)
    assert positions(draft) == set() and draft.positions()[END]


def test_polyphony_counts_what_rings() -> None:
    draft = rules_for(Controls(max_polyphony=2), kept={0: [Note(0, 50, 960, 90)]}).draft()
    draft.enter(0, PITCHED)
    draft.accept(0, 60, DURATIONS.tolist().index(24), 10, 8)
    here = positions(draft)
    assert not here & set(range(0, 24)) and set(range(24, 96, 6)) <= here


def test_a_second_note_of_a_pitch_that_rings_is_not_written() -> None:
    draft = rules_for(kept={0: [Note(480, 60, 480, 90)], 1: [Note(480, 38, 480, 90)]}).draft()
    draft.enter(0, PITCHED)
    places = {place: 60 in pitches(draft, place) for place in (0, 18, 24, 36, 45, 54)}
    assert places == {0: True, 18: True, 24: False, 36: False, 45: False, 54: True}
    draft.enter(0, DRUM)
    assert [38 + 128 in pitches(draft, place) for place in (0, 24, 60)] == [True, False, True]
    assert 60 + 128 in pitches(draft, 24)


def test_the_last_chance_for_a_note_is_taken() -> None:
    rules = rules_for(new_tracks=frozenset({1}))
    draft = rules.draft()
    for bar, track, may_end in ((0, 0, True), (0, 1, True), (1, 0, False), (1, 1, False)):
        draft.enter(bar, track)
        assert draft.positions()[END] == may_end
    draft.enter(1, 0)
    draft.accept(0, 60, 0, 0, 8)
    assert draft.positions()[END]
    draft.enter(1, 1)
    assert not draft.positions()[END]  # the new track has nothing yet


def test_a_note_ends_inside_the_region() -> None:
    draft = rules_for(bars=1).draft()
    draft.enter(0, PITCHED)
    assert DURATIONS[np.flatnonzero(draft.durations(48, 60))].max() == 48
    assert np.flatnonzero(draft.durations(95, 60)).tolist() == [0]


@settings(max_examples=60)
@given(
    st.sampled_from([1, 4, 10, 24, 25, 48, 96, 100, 120, 220, 480, 960]),
    st.sampled_from([(4, 4), (7, 8), (3, 8), (9, 2), (5, 16)]),
    st.integers(1, 4000),
    st.sampled_from([(4, 4), (3, 8)]),
)
def test_what_may_be_played_is_read_as_it_was_written(
    resolution: int, meter: tuple[int, int], cut: int, then: tuple[int, int]
) -> None:
    score = Score(resolution, meters=(Meter(0, *meter), Meter(cut, *then)))
    count = score.bar_at(cut).index + 2
    rules = rules_for(score=score, bars=count)
    grid = grid_bars(score, count)
    for bar in range(max(0, len(grid) - 6), len(grid)):
        cell = rules.cells[bar, PITCHED]
        assert cell.micros[0].any()  # the bar line is always a place
        notes = []
        for place, micro in np.argwhere(cell.micros).tolist():
            row = (bar, 0, place, 60, 0, 0, micro - 8)
            notes.append((to_note(row, grid[bar], resolution, VelocityTable(score)).start, (bar, place)))
        read, _, _ = to_piece(
            score.with_tracks([Track(notes=(Note(start, 60, 1, 90),)) for start, _ in notes]), count
        )
        found = {index: (b, place) for b, index, place in read.notes[:, :3].tolist()}
        assert [found[index] for index in range(len(notes))] == [place for _, place in notes]
        ticks = [start for start, _ in sorted(notes)]
        places = [place for _, (_, place) in sorted(notes)]
        assert places == sorted(places) and ticks[0] >= 0


# --- How notes stand in a file ------------------------------------------------------------------------


def test_a_note_ends_where_its_pitch_begins_again() -> None:
    notes = [Note(0, 60, 400, 90), Note(100, 60, 400, 90)]
    kept = [Note(300, 60, 50, 90), Note(0, 61, 900, 90)]
    assert settle(notes, kept, lambda tick: None) == [Note(0, 60, 100, 90), Note(100, 60, 200, 90)]


def test_the_oldest_voice_yields() -> None:
    notes = [Note(0, 60, 400, 90), Note(10, 62, 400, 90), Note(20, 64, 400, 90)]
    assert settle(notes, [], lambda tick: 2) == [Note(0, 60, 20, 90), Note(10, 62, 400, 90), Note(20, 64, 400, 90)]
    assert (
        settle(notes[:2], [Note(30, 70, 5, 90)], lambda tick: 2)[0].duration == 30
    )  # the user's note needs a voice too
    assert settle(notes, [], lambda tick: None) == notes


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(60, 66), st.integers(1, 40)), max_size=25),
    st.lists(st.tuples(st.integers(0, 60), st.integers(70, 74), st.integers(1, 40)), max_size=2),
    st.integers(3, 6),
)
def test_settled_notes_keep_the_limit(
    written: list[tuple[int, int, int]], others: list[tuple[int, int, int]], most: int
) -> None:
    starts = {start: (start, pitch, length) for start, pitch, length in written}  # one note a tick
    notes = [Note(start, pitch, length, 90) for start, pitch, length in starts.values()]
    kept = [Note(start, pitch, length, 90) for start, pitch, length in others]
    found = settle(notes, kept, lambda tick: most)
    assert [note[:2] for note in found] == sorted(note[:2] for note in notes)
    for note, was in zip(found, sorted(notes), strict=True):
        assert 0 < note.duration <= was.duration
    for tick in range(110):
        voices = [note for note in [*found, *kept] if note.start <= tick < note.end]
        assert len(voices) <= most or not any(note in found for note in voices)
        pitches_now = [note.pitch for note in found if note.start <= tick < note.end]
        assert len(pitches_now) == len(set(pitches_now))


# --- What the validator sees --------------------------------------------------------------------------


def check(controls: Controls, notes: list[Note], kept: list[Note] | None = None, drum: bool = False) -> list[str]:
    score = Score(480, tracks=(Track(is_drum=drum),), markers=(Marker(0, "Dm"), Marker(960, "G7")))
    written = [Written(0, 0, note.start * GRID // 480, note.start, note) for note in notes]
    return violations(score, written, [kept or []], controls, [(0, 0)])


@pytest.mark.parametrize(
    ("controls", "notes", "words"),
    [
        (Controls(pitch_range=(60, 70)), [Note(0, 59, 10, 90)], "B3 at tick 0 is out of range"),
        (Controls(key=C_MAJOR), [Note(0, 61, 10, 90)], "C#4 at tick 0 is not of C major"),
        (Controls(follow_chords=True), [Note(480, 60, 10, 90)], "C4 at tick 480 is not a tone of Dm"),
        (Controls(follow_chords=True), [Note(120, 60, 480, 90)], "C4 at tick 120 is not a tone of Dm"),
        (Controls(density=(2, 3)), [Note(0, 60, 10, 90)], "1 notes in bar 1 of track 1"),
        (Controls(max_polyphony=1), [Note(0, 60, 9, 90), Note(5, 61, 1, 90)], "2 notes of track 1 sound at tick 5"),
        (Controls(), [], "the region is empty"),
    ],
)
def test_each_broken_control_is_named(controls: Controls, notes: list[Note], words: str) -> None:
    assert check(controls, notes) == [words]


def test_the_users_notes_count_as_voices_where_a_new_one_sounds() -> None:
    kept = [Note(0, 50, 100, 90), Note(0, 51, 100, 90), Note(200, 52, 50, 90)]
    assert check(Controls(max_polyphony=1), [Note(150, 60, 100, 90)], kept) == [
        "2 notes of track 1 sound at tick 200"
    ]
    assert check(Controls(max_polyphony=1), [Note(100, 60, 100, 90)], kept) == []


def test_what_keeps_every_control_is_not_named() -> None:
    controls = Controls(C_MAJOR, True, (60, 72), (1, 4), 2)
    assert check(controls, [Note(0, 62, 480, 90), Note(120, 60, 120, 90), Note(960, 67, 960, 90)]) == []
    drums = [Note(0, 37, 10, 90), Note(0, 42, 9, 90)]
    assert check(Controls(C_MAJOR, True, (60, 72), None, 1), drums, drum=True) == []


# --- What the network is told -------------------------------------------------------------------------


def test_the_network_is_told_what_is_asked_for() -> None:
    programs = np.array([0, DRUMS], dtype=np.int32)
    table = asked_attributes(Controls(density=(4, 6), max_polyphony=1, pitch_range=(48, 72)), range(3), programs)
    assert table is not None and table.shape == (3, 2, len(ATTRIBUTES))
    assert table[0].tolist() == [[5, 1, 8, 0, 0, 0], [5, 0, 0, 0, 0, 0]]
    assert asked_attributes(Controls(key=C_MAJOR), range(3), programs) is None
    most = asked_attributes(Controls(density=(28, NO_LIMIT)), range(1), programs)
    assert most is not None and most[0, 0, 0] == 9


def test_masks_have_the_fields_sizes() -> None:
    draft = rules_for().draft()
    draft.enter(0, PITCHED)
    assert draft.positions().shape == (FIELDS["position"],)
    assert draft.pitches(0).shape == (FIELDS["pitch"],)
    assert draft.durations(0, 60).shape == (FIELDS["duration"],)
    assert draft.velocities().shape == (FIELDS["velocity"],)
    assert draft.micros(0).shape == (FIELDS["micro"],)
