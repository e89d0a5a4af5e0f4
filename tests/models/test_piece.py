"""Score -> Piece -> notes: exact for music on the grid, close for what is played, bars as musicians count them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.piece import (
    DRUMS,
    DURATIONS,
    GRID,
    MAX_BAR,
    MICRO_LIMIT,
    NO_CHORD,
    VELOCITY_BINS,
    GridBar,
    VelocityTable,
    chord_id,
    duration_bin,
    grid_bars,
    key_id,
    score_bar_span,
    snap,
    ticks_of,
    to_note,
    to_piece,
)
from models.score import KeySignature, Marker, Meter, Note, Score, Tempo, Track
from models.theory import QUALITIES, Chord

METERS = [(4, 4), (3, 4), (6, 8), (7, 8), (5, 4), (3, 8), (2, 2), (9, 2), (17, 4), (33, 8), (5, 16)]
EXACT_RESOLUTIONS = [24, 48, 96, 120, 240, 384, 480, 960]

meters = st.sampled_from(METERS)


@st.composite
def grids(draw: st.DrawFn, resolutions: list[int] = EXACT_RESOLUTIONS) -> Score:
    """A score without notes: any meter, a pickup or a bar cut short, tempo changes."""
    resolution = draw(st.sampled_from(resolutions))
    changes = [Meter(0, *draw(meters))]
    for tick in sorted(draw(st.sets(st.integers(1, 200), max_size=2))):  # in sixteenths: bars of any length
        changes.append(Meter(max(1, tick * resolution // 4), *draw(meters)))
    ticks = sorted(draw(st.sets(st.integers(0, 60 * resolution), max_size=4)))
    tempos = tuple(Tempo(tick, draw(st.integers(200_000, 2_000_000))) for tick in ticks)
    return Score(ticks_per_quarter=resolution, meters=tuple(changes), tempos=tempos)


@st.composite
def notes_on_the_grid(draw: st.DrawFn) -> Score:
    """Notes at any grid tick, with durations that the representation has."""
    score = draw(grids())
    scale = Fraction(score.ticks_per_quarter, GRID)
    tracks = []
    for _ in range(draw(st.integers(1, 3))):
        # Of two notes of one pitch that are less than a third of a sixteenth apart one is left out, so they are
        # kept further apart here.
        places = draw(st.sets(st.tuples(st.integers(0, 400), st.integers(0, 127)), max_size=25))
        notes = [
            Note(int(place * 4 * scale), pitch, int(draw(st.sampled_from(DURATIONS.tolist())) * scale), 90)
            for place, pitch in places
        ]
        tracks.append(Track(is_drum=draw(st.booleans())).with_notes(notes))
    return score.with_tracks(tracks)


def back(score: Score) -> list[list[Note]]:
    """The notes of each track after the way to the grid and back, velocities as in the score."""
    piece, grid, _ = to_piece(score)
    tracks: list[list[Note]] = [[] for _ in score.tracks]
    velocities = VelocityTable(score)
    for row in piece.notes:
        tracks[row[1]].append(to_note(row, grid[row[0]], score.ticks_per_quarter, velocities))
    return [sorted(notes) for notes in tracks]


@given(notes_on_the_grid())
def test_music_on_the_grid_comes_back_exactly(score: Score) -> None:
    assert back(score) == [list(track.notes) for track in score.tracks]


@given(grids([*EXACT_RESOLUTIONS, 100, 220, 1000]), st.data())
def test_played_music_comes_back_within_a_tenth_of_a_grid_tick(empty: Score, data: st.DataObject) -> None:
    resolution = empty.ticks_per_quarter
    starts = data.draw(st.lists(st.integers(0, 100 * resolution), max_size=25))
    # A pitch each, so that no note can be taken for the doubling of another.
    notes = [Note(start, pitch, resolution, 64) for pitch, start in enumerate(starts)]
    score = empty.with_tracks([Track().with_notes(notes)])
    (found,) = back(score)
    for was, now in zip(sorted(notes, key=lambda n: n.pitch), sorted(found, key=lambda n: n.pitch), strict=True):
        assert now.pitch == was.pitch
        assert abs(now.start - was.start) <= Fraction(resolution, GRID) / 10 + Fraction(1, 2)


@given(grids([*EXACT_RESOLUTIONS, 1, 5, 25, 100]), st.integers(1, 40))
def test_grid_bars_tile_the_score(score: Score, count: int) -> None:
    bars = grid_bars(score, count)
    assert bars[0].start == 0
    assert all(one.end == other.start for one, other in pairwise(bars))
    assert bars[-1].end == score.bar(count - 1).end
    for index, bar in enumerate(bars):
        of = score.bar(bar.score_bar)
        assert bar.index == index and of.start <= bar.start < bar.end <= of.end
        exact = Fraction(bar.length * GRID, score.ticks_per_quarter)
        assert 1 <= bar.grid_length <= MAX_BAR and bar.grid_length - 1 < exact <= bar.grid_length
        # Beats of a long bar are beats of its parts.
        assert (bar.start - of.start) % score.ticks_per_quarter == 0


@pytest.mark.parametrize(
    ("meter", "lengths"),
    [
        ((4, 4), [96]),
        ((7, 8), [84]),
        ((5, 4), [120]),
        ((3, 8), [36]),
        ((8, 4), [192]),
        ((9, 2), [144, 144, 144]),
        ((17, 4), [144, 144, 120]),
        ((33, 8), [144, 144, 108]),
    ],
)
def test_over_long_bars_are_cut_at_quarters(meter: tuple[int, int], lengths: list[int]) -> None:
    score = Score(meters=(Meter(0, *meter),))
    assert [bar.grid_length for bar in grid_bars(score, 1)] == lengths


def test_a_pickup_and_a_cut_bar_are_bars_of_their_own_length() -> None:
    score = Score(480, meters=(Meter(0, 1, 4), Meter(480, 4, 4), Meter(480 + 1920 + 700, 3, 4)))
    bars = [(bar.start, bar.grid_length) for bar in grid_bars(score, 4)]
    assert bars == [(0, 24), (480, 96), (2400, 35), (3100, 72)]
    notes = (Note(240, 60, 240, 90), Note(480, 62, 480, 90), Note(3100, 64, 480, 90))
    score = score.with_tracks([Track(notes=notes)])
    piece, _, _ = to_piece(score)
    assert piece.notes[:, [0, 2]].tolist() == [[0, 12], [1, 0], [3, 0]]


@given(st.integers(0, 20), st.integers(1, 30))
def test_an_early_downbeat_belongs_to_the_bar_it_opens(bar: int, early: int) -> None:
    start = (bar + 1) * 1920 - early  # up to a sixth of a sixteenth before the bar line
    score = Score(480, tracks=(Track(notes=(Note(start, 60, 480, 90),)),))
    piece, grid, membership = to_piece(score)
    assert piece.notes[0, [0, 2]].tolist() == [bar + 1, 0]
    assert membership[0].tolist() == [bar + 1]
    assert abs(to_note(piece.notes[0], grid[bar + 1], 480, VelocityTable(score)).start - start) <= 2


def test_a_downbeat_before_a_bar_that_is_cut_keeps_its_timing() -> None:
    # Five grid ticks and a bit: the place after the bar line attracts more than the line itself.
    score = Score(480, meters=(Meter(0, 4, 4), Meter(105, 4, 4)), tracks=(Track(notes=(Note(103, 60, 480, 90),)),))
    piece, grid, _ = to_piece(score)
    assert piece.notes[0, [0, 2]].tolist() == [1, 0]
    assert abs(to_note(piece.notes[0], grid[1], 480, VelocityTable(score)).start - 103) <= 2


def test_quantised_music_has_no_micro_timing() -> None:
    places = [0, 3, 6, 8, 9, 12, 15, 16, 18, 20, 21]
    score = Score(24, tracks=(Track(notes=tuple(Note(place, 60, 1, 90) for place in places)),))
    piece, _, _ = to_piece(score)
    assert piece.notes[:, 2].tolist() == places
    assert not piece.notes[:, 6].any()


@given(st.lists(st.floats(0, 400, allow_nan=False), min_size=1, max_size=40))
def test_a_place_is_never_further_than_micro_timing_reaches(offsets: list[float]) -> None:
    where = np.array(offsets)
    assert (np.abs(snap(where) - where) * 5 <= MICRO_LIMIT + 1e-6).all()
    assert (snap(where) >= 0).all()


@given(st.floats(0.01, 5000))
def test_durations_are_the_nearest_in_ratio(ticks: float) -> None:
    chosen = int(duration_bin(np.array([ticks]))[0])
    ratios = np.abs(np.log(DURATIONS / ticks))
    assert ratios[chosen] <= ratios.min() + 1e-9


@given(st.integers(0, 10**6), st.integers(1, 119), st.sampled_from([1, 24, 96, 100, 480, 960]))
def test_ticks_that_are_apart_stay_apart(fifths: int, more: int, resolution: int) -> None:
    one, other = ticks_of(fifths, resolution), ticks_of(fifths + more, resolution)
    assert abs(one - Fraction(fifths * resolution, 120)) <= Fraction(1, 2)
    assert other - one >= more * resolution // 120


@given(st.lists(st.integers(1, 127), min_size=1, max_size=30))
def test_velocities_are_spelled_like_the_score(values: list[int]) -> None:
    score = Score(tracks=(Track(notes=tuple(Note(i, 60, 1, value) for i, value in enumerate(values))),))
    table = VelocityTable(score)
    for velocity_bin in range(VELOCITY_BINS):
        inside = [value for value in values if value * VELOCITY_BINS // 128 == velocity_bin]
        if inside:
            assert min(inside) <= table[velocity_bin] <= max(inside)
        else:
            assert table[velocity_bin] * VELOCITY_BINS // 128 == velocity_bin
    assert all(1 <= table[index] <= 127 for index in range(VELOCITY_BINS))


def test_one_velocity_throughout_comes_back() -> None:
    for velocity in range(1, 128):
        score = Score(tracks=(Track(notes=(Note(0, 60, 480, velocity), Note(480, 62, 480, velocity))),))
        assert [note.velocity for note in back(score)[0]] == [velocity, velocity]


@given(notes_on_the_grid())
def test_every_note_has_its_bar_and_no_place_is_taken_twice(score: Score) -> None:
    piece, grid, membership = to_piece(score, 5)
    assert [len(bars) for bars in membership] == [len(track.notes) for track in score.tracks]
    assert len(grid) == len(piece.bars)
    assert sorted(piece.notes.tolist()) == piece.notes.tolist()
    assert len({tuple(row) for row in piece.notes[:, :4].tolist()}) == len(piece.notes)
    assert (piece.notes[:, 2] < piece.bars[piece.notes[:, 0], 0]).all()
    assert piece.programs.tolist() == [DRUMS if track.is_drum else track.program for track in score.tracks]


def test_a_doubled_note_is_told_once_at_its_full_length() -> None:
    doubled = (Note(0, 60, 120, 90), Note(0, 60, 480, 90))
    piece, _, membership = to_piece(Score(480, tracks=(Track(notes=doubled),)))
    assert piece.notes.tolist() == [[0, 0, 0, 60, DURATIONS.tolist().index(24), 22, 0]]
    assert membership[0].tolist() == [0, 0]


def test_a_score_without_notes_is_a_bar_of_silence() -> None:
    for score in (Score(), Score(tracks=(Track(), Track(is_drum=True)))):
        piece, grid, membership = to_piece(score)
        assert len(grid) == 1 and piece.notes.shape == (0, 7) and piece.chords.shape == (0, 3)
        assert [len(bars) for bars in membership] == [0] * len(score.tracks)
    assert len(to_piece(Score(), 7)[1]) == 7


def test_bars_say_their_meter_tempo_and_key() -> None:
    score = Score(
        480,
        meters=(Meter(0, 4, 4), Meter(1920, 6, 8)),
        tempos=(Tempo(0, 500_000), Tempo(1920, 1_000_000), Tempo(1920 + 1440, 1)),
        keys=(KeySignature(1920, -1, True),),
    )
    piece, _, _ = to_piece(score, 3)
    assert piece.bars[:, :3].tolist() == [[96, 4, 120], [72, 8, 60], [72, 8, 9999]]
    assert piece.bars[:, 3].tolist() == [0, key_id(-1, True), key_id(-1, True)]


@pytest.mark.parametrize(
    ("fifths", "minor", "expected"), [(0, False, 1), (0, True, 22), (-3, False, 4), (-1, True, 15), (7, False, 2)]
)
def test_keys_are_numbered_by_tonic(fifths: int, minor: bool, expected: int) -> None:
    assert key_id(fifths, minor) == expected


def test_every_chord_has_a_number_of_its_own() -> None:
    ids = {chord_id(Chord(root, quality, root)) for root in range(12) for quality in QUALITIES}
    assert len(ids) == 12 * len(QUALITIES) and chord_id(None) == NO_CHORD
    assert ids == set(range(1, NO_CHORD))


def test_chord_changes_lie_where_they_are_written() -> None:
    markers = (Marker(0, "Cm"), Marker(960, "F7"), Marker(1919, "Bbmaj7"), Marker(10**6, "Dm"))
    piece, _, _ = to_piece(Score(480, markers=markers), 2)
    names = [chord_id(Chord(0, "min", 0)), chord_id(Chord(5, "7", 5)), chord_id(Chord(10, "maj7", 10))]
    assert piece.chords.tolist() == [[0, 0, names[0]], [0, 48, names[1]], [1, 0, names[2]]]


def test_grid_bars_of_a_span_of_score_bars() -> None:
    grid: list[GridBar] = grid_bars(Score(meters=(Meter(0, 9, 2),)), 3)
    assert score_bar_span(grid, 1, 1) == range(3, 6)
    assert score_bar_span(grid, 5, 6) == range(0)


@given(notes_on_the_grid())
def test_what_is_empty_beside_the_music_changes_nothing(score: Score) -> None:
    with_silence = replace(score, tracks=(*score.tracks, Track()))
    one, other = to_piece(score)[0], to_piece(with_silence)[0]
    assert one.notes.tolist() == other.notes.tolist() and one.bars.tolist() == other.bars.tolist()
