"""Loudness against a library that is known to be right, and peaks that stay below the limit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyloudnorm
import pytest
import soxr

from models.synth.mix import CEILING, Limiter, LoudnessMeter, Reverb
from models.synth.sound import SAMPLE_RATE, Floats


def music(seconds: float, level: float) -> Floats:
    random = np.random.default_rng(4)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    swell = 0.2 + np.abs(np.sin(0.7 * time))
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (55, 220, 1234, 6000))
    return (level * swell * (tones + 0.3 * random.standard_normal((2, len(time))))).astype(np.float32)


@pytest.mark.parametrize("level", [0.3, 0.01])
def test_loudness_is_what_pyloudnorm_measures(level: float) -> None:
    sound = music(6.0, level)
    meter = LoudnessMeter()
    for first in range(0, sound.shape[1], 7000):
        meter.add(sound[:, first : first + 7000])
    assert abs(meter.loudness() - pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(sound.T)) < 0.1


def test_silence_has_no_loudness() -> None:
    meter = LoudnessMeter()
    meter.add(np.zeros((2, SAMPLE_RATE), dtype=np.float32))
    assert meter.loudness() == float("-inf")


def test_no_true_peak_passes_the_limit_and_quiet_sound_is_left_alone() -> None:
    loud, quiet = music(1.5, 0.8), music(1.5, 0.02)
    for sound in (loud, quiet):
        limiter = Limiter()
        parts = [limiter.process(sound[:, first : first + 999]) for first in range(0, sound.shape[1], 999)]
        out = np.concatenate([*parts, limiter.flush()], axis=1)[:, Limiter.delay :]
        assert out.shape == sound.shape
        assert np.abs(soxr.resample(out.T, SAMPLE_RATE, 4 * SAMPLE_RATE, quality="VHQ")).max() < CEILING * 1.02
        if sound is quiet:
            assert np.array_equal(out, sound)


def test_reverberation_dies_away() -> None:
    reverb = Reverb()
    first = reverb.process(np.eye(1, SAMPLE_RATE, dtype=np.float32)[0])
    rest = [reverb.process(np.zeros(SAMPLE_RATE, dtype=np.float32)) for _ in range(3)]
    energies = [float((part**2).sum()) for part in (first, *rest)]
    assert energies[0] > 0
    assert all(later < earlier / 100 for earlier, later in pairwise(energies))
