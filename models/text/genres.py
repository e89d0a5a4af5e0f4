"""What a style usually is: the data file genres.toml, checked as it is read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from models.instruments import DRUMS_NAME, PROGRAM_NAMES
from models.text.lexicon import DYNAMICS
from models.theory import MODES

# The kit's pieces by General MIDI key.
KIT = {
    "kick": 36, "snare": 38, "rim": 37, "clap": 39, "hat": 42, "pedal": 44, "open": 46, "ride": 51, "crash": 49,
    "tambourine": 54, "cowbell": 56, "floor": 43, "low_tom": 45, "tom": 47, "high_tom": 50, "bongo": 60,
    "conga": 63, "low_conga": 64, "maracas": 70, "shaker": 82, "claves": 75, "guiro": 73,
}  # fmt: skip
STROKES = {"X": 108, "x": 84, "o": 52}
CELL = 6  # grid ticks of one character of a pattern: a sixteenth
FREE_BASS = "free"  # what the network writes, held to the roots of the chords


@dataclass(frozen=True, slots=True)
class Genre:
    """One style; genres.toml says what each field is. major, minor: its progressions in keys of either kind."""

    name: str
    like: str
    tempo: tuple[int, int]
    meters: tuple[str, ...]
    instruments: tuple[str, ...]
    bass: str
    mode: str
    major: tuple[str, ...]
    minor: tuple[str, ...]
    also: tuple[str, ...] = ()
    home: tuple[str, ...] = ()
    drums: str | None = None
    swing: bool = False
    density: int = 0
    lead: int = 0
    register: int = 0
    dynamics: str = "mf"


@dataclass(frozen=True, slots=True)
class Colour:
    """A mood or a texture. also: names of a texture. tempo: where in the range of a style, -1 to 1. mode: that
    of its key, where none is named. polyphony: notes at once, for textures; 0 leaves it open."""

    name: str
    like: str
    also: tuple[str, ...] = ()
    mode: str | None = None
    tempo: float = 0.0
    density: int = 0
    register: int = 0
    dynamics: int = 0
    polyphony: int = 0


@dataclass(frozen=True)
class Styles:
    """All of genres.toml. drums: feel -> kit piece -> pattern. bass: name -> pattern."""

    genres: dict[str, Genre]
    moods: dict[str, Colour]
    textures: dict[str, Colour]
    drums: dict[str, dict[str, str]]
    bass: dict[str, str]


@lru_cache(maxsize=1)
def styles() -> Styles:
    """The file's content. ValueError, with the entry's name, for what it may not say."""
    data = tomllib.loads(resources.files("models.text").joinpath("genres.toml").read_text(encoding="utf-8"))
    return read_styles(data)


def read_styles(data: dict[str, Any]) -> Styles:
    for name, lines in data["drums"].items():
        if unknown := lines.keys() - KIT.keys():
            raise ValueError(f"drums {name}: no kit has {', '.join(sorted(unknown))}")
        if len({len(line) for line in lines.values() if line}) > 2:
            raise ValueError(f"drums {name}: the lines are of different lengths")
    genres = {}
    for name, entry in data["genre"].items():
        lists = {key: tuple(entry[key]) for key in ("tempo", "meters", "instruments", "major", "minor")}
        lists |= {key: tuple(entry.get(key, ())) for key in ("also", "home")}
        genre = Genre(**(entry | lists | {"name": name}))
        unknown = {*genre.instruments, *genre.home} - {*PROGRAM_NAMES, DRUMS_NAME}
        right = genre.drums is None or genre.drums in data["drums"]
        right = right and (genre.bass == FREE_BASS or genre.bass in data["bass"])
        if unknown or not right or genre.mode not in MODES or genre.dynamics not in DYNAMICS:
            raise ValueError(f"genre {name}: {unknown or 'an instrument, pattern, mode or dynamic nobody knows'}")
        genres[name] = genre
    moods, textures = (
        {
            name: Colour(**(entry | {"name": name, "also": tuple(entry.get("also", ()))}))
            for name, entry in data[kind].items()
        }
        for kind in ("mood", "texture")
    )
    return Styles(genres, moods, textures, data["drums"], data["bass"])
