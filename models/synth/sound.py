"""What one note sounds like, as numbers: the language between the analysis, the network and the oscillators.

A Sound describes a note that is held for ever: the level of each partial and of each noise band at a few
knots in time, dense where notes begin. How it is let go is one number, because a release is the same fade
for all of it. Levels are in dB of amplitude, where 0 dB is a sine wave from -1 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError

Floats = NDArray[np.float32]

SAMPLE_RATE = 48_000
PARTIALS = 96
BANDS = 40
_MILLISECONDS = (
    *(0, 3, 6, 10, 15, 21, 28, 37, 48, 62, 80, 100, 125, 155, 190, 230, 280, 340, 400, 470, 550, 650, 750, 870),
    *(1000, 1150, 1350, 1600, 1900, 2250, 2600, 3000),
)
KNOTS = np.array(_MILLISECONDS, dtype=np.float64) / 1000  # seconds from the start of a note
HOP = 128  # samples between two frames of the oscillators
SWELL_FRAMES = 450  # frames of a swell, 1.2 seconds
SWELL_EDGES = np.array([1.5, 2.5, 4.5, 8.5])  # between the bands of a swell, in units of the nominal frequency
SWELL_BANDS = len(SWELL_EDGES) + 1
SILENCE = -120.0  # dB; nothing below it is kept
HIGHEST_PARTIAL = 20_000.0  # Hz, and never above 0.45 of the sample rate

DRUM_KEYS = range(27, 88)  # the keys of a General MIDI drum kit, GS extensions included
MELODIC = 128
INSTRUMENTS = MELODIC + len(DRUM_KEYS)


def _band_edges() -> NDArray[np.float64]:
    def mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    grid = np.linspace(mel(30.0), mel(20_000.0), BANDS + 1)
    return 700 * (10 ** (grid / 2595) - 1)


BAND_EDGES = _band_edges()  # Hz, evenly spaced on the mel scale
BAND_CENTRES = (BAND_EDGES[1:] + BAND_EDGES[:-1]) / 2


@dataclass(frozen=True, slots=True)
class Sound:
    """One note as the oscillators play it.

    frequencies: Hz of each partial (PARTIALS,), and nominal: Hz of the pitch. partials: dB at each knot (knots,
    PARTIALS). noise: dB of the noise in each band at each knot (knots, BANDS), as the root mean square of the
    band. release: how fast it fades once it is let go, dB a second; 0 for sounds that ring on whatever the
    player does. transient: samples that replace the first instants of a drum, whose chance no model repeats.
    swell: dB that it is louder at each of SWELL_FRAMES frames, HOP samples apart, finer in time than the knots, in
    each of the SWELL_BANDS (frames, bands). phases: of each partial at the start, in turns (PARTIALS,).
    lasts: whether it is known to sound as long as it is held; else its last knots decide.
    recording: samples that replace all of it, for effects such as a telephone, whose rhythm no model repeats.
    """

    frequencies: NDArray[np.float64]
    partials: Floats
    noise: Floats
    release: float
    nominal: float = 440.0
    transient: Floats | None = None
    swell: Floats | None = None
    phases: Floats | None = None
    recording: Floats | None = None
    lasts: bool = False


def spread_phases(partials: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turns spread after Schroeder, so that many partials make no spike."""
    return (partials.astype(np.float64) ** 2 * 0.381966) % 1.0


class NotNumbers(UserError):
    """What was computed are no numbers: a fault of the weights, the computer or a library, never of the music."""


def numbers(values: Floats, what: str) -> Floats:
    """The same values. NotNumbers where one is none, for as samples those would be silence."""
    if not np.isfinite(values.sum()):
        raise NotNumbers(f"The synth computed {what} that is not made of numbers", "Try it once more.")
    return values


def hertz(pitch: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequency of MIDI pitches in equal temperament, A4 = 69 = 440 Hz."""
    return np.asarray(440.0 * 2.0 ** ((np.asarray(pitch, dtype=np.float64) - 69.0) / 12.0))


def instrument_index(program: int, pitch: int, is_drum: bool) -> int:
    """Which of the INSTRUMENTS plays a note: a program, or the drum of a key.

    Programs from MELODIC on are the user's own instruments, and come after all others.
    """
    if not is_drum:
        return program if program < MELODIC else INSTRUMENTS + program - MELODIC
    return MELODIC + min(max(pitch, DRUM_KEYS.start), DRUM_KEYS.stop - 1) - DRUM_KEYS.start
