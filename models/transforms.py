"""Transforms of scores that need no network: the feel of a clip, and the way from one clip to another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from models.errors import ControlError
from models.piece import GRID, GridBar, grid_bars, to_piece
from models.score import Note, Score, Tempo, Track

MOST_STEPS = 64


def apart_again(notes: Sequence[Note], were: Sequence[Note]) -> list[Note]:
    """Notes that were moved a little: where two of one pitch did not overlap before, the first ends in time for the
    second. were: the same notes before they moved."""
    result = list(notes)
    by_place = sorted(range(len(were)), key=lambda index: (were[index].pitch, were[index].start))
    for left, right in pairwise(by_place):
        if were[left].pitch == were[right].pitch and were[left].end <= were[right].start:
            room = max(1, result[right].start - result[left].start)
            result[left] = result[left]._replace(duration=min(result[left].duration, room))
    return result


# --- Groove -------------------------------------------------------------------------------------------


class Feel(NamedTuple):
    """How a place in the bar is played: late by so many quarter notes (early: below 0), and so many times as loud
    as the mean."""

    late: float
    loudness: float


class Groove(NamedTuple):
    """The feel of a clip: by bar of the clip and place on the network's grid, and by place over all of its bars."""

    bars: int
    by_bar: dict[tuple[int, int], Feel]
    by_place: dict[int, Feel]

    def at(self, bar: int, place: int) -> Feel:
        """The feel of a place in bar `bar` of another piece: that of the clip's bar, which come round; else that of
        the place in any bar, else that of the same part of any beat, else none."""
        found = self.by_bar.get((bar % self.bars, place)) or self.by_place.get(place)
        if found:
            return found
        alike = [feel for other, feel in self.by_place.items() if other % GRID == place % GRID]
        if not alike:
            return Feel(0.0, 1.0)
        return Feel(median(feel.late for feel in alike), median(feel.loudness for feel in alike))


def groove_of(clip: Score) -> Groove:
    """What a performed clip adds to its notes. Raises ControlError where it has none."""
    feels: defaultdict[tuple[int, int], list[Feel]] = defaultdict(list)
    loudness = [note.velocity for track in clip.tracks for note in track.notes]
    if not loudness:
        raise ControlError("The clip has no notes to take a feel from", "Choose a performed clip with --from.")
    mean = sum(loudness) / len(loudness)
    last = 0
    for bar, place, note, late in _placed(clip):
        feels[bar.score_bar, place].append(Feel(late, note.velocity / mean))
        last = max(last, bar.score_bar)
    every: defaultdict[int, list[Feel]] = defaultdict(list)
    for (_, place), found in feels.items():
        every[place] += found
    return Groove(
        last + 1, {key: _middle(found) for key, found in feels.items()}, {p: _middle(f) for p, f in every.items()}
    )


def _middle(feels: Sequence[Feel]) -> Feel:
    return Feel(median(feel.late for feel in feels), sum(feel.loudness for feel in feels) / len(feels))


def _placed(score: Score) -> Iterator[tuple[GridBar, int, Note, float]]:
    """Every note with its grid bar, its place there, and by how many quarter notes it is late."""
    quarter = score.ticks_per_quarter
    for track in score.tracks:
        piece, grid, membership = to_piece(replace(score, tracks=(track,)))
        places = defaultdict(list)
        for row in piece.notes.tolist():
            places[row[0], row[3]].append(row[2])
        for note, index in zip(track.notes, membership[0].tolist(), strict=True):
            offset = (note.start - grid[index].start) / quarter
            place = min(places[index, note.pitch], key=lambda place: abs(place / GRID - offset))
            yield grid[index], place, note, offset - place / GRID


def with_groove(score: Score, groove: Groove, strength: float = 1.0, tracks: Sequence[int] | None = None) -> Score:
    """The score played with a groove, in some tracks (None: in all).

    Pitches, lengths and the places that notes snap to stay; they are played earlier or later, louder or softer.
    strength 0 changes nothing, 1 is all of it.
    """
    if not 0 <= strength <= 1:
        raise ControlError(f"The strength cannot be {strength:g}", "It goes from 0 to 1.")
    quarter = score.ticks_per_quarter
    chosen = range(len(score.tracks)) if tracks is None else tracks
    result = list(score.tracks)
    for index in chosen:
        track = score.tracks[index]
        moved, were = [], []
        for bar, place, note, late in _placed(replace(score, tracks=(track,))):
            feel = groove.at(bar.score_bar, place)
            start = note.start + round(strength * (feel.late - late) * quarter)
            velocity = round(note.velocity * (1 + strength * (feel.loudness - 1)))
            moved.append(note._replace(start=max(0, start), velocity=max(1, min(127, velocity))))
            were.append(note)
        result[index] = track.with_notes(apart_again(moved, were))
    return score.with_tracks(result)


# --- Interpolation ------------------------------------------------------------------------------------


class Edit(NamedTuple):
    """What changes together: notes of the first clip that go, and notes of the second that come in their place."""

    out: tuple[tuple[int, Note], ...]
    into: tuple[tuple[int, Note], ...]


def interpolate(first: Score, second: Score, steps: int) -> list[Score]:
    """`steps` scores that lead from one clip to another: the first and the last are the clips themselves.

    In between, more and more of the first's notes give way to the second's, weak places first and spread over the
    clip. By the number of notes that two scores do not have in common, the way from the first never gets shorter
    and the way to the second never longer. Raises ControlError where the clips' bars differ.
    """
    if not 2 <= steps <= MOST_STEPS:
        raise ControlError(f"{steps} steps cannot be made", f"Ask for 2 to {MOST_STEPS}, both clips included.")
    quarter = max(first.ticks_per_quarter, second.ticks_per_quarter)
    left, right = _on_grid(first, quarter), _on_grid(second, quarter)
    count = 1 + max(score.bar_at(max(0, score.last_note_start)).index for score in (left, right))
    if [bar.length for bar in grid_bars(left, count)] != [bar.length for bar in grid_bars(right, count)]:
        raise ControlError("The two clips have different bars", "Choose clips in the same meter.")
    tracks, left, right = _paired(left, right)
    edits = _edits(left, right)
    result = []
    for step in range(1, steps - 1):
        share = step / (steps - 1)
        done = edits[: round(share * len(edits))]
        out = {item for edit in done for item in edit.out}
        into = [item for edit in done for item in edit.into]
        base = left if share < 0.5 else right
        made = []
        for index, track in enumerate(tracks):
            kept = [note for note in left.tracks[index].notes if (index, note) not in out]
            fresh = [note for at, note in into if at == index]
            made.append(replace(track, events=base.tracks[index].events).with_notes([*kept, *fresh]))
        score = replace(base, tracks=tuple(made), length=max(left.length, right.length))
        if len(left.tempos) <= 1 and len(right.tempos) <= 1:
            speeds = [score.tempo_at(0).microseconds for score in (left, right)]
            score = replace(score, tempos=(Tempo(0, round(speeds[0] + share * (speeds[1] - speeds[0]))),))
        result.append(score)
    return [first, *result, second]


def distance(left: Score, right: Score) -> int:
    """How many notes two scores do not have in common, track by track."""
    quarter = max(left.ticks_per_quarter, right.ticks_per_quarter)
    _, left, right = _paired(_on_grid(left, quarter), _on_grid(right, quarter))
    return sum(len(set(a.notes) ^ set(b.notes)) for a, b in zip(left.tracks, right.tracks, strict=True))


def _on_grid(score: Score, quarter: int) -> Score:
    """The score on `quarter` ticks to the quarter note."""
    was = score.ticks_per_quarter
    if was == quarter:
        return score

    def tick(value: int) -> int:
        return round(value * quarter / was)

    tracks = [
        replace(
            track,
            events=tuple(event._replace(tick=tick(event.tick)) for event in track.events),
            notes=tuple(
                note._replace(start=tick(note.start), duration=max(1, tick(note.end) - tick(note.start)))
                for note in track.notes
            ),
        )
        for track in score.tracks
    ]
    return replace(
        score,
        ticks_per_quarter=quarter,
        tracks=tuple(tracks),
        tempos=tuple(item._replace(tick=tick(item.tick)) for item in score.tempos),
        meters=tuple(item._replace(tick=tick(item.tick)) for item in score.meters),
        keys=tuple(item._replace(tick=tick(item.tick)) for item in score.keys),
        markers=tuple(item._replace(tick=tick(item.tick)) for item in score.markers),
        events=tuple(item._replace(tick=tick(item.tick)) for item in score.events),
        length=tick(score.length),
    )


def _paired(left: Score, right: Score) -> tuple[list[Track], Score, Score]:
    """Both scores with the same number of tracks, those of one instrument in the same place; and before them these
    tracks, as the score that has the part names it."""
    waiting = list(right.tracks)
    rows: list[tuple[Track, Track]] = []
    for track in left.tracks:
        other = next((t for t in waiting if (t.is_drum, t.program) == (track.is_drum, track.program)), None)
        other = other or next((t for t in waiting if len(left.tracks) == len(right.tracks) == 1), None)
        if other:
            waiting.remove(other)
        rows.append((track, other or replace(track, notes=(), events=())))
    rows += [(replace(track, notes=(), events=()), track) for track in waiting]
    tracks = [a if a.notes or not b.notes else b for a, b in rows]
    return tracks, left.with_tracks(a for a, _ in rows), right.with_tracks(b for _, b in rows)


def _edits(left: Score, right: Score) -> list[Edit]:
    """What has to change, in the order in which it does. Notes of one pitch that overlap change together, so that
    no step has them both; so do notes that start together."""
    found: list[tuple[float, int, Edit]] = []
    for index, (a, b) in enumerate(zip(left.tracks, right.tracks, strict=True)):
        common = set(a.notes) & set(b.notes)
        sides = [(note, 0) for note in a.notes if note not in common]
        sides += [(note, 1) for note in b.notes if note not in common]
        for group in _groups(sorted(sides)):
            start = min(note.start for note, _ in group)
            edit = Edit(
                tuple((index, note) for note, side in group if side == 0),
                tuple((index, note) for note, side in group if side == 1),
            )
            found.append((_weight(left, start), start, edit))
    found.sort(key=lambda item: (item[0], item[1]))
    # Within one weight, places far apart follow each other, so that the change is everywhere at once.
    order = sorted(
        range(len(found)), key=lambda place: (found[place][0], (place * 0.6180339887) % 1.0, found[place][1])
    )
    return [found[place][2] for place in order]


def _weight(score: Score, tick: int) -> float:
    """How strong a place is in its bar."""
    bar = score.bar_at(tick)
    offset = tick - bar.start
    quarter = score.ticks_per_quarter
    levels = (bar.length, quarter, quarter // 2)
    return float(sum(1 for length in levels if length and offset % length == 0))


def _groups(sides: Sequence[tuple[Note, int]]) -> list[list[tuple[Note, int]]]:
    """Notes that must change together: connected by overlap in one pitch, or by a common start."""
    parent = list(range(len(sides)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    latest: dict[int, tuple[int, int]] = {}  # pitch -> the note of it that ends last: its end and place
    starting: dict[int, int] = {}
    for index, (note, _) in enumerate(sides):
        if note.start in starting:
            parent[root(index)] = root(starting[note.start])
        starting[note.start] = index
        end, other = latest.get(note.pitch, (-1, -1))
        if end > note.start:
            parent[root(index)] = root(other)
        if note.end > end:
            latest[note.pitch] = (note.end, index)
    groups: defaultdict[int, list[tuple[Note, int]]] = defaultdict(list)
    for index, side in enumerate(sides):
        groups[root(index)].append(side)
    return list(groups.values())
