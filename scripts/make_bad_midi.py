"""Make bad MIDI files: named cases that go wrong in one known way, and seeded mutants of good files.

    python scripts/make_bad_midi.py OUT_FOLDER                            the named cases
    python scripts/make_bad_midi.py OUT_FOLDER song.mid --mutants 1000    and mutants of these files

The tests import `named_cases`, `mutants` and `with_one_fault`. The same seed makes the same bytes.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

END = b"\x00\xff\x2f\x00"
# Two bars of a scale: quarter notes of 480 ticks, with an explicit status byte and with running status.
SCALE = b"".join(b"\x00\x90%c\x50\x83\x60\x80%c\x40" % (pitch, pitch) for pitch in (60, 62, 64, 65, 67, 69, 71, 72))
RUNNING = (
    b"\x00\x90\x3c\x50"
    + b"".join(b"\x83\x60%c\x00\x00%c\x50" % (pitch, pitch + 1) for pitch in range(60, 67))
    + b"\x83\x60\x43\x00"
)


def header(kind: int = 1, tracks: int = 1, division: int = 480) -> bytes:
    return b"MThd\0\0\0\x06" + b"".join(value.to_bytes(2, "big") for value in (kind, tracks, division))


def track(events: bytes, length: int | None = None) -> bytes:
    return b"MTrk" + (len(events) if length is None else length).to_bytes(4, "big") + events


def song(events: bytes = SCALE, **head: int) -> bytes:
    """A file of one track that plays `events`."""
    return header(**head) + track(events + END)


def named_cases() -> dict[str, bytes]:
    """Every case by name. None is a file that a careful program would write."""
    return {
        **_not_midi(),
        **_bad_headers(),
        **_bad_chunks(),
        **_bad_events(),
        **_bad_meta(),
        **_over_limits(),
    }


def _not_midi() -> dict[str, bytes]:
    return {
        "empty": b"",
        "one-byte": b"M",
        "text": b"These are not the notes that you are looking for.\n" * 20,
        "zeros": bytes(10_000),
        "ones-1mb": b"\xff" * 1_000_000,
        "noise": random.Random(1).randbytes(20_000),
        "zip": b"PK\x03\x04" + bytes(100) + song(),
        "mp3": b"ID3\x04" + bytes(1_000),
        "wav": b"RIFF\x24\x08\0\0WAVEfmt " + bytes(1_000),
        "xml": b'<?xml version="1.0"?><score-partwise/>',
    }


def _bad_headers() -> dict[str, bytes]:
    good = song()
    return {
        "header-only": header(),
        "header-cut": header()[:11],
        "header-without-length": good[:4] + good[8:],
        "header-length-huge": good[:4] + b"\x7f\xff\xff\xff" + good[8:],
        "header-length-zero": good[:4] + bytes(4) + good[8:],
        "header-longer": good[:4] + b"\0\0\0\x0a" + good[8:14] + b"\1\2\3\4" + good[14:],
        "header-name-wrong": b"MThf" + good[4:],
        "header-missing": good[14:],
        "riff-wrapper": b"RIFF" + (len(good) + 12).to_bytes(4, "little") + b"RMIDdata" + b"\x40\0\0\0" + good,
        "garbage-before": b"\r\n\r\nContent-Type: audio/midi\r\n\r\n" + good,
        "macbinary": b"\0\x08SONG.MID" + bytes(118) + good,
        "format-2": song(kind=2),
        "format-77": song(kind=77),
        "division-0": song(division=0),
        "division-smpte": song(division=0xE728),
        "division-smpte-drop-frame": song(division=0xE350),
        "division-smpte-0": song(division=0xE700),
        "division-smpte-odd-rate": song(division=0x9128),
        "says-no-tracks": song(tracks=0),
        "says-many-tracks": song(tracks=40),
        "two-files-in-one": good + good,
    }


def _bad_chunks() -> dict[str, bytes]:
    body = SCALE + END
    unknown = b"XFIH\0\0\0\x05hello"
    return {
        "no-track": header() + unknown,
        "empty-track": header() + track(b""),
        "track-name-only": header() + b"MTrk",
        "no-end-of-track": header() + track(SCALE),
        "two-ends-of-track": header() + track(SCALE + END + END),
        "events-after-end": header() + track(SCALE + END + SCALE + END),
        "cut-in-event": (header() + track(body))[:-9],
        "cut-in-half": (header() + track(body))[: 22 + len(body) // 2],
        "length-zero": header() + track(body, length=0),
        "length-short": header() + track(body, length=10),
        "length-long": header() + track(body, length=len(body) + 100),
        "length-huge": header() + track(body, length=0xFFFFFFFF),
        "length-short-of-two": header(tracks=2) + track(body, length=10) + track(body),
        "length-long-of-two": header(tracks=2) + track(body, length=len(body) + 6) + track(body),
        "unknown-chunk-first": header() + unknown + track(body),
        "unknown-chunk-last": header() + track(body) + unknown,
        "unknown-chunk-lies": header() + b"XFIH\x7f\xff\xff\xff" + track(body),
        "track-name-wrong": header() + b"MTrc" + track(body)[4:],
        "garbage-between": header(tracks=2) + track(body) + b"\x93\x07\0\xfe\x11" + track(body),
        "garbage-after": header() + track(body) + b"\x93\x07\0\xfe\x11" * 40,
        "zeros-after": header() + track(body) + bytes(512),
    }


def _bad_events() -> dict[str, bytes]:
    return {
        "running-status-unset": song(b"\x00\x3c\x50" + SCALE),
        "running-status-over-meta": song(RUNNING[:4] + b"\x00\xff\x01\x02hi\x60\x3c\x00" + SCALE),
        "running-status-over-sysex": song(RUNNING[:4] + b"\x00\xf0\x02\x7e\xf7\x60\x3c\x00" + SCALE),
        "pitch-too-high": song(b"\x00\x90\xbc\x50" + SCALE),
        "velocity-too-high": song(b"\x00\x90\x3c\xd0" + SCALE),
        "program-too-high": song(b"\x00\xc0\x99" + SCALE),
        "bend-too-high": song(b"\x00\xe0\x80\x80" + SCALE),
        "byte-missing": song(SCALE[:31] + SCALE[32:]),
        "byte-doubled": song(SCALE[:31] + SCALE[30:]),
        "realtime-inside": song(SCALE[:27] + b"\x00\xf8" + SCALE[27:]),
        "system-common-inside": song(SCALE[:27] + b"\x00\xf1\x10\x00\xf6" + SCALE[27:]),
        "delta-of-five-bytes": song(b"\x81\x80\x80\x80\x00\x90\x3c\x50" + SCALE),
        "delta-endless": song(SCALE + b"\xff" * 5_000),
        "delta-of-a-week": song(SCALE + b"\xff\xff\xff\x7f\x90\x30\x50" + SCALE, division=96),
        "notes-unended": song(b"\x00\x90\x3c\x50\x00\x40\x50\x00\x43\x50\x83\x60\xb0\x07\x64"),
        "note-offs-alone": song(b"\x00\x80\x3c\x40" * 20),
        "off-after-on-same-tick": song(b"\x00\x90\x3c\x50\x00\x80\x3c\x40"),
        "note-on-again": song(b"\x00\x90\x3c\x50" * 3 + b"\x60\x80\x3c\x40" * 3),
        "sysex-unended": song(b"\x00\xf0\x05\x43\x10\x4c\x00\x00" + SCALE),
        "sysex-length-long": song(b"\x00\xf0\xff\x7f\x43\x10\xf7" + SCALE),
        "sysex-length-endless": song(b"\x00\xf0\xff\xff\xff\xff\xff\x7f" + SCALE),
        "ff-in-the-middle": song(SCALE[:36] + b"\xff" * 300 + SCALE[36:]),
        "only-noise-in-track": header() + track(b"\xfd" * 3_000),
    }


def _bad_meta() -> dict[str, bytes]:
    return {
        "tempo-0": song(b"\x00\xff\x51\x03\0\0\0" + SCALE),
        "tempo-short": song(b"\x00\xff\x51\x01\x07" + SCALE),
        "tempo-empty": song(b"\x00\xff\x51\x00" + SCALE),
        "tempo-long": song(b"\x00\xff\x51\x05\x06\x1a\x80\x00\x00" + SCALE),
        "meter-numerator-0": song(b"\x00\xff\x58\x04\x00\x02\x18\x08" + SCALE),
        "meter-denominator-absurd": song(b"\x00\xff\x58\x04\x04\xff\x18\x08" + SCALE),
        "meter-short": song(b"\x00\xff\x58\x01\x04" + SCALE),
        "key-out-of-range": song(b"\x00\xff\x59\x02\x0c\x00" + SCALE),
        "key-mode-unknown": song(b"\x00\xff\x59\x02\x01\x07" + SCALE),
        "key-empty": song(b"\x00\xff\x59\x00" + SCALE),
        "meta-type-too-high": song(b"\x00\xff\x90\x02ab" + SCALE),
        "meta-length-long": song(b"\x00\xff\x01\xff\x7fhello" + SCALE),
        "meta-length-endless": song(b"\x00\xff\x01\xff\xff\xff\xff\xff\x7fhello" + SCALE),
        "meta-length-short": song(b"\x00\xff\x01\x02hello there" + SCALE),
        "name-not-utf8": song(b"\x00\xff\x03\x05Gr\xfcn\xe9" + SCALE),
        "name-of-zeros": song(b"\x00\xff\x03\x04\0\0\0\0" + SCALE),
        "end-of-track-with-data": song(SCALE + b"\x00\xff\x2f\x02ab"),
    }


def _over_limits() -> dict[str, bytes]:
    return {
        "11-mb": song() + bytes(11 << 20),
        "million-events": song(b"\x00\x90" + b"\x3c\x50\x00" * 1_000_001),
        "300-tracks": header(tracks=300) + track(SCALE + END) * 300,
        "20-tracks-of-16-channels": header(tracks=20) + track(_all_channels() + END) * 20,
        "25-hours": song(SCALE + b"\xa0\x80\x00\xff\x01\x01x" * 200, division=96),
        "long-pauses-1mb": song(b"\xff\xff\x7f\x90\x3c\x50" * 160_000, division=0x7FFF),
        "many-unended": song(b"\x00\x90" + b"\x3c\x50\x00" * 100_000),
        "million-unended": song(b"\x00\x90" + b"\x3c\x50\x00" * 600_000),
        "million-stray-offs": song(b"\x00\x80" + b"\x3c\x50\x00" * 900_000),
        "endless-ticks": song(b"\x00\xff\x51\x03\0\0\1" + b"\xff\xff\xff\x7f\x90\x3c\x50" * 500, division=0x7FFF),
        "resync-storm-1mb": song(b"\x00\x90\x3c\xff" * 250_000),
        "near-miss-storm-1mb": song(b"\x00\x90\x3c\x40\x00\x90\x3c\x40\x00\x90\x3c\xf4" * 83_000),
        "sysex-copy-storm-1mb": song(b"\x00\xf0\xbf\xff\x7f" * 200_000),
        "delta-storm": song(b"\xff\xff\x7f\x90\x3c\x50" * 100_000, division=1),
        "meta-storm": song(b"\x00\xff\x01\x00" * 250_000),
        "tempo-storm": song(b"\x01\xff\x51\x03\x07\xa1\x20" * 50_000),
        "meter-storm": song(b"\x01\xff\x58\x04\x01\x07\x18\x08" * 50_000),
        "empty-chunks-1mb": header() + b"XXXX\0\0\0\0" * 125_000 + track(SCALE + END),
    }


def _all_channels() -> bytes:
    return b"".join(b"\x00%c\x3c\x50\x10%c\x3c\x40" % (0x90 | channel, 0x80 | channel) for channel in range(16))


# ------------------------------------------------------------------------------------------- mutants

Fault = Callable[[bytearray, random.Random], None]


def _flip_bit(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice((0x00, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _drop_slice(data: bytearray, rng: random.Random) -> None:
    start, end = _slice(data, rng)
    del data[start:end]


def _double_slice(data: bytearray, rng: random.Random) -> None:
    start, end = _slice(data, rng)
    data[end:end] = data[start:end]


def _insert_noise(data: bytearray, rng: random.Random) -> None:
    start, end = _slice(data, rng)
    data[start:start] = rng.randbytes(end - start)


def _fill_slice(data: bytearray, rng: random.Random) -> None:
    start, end = _slice(data, rng)
    data[start:end] = bytes((rng.choice((0x00, 0x40, 0x80, 0xFF)),)) * (end - start)


def _spoil_length(data: bytearray, rng: random.Random) -> None:
    """Change the length field of a chunk."""
    places = [i + 4 for i in range(len(data) - 7) if bytes(data[i : i + 4]) in (b"MThd", b"MTrk")]
    if places:
        place = rng.choice(places)
        size = int.from_bytes(data[place : place + 4], "big")
        wrong = rng.choice((0, 1, size + 1, abs(size - 1), size * 2, size << 8, 0xFFFFFFFF, rng.getrandbits(32)))
        data[place : place + 4] = (wrong & 0xFFFFFFFF).to_bytes(4, "big")


def _slice(data: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 2, 3, 4, 8, 16, 64, 256)))


FAULTS: dict[str, Fault] = {
    "bit flipped": _flip_bit,
    "byte changed": _set_byte,
    "cut off": _truncate,
    "slice dropped": _drop_slice,
    "slice doubled": _double_slice,
    "noise inserted": _insert_noise,
    "slice overwritten": _fill_slice,
    "length field spoiled": _spoil_length,
}


def with_one_fault(data: bytes, fault: str, seed: int) -> bytes:
    """`data` with one fault of the kind named, at a place that `seed` chooses."""
    damaged = bytearray(data)
    FAULTS[fault](damaged, random.Random(f"{seed} {fault}"))
    return bytes(damaged)


def mutants(files: Sequence[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` damaged versions of the files in turn, each with one to eight faults of any kind."""
    kinds = tuple(FAULTS.values())
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        data = bytearray(files[number % len(files)])
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
            if data:
                rng.choice(kinds)(data, rng)
        yield bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write MIDI files that are bad in known ways.")
    parser.add_argument("folder", type=Path, help="where to write them")
    parser.add_argument("files", type=Path, nargs="*", help="good MIDI files to make mutants of")
    parser.add_argument("--mutants", type=int, default=100, help="how many mutants of the files (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="another number makes other mutants (default 0)")
    args = parser.parse_args()
    cases = named_cases()
    if args.files:
        damaged = mutants([path.read_bytes() for path in args.files], args.mutants, args.seed)
        cases |= {f"mutant-{args.seed}-{number:05d}": data for number, data in enumerate(damaged)}
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, data in cases.items():
        (args.folder / f"{name}.mid").write_bytes(data)
    print(f"{len(cases)} files in {args.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
