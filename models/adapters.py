"""Styles: small sets of numbers that turn the network towards one musician's music, laid over its weights.

An adapter is a folder in peft's format (`adapter_config.json`, `adapter_model.safetensors`): for a matrix W of the
network two thin ones, A [rank, in] and B [out, rank], after Hu et al. 2021 (LoRA). A style of strength s makes W

    W + s * scale * B A

and several styles add up, so a styled network is as fast as a plain one. What the style has learned of figures
is laid over rows of the memory (`adapter_memory.safetensors`) in the same way. `style.json` says what it was made
from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.errors import UserError

Floats = NDArray[np.float32]
CONFIG_FILE, TENSORS_FILE, MEMORY_FILE = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_memory.safetensors",
)
ABOUT_FILE = "style.json"
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """One style. pairs: name of a weight -> (A, B). rows, values: the memory's rows it changes and by how much.

    base: hash of the weights it was made for. hash: of its own numbers. about: what style.json says.
    """

    base: str
    hash: str
    scale: float
    pairs: Mapping[str, tuple[Floats, Floats]] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    values: Floats = field(repr=False)
    about: Mapping[str, Any] = field(repr=False)


def read_adapter(folder: Path) -> Adapter:
    """Raises UserError where the folder does not hold a whole adapter."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
        about = json.loads((folder / ABOUT_FILE).read_text("utf-8"))
        tensors = {name: value.astype(np.float32) for name, value in load_file(folder / TENSORS_FILE).items()}
        names = sorted({name.removeprefix(PREFIX).split(".lora_")[0] for name in tensors})
        pairs = {
            f"{name}.weight": (
                tensors[f"{PREFIX}{name}.lora_A.weight"],
                tensors[f"{PREFIX}{name}.lora_B.weight"],
            )
            for name in names
        }
        rows, values = np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float32)
        if (folder / MEMORY_FILE).exists():
            memory = load_file(folder / MEMORY_FILE)
            rows = memory["rows"].astype(np.int64)
            values = memory["values"].astype(np.float32) * memory["scale"].astype(np.float32)[:, None]
        if any(a.shape[0] != b.shape[1] for a, b in pairs.values()) or len(rows) != len(values):
            raise ValueError("matrices that do not fit together")
        return Adapter(
            str(about["base"]), _hash(folder), config["lora_alpha"] / config["r"], pairs, rows, values, about
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, SafetensorError) as error:
        hint = "Make it again with `descant style train`, or import it again."
        raise UserError(f"The style in {folder.name} cannot be read", hint) from error


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (TENSORS_FILE, MEMORY_FILE):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def styled_hash(model_hash: str, styles: Sequence[tuple[Adapter, float]]) -> str:
    """What names weights with styles laid over them; the weights' own name where all strengths are 0."""
    marks = [f"{adapter.hash}:{strength!r}" for adapter, strength in styles if strength != 0]
    return hashlib.sha256(" ".join([model_hash, *marks]).encode()).hexdigest() if marks else model_hash


def merged(raw: Mapping[str, Floats], styles: Sequence[tuple[Adapter, float]]) -> dict[str, Floats]:
    """The network's weights with styles of some strengths laid over them; `raw` stays as it is."""
    weights = dict(raw)
    for adapter, strength in styles:
        for name, (a, b) in adapter.pairs.items():
            weights[name] = weights[name] + np.float32(strength * adapter.scale) * (b @ a)
    return weights
