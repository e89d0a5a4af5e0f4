"""The order of steps, and that what is to be written can not be read off what is given."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.hints import NONE, PROFILE_BARS, USUAL
from models.piece import DRUMS, MAX_BAR, MICRO_LIMIT, Piece
from models.tokens import (
    ATTRIBUTE_SIZES,
    ATTRIBUTES,
    BAR,
    BAR_FILL,
    BAR_TARGET,
    END,
    FACTS,
    FIELD_SIZES,
    FIELDS,
    KINDS,
    MAX_TRACKS,
    NOTE,
    NOTE_TARGET,
    OFFSET,
    PHRASE,
    PIECE,
    TEMPO_BINS,
    TRACK,
    TRACK_FILL,
    TRACK_TARGET,
    VOCABULARY,
    WIDTH,
    Header,
    Steps,
    build_steps,
    cell_attributes,
    density_bin,
    describe,
    phrase_attributes,
    step_counts,
    tempo_bin,
)
from tests.builders import random_piece, random_region

seeds = st.integers(0, 2**32 - 1)


class Case:
    """A random piece, a region and a window of it, laid out as steps."""

    def __init__(self, seed: int, **layout: object) -> None:
        self.rng = np.random.default_rng(seed)
        bars, tracks = int(self.rng.integers(1, 8)), int(self.rng.integers(1, 6))
        notes_a_bar = float(self.rng.choice([0, 1, 6, 20]))
        self.piece = random_piece(self.rng, bars, tracks, notes_a_bar, lengths=(96, 84, 36, 17, MAX_BAR))
        self.region = random_region(self.rng, self.piece, self.rng.random())
        self.first = int(self.rng.integers(0, bars))
        self.stop = int(self.rng.integers(self.first + 1, bars + 1))
        self.steps = self.build(self.piece, **layout)
        inside = (self.piece.notes[:, 0] >= self.first) & (self.piece.notes[:, 0] < self.stop)
        self.notes = self.piece.notes[inside]

    def build(self, piece: Piece, **layout: object) -> Steps:
        return build_steps(piece, self.region, self.first, self.stop, **layout)  # type: ignore[arg-type]


def kinds_of(steps: Steps) -> list[int]:
    return (steps.facts[:, 0] - OFFSET["kind"]).tolist()


def fact(row: np.ndarray, name: str) -> int | None:
    """The value that a step states for a fact."""
    found = [int(f) - OFFSET[name] for f in row if OFFSET[name] <= f < OFFSET[name] + FACTS[name]]
    return found[0] if found else None


def cells_inside(case: Case) -> list[tuple[int, int]]:
    return [(bar, track) for bar, track in np.argwhere(case.region).tolist() if case.first <= bar < case.stop]


@given(seeds)
def test_every_note_of_the_window_is_predicted_once(seed: int) -> None:
    case = Case(seed)
    predicted = case.steps.targets[:, 0] < END
    predicted &= case.steps.targets[:, 0] >= 0
    shift = np.where(case.piece.programs[case.notes[:, 1]] == DRUMS, 128, 0)
    # The step before a note is of the note's cell, so cell and target together are the note.
    found = np.concatenate([case.steps.cell[predicted], case.steps.targets[predicted]], axis=1)
    wanted = case.notes.copy()
    wanted[:, 3] += shift
    wanted[:, 6] += MICRO_LIMIT
    assert Counter(map(tuple, found.tolist())) == Counter(map(tuple, wanted.tolist()))
    inside = case.region[found[:, 0], found[:, 1]]
    assert (case.steps.in_region[predicted] == inside).all()


@given(seeds)
def test_each_cell_ends_once(seed: int) -> None:
    case = Case(seed)
    ends = case.steps.targets[:, 0] == END
    assert (case.steps.targets[ends, 1:] == -1).all()
    silent = Counter(map(tuple, case.steps.cell[ends].tolist()))
    sounding = {(bar, track) for bar, track in case.notes[:, :2].tolist()}
    # A cell of the region ends whether it sounds or not; any other has a header only if it sounds.
    assert silent == Counter(dict.fromkeys({*sounding, *cells_inside(case)}, 1))
    assert case.steps.in_region[ends].sum() == len(cells_inside(case))


@given(seeds)
def test_the_region_comes_after_the_whole_context(seed: int) -> None:
    case = Case(seed)
    kinds = np.array(kinds_of(case.steps))
    assert kinds[0] == PIECE and (kinds != PIECE)[1:].all()
    order = case.steps.in_region.astype(int)
    assert (np.diff(order) >= 0).all()
    given_kinds, asked_kinds = set(kinds[1:][order[1:] == 0].tolist()), set(kinds[order == 1].tolist())
    assert given_kinds <= {BAR, BAR_FILL, TRACK, TRACK_FILL, NOTE}
    assert asked_kinds <= {BAR_TARGET, TRACK_TARGET, NOTE_TARGET}
    context = case.steps.cell[(kinds == NOTE) | (kinds == TRACK)]
    assert not case.region[context[:, 0], context[:, 1]].any()
    bars = case.steps.cell[(kinds == BAR) | (kinds == BAR_FILL), 0].tolist()
    assert bars == list(range(case.first, case.stop))
    # Every cell that is to be filled is announced: by its own header, or with its whole bar.
    announced = {(b, t) for b, t in case.steps.cell[kinds == TRACK_FILL].tolist()}
    whole = case.steps.cell[kinds == BAR_FILL, 0].tolist()
    announced |= {(bar, track) for bar in whole for track in range(len(case.piece.programs))}
    assert announced == set(cells_inside(case))


@given(seeds)
def test_the_context_does_not_know_what_is_to_be_written(seed: int) -> None:
    case = Case(seed)
    outside = ~case.region[case.piece.notes[:, 0], case.piece.notes[:, 1]]
    empty = replace(case.piece, notes=case.piece.notes[outside])
    other = random_piece(case.rng, len(case.region), case.region.shape[1], 12, lengths=(17,)).notes
    other = other[case.region[other[:, 0], other[:, 1]]]
    mixed = np.concatenate([empty.notes, other])
    changed = replace(case.piece, notes=mixed[np.lexsort(mixed[:, 3::-1].T)])

    def context(piece: Piece) -> list[list[int]]:
        steps = case.build(piece)
        known = ~steps.in_region
        table = [steps.facts[known], steps.time[known, None], steps.cell[known], steps.targets[known]]
        return np.concatenate([*table, steps.chord[known, None]], axis=1).tolist()

    assert context(case.piece) == context(empty) == context(changed)

    def headers(piece: Piece) -> list[list[int]]:
        steps = case.build(piece)
        asked = steps.in_region & np.isin(steps.facts[:, 0] - OFFSET["kind"], [BAR_TARGET, TRACK_TARGET])
        return np.concatenate([steps.facts[asked], steps.time[asked, None], steps.cell[asked]], axis=1).tolist()

    assert headers(case.piece) == headers(empty) == headers(changed)


@given(seeds)
def test_a_sequence_is_grammatical(seed: int) -> None:
    case = Case(seed)
    steps, kinds = case.steps, kinds_of(case.steps)
    for index in range(1, len(steps)):
        kind, before = kinds[index], kinds[index - 1]
        same_cell = steps.cell[index].tolist() == steps.cell[index - 1].tolist()
        if kind in (NOTE, NOTE_TARGET):
            head = TRACK if kind == NOTE else TRACK_TARGET
            assert before in (kind, head) and same_cell
            place = (fact(steps.facts[index], "position"), steps.targets[index - 1, 1] % 128)
            assert place[0] == steps.targets[index - 1, 0]
            if before == kind:
                earlier = (fact(steps.facts[index - 1], "position"), steps.targets[index - 2, 1] % 128)
                assert earlier < place  # positions ascend, and so do the pitches of a chord
        elif kind in (TRACK, TRACK_FILL, TRACK_TARGET):
            assert before not in (PIECE,) and not same_cell
    # Bars ascend, and within a bar the tracks; a cell is visited once.
    for section in (0, 1):
        heads = [
            tuple(steps.cell[i].tolist())
            for i in range(1, len(steps))
            if steps.in_region[i] == section and kinds[i] not in (NOTE, NOTE_TARGET)
        ]
        assert heads == sorted(set(heads))


@given(seeds)
def test_predictions_lie_in_their_fields_and_facts_in_the_vocabulary(seed: int) -> None:
    case = Case(seed, ends_known=True, header=Header(2, 1))
    assert case.steps.facts.shape[1] == WIDTH
    assert case.steps.facts.min() >= 0 and case.steps.facts.max() < VOCABULARY
    for index, size in enumerate(FIELD_SIZES):
        assert case.steps.targets[:, index].min() >= -1 and case.steps.targets[:, index].max() < size
    for kind, row in zip(kinds_of(case.steps), case.steps.facts, strict=True):
        assert 0 <= kind < len(KINDS)
        if kind in (BAR, BAR_FILL, BAR_TARGET):
            assert 1 <= (fact(row, "from_start") or 0) <= 5 and 1 <= (fact(row, "to_end") or 0) <= 5


@given(seeds)
def test_slots_name_the_tracks_and_order_them(seed: int) -> None:
    case = Case(seed)
    tracks = len(case.piece.programs)
    slots = case.rng.permutation(MAX_TRACKS)[:tracks].astype(np.int32)
    steps = case.build(case.piece, slots=slots)
    has_track = steps.cell[:, 1] >= 0
    named = [fact(row, "slot") for row in steps.facts[has_track]]
    assert named == slots[steps.cell[has_track, 1]].tolist()
    kinds = np.array(kinds_of(steps))
    heads = has_track & ~np.isin(kinds, [NOTE, NOTE_TARGET])
    order = [
        (section, bar, slots[track])
        for section, (bar, track) in zip(steps.in_region[heads].tolist(), steps.cell[heads].tolist(), strict=True)
    ]
    assert order == sorted(order)

    def without_slots(steps: Steps) -> Counter[tuple[int, ...]]:
        facts = np.where((steps.facts >= OFFSET["slot"]) & (steps.facts < OFFSET["program"]), 0, steps.facts)
        return Counter(map(tuple, np.concatenate([facts, steps.cell, steps.time[:, None]], axis=1).tolist()))

    assert without_slots(steps) == without_slots(case.steps)


@given(seeds)
def test_steps_of_notes_state_their_time(seed: int) -> None:
    case = Case(seed)
    begins = np.concatenate([[0], np.cumsum(case.piece.bars[:, 0])])
    for kind, time, cell, row in zip(
        kinds_of(case.steps), case.steps.time, case.steps.cell, case.steps.facts, strict=True
    ):
        bar = case.first if kind == PIECE else cell[0]
        place = fact(row, "position") if kind in (NOTE, NOTE_TARGET) else 0
        assert time == begins[bar] + place


@given(seeds)
def test_step_counts_bound_the_context(seed: int) -> None:
    case = Case(seed)
    counts = step_counts(case.piece)
    steps = build_steps(case.piece, np.zeros_like(case.region), case.first, case.stop)
    assert len(steps) == 1 + counts[case.first : case.stop].sum()


@given(seeds)
def test_without_hints_all_else_is_the_same(seed: int) -> None:
    case = Case(seed)
    plain = case.build(case.piece, hinted=False)
    for name in Steps.__slots__:
        if name not in ("hints", "onsets"):
            assert (getattr(plain, name) == getattr(case.steps, name)).all()
    assert (plain.hints == NONE).all() and not plain.onsets.any()


@given(seeds)
def test_a_note_is_told_how_loud_it_was_near_by(seed: int) -> None:
    rng = np.random.default_rng(seed)
    piece = random_piece(rng, int(rng.integers(1, 20)), 2, 6, lengths=(24,))
    notes = piece.notes.copy()
    notes[:, 2:4] = notes[:, 2:4] // 8 * 8  # so that places and pitches come again
    _, first = np.unique(notes[:, :4], axis=0, return_index=True)
    piece = replace(piece, notes=notes[first])
    region = random_region(rng, piece, rng.random())
    steps = build_steps(piece, region, 0, len(piece.bars))
    heard: list[tuple[int, int, int, int, int]] = []
    for at in np.flatnonzero(steps.targets[:, 1] >= 0):
        (bar, track), (place, pitch, _, velocity, _) = steps.cell[at].tolist(), steps.targets[at].tolist()
        near = [note for note in heard if note[0] == track and abs(note[1] - bar) <= PROFILE_BARS]
        for told, alike in zip(
            steps.hints[at, USUAL].tolist(),
            ([note for note in near if note[3] == pitch], [note for note in near if note[2:4] == (place, pitch)]),
            strict=True,
        ):
            mean = np.mean([note[4] for note in alike]) if alike else NONE
            assert told == np.floor(mean + 0.5)
        heard.append((track, bar, place, pitch, velocity))


@given(seeds)
def test_attributes_are_what_the_notes_show(seed: int) -> None:
    case = Case(seed)
    piece = case.piece
    table = cell_attributes(piece)
    assert table.shape == (*case.region.shape, len(ATTRIBUTES))
    assert (table >= 0).all() and (table < np.array(ATTRIBUTE_SIZES)).all()
    for bar in range(len(piece.bars)):
        for track, program in enumerate(piece.programs.tolist()):
            mine = piece.notes[(piece.notes[:, 0] == bar) & (piece.notes[:, 1] == track)]
            density, polyphony, register, *_ = table[bar, track].tolist()
            assert density == int(density_bin(np.array(len(mine))))
            together = Counter(mine[:, 2].tolist())
            assert polyphony == min(5, max(together.values(), default=0))
            if len(mine) and program != DRUMS:
                assert register == 1 + int(mine[:, 3].mean() / 8)
            else:
                assert register == 0


@given(seeds)
def test_attributes_are_told_to_the_region_alone(seed: int) -> None:
    case = Case(seed)
    attributes = cell_attributes(case.piece)
    steps = case.build(case.piece, attributes=attributes)
    for kind, cell, row in zip(kinds_of(steps), steps.cell.tolist(), steps.facts, strict=True):
        told = [fact(row, name) or 0 for name in ATTRIBUTES]
        if kind == TRACK_TARGET:
            assert told == attributes[cell[0], cell[1]].tolist()
        else:
            assert told == [0] * len(ATTRIBUTES)


@given(seeds)
def test_the_music_around_says_what_is_likely(seed: int) -> None:
    rng = np.random.default_rng(seed)
    piece = random_piece(rng, int(rng.integers(1, 24)), 3, float(rng.choice([0.3, 4])), lengths=(96, 72))
    region = random_region(rng, piece, rng.random())
    piece = replace(piece, notes=piece.notes[~region[piece.notes[:, 0], piece.notes[:, 1]]])
    found, told = cell_attributes(piece), phrase_attributes(piece, region)
    assert not told[~region].any()
    for bar, track in np.argwhere(told.any(axis=2)).tolist():
        like = [
            source
            for source in np.flatnonzero(~region[:, track])
            if piece.bars[source, 0] == piece.bars[bar, 0] and found[source, :, 0].max() > 1
        ]
        assert like
        before = [source for source in range(bar - PHRASE, -1, -PHRASE) if source in like]
        if region[bar:, track].all():  # the track goes on
            assert before and (told[bar, track] == found[before[0], track]).all()
        else:
            assert (told[bar, track, 0] >= found[like, track, 0].min()).all()
            assert (told[bar, track] <= found[like, track].max(axis=0)).all()


def two_lines(*bars: range) -> Piece:
    """A melody track and another: four crotchets in each of the bars that are named for each, of 16 in all."""
    played = sorted((bar, track) for track, places in enumerate(bars) for bar in places)
    notes = [[bar, track, 24 * beat, 60, 20, 16, 0] for bar, track in played for beat in range(4)]
    table = np.tile(np.array([[96, 4, 120, 0]], dtype=np.int32), (16, 1))
    none = np.zeros((0, 3), dtype=np.int32)
    return Piece(np.zeros(2, dtype=np.int32), table, np.array(notes, dtype=np.int32), none)


def test_a_phrase_before_says_nothing_where_there_is_no_music_to_go_by() -> None:
    region = np.zeros((16, 2), dtype=bool)
    region[6:, 0] = True
    told = phrase_attributes(two_lines(range(6), range(16)), region)[:, 0]
    assert (told[6:14] == told[6]).all() and told[6].any() and not told[:6].any()
    assert not told[14:].any()  # nobody plans further ahead
    # The other track alone sounds: this one is not told to be silent, but to rest where it rested.
    assert not phrase_attributes(two_lines(range(2), range(16)), region).any()
    resting = phrase_attributes(two_lines(range(3), range(16)), region)[:, 0, 0]
    assert resting[6] == 4 and (resting[7:10] == 1).all() and resting[10] == 4
    # Nothing at all sounds in bars 3 to 5.
    region[:] = [[False, False]] * 6 + [[True, True]] * 10
    empty = phrase_attributes(two_lines(range(3), range(3)), region)[:, 0, 0]
    assert empty[6] == 4 and not empty[7:10].any()


def test_a_hole_is_like_the_middle_of_the_bars_around_it() -> None:
    notes = {1: 2, 2: 9, 3: 4, 4: 4, 7: 13, 9: 2, 10: 8}  # notes in each bar
    rows = [[bar, 0, 6 * place, 60, 20, 16, 0] for bar, count in notes.items() for place in range(count)]
    table = np.tile(np.array([[96, 4, 120, 0]], dtype=np.int32), (12, 1))
    piece = Piece(np.zeros(1, dtype=np.int32), table, np.array(rows, dtype=np.int32), np.zeros((0, 3), np.int32))
    region = np.zeros((12, 1), dtype=bool)
    region[5:7] = True
    found, told = cell_attributes(piece)[:, 0, 0], phrase_attributes(piece, region)[:, 0]
    assert found[[1, 4, 7, 9]].tolist() == [3, 4, 7, 3] and told[5, 0] == 4
    assert found[[2, 4, 7, 10]].tolist() == [6, 4, 7, 6] and told[6, 0] == 6
    # The track rests in most of these bars: it is told to rest, and nothing else.
    resting = replace(piece, notes=piece.notes[np.isin(piece.notes[:, 0], [1, 2])])
    other = np.array([[bar, 1, 0, 60, 20, 16, 0] for bar in range(12)], dtype=np.int32)
    both = np.concatenate([resting.notes, other])
    both = both[np.lexsort((both[:, 2], both[:, 1], both[:, 0]))]
    pair = replace(piece, programs=np.zeros(2, dtype=np.int32), notes=both)
    rest = phrase_attributes(pair, np.concatenate([region, np.zeros_like(region)], axis=1))[:, 0]
    assert rest[5].tolist() == [1, 0, 0, 0, 0, 0]


def test_a_header_describes_its_piece() -> None:
    rng = np.random.default_rng(0)
    piece = random_piece(rng, 8, 2, 10)
    assert describe(piece) == Header(2, 2)
    flat = piece.notes.copy()
    flat[:, 5:] = [20, 0]
    assert describe(replace(piece, notes=flat)) == Header(1, 1)
    assert describe(replace(piece, notes=flat[:0])) == Header(0, 0)


@pytest.mark.parametrize(("bpm", "expected"), [(1, 0), (24, 0), (320, TEMPO_BINS - 1), (9999, TEMPO_BINS - 1)])
def test_tempo_bins_end_where_tempos_do(bpm: int, expected: int) -> None:
    assert int(tempo_bin(bpm)) == expected


def test_facts_do_not_overlap() -> None:
    spans = sorted((OFFSET[name], OFFSET[name] + size) for name, size in FACTS.items())
    assert spans[0][0] == 1 and spans[-1][1] == VOCABULARY
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert list(FIELDS.values()) == list(FIELD_SIZES)
