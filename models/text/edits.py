"""Words about a piece that exists, as changes to it: "bars 5-8 sparser, keep the contour, bass down an octave".

Every clause becomes one Change: what is done, to which tracks, in which bars. Bars and tracks that a clause names
hold for the clauses after it in the same sentence, until others are named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from models.errors import UserError
from models.text.lexicon import instrument_words
from models.text.scanning import NUMBER, clean, number
from models.theory import Key, parse_key

EXACT = (
    "transpose",
    "to key",
    "velocity",
    "tempo",
    "tempo factor",
    "swing",
    "straighten",
    "remove",
    "thin",
    "length",
)
WRITTEN = ("sparser", "denser", "rewrite", "add")


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `action` is one of EXACT or WRITTEN; `amount`: semitones, a velocity factor, beats a minute or a
    factor. words: the tracks as named, none for all. bars: first and last from 1; negative counts from the end;
    None for all. keep: "contour", "rhythm" or "pitch" where that is to stay. key: of "to key"."""

    action: str
    amount: float = 0.0
    words: tuple[str, ...] = ()
    bars: tuple[int, int] | None = None
    keep: str | None = None
    key: Key | None = None
    text: str = ""

    @property
    def exact(self) -> bool:
        return self.action in EXACT

    @property
    def line(self) -> str:
        """The change in words, as it is echoed."""
        what = {
            "transpose": f"move {abs(self.amount):g} semitones {'up' if self.amount > 0 else 'down'}",
            "to key": f"transpose to {self.key.name if self.key else ''}",
            "velocity": f"velocities times {self.amount:.2g}",
            "tempo": f"tempo {self.amount:.4g} bpm",
            "tempo factor": f"tempo times {self.amount:.3g}",
            "swing": "swing the offbeat eighths",
            "straighten": "straighten the swung eighths",
            "remove": "take the notes out",
            "thin": "thin out, every turn of the line stays",
            "length": f"note lengths times {self.amount:g}",
            "sparser": "write sparser notes",
            "denser": "write denser notes",
            "rewrite": "write new notes",
            "add": f"add {', '.join(self.words)}",
        }[self.action]
        keep = f", keep the {self.keep}" if self.keep and self.action in WRITTEN else ""
        where = "all bars" if self.bars is None else _bars_text(self.bars)
        who = "all tracks" if not self.words or self.action == "add" else ", ".join(self.words)
        return f"{what}{keep} ({who}; {where}; {'exact' if self.exact else 'new notes'})"


def _bars_text(bars: tuple[int, int]) -> str:
    first, last = bars
    if first < 0:
        return f"the last {-first} bars"
    return f"bar {first}" if first == last else f"bars {first}-{last}"


_VERBS = (
    "move|make|transpose|keep|bring|remove|drop|delete|mute|double|halve|rewrite|add|play|raise|lower|shift|thin|"
    "pitch|take|put|turn|swing|straighten|change|vary|write|set|speed|slow|leave|preserve|hold|replace|give"
)
_INTERVALS = {
    "semitone": 1, "half step": 1, "half tone": 1, "minor second": 1, "whole step": 2, "whole tone": 2, "tone": 2,
    "major second": 2, "second": 2, "minor third": 3, "major third": 4, "third": 4, "perfect fourth": 5,
    "fourth": 5,
    "tritone": 6, "perfect fifth": 7, "fifth": 7, "minor sixth": 8, "sixth": 9, "major sixth": 9,
    "minor seventh": 10, "seventh": 10, "octave": 12,
}  # fmt: skip
_INTERVAL = "|".join(sorted(_INTERVALS, key=len, reverse=True))
_UP, _DOWN = r"up|higher|upwards?|raise[sd]?", r"down|lower|downwards?"
_ACTIONS: tuple[tuple[str, str, float], ...] = (
    ((r"\b(?:much |a lot )?(?:sparser|less busy|less dense|thinner|thin(?: it|"
        r" them| this)? out|emptier|fewer notes|simpler|simplify|more space|"
        r"less notes)\b"), "sparser", 0),
    (r"\b(?:much |a lot )?(?:denser|busier|fuller|more notes|thicker|more dense)\b", "denser", 0),
    (r"\b(?:remove|delete|mute|drop|take out|get rid of|no more|without)\b", "remove", 0),
    (r"\b(?:a bit|a little|slightly) (?:louder)\b", "velocity", 1.12),
    (r"\b(?:a bit|a little|slightly) (?:quieter|softer)\b", "velocity", 0.88),
    (r"\bmuch louder\b", "velocity", 1.45), (r"\bmuch (?:quieter|softer)\b", "velocity", 0.6),
    (r"\blouder\b", "velocity", 1.25), (r"\b(?:quieter|softer|less loud)\b", "velocity", 0.78),
    (r"\bdouble[- ]time\b|\btwice as fast\b|\bdouble the (?:tempo|speed)\b", "tempo factor", 2),
    (r"\bhalf[- ]time\b|\bhalf as fast\b|\bhalve the (?:tempo|speed)\b", "tempo factor", 0.5),
    (r"\b(?:a bit|a little|slightly) faster\b", "tempo factor", 1.08),
    (r"\b(?:a bit|a little|slightly) slower\b", "tempo factor", 0.92),
    (r"\bfaster\b|\bspeed (?:it )?up\b", "tempo factor", 1.15), (r"\bslower\b|\bslow (?:it )?down\b",
    "tempo factor", 0.87),
    (r"\bswing(?: it| them)?\b|\bswung\b|\bshuffled?\b", "swing", 0),
    (r"\bstraight(?:en)?(?: it| them| eighths)?\b|\bunswing\b", "straighten", 0),
    (r"\bstaccato\b|\bshorter notes\b", "length", 0.5), (r"\blegato\b|\blonger notes\b", "length", 1.6),
    ((r"\b(?:rewrite|vary|variation|change|different|something else|new notes|"
        r"regenerate|replace|write (?:it|them|this) (?:anew|again))\b"), "rewrite", 0),
)  # fmt: skip


def read_edit(text: str) -> list[Change]:
    """The changes that a text asks for, in order. UserError, naming the clause, where one says nothing known."""
    whole = clean(text)
    low = "".join(char.lower() if len(char.lower()) == 1 else char for char in whole)
    changes: list[Change] = []
    for sentence in re.split(r"[;.](?!\d)|\bthen\b|\n", low):
        bars: tuple[int, int] | None = None
        words: tuple[str, ...] = ()
        for clause in _clauses(sentence):
            named = _bars(clause)
            everywhere = re.search(
                r"\b(?:everywhere|throughout|whole (?:piece|song|thing)|all bars|entire)\b", clause
            )
            bars = None if everywhere else named or bars
            own = _words(clause)
            if re.search(r"\b(?:everything|all tracks|every track|whole (?:piece|song|thing))\b", clause):
                words = ()
            words = own or words
            keep = _keep(clause)
            change = _change(clause, words, bars, own)
            if change is not None:
                changes.append(replace(change, keep=keep, text=clause.strip()))
            elif keep and changes:
                changes[-1] = replace(changes[-1], keep=keep)
            elif not named and not own:
                raise UserError(
                    f'"{clause.strip()}" is no change Descant knows',
                    'Say what to do with which tracks and bars: "bars 5-8 sparser", "bass down an octave".',
                )
    if not changes:
        raise UserError("No change is named", 'Say for example "bars 5-8 sparser" or "transpose up a fifth".')
    return [_settled(change) for change in changes]


def _settled(change: Change) -> Change:
    """Sparser with the contour or rhythm kept needs no new notes: it is exact."""
    if change.action == "sparser" and change.keep in ("contour", "rhythm", "pitch"):
        return replace(change, action="thin")
    return change


def _clauses(sentence: str) -> list[str]:
    parts = re.split(rf",| but |\band (?=(?:also |then )?(?:{_VERBS})\b)|\band (?=bars? \d)", sentence)
    return [part for part in parts if part and part.strip()]


def _bars(clause: str) -> tuple[int, int] | None:
    if match := re.search(
        (
            r"\b(?:bars?|measures?|takte?|mesures?|compases|battute)\s+(\d{1,4})(?:\s*(?:-|"
            r"to|through|until|bis)\s*(\d{1,4}))?"
        ),
        clause,
    ):
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last:
            raise UserError(f'"{match[0].strip()}" is no span of bars', "Bars count from 1, the first one first.")
        return first, last
    if match := re.search(rf"\bthe last ({NUMBER}) bars?|\blast ({NUMBER}) bars?", clause):
        return -int(number(match[1] or match[2])), -1
    if re.search(r"\b(?:the )?last bar\b", clause):
        return -1, -1
    if match := re.search(rf"\bfirst ({NUMBER}) bars?", clause):
        return 1, max(1, int(number(match[1])))
    return (1, 1) if re.search(r"\bfirst bar\b", clause) else None


@lru_cache(maxsize=1)
def _instrument_pattern() -> re.Pattern[str]:
    names = sorted(instrument_words(), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")


def _words(clause: str) -> tuple[str, ...]:
    """Names of instruments in a clause, longest first, as they stand there."""
    found = [(match.start(), match[0]) for match in _instrument_pattern().finditer(clause)]
    rest = _instrument_pattern().sub(lambda match: " " * len(match[0]), clause)
    for match in re.finditer(r"\btrack (\d{1,2})\b", rest):
        found.append((match.start(), match[1]))
    for match in re.finditer(r"\b(?:melody|tune)\b", rest):
        found.append((match.start(), "melody"))
    return tuple(word for _, word in sorted(found))


def _keep(clause: str) -> str | None:
    if match := re.search(
        (
            r"\b(?:keep|keeping|preserve|preserving|same|leave|hold|with)\b.*?\b(contour|"
            r"shape|rhythm|groove|pitches|pitch|notes as)\b"
        ),
        clause,
    ):
        return {"shape": "contour", "groove": "rhythm", "pitches": "pitch"}.get(match[1], match[1])
    return None


def _change(
    clause: str, words: tuple[str, ...], bars: tuple[int, int] | None, own: tuple[str, ...]
) -> Change | None:
    def change(action: str, amount: float = 0.0, key: Key | None = None) -> Change:
        return Change(action, amount, words, bars, key=key)

    if re.search(r"\badd\b", clause) and own:
        return Change("add", 0.0, own, bars)
    sign = -1 if re.search(rf"\b(?:{_DOWN})\b", clause) else 1
    moving = re.search(rf"\b(?:{_UP}|{_DOWN}|transpose|move|shift|pitch|raise|lower|drop|bring|play)\b", clause)
    if moving and (match := re.search(rf"\b({NUMBER}|an?|the|one)?\s*({_INTERVAL})s?\b(?! time)", clause)):
        count = number(match[1]) if match[1] not in (None, "a", "an", "the", "one") else 1
        sign = -1 if re.search(r"\b(?:lower|drop)\b", clause) else sign
        return change("transpose", sign * count * _INTERVALS[match[2]])
    if match := re.search(r"\b(?:transpose|move|change|put|shift)\b.*?\b(?:to|into|in)\s+(.+?)\s*$", clause):
        try:
            return change("to key", key=parse_key(match[1][:1].upper() + match[1][1:]))
        except UserError:
            pass
    if match := re.search(r"\b(?:by |up |down )([+-]?\d{1,2})\b", clause):
        return change("transpose", sign * abs(int(match[1])))
    if match := re.search(r"(\d{1,3})\s*(?:%|percent) (louder|quieter|softer|faster|slower)", clause):
        step = int(match[1]) / 100
        factor = 1 + step if match[2] in ("louder", "faster") else max(0.05, 1 - step)
        return change("velocity" if match[2] in ("louder", "quieter", "softer") else "tempo factor", factor)
    if match := re.search(rf"({NUMBER})\s*bpm\b|\btempo (?:to|of|at) ({NUMBER})", clause):
        bpm = number(match[1] or match[2])
        if not 20 <= bpm <= 320:
            raise UserError(f"{bpm:g} bpm is no tempo to write in", "Ask for 20 to 320 bpm.")
        return change("tempo", bpm)
    for pattern, action, amount in _ACTIONS:
        if re.search(pattern, clause):
            return change(action, amount)
    if re.search(r"\bhigher\b|\braise\b", clause):
        return change("transpose", 12)
    if re.search(r"\blower\b|\bdeeper\b", clause):
        return change("transpose", -12)
    return None
