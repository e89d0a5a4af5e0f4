"""The chorale benchmark: what is read, that its figures are those of a distribution, and that it learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard

from models.architecture import ModelConfig
from models.errors import UserError
from models.training.jsb import (
    CLASSES,
    LOWEST,
    REST,
    VOICES,
    Chorale,
    ChoraleTransformer,
    JsbConfig,
    batch_of,
    held,
    nats_per_cell,
    random_windows,
    read_chorales,
    room,
    train_chorales,
    transposed,
)

SHAPE = ModelConfig(width=32, layers=1, heads=2, head_size=16, hidden=32, field_width=24, field_hidden=24)
CONFIG = JsbConfig(shape=SHAPE, dropout=0.1, total=60, rows=2, length=16, warmup=5)
torch.set_num_threads(1)


def chorale(seed: int, steps: int = 24) -> Chorale:
    """Four voices that move every other step."""
    rng = np.random.default_rng(seed)
    lines = 20 + np.cumsum(rng.integers(-2, 3, (steps // 2, VOICES)), axis=0)
    table = np.repeat(np.clip(lines, 0, REST - 1), 2, axis=0)
    table[-1, 0] = REST
    return table.astype(np.int64)


@pytest.fixture
def model() -> ChoraleTransformer:
    torch.manual_seed(0)
    made = ChoraleTransformer(replace(CONFIG, dropout=0.0))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


@pytest.mark.parametrize("packed", [True, False])
def test_the_file_is_read_as_published(tmp_path: Path, packed: bool) -> None:
    rows = [[74, None, 65, 36], [81, 69, 65, 36]]
    raw = json.dumps({"train": [rows], "valid": [rows, rows], "test": [rows]}).encode()
    path = tmp_path / ("jsb16.json.zst" if packed else "jsb16.json")
    path.write_bytes(zstandard.ZstdCompressor().compress(raw) if packed else raw)
    read = read_chorales(path)
    assert [len(read[split]) for split in ("train", "valid", "test")] == [1, 2, 1]
    assert read["train"][0].tolist() == [[74 - LOWEST, REST, 65 - LOWEST, 0], [REST - 1, 69 - LOWEST, 29, 0]]


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"train": [[[1]]], "valid": [], "test": []}', b'{"train": 3}'])
def test_another_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "other.json").write_bytes(raw)
    with pytest.raises(UserError, match="chorale benchmark"):
        read_chorales(tmp_path / "other.json")


def test_holds_are_counted_from_one() -> None:
    line = np.array([[5, 1, 1, 1], [5, 2, 1, REST], [6, 2, 1, REST], [5, 2, 1, 3]])
    assert held(line).tolist() == [[1, 1, 1, 1], [2, 1, 2, 1], [1, 2, 3, 2], [1, 3, 4, 1]]


def test_transposition_stays_among_the_pitches() -> None:
    for seed in range(20):
        music = chorale(seed)
        low, high = room(music)
        for semitones in (low, high):
            moved = transposed(music, semitones)
            assert (moved >= 0).all() and ((moved == REST) == (music == REST)).all()
            assert moved[moved != REST].max() < REST
        for window, first, stop in random_windows([music], CONFIG, seed):
            assert 0 <= first < stop <= len(window)


@pytest.mark.parametrize("voice", range(VOICES))
def test_the_chances_of_a_cell_add_up_to_one(model: ChoraleTransformer, voice: int) -> None:
    music = chorale(3)
    steps, hold, target = batch_of([(music, 0, len(music))])
    total = torch.zeros(target.shape[1])
    with torch.no_grad():
        for value in range(CLASSES):
            asked = target.clone()
            asked[..., voice] = value
            total += torch.exp(-model(steps, hold, asked)[0, :, voice])
    assert torch.allclose(total, torch.ones_like(total), atol=1e-4)


def test_nothing_is_known_of_what_comes_later(model: ChoraleTransformer) -> None:
    music, other = chorale(1), chorale(2)
    other[:10] = music[:10]
    with torch.no_grad():
        first, second = (model(*batch_of([(table, 0, len(table))]))[0] for table in (music, other))
        assert torch.allclose(first[:10], second[:10], atol=1e-5) and not torch.allclose(first[10:], second[10:])
        for voice in range(VOICES):  # and of the voices of a step only those before
            later = music.copy()
            later[10, voice:] = other[11, voice:]
            changed = model(*batch_of([(later, 0, len(later))]))[0]
            assert torch.allclose(first[10, :voice], changed[10, :voice], atol=1e-5)


def test_it_learns_and_keeps_what_validation_likes_best() -> None:
    music = [chorale(seed) for seed in range(3)]
    lines: list[str] = []
    best = train_chorales({"train": music, "valid": music}, CONFIG, lines.append, every=20)
    found = [float(line.split("valid ")[1].split(",")[0]) for line in lines]
    assert len(found) == 3 and found[-1] < found[0] < np.log(CLASSES)
    assert nats_per_cell(best, music) == pytest.approx(min(found), abs=1e-3)


def test_padding_costs_nothing(model: ChoraleTransformer) -> None:
    short, long = chorale(5, 8), chorale(6, 30)
    with torch.no_grad():
        together = model(*batch_of([(short, 0, 8), (long, 0, 30)]))
        alone = model(*batch_of([(short, 0, 8)]))
    assert torch.allclose(together[0, :8], alone[0], atol=1e-4) and (together[0, 8:] == 0).all()
