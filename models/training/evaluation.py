"""Measuring on held-out music: what the network, the Markov baseline and an untrained prior pay for the same notes.

All three score the same predictions in the same order, those of `sampling.fixed_windows`: after each step that
predicts, the position of the next note or the end of its cell, then the note's other fields. Nats per note are
all these costs, ends included, over the number of notes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import UserError
from models.markov import MarkovModel
from models.markov_events import join, window_events
from models.tokens import END, FIELD_SIZES, FIELDS, Steps
from models.training.loop import batch_losses, to_device
from models.training.sampling import fixed_windows, pack, usable
from models.training.shards import Item
from models.transformer import MusicTransformer

FloatArray = NDArray[np.float64]
SMALLEST_SET = 10_000  # notes; smaller sets say little alone and are reported together
OTHERS = "others"
CHAIN, MIXTURE = "one chain", "Markov"  # the baseline's columns: an n-gram a field, and several in a mixture
TUNING_SHARE = 40  # one work in this many is not counted by the Markov model but tunes it


@dataclass(frozen=True, slots=True)
class Predictions:
    """The n predictions of all windows, window after window. sets: [n] the data set each belongs to."""

    is_note: NDArray[np.bool_]
    in_region: NDArray[np.bool_]
    sets: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: nats per note by model, over `notes` notes."""

    name: str
    notes: int
    nats: dict[str, float]


def predictions(windows: Sequence[tuple[Item, Steps]]) -> Predictions:
    rows = [np.flatnonzero(steps.targets[:, 0] >= 0) for _, steps in windows]
    pairs = list(zip(windows, rows, strict=True))
    return Predictions(
        is_note=np.concatenate([steps.targets[where, 0] != END for (_, steps), where in pairs]),
        in_region=np.concatenate([steps.in_region[where] for (_, steps), where in pairs]),
        sets=np.concatenate([np.full(len(where), str(item.info["set"])) for (item, _), where in pairs]),
    )


def prior_nats(found: Predictions) -> FloatArray:
    """What every prediction costs a model that knows nothing: [n, 5]."""
    return np.where(found.is_note[:, None] | (np.arange(len(FIELDS)) == 0), np.log(FIELD_SIZES), 0.0)


def markov_nats(model: MarkovModel, windows: Sequence[tuple[Item, Steps]]) -> tuple[FloatArray, FloatArray]:
    """[n, 5] of the best single chain a field, and of all chains together; 0 where a field has nothing to
    predict."""
    events = join([window_events(steps)[0] for _, steps in windows])
    return model.best_chain_nats(events), model.nats(events)


@torch.no_grad()
def network_nats(
    model: MusicTransformer,
    windows: Sequence[tuple[Item, Steps]],
    progress: Callable[[int], None] = lambda done: None,
) -> FloatArray:
    """[n, 5], 0 where a field has nothing to predict. `progress` hears how many windows are done."""
    model.eval()
    parts = []
    for done, (_, steps) in enumerate(windows, start=1):
        losses, counted, _ = batch_losses(model, to_device(pack([[steps]], len(steps)), torch.device("cpu")))
        parts.append((losses * counted).double().numpy())
        progress(done)
    return np.concatenate(parts)


def train_markov(items: Iterable[Item], length: int, per_piece: int) -> MarkovModel:
    """The baseline from these pieces: most are counted, one work in TUNING_SHARE weighs its chains."""
    counted: list[Item] = []
    tuning: list[Item] = []
    for item in items:
        if usable(item.piece):
            aside = zlib.crc32(str(item.info["work"]).encode()) % TUNING_SHARE == 0
            (tuning if aside else counted).append(item)
    if not counted:
        raise UserError("The shards hold no piece to train on", "Make them with scripts/prepare_data.py.")
    windows = fixed_windows(tuning, length, per_piece)
    return MarkovModel.train((item.piece for item in counted), [steps for _, steps in windows])


def cached_markov(
    items: Iterable[Item], shards: Path, cache: Path | None, length: int, per_piece: int
) -> MarkovModel:
    """The baseline from `cache` where it was made from the same shards, else trained and kept there."""
    if cache is None:
        return train_markov(items, length, per_piece)
    source = f"{shards_digest(shards)} {length} {per_piece}"
    if cache.exists():
        return MarkovModel.load(cache, source)
    model = train_markov(items, length, per_piece)
    model.save(cache, source)
    return model


def shards_digest(folder: Path) -> str:
    """sha256 of all shards of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("shard-*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _row(name: str, chosen: NDArray[np.bool_], notes: int, costs: dict[str, FloatArray]) -> Row:
    """`costs`: [n] or [n, 5] of every model."""
    return Row(name, notes, {model: float(cost[chosen].sum()) / max(1, notes) for model, cost in costs.items()})


def by_set(found: Predictions, nats: dict[str, FloatArray]) -> list[Row]:
    """A row a data set, largest first, then the small ones as OTHERS, then all."""
    notes = Counter(found.sets[found.is_note].tolist())
    large = [name for name, count in notes.most_common() if count >= SMALLEST_SET]
    groups = [(name, found.sets == name) for name in large]
    small = ~np.isin(found.sets, large)
    if large and small.any():
        groups.append((OTHERS, small))
    groups.append(("all", np.ones(len(found.sets), dtype=bool)))
    return [_row(name, chosen, int(found.is_note[chosen].sum()), nats) for name, chosen in groups]


def by_field(found: Predictions, nats: dict[str, FloatArray], region_only: bool = False) -> list[Row]:
    """A row a field, then all of them; of the region's predictions only, where this is asked."""
    chosen = found.in_region if region_only else np.ones(len(found.sets), dtype=bool)
    notes = int(found.is_note[chosen].sum())
    rows = [
        _row(name, chosen, notes, {model: cost[:, index] for model, cost in nats.items()})
        for index, name in enumerate(FIELDS)
    ]
    return [*rows, _row("all", chosen, notes, nats)]


def fewer(row: Row) -> float | None:
    """By which share the network needs fewer nats than the Markov mixture; None where one was not scored."""
    if "network" not in row.nats or not row.nats.get(MIXTURE):
        return None
    return 1 - row.nats["network"] / row.nats[MIXTURE]


def table(title: str, rows: Sequence[Row]) -> str:
    """Rows as text, under a title for the first column."""
    models = list(rows[0].nats)
    header = [title, "notes", *models, *(["fewer by"] if fewer(rows[-1]) is not None else [])]
    lines = [header]
    for row in rows:
        share = fewer(row)
        figures = [f"{row.nats[model]:.3f}" for model in models]
        lines.append([row.name, f"{row.notes:,}", *figures, *([] if share is None else [f"{share:.1%}"])])
    first = max(len(line[0]) for line in lines)
    return "\n".join(line[0].ljust(first) + "".join(cell.rjust(11) for cell in line[1:]) for line in lines)
