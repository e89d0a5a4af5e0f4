"""The synth held against its teacher on notes it has not learned from: `scripts/evaluate.py synth`.

Beside it stands a second sound font that people accept as General MIDI. Closer to the teacher than that one
is what can be claimed; that something sounds good cannot be, without ears.
"""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.instruments import FAMILIES, PROGRAM_NAMES
from models.score import Note, Score, Track
from models.synth import measures
from models.synth.analysis import GRID, tuning
from models.synth.network import LOWEST, STEP, WEIGHTS, Bank
from models.synth.render import BEND, ON, Synth, blocks, synth_for
from models.synth.sound import DRUM_KEYS, MELODIC, SAMPLE_RATE, SILENCE, Floats, hertz
from models.synth.teacher import Request, play_score, record
from models.synth.tone import Tone
from models.synth.voices import STEAL_SAMPLES, Tones, Voice
from models.theory import pitch_name

VELOCITIES = (28, 56, 64, 96, 104, 112)  # none of those that were learned from
HOLD, KEEP = 1.0, 1.5  # seconds
QUIETEST = 1e-4
AUDIBLE = -70.0  # dB; quieter notes of the teacher are left out
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Distances:
    """What one synth's note is from the teacher's."""

    request: Request
    log_mel: float
    spectral: float
    level: float  # dB louder than the teacher
    cents: float  # sharper than the teacher; nan where a pitch cannot be told
    attack: float  # seconds later
    teacher_attack: float


def held_out(per_program: int) -> list[Request]:
    """Notes between the pitches and velocities that were learned from, and every drum."""
    random = np.random.default_rng(5)
    wanted = []
    for program in range(MELODIC):
        for _ in range(per_program):
            pitch = LOWEST + 1 + STEP * int(random.integers(5, 36))  # 36 to 96
            wanted.append(Request(program, False, pitch, int(random.choice(VELOCITIES)), HOLD, KEEP))
    return wanted + [Request(0, True, key, 100, HOLD, KEEP) for key in DRUM_KEYS]


def play_note(tones: Tones, request: Request) -> Floats:
    """One note of the synth, dry and mono, as long as `request.keep`."""
    tone, release, gain = tones.get(request.program, request.pitch, request.velocity, request.is_drum)
    voice = Voice(request.pitch, 0, gain, tone, release, request.is_drum)
    voice.let_go(round(request.hold * SAMPLE_RATE))
    mono = np.zeros(round(request.keep * SAMPLE_RATE), dtype=np.float32)
    voice.add_to(mono, 0, 1.0)
    return mono


def compare(request: Request, teacher: Floats, other: Floats, harmonic: bool) -> Distances:
    nominal = float(hertz(request.pitch))
    cents = float("nan")
    if harmonic and not request.is_drum:
        first, second = (tuning(x.astype(np.float64), GRID, nominal, HOLD)[0] for x in (teacher, other))
        cents = second - first
    attack = measures.attack_time(teacher, nominal)
    return Distances(
        request,
        measures.log_mel_distance(teacher, other),
        measures.spectral_distance(teacher, other),
        measures.level(other) - measures.level(teacher),
        cents,
        measures.attack_time(other, nominal) - attack,
        attack,
    )


def notes_table(bank: Bank, font: Path, second: Path, per_program: int, say: Say) -> str:
    """Distances of the held-out notes, ours and the second font's side by side."""
    wanted = held_out(per_program)
    say(f"{len(wanted)} notes by the teacher and by the second font ...")
    recorded = [_mono(font, wanted), _mono(second, wanted)]
    tones = Tones(bank)
    harmonic = [_is_harmonic(bank, program) for program in range(MELODIC)]
    rows: tuple[list[Distances], list[Distances]] = ([], [])
    heard: tuple[list[Floats], list[Floats], list[Floats]] = ([], [], [])
    for place, (request, teacher, other) in enumerate(zip(wanted, *recorded, strict=True)):
        if measures.level(teacher) < AUDIBLE or np.abs(other).max() < QUIETEST:
            continue
        own = play_note(tones, request)
        for row, samples in zip(rows, (own, other), strict=True):
            row.append(compare(request, teacher, samples, harmonic[request.program]))
        for kept, samples in zip(heard, (teacher, own, other), strict=True):
            kept.append(samples)
        if place % 100 == 99:
            say(f"{place + 1} of {len(wanted)}")
    offset = float(np.median([row.level for row in rows[1]]))  # a font may be louder as a whole
    rows = (rows[0], [replace(row, level=row.level - offset) for row in rows[1]])
    means = [frechet_features(samples) for samples in heard]
    frechet = [frechet_distance(means[0], mean) for mean in means[1:]]
    lines = [f"{len(rows[0])} held-out notes", "", f"{'':44}{'Descant':>9}{'second':>9}"]
    for name, values in _figures(rows[0], rows[1]):
        lines.append(f"{name:44}" + "".join(f"{value:9.2f}" for value in values))
    lines.append(f"{'Frechet distance of log-mel frames':44}" + "".join(f"{value:9.0f}" for value in frechet))
    lines += ["", f"{'logmelD by family, median':44}{'Descant':>9}{'second':>9}"]
    for family, programs in [*FAMILIES.items(), ("Drums", None)]:
        values = [
            np.median(
                [
                    row.log_mel
                    for row in side
                    if (
                        row.request.is_drum
                        if programs is None
                        else not row.request.is_drum and row.request.program in programs
                    )
                ]
            )
            for side in rows
        ]
        lines.append(f"{family:44}" + "".join(f"{value:9.2f}" for value in values))
    worst: dict[str, list[float]] = {}
    for note in rows[0]:
        if not note.request.is_drum:
            worst.setdefault(PROGRAM_NAMES[note.request.program], []).append(note.log_mel)
    order = sorted(worst, key=lambda name: -float(np.mean(worst[name])))
    lines += ["", "furthest from the teacher, logmelD:"]
    lines += [f"  {name} {np.mean(worst[name]):.1f}" for name in order[:16]]
    return "\n".join(lines)


def _mono(font: Path, wanted: list[Request]) -> list[Floats]:
    """In several runs, so that no recording fills the disk."""
    return [
        stereo.mean(axis=1)
        for first in range(0, len(wanted), 100)
        for stereo in record(font, wanted[first : first + 100])
    ]


def _is_harmonic(bank: Bank, program: int) -> bool:
    return bool(np.allclose(bank.weights["ratios"][program], GRID))


def _figures(own: list[Distances], other: list[Distances]) -> list[tuple[str, list[float]]]:
    def both(function: Callable[[list[Distances]], float]) -> list[float]:
        return [function(own), function(other)]

    def late(rows: list[Distances]) -> float:
        """90th percentile of the attack's error, as a share of what is allowed: 5 ms or a tenth."""
        return float(np.percentile([abs(r.attack) / max(0.005, 0.1 * r.teacher_attack) for r in rows], 90))

    return [
        ("logmelD, median (dB)", both(lambda rows: float(np.median([r.log_mel for r in rows])))),
        ("logmelD, 90th percentile (dB)", both(lambda rows: float(np.percentile([r.log_mel for r in rows], 90)))),
        ("multi-resolution STFT distance, median", both(lambda rows: float(np.median([r.spectral for r in rows])))),
        ("loudness, mean |dB|", both(lambda rows: float(np.mean([abs(r.level) for r in rows])))),
        ("loudness, median |dB|", both(lambda rows: float(np.median([abs(r.level) for r in rows])))),
        ("pitch, median |cents|", both(lambda rows: float(np.nanmedian([abs(r.cents) for r in rows])))),
        (
            "pitch, 95th percentile |cents|",
            both(lambda rows: float(np.nanpercentile([abs(r.cents) for r in rows], 95))),
        ),
        ("attack, 90th percentile (1 = 5 ms or 10 %)", both(late)),
    ]


def frechet_features(samples: list[Floats]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of all log-mel frames, floored FLOOR dB below each note's peak."""
    frames = []
    for note in samples:
        mel = measures.log_mel(note / (np.sqrt(np.mean(note**2)) + 1e-9))
        frames.append(np.maximum(mel, mel.max() - measures.FLOOR)[:: max(1, len(mel) // 40)])
    joined = np.concatenate(frames).astype(np.float64)
    return joined.mean(axis=0), np.cov(joined.T)


def frechet_distance(
    first: tuple[NDArray[np.float64], NDArray[np.float64]], second: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> float:
    """Between two normal distributions (Dowson and Landau, 1982)."""
    values, vectors = np.linalg.eigh(first[1])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ second[1] @ root)
    trace = np.trace(first[1]) + np.trace(second[1]) - 2 * np.sqrt(np.maximum(middle, 0)).sum()
    return float(((first[0] - second[0]) ** 2).sum() + trace)


# --- What needs no teacher ----------------------------------------------------------------------------


def checks_table(bank: Bank) -> str:
    """Velocity, bends, aliasing, clicks and silence after the release."""
    rows = [
        ("level over velocity, least Spearman of 128 programs", velocity_order(bank), ">= 0.98"),
        ("pitch bend, largest error (cents)", bend_error(bank), "<= 2"),
        ("aliasing of the partials, pitches 108-127 (dB)", aliasing(bank), "<= -80"),
        ("step at note-off and steal (1 = as in the note)", worst_step(bank), "<= 1.5"),
        ("level after the release (dBFS)", after_release(bank), "<= -90"),
    ]
    return "\n".join(f"{name:54}{value:9.2f}  {bar}" for name, value, bar in rows)


def velocity_order(bank: Bank) -> float:
    """Least Spearman correlation of velocity and level over the programs, on middle C."""
    velocities = np.arange(8, 128, 7)
    worst = 1.0
    for program in range(MELODIC):
        levels = []
        for velocity in velocities:
            sound = bank.sound(program, 60, int(velocity))
            power = (10 ** (sound.partials / 10)).sum(axis=1) / 2 + (10 ** (sound.noise / 10)).sum(axis=1)
            levels.append(float(np.mean(power[:25])))
        order = np.argsort(np.argsort(levels))
        worst = min(worst, float(np.corrcoef(order, np.arange(len(order)))[0, 1]))
    return worst


def bend_error(bank: Bank) -> float:
    """Largest error in cents of bends by up to two semitones, on a flute."""
    worst = 0.0
    for value in (0, 4096, 12288, 16383):
        synth = Synth(bank, 1)
        synth.parts[0].program = 73
        synth.schedule(0, 0, bytes([BEND, value & 127, value >> 7]))
        synth.schedule(0, 0, bytes([ON, 69, 100]))
        bent = synth.block(2 * SAMPLE_RATE)[0][0].sum(axis=0)
        plain = play_note(Tones(bank), Request(73, False, 69, 100, 2.0, 2.0))
        wanted = 200 * (value - 8192) / 8192
        nominal = 440 * 2 ** (wanted / 1200)
        off = tuning(bent.astype(np.float64), GRID, nominal, 2.0)[0]
        own = tuning(plain.astype(np.float64), GRID, 440.0, 2.0)[0]
        worst = max(worst, abs(off - own))
    return worst


def aliasing(bank: Bank) -> float:
    """Power away from where the partials are, against the whole, in dB; worst of a few bright programs."""
    worst = -200.0
    for program in (0, 6, 30, 48, 62, 80, 81):
        for pitch in (108, 115, 121, 127):
            sound = bank.sound(program, pitch, 127)
            sound = replace(sound, noise=np.full_like(sound.noise, SILENCE))
            samples = Tone(sound).read(SAMPLE_RATE // 5, SAMPLE_RATE).astype(np.float64)
            if measures.level(samples) < -80:
                continue
            place = 2 * np.pi * np.arange(len(samples)) / len(samples)
            window = 0.35875 - 0.48829 * np.cos(place) + 0.14128 * np.cos(2 * place) - 0.01168 * np.cos(3 * place)
            power = np.abs(np.fft.rfft(samples * window)) ** 2
            near = np.zeros(len(power), dtype=bool)
            for frequency in sound.frequencies[sound.frequencies < SAMPLE_RATE / 2]:
                middle = round(frequency * len(samples) / SAMPLE_RATE)
                near[max(0, middle - 400) : middle + 401] = True
            near[:20] = True
            worst = max(worst, float(10 * np.log10(power[~near].sum() / power.sum() + 1e-20)))
    return worst


def worst_step(bank: Bank) -> float:
    """Largest second difference around a release or a theft, against the largest in the note before it."""
    worst = 0.0
    tones = Tones(bank)
    for program in (0, 16, 19, 40, 48, 56, 73, 80, 88):
        for steal in (False, True):
            tone, release, gain = tones.get(program, 55, 100, False)
            voice = Voice(55, 0, gain, tone, release, False)
            time_off = SAMPLE_RATE // 2 + 37
            if steal:
                voice.steal(time_off)
            else:
                voice.let_go(time_off)
            mono = np.zeros(SAMPLE_RATE, dtype=np.float32)
            voice.add_to(mono, 0, 1.0)
            bend = np.abs(np.diff(mono, 2))
            before = bend[time_off - 12_000 : time_off - 10].max()
            worst = max(worst, float(bend[time_off - 10 : time_off + 2 * STEAL_SAMPLES].max() / before))
    return worst


def after_release(bank: Bank) -> float:
    """Loudest sample half a second after the last voice says it has ended, over some programs, in dB."""
    worst = -200.0
    for program in range(0, 120, 7):
        synth = Synth(bank, 1)
        synth.parts[0].program = program
        synth.schedule(0, 0, bytes([ON, 60, 127]))
        synth.schedule(SAMPLE_RATE, 0, bytes([ON, 60, 0]))
        for _ in range(400):
            synth.block(4800)
            if synth.idle:
                break
        rest = synth.block(4800)[0]
        worst = max(worst, float(20 * np.log10(np.abs(rest).max() + 1e-9)))
    return worst


# --- Speed --------------------------------------------------------------------------------------------


def dense_score(seconds: float = 40.0) -> Score:
    """Like game music: a few hundred distinct notes over and over."""
    random = np.random.default_rng(3)
    end = int(seconds * 960)
    tracks = []
    for index, program in enumerate((0, 4, 24, 33, 48, 56, 73, 81)):
        scale = sorted(random.choice(np.arange(40, 84), 24, replace=False).tolist())
        notes, tick = [], 0
        while tick < end - 960:
            length = int(random.choice([120, 240, 480, 960]))
            notes.append(Note(tick, int(scale[int(random.integers(len(scale)))]), length - 20, 90))
            tick += length
        tracks.append(Track(program=program, channel=index, notes=tuple(notes)))
    beats = tuple(Note(tick, int(key), 100, 100) for tick in range(0, end - 960, 240) for key in (36, 42))
    return Score(480, (*tracks, Track(is_drum=True, channel=9, notes=beats)), length=end)


def speed_table(bank: Bank, fluidsynth: Callable[[Score], float]) -> str:
    """Seconds of music a second of processor time on one core. fluidsynth: its seconds for a score."""
    score = dense_score()
    synth = synth_for(score, bank)
    voices = []
    for _ in blocks(synth, 4800):
        voices.append(synth.voices)
    tones = synth.tones  # everything is in the cache now
    count = sum(len(track.notes) for track in score.tracks)
    lines = [f"dense file: {count} notes, {len(tones)} of them distinct, {_voices_said(voices)}"]
    for name in ("without the note cache", "with the note cache, from empty", "with the note cache full"):
        synth = synth_for(score, bank, 0) if name.startswith("without") else synth_for(score, bank)
        if name.endswith("full"):
            synth.tones = tones
        began, made = time.process_time(), 0
        for dry, _ in blocks(synth):
            made += dry.shape[2]
        lines.append(f"{name:40}x{made / SAMPLE_RATE / (time.process_time() - began):.0f}")
    lines.append(f"{'FluidSynth, the same file':40}x{score.seconds_at(score.end) / fluidsynth(score):.0f}")
    load, worst, voices = live_load(bank)
    lines.append(f"blocks of 10 ms, {_voices_said(voices)}: {100 * load:.1f} % of a core,")
    lines.append(f"  the longest block {1000 * worst:.1f} ms of processor time")
    return "\n".join(lines)


def _voices_said(voices: list[int]) -> str:
    return f"{np.mean(voices):.0f} voices on average, {max(voices)} at most"


def live_load(bank: Bank, seconds: float = 20.0, keys: int = 20) -> tuple[float, float, list[int]]:
    """Share of a core that live play takes in blocks of 10 ms, processor seconds of the longest, and voices."""
    synth = live_synth(bank, seconds, keys)
    took, voices = [], []
    for _ in range(int(seconds * 100)):
        began = time.process_time()
        synth.block(480)
        took.append(time.process_time() - began)
        voices.append(synth.voices)
    return sum(took) / seconds, max(took), voices


def live_synth(bank: Bank, seconds: float, keys: int) -> Synth:
    """A synth for live play with notes of eight programs for so many seconds.

    keys: how many are down at any time; what they let go rings on, which makes about twice as many voices.
    """
    programs = (0, 4, 24, 48, 52, 56, 73, 81)
    synth = Synth(bank, len(programs), ahead=3)
    random = np.random.default_rng(1)
    for part, program in zip(synth.parts, programs, strict=True):
        part.program = program
    for key in range(keys):
        start = int(random.integers(0, SAMPLE_RATE // 2))
        while start < seconds * SAMPLE_RATE:
            pitch, length = int(random.integers(40, 84)), int(random.integers(SAMPLE_RATE // 4, SAMPLE_RATE))
            synth.schedule(start, key % len(programs), bytes([ON, pitch, 90]))
            synth.schedule(start + length, key % len(programs), bytes([ON, pitch, 0]))
            start += length
    return synth


# --- Pictures -----------------------------------------------------------------------------------------


def picture(bank: Bank, font: Path, path: Path) -> None:
    """Mel spectrograms of six held-out notes, the teacher above and the synth below, as a PNG."""
    from matplotlib.figure import Figure

    wanted = [
        Request(program, False, pitch, 96, HOLD, KEEP)
        for program, pitch in ((0, 48), (24, 52), (40, 68), (56, 62), (73, 76), (88, 54))
    ]
    tones = Tones(bank)
    figure = Figure(figsize=(15, 5.6), layout="constrained")
    axes = figure.subplots(2, len(wanted), sharex=True, sharey=True)
    ticks = [100, 300, 1000, 3000, 10_000]
    low, high = (2595 * np.log10(1 + edge / 700) for edge in measures.MEL_RANGE)
    places = [(2595 * np.log10(1 + tick / 700) - low) / (high - low) * measures.MEL_BANDS for tick in ticks]
    for column, (request, teacher) in enumerate(zip(wanted, _mono(font, wanted), strict=True)):
        top = measures.log_mel(teacher).max()
        for row, samples in enumerate((teacher, play_note(tones, request))):
            shown = axes[row, column].imshow(
                measures.log_mel(samples).T,
                origin="lower",
                aspect="auto",
                vmin=top - measures.FLOOR,
                vmax=top,
                extent=(0, request.keep, 0, measures.MEL_BANDS),
            )
            axes[row, column].set_yticks(places, [f"{tick:,}" for tick in ticks])
        axes[0, column].set_title(f"{PROGRAM_NAMES[request.program]}, {pitch_name(request.pitch)}", fontsize=10)
        axes[1, column].set_xlabel("seconds")
    axes[0, 0].set_ylabel("teacher\nHz")
    axes[1, 0].set_ylabel("Descant\nHz")
    figure.colorbar(shown, ax=axes, label="dB", shrink=0.6)
    figure.savefig(path, dpi=80)


def add_command(commands: Any, say: Say) -> None:
    """`scripts/evaluate.py synth`."""
    command = commands.add_parser("synth", help="the synth beside its teacher and another sound font")
    command.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the synth's weights")
    command.add_argument("--font", type=Path, default=Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"))
    command.add_argument("--second", type=Path, default=Path("/usr/share/sounds/sf2/TimGM6mb.sf2"))
    command.add_argument("--per-program", type=int, default=3, help="held-out notes of each program")
    command.add_argument("--picture", type=Path, metavar="OUT.png", help="draw six notes beside the teacher's")
    command.add_argument("--no-speed", action="store_true", help="leave the speed out")
    command.set_defaults(run=lambda args: run(args, say), threads=1)


def run(args: Namespace, say: Say) -> None:
    """Print the table of docs/synth.md."""
    bank = Bank.load(args.weights)
    print(notes_table(bank, args.font, args.second, args.per_program, say) + "\n")
    print(checks_table(bank) + "\n")
    if not args.no_speed:
        print(speed_table(bank, partial(_fluidsynth_seconds, args.font)))
    if args.picture:
        picture(bank, args.font, args.picture)


def _fluidsynth_seconds(font: Path, score: Score) -> float:
    """Processor time that FluidSynth takes for a score, with its reverberation, less that for a short one."""

    def took(piece: Score) -> float:
        before = os.times()
        play_score(font, piece)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    return took(score) - took(Score(480, (Track(notes=(Note(0, 60, 10, 1),)),)))
