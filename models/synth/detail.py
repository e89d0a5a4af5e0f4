"""What is finer than the network: swells, phases and recordings, read off the teacher once the network is trained.

For every program and every pitch of the grid one note is recorded and held against the same note of the synth:

    phases    of each partial at the start, from the recording's projection onto the partial as the synth plays it
    swell     the recording's loudness less the synth's, every few milliseconds of the first 1.2 seconds: attacks,
              beating and tremolo that knots are too far apart for
    recorded  effects whose rhythm no spectrum holds (a telephone, a helicopter) are kept as they are
    lasts     whether a program sounds as long as it is held, which beating hides from the 3 s that are learned from

Pitches between those of the grid are not recorded. What is kept for them:

    share     whether the font plays one of the two neighbours by the same recordings, read off its tables of keys
              (models/synth/zones.py): timbre, tuning, swell and phases are then that one's alone
    between   the loudness of the neighbours' recordings, played one key faster or slower as a sampler does, less
              the synth's

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

from models.synth.measures import level, log_mel_distance
from models.synth.network import (
    HIGHEST,
    LOWEST,
    MODEL_FILE,
    PHASE_UNIT,
    PHASES,
    SHARE_UNIT,
    STEP,
    SWELL_GRID,
    SWELL_UNIT,
    Bank,
    swell_at,
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
from models.synth.tone import STEADY, Tone, seed_of
from models.synth.zones import shares

VELOCITY = 80
HOLD = 1.4  # seconds of a recorded note
PROJECTED = 0.6  # seconds from the start in which phases are looked for
QUIETEST = 1e-4  # peak of a note that is taken for silence
LEAST, MOST = -24.0, 18.0  # dB of a swell
MOST_BETWEEN = 12.0  # dB either way that loudness is corrected between two pitches of the grid
PASSES = 2  # each corrects what the one before has left
UNHEARD = 55.0  # dB below the loudest moment of the whole
SOFT = 0.3  # of the nominal frequency: half the width of the slopes between bands
BACK = 1.0  # seconds after which a swell goes back to nothing, until its end
LONG = 6.5  # seconds of a note that shows whether its program lasts
LONG_PITCHES = range(37, 86, 12)
AVERAGED = int(1.5 * SAMPLE_RATE)  # samples, longer than most beating
QUIETEST_LEVEL = -75.0  # dB
EFFECTS = range(119, 128)  # Reverse Cymbal and the family of sound effects
EFFECT_SECONDS = 3.0
EFFECT_PITCH = 61
FAR_PITCHES = (43, 79)  # of further recordings, where one cannot be played at another pitch
SAME = 0.9  # correlation of a recording played at another pitch with the teacher's
OF_PROGRAMS = ("swell", "phases", "between")
NAMES = (*OF_PROGRAMS, "share", "lasts", "recordings", "recorded")


def make(bank: Bank, font: Path, folder: Path, say: Callable[[str], None]) -> dict[str, NDArray[np.generic]]:
    """The tensors NAMES of a trained synth; what has been made is kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        bank.weights.pop(name, None)
    share = shares(font, VELOCITY)
    bank.weights["share"] = share * np.float32(SHARE_UNIT)
    kept = []
    for program in range(MELODIC):
        path = folder / f"{program:03d}.safetensors"
        stored = load_file(path) if path.exists() else {}
        if not set(OF_PROGRAMS) <= set(stored):
            stored = _program(bank, font, program)
            _save(stored, path)
            say(f"detail of program {program}")
        kept.append(stored)
    lasting = folder / "lasts.safetensors"
    if not lasting.exists():
        _save({"lasts": _lasts(font)}, lasting)
    path = folder / "effects.safetensors"
    if not path.exists():
        _save(_effects(font, say), path)
    stacked = {name: np.stack([stored[name] for stored in kept]) for name in OF_PROGRAMS}
    return {**stacked, "share": share, **load_file(lasting), **load_file(path)}


def put(tensors: dict[str, NDArray[np.generic]], folder: Path) -> None:
    """Add the tensors to the weights in a folder."""
    stored = {name: value for name, value in load_file(folder / MODEL_FILE).items() if name not in NAMES}
    _save({**stored, **tensors}, folder / MODEL_FILE)


def _save(tensors: dict[str, NDArray[np.generic]], path: Path) -> None:
    part = path.with_suffix(".part")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, part)
    os.replace(part, path)


def _program(bank: Bank, font: Path, program: int) -> dict[str, NDArray[np.generic]]:
    """Swells (nodes, SWELL_GRID, SWELL_BANDS), phases (nodes, PHASES), and between (nodes - 1, SWELL_GRID)."""
    pitches = range(LOWEST, HIGHEST + 1, STEP)
    wanted = [Request(program, False, pitch, VELOCITY, HOLD, HOLD) for pitch in pitches]
    recorded = [stereo.mean(axis=1) for stereo in record(font, wanted)]
    sounds = bank.sounds([(program, pitch, VELOCITY, False) for pitch in pitches])
    spread = spread_phases(np.arange(PARTIALS))
    swells = np.zeros((len(pitches), len(SWELL_GRID), SWELL_BANDS))
    phases = np.tile(spread[:PHASES], (len(pitches), 1))
    heard = [program not in EFFECTS and np.abs(samples).max() > QUIETEST for samples in recorded]
    for node in range(len(pitches)):
        if not heard[node]:
            continue
        phases[node] = start_phases(recorded[node], sounds[node])[:PHASES]
        sound = replace(sounds[node], phases=np.append(phases[node], spread[PHASES:]), recording=None)
        swells[node] = swell(recorded[node], sound, seed_of(program, pitches[node]))
    rounded = np.round(swells / SWELL_UNIT).astype(np.int8)
    loudness = np.zeros((len(pitches) - 1, len(SWELL_GRID)))
    for node, pitch in enumerate(pitches[:-1]):
        share = bank.place(program, pitch + 1)[1]
        beside = [(place, part) for place, part in ((node, 1 - share), (node + 1, share)) if part]
        if all(heard[place] for place, _ in beside):
            plain = bank.sound(program, pitch + 1, VELOCITY)
            near = swell_at((rounded * SWELL_UNIT).astype(np.float32), pitch + 1, node, share)
            turns = np.append(phases[node + (share == 1)], spread[PHASES:])
            targets = [(_played(recorded[place], 1.0, 1 if place == node else -1), part) for place, part in beside]
            sound = replace(plain, swell=near, phases=turns, recording=None)
            loudness[node] = between(targets, sound, seed_of(program, pitch + 1))
    quantised = np.round(phases / PHASE_UNIT).astype(np.int64)
    return {
        "swell": rounded,
        "phases": (((quantised + 128) % 256) - 128).astype(np.int8),
        "between": np.round(loudness / SWELL_UNIT).astype(np.int8),
    }


def _lasts(font: Path) -> NDArray[np.int8]:
    """Whether each program is as loud late in a long note as early in it, (MELODIC,)."""
    found = np.zeros(MELODIC, dtype=np.int8)
    for program in range(MELODIC):
        slopes = []
        for stereo in record(
            font, [Request(program, False, pitch, VELOCITY, LONG, LONG) for pitch in LONG_PITCHES]
        ):
            samples = stereo.mean(axis=1)
            early, late = (level(samples[-int(back * SAMPLE_RATE) :][:AVERAGED]) for back in (5.0, 1.5))
            if early > QUIETEST_LEVEL:
                slopes.append((late - early) / 3.5)
        found[program] = program not in EFFECTS and len(slopes) > 0 and np.median(slopes) > -STEADY
    return found


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


def swell(samples: Floats, sound: Sound, seed: int = 0) -> NDArray[np.float64]:
    """dB at SWELL_GRID by which a recording is louder than a Sound without a swell, in each band.

    seed: of the noise that the Sound is played with.
    """
    wanted = _loudness(samples, sound.nominal)
    found = np.zeros((len(SWELL_GRID), SWELL_BANDS))
    frames = np.arange(SWELL_FRAMES)
    # Where a band is far below the whole, chance alone would be learned.
    heard = wanted > wanted.sum(axis=1).max() * 10 ** (-UNHEARD / 10)
    for _ in range(PASSES):
        whole = np.stack([np.interp(frames, SWELL_GRID, band) for band in (found * _back()[:, None]).T], axis=1)
        made = Tone(replace(sound, swell=whole.astype(np.float32)), seed).read(0, len(samples))
        more = 10 * np.log10((wanted + 1e-12) / (_loudness(made, sound.nominal) + 1e-12))
        found = np.clip(found + np.where(heard, more, 0.0), LEAST, MOST)
    return np.asarray(found * _back()[:, None])


def between(targets: list[tuple[Floats, float]], sound: Sound, seed: int = 0) -> NDArray[np.float64]:
    """dB at SWELL_GRID by which recordings, mixed in dB by their shares, are louder than a Sound with its swell."""
    width = _width(sound.nominal)
    wanted = np.zeros(len(SWELL_GRID))
    for samples, share in targets:
        wanted += share * 10 * np.log10(_mean_squares(samples, width) + 1e-12)
    made = Tone(sound, seed).read(0, min(len(samples) for samples, _ in targets))
    more = wanted - 10 * np.log10(_mean_squares(made, width) + 1e-12)
    return np.where(wanted > wanted.max() - UNHEARD, np.clip(more, -MOST_BETWEEN, MOST_BETWEEN), 0.0) * _back()


def _back() -> NDArray[np.float64]:
    return np.clip((SWELL_FRAMES - SWELL_GRID) / (SWELL_FRAMES - BACK * SAMPLE_RATE / HOP), 0, 1)


def _width(nominal: float) -> int:
    """Samples over which loudness is taken: one and a half periods, 4 ms at least."""
    return max(int(0.004 * SAMPLE_RATE), int(1.5 * SAMPLE_RATE / nominal))


def _loudness(samples: Floats, nominal: float) -> NDArray[np.float64]:
    """Mean square of each band around each frame of SWELL_GRID."""
    width = _width(nominal)
    size = 1 << (len(samples) + 4 * width - 1).bit_length()
    spectrum = np.fft.rfft(samples.astype(np.float32), size)
    place = np.fft.rfftfreq(size, 1 / SAMPLE_RATE) / nominal
    below = [np.clip((edge + SOFT - place) / (2 * SOFT), 0, 1) for edge in SWELL_EDGES]
    masks = [high - low for low, high in zip([0.0, *below], [*below, 1.0], strict=True)]
    bands = [np.fft.irfft(spectrum * mask.astype(np.float32), size)[: len(samples)] for mask in masks]
    return np.stack([_mean_squares(band, width) for band in bands], axis=1)


def _mean_squares(samples: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """Mean square around each frame of SWELL_GRID, over `width` samples and up to its neighbours."""
    wide = np.maximum(width, np.gradient(SWELL_GRID) * HOP).astype(int)
    middle = SWELL_GRID * HOP
    first, last = np.maximum(0, middle - wide // 2), np.minimum(len(samples), middle + (wide + 1) // 2)
    square = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    return np.asarray((square[last] - square[first]) / wide)


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
