"""Voices and whistles with known notes, made by nothing that the synth is made of: what humming is tried on.

A voice is a glottal pulse train through formants (Fant, 1960), as a sum of harmonics: with glides from note to
note, scoops, vibrato that sets in late, drift, jitter, breath, and consonants that are noise, silence or a
closed mouth. A whistle is nearly a sine, with slides and breath. All of it lies in white noise.

A note begins where its vowel does, and where one note slides into the next, in the middle of the slide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.synth.sound import SAMPLE_RATE, Floats

Doubles = NDArray[np.float64]

STEP = SAMPLE_RATE // 1000  # samples between the points of every curve
SCALE = (0, 2, 4, 5, 7, 9, 11)
# Hz of the first four formants, after Peterson and Barney (1952); the fourth is a usual value.
VOWELS = {
    "a": (730, 1090, 2440, 3500),
    "e": (530, 1840, 2480, 3500),
    "i": (270, 2290, 3010, 3700),
    "o": (570, 840, 2410, 3400),
    "u": (300, 870, 2240, 3300),
    "m": (250, 1000, 2200, 3000),  # a closed mouth
}
BANDWIDTHS = (80.0, 100.0, 140.0, 220.0)
SMOOTH, STOP, HISS, CLOSED, ASPIRATE = "slide", "t", "s", "n", "h"  # how a note follows the one before it


@dataclass(frozen=True, slots=True)
class SungNote:
    """start and end in seconds; pitch as MIDI numbers it, with the cents it was sung off."""

    start: float
    end: float
    pitch: float


@dataclass(frozen=True, slots=True)
class Singer:
    """low, high: pitches. formants: how much shorter than a man's the throat is. vibrato: cents at most."""

    name: str
    low: int
    high: int
    formants: float = 1.0
    vibrato: float = 60.0
    breath: float = -28.0  # dB
    closed: bool = False  # hums, with the mouth shut
    whistles: bool = False


SINGERS = (
    Singer("bass voice", 40, 57),
    Singer("tenor voice", 48, 66),
    Singer("alto voice", 55, 72, 1.12),
    Singer("soprano voice", 62, 81, 1.18, vibrato=80),
    Singer("child", 60, 77, 1.3, vibrato=20),
    Singer("breathy voice", 52, 70, 1.05, breath=-16),
    Singer("humming", 50, 69, 1.0, vibrato=35, closed=True),
    Singer("whistle", 76, 98, vibrato=30, breath=-24, whistles=True),
    Singer("high whistle", 84, 105, vibrato=15, breath=-20, whistles=True),
)


def sing(singer: Singer, seed: int, notes: int = 24, noise: float = 20.0) -> tuple[Floats, list[SungNote]]:
    """A melody, mono at SAMPLE_RATE, and its notes. noise: dB that the singing lies above white noise."""
    random = np.random.default_rng([seed, singer.low, singer.high])
    melody, joins = _melody(singer, random, notes)
    seconds = melody[-1].end + 0.6
    points = int(seconds * 1000)
    pitch = _pitch_curve(singer, melody, joins, points, random)
    level, closed = _level_curve(melody, joins, points, random)
    voice = _whistle(pitch, level) if singer.whistles else _voice(singer, melody, pitch, level, closed, random)
    voice = voice + _breath(singer, pitch, level, random) + _consonants(singer, melody, joins, len(voice), random)
    power = np.mean(voice[voice != 0] ** 2)
    mixed = voice + np.sqrt(power) * 10 ** (-noise / 20) * random.standard_normal(len(voice))
    return (mixed * 0.4 / np.abs(mixed).max()).astype(np.float32), melody


def _melody(singer: Singer, random: np.random.Generator, count: int) -> tuple[list[SungNote], list[str]]:
    tonic = int(random.integers(12))
    allowed = [p for p in range(singer.low, singer.high + 1) if (p - tonic) % 12 in SCALE]
    place = int(random.integers(len(allowed)))
    beat = float(random.uniform(0.45, 0.7))
    tuning = float(random.uniform(-0.15, 0.15))
    notes: list[SungNote] = []
    joins: list[str] = []
    time = 0.3
    for _ in range(count):
        length = beat * float(random.choice([0.5, 0.5, 1, 1, 1, 1.5, 2]))
        rests = random.random() < 0.15
        # Nobody sings on the beat exactly.
        start = time + float(random.normal(0, 0.012))
        weights = [0.25, 0.2, 0.15, 0.2, 0.2] if not singer.whistles else [0.5, 0.3, 0, 0, 0.2]
        join = str(random.choice([SMOOTH, STOP, HISS, CLOSED, ASPIRATE], p=weights))
        if singer.closed:
            join = str(random.choice([SMOOTH, CLOSED, STOP], p=[0.3, 0.4, 0.3]))
        if notes and join == SMOOTH and allowed[place] == round(notes[-1].pitch - tuning):
            join = STOP  # nothing would tell the two apart
        if not notes or notes[-1].end < start - 0.05:
            join = ASPIRATE if join == SMOOTH else join
        notes.append(SungNote(start, time + length * (0.75 if rests else 1.0), allowed[place] + tuning))
        joins.append(join)
        time += length
        leap = int(random.choice([-4, -3, -2, -1, -1, 0, 1, 1, 2, 3, 4]))
        place = int(np.clip(place + leap, 0, len(allowed) - 1))
    ends = []
    for note, after, join in zip(notes, [*notes[1:], None], [*joins[1:], ""], strict=True):
        gap = {SMOOTH: 0.0, STOP: 0.05, HISS: 0.09, CLOSED: 0.0, ASPIRATE: 0.06}.get(join, 0.0)
        ends.append(note.end if after is None else min(note.end, after.start - gap))
    off = random.normal(0, 0.08, len(notes))
    return [SungNote(n.start, end, n.pitch + float(o)) for n, end, o in zip(notes, ends, off, strict=True)], joins


def _pitch_curve(
    singer: Singer, melody: list[SungNote], joins: list[str], points: int, random: np.random.Generator
) -> Doubles:
    """MIDI pitch each millisecond."""
    time = np.arange(points) / 1000
    pitch = np.full(points, melody[0].pitch)
    for place, (note, join) in enumerate(zip(melody, joins, strict=True)):
        here = time >= note.start - 0.02
        if join in (SMOOTH, CLOSED) and place:
            # A closed mouth goes to the new pitch before it opens.
            width = float(random.uniform(0.03, 0.12)) if join == SMOOTH else 0.05
            middle = note.start if join == SMOOTH else note.start - 0.04
            share = np.clip((time - middle) / width + 0.5, 0, 1)
            before = melody[place - 1].pitch
            curve = before + (note.pitch - before) * share * share * (3 - 2 * share)
            here = time >= middle - width / 2
        else:
            scoop = float(random.uniform(-1.5, 0.2)) if random.random() < 0.4 else 0.0
            curve = note.pitch + scoop * np.exp(-np.maximum(0, time - note.start) / 0.03)
        pitch[here] = curve[here]
        since = time - note.start
        long = note.end - note.start > 0.35
        if long and random.random() < 0.7:
            depth = singer.vibrato / 100 * float(random.uniform(0.4, 1))
            rate = float(random.uniform(4.7, 6.5))
            swell = np.clip((since - 0.15) / 0.2, 0, 1) * np.clip((note.end - time) / 0.05, 0, 1)
            pitch += depth * swell * np.sin(2 * np.pi * rate * since)
    drift = np.cumsum(random.normal(0, 1, points))
    drift -= np.linspace(drift[0], drift[-1], points)
    smooth = np.convolve(drift, np.hanning(401) / np.hanning(401).sum(), "same")
    jitter = np.convolve(random.normal(0, 1, points), np.hanning(9) / np.hanning(9).sum(), "same")
    return np.asarray(pitch + 0.05 * smooth / (np.abs(smooth).max() + 1e-9) + 0.03 * jitter)


def _level_curve(
    melody: list[SungNote], joins: list[str], points: int, random: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """Amplitude each millisecond, and how far the mouth is closed, 0 to 1."""
    time = np.arange(points) / 1000
    level, closed = np.zeros(points), np.zeros(points)
    for note, join in zip(melody, joins, strict=True):
        rise = float(random.uniform(0.008, 0.03))
        fall = float(random.uniform(0.02, 0.06))
        loud = 10 ** (float(random.uniform(-9, 0)) / 20)
        first = note.start - 0.06 if join == SMOOTH else note.start
        shape = np.clip((time - first) / rise, 0, 1) * np.clip((note.end - time) / fall, 0, 1)
        shape *= 1 - 0.25 * np.clip((time - note.start) / max(0.1, note.end - note.start), 0, 1)
        level = np.maximum(level, loud * shape)
        if join == CLOSED:
            since = time - note.start
            mouth = np.clip((since + 0.075) / 0.02, 0, 1) * np.clip(-since / 0.015 + 1, 0, 1)
            closed = np.maximum(closed, mouth)
            level = np.maximum(level, loud * 0.8 * (mouth > 0.01))
    level *= 10 ** (-11 * closed / 20)
    smooth = np.hanning(11) / np.hanning(11).sum()
    shimmer = 1 + 0.04 * np.convolve(random.normal(0, 1, points), np.hanning(21) / 5, "same")
    return np.convolve(level, smooth, "same") * shimmer, closed


def _samples(curve: Doubles, count: int) -> Doubles:
    return np.interp(np.arange(count), np.arange(len(curve)) * STEP, curve)


def _turns(pitch: Doubles) -> Doubles:
    hertz = 440 * 2 ** ((_samples(pitch, len(pitch) * STEP) - 69) / 12)
    return np.cumsum(hertz) / SAMPLE_RATE


def _voice(
    singer: Singer,
    melody: list[SungNote],
    pitch: Doubles,
    level: Doubles,
    closed: Doubles,
    random: np.random.Generator,
) -> Doubles:
    count = len(pitch) * STEP
    turns, loud = _turns(pitch), _samples(level, count)
    formants = _formant_curves(singer, melody, len(pitch), random)
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    out = np.zeros(count)
    for number in range(1, 61):
        frequency = number * hertz
        gain = np.where(frequency < 11_000, number**-1.1, 0.0)  # the pulse's slope and the lips' together
        for row, width in enumerate(BANDWIDTHS):
            middle = formants[row]
            # A resonator's magnitude, 1 at 0 Hz.
            gain = gain * middle**2 / np.hypot(middle**2 - frequency**2, frequency * width)
        if singer.closed:
            gain = gain * 10 ** (-np.maximum(0, frequency - 500) / 500 * 8 / 20)
        gain = gain * 10 ** (-closed * np.maximum(0, frequency - 400) / 500 * 8 / 20)
        if not gain.max() > 1e-7:
            break
        out += _samples(gain, count) * np.cos(2 * np.pi * (number * turns + random.random()))
    # Singers make up for most of what a vowel takes from their loudness.
    local = np.sqrt(np.convolve(out[::STEP] ** 2, np.hanning(121) / np.hanning(121).sum(), "same"))
    return out * loud / _samples(np.maximum(local, 1e-9) ** 0.85 * max(local.max(), 1e-9) ** 0.15, count)


def _formant_curves(singer: Singer, melody: list[SungNote], points: int, random: np.random.Generator) -> Doubles:
    time = np.arange(points) / 1000
    curves = np.zeros((4, points))
    for note in melody:
        vowel = "m" if singer.closed else str(random.choice(list("aeiou")))
        here = time >= note.start - 0.04
        curves[:, here] = np.array(VOWELS[vowel])[:, None] * singer.formants
    curves[:, curves[0] == 0] = np.array(VOWELS["a"])[:, None]
    smooth = np.hanning(61) / np.hanning(61).sum()
    return np.stack([np.convolve(np.pad(row, 30, mode="edge"), smooth, "valid") for row in curves])


def _whistle(pitch: Doubles, level: Doubles) -> Doubles:
    turns = 2 * np.pi * _turns(pitch)
    loud = _samples(level, len(turns))
    return loud * (np.cos(turns) + 10 ** (-38 / 20) * np.cos(2 * turns) + 10 ** (-46 / 20) * np.cos(3 * turns))


def _band(noise: Doubles, low: float, high: float) -> Doubles:
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE)
    spectrum *= 1 / np.sqrt((1 + (low / np.maximum(hertz, 1)) ** 4) * (1 + (hertz / high) ** 4))
    out = np.fft.irfft(spectrum, len(noise))
    return out / (np.sqrt(np.mean(out**2)) + 1e-12)


def _breath(singer: Singer, pitch: Doubles, level: Doubles, random: np.random.Generator) -> Doubles:
    count = len(pitch) * STEP
    low, high = (1500.0, 5000.0) if singer.whistles else (800.0, 6000.0)
    gain = 10 ** (singer.breath / 20)
    return gain * _samples(np.maximum(level, 0.02), count) * _band(random.standard_normal(count), low, high)


def _consonants(
    singer: Singer, melody: list[SungNote], joins: list[str], count: int, random: np.random.Generator
) -> Doubles:
    out = np.zeros(count)
    for note, join in zip(melody, joins, strict=True):
        start = int(note.start * SAMPLE_RATE)
        if join == HISS:
            length, low, high, gain = 0.08, 4000.0, 9000.0, 0.25
        elif join == STOP and not singer.whistles and not singer.closed:
            length, low, high, gain = 0.012, 1500.0, 6000.0, 0.4
        elif join == ASPIRATE:
            length, low, high, gain = 0.05, 900.0, 5000.0, 0.08
        else:
            continue
        size = int(length * SAMPLE_RATE)
        first = max(0, start - size)
        burst = gain * _band(random.standard_normal(size), low, high) * np.hanning(size) ** 0.5
        out[first : first + size] += burst[: count - first]
    return out
