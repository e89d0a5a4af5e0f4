"""The training loop: pretraining and fine-tuning are this one loop.

Matrices are moved by Muon, everything else by AdamW; the learning
rate warms up, stays and falls to zero at the end; an average of the weights (EMA) is what is evaluated and
shipped. Everything that a resumed run needs is in the checkpoint, so it ends where an uninterrupted one does.

Under torchrun the same loop runs in several processes: each draws its own rows of a training step, and their
gradients are added up, so n processes of r rows learn what one of n * r rows does.
"""

from __future__ import annotations

import copy
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor, nn

from models.architecture import MEMORY_TAGS
from models.tokens import FIELDS, Steps
from models.training.checkpoint import load_checkpoint, load_start, save_checkpoint
from models.training.muon import Muon
from models.training.sampling import Batch, Corpus, pack, random_batch
from models.transformer import MusicTransformer, field_losses

ROWS_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """`rows` sequences of `length` steps a training step and process; `total` steps in all."""

    total: int = 10_000
    rows: int = 8
    length: int = 640
    matrix_rate: float = 4e-3
    other_rate: float = 2e-3
    memory_rate: float = 5e-2
    weight_decay: float = 0.1
    warmup: int = 100
    decay_share: float = 0.5
    ema: float = 0.998
    dropout: float = 0.0
    memory_dropout: float = 0.0
    seed: int = 1
    save_every: int = 250
    bfloat16: bool = False  # matrix products in half the bits; always so on an accelerator


def learning_share(step: int, config: TrainConfig) -> float:
    """The part of the full learning rate in use: warm-up, plateau, straight fall to zero."""
    fall = int(config.total * config.decay_share)
    return min(1.0, (step + 1) / config.warmup, max(0.0, (config.total - step) / max(1, fall)))


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon moves this parameter: a hidden layer's matrix, not an embedding, an output table or an
    adapter's."""
    apart = ("embedding", "gates", "lora_")
    return parameter.dim() == 2 and name.endswith(".weight") and not any(part in name for part in apart)


def is_memory(name: str) -> bool:
    """Whether this is the table of figures, of which a training step touches a few rows only, or its tags."""
    return name.endswith(("memory.table", "memory.tags"))


def make_optimizers(model: MusicTransformer, config: TrainConfig) -> list[torch.optim.Optimizer]:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if is_matrix(name, p)]
    memory = [p for name, p in named if is_memory(name)]
    others = [p for name, p in named if not is_matrix(name, p) and not is_memory(name)]
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(Muon(matrices, config.matrix_rate, config.weight_decay, bfloat16=config.bfloat16))
    optimizers.append(torch.optim.AdamW(others, lr=config.other_rate, weight_decay=0.0, betas=(0.9, 0.95)))
    if memory:
        # Rows are met once or a hundred thousand times: Adagrad gives each its own pace, from sparse gradients.
        optimizers.append(torch.optim.Adagrad(memory, lr=config.memory_rate))
    return optimizers


def full_rate(optimizer: torch.optim.Optimizer, config: TrainConfig) -> float:
    if isinstance(optimizer, Muon):
        return config.matrix_rate
    return config.memory_rate if isinstance(optimizer, torch.optim.Adagrad) else config.other_rate


def to_device(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """A batch as tensors, with the attention mask: causal inside each window."""
    window = torch.from_numpy(batch.window).to(device)
    length = window.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    same = window[:, :, None] == window[:, None, :]
    return {
        "facts": torch.from_numpy(batch.facts).long().to(device),
        "time": torch.from_numpy(batch.time).to(device),
        "mask": (same & causal)[:, None],
        "targets": torch.from_numpy(batch.targets).long().to(device),
        "chord": torch.from_numpy(batch.chord).long().to(device),
        "hints": torch.from_numpy(batch.hints).long().to(device),
        "onsets": torch.from_numpy(batch.onsets).to(device),
        "text": torch.from_numpy(batch.text).to(device),
        "text_at": torch.from_numpy(batch.text_at).to(device),
    }


def batch_losses(model: MusicTransformer, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Field losses [n, 5] and the mask of fields that count, of the n predicted steps of a batch, and where
    in the flattened batch these steps lie [n]."""
    state = model(tensors["facts"], tensors["time"], tensors["mask"], tensors["text"], tensors["text_at"])
    targets = tensors["targets"].flatten(0, 1)
    there = targets[:, 0] >= 0
    where = there.nonzero()[:, 0]
    count = len(where)
    if torch.is_autocast_enabled("cpu"):
        # A product of every new size in bfloat16 costs time and memory that stays taken: there shall be few sizes.
        where = torch.cat([where, (~there).nonzero()[: -count % ROWS_TOGETHER, 0]])
    losses, counted = field_losses(
        model,
        state.flatten(0, 1)[where],
        targets[where],
        tensors["chord"].flatten()[where],
        tensors["hints"].flatten(0, 1)[where],
        tensors["onsets"].flatten(0, 1)[where],
    )
    return losses[:count], counted[:count], where[:count]


def nats_per_note(losses: Tensor, counted: Tensor) -> Tensor:
    """All losses over the number of notes, those of all processes; the ends of cells cost, and do not count as
    notes. The processes' results add up to the figure."""
    return (losses * counted).sum() / added_up(counted[:, 1].sum()).clamp(min=1)


def processes() -> tuple[int, int]:
    """The number of this process, and how many train together."""
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def added_up(value: Tensor) -> Tensor:
    """The sum of a value over all processes, out of the gradient's way."""
    total = value.detach().clone()
    if processes()[1] > 1:
        torch.distributed.all_reduce(total)
    return total


def over(mine: bool) -> bool:
    """Whether any process has reached its end, so that all stop after the same training step."""
    return mine if processes()[1] == 1 else bool(added_up(torch.tensor(float(mine))) > 0)


def add_up_gradients(model: nn.Module) -> None:
    """Every process gets the sum of all gradients; those of the memory are sparse."""
    if processes()[1] == 1:
        return
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        elif parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
        torch.distributed.all_reduce(parameter.grad)


@torch.no_grad()
def evaluate(model: MusicTransformer, windows: list[Steps], device: torch.device) -> NDArray[np.float64]:
    """Sum of nats per field and the number of notes, a row a window: [n, 6]."""
    model.eval()
    rows = np.zeros((len(windows), len(FIELDS) + 1))
    for index, steps in enumerate(windows):
        tensors = to_device(pack([[steps]], len(steps)), device)
        losses, counted, _ = batch_losses(model, tensors)
        rows[index, :-1] = (losses * counted).sum(dim=0).cpu().numpy()
        rows[index, -1] = float(counted[:, 1].sum())
    return rows


def validation_report(rows: NDArray[np.float64]) -> dict[str, float]:
    """Nats per note, all and by field, from what `evaluate` returns."""
    fields = rows[:, :-1].sum(axis=0) / rows[:, -1].sum()
    named = {name: round(float(value), 4) for name, value in zip(FIELDS, fields, strict=True)}
    return {"valid": round(float(fields.sum()), 4), **named}


def batches(corpus: Corpus, config: TrainConfig, first: int, workers: int) -> Generator[Batch, None, None]:
    """This process's batches of training step `first` and after, drawn ahead while the network learns."""
    held = (corpus, config, processes()[0] * config.rows)
    pool: Executor = (
        ProcessPoolExecutor(workers, initializer=_hold, initargs=held)
        if workers
        else ThreadPoolExecutor(1, initializer=_hold, initargs=held)
    )
    with pool:
        waiting = deque(pool.submit(_draw, first + ahead) for ahead in range(2 + 2 * workers))
        try:
            for step in count(first + len(waiting)):
                yield waiting.popleft().result()
                waiting.append(pool.submit(_draw, step))
        finally:
            for future in waiting:
                future.cancel()


_held = threading.local()


def _hold(corpus: Corpus, config: TrainConfig, first_row: int) -> None:
    _held.corpus, _held.config = corpus, config
    _held.rows = range(first_row, first_row + config.rows)


def _draw(step: int) -> Batch:
    config: TrainConfig = _held.config
    return random_batch(_held.corpus, config.seed, step, _held.rows, config.length)


def train(
    model: MusicTransformer,
    corpus: Corpus,
    config: TrainConfig,
    folder: Path,
    *,
    device: torch.device,
    start: Path | None = None,
    stop_after: float = math.inf,
    report: Callable[[dict[str, float]], None] = lambda row: print(json.dumps(row), flush=True),
    validate: Callable[[int, MusicTransformer], bool] | None = None,
    validate_every: int = 500,
    report_every: int = 50,
    compiled: bool = False,
    workers: int = 0,
) -> MusicTransformer:
    """Train until `config.total` steps or `stop_after` seconds, resuming from `folder` where it holds a checkpoint.

    A new run learns on from the end of the run `start`. `workers` processes draw batches ahead, a thread where it
    is 0; what is drawn is the same. `validate` is given the step and the averaged model and says whether training
    may end. Of several processes that train together the first saves, reports and validates. Returns the model with
    the averaged weights.
    """
    rank, _ = processes()
    first = rank == 0
    model.to(device)
    optimizers = make_optimizers(model, config)
    average = start_average(model)
    step = load_checkpoint(folder, model, average, optimizers) if folder.exists() else 0
    if start and not step:
        load_start(start, model, optimizers)
        average = start_average(model)
    run: MusicTransformer = torch.compile(model, dynamic=False) if compiled else model  # type: ignore[assignment]
    began, last_saved = time.monotonic(), step
    seen = spent = 0.0

    upcoming = batches(corpus, config, step, workers)
    enough = False
    while step < config.total and not over(enough or time.monotonic() - began >= stop_after):
        model.train()
        tick = time.monotonic()
        torch.manual_seed((config.seed * 1_000_003 + step) * 64 + rank)  # a resumed run repeats its dropout
        tensors = to_device(next(upcoming), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16 or device.type == "cuda"):
            losses, counted, _ = batch_losses(run, tensors)
        loss = nats_per_note(losses, counted)
        loss.backward()
        add_up_gradients(model)
        torch.nn.utils.clip_grad_norm_([p for name, p in model.named_parameters() if not is_memory(name)], 1.0)
        share = learning_share(step, config)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = full_rate(optimizer, config) * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(config.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not is_memory(name):
                    average[name].lerp_(parameter, 1 - decay)
        step += 1
        seen += added_up(loss).item()
        spent += time.monotonic() - tick
        if step % report_every == 0 and first:
            figures = {"loss": round(seen / report_every, 4), "seconds_per_step": round(spent / report_every, 3)}
            report({"step": step, **figures})
            seen = spent = 0.0
        if first and validate and (step % validate_every == 0 or step == config.total):
            enough = validate(step, averaged(model, average))
        # Saved after it was validated, so that a run killed in between validates once more, and not never.
        if first and (step % config.save_every == 0 or step == config.total):
            save_checkpoint(folder, model, average, optimizers, step, {"train": asdict(config)})
            last_saved = step
    upcoming.close()
    if first and last_saved != step:
        save_checkpoint(folder, model, average, optimizers, step, {"train": asdict(config)})
    return averaged(model, average)


def start_average(model: MusicTransformer) -> dict[str, Tensor]:
    """What the averaged weights start from. The memory is not averaged: most of its rows rest at any time."""
    return {name: value if is_memory(name) else value.clone() for name, value in model.state_dict().items()}


def averaged(model: MusicTransformer, average: dict[str, Tensor]) -> MusicTransformer:
    """A copy of the model that holds the averaged weights."""
    copied = copy.deepcopy(model)
    copied.load_state_dict(average)
    return copied.eval()


def mean_of(models: Sequence[MusicTransformer]) -> MusicTransformer:
    """A network whose weights are the mean of others', which learned on from the same ones ("model soups",
    Wortsman et al. 2022). Raises ValueError where their memories are not of the same figures."""
    states = [model.state_dict() for model in models]
    mean = copy.deepcopy(models[0])
    tags = [state.pop(MEMORY_TAGS) for state in states if MEMORY_TAGS in state]
    if any(not torch.equal(others, tags[0]) for others in tags):
        raise ValueError("the networks' memories are of other figures")
    for name, value in mean.state_dict().items():
        if name != MEMORY_TAGS:
            value.copy_(torch.stack([state[name] for state in states]).mean(dim=0))
    return mean
