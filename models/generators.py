"""Who can fill a region: the protocol, and the Music Transformer behind it.

A generator is given a Task (music on the grid, the cells to fill, the rules) and writes any number of
candidates. Long regions are written in stretches that fit the network's window, each stretch seeing what
the candidate has written before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.adapters import Adapter
from models.choice import Around, Choice
from models.constraints import Draft, Rules
from models.drawing import Sampling
from models.engine import Engine, Plan
from models.errors import Cancelled
from models.hints import Notes, note_table
from models.lanes import LANES, Context
from models.piece import Piece
from models.recall import passage_like, with_passage
from models.tokens import (
    MAX_TRACKS,
    NO_TEXT,
    OFFSET,
    TRACK_TARGET,
    Header,
    Steps,
    build_steps,
    chords_at,
    step_counts,
)

WINDOW = 640  # steps the network has seen at once in training
MOST_BARS = 16  # of the region in one stretch
DRAFTS = 4  # of each candidate, of which the best is kept
DRAFT = 20_011  # sets the seeds of further drafts apart from those of other tries
MOST_RECALLED = 9  # bars of what a long piece has said before
RECALLED_SHARE = 0.35  # of the window's room that they may take
Rows = list[tuple[int, int, int, int, int, int, int]]


@dataclass(frozen=True)
class Task:
    """What a generator is asked for.

    piece: the music, without any notes in the region. region: [B, T]. attributes: [B, T, A] or None. text: [0 or 1,
    TEXT_WIDTH] the sentence vector of what was asked for in words.
    """

    piece: Piece
    region: NDArray[np.bool_]
    rules: Rules
    header: Header
    attributes: NDArray[np.int32] | None
    ends_known: bool
    text: NDArray[np.float32] = field(default_factory=lambda: NO_TEXT)

    @cached_property
    def bars(self) -> list[int]:
        """Grid bars that hold a cell of the region, ascending."""
        return [int(bar) for bar in np.flatnonzero(self.region.any(axis=1))]

    @cached_property
    def steps_to_write(self) -> NDArray[np.float64]:
        """Steps that each bar of the region is expected to take, going by how dense the music is and by the density
        that is asked for: [B]."""
        piece = self.piece
        cells = len(np.unique(piece.notes[:, 0] * len(piece.programs) + piece.notes[:, 1]))
        usual = max(4.0, 1.3 * (len(piece.notes) / cells if cells else 6.0))
        steps = np.where(self.region.any(axis=1), 2.0, 0.0)
        for (bar, _), cell in self.rules.cells.items():
            least, most = cell.density
            steps[bar] += 1 + min(max(usual, least), most)
        return steps


class Progress(NamedTuple):
    """A candidate has finished a bar of the region; `done` of `total` bars. rows: its notes of that bar."""

    candidate: int
    bar: int
    done: int
    total: int
    rows: Rows


class Generator(Protocol):
    """Anything that fills regions."""

    @property
    def model_hash(self) -> str:
        """What made a candidate: equal hash, seed and request mean equal notes."""
        ...

    def generate(
        self, task: Task, seeds: Sequence[Sequence[int]], sampling: Sampling, cancelled: Callable[[], bool]
    ) -> Iterator[Progress]:
        """Write one candidate a seed (a few integers). Every bar is reported, its notes with it; a candidate whose
        first bar is reported once more has changed, and what was reported of it before no longer counts."""
        ...


class TransformerGenerator:
    """The Music Transformer through the engine.

    choice: what makes the best of several drafts the candidate; without it the first draft is. While it is drawn,
    a candidate is reported as its first draft; where a later one is kept, once more from its first bar on.
    """

    def __init__(self, engine: Engine, choice: Choice | None = None) -> None:
        self._engine, self._choice = engine, choice
        self._styled: dict[tuple[tuple[str, float], ...], TransformerGenerator] = {}  # the last one

    def styled(self, styles: Sequence[tuple[Adapter, float]]) -> TransformerGenerator:
        """This generator with styles of some strengths; the last mixture is kept at hand."""
        mixture = tuple((adapter.hash, strength) for adapter, strength in styles)
        if mixture not in self._styled:
            self._styled = {mixture: TransformerGenerator(self._engine.styled(styles), self._choice)}
        return self._styled[mixture]

    @property
    def model_hash(self) -> str:
        return self._engine.model_hash

    def warm(self, task: Task) -> None:
        """Read the context of a task before anything is asked of it, so that the first bar comes sooner."""
        self._engine.prefill(_view(task, stretches(task)[0], task.rules.draft()).context)

    def generate(
        self,
        task: Task,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Progress]:
        lanes = LANES // 2 if sampling.guidance != 1 and len(task.text) else LANES
        choice = self._choice if sampling.temperature > 0 else None
        drafts = DRAFTS if choice else 1
        around = Around(task) if choice else None
        stale = around.recogniser.knows_last if around and around.known else _never
        drawn = [(*seed, *((DRAFT, draft) if draft else ())) for draft in range(drafts) for seed in seeds]
        heard: list[list[Progress]] = [[] for _ in drawn]
        for first in range(0, len(drawn), lanes):
            for progress in self._generate_group(task, drawn[first : first + lanes], sampling, cancelled, stale):
                progress = progress._replace(candidate=progress.candidate + first)
                heard[progress.candidate].append(progress)
                if progress.candidate < len(seeds):
                    yield progress
        if choice is None or around is None:
            return
        for candidate in range(len(seeds)):
            mine = heard[candidate :: len(seeds)]
            best = choice.best(around, [[row for progress in draft for row in progress.rows] for draft in mine])
            if best:
                yield from (progress._replace(candidate=candidate) for progress in mine[best])

    def _generate_group(
        self,
        task: Task,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        cancelled: Callable[[], bool],
        stale: Callable[[Draft], bool],
    ) -> Iterator[Progress]:
        drafts = [task.rules.draft() for _ in seeds]
        randoms = [np.random.default_rng(seed) for seed in seeds]
        reported = [0] * len(seeds)
        guided = sampling.guidance != 1 and len(task.text) > 0
        tasks = [task, replace(task, text=NO_TEXT)] if guided else [task]
        for stretch in stretches(task):
            views = [[_view(t, stretch, d) for d in (drafts if reported[0] else drafts[:1])] for t in tasks]
            contexts: list[list[Context]] = []
            for seen in views:
                contexts.append([])
                for view in seen:
                    if cancelled():
                        raise Cancelled
                    contexts[-1].append(self._engine.prefill(view.context))
                contexts[-1] *= len(drafts) // len(seen)
            first, last = views[0][0], len(views[0]) - 1
            notes = [views[0][min(i, last)].notes for i in range(len(drafts))]
            wordless = contexts[1] if guided else ()
            writing = self._engine.write(
                contexts[0], notes, first.plan, drafts, randoms, sampling, cancelled, wordless, stale
            )
            for cell in writing:
                if cell.track == first.last_track[cell.bar]:
                    done = reported[cell.candidate] = reported[cell.candidate] + 1
                    rows = _rows_of_last_bar(drafts[cell.candidate])
                    yield Progress(cell.candidate, cell.bar, done, len(task.bars), rows)


def _never(_: Draft) -> bool:
    return False


def _rows_of_last_bar(draft: Draft) -> Rows:
    """The notes of the bar that a draft is in, which are its last."""
    first = len(draft.rows)
    while first and draft.rows[first - 1][0] == draft.place[0]:
        first -= 1
    return draft.rows[first:]


class _View(NamedTuple):
    """What the network sees of a task for one stretch: context, its notes, plan, and each bar's last track."""

    context: Steps
    notes: Notes
    plan: Plan
    last_track: dict[int, int]


def stretches(task: Task) -> list[list[int]]:
    """The region's bars in runs that leave room for context in the window."""
    writing = task.steps_to_write
    seeing = step_counts(task.piece)
    result: list[list[int]] = []
    written = seen = 0.0
    for bar in task.bars:
        written += writing[bar]
        seen += seeing[bar]
        far = bool(result) and bar - result[-1][0] >= MOST_BARS
        if not result or far or written > WINDOW * 0.5 or written + seen > WINDOW * 0.75:
            result.append([])
            written, seen = writing[bar], float(seeing[bar])
        result[-1].append(bar)
    return result


def _view(task: Task, stretch: list[int], draft: Draft) -> _View:
    """Lay out the window around a stretch, with what the draft has written so far as context."""
    piece = task.piece
    if draft.rows:
        notes = np.concatenate([piece.notes, np.array(draft.rows, dtype=np.int32)])
        piece = replace(piece, notes=notes[np.lexsort(notes[:, 3::-1].T)])
    now = np.zeros_like(task.region)
    now[stretch] = task.region[stretch]
    # All of the region's tracks, also those of other stretches: every candidate shows the same tracks.
    tracks = _seen_tracks(piece, task.region, stretch)
    # Cells of later stretches are neither known nor asked for yet: the window ends before them.
    later = [bar for bar in task.bars if bar > stretch[-1]]
    writing = float(task.steps_to_write[stretch].sum())
    limit = later[0] if later else len(piece.bars)
    piece, first, stop = window_with_memory(piece, writing, stretch, limit)
    narrow, region = _narrow(piece, now, tracks)
    attributes = None if task.attributes is None else task.attributes[:, tracks]
    steps = build_steps(
        narrow,
        region,
        first,
        stop,
        header=task.header,
        attributes=attributes,
        ends_known=task.ends_known,
        text=task.text,
        hinted=False,  # the engine looks up its own, for what it draws alone
    )
    headers = steps.in_region
    split = int(np.flatnonzero(headers)[0])
    programs, slots = piece.programs, np.full(len(piece.programs), 0, dtype=np.int32)
    slots[tracks] = np.arange(len(tracks))
    cells = steps.cell[split:].copy()
    cells[:, 1] = np.where(cells[:, 1] >= 0, tracks[cells[:, 1]], -1)
    plan_steps = replace(steps.part(split), cell=cells)
    lengths = piece.bars[:, 0]
    chords = {
        bar: chords_at(piece, np.full(lengths[bar], bar, np.int32), np.arange(lengths[bar], dtype=np.int32))
        for bar in stretch
    }
    kinds = plan_steps.facts[:, 0] - OFFSET["kind"]
    last_track = {
        int(bar): int(track) for (bar, track), kind in zip(cells, kinds, strict=True) if kind == TRACK_TARGET
    }
    bar_time = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32)
    inside = (piece.notes[:, 0] >= first) & (piece.notes[:, 0] < stop) & np.isin(piece.notes[:, 1], tracks)
    rows = piece.notes[inside & ~now[piece.notes[:, 0], piece.notes[:, 1]]]
    notes_seen = note_table(rows, programs, slots, bar_time, np.zeros(len(rows), dtype=bool))
    plan = Plan(plan_steps, programs, slots, chords, first, bar_time)
    return _View(steps.part(0, split), notes_seen, plan, last_track)


def window_with_memory(piece: Piece, writing: float, stretch: list[int], limit: int) -> tuple[Piece, int, int]:
    """The piece with what it has said before in sight of a stretch, and the window's first and end bar."""
    first, stop = window_around(piece, writing, stretch, limit)
    known = np.ones(len(piece.bars), dtype=bool)
    known[stretch], known[limit:] = False, False
    passage = passage_like(piece, stretch, (first, stop), known, MOST_RECALLED)
    cost = float(step_counts(piece)[passage].sum())
    if not passage or cost > RECALLED_SHARE * (WINDOW - writing):
        return piece, first, stop
    nearest, end = window_around(piece, writing + cost, stretch, limit)
    longer, begin = with_passage(piece, passage, nearest)
    return (longer, begin, end) if begin < nearest else (piece, first, stop)


def _seen_tracks(piece: Piece, region: NDArray[np.bool_], stretch: list[int]) -> NDArray[np.int64]:
    """Tracks the network is shown: those it writes, then the busiest, at most MAX_TRACKS, in score order."""
    near = np.abs(piece.notes[:, 0] - stretch[0]) < 2 * MOST_BARS
    asked: NDArray[np.bool_] = np.any(region, axis=0)
    busy = np.bincount(piece.notes[near, 1], minlength=len(piece.programs))
    rank = np.argsort(-(busy + asked * 1_000_000), kind="stable")[:MAX_TRACKS]
    used = rank[(busy[rank] > 0) | asked[rank]]
    return np.sort(used)


def _narrow(piece: Piece, region: NDArray[np.bool_], tracks: NDArray[np.int64]) -> tuple[Piece, NDArray[np.bool_]]:
    renumber = np.full(len(piece.programs), -1, dtype=np.int32)
    renumber[tracks] = np.arange(len(tracks))
    notes = piece.notes[renumber[piece.notes[:, 1]] >= 0].copy()
    notes[:, 1] = renumber[notes[:, 1]]
    return replace(piece, programs=piece.programs[tracks], notes=notes), region[:, tracks]


def window_around(piece: Piece, writing: float, stretch: list[int], limit: int) -> tuple[int, int]:
    """First and end bar of the context: as many bars as fit, three before the stretch for one after it.

    writing: steps that the stretch itself is expected to take. limit: the bar the window ends before.
    """
    counts = step_counts(piece)
    first, stop = stretch[0], stretch[-1] + 1
    room = WINDOW - writing - float(counts[first:stop].sum())
    while first > 0 or stop < limit:
        before = first > 0 and (stop >= limit or stretch[0] - first <= 3 * (stop - 1 - stretch[-1]))
        bar = first - 1 if before else stop
        room -= float(counts[bar])
        if room < 0:
            break
        first, stop = (bar, stop) if before else (first, bar + 1)
    return first, stop
