"""The chorale benchmark: what is read, that its figures are those of a distribution, and that it learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from models.architecture import ModelConfig
from models.errors import UserError
from models.training.jsb import (
    GENERATIONS,
    ChoraleTransformer,
    JsbConfig,
    batch_of,
    cell_nats,
    nats_per_cell,
    random_windows,
    read_chorales,
    train_chorales,
)
from models.training.jsb_facts import (
    BEGIN,
    CELL_VOCABULARY,
    CLASSES,
    LEVELS,
    LOWEST,
    MARGIN,
    PITCHES,
    RECENT,
    REST,
    SHARES,
    STEP_VOCABULARY,
    VOICES,
    Chorale,
    chorale_facts,
    heard,
    held,
    repeats,
    transposed,
)
from scripts.evaluate import main

SHAPE = ModelConfig(width=32, layers=1, heads=2, head_size=16, hidden=32, field_width=24, field_hidden=24)
CONFIG = JsbConfig(shape=SHAPE, dropout=0.1, total=60, rows=2, length=16, warmup=5)
torch.set_num_threads(1)


def chorale(seed: int, steps: int = 24) -> Chorale:
    """Four voices that move every other step, among the pitches of the benchmark."""
    rng = np.random.default_rng(seed)
    lines = MARGIN + 20 + np.cumsum(rng.integers(-2, 3, (steps // 2, VOICES)), axis=0)
    table = np.repeat(np.clip(lines, MARGIN, MARGIN + PITCHES - 1), 2, axis=0)
    table[-1, 0] = REST
    return table.astype(np.int64)


@pytest.fixture(scope="module")
def model() -> ChoraleTransformer:
    torch.manual_seed(0)
    made = ChoraleTransformer(CONFIG)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


def logits_of(model: ChoraleTransformer, music: Chorale) -> torch.Tensor:
    with torch.no_grad():
        return model(batch_of([(repeats(music), 0, 0, len(music))])[0])[0]


@pytest.mark.parametrize("packed", [True, False])
def test_the_file_is_read_as_published(tmp_path: Path, packed: bool) -> None:
    rows = [[74, None, 65, 36], [81, 69, 65, 36]]
    raw = json.dumps({"train": [rows], "valid": [rows, rows], "test": [rows]}).encode()
    path = tmp_path / ("jsb16.json.zst" if packed else "jsb16.json")
    path.write_bytes(zstandard.ZstdCompressor().compress(raw) if packed else raw)
    read = read_chorales(path)
    assert [len(read[split]) for split in ("train", "valid", "test")] == [1, 2, 1]
    first = np.array([[74 - LOWEST, REST - MARGIN, 65 - LOWEST, 0], [PITCHES - 1, 69 - LOWEST, 29, 0]]) + MARGIN
    assert read["train"][0].tolist() == first.tolist()


TOO_LOW = b'{"train": [[[35, 60, 60, 60]]], "valid": [], "test": []}'


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b'{"train": [[[1]]], "valid": [], "test": []}', b'{"train": 3}', TOO_LOW]
)
def test_another_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "other.json").write_bytes(raw)
    with pytest.raises(UserError, match="chorale benchmark"):
        read_chorales(tmp_path / "other.json")


def test_holds_are_counted_from_one_and_the_pitch_before_is_known() -> None:
    line = np.array([[5, 1, 1, 1], [5, 2, 1, REST], [6, 2, 1, REST], [5, 2, 1, 3]])
    holds, before = held(line)
    assert holds.tolist() == [[1, 1, 1, 1], [2, 1, 2, 1], [1, 2, 3, 2], [1, 3, 4, 1]]
    assert before.tolist() == [[BEGIN] * 4, [BEGIN, 1, BEGIN, 1], [5, 1, BEGIN, 1], [6, 1, BEGIN, REST]]


@given(st.lists(st.tuples(*[st.integers(0, 2)] * VOICES), min_size=1, max_size=30))
def test_a_repeat_is_the_longest_passage_heard_before(rows: list[tuple[int, ...]]) -> None:
    music = np.array(rows, dtype=np.int64)
    seen = repeats(music)
    for number, line in enumerate([[tuple(row) for row in rows], *music.T.tolist()]):
        for step in range(len(rows) + 1):
            ends = [
                (next(n for n in range(end + 1) if n == end or line[end - n - 1] != line[step - n - 1]), end)
                for end in range(1, step)
            ]
            length, source = max(ends, default=(0, -1))
            assert seen.length[number, step] == length
            assert seen.source[number, step] == (source if length else -1)


def test_training_windows_stay_inside_the_chorale_and_the_pitches() -> None:
    for seed in range(20):
        music = repeats(chorale(seed))
        for one, shift, first, stop in random_windows([music], CONFIG, seed):
            moved = transposed(one.chorale, shift)
            assert 0 <= first < stop <= len(moved) and abs(shift) <= MARGIN
            assert (moved >= 0).all() and ((moved == REST) == (one.chorale == REST)).all()
            assert moved[moved != REST].max() < REST


def test_facts_are_within_their_tables() -> None:
    for seed in range(6):
        music = chorale(seed)
        if seed % 2:
            music[np.random.default_rng(seed).random(music.shape) < 0.3] = REST
        facts = chorale_facts(repeats(transposed(music, seed)), 0, len(music))
        for table, least, most in (
            (facts.step, 0, STEP_VOCABULARY - 1),
            (facts.cell, 0, CELL_VOCABULARY - 1),
            (facts.near, 0, BEGIN),
            (facts.echo, -1, CLASSES - 1),
            (facts.heard, 0, LEVELS - 1),
        ):
            assert least <= table.min() <= table.max() <= most


@given(st.lists(st.tuples(*[st.integers(0, REST)] * VOICES), min_size=1, max_size=50), st.integers(0, 50))
def test_what_was_heard_is_counted(rows: list[tuple[int, ...]], step: int) -> None:
    music = np.array(rows, dtype=np.int64)
    step = min(step, len(rows))
    found = heard(music)[step]

    def level(count: int, of: int) -> int:
        return sum(count >= share * max(of, 1) for share in SHARES) if count else 0

    for voice in range(VOICES):
        for value in range(CLASSES):
            parts = []
            for past in (music[max(0, step - RECENT) : step], music[:step]):
                pitches = past[past != REST]
                same = int((pitches % 12 == value % 12).sum()) if value != REST else 0
                parts.append(level(same, len(pitches)))
            own = level(int((music[:step, voice] == value).sum()), step)
            base = len(SHARES) + 1
            assert found[voice, value] == (parts[0] * base + parts[1]) * base + own


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 23), st.integers(0, VOICES - 1))
def test_nothing_is_known_of_what_comes_later(model: ChoraleTransformer, seed: int, step: int, voice: int) -> None:
    """The chances of a cell, and of all before it, are the same whatever it and those after it are."""
    music, rng = chorale(1), np.random.default_rng(seed)
    other = music.copy()
    other[step, voice:] = rng.integers(MARGIN, MARGIN + PITCHES, VOICES - voice)
    other[step + 1 :] = chorale(seed % 1000)[step + 1 :]
    first, second = logits_of(model, music), logits_of(model, other)
    assert torch.allclose(first[:step], second[:step], atol=1e-4)
    assert torch.allclose(first[step, : voice + 1], second[step, : voice + 1], atol=1e-4)


def test_the_chances_of_a_cell_add_up_to_one(model: ChoraleTransformer) -> None:
    logits = logits_of(model, chorale(3))[None]
    shift = 2
    possible = [REST, *range(MARGIN + shift, MARGIN + shift + PITCHES)]
    chances = [torch.exp(-cell_nats(logits, torch.full(logits.shape[:3], value), shift)) for value in possible]
    assert torch.allclose(sum(chances), torch.ones(logits.shape[:3]), atol=1e-4)
    impossible = torch.full(logits.shape[:3], MARGIN + shift - 1)
    assert torch.isinf(cell_nats(logits, impossible, shift)).all()


def test_several_networks_are_a_mixture(model: ChoraleTransformer) -> None:
    music = repeats(chorale(4))
    other = ChoraleTransformer(CONFIG).eval()

    def chances(one: ChoraleTransformer) -> torch.Tensor:
        facts, target = batch_of([(music, 0, 0, len(music.chorale))])
        with torch.no_grad():
            return torch.exp(-cell_nats(one(facts) / 1.2, target, 0))

    mean = (chances(model) + chances(other)) / 2
    assert nats_per_cell([model, other], [music], 1.2) == pytest.approx(float(-mean.log().mean()), abs=1e-4)


def test_what_is_taught_is_learned() -> None:
    """By a network that is held against its teachers: nearer to what they find likely than one that is not."""
    music = {split: [chorale(seed) for seed in range(3)] for split in ("train", "valid")}
    other = {split: [chorale(seed) for seed in range(7, 10)] for split in ("train", "valid")}
    teacher = train_chorales(other, CONFIG, lambda line: None)
    facts, _ = batch_of([(repeats(chorale(1)), 0, 0, 24)])

    def away(teachers: list[ChoraleTransformer]) -> float:
        pupil = train_chorales(music, replace(CONFIG, total=40), lambda line: None, teachers=teachers)
        with torch.no_grad():
            said, wanted = (one(facts).log_softmax(-1) for one in (pupil, teacher))
        return float((wanted.exp() * (wanted - said)).sum(-1).mean())

    assert away([teacher]) < 0.8 * away([])


def test_it_learns_and_keeps_what_validation_likes_best() -> None:
    music = [chorale(seed) for seed in range(3)]
    lines: list[str] = []
    best = train_chorales({"train": music, "valid": music}, CONFIG, lines.append, every=20)
    found = [float(line.split("valid ")[1].split(",")[0]) for line in lines]
    assert len(found) == 3 and found[-1] < found[0] < np.log(CLASSES)
    assert nats_per_cell([best], [repeats(one) for one in music]) == pytest.approx(min(found), abs=1e-3)


def test_the_command_prints_all_generations_and_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[72, 67, 64, 48]] * 4 + [[74, 67, 62, 43]] * 4
    data = {split: [rows, rows[::-1]] for split in ("train", "valid", "test")}
    (tmp_path / "jsb16.json").write_text(json.dumps(data))
    arguments = ["jsb", str(tmp_path / "jsb16.json"), "--seeds", "2", "--folder", str(tmp_path / "kept")]
    arguments += ["--json", str(tmp_path / "out.json")]
    assert main([*arguments, "--total", "2"]) == 0
    first = capsys.readouterr()
    report = json.loads((tmp_path / "out.json").read_text())
    found = {line["name"]: line["valid"] for line in report}
    names = ("seed 1", "seed 2", "mean", "together")
    assert list(found) == [f"{generation}, {name}" for generation in GENERATIONS for name in names]
    assert all(f"{value:.4f}" in first.out and 0 < value < np.log(CLASSES) for value in found.values())
    for generation in GENERATIONS:
        mean = (found[f"{generation}, seed 1"] + found[f"{generation}, seed 2"]) / 2
        assert found[f"{generation}, mean"] == pytest.approx(mean)
    assert main([*arguments, "--total", "2"]) == 0
    again = capsys.readouterr()
    assert again.out == first.out and "step" in first.err and "step" not in again.err
    assert main([*arguments, "--total", "3"]) == 2
    assert "another training" in capsys.readouterr().err


def test_a_seed_decides_everything() -> None:
    music = {split: [chorale(1), chorale(2)] for split in ("train", "valid")}
    short = replace(CONFIG, total=4)
    one, again = (train_chorales(music, short, lambda line: None).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_padding_costs_nothing(model: ChoraleTransformer) -> None:
    short, long = repeats(chorale(5, 8)), repeats(chorale(6, 30))
    with torch.no_grad():
        facts, target = batch_of([(short, 0, 0, 8), (long, 0, 0, 30)])
        together = cell_nats(model(facts), target)
        facts, target = batch_of([(short, 0, 0, 8)])
        alone = cell_nats(model(facts), target)
    assert torch.allclose(together[0, :8], alone[0], atol=1e-4) and (together[0, 8:] == 0).all()
