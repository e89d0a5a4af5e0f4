"""Bad MIDI has two outcomes, a Score with warnings or MidiError, within bounds of time and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import MidiError
from models.midi_file import ReadResult, read_midi, write_midi
from models.score import Score
from scripts.make_bad_midi import (
    FAULTS,
    RUNNING,
    SCALE,
    header,
    mutants,
    named_cases,
    song,
    track,
    with_one_fault,
)

ROOT = Path(__file__).resolve().parents[2]

MUTANTS = 20_000
SECONDS_PER_MB = 2.0
SMALL = 1_000_000  # bytes; smaller files are timed as if they had as many
MEGABYTES_OF_MEMORY = 512

CASES = named_cases()

# What cannot be saved, and the words that say why. All other cases give a score.
REFUSED = {
    "empty": "is empty",
    "one-byte": "not a MIDI file",
    "text": "not a MIDI file",
    "zeros": "not a MIDI file",
    "ones-1mb": "not a MIDI file",
    "noise": "not a MIDI file",
    "zip": "a zip archive",
    "mp3": "an MP3 recording",
    "wav": "a WAV recording",
    "xml": "an XML document",
    "header-only": "no track",
    "header-cut": "ends inside its header",
    "header-missing": "not a MIDI file",
    "division-0": "0 ticks",
    "no-track": "no track",
    "track-name-only": "no track",
    "empty-track": "no event",
    "only-noise-in-track": "no event",
    "resync-storm-1mb": "no event",
    "sysex-copy-storm-1mb": "no event",
    "11-mb": "larger than 10 MB",
    "million-events": "more than 1,000,000 events",
    "million-unended": "more than 1,000,000 events",
    "300-tracks": "more than 256 tracks",
    "20-tracks-of-16-channels": "more than 256 tracks",
    "25-hours": "longer than 24 hours",
    "endless-ticks": "longer than 24 hours",
    "long-pauses-1mb": "longer than 24 hours",
}

# Cases in which all eight notes of the scale are still there.
# fmt: off
WHOLE = (
    "header-without-length", "header-length-huge", "header-length-zero", "header-longer",
    "header-name-wrong", "riff-wrapper", "garbage-before", "macbinary", "format-2", "format-77",
    "division-smpte", "division-smpte-drop-frame", "division-smpte-0", "division-smpte-odd-rate",
    "says-no-tracks", "says-many-tracks", "no-end-of-track", "two-ends-of-track",
    "events-after-end", "length-zero", "length-short", "length-long", "length-huge",
    "unknown-chunk-first", "unknown-chunk-last", "unknown-chunk-lies", "track-name-wrong",
    "garbage-after", "zeros-after", "running-status-unset", "pitch-too-high", "velocity-too-high",
    "program-too-high", "bend-too-high", "realtime-inside", "system-common-inside", "delta-endless",
    "sysex-length-long", "sysex-length-endless", "ff-in-the-middle", "tempo-0", "tempo-short",
    "tempo-empty", "tempo-long", "meter-numerator-0", "meter-denominator-absurd", "meter-short",
    "key-out-of-range", "key-mode-unknown", "key-empty", "meta-type-too-high", "meta-length-long",
    "meta-length-endless", "name-not-utf8", "name-of-zeros", "end-of-track-with-data",
    "empty-chunks-1mb",
)
# fmt: on


def read_in_time(data: bytes) -> ReadResult | MidiError:
    """The outcome; any other error, and any that takes too long, fails the test."""
    begun = time.process_time()
    try:
        outcome: ReadResult | MidiError = read_midi(data)
    except MidiError as error:
        outcome = error
        assert error.message.endswith(f"(byte {error.offset})")
        assert 0 <= error.offset <= len(data)
        assert error.hint
    assert time.process_time() - begun < SECONDS_PER_MB * max(len(data), SMALL) / 1e6
    return outcome


def notes_of(score: Score) -> Counter[tuple[int, ...]]:
    return Counter((track.channel, *note) for track in score.tracks for note in track.notes)


@pytest.mark.parametrize("name", CASES)
def test_named_case(name: str) -> None:
    outcome = read_in_time(CASES[name])
    if name in REFUSED:
        assert isinstance(outcome, MidiError)
        assert REFUSED[name] in outcome.message
    else:
        assert isinstance(outcome, ReadResult)
        assert read_midi(write_midi(outcome.score)) == ReadResult(outcome.score, ())


def test_every_refusal_is_of_a_case() -> None:
    assert REFUSED.keys() <= CASES.keys()
    assert not REFUSED.keys() & set(WHOLE)


@pytest.mark.parametrize("name", WHOLE)
def test_a_fault_beside_the_notes_costs_no_note(name: str) -> None:
    score = read_midi(CASES[name]).score
    assert notes_of(score) == notes_of(read_midi(song()).score)


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("garbage-before", "Skipped what stands before the MIDI header (byte 32)."),
        ("header-length-huge", "Mended a damaged MIDI header (byte 0)."),
        ("length-short", "A track is not as long as it says (track 1)."),
        ("length-long", "A track is cut off (track 1)."),
        ("no-end-of-track", "A track has no end (track 1)."),
        ("ff-in-the-middle", "Skipped damaged bytes (byte 58)."),
        ("garbage-after", "Skipped bytes that belong to no track (byte 98)."),
        ("track-name-wrong", "Mended the name of a track's chunk (byte 14)."),
        ("delta-of-a-week", "Skipped damaged bytes (byte 94)."),
        ("format-2", "Independent patterns (format 2) are read as tracks that play together (header)."),
        (
            "notes-unended",
            "Closed a note that never ended at the end of its track (3 times, first in track 1).",
        ),
    ],
)
def test_what_was_mended_is_said(name: str, warning: str) -> None:
    assert warning in read_midi(CASES[name]).warnings


@pytest.mark.parametrize("name", ["zeros-after", "riff-wrapper", "unknown-chunk-last", "running-status-over-meta"])
def test_what_programs_really_write_is_not_complained_about(name: str) -> None:
    assert read_midi(CASES[name]).warnings == ()


# ------------------------------------------------------------------------------------------- mutants


def seeds(data_dir: Path) -> list[bytes]:
    """Small good files of several kinds: one channel and many, running status or not, all kinds of events."""
    maps = bytes.fromhex("00 FF 03 01 41  00 FF 51 03 07 A1 20  00 FF 58 04 06 03 24 08  00 FF 59 02 FD 00")
    everything = maps + bytes.fromhex(
        "00 C0 04  00 B0 07 64  00 F0 05 7E 7F 09 01 F7  60 FF 06 02 41 6D  00 E0 00 40  00 D0 22"
        "81 70 FF 05 02 6C 61"
    )
    end = b"\0\xff\x2f\0"
    built = [
        song(),
        song(everything + RUNNING * 3),
        header(tracks=3) + track(maps + end) + track(SCALE * 3 + end) * 2,
        song(SCALE + SCALE.replace(b"\x90", b"\x99").replace(b"\x80", b"\x89") + SCALE, kind=0),
    ]
    return built + [data for path in sorted(data_dir.glob("*.mid")) if len(data := path.read_bytes()) < 2_000]


def test_mutants_have_two_outcomes(data_dir: Path) -> None:
    files = seeds(data_dir)
    for data in files:
        assert read_midi(data).warnings == ()
    outcomes = Counter(type(read_in_time(data)).__name__ for data in mutants(files, MUTANTS))
    assert outcomes["ReadResult"] + outcomes["MidiError"] == MUTANTS
    assert outcomes["ReadResult"] > 0.9 * MUTANTS


def test_what_was_salvaged_can_be_written_and_read_again(data_dir: Path) -> None:
    for data in mutants(seeds(data_dir), 2_000, seed=1):
        outcome = read_in_time(data)
        if isinstance(outcome, ReadResult):
            assert read_midi(write_midi(outcome.score)) == ReadResult(outcome.score, ())


def one_fault_each(data_dir: Path, fault: str) -> Iterator[tuple[bytes, bytes]]:
    for good in seeds(data_dir):
        for seed in range(25):
            yield good, with_one_fault(good, fault, seed)


@pytest.mark.parametrize("fault", FAULTS)
def test_most_files_with_one_fault_are_salvaged(data_dir: Path, fault: str) -> None:
    """Of files with one fault of this kind at a random place, at least 70 % give a score.

    And, but for files that were cut off or lost a piece, half of their notes or more are unchanged in
    start, pitch, length, velocity and channel, on average.
    """
    salvaged, kept, count = 0, 0.0, 0
    for good, bad in one_fault_each(data_dir, fault):
        count += 1
        outcome = read_in_time(bad)
        if isinstance(outcome, ReadResult):
            salvaged += 1
            notes = notes_of(read_midi(good).score)
            kept += (notes_of(outcome.score) & notes).total() / notes.total()
    assert salvaged >= 0.7 * count
    if fault not in ("cut off", "slice dropped", "slice overwritten"):
        assert kept >= 0.5 * count


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    for whole in (data, header() + data, header() + b"MTrk\xff\xff\xff\xff" + data, song(data)):
        outcome = read_in_time(whole)
        if isinstance(outcome, ReadResult):
            assert read_midi(write_midi(outcome.score)) == ReadResult(outcome.score, ())


def test_memory_is_bounded() -> None:
    code = (
        "import pathlib, re, resource\n"
        "from models.errors import MidiError\n"
        "from models.midi_file import read_midi\n"
        "from scripts.make_bad_midi import header, song, track\n"
        "full = song(b'\\x01\\x90\\x3c\\x50\\x01\\x80\\x3c\\x40' * 499_000)\n"
        "markers = song(b'\\x01\\xff\\x06\\x04abc\\xe9' * 990_000)\n"
        "endless = header() + track(b'\\xff' * 10_000_000)\n"
        "for data in (full, markers, endless):\n"
        "    try:\n"
        "        read_midi(data)\n"
        "    except MidiError:\n"
        "        pass\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1] if status.exists() else most)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < MEGABYTES_OF_MEMORY << 20


def test_the_same_seed_makes_the_same_files() -> None:
    files = [song()]
    assert list(mutants(files, 50, seed=3)) == list(mutants(files, 50, seed=3))
    assert list(mutants(files, 50, seed=3)) != list(mutants(files, 50, seed=4))


def test_the_command_writes_cases_and_mutants(tmp_path: Path) -> None:
    good, out = tmp_path / "good.mid", tmp_path / "out"
    good.write_bytes(song())
    command = [sys.executable, "scripts/make_bad_midi.py", str(out), str(good), "--mutants", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert str(len(CASES) + 3) in done.stdout
    assert (out / "tempo-0.mid").read_bytes() == CASES["tempo-0"]
    assert len(list(out.glob("mutant-*.mid"))) == 3
