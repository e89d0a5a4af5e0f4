"""Bytes <-> Score, told in hexdumps, and thousands of random scores that must come back as they were."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import MidiError, UserError
from models.midi_chunks import MAX_TRACKS
from models.midi_file import ReadResult, read_midi, save_midi, write_midi
from models.score import Event, KeySignature, Marker, Meter, Note, Score, Tempo, Track

ROOT = Path(__file__).resolve().parents[2]

# Enough for every run; RANDOM_SCORES=10000 takes a quarter of a minute.
RANDOM_SCORES = int(os.environ.get("RANDOM_SCORES", "1000"))

END = "00 FF 2F 00"


def midi(*chunks: str, kind: int = 1, division: int = 96) -> bytes:
    """A file of these chunks, given as hexdumps; lengths are filled in."""
    bodies = [bytes.fromhex(chunk) for chunk in chunks]
    head = b"".join(value.to_bytes(2, "big") for value in (kind, len(bodies), division))
    tracks = [b"MTrk" + len(body).to_bytes(4, "big") + body for body in bodies]
    return b"MThd\0\0\0\6" + head + b"".join(tracks)


def text(kind: int, words: str | bytes) -> str:
    """A text event at once after the one before it."""
    raw = words.encode() if isinstance(words, str) else words
    return f"00 FF {kind:02X} {len(raw):02X} {raw.hex()} "


def read(*chunks: str, kind: int = 1, division: int = 96) -> Score:
    """The score of a file that must give no warning and must survive being written."""
    score, warnings = read_midi(midi(*chunks, kind=kind, division=division))
    assert warnings == ()
    assert read_midi(write_midi(score)) == ReadResult(score, ())
    return score


# --------------------------------------------------------------------------------------------- notes


def test_one_note() -> None:
    score = read("00 90 3C 50  60 80 3C 20 " + END)
    assert score.tracks[0].notes == (Note(start=0, pitch=60, duration=96, velocity=80, release=32),)
    assert score.ticks_per_quarter == 96
    assert score.length == 96


def read_notes(dump: str) -> tuple[Note, ...]:
    return read(dump + END).tracks[0].notes


def test_running_status_and_velocity_zero() -> None:
    notes = read_notes("00 90 3C 50  00 40 51  60 3C 00  00 40 00 ")
    assert notes == (Note(0, 60, 96, 80, 64), Note(0, 64, 96, 81, 64))


def test_overlapping_notes_of_one_pitch_end_in_the_order_in_which_they_began() -> None:
    notes = read_notes("00 90 3C 50  10 3C 51  10 80 3C 01  10 3C 02 ")
    assert notes == (Note(0, 60, 32, 80, 1), Note(16, 60, 32, 81, 2))


def test_a_repeated_note_ends_before_it_begins_again_whatever_the_order_in_the_file() -> None:
    expected = (Note(0, 60, 96, 80), Note(96, 60, 96, 81))
    assert read_notes("00 90 3C 50  60 3C 00  00 3C 51  60 3C 00 ") == expected
    assert read_notes("00 90 3C 50  60 3C 51  00 3C 00  60 3C 00 ") == expected


def test_a_note_without_length_lasts_one_tick() -> None:
    assert read_notes("00 90 3C 50  00 3C 00 ") == (Note(0, 60, 1, 80),)


def test_a_note_off_without_a_note_is_nothing() -> None:
    assert read_notes("00 90 3C 50  00 3E 00  60 3C 00  00 3C 00 ") == (Note(0, 60, 96, 80),)


def test_notes_are_sorted_by_start_then_pitch() -> None:
    notes = read_notes("00 90 43 50  00 3C 50  00 40 50  60 40 00  00 3C 00  00 43 00 ")
    assert [note.pitch for note in notes] == [60, 64, 67]


def test_an_unended_note_is_closed_at_the_end_of_its_track_and_reported() -> None:
    score, warnings = read_midi(midi("00 90 3C 50  60 B0 07 40  60 FF 2F 00"))
    assert score.tracks[0].notes == (Note(0, 60, 192, 80),)
    assert warnings == ("Closed a note that never ended at the end of its track (track 1).",)


def test_long_deltas() -> None:
    assert read_notes("81 00 90 3C 50  81 80 00 3C 00 ") == (Note(128, 60, 16384, 80),)


# -------------------------------------------------------------------------------------------- tracks

NOTE = "00 9{0} 3C 50 60 8{0} 3C 40 "


def test_format_0_is_split_by_channel_in_the_order_of_channels() -> None:
    dump = text(3, "A song") + "00 C3 20  00 C0 05 " + NOTE.format("9") + NOTE.format("3") + NOTE.format("0")
    score = read(dump + END, kind=0)
    assert score.name == "A song"
    assert [(track.channel, track.program, track.is_drum, track.name) for track in score.tracks] == [
        (0, 5, False, ""),
        (3, 32, False, ""),
        (9, 0, True, ""),
    ]
    assert [track.notes[0].start for track in score.tracks] == [192, 96, 0]


def test_several_channels_in_a_later_track_share_its_name() -> None:
    words = text(5, "la")
    score = read(END, text(3, "Guitar") + words + NOTE.format("2") + NOTE.format("1") + END)
    assert [(track.name, track.channel) for track in score.tracks] == [("Guitar", 1), ("Guitar", 2)]
    assert [track.events for track in score.tracks] == [(Event(0, b"\xff\x05la"),), ()]


def test_several_tracks_on_one_channel_stay_apart() -> None:
    score = read(END, text(3, "Right") + NOTE.format("0") + END, text(3, "Left") + NOTE.format("0") + END)
    assert [(track.name, track.channel, len(track.notes)) for track in score.tracks] == [
        ("Right", 0, 1),
        ("Left", 0, 1),
    ]


def test_a_first_track_with_notes_keeps_its_name() -> None:
    score = read(text(3, "Piano") + NOTE.format("0") + END)
    assert (score.name, score.tracks[0].name) == ("", "Piano")


def test_the_first_track_without_notes_is_the_conductor() -> None:
    gm_on = "00 F0 05 7E 7F 09 01 F7 "
    score = read(text(3, "Suite") + text(2, "(c) 1850") + gm_on + text(1, "hi") + END, NOTE.format("0") + END)
    assert score.name == "Suite"
    assert score.events == (
        Event(0, b"\xff\x02(c) 1850"),
        Event(0, b"\xf0\x7e\x7f\x09\x01\xf7"),
        Event(0, b"\xff\x01hi"),
    )
    assert len(score.tracks) == 1


def test_empty_tracks_are_kept_and_mere_maps_are_not() -> None:
    named, controlled, nothing = text(3, "Bass") + END, "00 B4 07 64 " + END, END
    only_tempo = text(3, "Tempo") + "00 FF 51 03 07 A1 20 " + END
    score = read(END, named, controlled, nothing, only_tempo)
    assert score.tracks == (
        Track(name="Bass"),
        Track(channel=4, events=(Event(0, b"\xb4\x07\x64"),)),
        Track(),
    )
    assert score.tempos == (Tempo(0, 500_000),)


def test_the_channel_prefix_places_a_track_without_notes() -> None:
    assert read(END, "00 FF 20 01 09 " + text(5, "boom") + END).tracks == (
        Track(channel=9, is_drum=True, events=(Event(0, b"\xff\x20\x09"), Event(0, b"\xff\x05boom"))),
    )


def test_the_first_program_change_names_the_instrument_and_all_stay_in_place() -> None:
    track = read("00 C0 18  60 C0 19 " + NOTE.format("0") + END).tracks[0]
    assert track.program == 24
    assert track.events == (Event(0, b"\xc0\x18"), Event(96, b"\xc0\x19"))


def test_events_of_every_kind_are_kept_to_the_byte() -> None:
    dump = (
        "00 B0 40 7F"  # sustain pedal
        " 05 E0 00 40"  # pitch bend
        " 00 A0 3C 33"  # aftertouch of a key
        " 00 D0 44"  # aftertouch of a channel
        " 00 F0 03 43 10 F7"  # SysEx
        " 00 F7 02 F3 01"  # escaped bytes
        " 00 FF 05 02 6C 61"  # lyrics
        " 00 FF 04 01 78"  # instrument name
        " 00 FF 21 01 01"  # port
        " 00 FF 7F 03 00 00 41 "  # of one sequencer only
    )
    track = read(dump + NOTE.format("0") + END).tracks[0]
    assert [event.data.hex(" ") for event in track.events] == [
        "b0 40 7f",
        "e0 00 40",
        "a0 3c 33",
        "d0 44",
        "f0 43 10 f7",
        "f7 f3 01",
        "ff 05 6c 61",
        "ff 04 78",
        "ff 21 01",
        "ff 7f 00 00 41",
    ]
    assert [event.tick for event in track.events] == [0] + [5] * 9


def test_the_declared_end_is_kept() -> None:
    assert read("00 90 3C 50  60 3C 00  87 00 FF 2F 00").length == 96 + 896


# ---------------------------------------------------------------------------------------------- maps


def test_tempo_meter_key_marker_and_cue() -> None:
    maps = (
        "00 FF 51 03 09 27 C0  00 FF 58 04 07 03 18 08  00 FF 59 02 FE 01 "
        + text(6, "Dm7")
        + text(7, "curtain")
        + "60 FF 51 03 0F 42 40  00 FF 58 04 04 02 18 08  00 FF 59 02 03 00 "
    )
    score = read(maps + END, NOTE.format("0") + END)
    assert score.tempos == (Tempo(0, 600_000), Tempo(96, 1_000_000))
    assert score.meters == (Meter(0, 7, 8), Meter(96, 4, 4))
    assert score.keys == (KeySignature(0, -2, True), KeySignature(96, 3, False))
    assert score.markers == (Marker(0, "Dm7"), Marker(0, "curtain"))


def test_maps_are_found_in_any_track_and_the_first_one_is_believed() -> None:
    first, second = "00 FF 59 02 02 00 ", "00 FF 59 02 05 00  60 FF 51 03 06 1A 80 "
    marker = text(6, "A")
    score = read(first + marker + END, second + marker + NOTE.format("0") + END)
    assert score.keys == (KeySignature(0, 2, False),)
    assert score.tempos == (Tempo(96, 400_000),)
    assert score.markers == (Marker(0, "A"), Marker(96, "A"))


def test_the_last_word_on_one_tick_counts() -> None:
    assert read("00 FF 51 03 06 1A 80  00 FF 51 03 09 27 C0 " + END).tempos == (Tempo(0, 600_000),)


@pytest.mark.parametrize(
    ("dump", "warning"),
    [
        ("00 FF 51 03 00 00 00 ", "Replaced an impossible tempo by 120 bpm (track 1)."),
        ("00 FF 58 04 00 02 18 08 ", "Ignored an impossible time signature (track 1)."),
        ("00 FF 58 04 04 20 18 08 ", "Ignored an impossible time signature (track 1)."),
        ("00 FF 59 02 0F 00 ", "Ignored an impossible key signature (track 1)."),
    ],
)
def test_impossible_maps_never_reject_a_file(dump: str, warning: str) -> None:
    score, warnings = read_midi(midi(dump + NOTE.format("0") + END))
    assert warnings == (warning,)
    assert len(score.tracks[0].notes) == 1
    assert not score.meters and not score.keys
    assert score.tempos in ((), (Tempo(0, 500_000),))


@pytest.mark.parametrize(
    ("division", "ticks_per_second"),
    [(0xE728, 1000.0), (0xE801, 24.0), (0xE250, 2400.0), (0xE350, 80 * 30_000 / 1_001)],
)
def test_film_frames_become_beats_of_the_same_time(division: int, ticks_per_second: float) -> None:
    score, warnings = read_midi(midi("00 90 3C 50  60 3C 00  00 FF 51 03 06 1A 80 " + END, division=division))
    assert len(warnings) == 2
    assert score.seconds_at(96) == pytest.approx(96 / ticks_per_second, rel=1e-6)
    assert score.tempos[0].bpm == pytest.approx(120, rel=0.05)


# --------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"Strings", "Strings"),
        ("Flöte ♯".encode(), "Flöte ♯"),
        (b"Fl\xf6te", "Flöte"),
        (b"\x83s\x83A\x83m", "\x83s\x83A\x83m"),
        (b"\0\r\n", "\0\r\n"),
    ],
)
def test_names_and_markers_come_back_to_the_byte_whatever_their_encoding(raw: bytes, shown: str) -> None:
    score = read(text(6, raw) + END, text(3, raw) + NOTE.format("0") + END)
    assert (score.markers[0].text, score.tracks[0].name) == (shown, shown)
    assert write_midi(score).count(raw) == 2


def test_a_name_that_no_encoding_can_hold_does_not_stop_a_file() -> None:
    assert read_midi(write_midi(Score(name="a\udc80b"))).score.name == "a?b"


# ------------------------------------------------------------------------------------------- writing


def test_what_is_written() -> None:
    piano = Track(name="P", program=4, notes=(Note(0, 60, 480, 90), Note(480, 60, 480, 91, release=10)))
    score = Score(480, (piano,), (Tempo(0, 500_000),), (Meter(0, 6, 8),), (KeySignature(0, -1, True),), length=1920)
    expected = (
        "4D546864 00000006 0001 0002 01E0"  # header: format 1, two chunks, 480 ticks to a quarter
        "4D54726B 0000001A"
        "00 FF 58 04 06 03 24 08"  # six eighths, a click of 36 clocks
        "00 FF 59 02 FF 01"  # D minor
        "00 FF 51 03 07 A1 20"
        "8F 00 FF 2F 00"
        "4D54726B 0000001D"
        "00 FF 03 01 50"
        "00 C0 04"
        "00 90 3C 5A"
        "83 60 3C 00"  # the first note ends before the second begins
        "00 3C 5B"
        "83 60 80 3C 0A"
        "87 40 FF 2F 00"
    )
    assert write_midi(score).hex() == bytes.fromhex(expected).hex()
    assert write_midi(score) == write_midi(score)


def test_at_one_tick_a_note_begins_after_its_controllers_and_ends_before_them() -> None:
    track = Track(notes=(Note(0, 60, 10, 90), Note(10, 62, 10, 90)), events=(Event(10, b"\xb0\x40\x7f"),))
    body = write_midi(Score(96, (track,)))
    assert bytes.fromhex("0A 3C 00  00 B0 40 7F  00 90 3E 5A") in body


def test_the_track_decides_about_channel_and_program() -> None:
    moved = Track(
        channel=5,
        program=40,
        notes=(Note(0, 60, 10, 90),),
        events=(Event(0, b"\xc0\x01"), Event(0, b"\xe0\0\x40")),
    )
    track = read_midi(write_midi(Score(96, (moved,)))).score.tracks[0]
    assert (track.channel, track.program) == (5, 40)
    assert track.events == (Event(0, b"\xc5\x28"), Event(0, b"\xe5\0\x40"))


def test_drums_go_to_channel_10() -> None:
    drums = Track(name="Kit", is_drum=True, notes=(Note(0, 36, 10, 90),))
    track = read_midi(write_midi(Score(96, (drums,)))).score.tracks[0]
    assert (track.channel, track.is_drum) == (9, True)


@pytest.mark.parametrize("track", [Track(channel=7), Track(program=30), Track(is_drum=True, channel=9)])
def test_an_empty_track_keeps_its_channel_and_program(track: Track) -> None:
    again = read_midi(write_midi(Score(96, (track,)))).score.tracks[0]
    assert (again.channel, again.program, again.is_drum) == (track.channel, track.program, track.is_drum)


@pytest.mark.parametrize(
    "score",
    [
        Score(0),
        Score(0x8000),
        Score(tracks=(Track(channel=16),)),
        Score(tracks=(Track(),) * (MAX_TRACKS + 1)),
        Score(tracks=(Track(notes=(Note(0, 128, 1, 1),)),)),
        Score(tracks=(Track(notes=(Note(0, 60, 1, 0),)),)),
        Score(tracks=(Track(notes=(Note(0, 60, 0, 1),)),)),
        Score(tracks=(Track(notes=(Note(-1, 60, 5, 1),)),)),
        Score(meters=(Meter(0, 4, 3),)),
        Score(meters=(Meter(0, 0, 4),)),
        Score(tempos=(Tempo(0, 1 << 24),)),
        Score(markers=(Marker(-1, "A"),)),
        Score(events=(Event(0, b"\x90\x3c\x50"),)),
    ],
)
def test_a_score_that_no_file_can_hold_is_refused(score: Score) -> None:
    with pytest.raises(ValueError):
        write_midi(score)


# --------------------------------------------------------------------------------------- round trips


def random_events(rng: random.Random, channel: int, length: int, named: bool) -> tuple[Event, ...]:
    """Events of a track, sorted by tick, in any order at one tick. `named`: whether more names may follow."""
    makers = [
        lambda: bytes((0xB0 | channel, rng.randrange(128), rng.randrange(128))),
        lambda: bytes((0xE0 | channel, rng.randrange(128), rng.randrange(128))),
        lambda: bytes((0xA0 | channel, rng.randrange(128), rng.randrange(128))),
        lambda: bytes((0xD0 | channel, rng.randrange(128))),
        lambda: bytes((0xC0 | channel, rng.randrange(128))),
        lambda: b"\xf0" + rng.randbytes(rng.randrange(200)),
        lambda: b"\xf7" + rng.randbytes(rng.randrange(4)),
        lambda: (
            bytes((0xFF, rng.choice((1, 4, 5, 8, 9, 0x20, 0x21, 0x4B, 0x7F)))) + rng.randbytes(1 + rng.randrange(9))
        ),
    ]
    if named:
        makers.append(lambda: b"\xff\x03" + rng.randbytes(rng.randrange(5)))
    ticks = sorted(rng.randint(0, length) for _ in range(rng.choice((0, 0, 1, 3, 12))))
    return tuple(Event(tick, rng.choice(makers)()) for tick in ticks)


def random_notes(rng: random.Random, length: int) -> tuple[Note, ...]:
    """Notes that begin and end in the same order where their pitch is the same, as in every file."""
    notes: list[Note] = []
    for pitch in rng.sample(range(128), rng.choice((0, 1, 3, 6))):
        starts = sorted(rng.randrange(length) for _ in range(rng.choice((1, 1, 2, 5))))
        ends = sorted(rng.randint(1, length) for _ in starts)
        last = 0
        for start, end in zip(starts, ends, strict=True):
            last = max(last, end, start + 1)
            notes.append(
                Note(start, pitch, last - start, rng.randint(1, 127), rng.choice((64, 64, rng.randrange(128))))
            )
    return tuple(sorted(notes))


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice("aZ 0#♯éß語\n\0😀") for _ in range(rng.choice((0, 1, 5, 150))))


def random_track(rng: random.Random, length: int) -> Track:
    channel, name = rng.randrange(16), random_text(rng)
    notes = random_notes(rng, length)
    events = random_events(rng, channel, length, named=bool(name))
    programs = [event.data[1] for event in events if event.data[0] >> 4 == 0xC]
    if not notes and all(event.data[0] >= 0xF0 for event in events):
        prefixes = [e.data[2] for e in events if e.data[:2] == b"\xff\x20" and len(e.data) == 3 and e.data[2] < 16]
        channel = prefixes[0] if prefixes else 0
    return Track(name, programs[0] if programs else 0, channel == 9, channel, notes, events)


def random_score(rng: random.Random) -> Score:
    """Any score that `read_midi` may return: several meters, wild tempos, long silence, no track at all."""
    division = rng.choice((1, 24, 96, 220, 480, 960, 32_767, rng.randint(1, 32_767)))
    length = rng.choice((1, 100, 5_000, 100_000, division * 1_000))
    tracks = tuple(random_track(rng, length) for _ in range(rng.choice((0, 1, 2, 4))))
    ends = [note.end for track in tracks for note in track.notes]
    name = random_text(rng)

    def ticks() -> list[int]:
        return sorted(rng.sample(range(length + 1), min(length, rng.choice((0, 1, 2, 9)))))

    shared = [e for e in random_events(rng, 0, length, named=bool(name)) if e.data[0] >= 0xF0]
    shared += [Event(rng.randint(0, length), b"\xff\x02" + rng.randbytes(6)) for _ in range(rng.randrange(3))]
    markers = [Marker(rng.randint(0, length), random_text(rng)) for _ in range(rng.choice((0, 0, 2, 7)))]
    return Score(
        ticks_per_quarter=division,
        tracks=tracks,
        tempos=tuple(Tempo(tick, rng.choice((1, 500_000, rng.randint(1, 9_999_999)))) for tick in ticks()),
        meters=tuple(Meter(tick, rng.randint(1, 255), 1 << rng.randrange(8)) for tick in ticks()),
        keys=tuple(KeySignature(tick, rng.randint(-7, 7), rng.random() < 0.5) for tick in ticks()),
        markers=tuple(sorted(dict.fromkeys(markers), key=lambda marker: marker.tick)),
        events=tuple(sorted(shared, key=lambda event: event.tick)),
        name=name,
        length=max([length, *ends])
        + rng.choice((0, 0, 1, division * 4, division * 400_000 if rng.random() < 0.05 else 0)),
    )


def within_a_day(score: Score) -> bool:
    return score.seconds_at(score.length) <= 24 * 3600


def test_random_scores_survive_being_written_and_read() -> None:
    tried = 0
    for seed in range(2 * RANDOM_SCORES):
        score = random_score(random.Random(seed))
        if within_a_day(score):
            tried += 1
            data = write_midi(score)
            assert read_midi(data) == ReadResult(score, ()), f"seed {seed}"
            assert write_midi(read_midi(data).score) == data, f"seed {seed}"
        if tried == RANDOM_SCORES:
            break
    assert tried == RANDOM_SCORES


def test_hours_of_silence_survive() -> None:
    score = Score(32_767, (Track(notes=(Note(500_000_000, 60, 600_000_000, 80),)),), length=5_000_000_000)
    assert read_midi(write_midi(score)) == ReadResult(score, ())


def test_shipped_pieces_survive(data_dir: Path) -> None:
    for path in sorted(data_dir.glob("*.mid")):
        score, warnings = read_midi(path)
        assert warnings == ()
        assert sum(len(track.notes) for track in score.tracks) > 20
        assert read_midi(write_midi(score)) == ReadResult(score, ())


# --------------------------------------------------------------------------------------------- files


def test_saved_whole_and_with_the_usual_rights(tmp_path: Path) -> None:
    score, path = Score(96, (Track(name="A"),)), tmp_path / "söng.mid"
    path.write_bytes(b"old")
    save_midi(score, path)
    other = tmp_path / "other"
    other.write_bytes(b"")
    assert read_midi(str(path)).score == score
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other", "söng.mid"]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "song.mid"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match="No space left"):
        save_midi(Score(96), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["song.mid"]


@pytest.mark.parametrize("name", ["missing/song.mid", ".", "a\0b.mid"])
def test_places_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="Cannot write"):
        save_midi(Score(96), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mid", "There is no file"),
        (".", "is a folder"),
        ("a\0b", "Cannot read"),
        ("x" * 300, "Cannot read"),
    ],
)
def test_places_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_midi(tmp_path / name)
    assert caught.value.hint


def test_what_is_not_midi_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "song.mid"
    path.write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(MidiError, match="zip") as caught:
        read_midi(path)
    assert "MIDI" in caught.value.hint


def test_reading_a_file_needs_only_the_standard_library() -> None:
    listing = "print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import models.midi_file; {listing}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"models", "__main__"}
