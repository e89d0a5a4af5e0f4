"""The figures of docs/text.md, as `scripts/evaluate.py text` prints them.

facts        hand-written prompts, read to a Brief: which stated facts it holds (ASA is MuseCoco's average
             sample-wise accuracy: the share of a prompt's facts that hold, averaged over prompts)
paraphrases  the same facts in five wordings: the same explicit brief
fuzz         strange strings: a brief or a sentence
notes        the prompts once more, written to a MIDI file by the shipped weights and read back
music        how the lines and phrases of those sketches move, beside real pieces
styles       a sketch of every style, held against what it is known for
keys         what the key finder says of real pieces whose key is known, to judge the key figures by
genres       whether a classifier that learned drum genres elsewhere hears the genre
words        what the words add in the network, beyond the plan
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assistant.pipeline import Options, load_generator
from assistant.sketching import sketch
from key_finder import find_key
from models.drawing import FROM_NOTHING
from models.errors import UserError
from models.generators import Generator
from models.midi_file import read_midi, write_midi
from models.score import Score
from models.text.brief import Brief, brief_from_json
from models.text.plan import empty_score
from models.text.reading import save_style_vectors, understand
from models.text.sentences import installed_encoder
from models.theory import parse_key
from text_checks import Prompt, check_brief, check_score, names_of, read_prompts
from text_corpora import pieces_of
from text_genres import genre_table, words_table
from text_music import figures, means
from text_styles import style_table

PARAPHRASES = Path(__file__).resolve().parents[1] / "tests" / "data" / "paraphrases.txt"
VECTORS = Path(__file__).resolve().parents[1] / "models" / "text" / "styles.safetensors"
Say = Callable[[str], None]


SECTIONS = ("facts", "paraphrases", "fuzz", "notes", "music", "styles", "keys", "genres", "words")


def run(args: argparse.Namespace) -> None:
    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if args.write_vectors:
        encoder = installed_encoder()
        if encoder is None:
            raise UserError("The sentence encoder is not installed", "docs/text.md tells how.")
        save_style_vectors(encoder, VECTORS)
        return
    wanted = args.only or SECTIONS
    if unknown := set(wanted) - set(SECTIONS):
        raise UserError(f"There is no table {sorted(unknown)[0]}", f"They are {', '.join(SECTIONS)}.")
    prompts, generator = read_prompts(), load_generator()
    report: dict[str, Any] = {"model": generator.model_hash}
    rows: list[dict[str, Any]] = []
    if {"notes", "music"} & set(wanted):
        rows = written(prompts, generator, args.limit, args.kept, say, args.only_kept)
    tables: dict[str, Callable[[], dict[str, Any]]] = {
        "facts": lambda: read_table(prompts),
        "paraphrases": paraphrase_table,
        "fuzz": fuzz_table,
        "notes": lambda: notes_table(rows, prompts),
        "music": lambda: music_table(rows, args.data),
        "styles": lambda: style_table(sketched, generator, [], say),
    }
    if args.data:
        tables |= {
            "keys": lambda: key_table(args.data),
            "genres": lambda: genre_table(args.data, generator, sketched, say),
            "words": lambda: words_table(args.data, generator, say),
        }
    print_section("model", report["model"])
    for name in wanted:
        if name in tables:
            report[name] = tables[name]()
            print_section(name, report[name])
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


WORDS = (
    "blues", "in", "A", "minor", "7/8", "no", "drums", "120", "bpm", "ohne", "sin", "walzer", "\U0001f3b9",
    "\u202e", "\x00", "Dm7", "ii-V-I", "9999", "//", "---", "\"'", "H-Moll", "sharp", "16", "bars", "verse",
    "chorus:", "loop",
)  # fmt: skip


def strange_strings(count: int) -> list[str]:
    """Characters of any kind and musical words in any order, up to 2,000 characters."""
    rng = random.Random(7)
    made = []
    for number in range(count):
        if number % 3 == 0:
            ranges = ((32, 127), (0, 0x3000), (0x1F300, 0x1FAFF), (0xD800, 0xE000))
            made.append("".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 2000))))
        else:
            made.append(" ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 300)))[:2000])
    return made


def fuzz_table(count: int = 1000) -> dict[str, Any]:
    """What strange strings give: a brief that goes to JSON and back and has a plan, or a sentence; never anything
    else."""
    told: Counter[str] = Counter()
    for text in strange_strings(count):
        try:
            brief = brief_from_json(understand(text).to_json())
            empty_score(brief)
            told["briefs"] += 1
        except UserError as error:
            told["sentences" if error.message and error.hint else "errors without a sentence"] += 1
        except Exception as error:  # what must not happen is what is counted here
            told[f"{type(error).__name__}"] += 1
    return {"strings": count, **told}


# --- Facts in notes -----------------------------------------------------------------------------------


def written(
    prompts: Sequence[Prompt], generator: Generator, limit: int, kept: Path | None, say: Say, only_kept: bool
) -> list[dict[str, Any]]:
    """A sketch of each prompt, as a file holds it; those kept from an earlier run of the same weights are taken."""
    order = list(range(len(prompts)))
    random.Random(1).shuffle(order)
    rows: list[dict[str, Any]] = []
    if kept and kept.exists():
        rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
        rows = [row for row in rows if row["model"] == generator.model_hash and "midi" in row]
    done = {row["text"] for row in rows}
    for index in [] if only_kept else order[: limit or len(order)]:
        prompt = prompts[index]
        if prompt.text in done:
            continue
        began = time.process_time()
        score = sketched(understand(prompt.text), generator, index)
        midi = base64.b64encode(write_midi(score)).decode()
        row = {"text": prompt.text, "model": generator.model_hash, "midi": midi,
               "seconds": round(time.process_time() - began, 2)}  # fmt: skip
        rows.append(row)
        if kept:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if len(rows) % 10 == 0:
            say(f"{len(rows)} sketches")
    return rows


def score_of(row: dict[str, Any]) -> Score:
    return read_midi(base64.b64decode(row["midi"])).score


def sketched(brief: Brief, generator: Generator, seed: int) -> Score:
    """One sketch, through the bytes of a MIDI file."""
    made = sketch(brief, generator, Options(candidates=1, seed=seed, sampling=FROM_NOTHING))[0]
    return read_midi(write_midi(made.score)).score


def instrument_pairs(prompt: Prompt, score: Score) -> list[int] | None:
    """Instruments asked for and there, asked for, there; None where the prompt leaves them open."""
    if "ins" not in prompt.facts:
        return None
    wanted, there = Counter(prompt.facts["ins"].split(",")), names_of(score)
    return [(wanted & there).total(), wanted.total(), there.total()]


def notes_table(rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt]) -> dict[str, Any]:
    by_text = {prompt.text: prompt for prompt in prompts}
    told = [(by_text[row["text"]], score_of(row)) for row in rows if row["text"] in by_text]
    table = tally([check_score(prompt.facts, score) for prompt, score in told])
    found = [pair for prompt, score in told if (pair := instrument_pairs(prompt, score))]
    pairs = np.array(found).reshape(-1, 3).sum(axis=0)
    table["instrument precision"] = float(pairs[0] / max(1, pairs[2]))
    table["instrument recall"] = float(pairs[0] / max(1, pairs[1]))
    if rows:
        table["median processor seconds"] = f"{np.median([row['seconds'] for row in rows]):.1f}"
    missed = [prompt.text for prompt, score in told if not check_score(prompt.facts, score).get("CKD", True)]
    table["keys missed"] = "; ".join(missed) or "none"
    return table


def music_table(rows: Sequence[dict[str, Any]], data: Path | None) -> dict[str, Any]:
    """How the sketches' lines, phrases, basses and drums move, beside real pieces."""
    columns = {"sketches": means([figures(score_of(row)) for row in rows])}
    for name in ("pop909", "openewld-leadsheets", "mma-backing-tracks", "openscore-quartets") if data else ():
        files = [row["file"] for row in pieces_of(data or Path(), name)]
        random.Random(1).shuffle(files)
        columns[name] = means([figures(read_midi(file).score) for file in files[:40]])
    table = {"": "".join(f"{name[:14]:>16}" for name in columns)}
    for name in columns["sketches"]:
        table[name] = "".join(f"{column.get(name, float('nan')):16.2f}" for column in columns.values())
    return table


# --- The key finder on real pieces --------------------------------------------------------------------

_TITLE_KEY = re.compile(r"\bin ([A-G](?:[- ]?(?:flat|sharp)|b|#)?) ?(major|minor)\b", re.IGNORECASE)


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
