"""What a listener would check of a sketch: prompts with their facts, held against a Brief or against notes.

The prompts are in tests/data/prompts.txt, written by hand; the facts there are read here and nowhere else, with
nothing of the parser that they test.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from key_finder import find_key
from models.instruments import FAMILIES, PROGRAM_NAMES
from models.score import Score
from models.text.brief import Brief
from models.text.chords import is_minor
from models.text.lexicon import DYNAMICS
from models.theory import Key, parse_key

PROMPTS = Path(__file__).resolve().parents[1] / "tests" / "data" / "prompts.txt"
TEMPO_EDGES = (40, 60, 70, 90, 110, 140, 160, 210)
LATER = "--- the last hundred"
_FACT = re.compile(r"\s*(?:(\w+)=)?(.+?)(?=\s+(?:\w+=|slow\b|mid\b|fast\b)|$)")


@dataclass(frozen=True)
class Prompt:
    """A text and its facts. later: one of those that were looked at only once the parser was settled."""

    text: str
    facts: dict[str, str]
    later: bool


def read_prompts(path: Path = PROMPTS) -> list[Prompt]:
    names: dict[str, str] = {}
    prompts: list[Prompt] = []
    later = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            later = later or LATER in line
        elif line.startswith("@"):
            short, _, name = line[1:].partition(" ")
            names[short] = name
        elif line.strip():
            text, _, told = line.partition("||")
            facts = {}
            for match in _FACT.finditer(told.strip()):
                key, value = match[1] or match[2], match[2].strip()
                if key in ("ins", "has", "not"):
                    value = ",".join(names.get(item, item) for item in value.split(","))
                facts[key] = value
            prompts.append(Prompt(text.strip(), facts, later))
    return prompts


def expected_key(facts: dict[str, str]) -> Key | None:
    return parse_key(facts["key"]) if "key" in facts else None


def taken_out(value: str) -> set[str]:
    """Names of instruments that "not" speaks of: a family's members, or one name."""
    names: set[str] = set()
    for item in value.split(","):
        names |= {PROGRAM_NAMES[program] for program in FAMILIES[item]} if item in FAMILIES else {item}
    return names


def right_tempo(facts: dict[str, str], bpm: float) -> bool | None:
    """Whether a tempo is what was asked; None where nothing was."""
    if "bpm" in facts:
        return abs(bpm - float(facts["bpm"])) < 0.01 * bpm
    if "tempo" in facts:
        low, high = map(int, facts["tempo"].split("-"))
        return low - 0.5 <= bpm <= high + 0.5
    for word, (low, high) in {"slow": (20, 80), "mid": (80, 125), "fast": (120, 320)}.items():
        if word in facts:
            return low <= bpm <= high
    return None


def check_brief(facts: dict[str, str], brief: Brief) -> dict[str, bool]:
    """Which of the facts a brief holds."""
    found: dict[str, bool] = {}
    if (right := right_tempo(facts, brief.tempo)) is not None:
        found["tempo"] = right
    if "meter" in facts:
        found["meter"] = "{}/{}".format(*brief.meter) == facts["meter"]
    if "bars" in facts:
        found["length"] = brief.bars == int(facts["bars"])
    if "seconds" in facts:
        bar = brief.meter[0] * 4 / brief.meter[1] * 60 / brief.tempo
        found["length"] = abs(brief.bars * bar - float(facts["seconds"])) <= bar / 2 + 0.01
    if wanted := expected_key(facts):
        key = parse_key(brief.key)
        plain = wanted.mode in ("major", "minor")
        found["key"] = key.tonic == wanted.tonic and (
            is_minor(key) == is_minor(wanted) if plain else key.mode == wanted.mode
        )
    found |= _instruments(facts, Counter(brief.instruments))
    if "genre" in facts:
        found["genre"] = brief.genre == facts["genre"]
    if "swing" in facts:
        found["swing"] = brief.swing == (facts["swing"] == "yes")
    if "density" in facts:
        found["density"] = brief.density < 0
    if "dynamics" in facts:
        found["dynamics"] = brief.dynamics == facts["dynamics"]
    if "drums" in facts:
        found["drums"] = brief.drums == {"four": "four on the floor"}.get(facts["drums"], facts["drums"]) or (
            facts["drums"] == "four" and brief.drums in ("techno", "house", "disco", "trance")
        )
    return found


def _instruments(facts: dict[str, str], there: Counter[str]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    if "ins" in facts:
        found["instruments"] = there == Counter(facts["ins"].split(","))
    if "has" in facts:
        found["instruments"] = set(facts["has"].split(",")) <= set(there)
    if "not" in facts:
        found["left out"] = not taken_out(facts["not"]) & set(there)
    return found


def names_of(score: Score) -> Counter[str]:
    """The instruments that sound, by name."""
    return Counter("Drums" if t.is_drum else PROGRAM_NAMES[t.program] for t in score.tracks if t.notes)


def check_score(facts: dict[str, str], score: Score) -> dict[str, bool]:
    """Which of the facts the notes of a file hold: the key by find_key, lengths by what sounds."""
    found: dict[str, bool] = {}
    bpm = score.tempo_at(0).bpm
    if (right := right_tempo(facts, bpm)) is not None and len(score.tempos) == 1:
        found["tempo"] = right
        if "bpm" in facts:
            off = abs(tempo_bin(bpm) - tempo_bin(float(facts["bpm"])))
            found["TB"], found["TBT"] = off == 0, off <= 1
    bar = score.bar(0)
    if "meter" in facts:
        found["meter"] = f"{bar.numerator}/{bar.denominator}" == facts["meter"]
    end = max((note.end for track in score.tracks for note in track.notes), default=0)
    if "bars" in facts:
        found["length"] = end > 0 and score.bar_at(end - 1).index + 1 == int(facts["bars"])
    if "seconds" in facts:
        found["length"] = abs(score.seconds_at(end) - float(facts["seconds"])) <= score.seconds_at(bar.length)
    wanted = expected_key(facts)
    if wanted and any(not track.is_drum and track.notes for track in score.tracks):
        found["CK"], found["CKD"] = key_found(wanted, score)
    found |= _instruments(facts, names_of(score))
    if "swing" in facts:
        found["swing"] = swings(score) == (facts["swing"] == "yes")
    if "dynamics" in facts:
        velocities = [note.velocity for track in score.tracks for note in track.notes]
        mean = sum(velocities) / max(1, len(velocities))
        nearest = min(DYNAMICS, key=lambda mark: abs(DYNAMICS[mark] - mean))
        found["dynamics"] = abs(list(DYNAMICS).index(nearest) - list(DYNAMICS).index(facts["dynamics"])) <= 1
    if "density" in facts:
        cells = (score.bar_at(max(0, end - 1)).index + 1) * max(1, sum(bool(t.notes) for t in score.tracks))
        found["density"] = sum(len(track.notes) for track in score.tracks) / cells <= 8
    if facts.get("drums") == "four":
        found["drums"] = four_on_the_floor(score)
    return found


def key_found(wanted: Key, score: Score) -> tuple[bool, bool]:
    """Whether find_key hears the key asked for, and whether it does with its relative allowed. A mode counts as the
    major or minor key on its tonic."""
    plain = Key(wanted.tonic, "minor" if is_minor(wanted) else "major")
    heard = find_key(score)
    return heard == plain, heard in (plain, plain.relative)


def tempo_bin(bpm: float) -> int:
    return sum(round(bpm, 2) >= edge for edge in TEMPO_EDGES)  # files hold whole microseconds


def swings(score: Score) -> bool:
    """Whether more offbeat notes stand on the third triplet of the beat than on its half."""
    quarter = score.ticks_per_quarter
    late = straight = 0
    for track in score.tracks:
        for note in track.notes:
            inside = note.start % quarter / quarter
            late += abs(inside - 2 / 3) < 0.05
            straight += abs(inside - 1 / 2) < 0.05
    return late > straight


def four_on_the_floor(score: Score) -> bool:
    """Whether a bass drum sounds on every quarter of every bar."""
    kicks = {
        note.start for track in score.tracks if track.is_drum for note in track.notes if note.pitch in (35, 36)
    }
    end = max((note.end for track in score.tracks for note in track.notes), default=0)
    return bool(kicks) and all(tick in kicks for tick in range(0, end, score.ticks_per_quarter))
