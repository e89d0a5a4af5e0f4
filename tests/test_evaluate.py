"""scripts/evaluate.py: its figures are those of the models on the same notes, and errors are sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.architecture import SIZES
from models.tokens import FIELD_SIZES, FIELDS
from models.training.checkpoint import export_weights, load_weights
from models.training.evaluation import (
    OTHERS,
    Predictions,
    Row,
    by_field,
    by_set,
    fewer,
    markov_nats,
    network_nats,
    predictions,
    prior_nats,
    table,
    train_markov,
)
from models.training.loop import evaluate
from models.training.sampling import fixed_windows
from models.training.shards import Item, read_shards, write_shards
from scripts.evaluate import main
from tests.builders import random_model, random_piece

LENGTH = 96


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("shards")
    pieces = [random_piece(rng, tracks=2) for _ in range(12)]
    splits = ["valid" if number % 4 == 3 else "train" for number in range(len(pieces))]
    infos = [{"set": "ab"[number % 2], "split": split, "work": f"w{number}"} for number, split in enumerate(splits)]
    write_shards([Item(piece, dict(info)) for piece, info in zip(pieces, infos, strict=True)], folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    export_weights(random_model(SIZES["tiny"]), folder, {}, torch.float32)
    return folder


def test_the_tables_hold_what_the_models_say(
    shards: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["heldout", str(shards), "--weights", str(weights), "--length", str(LENGTH)]
    arguments += ["--markov-cache", str(tmp_path / "cache"), "--json", str(tmp_path / "out.json")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "out.json").read_text("utf-8"))

    items = list(read_shards(shards))
    windows = fixed_windows([item for item in items if item.info["split"] == "valid"], LENGTH, 2)
    costs = evaluate(load_weights(weights), [steps for _, steps in windows], torch.device("cpu"))
    notes = costs[:, -1].sum()
    everything = report["sets"][-1]
    assert everything["name"] == "all" and everything["notes"] == notes
    assert everything["nats"]["network"] == pytest.approx(costs[:, :-1].sum() / notes, rel=1e-5)
    for row, cost in zip(report["fields"], costs[:, :-1].sum(axis=0), strict=False):
        assert row["nats"]["network"] == pytest.approx(cost / notes, rel=1e-5)
    chain, markov = markov_nats(train_markov([i for i in items if i.info["split"] == "train"], LENGTH, 2), windows)
    assert everything["nats"]["Markov"] == pytest.approx(markov.sum() / notes)
    assert everything["nats"]["one chain"] == pytest.approx(chain.sum() / notes)
    ends = sum(int((steps.targets[:, 0] >= 0).sum()) for _, steps in windows) - notes
    prior = np.log(FIELD_SIZES).sum() + ends / notes * np.log(FIELD_SIZES[0])
    assert everything["nats"]["untrained"] == pytest.approx(prior)
    share = 1 - everything["nats"]["network"] / everything["nats"]["Markov"]
    assert everything["fewer_by"] == pytest.approx(share)
    assert f"{share:.1%}" in printed and f"{everything['nats']['Markov']:.3f}" in printed

    in_region = report["fields_in_region"]
    assert 0 < in_region[-1]["notes"] < notes
    assert sum(row["nats"]["Markov"] for row in in_region[:-1]) == pytest.approx(in_region[-1]["nats"]["Markov"])

    assert main([*arguments, "--without-network"]) == 0  # from the cache
    again = json.loads((tmp_path / "out.json").read_text("utf-8"))["sets"][-1]["nats"]
    assert again == {name: everything["nats"][name] for name in ("untrained", "one chain", "Markov")}


def test_every_model_scores_the_same_predictions(shards: Path, weights: Path) -> None:
    items = list(read_shards(shards))
    windows = fixed_windows(items, LENGTH, 1)
    found = predictions(windows)
    model = train_markov(items, LENGTH, 1)
    for nats in (prior_nats(found), *markov_nats(model, windows), network_nats(load_weights(weights), windows)):
        assert nats.shape == (len(found.is_note), len(FIELDS))
        assert ((nats > 0) == (found.is_note[:, None] | (np.arange(len(FIELDS)) == 0))).all()


def test_small_sets_are_reported_together() -> None:
    sets = np.repeat(["large", "small", "tiny"], [20_000, 600, 400])
    found = Predictions(np.ones(len(sets), bool), np.arange(len(sets)) % 2 == 0, sets)
    nats = {"Markov": np.full((len(sets), 5), 0.4), "network": np.full((len(sets), 5), 0.3)}
    nats["network"][20_000:] = 0.1
    rows = by_set(found, nats)
    assert [(row.name, row.notes) for row in rows] == [("large", 20_000), (OTHERS, 1000), ("all", 21_000)]
    assert [row.nats["network"] for row in rows[:2]] == pytest.approx([1.5, 0.5])
    assert fewer(rows[0]) == pytest.approx(0.25)
    assert by_field(found, nats, region_only=True)[-1].notes == 10_500


def test_without_the_network_nothing_is_compared() -> None:
    row = Row("all", 7, {"untrained": 21.0, "Markov": 4.0})
    assert fewer(row) is None
    assert table("set", [row]).split() == ["set", "notes", "untrained", "Markov", "all", "7", "21.000", "4.000"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--weights", "nowhere"], "no weights in nowhere"),
        (["--without-network", "--split", "test"], 'no pieces of the split "test"'),
    ],
)
def test_what_is_missing_is_said(
    extra: list[str], message: str, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["heldout", str(shards), *extra]) == 2
    assert message in capsys.readouterr().err


def test_a_cache_from_other_shards_is_not_used(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    arguments = ["heldout", str(shards), "--without-network", "--markov-cache", str(cache)]
    assert main([*arguments, "--length", "64"]) == 0
    assert main([*arguments, "--length", "96"]) == 2
    assert "counted from other data" in capsys.readouterr().err
