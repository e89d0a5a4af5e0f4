"""Instruments learned from a minute of sound, and how near they come on notes that were kept aside.

`scripts/evaluate.py instrument`: lines by instruments of another sound font than the synth learned from, one note
at a time, and a voice and a whistle that no sound font is in. Each is what a musician would record: about a minute,
with the noise of a quiet room 70 dB below, and a short silence between notes.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.instruments import PROGRAM_NAMES
from models.score import Note, Score, Track
from models.synth.instruments import collect, train
from models.synth.network import Bank
from models.synth.sound import SAMPLE_RATE, Floats
from models.synth.sung import SINGERS, sing
from models.synth.teacher import play_score

RANGES = {  # pitches of each program
    24: (45, 74),
    33: (30, 52),
    40: (57, 86),
    42: (38, 65),
    56: (55, 80),
    65: (50, 76),
    71: (52, 82),
    73: (62, 91),
}
ROOM = -70.0  # dB below the loudest sample


def line(font: Path, program: int, seconds: float, seed: int) -> Floats:
    """A line for one instrument of a sound font, mono."""
    random = np.random.default_rng([seed, program])
    low, high = RANGES[program]
    tick, pitch, notes = 240, (low + high) // 2, []
    while tick < seconds * 960:
        length = int(random.choice([360, 480, 720, 960, 1440]))
        notes.append(Note(tick, pitch, length, int(random.choice([45, 64, 80, 96, 115]))))
        tick += length + int(random.choice([120, 200, 400]))
        pitch = int(np.clip(pitch + random.integers(-7, 8), low, high))
    sound = play_score(font, Score(480, (Track("", program, notes=tuple(notes)),), length=tick), dry=True)
    return _in_a_room(sound.mean(axis=1), random)


def _in_a_room(sound: Floats, random: np.random.Generator) -> Floats:
    sound = sound * np.float32(0.5 / np.abs(sound).max())
    return sound + (10 ** ((ROOM - 6) / 20) * random.standard_normal(len(sound))).astype(np.float32)


def table(bank: Bank, font: Path, seconds: float, say: Callable[[str], None]) -> str:
    lines = [
        f"{'':18}{'recorded':>10}{'notes':>7}{'nearest program':>24}{'its dB':>8}{'held-out dB':>13}{'seconds':>9}"
    ]
    sources: list[tuple[str, Callable[[], Floats]]] = []
    if font.exists():
        sources += [(PROGRAM_NAMES[p], lambda p=p: line(font, p, seconds, 1)) for p in RANGES]  # type: ignore[misc]
    sources += [
        (s.name, lambda s=s: sing(s, 1, round(seconds / 0.65), noise=60.0)[0])  # type: ignore[misc]
        for s in (SINGERS[6], SINGERS[7])
    ]
    distances = []
    for name, make in sources:
        say(name)
        samples = make()
        began = time.process_time()
        made = train(bank, collect(samples), name)
        took = time.process_time() - began
        distances.append(made.distance)
        lines.append(
            f"{name:18}{len(samples) / SAMPLE_RATE:8.0f} s{made.notes:7}{PROGRAM_NAMES[made.learned.program]:>24}"
            f"{made.before:8.2f}{made.distance:13.2f}{took:9.1f}"
        )
    lines.append(f"{'median':18}{'':10}{'':7}{'':24}{'':8}{np.median(distances):13.2f}")
    return "\n".join(lines)


def add_command(commands: Any, say: Callable[[str], None]) -> None:
    """`scripts/evaluate.py instrument`."""
    command = commands.add_parser("instrument", help="instruments learned from a minute of sound")
    command.add_argument("--seconds", type=float, default=60.0, help="of each recording")
    command.add_argument("--font", type=Path, default=Path("/usr/share/sounds/sf2/TimGM6mb.sf2"))

    def run(args: Namespace) -> None:
        print("logmelD in dB, median of the notes kept aside; processor time of one core\n")
        print(table(Bank.load(), args.font, args.seconds, say))

    command.set_defaults(run=run, threads=1)
