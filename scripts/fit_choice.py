"""Fit the table by which the best of several drafts is kept, for weights that were exported.

    python3 scripts/fit_choice.py SHARDS --weights models/weights/small

The drafts are written on the training split; what the table is worth on pieces that nothing was fitted on is
printed by `scripts/evaluate.py choice`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from models.drawing import Sampling
from models.engine import Engine
from models.generators import TransformerGenerator
from models.training.choosing import ANSWERS, fit, groups, places, recognised, save
from models.training.evaluation_music import writer
from models.training.shards import read_shards

DRAWN = 4000  # pieces of the training split that places are looked for in


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, metavar="SHARDS")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--places", type=int, default=800, metavar="N")
    parser.add_argument("--temperature", type=float, default=Sampling().temperature)
    parser.add_argument("--top-p", type=float, default=Sampling().top_p)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    items = [item for item in read_shards(args.shards) if item.info["split"] == "train"]
    order = np.random.default_rng(args.seed).permutation(len(items))[:DRAWN]
    sampling = Sampling(args.temperature, args.top_p)
    write = writer(TransformerGenerator(Engine(args.weights)), ANSWERS, sampling, args.seed)
    found = groups(
        places([items[place] for place in order], args.places), write, lambda line: print(line, file=sys.stderr)
    )
    choice = fit(found)
    for name, share in recognised(choice, found).items():
        print(f"{name}: the composer's notes are preferred to a draft in {share:.1%} of the comparisons fitted on")
    print(f"sha256 {save(choice, args.weights)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
