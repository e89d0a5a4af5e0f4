"""Making the weights of the synth: factors first, in closed form, then gradient descent on all of it.

The factors of the analysed notes are a good start: the decoder holds the principal directions of all notes,
each instrument's basis and codes those of its own. The network then learns what depends on velocity, and
codes that still fit between the pitches that were recorded.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.synth.corpus import read
from models.synth.network import (
    CENTS_SCALE,
    DEPTH,
    EXTRAS,
    LOWEST,
    MODEL_FILE,
    NODES,
    OUTPUTS,
    PARTIAL_VALUES,
    STEP,
    STRETCH_SCALE,
    features,
    velocity_level,
)
from models.synth.sound import BANDS, INSTRUMENTS, KNOTS, MELODIC, PARTIALS

HALF_POWER = 3.0103  # dB that a sine's mean square lies below its amplitude squared
CURVE_WEIGHT = 1.0  # of the loudness curve in the loss


@dataclass(frozen=True, slots=True)
class Sizes:
    latent: int = 320
    code: int = 20
    embedding: int = 32
    hidden: int = 256


@dataclass(frozen=True, slots=True)
class Notes:
    """All notes of the corpus. target and weight: (notes, OUTPUTS); the rest (notes,)."""

    instrument: Tensor
    node: Tensor
    told: Tensor
    target: Tensor
    weight: Tensor
    ratios: Tensor  # (INSTRUMENTS, PARTIALS)
    cents: Tensor  # (INSTRUMENTS, NODES), off the nominal pitch


def read_notes(folder: Path) -> Notes:
    """The corpus as tensors. Levels are less the usual curve of velocity, floored DEPTH below each note's peak."""
    rows: dict[str, list[NDArray[np.generic]]] = {"i": [], "n": [], "t": [], "y": [], "w": []}
    ratios = np.tile(np.arange(1, PARTIALS + 1, dtype=np.float32), (INSTRUMENTS, 1))
    cents = np.zeros((INSTRUMENTS, NODES), dtype=np.float32)
    for instrument, arrays in read(folder):
        ratios[instrument] = arrays["ratios"]
        count = len(arrays["pitch"])
        if not count:
            continue
        drum = instrument >= MELODIC
        pitch, velocity = arrays["pitch"].astype(np.float64), arrays["velocity"].astype(np.float64)
        levels = np.concatenate(
            [arrays["partials"].reshape(count, -1), arrays["noise"].reshape(count, -1)], axis=1
        ).astype(np.float32)
        peak = levels.max(axis=1, keepdims=True)
        levels = np.maximum(levels, peak - DEPTH)
        weight = np.clip((levels - peak + DEPTH - 10) / 40, 0.04, 1).astype(np.float32)
        levels -= velocity_level(velocity)[:, None].astype(np.float32)
        extras = np.stack([arrays["cents"] / CENTS_SCALE, arrays["stretch"] / STRETCH_SCALE], axis=1)
        rows["y"].append(np.concatenate([levels, extras.astype(np.float32)], axis=1))
        rows["w"].append(np.concatenate([weight, np.full((count, EXTRAS), 4.0, np.float32)], axis=1))
        rows["i"].append(np.full(count, instrument))
        rows["n"].append(np.zeros(count, np.int64) if drum else ((pitch - LOWEST) // STEP).astype(np.int64))
        cents[instrument] = _tuning_table(rows["n"][-1], arrays["cents"])
        rows["t"].append(features(np.full(count, LOWEST) if drum else pitch, velocity))
    joined = {name: torch.from_numpy(np.concatenate(parts)) for name, parts in rows.items()}
    return Notes(
        joined["i"],
        joined["n"],
        joined["t"],
        joined["y"],
        joined["w"],
        torch.from_numpy(ratios),
        torch.from_numpy(cents),
    )


def _tuning_table(nodes: NDArray[np.generic], cents: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cents at every node: the median of its notes, or its nearest neighbour's."""
    known = np.unique(nodes)
    medians = np.array([np.median(cents[nodes == node]) for node in known], dtype=np.float32)
    nearest = np.abs(np.arange(NODES)[:, None] - known[None]).argmin(axis=1)
    return medians[nearest]


class Network(nn.Module):
    """models/synth/network.py for training; parameters have the names they ship under."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        inputs = sizes.code + sizes.embedding + 4

        def parameter(*shape: int, scale: float = 0.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * scale)

        self.grid = parameter(INSTRUMENTS, NODES, sizes.code)
        self.embedding = parameter(INSTRUMENTS, sizes.embedding, scale=0.3)
        self.film1 = parameter(INSTRUMENTS, 2 * sizes.hidden)
        self.film2 = parameter(INSTRUMENTS, 2 * sizes.hidden)
        self.layer1 = parameter(inputs, sizes.hidden, scale=1 / math.sqrt(inputs))
        self.layer2 = parameter(sizes.hidden, sizes.hidden, scale=1 / math.sqrt(sizes.hidden))
        self.bias1 = parameter(sizes.hidden)
        self.bias2 = parameter(sizes.hidden)
        self.head = parameter(sizes.hidden, sizes.latent)
        self.steer = parameter(sizes.hidden, sizes.code)
        self.centre = parameter(INSTRUMENTS, sizes.latent)
        self.basis = parameter(INSTRUMENTS, sizes.code, sizes.latent)
        self.decoder = parameter(sizes.latent, OUTPUTS)
        self.bias = parameter(OUTPUTS)

    def forward(self, instrument: Tensor, node: Tensor, share: Tensor, told: Tensor) -> Tensor:
        """(notes, OUTPUTS). node and share as `grid_place` gives them, told as `features`."""
        upper = (node + 1).clamp(max=NODES - 1)
        code = torch.lerp(self.grid[instrument, node], self.grid[instrument, upper], share[:, None])
        hidden = torch.cat([code, self.embedding[instrument], told], dim=1)
        for layer, bias, film in ((self.layer1, self.bias1, self.film1), (self.layer2, self.bias2, self.film2)):
            scale, shift = film[instrument].chunk(2, dim=1)
            hidden = nn.functional.silu((hidden @ layer + bias) * (1 + scale) + shift)
        steered = code + hidden @ self.steer
        latent = self.centre[instrument] + hidden @ self.head
        latent = latent + torch.bmm(steered[:, None], self.basis[instrument])[:, 0]
        return latent @ self.decoder + self.bias


@torch.no_grad()
def start(network: Network, notes: Notes) -> None:
    """Set decoder, centres, bases and codes from the principal directions of the notes."""
    size = network.sizes
    mean = notes.target.mean(dim=0)
    spread = notes.target - mean
    # Values that are heard weigh more in the choice of directions.
    emphasis = notes.weight.mean(dim=0).sqrt()
    scaled = spread * emphasis
    # (latent, outputs), orthonormal in the weighted space; by way of the smaller of the two squares.
    if len(scaled) < OUTPUTS:
        values, vectors = torch.linalg.eigh(scaled @ scaled.T)
        strength = values[-size.latent :].clamp(min=1e-6).sqrt()
        directions = (vectors[:, -size.latent :].T @ scaled) / strength[:, None]
    else:
        values, vectors = torch.linalg.eigh(scaled.T @ scaled)
        directions = vectors[:, -size.latent :].T
    scale = (values[-size.latent :].clamp(min=1e-6) / len(scaled)).sqrt() / 4
    latent = scaled @ directions.T / scale
    network.decoder.copy_(directions * scale[:, None] / emphasis)
    network.bias.copy_(mean)
    for instrument in range(INSTRUMENTS):
        rows = (notes.instrument == instrument).nonzero()[:, 0]
        if not len(rows):
            continue
        own = latent[rows]
        network.centre[instrument] = own.mean(dim=0)
        rest = own - own.mean(dim=0)
        _, strength, axes = torch.linalg.svd(rest * scale, full_matrices=False)
        rank = min(size.code, len(strength))
        axes = axes[:rank]
        unit = (strength[:rank] / math.sqrt(len(rows))).clamp(min=1e-3)
        network.basis[instrument, :rank] = axes * unit[:, None] / scale
        scores = (rest * scale) @ axes.T / unit
        middle = notes.told[rows, 2].abs() < 1e-3  # every pitch has a note of the middle velocity
        for node in notes.node[rows].unique():
            here = notes.node[rows] == node
            chosen = here & middle if (here & middle).any() else here
            network.grid[instrument, node, :rank] = scores[chosen].mean(dim=0)
        _fill_gaps(network.grid[instrument], notes.node[rows].unique())


def _fill_gaps(grid: Tensor, known: Tensor) -> None:
    """Nodes without a note take the code of their nearest neighbour."""
    distance = (torch.arange(NODES)[:, None] - known[None]).abs()
    grid.copy_(grid[known[distance.argmin(dim=1)]].clone())


def train(
    notes: Notes,
    run: Path,
    steps: int,
    batch: int = 192,
    rate: float = 1.5e-3,
    sizes: Sizes | None = None,
    report: Callable[[str], None] = print,
    save_every: int = 200,
    device: str = "cpu",
) -> Network:
    """Fit the network; goes on from the last save in `run` where there is one."""
    torch.manual_seed(1)
    run.mkdir(parents=True, exist_ok=True)
    network = Network(sizes or Sizes())
    latest = run / "latest.safetensors"
    step = 0
    if latest.exists():
        state = load_file(latest)
        step = int(state.pop("step"))
        network.load_state_dict({name: value for name, value in state.items() if name[:2] != "m."})
        report(f"going on from step {step}")
    else:
        start(network, notes)
    network.to(device)
    slow = [network.decoder, network.basis, network.bias, network.centre]
    fast = [p for p in network.parameters() if all(p is not other for other in slow)]
    optimizer = torch.optim.Adam([{"params": fast, "lr": rate}, {"params": slow, "lr": rate}], betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(step + 1)
    running, began = 0.0, time.monotonic()
    while step < steps:
        decay = 0.5 * (1 + math.cos(math.pi * step / steps)) * min(1, (step + 1) / 50)
        for group, factor in zip(optimizer.param_groups, (1.0, 0.2), strict=True):
            group["lr"] = rate * factor * (decay + 0.01)
        rows = torch.randint(len(notes.target), (batch,), generator=generator)
        loss = note_loss(network, notes, rows, device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        running = loss.item() if running == 0 else 0.98 * running + 0.02 * loss.item()
        if step % 100 == 0:
            report(f"step {step} loss {running:.4f} {(time.monotonic() - began):.0f} s")
        if step % save_every == 0 or step == steps:
            save(network, step, latest)
    return network


def note_loss(network: Network, notes: Notes, rows: Tensor, device: str = "cpu") -> Tensor:
    """Huber distance in dB, weighted by how audible a value is, and the distance of the loudness curves."""
    told = notes.told[rows].clone()
    output = network(
        notes.instrument[rows].to(device), notes.node[rows].to(device), torch.zeros(len(rows), device=device),
        told.to(device),
    )  # fmt: skip
    weight, target = notes.weight[rows].to(device), notes.target[rows].to(device)
    off = nn.functional.huber_loss(output, target, reduction="none", delta=4.0)
    first, second = loudness_curve(output), loudness_curve(target)
    heard = (second > second.amax(dim=1, keepdim=True) - 45).float()
    curve = ((first - second).abs() * heard).sum() / heard.sum()
    return (off * weight).sum() / weight.sum() + CURVE_WEIGHT * curve


def loudness_curve(output: Tensor) -> Tensor:
    """dB of all partials and noise together at each knot, (notes, knots)."""
    partials = output[:, :PARTIAL_VALUES].reshape(len(output), len(KNOTS), PARTIALS)
    noise = output[:, PARTIAL_VALUES:-EXTRAS].reshape(len(output), len(KNOTS), BANDS)
    nepers = torch.cat([partials - HALF_POWER, noise], dim=2) * (math.log(10) / 10)
    return torch.logsumexp(nepers, dim=2) * (10 / math.log(10))


def save(network: Network, step: int, path: Path) -> None:
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    part = path.with_suffix(".part")
    save_file({**state, "step": torch.tensor(step)}, part)
    os.replace(part, path)


def export(
    run: Path,
    notes: Notes,
    releases: NDArray[np.float32],
    transients: NDArray[np.float32],
    folder: Path,
) -> None:
    """Write the weights that ship, in sixteen bits, transients in eight.

    releases: dB a second (INSTRUMENTS,). transients: (drums, samples) at velocity 127.
    """
    state = load_file(run / "latest.safetensors")
    step = int(state.pop("step"))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.to(torch.float16).contiguous() for name, value in state.items()}
    scales = np.maximum(np.abs(transients).max(axis=1), 1e-6) / 127
    tensors["transients"] = torch.from_numpy(np.round(transients / scales[:, None]).astype(np.int8))
    tensors["transient_scales"] = torch.from_numpy(scales.astype(np.float32))
    tensors["release"] = torch.from_numpy(releases.astype(np.float32))
    tensors["ratios"] = notes.ratios.contiguous()
    tensors["cents"] = notes.cents.contiguous()
    part = folder / "model.part"
    save_file(tensors, part)
    os.replace(part, folder / MODEL_FILE)
    config = {"outputs": OUTPUTS, "instruments": INSTRUMENTS, "step": step, "notes": len(notes.target)}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
