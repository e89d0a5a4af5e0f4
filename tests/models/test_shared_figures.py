"""The memory's tags: which figures get a row, and that the others find nothing."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.architecture import ModelConfig
from models.figures import CLOSED, HASH_BITS, KINDS, OPEN, tags_of
from models.hints import HINTS, MEMORY
from models.training.loop import mean_of
from models.training.sampling import set_weight
from models.training.shards import Item
from models.training.shared_figures import LEAST, figures_of, shared_figures
from models.transformer import Memory, MusicTransformer
from tests.builders import random_model, random_piece

ROWS = 1 << 10
SHAPE = ModelConfig(width=32, layers=1, heads=2, head_size=16, hidden=32, field_width=24, field_hidden=24)


def items(sets: list[str], seed: int = 0) -> list[Item]:
    """A piece for each set; those of a set are the same music."""
    made = []
    for name in sets:
        rng = np.random.default_rng([seed, *name.encode()])
        piece = random_piece(rng, 4, 2, 6)
        made.append(Item(piece, {"set": name, "split": "train", "work": name, "path": f"{name}.mid"}))
    return made


@given(st.lists(st.integers(0, (1 << HASH_BITS) - 1), min_size=1, max_size=50))
def test_a_tag_is_the_hash_beyond_its_row_and_never_one_of_the_two_that_mean_something(hashes: list[int]) -> None:
    tags = tags_of(np.array(hashes, dtype=np.int32))
    assert tags.tolist() == [min(max(value >> 16, OPEN + 1), CLOSED - 1) for value in hashes]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_is_the_figures_that_most_visits_share(workers: int) -> None:
    pieces = items(["groove-midi"] * LEAST + ["tunes"] * (LEAST + 2) + ["rare"] * (LEAST - 1))
    tags = shared_figures(pieces, ROWS, workers).reshape(len(KINDS), ROWS)
    for kind in range(len(KINDS)):
        visits: dict[int, float] = defaultdict(float)
        for item, weight in ((pieces[0], set_weight(pieces[0]) * LEAST), (pieces[LEAST], LEAST + 2.0)):
            for value in figures_of(item)[kind].tolist():
                visits[value] += weight
        best: dict[int, float] = defaultdict(float)
        for value, count in visits.items():
            best[value % ROWS] = max(best[value % ROWS], count)
        assert set(np.flatnonzero(tags[kind] != CLOSED)) == set(best)
        for row, count in best.items():
            leaders = [value for value in visits if value % ROWS == row and visits[value] == count]
            assert tags[kind, row] in tags_of(np.array(leaders, dtype=np.int32))


def test_the_figures_of_a_long_piece_are_found_in_all_its_parts() -> None:
    rng = np.random.default_rng(3)
    long = random_piece(rng, 60, 2, 20)
    bars = long.bars[long.notes[:, 0]]
    assert len(bars) > 1200  # more than two windows
    found = figures_of(Item(long, {"set": "tunes"}))
    assert min(len(hashes) for hashes in found) > 1 and len(found[4]) > 800  # nearly every note has its own there


def test_a_figure_without_a_row_of_its_own_finds_nothing_and_teaches_nothing() -> None:
    config = ModelConfig(field_width=8, memory_rows=ROWS, memory_width=4)
    memory = Memory(config, dropout=0.0)
    rng = np.random.default_rng(1)
    hints = np.full((300, HINTS), -1, dtype=np.int32)
    hashes = rng.integers(0, 1 << HASH_BITS, (300, len(KINDS)), dtype=np.int32)
    hints[:, MEMORY[0].start : MEMORY[-1].stop] = hashes
    rows = (hashes & (ROWS - 1)) + ROWS * np.arange(len(KINDS))
    tags = rng.choice([OPEN, CLOSED], len(memory.tags)).astype(np.uint8)
    owned = rng.random(hashes.shape) < 0.3
    tags[rows[owned]] = tags_of(hashes[owned])  # of figures that share a row the last has it
    memory.tags.copy_(torch.from_numpy(tags))
    with torch.no_grad():
        memory.table.copy_(torch.randn(memory.table.shape))
    mine = (tags[rows] == OPEN) | (tags[rows] == tags_of(hashes))
    assert 0.3 < mine.mean() < 0.9

    told = memory(torch.from_numpy(hints).long())
    values = memory.table.detach()[torch.from_numpy(rows)] * torch.from_numpy(mine)[..., None]
    first = 0
    for read, result in zip(memory.read, told, strict=True):
        kinds = read.weight.shape[1] // 4
        wanted = values[:, first : first + kinds].flatten(1) @ read.weight.T
        torch.testing.assert_close(result, wanted)
        first += kinds
    torch.stack(told).square().sum().backward()
    gradient = memory.table.grad
    assert gradient is not None
    moved = gradient.to_dense().abs().sum(dim=1).numpy() > 0
    assert set(np.flatnonzero(moved)) == set(rows[mine].tolist())


def test_networks_whose_rows_are_of_other_figures_have_no_mean() -> None:
    config = ModelConfig(**{**{name: getattr(SHAPE, name) for name in SHAPE.__slots__}, "memory_rows": 64})
    one, other = random_model(config, 1), random_model(config, 2)
    with pytest.raises(ValueError, match="other figures"):
        mean_of([one, other])
    assert one.fields.memory is not None and other.fields.memory is not None
    other.fields.memory.tags.copy_(one.fields.memory.tags)
    mean = mean_of([one, other])
    assert mean.fields.memory is not None and torch.equal(mean.fields.memory.tags, one.fields.memory.tags)
    for (name, value), first, second in zip(
        mean.named_parameters(), one.parameters(), other.parameters(), strict=True
    ):
        torch.testing.assert_close(value, (first + second) / 2, msg=name)
    plain = [MusicTransformer(SHAPE) for _ in range(2)]
    torch.testing.assert_close(mean_of(plain).recent, (plain[0].recent + plain[1].recent) / 2)
