"""The pitch and loudness of a single line, frame by frame: a voice, a whistle, one instrument.

For every frame YIN's difference function (de Cheveigné and Kawahara, 2002) has a dip at each lag after which
the sound repeats itself. As in pYIN (Mauch and Dixon, 2014), no one threshold decides which dip is the
period: every dip gets the share of thresholds that would choose it, and the likeliest way through all frames
is taken, which is what keeps octaves and overtones apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.synth.sound import SAMPLE_RATE, Floats

Doubles = NDArray[np.float64]

HOP = SAMPLE_RATE // 100
LOWEST, HIGHEST = 40.0, 5000.0  # Hz that are looked for
LONGEST_LAG, SHORTEST_LAG = int(SAMPLE_RATE / LOWEST), int(SAMPLE_RATE / HIGHEST)
WINDOW = 1536  # samples that are compared with those a lag later
SIZE = 4096  # of the transform: at least WINDOW + LONGEST_LAG
BATCH = 256  # frames at a time
CANDIDATES = 6
LEVEL_WINDOW = 1024
TREBLE, REACH = 5500.0, 32  # Hz, and samples on either side of the filter that ends there
FRAME = WINDOW + LONGEST_LAG
QUIETEST = 50.0  # dB below the loudest frame: nothing there is taken for a pitch
SILENCE = -120.0
# Costs in nepers, frame to frame. A fast slide moves 60 cents a frame; an octave is a leap.
SLIDE, LEAP, BEGIN = 0.012, 4.5, 3.0  # a cent, whatever the distance, voiced to unvoiced and back
LEAST = 1e-4  # no candidate is less likely than this


@dataclass(frozen=True, slots=True)
class PitchLine:
    """A line every HOP samples. All (frames,).

    pitch: MIDI pitch with its fraction, nan where there is none. level: root mean square in dB. sure: how
    periodic the sound is at the pitch, 0 to 1.
    """

    pitch: Doubles
    level: Doubles
    sure: Doubles

    def __len__(self) -> int:
        return len(self.pitch)


def follow(samples: Floats) -> PitchLine:
    """The line of a mono recording (samples,) at SAMPLE_RATE. Memory beside it is that of BATCH frames."""
    count = len(samples) // HOP + 1
    mean = np.float32(np.mean(samples)) if len(samples) else np.float32(0)
    level = np.empty(count)
    lags, chances = np.zeros((count, CANDIDATES)), np.zeros((count, CANDIDATES))
    for first in range(0, count, BATCH):
        rows = min(BATCH, count - first)
        near = _stretch(samples, first * HOP - LEVEL_WINDOW // 2, (rows - 1) * HOP + LEVEL_WINDOW) - mean
        level[first : first + rows] = _levels(near)
        ahead = (WINDOW + LONGEST_LAG // 4) // 2  # half of what the frame of a middle voice covers
        wide = _stretch(samples, first * HOP - ahead - REACH, (rows - 1) * HOP + FRAME + 2 * REACH) - mean
        frames = sliding_window_view(np.convolve(wide, _low_pass(), "valid"), FRAME)[::HOP]
        lags[first : first + rows], chances[first : first + rows] = _candidates(frames)
    chances[level < level.max(initial=SILENCE) - QUIETEST] = 0
    chosen = _likeliest(lags, chances)
    row = np.arange(count)
    voiced = chosen >= 0
    lag = np.where(voiced, lags[row, chosen], np.nan)
    sure = np.where(voiced, chances[row, chosen], 0.0)
    return PitchLine(69 + 12 * np.log2(SAMPLE_RATE / lag / 440), level, sure)


def _stretch(samples: Floats, first: int, count: int) -> Floats:
    """`count` samples from `first` on, with zeros before the start and beyond the end."""
    found = samples[max(0, first) : max(0, first + count)]
    before = min(count, max(0, -first))
    return np.pad(found, (before, count - before - len(found)))


@lru_cache
def _low_pass() -> Floats:
    """No fundamental lies above, and most of any noise does."""
    place = np.arange(-REACH, REACH + 1)
    taps = np.sinc(2 * TREBLE / SAMPLE_RATE * place) * np.hanning(2 * REACH + 3)[1:-1]
    return (taps / taps.sum()).astype(np.float32)


def _levels(samples: Floats) -> Doubles:
    square = np.cumsum(np.pad(samples.astype(np.float64) ** 2, (1, 0)))
    power = (square[LEVEL_WINDOW:] - square[:-LEVEL_WINDOW])[::HOP] / LEVEL_WINDOW
    return np.asarray(10 * np.log10(np.maximum(power, 0) + 10 ** (SILENCE / 10)))


def _candidates(frames: Floats) -> tuple[Doubles, Doubles]:
    """Lags in samples and their chances, (frames, CANDIDATES) each; chances add up to 1 at most."""
    head = np.fft.rfft(frames[:, :WINDOW], SIZE, axis=1)
    whole = np.fft.rfft(frames, SIZE, axis=1)
    same = np.fft.irfft(np.conj(head) * whole, SIZE, axis=1)[:, : LONGEST_LAG + 1].astype(np.float64)
    square = np.cumsum(np.pad(frames.astype(np.float64) ** 2, ((0, 0), (1, 0))), axis=1)
    energy = square[:, WINDOW : WINDOW + LONGEST_LAG + 1] - square[:, : LONGEST_LAG + 1]
    differences = np.maximum(energy[:, :1] + energy - 2 * same, 0)
    differences[:, 0] = 0
    total = np.cumsum(differences, axis=1)
    lag = np.arange(LONGEST_LAG + 1)
    depth = np.where(total > 1e-9, differences * lag / np.maximum(total, 1e-9), 1.0)
    left, middle, right = depth[:, :-2], depth[:, 1:-1], depth[:, 2:]
    bend = left - 2 * middle + right
    dip = (middle < left) & (middle <= right) & (bend > 0) & (lag[1:-1] >= SHORTEST_LAG)
    offset = np.where(dip, 0.5 * (left - right) / np.where(dip, bend, 1.0), 0.0)
    bottom = np.where(dip, np.maximum(middle - 0.25 * (left - right) * offset, 0), 1.0)
    # A threshold chooses the first dip below it: those between a dip and the deepest one before it are its own.
    before = np.minimum.accumulate(np.pad(bottom, ((0, 0), (1, 0)), constant_values=1.0), axis=1)[:, :-1]
    chance = np.maximum(_thresholds_below(before) - _thresholds_below(bottom), 0)
    best = np.argpartition(-chance, CANDIDATES, axis=1)[:, :CANDIDATES]
    row = np.arange(len(frames))[:, None]
    return np.asarray(lag[1:-1][best] + offset[row, best]), np.asarray(chance[row, best])


def _thresholds_below(depth: Doubles) -> Doubles:
    """Share of thresholds below a depth: the beta distribution of 2 and 11, around 0.15."""
    depth = np.clip(depth, 0, 1)
    return np.asarray(1 - (1 - depth) ** 11 * (1 + 11 * depth))


def _likeliest(lags: Doubles, chances: Doubles) -> NDArray[np.int64]:
    """The candidate of every frame on the likeliest way through all of them (Viterbi); -1 for no pitch."""
    count = len(lags)
    cents = 1200 * np.log2(np.maximum(lags, 1.0))
    cost = -np.log(np.maximum(chances, LEAST**2))
    silent = -np.log(np.clip(1 - chances.sum(axis=1), LEAST, 1.0))
    came = np.zeros((count, CANDIDATES + 1), dtype=np.int8)
    best = np.append(cost[0], silent[0]) if count else np.zeros(0)
    for frame in range(1, count):
        moves = np.minimum(np.abs(cents[frame][:, None] - cents[frame - 1][None]) * SLIDE, LEAP)
        ways = best[None, :CANDIDATES] + moves
        came[frame, :CANDIDATES] = ways.argmin(axis=1)
        voiced = ways.min(axis=1)
        begun = best[CANDIDATES] + BEGIN
        came[frame, :CANDIDATES][voiced > begun] = CANDIDATES
        last = int(best[:CANDIDATES].argmin())
        ends = best[last] + BEGIN < best[CANDIDATES]
        came[frame, CANDIDATES] = last if ends else CANDIDATES
        rest = min(best[last] + BEGIN, best[CANDIDATES]) + silent[frame]
        best = np.append(np.minimum(voiced, begun) + cost[frame], rest)
    path = np.full(count, -1, dtype=np.int64)
    state = int(best.argmin()) if count else 0
    for frame in range(count - 1, -1, -1):
        path[frame] = state if state < CANDIDATES else -1
        state = int(came[frame, state])
    return path
