"""What the network sees in training: random windows of random pieces with a fresh random region each time.

Every draw is a function of (seed, step, row), so a run that is stopped and resumed, or spread over several
processes, sees the same examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.hints import HINTS, NONE, ONSETS
from models.piece import DRUMS, MAX_BAR, NO_CHORD, UNKNOWN_CHORD, VELOCITY_BINS, Piece
from models.tokens import (
    FIELDS,
    MAX_TRACKS,
    NO_TEXT,
    WIDTH,
    Header,
    Steps,
    build_steps,
    cell_attributes,
    describe,
    step_counts,
)
from models.training.shards import TEXT_STEP, Item

# How often a set is visited relative to its size in notes. Half of all notes are Polish scores: capped;
# small sets of what musicians ask for most (band music, played drums, pop) are raised.
SET_WEIGHTS = {
    "mma-backing-tracks": 2.4,
    "polish-scores": 0.45,
    "mcgill-billboard-chords": 1.0,
    "pop909": 2.0,
    "freedoom-music": 4.0,
    "lmms-demos": 4.0,
    "groove-midi": 7.0,
    "hydrogen-drum-patterns": 3.0,
    "openewld-leadsheets": 3.0,
}
TASKS = {"continue": 0.4, "accompany": 0.2, "fill": 0.2, "scatter": 0.1, "all": 0.1}


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of packed windows. facts: [n, L, WIDTH]; time: [n, L]; window: [n, L] number of the window within
    its row, -1 for padding; targets: [n, L, 5]; chord, in_region: [n, L]; text: [k, TEXT_WIDTH] the sentence
    vectors of the rows and steps text_at: [k, 2]."""

    facts: NDArray[np.int32]
    time: NDArray[np.int32]
    window: NDArray[np.int32]
    targets: NDArray[np.int32]
    chord: NDArray[np.int32]
    in_region: NDArray[np.bool_]
    hints: NDArray[np.int32]
    onsets: NDArray[np.bool_]
    text: NDArray[np.float32]
    text_at: NDArray[np.int64]


def usable(piece: Piece) -> bool:
    return len(piece.notes) >= 8 and len(piece.programs) >= 1 and len(piece.bars) < 30_000


def set_weight(item: Item) -> float:
    """How often a piece is visited for its size."""
    return SET_WEIGHTS.get(str(item.info["set"]), 1.0)


def as_int32(piece: Piece) -> Piece:
    return replace(piece, notes=piece.notes.astype(np.int32))


def keep_tracks(piece: Piece, keep: NDArray[np.int64]) -> Piece:
    """The piece with only the tracks in `keep`, numbered anew."""
    renumber = np.full(len(piece.programs), -1, dtype=np.int32)
    renumber[keep] = np.arange(len(keep))
    notes = piece.notes[renumber[piece.notes[:, 1]] >= 0].copy()
    notes[:, 1] = renumber[notes[:, 1]]
    order = np.lexsort(notes[:, 3::-1].T)
    return replace(piece, programs=piece.programs[keep], notes=notes[order])


def transpose(piece: Piece, semitones: int) -> Piece:
    """Pitches, keys and chords moved together; drums stay. Notes that would leave 0..127 move by octaves."""
    notes = piece.notes.copy()
    pitched = piece.programs[notes[:, 1]] != DRUMS
    moved = notes[:, 3] + semitones
    moved = np.where(moved > 127, moved - 12, np.where(moved < 0, moved + 12, moved))
    notes[:, 3] = np.where(pitched, moved, notes[:, 3])
    notes = notes[np.lexsort(notes[:, 3::-1].T)]  # an octave may have changed the order in a chord
    bars = piece.bars.copy()
    key = bars[:, 3] - 1
    bars[:, 3] = np.where(key >= 0, 1 + key // 12 * 12 + (key + semitones) % 12, 0)
    chords = piece.chords.copy()
    named = (chords[:, 2] != NO_CHORD) & (chords[:, 2] != UNKNOWN_CHORD)
    root, quality = np.divmod(chords[:, 2] - 1, 16)
    chords[:, 2] = np.where(named, 1 + (root + semitones) % 12 * 16 + quality, chords[:, 2])
    return replace(piece, bars=bars, notes=notes, chords=chords)


def random_region(
    rng: np.random.Generator, first: int, stop: int, bars: int, tracks: int, task: str | None = None
) -> NDArray[np.bool_]:
    """A region [bars, tracks] inside `first`..`stop`: a continuation, new tracks, a hole, single cells or all."""
    region = np.zeros((bars, tracks), dtype=bool)
    span = stop - first
    task = task or str(rng.choice(list(TASKS), p=list(TASKS.values())))
    if task == "accompany" and tracks == 1:
        task = "continue"
    some = rng.permutation(tracks)[: rng.integers(1, max(2, tracks))]
    if task == "continue":
        region[stop - min(int(rng.integers(1, 9)), max(1, span - 1)) : stop] = True
    elif task == "accompany":
        region[first:stop, some] = True
    elif task == "fill":
        size = int(rng.integers(1, max(2, min(8, span - 1)) + 1))
        start = first + int(rng.integers(0, max(1, span - size)))
        region[start : min(stop, start + size), some if rng.random() < 0.5 else slice(None)] = True
    elif task == "scatter":
        region[first:stop] = rng.random((span, tracks)) < rng.uniform(0.1, 0.7)
    else:
        region[first:stop] = True
    return region


def choose_window(counts: NDArray[np.int32], first: int, budget: int) -> int:
    """The bar after the last one that fits when bars from `first` on cost `counts` steps; at least one bar."""
    total = np.cumsum(counts[first:])
    return first + max(1, int(np.searchsorted(total, budget, side="right")))


class Corpus:
    """Pieces to draw from, each as often as its notes and its set's weight say."""

    def __init__(self, items: list[Item], augment: bool = True) -> None:
        self.items = [item for item in items if usable(item.piece)]
        if not self.items:
            raise ValueError("no usable piece")
        weights = [len(item.piece.notes) * set_weight(item) for item in self.items]
        self._cumulative = np.cumsum(weights) / np.sum(weights)
        self._augment = augment

    def draw(self, rng: np.random.Generator, budget: int) -> Steps:
        """One window of at most `budget` steps."""
        item = self.items[int(np.searchsorted(self._cumulative, rng.random()))]
        piece = as_int32(item.piece)
        if self._augment:
            piece = augment(rng, piece)
        counts = step_counts(piece)
        region_bars = len(piece.bars)
        first = int(rng.integers(0, max(1, region_bars - 2)))
        # Headers of the region come on top of the notes, and a window that is cut loses its region first.
        stop = choose_window(counts, first, int(budget * 0.85))
        tracks = len(piece.programs)
        region = random_region(rng, first, stop, region_bars, tracks)
        steps = build_steps(
            piece,
            region,
            first,
            stop,
            slots=rng.permutation(MAX_TRACKS)[:tracks].astype(np.int32) if tracks <= MAX_TRACKS else None,
            header=describe(piece) if rng.random() < 0.5 else Header(),
            attributes=random_attributes(rng, piece),
            ends_known=bool(rng.random() < 0.5),
            text=random_text(rng, item),
        )
        return steps if len(steps) <= budget else steps.part(0, budget)


def with_words(windows: list[tuple[Item, Steps]], own: bool) -> list[tuple[Item, Steps]]:
    """Windows that are told the first caption of their piece, or of a piece half the list away."""
    items = [item for item, _ in windows]
    told = items if own else items[len(items) // 2 :] + items[: len(items) // 2]
    return [
        (item, replace(steps, text=teller.texts[:1] * np.float32(TEXT_STEP)))
        for (item, steps), teller in zip(windows, told, strict=True)
    ]


def random_text(rng: np.random.Generator, item: Item) -> NDArray[np.float32]:
    """The sentence vector of one of a piece's captions, or none: [0 or 1, TEXT_WIDTH]."""
    if not len(item.texts) or rng.random() < 0.4:
        return NO_TEXT
    chosen = item.texts[int(rng.integers(len(item.texts)))]
    return (chosen.astype(np.float32) * np.float32(TEXT_STEP))[None]


def random_attributes(rng: np.random.Generator, piece: Piece) -> NDArray[np.int32] | None:
    """The piece's own attributes with most of them left out, so that each can be given or not at use."""
    if rng.random() < 0.4:
        return None
    attributes = cell_attributes(piece)
    attributes[:, :, rng.random(attributes.shape[2]) < 0.5] = 0
    attributes[rng.random(attributes.shape[:2]) < rng.uniform(0, 1)] = 0
    return attributes


def augment(rng: np.random.Generator, piece: Piece) -> Piece:
    """Transposition by -5..6 semitones, tempo by 10 %, other loudness, fewer tracks, hidden keys and chords."""
    tracks = len(piece.programs)
    if tracks > MAX_TRACKS or (tracks > 1 and rng.random() < 0.25):
        most = min(tracks, MAX_TRACKS)
        kept = np.sort(rng.permutation(tracks)[: rng.integers(1, most + 1)])
        smaller = keep_tracks(piece, kept)
        piece = smaller if len(smaller.notes) >= 8 or tracks > MAX_TRACKS else piece
    piece = transpose(piece, int(rng.integers(-5, 7)))
    bars = piece.bars.copy()
    bars[:, 2] = np.rint(bars[:, 2] * rng.uniform(0.9, 1.1))
    if rng.random() < 0.4:
        bars[:, 3] = 0
    chords = piece.chords if rng.random() < 0.6 else piece.chords[:0]
    notes = piece.notes
    if rng.random() < 0.3:
        notes = notes.copy()
        notes[:, 5] = np.clip(notes[:, 5] + rng.integers(-4, 5), 0, VELOCITY_BINS - 1)
    return replace(piece, bars=bars, notes=notes, chords=chords)


def pack(rows: list[list[Steps]], length: int) -> Batch:
    """Lay windows end to end in rows of `length` steps."""
    count = len(rows)
    batch = Batch(
        facts=np.zeros((count, length, WIDTH), np.int32),
        time=np.zeros((count, length), np.int32),
        window=np.full((count, length), -1, np.int32),
        targets=np.full((count, length, len(FIELDS)), -1, np.int32),
        chord=np.zeros((count, length), np.int32),
        in_region=np.zeros((count, length), bool),
        hints=np.full((count, length, HINTS), NONE, np.int32),
        onsets=np.zeros((count, length, ONSETS, MAX_BAR), bool),
        text=np.concatenate([NO_TEXT, *(steps.text for windows in rows for steps in windows)]),
        text_at=np.zeros((sum(len(steps.text) for windows in rows for steps in windows), 2), np.int64),
    )
    texts = 0
    for row, windows in enumerate(rows):
        at = 0
        for number, steps in enumerate(windows):
            here = slice(at, at + len(steps))
            batch.facts[row, here] = steps.facts
            batch.time[row, here] = steps.time
            batch.window[row, here] = number
            batch.targets[row, here] = steps.targets
            batch.chord[row, here] = steps.chord
            batch.in_region[row, here] = steps.in_region
            batch.hints[row, here] = steps.hints
            batch.onsets[row, here] = steps.onsets
            batch.text_at[texts : texts + len(steps.text)] = row, at
            texts += len(steps.text)
            at += len(steps)
    return batch


def random_batch(corpus: Corpus, seed: int, step: int, rows: range, length: int) -> Batch:
    """Rows `rows` of training step `step`; the same for the same seed however rows are shared out."""
    packed = []
    for row in rows:
        rng = np.random.default_rng([seed, step, row])
        windows = [corpus.draw(rng, length)]
        while (left := length - sum(len(steps) for steps in windows)) > 96:
            windows.append(corpus.draw(rng, left))
        packed.append(windows)
    return pack(packed, length)


def fixed_windows(items: list[Item], length: int, per_piece: int, seed: int = 0) -> list[tuple[Item, Steps]]:
    """The windows that validation and every reported figure use: a fixed draw from each piece, nothing said
    beyond the notes (no attributes, keys, chords or header), nothing augmented."""
    result = []
    for item in items:
        if not usable(item.piece):
            continue
        piece = as_int32(item.piece)
        rng = np.random.default_rng([seed, len(piece.notes), len(piece.bars)])
        if len(piece.programs) > MAX_TRACKS:
            busiest = np.argsort(-np.bincount(piece.notes[:, 1], minlength=len(piece.programs)))[:MAX_TRACKS]
            piece = keep_tracks(piece, np.sort(busiest))
        bars = piece.bars.copy()
        bars[:, 3] = 0
        piece = replace(piece, bars=bars, chords=piece.chords[:0])
        counts = step_counts(piece)
        for _ in range(per_piece):
            first = int(rng.integers(0, max(1, len(bars) - 8)))
            stop = choose_window(counts, first, int(length * 0.85))
            region = random_region(rng, first, stop, len(bars), len(piece.programs))
            result.append((item, build_steps(piece, region, first, stop).part(0, length)))
    return result
