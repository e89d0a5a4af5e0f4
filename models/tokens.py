"""Piece + region -> the steps the network reads and writes.

A step is one row of a sequence: a header for the piece, for a bar, for a track in a bar, or one note.
Every step is a small bag of numbered facts; the network adds their embeddings, so a note costs one
step however many facts it has. The layout of a sequence:

    PIECE                                      what is known of the whole; marked TEXT where words are given
    context, bar by bar:                       BAR, then per sounding track TRACK and its NOTEs;
                                               a cell of the region shows only that it is to be filled
    the region's cells, bar by bar:            BAR_TARGET, then per track TRACK_TARGET and its NOTEs

So whatever the user asks for (the next bars, a hole, a new track, everything), the network writes the
missing cells from left to right and sees all the rest, the future included.

After a TRACK, TRACK_TARGET or NOTE step comes either another note of the cell or the cell's end. That is
the only thing the network predicts, field by field: position (or END), pitch, duration, velocity, micro.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.hints import ECHOES, HINTS, NONE, ONSETS, Cells, Outlook, cell_order, note_table
from models.piece import CHORDS, DRUMS, DURATIONS, MAX_BAR, MICRO_LIMIT, UNKNOWN_CHORD, VELOCITY_BINS, Piece

IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]

KINDS = (
    "PIECE", "TEXT", "BAR", "BAR_FILL", "BAR_TARGET",
    "TRACK", "TRACK_FILL", "TRACK_TARGET", "NOTE", "NOTE_TARGET",
)  # fmt: skip
PIECE, TEXT, BAR, BAR_FILL, BAR_TARGET, TRACK, TRACK_FILL, TRACK_TARGET, NOTE, NOTE_TARGET = range(len(KINDS))
MAX_TRACKS = 32
CHORD_SLOTS = 4  # a bar's header shows the chord at each quarter of its length; a note shows its own
TEMPO_BINS = 32
WIDEST_INTERVAL = 24  # semitones from the cell's note before; wider ones count as that

ATTRIBUTES = ("density", "polyphony", "register", "note_length", "leaps", "syncopation")
ATTRIBUTE_SIZES = (10, 6, 17, 9, 5, 5)  # value 0 of each means: not said
PHRASE, PLANNED = 4, 8  # bars

# name -> how many values; a fact's id is its field's offset + value, and id 0 is "nothing".
FACTS = {
    "kind": len(KINDS),
    "slot": MAX_TRACKS,
    "program": DRUMS + 1,
    "position": MAX_BAR,
    "pitch": 128,
    "drum": 128,
    "pitch_class": 12,
    "duration": len(DURATIONS),
    "velocity": VELOCITY_BINS,
    "micro": 2 * MICRO_LIMIT + 1,
    "interval": 2 * WIDEST_INTERVAL + 1,
    "since": MAX_BAR,
    "chord": CHORDS,
    "length": MAX_BAR + 1,
    "denominator": 7,
    "tempo": TEMPO_BINS,
    "key": 25,
    "from_start": 6,
    "to_end": 6,
    "velocity_kind": 3,
    "timing_kind": 3,
    **{f"bar_chord_{slot}": CHORDS for slot in range(CHORD_SLOTS)},
    **dict(zip(ATTRIBUTES, ATTRIBUTE_SIZES, strict=True)),
}
OFFSET: dict[str, int] = {}
_total = 1
for _name, _size in FACTS.items():
    OFFSET[_name] = _total
    _total += _size
VOCABULARY = _total
WIDTH = 13  # the largest number of facts a step has
TEXT_WIDTH = 384  # numbers in a sentence vector
NO_TEXT = np.zeros((0, TEXT_WIDTH), dtype=np.float32)

# What the network writes for a note, in this order; position's last value means the end of the cell.
END = MAX_BAR
FIELDS = {
    "position": MAX_BAR + 1,
    "pitch": 256,  # 128..255 are the drum kit's keys
    "duration": len(DURATIONS),
    "velocity": VELOCITY_BINS,
    "micro": 2 * MICRO_LIMIT + 1,
}
FIELD_SIZES = tuple(FIELDS.values())


@dataclass(frozen=True, slots=True)
class Steps:
    """A sequence of L steps.

    facts: [L, WIDTH] fact ids, 0 where a step has fewer. time: [L] in grid ticks from the piece's start.
    cell: [L, 2] bar and track of the step (-1 where none). targets: [L, 5] the values of FIELDS that
    follow the step in its cell, all -1 where nothing is predicted and END, -1, -1, -1, -1 at a cell's end.
    chord: [L] id of the chord that sounds at the predicted note's place (UNKNOWN_CHORD where not known).
    in_region: [L] whether the prediction belongs to the region. text: [0 or 1, TEXT_WIDTH] the sentence vector
    that the first step carries, where something is said of the piece in words.
    """

    facts: IntArray
    time: IntArray
    cell: IntArray
    targets: IntArray
    chord: IntArray
    in_region: BoolArray
    hints: IntArray
    onsets: BoolArray
    text: FloatArray

    def __len__(self) -> int:
        return len(self.time)

    def part(self, first: int, stop: int | None = None) -> Steps:
        """Some of the steps; the words go with the first."""
        parts = {name: getattr(self, name)[first:stop] for name in Steps.__slots__ if name != "text"}
        return Steps(**parts, text=NO_TEXT if first else self.text)


class Header(NamedTuple):
    """What is said of the whole piece; 0 means not said. 1 = constant or on the grid, 2 = played."""

    velocity_kind: int = 0
    timing_kind: int = 0


def describe(piece: Piece) -> Header:
    """The header that fits a piece: whether its velocities vary, and whether it keeps micro-timing."""
    if not len(piece.notes):
        return Header()
    varied = len(np.unique(piece.notes[:, 5])) > 4
    played = np.mean(piece.notes[:, 6] != 0) > 0.2
    return Header(2 if varied else 1, 2 if played else 1)


def tempo_bin(bpm: IntArray | int) -> IntArray:
    """One of TEMPO_BINS log-spaced values between 24 and 320 bpm."""
    position = np.log(np.maximum(bpm, 1) / 24) / np.log(320 / 24) * (TEMPO_BINS - 1)
    return np.clip(np.rint(position), 0, TEMPO_BINS - 1).astype(np.int32)


def density_bin(notes_a_bar: NDArray[np.int64]) -> NDArray[np.int64]:
    """The density attribute of cells with so many notes: 1 for silence, 9 from 28 notes on."""
    return 1 + np.searchsorted(np.array([1, 2, 3, 5, 8, 12, 18, 28]), notes_a_bar, side="right")


def cell_attributes(piece: Piece) -> IntArray:
    """The attributes of every cell of a piece, computed from its notes: [B, T, len(ATTRIBUTES)]."""
    bars, tracks = len(piece.bars), len(piece.programs)
    notes = piece.notes
    cell = notes[:, 0] * tracks + notes[:, 1]
    size = bars * tracks

    def total(values: NDArray[np.float64] | BoolArray | IntArray) -> NDArray[np.float64]:
        return np.bincount(cell, weights=values, minlength=size).astype(np.float64)

    count = np.bincount(cell, minlength=size)
    onset = np.ones(len(notes), dtype=bool)
    onset[1:] = (notes[1:, :3] != notes[:-1, :3]).any(axis=1)
    chord_index = np.cumsum(onset) - 1
    chord_size = np.bincount(chord_index, minlength=1)
    polyphony = np.zeros(size, dtype=np.int64)
    if len(notes):
        np.maximum.at(polyphony, cell, chord_size[chord_index])
    onsets = np.maximum(total(onset), 1)
    filled = np.maximum(count, 1)
    first = notes[onset]
    leap = np.zeros(len(notes))
    same_cell = cell[onset][1:] == cell[onset][:-1]
    leap[np.flatnonzero(onset)[1:]] = same_cell & (np.abs(np.diff(first[:, 3])) > 2)
    sounding = count > 0
    drums = np.tile(piece.programs == DRUMS, bars)
    table = np.stack(
        [
            density_bin(count),
            np.minimum(polyphony, 5),
            np.where(drums, 0, 1 + (total(notes[:, 3]) / filled / 8).astype(int)),
            1 + (total(notes[:, 4]) / filled / 6).astype(int),
            np.where(drums, 0, 1 + np.minimum(total(leap) / onsets * 4, 3).astype(int)),
            1 + np.minimum(total(onset & (notes[:, 2] % 12 != 0)) / onsets * 4, 3).astype(int),
        ],
        axis=1,
    )
    table[~sounding, 1:] = 0
    return table.reshape(bars, tracks, len(ATTRIBUTES)).astype(np.int32)


def phrase_attributes(piece: Piece, region: BoolArray) -> IntArray:
    """What the cells of a region [B, T] are likely to be by the music around them: [B, T, len(ATTRIBUTES)].

    Where a track goes on, a cell is taken to be like the bar PHRASE bars before it in its track, or twice as many
    where that is in the region too. In a hole, it is the median of four bars: those PHRASE before and after it,
    and those just before and after the hole. 0, which says nothing, where there is no such bar, or one of another
    length; after PLANNED bars of the region; where nothing sounds in any of these bars; and where the track was
    silent for a phrase, or is in all four.
    """
    found, asked = cell_attributes(piece), np.zeros((*region.shape, len(ATTRIBUTES)), dtype=np.int32)
    sounds = found[:, :, 0] > 1
    for bar, track in np.argwhere(region).tolist():
        before = _outside(region[:, track], bar, -1)
        begins = 0 if before is None else before + 1
        if bar - begins >= PLANNED:
            continue
        around = [_outside(region[:, track], bar, -PHRASE), before]
        around += [_outside(region[:, track], bar, step) for step in (PHRASE, 1)]
        like = [place for place in around if place is not None and sounds[place].any()]
        like = [place for place in like if piece.bars[place, 0] == piece.bars[bar, 0]]
        if before is not None and any(place > bar for place in like):
            asked[bar, track] = _median(found[like, track])
        elif like[:1] == around[:1] and sounds[max(0, begins - PHRASE) : begins, track].any():
            asked[bar, track] = found[like[0], track]
    return asked


def _outside(inside: BoolArray, bar: int, step: int) -> int | None:
    """The first of the bars at bar + step, bar + 2 * step, ... that is not inside; None where none is left."""
    place = bar + step
    while 0 <= place < len(inside) and inside[place]:
        place += step
    return place if 0 <= place < len(inside) else None


def _median(cells: IntArray) -> IntArray:
    """The attributes in the middle of some cells', [n, len(ATTRIBUTES)]; those but density of the ones that sound.
    0, which says nothing, where none does."""
    sounding = cells[cells[:, 0] > 1]
    middle = np.zeros(len(ATTRIBUTES), dtype=np.int32)
    if len(sounding):
        middle[0] = np.floor(np.median(cells[:, 0]) + 0.5)
        if middle[0] > 1:
            middle[1:] = np.floor(np.median(sounding[:, 1:], axis=0) + 0.5)
    return middle


def chords_at(piece: Piece, bar: IntArray, position: IntArray) -> IntArray:
    """Id of the chord that sounds at each (bar, position); UNKNOWN_CHORD before the first one."""
    if not len(piece.chords):
        return np.full(len(bar), UNKNOWN_CHORD, dtype=np.int32)
    when = piece.chords[:, 0] * (MAX_BAR + 1) + piece.chords[:, 1]
    index = np.searchsorted(when, bar * (MAX_BAR + 1) + position, side="right") - 1
    return np.where(index >= 0, piece.chords[np.maximum(index, 0), 2], UNKNOWN_CHORD).astype(np.int32)


def _facts(rows: int, **values: IntArray | int) -> IntArray:
    """A [rows, WIDTH] table with one fact per keyword; a value of -1 leaves the fact out."""
    table = np.zeros((rows, WIDTH), dtype=np.int32)
    for column, (name, value) in enumerate(values.items()):
        value = np.broadcast_to(np.asarray(value, dtype=np.int32), rows)
        table[:, column] = np.where(value < 0, 0, OFFSET[name] + value)
    return table


def _said(value: IntArray) -> IntArray:
    """0 means not said: leave the fact out."""
    return np.where(value == 0, -1, value)


def note_facts(
    notes: IntArray, programs: IntArray, slots: IntArray, chord: IntArray, in_region: BoolArray
) -> IntArray:
    """Facts of NOTE steps. notes: [n, 7] rows of Piece.notes; programs, slots: [T]; chord, in_region: [n]."""
    program = programs[notes[:, 1]]
    drums = program == DRUMS
    follows = np.zeros(len(notes), dtype=bool)
    follows[1:] = (notes[1:, :2] == notes[:-1, :2]).all(axis=1)
    before = notes[np.maximum(np.arange(len(notes)) - 1, 0)]
    interval = np.clip(notes[:, 3] - before[:, 3], -WIDEST_INTERVAL, WIDEST_INTERVAL) + WIDEST_INTERVAL
    return _facts(
        len(notes),
        kind=np.where(in_region, NOTE_TARGET, NOTE),
        slot=slots[notes[:, 1]],
        program=program,
        position=notes[:, 2],
        pitch=np.where(drums, -1, notes[:, 3]),
        drum=np.where(drums, notes[:, 3], -1),
        pitch_class=np.where(drums, -1, notes[:, 3] % 12),
        duration=notes[:, 4],
        velocity=notes[:, 5],
        micro=notes[:, 6] + MICRO_LIMIT,
        interval=np.where(follows & ~drums, interval, -1),
        since=np.where(follows, notes[:, 2] - before[:, 2], -1),
        chord=_said(chord),
    )


def _bar_facts(piece: Piece, bars: IntArray, kind: IntArray | int) -> IntArray:
    header = piece.bars[bars]
    chords = {
        f"bar_chord_{slot}": _said(chords_at(piece, bars, header[:, 0] * slot // CHORD_SLOTS))
        for slot in range(CHORD_SLOTS)
    }
    return _facts(
        len(bars),
        kind=kind,
        length=header[:, 0],
        denominator=np.log2(np.clip(header[:, 1], 1, 64)).astype(np.int32),
        tempo=tempo_bin(header[:, 2]),
        key=_said(header[:, 3]),
        **chords,
    )


def _distance_bin(bars: IntArray) -> NDArray[np.int64]:
    """1 for the first (or last) bar, 2 for the second, 3 up to the fourth, 4 up to the eighth, 5 beyond."""
    return 1 + np.searchsorted(np.array([1, 2, 4, 8]), bars, side="right")


def build_steps(
    piece: Piece,
    region: BoolArray,
    first: int,
    stop: int,
    *,
    slots: IntArray | None = None,
    header: Header = Header(),
    attributes: IntArray | None = None,
    ends_known: bool = False,
    text: FloatArray = NO_TEXT,
    hinted: bool = True,
) -> Steps:
    """Lay out bars `first`..`stop`-1 of a piece as steps.

    region: [B, T] True for the cells to be filled; their notes in `piece` are the answer (give a piece
        without them to get the bare headers that generation starts from).
    slots: [T] the number each track goes by; tracks of a bar come in slot order.
    attributes: [B, T, len(ATTRIBUTES)] what is asked of the region's cells, 0 where nothing is.
    ends_known: whether bars say how far they lie from the piece's first and last bar.
    text: [0 or 1, TEXT_WIDTH] the sentence vector of what is said of the piece.
    hinted: whether steps say what is told of the notes after them; it costs more than all the rest.
    """
    tracks = len(piece.programs)
    slots = np.arange(tracks, dtype=np.int32) if slots is None else slots
    window = np.arange(first, stop, dtype=np.int32)
    lengths = piece.bars[:, 0]
    bar_time = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)

    notes = piece.notes[(piece.notes[:, 0] >= first) & (piece.notes[:, 0] < stop)]
    note_in_region = region[notes[:, 0], notes[:, 1]]
    note_chord = chords_at(piece, notes[:, 0], notes[:, 2])

    inside = region[first:stop]
    sounding = np.zeros_like(inside)
    sounding[notes[:, 0] - first, notes[:, 1]] = True
    any_fill: BoolArray = np.any(inside, axis=1)
    all_fill: BoolArray = np.all(inside, axis=1)

    target_bars = window[any_fill]
    context_cells = np.argwhere(sounding & ~inside)
    fill_cells = np.argwhere(inside & ~all_fill[:, None])
    target_cells = np.argwhere(inside)

    def cell_table(cells: NDArray[np.int64], kind: int) -> IntArray:
        bar, track = cells[:, 0] + first, cells[:, 1]
        asked = {}
        if kind == TRACK_TARGET and attributes is not None:
            asked = {name: _said(attributes[bar, track, i]) for i, name in enumerate(ATTRIBUTES)}
        return _facts(len(cells), kind=kind, slot=slots[track], program=piece.programs[track], **asked)

    bar_kind = np.where(all_fill, BAR_FILL, BAR)
    parts: list[tuple[IntArray, IntArray, IntArray, IntArray]] = []  # facts, section, bar, track

    def add(facts: IntArray, section: int | IntArray, bar: IntArray, track: IntArray | int) -> None:
        rows = len(facts)
        parts.append(
            (
                facts,
                np.broadcast_to(section, rows),
                bar,
                np.broadcast_to(np.asarray(track, dtype=np.int32), rows),
            )
        )

    add(_bar_facts(piece, window, bar_kind), 0, window, -1)
    add(_bar_facts(piece, target_bars, BAR_TARGET), 1, target_bars, -1)
    if ends_known:
        for facts, _, bar, _ in parts:
            facts[:, -2] = OFFSET["from_start"] + _distance_bin(bar)
            facts[:, -1] = OFFSET["to_end"] + _distance_bin(len(piece.bars) - 1 - bar)
    for cells, kind in ((context_cells, TRACK), (fill_cells, TRACK_FILL), (target_cells, TRACK_TARGET)):
        add(
            cell_table(cells, kind),
            int(kind == TRACK_TARGET),
            (cells[:, 0] + first).astype(np.int32),
            cells[:, 1].astype(np.int32),
        )
    heads = sum(len(part[0]) for part in parts)
    add(
        note_facts(notes, piece.programs, slots, note_chord, note_in_region),
        note_in_region.astype(np.int32),
        notes[:, 0],
        notes[:, 1],
    )
    facts, section, bar, track = (np.concatenate([part[i] for part in parts]) for i in range(4))
    position = np.concatenate([np.full(heads, -1), notes[:, 2]])
    pitch = np.concatenate([np.full(heads, -1), notes[:, 3]])
    slot = np.where(track < 0, -1, slots[track])
    order = np.lexsort((pitch, position, slot, bar, section))

    facts, bar, track = facts[order], bar[order], track[order]
    row_of_note = np.concatenate([np.full(heads, -1), np.arange(len(notes))])[order]
    is_note = row_of_note >= 0
    step_kind = facts[:, 0] - OFFSET["kind"]
    rows = len(facts)
    targets = np.full((rows, len(FIELDS)), -1, dtype=np.int32)
    chord = np.zeros(rows, dtype=np.int32)
    predicts = is_note | (step_kind == TRACK) | (step_kind == TRACK_TARGET)
    next_is_note = np.append(is_note[1:], False)
    followed = predicts & next_is_note
    following = row_of_note[1:][followed[:-1]]
    after = notes[following]
    drum_shift = np.where(piece.programs[after[:, 1]] == DRUMS, 128, 0)
    targets[followed] = np.stack(
        [after[:, 2], after[:, 3] + drum_shift, after[:, 4], after[:, 5], after[:, 6] + MICRO_LIMIT], axis=1
    )
    chord[followed] = note_chord[following]
    targets[predicts & ~next_is_note, 0] = END
    time = bar_time[bar] + np.maximum(position[order], 0)
    in_region = section[order] == 1

    hint_rows = np.full((rows + 1, HINTS), NONE, dtype=np.int32)
    onset_rows = np.zeros((rows + 1, ONSETS, MAX_BAR), dtype=bool)
    if hinted:
        asked = np.flatnonzero(predicts)
        cell_track = track[asked]
        back = bar[asked, None] - np.array(ECHOES)
        known = (back >= first) & (in_region[asked, None] | ~region[np.maximum(back, 0), cell_track[:, None]])
        last = row_of_note[asked]
        last_row = notes[np.maximum(last, 0)] if len(notes) else np.zeros((len(asked), 7), np.int32)
        shift = np.where(piece.programs[cell_track] == DRUMS, 128, 0)
        drawn = np.where((targets[asked, 0] == END) | (targets[asked, 0] < 0), NONE, targets[asked, 0])
        asking = Cells(
            bar=bar[asked],
            track=cell_track,
            order=cell_order(bar[asked], slots[cell_track]),
            in_region=in_region[asked],
            after=np.where(last >= 0, last_row[:, 2], NONE),
            above=np.where(last >= 0, last_row[:, 3] + shift, NONE),
            last=np.where(last >= 0, last_row[:, 4:7].T + np.array([[0], [0], [MICRO_LIMIT]]), NONE),
            known=known,
            begin=bar_time[bar[asked]],
            length=lengths[bar[asked]],
            program=piece.programs[cell_track],
            lane=np.zeros_like(cell_track),
        )
        outlook = Outlook(note_table(notes, piece.programs, slots, bar_time, note_in_region), asking)
        outlook.draw_position(drawn, bar_time[bar[asked]] + np.maximum(drawn, 0))
        outlook.draw_pitch(np.where(drawn == NONE, NONE, targets[asked, 1]))
        hint_rows[asked + 1], onset_rows[asked + 1] = outlook.table, outlook.onsets

    head = _facts(1, kind=PIECE, velocity_kind=header.velocity_kind, timing_kind=header.timing_kind)
    if len(text):
        head[0, -1] = OFFSET["kind"] + TEXT
    return Steps(
        facts=np.concatenate([head, facts]),
        time=np.concatenate([bar_time[first : first + 1], time]).astype(np.int32),
        cell=np.concatenate([[[-1, -1]], np.stack([bar, track], axis=1)]).astype(np.int32),
        targets=np.concatenate([np.full((1, len(FIELDS)), -1, dtype=np.int32), targets]),
        chord=np.concatenate([[0], chord]).astype(np.int32),
        in_region=np.concatenate([[False], in_region]),
        hints=hint_rows,
        onsets=onset_rows,
        text=text,
    )


def step_counts(piece: Piece) -> IntArray:
    """Upper bound of the steps each bar costs as context: [B]. A whole-bar target costs about as much again
    in headers, but its notes are counted once either way."""
    tracks = max(1, len(piece.programs))
    cells = np.zeros((len(piece.bars), tracks), dtype=bool)
    cells[piece.notes[:, 0], piece.notes[:, 1]] = True
    return (1 + cells.sum(axis=1) + np.bincount(piece.notes[:, 0], minlength=len(piece.bars))).astype(np.int32)
