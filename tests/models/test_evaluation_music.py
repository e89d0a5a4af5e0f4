"""What is measured of written music: figures whose answer is known, and the sub-commands from end to end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.architecture import SIZES
from models.baselines import MarkovGenerator, copied_rows
from models.choice import MARKS
from models.drawing import Sampling
from models.known_bars import window_hashes
from models.markov import MarkovModel
from models.piece import DRUMS, Piece
from models.training.checkpoint import export_weights, weights_digest
from models.training.evaluation_copying import share_known, training_windows
from models.training.evaluation_music import (
    BETTER,
    SCORES,
    Excerpt,
    accompaniments,
    continuations,
    crop,
    fills,
    frames,
    scores,
    statistics,
    task_of,
    writer,
)
from models.training.sampling import transpose
from models.training.shards import Item, write_shards
from scripts.evaluate import main
from scripts.fit_choice import main as fit_choice
from tests.builders import random_model, random_piece

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def piece_of(
    rows: list[tuple[int, int, int, int]], programs: tuple[int, ...] = (0,), bars: int = 4, chords: tuple = ()
) -> Piece:
    """Bars of 4/4 with notes given as bar, track, position and pitch; chords as bar, position and chord id."""
    table = np.tile(np.array([[96, 4, 120, 0]], dtype=np.int32), (bars, 1))
    notes = np.array(sorted((b, t, p, pitch, 5, 20, 0) for b, t, p, pitch in rows), dtype=np.int32).reshape(-1, 7)
    return Piece(np.array(programs, dtype=np.int32), table, notes, np.array(chords, dtype=np.int32).reshape(-1, 3))


def excerpt_of(piece: Piece, bars: slice) -> Excerpt:
    region = np.zeros((len(piece.bars), len(piece.programs)), dtype=bool)
    region[bars] = True
    inside = region[piece.notes[:, 0], piece.notes[:, 1]]
    return Excerpt("", "", task_of(piece, region), piece.notes[inside], piece.chords)


SCALE = [(bar, 0, 24 * beat, 60 + 2 * beat) for bar in range(4) for beat in range(4)]


def test_the_composer_agrees_with_himself() -> None:
    excerpt = excerpt_of(piece_of(SCALE, chords=((0, 0, 1),)), slice(2, 4))
    assert not (excerpt.task.piece.notes[:, 0] >= 2).any()
    found = scores(excerpt, excerpt.truth)
    # C, D, E, F# over C major: two tones of four.
    expected = {"chord tones": 0.5, "onset F1": 1, "pitch F1": 1, "chroma": 1, "onsets": 1, "notes/bar": 4}
    assert found == pytest.approx({**expected, "off by": 0})
    assert list(found) == list(SCORES) == list(BETTER)


def test_scores_of_another_answer() -> None:
    excerpt = excerpt_of(piece_of(SCALE), slice(3, 4))
    answer = [(3, 0, 0, 60, 5, 20, 0), (3, 0, 26, 61, 5, 20, 0)]  # the second a little late, and a wrong note
    found = scores(excerpt, answer)  # type: ignore[arg-type]
    assert found["onset F1"] == pytest.approx(2 * 2 / 6)
    assert found["pitch F1"] == pytest.approx(2 * 1 / 6)
    assert found["chroma"] == pytest.approx(1 / np.sqrt(2) / 2)
    assert found["onsets"] == pytest.approx(2 / np.sqrt(2) / 2)
    assert found["off by"] == 2
    assert np.isnan(found["chord tones"])
    silent = scores(excerpt, [])
    assert silent["chroma"] == silent["onsets"] == silent["onset F1"] == 0


def test_copying_takes_the_bar_before_or_doubles() -> None:
    changed = [*SCALE[:8], (2, 0, 0, 40), (3, 0, 0, 41)]
    excerpt = excerpt_of(piece_of(changed), slice(2, 4))
    rows = copied_rows(excerpt.task)
    assert [(row[0], row[2], row[3]) for row in rows] == [
        (bar, 24 * beat, 60 + 2 * beat) for bar in (2, 3) for beat in range(4)
    ]
    two = piece_of([*SCALE, (0, 1, 0, 30)], (0, 32, DRUMS))
    region = np.zeros((4, 3), dtype=bool)
    region[:, 1:] = True
    doubled = copied_rows(task_of(two, region))
    assert {(row[0], row[2], row[3]) for row in doubled if row[1] == 1} == {(b, p, n) for b, _, p, n in SCALE}
    assert not [row for row in doubled if row[1] == 2]


def test_the_statistics_are_those_of_the_definitions() -> None:
    alternating = [(bar, 0, 24 * beat, 60 + 7 * (beat % 2)) for bar in range(4) for beat in range(4)]
    found = statistics(piece_of(alternating), piece_of(alternating).notes)
    assert found == pytest.approx({"pitch-class entropy": 1, "scale consistency": 1, "groove consistency": 1})
    chromatic = piece_of([(0, 0, p, 60 + p) for p in range(12)] + [(1, 0, p, 60) for p in range(0)])
    found = statistics(chromatic, chromatic.notes)
    assert found["pitch-class entropy"] == pytest.approx(np.log2(12))
    assert found["scale consistency"] == pytest.approx(7 / 12)
    assert found["groove consistency"] == pytest.approx(1 - 12 / 96 / 3)
    drums = piece_of(SCALE, (DRUMS,))
    assert np.isnan(statistics(drums, drums.notes)["scale consistency"])


def test_a_window_is_known_in_any_key_and_not_when_it_is_changed() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        piece = random_piece(rng, bars=8, tracks=3)
        piece.notes[:, 3] = 40 + piece.notes[:, 3] % 40
        piece.programs[0] = 0
        _, first = np.unique(piece.notes[:, :4], axis=0, return_index=True)
        piece = replace(piece, notes=piece.notes[first])
        known = training_windows([piece])
        windows = window_hashes(piece)
        assert len(windows) and share_known(windows, known) == 1
        other = transpose(piece, int(rng.integers(-5, 7)))
        assert sorted(window_hashes(other)) == sorted(windows)
        louder = replace(piece, notes=piece.notes + np.array([0, 0, 0, 0, 0, 1, 1]))
        assert sorted(window_hashes(louder)) == sorted(windows)
        drums = replace(piece, programs=np.full(3, DRUMS, dtype=np.int32))
        assert share_known(window_hashes(drums), known) < 1
        changed = piece.notes.copy()
        changed[0, 2] += -1 if changed[0, 2] else 1
        changed[0, 3] += 1
        assert len(set(windows) - set(window_hashes(piece, changed))) <= 2


def test_a_changed_interval_or_rest_is_another_window() -> None:
    windows = window_hashes(piece_of(SCALE, bars=4))
    assert len(windows) == 3 and len(set(windows)) == 1
    for change in ((1, 0, 0, 61), (1, 0, 24, 61), (0, 0, 3, 60)):
        other = [row for row in SCALE if row[0] < 2][:7] + [change]
        assert share_known(window_hashes(piece_of(other)), windows) == 0
    apart = [(bar * 2, track, position, pitch) for bar, track, position, pitch in SCALE[:8]]
    assert share_known(window_hashes(piece_of(apart)), windows) == 0
    assert not len(window_hashes(piece_of(SCALE[:3])))  # fewer than four notes


@pytest.fixture(scope="module")
def items() -> list[Item]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(9):
        piece = random_piece(rng, bars=20, tracks=2 + number % 2, notes_a_bar=10)
        piece.programs[0] = 40
        split = "valid" if number % 3 == 2 else "train"
        info = {"set": "ab"[number % 2], "split": split, "work": f"w{number}", "path": f"{number}.mid"}
        found.append(Item(piece, dict(info)))
    return found


@pytest.mark.parametrize("choose", [continuations, fills, accompaniments, frames])
def test_excerpts_hide_what_is_asked_for(choose, items: list[Item]) -> None:  # type: ignore[no-untyped-def]
    found = choose(items, 5)
    assert len(found) == 5 and len({excerpt.name for excerpt in found}) == 5
    assert {excerpt.data_set for excerpt in found} == {"a", "b"}
    for excerpt in found:
        task = excerpt.task
        assert task.region[excerpt.truth[:, 0], excerpt.truth[:, 1]].all()
        assert not task.region[task.piece.notes[:, 0], task.piece.notes[:, 1]].any()
        assert len(task.rules.cells) == task.region.sum()
    assert [e.name for e in choose(items, 5)] == [e.name for e in found]


def test_a_crop_keeps_the_chord_that_sounds() -> None:
    cropped = crop(piece_of(SCALE, chords=((0, 0, 7), (2, 48, 9))), 1, 3)
    assert cropped.chords.tolist() == [[0, 0, 7], [1, 48, 9]]
    assert sorted(set(cropped.notes[:, 0].tolist())) == [0, 1]


def test_the_markov_baseline_writes_under_the_rules(items: list[Item]) -> None:
    model = MarkovModel.train([item.piece for item in items], [])
    excerpt = continuations(items, 1, 2)[0]
    write = writer(MarkovGenerator(model), 2, Sampling())
    answers = write(excerpt.task)
    assert answers == write(excerpt.task) and answers[0] != answers[1]
    for rows in answers:
        assert rows == sorted(rows) and rows
        assert all(excerpt.task.region[row[0], row[1]] for row in rows)


@pytest.fixture(scope="module")
def common(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The shards, the weights and the settings of a small run."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_shards(items, folder / "shards")
    export_weights(random_model(SIZES["tiny"]), folder / "weights", {}, torch.float32)
    words = [str(folder / "shards"), "--weights", str(folder / "weights"), "--markov-cache", str(folder / "cache")]
    return [*words, "--pieces", "2", "--candidates", "1"]


@pytest.mark.parametrize(
    ("command", "tables"),
    [
        ("tasks", {"continue", "fill", "accompany"}),
        ("statistics", {"mean", "away from the composers"}),
        ("copying", {"continued by 8 bars"}),
    ],
)
def test_a_sub_command_prints_what_it_writes(
    command: str, tables: set[str], common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.json"
    assert main([command, *common, "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    report = json.loads(target.read_text("utf-8"))
    assert tables <= set(report["tables"])
    for name, lines in report["tables"].items():
        assert name in printed
        names = [line["name"] for line in lines]
        assert {"network", "Markov"} <= set(names) <= {"composer", "network", "Markov", "bar before"}
        for line in lines:
            for column, value in line.items():
                if isinstance(value, float):
                    assert f"{value:.3f}" in printed, column


@pytest.mark.parametrize(
    ("command", "tables", "column"),
    [("tasks", ["continue", "fill", "accompany"], "notes/bar"), ("statistics", ["mean"], "pitch-class entropy")],
)
def test_excerpts_that_are_skipped_are_the_first(
    command: str, tables: list[str], column: str, common: list[str], tmp_path: Path
) -> None:
    found = []
    for asked in (["--pieces", "1"], ["--pieces", "1", "--skip", "1"], ["--pieces", "2"]):
        target = tmp_path / "out.json"
        assert main([command, *common, *asked, "--without-markov", "--json", str(target)]) == 0
        printed = json.loads(target.read_text("utf-8"))["tables"]
        found.append([printed[name][0][column] for name in tables])
    first, second, both = map(np.array, found)
    assert (first != second).any() and np.allclose((first + second) / 2, both)


def test_a_table_is_fitted_and_what_it_changes_is_printed(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(common[2], weights)
    assert main(["choice", common[0], "--weights", str(weights)]) == 2
    assert "fit_choice.py" in capsys.readouterr().err
    before = json.loads((weights / "config.json").read_text("utf-8"))["sha256"]
    assert fit_choice([common[0], "--weights", str(weights), "--places", "8"]) == 0
    config = json.loads((weights / "config.json").read_text("utf-8"))
    assert config["sha256"] == weights_digest(weights) != before
    target = tmp_path / "out.json"
    assert main(["choice", common[0], "--weights", str(weights), "--pieces", "8", "--json", str(target)]) == 0
    printed, lines = capsys.readouterr().out, json.loads(target.read_text("utf-8"))["tables"]["mark"]
    assert [line["name"] for line in lines] == list(MARKS)
    assert all({"composer", "a draft"} < set(line) and line["name"] in printed for line in lines)


def test_memory_tells_nats_with_and_without_a_passage(
    tmp_path: Path, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    piece = random_piece(rng, bars=70, tracks=2, notes_a_bar=10)
    again = piece.notes[piece.notes[:, 0] < 35] + np.array([35, 0, 0, 0, 0, 0, 0], dtype=np.int32)
    piece = replace(piece, notes=np.concatenate([piece.notes[piece.notes[:, 0] < 35], again]))
    info = {"set": "a", "split": "valid", "work": "w", "path": "long.mid"}
    write_shards([Item(piece, dict(info))], tmp_path / "long")
    target = tmp_path / "out.json"
    assert main(["memory", str(tmp_path / "long"), *common[1:3], "--pieces", "1", "--json", str(target)]) == 0
    report = json.loads(target.read_text("utf-8"))
    line = report["tables"]["places"][0]
    assert line["places"] == 1 and line["nearest bars"] > 0 and line["and a passage"] > 0
    assert report["first_bar_ms"]["long"] > 0
    assert "with all of them" in capsys.readouterr().out
    assert main(["memory", *common[:3], "--pieces", "1"]) == 2
    assert "longer than a window" in capsys.readouterr().err


def test_constraints_counts_no_violation(
    common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))  # the script imports its sibling, as when it is started
    target = tmp_path / "out.json"
    words = ["constraints", *common[1:3], "--requests", "15", "--seed", "4", "--json", str(target)]
    assert main(words) == 0
    controls = json.loads(target.read_text("utf-8"))["controls"]
    assert controls["any"]["requests"] == 15 and controls["any"]["notes"] > 0
    assert all(row["violations"] == 0 for row in controls.values())
    assert "polyphony" in capsys.readouterr().out
