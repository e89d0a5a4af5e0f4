"""How far one recording of a note is from another: the figures of docs/synth.md.

Every function takes mono samples, shape (samples,), at `SAMPLE_RATE`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.synth.sound import SAMPLE_RATE

Samples = NDArray[np.floating]

MEL_BANDS = 96
MEL_RANGE = (30.0, 20_000.0)  # Hz
FLOOR = 60.0  # dB below the loudest band of the reference
FRAME, HOP = 2048, 512
SCALES = (64, 128, 256, 512, 1024, 2048)  # frame sizes of the multi-resolution distance


def spectrogram(samples: Samples, frame: int, hop: int) -> NDArray[np.float32]:
    """Magnitudes (frames, frame // 2 + 1) under a Hann window; the signal is padded by half a frame."""
    padded = np.pad(np.asarray(samples, dtype=np.float32), frame // 2)
    frames = sliding_window_view(padded, frame)[::hop]
    window = np.hanning(frame + 1)[:-1].astype(np.float32)
    return np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32)


@lru_cache
def mel_filters(bands: int = MEL_BANDS, frame: int = FRAME) -> NDArray[np.float32]:
    """Triangular filters (bands, bins) on the mel scale of O'Shaughnessy, over MEL_RANGE."""
    low, high = (2595 * np.log10(1 + edge / 700) for edge in MEL_RANGE)
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(frame, 1 / SAMPLE_RATE)
    # A band narrower than a bin would catch nothing.
    width = SAMPLE_RATE / frame
    rising = (bins[None] - edges[:-2, None]) / np.maximum(edges[1:-1] - edges[:-2], width)[:, None]
    falling = (edges[2:, None] - bins[None]) / np.maximum(edges[2:] - edges[1:-1], width)[:, None]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(samples: Samples) -> NDArray[np.float32]:
    """Mel spectrogram in dB, (frames, MEL_BANDS)."""
    power = spectrogram(samples, FRAME, HOP) ** 2 @ mel_filters().T
    return 10 * np.log10(power + 1e-12)


def log_mel_distance(reference: Samples, other: Samples) -> float:
    """Mean |dB| over mel bands and active frames, floored FLOOR dB below the reference's peak, gain-matched."""
    reference, other = _same_length(reference, other)
    gain = np.sqrt((np.mean(reference**2) + 1e-20) / (np.mean(other**2) + 1e-20))
    first, second = log_mel(reference), log_mel(other * min(gain, 1e4))
    floor = first.max() - FLOOR
    active = first.max(axis=1) > floor
    return float(np.abs(np.maximum(first, floor) - np.maximum(second, floor))[active].mean())


def spectral_distance(reference: Samples, other: Samples) -> float:
    """Multi-resolution STFT distance: spectral convergence + mean |log magnitude|, mean over SCALES.

    After Yamamoto et al., Parallel WaveGAN (2020). Gain-matched; magnitudes are floored as above.
    """
    reference, other = _same_length(reference, other)
    gain = np.sqrt((np.mean(reference**2) + 1e-20) / (np.mean(other**2) + 1e-20))
    total = 0.0
    for frame in SCALES:
        first = spectrogram(reference, frame, frame // 4)
        second = spectrogram(other * min(gain, 1e4), frame, frame // 4)
        floor = first.max() * 10 ** (-FLOOR / 20)
        convergence = np.linalg.norm(first - second) / (np.linalg.norm(first) + 1e-12)
        logs = np.abs(np.log(np.maximum(first, floor)) - np.log(np.maximum(second, floor)))
        total += float(convergence + logs.mean())
    return total / len(SCALES)


def level(samples: Samples) -> float:
    """Root mean square in dB."""
    return float(10 * np.log10(np.mean(np.asarray(samples, dtype=np.float64) ** 2) + 1e-20))


def attack_time(samples: Samples, pitch_hertz: float) -> float:
    """Seconds from the first sample until the envelope passes half of its peak in the first second.

    The envelope is the root mean square over one and a half periods, and 4 ms at least.
    """
    width = max(int(SAMPLE_RATE * 0.004), int(1.5 * SAMPLE_RATE / max(pitch_hertz, 30.0)))
    envelope = running_level(samples[:SAMPLE_RATE], width)
    return float(np.argmax(envelope >= envelope.max() / 2)) / SAMPLE_RATE


def running_level(samples: Samples, width: int) -> NDArray[np.float64]:
    """Root mean square around each sample over `width` samples."""
    square = np.concatenate([[0.0], np.cumsum(np.asarray(samples, dtype=np.float64) ** 2)])
    centre = np.arange(len(samples))
    first, last = np.maximum(0, centre - width // 2), np.minimum(len(samples), centre + (width + 1) // 2)
    return np.sqrt((square[last] - square[first]) / width)


def _same_length(first: Samples, second: Samples) -> tuple[Samples, Samples]:
    length = max(len(first), len(second))
    return np.pad(first, (0, length - len(first))), np.pad(second, (0, length - len(second)))
