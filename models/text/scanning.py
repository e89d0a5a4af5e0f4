"""The text of a brief as it is read: which characters have been read, and the phrases of the tables in it.

At each word the longest phrase counts; a phrase may mean several things (a waltz is a meter and a style). A "no",
"without", "ohne" ... before it turns it round, through a list of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from models.errors import UserError
from models.instruments import DRUMS_NAME
from models.text import lexicon
from models.text.genres import styles

LONGEST_TEXT = 2000
_WORD = re.compile(r"[^\W_]+|&|\+")
_NUMBER_WORDS = "|".join(sorted([*lexicon.NUMBERS, "hundred"], key=len, reverse=True))
NUMBER = rf"(?:\d{{1,9}}(?:[.,]\d{{1,3}})?|(?:a |one )?(?:{_NUMBER_WORDS})(?:[ -](?:and )?(?:{_NUMBER_WORDS}))*)"


def clean(text: str) -> str:
    """The text in one line of plain spaces, hyphens and quotes; UserError when nothing or too much is left."""
    if len(text) > LONGEST_TEXT:
        raise UserError(
            f"The text has {len(text):,} characters",
            f"Say it in at most {LONGEST_TEXT:,}; a sentence or two is best.",
        )
    text = unicodedata.normalize("NFC", text)
    for old, new in (("–", "-"), ("—", " - "), ("−", "-"), ("’", "'"), ("‘", "'"), ("“", '"'), ("”", '"')):
        text = text.replace(old, new)
    text = "".join(char if char.isprintable() else " " for char in text)
    if not text.strip():
        raise UserError("The text is empty", 'Write what you want to hear: "slow blues in A, 12 bars".')
    return text


def number(text: str) -> float:
    """The value of "96", "ninety six" or "a hundred and twenty"."""
    digits = text.replace(",", ".")
    if re.fullmatch(r"\d+(?:\.\d+)?", digits):
        return float(digits)
    total = 0
    for word in re.findall(r"[^\W\d_]+", text):
        if word == "hundred":
            total = max(1, total) * 100
        elif word in lexicon.NUMBERS:
            total += lexicon.NUMBERS[word]
    return float(total)


class Phrase(NamedTuple):
    """A phrase of the tables where it stands: what it means, as (kind, value) pairs."""

    start: int
    end: int
    text: str
    meanings: tuple[tuple[str, object], ...]
    negated: bool = False

    def of(self, kind: str) -> object:
        return next((value for name, value in self.meanings if name == kind), None)


@lru_cache(maxsize=1)
def _phrases() -> dict[tuple[str, ...], tuple[tuple[str, object], ...]]:
    """Every phrase of the tables, as words, with all it means."""
    found: dict[tuple[str, ...], list[tuple[str, object]]] = {}

    def add(phrase: str, kind: str, value: object) -> None:
        words = tuple(_WORD.findall(phrase.lower()))
        if words and all(kind != old for old, _ in found.setdefault(words, [])):
            found[words].append((kind, value))

    for genre in styles().genres.values():
        for name in (genre.name, *genre.also):
            add(name, "genre", genre.name)
    add("minor blues", "mode", "minor")
    for phrase, meter in lexicon.METER_WORDS.items():
        add(phrase, "meter", meter)
    for phrase, names in lexicon.ENSEMBLES.items():
        add(phrase, "instruments", names)
        if phrase.startswith("jazz "):
            add(phrase, "genre", "jazz")
    for phrase, name in lexicon.instrument_words().items():
        add(phrase, "instruments", (name,))
    for phrase, span in (lexicon.TEMPO_WORDS | lexicon.TEMPO_PAIRS).items():
        add(phrase, "tempo", span)
    for phrase, feel in lexicon.FEELS.items():
        add(phrase, "feel", feel)
    for phrase, level in lexicon.DENSITY_WORDS.items():
        add(phrase, "density", level)
    for phrase, level in lexicon.REGISTER_WORDS.items():
        add(phrase, "register", level)
    for phrase, dynamics in lexicon.DYNAMIC_WORDS.items():
        add(phrase, "dynamics", dynamics)
    for colour in styles().moods.values():
        for word in colour.like.split():
            add(word, "mood", colour.name)
    for colour in styles().textures.values():
        for phrase in colour.also:
            add(phrase, "texture", colour.name)
    for word in (
        "minor",
        "major",
        "dorian",
        "phrygian",
        "lydian",
        "mixolydian",
        "aeolian",
        "locrian",
        "moll",
        "dur",
    ):
        add(word, "mode", {"moll": "minor", "dur": "major"}.get(word, word))
    for phrase in ("harmonic minor", "melodic minor", "whole tone", "phrygian dominant", "lydian dominant"):
        add(phrase, "mode", phrase)
    for word in ("pentatonic", "pentatonic scale"):
        add(word, "mode", "major pentatonic")
    # One word, two meanings: these are the genre and not what the other table says, and the reverse.
    for words, kind in ((("blues",), "genre"), (("acoustic",), "genre")):
        found[words] = [meaning for meaning in found[words] if meaning[0] == kind]
    return {words: tuple(meanings) for words, meanings in found.items()}


@lru_cache(maxsize=1)
def _longest_phrase() -> int:
    return max(map(len, _phrases()))


class Scanner:
    """The text, its lower case of the same length, and which characters have been read."""

    def __init__(self, text: str) -> None:
        self.text = clean(text)
        self.low = "".join(char.lower() if len(char.lower()) == 1 else char for char in self.text)
        self.read = bytearray(len(self.text))
        self.remarks: list[str] = []

    def matches(self, pattern: str, cased: bool = False) -> Iterator[re.Match[str]]:
        """Matches where nothing has been read yet; each is read by being asked for."""
        for match in re.finditer(pattern, self.text if cased else self.low):
            if match.end() > match.start() and not any(self.read[match.start() : match.end()]):
                self.take(match.start(), match.end())
                yield match

    def unread(self, match: re.Match[str]) -> None:
        self.read[match.start() : match.end()] = bytes(match.end() - match.start())

    def take(self, start: int, end: int) -> None:
        """Mark characters as read."""
        self.read[start:end] = b"\1" * (end - start)

    def remark(self, sentence: str) -> None:
        if sentence not in self.remarks:
            self.remarks.append(sentence)


# --- Phrases of the tables ----------------------------------------------------------------------------

# After these words "fast" and "slow" speak of something else than the tempo.
_NOT_TEMPO_BEFORE = {
    "hi", "hat", "hats", "arpeggio", "arpeggios", "run", "runs", "notes", "strumming", "picking", "rolls", "solo",
    "attack", "build", "swell", "swells", "burn", "release", "vibrato", "fade", "moving", "chord", "changes",
    "changing", "evolving", "fingers", "passages", "dance", "jam", "motion", "drifting", "building",
}  # fmt: skip
_NOT_BASS_AFTER = {"drum"}


def find_phrases(scanner: Scanner) -> Iterator[Phrase]:
    words = [(m[0], m.start(), m.end()) for m in _WORD.finditer(scanner.low) if not scanner.read[m.start()]]
    table, longest = _phrases(), _longest_phrase()
    index = 0
    while index < len(words):
        for size in range(min(longest, len(words) - index), 0, -1):
            part = words[index : index + size]
            meanings = table.get(tuple(word for word, _, _ in part))
            if meanings and _together(scanner, part):
                following = words[index + size][0] if index + size < len(words) else ""
                if meanings[0][0] == "tempo" and following in _NOT_TEMPO_BEFORE:
                    meanings = meanings[1:]
                phrase = " ".join(word for word, _, _ in part)
                if phrase == "keys" and following in ("changes", "change"):
                    meanings = ()
                scanner.read[part[0][1] : part[-1][2]] = b"\1" * (part[-1][2] - part[0][1])
                if meanings:
                    yield Phrase(part[0][1], part[-1][2], phrase, meanings)
                index += size
                break
        else:
            index += 1


def _together(scanner: Scanner, part: list[tuple[str, int, int]]) -> bool:
    """Whether nothing but spaces, hyphens, apostrophes and slashes stands between the words of a phrase."""
    return all(re.fullmatch(r"[\s'./-]*", scanner.low[left[2] : right[1]]) for left, right in pairwise(part))


_NEGATORS = "|".join(sorted(map(re.escape, lexicon.NEGATORS), key=len, reverse=True))
_NEGATED = re.compile(
    rf"(?<!\w)(?P<word>{_NEGATORS})"
    r"(?:\s+(?:any|the|a|an|too|so|much|very|more|real|big|heavy|kind of|sort of|de|d'))*\s*$"
)
_WEAK = {"any"}  # a negation only after another
_AND_TOO = {"without", "without any", "ohne", "sin", "sans", "senza", "minus", "except", "excluding", "leave out"}


def negations(scanner: Scanner, phrases: list[Phrase]) -> list[Phrase]:
    """The phrases with those marked that a "no", "without", "ohne" ... stands before, through lists of them."""
    result: list[Phrase] = []
    reach = ""
    for index, phrase in enumerate(phrases):
        before = scanner.low[phrases[index - 1].end if index else 0 : phrase.start]
        match = _NEGATED.search(before)
        if match and match["word"] not in _WEAK:
            reach = match["word"]
        elif reach:
            gap = before.strip(" \t")
            goes_on = (
                gap in ("or", "nor", "oder", "ni", "ou", "o", ", or", ",or", ", nor", "or any", "or the")
                or gap == ""
            )
            goes_on = goes_on or (gap in ("and", "und", "y", "e", "et", "&", ", and") and reach in _AND_TOO)
            goes_on = goes_on or (gap == "," and _list_of_or(scanner, phrases, index))
            if not goes_on or (gap == "" and _kind(phrase) != _kind(phrases[index - 1])):
                reach = ""
        if (
            match is None
            and re.match(r"[\s-]*(?:less|free)(?!\w)", scanner.low[phrase.end :])
            and phrase.of("instruments")
        ):
            reach = ""
            result.append(phrase._replace(negated=True))
            continue
        result.append(phrase._replace(negated=bool(reach)))
    for match in scanner.matches(r"\b(?:drumless|unaccompanied by drums)\b"):
        result.append(Phrase(match.start(), match.end(), "drums", (("instruments", (DRUMS_NAME,)),), True))
    return result


def _kind(phrase: Phrase) -> str:
    return phrase.meanings[0][0]


def _list_of_or(scanner: Scanner, phrases: list[Phrase], index: int) -> bool:
    """Whether a comma continues a list that ends in "or": "no drums, bass or piano"."""
    for left, right in zip(phrases[index:], phrases[index + 1 :], strict=False):
        gap = scanner.low[left.end : right.start].strip()
        if gap in ("or", ", or", "nor", "oder"):
            return True
        if gap != ",":
            return False
    return False
