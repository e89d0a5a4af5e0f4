"""Scores, pieces and weights for tests, made from random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.architecture import SIZES, ModelConfig
from models.constraints import Controls, Draft, Rules
from models.drawing import Sampling
from models.engine import Engine
from models.figures import CLOSED, OPEN
from models.generators import Progress, Task, TransformerGenerator
from models.piece import (
    CHORDS,
    DRUMS,
    DURATIONS,
    GRID,
    MICRO_LIMIT,
    VELOCITY_BINS,
    GridBar,
    Piece,
    VelocityTable,
    to_note,
)
from models.score import Note, Score, Track
from models.tokens import END, describe
from models.training.checkpoint import export_weights
from models.transformer import MusicTransformer

END_LOGIT = 5.0


def random_model(config: ModelConfig, seed: int = 0) -> MusicTransformer:
    """A network without a zero anywhere (training begins with some). Its music is wild, but cells do end."""
    model = MusicTransformer(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight") or "norms" in name:
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * (0.3 if parameter.shape[0] > 64 else parameter.shape[-1] ** -0.5))
        if model.fields.memory:  # half of the rows are of any figure
            tags = model.fields.memory.tags
            drawn = torch.randint(OPEN, CLOSED + 1, tags.shape, generator=generator, dtype=torch.uint8)
            tags.copy_(drawn * torch.randint(0, 2, tags.shape, generator=generator, dtype=torch.uint8))
        model.embedding.weight[0] = 0
        # What position's input has in common with END's row makes END likelier than any one place.
        start = torch.sign(model.fields.start[0]) * 4
        model.fields.start[0] = start
        model.fields.tables[0][END] = start * END_LOGIT / (start.norm() * config.field_width**0.5)
    return model.eval()


def tiny_generator(folder: Path, seed: int = 0, size: str = "tiny") -> TransformerGenerator:
    """A generator with random weights, which are written to `folder`."""
    export_weights(random_model(SIZES[size], seed), folder, {})
    return TransformerGenerator(Engine(folder))


def random_piece(
    rng: np.random.Generator,
    bars: int = 6,
    tracks: int = 3,
    notes_a_bar: float = 8,
    lengths: tuple[int, ...] = (96,),
) -> Piece:
    """Any piece that the representation can hold: drums in a third of the tracks, chords, keys, all fields."""
    table = np.zeros((bars, 4), dtype=np.int32)
    table[:, 0] = rng.choice(lengths, bars)
    table[:, 1] = rng.choice([2, 4, 8], bars)
    table[:, 2] = rng.integers(40, 200, bars)
    table[:, 3] = rng.integers(0, 25, bars)
    programs = np.where(rng.random(tracks) < 0.3, DRUMS, rng.integers(0, 128, tracks)).astype(np.int32)
    count = rng.poisson(notes_a_bar * bars) if tracks else 0
    bar = rng.integers(0, bars, count)
    columns = [
        bar,
        rng.integers(0, max(1, tracks), count),
        (rng.random(count) * table[bar, 0]).astype(int),
        rng.integers(0, 128, count),
        rng.integers(0, len(DURATIONS), count),
        rng.integers(0, VELOCITY_BINS, count),
        rng.integers(-MICRO_LIMIT, MICRO_LIMIT + 1, count),
    ]
    notes = np.stack(columns, axis=1).astype(np.int32)
    _, first = np.unique(notes[:, :4], axis=0, return_index=True)
    changes = np.unique(np.stack([rng.integers(0, bars, 4), rng.integers(0, 4, 4) * GRID // 2], axis=1), axis=0)
    changes = changes[changes[:, 1] < table[changes[:, 0], 0]]
    chords = np.concatenate([changes, rng.integers(1, CHORDS, (len(changes), 1))], axis=1).astype(np.int32)
    return Piece(programs, table, notes[first], chords)


def random_region(rng: np.random.Generator, piece: Piece, share: float = 0.4) -> NDArray[np.bool_]:
    """Any cells of a piece, at least one."""
    region = rng.random((len(piece.bars), len(piece.programs))) < share
    region[rng.integers(len(region)), rng.integers(region.shape[1])] = True
    return region


def simple_score(bars: int = 4, resolution: int = 480, tracks: int = 1, program: int = 0) -> Score:
    """Quarter notes up a C major scale in 4/4 on every track."""
    scale = (60, 62, 64, 65, 67, 69, 71, 72)
    notes = tuple(
        Note(quarter * resolution, scale[quarter % 8], resolution // 2 or 1, 80) for quarter in range(4 * bars)
    )
    parts = tuple(Track(f"Part {number + 1}", program, False, number % 9, notes) for number in range(tracks))
    return Score(ticks_per_quarter=resolution, tracks=parts, length=4 * bars * resolution)


def random_task(rng: np.random.Generator, bars: int = 4, tracks: int = 3, controls: Controls = Controls()) -> Task:
    """A random piece on 480 ticks to the quarter note with some of its cells to be filled."""
    piece = random_piece(rng, bars, tracks, 6)
    grid = [GridBar(bar, bar, bar * 1920, 1920, 96) for bar in range(bars)]
    piece.bars[:, 0] = 96
    region = random_region(rng, piece)
    piece = replace(piece, notes=piece.notes[~region[piece.notes[:, 0], piece.notes[:, 1]]])
    kept: list[list[tuple[int, int, int]]] = [[] for _ in range(tracks)]
    for row in piece.notes:
        note = to_note(row, grid[row[0]], 480, VelocityTable(Score()))
        kept[row[1]].append((note.start, note.end, note.pitch))
    tables = [np.array(rows, dtype=np.int64).reshape(-1, 3) for rows in kept]
    rules = Rules(piece, grid, region, controls, tables, 480)
    return Task(piece, region, rules, describe(piece), None, ends_known=False)


class AnyNotes:
    """A generator that draws any value the rules allow, the first and the last one most of all: no network
    writes anything more awkward."""

    model_hash = "any"

    def generate(
        self,
        task: Task,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Progress]:
        for candidate, seed in enumerate(seeds):
            rng = np.random.default_rng(list(seed))
            draft, ends = task.rules.draft(), float(rng.choice([0.05, 0.2, 0.9, 1.0]))
            for done, bar in enumerate(task.bars, 1):
                for track in np.flatnonzero(task.region[bar]).tolist():
                    draft.enter(bar, track)
                    while self._another(rng, draft, ends):
                        pass
                rows = [row for row in draft.rows if row[0] == bar]
                yield Progress(candidate, bar, done, len(task.bars), rows)

    def _another(self, rng: np.random.Generator, draft: Draft, ends: float) -> bool:
        def any_of(mask: NDArray[np.bool_]) -> int:
            values = np.flatnonzero(mask)
            return int(values[rng.choice([0, len(values) - 1, int(rng.integers(len(values)))])])

        places = draft.positions()
        if places[END] and (not places[:END].any() or rng.random() < ends):
            return False
        position = any_of(places[:END])
        pitch = any_of(draft.pitches(position))
        duration = any_of(draft.durations(position, pitch))
        draft.accept(position, pitch, duration, any_of(draft.velocities()), any_of(draft.micros(position)))
        return True
