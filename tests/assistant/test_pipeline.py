"""From a score to candidates: which cells a request asks for, what is refused, and files at the edge of sense."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from assistant.pipeline import (
    MOST_BARS,
    WEIGHTS_VARIABLE,
    Candidate,
    Options,
    Request,
    _prepare,
    accompany_request,
    continue_request,
    fill_request,
    load_generator,
    propose,
)
from models.constraints import Controls
from models.drawing import Sampling
from models.errors import Cancelled, ControlError, UserError
from models.generators import Generator, Progress, Task, TransformerGenerator
from models.instruments import DRUMS, Instrument
from models.midi_file import read_midi, write_midi
from models.piece import to_piece
from models.score import Event, Marker, Meter, Note, Score, Tempo, Track
from models.theory import Key, chord_track, parse_progression
from models.tokens import MAX_TRACKS
from tests.assistant.test_guarantees import Answer
from tests.builders import AnyNotes, simple_score, tiny_generator

BASS = Instrument(32, False, "Acoustic Bass")
ANY_NOTES = AnyNotes()
PEDAL_DOWN, PEDAL_UP = bytes([0xB0, 64, 127]), bytes([0xB0, 64, 0])


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> TransformerGenerator:
    return tiny_generator(tmp_path_factory.mktemp("weights"))


def through_a_file(score: Score) -> Score:
    return read_midi(write_midi(score)).score


def answers(request: Request, generator: Generator = ANY_NOTES) -> list[Candidate]:
    """The candidates of a request, each of them checked."""
    candidates = propose(request, generator)
    for candidate in candidates:
        Answer(request, candidate).check()
    return candidates


def cells(bars: Sequence[int], tracks: Sequence[int]) -> frozenset[tuple[int, int]]:
    return frozenset((bar, track) for bar in bars for track in tracks)


# --- Which cells --------------------------------------------------------------------------------------


def test_a_continuation_starts_at_the_bar_line_after_the_last_note() -> None:
    score = simple_score(4, tracks=2)
    assert continue_request(score, 3).region == cells([4, 5, 6], [0, 1])
    held = score.with_tracks([score.tracks[0].with_notes([*score.tracks[0].notes[:13], Note(6240, 60, 9000, 90)])])
    assert continue_request(held, 1).region == cells([4], [0])  # the last note begins in bar 4, and rings on


def test_a_continuation_follows_an_early_downbeat() -> None:
    score = simple_score(4)
    early = Note(4 * 1920 - 20, 60, 400, 90)
    score = score.with_tracks([score.tracks[0].with_notes([*score.tracks[0].notes, early])])
    assert continue_request(score, 1).region == cells([5], [0])


def test_a_continuation_is_of_the_tracks_that_play() -> None:
    score = simple_score(80)
    silent, over = Track(name="silent"), Track(notes=(Note(0, 60, 480, 90),))
    score = score.with_tracks([silent, *score.tracks, over])
    assert continue_request(score, 1).region == cells([80], [1])
    many = simple_score(2, tracks=40)
    assert len(continue_request(many, 1).region) == MAX_TRACKS


def test_a_fill_is_of_the_tracks_and_bars_asked_for() -> None:
    score = simple_score(4, tracks=3)
    assert fill_request(score, [0, 2], 1, 2).region == cells([1, 2], [0, 2])
    assert fill_request(score, [1], 4, 4).region == cells([4], [1])


def test_an_accompaniment_is_new_tracks_under_the_whole_piece() -> None:
    request = accompany_request(simple_score(4, tracks=2), [BASS, DRUMS])
    assert request.region == cells([0, 1, 2, 3], [2, 3]) and request.new_tracks == {2, 3}
    bass, drums = request.score.tracks[2:]
    assert (bass.name, bass.program, bass.is_drum) == ("Acoustic Bass", 32, False)
    assert drums.is_drum and drums.channel == 9 and bass.channel not in (0, 1, 9)


# --- What is refused ----------------------------------------------------------------------------------

EMPTY = Score(tracks=(Track(), Track()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: continue_request(EMPTY, 4), "no notes"),
        (lambda: fill_request(EMPTY, [0], 0, 0), "no notes"),
        (lambda: accompany_request(EMPTY, [BASS]), "no notes"),
        (lambda: continue_request(simple_score(), 0), "0 bars"),
        (lambda: continue_request(simple_score(), MOST_BARS + 1), "cannot be written at once"),
        (lambda: fill_request(simple_score(), [0], 2, 1), "end before they begin"),
        (lambda: fill_request(simple_score(), [0], -1, 1), "end before they begin"),
        (lambda: fill_request(simple_score(), [0], 5, 5), "beyond the end"),
        (lambda: fill_request(simple_score(), [], 0, 0), "no such track"),
        (lambda: fill_request(simple_score(), [1], 0, 0), "no such track"),
        (lambda: fill_request(simple_score(), [-1], 0, 0), "no such track"),
        (lambda: fill_request(simple_score(1, tracks=40), range(40), 0, 0), "too many"),
        (lambda: accompany_request(simple_score(), []), "No instrument"),
        (lambda: accompany_request(simple_score(), [BASS] * 33), "too many"),
        (lambda: continue_request(simple_score(), 1, Options(candidates=0)), "0 candidates"),
        (lambda: continue_request(simple_score(), 1, Options(candidates=65)), "65 candidates"),
        (lambda: continue_request(simple_score(), 1, Options(seed=-1)), "negative"),
        (lambda: continue_request(simple_score(), 1, Options(Controls(density=(3, 2)))), "density"),
        (
            lambda: continue_request(
                simple_score(), 1, Options(Controls(key=Key(0, "major")), parse_progression("F#5"))
            ),
            "F#5",
        ),
        (lambda: continue_request(Score(tracks=(Track(notes=(Note(50_000_000, 60, 1, 90),)),)), 1), "bars"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_generated(make: object, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        make()  # type: ignore[operator]
    assert caught.value.hint


class NeverAsked:
    """A generator that must not be reached."""

    model_hash = "none"

    def generate(self, *arguments: object) -> object:
        raise AssertionError("asked to generate")


def test_notes_that_leave_no_room_are_said_before_anything_is_generated() -> None:
    score = simple_score(1).with_tracks([Track(notes=(Note(0, 60, 9999, 90),))])
    request = continue_request(score, 2, Options(Controls(max_polyphony=1)))
    with pytest.raises(ControlError, match="no room"):
        propose(request, NeverAsked())  # type: ignore[arg-type]


def test_only_the_chords_of_the_region_must_agree_with_the_controls() -> None:
    score = replace(simple_score(4), markers=(Marker(0, "F#m7"), Marker(3 * 1920, "Cmaj7")))
    controls = Controls(key=Key(0, "major"), follow_chords=True, pitch_range=(60, 62))
    assert continue_request(score, 1, Options(controls)).region
    with pytest.raises(ControlError, match="F#m7"):
        fill_request(score, [0], 0, 0, Options(controls))
    # A progression that is longer than the region is not held against what it never reaches.
    options = Options(Controls(key=Key(0, "major")), parse_progression("C | F#5"))
    assert continue_request(score, 1, options).region


# --- Progressions -------------------------------------------------------------------------------------


def test_a_progression_becomes_the_regions_chord_track() -> None:
    score = replace(simple_score(4), markers=(Marker(0, "Am"), Marker(1920, "verse"), Marker(3840, "Em")))
    request = fill_request(score, [0], 1, 1, Options(progression=parse_progression("Dm G7")))
    changes = [(change.tick, change.chord.symbol if change.chord else "") for change in chord_track(request.score)]
    assert changes == [(0, "Am"), (1920, "Dm"), (2880, "G7"), (3840, "Em")]
    assert Marker(1920, "verse") in request.score.markers
    answers(request)


def test_the_chord_before_a_progression_comes_back_after_it() -> None:
    score = replace(simple_score(4), markers=(Marker(0, "Am"),))
    request = fill_request(score, [0], 1, 1, Options(progression=parse_progression("Dm")))
    changes = [(change.tick, change.chord.symbol if change.chord else "") for change in chord_track(request.score)]
    assert changes == [(0, "Am"), (1920, "Dm"), (3840, "Am")]


# --- Candidates ---------------------------------------------------------------------------------------


def test_progress_is_told_bar_by_bar(generator: TransformerGenerator) -> None:
    told: list[Progress] = []
    request = continue_request(simple_score(4), 3, Options(candidates=2))
    candidates = propose(request, generator, told.append)
    for number, candidate in enumerate(candidates):
        mine = [progress for progress in told if progress.candidate == number]
        assert [progress.bar for progress in mine] == [4, 5, 6]
        assert sum(len(progress.rows) for progress in mine) == candidate.note_count
        assert candidate.first_bar_ms > 0 and candidate.notes_per_second > 0
        assert (candidate.number, candidate.seed) == (number + 1, 0)
        assert candidate.model_hash == generator.model_hash


def test_a_request_can_be_cancelled(generator: TransformerGenerator) -> None:
    told: list[Progress] = []
    with pytest.raises(Cancelled):
        propose(continue_request(simple_score(4), 8), generator, told.append, lambda: len(told) >= 2)
    assert len(told) <= 2 + 4  # four candidates advance side by side


def test_only_the_new_bars_can_be_had(generator: TransformerGenerator) -> None:
    score = replace(
        simple_score(4, tracks=2),
        tempos=(Tempo(0, 600_000), Tempo(3000, 400_000), Tempo(8000, 700_000)),
        meters=(Meter(0, 4, 4),),
        markers=(Marker(1920, "Dm7"), Marker(2000, "verse")),
    )
    pedal = (Event(0, bytes([0xB0, 7, 90])), Event(5000, bytes([0xB0, 7, 80])), Event(8000, bytes([0xE0, 0, 70])))
    score = score.with_tracks([replace(score.tracks[0], events=pedal), score.tracks[1]])
    (candidate,) = propose(continue_request(score, 2, Options(candidates=1)), generator)
    new = candidate.only_new()
    assert [len(track.notes) for track in new.tracks] == [
        sum(at == index for at, _ in candidate.written) for index in (0, 1)
    ]
    start = 4 * 1920
    assert sorted(n._replace(start=n.start + start) for n in new.tracks[0].notes) == sorted(
        note for at, note in candidate.written if at == 0
    )
    assert new.tempos == (Tempo(0, 400_000), Tempo(8000 - start, 700_000))
    assert new.meters == (Meter(0, 4, 4),) and new.length == 2 * 1920
    assert new.markers == (Marker(0, "Dm7"),)
    assert new.tracks[0].events == (Event(0, bytes([0xB0, 7, 80])), Event(8000 - start, bytes([0xE0, 0, 70])))
    assert through_a_file(new).length == 2 * 1920


def test_weights_can_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny_generator(tmp_path)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    assert load_generator().model_hash == made.model_hash
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UserError):
        load_generator()


# --- Seams --------------------------------------------------------------------------------------------


def test_a_pedal_that_is_never_lifted_is_lifted_where_the_region_begins() -> None:
    score = simple_score(4, tracks=2)
    events = (Event(100, PEDAL_DOWN), Event(200, PEDAL_UP), Event(7000, PEDAL_DOWN))
    score = score.with_tracks([replace(track, events=events) for track in score.tracks])
    fill = fill_request(score, [0], 4, 4)
    first, second = answers(fill)[0].score.tracks
    assert first.events == (*events, Event(7680, PEDAL_UP)) and second.events == events
    # A pedal of the region itself is the user's, and so is one that is lifted later.
    for request in (fill_request(score, [0], 2, 2), fill_request(score, [0], 0, 0)):
        assert answers(request)[0].score.tracks[0].events == events


def test_notes_that_ring_into_the_region_are_kept_and_not_doubled() -> None:
    held = [Note(1900, 60, 2000, 90), Note(960, 67, 5000, 80)]
    score = simple_score(4).with_tracks([Track(notes=tuple(sorted(held)))])
    request = fill_request(score, [0], 1, 2, Options(Controls(pitch_range=(60, 67), density=(8, 30)), candidates=8))
    for candidate in answers(request):
        notes = candidate.score.tracks[0].notes
        # The first is an early downbeat of the region, and goes; the second rings through it.
        assert held[1] in notes and held[0] not in notes
        assert not [n for n in notes if n.pitch == 67 and held[1].start < n.start < held[1].end]


def test_new_notes_end_before_what_follows() -> None:
    score = simple_score(4)
    for candidate in answers(fill_request(score, [0], 1, 1, Options(candidates=8))):
        assert all(note.end <= 3840 for _, note in candidate.written)


# --- Files at the edge --------------------------------------------------------------------------------


def edge_files() -> dict[str, Score]:
    quarter = simple_score(3)
    one_note = Track(notes=(Note(100, 60, 50, 90),))
    seven = replace(simple_score(4), meters=(Meter(0, 7, 8),))
    tempos = tuple(Tempo(tick, 300_000 + 37 * tick) for tick in range(0, 5000, 50))
    parts = enumerate(simple_score(3, tracks=3).tracks)
    shared = [replace(track, channel=0, program=number) for number, track in parts]
    held = Track(notes=(*quarter.tracks[0].notes, Note(5760, 40, 99_999, 90)))
    late_change = (Meter(0, 4, 4), Meter(4 * 1920 + 700, 3, 8))
    pedal = replace(quarter.tracks[0], events=(Event(5, PEDAL_DOWN),))
    return {
        "an empty track beside a sounding one": quarter.with_tracks([Track(name="empty"), *quarter.tracks]),
        "one note": Score(tracks=(one_note,)),
        "one note, one tick a quarter": Score(1, tracks=(Track(notes=(Note(3, 60, 1, 1),)),)),
        "seven eighths": seven,
        "a hundred tempos": replace(quarter, tempos=tempos),
        "forty tracks": simple_score(2, tracks=40),
        "bars of nine halves": replace(simple_score(20), meters=(Meter(0, 9, 2),)),
        "a pickup": replace(quarter, meters=(Meter(0, 1, 4), Meter(480, 4, 4))),
        "a partial last bar": quarter.with_tracks([quarter.tracks[0].with_notes(quarter.tracks[0].notes[:-3])]),
        "a meter that changes after the end": replace(quarter, meters=late_change),
        "a pedal that stays down": quarter.with_tracks([pedal]),
        "a last note held for minutes": quarter.with_tracks([held]),
        "three tracks on one channel": quarter.with_tracks(shared),
        "drums alone": quarter.with_tracks([Track("Kit", 0, True, 9, quarter.tracks[0].notes)]),
    }


@pytest.mark.parametrize("name", edge_files())
def test_a_file_at_the_edge_is_continued_filled_and_accompanied(name: str, generator: TransformerGenerator) -> None:
    score = through_a_file(edge_files()[name])
    options = Options(candidates=1)
    sounding = [index for index, track in enumerate(score.tracks) if track.notes][:MAX_TRACKS]
    for request in (
        continue_request(score, 2, options),
        fill_request(score, sounding[:3], 0, 0, options),
        accompany_request(score, [BASS], options),
    ):
        answers(request, generator)
        answers(request)


PIECES = sorted(path.name for path in (Path(__file__).parents[1] / "data").glob("*.mid"))


@pytest.mark.parametrize("name", PIECES)
def test_real_pieces_are_continued_filled_and_accompanied(
    name: str, data_dir: Path, generator: TransformerGenerator
) -> None:
    score = read_midi(data_dir / name).score
    controls = Controls(key=Key(2, "minor"), pitch_range=(40, 90), density=(1, 12), max_polyphony=4)
    chords = parse_progression("Dm | Gm A7")
    last = score.bar_at(score.last_note_start).index
    for request in (
        continue_request(score, 2, Options(controls, chords, candidates=1)),
        fill_request(score, [0], last - 1, last, Options(controls, candidates=1)),
        fill_request(score, range(len(score.tracks)), 1, 2, Options(candidates=1)),
    ):
        answers(request, generator)
        answers(request)
    answers(accompany_request(score, [BASS, DRUMS], Options(controls, candidates=1)))


def test_empty_tracks_can_be_filled() -> None:
    score = through_a_file(simple_score(3).with_tracks([*simple_score(3).tracks, Track("empty", 40, False, 3)]))
    for candidate in answers(fill_request(score, [1], 0, 2)):
        assert {track for track, _ in candidate.written} == {1}


def half_an_hour() -> Score:
    """900 bars at 120 bpm, four tracks, eight notes a bar and track, no two bars alike."""
    score = simple_score(900)
    tracks = []
    for number in range(4):
        notes = [
            Note(240 * i + 7 * ((i * 31 + number) % 5), 36 + (i * i + number * 12) % 48, 200, 60 + i % 40)
            for i in range(8 * 900)
        ]
        tracks.append(Track(f"Part {number}", number * 8, False, number, tuple(sorted(notes))))
    return through_a_file(score.with_tracks(tracks))


def test_half_an_hour_of_music_is_continued_and_filled(generator: TransformerGenerator) -> None:
    score = half_an_hour()
    assert score.seconds_at(score.end) == pytest.approx(1800, rel=0.01)
    for request in (
        continue_request(score, 2, Options(candidates=1)),
        fill_request(score, [1, 2], 450, 451, Options(candidates=1)),
    ):
        answers(request, generator)


def test_what_surrounds_the_network_does_not_grow_with_the_square_of_the_piece() -> None:
    """Twice the music costs about twice the time, all but the notes themselves, in the longest job there is."""
    score = half_an_hour()

    def seconds(bars: int) -> float:
        part = score.with_tracks(
            track.with_notes([note for note in track.notes if note.start < 1920 * bars]) for track in score.tracks
        )
        best = float("inf")
        for _ in range(2):
            began = time.process_time()
            propose(accompany_request(part, [BASS], Options(Controls(density=(1, 8)), candidates=1)), AnyNotes())
            best = min(best, time.process_time() - began)
        return best

    assert seconds(900) < 3 * seconds(450)


def test_harmony_goes_on_for_the_network_alone() -> None:
    """Chord markers that end with the music are taken to repeat; the file's own markers stay as they are."""
    notes = tuple(Note(480 * beat, 60 + beat % 5, 480, 90) for beat in range(32))
    markers = tuple(Marker(1920 * bar, symbol) for bar, symbol in enumerate(["Dm", "Gm", "A7", "Dm"] * 2))
    score = Score(480, (Track("Lead", notes=notes),), markers=markers)
    request = continue_request(score, 4)
    prepared = _prepare(request)
    chords = prepared.task.piece.chords
    by_bar = dict(zip(chords[:, 0].tolist(), chords[:, 2].tolist(), strict=True))
    assert [by_bar[bar] for bar in range(8, 12)] == [by_bar[bar] for bar in range(4)]
    assert prepared.base.markers == markers


def test_what_is_not_asked_for_is_likely_to_be_as_a_phrase_before() -> None:
    notes = [Note(1920 * bar + 480 * beat, 60, 480, 90) for bar in range(6) for beat in range(1 + bar % 4)]
    score = Score(480, (Track("Lead", notes=tuple(notes)),))

    def told(request: Request) -> list[list[int]]:
        attributes = _prepare(request).task.attributes
        return [] if attributes is None else attributes[6:, 0].tolist()

    plain = told(continue_request(score, 4))
    assert [row[0] for row in plain] == [4, 4, 2, 3]  # as dense as bars 2 to 5, which have 3, 4, 1 and 2 notes
    assert told(replace(continue_request(score, 4), ending=True)) == [*plain[:3], [0] * len(plain[0])]
    dense = continue_request(score, 4, Options(controls=Controls(density=(12, 12))))
    assert all(row[0] == 7 and not any(row[1:]) for row in told(dense))
    assert not told(replace(continue_request(score, 4), words="calm"))


def test_steady_music_has_no_silent_bar() -> None:
    notes = tuple(Note(480 * beat, 60 + beat % 5, 480, 90) for beat in range(32))
    steady = Score(480, (Track("Lead", notes=notes), Track("Bass", 33, channel=1, notes=notes[::4])))
    request = continue_request(steady, 6, Options(seed=3))
    for candidate in propose(request, AnyNotes()):
        piece, _, _ = to_piece(candidate.score)  # a downbeat may be played early
        assert set(range(8, 14)) <= set(piece.notes[:, 0].tolist())


class Stubborn:
    """Writes one note a cell, the same in every candidate, unless it is asked more daringly `often` times."""

    model_hash = "stubborn"

    def __init__(self, often: int) -> None:
        self.often = often
        self.asked: list[tuple[tuple[int, ...], float]] = []

    def generate(
        self,
        task: Task,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        cancelled: Callable[[], bool],
    ) -> Iterator[Progress]:
        for candidate, seed in enumerate(seeds):
            self.asked.append((tuple(seed), sampling.temperature))
            daring = len(seed) > 2 and seed[2] >= self.often
            for done, bar in enumerate(task.bars, start=1):
                pitch = 60 + (seed[1] if daring else 0)
                tracks = np.flatnonzero(task.region[bar]).tolist()
                rows = [(bar, track, 0, pitch, 20, 16, 0) for track in tracks]
                yield Progress(candidate, bar, done, len(task.bars), rows)


@pytest.mark.parametrize("often", [1, 3])
def test_a_candidate_like_one_before_it_is_written_again(often: int) -> None:
    generator = Stubborn(often)
    reported: list[Progress] = []
    candidates = propose(
        continue_request(simple_score(), 4, Options(candidates=3, seed=8)), generator, reported.append
    )
    written = [{(note.start, note.pitch) for _, note in candidate.written} for candidate in candidates]
    assert all(left.isdisjoint(right) for left, right in combinations(written, 2))
    assert [seed for seed, _ in generator.asked[:3]] == [(8, 0), (8, 1), (8, 2)]
    again = generator.asked[3:]
    assert [seed for seed, _ in again] == [(8, k, attempt) for k in (1, 2) for attempt in range(1, often + 1)]
    assert all(temperature > 1 for _, temperature in again)
    # What was heard of a candidate last is what it is.
    for number, candidate in enumerate(candidates):
        last = [p for p in reported if p.candidate == number][-4:]
        assert [p.done for p in last] == [1, 2, 3, 4]
        assert {row[3] for p in last for row in p.rows} == {note.pitch for _, note in candidate.written}


def test_at_temperature_zero_candidates_may_be_alike() -> None:
    generator = Stubborn(1)
    options = Options(candidates=2, sampling=Sampling(temperature=0.0))
    propose(continue_request(simple_score(), 4, options), generator)
    assert len(generator.asked) == 2
