"""Which recordings of a sound font play a key, read off its tables (SoundFont 2.04, chapter 7).

A sampler plays one recording over several keys, and another one from the next key on. Where that happens is not
heard in every second pitch, and has to be known for the pitches between.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.synth.network import LOWEST, NODES, STEP
from models.synth.sound import MELODIC

KEYS, VELOCITIES, INSTRUMENT, SAMPLE = 43, 44, 41, 53  # generators
SIZES = {b"phdr": 38, b"pbag": 4, b"pgen": 4, b"inst": 22, b"ibag": 4, b"igen": 4}
MOST_BYTES = 64 << 20  # of the tables together
Range = tuple[int, int]
Zone = tuple[Range, Range, int]  # keys, velocities, and what plays there
Playing = list[set[tuple[int, int]]]  # for each key, instruments and samples


def shares(font: Path, velocity: int) -> NDArray[np.int8]:
    """What a pitch between two nodes takes from the upper one, in halves, (MELODIC, NODES - 1).

    1 where all three keys are played by the same recordings, or where it cannot be told; else 0 or 2. UserError
    when the font is no SoundFont 2 file.
    """
    playing = recordings(font, velocity)
    found = np.ones((MELODIC, NODES - 1), dtype=np.int8)
    for program, keys in playing.items():
        for node in range(NODES - 1):
            below, here, above = keys[LOWEST + STEP * node : LOWEST + STEP * (node + 1) + 1]
            difference = _alike(here, above) - _alike(below, here)
            found[program, node] = 1 + (difference > 0) - (difference < 0)
    return found


def recordings(font: Path, velocity: int) -> dict[int, Playing]:
    """What plays each of the 128 keys at a velocity, by General MIDI program."""
    try:
        tables = _tables(font)
        presets, instruments = tables[b"phdr"], tables[b"inst"]
        inside = [
            _zones(tables[b"ibag"], tables[b"igen"], _number(this, 20), _number(after, 20), SAMPLE)
            for this, after in pairwise(instruments)
        ]
        found: dict[int, Playing] = {}
        for this, after in pairwise(presets):
            program, bank = _number(this, 20), _number(this, 22)
            if bank or program >= MELODIC:
                continue
            keys = found[program] = [set() for _ in range(128)]
            for zone in _zones(tables[b"pbag"], tables[b"pgen"], _number(this, 24), _number(after, 24), INSTRUMENT):
                for part in inside[zone[2]]:
                    if all(low <= velocity <= high for low, high in (zone[1], part[1])):
                        for key in range(max(zone[0][0], part[0][0]), min(zone[0][1], part[0][1], 127) + 1):
                            keys[key].add((zone[2], part[2]))
        return found
    except (OSError, struct.error, IndexError, KeyError) as error:
        raise UserError(f"{font} is no sound font that can be read", "Give a SoundFont 2 file (.sf2).") from error


def _alike(one: set[tuple[int, int]], other: set[tuple[int, int]]) -> float:
    """Share of the recordings that two keys have in common."""
    return len(one & other) / max(1, len(one | other))


def _number(record: bytes, place: int) -> int:
    return int(struct.unpack_from("<H", record, place)[0])


def _tables(font: Path) -> dict[bytes, list[bytes]]:
    """The records of each table of a font."""
    with font.open("rb") as file:
        name, size, kind = struct.unpack("<4sI4s", file.read(12))
        end, place = 8 + size, 12
        if (name, kind) != (b"RIFF", b"sfbk"):
            raise KeyError(kind)
        while place < end:
            file.seek(place)
            name, size, kind = struct.unpack("<4sI4s", file.read(12))
            if (name, kind) == (b"LIST", b"pdta") and size <= MOST_BYTES:
                return _split(file.read(size - 4))
            place += 8 + size + size % 2
    raise KeyError("pdta")


def _split(data: bytes) -> dict[bytes, list[bytes]]:
    tables, place = {}, 0
    while place < len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        place += 8
        if place + size > len(data):
            raise KeyError(name)
        if name in SIZES:
            tables[name] = [data[at : at + SIZES[name]] for at in range(place, place + size, SIZES[name])]
        place += size + size % 2
    return tables


def _zones(bags: list[bytes], generators: list[bytes], first: int, end: int, target: int) -> list[Zone]:
    """The zones of a preset or an instrument. The first may have no target: what all others begin with."""
    zones: list[Zone] = []
    usual: tuple[Range, Range] = ((0, 127), (0, 127))
    for bag in range(first, end):
        keys, velocities = usual
        plays = None
        for place in range(_number(bags[bag], 0), _number(bags[bag + 1], 0)):
            kind, low, high = struct.unpack("<HBB", generators[place])
            if kind == KEYS:
                keys = low, high
            elif kind == VELOCITIES:
                velocities = low, high
            elif kind == target:
                plays = low | high << 8
        if plays is not None:
            zones.append((keys, velocities, plays))
        elif bag == first:
            usual = keys, velocities
    return zones
