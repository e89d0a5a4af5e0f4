"""What is promised of every candidate, held against random requests.

A random network answers REQUESTS requests, or as many as the variable DESCANT_REQUESTS says, and a generator
that draws anything the rules allow answers 1,000 more. What they answer is checked here from the file's side:
nothing that checks shares code with what decides.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from assistant.pipeline import Candidate, Request, propose
from models.generators import Generator
from models.midi_file import read_midi, write_midi
from models.piece import to_piece
from models.score import Event, Note, Score
from models.theory import chord_track
from scripts.random_requests import answered
from tests.builders import AnyNotes, tiny_generator

REQUESTS = int(os.environ.get("DESCANT_REQUESTS", "250"))
EARLY = 1 / 15  # quarter notes: how much sooner than its bar a note of that bar may be played


class Answer:
    """A candidate, looked at from outside."""

    def __init__(self, request: Request, candidate: Candidate) -> None:
        self.request, self.candidate = request, candidate
        self.before, self.after = request.score, candidate.score
        self.controls = request.options.controls
        self.tracks = sorted({track for _, track in request.region})
        first, last = request.bars
        self.begin, self.end = self.before.bar(first).start, self.before.bar(last).end
        self.new = {
            track: sorted(note for at, note in candidate.written if at == track)
            for track in range(len(self.after.tracks))
        }
        _, grid, membership = to_piece(self.after)
        # The bar of every note of the finished file, as anyone would read it.
        self.bars = [
            {note[:2]: grid[bar].score_bar for note, bar in zip(track.notes, bars.tolist(), strict=True)}
            for track, bars in zip(self.after.tracks, membership, strict=True)
        ]

    def kept(self, track: int) -> list[Note]:
        left = Counter(self.after.tracks[track].notes)
        left.subtract(self.new[track])
        assert min(left.values(), default=0) >= 0
        return sorted(left.elements())

    # --- What is the user's -----------------------------------------------------------------------

    def check_the_users_notes(self) -> None:
        early = EARLY * self.before.ticks_per_quarter + 1
        for index, track in enumerate(self.before.tracks):
            kept = self.kept(index)
            if index not in self.tracks:
                assert kept == list(track.notes) and not self.new[index]
                continue
            gone = Counter(track.notes)
            gone.subtract(kept)
            assert min(gone.values(), default=0) >= 0
            for note in track.notes:
                if not self.begin - early <= note.start < self.end:
                    assert not gone[note]
                if self.begin <= note.start < self.end - early:
                    assert gone[note]

    def check_the_rest_of_the_file(self) -> None:
        before, after = self.before, self.after
        for name in ("ticks_per_quarter", "tempos", "meters", "keys", "markers", "events", "name"):
            assert getattr(before, name) == getattr(after, name)
        assert after.length >= before.length and after.length >= self.end
        assert len(before.tracks) == len(after.tracks)
        for index, (was, now) in enumerate(zip(before.tracks, after.tracks, strict=True)):
            assert replace(was, notes=(), events=()) == replace(now, notes=(), events=())
            if now.events == was.events:
                continue
            # One more event: a pedal that was never lifted is lifted where the region begins.
            assert index in self.tracks and self.pedal_is_left_down(was.events)
            before_it = bisect_right(was.events, self.begin, key=lambda event: event.tick)
            lift = now.events[before_it]
            assert lift == Event(self.begin, bytes([lift.data[0], 64, 0]))
            assert now.events[:before_it] + now.events[before_it + 1 :] == was.events

    def pedal_is_left_down(self, events: tuple[Event, ...]) -> bool:
        pedals = [e for e in events if e.data[0] >> 4 == 0xB and e.data[1] == 64]
        return bool(pedals) and pedals[-1].tick <= self.begin and pedals[-1].data[2] >= 64

    # --- What is new ------------------------------------------------------------------------------

    def check_where_the_new_notes_are(self) -> None:
        assert any(self.new.values())
        assert all(self.new[track] for track in self.request.new_tracks)
        for track, notes in self.new.items():
            for note in notes:
                assert 0 <= note.pitch < 128 and 1 <= note.velocity < 128 and note.duration >= 1
                assert self.begin <= note.start < note.end <= self.end
                assert (self.bars[track][note[:2]], track) in self.request.region

    def check_the_controls(self) -> None:
        controls = self.controls
        for track in self.tracks:
            if not self.after.tracks[track].is_drum:
                for note in self.new[track]:
                    if controls.key:
                        assert note.pitch % 12 in controls.key.pitch_classes
                    if controls.pitch_range:
                        assert controls.pitch_range[0] <= note.pitch <= controls.pitch_range[1]
                if controls.max_polyphony is not None:
                    assert self.most_voices(track) <= controls.max_polyphony
            if controls.density:
                counts = Counter(self.bars[track][note[:2]] for note in self.new[track])
                for bar in {bar for bar, of in self.request.region if of == track}:
                    assert controls.density[0] <= counts[bar] <= controls.density[1]

    def most_voices(self, track: int) -> int:
        """The most notes that sound at once while a new one does."""
        edges = [(note.end, 0, 0) for note in self.after.tracks[track].notes]
        edges += [(note.start, 1, 0) for note in self.after.tracks[track].notes]
        edges += [(note.end, 0, 1) for note in self.new[track]] + [(note.start, 1, 1) for note in self.new[track]]
        voices = new = most = 0
        edges.sort()
        for here, after in pairwise([*edges, (edges[-1][0] + 1, 0, 0)] if edges else []):
            tick, begins, is_new = here
            if is_new:
                new += 1 if begins else -1
            else:
                voices += 1 if begins else -1
            if new and after[0] > tick:
                most = max(most, voices)
        return most

    def check_the_chords(self) -> None:
        """A note on a beat, or a beat long, is of its chord. A note that is played a little before or after a
        change may be of either chord, and so may one beside a change that is between two grid ticks."""
        resolution, chords = self.before.ticks_per_quarter, chord_track(self.after)
        if not self.controls.follow_chords:
            return
        on_grid = all(change.tick * 24 % resolution == 0 for change in chords)
        for track in self.tracks:
            for note in [] if self.after.tracks[track].is_drum else self.new[track]:
                on_beat = (note.start - self.after.bar_at(note.start).start) % resolution == 0
                if on_beat or note.duration >= resolution:
                    slack = 0 if on_beat and on_grid else 1 + resolution // 12
                    first, last = (
                        bisect_right(chords, note.start + reach, key=lambda change: change.tick) - 1
                        for reach in (-slack, slack)
                    )
                    around = [chords[at].chord if at >= 0 else None for at in range(first, last + 1)]
                    assert any(chord is None or note.pitch % 12 in chord.pitch_classes for chord in around)

    def check_the_file(self) -> None:
        data = write_midi(self.after)
        again = read_midi(data)
        assert not again.warnings
        assert [t.notes for t in again.score.tracks] == [t.notes for t in self.after.tracks]
        assert write_midi(again.score) == data
        for name in ("ticks_per_quarter", "tempos", "meters", "keys", "markers", "length"):
            assert getattr(again.score, name) == getattr(self.after, name)

    def check(self) -> None:
        assert self.candidate.violations == ()
        self.check_the_users_notes()
        self.check_the_rest_of_the_file()
        self.check_where_the_new_notes_are()
        self.check_the_controls()
        self.check_the_chords()
        self.check_the_file()


def check_all(seed: int, count: int, generator: Generator) -> Counter[str]:
    """Check every candidate of `count` requests; returns how often each control was asked for."""
    asked: Counter[str] = Counter()
    for number, (request, candidates) in enumerate(answered(seed, count, generator)):
        assert [c.number for c in candidates] == list(range(1, request.options.candidates + 1))
        for candidate in candidates:
            try:
                Answer(request, candidate).check()
            except AssertionError as error:
                raise AssertionError(f"request {number} of seed {seed}: {request.options}") from error
        controls = request.options.controls
        names = ("key", "follow_chords", "pitch_range", "density", "max_polyphony")
        asked.update(name for name in names if getattr(controls, name))
        asked["accompany"] += bool(request.new_tracks)
        asked["several bars"] += request.bars[0] != request.bars[1]
    return asked


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_rules_allow_keeps_every_promise(seed: int) -> None:
    asked = check_all(seed, 250, AnyNotes())
    assert min(asked.values()) > 20 and len(asked) == 7


def test_a_network_keeps_every_promise(tmp_path: Path) -> None:
    check_all(4, REQUESTS, tiny_generator(tmp_path))


def test_the_same_request_gives_the_same_bytes_however_many_are_asked_for(tmp_path: Path) -> None:
    generator = tiny_generator(tmp_path)
    for request, _ in answered(5, 3, AnyNotes()):
        files: dict[int, bytes] = {}
        for count in (6, 1, 3):
            asked = replace(request, options=replace(request.options, candidates=count))
            for candidate in propose(asked, generator):
                data = write_midi(candidate.score)
                assert files.setdefault(candidate.number, data) == data
        assert len(files) == 6


def test_other_seeds_give_other_music(tmp_path: Path) -> None:
    generator = tiny_generator(tmp_path)
    request = next(request for request, _ in answered(6, 1, AnyNotes()))
    sampling = request.options.sampling._replace(temperature=1.0, top_p=1.0)
    written = set()
    for seed in range(6):
        options = replace(request.options, seed=seed, candidates=1, sampling=sampling)
        written.add(propose(replace(request, options=options), generator)[0].written)
    assert len(written) > 3


def test_a_request_is_not_changed_by_its_answers() -> None:
    for request, candidates in answered(7, 20, AnyNotes()):
        data = write_midi(request.score)
        again = propose(request, AnyNotes())
        assert [c.written for c in again] == [c.written for c in candidates]
        assert write_midi(request.score) == data
        assert isinstance(request.score, Score)
