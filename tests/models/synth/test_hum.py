"""Notes heard out of singing: those that were sung, on their pitch, and none besides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import UserError
from models.synth.hum import GRIDS, TICKS, hum, parse_grid
from models.synth.hum_evaluation import compare, listen
from models.synth.pitch import HOP, follow
from models.synth.sound import SAMPLE_RATE, Floats, hertz
from models.synth.sung import SINGERS, SungNote, sing
from models.synth.transcription import HeardNote, hear_notes
from models.theory import parse_key


def tones(pitches: list[float], length: float = 0.4, gap: float = 0.1, level: float = 0.2) -> Floats:
    """Plain notes with a few harmonics, one after the other."""
    time = np.arange(int(length * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.clip(np.minimum(time, length - time) / 0.02, 0, 1)
    rest = np.zeros(int(gap * SAMPLE_RATE))
    parts = []
    for pitch in pitches:
        waves = [np.sin(2 * np.pi * k * float(hertz(pitch)) * time) / k for k in (1, 2, 3, 4)]
        parts += [rest, level * fade * sum(waves)]
    return np.concatenate([*parts, rest]).astype(np.float32)


@pytest.mark.parametrize("singer", [SINGERS[1], SINGERS[3], SINGERS[6], SINGERS[7]], ids=lambda s: s.name)
def test_sung_and_whistled_notes_are_found_and_no_others(singer: object) -> None:
    found = listen([sing(singer, seed=41, notes=12)])  # type: ignore[arg-type]
    assert found.f1 >= 0.9
    assert found.ghosts == 0


@settings(max_examples=20, deadline=None)
@given(st.floats(34, 104))
def test_the_pitch_of_a_tone_is_followed_to_a_few_cents(pitch: float) -> None:
    line = follow(tones([pitch], 0.5))
    middle = line.pitch[25:45]
    assert np.abs(middle - pitch).max() < 0.05


def test_silence_and_noise_have_no_pitch() -> None:
    noise = np.random.default_rng(1).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.1
    assert hear_notes(follow(noise)) == []
    assert hear_notes(follow(np.zeros(SAMPLE_RATE, dtype=np.float32))) == []
    assert len(follow(np.zeros(0, dtype=np.float32))) == 1


def test_frames_are_where_the_sound_is_whatever_stretch_they_are_computed_in() -> None:
    sound = tones([60.0, 64.0, 67.0] * 4)
    late = np.concatenate([np.zeros(100 * HOP, dtype=np.float32), sound])
    first, second = hear_notes(follow(sound)), hear_notes(follow(late))
    assert len(first) == len(second) == 12
    for one, other in zip(first, second, strict=True):
        assert other.start - one.start == pytest.approx(1.0, abs=0.011)
        assert other.pitch == pytest.approx(one.pitch, abs=0.02)


def test_notes_are_paired_at_most_once() -> None:
    wanted = [SungNote(0.0, 0.4, 60.0), SungNote(0.04, 0.4, 60.0), SungNote(1.0, 1.4, 62.0)]
    heard = [HeardNote(0.02, 0.4, 60.2, -20), HeardNote(1.06, 1.4, 62.0, -20), HeardNote(2.0, 2.2, 74.0, -20)]
    assert compare(wanted, heard) == (1, 1)


def test_performance_and_quantised_notes_are_the_same_notes() -> None:
    pitches = [60.3, 62.3, 64.3, 65.3, 67.3]
    found = hum(tones(pitches, 0.4, 0.1), tempo=120, program=40)
    played, grid = found.performed.tracks[0], found.quantised.tracks[0]
    assert [note.pitch for note in played.notes] == [60, 62, 64, 65, 67]
    assert found.tuning == pytest.approx(30, abs=5)
    assert [note.start for note in grid.notes] == [120 + 480 * n for n in range(5)]
    assert all(abs(a.start - (96 + 480 * n)) < 25 for n, a in enumerate(played.notes))
    assert played.program == grid.program == 40
    assert all(1 <= note.velocity <= 127 for note in played.notes)
    assert found.key == parse_key("C major") and found.tempo == 120


def test_a_key_moves_quantised_notes_alone_and_to_what_was_sung_nearest() -> None:
    found = hum(tones([60.0, 61.4, 64.0, 65.6, 67.0]), key=parse_key("C major"))
    assert [note.pitch for note in found.performed.tracks[0].notes][::2] == [60, 64, 67]
    assert [note.pitch for note in found.quantised.tracks[0].notes] == [60, 62, 64, 65, 67]


@pytest.mark.parametrize("bpm", [84, 112, 131])
def test_the_tempo_is_estimated(bpm: int) -> None:
    beat = 60 / bpm
    steps = zip((60, 62, 64, 60, 67, 65, 64, 62, 60, 64), (1, 1, 0.5, 0.5, 1, 1, 0.5, 0.5, 1, 1), strict=True)
    melody = [tones([pitch], length * beat - 0.06, 0.06) for pitch, length in steps]
    # Every part ends with its gap too, which the melody does not have.
    found = hum(np.concatenate([part[: -int(0.06 * SAMPLE_RATE)] for part in melody]))
    assert found.tempo == pytest.approx(bpm, rel=0.02)
    assert found.performed.tracks[0].notes[0].start < TICKS // 8


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(45, 90), min_size=1, max_size=5),
    st.sampled_from(sorted(GRIDS.values())),
    st.one_of(st.none(), st.floats(40, 240)),
)
def test_quantised_notes_lie_on_the_grid_and_never_together(
    pitches: list[int], grid: int, tempo: float | None
) -> None:
    found = hum(tones([float(p) for p in pitches], 0.15, 0.08), tempo=tempo, grid=grid)
    notes = found.quantised.tracks[0].notes
    assert all(note.start % grid == 0 and note.duration % grid == 0 and note.duration > 0 for note in notes)
    assert all(a.end <= b.start for a, b in itertools.pairwise(notes))
    assert len(notes) == len(found.performed.tracks[0].notes)


def test_what_holds_no_note_is_said() -> None:
    with pytest.raises(UserError, match="No note"):
        hum(np.zeros(SAMPLE_RATE, dtype=np.float32))
    with pytest.raises(UserError, match="not a grid"):
        parse_grid("1/7")
