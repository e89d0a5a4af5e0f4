"""From dry stereo to a finished recording: reverberation, loudness, and no peak above the limit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.synth.sound import SAMPLE_RATE, Floats

# Delays of the reverberator in samples: primes from 23 to 61 ms, so that echoes do not pile up.
DELAYS = (1117, 1223, 1361, 1481, 1601, 1747, 1867, 1993, 2129, 2251, 2383, 2503, 2609, 2731, 2843, 2939)
DECAY = 1.7  # seconds until the reverberation has fallen by 60 dB
DAMPING = 0.28  # how much of the treble is lost on every way round
PREDELAY = 720  # samples
LINES = len(DELAYS)


class Reverb:
    """A feedback delay network (Jot and Chaigne, 1991): sixteen delays mixed by a Hadamard matrix.

    Blocks of any size give the same samples: nothing in it looks further than its state.
    """

    def __init__(self) -> None:
        self._lines = np.zeros((LINES, DELAYS[-1] + 1), dtype=np.float32)  # what went in last, newest at the end
        self._before = np.zeros(PREDELAY, dtype=np.float32)
        self._gains = (10 ** (-3 * np.array(DELAYS) / (DECAY * SAMPLE_RATE))).astype(np.float32)[:, None]
        self._matrix = _hadamard() * self._gains.T
        sides = np.zeros((2, LINES), dtype=np.float32)
        sides[0, 0::2] = sides[1, 1::2] = 0.32
        sides[:, 2::4] *= -1
        self._sides = sides

    def process(self, mono: Floats) -> Floats:
        """The reverberation alone (2, samples) of what is sent to it, (samples,)."""
        out = np.empty((2, len(mono)), dtype=np.float32)
        fed = np.concatenate([self._before, mono])
        self._before = fed[len(mono) :]
        most = DELAYS[0] - 1
        for first in range(0, len(mono), most):
            part = fed[first : min(first + most, len(mono))]
            out[:, first : first + len(part)] = self._step(part)
        return out

    def _step(self, fed: Floats) -> Floats:
        """At most as many samples as the shortest delay, so that nothing is needed that is not there yet."""
        count = len(fed)
        past = np.empty((LINES, count + 1), dtype=np.float32)
        for line, delay in enumerate(DELAYS):
            begin = self._lines.shape[1] - delay - 1
            past[line] = self._lines[line, begin : begin + count + 1]
        heard = past[:, 1:]
        damped = heard * np.float32(1 - DAMPING) + past[:, :-1] * np.float32(DAMPING)
        fresh = self._matrix @ damped
        fresh += fed
        self._lines = np.concatenate([self._lines[:, count:], fresh], axis=1)
        return np.asarray(self._sides @ heard)


def _hadamard() -> Floats:
    matrix = np.ones((1, 1))
    while len(matrix) < LINES:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return (matrix / np.sqrt(LINES)).astype(np.float32)


# --- Loudness -----------------------------------------------------------------------------------------

SLICE = SAMPLE_RATE // 10


class LoudnessMeter:
    """Integrated loudness after ITU-R BS.1770-4, fed block by block."""

    def __init__(self) -> None:
        self._rest = np.zeros((2, 0), dtype=np.float32)
        self._powers: list[NDArray[np.float64]] = []

    def add(self, stereo: Floats) -> None:
        """stereo: (2, samples)."""
        joined = np.concatenate([self._rest, stereo], axis=1)
        whole = joined.shape[1] // SLICE
        if whole:
            slices = joined[:, : whole * SLICE].reshape(2, whole, SLICE)
            self._powers.append(_weighted_power(slices).sum(axis=0))
        self._rest = joined[:, whole * SLICE :]

    def loudness(self) -> float:
        """LUFS; -inf for silence and for less than 0.4 s of sound."""
        powers = np.concatenate(self._powers) if self._powers else np.zeros(0)
        if len(powers) < 4:
            return float("-inf")
        blocks = np.convolve(powers, np.full(4, 0.25), "valid")
        kept = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
        if not len(kept):
            return float("-inf")
        kept = kept[kept > kept.mean() / 10]  # the relative gate, 10 LU below
        return float(-0.691 + 10 * np.log10(kept.mean()))


def _weighted_power(slices: Floats) -> NDArray[np.float64]:
    """Mean square of K-weighted slices (..., SLICE), by Parseval's theorem."""
    spectra = np.abs(np.fft.rfft(slices, axis=-1)) ** 2
    spectra[..., 1:-1] *= 2
    return np.asarray(spectra @ _k_weights() / SLICE**2, dtype=np.float64)


@lru_cache
def _k_weights() -> Floats:
    """Squared magnitude of the two K-weighting filters at each bin; coefficients of the recommendation, 48 kHz."""
    shelf = (1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)
    highpass = (1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(SLICE))
    total = np.ones(len(z))
    for above, below in (shelf, highpass):
        top, bottom = (c[0] + c[1] * z + c[2] * z * z for c in (above, below))
        total *= np.abs(top / bottom) ** 2
    return total.astype(np.float32)


# --- The limit ----------------------------------------------------------------------------------------

CEILING = 10 ** (-1.0 / 20)  # true peak, -1 dBTP
CELL = 64  # samples that share one gain before smoothing
REACH = 5  # cells over which the gain goes down before a peak and comes back after it


class Limiter:
    """Turns loud moments down so that no true peak passes CEILING; `delay` samples late, flush at the end."""

    delay = 2 * (REACH + 1) * CELL

    def __init__(self) -> None:
        self._held = np.zeros((2, self.delay), dtype=np.float32)
        self._rest = np.zeros((2, 0), dtype=np.float32)
        self._last = np.zeros((2, 8), dtype=np.float32)
        self._needed = np.ones(4 * REACH + 4)

    def process(self, stereo: Floats) -> Floats:
        """(2, samples) in; the samples of `delay` before out, in whole cells."""
        joined = np.concatenate([self._rest, stereo], axis=1)
        cells = joined.shape[1] // CELL
        self._rest = joined[:, cells * CELL :]
        if not cells:
            return np.zeros((2, 0), dtype=np.float32)
        fresh = joined[:, : cells * CELL]
        peaks = _true_peaks(np.concatenate([self._last, fresh], axis=1))
        self._last = fresh[:, -8:]
        needed = np.concatenate([self._needed, np.minimum(1.0, CEILING / np.maximum(peaks, 1e-9))])
        self._needed = needed[cells:]
        held = np.concatenate([self._held, fresh], axis=1)
        out, self._held = held[:, : cells * CELL], held[:, cells * CELL :]
        if needed.min() == 1:
            return out
        # The least gain within reach, then a mean over less than that reach: never more than a peak allows.
        least = sliding_window_view(needed, 2 * REACH + 3).min(axis=1)
        gains = sliding_window_view(least, 2 * REACH + 1).mean(axis=1)[-cells - 1 :]
        ramp = np.interp(np.arange(cells * CELL) / CELL, np.arange(cells + 1), gains)
        return (out * ramp).astype(np.float32)

    def flush(self) -> Floats:
        """What is still held back."""
        rest = self._rest.shape[1]
        return self.process(np.zeros((2, self.delay + CELL - rest), dtype=np.float32))[:, : self.delay + rest]


def _true_peaks(stereo: Floats) -> NDArray[np.float64]:
    """Largest value of each cell, between the samples too (four times oversampled). stereo starts 8 early."""
    peaks = np.abs(stereo[:, 8:]).max(axis=0).reshape(-1, CELL).max(axis=1).astype(np.float64)
    padded = np.concatenate([stereo, np.zeros((2, 8), dtype=np.float32)], axis=1)
    for cell in np.flatnonzero(peaks > CEILING * 0.6):
        part = padded[:, cell * CELL : cell * CELL + CELL + 16]
        between = sliding_window_view(part, 16, axis=1) @ _between()
        peaks[cell] = max(peaks[cell], float(np.abs(between).max()))
    return peaks


@lru_cache
def _between() -> Floats:
    """Windowed sinc for the points 1/4, 1/2 and 3/4 between two samples, (16, 3)."""
    places = np.arange(16)[:, None] - 7 - np.array([0.25, 0.5, 0.75])[None]
    return (np.sinc(places) * np.cos(np.pi * places / 17) ** 2).astype(np.float32)
