"""What the tests ask of a DAW, whichever it is: its bench, and what stands for the engine.

A bench is the DAW itself or its double with our script in it, and the hands and eyes of a user. A song is described
once, as integrations.memory has it; every bench lays it out as its DAW would. Notes that a bench reports are
(start, pitch, duration, velocity) in ticks of the song.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from assistant.answering import answers
from assistant.daw_asking import Drafted, Growing
from integrations.base import TICKS, Daw, Selection
from integrations.memory import Clip, Lane, Song
from models.errors import Cancelled
from models.generators import Progress
from models.midi_file import read_midi, write_midi
from models.score import Note, Score

HERE = Path(__file__).resolve().parent
TOKEN = "0123456789abcdef" * 4
LONGEST = 300.0  # seconds after which what must come counts as never coming
Notes = list[tuple[int, int, int, int]]


class SomeNotes:
    """A generator without a network: a few notes wherever the rules allow some."""

    model_hash = "some"

    def generate(
        self, task: Any, seeds: Any, sampling: Any, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        from models.tokens import END

        for candidate, seed in enumerate(seeds):
            rng = np.random.default_rng(list(seed))
            draft = task.rules.draft()
            for done, bar in enumerate(task.bars, 1):
                for track in np.flatnonzero(task.region[bar]).tolist():
                    draft.enter(bar, track)
                    for _ in range(4):
                        places = np.flatnonzero(draft.positions()[:END])
                        if not len(places):
                            break
                        position = int(rng.choice(places))
                        pitch = int(rng.choice(np.flatnonzero(draft.pitches(position))))
                        duration = int(rng.choice(np.flatnonzero(draft.durations(position, pitch))))
                        loud, late = (
                            int(rng.choice(np.flatnonzero(mask)))
                            for mask in (draft.velocities(), draft.micros(position))
                        )
                        draft.accept(position, pitch, duration, loud, late)
                yield Progress(candidate, bar, done, len(task.bars), [row for row in draft.rows if row[0] == bar])


class Asked:
    """What stands for the engine: the real pipeline with a generator that needs no network, and a door to hold."""

    def __init__(self) -> None:
        self.calls: list[tuple[Score, dict[str, Any]]] = []
        self.scores: list[Score] = []
        self.door = threading.Event()
        self.door.set()
        self.last_door = threading.Event()  # after the first bars have been told
        self.last_door.set()
        self.grown = threading.Event()
        self.entered = threading.Event()
        self.cancelled = threading.Event()

    def __call__(self, score: Score, words: dict[str, Any], cancelled: Any) -> Iterator[Drafted]:
        self.calls.append((score, words))
        self.entered.set()
        self._wait(self.door, cancelled)
        growing, parts = Growing.of(score, words), []

        def listen(progress: Progress, notes: list[tuple[int, Note]]) -> None:
            if growing:
                bar = [(track + 1, *note[:4]) for track, note in notes]
                growing.hear({"candidate": progress.candidate + 1, "done": progress.done, "notes": bar})
                parts.append(growing.drafted())

        found = answers(words, write_midi(score), SomeNotes(), lambda _: None, listen, cancelled)
        scores = tuple(read_midi(answer.midi).score for answer in found)
        for drafted in parts[:: max(1, len(parts) // 3)]:
            yield drafted
            self.grown.set()
            self._wait(self.last_door, cancelled)
        self.scores = list(scores)
        yield Drafted(scores, complete=True)

    def _wait(self, door: threading.Event, cancelled: Any) -> None:
        while not door.wait(0.005):
            if cancelled():
                self.cancelled.set()
                raise Cancelled


def rows(notes: Any, shift: int = 0) -> Notes:
    return sorted((round(n[0]) + shift, round(n[1]), round(n[2]), round(n[3])) for n in notes)


def until(true: Any) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + LONGEST
    while not true():
        if time.monotonic() > end:
            raise AssertionError("it never came")
        time.sleep(0.004)


class Bench(ABC):
    """What the tests ask of every DAW."""

    name = ""
    whole_clips = False  # a candidate of a filled clip holds the kept notes too
    unlike: frozenset[str] = frozenset()  # capabilities that the program has and this bench has not
    origin_is_clip = False  # a launcher has no time line: a Score begins with the clip

    daw: Daw

    def __init__(self, folder: Path, asked: Asked) -> None:
        self.folder, self.asked = folder, asked

    @abstractmethod
    def load(self, song: Song, lanes: tuple[int, ...], start: int, end: int) -> None:
        """Open a song and select. No lanes: nothing is selected."""

    def where(self, selection: Selection, action: str) -> int:
        """What turns ticks of a Score into the ticks that `candidates` reports."""
        return round(selection.origin * TICKS)

    def snap(self, notes: Notes) -> Notes:
        """Notes on the DAW's finest grid."""
        return notes

    def where_kept(self, selection: Selection, action: str) -> int:
        """The same for what `kept` reports."""
        return self.where(selection, action)

    @abstractmethod
    def edit(self, lane: int) -> None:
        """The user moves the first note of a lane's first clip up by a semitone."""

    @abstractmethod
    def own(self) -> dict[str, Notes]:
        """The user's notes, lane by lane, as they are written in the clips (loops not written out)."""

    @abstractmethod
    def candidates(self) -> list[dict[str, Notes]]:
        """The notes of every candidate beside them, lane by lane."""

    @abstractmethod
    def shown(self) -> int:
        """The candidate that is shown; 0 for the user's own."""

    @abstractmethod
    def kept(self) -> dict[str, Notes]:
        """Everything that is in the song once a candidate was accepted."""

    @abstractmethod
    def press(self, action: str, **options: Any) -> None:
        """The user presses a key; returns when the DAW has heard of it."""

    @abstractmethod
    def said(self) -> list[str]:
        """What the user was told."""

    def user_undo(self) -> None:
        self.daw.undo()

    def close_daw(self) -> None:  # noqa: B027  (most have nothing to do here)
        """The DAW ends, as when its window is closed."""

    def restart_server(self) -> None:  # noqa: B027  (most have nothing to do here)
        """The program that DAWs talk to ends and starts again."""

    def close(self) -> None:  # noqa: B027  (most have nothing to do here)
        """Leave nothing behind; fails when the DAW's rules were broken."""


def layout(song: Song, lanes: tuple[int, ...], start: int, end: int) -> dict[str, Any]:
    """A song as the doubles take it: markers of [quarter, bpm, over, under], lanes of clips, a time selection."""
    bpm, markers = 120.0, []
    changes = {tempo.tick for tempo in song.tempos} | {meter.tick for meter in song.meters} | {0}
    tempos = {tempo.tick: tempo.bpm for tempo in song.tempos}
    meters = {meter.tick: [meter.numerator, meter.denominator] for meter in song.meters}
    for tick in sorted(changes):
        bpm = tempos.get(tick, bpm)
        markers.append([tick / TICKS, bpm, *meters.get(tick, [4, 4] if tick == 0 else [None, None])])
    laid = []
    for index, lane in enumerate(song.lanes):
        clips = [
            {
                "start": clip.start,
                "length": clip.length,
                "period": clip.period,
                "notes": [list(note[:4]) for note in clip.notes],
                "selected": index in lanes and clip.start < end and clip.end > start,
            }
            for clip in lane.clips
        ]
        laid.append({"name": lane.name, "clips": clips, "drum": lane.is_drum, "program": lane.program})
    spans = [
        (clip["start"], clip["start"] + clip["length"])
        for lane in laid
        for clip in lane["clips"]
        if clip["selected"]
    ]
    whole = spans and (start, end) == (min(s for s, _ in spans), max(e for _, e in spans))
    return {"markers": markers, "lanes": laid, "time": [0, 0] if whole or not lanes else [start, end]}


def lane(name: str, *clips: Clip, program: int = 0, drum: bool = False) -> Lane:
    return Lane(name, clips, program, drum)


def scale(start: int, bars: int, bar: int = 4 * TICKS, step: int = TICKS, period: int = 0) -> Clip:
    """A clip of quarter notes up and down, `bars` bars of `bar` ticks; `period`: looped after so many ticks."""
    length = bars * bar
    notes = [
        Note(at, 60 + 2 * (at // step % 5), step // 2, 70 + at // step % 20)
        for at in range(0, period or length, step)
    ]
    return Clip(start, length, tuple(notes), period)
