"""The shape of the network: what the engine and the reference must agree on, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.tokens import FIELDS, TEXT_WIDTH, VOCABULARY

TIME_PERIODS_PER_OCTAVE = 3
SHORTEST_TIME_PERIOD = 3.0  # grid ticks: a 32nd note
INDEX_BASE = 10_000.0
NORM_EPSILON = 1e-5
MODEL_FILE = "model.safetensors"
MODEL_TYPE = "descant"  # by which transformers knows it (models.hub)
MEMORY_FILES = tuple(f"memory-{field}.safetensors" for field in FIELDS)  # one a field, so that none is large
CHOICE_FILE = "choice.safetensors"  # which of several drafts is kept
MEMORY_TABLE, MEMORY_TAGS = "fields.memory.table", "fields.memory.tags"
RECENT = 3  # steps before a step that its embedding takes in


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of the network. `heads` queries share `kv_heads` keys; half of these rotate by musical time."""

    width: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 64
    hidden: int = 688
    field_width: int = 192
    field_hidden: int = 384
    field_layers: int = 1
    vocabulary: int = VOCABULARY
    text_width: int = TEXT_WIDTH  # of a sentence vector; 0 means the network takes no text
    memory_rows: int = 0  # rows each kind of figure has in the memory, a power of two; 0 for no memory
    memory_width: int = 16

    @property
    def heads_by_steps(self) -> int:
        """Key heads that see distances in steps; the others see grid ticks."""
        return (self.kv_heads + 1) // 2


SIZES = {
    "tiny": ModelConfig(
        width=64,
        layers=2,
        heads=2,
        head_size=32,
        hidden=128,
        field_width=48,
        field_hidden=64,
        memory_rows=1 << 8,
        memory_width=8,
    ),
    "small": ModelConfig(
        width=192,
        layers=5,
        head_size=48,
        hidden=512,
        field_width=160,
        field_hidden=256,
        memory_rows=1 << 16,
    ),
    "base": ModelConfig(  # wide rather than deep: as many numbers, in fewer and larger products
        width=768,
        layers=4,
        heads=4,
        head_size=64,
        hidden=2048,
        field_width=256,
        field_hidden=1024,
        memory_rows=1 << 16,
    ),
}


def rotation_speeds(config: ModelConfig) -> NDArray[np.float64]:
    """Radians per step or grid tick for each key head: [kv_heads, head_size / 2]."""
    half = np.arange(config.head_size // 2)
    steps = INDEX_BASE ** (-half / len(half))
    periods = SHORTEST_TIME_PERIOD * 2.0 ** (half / TIME_PERIODS_PER_OCTAVE)
    by_steps = config.heads_by_steps
    return np.stack([steps] * by_steps + [2 * np.pi / periods] * (config.kv_heads - by_steps))
