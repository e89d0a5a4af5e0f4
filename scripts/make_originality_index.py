"""Make what tells how much of a candidate is in the training set, from token shards: an index of runs of notes, and
the bars that are known.

    python3 scripts/make_originality_index.py SHARDS

Both ship in models/weights/originality. The human baseline beside it is the run that 95 of 100 passages of eight
bars from the validation split stay below; composers quote, and styles have their figures. Sets that are made by
rule, not by hand, are indexed but are no baseline. Two to four minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models import known_bars
from models.known_bars import KnownBars
from models.originality import HUMAN_SHARE, SHIPPED, Index, Run, lines, longest_run
from models.training.evaluation_copying import training_windows
from models.training.sampling import as_int32
from models.training.shards import Item, read_shards

PASSAGE = 8  # bars, as many as a candidate has unless something else is asked
PASSAGES = 2  # of every piece


def human_runs(items: Sequence[Item], index: Index) -> list[Run]:
    """The longest shared run of each passage, in order of notes."""
    rng = np.random.default_rng(0)
    found = []
    for item in items:
        bars = len(item.piece.bars)
        for _ in range(PASSAGES if bars >= PASSAGE else 0):
            first = int(rng.integers(0, bars - PASSAGE + 1))
            if passage := lines(item.piece, None, first, first + PASSAGE):
                found.append(longest_run(passage, index))
    return sorted(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, metavar="SHARDS", help="token shards of scripts/prepare_data.py")
    parser.add_argument("--out", type=Path, default=SHIPPED.parent, help="the folder")
    parser.add_argument("--by-rule", nargs="*", default=["mma-backing-tracks"], metavar="SET", help="no baseline")
    args = parser.parse_args(arguments)
    items = list(read_shards(args.shards))
    index = Index.of(item.piece for item in items if item.info["split"] == "train")
    by_hand = [item for item in items if item.info["set"] not in args.by_rule]
    human = human_runs([item for item in by_hand if item.info["split"] != "train"], index)
    if not len(index) or not human:
        print(f"{args.shards} has no music to index, or none held out to compare with.", file=sys.stderr)
        return 2
    index.human = human[min(len(human) - 1, int(HUMAN_SHARE * len(human)))]
    index.save(args.out / SHIPPED.name)
    windows = training_windows(as_int32(item.piece) for item in items if item.info["split"] == "train")
    KnownBars.of(windows).save(args.out / known_bars.SHIPPED.name)
    sizes = [(args.out / path.name).stat().st_size / 1e6 for path in (SHIPPED, known_bars.SHIPPED)]
    print(f"{len(index):,} numbers, {sizes[0]:.2f} MB; {len(windows):,} windows of two bars, {sizes[1]:.2f} MB")
    print(f"human passages of {PASSAGE} bars: {len(human)}")
    for share in (0.5, 0.75, 0.9, 0.95):
        run = human[min(len(human) - 1, int(share * len(human)))]
        print(f"  {share:.0%} stay below {run.notes} notes, {run.bars:.1f} bars")
    return 0


if __name__ == "__main__":
    sys.exit(main())
