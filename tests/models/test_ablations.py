"""Ablations: each row takes away what it says and nothing else, and rows that are there are not trained again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.architecture import SIZES, rotation_speeds
from models.hints import MEMORY, MICRO, NONE
from models.tokens import ATTRIBUTES, FIELDS, OFFSET, Steps, cell_attributes
from models.training.evaluation_ablations import (
    SHIPPED,
    TOLD,
    ChangedCorpus,
    unchanged,
    variants,
    with_attributes,
    without_attributes,
    without_hints,
    without_micro,
)
from models.training.sampling import Corpus, fixed_windows, random_batch
from models.training.shards import Item, write_shards
from models.transformer import MusicTransformer
from scripts.evaluate import main
from tests.builders import random_piece

torch.set_num_threads(1)


def items(count: int = 6) -> list[Item]:
    rng = np.random.default_rng(0)
    splits = ["valid" if number % 3 == 2 else "train" for number in range(count)]
    return [
        Item(random_piece(rng, 8, 3), {"set": "a", "split": split, "work": f"w{number}"})
        for number, split in enumerate(splits)
    ]


def named(steps: Steps, fact: str, count: int) -> int:
    """How often a window has a fact of a kind that has `count` values."""
    return int(((steps.facts >= OFFSET[fact]) & (steps.facts < OFFSET[fact] + count)).sum())


def test_every_row_is_drawn_alike() -> None:
    plain = random_batch(Corpus(items()), 1, 4, range(2), 200)
    same = random_batch(ChangedCorpus(items(), unchanged), 1, 4, range(2), 200)
    assert all(np.array_equal(getattr(plain, name), getattr(same, name)) for name in plain.__slots__)
    for change in (without_attributes, without_micro, without_hints):
        other = random_batch(ChangedCorpus(items(), change), 1, 4, range(2), 200)
        assert np.array_equal(other.time, plain.time) and np.array_equal(other.window, plain.window)
        assert np.array_equal(other.targets[..., :4], plain.targets[..., :4])


def test_what_is_taken_away_is_gone_and_nothing_else() -> None:
    for item, bare in fixed_windows(items(), 200, 2):
        steps = with_attributes(item, bare)
        assert np.array_equal(without_attributes(steps).facts, bare.facts)
        asked = steps.facts != bare.facts
        table = cell_attributes(item.piece)
        where = np.flatnonzero(asked.any(axis=1))
        assert len(where)
        for row in where:
            given = [value for value in steps.facts[row] if value not in bare.facts[row]]
            wanted = table[steps.cell[row, 0], steps.cell[row, 1]]
            assert given == [OFFSET[name] + value for name, value in zip(ATTRIBUTES, wanted, strict=True) if value]

        still = without_micro(steps)
        assert named(still, "micro", 33) < named(steps, "micro", 33) and not named(still, "timing_kind", 3)
        assert (still.targets[:, -1] == -1).all() and np.array_equal(still.targets[:, :-1], steps.targets[:, :-1])
        assert (still.hints[:, MICRO] == NONE).all()

        bald = without_hints(steps)
        memory = slice(MEMORY[0].start, MEMORY[-1].stop)
        assert np.array_equal(bald.hints[:, memory], steps.hints[:, memory]) and not bald.onsets.any()
        assert (np.delete(bald.hints, np.r_[memory], axis=1) == NONE).all()
        assert np.array_equal(bald.facts, steps.facts)


def test_rotations_are_all_by_index_or_all_by_time() -> None:
    found = variants("tiny")
    shipped = rotation_speeds(SIZES["tiny"])
    for name, row in (("rotation by index alone", 0), ("rotation by time alone", -1)):
        speeds = MusicTransformer(found[name].shape).speeds.numpy()
        assert speeds.shape == shipped.shape and np.array_equal(speeds, np.stack([shipped[row]] * len(shipped)))


def test_the_table_is_printed_and_rows_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(items(), tmp_path / "shards")
    names = [SHIPPED, "without micro-timing", "rotation by index alone", "without memory"]
    arguments = ["ablations", str(tmp_path / "shards"), "--folder", str(tmp_path / "rows"), "--size", "tiny"]
    arguments += ["--steps", "2", "--rows", "1", "--length", "96", "--json", str(tmp_path / "out.json")]
    assert main([*arguments, "--only", *names, "--with-markov"]) == 0
    printed = capsys.readouterr()
    rows = json.loads((tmp_path / "out.json").read_text("utf-8"))["rows"]
    assert set(rows) == {*names, TOLD, "Markov"}
    for row in rows.values():
        assert row["valid"] == pytest.approx(sum(row[field] for field in FIELDS), abs=1e-3)
    assert rows["without micro-timing"]["micro"] == 0 < rows[SHIPPED]["micro"]
    assert rows[TOLD]["valid"] != rows[SHIPPED]["valid"]
    assert all(name in printed.out for name in rows) and f"{rows[SHIPPED]['valid']:.3f}" in printed.out
    assert not [path for path in (tmp_path / "rows").iterdir() if path.is_dir()]

    assert main([*arguments, "--only", *names]) == 0
    again = capsys.readouterr()
    assert "..." not in again.err and f"{rows[SHIPPED]['valid']:.3f}" in again.out
    assert main([*arguments, "--steps", "3"]) == 2
    assert "another training" in capsys.readouterr().err
    assert main([*arguments, "--only", "nothing"]) == 2
    assert "no row 'nothing'" in capsys.readouterr().err


def test_a_row_that_runs_out_of_time_goes_on_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(items(), tmp_path / "shards")
    arguments = ["ablations", str(tmp_path / "shards"), "--folder", str(tmp_path / "rows"), "--size", "tiny"]
    arguments += ["--steps", "3", "--rows", "1", "--length", "96", "--only", SHIPPED]
    assert main([*arguments, "--minutes", "0"]) == 0
    assert SHIPPED not in capsys.readouterr().out
    assert main(arguments) == 0
    assert SHIPPED in capsys.readouterr().out
