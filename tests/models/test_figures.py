"""Figures: what a key depends on, and that none tells what is not in sight yet."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.figures import FIGURES, HASH_BITS, KINDS, LAGS, OF_FIELD, Past, Words
from models.hints import MEMORY
from models.tokens import FIELDS, build_steps
from tests.builders import random_piece

seeds = st.integers(0, 2**32 - 1)
BY_INTERVALS = [kind for kind in KINDS if "pitch" not in kind]


class Drawn(NamedTuple):
    """What is drawn of the predicted notes, and what sounds beside them."""

    others: NDArray[np.int64]
    position: NDArray[np.int64]
    pitch: NDArray[np.int64]
    reference: NDArray[np.int64]
    sounding: NDArray[np.int64]


def keys(field: int, past: Past, drawn: Drawn) -> NDArray[np.int32]:
    words = Words(len(past.begin))
    stages = [
        words.of_past(past, drawn.others),
        words.of_position(past, drawn.position, drawn.reference, drawn.sounding),
        words.of_pitch(past, drawn.pitch),
    ]
    return np.concatenate(stages, axis=1)[:, OF_FIELD[field]]


def past_of(rng: np.random.Generator, count: int) -> Past:
    start = np.sort(rng.integers(0, 300, (LAGS, count)), axis=0)[::-1]
    pitch = rng.integers(30, 90, (LAGS, count))
    rest = rng.integers(0, 17, (3, LAGS, count))
    begin = np.full(count, 288)
    return Past(start, start + 12, pitch, *rest, begin, np.full(count, 96), rng.integers(0, 128, count))


def drawn_of(rng: np.random.Generator, count: int) -> Drawn:
    return Drawn(*rng.integers(0, 96, (2, count)), *rng.integers(30, 90, (2, count)), rng.integers(0, 4096, count))


def test_every_field_has_figures_and_every_figure_its_own_keys() -> None:
    assert list(FIGURES) == list(FIELDS)
    rng = np.random.default_rng(0)
    past, drawn = past_of(rng, 4000), drawn_of(rng, 4000)
    for field, kinds in enumerate(OF_FIELD):
        found = keys(field, past, drawn)
        assert found.shape == (4000, kinds.stop - kinds.start)
        assert found.min() >= 0 and found.max() < 2**HASH_BITS
        for column in found.T:  # nothing that ten features differ in falls together
            assert len(np.unique(column)) > 500


@given(seeds, st.integers(1, 12))
def test_figures_of_intervals_are_the_same_in_every_transposition(seed: int, semitones: int) -> None:
    rng = np.random.default_rng(seed)
    past, drawn = past_of(rng, 20), drawn_of(rng, 20)
    higher = past._replace(pitch=past.pitch + semitones)
    moved = drawn._replace(pitch=drawn.pitch + semitones)
    for field, kinds in enumerate(OF_FIELD):
        same = (keys(field, past, drawn) == keys(field, higher, moved)).all(axis=0)
        assert [bool(value) for value in same] == [kind in BY_INTERVALS for kind in KINDS[kinds]]


@given(seeds)
def test_a_harmony_is_heard_from_the_note_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    past, drawn = past_of(rng, 20), drawn_of(rng, 20)
    classes = (drawn.sounding[:, None] >> np.arange(12)) & 1
    moved = drawn._replace(
        reference=drawn.reference + 5, sounding=(np.roll(classes, 5, axis=1) << np.arange(12)).sum(axis=1)
    )
    column = FIGURES["pitch"].index("together interval1 harmony")
    assert (keys(1, past, drawn)[:, column] == keys(1, past, moved)[:, column]).all()


@settings(max_examples=40)
@given(seeds)
def test_no_key_tells_of_a_note_that_comes_later(seed: int) -> None:
    """With the notes after a prediction changed, its keys stay; the context knows nothing of the region."""
    rng = np.random.default_rng(seed)
    piece = random_piece(rng, 6, 3, 8)
    region = rng.random((6, 3)) < 0.4
    region[0] = False
    steps = build_steps(piece, region, 0, 6)
    asked = np.flatnonzero(steps.targets[:, 0] >= 0)
    at = int(rng.choice(asked))
    bar = steps.cell[at, 0]
    inside = region[piece.notes[:, 0], piece.notes[:, 1]]
    after = piece.notes[:, 0] > bar
    later = inside & after if steps.in_region[at] else inside | after
    notes = piece.notes.copy()
    notes[later, 3] = 127 - notes[later, 3]
    notes[later, 4] = (notes[later, 4] + 3) % 20
    changed = replace(piece, notes=notes[np.lexsort(notes[:, 3::-1].T)])
    told = build_steps(changed, region, 0, 6)
    here = np.flatnonzero((told.cell == steps.cell[at]).all(axis=1) & (told.in_region == steps.in_region[at]))
    there = np.flatnonzero((steps.cell == steps.cell[at]).all(axis=1) & (steps.in_region == steps.in_region[at]))
    columns = slice(MEMORY[0].start, MEMORY[-1].stop)
    assert (told.hints[here, columns] == steps.hints[there, columns]).all()
