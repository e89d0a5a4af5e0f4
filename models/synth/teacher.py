"""Notes of a sound font through FluidSynth, dry: what the synth learns from, and what it is held against."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.midi_file import save_midi
from models.score import Event, Note, Score, Track
from models.synth.sound import SAMPLE_RATE

TICKS = 960  # a second, at 120 bpm and 480 ticks a quarter
LEAD = 96  # ticks before the first note
BLOCK = 64  # samples; FluidSynth starts notes at multiples of it
DELAY = 64  # samples between the tick of a note and its first sound
GAIN = 0.5
SECONDS = 600.0  # after which a rendering is given up


@dataclass(frozen=True, slots=True)
class Request:
    """One note to be recorded: held for `hold` seconds, and kept for `keep` seconds from its start."""

    program: int
    is_drum: bool
    pitch: int
    velocity: int
    hold: float
    keep: float


def record(font: Path, requests: Sequence[Request]) -> list[NDArray[np.float32]]:
    """Each note by itself, stereo samples (samples, 2), without reverb and chorus.

    Raises UserError when FluidSynth or the sound font is missing, or when it fails.
    """
    notes: dict[bool, list[Note]] = {False: [], True: []}
    events: dict[bool, list[Event]] = {False: [], True: []}
    starts = []
    tick = LEAD
    for request in requests:
        channel = 9 if request.is_drum else 0
        if not request.is_drum:
            events[False].append(Event(tick - 32, bytes([0xC0, request.program])))
        notes[request.is_drum].append(
            Note(tick, request.pitch, max(1, round(request.hold * TICKS)), request.velocity)
        )
        starts.append(tick)
        # A slot is a whole number of FluidSynth's blocks; what still rings then is cut off.
        tick += _whole_blocks(request.keep + 0.1)
        events[request.is_drum].append(Event(tick - 48, bytes([0xB0 | channel, 120, 0])))
    first = next((request.program for request in requests if not request.is_drum), 0)  # else it would be 0
    tracks = (
        Track(
            "", first, notes=tuple(notes[False]), events=tuple(sorted(events[False], key=lambda event: event.tick))
        ),
        Track(is_drum=True, channel=9, notes=tuple(notes[True]), events=tuple(events[True])),
    )
    sound = play_score(font, Score(480, tracks, length=tick), dry=True)
    samples_a_tick = SAMPLE_RATE // TICKS
    kept = []
    for start, request in zip(starts, requests, strict=True):
        first, count = start * samples_a_tick + DELAY, round(request.keep * SAMPLE_RATE)
        part = sound[first : first + count]
        kept.append(np.pad(part, ((0, count - len(part)), (0, 0))))
    return kept


def play_score(font: Path, score: Score, dry: bool = False) -> NDArray[np.float32]:
    """A whole score through FluidSynth, stereo samples (samples, 2). dry: without reverberation and chorus."""
    program = shutil.which("fluidsynth")
    if program is None or not font.exists():
        raise UserError("FluidSynth or a sound font is missing", "Install fluidsynth and fluid-soundfont-gm.")
    with tempfile.TemporaryDirectory(prefix="descant-") as folder:
        piece, raw = Path(folder) / "notes.mid", Path(folder) / "notes.raw"
        save_midi(score, piece)
        command = [program, "-n", "-i", "-q", *(("-R", "0", "-C", "0") if dry else ())]
        command += ["-g", str(GAIN), "-r", str(SAMPLE_RATE), "-O", "float", "-T", "raw", "-F", str(raw)]
        done = subprocess.run(
            [*command, str(font), str(piece)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
        )
        if done.returncode != 0 or not raw.exists():
            raise UserError("FluidSynth could not record the notes", "See whether `fluidsynth` works by itself.")
        return np.fromfile(raw, dtype="<f4").reshape(-1, 2)


def _whole_blocks(seconds: float) -> int:
    """Ticks of a slot of at least `seconds` that is a multiple of BLOCK samples and of a tick."""
    unit = np.lcm(BLOCK, SAMPLE_RATE // TICKS) // (SAMPLE_RATE // TICKS)
    return int(-(-round(seconds * TICKS) // unit) * unit)
