"""Checkpoints of a run and weights that ship: safetensors and JSON, nothing else.

A run's folder holds `state-STEP/` folders; `latest.json` names the one that counts and is replaced in one
move after everything it names is on disk, so a run that is killed while saving resumes from the save before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.architecture import (
    CHOICE_FILE,
    MEMORY_FILES,
    MEMORY_TABLE,
    MEMORY_TAGS,
    MODEL_FILE,
    MODEL_TYPE,
    ModelConfig,
)
from models.figures import OF_FIELD
from models.transformer import MusicTransformer

# What Adagrad is told that every number of an exported memory has been moved by: a hundred visits or so, each with
# a gradient of 2e-5 (half of the rows lie between 1e-6 and 3e-5). Rows that are met often slow down by themselves.
EXPORTED_PACE = 5e-8


def save_checkpoint(
    folder: Path,
    model: MusicTransformer,
    average: dict[str, Tensor],
    optimizers: list[torch.optim.Optimizer],
    step: int,
    info: dict[str, Any],
) -> None:
    target = folder / f"state-{step:07d}"
    target.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous().cpu() for name, value in model.state_dict().items()},
        target / "model.safetensors",
    )
    save_file({name: p.contiguous().cpu() for name, p in average.items()}, target / "average.safetensors")
    for index, optimizer in enumerate(optimizers):
        save_file(_flat_state(optimizer), target / f"optimizer-{index}.safetensors")
    for path in target.iterdir():
        with path.open("rb+") as written:
            os.fsync(written.fileno())
    marker = folder / "latest.json.part"
    body = {"state": target.name, "step": step, "model": asdict(model.config), **info}
    with marker.open("w", encoding="utf-8") as file:
        json.dump(body, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(marker, folder / "latest.json")
    for old in folder.glob("state-*"):
        if old.name != target.name:
            shutil.rmtree(old)


def load_checkpoint(
    folder: Path, model: MusicTransformer, average: dict[str, Tensor], optimizers: list[torch.optim.Optimizer]
) -> int:
    """Fill model, average and optimizers from a run's folder; returns the step to go on from, 0 if it is new."""
    marker = folder / "latest.json"
    if not marker.exists():
        return 0
    info = json.loads(marker.read_text("utf-8"))
    state = folder / info["state"]
    model.load_state_dict(load_file(state / "model.safetensors"))
    for name, value in load_file(state / "average.safetensors").items():
        average[name].copy_(value)
    for index, optimizer in enumerate(optimizers):
        _restore_state(optimizer, load_file(state / f"optimizer-{index}.safetensors"))
    return int(info["step"])


def load_start(run: Path, model: MusicTransformer, optimizers: list[torch.optim.Optimizer]) -> None:
    """Give a new run the averaged weights of another one, and the pace that each row of its memory has reached;
    or the weights that `export_weights` wrote into the folder `run`, and one pace for all rows.

    What the other network did not have yet (words) keeps its first values.
    """
    exported = not (run / "latest.json").exists()
    if exported:
        weights: Mapping[str, Tensor] = load_weights(run).state_dict()
    else:
        state = run / json.loads((run / "latest.json").read_text("utf-8"))["state"]
        weights = load_file(state / "average.safetensors")
    missing, unknown = model.load_state_dict(weights, strict=False)
    if unknown or any(not name.startswith("text.") for name in missing):
        raise ValueError(f"{run} is of another shape: {[*missing, *unknown]}")
    for index, optimizer in enumerate(optimizers):
        if not isinstance(optimizer, torch.optim.Adagrad):
            continue
        if exported:
            for entry in optimizer.state.values():
                entry["sum"].fill_(EXPORTED_PACE)
        else:
            _restore_state(optimizer, load_file(state / f"optimizer-{index}.safetensors"))


def _flat_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).contiguous().cpu()
        for index, entry in state.items()
        for name, value in entry.items()
    }


def _restore_state(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def export_weights(
    model: MusicTransformer, folder: Path, info: dict[str, Any], dtype: torch.dtype = torch.float16
) -> str:
    """Write the weights that ship: `model.safetensors`, the memory in eight bits as `memory-FIELD.safetensors`,
    and `config.json`. Returns the sha256 of the weights, one file after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    memory, tags = tensors.pop(MEMORY_TABLE, None), tensors.pop(MEMORY_TAGS, None)
    save_file({name: value.to(dtype) for name, value in tensors.items()}, folder / MODEL_FILE)
    if memory is not None and tags is not None:
        largest = memory.abs().amax(dim=1).clamp(min=1e-3)
        scale = (largest / 127).to(torch.float16)
        values = (memory / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        for name, kinds in zip(MEMORY_FILES, OF_FIELD, strict=True):
            rows = slice(kinds.start * model.config.memory_rows, kinds.stop * model.config.memory_rows)
            held = {"values": values, "scale": scale, "tags": tags}
            save_file({part: value[rows].clone() for part, value in held.items()}, folder / name)
    (folder / CHOICE_FILE).unlink(missing_ok=True)  # it was fitted on what other weights wrote
    digest = weights_digest(folder)
    config = {"model_type": MODEL_TYPE, "architecture": asdict(model.config), "sha256": digest, **info}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return digest


def weights_digest(folder: Path) -> str:
    """sha256 of a folder's weights, one file after the other."""
    digest = hashlib.sha256()
    for name in (MODEL_FILE, *MEMORY_FILES, CHOICE_FILE):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def load_weights(folder: Path) -> MusicTransformer:
    """The reference network with the weights of `folder`, in float32."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    model = MusicTransformer(ModelConfig(**config["architecture"]))
    tensors = {name: value.float() for name, value in load_file(folder / MODEL_FILE).items()}
    if model.config.memory_rows:
        parts = [load_file(folder / name) for name in MEMORY_FILES]
        tensors[MEMORY_TABLE] = torch.cat(
            [part["values"].float() * part["scale"].float()[:, None] for part in parts]
        )
        tensors[MEMORY_TAGS] = torch.cat([part["tags"] for part in parts])
    model.load_state_dict(tensors)
    return model.eval()
