"""Chord progressions as words spell them: symbols ("Dm7 | G7") or numerals of a key ("ii7 | V7")."""

from __future__ import annotations

import re

from models.errors import ControlError
from models.theory import MODES, Chord, Key, Progression, parse_progression, try_chord

_NUMERAL = re.compile(
    r"(?P<sign>[b#♭♯]?)(?P<numeral>VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)"
    r"(?P<suffix>°7|°|o7|ø7|ø|\+|(?:maj7|maj9|M7|Δ7?|m7b5|7sus4|sus4|sus2|add9|6|7|9|11|13|5)?)"
)
_DEGREES = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
_IN_MINOR = {"III": 3, "VI": 8, "VII": 10}  # of the natural minor scale, where no sign stands before them
_SUFFIXES = {"°": "dim", "°7": "dim7", "o7": "dim7", "ø": "m7b5", "ø7": "m7b5", "+": "aug"}
NUMERAL_WORD = re.compile(rf"{_NUMERAL.pattern}$")


def is_minor(key: Key) -> bool:
    """Whether the third above the tonic is minor."""
    steps = MODES[key.mode].intervals
    return 3 in steps and 4 not in steps


def is_numeral(word: str) -> bool:
    return _NUMERAL.fullmatch(word) is not None


def numeral_chord(word: str, key: Key) -> Chord:
    """The chord that a numeral stands for: "ii7" of C major is Dm7. ControlError when it is no numeral.

    In minor keys III, VI and VII without a sign are those of the natural scale, and a flat before them is idle.
    """
    match = _NUMERAL.fullmatch(word)
    if match is None:
        raise ControlError(f'"{word}" is not a chord of a key', "Write numerals such as I, ii7, V7, bVII or iiø7.")
    numeral, sign = match["numeral"].upper(), match["sign"]
    degree = _DEGREES[numeral]
    if is_minor(key) and numeral in _IN_MINOR and sign in ("", "b", "♭"):
        dorian = numeral == "VI" and key.mode in ("dorian", "melodic minor") and not sign
        degree = _DEGREES[numeral] if dorian else _IN_MINOR[numeral]
    elif sign:
        degree += 1 if sign in "#♯" else -1
    suffix = match["suffix"]
    small = match["numeral"].islower()
    quality = _SUFFIXES.get(suffix, f"m({suffix})" if small and suffix in ("maj7", "M7") else suffix)
    if small and suffix not in _SUFFIXES and not quality.startswith("m") and not suffix.startswith(("sus", "7sus")):
        quality = f"m{quality}"
    reading = try_chord(f"C{quality}")
    if reading is None or reading.chord is None:
        raise ControlError(f'"{word}" is not a chord of a key', "Write numerals such as I, ii7, V7, bVII or iiø7.")
    root = (key.tonic + degree) % 12
    return Chord(root, reading.chord.quality, root)


def read_chords(text: str, key: Key) -> Progression:
    """Bars of chords from symbols or numerals, bars divided by "|"."""
    words = re.findall(r"[^\s|]+", text)
    if words and all(is_numeral(word) or word in ("/", "%") for word in words) and any(map(is_numeral, words)):
        bars: Progression = []
        for bar in text.strip().strip("|").split("|"):
            chords = [numeral_chord(word, key) for word in bar.split() if word not in ("/", "%")]
            bars.append(list(chords) if chords else list(bars[-1]) if bars else [])
        return [bar for bar in bars if bar]
    return parse_progression(text)
