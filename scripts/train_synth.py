"""Make the weights of the synth from a sound font, from nothing.

    python3 scripts/train_synth.py --run runs/synth --export models/weights/synth

Records and analyses the notes of the font with FluidSynth, fits the network, reads what is finer off the font, and
writes the weights that ship.
Every stage keeps what it has done in the run's folder and goes on from there when it is started again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from models.errors import UserError
from models.synth import corpus, detail
from models.synth.network import Bank
from models.synth.training import export, read_notes, train

FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--font", type=Path, default=FONT, help="the sound font to learn from (default: Debian's FluidR3)"
    )
    parser.add_argument("--run", type=Path, required=True, help="folder for what is recorded and for checkpoints")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the weights that ship here")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=192, help="notes a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        corpus.make(args.font, args.run / "notes", say)
        extras = corpus.extras(args.font, args.run / "extras.safetensors")
    except UserError as error:
        print(f"{error.message}. {error.hint}", file=sys.stderr)
        return 2
    notes = read_notes(args.run / "notes")
    say(f"{len(notes.target)} notes")
    train(notes, args.run / "fit", args.steps, args.batch, report=say, device=args.device)
    if args.export:
        export(args.run / "fit", notes, extras["releases"], extras["transients"], args.export)
        detail.put(detail.make(Bank.load(args.export), args.font, args.run / "detail", say), args.export)
        say(f"weights are in {args.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
