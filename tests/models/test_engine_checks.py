"""What `descant bench --exactness` measures, on a small network and a little of the sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.architecture import SIZES
from models.engine import Engine
from models.training.checkpoint import export_weights, load_weights
from models.training.engine_checks import SAMPLE, WINDOW, Followed, greedy, nats
from models.training.evaluation_music import continuations, fills
from models.training.sampling import fixed_windows
from models.training.shards import Item, read_shards
from tests.builders import random_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    export_weights(random_model(SIZES["tiny"], 1), folder, {})
    return folder


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return list(read_shards(SAMPLE))


def test_eight_bits_cost_little_and_nothing_is_lost_on_the_way(weights: Path, items: list[Item]) -> None:
    """Of windows of different lengths, some of them alone in their group."""
    windows = [steps for _, steps in fixed_windows(items[:5], WINDOW, 1)]
    windows[1] = windows[1].part(0, 60)
    exact = nats(Followed(weights, bits=32), windows)
    assert nats(Engine(weights, bits=32), windows[::-1]) == pytest.approx(exact, rel=1e-4)
    assert nats(Engine(weights), windows) == pytest.approx(exact, rel=0.05)


def test_what_is_written_without_chance_is_the_references_best(weights: Path, items: list[Item]) -> None:
    excerpts = [*continuations(items, 1), *fills(items, 2)]
    found = greedy(Followed(weights, bits=32), load_weights(weights), excerpts)
    assert found["requests"] == len(excerpts) and found["values"] > 50
    assert found["equal"] + found["close"] == found["values"]
