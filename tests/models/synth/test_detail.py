"""What is finer than the network, and numbers that are none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.score import Note, Score, Track
from models.synth import detail, measures
from models.synth.analysis import GRID, stretched
from models.synth.network import NODES, PHASES, SWELL_GRID, WEIGHTS, Bank
from models.synth.render import ON, Synth, blocks, synth_for
from models.synth.sound import (
    BANDS,
    HOP,
    KNOTS,
    MELODIC,
    PARTIALS,
    SAMPLE_RATE,
    SWELL_BANDS,
    SWELL_FRAMES,
    NotNumbers,
    Sound,
)
from models.synth.teacher import Request, record
from models.synth.tone import Tone

FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
NOMINAL = 220.0


@pytest.fixture(scope="module")
def bank() -> Bank:
    """The weights that ship."""
    return Bank.load()


def sound(**more: object) -> Sound:
    partials = np.full((len(KNOTS), PARTIALS), -120.0, dtype=np.float32)
    partials[:, :16] = -24 - np.arange(16)
    noise = np.full((len(KNOTS), BANDS), -110.0, dtype=np.float32)
    return replace(Sound(stretched(GRID, NOMINAL, 0.0, 0.0), partials, noise, 100.0, NOMINAL), **more)  # type: ignore[arg-type]


def test_a_swell_is_found_again_in_each_band() -> None:
    seconds = np.arange(SWELL_FRAMES) * HOP / SAMPLE_RATE
    slow = np.stack([(-1) ** band * 4 * np.sin(2 * np.pi * 3 * seconds) for band in range(SWELL_BANDS)], axis=1)
    recording = Tone(sound(swell=slow.astype(np.float32))).read(0, int(1.4 * SAMPLE_RATE))
    found = detail.swell(recording, sound())
    middle = (SWELL_GRID > 20) & (SWELL_GRID * HOP < detail.BACK * SAMPLE_RATE)
    assert np.abs(found[middle] - slow[SWELL_GRID[middle]]).max() < 0.8
    assert np.abs(found[-1]).max() < 0.2  # it goes back to nothing


def test_phases_are_found_again() -> None:
    turns = np.random.default_rng(2).random(PARTIALS)
    recording = Tone(sound(phases=turns)).read(0, SAMPLE_RATE)
    off = detail.start_phases(recording, sound())[:16] - turns[:16]
    assert np.abs(off - np.round(off)).max() < 0.01


def test_what_is_missing_between_two_pitches_is_found_again() -> None:
    seconds = np.arange(SWELL_FRAMES) * HOP / SAMPLE_RATE
    rise = 6 * np.cos(2 * np.pi * 2 * seconds)
    swell = np.repeat(rise[:, None], SWELL_BANDS, axis=1).astype(np.float32)
    louder, softer = (Tone(sound(swell=sign * swell)).read(0, int(1.4 * SAMPLE_RATE)) for sign in (1, -1))
    middle = (SWELL_GRID > 20) & (SWELL_GRID * HOP < detail.BACK * SAMPLE_RATE)
    plain = sound(swell=np.zeros_like(swell))
    for targets, wanted in (
        ([(louder, 1.0)], rise),
        ([(louder, 0.5), (softer, 0.5)], 0 * rise),
        ([(louder * 100, 1.0)], np.full_like(rise, detail.MOST_BETWEEN)),
    ):
        found = detail.between(targets, plain)
        assert np.abs(found - wanted[SWELL_GRID])[middle].max() < 0.8
        assert abs(found[-1]) < 0.5  # it goes back to nothing


def test_the_level_of_a_tone_counts_every_band_of_its_swell() -> None:
    """A line that is played by another instrument is followed by it (models/synth/transfer.py)."""
    swell = np.zeros((SWELL_FRAMES, SWELL_BANDS), dtype=np.float32)
    swell[:, 0], swell[:, 1:] = -20, 6
    for kept in (swell, np.zeros_like(swell), None):
        tone = Tone(sound(swell=kept))
        for place in (12_000, 30_000, 70_000):
            heard = measures.level(tone.read(place - 2000, 4000))
            assert tone.level(place) == pytest.approx(heard, abs=0.5)


def test_what_lasts_is_as_loud_after_a_minute_and_what_is_struck_dies_away(bank: Bank) -> None:
    for program in (16, 19, 40, 48, 52, 56, 73, 81):
        for pitch in range(40, 80):
            assert Tone(bank.sound(program, pitch, 80)).sustains
    for program in (0, 6, 24, 47):
        assert not Tone(bank.sound(program, 60, 80)).sustains
    early, late = (
        Tone(bank.sound(16, 53, 80)).read(start, SAMPLE_RATE) for start in (3 * SAMPLE_RATE, 60 * SAMPLE_RATE)
    )
    assert measures.level(late) == pytest.approx(measures.level(early), abs=1)


@pytest.mark.parametrize("program", [49, 91, 97])
def test_a_slow_release_is_not_cut_short(bank: Bank, program: int) -> None:
    synth = Synth(bank, 1)
    synth.parts[0].program = program
    synth.schedule(0, 0, bytes([ON, 60, 100]))
    synth.schedule(2 * SAMPLE_RATE, 0, bytes([ON, 60, 0]))
    dry = synth.block(4 * SAMPLE_RATE)[0][0].sum(axis=0)
    early, late = (measures.level(dry[int(at * SAMPLE_RATE) :][: SAMPLE_RATE // 2]) for at in (2.1, 3.1))
    assert early - late == pytest.approx(float(bank.weights["release"][program]), abs=4)


def test_a_pitch_that_goes_with_one_neighbour_has_nothing_of_the_other(bank: Bank) -> None:
    weights = {name: value for name, value in bank.weights.items() if name != "between"}
    weights["share"] = np.full_like(bank.weights["share"], 0.5)
    mixed = replace(bank, weights=weights).sound(41, 62, 80)
    low, high = bank.sound(41, 61, 80), bank.sound(41, 63, 80)
    one, other = (
        replace(bank, weights={**weights, "share": np.full_like(weights["share"], share)}).sound(41, 62, 80)
        for share in (0.0, 1.0)
    )
    for sound_between, node in ((one, low), (other, high)):
        assert sound_between.phases == pytest.approx(node.phases)
        apart, mean = (np.abs(made.partials - node.partials)[:, :10].mean() for made in (sound_between, mixed))
        assert apart < 0.3 < mean
    assert one.frequencies[0] / low.frequencies[0] == pytest.approx(2 ** (1 / 12), rel=2e-5)
    assert other.frequencies[0] / high.frequencies[0] == pytest.approx(2 ** (-1 / 12), rel=2e-5)


def test_detail_that_is_put_into_weights_is_played(bank: Bank, tmp_path: Path) -> None:
    for file in WEIGHTS.iterdir():
        shutil.copy(file, tmp_path)
    swell = np.zeros((MELODIC, NODES, len(SWELL_GRID), SWELL_BANDS), dtype=np.int8)
    swell[40] = -40  # a violin 10 dB softer
    samples = (20_000 * np.sin(np.arange(SAMPLE_RATE) * 0.1)).astype(np.int16)[None]
    detail.put(
        {
            "swell": swell,
            "phases": np.zeros((MELODIC, NODES, PHASES), dtype=np.int8),
            "recordings": samples,
            "recorded": np.array([[127], [60], [1.0], [1 / 32767]], dtype=np.float32),
        },
        tmp_path,
    )
    other = Bank.load(tmp_path)
    assert other.digest != bank.digest
    assert other.weights["decoder"] == pytest.approx(bank.weights["decoder"])
    violin = [
        Tone(replace(b.sound(40, 66, 90), swell=s)) for b in (other,) for s in (None, b.sound(40, 66, 90).swell)
    ]
    plain, softer = (measures.level(tone.read(4096, 40_000)) for tone in violin)
    assert plain - softer == pytest.approx(10, abs=0.1)
    low, high = (Tone(other.sound(127, pitch, 127)).read(0, 20_000) for pitch in (60, 72))
    # An octave higher is twice as fast.
    assert high[:10_000] == pytest.approx(low[:20_000:2], abs=1e-3)


@pytest.mark.parametrize("program", [124, 125, 127])
def test_effects_sound_as_they_were_recorded_and_go_on_without_a_seam(bank: Bank, program: int) -> None:
    tone = Tone(bank.sound(program, 64, 100))
    samples = tone.read(0, 10 * SAMPLE_RATE)
    loudest = np.abs(samples).max()
    assert loudest > 1e-3
    if tone.sustains:
        assert np.abs(samples[-SAMPLE_RATE:]).max() > 0.1 * loudest
    else:
        assert not np.abs(samples[-SAMPLE_RATE:]).any()
    steps = np.abs(np.diff(samples))
    assert steps[int(2.5 * SAMPLE_RATE) :].max() <= 1.05 * steps[: int(2.5 * SAMPLE_RATE)].max()


@pytest.mark.skipif(shutil.which("fluidsynth") is None or not FONT.exists(), reason="the teacher is not installed")
def test_the_teacher_plays_its_first_note_on_the_program_asked_for() -> None:
    first, second = record(FONT, [Request(73, False, 72, 100, 0.5, 0.6)] * 2)
    assert measures.log_mel_distance(first.mean(axis=1), second.mean(axis=1)) < 0.5


def test_what_are_no_numbers_is_never_heard_as_silence(bank: Bank) -> None:
    """Whatever part of the synth goes wrong, it is said."""
    broken = replace(bank, weights={**bank.weights, "bias": np.full_like(bank.weights["bias"], np.nan)})
    with pytest.raises(NotNumbers, match="the timbre of a note"):
        broken.sound(0, 60, 90)
    partials = sound().partials.copy()
    partials[3, 2] = np.inf
    with pytest.raises(NotNumbers, match="a tone"):
        Tone(sound(partials=partials)).read(0, SAMPLE_RATE)
    synth = Synth(bank, 1)
    synth.schedule(0, 0, bytes([ON, 60, 90]))
    synth.block(480)
    synth.parts[0].voices[0].tone._made[1000] = np.nan
    with pytest.raises(NotNumbers, match="a mix"):
        synth.block(4800)
    with pytest.raises(NotNumbers):
        list(blocks(synth_for(Score(tracks=(Track(notes=(Note(0, 60, 480, 90),)),)), broken)))
