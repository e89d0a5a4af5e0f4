"""What is finer than the network: swells, phases and recordings, read off the teacher once the network is trained.

For every program and every pitch of the grid one note is recorded and held against the same note of the synth:

    phases    of each partial at the start, from the recording's projection onto the partial as the synth plays it
    swell     the recording's loudness less the synth's, every few milliseconds of the first 1.2 seconds: attacks,
              beating and tremolo that knots are too far apart for
    recorded  effects whose rhythm no spectrum holds (a telephone, a helicopter) are kept as they are

A run that is stopped goes on with the first program that has no file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.synth.measures import log_mel_distance
from models.synth.network import (
    HIGHEST,
    LOWEST,
    MODEL_FILE,
    PHASE_UNIT,
    PHASES,
    STEP,
    SWELL_GRID,
    SWELL_UNIT,
    Bank,
)
from models.synth.sound import (
    HOP,
    KNOTS,
    MELODIC,
    PARTIALS,
    SAMPLE_RATE,
    SWELL_BANDS,
    SWELL_EDGES,
    SWELL_FRAMES,
    Floats,
    Sound,
    spread_phases,
)
from models.synth.teacher import Request, record
from models.synth.tone import Tone

VELOCITY = 80
HOLD = 1.4  # seconds of a recorded note
PROJECTED = 0.6  # seconds from the start in which phases are looked for
QUIETEST = 1e-4  # peak of a note that is taken for silence
LEAST, MOST = -24.0, 18.0  # dB of a swell
PASSES = 2  # each corrects what the one before has left
UNHEARD = 55.0  # dB below the loudest moment of the whole
SOFT = 0.3  # of the nominal frequency: half the width of the slopes between bands
BACK = 1.0  # seconds after which a swell goes back to nothing, until its end
EFFECTS = range(119, 128)  # Reverse Cymbal and the family of sound effects
EFFECT_SECONDS = 3.0
EFFECT_PITCH = 61
FAR_PITCHES = (43, 79)  # of further recordings, where one cannot be played at another pitch
SAME = 0.9  # correlation of a recording played at another pitch with the teacher's
NAMES = ("swell", "phases", "recordings", "recorded")


def make(bank: Bank, font: Path, folder: Path, say: Callable[[str], None]) -> dict[str, NDArray[np.generic]]:
    """The tensors NAMES of a trained synth; what has been made is kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        bank.weights.pop(name, None)
    swells, phases = [], []
    for program in range(MELODIC):
        path = folder / f"{program:03d}.safetensors"
        if not path.exists():
            swell, phase = _program(bank, font, program)
            _save({"swell": swell, "phases": phase}, path)
            say(f"detail of program {program}")
        stored = load_file(path)
        swells.append(stored["swell"])
        phases.append(stored["phases"])
    path = folder / "effects.safetensors"
    if not path.exists():
        _save(_effects(font, say), path)
    return {"swell": np.stack(swells), "phases": np.stack(phases), **load_file(path)}


def put(tensors: dict[str, NDArray[np.generic]], folder: Path) -> None:
    """Add the tensors to the weights in a folder."""
    stored = {name: value for name, value in load_file(folder / MODEL_FILE).items() if name not in NAMES}
    _save({**stored, **tensors}, folder / MODEL_FILE)


def _save(tensors: dict[str, NDArray[np.generic]], path: Path) -> None:
    part = path.with_suffix(".part")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, part)
    os.replace(part, path)


def _program(bank: Bank, font: Path, program: int) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Swells (nodes, SWELL_GRID, SWELL_BANDS) and phases (nodes, PHASES) of a program, in their units."""
    pitches = range(LOWEST, HIGHEST + 1, STEP)
    recorded = record(font, [Request(program, False, pitch, VELOCITY, HOLD, HOLD) for pitch in pitches])
    sounds = bank.sounds([(program, pitch, VELOCITY, False) for pitch in pitches])
    spread = spread_phases(np.arange(PARTIALS))
    swells = np.zeros((len(pitches), len(SWELL_GRID), SWELL_BANDS))
    phases = np.tile(spread[:PHASES], (len(pitches), 1))
    for node, (stereo, plain) in enumerate(zip(recorded, sounds, strict=True)):
        samples = stereo.mean(axis=1)
        if program not in EFFECTS and np.abs(samples).max() > QUIETEST:
            phases[node] = start_phases(samples, plain)[:PHASES]
            sound = replace(plain, phases=np.append(phases[node], spread[PHASES:]), recording=None)
            swells[node] = swell(samples, sound)
    quantised = np.round(phases / PHASE_UNIT).astype(np.int64)
    return np.round(swells / SWELL_UNIT).astype(np.int8), (((quantised + 128) % 256) - 128).astype(np.int8)


def start_phases(samples: Floats, sound: Sound) -> NDArray[np.float64]:
    """Turns of each partial of a Sound at the start of its recording (PARTIALS,).

    The recording is projected onto every partial as the synth would play it, so that what is loud decides.
    """
    frames = int(PROJECTED * SAMPLE_RATE) // HOP
    seconds = (np.arange(frames) * HOP + HOP / 2) / SAMPLE_RATE
    amplitude = np.empty((frames, PARTIALS))
    for partial in range(PARTIALS):
        amplitude[:, partial] = 10 ** (np.interp(seconds, KNOTS, sound.partials[:, partial]) / 20)
    step = sound.frequencies / SAMPLE_RATE
    inside = np.exp(-2j * np.pi * np.arange(HOP)[:, None] * step)
    outside = np.exp(-2j * np.pi * (np.arange(frames) * HOP)[:, None] * step)
    heard = samples[: frames * HOP].reshape(frames, HOP) @ inside
    fading = np.cos(np.pi / 2 * np.arange(frames) / frames)[:, None] ** 2
    return np.asarray(np.angle((heard * outside * amplitude * fading).sum(axis=0)) / (2 * np.pi))


def swell(samples: Floats, sound: Sound) -> NDArray[np.float64]:
    """dB at SWELL_GRID by which a recording is louder than a Sound without a swell, in each band."""
    width = max(int(0.004 * SAMPLE_RATE), int(1.5 * SAMPLE_RATE / sound.nominal))
    wanted = _loudness(samples, sound.nominal, width)
    found = np.zeros((len(SWELL_GRID), SWELL_BANDS))
    back = np.clip((SWELL_FRAMES - SWELL_GRID) / (SWELL_FRAMES - BACK * SAMPLE_RATE / HOP), 0, 1)[:, None]
    frames = np.arange(SWELL_FRAMES)
    # Where a band is far below the whole, chance alone would be learned.
    heard = wanted > wanted.sum(axis=1).max() * 10 ** (-UNHEARD / 10)
    for _ in range(PASSES):
        whole = np.stack([np.interp(frames, SWELL_GRID, band) for band in (found * back).T], axis=1)
        made = Tone(replace(sound, swell=whole.astype(np.float32))).read(0, len(samples))
        more = 10 * np.log10((wanted + 1e-12) / (_loudness(made, sound.nominal, width) + 1e-12))
        found = np.clip(found + np.where(heard, more, 0.0), LEAST, MOST)
    return np.asarray(found * back)


def _loudness(samples: Floats, nominal: float, width: int) -> NDArray[np.float64]:
    """Mean square of each band around each frame of SWELL_GRID, over `width` samples and up to its neighbours."""
    size = 1 << (len(samples) + 4 * width - 1).bit_length()
    spectrum = np.fft.rfft(samples.astype(np.float32), size)
    place = np.fft.rfftfreq(size, 1 / SAMPLE_RATE) / nominal
    below = [np.clip((edge + SOFT - place) / (2 * SOFT), 0, 1) for edge in SWELL_EDGES]
    masks = [high - low for low, high in zip([0.0, *below], [*below, 1.0], strict=True)]
    wide = np.maximum(width, np.gradient(SWELL_GRID) * HOP).astype(int)
    middle = SWELL_GRID * HOP
    first, last = np.maximum(0, middle - wide // 2), np.minimum(len(samples), middle + (wide + 1) // 2)
    out = np.empty((len(SWELL_GRID), SWELL_BANDS))
    for band, mask in enumerate(masks):
        part = np.fft.irfft(spectrum * mask.astype(np.float32), size)[: len(samples)]
        square = np.concatenate([[0.0], np.cumsum(part.astype(np.float64) ** 2)])
        out[:, band] = (square[last] - square[first]) / wide
    return out


# --- Effects ------------------------------------------------------------------------------------------


def _effects(font: Path, say: Callable[[str], None]) -> dict[str, NDArray[np.generic]]:
    kept, about = [], []
    for program in EFFECTS:
        pitches = (EFFECT_PITCH, EFFECT_PITCH + 6, *FAR_PITCHES)
        wanted = [Request(program, False, pitch, 127, EFFECT_SECONDS, EFFECT_SECONDS) for pitch in pitches]
        first, second, *others = (stereo.mean(axis=1) for stereo in record(font, wanted))
        tracking, alike = _tracking(first, second, 6)
        rows = [(EFFECT_PITCH, first)]
        if alike < SAME:
            rows += list(zip(FAR_PITCHES, others, strict=True))
        for pitch, samples in rows:
            gain = float(np.abs(samples).max()) / 32767
            kept.append(np.round(samples / gain).astype(np.int16))
            about.append((program, pitch, tracking, gain))
        away = _played(first, tracking, FAR_PITCHES[1] - EFFECT_PITCH)[:SAMPLE_RATE]
        distance = log_mel_distance(others[1][: len(away)], away)
        say(f"effect {program}: a key is {tracking:.3f} semitones, alike {alike:.2f}, far away {distance:.1f} dB")
    return {"recordings": np.stack(kept), "recorded": np.array(about, dtype=np.float32).T}


def _tracking(first: Floats, second: Floats, keys: int) -> tuple[float, float]:
    """Semitones that a key is worth between two recordings so many keys apart, and how alike they then are."""
    tried = np.arange(0, 1.001, 0.005)
    alike = []
    for tracking in tried:
        moved = _played(first, float(tracking), keys)[: SAMPLE_RATE // 5]
        other = second[: len(moved)]
        alike.append(float(moved @ other / np.sqrt((moved @ moved) * (other @ other) + 1e-12)))
    return float(tried[int(np.argmax(alike))]), max(alike)


def _played(samples: Floats, tracking: float, keys: int) -> Floats:
    rate = 2 ** (tracking * keys / 12)
    places = np.arange(min(len(samples), int((len(samples) - 1) / rate))) * rate
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
