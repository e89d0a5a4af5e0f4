"""The figures of docs/text.md, as `scripts/evaluate.py text` prints them.

facts     hand-written prompts, read to a Brief: which stated facts it holds (ASA is MuseCoco's average sample-wise
          accuracy: the share of a prompt's facts that hold, averaged over prompts)
notes     the same prompts, written to a MIDI file by the shipped weights and read back
keys      what the key finder says of real pieces whose key is known, to judge the key figures by
genres    whether a classifier that learned drum genres from recorded drummers and pattern books hears the genre
plain     the same with style ranking by plain words, and with none: what the sentence encoder adds
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.pipeline import Options, load_generator
from assistant.sketching import SAMPLING, sketch
from key_finder import find_key
from models.errors import UserError
from models.generators import Generator
from models.midi_file import read_midi, write_midi
from models.score import Score
from models.text.brief import Brief
from models.text.facts import read_facts
from models.text.genres import styles
from models.text.reading import complete, save_style_vectors, understand
from models.text.sentences import installed_encoder
from models.theory import parse_key
from text_checks import Prompt, check_brief, check_score, names_of, read_prompts

PARAPHRASES = Path(__file__).resolve().parents[1] / "tests" / "data" / "paraphrases.txt"
VECTORS = Path(__file__).resolve().parents[1] / "models" / "text" / "styles.safetensors"
Say = Callable[[str], None]
Floats = NDArray[np.float64]


def run(args: argparse.Namespace) -> None:
    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if args.write_vectors:
        encoder = installed_encoder()
        if encoder is None:
            raise UserError("The sentence encoder is not installed", "docs/text.md tells how.")
        save_style_vectors(encoder, VECTORS)
        return
    prompts = read_prompts()
    report: dict[str, Any] = {"facts": read_table(prompts), "paraphrases": paraphrase_table()}
    generator = load_generator()
    report["model"] = generator.model_hash
    rows = written(prompts, generator, args.limit, args.kept, say)
    report["notes"] = notes_table(rows)
    if args.data:
        report["keys"] = key_table(args.data)
        report["genres"] = genre_table(args.data, generator, say)
    for name, value in report.items():
        print_section(name, value)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def print_section(name: str, value: object) -> None:
    if not isinstance(value, dict):
        print(f"{name}  {value}\n")
        return
    print(name)
    for key, item in value.items():
        print(f"  {key:34} {item if not isinstance(item, float) else f'{item:.1%}'}")
    print()


# --- Facts in briefs ----------------------------------------------------------------------------------


def tally(rows: Iterable[dict[str, bool]]) -> dict[str, Any]:
    """Per field how many of how many hold, and ASA over the fields that prompts state."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    shares = []
    for row in rows:
        for field, holds in row.items():
            right[field] += holds
            asked[field] += 1
        own = [holds for field, holds in row.items() if field not in ("TB", "TBT", "CKD")]
        shares.append(sum(own) / len(own) if own else 1.0)
    table: dict[str, Any] = {f: f"{right[f]} of {asked[f]}  {right[f] / asked[f]:.1%}" for f in sorted(asked)}
    table["prompts"] = len(shares)
    table["ASA"] = sum(shares) / max(1, len(shares))
    return table


def read_table(prompts: Sequence[Prompt]) -> dict[str, Any]:
    rows = [check_brief(prompt.facts, understand(prompt.text)) for prompt in prompts]
    table = tally(rows)
    for name, later in (("ASA, first prompts", False), ("ASA, later prompts", True)):
        table[name] = tally([r for p, r in zip(prompts, rows, strict=True) if p.later == later])["ASA"]
    return table


EXPLICIT = ("tempo", "meter", "key", "bars", "instruments", "chords", "drums", "swing")


def explicit_facts(brief: Brief) -> tuple[object, ...]:
    """What two wordings of the same facts must agree in: the fields that words fixed, with their values."""
    values = {name: getattr(brief, name) for name in EXPLICIT if name in brief.said}
    if "instruments" in values:
        values["instruments"] = tuple(sorted(values["instruments"]))  # in whatever order they are named
    return tuple(values.items())


def read_paraphrases(path: Path = PARAPHRASES) -> list[list[str]]:
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    return [[line for line in block.splitlines() if line and not line.startswith("#")] for block in blocks]


def paraphrase_table() -> dict[str, Any]:
    """How many wordings give the same explicit brief as most of their group's."""
    same = total = 0
    for group in (group for group in read_paraphrases() if group):
        briefs = [repr(explicit_facts(understand(text, plain=True))) for text in group]
        most = Counter(briefs).most_common(1)[0][0]
        same += sum(brief == most for brief in briefs)
        total += len(group)
    return {"wordings": total, "groups": total // 5, "same explicit brief": same / max(1, total)}


# --- Facts in notes -----------------------------------------------------------------------------------


def written(
    prompts: Sequence[Prompt], generator: Generator, limit: int, kept: Path | None, say: Say
) -> list[dict[str, Any]]:
    """A sketch of each prompt, as a file would hold it, checked; those kept from an earlier run are taken."""
    order = list(range(len(prompts)))
    random.Random(1).shuffle(order)
    rows: list[dict[str, Any]] = []
    if kept and kept.exists():
        rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
        rows = [row for row in rows if row["model"] == generator.model_hash]
    done = {row["text"] for row in rows}
    for index in order[: limit or len(order)]:
        prompt = prompts[index]
        if prompt.text in done:
            continue
        began = time.monotonic()
        score = sketched(understand(prompt.text), generator, index)
        row = {"text": prompt.text, "checks": check_score(prompt.facts, score), "model": generator.model_hash,
               "seconds": round(time.monotonic() - began, 2), "pairs": instrument_pairs(prompt, score)}  # fmt: skip
        rows.append(row)
        if kept:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if len(rows) % 10 == 0:
            say(f"{len(rows)} sketches")
    return rows


def sketched(brief: Brief, generator: Generator, seed: int) -> Score:
    """One sketch, through the bytes of a MIDI file."""
    made = sketch(brief, generator, Options(candidates=1, seed=seed, sampling=SAMPLING))[0]
    return read_midi(write_midi(made.score)).score


def instrument_pairs(prompt: Prompt, score: Score) -> list[int] | None:
    """Instruments asked for and there, asked for, there; None where the prompt leaves them open."""
    if "ins" not in prompt.facts:
        return None
    wanted, there = Counter(prompt.facts["ins"].split(",")), names_of(score)
    return [(wanted & there).total(), wanted.total(), there.total()]


def notes_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    table = tally([row["checks"] for row in rows])
    pairs = np.array([row["pairs"] for row in rows if row["pairs"]]).reshape(-1, 3).sum(axis=0)
    table["instrument precision"] = float(pairs[0] / max(1, pairs[2]))
    table["instrument recall"] = float(pairs[0] / max(1, pairs[1]))
    table["median seconds a sketch"] = f"{np.median([row['seconds'] for row in rows]):.1f}" if rows else "-"
    return table


# --- The key finder on real pieces --------------------------------------------------------------------

_TITLE_KEY = re.compile(r"\bin ([A-G](?:[- ]?(?:flat|sharp)|b|#)?) ?(major|minor)\b", re.IGNORECASE)


def pieces_of(data: Path, name: str) -> list[dict[str, Any]]:
    """The metadata of an unpacked set, with each piece's full path."""
    found = sorted(data.glob(f"**/{name}/metadata.jsonl"))
    if not found:
        raise UserError(f"There is no {name} in {data}", "Unpack the archives of docs/data.md there.")
    rows = [json.loads(line) for line in found[0].read_text(encoding="utf-8").splitlines()]
    return [row | {"file": found[0].parent / row["path"]} for row in rows]


def key_table(data: Path, most: int = 100) -> dict[str, Any]:
    """CK and CKD of the key finder itself: the annotated keys of POP909, and keys that titles name."""
    table: dict[str, Any] = {}
    for name in ("pop909", "openscore-quartets", "mutopia"):
        items = []
        for row in pieces_of(data, name):
            title = _TITLE_KEY.search(f"{row.get('title', '')} {row.get('collection', '')}")
            key = row.get("key") if name == "pop909" else title and f"{title[1]} {title[2].lower()}"
            if key:
                items.append((row["file"], parse_key(key)))
        random.Random(1).shuffle(items)
        heard = [(find_key(read_midi(path).score), key) for path, key in items[:most]]
        table[f"{name} ({len(heard)}) CK"] = sum(one == key for one, key in heard) / len(heard)
        table[f"{name} ({len(heard)}) CKD"] = sum(one in (key, key.relative) for one, key in heard) / len(heard)
    return table


# --- Genres, by the drums -----------------------------------------------------------------------------

# Classes that more than one source knows, with each source's own labels (the beginning of them).
CLASSES: dict[str, tuple[str, ...]] = {
    "rock": ("rock", "punk", "pop", "basicrock", "60srock", "softrock", "rock-128", "8beat"),
    "funk": ("funk", "bvfunk", "soul", "r-n-b", "dsoul", "neworleans/funk"),
    "swing": ("jazz/swing", "jazz/fast", "jazz/mediumfast", "jazz", "swing", "easyswing", "fastswing", "bebop",
    "modernjazz"),
    "latin": ("latin", "afrocuban", "afro-cuban", "samba", "bossa-nova", "bossanova", "salsa", "mambo", "son",
    "cha-cha", "chacha"),
    "blues shuffle": ("blues", "shuffle", "slowblues", "fastblues", "boogie", "shuffleboggie", "rock/shuffle",
    "funk/purdieshuffle"),
    "reggae": ("reggae", "ska"),
}  # fmt: skip
SOURCES = ("groove-midi", "hydrogen-drum-patterns", "mma-backing-tracks")
# Sketches to be heard: by name, and by a description that does not name the genre.
NAMED = {
    "rock": ("rock", "indie rock song", "pop punk", "classic rock"), "funk": ("funk", "slap funk", "soul",
    "motown"),
    "swing": ("jazz", "big band", "bebop", "cool jazz"), "latin": ("samba", "bossa nova", "salsa", "mambo"),
    "blues shuffle": ("blues", "boogie woogie", "chicago blues", "rock and roll"), "reggae": ("reggae",
    "roots reggae", "ska", "dub"),
}  # fmt: skip
DESCRIBED = {
    "rock": ("long-haired guys with loud guitars in a sold-out stadium",
    "three angry chords and attitude in a garage"),
    "funk": ("everybody gets up and moves to a tight syncopated groove",
    "slapping thumbs and scratchy rhythm guitar"),
    "swing": ("a smoky club after midnight with a walking double bass",
    "dinner jackets and a ride cymbal in the forties"),
    "latin": ("carnival in Rio with the whole street dancing", "old men play congas on a street corner in Havana"),
    "blues shuffle": ("my baby left me and the juke joint is closing",
    "hard times on the Mississippi delta with a crying guitar"),
    "reggae": ("chilling on a beach in Kingston with the bass turned up",
    "Jamaican sunshine and guitar on the offbeat"),
}  # fmt: skip
_VOICES = ((35, 36), (38, 40, 37, 39), (42, 44), (46,), (51, 53, 59), (41, 43, 45, 47, 48, 50), (49, 52, 55, 57))


def drum_features(score: Score) -> Floats | None:
    """Where in the bar each voice of the kit strikes, as shares of the bars: 7 voices and the rest, on the eighths,
    the swung eighths and the sixteenths of a bar of four quarters, and strokes a quarter. None without drums."""
    quarter = score.ticks_per_quarter
    table = np.zeros((len(_VOICES) + 1, 24))
    notes = [note for track in score.tracks if track.is_drum for note in track.notes]
    if len(notes) < 8:
        return None
    first = score.bar_at(min(note.start for note in notes)).start
    last = max(note.start for note in notes)
    for note in notes:
        voice = next((i for i, keys in enumerate(_VOICES) if note.pitch in keys), len(_VOICES))
        inside = (note.start - first) % (4 * quarter) / quarter
        places = (0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1)
        near = min(range(7), key=lambda i: abs(places[i] - inside % 1))
        table[voice, (int(inside) * 6 + near) % 24] += 1
    bars = max(1.0, (last - first) / (4 * quarter))
    features = np.minimum(table / bars, 1.5).ravel()
    return np.append(features, [len(notes) / bars / 16])


def class_of(label: str) -> str | None:
    """The class of a source's label; the longest beginning that fits decides."""
    fits = [
        (len(start), name)
        for name, starts in CLASSES.items()
        for start in starts
        if label == start or label.startswith(f"{start}/")
    ]
    return max(fits)[1] if fits else None


def labelled(data: Path, source: str, most: int = 60) -> list[tuple[Floats, str]]:
    """Features and classes of a source's drums in 4/4, at most so many of a class."""
    rows = [(row, class_of(str(row["genre"]))) for row in pieces_of(data, source) if row.get("meter") == "4/4"]
    random.Random(2).shuffle(rows)
    counts: Counter[str] = Counter()
    found = []
    for row, name in rows:
        if name is None or counts[name] >= most or row.get("beat_type") == "fill" or row.get("is_break"):
            continue
        features = drum_features(read_midi(row["file"]).score)
        if features is not None:
            counts[name] += 1
            found.append((features, name))
    return found


class Classifier:
    """Multinomial logistic regression, every class with the same weight, fitted by plain gradient steps."""

    def __init__(self, items: Sequence[tuple[Floats, str]], steps: int = 600, decay: float = 3e-3) -> None:
        self.names = sorted({name for _, name in items})
        table = np.stack([features for features, _ in items])
        self._mean, self._scale = table.mean(axis=0), table.std(axis=0) + 0.1
        table = self._prepared(table)
        target = np.array([self.names.index(name) for _, name in items])
        weights = 1 / np.bincount(target)[target] / len(self.names)
        truth = np.eye(len(self.names))[target]
        self._weights = np.zeros((table.shape[1], len(self.names)))
        for _ in range(steps):
            chance = self._chances(table)
            self._weights -= 2.0 * (table.T @ ((chance - truth) * weights[:, None]) + decay * self._weights)

    def _prepared(self, table: Floats) -> Floats:
        table = (table - self._mean) / self._scale / np.sqrt(table.shape[1])
        return np.hstack([table, np.ones((len(table), 1))])

    def _chances(self, table: Floats) -> Floats:
        logits = table @ self._weights
        logits = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(logits / logits.sum(axis=1, keepdims=True))

    def __call__(self, features: Floats) -> str:
        return self.names[int(self._chances(self._prepared(features[None]))[0].argmax())]


def balanced(pairs: Sequence[tuple[str, str]]) -> float:
    """Mean over the classes of the share recognised; pairs of (true, said)."""
    by_class = defaultdict(list)
    for true, said in pairs:
        by_class[true].append(true == said)
    return float(np.mean([np.mean(rights) for rights in by_class.values()]))


def genre_table(data: Path, generator: Generator, say: Say) -> dict[str, Any]:
    """How well the classifier does on a source that it has not heard, and what it hears in our sketches."""
    sets = {source: labelled(data, source) for source in SOURCES}
    table: dict[str, Any] = {"classes": len(CLASSES), "chance": 1 / len(CLASSES)}
    for held in SOURCES:
        model = Classifier([item for source in SOURCES if source != held for item in sets[source]])
        table[f"{held} held out ({len(sets[held])})"] = balanced([(name, model(x)) for x, name in sets[held]])
    model = Classifier([item for items in sets.values() for item in items])
    for title, texts, how in (
        ("sketches, genre named", NAMED, "encoder"),
        ("sketches, genre described", DESCRIBED, "encoder"),
        ("described, plain words", DESCRIBED, "plain"),
        ("described, ranking off", DESCRIBED, "off"),
    ):
        pairs = []
        for name, wordings in texts.items():
            for number, text in enumerate(wordings):
                say(f"{title}: {text}")
                features = drum_features(sketched(drums_only(text, how), generator, number))
                pairs.append((name, model(features) if features is not None else "-"))
        table[f"{title} ({len(pairs)})"] = balanced(pairs)
    return table


def drums_only(text: str, how: str) -> Brief:
    """The brief of a text with drums alone, eight bars of 4/4; `how` the style is found: encoder, plain or off."""
    asked = f"{text}, drums only, 8 bars, 4/4"
    if how == "off":
        facts = read_facts(asked)
        return complete(facts, asked, (), (), ())
    brief = understand(text, plain=how == "plain")
    facts_brief = understand(asked, plain=how == "plain")
    drums = styles().genres[brief.genre].drums or "backbeat"
    return replace(facts_brief, genre=brief.genre, drums=drums, swing=brief.swing, tempo=brief.tempo)
