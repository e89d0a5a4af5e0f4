"""The grammar of chord symbols: text to root, intervals and bass.

Two spellings are read, and each part of a symbol may come from either.

Musicians': root, triad, number, changes, bass   "Dm7", "F#m7b5/A", "C6/9", "E7(#9,b13)", "A-7", "CΔ7", "Do"
Harte's: root ":" shorthand "(" degrees ")" "/" degree      "Eb:min7", "F:maj7/3", "A:sus4(b7)", "G:(1,5)"

Harte's syntax is that of Harte, Sandler, Abdallah and Gómez, "Symbolic representation of musical chords"
(ISMIR 2005), in which most annotated data sets are written.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"#": 1, "♯": 1, "x": 2, "b": -1, "♭": -1}
_LONGEST_SYMBOL = 40
_CHORD = re.compile(
    r"(?P<root>[A-G])(?P<accidentals>[#♯b♭]{0,2})(?P<colon>:?)(?P<suffix>.*?)"
    r"(?:/(?:(?P<bass>[A-G])(?P<bass_accidentals>[#♯b♭]{0,2})|(?P<degree>[#♯b♭]*\d{1,2})))?"
)
# The first part of a suffix decides the triad. "dim" must come before "m"-like names, "hdim" before it.
_TRIADS: tuple[tuple[str, str], ...] = (
    ("hdim", r"hdim|(?i:half-?dim)|ø|Ø"),
    ("dim", r"(?i:dim)|o|°|º"),
    ("aug", r"(?i:aug)|\+"),
    ("delta", r"Δ|△|\^"),
    ("maj", r"(?i:major|maj|ma(?!j|dd))|M"),
    ("min", r"(?i:minor|min|mi(?!n))|m|-|−"),
    ("dom", r"(?i:dom)(?=7|9|1)"),
)
_TRIAD = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _TRIADS))
_NUMBER = re.compile(r"6/9|69|13|11|9|7|6|5|4|2|1")
_CHANGE = re.compile(
    r"(?P<sus>(?i:sus)(?P<sus_degree>[24]?))"
    r"|(?P<alt>(?i:alt))"
    r"|/?(?P<major_seventh>(?:(?i:maj|ma)|[MΔ△^])7?)"
    r"|(?:(?i:no|omit)|\*)(?P<omit>[#♯b♭]?\d{1,2})"
    r"|(?i:add)?(?P<alter>[#♯b♭+−-])(?P<altered>5|9|11|13|[1-9])"
    r"|(?i:add)(?P<add>\d{1,2})"
    r"|(?P<sharp_fifth>\+)$"
)
_BRACKETS = re.compile(r"\(([^()]+)\)")
_DEGREES = (0, 2, 4, 5, 7, 9, 11)  # semitones of the degrees 1..7 of the major scale
_SIGNS = {"#": 1, "♯": 1, "+": 1, "b": -1, "♭": -1, "-": -1, "−": -1}


def pitch_class(letter: str, accidentals: str) -> int:
    return (LETTERS[letter.upper()] + sum(ACCIDENTALS[sign] for sign in accidentals)) % 12


def _degree_interval(text: str, harte: bool) -> int | None:
    """Semitones above the root of a scale degree such as "b7", "5" or "#11".

    A plain 7 is the major seventh in Harte's syntax, the minor seventh (as in C7) in a chord symbol.
    """
    number = text.lstrip("#♯b♭+−-")
    if not 1 <= int(number) <= 13:
        return None
    if text == "7" and not harte:
        return 10
    alteration = sum(_SIGNS[sign] for sign in text[: len(text) - len(number)])
    return (_DEGREES[(int(number) - 1) % 7] + alteration) % 12


def _leading_intervals(body: str, harte: bool) -> tuple[set[int], int] | None:
    """Intervals of the triad and number that open a suffix, and where the rest of it begins."""
    triad = _TRIAD.match(body)
    kind, position = (triad.lastgroup, triad.end()) if triad else ("", 0)
    match = _NUMBER.match(body, position)
    number, position = (match[0], match.end()) if match else ("", position)
    third = 3 if kind in ("min", "dim", "hdim") else 4
    fifth = 6 if kind in ("dim", "hdim") else 8 if kind == "aug" else 7
    intervals = {0, third, fifth}
    if number in ("1", "2", "4", "5"):
        if kind or (number == "1" and not harte):
            return None
        intervals = {0, 7} if number in ("1", "5") else {0, 2 if number == "2" else 5, 7}
    elif number.startswith("6"):
        intervals.add(9)
    elif number or kind in ("hdim", "delta"):
        intervals.add(9 if kind == "dim" else 11 if kind in ("maj", "delta") else 10)
    return intervals, position


def _apply_change(intervals: set[int], change: re.Match[str], harte: bool) -> bool:
    """Apply one alteration, addition or omission in place; False when it names no scale degree."""
    if change["sus"]:
        intervals -= {3, 4}
        intervals.add(2 if change["sus_degree"] == "2" else 5)
    elif change["alt"]:
        intervals -= {7}
        intervals |= {4, 10, 6, 8}
    elif change["major_seventh"]:
        intervals -= {10}
        intervals.add(11)
    elif change["sharp_fifth"]:
        intervals -= {7}
        intervals.add(8)
    else:
        degree = change["omit"] or change["add"] or change["alter"] + change["altered"]
        interval = _degree_interval(degree, harte)
        if interval is None:
            return False
        if change["altered"] == "5":
            intervals -= {7}
        if change["omit"]:
            intervals.discard(interval)
        else:
            intervals.add(interval)
    return True


def _apply_changes(intervals: set[int], text: str, harte: bool) -> bool:
    position = 0
    while position < len(text):
        change = _CHANGE.match(text, position)
        if change is None or not _apply_change(intervals, change, harte):
            return False
        position = change.end()
    return True


def _suffix_intervals(suffix: str, harte: bool) -> set[int] | None:
    """Intervals above the root that a suffix such as "m7b5" or "min7(*5,9)" spells, or None."""
    changes = [part for bracket in _BRACKETS.findall(suffix) for part in bracket.split(",")]
    body = _BRACKETS.sub("", suffix)
    if harte and not body:
        intervals = {0}  # "G:(1,5)" lists all there is
    else:
        leading = _leading_intervals(body, harte)
        if leading is None:
            return None
        intervals, position = leading
        changes.insert(0, body[position:])
    for change in changes:
        spelled = f"add{change}" if change.isdecimal() else change
        if not _apply_changes(intervals, spelled, harte):
            return None
    return intervals


class SpelledChord(NamedTuple):
    """What a symbol spells: `root` and `bass` as pitch classes, `intervals` in semitones above the root."""

    root: int
    intervals: frozenset[int]
    bass: int


def read_chord_symbol(text: str) -> SpelledChord | None:
    """Read a whole text as one chord; None when any part of it does not belong to a chord symbol."""
    text = re.sub(r"\s*([(),])\s*", r"\1", text)
    match = _CHORD.fullmatch(text) if len(text) <= _LONGEST_SYMBOL else None
    if match is None or (match["colon"] and not match["suffix"]):
        return None
    suffix, degree, harte = match["suffix"], match["degree"], bool(match["colon"])
    if not harte and degree in ("9", "11", "13"):
        suffix, degree = f"{suffix}add{degree}", None  # C6/9 is one chord, not C6 over its ninth
    intervals = _suffix_intervals(suffix, harte)
    if intervals is None:
        return None
    root = bass = pitch_class(match["root"], match["accidentals"])
    if match["bass"]:
        bass = pitch_class(match["bass"], match["bass_accidentals"])
    elif degree is not None:
        interval = _degree_interval(degree, harte=True)
        if interval is None:
            return None
        bass = (root + interval) % 12
    return SpelledChord(root, frozenset(intervals), bass)
