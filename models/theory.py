"""Names and numbers of music: pitches, chords, chord tracks, keys and scales.

Pitch classes run 0..11 from C. Middle C is C4, MIDI pitch 60. Everything a musician types goes through
a `parse_` function here and either becomes a value or a ControlError with a hint.

A chord is reduced to the nearest entry of QUALITIES: "E7#9" is read as E7 and "Dm9/C" as Dm7/C. The
order of QUALITIES is part of the trained models' vocabulary, so entries are only ever added at its end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from models.chord_symbols import ACCIDENTALS, LETTERS, pitch_class, read_chord_symbol
from models.errors import ControlError
from models.score import KeySignature, Marker, Score

MAJOR_ROOTS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MINOR_ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
SHARP_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

# --- Pitches ------------------------------------------------------------------------------------------

_PITCH = re.compile(r"([A-Ga-g])([#♯xb♭]*)(-?\d{1,2})|(\d{1,3})")
_RANGE = re.compile(rf"\s*({_PITCH.pattern})\s*(?:-|–|—|\.\.|:|to)\s*({_PITCH.pattern})\s*")


def parse_pitch(text: str) -> int:
    """The MIDI pitch 0..127 of "C3" (48), "F#4", "Bb-1" or a plain number. Middle C is C4 = 60."""
    match = _PITCH.fullmatch(text.strip())
    if match is None:
        raise ControlError(f'"{text}" is not a pitch', "Write a note and its octave: C4 (middle C), F#3.")
    letter, accidentals, octave, number = match.groups()
    if number is not None:
        pitch = int(number)
    else:
        alteration = sum(ACCIDENTALS[sign] for sign in accidentals)
        pitch = 12 * (int(octave) + 1) + LETTERS[letter.upper()] + alteration
    if not 0 <= pitch <= 127:
        raise ControlError(f'"{text}" lies outside the MIDI range', "Pitches go from C-1 to G9.")
    return pitch


def pitch_name(pitch: int) -> str:
    """The name of a MIDI pitch, with sharps as most piano rolls show it: 60 is "C4", 61 "C#4"."""
    return f"{SHARP_NAMES[pitch % 12]}{pitch // 12 - 1}"


def parse_pitch_range(text: str) -> tuple[int, int]:
    """The lowest and the highest pitch of "C3-C5", both included."""
    match = _RANGE.fullmatch(text)
    if match is None:
        hint = "Write the lowest and the highest note: C3-C5 (C4 is middle C)."
        raise ControlError(f'"{text}" is not a range of pitches', hint)
    low, high = parse_pitch(match[1]), parse_pitch(match[6])
    if low > high:
        hint = f"Did you mean {pitch_name(high)}-{pitch_name(low)}?"
        raise ControlError(f'The range "{text}" ends below its start', hint)
    return low, high


# --- Chords -------------------------------------------------------------------------------------------


class ChordType(NamedTuple):
    name: str
    suffix: str  # as it is written after the root of a chord symbol
    intervals: tuple[int, ...]  # semitones above the root


CHORD_TYPES = (
    ChordType("maj", "", (0, 4, 7)),
    ChordType("min", "m", (0, 3, 7)),
    ChordType("7", "7", (0, 4, 7, 10)),
    ChordType("maj7", "maj7", (0, 4, 7, 11)),
    ChordType("min7", "m7", (0, 3, 7, 10)),
    ChordType("dim", "dim", (0, 3, 6)),
    ChordType("dim7", "dim7", (0, 3, 6, 9)),
    ChordType("hdim7", "m7b5", (0, 3, 6, 10)),
    ChordType("aug", "aug", (0, 4, 8)),
    ChordType("sus4", "sus4", (0, 5, 7)),
    ChordType("sus2", "sus2", (0, 2, 7)),
    ChordType("maj6", "6", (0, 4, 7, 9)),
    ChordType("min6", "m6", (0, 3, 7, 9)),
    ChordType("minmaj7", "m(maj7)", (0, 3, 7, 11)),
    ChordType("5", "5", (0, 7)),
    ChordType("7sus4", "7sus4", (0, 5, 7, 10)),
)
QUALITIES = tuple(chord_type.name for chord_type in CHORD_TYPES)
_BY_QUALITY = {chord_type.name: chord_type for chord_type in CHORD_TYPES}


class Chord(NamedTuple):
    """A chord: `root` and `bass` as pitch classes 0..11, `quality` as a name of QUALITIES."""

    root: int
    quality: str
    bass: int

    @property
    def pitch_classes(self) -> frozenset[int]:
        """What the chord sounds, its bass included even where that is no chord tone (C/D holds D)."""
        intervals = _BY_QUALITY[self.quality].intervals
        return frozenset((self.root + interval) % 12 for interval in intervals) | {self.bass}

    @property
    def symbol(self) -> str:
        """The chord symbol, such as "Bbmaj7/D"; it parses back to this chord."""
        return self._spelled(_BY_QUALITY[self.quality].suffix)

    @property
    def harte(self) -> str:
        """The chord in Harte's syntax, which nothing but a chord looks like: "C:maj", "Bb:maj7/D"."""
        return self._spelled(f":{self.quality}")

    def _spelled(self, suffix: str) -> str:
        minor = 3 in _BY_QUALITY[self.quality].intervals
        root = (MINOR_ROOTS if minor else MAJOR_ROOTS)[self.root]
        slash = "" if self.bass == self.root else f"/{_bass_name(root, (self.bass - self.root) % 12)}"
        return f"{root}{suffix}{slash}"

    def transposed(self, semitones: int) -> Chord:
        return Chord((self.root + semitones) % 12, self.quality, (self.bass + semitones) % 12)


def _bass_name(root: str, interval: int) -> str:
    """The bass spelled from its degree: C# under A, Bb under C. Spellings such as E# are avoided."""
    steps = (0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6)[interval]
    letters = "CDEFGAB"
    letter = letters[(letters.index(root[0]) + steps) % 7]
    bass = (pitch_class(root[0], root[1:]) + interval) % 12
    names = (name for name in (letter, f"{letter}#", f"{letter}b") if name not in ("E#", "B#", "Fb", "Cb"))
    return next((name for name in names if pitch_class(name[0], name[1:]) == bass), MAJOR_ROOTS[bass])


class ChordReading(NamedTuple):
    """A text that reads as a chord (None: "no chord"). `certain` is false where it might be something
    else just as well: the rehearsal letter A, the section name B2, the word "Go"."""

    chord: Chord | None
    certain: bool


NO_CHORD_SYMBOL = "N.C."
_NO_CHORD = re.compile(r"n\.?c\.?|no ?chord|N|X", re.IGNORECASE)
_UNCERTAIN = re.compile(r"[A-G](?:[2-6]|o)?|n|x", re.IGNORECASE)
_THIRDS = (4, 3, 5, 2)  # what stands for the third, in the order in which it is believed


def _nearest_quality(intervals: frozenset[int]) -> str:
    """The quality that agrees best on the third, then on the seventh (or sixth), then on the fifth."""
    return max(CHORD_TYPES, key=lambda kind: _agreement(intervals, frozenset(kind.intervals))).name


def _agreement(wanted: frozenset[int], offered: frozenset[int]) -> tuple[bool, int, int]:
    def third(tones: frozenset[int]) -> int | None:
        return next((tone for tone in _THIRDS if tone in tones), None)

    def seventh(tones: frozenset[int]) -> int | None:
        return next((tone for tone in (10, 11, 9) if tone in tones), None)

    def fifth(tones: frozenset[int]) -> int:
        return next((tone for tone in (7, 6, 8) if tone in tones), 7)

    def match(left: int | None, right: int | None) -> int:
        return 2 if left == right else 1 if right is None else 0  # saying less is better than saying wrong

    return (
        third(wanted) == third(offered),
        match(seventh(wanted), seventh(offered)),
        match(fifth(wanted), fifth(offered)),
    )


@lru_cache(maxsize=4096)  # the chord track of a song says the same few chords over and over
def try_chord(text: str) -> ChordReading | None:
    """Read a whole text as a chord, in musicians' or in Harte's syntax; None when it is not one.

    Musicians': "Dm7", "Bbmaj7/D", "F#m7b5", "Cø", "C6/9", "A-7", "CΔ7", "Do". Harte (Harte, Sandler,
    Abdallah and Gómez, ISMIR 2005): "Eb:min", "F:maj7/3", "G:(1,5)", "N".
    """
    text = text.strip()
    certain = _UNCERTAIN.fullmatch(text) is None
    if _NO_CHORD.fullmatch(text):
        return ChordReading(None, certain)
    spelled = read_chord_symbol(text)
    if spelled is None:
        return None
    return ChordReading(Chord(spelled.root, _nearest_quality(spelled.intervals), spelled.bass), certain)


def parse_chord(text: str) -> Chord | None:
    """The chord a musician typed, None for "N.C."; ControlError when it is not a chord."""
    reading = try_chord(text)
    if reading is None:
        raise ControlError(f'"{text}" is not a chord', _chord_hint(text.strip()))
    return reading.chord


def _chord_hint(text: str) -> str:
    if text[:1] in tuple("abcdefg") and try_chord(text[0].upper() + text[1:]):
        return f"Roots are capital letters: {text[0].upper() + text[1:]}."
    if text[:1] in ("H", "h") and try_chord("B" + text[1:]):
        return f"The note below C is called B here: B{text[1:]}."
    return "Write chords such as Dm, G7, Bbmaj7, F#m7b5, Asus4 or C/E, and N.C. for no chord."


def chord_symbol(chord: Chord | None) -> str:
    """The symbol of a chord, "N.C." for None."""
    return NO_CHORD_SYMBOL if chord is None else chord.symbol


# --- Progressions and chord tracks --------------------------------------------------------------------

Progression = list[list[Chord | None]]
_BAR_LINE = re.compile(r"(\|\|?)")
_BAR_LINE_FRAME = re.compile(r"\s*\|{0,2}(.*?)\|{0,2}\s*")


def parse_progression(text: str) -> Progression:
    """Bars of chords from "Dm | Gm A7 | Dm".

    "|" or a line break separates bars ("||" counts as one); the chords of a bar share it equally; "/"
    inside a bar repeats the chord before it; "%" or an empty bar repeats the bar before it.
    """
    bars: Progression = []
    line_start = 0
    for line in text.splitlines(keepends=True):
        body = _BAR_LINE_FRAME.fullmatch(line)
        position = line_start + body.start(1) if body else 0
        for index, piece in enumerate(_BAR_LINE.split(body[1]) if body and body[1].strip() else ()):
            if index % 2 == 0:
                bars.append(_parse_bar(piece, position, bars))
            position += len(piece)
        line_start += len(line)
    if not bars:
        raise ControlError("The chord progression is empty", 'Write bars such as "Dm | Gm A7 | Dm".')
    return bars


def _parse_bar(text: str, start: int, before: Progression) -> list[Chord | None]:
    number = len(before) + 1
    if text.strip() in ("", "%"):
        if not before:
            raise ControlError(
                f"Bar {number} has no bar before it to repeat", "Begin the progression with a chord."
            )
        return list(before[-1])
    chords: list[Chord | None] = []
    for word in re.finditer(r"\S+", text):
        if word[0] == "/" and chords:
            chords.append(chords[-1])
            continue
        reading = try_chord(word[0])
        if reading is None:
            where = f"bar {number}, character {start + word.start() + 1}"
            hint = f"{_chord_hint(word[0])} Put | between bars and spaces between the chords of a bar."
            raise ControlError(f'"{word[0]}" ({where}) is not a chord', hint)
        chords.append(reading.chord)
    return chords


class ChordChange(NamedTuple):
    """From `tick` on the harmony is `chord` (None: no chord)."""

    tick: int
    chord: Chord | None


def place_progression(
    score: Score, progression: Sequence[Sequence[Chord | None]], first_bar: int, bar_count: int
) -> tuple[ChordChange, ...]:
    """Lay a progression over `bar_count` bars of the score's grid, starting over when it is too short."""
    changes = []
    for offset in range(bar_count):
        bar, chords = score.bar(first_bar + offset), progression[offset % len(progression)]
        for index, chord in enumerate(chords):
            if index == 0 or chord != chords[index - 1]:
                changes.append(ChordChange(bar.start + index * bar.length // len(chords), chord))
    return tuple(changes)


def chord_track(score: Score) -> tuple[ChordChange, ...]:
    """The chord changes that the score's markers spell, by tick; the last of several at one tick counts.

    A bare letter ("A", also "B2", "N") may as well be a rehearsal mark. It counts as a chord when some
    other marker is certainly one ("Am", "A:maj"), or when four markers or more all read as chords and
    the letters do not simply appear in the order A, B, C of sections.
    """
    changes = {marker.tick: chord for marker, chord in _chord_markers(score.markers)}
    return tuple(ChordChange(tick, changes[tick]) for tick in sorted(changes))


def _chord_markers(markers: Sequence[Marker]) -> list[tuple[Marker, Chord | None]]:
    readings = [(marker, try_chord(marker.text)) for marker in markers]
    found = [(marker, reading) for marker, reading in readings if reading is not None]
    bare = [reading.chord for _, reading in found if not reading.certain]
    all_count = any(reading.certain and reading.chord for _, reading in found) or (
        len(found) == len(markers) >= 4 and not _in_section_order(bare)
    )
    return [(marker, reading.chord) for marker, reading in found if all_count or reading.certain]


def _in_section_order(chords: Iterable[Chord | None]) -> bool:
    """Whether roots appear for the first time in the order A, B, C, ... as the names of sections do."""
    firsts = list(dict.fromkeys(chord.root for chord in chords if chord))
    return firsts == [LETTERS[letter] for letter in "ABCDEFG"][: len(firsts)]


def with_chord_track(score: Score, changes: Iterable[ChordChange]) -> Score:
    """The score with its chord markers replaced by `changes`; other markers stay.

    `chord_track` of the result gives `changes` back. To make that hold, a bare letter that stays is
    renamed "section:A", and a track of bare letters alone is written "A:maj".
    """
    written = {change.tick: change.chord for change in changes}
    old = {marker for marker, _ in _chord_markers(score.markers)}
    kept = []
    for marker in score.markers:
        if marker in old:
            continue
        bare = written and try_chord(marker.text) is not None
        kept.append(marker._replace(text=f"section:{marker.text}") if bare else marker)
    symbols = {tick: chord_symbol(chord) for tick, chord in written.items()}
    if all(chord is None or _UNCERTAIN.fullmatch(chord.symbol) for chord in written.values()):
        symbols = {tick: chord.harte if chord else NO_CHORD_SYMBOL for tick, chord in written.items()}
    markers = kept + [Marker(tick, text) for tick, text in symbols.items()]
    return replace(score, markers=tuple(sorted(markers, key=lambda marker: marker.tick)))


# --- Keys and scales ----------------------------------------------------------------------------------


class Mode(NamedTuple):
    intervals: tuple[int, ...]  # semitones above the tonic
    parent: int = 0  # semitones from the tonic up to the tonic of the major key with the same signature


MODES = {
    "major": Mode((0, 2, 4, 5, 7, 9, 11)),
    # The scale lock's minor: the natural scale and the raised seventh that its dominant needs.
    "minor": Mode((0, 2, 3, 5, 7, 8, 10, 11), 3),
    "dorian": Mode((0, 2, 3, 5, 7, 9, 10), 10),
    "phrygian": Mode((0, 1, 3, 5, 7, 8, 10), 8),
    "lydian": Mode((0, 2, 4, 6, 7, 9, 11), 7),
    "mixolydian": Mode((0, 2, 4, 5, 7, 9, 10), 5),
    "aeolian": Mode((0, 2, 3, 5, 7, 8, 10), 3),
    "locrian": Mode((0, 1, 3, 5, 6, 8, 10), 1),
    "harmonic minor": Mode((0, 2, 3, 5, 7, 8, 11), 3),
    "melodic minor": Mode((0, 2, 3, 5, 7, 9, 11), 3),
    "phrygian dominant": Mode((0, 1, 4, 5, 7, 8, 10), 8),
    "lydian dominant": Mode((0, 2, 4, 6, 7, 9, 10), 5),
    "altered": Mode((0, 1, 3, 4, 6, 8, 10), 1),
    "major pentatonic": Mode((0, 2, 4, 7, 9)),
    "minor pentatonic": Mode((0, 3, 5, 7, 10), 3),
    "blues": Mode((0, 3, 5, 6, 7, 10), 3),
    "major blues": Mode((0, 2, 3, 4, 7, 9)),
    "whole tone": Mode((0, 2, 4, 6, 8, 10)),
    "chromatic": Mode(tuple(range(12))),
}
_MODE_WORDS = {
    "M": "major",
    "maj": "major",
    "dur": "major",
    "m": "minor",
    "-": "minor",
    "min": "minor",
    "moll": "minor",
    "penta": "pentatonic",
    "scale": "",
}
_MODE_ALIASES = {
    "": "major",
    "ionian": "major",
    "natural minor": "aeolian",
    "minor natural": "aeolian",
    "minor harmonic": "harmonic minor",
    "minor melodic": "melodic minor",
    "pentatonic": "major pentatonic",
    "pentatonic major": "major pentatonic",
    "pentatonic minor": "minor pentatonic",
    "minor blues": "blues",
    "wholetone": "whole tone",
}
_KEY = re.compile(
    r"(?P<letter>[A-Ha-h])(?:(?P<sign>[#♯b♭])|[ -]?(?P<word>sharp|flat)\b|(?P<minus>-(?=\s)))?(?P<mode>.*)"
)
_GERMAN_KEY = re.compile(r"(?P<letter>[a-h])(?P<ending>is|es|s)?[\s-]*(?P<mode>dur|moll)", re.IGNORECASE)
_KEY_HINT = 'Write a tonic and a mode, such as "D minor", "Bb major" or "F# dorian".'


class Key(NamedTuple):
    """A tonic pitch class 0..11 and the name of one of MODES."""

    tonic: int
    mode: str

    @property
    def pitch_classes(self) -> frozenset[int]:
        return frozenset((self.tonic + interval) % 12 for interval in MODES[self.mode].intervals)

    @property
    def fifths(self) -> int:
        """The key signature: sharps 1..6 or flats -1..-6. Six are sharps in F# major, flats elsewhere."""
        mode = MODES[self.mode]
        fifths = _fifths(self.tonic + mode.parent)
        return 6 if fifths == -6 and mode.parent == 0 else fifths

    @property
    def name(self) -> str:
        """The name, such as "Bb major" or "F# dorian", spelled as its signature is; it parses back."""
        position = self.fifths - _fifths(MODES[self.mode].parent) + 1  # on the line of fifths from F
        letter, sharps = "FCGDAEB"[position % 7], position // 7
        return f"{letter}{'#' * sharps}{'b' * -sharps} {self.mode}"

    @property
    def relative(self) -> Key:
        """The minor key with a major key's signature, and the major key with any other's."""
        if self.mode == "major":
            return Key((self.tonic + 9) % 12, "minor")
        return Key((self.tonic + MODES[self.mode].parent) % 12, "major")

    @property
    def parallel(self) -> Key:
        """Minor on the tonic of a major key; major on the tonic of any other."""
        return Key(self.tonic, "minor" if self.mode == "major" else "major")

    def transposed(self, semitones: int) -> Key:
        return Key((self.tonic + semitones) % 12, self.mode)


def _fifths(semitones: int) -> int:
    """The interval as steps on the circle of fifths, -6..5."""
    return (semitones * 7 + 6) % 12 - 6


def key_from_signature(signature: KeySignature) -> Key:
    if signature.minor:
        return Key((signature.fifths * 7 + 9) % 12, "minor")
    return Key(signature.fifths * 7 % 12, "major")


def parse_key(text: str) -> Key:
    """The key of "D minor", "Dm", "F# dorian", "B flat major", "c harmonic minor" or German "fis-Moll".

    In the German form with Dur or Moll, H is B natural and B is B flat. ControlError when it is no key.
    """
    text = " ".join(text.split())
    return _parse_german_key(text) or _parse_english_key(text)


def _parse_german_key(text: str) -> Key | None:
    match = _GERMAN_KEY.fullmatch(text)
    if match is None:
        return None
    letter, ending = match["letter"].upper(), (match["ending"] or "").lower()
    if ending == "s" and letter not in "AE":
        return None
    natural = 11 if letter == "H" else 10 if letter == "B" else LETTERS[letter]
    tonic = natural + {"": 0, "is": 1, "es": -1, "s": -1}[ending]
    return Key(tonic % 12, "major" if match["mode"].lower() == "dur" else "minor")


def _parse_english_key(text: str) -> Key:
    match = _KEY.fullmatch(text)
    if match is None:
        raise ControlError(f'"{text}" is not a key', _KEY_HINT)
    if match["letter"] in "Hh":
        raise ControlError(f'"{text}" is not a key', "The note below C is called B here; H-Moll works too.")
    mode = match["mode"].strip()
    if not mode and match["letter"].islower():
        name = text[0].upper() + text[1:]
        raise ControlError(f'"{text}" leaves the mode open', f'Write "{name} major" or "{name} minor".')
    flat = match["minus"] or match["word"] == "flat"
    sign = match["sign"] or ("b" if flat else "#" if match["word"] else "")
    return Key(pitch_class(match["letter"], sign), _parse_mode(mode, text))


def _parse_mode(mode: str, text: str) -> str:
    if mode not in ("M", "-"):  # DM is major, Dm and D- are minor; elsewhere case and hyphens mean nothing
        mode = " ".join(mode.lower().replace("-", " ").split())
    name = " ".join(_MODE_WORDS.get(word, word) for word in mode.split()).strip()
    name = _MODE_ALIASES.get(name, name)
    if name not in MODES:
        raise ControlError(f'The mode of "{text}" is unknown', f"The modes are {', '.join(MODES)}.")
    return name


# Albrecht and Shanahan, "The Use of Large Corpora to Train a New Type of Key-Finding Algorithm" (Music
# Perception 31, 2013): shares of the pitch classes above the tonic. Of the profiles tried on annotated pop,
# folk and piano music (also Krumhansl-Kessler, Temperley, Aarden-Essen, Bellman-Budge) it agrees best.
KEY_PROFILES = {
    "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
}


def estimate_key(music: Score | Sequence[float]) -> tuple[Key, float]:
    """The likeliest major or minor key, and by how much it leads (0..2, difference of correlations).

    `music` is a score or twelve weights by pitch class, such as their sounding time. The key whose profile
    correlates best with the weights is taken. Without any evidence the answer is C major with a lead of 0.
    """
    weights = pitch_class_weights(music) if isinstance(music, Score) else list(music)
    if len(weights) != 12:
        raise ValueError(f"a histogram of pitch classes has 12 weights, not {len(weights)}")
    scores = {
        Key(tonic, mode): _correlation(weights[tonic:] + weights[:tonic], profile)
        for mode, profile in KEY_PROFILES.items()
        for tonic in range(12)
    }
    best, second = sorted(scores, key=lambda key: -scores[key])[:2]
    return best, scores[best] - scores[second]


def pitch_class_weights(score: Score) -> list[float]:
    """How long each pitch class sounds, in quarter notes, over all tracks but drums."""
    weights = [0.0] * 12
    for track in score.tracks:
        if not track.is_drum:
            for note in track.notes:
                weights[note.pitch % 12] += note.duration / score.ticks_per_quarter
    return weights


def _correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Pearson's correlation; 0 where one side is flat."""
    left_mean, right_mean = sum(left) / len(left), sum(right) / len(right)
    left_parts = [value - left_mean for value in left]
    right_parts = [value - right_mean for value in right]
    scale = sum(value * value for value in left_parts) * sum(value * value for value in right_parts)
    if scale <= 0:
        return 0.0
    return sum(x * y for x, y in zip(left_parts, right_parts, strict=True)) / math.sqrt(scale)
