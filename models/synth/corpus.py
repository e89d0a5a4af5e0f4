"""The notes the synth learns from: recorded from a sound font, analysed, and kept in one file an instrument.

Each file holds, for the notes of one instrument: `pitch` and `velocity` (notes,), `partials` (notes, knots,
PARTIALS) and `noise` (notes, knots, BANDS) in dB, `cents` and `stretch` (notes,), and the `ratios`
(PARTIALS,) that its partials have. A run that is stopped goes on with the first instrument that has no file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.synth.analysis import analyse, find_ratios, release_rate, stretch_of
from models.synth.measures import log_mel_distance
from models.synth.network import DRUM_NOMINAL, HIGHEST, LOWEST, STEP
from models.synth.sound import DRUM_KEYS, INSTRUMENTS, MELODIC, SAMPLE_RATE, SILENCE, hertz
from models.synth.teacher import Request, record
from models.synth.tone import Tone

PITCHES = range(LOWEST, HIGHEST + 1, STEP)  # the pitches between them are held out
VELOCITIES = (40, 80, 120)  # all others are held out; every other pitch has the middle one alone
HOLD, KEEP = 3.0, 3.1  # seconds
SHORT_HOLD = 0.4  # seconds, for the release
TRANSIENT = 0.3  # seconds
TRIED_PITCHES = (37, 49, 61, 73, 85)  # on which the ratios are decided
QUIETEST = 1e-4  # peak of a note that is taken for silence


def nominal_hertz(instrument: int, pitch: int) -> float:
    return float(hertz(pitch)) if instrument < MELODIC else DRUM_NOMINAL


def requests(
    instrument: int, pitches: range, velocities: tuple[int, ...], hold: float, keep: float
) -> list[Request]:
    """The notes of one instrument; a drum has one pitch."""
    if instrument >= MELODIC:
        pitches = range(DRUM_KEYS[instrument - MELODIC], DRUM_KEYS[instrument - MELODIC] + 1)
    drum = instrument >= MELODIC
    program = 0 if drum else instrument
    return [
        Request(program, drum, pitch, velocity, hold, keep)
        for place, pitch in enumerate(pitches)
        for velocity in (
            velocities if place % 2 == 0 else velocities[len(velocities) // 2 : len(velocities) // 2 + 1]
        )
    ]


def make(font: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Record and analyse every instrument that has no file in `folder` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for instrument in range(INSTRUMENTS):
        path = folder / f"{instrument:03d}.safetensors"
        if path.exists():
            continue
        arrays, said = _instrument(font, instrument)
        part = path.with_suffix(".part")
        save_file(arrays, part)
        os.replace(part, path)
        say(f"{instrument:3d} {said}")


def releases(font: Path) -> NDArray[np.float32]:
    """How fast each program fades once it is let go, dB a second beyond what it loses by itself.

    (INSTRUMENTS,); 0 for drums, which ring on. The median of a few pitches, let go after SHORT_HOLD.
    """
    found = np.zeros(INSTRUMENTS, dtype=np.float32)
    for first in range(0, MELODIC, 8):  # a family at a time
        wanted = [
            Request(program, False, pitch, 80, hold, 1.6)
            for program in range(first, first + 8)
            for pitch in TRIED_PITCHES
            for hold in (SHORT_HOLD, 1.6)
        ]
        recorded = [stereo.mean(axis=1) for stereo in record(font, wanted)]
        rates: dict[int, list[float]] = {}
        for request, short, held in zip(wanted[::2], recorded[::2], recorded[1::2], strict=True):
            rate = release_rate(short, held, SHORT_HOLD)
            if rate is not None:
                rates.setdefault(request.program, []).append(rate)
        for program, values in rates.items():
            found[program] = np.median(values)
    return found


def transients(font: Path) -> NDArray[np.float32]:
    """The first TRANSIENT seconds of each drum at full velocity, mono, (drums, samples)."""
    wanted = [Request(0, True, key, 127, 1.0, TRANSIENT) for key in DRUM_KEYS]
    return np.stack([stereo.mean(axis=1) for stereo in record(font, wanted)])


def extras(font: Path, path: Path) -> dict[str, NDArray[np.float32]]:
    """`releases` and `transients`, recorded once and kept at `path`."""
    if not path.exists():
        arrays = {"releases": releases(font), "transients": transients(font)}
        part = path.with_suffix(".part")
        save_file(arrays, part)
        os.replace(part, path)
    return load_file(path)


def read(folder: Path) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
    """Instrument and its arrays, in order."""
    for path in sorted(folder.glob("*.safetensors")):
        yield int(path.stem), {name: np.asarray(value) for name, value in load_file(path).items()}


def _instrument(font: Path, instrument: int) -> tuple[dict[str, NDArray[np.generic]], str]:
    wanted = requests(instrument, PITCHES, VELOCITIES, HOLD, KEEP)
    recorded = [stereo.mean(axis=1) for stereo in record(font, wanted)]
    heard = [place for place, samples in enumerate(recorded) if np.abs(samples).max() > QUIETEST]
    tried = [
        p for p in heard if wanted[p].velocity == 80 and (instrument >= MELODIC or wanted[p].pitch in TRIED_PITCHES)
    ]
    candidates = find_ratios([(recorded[p], nominal_hertz(instrument, wanted[p].pitch)) for p in tried], HOLD)
    distances = [0.0]
    if len(candidates) > 1:
        distances = []
        for ratios in candidates:
            found = []
            for p in tried:
                sound, _ = analyse(recorded[p], ratios, nominal_hertz(instrument, wanted[p].pitch), HOLD)
                again = Tone(sound).read(0, int(1.5 * SAMPLE_RATE))
                found.append(log_mel_distance(recorded[p][: len(again)], again))
            distances.append(float(np.mean(found)))
    ratios = candidates[int(np.argmin(distances))]
    rows: dict[str, list[object]] = {name: [] for name in ("partials", "noise", "cents", "stretch")}
    for p in heard:
        nominal = nominal_hertz(instrument, wanted[p].pitch)
        sound, cents = analyse(recorded[p], ratios, nominal, HOLD)
        rows["partials"].append(np.maximum(sound.partials, SILENCE).astype(np.float16))
        rows["noise"].append(np.maximum(sound.noise, SILENCE).astype(np.float16))
        rows["cents"].append(np.float32(cents))
        rows["stretch"].append(np.float32(stretch_of(sound.frequencies, ratios)))
    arrays: dict[str, NDArray[np.generic]] = {name: np.array(values) for name, values in rows.items()}
    arrays["pitch"] = np.array([wanted[p].pitch for p in heard], dtype=np.int32)
    arrays["velocity"] = np.array([wanted[p].velocity for p in heard], dtype=np.int32)
    arrays["ratios"] = ratios.astype(np.float32)
    return arrays, f"{len(heard)} notes, ratios {int(np.argmin(distances))} of {np.round(distances, 2).tolist()}"
