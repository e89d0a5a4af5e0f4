"""Live play against the clock: is every block of sound there in time, for ten minutes and forty voices?

    python3 scripts/soak_synth.py --seconds 600

Each block of 10 ms may be begun when the one before it begins to be heard, as a sound card asks for it, and has to
be finished when that one ends. A block that is not is an underrun. Where the system allows it, the process asks for
the priority that sound servers give their clients (SCHED_FIFO), for other programs may be running; --no-priority
leaves it as it is. Exits with status 1 if there was an underrun.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from models.synth.evaluation import live_synth
from models.synth.network import WEIGHTS, Bank
from models.synth.sound import SAMPLE_RATE

BLOCK = 480  # samples
WARM_UP = 2.0  # seconds of music before the clock runs
PRIORITY = 10


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--keys", type=int, default=22, help="down at any time; twice as many voices")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the synth's weights")
    parser.add_argument("--no-priority", action="store_true", help="run as any other program does")
    args = parser.parse_args(arguments)
    priority = not args.no_priority and _ask_for_priority()
    synth = live_synth(Bank.load(args.weights), args.seconds + WARM_UP, args.keys)
    for _ in range(round(WARM_UP * SAMPLE_RATE / BLOCK)):
        synth.block(BLOCK)
    gc.freeze()
    period = BLOCK / SAMPLE_RATE
    count = round(args.seconds / period)
    took, worked, late, voices = np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count, dtype=int)
    start = time.monotonic()
    for block in range(count):
        wait = start + block * period - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        began, working = time.monotonic(), time.thread_time()
        synth.block(BLOCK)
        took[block], worked[block] = time.monotonic() - began, time.thread_time() - working
        late[block] = time.monotonic() - (start + (block + 1) * period)
        voices[block] = synth.voices
        if late[block] > 0:  # what a sound card does: it goes on from where it is
            start += period * np.ceil(late[block] / period)
    underruns = int((late > 0).sum())
    print(
        f"{args.seconds:.0f} s in blocks of {1000 * period:.0f} ms, {voices.mean():.0f} voices on average, "
        f"{voices.max()} at most, {'real-time' if priority else 'usual'} priority, load {os.getloadavg()[0]:.0f}"
    )
    print(
        f"processor time: {100 * worked.sum() / args.seconds:.1f} % of a core, "
        f"{1000 * worked.max():.1f} ms in the longest block"
    )
    print(
        f"a block is ready after {1000 * np.median(took):.1f} ms (median), "
        f"{1000 * np.percentile(took, 99.9):.1f} ms (999 of 1,000), {1000 * took.max():.1f} ms (all)"
    )
    own = int((worked[late > 0] > period).sum())
    print(f"underruns: {underruns} of {count} blocks; in {own} of them the synth itself took longer than a block")
    return 1 if underruns else 0


def _ask_for_priority() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except (AttributeError, OSError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
