"""A musician's own instrument: a program of the synth that is moved to what their recordings sound like.

    output = network(program, pitch, velocity) + mean + (codes[pitch] + velocity * touch) @ directions

The program is the one that is nearest to begin with, so that pitches and velocities which were never played
sound as they do on a relative. What is added is learned from the notes of the recordings, in closed form: a
Gaussian process over pitch, linear in velocity (Rasmussen and Williams, 2006, ch. 2), cut down to RANK
directions. It takes seconds, and no gradient.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.errors import UserError
from models.synth.analysis import GRID, analyse, stretch_of
from models.synth.measures import log_mel_distance, running_level
from models.synth.network import (
    DEPTH,
    EXTRAS,
    MIDDLE_VELOCITY,
    OUTPUTS,
    PARTIAL_VALUES,
    PITCHES,
    STRETCH_SCALE,
    VELOCITY_SCALE,
    Bank,
    Learned,
    velocity_level,
)
from models.synth.pitch import HOP, PitchLine, follow
from models.synth.sound import BANDS, KNOTS, MELODIC, PARTIALS, SAMPLE_RATE, Floats, hertz
from models.synth.transcription import HeardNote, hear_notes
from models.synth.voices import Tones, Voice

RANK = 48
NEAR, FAR = 1.5, 5.0  # semitones over which notes speak for each other
WIDELY = 1.0  # how much the far ones do
TOUCH = 0.3  # how much of what differs between notes velocity may explain
CHANCE = 0.03  # of a note's difference that is its own
SHORTEST, LONGEST = 0.15, 3.5  # seconds of a note that is learned from
UNSTEADY = 0.5  # semitones of standard deviation
AROUND = 0.2  # seconds about the end of a note in which it is let go
FLOOR = 4.0  # dB above the quietest moment that are taken for silence
LEAST_RELEASE = 20.0  # dB a second
TOO_QUIET = 36.0  # dB below the loudest note
LOUDEST = 112  # velocity of the loudest note
MOST_NOTES = 400
FEWEST = 6  # notes that an instrument can be learned from
ASIDE = 5  # every so many notes, one is kept aside to measure on
TRIED = 10  # notes on which the nearest program is chosen
TENSORS_FILE, ABOUT_FILE, CARD_FILE = "instrument.safetensors", "instrument.json", "README.md"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Example:
    """One analysed note. levels and weight: (OUTPUTS,), as the network's. samples: its recording."""

    pitch: int
    velocity: int
    hold: float
    cents: float
    release: float  # dB a second; nan where it cannot be told
    levels: Floats
    weight: Floats
    samples: Floats


@dataclass(frozen=True, slots=True)
class Trained:
    """distance: logmelD on the notes that were kept aside, in dB; before: the nearest program's on the same."""

    learned: Learned
    notes: int
    seconds: float
    lowest: int
    highest: int
    distance: float
    before: float


def collect(samples: Floats, stop: Callable[[], bool] = lambda: False) -> list[Example]:
    """The usable notes of a monophonic recording (samples,) at 48 kHz. stop: says that time is up."""
    line = follow(samples)
    heard = [note for note in hear_notes(line) if _is_steady(line, note)]
    loudest = max((note.level for note in heard), default=0.0)
    found = []
    for place, note in enumerate(heard[:MOST_NOTES]):
        if stop():
            break
        if note.level > loudest - TOO_QUIET:
            after = heard[place + 1].start if place + 1 < len(heard) else len(samples) / SAMPLE_RATE
            found.append(_example(samples, note, after, loudest))
    return found


def _is_steady(line: PitchLine, note: HeardNote) -> bool:
    first, last = (round(second * SAMPLE_RATE / HOP) for second in (note.start, note.end))
    pitch = line.pitch[first + 3 : last - 2]
    pitch = pitch[~np.isnan(pitch)]
    return note.end - note.start >= SHORTEST and len(pitch) > 5 and float(pitch.std()) < UNSTEADY


def _example(samples: Floats, note: HeardNote, after: float, loudest: float) -> Example:
    start = _onset(samples, note)
    let_go, release = _let_go(samples, note, after)
    hold = min(max(let_go, note.start + 0.05), start / SAMPLE_RATE + LONGEST) - start / SAMPLE_RATE
    end = min(len(samples), int(min(after, let_go + 0.4) * SAMPLE_RATE))
    part = samples[start : max(end, start + int(hold * SAMPLE_RATE))]
    pitch = int(np.clip(round(note.pitch), 0, 127))
    velocity = int(np.clip(round(LOUDEST * 10 ** ((note.level - loudest) / 40)), 8, 127))
    sound, cents = analyse(part, GRID, float(hertz(pitch)), hold)
    levels = np.concatenate([sound.partials.ravel(), sound.noise.ravel()])
    peak = levels.max()
    levels = np.maximum(levels, peak - DEPTH)
    weight = np.clip((levels - peak + DEPTH - 10) / 40, 0.04, 1)
    levels = levels - np.float32(velocity_level(velocity))
    stretch = stretch_of(sound.frequencies, GRID) / STRETCH_SCALE
    return Example(
        pitch,
        velocity,
        hold,
        cents,
        release,
        np.append(levels, [0.0, stretch]).astype(np.float32),
        np.append(weight, [1.0, 1.0]).astype(np.float32),
        part[: int((hold + 0.1) * SAMPLE_RATE)].copy(),
    )


def _onset(samples: Floats, note: HeardNote) -> int:
    """The sample at which the note begins to be heard, near where its pitch was found."""
    first = max(0, int((note.start - 0.06) * SAMPLE_RATE))
    level = running_level(samples[first : int((note.start + 0.08) * SAMPLE_RATE)], 192)
    lowest = int(np.argmin(level[: int(0.08 * SAMPLE_RATE)]))
    loud = np.flatnonzero(level[lowest:] > max(0.12 * level.max(), 2 * level[lowest]))
    return first + lowest + (max(0, int(loud[0]) - 96) if len(loud) else 0)


def _let_go(samples: Floats, note: HeardNote, after: float) -> tuple[float, float]:
    """When a note is let go, in seconds, and what it then loses beyond what it lost before, dB a second.

    Where its level in dB bends down: the best two straight lines that meet. nan for the loss if it cannot be told.
    """
    first = max(0.0, note.start + 0.04, note.end - AROUND)
    end = min(after - 0.01, note.end + AROUND, len(samples) / SAMPLE_RATE)
    part = samples[int(first * SAMPLE_RATE) : int(max(end, first) * SAMPLE_RATE)]
    width = max(480, int(SAMPLE_RATE / float(hertz(note.pitch))))
    level = 20 * np.log10(running_level(part, width)[:: SAMPLE_RATE // 200] + 1e-7)
    low = np.flatnonzero(level < level.min(initial=0.0) + FLOOR)
    level = level[: int(low[0]) if len(low) else None]
    if len(level) < 8:
        return note.end, float("nan")
    seconds = np.arange(len(level)) / 200
    best, place, loss = np.inf, len(level), 0.0
    for bend in range(2, len(level) - 3):
        lines = np.stack([np.ones(len(level)), seconds, np.maximum(0, seconds - seconds[bend])], axis=1)
        solved = np.linalg.lstsq(lines, level, rcond=None)[0]
        off = float(np.square(level - lines @ solved).sum())
        if off < best:
            best, place, loss = off, bend, -float(solved[2])
    if loss < LEAST_RELEASE:
        return note.end, float("nan")
    return first + place / 200, min(loss, 2000.0)


# --- Learning -----------------------------------------------------------------------------------------


def train(bank: Bank, examples: Sequence[Example], name: str) -> Trained:
    """Learn an instrument, and measure it on every ASIDE-th note, learned without it. UserError for too few."""
    if len(examples) < FEWEST:
        hint = (
            "Play at least a minute, one note at a time, high and low, soft and loud, with little room around it."
        )
        raise UserError(f"Only {len(examples)} clear notes were found in the recordings", hint)
    program = nearest_program(bank, examples)
    aside = list(examples[ASIDE - 1 :: ASIDE])
    rest = [example for place, example in enumerate(examples) if place % ASIDE != ASIDE - 1]
    without = bank.with_learned([fit(bank, rest, program, name)])
    distance = float(np.median([_distance(without, MELODIC, example) for example in aside]))
    before = float(np.median([_distance(bank, program, example) for example in aside]))
    pitches = [example.pitch for example in examples]
    return Trained(
        fit(bank, examples, program, name),
        len(examples),
        sum(example.hold for example in examples),
        min(pitches),
        max(pitches),
        distance,
        before,
    )


def nearest_program(bank: Bank, examples: Sequence[Example]) -> int:
    """The harmonic program whose Sounds are nearest to the examples', loudness aside."""
    some = [examples[i] for i in np.unique(np.linspace(0, len(examples) - 1, TRIED).astype(int))]
    best, found = np.inf, 0
    for program in range(MELODIC):
        if not np.allclose(bank.weights["ratios"][program], GRID):
            continue
        outputs = bank.outputs([(program, example.pitch, example.velocity, False) for example in some])
        total = 0.0
        for output, example in zip(outputs, some, strict=True):
            known = _known(example)
            off = (example.levels - np.maximum(output, output.max() - DEPTH))[:-EXTRAS]
            weight = (example.weight * known)[:-EXTRAS]
            total += float(np.average(np.abs(off - np.average(off, weights=weight)), weights=weight))
        if total < best:
            best, found = total, program
    return found


def fit(bank: Bank, examples: Sequence[Example], program: int, name: str) -> Learned:
    """What has to be added to a program so that it sounds like the examples."""
    outputs = bank.outputs([(program, example.pitch, example.velocity, False) for example in examples])
    floor = outputs[:, :-EXTRAS].max(axis=1, keepdims=True) - DEPTH
    outputs[:, :-EXTRAS] = np.maximum(outputs[:, :-EXTRAS], floor)
    off = np.stack([_held_on(e, e.levels - output) for e, output in zip(examples, outputs, strict=True)])
    off[:, -EXTRAS] = 0.0
    weight = np.stack([example.weight for example in examples])
    # As loud as the program is at its loudest, whatever the microphone was set to.
    audible = weight[:, :-EXTRAS] > 0.6
    gain = float(np.median(off[:, :-EXTRAS][audible])) if audible.any() else 0.0
    mean = (weight * off).sum(axis=0) / weight.sum(axis=0)
    pitch = np.array([example.pitch for example in examples], dtype=np.float64)
    touch = (np.array([example.velocity for example in examples]) - MIDDLE_VELOCITY) / VELOCITY_SCALE
    alike = _alike(pitch, pitch) + TOUCH * touch[:, None] * touch[None]
    solved = np.linalg.solve(alike + CHANCE * np.eye(len(pitch)), off - mean)
    everywhere = np.arange(PITCHES, dtype=np.float64)
    moved = np.concatenate([_alike(everywhere, pitch) @ solved, TOUCH * touch[None] @ solved])
    left, strength, right = np.linalg.svd(moved, full_matrices=False)
    rank = min(RANK, len(pitch) + 1)
    codes = (left * strength)[:, :rank]
    mean[:-EXTRAS] -= gain
    releases = np.array([e.release for e in examples if np.isfinite(e.release)])
    release = float(np.median(releases)) if len(releases) >= 3 else float(bank.weights["release"][program])
    near = np.exp(-0.5 * ((everywhere[:, None] - pitch[None]) / FAR) ** 2) + 1e-6
    cents = near @ np.array([example.cents for example in examples]) / near.sum(axis=1)
    return Learned(
        name,
        program,
        mean.astype(np.float32),
        right[:rank].astype(np.float32),
        codes[:PITCHES].astype(np.float32),
        codes[PITCHES].astype(np.float32),
        cents.astype(np.float32),
        release,
    )


def _alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """How alike notes of two pitches are: a little over many semitones, much to those beside them."""
    apart = (first[:, None] - second[None]) ** 2
    return np.asarray(WIDELY * np.exp(-0.5 * apart / FAR**2) + np.exp(-0.5 * apart / NEAR**2))


def _known(example: Example) -> Floats:
    """1 for the values at knots that the note lasted to, (OUTPUTS,)."""
    lasted = (example.hold + 0.02 >= KNOTS).astype(np.float32)
    return np.concatenate([np.repeat(lasted, PARTIALS), np.repeat(lasted, BANDS), np.ones(EXTRAS, np.float32)])


def _held_on(example: Example, off: Floats) -> Floats:
    """Beyond the end of a note, what was off at its end: the program tells how it would have gone on."""
    last = max(0, int(np.searchsorted(KNOTS, example.hold - 0.03)) - 1)
    out = off.copy()
    for first, end, width in ((0, PARTIAL_VALUES, PARTIALS), (PARTIAL_VALUES, OUTPUTS - EXTRAS, BANDS)):
        table = out[first:end].reshape(len(KNOTS), width)
        table[last + 1 :] = table[max(0, last - 1) : last + 1].mean(axis=0)
    return out


def _distance(bank: Bank, program: int, example: Example) -> float:
    """logmelD of an example's recording from the same note of the synth."""
    tone, release, gain = Tones(bank, 0).get(program, example.pitch, example.velocity, False)
    voice = Voice(example.pitch, 0, gain, tone, release, False)
    mono = np.zeros(len(example.samples), dtype=np.float32)
    voice.let_go(round(example.hold * SAMPLE_RATE))
    voice.add_to(mono, 0, 1.0)
    return log_mel_distance(example.samples, mono)


# --- Files --------------------------------------------------------------------------------------------


def save(trained: Trained, bank: Bank, folder: Path, about: dict[str, object]) -> dict[str, object]:
    """Write an instrument into a folder: numbers, facts and a card. Returns the facts."""
    learned = trained.learned
    tensors = {
        "mean": learned.mean,
        "directions": learned.directions,
        "codes": learned.codes,
        "touch": learned.touch,
        "cents": learned.cents,
    }
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / TENSORS_FILE)
    facts: dict[str, object] = {
        "version": VERSION,
        "name": learned.name,
        "program": learned.program,
        "release": learned.release,
        "base": bank.digest,
        "notes": trained.notes,
        "seconds": round(trained.seconds, 1),
        "pitches": [trained.lowest, trained.highest],
        "held_out_log_mel_db": round(trained.distance, 2),
        "nearest_program_log_mel_db": round(trained.before, 2),
        **about,
    }
    (folder / ABOUT_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def load(folder: Path, bank: Bank) -> Learned:
    """Read what `save` wrote. UserError when it is damaged, or was learned for other weights."""
    hint = "Train it again with `descant instrument train`."
    try:
        facts = json.loads((folder / ABOUT_FILE).read_text("utf-8"))
        tensors = {name: value.astype(np.float32) for name, value in load_file(folder / TENSORS_FILE).items()}
        rank = len(tensors["directions"])
        shapes = {
            "mean": (OUTPUTS,),
            "directions": (rank, OUTPUTS),
            "codes": (PITCHES, rank),
            "touch": (rank,),
            "cents": (PITCHES,),
        }
        sound = all(tensors[name].shape == shape for name, shape in shapes.items())
        finite = all(np.isfinite(value).all() for value in tensors.values())
        program, release = int(facts["program"]), float(facts["release"])
        if not (sound and finite and 0 <= program < MELODIC and 0 <= release < 1e5 and rank <= 256):
            raise ValueError("not an instrument")
        name, base = str(facts["name"]), str(facts["base"])
    except Exception as error:  # safetensors has error types of its own
        raise UserError(f"The instrument in {folder} cannot be read", hint) from error
    if base != bank.digest:
        raise UserError(f'The instrument "{name}" was learned for another version of the synth', hint)
    return Learned(
        name,
        program,
        tensors["mean"],
        tensors["directions"],
        tensors["codes"],
        tensors["touch"],
        tensors["cents"],
        release,
    )
