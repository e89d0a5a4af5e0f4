"""Drum keys of instruments that do not follow General MIDI, and the way there and back.

A map has two tables: the key that stands for each General MIDI drum, for notes that are written, and the
General MIDI drum nearest to each other key of its own, for notes that are read. What no table names keeps its
key.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace

from models.errors import ControlError
from models.score import Note, Score, Track


@dataclass(frozen=True, slots=True)
class DrumMap:
    """keys: General MIDI drum -> key of the instrument. drums: other keys of it -> nearest General MIDI drum."""

    name: str
    keys: dict[int, int] = field(default_factory=dict)
    drums: dict[int, int] = field(default_factory=dict)

    def key(self, drum: int) -> int:
        """The key for a General MIDI drum."""
        return self.keys.get(drum, drum)

    def drum(self, key: int) -> int:
        """The General MIDI drum for a key."""
        if key in self.drums:
            return self.drums[key]
        return next((drum for drum, own in self.keys.items() if own == key), key)


GENERAL_MIDI = DrumMap("gm")

# What a drum kit strikes for General MIDI's percussion, which it does not have.
_ON_A_KIT = {
    39: 38, 54: 42, 56: 53, 58: 37, 60: 50, 61: 47, 62: 50, 63: 47, 64: 43, 65: 50, 66: 43, 67: 53, 68: 53, 69: 42,
    70: 42, 71: 53, 72: 53, 73: 37, 74: 37, 75: 37, 76: 37, 77: 37, 78: 37, 79: 37, 80: 53, 81: 53,
}  # fmt: skip


def _kit(name: str, keys: dict[int, int], drums: dict[int, int]) -> DrumMap:
    """A kit's map, with its pieces in place of percussion that it lacks."""
    return DrumMap(name, keys | {drum: keys[piece] for drum, piece in _ON_A_KIT.items()}, drums)


# Roland TD-17, factory settings (TD-11 alike): heads, rims, bows and edges have keys of their own.
_ROLAND = _kit(
    "roland",
    keys={
        36: 36, 35: 36, 37: 37, 38: 38, 40: 40, 43: 43, 41: 43, 42: 42, 44: 44, 45: 45, 47: 45, 46: 46, 48: 48,
        50: 48, 49: 49, 55: 49, 51: 51, 53: 53, 57: 57, 52: 57, 59: 59,
    },
    drums={22: 42, 26: 46, 47: 45, 50: 48, 52: 57, 55: 49, 58: 43},
)  # fmt: skip

# XLN Audio Addictive Drums 2, its own keymap (C1 is key 36).
_ADDICTIVE = _kit(
    "addictive",
    keys={
        36: 36, 35: 36, 37: 42, 38: 38, 40: 37, 41: 65, 43: 67, 42: 49, 44: 48, 45: 69, 47: 69, 46: 54, 50: 71,
        48: 71, 49: 77, 51: 60, 52: 89, 53: 61, 55: 81, 57: 79, 59: 84,
    },
    drums={
        39: 40, 40: 38, 41: 40, 43: 38, 44: 37, 45: 51, 46: 49, 50: 42, 51: 42, 52: 42, 53: 42, 55: 46, 56: 46,
        57: 46, 58: 46, 59: 44, 62: 51, 66: 41, 68: 43, 70: 45, 72: 50, 75: 37, 85: 53, 86: 59, 91: 57,
    },
)  # fmt: skip

DRUM_MAPS = {drum_map.name: drum_map for drum_map in (GENERAL_MIDI, _ROLAND, _ADDICTIVE)}
_PAIR = re.compile(r"\s*(\d{1,3})\s*=\s*(\d{1,3})\s*", re.ASCII)


def parse_drum_map(text: str) -> DrumMap:
    """A map by name, or a list of General MIDI drums with the keys that play them: "36=35, 38=40"."""
    if (name := text.strip().lower()) in DRUM_MAPS:
        return DRUM_MAPS[name]
    pairs = [_PAIR.fullmatch(part) for part in text.split(",")]
    numbers = [(int(pair[1]), int(pair[2])) for pair in pairs if pair]
    if len(numbers) < len(pairs) or any(not 0 <= value <= 127 for pair in numbers for value in pair):
        hint = f'Name one of {", ".join(DRUM_MAPS)}, or write drums and keys as "36=35, 38=40".'
        raise ControlError(f'"{text}" is not a drum map', hint)
    keys = dict(numbers)
    return DrumMap("custom", keys, {key: drum for drum, key in keys.items()})


def to_general_midi(score: Score, drum_map: DrumMap) -> Score:
    """The score with the notes of its drum tracks on General MIDI's keys."""
    return score.with_tracks(_mapped(track, drum_map) for track in score.tracks)


def _mapped(track: Track, drum_map: DrumMap) -> Track:
    if not track.is_drum:
        return track
    return track.with_notes(note._replace(pitch=drum_map.drum(note.pitch)) for note in track.notes)


def from_general_midi(score: Score, drum_map: DrumMap, original: Score) -> Score:
    """The score with its drums on the map's keys. Notes that `original` has, seen through `to_general_midi`, get
    the keys they had there, since several keys may stand for one drum."""
    tracks = []
    for index, track in enumerate(score.tracks):
        if not track.is_drum:
            tracks.append(track)
            continue
        own: defaultdict[Note, list[int]] = defaultdict(list)
        if index < len(original.tracks):
            for note in original.tracks[index].notes:
                own[note._replace(pitch=drum_map.drum(note.pitch))].append(note.pitch)
        notes = []
        for note in track.notes:
            keys = own[note]
            notes.append(note._replace(pitch=keys.pop(0) if keys else drum_map.key(note.pitch)))
        tracks.append(track.with_notes(notes))
    return replace(score, tracks=tuple(tracks))
