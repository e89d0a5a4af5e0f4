"""Whether genre is heard: by the drums, in the ears of a classifier that learned from drummers and pattern books.

genre_table    sketches' drums, by the genre's name and by descriptions, with the ranking and without
words_table    drums that the network writes alone, with nothing but a tempo, told the words or not: what the words
               add beyond the plan
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.pipeline import Options, part_request, propose
from models.drawing import FROM_NOTHING
from models.generators import Generator
from models.midi_file import read_midi
from models.score import Meter, Score, Tempo, Track
from models.text.brief import Brief
from models.text.facts import read_facts
from models.text.genres import styles
from models.text.reading import complete, understand
from text_corpora import pieces_of

Say = Callable[[str], None]
Sketched = Callable[[Brief, Generator, int], Score]
Floats = NDArray[np.float64]

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


def genre_table(data: Path, generator: Generator, sketched: Sketched, say: Say) -> dict[str, Any]:
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


BARS, DRAWN = 4, 4  # of every text, by the network alone
STRENGTHS = (None, 1.0, 2.0, 3.0)  # of guidance; None says nothing at all


def words_table(data: Path, generator: Generator, say: Say) -> dict[str, Any]:
    """The same drums asked for with words and without, at several strengths of guidance, as they are heard."""
    model = Classifier([item for source in SOURCES for item in labelled(data, source)])
    table: dict[str, Any] = {"chance": 1 / len(CLASSES)}
    for strength in STRENGTHS:
        for title, texts in (("named", NAMED), ("described", DESCRIBED)):
            pairs = []
            for name, wordings in texts.items():
                for text in wordings:
                    for score in drawn_drums(generator, text, strength):
                        features = drum_features(score)
                        pairs.append((name, model(features) if features is not None else "-"))
            label = "without words" if strength is None else f"words, guidance {strength:g}"
            table[f"{label}, {title} ({len(pairs)})"] = balanced(pairs)
            say(f"{label}, {title}: {table[f'{label}, {title} ({len(pairs)})']:.1%}")
    return table


def drawn_drums(generator: Generator, text: str, strength: float | None) -> list[Score]:
    """Drums of the network's own, whatever the text, at one tempo, so that only the words can tell it the genre."""
    drums = Track("Drums", 0, True, 9)
    score = Score(480, (drums,), (Tempo(0, 500_000),), (Meter(0, 4, 4),), length=BARS * 1920)
    sampling = FROM_NOTHING._replace(guidance=strength or 1.0)
    options = Options(candidates=DRAWN, seed=1, sampling=sampling)
    region = frozenset((bar, 0) for bar in range(BARS))
    request = part_request(score, region, options, frozenset({0}))
    words = "" if strength is None else f"{text}, drums only"
    return [candidate.score for candidate in propose(replace(request, words=words), generator)]
