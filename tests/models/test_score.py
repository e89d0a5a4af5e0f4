"""The grid and the clock of a Score, held against slow and obvious versions of themselves."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.score import DEFAULT_TEMPO, Bar, Event, Meter, Note, Score, Tempo, Track

ticks = st.integers(0, 20_000)
meter_lists = st.lists(
    st.builds(Meter, ticks, st.integers(1, 15), st.sampled_from((1, 2, 4, 8, 16))),
    max_size=5,
    unique_by=lambda m: m.tick,
).map(lambda meters: tuple(sorted(meters)))
tempo_lists = st.lists(
    st.builds(Tempo, ticks, st.integers(1, 2_000_000)), max_size=5, unique_by=lambda tempo: tempo.tick
).map(lambda tempos: tuple(sorted(tempos)))
divisions = st.sampled_from((24, 96, 480))


def bars_one_by_one(score: Score, count: int) -> list[Bar]:
    """The first bars, each laid behind the one before it."""
    bars: list[Bar] = []
    start = 0
    for index in range(count):
        past = [meter for meter in score.meters if meter.tick <= start]
        numerator, denominator = past[-1][1:] if past else (4, 4)
        length = score.ticks_per_quarter * 4 * numerator // denominator
        coming = [meter.tick for meter in score.meters if meter.tick > start]
        if coming:
            length = min(length, coming[0] - start)
        bars.append(Bar(index, start, length, numerator, denominator))
        start += length
    return bars


@given(divisions, meter_lists)
def test_bars_follow_each_other_and_meters_cut_them(division: int, meters: tuple[Meter, ...]) -> None:
    score = Score(division, meters=meters)
    for bar in bars_one_by_one(score, 40):
        assert score.bar(bar.index) == bar
        assert score.bar_at(bar.start) == score.bar_at(bar.end - 1) == bar


def test_a_bar_without_a_meter_has_four_quarters() -> None:
    assert Score(480).bar(2) == Bar(2, 3840, 1920, 4, 4)


def test_a_meter_change_inside_a_bar_cuts_it_short() -> None:
    score = Score(480, meters=(Meter(0, 4, 4), Meter(2400, 7, 8)))
    assert [score.bar(index) for index in range(3)] == [
        Bar(0, 0, 1920, 4, 4),
        Bar(1, 1920, 480, 4, 4),
        Bar(2, 2400, 1680, 7, 8),
    ]


def test_the_last_of_several_meters_on_one_tick_counts() -> None:
    assert Score(480, meters=(Meter(0, 4, 4), Meter(0, 3, 4))).bar(1) == Bar(1, 1440, 1440, 3, 4)


@given(divisions, tempo_lists, st.lists(ticks, min_size=2, max_size=10))
def test_seconds_add_up_tempo_by_tempo(division: int, tempos: tuple[Tempo, ...], places: list[int]) -> None:
    score = Score(division, tempos=tempos)
    for place in places:
        microseconds, now = DEFAULT_TEMPO, 0
        total = 0
        for tempo in (*(tempo for tempo in tempos if tempo.tick < place), Tempo(place, 1)):
            total += (tempo.tick - now) * microseconds
            now, microseconds = tempo
        assert score.seconds_at(place) == pytest.approx(total / 1e6 / division)


def test_tempo_in_force() -> None:
    score = Score(480, tempos=(Tempo(10, 600_000), Tempo(20, 400_000)))
    assert [score.tempo_at(tick).microseconds for tick in (0, 10, 19, 20, 99)] == [
        500_000,
        600_000,
        600_000,
        400_000,
        400_000,
    ]
    assert score.tempo_at(10).bpm == 100


def test_a_hostile_grid_costs_no_more_than_its_meters() -> None:
    meters = tuple(Meter(tick, 1, 128) for tick in range(0, 100_000))
    tempos = tuple(Tempo(tick, 1 + tick % 7) for tick in range(0, 100_000))
    score = Score(1, meters=meters, tempos=tempos, length=10**15)
    begun = time.process_time()
    assert score.bar_at(10**15).start == 10**15
    assert score.bar(10**12).index == 10**12
    for tick in range(0, 100_000, 10):
        score.seconds_at(tick)
        score.bar_at(tick)
    assert time.process_time() - begun < 3


def test_ends() -> None:
    track = Track(notes=(Note(0, 60, 700, 80), Note(5, 62, 10, 80)), events=(Event(900, b"\xb0\x40\x00"),))
    assert Score(tracks=(track,), length=100).end == 900
    assert Score(tracks=(track,), length=1000).end == 1000
    assert Score(tracks=(track,)).last_note_start == 5
    assert (Score().end, Score().last_note_start) == (0, -1)


def test_with_notes_sorts() -> None:
    notes = (Note(5, 60, 1, 1), Note(0, 64, 1, 1), Note(0, 60, 1, 1))
    assert Track().with_notes(notes).notes == tuple(sorted(notes))


def test_a_changed_score_has_its_own_grid() -> None:
    score = Score(480, meters=(Meter(0, 3, 4),))
    assert score.bar(1).start == 1440
    assert Score(480).with_tracks([Track()]).bar(1).start == 1920
    assert score.with_tracks([Track()]).bar(1).start == 1440
