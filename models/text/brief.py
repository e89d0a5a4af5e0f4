"""A Brief: everything a sketch is to be, as a musician would write it down; and the Facts that words gave.

Facts hold what was said and nothing else. A Brief is complete: what was not said comes from the style. It goes
to JSON and back, so that it can be read, edited and handed in again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from models.errors import UserError
from models.instruments import parse_instrument
from models.text.genres import styles
from models.text.lexicon import DYNAMICS
from models.theory import parse_key

MOST_BARS = 256
MOST_TRACKS = 16
SLOWEST, FASTEST = 20, 320


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the form. density, register and dynamics: steps up or down from the whole piece's. chords: its own,
    where it has any."""

    name: str
    bars: int = 0  # 0: an equal share
    density: int = 0
    register: int = 0
    dynamics: int = 0
    chords: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the words say outright; None or empty where they say nothing.

    joining: whether the instrument joins the style's own. without: those taken out. tonic: pitch class without a
    mode; mode: a mode without a tonic. tempo_range: what a word such as "slow" allows. registers: (instrument,
    step) of "low strings". colours: words that fit no table, for the sentence encoder. remarks: contradictions, as
    sentences.
    """

    tempo: float | None = None
    tempo_range: tuple[int, int] | None = None
    meter: tuple[int, int] | None = None
    key: str | None = None
    tonic: int | None = None
    mode: str | None = None
    bars: int | None = None
    seconds: float | None = None
    instruments: tuple[str, ...] = ()
    joining: bool = False
    without: tuple[str, ...] = ()
    tracks: int | None = None
    chords: str | None = None
    genres: tuple[str, ...] = ()
    not_genres: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    textures: tuple[str, ...] = ()
    drums: str | None = None
    swing: bool | None = None
    density: int | None = None
    register: int | None = None
    registers: tuple[tuple[str, int], ...] = ()
    dynamics: str | None = None
    sections: tuple[Section, ...] = ()
    loop: bool = False
    colours: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


Ranked = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Brief:
    """The plan of a sketch.

    tempo: quarter notes a minute. chords: bars of symbols ("Dm7 | G7") or numerals of the key ("ii7 | V7").
    density and register: -2 to 2. genres, moods, textures: (name, how near the words come), best first.
    loop: whether the last bar leads back to the first, in place of an ending.
    said: names of the fields that the words fixed. remarks: what the words left unclear, as sentences.
    """

    text: str = ""
    genre: str = "pop"
    tempo: float = 110.0
    meter: tuple[int, int] = (4, 4)
    key: str = "C major"
    bars: int = 8
    instruments: tuple[str, ...] = ("Acoustic Grand Piano",)
    chords: str = "I | V | vi | IV"
    drums: str | None = None
    bass: str = "free"
    swing: bool = False
    density: int = 0
    register: int = 0
    registers: tuple[tuple[str, int], ...] = ()
    dynamics: str = "mf"
    sections: tuple[Section, ...] = ()
    loop: bool = False
    genres: Ranked = ()
    moods: Ranked = ()
    textures: Ranked = ()
    said: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    def lines(self) -> list[str]:
        """The brief as it is echoed: one line a field, with where it comes from."""
        shown = {
            "style": f"{self.genre}{_others(self.genres)}",
            "tempo": f"{self.tempo:.4g} bpm",
            "meter": "{}/{}".format(*self.meter),
            "key": self.key,
            "length": f"{self.bars} bar{'' if self.bars == 1 else 's'}{', a loop' if self.loop else ''}",
            "tracks": ", ".join(self.instruments),
            "chords": self.chords,
            "drums": f"{self.drums or 'none'}, {'swung' if self.swing else 'straight'}",
            "notes": _levels(self),
            "form": ", ".join(f"{s.name} ({s.bars}{': ' if s.chords else ''}{s.chords})" for s in self.sections),
            "mood": ", ".join(name for name, _ in self.moods),
            "texture": ", ".join(name for name, _ in self.textures),
        }
        origin = {"style": ("genre",), "tempo": ("tempo",), "meter": ("meter",), "key": ("key",),
                  "length": ("bars", "loop"), "tracks": ("instruments",), "chords": ("chords",),
                  "drums": ("drums", "swing"), "form": ("sections",),
                  "notes": ("density", "register", "dynamics")}  # fmt: skip
        result = []
        for name, text in shown.items():
            if text:
                mark = "*" if any(part in self.said for part in origin.get(name, ())) else " "
                result.append(f"{mark} {name:8}{text}")
        return result


def _others(ranked: Ranked) -> str:
    return f" (then {', '.join(name for name, _ in ranked[1:3])})" if len(ranked) > 1 else ""


def _levels(brief: Brief) -> str:
    density = ("very sparse", "sparse", "medium density", "dense", "very dense")[brief.density + 2]
    register = ("very low", "low", "middle register", "high", "very high")[brief.register + 2]
    return f"{density}, {register}, {brief.dynamics}"


# --- From JSON ----------------------------------------------------------------------------------------

_HINT = "Start from the brief that `descant sketch --json` prints, and change its values."


def brief_from_json(text: str) -> Brief:
    """The brief of an edited file. UserError that names the field where a value makes no sense.

    Every field may be left out. What stands in the file counts as said.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"The brief is not JSON: {error}", _HINT) from error
    if isinstance(data, dict) and isinstance(data.get("brief"), dict):
        data = data["brief"]  # the whole answer of --json serves as well
    if not isinstance(data, dict):
        raise UserError("The brief is not a JSON object", _HINT)
    known = {entry.name for entry in fields(Brief)}
    if unknown := sorted(data.keys() - known):
        raise UserError(f'A brief has no field "{unknown[0]}"', f"The fields are {', '.join(sorted(known))}.")
    said = tuple(sorted(data.keys() - {"text", "genres", "moods", "textures", "said", "remarks"}))
    return replace(Brief(**{name: _READERS[name](data[name]) for name in data}), said=said, remarks=())


def _wrong(name: str, value: object, hint: str) -> UserError:
    return UserError(f'The brief\'s {name} cannot be "{value}"', hint)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong("text", value, "Write words between quotes.")
    return value


def _choice(name: str, options: Mapping[str, Any]) -> Any:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in options:
            raise _wrong(name, value, f"It is one of: {', '.join(options)}.")
        return value

    return read


def _number(name: str, least: float, most: float) -> Any:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise _wrong(name, value, f"Write a number from {least:g} to {most:g}.")
        return value

    return read


def _whole(name: str, least: int, most: int) -> Any:
    number = _number(name, least, most)

    def read(value: object) -> int:
        if number(value) != int(value):  # type: ignore[call-overload]
            raise _wrong(name, value, "Write a whole number.")
        return int(value)  # type: ignore[call-overload]

    return read


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(name, value, "Write a list in square brackets.")
    return value


def check_meter(numerator: int, denominator: int) -> tuple[int, int]:
    """The meter itself; UserError where a bar is longer than two whole notes or its beat is no note value."""
    if denominator not in (1, 2, 4, 8, 16, 32) or not 1 <= numerator <= 2 * denominator:
        raise UserError(
            f"{numerator}/{denominator} is not a meter Descant writes",
            "The lower number is 2, 4, 8 or 16, and a bar lasts at most two whole notes, such as 4/4 or 15/8.",
        )
    return numerator, denominator


def _meter(value: object) -> tuple[int, int]:
    pair = _list("meter", value)
    whole = _whole("meter", 1, 64)
    if len(pair) != 2:
        raise _wrong("meter", value, "Write [3, 4] for three quarters.")
    return check_meter(whole(pair[0]), whole(pair[1]))


def _instruments(value: object) -> tuple[str, ...]:
    names = _list("instruments", value)
    if not 1 <= len(names) <= MOST_TRACKS:
        raise _wrong("instruments", value, f"Name 1 to {MOST_TRACKS}.")
    return tuple(parse_instrument(_text(name)).name for name in names)


def _key(value: object) -> str:
    return parse_key(_text(value)).name


def _chords(value: object) -> str:
    from models.text.chords import read_chords  # it needs this module's limits

    text = _text(value)
    read_chords(text, parse_key("C major"))
    return text


def _sections(value: object) -> tuple[Section, ...]:
    level = _whole("sections", -4, 4)
    result = []
    for entry in _list("sections", value):
        if not isinstance(entry, dict) or entry.keys() - {item.name for item in fields(Section)}:
            raise _wrong("sections", entry, "A section has name, bars, density, register, dynamics and chords.")
        steps = {name: level(entry.get(name, 0)) for name in ("density", "register", "dynamics")}
        bars = _whole("sections", 0, MOST_BARS)(entry.get("bars", 0))
        chords = _chords(entry["chords"]) if entry.get("chords") else ""
        result.append(Section(_text(entry.get("name", "")), bars, **steps, chords=chords))
    return tuple(result)


def _ranked(value: object) -> Ranked:
    rows = _list("ranking", value)
    share = _number("ranking", -1, 1)
    if any(not isinstance(row, list) or len(row) != 2 for row in rows):
        raise _wrong("ranking", value, 'Write pairs such as ["jazz", 0.5].')
    return tuple((_text(name), float(share(score))) for name, score in rows)


def _registers(value: object) -> tuple[tuple[str, int], ...]:
    rows = _list("registers", value)
    if any(not isinstance(row, list) or len(row) != 2 for row in rows):
        raise _wrong("registers", value, 'Write pairs such as ["Cello", -1].')
    return tuple((parse_instrument(_text(name)).name, _whole("registers", -2, 2)(step)) for name, step in rows)


def _flag(name: str) -> Any:
    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise _wrong(name, value, "Write true or false.")
        return value

    return read


def _strings(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list("said", value))


def _drums(value: object) -> str | None:
    return None if value is None else str(_choice("drums", styles().drums)(value))


def _genre(value: object) -> str:
    return str(_choice("genre", styles().genres)(value))


def _bass(value: object) -> str:
    return str(_choice("bass", {"free": "", **styles().bass})(value))


_READERS: dict[str, Any] = {
    "text": _text, "genre": _genre, "tempo": _number("tempo", SLOWEST, FASTEST), "meter": _meter, "key": _key,
    "bars": _whole("bars", 1, MOST_BARS), "instruments": _instruments, "chords": _chords, "drums": _drums,
    "bass": _bass, "swing": _flag("swing"), "loop": _flag("loop"), "density": _whole("density", -2, 2),
    "register": _whole("register", -2, 2), "registers": _registers, "dynamics": _choice("dynamics", DYNAMICS),
    "sections": _sections, "genres": _ranked, "moods": _ranked, "textures": _ranked, "said": _strings,
    "remarks": _strings,
}  # fmt: skip
