"""Make the small sample of public-domain music that ships, from token shards made by scripts/prepare_data.py.

    python3 scripts/make_sample.py SHARDS --out models/weights/sample

A personal style is trained on the musician's own pieces and some of these, so that the network does not forget
the rest of music; pieces of the valid split measure how much it forgets. Only pieces whose licence is CC0, or that
are in the public domain, are taken: a number of notes from each set, always the same ones.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections import Counter
from pathlib import Path

from models.training.sampling import usable
from models.training.shards import Item, read_shards, write_shards

NOTES_OF_SET = {
    "openscore-lieder": 50_000,
    "openscore-quartets": 25_000,
    "openscore-orchestra": 15_000,
    "openewld-leadsheets": 20_000,
    "mcgill-billboard-chords": 10_000,
}
VALID_SHARE = 0.2  # as many notes again of the valid split
LONGEST = 4_000  # notes of one piece
KEPT = ("set", "split", "work", "path", "title", "composer", "licence")
FREE = ("CC0", "Public domain")


def choose(items: list[Item]) -> list[Item]:
    """Pieces in the order of a hash of their names, until each set and split has its notes."""
    taken: Counter[tuple[str, str]] = Counter()
    chosen = []
    for item in sorted(items, key=lambda item: zlib.crc32(str(item.info["path"]).encode())):
        name, part = str(item.info["set"]), str(item.info["split"])
        wanted = NOTES_OF_SET.get(name, 0) * (1.0 if part == "train" else VALID_SHARE)
        free = str(item.info.get("licence", "")).startswith(FREE)
        fits = len(item.piece.notes) <= LONGEST and usable(item.piece)
        if free and fits and part in ("train", "valid") and taken[name, part] < wanted:
            taken[name, part] += len(item.piece.notes)
            chosen.append(Item(item.piece, {key: item.info[key] for key in KEPT if key in item.info}))
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    chosen = choose(list(read_shards(args.shards)))
    if not chosen:
        print(f"No free piece in {args.shards}; make shards with scripts/prepare_data.py.", file=sys.stderr)
        return 2
    write_shards(chosen, args.out)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    notes = sum(len(item.piece.notes) for item in chosen)
    print(f"{len(chosen)} pieces, {notes:,} notes, {size / 1e6:.2f} MB in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
