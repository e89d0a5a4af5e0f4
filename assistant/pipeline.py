"""The one straight way from a score to candidates; the only file that knows all of it.

Score + region + controls = Request
Request ─ to_piece ─► Task ─ generator ─► rows ─ to_note, settle ─► Candidate ─ violations ─► out
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from assistant.style_options import Styles
from assistant.styles import load_styles
from models.choice import Choice
from models.constraints import Controls, Rules, Spot, Written, asked_attributes, settle, violations, voices_at
from models.drawing import Sampling
from models.engine import Engine
from models.errors import Cancelled, ControlError, UserError
from models.form import Form, FormRules
from models.generators import Generator, Progress, Rows, Task, TransformerGenerator
from models.instruments import Instrument
from models.locks import Anchor, Keep, Kept, LockedRules, Locks, make_locks
from models.originality import Index, Originality, lines, longest_run, shipped_index
from models.piece import (
    GRID,
    MICRO_PER_TICK,
    GridBar,
    Piece,
    VelocityTable,
    chord_id,
    chords_going_on,
    key_id,
    snap,
    ticks_of,
    to_note,
    to_piece,
)
from models.score import Event, KeySignature, Marker, Meter, Note, Score, Tempo, Track
from models.text.sentences import sentence_vector
from models.theory import (
    Chord,
    ChordChange,
    Key,
    Progression,
    chord_track,
    estimate_key,
    key_from_signature,
    place_progression,
    with_chord_track,
)  # fmt: skip
from models.tokens import ATTRIBUTES, MAX_TRACKS, Header, cell_attributes, describe, phrase_attributes
from models.transforms import apart_again

WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "weights"
WEIGHTS_VARIABLE = "DESCANT_WEIGHTS"  # a folder of weights to use instead of the shipped ones
DEFAULT_WEIGHTS = "small"
SAMPLE = WEIGHTS / "sample"  # public-domain music that a style is trained beside
KEY_MARGIN = 0.1  # an estimated key is told to the network from here on
MOST_BARS = 256
LONGEST_PIECE = 20_000  # bars; eleven hours at 120 bpm
LEAST_DIFFERENCE = 0.2  # share of its notes that sets a candidate apart from those before it
WARMER = (1.3, 1.7, 2.2)  # what the temperature is multiplied by while it does not
DARING_TOP_P = 0.98
FRESH_TRIES = 3  # that a candidate has to share less with known music
LOOP_BARS = 4  # of the beginning are shown after the end of what must lead back to it
DRUM_CHANNEL = 9
SUSTAIN = 64
Timed = TypeVar("Timed", Tempo, Meter, KeySignature, Marker)


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of every candidate, whatever the region. `progression` is laid over the region's bars.
    `styles`: names of styles on this computer, each with its strength. `own`: an index of the user's own files, to
    hold candidates against. `max_copy`: most notes in a row that a candidate may share with the training set, or
    with the user's own files; one with more is written again, and refused when it stays so."""

    controls: Controls = Controls()
    progression: Progression | None = None
    candidates: int = 4
    seed: int = 0
    sampling: Sampling = Sampling()
    styles: Styles = ()
    own: Index | None = None
    max_copy: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A score, the (bar, track) cells of it to be filled (bars of the score, from 0), and the options.

    new_tracks: tracks that were added for this request and hold nothing yet. keep: what of the region's own notes
    stays. loop: what is written leads back to the first bar. ending: its last bar is the piece's last, and closes
    on the tonic. played: it is performed, whatever the rest of the score is. words: what is said of the music, for
    the network's own reading of it. form: which cells take up earlier ones; not beside `keep`.
    """

    score: Score
    region: frozenset[tuple[int, int]]
    options: Options
    new_tracks: frozenset[int] = frozenset()
    keep: Keep | None = None
    loop: bool = False
    ending: bool = False
    played: bool = False
    words: str = ""
    form: Form | None = None

    @property
    def variety(self) -> float:
        """How far apart candidates can be at all, as `difference` sees it: 1 where nothing is locked."""
        if self.keep is None:
            return 1.0
        return 0.0 if self.keep.kind == "place" else self.keep.strength

    @property
    def bars(self) -> tuple[int, int]:
        """First and last bar of the region."""
        bars = [bar for bar, _ in self.region]
        return min(bars), max(bars)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer: the whole score with the new notes in it, and how it came about.

    written: (track, note) of the new notes. first_bar_ms: from the request until its first bar was done.
    originality: the longest run of its new notes that is known, None where no index is installed.
    """

    number: int
    score: Score
    request: Request = field(repr=False)
    written: tuple[tuple[int, Note], ...] = field(repr=False)
    violations: tuple[str, ...]
    seed: int
    model_hash: str
    first_bar_ms: float
    notes_per_second: float
    originality: Originality | None = None

    @property
    def note_count(self) -> int:
        return len(self.written)

    def only_new(self) -> Score:
        """The new notes alone, their first bar moved to the start, with the sound and tempo they have there."""
        first, last = self.request.bars
        start, end = self.score.bar(first).start, self.score.bar(last).end
        tracks = []
        for index in sorted({track for _, track in self.request.region}):
            track = self.score.tracks[index]
            notes = tuple(note._replace(start=note.start - start) for at, note in self.written if at == index)
            tracks.append(replace(track, notes=notes, events=_state_at(track.events, start, end)))
        bar = self.score.bar(first)
        return replace(
            self.score,
            tracks=tuple(tracks),
            tempos=(
                Tempo(0, self.score.tempo_at(start).microseconds),
                *_inside(self.score.tempos, start, end),
            ),
            meters=(Meter(0, bar.numerator, bar.denominator), *_inside(self.score.meters, start, end)),
            keys=(*_latest(self.score.keys, start), *_inside(self.score.keys, start, end)),
            markers=_chord_markers_from(self.score, start, end),
            events=(),
            length=end - start,
        )


def _inside(items: Sequence[Timed], start: int, end: int) -> tuple[Timed, ...]:
    """Items strictly inside a span, moved to count from its start."""
    return tuple(item._replace(tick=item.tick - start) for item in items if start < item.tick < end)


def _latest(items: Sequence[Timed], tick: int) -> tuple[Timed, ...]:
    """The last item at or before a tick, moved to 0; nothing where there is none."""
    return tuple(item._replace(tick=0) for item in [item for item in items if item.tick <= tick][-1:])


def _chord_markers_from(score: Score, start: int, end: int) -> tuple[Marker, ...]:
    """Markers of a span; the chord that sounds at its start comes along."""
    chords = {change.tick for change in chord_track(score)}
    sounding = _latest([marker for marker in score.markers if marker.tick in chords], start)
    return (*sounding, *_inside(score.markers, start, end))


def _state_at(events: Sequence[Event], start: int, end: int) -> tuple[Event, ...]:
    """A span's channel messages, with the last value of every controller before it moved to its start."""
    state: dict[bytes, Event] = {}
    inside: list[Event] = []
    for event in events:
        kind = event.data[0] & 0xF0
        if kind == 0xF0:
            continue
        if event.tick <= start:
            state[event.data[:2] if kind in (0xA0, 0xB0) else event.data[:1]] = event._replace(tick=0)
        elif event.tick < end:
            inside.append(event._replace(tick=event.tick - start))
    return (*state.values(), *inside)


# --- Requests -----------------------------------------------------------------------------------------


def continue_request(score: Score, bars: int, options: Options = Options()) -> Request:
    """The next `bars` bars of the tracks that have been playing, from the bar line after the last note's start."""
    _check_bars(bars)
    last = _last_sounding_bar(score)
    lately = score.bar(max(0, last - 2 * MAX_TRACKS)).start
    playing = {index: sum(note.start >= lately for note in track.notes) for index, track in enumerate(score.tracks)}
    tracks = sorted(sorted((i for i in playing if playing[i]), key=lambda i: -playing[i])[:MAX_TRACKS])
    region = frozenset((bar, track) for bar in range(last + 1, last + 1 + bars) for track in tracks)
    return _checked(Request(score, region, options))


def fill_request(
    score: Score, tracks: Sequence[int], first_bar: int, last_bar: int, options: Options = Options()
) -> Request:
    """Bars `first_bar`..`last_bar` (from 0, both included) of some tracks written anew; the rest stays."""
    if not 0 <= first_bar <= last_bar:
        raise ControlError("The bars to fill end before they begin", "Write them as first-last, such as 5-8.")
    _check_bars(last_bar - first_bar + 1)
    if first_bar > _last_sounding_bar(score) + 1:
        raise ControlError(
            f"Bar {first_bar + 1} lies beyond the end of the music in bar {_last_sounding_bar(score) + 1}",
            "Use `descant continue` to write what comes next.",
        )
    if not tracks or any(not 0 <= track < len(score.tracks) for track in tracks):
        raise ControlError("There is no such track", f"The file has tracks 1 to {len(score.tracks)}.")
    if len(set(tracks)) > MAX_TRACKS:
        raise ControlError(f"{len(set(tracks))} tracks are too many", f"Fill at most {MAX_TRACKS} at a time.")
    region = frozenset((bar, track) for bar in range(first_bar, last_bar + 1) for track in tracks)
    return _checked(Request(score, region, options))


def accompany_request(score: Score, instruments: Sequence[Instrument], options: Options = Options()) -> Request:
    """A new track for each instrument, from the first bar to the last one that sounds."""
    if not instruments:
        raise ControlError("No instrument to add", 'Name one or more, such as --add "bass, drums".')
    if len(instruments) > MAX_TRACKS:
        raise ControlError(f"{len(instruments)} new tracks are too many", f"Add at most {MAX_TRACKS} at a time.")
    last = _last_sounding_bar(score)
    tracks = list(score.tracks)
    for instrument in instruments:
        channel = DRUM_CHANNEL if instrument.is_drum else _free_channel(tracks)
        tracks.append(Track(instrument.name, instrument.program, instrument.is_drum, channel))
    new = frozenset(range(len(score.tracks), len(tracks)))
    region = frozenset((bar, track) for bar in range(last + 1) for track in new)
    return _checked(Request(score.with_tracks(tracks), region, options, new))


def part_request(
    score: Score,
    region: frozenset[tuple[int, int]],
    options: Options = Options(),
    new_tracks: frozenset[int] = frozenset(),
) -> Request:
    """Any (bar, track) cells of a score, which may be empty: the step that sketches and edits are made of."""
    if not region:
        raise ControlError("No bar of any track is left to write", "Name the bars or the tracks to change.")
    bars = [bar for bar, _ in region]
    _check_bars(max(bars) - min(bars) + 1)
    return _checked(Request(score, region, options, new_tracks))


def _check_bars(bars: int) -> None:
    if not 1 <= bars <= MOST_BARS:
        raise ControlError(f"{bars} bars cannot be written at once", f"Ask for 1 to {MOST_BARS}.")


def _last_sounding_bar(score: Score) -> int:
    """The score bar of the last note's start, early downbeats counted to the bar they open."""
    if score.last_note_start < 0:
        raise UserError("The file has no notes to go by", "Choose a file with at least one note.")
    if (bars := score.bar_at(score.last_note_start).index + 1) > LONGEST_PIECE:
        raise UserError(f"The piece has {bars:,} bars", f"Cut it to at most {LONGEST_PIECE:,} bars.")
    _, grid, membership = to_piece(score)
    return max(grid[int(bars.max())].score_bar for bars in membership if len(bars))


def _free_channel(tracks: Sequence[Track]) -> int:
    """The least used channel that is not the drums'."""
    uses = [sum(track.channel == channel for track in tracks) for channel in range(16)]
    return min((channel for channel in range(16) if channel != DRUM_CHANNEL), key=lambda channel: uses[channel])


def _checked(request: Request) -> Request:
    """The request with its progression in the score's chord track, once its controls are known to agree."""
    controls, progression = request.options.controls, request.options.progression
    score = request.score
    if not 1 <= request.options.candidates <= 64:
        raise ControlError(f"{request.options.candidates} candidates cannot be made", "Ask for 1 to 64.")
    if request.options.seed < 0:
        raise ControlError(f"The seed {request.options.seed} is negative", "Use 0 or any whole number above it.")
    first, last = request.bars
    begin, end = score.bar(first).start, score.bar(last).end
    if progression is not None:
        controls = replace(controls, follow_chords=True)
        old = chord_track(score)
        resumed = [change for change in old if change.tick <= end][-1:]
        changes = [change for change in old if not begin <= change.tick < end]
        if resumed and resumed[0].tick < end and any(note.start >= end for t in score.tracks for note in t.notes):
            changes.append(ChordChange(end, resumed[0].chord))
        changes.extend(place_progression(score, progression, first, last - first + 1))
        score = with_chord_track(score, sorted(changes, key=lambda change: change.tick))
    controls.check(_chords_between(score, begin, end))
    return replace(request, score=score, options=replace(request.options, controls=controls))


def with_spots(request: Request, spots: Sequence[Spot]) -> Request:
    """The request with limits for some of its tracks and bars. Raises ControlError where they cannot hold."""
    options = request.options
    controls = replace(options.controls, spots=(*options.controls.spots, *spots))
    first, last = request.bars
    controls.check(_chords_between(request.score, request.score.bar(first).start, request.score.bar(last).end))
    return replace(request, options=replace(options, controls=controls))


def _chords_between(score: Score, begin: int, end: int) -> list[Chord | None]:
    """The chords that sound in a span, that at its begin included."""
    track = chord_track(score)
    sounding = [change.chord for change in track if change.tick <= begin][-1:]
    return [*sounding, *(change.chord for change in track if begin < change.tick < end)]


# --- From request to candidates -----------------------------------------------------------------------


def load_generator() -> Generator:
    """The generator with the shipped weights, or those of the folder that DESCANT_WEIGHTS names."""
    folder = weights_folder()
    return TransformerGenerator(Engine(folder), Choice.load(folder))


def weights_folder() -> Path:
    """The folder of the weights in use."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    return Path(folder) if folder else WEIGHTS / DEFAULT_WEIGHTS


def in_style(generator: Generator, styles: Styles) -> Generator:
    """The generator with styles laid over its network. Raises UserError where one cannot be used."""
    if not isinstance(generator, TransformerGenerator):
        raise UserError("This generator has no styles", "Use the shipped weights.")
    return generator.styled(load_styles(styles))


@dataclass(frozen=True)
class _Prepared:
    """A request on the network's grid."""

    task: Task
    base: Score  # without the region's notes, but with those that stay as they are
    grid: list[GridBar]
    locks: Locks
    doubles: list[list[Note]]  # by track, the user's notes that are put back beside what was written


def _prepare(request: Request) -> _Prepared:
    last = request.bars[1]
    piece, grid, membership = to_piece(request.score, last + 1)
    by_score_bar: dict[int, list[int]] = {}
    for bar in grid:
        by_score_bar.setdefault(bar.score_bar, []).append(bar.index)
    cells = frozenset((index, track) for bar, track in request.region for index in by_score_bar[bar])
    bare = request.score.with_tracks(
        replace(
            track,
            notes=tuple(
                note for note, bar in zip(track.notes, membership[i].tolist(), strict=True) if (bar, i) not in cells
            ),
        )
        for i, track in enumerate(request.score.tracks)
    )
    own, own_grid = piece, grid
    piece, grid, _ = to_piece(bare, last + 1)
    region = np.zeros((len(grid), len(bare.tracks)), dtype=bool)
    for cell in cells:
        region[cell] = True
    controls, seed = request.options.controls, request.options.seed
    kept = Kept({}, [[] for _ in bare.tracks], [[] for _ in bare.tracks])
    if request.keep:
        own_region = np.zeros((len(own_grid), len(bare.tracks)), dtype=bool)
        own_region[: len(region)] = region[: len(own_region)]
        kept = make_locks(request.keep, request.score, own, own_grid, membership, own_region, seed)
    tracks = zip(bare.tracks, kept.stay, strict=True)
    base = bare.with_tracks(track.with_notes([*track.notes, *stay]) for track, stay in tracks)
    piece = replace(piece, bars=_bars_with_key(piece, bare, controls.key))
    if not controls.follow_chords:
        piece = replace(piece, chords=chords_going_on(piece, min(bar for bar, _ in cells)))
    attributes = asked_attributes(controls, [bar.score_bar for bar in grid], piece.programs)
    if request.keep and request.keep.kind == "notes" and not request.keep.accents:
        attributes = _like(own, region, attributes)
    elif not (request.keep or request.form or request.words):
        attributes = _in_phrases(piece, region, attributes, request.ending)
    tables = [_kept_table(track) for track in base.tracks]
    final = None
    if request.ending and not controls.follow_chords:
        piece, final = _closing(piece, bare, controls.key, max(bar for bar, _ in cells))
    if request.keep or final:
        rules: Rules = LockedRules(
            piece, grid, region, controls, tables, base.ticks_per_quarter, request.new_tracks, kept.locks, final
        )
    elif request.form:
        again = {
            (bar, cell.track): (source, cell.kind)
            for cell in request.form.again
            for bar, source in zip(by_score_bar[cell.bar], by_score_bar[cell.source], strict=False)
        }
        resolution, singing = base.ticks_per_quarter, request.form.singing
        rules = FormRules(piece, grid, region, controls, tables, resolution, request.new_tracks, again, singing)
    else:
        rules = Rules(piece, grid, region, controls, tables, base.ticks_per_quarter, request.new_tracks)
    if request.loop:
        piece, region, attributes = _led_back(piece, region, attributes)
    task = Task(
        piece=piece,
        region=region,
        rules=rules,
        header=Header(2, 2) if request.played else describe(piece),
        attributes=attributes,
        ends_known=request.ending,
        text=sentence_vector(request.words),
    )
    return _Prepared(task, base, grid, kept.locks, kept.doubles)


def _like(own: Piece, region: NDArray[np.bool_], asked: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """What is asked of the region's cells; where nothing is, that they be as dense, high and long as they were."""
    were = np.zeros((*region.shape, len(ATTRIBUTES)), dtype=np.int32)
    found = cell_attributes(own)[: len(region)]
    found[..., [ATTRIBUTES.index(name) for name in ("polyphony", "leaps", "syncopation")]] = 0
    were[: len(found)] = np.where(region[: len(found), :, None], found, 0)
    return were if asked is None else np.where(asked > 0, asked, were)


def _in_phrases(
    piece: Piece, region: NDArray[np.bool_], asked: NDArray[np.int32] | None, ending: bool
) -> NDArray[np.int32]:
    """What is asked of the region's cells; where nothing is, what the music around makes likely, but for the last
    bar of an ending. What is drawn so is nearer to what composers write: see docs/model.md."""
    likely = phrase_attributes(piece, region)
    if ending:
        likely[np.flatnonzero(region.any(axis=1))[-1]] = 0
    return likely if asked is None else np.where(asked.any(axis=2, keepdims=True), asked, likely)


def _closing(piece: Piece, score: Score, key: Key | None, last: int) -> tuple[Piece, frozenset[int]]:
    """The piece with the tonic chord in grid bar `last`, and the tones of that chord."""
    if key is None:
        key = key_from_signature(score.keys[-1]) if score.keys else estimate_key(score)[0]
    third = (key.tonic + 3) % 12 in key.pitch_classes and (key.tonic + 4) % 12 not in key.pitch_classes
    chord = Chord(key.tonic, "min" if third else "maj", key.tonic)
    chords = piece.chords[piece.chords[:, 0] < last]
    if len(chords):
        chords = np.concatenate([chords, [[last, 0, chord_id(chord)]]]).astype(np.int32)
    return replace(piece, chords=chords), chord.pitch_classes


def _led_back(
    piece: Piece, region: NDArray[np.bool_], attributes: NDArray[np.int32] | None
) -> tuple[Piece, NDArray[np.bool_], NDArray[np.int32] | None]:
    """The piece with its first bars once more after its last, as the network is to see them."""
    first, end = int(np.flatnonzero(region.any(axis=1))[0]), len(piece.bars)
    count = min(LOOP_BARS, first)

    def again(table: NDArray[np.int32]) -> NDArray[np.int32]:
        part = table[table[:, 0] < count].copy()
        part[:, 0] += end
        return np.concatenate([table, part])

    longer = replace(
        piece,
        bars=np.concatenate([piece.bars, piece.bars[:count]]),
        notes=again(piece.notes),
        chords=again(piece.chords),
    )
    region = np.concatenate([region, np.zeros((count, region.shape[1]), dtype=bool)])
    if attributes is not None:
        attributes = np.concatenate([attributes, np.zeros((count, *attributes.shape[1:]), dtype=np.int32)])
    return longer, region, attributes


def _bars_with_key(piece: Piece, score: Score, wanted: Key | None) -> NDArray[np.int32]:
    """The bar table with the key asked for, else the file's, else one estimated with some confidence."""
    key = wanted
    if key is None and not score.keys:
        estimated, margin = estimate_key(score)
        key = estimated if margin >= KEY_MARGIN else None
    bars = piece.bars.copy()
    if key is not None:
        minor = (key.tonic + 3) % 12 in key.pitch_classes and (key.tonic + 4) % 12 not in key.pitch_classes
        fifths = (key.tonic * 7 - (9 * 7 if minor else 0)) % 12
        bars[:, 3] = key_id(fifths, minor)
    return bars


def _kept_table(track: Track) -> NDArray[np.int64]:
    """A track's notes as rows of start, end and pitch."""
    return np.array([(note.start, note.end, note.pitch) for note in track.notes], dtype=np.int64).reshape(-1, 3)


def difference(rows: Rows, others: Sequence[Rows]) -> float:
    """Share of the notes (bar, track, place, pitch) that a candidate does not have in common with the nearest of
    some others; 1 where there are none."""
    notes = {row[:4] for row in rows}
    rest = [{row[:4] for row in other} for other in others]
    return min((1 - len(notes & other) / max(len(notes), len(other), 1) for other in rest), default=1.0)


def task_of(request: Request) -> Task:
    """What a generator is given for a request."""
    return _prepare(request).task


def warm(request: Request, generator: Generator) -> None:
    """Let the network read what a request builds on before it is asked, so that its first bar comes sooner."""
    if request.options.styles:
        generator = in_style(generator, request.options.styles)
    if isinstance(generator, TransformerGenerator):
        generator.warm(task_of(request))


def propose(
    request: Request,
    generator: Generator,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    on_notes: Callable[[Progress, list[tuple[int, Note]]], None] | None = None,
) -> list[Candidate]:
    """All candidates of a request. Raises Cancelled soon after `cancelled()` turns true.

    Candidate k depends on score, region, controls, seed and k alone, not on how many were asked for. One of which a
    later draft is better, or that has nearly all its notes in common with one before it and is written again, more
    daringly, is reported once more, from its first bar on, and what was said of it before no longer counts.
    `on_notes` hears the (track, note) pairs of every bar as it is done.
    """
    began = time.perf_counter()
    if request.options.styles:
        generator = in_style(generator, request.options.styles)
    prepared = _prepare(request)
    if cancelled():
        raise Cancelled
    count = request.options.candidates
    rows: list[Rows] = [[] for _ in range(count)]
    first_bar = [0.0] * count
    spent = [0.0] * count

    velocities = VelocityTable(prepared.base)

    def write(numbers: Sequence[int], seeds: Sequence[tuple[int, ...]], sampling: Sampling) -> None:
        for progress in generator.generate(prepared.task, seeds, sampling, cancelled):
            number = numbers[progress.candidate]
            rows[number] = [*(rows[number] if progress.done > 1 else []), *progress.rows]
            spent[number] = time.perf_counter() - began
            if progress.done == 1 and not first_bar[number]:
                first_bar[number] = 1000 * spent[number]
            if on_progress:
                on_progress(progress._replace(candidate=number))
            if on_notes:
                notes = [(row[1], note) for row, note in _notes_of(request, prepared, progress.rows, velocities)]
                on_notes(progress._replace(candidate=number), notes)

    sampling = request.options.sampling
    write(range(count), [(request.options.seed, number) for number in range(count)], sampling)
    for number in range(1, count if sampling.temperature > 0 else 0):
        for attempt, warmth in enumerate(WARMER, start=1):
            if difference(rows[number], rows[:number]) >= LEAST_DIFFERENCE * request.variety:
                break
            temperature, top_p = sampling.temperature * warmth, max(sampling.top_p, DARING_TOP_P)
            daring = sampling._replace(temperature=temperature, top_p=top_p)
            write([number], [(request.options.seed, number, attempt)], daring)
    for number in range(count if request.options.max_copy is not None else 0):
        for attempt in range(FRESH_TRIES):
            if not (copied := _copied_too_much(request, prepared, rows[number])):
                break
            write([number], [(request.options.seed, number, len(WARMER) + 1 + attempt)], sampling)
        else:
            if copied := _copied_too_much(request, prepared, rows[number]):
                raise ControlError(
                    f"Candidate {number + 1} still shares {copied} notes in a row with known music",
                    "Allow more with --max-copy, or try another seed.",
                )
    return [
        _candidate(
            request,
            prepared,
            number,
            rows[number],
            model_hash=generator.model_hash,
            first_bar_ms=first_bar[number],
            notes_per_second=len(rows[number]) / max(spent[number], 1e-9),
        )
        for number in range(count)
    ]


def _note_of(prepared: _Prepared, row: tuple[int, ...], velocities: VelocityTable) -> Note:
    """A drawn row on the score's ticks, cut off where its run of the region ends."""
    note = to_note(row, prepared.grid[row[0]], prepared.base.ticks_per_quarter, velocities)
    end = prepared.task.rules.cells[row[0], row[1]].run[1]
    return note._replace(duration=min(note.duration, end - note.start))


def _notes_of(
    request: Request, prepared: _Prepared, rows: Rows, velocities: VelocityTable
) -> list[tuple[tuple[int, ...], Note]]:
    """Whole bars of drawn rows, each with its note: locked fields are the score's own again, and notes that stay as
    they are, or that would begin inside one of their pitch, are left out."""
    if not prepared.locks:
        return [(row, _note_of(prepared, row, velocities)) for row in rows]
    amount = request.keep.amount if request.keep else 1.0
    found: list[tuple[tuple[int, ...], Note]] = []
    were: list[Note] = []
    for row, anchor in _with_anchors(prepared, rows):
        if anchor is None or not anchor.whole:
            note = _note_of(prepared, row, velocities)
            note = anchor.restored(note, amount) if anchor else note
            if anchor and anchor.note and anchor.micro is None and not _reads_as(prepared, row, note):
                note = note._replace(start=anchor.note.start)  # ticks too coarse to play with
            drawn = anchor is None or anchor.position is None or anchor.pitch is None
            kept = prepared.base.tracks[row[1]].notes
            if not (drawn and any(k.pitch == note.pitch and k.start <= note.start < k.end for k in kept)):
                found.append((row, note))
                were.append(anchor.note if anchor and anchor.note else note)
    if request.keep and request.keep.kind == "place":
        moved = apart_again([note for _, note in found], were)
        return [(row, note) for (row, _), note in zip(found, moved, strict=True)]
    return found


def _with_anchors(
    prepared: _Prepared, rows: Rows
) -> Iterator[tuple[tuple[int, int, int, int, int, int, int], Anchor | None]]:
    """Whole bars of drawn rows, cell by cell, each with the locked note that it stands for."""
    cells: dict[tuple[int, int], Rows] = {}
    for row in rows:
        cells.setdefault((row[0], row[1]), []).append(row)
    for place, inside in cells.items():
        lock = prepared.locks.get(place)
        anchors = lock.match([(row[2], row[3]) for row in inside]) if lock else [None] * len(inside)
        yield from zip(inside, anchors, strict=True)


def _reads_as(prepared: _Prepared, row: tuple[int, ...], note: Note) -> bool:
    """Whether a note that is played in its bar is found at the place it was drawn for."""
    bar = prepared.grid[row[0]]
    offset = (note.start - bar.start) * GRID / prepared.base.ticks_per_quarter
    return offset < 0 or int(snap(np.array([offset]))[0]) == row[2]


def _candidate(
    request: Request,
    prepared: _Prepared,
    number: int,
    rows: Rows,
    *,
    model_hash: str,
    first_bar_ms: float,
    notes_per_second: float,
) -> Candidate:
    base, grid = prepared.base, prepared.grid
    velocities = VelocityTable(base)
    last = request.bars[1]
    controls = request.options.controls
    tracks = list(base.tracks)
    written: list[Written] = []
    for index in sorted({track for _, track in request.region}):
        drawn: dict[tuple[int, int], tuple[GridBar, int]] = {}
        notes = []
        mine = [row for row in rows if row[1] == index]
        for row, note in _notes_of(request, prepared, mine, velocities):
            notes.append(note)
            drawn[note.start, note.pitch] = (grid[row[0]], row[2])
        settled = notes
        if not (request.keep and request.keep.kind == "place"):  # the user's own, and apart already
            settled = settle(notes, base.tracks[index].notes, voices_at(base, index, controls))
        for note in settled:
            bar, position = drawn[note.start, note.pitch]
            place = bar.start + ticks_of(position * MICRO_PER_TICK, base.ticks_per_quarter)
            written.append(Written(bar.score_bar, index, position, place, note))
        events = _with_pedal_up(tracks[index], base.bar(request.bars[0]).start)
        tracks[index] = replace(tracks[index], events=events).with_notes(
            [*tracks[index].notes, *settled, *prepared.doubles[index]]
        )
    score = replace(base.with_tracks(tracks), length=max(base.length, base.bar(last).end))
    kept = [track.notes for track in base.tracks]
    locked: Counter[tuple[int, int]] | None = Counter() if request.keep else None
    for (grid_bar, track), lock in prepared.locks.items():
        if locked is not None:
            locked[grid[grid_bar].score_bar, track] += sum(anchor.whole for anchor in lock.anchors)
    return Candidate(
        number=number + 1,
        score=score,
        request=request,
        written=tuple((item.track, item.note) for item in written),
        violations=tuple(violations(base, written, kept, controls, request.region, locked)),
        seed=request.options.seed,
        model_hash=model_hash,
        first_bar_ms=first_bar_ms,
        notes_per_second=notes_per_second,
        originality=_originality(request, prepared, rows),
    )


def _originality(request: Request, prepared: _Prepared, rows: Rows) -> Originality | None:
    """How much of some drawn rows is known; notes whose pitch was locked are the user's, and left out."""
    index = shipped_index()
    if index is None:
        return None
    drawn = [row for row, anchor in _with_anchors(prepared, rows) if anchor is None or anchor.pitch is None]
    table = np.array(drawn, dtype=np.int32).reshape(-1, 7)
    found = lines(replace(prepared.task.piece, notes=table))
    own = request.options.own
    return Originality(longest_run(found, index), index.human, None if own is None else longest_run(found, own))


def _copied_too_much(request: Request, prepared: _Prepared, rows: Rows) -> int:
    """Notes of the longest run that is known, where it is longer than what is allowed; else 0."""
    found = _originality(request, prepared, rows)
    if found is None:
        raise ControlError(
            "--max-copy needs the index of the training set", "Install Descant again, or leave it out."
        )
    longest = max(found.training.notes, found.own.notes if found.own else 0)
    return longest if request.options.max_copy is not None and longest > request.options.max_copy else 0


def _with_pedal_up(track: Track, tick: int) -> tuple[Event, ...]:
    """The track's events; a sustain pedal that is down at `tick` and never lifted is lifted there."""
    pedal = [event for event in track.events if event.data[0] & 0xF0 == 0xB0 and event.data[1] == SUSTAIN]
    if not pedal or pedal[-1].tick > tick or pedal[-1].data[2] < 64:
        return track.events
    lift = Event(tick, bytes([pedal[-1].data[0], SUSTAIN, 0]))
    return tuple(sorted([*track.events, lift], key=lambda event: event.tick))
