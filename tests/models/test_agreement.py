"""What several drafts have in common is worth the more, the more of them share it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.agreement import agreement
from models.choice import AGREED, Around
from models.generators import Rows
from models.piece import DRUMS, GRID
from models.training.evaluation_music import task_of
from tests.models.test_choice import MELODY, line, line_task, table

PIANO = np.array([0, DRUMS], dtype=np.int32)
seeds = st.integers(0, 2**32 - 1)


def random_drafts(rng: np.random.Generator, count: int) -> list[Rows]:
    drafts: list[Rows] = []
    for _ in range(count):
        drafts.append([])
        for _ in range(int(rng.integers(0, 12))):
            track = int(rng.integers(0, 2))
            pitch = int(rng.integers(30, 60)) + 128 * track
            place = int(rng.integers(0, 16)) * GRID // 4
            drafts[-1].append((int(rng.integers(0, 2)), track, place, pitch, int(rng.integers(0, 40)), 9, 0))
    return drafts


@settings(max_examples=60)
@given(seeds, st.integers(1, 5))
def test_agreement_is_a_share_whatever_the_order(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    drafts = random_drafts(rng, count)
    found = agreement(drafts, PIANO, [0, 1])
    assert found.shape == (count,) and (found >= 0).all() and (found <= 1 + 1e-9).all()
    order = rng.permutation(count)
    moved = agreement([drafts[i] for i in order], PIANO, [0, 1])
    np.testing.assert_allclose(moved, found[order], atol=1e-9)
    shuffled = [[draft[i] for i in rng.permutation(len(draft))] for draft in drafts]
    np.testing.assert_allclose(agreement(shuffled, PIANO, [0, 1]), found, atol=1e-9)


@given(seeds, st.integers(2, 5))
def test_the_same_drafts_agree_wholly_and_a_lone_one_with_nobody(seed: int, count: int) -> None:
    draft = random_drafts(np.random.default_rng(seed), 1)
    np.testing.assert_allclose(agreement(draft * count, PIANO, [0, 1]), 1.0)
    assert agreement(draft, PIANO, [0, 1]).tolist() == [0.0]


def test_each_of_four_likenesses_counts_a_quarter() -> None:
    bar = [(4, 0, place, pitch, 20, 9, 0) for place, pitch in ((0, 60), (24, 64), (48, 67), (72, 72))]

    def agree(changed: list[tuple[int, ...]]) -> float:
        return float(agreement([bar, changed], PIANO, [4])[0])  # type: ignore[list-item]

    assert agree([(*row[:5], 20, 1) for row in bar]) == pytest.approx(1.0)  # loudness, timing: no matter
    octave = [(*row[:3], row[3] + 12, *row[4:]) for row in bar]
    assert agree(octave) == pytest.approx(3 / 4)  # no pitch is shared, harmony is
    elsewhere = [(*row[:2], row[2] + 12, *row[3:]) for row in bar]
    assert agree(elsewhere) == pytest.approx(2 / 4)  # neither starts nor notes
    assert agree([]) == pytest.approx((1 - 4 / 5) / 4)
    drums = [(4, 1, row[2], row[3] + 128, *row[4:]) for row in bar]
    assert agree(drums) == pytest.approx(1 / 4)  # only as many notes: drums have no harmony


def test_what_most_drafts_do_is_kept_where_a_track_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.known_bars.shipped_bars", lambda: None)
    task = line_task(MELODY)
    stray = line(range(6, 8), [61, 66, 70])
    common = [line(range(6, 8), [60, 64, 67, last]) for last in (72, 71, 69)]
    drafts = [stray, *common]
    assert table().best(Around(task), drafts) != 0  # type: ignore[arg-type]
    apart = agreement(drafts, task.piece.programs, task.bars)  # type: ignore[arg-type]
    assert apart.argmin() == 0
    much = AGREED[0] * float(apart.max() - apart[0])
    away = [mark[0] for mark in [Around(task).marks(draft) for draft in drafts]]  # type: ignore[arg-type]
    assert np.ptp(away) < 1e-9 and much > 1  # as dense as the others: it is what they share that decided


def test_a_new_part_is_chosen_by_its_marks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agreement favours few notes there: drafts of a part that nothing is known of share little but silence."""
    monkeypatch.setattr("models.known_bars.shipped_bars", lambda: None)
    piece = line_task(MELODY).piece
    both = replace(piece, programs=np.array([0, 33], dtype=np.int32))
    region = np.zeros((8, 2), dtype=bool)
    region[:, 1] = True
    task = task_of(both, region)
    stray, common = line(range(8), [37], 1), [line(range(8), [48, last], 1) for last in (43, 41, 40)]
    drafts = [stray, *common]
    assert agreement(drafts, both.programs, task.bars).argmin() == 0  # type: ignore[arg-type]
    assert table().best(Around(task), drafts) == 0  # type: ignore[arg-type]
