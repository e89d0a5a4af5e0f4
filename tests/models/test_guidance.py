"""Guidance: how firmly words are followed, and that nothing else changes by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.drawing import Desk, Sampling
from models.generators import Rows, Task, TransformerGenerator
from models.hints import HINTS, NONE, ONSETS
from models.piece import MAX_BAR
from models.tokens import FIELDS, NO_TEXT, TEXT_WIDTH
from tests.builders import random_task, tiny_generator

SEEDS = [(5, number) for number in range(5)]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> TransformerGenerator:
    return tiny_generator(tmp_path_factory.mktemp("weights"))


def said(seed: int) -> Task:
    """A task with some words."""
    rng = np.random.default_rng(seed)
    words = rng.normal(size=(1, TEXT_WIDTH)).astype(np.float32)
    return replace(random_task(rng), text=words / np.linalg.norm(words))


def written(
    generator: TransformerGenerator, task: Task, seeds: Sequence[tuple[int, int]], guidance: float
) -> list[Rows]:
    rows: list[Rows] = [[] for _ in seeds]
    for progress in generator.generate(task, seeds, Sampling(guidance=guidance), lambda: False):
        rows[progress.candidate].extend(progress.rows)
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_a_guided_candidate_is_the_same_alone_and_in_company(generator: TransformerGenerator, seed: int) -> None:
    all_of_them = written(generator, said(seed), SEEDS, 2.0)
    for count in (1, 2, 3):
        assert written(generator, said(seed), SEEDS[:count], 2.0) == all_of_them[:count]


def test_guidance_changes_what_is_written_only_where_something_is_said(generator: TransformerGenerator) -> None:
    task = said(1)
    silent = replace(task, text=NO_TEXT)
    assert written(generator, task, SEEDS, 4.0) != written(generator, task, SEEDS, 1.0)
    assert written(generator, silent, SEEDS, 4.0) == written(generator, silent, SEEDS, 1.0)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
def test_logits_go_past_those_that_heard_the_words(generator: TransformerGenerator, guidance: float) -> None:
    """Rows 0 and 1 heard the words, rows 2 and 3 did not; both draw the likeliest of u + guidance (c - u)."""
    engine, rng = generator._engine, np.random.default_rng(3)
    states = rng.normal(size=(4, engine.config.width)).astype(np.float32)
    hints, onsets = np.full((4, HINTS), NONE, dtype=np.int32), np.zeros((4, ONSETS, MAX_BAR), dtype=bool)
    targets, chord = np.zeros((4, len(FIELDS)), dtype=np.int32), np.zeros(4, dtype=np.int64)
    logits = engine.logits(states, targets, chord, hints, onsets)[0]
    struck = np.zeros((4, ONSETS, MAX_BAR + 2), dtype=bool)
    desk = Desk(engine, states, hints, struck, Sampling(temperature=0.0, guidance=guidance))
    desk.guide()
    desk.enter()
    mask = rng.random(FIELDS["position"]) < 0.5
    for row in range(2):
        desk.allow(0, row, mask)
    engine.draw(desk, 0)
    wanted = logits[2:] + guidance * (logits[:2] - logits[2:])
    best = np.where(mask, wanted, -np.inf).argmax(axis=1)
    assert desk.drawn[0, :, 0].tolist() == [*best.tolist(), *best.tolist()]


def test_pitches_can_be_drawn_colder_than_the_rest(generator: TransformerGenerator) -> None:
    """Without any temperature of their own all rows have the same pitches, and different positions."""
    engine, rows = generator._engine, 40
    state = np.random.default_rng(4).normal(size=(1, engine.config.width)).astype(np.float32)
    hints, struck = np.full((rows, HINTS), NONE, dtype=np.int32), np.zeros((rows, ONSETS, MAX_BAR + 2), dtype=bool)
    desk = Desk(engine, np.repeat(state, rows, axis=0), hints, struck, Sampling(1.0, 1.0, pitch_factor=0.0))
    desk.enter()
    for row in range(rows):
        desk.throw(row, np.full(len(FIELDS), row / rows))
        for field, size in enumerate(FIELDS.values()):
            desk.allow(field, row, np.ones(size, dtype=bool))
    engine.draw(desk, 0)
    assert len(set(desk.drawn[0, :, 0].tolist())) > rows // 4
    desk.drawn[0] = 0
    engine.draw(desk, 1)
    assert len(set(desk.drawn[1, :, 0].tolist())) == 1


def test_half_the_candidates_are_written_at_once(tmp_path: Path) -> None:
    """Guidance takes two lanes a candidate; all of them come all the same."""
    rows = written(tiny_generator(tmp_path), said(2), SEEDS, 3.0)
    assert len(rows) == len(SEEDS) and all(rows)
