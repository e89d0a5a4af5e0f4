"""The follower against clocks that jitter, drift, stop, jump and lose ticks; hours of them in virtual time."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.live.clock import TICKS, Follower, OwnTransport, next_quantum

JITTER = 0.005


def ticks(bpm: float, seconds: float, begin: float = 100.0, jitter: float = 0.0, seed: int = 1) -> Iterator[float]:
    """When the ticks of a clock arrive: never before their time less the jitter, and always in order."""
    rng, period, last = random.Random(seed), 60 / bpm / TICKS, 0.0
    for number in range(int(seconds / period)):
        last = max(last, begin + number * period + rng.uniform(-jitter, jitter))
        yield last


def followed(bpm: float, seconds: float, jitter: float = 0.0) -> Follower:
    follower = Follower()
    follower.start()
    for at in ticks(bpm, seconds, jitter=jitter):
        follower.tick(at)
    return follower


@pytest.mark.parametrize("bpm", [30, 60, 97, 120, 140, 180.5, 300])
def test_a_steady_clock_is_followed_exactly(bpm: float) -> None:
    follower = followed(bpm, 20)
    assert follower.line.bpm == pytest.approx(bpm, rel=1e-4)
    assert follower.line.time_of(8) == pytest.approx(100 + 8 * 60 / bpm, abs=1e-3)


@pytest.mark.parametrize("bpm", [30, 120, 300])
def test_jitter_of_5_ms_leaves_the_grid_within_2(bpm: float) -> None:
    follower, errors = Follower(), []
    follower.start()
    for number, at in enumerate(ticks(bpm, 120, jitter=JITTER)):
        follower.tick(at)
        if number > 10 * TICKS:
            ahead = number + TICKS // 2  # half a beat ahead, as far as notes are scheduled
            errors.append(follower.line.time_of(ahead / TICKS) - (100 + ahead * 60 / bpm / TICKS))
    errors.sort(key=abs)
    assert abs(errors[len(errors) // 2]) < 0.001
    assert abs(errors[int(len(errors) * 0.99)]) < 0.003


def test_an_hour_of_jitter_does_not_drift() -> None:
    follower, errors = Follower(), []
    follower.start()
    for number, at in enumerate(ticks(120, 3600, jitter=JITTER)):
        follower.tick(at)
        errors.append(follower.line.time_of(number / TICKS) - (100 + number / TICKS / 2))
    minute = 48 * 60
    last = sum(errors[-minute:]) / minute
    assert abs(last) <= 0.001


def test_a_new_tempo_is_taken_up_within_a_beat() -> None:
    for new in (60.0, 100.0, 125.0, 240.0):
        follower = followed(120, 10)
        begin = 100 + 480 * 60 / 120 / TICKS
        for number in range(TICKS):
            follower.tick(begin + number * 60 / new / TICKS)
        assert follower.line.bpm == pytest.approx(new, rel=0.01)
        beats = (480 + TICKS - 1) / TICKS
        assert follower.line.beat == pytest.approx(beats), new


def test_ticks_that_were_lost_on_the_way_are_counted() -> None:
    follower = Follower()
    follower.start()
    for number, at in enumerate(ticks(120, 30)):
        if number not in (500, 501, 900):
            follower.tick(at)
    assert follower.line.beat_at(100 + 29.9) == pytest.approx(2 * 29.9, abs=0.01)


def test_a_burst_after_a_stall_does_not_move_the_grid() -> None:
    follower = Follower()
    follower.start()
    for number, at in enumerate(ticks(120, 30)):
        late = max(0.0, 100 + 502 / 48 - at) if 498 <= number < 502 else 0.0  # four ticks come at once
        follower.tick(at + late)
    assert follower.line.beat_at(129.9) == pytest.approx(2 * 29.9, abs=0.004)


def in_periods(at: float) -> float:
    """When something arrives through an audio server that looks 187 times a second."""
    return -(-at // (256 / 48_000)) * (256 / 48_000)


@pytest.mark.parametrize("bpm", [97.0, 140.0])
@pytest.mark.parametrize("pause", [0.03, 0.075, 0.11, 0.2, 0.45, 3.0])
def test_a_clock_that_rests_while_the_song_stands_begins_anew_with_it(bpm: float, pause: float) -> None:
    follower, period = followed(bpm, 10), 60 / bpm / TICKS
    begin = 110 + pause
    follower.stop()
    follower.locate(96)
    follower.resume()
    for number in range(4 * TICKS):
        at = begin + number * period
        follower.tick(in_periods(at))
        assert follower.line.beat_at(at) == pytest.approx(4 + number / TICKS, abs=0.01 * bpm / 60)
    assert follower.line.time_of(8) == pytest.approx(begin + 4 * TICKS * period, abs=0.005)


@pytest.mark.parametrize(
    ("bpm", "periods"), [(97.0, 2), (97.0, 4), (97.0, 12), (140.0, 3), (140.0, 11), (300.0, 1)]
)
def test_a_song_that_stands_still_for_a_moment_has_lost_no_tick(bpm: float, periods: int) -> None:
    follower, period = Follower(), 60 / bpm / TICKS
    follower.start()
    for number in range(40 * TICKS):
        stall = periods * 256 / 48_000 if number >= 20 * TICKS else 0.0
        follower.tick(in_periods(100 + number * period) + stall)
    assert follower.line.beat == pytest.approx((40 * TICKS - 1) / TICKS)
    assert follower.line.time == pytest.approx(100 + (40 * TICKS - 1) * period + stall, abs=0.005)


def test_start_stop_continue_and_song_position() -> None:
    follower = Follower()
    arriving = ticks(120, 60)
    for _ in range(30):
        follower.tick(next(arriving))
    assert not follower.rolling
    follower.start()
    assert not follower.rolling  # the next tick is the start
    begin = next(arriving)
    follower.tick(begin)
    assert follower.rolling and follower.line.beat_at(begin) == pytest.approx(0, abs=0.01)
    for _ in range(TICKS):
        follower.tick(next(arriving))
    follower.stop()
    assert follower.place == 1 + 1 / TICKS
    follower.locate(8 * TICKS)
    assert follower.place == 8
    follower.resume()
    begin = next(arriving)
    follower.tick(begin)
    assert follower.line.beat_at(begin) == pytest.approx(8, abs=0.01)


def test_a_clock_that_is_silent_while_stopped_starts_on_the_grid_at_once() -> None:
    follower = followed(97, 10)
    follower.stop()
    follower.start()
    for at in ticks(97, 0.3, begin=200):
        follower.tick(at)
    assert follower.line.time_of(1) == pytest.approx(200 + 60 / 97, abs=0.001)


def test_silence_is_noticed_and_the_next_tick_goes_on() -> None:
    follower = followed(120, 10)
    assert not follower.is_lost(109.99) and follower.is_lost(111)
    follower.lose()
    place = follower.place
    assert not follower.rolling
    follower.tick(130.0)
    assert follower.rolling and follower.line.beat_at(130.0) == pytest.approx(place)


def test_a_follower_that_takes_over_keeps_the_place() -> None:
    first = followed(120, 10)
    line, last = first.line, 110.0
    second = Follower()
    second.restore(line, last + 0.3)
    arriving = [at for at in ticks(120, 20) if at > last + 0.3]
    for at in arriving:
        second.tick(at)
    assert second.line.beat_at(119) == pytest.approx(38, abs=0.01)


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(20, 400))
def test_no_sequence_of_ticks_breaks_the_line(gaps: list[float], bpm: float) -> None:
    follower, now = Follower(bpm), 1.0
    follower.start()
    for gap in gaps:
        now += gap
        follower.tick(now)
        line = follower.line
        assert 20 * 0.999 <= line.bpm <= 400 * 1.001
        assert line.beat_at(now) == line.beat_at(now)  # a number


def test_our_own_transport_keeps_its_place_through_tempo_stop_and_locate() -> None:
    own = OwnTransport(120)
    own.start(10.0)
    own.set_tempo(11.0, 60)
    assert own.line.beat_at(12.0) == pytest.approx(3)
    own.stop(12.0)
    assert own.line.beat == pytest.approx(3) and not own.rolling
    own.locate(13.0, 8)
    own.start(14.0)
    assert own.line.beat_at(15.0) == pytest.approx(9)


@given(st.floats(-1000, 1000), st.sampled_from([1.0, 3.5, 4.0]))
def test_the_next_quantum_is_never_before_and_less_than_one_away(beat: float, quantum: float) -> None:
    found = next_quantum(beat, quantum)
    assert beat - 1e-6 <= found <= beat + quantum + 1e-6
    assert found / quantum == pytest.approx(round(found / quantum), abs=1e-9)
