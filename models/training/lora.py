"""Low-rank adapters on the reference network (Hu et al. 2021, "LoRA"): training them, and writing them as files.

y = W x + scale * B (A x)        W stays as it is, A starts random, B at zero: a fresh adapter changes nothing
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.adapters import ABOUT_FILE, CONFIG_FILE, MEMORY_FILE, PREFIX, TENSORS_FILE
from models.transformer import MusicTransformer

ALPHA_PER_RANK = 2.0


class LoRALinear(nn.Module):
    """A linear layer that is held still, with a thin one beside it that learns."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False)
        nn.init.normal_(self.lora_A.weight, std=1 / math.sqrt(base.in_features))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + ALPHA_PER_RANK * self.lora_B(self.lora_A(x))
        return out


def add_adapters(model: MusicTransformer, rank: int, seed: int = 0) -> list[str]:
    """Put an adapter beside every linear layer; only they learn from then on. Returns the layers' names."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for name in names:
        parent, _, child = name.rpartition(".")
        owner = model.get_submodule(parent)
        layer = owner.get_submodule(child)
        assert isinstance(layer, nn.Linear)
        setattr(owner, child, LoRALinear(layer, rank))
    return names


def adapter_tensors(model: MusicTransformer) -> dict[str, Tensor]:
    """The adapters' matrices by the names that peft gives them."""
    return {
        f"{PREFIX}{name}": parameter.detach()
        for name, parameter in model.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    }


def save_adapter(
    folder: Path,
    tensors: dict[str, Tensor],
    memory: tuple[Tensor, Tensor] | None,
    about: dict[str, Any],
) -> None:
    """Write an adapter's files. memory: rows [n] and what is added to them [n, width]."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in tensors.items()}, folder / TENSORS_FILE)
    if memory is not None and len(memory[0]):
        rows, change = memory
        scale = (change.abs().amax(dim=1).clamp(min=1e-3) / 127).half()
        values = (change / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        save_file({"rows": rows.to(torch.int32), "values": values, "scale": scale}, folder / MEMORY_FILE)
    rank = next(value.shape[0] for name, value in tensors.items() if ".lora_A." in name)
    layers = sorted({name.removeprefix(PREFIX).split(".lora_")[0] for name in tensors})
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": ALPHA_PER_RANK * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": layers,
        "base_model_name_or_path": about["base"],
        "inference_mode": True,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
