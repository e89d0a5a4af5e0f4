"""Random scores and requests, as odd as real ones get: what the guarantees are held against.

    for request, candidates in answered(seed, count, generator): ...

Every score has been through a MIDI file. Nothing here is musical; that is the point.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from assistant.pipeline import (
    Candidate,
    Options,
    Request,
    accompany_request,
    continue_request,
    fill_request,
    propose,
)
from models.constraints import Controls
from models.drawing import Sampling
from models.errors import ControlError
from models.generators import Generator
from models.instruments import DRUMS, PROGRAM_NAMES, Instrument
from models.midi_file import read_midi, write_midi
from models.score import Event, KeySignature, Marker, Meter, Note, Score, Tempo, Track
from models.theory import MODES, QUALITIES, Chord, Key, Progression

RESOLUTIONS = (24, 25, 48, 96, 100, 120, 192, 240, 384, 480, 960, 1, 4, 10)
METERS = ((4, 4), (3, 4), (2, 4), (6, 8), (12, 8), (7, 8), (5, 4), (3, 8), (2, 2), (9, 2), (17, 4), (5, 16), (1, 4))
DRUM_CHANNEL = 9


def random_score(rng: np.random.Generator) -> Score:
    """One to six tracks of anything: odd meters, cut bars, tempo changes, coarse and fine grids, notes on
    the grid and off it, notes that overlap, silent tracks, controllers, pedals that stay down."""
    resolution = int(rng.choice(RESOLUTIONS))
    meters = _random_meters(rng, resolution)
    empty = Score(ticks_per_quarter=resolution, meters=meters)
    end = empty.bar(int(rng.integers(1, 5))).end
    tracks = [_random_track(rng, end, resolution) for _ in range(rng.integers(1, 7))]
    if not any(track.notes for track in tracks):
        tracks[0] = tracks[0].with_notes([Note(int(rng.integers(0, end)), int(rng.integers(0, 128)), 1, 64)])
    tempos = {int(tick): int(rng.integers(200_000, 1_500_000)) for tick in rng.integers(0, end, rng.integers(0, 9))}
    keys = [KeySignature(0, int(rng.integers(-7, 8)), bool(rng.random() < 0.5))] if rng.random() < 0.4 else []
    markers = [Marker(int(t), _random_chord(rng).symbol) for t in sorted(rng.integers(0, end, rng.integers(0, 4)))]
    score = Score(
        ticks_per_quarter=resolution,
        tracks=tuple(tracks),
        tempos=tuple(Tempo(tick, tempos[tick]) for tick in sorted(tempos)),
        meters=meters,
        keys=tuple(keys),
        markers=tuple(markers),
        length=end if rng.random() < 0.5 else 0,
    )
    return read_midi(write_midi(score)).score


def _random_meters(rng: np.random.Generator, resolution: int) -> tuple[Meter, ...]:
    def meter(tick: int) -> Meter:
        common = rng.random() < 0.4
        return Meter(tick, *METERS[0 if common else rng.integers(len(METERS))])

    meters = [meter(0)] if rng.random() < 0.9 else []
    if rng.random() < 0.4:  # a change that comes early makes a pickup, any other may cut a bar short
        meters.append(meter(int(rng.integers(1, 10 * resolution + 1))))
    return tuple(meters)


def _random_track(rng: np.random.Generator, end: int, resolution: int) -> Track:
    drum = bool(rng.random() < 0.2)
    channel = DRUM_CHANNEL if drum else int(rng.choice([0, 1, 2, 3, 15]))
    step = max(1, resolution // int(rng.choice([1, 2, 3, 4]))) if rng.random() < 0.6 else 1
    count = 0 if rng.random() < 0.15 else 1 if rng.random() < 0.15 else int(rng.integers(1, 40))
    longest = resolution * int(rng.choice([1, 2, 8, 40]))
    low = int(rng.integers(0, 100))
    latest: dict[int, int] = {}
    notes = []
    for start in sorted((rng.integers(0, end, count) // step * step).tolist()):
        pitch = int(rng.integers(low, min(128, low + int(rng.integers(1, 30)))))
        # Notes of one pitch may overlap, as long as the first to begin is the first to end.
        stop = max(start + int(rng.integers(1, longest + 1)), latest.get(pitch, 0))
        latest[pitch] = stop
        notes.append(Note(start, pitch, stop - start, int(rng.integers(1, 128)), int(rng.choice([64, 64, 90]))))
    program = 0 if drum else int(rng.integers(0, 128))
    events = [
        Event(int(tick), _random_message(rng, channel)) for tick in sorted(rng.integers(0, end, rng.integers(0, 8)))
    ]
    name = str(rng.choice(["", "Piano", "Bässe", "2"]))
    return Track(name, program, drum, channel, tuple(sorted(notes)), tuple(events))


def _random_message(rng: np.random.Generator, channel: int) -> bytes:
    """A pedal, a controller, an aftertouch of a key, a pitch bend or a system message."""
    value = int(rng.integers(0, 128))
    return [
        bytes([0xB0 | channel, 64, 127 if value > 40 else 0]),
        bytes([0xB0 | channel, int(rng.integers(0, 120)), value]),
        bytes([0xA0 | channel, int(rng.integers(0, 128)), value]),
        bytes([0xE0 | channel, 0, value]),
        bytes([0xF0, 0x7D, value, 0xF7]),
    ][rng.integers(5)]


def _random_chord(rng: np.random.Generator) -> Chord:
    root = int(rng.integers(12))
    return Chord(root, str(rng.choice(QUALITIES)), root)


def random_options(rng: np.random.Generator) -> Options:
    """Controls that may or may not be able to hold together, one or two candidates, any sampling."""

    def perhaps(share: float) -> bool:
        return bool(rng.random() < share)

    key = Key(int(rng.integers(12)), str(rng.choice(list(MODES)))) if perhaps(0.4) else None
    low, width = int(rng.integers(0, 110)), int(rng.choice([0, 4, 12, 24, 48]))
    least = int(rng.choice([0, 0, 1, 2, 4, 8]))
    progression: Progression | None = None
    if perhaps(0.25):
        progression = [[_random_chord(rng) for _ in range(rng.integers(1, 3))] for _ in range(rng.integers(1, 4))]
    return Options(
        controls=Controls(
            key=key,
            follow_chords=perhaps(0.1),
            pitch_range=(low, min(127, low + width)) if perhaps(0.4) else None,
            density=(least, max(1, least + int(rng.integers(0, 10)))) if perhaps(0.4) else None,
            max_polyphony=int(rng.integers(1, 5)) if perhaps(0.4) else None,
        ),
        progression=progression,
        candidates=int(rng.choice([1, 1, 1, 2])),
        seed=int(rng.integers(0, 2**31)),
        sampling=Sampling(float(rng.choice([0.0, 0.7, 1.0, 1.5])), float(rng.choice([0.5, 0.97, 1.0]))),
    )


def random_request(rng: np.random.Generator) -> Request:
    """A continuation, a fill or an accompaniment. Raises ControlError where the controls contradict each other."""
    score, options = random_score(rng), random_options(rng)
    kind = rng.random()
    if kind < 0.4:
        return continue_request(score, int(rng.integers(1, 4)), options)
    if kind < 0.75:
        sounding = score.bar_at(score.last_note_start).index
        first = int(rng.integers(0, sounding + 1))
        last = first + int(rng.integers(0, 3))
        tracks = rng.permutation(len(score.tracks))[: rng.integers(1, len(score.tracks) + 1)].tolist()
        return fill_request(score, tracks, first, last, options)
    programs = rng.integers(0, 128, rng.integers(1, 3)).tolist()
    added = [
        DRUMS if rng.random() < 0.3 else Instrument(program, False, PROGRAM_NAMES[program]) for program in programs
    ]
    return accompany_request(score, added, options)


def answered(seed: int, count: int, generator: Generator) -> Iterator[tuple[Request, list[Candidate]]]:
    """`count` requests that can be met, and what `generator` answers; those that cannot are passed over.

    The stream is the same for the same seed, whatever the generator.
    """
    number = found = 0
    while found < count:
        rng = np.random.default_rng([seed, number])
        number += 1
        try:
            request = random_request(rng)
            candidates = propose(request, generator)
        except ControlError:
            continue
        found += 1
        yield request, candidates
