"""Continue real files of the validation split, and compare what comes out with what their composers wrote.

    python3 scripts/try_continuations.py DATA --out tries

DATA holds the sets as scripts/prepare_data.py reads them. One file (or more, --per-set) of every kind in KINDS
is cut after its first bars; the generator continues it as if it ended there. The table, explained in
docs/continuations.md, shows the bars before the cut, the true ones after it, and the candidates. --out keeps
them all as MIDI files, with a picture of each file; --json writes every figure.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assistant.pipeline import Candidate, Options, Request, continue_request, load_generator, propose
from draw import Panel, draw_panels, save_picture
from models.drawing import Sampling
from models.errors import UserError
from models.generators import Generator
from models.midi_file import read_midi, save_midi
from models.piece import DURATIONS, GRID, VELOCITY_BINS, opening, score_bar_span, to_piece
from models.score import Score
from models.theory import Key, chord_track, estimate_key
from prepare_data import Source, excluded_songs, read_set

IntArray = NDArray[np.int32]
Row = Mapping[str, Any]
CONTEXT_BARS = (8, 16)  # at least and at most so many bars are heard before the cut
LEAST_DIFFERENCE = 0.2  # between any two candidates of a request
LOOK_BACK = 4  # bars in which a repetition is looked for
SHOWN_BEFORE = 4  # bars before the cut in a picture

# --- Which files --------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of music: the set it is taken from, and which of the set's files are of the kind."""

    name: str
    set_name: str
    fits: Callable[[Row], bool]


def _programs(row: Row) -> list[int]:
    """General MIDI programs of a file's tracks, -1 for drums."""
    return [instrument["program"] for instrument in row["instruments"]]


def _has_drums(row: Row) -> bool:
    return -1 in _programs(row)


KINDS = (
    Kind("song with piano", "openscore-lieder", lambda row: row["n_tracks"] == 2),
    Kind("pop song", "pop909", lambda row: True),
    Kind("string quartet", "openscore-quartets", lambda row: row["n_tracks"] == 4),
    Kind("rock band", "freedoom-music", _has_drums),
    Kind("drums alone", "groove-midi", lambda row: row.get("beat_type") == "beat"),
    Kind("orchestra", "openscore-orchestra", lambda row: True),
    Kind("played piano", "piano-midi-de", lambda row: True),
    Kind("piano score", "chopin-first-editions", lambda row: True),
    Kind("choir", "polish-scores", lambda row: set(_programs(row)) == {53} and row["n_tracks"] == 4),
    Kind("single line", "mutopia", lambda row: row["n_tracks"] == 1 and _programs(row)[0] >= 40),
    Kind("lead sheet", "openewld-leadsheets", lambda row: True),
    Kind("backing track", "mma-backing-tracks", _has_drums),
    Kind("chord chart", "mcgill-billboard-chords", lambda row: True),
)


@dataclass(frozen=True)
class Excerpt:
    """A file cut in two: `context` ends where `whole` goes on. request: to continue the context."""

    kind: str
    path: str
    context: Score
    whole: Score
    request: Request


def choose(sources: Sequence[Source], count: int) -> list[Source]:
    """`count` files spread evenly over those at hand, always the same ones."""
    ordered = sorted(sources, key=lambda source: str(source.row["path"]))
    count = min(count, len(ordered))
    return [ordered[(2 * index + 1) * len(ordered) // (2 * count)] for index in range(count)]


def excerpts(data: Path, per_set: int, bars: int, options: Options) -> Iterator[Excerpt]:
    """The chosen files of every kind, cut; a kind whose set is not there is left out."""
    excluded = excluded_songs(data)
    least, most = CONTEXT_BARS
    for kind in KINDS:
        path = next((p for p in (data / kind.set_name, data / f"{kind.set_name}.tar.zst") if p.exists()), None)
        if path is None:
            continue
        fitting = [
            source
            for source in read_set(path)
            if source.row["split"] == "valid"
            and source.row["n_bars"] >= least + bars
            and kind.fits(source.row)
            and not (kind.set_name == "pop909" and Path(source.row["path"]).stem in excluded)
        ]
        for source in choose(fitting, per_set):
            whole = read_midi(source.midi).score
            context = opening(whole, min(most, source.row["n_bars"] - bars))
            request = continue_request(context, bars, options)
            yield Excerpt(kind.name, f"{kind.set_name}/{source.row['path']}", context, whole, request)


# --- What is measured ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passage:
    """Some bars of some tracks on the network's grid.

    notes: [N, 7], as Piece.notes, sorted. bars: the grid bars. lengths: grid ticks of every bar of the piece.
    drums: [T] whether a track is a drum kit.
    """

    notes: IntArray
    bars: range
    lengths: IntArray
    drums: NDArray[np.bool_]

    @property
    def pitched(self) -> IntArray:
        return self.notes[~self.drums[self.notes[:, 1]]]

    @property
    def hits(self) -> IntArray:
        return self.notes[self.drums[self.notes[:, 1]]]

    def starts(self, notes: IntArray) -> NDArray[np.int64]:
        """When notes start, in grid ticks from the passage's start."""
        bar_starts = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        return bar_starts[notes[:, 0]] + notes[:, 2] - bar_starts[self.bars[0]]

    @property
    def ticks(self) -> int:
        return int(self.lengths[list(self.bars)].sum())


def passage(score: Score, first: int, last: int, tracks: Sequence[int]) -> Passage:
    """Bars `first`..`last` of a score (from 0, both included) and some of its tracks."""
    piece, grid, _ = to_piece(score, last + 1)
    bars = score_bar_span(grid, first, last)
    inside = (piece.notes[:, 0] >= bars[0]) & (piece.notes[:, 0] <= bars[-1])
    inside &= np.isin(piece.notes[:, 1], list(tracks))
    drums = np.array([track.is_drum for track in score.tracks], dtype=bool)
    return Passage(piece.notes[inside], bars, piece.bars[:, 0], drums)


def measure(heard: Passage, context: Passage, key: Key, tones: Sequence[frozenset[int] | None]) -> dict[str, float]:
    """Figures of a passage, most of them beside those of the context; nan where one has no meaning.

    key: of the context. tones: for each grid bar and quarter note of the passage, the pitch classes of the chord
    that the composer has there, None where there is none.
    """
    pitched = heard.pitched
    return {
        "notes per bar": len(heard.notes) / len(heard.bars),
        "in scale": _share(np.isin(pitched[:, 3] % 12, list(key.pitch_classes))),
        "clashes": clashes(heard),
        "chord tones": chord_tones(heard, tones),
        "rhythm": likeness(_onsets(heard), _onsets(context)),
        "repeated": repeated(heard),
        "patterns": patterns(heard),
        "leap": leap(heard),
        "same pitch": _share(steps(heard) == 0),
        "length": float(DURATIONS[pitched[:, 4]].mean()) / GRID if len(pitched) else math.nan,
        "outside": outside(heard, context),
        "new drums": _share(~np.isin(heard.hits[:, 3], context.hits[:, 3])),
        "empty bars": 1 - len(np.unique(heard.notes[:, 0])) / len(heard.bars),
        "longest gap": longest_gap(heard),
        "lost tracks": _share(~np.isin(np.unique(context.notes[:, 1]), heard.notes[:, 1])),
        "second half": second_half(heard),
        "louder": float(heard.notes[:, 5].mean() - context.notes[:, 5].mean()) * 4
        if len(heard.notes)
        else math.nan,
    }


def _share(true: NDArray[np.bool_]) -> float:
    return float(true.mean()) if len(true) else math.nan


def _onsets(heard: Passage) -> list[tuple[bool, int]]:
    """Where in their bars notes start, drums apart."""
    return [(bool(heard.drums[note[1]]), int(note[2])) for note in heard.notes]


def likeness(left: Sequence[object], right: Sequence[object]) -> float:
    """The common area of two histograms, 0..1."""
    if not left or not right:
        return math.nan
    return sum(min(left.count(value) / len(left), right.count(value) / len(right)) for value in set(left))


def clashes(heard: Passage) -> float:
    """How much of the time for which two pitches sound together they are a semitone apart, or octaves more.

    Overlaps of less than a 32nd are not counted: legato, not harmony. A single line has no clashes.
    """
    notes = heard.pitched
    start = heard.starts(notes)
    end = start + DURATIONS[notes[:, 4]]
    together = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    together = np.triu(np.where(together >= GRID // 8, together, 0), 1)
    apart = (notes[:, None, 3] - notes[:, 3]) % 12
    total = together[apart != 0].sum()
    if not len(notes):
        return math.nan
    return float(together[np.isin(apart, (1, 11))].sum() / max(total, 1))


def chord_tones(heard: Passage, tones: Sequence[frozenset[int] | None]) -> float:
    """Share of the pitched notes on a beat that are tones of the chord there."""
    notes = heard.pitched
    starts = heard.starts(notes)
    on_beat = [
        (int(pitch) % 12, tones[int(start) // GRID])
        for start, pitch, position in zip(starts, notes[:, 3], notes[:, 2], strict=True)
        if position % GRID == 0 and int(start) // GRID < len(tones)
    ]
    return _share(np.array([pitch in chord for pitch, chord in on_beat if chord is not None], dtype=bool))


def _cells(notes: IntArray) -> set[tuple[int, ...]]:
    """(track, position, pitch) of notes."""
    return {tuple(row) for row in notes[:, 1:4].tolist()}


def repeated(heard: Passage) -> float:
    """Share of the notes that one of the bars just before also has, taking the likest of them."""
    bars = [_cells(heard.notes[heard.notes[:, 0] == bar]) for bar in heard.bars]
    same = total = 0
    for index, bar in enumerate(bars[1:], start=1):
        total += len(bar)
        same += max(len(bar & earlier) for earlier in bars[max(0, index - LOOK_BACK) : index])
    return same / total if total else math.nan


def patterns(heard: Passage) -> float:
    """How many of the sounding bars have a rhythm of their own, as a share."""
    bars = [frozenset(heard.notes[heard.notes[:, 0] == bar][:, 2].tolist()) for bar in heard.bars]
    sounding = [bar for bar in bars if bar]
    return len(set(sounding)) / len(sounding) if sounding else math.nan


def steps(heard: Passage) -> NDArray[np.int64]:
    """The steps of the tracks' upper lines, in semitones up or down."""
    found: list[int] = []
    notes = heard.pitched
    for track in np.unique(notes[:, 1]):
        line = notes[notes[:, 1] == track]
        top = {(bar, position): pitch for bar, _, position, pitch in line[:, :4].tolist()}  # pitches ascend
        found.extend(np.diff(list(top.values())).tolist())
    return np.abs(np.array(found, dtype=np.int64))


def leap(heard: Passage) -> float:
    """Mean step, in semitones."""
    sizes = steps(heard)
    return float(sizes.mean()) if len(sizes) else math.nan


def outside(heard: Passage, context: Passage) -> float:
    """Share of the pitched notes more than a whole tone above or below what their track played before."""
    notes = heard.pitched
    beyond = np.zeros(len(notes), dtype=bool)
    for track in np.unique(notes[:, 1]):
        before = context.notes[context.notes[:, 1] == track, 3]
        if len(before):
            here = notes[:, 1] == track
            beyond |= here & ((notes[:, 3] < before.min() - 2) | (notes[:, 3] > before.max() + 2))
    return _share(beyond)


def longest_gap(heard: Passage) -> float:
    """The longest time, in quarter notes, in which nothing starts."""
    points = np.concatenate([[0], np.sort(heard.starts(heard.notes)), [heard.ticks]])
    return float(np.diff(points).max()) / GRID


def loudness(heard: Passage) -> float:
    """Mean velocity."""
    return float(heard.notes[:, 5].mean()) * 128 / VELOCITY_BINS if len(heard.notes) else math.nan


def second_half(heard: Passage) -> float:
    """Share of the notes that lie in the second half: half where the music goes on evenly."""
    return _share(heard.starts(heard.notes) >= heard.ticks / 2)


def difference(left: Passage, right: Passage) -> float:
    """Share of the notes (bar, place, pitch, track) that two passages do not have in common."""
    a, b = ({tuple(row) for row in heard.notes[:, :4].tolist()} for heard in (left, right))
    return 1 - len(a & b) / max(len(a), len(b), 1)


def tones_by_quarter(score: Score, first: int, last: int) -> list[frozenset[int] | None]:
    """Pitch classes of the chord in force at every quarter note of bars `first`..`last`."""
    changes = chord_track(score)
    start, end = score.bar(first).start, score.bar(last).end
    tones: list[frozenset[int] | None] = []
    for tick in range(start, end, score.ticks_per_quarter):
        current = [change.chord for change in changes if change.tick <= tick][-1:]
        tones.append(current[0].pitch_classes if current and current[0] else None)
    return tones


def doubts(candidate: Row, truth: Row, context: Row) -> list[str]:
    """What sets a candidate apart from both the context and the truth so far that a listener would notice."""

    def ends(name: str) -> tuple[float, float]:
        """The lower and the higher of the two figures to be compared with."""
        known = [row[name] for row in (truth, context) if not math.isnan(row[name])]
        return (min(known), max(known)) if known else (math.nan, math.nan)

    def above(name: str, margin: float, factor: float = 1.0) -> bool:
        return bool(candidate[name] > ends(name)[1] * factor + margin)

    def below(name: str, margin: float, factor: float = 1.0) -> bool:
        return bool(candidate[name] < ends(name)[0] * factor - margin)

    found = {
        "silent": candidate["notes per bar"] == 0,
        "sparse": below("notes per bar", 0, 0.5),
        "dense": above("notes per bar", 1, 1.6),
        "out of scale": below("in scale", 0.1),
        "clashes": above("clashes", 0.05),
        "rhythm": below("rhythm", 0.2),
        "stuck": above("repeated", 0.2) and candidate["patterns"] < 0.5,
        "leaps": above("leap", 1, 1.4),
        "one pitch": above("same pitch", 0.2),
        "choppy": below("length", 0, 0.5),
        "register": above("outside", 0.15),
        "drums": above("new drums", 0.1),
        "gap": above("longest gap", 2, 1.0),
        "lost tracks": above("lost tracks", 0.25),
        "fades": candidate["second half"] < min(0.35, truth["second half"]) - 0.05,
        "swells": candidate["second half"] > max(0.65, truth["second half"]) + 0.05,
        "loudness": abs(candidate["louder"]) > abs(truth["louder"]) + 12,
    }
    return [name for name, noticed in found.items() if noticed]


# --- One file after the other -------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """The figures of one excerpt. least_difference: between its two likest candidates. later: the doubts that the
    composer's bars after the true ones would raise as a candidate; None where the piece has no such bars."""

    excerpt: Excerpt
    candidates: Sequence[Candidate]
    context: dict[str, float]
    truth: dict[str, float]
    figures: Sequence[dict[str, float]]
    doubts: Sequence[list[str]]
    later: list[str] | None
    least_difference: float

    @property
    def mean(self) -> dict[str, float]:
        """Each figure over the candidates that have it."""
        return _mean_figures(self.figures)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.excerpt.kind,
            "file": self.excerpt.path,
            "least difference": self.least_difference,
            "doubts of later bars": self.later,
            "context": _without_nan(self.context),
            "truth": _without_nan(self.truth),
            "candidates": [
                {**_without_nan(figures), "violations": list(candidate.violations), "doubts": found}
                for candidate, figures, found in zip(self.candidates, self.figures, self.doubts, strict=True)
            ],
        }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _mean_figures(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each figure over the rows that have it."""
    return {name: _mean([row[name] for row in rows]) for name in rows[0]}


def _without_nan(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 4) for name, value in figures.items()}


def attempt(excerpt: Excerpt, generator: Generator) -> Result:
    """Continue one excerpt and measure what came."""
    candidates = propose(excerpt.request, generator)
    first, last = excerpt.request.bars
    tracks = sorted({track for _, track in excerpt.request.region})
    key, _ = estimate_key(excerpt.context)
    before = passage(excerpt.context, 0, first - 1, tracks)
    heard = [passage(candidate.score, first, last, tracks) for candidate in candidates]

    def composed(begin: int, end: int) -> dict[str, float]:
        """The figures of bars of the piece as it was composed."""
        tones = tones_by_quarter(excerpt.whole, begin, end)
        return measure(passage(excerpt.whole, begin, end, tracks), before, key, tones)

    context, truth = composed(0, first - 1), composed(first, last)
    tones = tones_by_quarter(excerpt.whole, first, last)
    figures = [measure(each, before, key, tones) for each in heard]
    beyond = 2 * last - first + 1  # the last bar of as many again
    later = None
    if excerpt.whole.bar_at(excerpt.whole.last_note_start).index >= beyond:
        later = doubts(composed(last + 1, beyond), truth, context)
    return Result(
        excerpt,
        candidates,
        context,
        truth,
        figures,
        [doubts(each, truth, context) for each in figures],
        later,
        min((difference(a, b) for a, b in combinations(heard, 2)), default=1.0),
    )


def keep(result: Result, folder: Path) -> None:
    """Write an excerpt's files and its picture."""
    name = f"{result.excerpt.kind} {Path(result.excerpt.path).stem}".replace(" ", "-")
    first, last = result.excerpt.request.bars
    save_midi(result.excerpt.context, folder / f"{name}-context.mid")
    truth = opening(result.excerpt.whole, last + 1)
    save_midi(truth, folder / f"{name}-truth.mid")
    panels = [Panel(truth, "as it was composed", first)]
    for candidate, found in zip(result.candidates, result.doubts, strict=True):
        save_midi(candidate.score, folder / f"{name}-{candidate.number}.mid")
        remark = f": {', '.join(found)}" if found else ""
        panels.append(Panel(candidate.score, f"candidate {candidate.number}{remark}", first))
    shown = range(max(0, first - SHOWN_BEFORE), last + 1)
    title = f"{result.excerpt.kind}: {Path(result.excerpt.path).name}"
    save_picture(draw_panels(panels, title, shown), folder / f"{name}.png")


COLUMNS = {
    "notes per bar": "notes/bar", "in scale": "scale", "clashes": "clash", "chord tones": "chord",
    "rhythm": "rhythm", "repeated": "repeat", "leap": "leap", "same pitch": "same", "length": "length",
    "outside": "outside", "new drums": "drums", "longest gap": "gap", "lost tracks": "lost",
}  # fmt: skip


def table(results: Sequence[Result]) -> str:
    """The results for people to read."""
    head = " " * 10 + "".join(f"{short:>9}" for short in COLUMNS.values())
    lines = [head]
    for result in results:
        counts = Counter(name for found in result.doubts for name in found)
        remarks = ", ".join(f"{name} ({count})" for name, count in counts.most_common()) or "none"
        broken = sum(len(candidate.violations) for candidate in result.candidates)
        lines += ["", f"{result.excerpt.kind}: {result.excerpt.path}"]
        lines += _lines(result.context, result.truth, result.mean)
        lines.append(f"least difference {result.least_difference:.2f}, violations {broken}, doubts: {remarks}")
    contexts, truths, means = zip(*((r.context, r.truth, r.mean) for r in results), strict=True)
    lines += ["", "all files", *_lines(*map(_mean_figures, (contexts, truths, means)))]
    return "\n".join([*lines, summary(results)])


def _lines(context: Mapping[str, float], truth: Mapping[str, float], mean: Mapping[str, float]) -> list[str]:
    rows = {"context": context, "truth": truth, "candidates": mean}
    return [f"{name:10}" + "".join(f"{_number(row[c]):>9}" for c in COLUMNS) for name, row in rows.items()]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def summary(results: Sequence[Result]) -> str:
    """One paragraph on all files together."""
    candidates = sum(len(result.candidates) for result in results)
    doubted = sum(bool(found) for result in results for found in result.doubts)
    later = [result.later for result in results if result.later is not None]
    alike = [result.excerpt.path for result in results if result.least_difference < LEAST_DIFFERENCE]
    broken = sum(len(c.violations) for result in results for c in result.candidates)
    return (
        f"{len(results)} files, {candidates} candidates, {doubted} of them with a doubt, {broken} violations. "
        f"Of {len(later)} later passages by the composers, {sum(map(bool, later))} would raise one. "
        f"Least difference between two candidates: {min(r.least_difference for r in results):.2f}; "
        f"files with two candidates nearer than {LEAST_DIFFERENCE}: {', '.join(alike) or 'none'}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--per-set", type=int, default=1, metavar="N", help="files of each kind (default: 1)")
    parser.add_argument("--bars", type=int, default=8, help="bars to write (default: 8)")
    parser.add_argument("--out", type=Path, help="folder for the MIDI files and pictures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for all figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=Sampling().temperature)
    parser.add_argument("--top-p", type=float, default=Sampling().top_p)
    args = parser.parse_args(arguments)
    options = Options(seed=args.seed, sampling=Sampling(args.temperature, args.top_p))
    try:
        chosen = list(excerpts(args.data, args.per_set, args.bars, options))
        if not chosen:
            raise UserError(f"No set that is needed is in {args.data}", "docs/data.md says where to get them.")
        generator = load_generator()
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
        results = []
        for excerpt in chosen:
            results.append(attempt(excerpt, generator))
            if args.out:
                keep(results[-1], args.out)
            print(".", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    except UserError as error:
        print(f"{error.message}. {error.hint}", file=sys.stderr)
        return 2
    print(table(results))
    if args.json:
        args.json.write_text(
            json.dumps({"model": generator.model_hash, "files": [r.as_json() for r in results]}, indent=1)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
