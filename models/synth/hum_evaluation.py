"""How well notes are heard out of singing and whistling: `scripts/evaluate.py hum`.

Notes count as found when they begin within 50 ms of where they should and lie within 50 cents, each at most
once (the usual measure: Molina et al., 2014). The voices are made by models/synth/sung.py; where FluidSynth and
a sound font are there, melodies of six of its instruments are heard too.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.instruments import PROGRAM_NAMES
from models.score import Note, Score, Track
from models.synth.pitch import follow
from models.synth.sound import SAMPLE_RATE, Floats
from models.synth.sung import SINGERS, SungNote, sing
from models.synth.teacher import play_score
from models.synth.transcription import HeardNote, hear_notes

ONSET, PITCH = 0.05, 0.5  # seconds and semitones
FAR = 7.0  # semitones from all that sounds: an octave or an overtone, and no note that was missed by a little
PROGRAMS = (24, 40, 42, 56, 71, 73)
TEMPO_TICKS = 960  # a second


@dataclass(frozen=True, slots=True)
class Found:
    """expected, heard and found: notes. ghosts: heard notes far from all that sounded with them."""

    expected: int
    heard: int
    found: int
    ghosts: int
    seconds: float
    took: float

    @property
    def f1(self) -> float:
        return 2 * self.found / max(1, self.expected + self.heard)


def compare(expected: Sequence[SungNote], heard: Sequence[HeardNote]) -> tuple[int, int]:
    """Notes that were found, as many as can be paired, and ghosts."""
    near = [
        [n for n, h in enumerate(heard) if abs(h.start - e.start) <= ONSET and abs(h.pitch - e.pitch) <= PITCH]
        for e in expected
    ]
    owner: dict[int, int] = {}

    def pair(one: int, tried: set[int]) -> bool:
        for other in near[one]:
            if other not in tried:
                tried.add(other)
                if other not in owner or pair(owner[other], tried):
                    owner[other] = one
                    return True
        return False

    found = sum(pair(one, set()) for one in range(len(expected)))
    ghosts = 0
    for note in heard:
        sounding = [e.pitch for e in expected if e.start < note.end + ONSET and e.end > note.start - ONSET]
        ghosts += all(abs(pitch - note.pitch) > FAR for pitch in sounding)
    return found, ghosts


def listen(takes: Sequence[tuple[Floats, list[SungNote]]]) -> Found:
    """Everything of one singer or instrument together."""
    expected_notes = heard_notes = found = ghosts = 0
    seconds = took = 0.0
    for samples, expected in takes:
        began = time.process_time()
        heard = hear_notes(follow(samples))
        took += time.process_time() - began
        seconds += len(samples) / SAMPLE_RATE
        right, stray = compare(expected, heard)
        expected_notes, heard_notes = expected_notes + len(expected), heard_notes + len(heard)
        found, ghosts = found + right, ghosts + stray
    return Found(expected_notes, heard_notes, found, ghosts, seconds, took)


def played(font: Path, program: int, seed: int, notes: int = 24) -> tuple[Floats, list[SungNote]]:
    """A melody by an instrument of a sound font, with its reverberation."""
    random = np.random.default_rng([seed, program])
    low = {24: 45, 40: 57, 42: 40, 56: 56, 71: 52, 73: 62}[program]
    tick, pitch, made = 480, low + 10, []
    for _ in range(notes):
        length = int(random.choice([240, 240, 480, 480, 720]))
        made.append(Note(tick, pitch, length - int(random.integers(0, 60)), int(random.integers(50, 120))))
        tick += length
        pitch = int(np.clip(pitch + random.integers(-5, 6), low, low + 22))
    score = Score(480, (Track("", program, notes=tuple(made)),), length=tick)
    sound = play_score(font, score).mean(axis=1)
    return sound, [SungNote(n.start / TEMPO_TICKS, n.end / TEMPO_TICKS, n.pitch) for n in made]


def table(seeds: Sequence[int], font: Path | None, noise: float = 20.0) -> str:
    lines = [f"{'':22}{'notes':>7}{'heard':>7}{'found':>7}{'F1':>7}{'ghosts':>8}{'x real time':>13}"]

    def row(name: str, found: Found) -> None:
        lines.append(
            f"{name:22}{found.expected:7}{found.heard:7}{found.found:7}{found.f1:7.3f}{found.ghosts:8}"
            f"{found.seconds / max(found.took, 1e-9):13.0f}"
        )

    sung = {s.name: listen([sing(s, seed, noise=noise) for seed in seeds]) for s in SINGERS}
    for name, found in sung.items():
        row(name, found)
    row("all voices", total(list(sung.values())))
    if font is not None:
        heard = {PROGRAM_NAMES[p]: listen([played(font, p, seed) for seed in seeds]) for p in PROGRAMS}
        for name, found in heard.items():
            row(name, found)
        row("all instruments", total(list(heard.values())))
    return "\n".join(lines)


def total(rows: Sequence[Found]) -> Found:
    return Found(*(sum(column) for column in zip(*map(astuple, rows), strict=True)))


def add_command(commands: Any, say: Callable[[str], None]) -> None:
    """`scripts/evaluate.py hum`."""
    command = commands.add_parser("hum", help="notes heard out of singing, whistling and instruments")
    command.add_argument("--takes", type=int, default=5, help="melodies of each singer, 24 notes long")
    command.add_argument("--seed", type=int, default=100, help="of the first melody")
    command.add_argument("--noise", type=float, default=20.0, help="dB that singing lies above white noise")
    command.add_argument("--font", type=Path, default=Path("/usr/share/sounds/sf2/TimGM6mb.sf2"))
    command.set_defaults(run=run, threads=1)


def run(args: Namespace) -> None:
    """Print the table of docs/synth.md."""
    seeds = range(args.seed, args.seed + args.takes)
    print(f"{args.takes} melodies each, noise {args.noise:g} dB below the voice\n")
    print(table(seeds, args.font if args.font.exists() else None, args.noise))
