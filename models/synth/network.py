"""The network that turns (instrument, pitch, velocity) into a Sound. NumPy, evaluated once a note.

    code   = grid[instrument] read between its two nearest pitches, or at the one whose recordings the teacher
             plays there too (share)                                            (CODE,)
    hidden = 2 layers over (code, embedding[instrument], pitch, velocity), each scaled and shifted by the
             instrument (Perez et al., FiLM, 2018)                              (HIDDEN,)
    latent = centre[instrument] + hidden @ head + (code + hidden @ steer) @ basis[instrument]
    output = latent @ decoder + bias: levels of partials and noise at the knots, stretch

Tuning is read from a table in the same way: it hangs on nothing else.

What is an instrument's own (grid, embedding, scales and shifts, centre, basis: about 12,000 numbers) can be
learned by itself while the rest stays as it is; the decoder is shared by all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models.errors import UserError
from models.synth.analysis import stretched
from models.synth.sound import (
    BANDS,
    INSTRUMENTS,
    KNOTS,
    MELODIC,
    PARTIALS,
    SILENCE,
    SWELL_BANDS,
    SWELL_FRAMES,
    Floats,
    Sound,
    hertz,
    instrument_index,
    numbers,
    spread_phases,
)

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "synth"
MODEL_FILE = "model.safetensors"

PITCHES = 128
LOWEST, HIGHEST, STEP = 25, 105, 2  # pitches of the grid's nodes
NODES = (HIGHEST - LOWEST) // STEP + 1
PARTIAL_VALUES = len(KNOTS) * PARTIALS
NOISE_VALUES = len(KNOTS) * BANDS
EXTRAS = 2  # tuning and stretch
OUTPUTS = PARTIAL_VALUES + NOISE_VALUES + EXTRAS
CENTS_SCALE = 5.0  # cents that weigh as much as a dB
STRETCH_SCALE = 2.0e-5
DEPTH = 80.0  # dB below a note's loudest value at which all is equally silent
SILENCING, MARGIN = np.float32(8.0), np.float32(6.0)
DRUM_NOMINAL = 200.0  # Hz, in whose units the partials of drums are given
MIDDLE_VELOCITY, VELOCITY_SCALE = 80.0, 40.0
MIDDLE_PITCH, PITCH_SCALE = 65.0, 40.0


def velocity_level(velocity: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """dB that General MIDI's usual curve gives a velocity, 0 at 127."""
    return np.asarray(40 * np.log10(np.maximum(np.asarray(velocity, dtype=np.float64), 1) / 127))


def grid_place(pitch: float) -> tuple[int, float]:
    """The node at or below a pitch, and the share of the node above it."""
    place = float(np.clip((pitch - LOWEST) / STEP, 0, NODES - 1))
    node = min(int(place), NODES - 2)
    return node, place - node


def features(pitch: NDArray[np.floating], velocity: NDArray[np.floating]) -> NDArray[np.float32]:
    """What the hidden layers are told of pitch and velocity, (notes, 4)."""
    p = (np.asarray(pitch, dtype=np.float64) - MIDDLE_PITCH) / PITCH_SCALE
    v = (np.asarray(velocity, dtype=np.float64) - MIDDLE_VELOCITY) / VELOCITY_SCALE
    return np.stack([p, p * p, v, v * v], axis=1).astype(np.float32)


# Frames at which a swell is kept: every one at first, then every second, then every fourth.
SWELL_GRID = np.concatenate([np.arange(24), np.arange(24, 64, 2), np.arange(64, SWELL_FRAMES, 4)])
SWELL_UNIT = 0.25  # dB
PHASES = 48  # partials whose phase is kept
PHASE_UNIT = 1 / 256  # turns
SHARE_UNIT = 0.5  # of the upper node


Asked = tuple[int, int, int, bool]  # program, pitch, velocity, whether it is a drum


@dataclass(frozen=True, slots=True)
class Learned:
    """An instrument of the user's (models/synth/instruments.py): what is added to the output of a program.

    mean: (OUTPUTS,). directions: (rank, OUTPUTS). codes: (PITCHES, rank). touch: (rank,), a VELOCITY_SCALE.
    cents: (PITCHES,). release: dB a second.
    """

    name: str
    program: int
    mean: Floats
    directions: Floats
    codes: Floats
    touch: Floats
    cents: Floats
    release: float

    def moves(self, pitch: int, velocity: int) -> tuple[Floats, float]:
        """What is added (OUTPUTS,), and the tuning in cents."""
        touch = self.touch * np.float32((velocity - MIDDLE_VELOCITY) / VELOCITY_SCALE)
        return self.mean + (self.codes[pitch] + touch) @ self.directions, float(self.cents[pitch])


@dataclass(frozen=True, slots=True)
class Recordings:
    """Effects as they were recorded, a row each: programs, pitches, semitones that a key is worth (tracking), gains
    (recordings,), and samples (recordings, samples) in sixteen bits at velocity 127."""

    programs: NDArray[np.float32]
    pitches: NDArray[np.float32]
    tracking: NDArray[np.float32]
    gains: NDArray[np.float32]
    samples: NDArray[np.int16]

    @classmethod
    def of(cls, stored: dict[str, NDArray[np.generic]]) -> Recordings:
        """Taken out of what a file held; none where it held none."""
        about = stored.pop("recorded", np.zeros((4, 0))).astype(np.float32)
        samples = stored.pop("recordings", np.zeros((0, 1))).astype(np.int16)
        programs, pitches, tracking, gains = about
        return cls(programs, pitches, tracking, gains, samples)


@dataclass(frozen=True, slots=True)
class Bank:
    """The trained synth: `weights` by name, and what it is called in a candidate's provenance, `digest`."""

    weights: dict[str, NDArray[np.float32]]
    transients: NDArray[np.float32]  # (drums, samples), the first instants of each drum at velocity 127
    digest: str
    recordings: Recordings
    learned: tuple[Learned, ...] = ()  # programs MELODIC, MELODIC + 1 ...

    def with_learned(self, learned: Sequence[Learned]) -> Bank:
        """The same synth with instruments of the user's."""
        return replace(self, learned=tuple(learned))

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> Bank:
        """Read a folder of weights. UserError when it does not hold what it should."""
        try:
            stored = load_file(folder / MODEL_FILE)
            config = json.loads((folder / "config.json").read_text("utf-8"))
            digest = hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()
        except Exception as error:  # safetensors has error types of its own
            hint = "Get a whole copy of Descant again, or make them with scripts/train_synth.py."
            raise UserError(f"The weights of the synth in {folder} cannot be read", hint) from error
        if config.get("outputs") != OUTPUTS or config.get("instruments") != INSTRUMENTS:
            raise UserError(f"The weights in {folder} are of another version", "Make them anew.")
        transients = stored.pop("transients").astype(np.float32)
        transients *= stored.pop("transient_scales").astype(np.float32)[:, None]
        recordings = Recordings.of(stored)
        units = {"swell": SWELL_UNIT, "between": SWELL_UNIT, "phases": PHASE_UNIT, "share": SHARE_UNIT}
        for name, unit in units.items():
            if name in stored:
                stored[name] = stored[name] * np.float32(unit)
        weights = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in stored.items()}
        return cls(weights, transients, digest, recordings)

    def sound(self, program: int, pitch: int, velocity: int, is_drum: bool = False) -> Sound:
        """The Sound of one note. program 0..127, pitch 0..127, velocity 1..127; drums by their key."""
        return self.sounds([(program, pitch, velocity, is_drum)])[0]

    def sounds(self, notes: Sequence[Asked]) -> list[Sound]:
        """The Sounds of some notes; together they cost little more than one, which reads all the weights too."""
        rows = zip(notes, numbers(self.outputs(notes), "the timbre of a note"), strict=True)
        return [self._sound(output, *asked) for asked, output in rows]

    def outputs(self, notes: Sequence[Asked]) -> Floats:
        """What the network says to some notes, (notes, OUTPUTS)."""
        w = self.weights
        index = np.array(
            [instrument_index(self._program(program), pitch, drum) for program, pitch, _, drum in notes]
        )
        # Beyond what was learned from, a drum is its own key and a pitch its nearest neighbour's timbre.
        places = [(0, 0.0) if drum else self.place(program, pitch) for program, pitch, _, drum in notes]
        node = np.array([place for place, _ in places])
        share = np.array([share for _, share in places], dtype=np.float32)
        code = (1 - share)[:, None] * w["grid"][index, node] + share[:, None] * w["grid"][index, node + 1]
        pitches = np.array([LOWEST if drum else pitch for _, pitch, _, drum in notes])
        told = features(pitches, np.array([velocity for _, _, velocity, _ in notes]))
        hidden = np.concatenate([code, w["embedding"][index], told], axis=1)
        for layer in ("1", "2"):
            scale, shift = np.split(w["film" + layer][index], 2, axis=1)
            hidden = _silu((hidden @ w["layer" + layer] + w["bias" + layer]) * (1 + scale) + shift)
        latent = w["centre"][index] + hidden @ w["head"]
        latent += np.matmul((code + hidden @ w["steer"])[:, None], w["basis"][index])[:, 0]
        return np.asarray(latent @ w["decoder"] + w["bias"])

    def place(self, program: int, pitch: int) -> tuple[int, float]:
        """The node at or below a pitch, and the share of the node above it."""
        node, share = grid_place(pitch)
        if 0 < share < 1 and "share" in self.weights:
            share = float(self.weights["share"][self._program(program), node])
        return node, share

    def _program(self, program: int) -> int:
        return program if program < MELODIC else self.learned[program - MELODIC].program

    def _sound(self, output: Floats, program: int, pitch: int, velocity: int, is_drum: bool) -> Sound:
        index = instrument_index(self._program(program), pitch, is_drum)
        release = float(self.weights["release"][index])
        if program >= MELODIC and not is_drum:
            own = self.learned[program - MELODIC]
            moved, cents = own.moves(pitch, velocity)
            output[:-EXTRAS] = np.maximum(output[:-EXTRAS], output[:-EXTRAS].max() - DEPTH)
            output = output + moved
            release = own.release
        else:
            node, share = (0, 0.0) if is_drum else self.place(program, pitch)
            table = self.weights["cents"][index]
            cents = float((1 - share) * table[node] + share * table[node + 1])
        levels = output[:-EXTRAS] + np.float32(velocity_level(velocity))
        # What was learned as silence, DEPTH below the loudest, becomes silence again.
        levels -= SILENCING * np.maximum(0, levels.max() - DEPTH + MARGIN - levels)
        levels = np.maximum(levels, np.float32(SILENCE))
        partials = levels[:PARTIAL_VALUES].reshape(len(KNOTS), PARTIALS)
        noise = levels[PARTIAL_VALUES:].reshape(len(KNOTS), BANDS)
        stretch = max(0.0, float(output[-1]) * STRETCH_SCALE)
        drum = index >= MELODIC
        nominal = DRUM_NOMINAL if drum else float(hertz(pitch))
        frequencies = stretched(self.weights["ratios"][index].astype(np.float64), nominal, cents, stretch)
        transient = recording = swell = phases = None
        if drum:
            transient = self.transients[index - MELODIC] * np.float32(10 ** (velocity_level(velocity) / 20))
        elif program < MELODIC:
            recording = self._recording(program, pitch, velocity)
            swell, phases = self._detail(program, pitch)
        lasts = program < MELODIC and not drum and "lasts" in self.weights and bool(self.weights["lasts"][program])
        return Sound(frequencies, partials, noise, release, nominal, transient, swell, phases, recording, lasts)

    def _detail(self, program: int, pitch: int) -> tuple[Floats | None, Floats | None]:
        """Swell and phases of a program's pitch, as they were recorded on the nodes beside it.

        Phases cannot be mixed. Beyond the pitches that were recorded there is no swell.
        """
        if "swell" not in self.weights:
            return None, None
        node, share = self.place(program, pitch)
        phases = self.weights["phases"][program, node + (share == 1)]
        phases = np.append(phases, spread_phases(np.arange(len(phases), PARTIALS)))
        if not LOWEST <= pitch <= HIGHEST:
            return None, phases
        swell = swell_at(self.weights["swell"][program], pitch, node, share)
        if (pitch - LOWEST) % STEP and "between" in self.weights:
            swell += _faster(0) @ self.weights["between"][program, node][:, None]
        return swell, phases

    def _recording(self, program: int, pitch: int, velocity: int) -> Floats | None:
        """The recording of a program that has one, at another pitch by playing it faster or slower."""
        rows = np.flatnonzero(self.recordings.programs == program)
        if not len(rows):
            return None
        row = rows[np.abs(self.recordings.pitches[rows] - pitch).argmin()]
        rate = 2 ** (self.recordings.tracking[row] * (pitch - self.recordings.pitches[row]) / 12)
        samples = self.recordings.samples[row]
        places = np.arange(min(len(samples), int((len(samples) - 1) / rate))) * rate
        gain = self.recordings.gains[row] * 10 ** (velocity_level(velocity) / 20)
        return (np.interp(places, np.arange(len(samples)), samples) * gain).astype(np.float32)


def swell_at(kept: Floats, pitch: int, node: int, share: float) -> Floats:
    """The swell (SWELL_FRAMES, SWELL_BANDS) of a pitch, from those of the nodes (NODES, SWELL_GRID, SWELL_BANDS).

    A sampled instrument plays faster the higher it is, and so are its swells. share: of the node above `node`.
    """
    swell = np.zeros((SWELL_FRAMES, SWELL_BANDS), dtype=np.float32)
    for place, part in ((node, 1 - share), (node + 1, share)):
        if part:
            swell += _faster(pitch - LOWEST - place * STEP) @ (kept[place] * np.float32(part))
    return swell


@lru_cache
def _faster(keys: int) -> Floats:
    """Weights (SWELL_FRAMES, SWELL_GRID) that read a swell so many keys above where it was recorded."""
    frames = np.minimum(np.arange(SWELL_FRAMES) * 2 ** (keys / 12), SWELL_GRID[-1])
    unit = np.eye(len(SWELL_GRID))
    return np.stack([np.interp(frames, SWELL_GRID, row) for row in unit], axis=1).astype(np.float32)


def _silu(values: Floats) -> Floats:
    return values / (1 + np.exp(-np.clip(values, -60, 60)))
