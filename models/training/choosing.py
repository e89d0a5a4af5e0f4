"""Fitting the table by which one of several drafts is kept (models/choice.py), and saying what it changes.

The network writes drafts where composers have gone on, filled a hole or added a part, on pieces of the training
split. The table is fitted so that the composer's notes have the highest worth of each such group (a conditional
logit: McFadden, "Conditional logit analysis of qualitative choice behavior", 1974). Which bars repeat which is
nothing that the memory of the training set could give away: the marks compare notes with the music around them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.choice import MARKS, Around, Choice, terms
from models.training.checkpoint import weights_digest
from models.training.evaluation_music import Excerpt, Line, Writer, accompaniments, continuations, fills
from models.training.shards import Item

Floats = NDArray[np.float64]
ANSWERS = 4  # drafts a place
PENALTY = 0.03  # on the squares of the weights
KNOWN, NEW = 0, 1


@dataclass(frozen=True)
class Groups:
    """Marks of places: [n, 1 + ANSWERS, len(MARKS)], the composer's first. kind: [n] KNOWN or NEW."""

    marks: Floats
    kind: NDArray[np.int64]


def places(items: Sequence[Item], count: int) -> list[Excerpt]:
    """Where drafts are written: half of the places are to be gone on from, the rest holes and added parts."""
    return [
        *continuations(items, count // 4, 8, 16),
        *continuations(items, count // 4, 4, 16),
        *fills(items, count // 4),
        *accompaniments(items, count // 4),
    ]


def groups(excerpts: Sequence[Excerpt], write: Writer, say: Callable[[str], None]) -> Groups:
    """The marks of the composers' notes and of drafts. write: gives ANSWERS drafts a task."""
    marks, kinds = [], []
    for done, excerpt in enumerate(excerpts, start=1):
        around = Around(excerpt.task)
        answers = [list(map(tuple, excerpt.truth.tolist())), *write(excerpt.task)]
        marks.append([around.marks(rows) for rows in answers])
        kinds.append(KNOWN if around.known else NEW)
        if done % 50 == 0:
            say(f"{done}/{len(excerpts)} places")
    return Groups(np.array(marks), np.array(kinds))


def fit(found: Groups) -> Choice:
    """The table under which the composers' notes win as often as can be."""
    parts = []
    for kind in (KNOWN, NEW):
        marks = found.marks[found.kind == kind]
        flat = marks.reshape(-1, len(MARKS))
        heard = ~np.isnan(flat).all(axis=0) if len(flat) else np.zeros(len(MARKS), dtype=bool)
        centre, spread = np.zeros(len(MARKS)), np.ones(len(MARKS))
        centre[heard] = np.nanmedian(flat[:, heard], axis=0)
        spread[heard] = np.nanstd(flat[:, heard], axis=0) + 1e-6
        weights = _logit(torch.from_numpy(terms(marks, centre, spread)))
        parts.append([centre, spread, *np.split(weights, 2)])
    return Choice(*(np.stack(columns) for columns in zip(*parts, strict=True)))


def _logit(options: Tensor) -> Floats:
    """Weights of the terms [n, options, terms] that make the first option of each group likeliest."""
    weights = torch.zeros(options.shape[-1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        chance = torch.log_softmax(options @ weights, dim=1)[:, 0]
        value = PENALTY * (weights**2).sum() - (chance.mean() if len(options) else 0.0)
        value.backward()
        return float(value.detach())

    optimizer.step(loss)
    return weights.detach().numpy()


def save(choice: Choice, folder: Path) -> str:
    """Write the table into a weights folder and the folder's new sha256 into its config, which is returned."""
    choice.save(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8")) | {"sha256": weights_digest(folder)}
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return str(config["sha256"])


def recognised(choice: Choice, found: Groups) -> dict[str, float]:
    """How often the composer's notes have a higher worth than one draft, by kind of place; one in two by chance."""
    shares = {}
    for kind, name in ((KNOWN, "going on"), (NEW, "new part")):
        marks = found.marks[found.kind == kind]
        if len(marks):
            worth = choice.worth(kind, marks)
            shares[name] = float((worth[:, :1] > worth[:, 1:]).mean())
    return shares


def marks_table(choice: Choice, found: Groups, drafts: int) -> list[Line]:
    """Mean marks of the composers, of single drafts, and of the best of `drafts`, where a track goes on."""
    marks = found.marks[found.kind == KNOWN]
    worth = choice.worth(KNOWN, marks[:, 1 : 1 + drafts])
    chosen = np.take_along_axis(marks[:, 1:], worth.argmax(axis=1)[:, None, None], axis=1)
    rows = {"composer": marks[:, :1], "a draft": marks[:, 1:], f"best of {drafts}": chosen}
    return [
        Line(name, len(marks), dict(zip(MARKS, np.nanmean(part.reshape(-1, len(MARKS)), axis=0), strict=True)))
        for name, part in rows.items()
    ]
