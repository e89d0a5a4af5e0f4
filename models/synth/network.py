"""The network that turns (instrument, pitch, velocity) into a Sound. NumPy, evaluated once a note.

    code   = grid[instrument] read between its two nearest pitches             (CODE,)
    hidden = 2 layers over (code, embedding[instrument], pitch, velocity), each scaled and shifted by the
             instrument (Perez et al., FiLM, 2018)                              (HIDDEN,)
    latent = centre[instrument] + hidden @ head + (code + hidden @ steer) @ basis[instrument]
    output = latent @ decoder + bias: levels of partials and noise at the knots, stretch

Tuning is read from a table, between the two nearest pitches: it hangs on nothing else.

What is an instrument's own (grid, embedding, scales and shifts, centre, basis: about 12,000 numbers) can be
learned by itself while the rest stays as it is; the decoder is shared by all of them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
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
    Floats,
    Sound,
    hertz,
    instrument_index,
)

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "synth"
MODEL_FILE = "model.safetensors"

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


@dataclass(frozen=True, slots=True)
class Bank:
    """The trained synth: `weights` by name, and what it is called in a candidate's provenance, `digest`."""

    weights: dict[str, NDArray[np.float32]]
    transients: NDArray[np.float32]  # (drums, samples), the first instants of each drum at velocity 127
    digest: str

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
        weights = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in stored.items()}
        return cls(weights, transients, digest)

    def sound(self, program: int, pitch: int, velocity: int, is_drum: bool = False) -> Sound:
        """The Sound of one note. program 0..127, pitch 0..127, velocity 1..127; drums by their key."""
        w = self.weights
        index = instrument_index(program, pitch, is_drum)
        # Beyond what was learned from, a drum is its own key and a pitch its nearest neighbour's timbre.
        node, share = (0, 0.0) if is_drum else grid_place(pitch)
        code = (1 - share) * w["grid"][index, node] + share * w["grid"][index, node + 1]
        told = features(np.array([LOWEST if is_drum else pitch]), np.array([velocity]))[0]
        hidden = np.concatenate([code, w["embedding"][index], told])
        for layer in ("1", "2"):
            scale, shift = w["film" + layer][index].reshape(2, -1)
            hidden = _silu((hidden @ w["layer" + layer] + w["bias" + layer]) * (1 + scale) + shift)
        latent = w["centre"][index] + hidden @ w["head"] + (code + hidden @ w["steer"]) @ w["basis"][index]
        output = latent @ w["decoder"] + w["bias"]
        cents = (1 - share) * w["cents"][index, node] + share * w["cents"][index, node + 1]
        return self._sound(output, float(cents), index, pitch, velocity)

    def _sound(self, output: Floats, cents: float, index: int, pitch: int, velocity: int) -> Sound:
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
        transient = None
        if drum:
            transient = self.transients[index - MELODIC] * np.float32(10 ** (velocity_level(velocity) / 20))
        return Sound(frequencies, partials, noise, float(self.weights["release"][index]), transient)


def _silu(values: Floats) -> Floats:
    return values / (1 + np.exp(-np.clip(values, -60, 60)))
