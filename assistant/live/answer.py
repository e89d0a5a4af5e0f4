"""From what was played to the next bar: the requests of live playing, a bar at a time, and what they become.

Everything here is told what there is and what beat it is; `live.py` does the waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assistant.live.capture import DRUM_CHANNEL, TICKS, Captured
from models.instruments import Instrument
from models.score import Note, Score, Track

if TYPE_CHECKING:
    from assistant.pipeline import Candidate, Options, Request

    Propose = Callable[[Request, Callable[[], bool]], list[Candidate]]

CONTEXT_BARS = 8  # that the network is shown before the bar it writes
MOST_NOTES_A_BAR = 24  # of a part, so that no bar takes longer than it lasts
Rows = list[list[float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered so far: a Score whose tick 0 is `start_beat` of the song, and how it came about."""

    kind: str
    score: Score
    start_beat: float
    seed: int
    model_hash: str


def with_bar(options: Options, bar: int) -> Options:
    """The options for one bar of an answer: one candidate, a seed of its own, not more notes than time allows."""
    controls = options.controls
    if controls.density is None:
        controls = replace(controls, density=(0, MOST_NOTES_A_BAR))
    return replace(options, candidates=1, seed=(options.seed * 1009 + bar) % (1 << 32), controls=controls)


def continuing_bar(played: Score, written: Sequence[Score], options: Options) -> Request:
    """The request for the bar after `played` and the bars that were written already."""
    from assistant.pipeline import continue_request

    score = joined(played, written)
    return continue_request(last_bars(score, CONTEXT_BARS), 1, with_bar(options, len(written)))


def joined(played: Score, written: Sequence[Score]) -> Score:
    """`played` with the written bars laid after it, each track after the one of its number."""
    score = played
    for bar in written:
        at = score.length
        tracks = [
            track.with_notes([*track.notes, *(note._replace(start=note.start + at) for note in new.notes)])
            for track, new in zip(score.tracks, aligned(bar, score.tracks), strict=True)
        ]
        score = replace(score, tracks=tuple(tracks), length=at + bar.length)
    return score


def aligned(bar: Score, tracks: Sequence[Track]) -> list[Track]:
    """A bar's tracks in the order of `tracks`, by channel; empty ones where it has none."""
    by_channel = {track.channel: track for track in bar.tracks}
    return [by_channel.get(track.channel, replace(track, notes=(), events=())) for track in tracks]


def last_bars(score: Score, bars: int) -> Score:
    """The last bars of a score, moved to its start; it has one meter and one tempo."""
    last = score.bar_at(max(0, score.length - 1)).index
    start = score.bar(max(0, last + 1 - bars)).start
    tracks = [
        replace(
            track,
            notes=tuple(note._replace(start=note.start - start) for note in track.notes if note.start >= start),
            events=(),
        )
        for track in score.tracks
    ]
    return replace(score, tracks=tuple(tracks), length=score.length - start)


def new_parts(instruments: Sequence[Instrument], taken: Sequence[int] = (0,)) -> tuple[Track, ...]:
    """An empty track for each instrument, on channels that nobody plays on."""
    free = iter([channel for channel in range(16) if channel != DRUM_CHANNEL and channel not in taken] * 2)
    channels = [DRUM_CHANNEL if instrument.is_drum else next(free) for instrument in instruments]
    return tuple(
        Track(instrument.name, instrument.program, instrument.is_drum, channel)
        for instrument, channel in zip(instruments, channels, strict=True)
    )


def accompanying_bar(
    captured: Captured, parts: Sequence[Track], written: dict[int, Score], bar: int, options: Options
) -> Request | None:
    """The request for song bar `bar` of the accompanying parts; None when there is nothing to go by yet.

    captured: what was played, from a bar line on. written: by song bar, what the parts have played so far.
    """
    from assistant.pipeline import fill_request

    played = captured.quantised
    length = played.bar(0).length
    first_played = round(captured.start_beat * TICKS) // length
    first = max(first_played, bar - CONTEXT_BARS)
    if first >= bar:
        return None
    moved = (first - first_played) * length
    theirs = [
        replace(
            track,
            notes=tuple(note._replace(start=note.start - moved) for note in track.notes if note.start >= moved),
            events=(),
        )
        for track in played.tracks
    ]
    ours = []
    for part in parts:
        notes: list[Note] = []
        for number in range(first, bar):
            if number in written:
                (track,) = aligned(written[number], [part])
                at = (number - first) * length
                notes += [note._replace(start=note.start + at) for note in track.notes]
        ours.append(part.with_notes(notes))
    tracks = (*theirs, *ours)
    score = replace(played, tracks=tracks, length=(bar - first + 1) * length)
    if score.last_note_start < 0:
        return None
    target = min(bar - first, score.bar_at(score.last_note_start).index + 1)
    region = range(len(theirs), len(tracks))
    return fill_request(score, list(region), target, target, with_bar(options, bar))


def rows_of(score: Score, channel: int | None = None) -> tuple[Rows, list[tuple[float, str]]]:
    """A score as the player takes it: rows of beat, length in beats, channel, pitch, velocity and release,
    and its controllers as (beat, hex). `channel` takes the place of every track's own. Programs stay behind:
    which instrument plays is the DAW's affair.
    """
    rows: Rows = []
    events: list[tuple[float, str]] = []
    ticks = score.ticks_per_quarter
    for track in score.tracks:
        at = track.channel if channel is None else channel
        rows += [
            [note.start / ticks, note.duration / ticks, at, note.pitch, note.velocity, note.release]
            for note in track.notes
        ]
        events += [
            (event.tick / ticks, bytes([event.data[0] & 0xF0 | at, *event.data[1:]]).hex())
            for event in track.events
            if 0x80 <= event.data[0] < 0xF0 and event.data[0] & 0xF0 not in (0x80, 0x90, 0xC0)
        ]
    return rows, events


def describe(answer: Answer | None) -> dict[str, Any] | None:
    """An answer in a few words, for those who watch."""
    if answer is None:
        return None
    notes = sum(len(track.notes) for track in answer.score.tracks)
    return {"kind": answer.kind, "notes": notes, "beat": answer.start_beat, "seed": answer.seed}
