"""From the recording of a note to the Sound that plays it again.

Partials are read off zero-padded transforms at the frequencies where they are known to lie, noise off the
bins between them. Windows long enough to tell partials apart blur the first instants, so the level there is
then set by the envelope of the recording itself, which is known to a period.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.synth.measures import running_level
from models.synth.sound import BAND_CENTRES, BAND_EDGES, BANDS, KNOTS, PARTIALS, SAMPLE_RATE, SILENCE, Sound

Floats = NDArray[np.float64]

SHORT_PERIODS, LONG_PERIODS = 5.0, 12.0  # of the fundamental, in a window
LONG_FROM = 0.11  # seconds after which windows are long
LEAST_WINDOW, MOST_WINDOW = 1024, 12_288
TUNING = 60.0  # cents around the nominal pitch where the fundamental is looked for
DEFAULT_RELEASE, FASTEST_RELEASE = 200.0, 2000.0  # dB a second
PEAK_ABOVE_NOISE = 6.0  # dB by which a partial stands out


def analyse(samples: NDArray[np.floating], ratios: Floats, nominal: float, hold: float) -> tuple[Sound, float]:
    """The Sound of a recorded note, and how far it is from its nominal pitch, in cents.

    samples: mono, from the note's start to the end of its release. ratios: frequencies of its partials in
    units of the nominal frequency (PARTIALS,). nominal: Hz. hold: seconds until it was let go.
    """
    recording: Floats = np.asarray(samples, dtype=np.float64)
    cents, stretch = tuning(recording, ratios, nominal, hold)
    frequencies = stretched(ratios, nominal, cents, stretch)
    spacing = nominal * min(1.0, float(ratios[0]))
    partials, noise = np.empty((len(KNOTS), PARTIALS)), np.empty((len(KNOTS), BANDS))
    for early in (True, False):
        rows = np.flatnonzero((KNOTS < LONG_FROM) == early)
        window = _window_length(spacing, SHORT_PERIODS if early else LONG_PERIODS)
        partials[rows], noise[rows] = _levels(recording, frequencies, KNOTS[rows], window, hold)
    _correct_attack(recording, partials, noise, spacing)
    return Sound(frequencies, partials.astype(np.float32), noise.astype(np.float32), DEFAULT_RELEASE), cents


def stretched(ratios: Floats, nominal: float, cents: float, stretch: float) -> Floats:
    """Hz of the partials: `cents` off the nominal, and stretched as stiff strings are."""
    base = ratios * np.sqrt(1 + stretch * ratios**2)
    return np.asarray(nominal * 2 ** (cents / 1200) * base / np.sqrt(1 + stretch))


def stretch_of(frequencies: Floats, ratios: Floats) -> float:
    """The stretch that `stretched` was given, from its answer."""
    low, high = 0, min(15, len(ratios) - 1)
    square = (frequencies[high] / frequencies[low] * ratios[low] / ratios[high]) ** 2
    return float(max(0.0, (square - 1) / (ratios[high] ** 2 - square * ratios[low] ** 2)))


def tuning(samples: Floats, ratios: Floats, nominal: float, hold: float) -> tuple[float, float]:
    """Cents off the nominal pitch, and the stretch B of a stiff string, from the strongest partials."""
    last = min(len(samples), int(hold * SAMPLE_RATE))
    part = samples[int(0.03 * SAMPLE_RATE) : last][:SAMPLE_RATE]
    size = 1 << int(np.ceil(np.log2(max(len(part), 4096)))) + 1
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), size))
    width = SAMPLE_RATE / size
    found: list[tuple[float, float, float]] = []
    for ratio in ratios[:24]:
        low = ratio * nominal * 2 ** (-TUNING / 1200)
        high = ratio * nominal * 2 ** (TUNING / 1200)
        first, end = max(1, int(low / width)), min(len(spectrum) - 1, int(high / width) + 2)
        if ratio > 6.5:  # neighbours would come into reach
            half = 0.4 * nominal * min(1.0, float(ratios[0]))
            first, end = int((ratio * nominal - half) / width), min(end, int((ratio * nominal + half) / width))
        if end - first < 1 or high > 15_000 or end > len(spectrum):
            break
        place = first + int(np.argmax(spectrum[first:end]))
        found.append((float(ratio), (place + _parabola(spectrum, place)) * width, float(spectrum[place])))
    if not found:
        return 0.0, 0.0
    ratio, frequency, height = np.array(found).T
    weight = height * (height > 0.03 * height.max())
    off = 1200 * np.log2(frequency / (ratio * nominal))
    centre = _weighted_median(off, weight)
    weight = weight * (np.abs(off - centre) < 35)
    if not weight.sum() > 0:
        return 0.0, 0.0
    # cents = c + B * 600 / ln 2 * (ratio^2 - 1), to first order
    slope = (ratio**2 - 1) * 600 / np.log(2)
    mean_slope, mean_off = np.average(slope, weights=weight), np.average(off, weights=weight)
    spread = np.average((slope - mean_slope) ** 2, weights=weight)
    stretch = 0.0
    if spread > 0:
        stretch = float(np.average((slope - mean_slope) * (off - mean_off), weights=weight) / spread)
    stretch = float(np.clip(stretch, 0.0, 2e-3))
    return float(np.clip(mean_off - stretch * mean_slope, -TUNING, TUNING)), stretch


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _parabola(spectrum: Floats, place: int) -> float:
    """Offset in bins of the true peak near bin `place`."""
    if not 0 < place < len(spectrum) - 1:
        return 0.0
    left, middle, right = np.log(spectrum[place - 1 : place + 2] + 1e-20)
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))


def _window_length(spacing: float, periods: float) -> int:
    length = int(np.clip(periods * SAMPLE_RATE / spacing, LEAST_WINDOW, MOST_WINDOW))
    return length // 2 * 2


@lru_cache
def _window(length: int, periods: float) -> Floats:
    place = 2 * np.pi * np.arange(length) / length
    return 0.42 - 0.5 * np.cos(place) + 0.08 * np.cos(2 * place)


def _levels(samples: Floats, frequencies: Floats, knots: Floats, length: int, hold: float) -> tuple[Floats, Floats]:
    """dB of the partials and of the noise bands at `knots`, under Blackman windows of `length` samples."""
    window = _window(length, 0.0)
    size = 1 << int(np.ceil(np.log2(length))) + 1
    # No window reaches before the start, or beyond the end of the hold.
    centres = np.clip(
        knots, length / 2 / SAMPLE_RATE, max(length / 2 / SAMPLE_RATE, hold - length / 2 / SAMPLE_RATE)
    )
    starts = np.round(centres * SAMPLE_RATE).astype(int) - length // 2
    padded = np.pad(samples, (0, max(0, int(starts.max()) + length - len(samples))))
    frames = padded[starts[:, None] + np.arange(length)] * window
    power = np.abs(np.fft.rfft(frames, size, axis=1)) ** 2
    power *= (2 / window.sum()) ** 2  # a bin at a sine's middle then holds its amplitude squared
    width = SAMPLE_RATE / size
    places = np.round(frequencies / width).astype(int)
    usable = (places > 1) & (places < power.shape[1] - 2)
    middle = np.where(usable, places, 2)
    peak = np.max([power[:, middle + offset] for offset in (-1, 0, 1)], axis=0)
    noise_density, counts = _noise_density(power, frequencies[usable], width, length)
    # Noise under a peak, in the same units; a partial has to stand out of it.
    floor = _at(noise_density, frequencies)
    clean = np.where(peak > floor * 10 ** (PEAK_ABOVE_NOISE / 10), peak - floor, 1e-13)
    partials = np.where(usable, 10 * np.log10(np.maximum(clean, 1e-12)), SILENCE)
    # Mean square of a band: density per bin, less the window's own bandwidth; a sine of amplitude a has a^2 / 2.
    bandwidth = (window**2).sum() / window.sum() ** 2 * SAMPLE_RATE  # Hz
    bands = noise_density / 2 * (np.diff(BAND_EDGES) / bandwidth)
    # A mean of few bins is too low on average once it is in dB.
    low = 10 / np.log(10) * (0.5 / np.maximum(counts, 0.5) + 1 / (12 * np.maximum(counts, 0.5) ** 2))
    noise = 10 * np.log10(np.maximum(bands, 1e-13)) + low
    return partials, np.maximum(noise, SILENCE)


def _noise_density(power: Floats, frequencies: Floats, width: float, length: int) -> tuple[Floats, Floats]:
    """Mean power of the bins between the partials in each band (frames, BANDS), and how many independent."""
    bins = power.shape[1]
    lobe = 3.2 * SAMPLE_RATE / length / width  # bins on either side that a partial fills
    free = np.ones(bins)
    for frequency in frequencies:
        middle = frequency / width
        free[max(0, int(np.ceil(middle - lobe))) : int(middle + lobe) + 1] = 0
    free[: int(20 / width) + 1] = 0
    edges = np.searchsorted(np.arange(bins) * width, BAND_EDGES)
    total = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power * free, axis=1)], axis=1)
    count = np.concatenate([[0.0], np.cumsum(free)])
    first, last = edges[:-1], np.maximum(edges[1:], edges[:-1] + 1)
    inside = count[last] - count[first]
    density = (total[:, last] - total[:, first]) / np.maximum(inside, 1)
    known = inside > 0
    if known.any() and not known.all():
        logs = np.log(density[:, known] + 1e-16)
        middle = np.log(BAND_CENTRES)
        density = np.exp(np.stack([np.interp(middle, middle[known], row) for row in logs]))
    elif not known.any():
        density[:] = 1e-16
    independent = inside * width * length / SAMPLE_RATE / 1.73
    return density, np.where(known, independent, 4.0)


def _at(density: Floats, frequencies: Floats) -> Floats:
    logs = np.log(density + 1e-16)
    places = np.log(np.maximum(frequencies, 1.0))
    return np.exp(np.stack([np.interp(places, np.log(BAND_CENTRES), row) for row in logs]))


def _correct_attack(samples: Floats, partials: Floats, noise: Floats, spacing: float) -> None:
    """Set the level of the first knots, in place, by the envelope of the recording."""
    width = max(192, int(SAMPLE_RATE / spacing))
    envelope = running_level(samples[: SAMPLE_RATE // 2], width)
    power = (10 ** (partials / 10)).sum(axis=1) / 2 + (10 ** (noise / 10)).sum(axis=1)
    places = np.minimum((KNOTS * SAMPLE_RATE).astype(int), len(envelope) - 1)
    off = 20 * np.log10(envelope[places] + 1e-7) - 10 * np.log10(power + 1e-14)
    # Where windows no longer blur, what is left of the difference is beating and chance.
    trust = np.clip((0.4 - KNOTS) / 0.2, 0, 1)
    off = np.clip(off, -60, 12) * trust
    partials += off[:, None]
    noise += off[:, None]
    np.maximum(partials, SILENCE, out=partials)
    np.maximum(noise, SILENCE, out=noise)


def release_rate(short: Floats, held: Floats, hold: float) -> float | None:
    """dB a second that a note loses when it is let go, beyond what it loses anyway; None if it is too quiet.

    short, held: the same note, let go after `hold` seconds and held on.
    """
    first = int(hold * SAMPLE_RATE)
    one, other = (20 * np.log10(running_level(samples, 960)[first::240] + 1e-7) for samples in (short, held))
    if other[0] < -75:
        return None
    count = int(np.argmax((one < -85) | (one < other - 45))) or len(one)
    if count < 4:
        return FASTEST_RELEASE
    slope = np.polyfit(np.arange(count) * 240 / SAMPLE_RATE, (one - other)[:count], 1)[0]
    return float(np.clip(-slope, 0.0, FASTEST_RELEASE))


# --- Where partials lie -------------------------------------------------------------------------------

APART = 0.045  # least distance of two peaks, as a share of their frequency
NOWHERE = 1e4  # the ratio of a partial that an instrument lacks
ON_GRID = 0.9  # share of the power that makes an instrument harmonic
GRID = np.arange(1, PARTIALS + 1, dtype=np.float64)


def find_ratios(recordings: list[tuple[Floats, float]], hold: float) -> list[Floats]:
    """Where the partials of an instrument may lie, in units of the nominal frequency, (PARTIALS,) each.

    recordings: mono samples and nominal Hz of a few notes. One answer where it is plain that the
    instrument is harmonic; else several to be tried: 1, 2, 3 ..., halves, the peaks that the notes share
    (bells), none (noise).
    """
    curves = [_ratio_spectrum(samples, nominal, hold) for samples, nominal in recordings]
    axis = _ratio_axis()
    usable = [curve / curve.sum() for curve in curves if curve.sum() > 1e-6]
    if not usable:
        return [GRID]
    mean = np.mean(usable, axis=0)
    off = np.abs(axis - np.round(axis))
    # Ensembles are out of tune with themselves; far up the grid is too dense to tell.
    near = (off < np.minimum(0.03 * axis, 0.3)) & (np.round(axis) > 0) | (axis > 14)
    if mean[near].sum() > ON_GRID:
        return [GRID]
    peaks = np.flatnonzero((mean[1:-1] > mean[:-2]) & (mean[1:-1] >= mean[2:])) + 1
    chosen: list[int] = []
    for place in peaks[np.argsort(mean[peaks])[::-1]]:
        if len(chosen) == PARTIALS or mean[place] < 1e-7 * mean.max():
            break
        if all(abs(np.log(axis[place] / axis[other])) > APART for other in chosen):
            chosen.append(int(place))
    ratios = np.sort(axis[chosen])
    shared = np.concatenate([ratios, np.full(PARTIALS - len(ratios), NOWHERE)])
    return [GRID, GRID / 2, shared, np.full(PARTIALS, NOWHERE)]


RATIO_POINTS = 8192


def _ratio_axis() -> Floats:
    return np.asarray(np.geomspace(0.24, 40, RATIO_POINTS))


def _ratio_spectrum(samples: Floats, nominal: float, hold: float) -> Floats:
    """Power over frequency in units of the nominal one, on a logarithmic axis."""
    part = np.asarray(samples[: int(min(hold, 1.5) * SAMPLE_RATE)], dtype=np.float64)
    size = 1 << 17
    power = np.abs(np.fft.rfft(part * np.blackman(len(part)), size)) ** 2
    edges = np.append(_ratio_axis(), 40.025) * nominal / (SAMPLE_RATE / size)
    total = np.concatenate([[0.0], np.cumsum(power)])
    places = np.interp(np.clip(edges, 0, len(power)), np.arange(len(total)), total)
    return np.diff(places)
