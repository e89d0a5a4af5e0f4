"""A DAW that exists only in memory: tracks of clips on a time line, takes, and an undo that goes back one step.

It is the plainest reading of integrations.base.Daw, for tests and for programs that have no DAW.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from integrations.base import (
    TICKS,
    Capabilities,
    NothingSelected,
    Scale,
    Selection,
    Written,
    bars_around,
    changed,
    stamp,
    taken_back,
)
from models.score import Meter, Note, Score, Tempo, Track


@dataclass(frozen=True, slots=True)
class Clip:
    """Notes in ticks from the clip's start. `period`: how many ticks repeat until `length`; 0 for no loop."""

    start: int
    length: int
    notes: tuple[Note, ...]
    period: int = 0

    @property
    def end(self) -> int:
        return self.start + self.length

    def sounding(self) -> tuple[Note, ...]:
        """The notes on the song's ticks, repeated as they sound."""
        period = self.period or self.length
        return tuple(
            note._replace(start=self.start + at, duration=min(note.duration, self.length - at))
            for shift in range(0, self.length, period)
            for note in self.notes
            if note.start < period and (at := note.start + shift) < self.length
        )


@dataclass(frozen=True, slots=True)
class Lane:
    """A track: the user's clips, and the candidates of the last proposal that lie beside them."""

    name: str
    clips: tuple[Clip, ...] = ()
    program: int = 0
    is_drum: bool = False
    candidates: tuple[tuple[int, Clip, tuple[tuple[int, int], ...]], ...] = ()  # number, clip, what it replaces


@dataclass(frozen=True, slots=True)
class Song:
    lanes: tuple[Lane, ...]
    tempos: tuple[Tempo, ...] = ()
    meters: tuple[Meter, ...] = ()
    scale: Scale | None = None
    shown: int = 0  # the candidate that sounds; 0 for the user's own
    proposed_lanes: frozenset[int] = frozenset()


class MemoryDaw:
    """integrations.base.Daw over a Song. `selected`: lanes, and the ticks from start to end."""

    name = "memory"
    capabilities = Capabilities(
        tempo_map=True,
        arrangement=True,
        loops=True,
        scale=True,
        context=True,
        new_tracks=True,
        undo=True,
        audition=True,
        grows=True,
        sketch=True,
        place="takes",
    )

    def __init__(self, song: Song, selected: tuple[tuple[int, ...], int, int] = ((), 0, 0)) -> None:
        self.song = song
        self.selected = selected
        self.messages: list[str] = []
        self._past: list[Song] = []
        self._before = song  # as it was when the last proposal was written

    def read(self, action: str) -> Selection:
        lanes, start, end = self.selected
        whole = self._score()
        if action == "sketch":
            lanes, end, whole = (), start + 1, whole.with_tracks(())
        elif not lanes or end <= start:
            raise NothingSelected("Nothing is selected", "Select one or more clips, then ask again.")
        first, last = whole.bar_at(start).index, whole.bar_at(end - 1).index
        before, after = bars_around(action)
        begin, stop = whole.bar(max(0, first - before)).start, whole.bar(last + after).end
        window = _window(whole, begin, stop)
        return Selection(
            score=window,
            origin=begin / TICKS,
            start=start - begin,
            end=end - begin,
            tracks=lanes,
            stamp=self._stamp(lanes),
            scale=self.song.scale,
            reference=begin,
        )

    def write(
        self,
        selection: Selection,
        candidates: Sequence[Written],
        action: str,
        again: bool = False,
        whole: bool = True,
    ) -> None:
        if again and not any(lane.candidates for lane in self.song.lanes):
            raise taken_back()
        if self._stamp(selection.tracks) != selection.stamp:
            if again:
                self.cancel()
            raise changed()
        shown = self.song.shown if again else 1
        if again and self._past and self._past[-1] is self._before:
            self._past.pop()  # what was written of it before becomes part of this step
        else:
            self._before = self.song
        self._past.append(self._before)
        self._drop_candidates()
        lanes = list(self.song.lanes)
        new: dict[tuple[int, str], int] = {}
        begin = int(selection.reference)
        for candidate in candidates:
            for place, part in enumerate(candidate.parts):
                index = part.track
                if index is None:
                    index = new.setdefault((place, part.name), len(lanes))
                    if index == len(lanes):
                        lanes.append(Lane(part.name, (), part.program, part.is_drum))
                notes = tuple(note._replace(start=note.start - part.start) for note in part.notes)
                clip = Clip(begin + part.start, part.end - part.start, notes)
                removed = tuple((begin + at, pitch) for at, pitch in part.removed)
                beside = (*lanes[index].candidates, (candidate.number, clip, removed))
                lanes[index] = replace(lanes[index], candidates=beside)
        self.song = replace(self.song, lanes=tuple(lanes), shown=shown, proposed_lanes=frozenset(new.values()))

    def audition(self, number: int) -> None:
        self.song = replace(self.song, shown=number)

    def accept(self) -> None:
        self._step()
        lanes = []
        for lane in self.song.lanes:
            clips = lane.clips
            for number, clip, removed in lane.candidates:
                if number == self.song.shown:
                    clips = (*(_without(old, removed) for old in clips), clip)
            lanes.append(replace(lane, clips=clips, candidates=()))
        self.song = replace(self.song, lanes=tuple(lanes), shown=0, proposed_lanes=frozenset())

    def cancel(self) -> None:
        self._step()
        self._drop_candidates()

    def undo(self) -> None:
        if self._past:
            self.song = self._past.pop()

    def say(self, text: str, done: bool = True) -> None:
        self.messages.append(text)

    def edit(self, lane: int, clip: int, new: Clip) -> None:
        """What the user does by hand."""
        self._step()
        clips = list(self.song.lanes[lane].clips)
        clips[clip] = new
        lanes = list(self.song.lanes)
        lanes[lane] = replace(lanes[lane], clips=tuple(clips))
        self.song = replace(self.song, lanes=tuple(lanes))

    def _step(self) -> None:
        self._past.append(self.song)

    def _drop_candidates(self) -> None:
        kept = [lane for index, lane in enumerate(self.song.lanes) if index not in self.song.proposed_lanes]
        lanes = tuple(replace(lane, candidates=()) for lane in kept)
        self.song = replace(self.song, lanes=lanes, shown=0, proposed_lanes=frozenset())

    def _score(self) -> Score:
        tracks = tuple(
            Track(lane.name, lane.program, lane.is_drum).with_notes(
                note for clip in lane.clips for note in clip.sounding()
            )
            for lane in self.song.lanes
        )
        length = max((clip.end for lane in self.song.lanes for clip in lane.clips), default=0)
        return Score(TICKS, tracks, self.song.tempos, self.song.meters, length=length)

    def _stamp(self, lanes: Sequence[int]) -> str:
        numbers = [value for tempo in self.song.tempos for value in tempo]
        numbers += [value for meter in self.song.meters for value in meter]
        for lane in lanes:
            for clip in self.song.lanes[lane].clips if lane < len(self.song.lanes) else ():
                numbers += [lane, clip.start, clip.length, clip.period]
                numbers += [value for note in clip.notes for value in note]
        return stamp(numbers)


def _without(clip: Clip, removed: tuple[tuple[int, int], ...]) -> Clip:
    """A clip whose loop is written out and whose notes at `removed` are gone; itself where none of them is its."""
    kept = [note for note in clip.sounding() if (note.start, note.pitch) not in removed]
    if len(kept) == len(clip.sounding()):
        return clip
    return Clip(clip.start, clip.length, tuple(note._replace(start=note.start - clip.start) for note in kept))


def _window(score: Score, begin: int, end: int) -> Score:
    """The bars from `begin` to `end`, counted from `begin`, in the tempo and meter that hold there."""
    bar = score.bar_at(begin)
    tracks = []
    for track in score.tracks:
        inside = (note for note in track.notes if begin <= note.start < end)
        tracks.append(track.with_notes(note._replace(start=note.start - begin) for note in inside))
    tempos = (tempo._replace(tick=tempo.tick - begin) for tempo in score.tempos if begin < tempo.tick < end)
    meters = (meter._replace(tick=meter.tick - begin) for meter in score.meters if begin < meter.tick < end)
    return Score(
        TICKS,
        tuple(tracks),
        (Tempo(0, score.tempo_at(begin).microseconds), *tempos),
        (Meter(0, bar.numerator, bar.denominator), *meters),
        length=end - begin,
    )
