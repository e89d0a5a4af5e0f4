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
from models.synth.network import MELODIC, NODES, PHASES, SWELL_GRID, WEIGHTS, Bank
from models.synth.render import ON, Synth, blocks, synth_for
from models.synth.sound import (
    BANDS,
    HOP,
    KNOTS,
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
