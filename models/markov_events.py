"""What the Markov baseline looks at: predictions with the notes before them, and what a context is made of.

An event is the prediction of one note of a track, or of the end of its cell. `piece_events` lists those of a
whole piece to count, `window_events` those that the network makes in a window, so that both models are held
against the same notes. `FEATURES` are the small facts about an event that contexts are put together from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.piece import DRUMS, DURATIONS, GRID, MAX_BAR, MICRO_LIMIT, Piece
from models.tokens import BAR, BAR_FILL, END, FACTS, OFFSET, TRACK, TRACK_FILL, TRACK_TARGET, IntArray, Steps

ORDER = 5
NONE = -1000  # what a feature of a note that does not exist is
COLUMNS = ("time", "place", "pitch", "duration", "velocity", "micro")  # of `Events.notes`
TIME, PLACE, PITCH, DURATION, VELOCITY, MICRO = range(len(COLUMNS))
# Pieces are longer than the windows they are read in. Histories are cut in training as often as they are in
# use, so that the first notes of a window are predicted from counts of their like.
WINDOW_NOTES = 450
LARGEST_GAP = 2 * MAX_BAR


@dataclass(frozen=True, slots=True)
class Events:
    """Predictions to learn from or to make: n events over a table of notes.

    notes: [6, M], rows COLUMNS (time in grid ticks from the start of the piece or window, place in the
        bar), the notes of a track together and in order; the last one is a spare, so every `at` is one.
    at: [n] the number of the note that an event predicts; the notes before it are its history.
    begin: [n] the first note that belongs to the history.
    bar_time, length: [n] where the event's bar starts, and how long it is. program: [n].
    certain: [n] whether the cell is known to hold a note. is_note: [n], False where the cell ends here.
    """

    notes: IntArray
    at: IntArray
    begin: IntArray
    bar_time: IntArray
    length: IntArray
    program: IntArray
    certain: NDArray[np.bool_]
    is_note: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.at)

    def take(self, rows: NDArray[np.integer] | slice) -> Events:
        rest = [getattr(self, field.name)[rows] for field in fields(self)[1:]]
        return Events(self.notes, *rest)

    def column(self, lag: int, column: int) -> IntArray:
        """A column of the note `lag` before the predicted one (0: that note itself); NONE where there is none."""
        if lag == 0:
            return self.notes[column].take(self.at)
        row = self.at - lag
        return np.where(row >= self.begin, self.notes[column].take(row, mode="clip"), NONE)

    def has(self, lag: int) -> NDArray[np.bool_]:
        return self.at - lag >= self.begin


def join(parts: Sequence[Events]) -> Events:
    """Events of several pieces or windows as one."""
    shift = np.cumsum([0] + [part.notes.shape[1] for part in parts[:-1]])
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts], axis=-1)
        for field in fields(Events)
    }
    moved = np.repeat(shift, [len(part) for part in parts]).astype(np.int32)
    return Events(**{**columns, "at": columns["at"] + moved, "begin": columns["begin"] + moved})


_SPARE = np.zeros((len(COLUMNS), 1), np.int32)


def piece_events(piece: Piece) -> Events:
    """Every note and every end of a cell (empty cells too) of a piece that has notes."""
    tracks, bars = len(piece.programs), len(piece.bars)
    notes = piece.notes[np.argsort(piece.notes[:, 1], kind="stable")].astype(np.int32)
    bar_time = np.concatenate([[0], np.cumsum(piece.bars[:, 0])])
    counts = np.bincount(notes[:, 1] * bars + notes[:, 0], minlength=tracks * bars)
    ends = np.cumsum(counts)
    before = (ends - counts).reshape(tracks, bars)
    heard = np.cumsum(counts.reshape(tracks, bars).sum(axis=0))
    window = (heard + len(notes) % WINDOW_NOTES) // WINDOW_NOTES
    opens = np.searchsorted(window, window)  # the first bar of each bar's window
    track = np.concatenate([notes[:, 1], np.repeat(np.arange(tracks), bars)])
    bar = np.concatenate([notes[:, 0], np.tile(np.arange(bars), tracks)])
    table = np.stack([bar_time[notes[:, 0]] + notes[:, 2], *notes[:, 2:].T])
    return Events(
        notes=np.concatenate([table.astype(np.int32), _SPARE], axis=1),
        at=np.concatenate([np.arange(len(notes)), ends]).astype(np.int32),
        begin=before[track, opens[bar]].astype(np.int32),
        bar_time=bar_time[bar].astype(np.int32),
        length=piece.bars[bar, 0].astype(np.int32),
        program=piece.programs[track].astype(np.int32),
        certain=np.zeros(len(bar), dtype=bool),
        is_note=np.arange(len(bar)) < len(notes),
    )


def _fact(facts: IntArray, name: str) -> IntArray:
    """The value of a fact in each row of `Steps.facts`, -1 where there is none."""
    offset = facts - OFFSET[name]
    return np.where((offset >= 0) & (offset < FACTS[name]), offset, -1).max(axis=1)


def window_events(steps: Steps) -> tuple[Events, NDArray[np.int64]]:
    """The predictions of a window, in order, and the steps [n] that make them.

    A note of the context has the context's notes before it as history. When the region is written the whole
    context is known, so there the history is every note of the track that is earlier in time.
    """
    where = np.flatnonzero(steps.targets[:, 0] >= 0)
    kind = _fact(steps.facts, "kind")
    bar_rows = (kind == BAR) | (kind == BAR_FILL)
    head_rows = (kind == TRACK) | (kind == TRACK_FILL) | (kind == TRACK_TARGET)
    first_bar = steps.cell[bar_rows, 0].min()
    bar_time, bar_length = steps.time[bar_rows], _fact(steps.facts[bar_rows], "length")
    programs = np.zeros(steps.cell[:, 1].max() + 1, dtype=np.int32)
    programs[steps.cell[head_rows, 1]] = _fact(steps.facts[head_rows], "program")

    targets, in_region = steps.targets[where], steps.in_region[where]
    bar, track = steps.cell[where, 0] - first_bar, steps.cell[where, 1]
    is_note = targets[:, 0] != END
    pitch = targets[:, 1] - np.where(programs[track] == DRUMS, 128, 0)
    table = np.stack(
        [bar_time[bar] + targets[:, 0], targets[:, 0], pitch, *targets[:, 2:4].T, targets[:, 4] - MICRO_LIMIT]
    )

    # Two tables, one after the other: the context's notes, and all notes. A cell's end sorts after its notes.
    def key(whole: NDArray[np.bool_], rows: NDArray[np.int64] | slice) -> NDArray[np.int64]:
        group = whole * len(programs) + track[rows].astype(np.int64)
        inside = np.where(is_note[rows], targets[rows, 0] * 128 + pitch[rows], (MAX_BAR + 1) * 128)
        return (group * (len(bar_time) + 1) + bar[rows]) * 2**16 + inside

    in_context, anywhere = np.flatnonzero(is_note & ~in_region), np.flatnonzero(is_note)
    source = np.concatenate([in_context, anywhere])
    keys = key(np.arange(len(source)) >= len(in_context), source)
    order = np.argsort(keys)
    first_key = (in_region * len(programs) + track.astype(np.int64)) * (len(bar_time) + 1) * 2**16
    events = Events(
        notes=np.concatenate([table[:, source[order]].astype(np.int32), _SPARE], axis=1),
        at=np.searchsorted(keys[order], key(in_region, slice(None))).astype(np.int32),
        begin=np.searchsorted(keys[order], first_key).astype(np.int32),
        bar_time=bar_time[bar],
        length=bar_length[bar],
        program=programs[track],
        certain=~in_region,
        is_note=is_note,
    )
    return events, where


def _bar_and_place(events: Events, lag: int) -> IntArray:
    """The last note's place if it is in this bar, else how many bars ago it was."""
    place = events.column(1, TIME) - events.bar_time
    ago = np.minimum(-(place // np.maximum(events.length, 1)), 5)
    return np.where(events.has(1), np.where(place >= 0, place, -ago), NONE)


def _end(events: Events, lag: int) -> IntArray:
    """Where in this bar an earlier note falls silent."""
    length = DURATIONS[np.maximum(events.column(lag, DURATION), 0)]
    place = np.clip(events.column(lag, TIME) + length - events.bar_time, -1, MAX_BAR)
    return np.where(events.has(lag), place, NONE)


def _chord_size(events: Events, lag: int) -> IntArray:
    """How many of the last notes start together with the last one."""
    last = events.column(1, TIME)
    return sum((events.column(other, TIME) == last).astype(np.int32) for other in range(1, ORDER + 1))


def _since(events: Events, lag: int) -> IntArray:
    """Ticks from the note before to this one."""
    ticks = np.minimum(events.column(lag, TIME) - events.column(lag + 1, TIME), LARGEST_GAP)
    return np.where(events.has(lag + 1), ticks, NONE)


def together(events: Events, lag: int) -> IntArray:
    """Whether a note starts together with the one before it."""
    same = events.column(lag, TIME) == events.column(lag + 1, TIME)
    return np.where(events.has(lag + 1), same, NONE)


def _interval(events: Events, lag: int) -> IntArray:
    step = events.column(lag, PITCH) - events.column(lag + 1, PITCH)
    return np.where(events.has(lag + 1), step, NONE)


# A digit after a name is how many notes back; without one it is the predicted note itself, or its bar.
FEATURES: dict[str, Callable[[Events, int], IntArray]] = {
    "program": lambda events, lag: events.program,
    "length": lambda events, lag: events.length,
    "where": _bar_and_place,
    "chord": _chord_size,
    "end": _end,
    "since": _since,
    "together": together,
    "interval": _interval,
    "place": lambda events, lag: events.column(lag, PLACE),
    "beat": lambda events, lag: events.column(lag, PLACE) % GRID,
    "pitch": lambda events, lag: events.column(lag, PITCH),
    "duration": lambda events, lag: events.column(lag, DURATION),
    "velocity": lambda events, lag: events.column(lag, VELOCITY),
    "micro": lambda events, lag: events.column(lag, MICRO),
}
