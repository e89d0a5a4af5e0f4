"""Round trips through the libraries that musicians who program already use."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import miditoolkit
import mido
import pretty_midi
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from models import interchange
from models.errors import UserError
from models.midi_file import read_midi, write_midi
from models.score import DEFAULT_TEMPO, Event, KeySignature, Marker, Meter, Note, Score, Tempo, Track

LIBRARIES = ("mido", "pretty_midi", "miditoolkit", "symusic")


def there_and_back(library: str, score: Score) -> Score:
    away = getattr(interchange, f"to_{library}")(score)
    back: Score = getattr(interchange, f"from_{library}")(away)
    return back


def band() -> Score:
    """Several tracks and drums in 7/8 with tempo changes, overlapping notes, pedal, bends and lyrics."""
    piano = Track(
        name="Piano",
        program=4,
        channel=0,
        notes=tuple(sorted(Note(240 * i, 48 + i * 5 % 24, 700 - i, 40 + i) for i in range(40))),
        events=(
            Event(0, bytes((0xB0, 64, 127))),
            Event(1000, bytes((0xB0, 64, 0))),
            Event(1200, bytes((0xB0, 1, 33))),
            Event(1680, bytes((0xB0, 64, 90))),
            Event(3000, bytes((0xB0, 64, 12))),
        ),
    )
    lead = Track(
        name="Lead",
        program=81,
        channel=3,
        notes=(Note(0, 60, 500, 90), Note(100, 60, 600, 80), Note(100, 64, 1, 1), Note(1679, 127, 1681, 127)),
        events=(
            Event(0, b"\xff\x05la"),
            Event(7, bytes((0xE3, 0, 0))),
            Event(8, bytes((0xE3, 127, 127))),
            Event(9, bytes((0xE3, 0, 64))),
            Event(1679, b"\xff\x05" + "lá".encode()),
        ),
    )
    beat = tuple(Note(120 * i, (36, 42, 38)[i % 3], 60, 64 + i) for i in range(30))
    drums = Track("Drums", 0, True, 9, beat)
    return Score(
        ticks_per_quarter=480,
        tracks=(piano, lead, drums),
        tempos=(Tempo(0, 500_001), Tempo(1680, 333_333), Tempo(3360, 1_000_000), Tempo(5041, 271_828)),
        meters=(Meter(0, 7, 8), Meter(3360, 4, 4), Meter(5280, 3, 4)),
        keys=(KeySignature(0, -1, True), KeySignature(3360, 4, False)),
        markers=(Marker(0, "Dm7"), Marker(1680, "A:7/3")),
        length=12_000,
    )


def without_a_word() -> Score:
    """What a program may write: no tempo, no meter, no name, one note."""
    return Score(ticks_per_quarter=96, tracks=(Track(notes=(Note(5, 60, 1, 64),)),), length=6)


def late() -> Score:
    """A late start on an odd grid, a tempo that begins later still, and a track that only holds the pedal."""
    notes = (Note(70_001, 21, 3, 1), Note(70_001, 108, 999_983, 127))
    pedal = Track("Pedal", 0, False, 1, events=(Event(3, bytes((0xB1, 64, 127))),))
    return Score(
        ticks_per_quarter=383,
        tracks=(Track("Häufig 曲", 40, False, 0, notes), pedal),
        tempos=(Tempo(99_991, 16_000),),
        meters=(Meter(0, 5, 16),),
    )


SCORES = {"band": band(), "without a word": without_a_word(), "late": late()}


def tracks_of(score: Score) -> list[Any]:
    """Name, program, drums, notes without release, controllers and bends without channel."""
    return [
        (
            track.name,
            track.program,
            track.is_drum,
            [note[:4] for note in track.notes],
            sorted((tick, data[0] >> 4, data[1:]) for tick, data in track.events if data[0] >> 4 in (0xB, 0xE)),
        )
        for track in score.tracks
    ]


def notes_of(score: Score) -> list[tuple[int, ...]]:
    return sorted(note[:4] for track in score.tracks for note in track.notes)


def lyrics_of(score: Score) -> list[Event]:
    groups = (score.events, *(track.events for track in score.tracks))
    return sorted(event for events in groups for event in events if event.data[:2] == b"\xff\x05")


def tempos_of(score: Score) -> list[Tempo]:
    """The tempo map as it sounds: its start said, nothing said twice."""
    heard: list[Tempo] = []
    for tempo in (Tempo(0, DEFAULT_TEMPO), *score.tempos):
        if tempo.tick == 0:
            heard = [tempo]
        elif tempo.microseconds != heard[-1].microseconds:
            heard.append(tempo)
    return heard


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_what_every_library_holds_comes_back(library: str, score: Score) -> None:
    back = there_and_back(library, score)
    assert back.ticks_per_quarter == score.ticks_per_quarter
    assert tracks_of(back) == tracks_of(score)
    assert lyrics_of(back) == lyrics_of(score)
    assert tempos_of(back) == tempos_of(score)
    assert back.meters == score.meters
    assert back.keys == score.keys
    assert back.markers == (() if library == "pretty_midi" else score.markers)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_mido_holds_all_that_a_file_holds(score: Score) -> None:
    assert there_and_back("mido", score) == read_midi(write_midi(score)).score


def test_mido_reads_texts_that_are_not_unicode() -> None:
    empty, latin = b"MTrk\0\0\0\x04", b"MTrk\0\0\0\x0a\0\xff\x06\x02\xe9\xff"
    score = read_midi(write_midi(without_a_word()).replace(empty, latin)).score
    assert score.markers == (Marker(0, "éÿ"),)
    midi = interchange.to_mido(score)
    assert [message.text for message in midi.tracks[0] if message.type == "marker"] == ["éÿ"]
    assert interchange.from_mido(midi).markers == score.markers


@pytest.mark.parametrize("fifths", range(-7, 8))
@pytest.mark.parametrize("minor", [False, True])
def test_every_key_signature_comes_back(fifths: int, minor: bool) -> None:
    score = replace(without_a_word(), keys=(KeySignature(0, fifths, minor),))
    for library in ("mido", "miditoolkit", "symusic"):
        assert there_and_back(library, score).keys == score.keys
    (spelled,) = there_and_back("pretty_midi", score).keys
    assert spelled.minor == minor and (spelled.fifths - fifths) % 12 == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_many_tracks_stay_apart_and_keep_clear_of_the_drum_channel(library: str) -> None:
    score = Score(tracks=tuple(Track(f"T{i}", i, False, i % 9, (Note(i, 60, 10, 64),)) for i in range(40)))
    back = there_and_back(library, score)
    assert tracks_of(back) == tracks_of(score)
    assert all(track.channel != 9 for track in back.tracks)


# --- what the libraries themselves make of it


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_pretty_midi_hears_each_note_at_its_second(score: Score) -> None:
    midi = interchange.to_pretty_midi(score)
    for track, instrument in zip(score.tracks, midi.instruments, strict=True):
        for note, other in zip(track.notes, instrument.notes, strict=True):
            assert other.start == pytest.approx(score.seconds_at(note.start), abs=1e-6)
            assert other.end == pytest.approx(score.seconds_at(note.end), abs=1e-6)


def test_the_libraries_own_files_say_the_same() -> None:
    """Writing with the library and reading the file gives the notes that the direct conversion gives."""
    score = band()
    files: dict[str, bytes] = {"symusic": interchange.to_symusic(score).dumps_midi()}
    for library in ("pretty_midi", "miditoolkit"):
        file = io.BytesIO()
        midi = getattr(interchange, f"to_{library}")(score)
        midi.write(file) if library == "pretty_midi" else midi.dump(file=file)
        files[library] = file.getvalue()
    for library, data in files.items():
        back = read_midi(data).score
        read, meant = ([track[1:4] for track in tracks_of(each)] for each in (back, score))
        assert read == meant, library
        assert tempos_of(back) == tempos_of(score), library
        assert back.meters == score.meters, library


def test_objects_that_were_read_by_the_libraries_convert(data_dir: Any) -> None:
    for path in sorted(data_dir.glob("*.mid")):
        ours = read_midi(path).score
        notes = notes_of(ours)
        for library, midi in {
            "mido": mido.MidiFile(path),
            "miditoolkit": miditoolkit.MidiFile(path),
            "symusic": symusic.Score(path),
        }.items():
            back = getattr(interchange, f"from_{library}")(midi)
            assert notes_of(back) == notes, (library, path.name)
            assert tempos_of(back) == tempos_of(ours), (library, path.name)


def test_symusic_scores_in_quarters_convert() -> None:
    in_quarters = interchange.to_symusic(band()).to("quarter")
    assert tracks_of(interchange.from_symusic(in_quarters)) == tracks_of(band())


def test_a_pretty_midi_made_by_hand_lands_on_the_grid() -> None:
    midi = pretty_midi.PrettyMIDI(resolution=100, initial_tempo=60)
    midi.instruments.append(pretty_midi.Instrument(33, name="Bass"))
    midi.instruments[0].notes += [pretty_midi.Note(300, 40, 1.004, 1.5), pretty_midi.Note(0, 41, 2.0, 2.0)]
    score = interchange.from_pretty_midi(midi)
    assert score.tempos == (Tempo(0, 1_000_000),)
    assert score.tracks[0].notes == (Note(100, 40, 50, 127), Note(200, 41, 1, 1))


@pytest.mark.parametrize("library", ["miditoolkit", "symusic"])
def test_pedals_without_controllers_become_controllers(library: str) -> None:
    midi = getattr(interchange, f"to_{library}")(without_a_word())
    if library == "symusic":
        midi.tracks[0].pedals.append(symusic.Pedal(10, 20))
    else:
        midi.instruments[0].pedals.append(miditoolkit.Pedal(10, 30))
    (track,) = getattr(interchange, f"from_{library}")(midi).tracks
    assert track.events == (Event(10, bytes((0xB0, 64, 127))), Event(30, bytes((0xB0, 64, 0))))


def test_pedals_are_seen_by_the_libraries_that_have_them() -> None:
    score = band()
    spans = [(0, 1000), (1680, 3000)]
    assert [(p.start, p.end) for p in interchange.to_miditoolkit(score).instruments[0].pedals] == spans
    assert [(p.time, p.time + p.duration) for p in interchange.to_symusic(score).tracks[0].pedals] == spans


# --- what goes wrong


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_library_is_named_with_its_remedy(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for direction in ("to", "from"):
        with pytest.raises(UserError, match=library) as caught:
            getattr(interchange, f"{direction}_{library}")(band())
        assert "descant[interchange]" in caught.value.hint


def test_times_that_are_no_ticks_are_refused() -> None:
    midi = mido.MidiFile()
    midi.add_track().append(mido.Message("note_on", time=0.5))
    with pytest.raises(UserError, match="mido"):
        interchange.from_mido(midi)


def test_a_pitch_that_midi_does_not_have_is_refused() -> None:
    midi = pretty_midi.PrettyMIDI()
    midi.instruments.append(pretty_midi.Instrument(0, name="Odd"))
    midi.instruments[0].notes.append(pretty_midi.Note(64, 128, 0.0, 1.0))
    with pytest.raises(UserError, match="pitch 128"):
        interchange.from_pretty_midi(midi)


def test_a_piece_too_long_for_pretty_midi_is_refused() -> None:
    with pytest.raises(UserError, match="pretty_midi"):
        interchange.to_pretty_midi(Score(tracks=(Track(notes=(Note(10_000_000, 60, 1, 64),)),)))


# --- any score

SEVEN_BITS = st.integers(0, 127)
NOTES = st.builds(
    Note, st.integers(0, 5000), SEVEN_BITS, st.integers(1, 2000), st.integers(1, 127), release=SEVEN_BITS
)
CONTROLS = st.builds(
    lambda tick, number, value: Event(tick, bytes((0xB0, number, value))),
    st.integers(0, 5000), st.integers(0, 119), st.integers(0, 127),
)  # fmt: skip
TRACKS = st.builds(
    lambda notes, events, program, is_drum: Track(
        "T", program, is_drum, 9 if is_drum else 0, tuple(sorted(notes)), tuple(sorted(events))
    ),
    st.lists(NOTES, max_size=12), st.lists(CONTROLS, max_size=4), st.integers(0, 127), st.booleans(),
)  # fmt: skip
TEMPOS = st.dictionaries(st.integers(0, 4000), st.integers(10_000, 4_000_000), max_size=4)
GRIDS = st.sampled_from((24, 96, 120, 220, 480, 960, 15_360))


@settings(max_examples=40)
@given(tracks=st.lists(TRACKS, max_size=3), tempos=TEMPOS, grid=GRIDS)
def test_any_score_comes_back(tracks: list[Track], tempos: dict[int, int], grid: int) -> None:
    score = Score(grid, tuple(tracks), tuple(Tempo(*item) for item in sorted(tempos.items())))
    for library in ("pretty_midi", "miditoolkit", "symusic"):
        back = there_and_back(library, score)
        assert tracks_of(back) == tracks_of(score), library
        assert tempos_of(back) == tempos_of(score), library
    assert there_and_back("mido", score) == read_midi(write_midi(score)).score
