"""A Sound as samples: partials by overlapping matrix products, and shaped noise.

The time axis is cut into frames of 2 x HOP samples under a triangle, HOP apart, so that levels run in
straight lines from frame to frame. Inside a frame each partial is a cosine of constant level, which makes a
whole stretch of frames one matrix product:

    [A cos phi, A sin phi ...] (frames, 2 x partials)  @  [cos wn; -sin wn; ...] x triangle (2 x partials, 2 x HOP)

The phase of every partial at every frame is exact (float64), so there is no drift and no seam, however the
stretches are cut. Noise is the inverse transform of shaped random spectra under a sine window.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.synth.sound import (
    BAND_CENTRES,
    BAND_EDGES,
    HIGHEST_PARTIAL,
    HOP,
    KNOTS,
    SAMPLE_RATE,
    SWELL_BANDS,
    SWELL_EDGES,
    SWELL_FRAMES,
    Floats,
    Sound,
    numbers,
    spread_phases,
)

FRAMES = 32  # frames that are made at a time
STRETCH = HOP * FRAMES
MOST_STRETCHES = 4  # that are made in one go
LONGEST = 12.0  # seconds that are computed; what sustains beyond that is repeated
REPEATED = 6.0  # seconds at the end of those that are repeated, for ever
JOIN = 0.25  # seconds over which the end fades into the start of the repeated part
INAUDIBLE = 72.0  # dB below the loudest partial
INAUDIBLE_AT_ALL = -102.0  # dB
STEADY = 1.0  # dB a second: what falls more slowly than that is held as long as the note
LOOPED = 0.7  # share of a recording that is repeated
LASTING = 0.2  # of its loudest moment: what a recording has to reach in its end to be repeated
DIED_AWAY = 50.0  # dB below the loudest moment: by then a note does not sustain


def seed_of(index: int, pitch: int) -> int:
    """Which stretch of noise an instrument's pitch is played with, the same at every velocity."""
    return index * 131 + pitch


class Tone:
    """The samples of a Sound, computed as far as they have been asked for and kept.

    Bounded: at most LONGEST seconds, 2.3 MB. seed: which stretch of noise is used.
    """

    def __init__(self, sound: Sound, seed: int = 0) -> None:
        self._sound = sound
        heard = _heard(sound)
        self._frequencies = sound.frequencies[heard]
        self._basis = _basis(self._frequencies)
        self._turns_a_hop = self._frequencies * (HOP / SAMPLE_RATE)
        self._phases = spread_phases(heard) if sound.phases is None else sound.phases[heard].astype("f8")
        of_partials, of_noise = _power(sound.partials) / 2, _power(sound.noise)
        power = of_partials.sum(axis=1) + of_noise.sum(axis=1)
        levels = 10 * np.log10(power + np.float32(1e-14))
        self.sustains, slope = _after_the_knots(levels, sound.lasts)
        self._levels = numbers(np.append(levels, np.float32(slope)), "a tone")
        # The row under the knots is what each second beyond them adds.
        self._partials = np.append(sound.partials[:, heard], np.full((1, len(heard)), slope), axis=0).astype("f4")
        self._noise = np.append(sound.noise, np.full((1, len(BAND_CENTRES)), slope), axis=0).astype("f4")
        threshold = max(sound.partials.max(initial=-200.0) - INAUDIBLE, INAUDIBLE_AT_ALL)
        self._noisy = np.append(sound.noise.max(axis=1) > threshold, False)  # knots
        self._last_heard = _last_heard(self._partials, threshold, slope)
        self._noise_start = (seed * 7919) % NOISE_FRAMES
        self._made = np.zeros(0, dtype=np.float32)
        self._length = 0
        self._last = int(LONGEST * SAMPLE_RATE) // STRETCH * STRETCH
        period = SAMPLE_RATE / self._frequencies[0] if len(self._frequencies) else 1.0
        self._loop = max(1, round(round(REPEATED * SAMPLE_RATE / period) * period))
        sounding = np.flatnonzero(_interpolation() @ self._levels > INAUDIBLE_AT_ALL)
        self._silent = min(self._last, (int(sounding[-1]) + 2) * HOP if len(sounding) else 0)
        if sound.transient is not None:
            self._silent = max(self._silent, len(sound.transient))
        swell_of_partial = np.searchsorted(SWELL_EDGES, sound.frequencies / sound.nominal)
        self._swell_of_partial = swell_of_partial[heard]
        self._swell_of_band = np.searchsorted(SWELL_EDGES, BAND_CENTRES / sound.nominal)
        unit = np.eye(SWELL_BANDS, dtype=np.float32)
        split = of_partials @ unit[swell_of_partial] + of_noise @ unit[self._swell_of_band]  # (knots, SWELL_BANDS)
        beyond = np.full((1, SWELL_BANDS), slope)
        self._levels_of_swell = np.append(10 * np.log10(split + np.float32(1e-14)), beyond, axis=0).astype("f4")
        self._frame = 0
        self._tail = np.zeros(HOP, dtype=np.float32)
        if sound.recording is not None:
            self._keep(sound.recording)

    def _keep(self, recording: Floats) -> None:
        """Let a recording be the whole tone; one that is loud at its end is repeated from there."""
        self._made = recording.copy()
        self._length = self._last = self._silent = len(recording)
        self._loop = max(1, int((len(recording) - JOIN * SAMPLE_RATE) * LOOPED))
        loud = [float(np.abs(part).max(initial=0.0)) for part in (recording, recording[-self._loop :])]
        self.sustains = loud[1] > loud[0] * LASTING
        self._close()

    @property
    def nbytes(self) -> int:
        return self._made.nbytes

    @property
    def end(self) -> float:
        """The sample after which there is only silence."""
        return float("inf") if self.sustains else self._silent

    def level(self, place: int) -> float:
        """Root mean square in dB around sample `place`."""
        table, frame = _interpolation(), place // HOP
        swell = self._sound.swell
        if swell is None or frame >= SWELL_FRAMES:
            return float(table[min(frame, len(table) - 1)] @ self._levels)
        return float(10 * np.log10(_power(table[frame] @ self._levels_of_swell + swell[frame]).sum()))

    def _swelled(self, decibels: Floats, first: int, bands: NDArray[np.int64]) -> Floats:
        """Levels of frames from `first` on (frames, n), with the swell added in place; the band of each of n."""
        swell = self._sound.swell
        if swell is not None and first < SWELL_FRAMES:
            part = swell[first : first + len(decibels)]
            decibels[: len(part)] += part[:, bands]
        return decibels

    @property
    def ready(self) -> int:
        """Samples that exist by now."""
        return self._length

    @property
    def whole(self) -> bool:
        return self._length >= self._last

    def extend(self, stretches: int = 1) -> None:
        """Compute the next so many times STRETCH samples."""
        stretches = min(stretches, (self._last - self._length) // STRETCH)
        if stretches <= 0:
            return
        count = stretches * STRETCH
        if len(self._made) < self._length + count:
            size = min(self._last, max(4 * STRETCH, 2 * len(self._made), self._length + count))
            grown = np.zeros(size, dtype=np.float32)
            grown[: self._length] = self._made[: self._length]
            self._made = grown
        made = self._with_transient(self._next(stretches * FRAMES))
        self._made[self._length : self._length + count] = numbers(made, "a tone")
        self._length += count
        if self.whole:
            self._close()

    def _with_transient(self, samples: Floats) -> Floats:
        """The recorded first instants in place of the computed ones, faded into them."""
        transient = self._sound.transient
        if transient is None or self._length >= len(transient):
            return samples
        part = transient[self._length : self._length + len(samples)]
        places = np.arange(self._length, self._length + len(part)) / len(transient)
        fade = np.clip((1 - places) / 0.35, 0, 1).astype(np.float32)
        # Equal power: the two have nothing to do with each other.
        samples[: len(part)] = samples[: len(part)] * np.sqrt(1 - fade) + part * np.sqrt(fade)
        return samples

    def read(self, start: int, count: int) -> Floats:
        """`count` samples from `start` on; beyond the end zeros, or the repeated part of what sustains."""
        while self._length < min(start + count, self._last):
            self.extend(min(MOST_STRETCHES, -(-(start + count - self._length) // STRETCH)))
        if start + count <= self._last:
            return self._made[start : start + count]
        if not self.sustains:
            part = self._made[start : start + count]
            return np.concatenate([part, np.zeros(count - len(part), dtype=np.float32)])
        places = np.arange(start, start + count)
        over = places >= self._last
        places[over] = self._last - self._loop + (places[over] - self._last) % self._loop
        return self._made[places]

    def _close(self) -> None:
        """The end of what was computed: faded into the start of the repetition, or out."""
        count = int(JOIN * SAMPLE_RATE)
        fade = np.linspace(0, 1, count, dtype=np.float32)
        end = self._made[self._last - count : self._last]
        before = self._made[self._last - self._loop - count : self._last - self._loop]
        end *= 1 - fade
        if self.sustains:
            end += fade * before

    def _next(self, frames: int) -> Floats:
        if not self._frame:  # the first frame's first half lies before the start
            products = self._products(0, frames + 1)
            self._tail = products[0, HOP:]
            products = products[1:]
        else:
            products = self._products(self._frame, self._frame + frames)
        self._frame += len(products) + (not self._frame)
        samples = products[:, :HOP].copy()
        samples[0] += self._tail
        samples[1:] += products[:-1, HOP:]
        self._tail = products[-1, HOP:].copy()
        return samples.ravel()

    def _products(self, first: int, end: int) -> Floats:
        """Frames `first` to `end` each by itself, (frames, 2 x HOP), before the overlapping halves are added."""
        weights = _interpolation()[first:end]
        # What has died away by then is left out; most often the highest partials go first. It is left out of whole
        # stretches, so that it does not matter how many of them are computed at once.
        at_once = range(max(first - 1, 0) // FRAMES, max(end - 2, 0) // FRAMES + 1)
        stops = [min(end, (number + 1) * FRAMES + 1) - first for number in at_once]
        parts = [slice(*edges) for edges in pairwise([0, *stops])]
        used = [np.asarray((weights[part] > 0).any(axis=0)) for part in parts]
        counts = [int(self._last_heard[knots].max(initial=0)) for knots in used]
        count = max(counts)
        turns = np.arange(first, end)[:, None] * self._turns_a_hop[:count] + self._phases[:count]
        turns -= np.floor(turns)
        angle = turns.astype(np.float32)
        angle *= np.float32(2 * np.pi)
        levels = weights @ self._partials[:, :count]
        amplitude = _linear(self._swelled(levels, first, self._swell_of_partial[:count]))
        for part, heard in zip(parts, counts, strict=True):
            amplitude[part, heard:] = 0
        waves = np.empty((len(angle), count, 2), dtype=np.float32)
        np.multiply(amplitude, np.cos(angle), out=waves[:, :, 0])
        np.multiply(amplitude, np.sin(angle), out=waves[:, :, 1])
        made: Floats = waves.reshape(len(angle), 2 * count) @ self._basis[: 2 * count]
        noisy = [bool(knots[self._noisy].any()) for knots in used]
        if any(noisy):
            gains = _linear(self._swelled(weights @ self._noise, first, self._swell_of_band)) @ _band_shapes()
            for part, sounds in zip(parts, noisy, strict=True):
                if not sounds:
                    gains[part] = 0
            start = (first + self._noise_start) % NOISE_FRAMES
            made += np.fft.irfft(gains * _random_spectra()[start : start + end - first], axis=1) * _noise_window()
        return made


def _linear(decibels: Floats) -> Floats:
    decibels *= np.float32(np.log(10) / 20)
    return np.asarray(np.exp(decibels, out=decibels))


def _power(decibels: Floats) -> Floats:
    return np.asarray(np.exp(decibels * np.float32(np.log(10) / 10)))


def _last_heard(partials: Floats, threshold: float, slope: float) -> NDArray[np.int64]:
    """How many partials are needed around each knot, (knots + 1,): up to the highest that is not inaudible."""
    audible = partials[:-1] > threshold
    count = (audible * np.arange(1, audible.shape[1] + 1)).max(axis=1, initial=0)
    # Between two knots a level lies between theirs; beyond the last nothing grows, and what lasts is kept.
    return np.append(count, count[-1] if slope else 0)


def _heard(sound: Sound) -> NDArray[np.int64]:
    """The partials that can be heard and that the sample rate can carry."""
    peaks = sound.partials.max(axis=0, initial=-200.0)
    limit = min(HIGHEST_PARTIAL, 0.45 * SAMPLE_RATE)
    loud = peaks > max(peaks.max(initial=-200.0) - INAUDIBLE, INAUDIBLE_AT_ALL)
    return np.flatnonzero(loud & (sound.frequencies < limit) & (sound.frequencies > 10))


def _after_the_knots(levels: NDArray[np.float64], lasts: bool) -> tuple[bool, float]:
    """Whether a note of these levels at the knots goes on as it is, and else dB a second of its fall.

    lasts: that it goes on is known, and a fall between the last knots is beating.
    """
    slope = float((levels[-1] - levels[-4]) / (KNOTS[-1] - KNOTS[-4]))
    if levels[-1] < levels.max() - DIED_AWAY:
        return False, min(slope, -DIED_AWAY)
    return (True, 0.0) if lasts or slope > -STEADY else (False, slope)


def _basis(frequencies: NDArray[np.float64]) -> Floats:
    """Cosine and sine of each partial under the triangle, (2 x partials, 2 x HOP), about the frame's middle."""
    step = frequencies * (2 * np.pi / SAMPLE_RATE)
    # Two short tables multiplied cost a tenth of a sine for every sample.
    coarse = np.exp(1j * step[:, None] * (np.arange(2 * HOP // 16) * 16 - HOP)).astype(np.complex64)
    fine = np.exp(1j * step[:, None] * np.arange(16)).astype(np.complex64)
    turning = (coarse[:, :, None] * fine[:, None, :]).reshape(len(step), 2 * HOP)
    basis = np.empty((len(step), 2, 2 * HOP), dtype=np.float32)
    np.multiply(turning.real, _triangle(), out=basis[:, 0])
    np.multiply(turning.imag, -_triangle(), out=basis[:, 1])
    return basis.reshape(2 * len(step), 2 * HOP)


@lru_cache
def _triangle() -> Floats:
    return (1 - np.abs(np.arange(2 * HOP) - HOP) / HOP).astype(np.float32)


@lru_cache
def _interpolation() -> Floats:
    """Weights (frames, knots + 1) that read the knots at the middle of each frame there can be.

    The last column is the seconds beyond the last knot.
    """
    seconds = np.arange(int(LONGEST * SAMPLE_RATE) // HOP + 2) * (HOP / SAMPLE_RATE)
    place = np.clip(np.searchsorted(KNOTS, seconds, side="right") - 1, 0, len(KNOTS) - 2)
    share = np.clip((seconds - KNOTS[place]) / (KNOTS[place + 1] - KNOTS[place]), 0, 1)
    weights = np.zeros((len(seconds), len(KNOTS) + 1), dtype=np.float32)
    row = np.arange(len(seconds))
    weights[row, place] = 1 - share
    weights[row, place + 1] = share
    weights[:, -1] = np.maximum(0, seconds - KNOTS[-1])
    return weights


# --- Noise --------------------------------------------------------------------------------------------

NOISE_FRAMES = 1024
NOISE_BINS = HOP + 1


@lru_cache
def _random_spectra() -> NDArray[np.complex64]:
    """Spectra of white noise, unequal in magnitude as noise has them; the first ones again at the end.

    (NOISE_FRAMES + MOST_STRETCHES * FRAMES + 1, NOISE_BINS)
    """
    random = np.random.default_rng(20)
    parts = random.standard_normal((2, NOISE_FRAMES, NOISE_BINS)).astype(np.float32)
    spectra = (parts[0] + 1j * parts[1]).astype(np.complex64)
    return np.concatenate([spectra, spectra[: MOST_STRETCHES * FRAMES + 1]])


@lru_cache
def _noise_window() -> Floats:
    return np.sin(np.pi * (np.arange(2 * HOP) + 0.5) / (2 * HOP)).astype(np.float32)


@lru_cache
def _band_shapes() -> Floats:
    """(bands, bins): what a band with a root mean square of 1 puts into each bin."""
    bins = np.fft.rfftfreq(2 * HOP, 1 / SAMPLE_RATE)
    log = np.log(np.maximum(bins, 20.0))
    shapes = np.zeros((len(BAND_CENTRES), len(bins)))
    for band in range(len(BAND_CENTRES)):
        unit = np.zeros(len(BAND_CENTRES))
        unit[band] = 1
        # Power per hertz runs in straight lines between the bands' middles.
        shapes[band] = np.interp(log, np.log(BAND_CENTRES), unit)
    width = np.diff(BAND_EDGES)
    hertz_a_bin = SAMPLE_RATE / (2 * HOP)
    # A bin with random real and imaginary parts of variance 1 has, after irfft and the window (mean square
    # one half, two frames overlapping), a mean square of 4 / (2 HOP)^2 times one, in samples.
    scale = np.sqrt(hertz_a_bin / width)[:, None] * (2 * HOP) / 2
    shapes *= scale
    shapes[:, bins < 20] = 0
    shapes[:, bins > 21_000] = 0
    return shapes.astype(np.float32)
