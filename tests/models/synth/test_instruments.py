"""Instruments learned from recordings, and lines played by another instrument."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.errors import UserError
from models.score import Event, Note, Score, Track
from models.synth import instruments, measures
from models.synth.network import OUTPUTS, Bank
from models.synth.pitch import follow
from models.synth.render import synth_for
from models.synth.sound import MELODIC, SAMPLE_RATE, Floats, hertz
from models.synth.tone import Tone
from models.synth.transfer import transfer

PITCHES = (60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62, 60, 61, 63, 66)


def played(pitches: tuple[int, ...] = PITCHES) -> Floats:
    """A reed-like line of odd harmonics over a little noise, the harder played notes brighter."""
    random = np.random.default_rng(2)
    parts: list[np.ndarray] = []
    for place, pitch in enumerate(pitches):
        loud = (0.1, 0.2, 0.35)[place % 3]
        time = np.arange(int(0.5 * SAMPLE_RATE)) / SAMPLE_RATE
        waves = [
            k ** -(2.0 - 2 * loud) * np.sin(2 * np.pi * k * float(hertz(pitch)) * time + k) for k in range(1, 16, 2)
        ]
        fade = np.clip(time / 0.03, 0, 1) * np.clip((0.5 - time) / 0.03, 0, 1)
        parts += [np.zeros(int(0.12 * SAMPLE_RATE)), loud * fade * np.sum(waves, axis=0)]
    sound = np.concatenate([*parts, np.zeros(SAMPLE_RATE // 2)])
    return (sound + 1e-4 * random.standard_normal(len(sound))).astype(np.float32)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank.load()


@pytest.fixture(scope="module")
def trained(bank: Bank) -> instruments.Trained:
    return instruments.train(bank, instruments.collect(played()), "reed")


def test_an_instrument_comes_near_notes_that_were_kept_aside(trained: instruments.Trained) -> None:
    assert trained.notes == len(PITCHES)
    assert (trained.lowest, trained.highest) == (60, 72)
    assert trained.distance <= 2.5
    assert trained.distance < trained.before / 2


def test_it_plays_in_tune_at_every_pitch_and_louder_when_played_harder(
    bank: Bank, trained: instruments.Trained
) -> None:
    own = bank.with_learned([trained.learned])
    levels = []
    for pitch in (0, 30, 60, 72, 90, 127):
        tone = Tone(own.sound(MELODIC, pitch, 100))
        assert np.isfinite(tone.read(0, SAMPLE_RATE)).all()
    for velocity in (30, 60, 90, 120):
        tone = Tone(own.sound(MELODIC, 65, velocity)).read(0, SAMPLE_RATE)
        levels.append(measures.level(tone))
        assert np.nanmedian(follow(tone).pitch) == pytest.approx(65, abs=0.1)
    assert levels == sorted(levels)


def test_its_files_say_the_same_again(bank: Bank, trained: instruments.Trained, tmp_path: Path) -> None:
    facts = instruments.save(trained, bank, tmp_path, {"recordings": 1})
    assert facts["held_out_log_mel_db"] == round(trained.distance, 2) and facts["recordings"] == 1
    again = instruments.load(tmp_path, bank)
    one, other = (bank.with_learned([learned]).sound(MELODIC, 66, 80) for learned in (trained.learned, again))
    assert np.array_equal(one.partials, other.partials) and np.array_equal(one.frequencies, other.frequencies)


def test_files_that_are_no_instrument_are_refused(bank: Bank, trained: instruments.Trained, tmp_path: Path) -> None:
    instruments.save(trained, bank, tmp_path, {})
    tensors, about = load_file(tmp_path / instruments.TENSORS_FILE), (tmp_path / instruments.ABOUT_FILE).read_text()
    for name, value in (("mean", np.zeros(3, np.float32)), ("mean", np.full(OUTPUTS, np.nan, np.float32))):
        save_file(tensors | {name: value}, tmp_path / instruments.TENSORS_FILE)
        with pytest.raises(UserError, match="cannot be read"):
            instruments.load(tmp_path, bank)
    save_file(tensors, tmp_path / instruments.TENSORS_FILE)
    (tmp_path / instruments.ABOUT_FILE).write_text(json.dumps(json.loads(about) | {"base": "other"}))
    with pytest.raises(UserError, match="another version"):
        instruments.load(tmp_path, bank)
    (tmp_path / instruments.ABOUT_FILE).write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        instruments.load(tmp_path, bank)


def test_a_track_keeps_its_instrument_whatever_program_its_messages_ask_for(
    bank: Bank, trained: instruments.Trained
) -> None:
    own = bank.with_learned([trained.learned])
    track = Track(program=0, notes=(Note(0, 66, 480, 100),), events=(Event(0, bytes([0xC0, 40])),))
    score = Score(480, (track, track))
    dry = synth_for(score, own, programs={0: MELODIC}).block(SAMPLE_RATE // 2)[0]
    violin = synth_for(score, bank).block(SAMPLE_RATE // 2)[0]
    assert np.abs(dry[1] - violin[1]).max() < 10 ** (-90 / 20)
    assert measures.log_mel_distance(violin[0, 0], dry[0, 0]) > 3


def test_too_few_notes_are_said(bank: Bank) -> None:
    with pytest.raises(UserError, match="Only 2 clear notes"):
        instruments.train(bank, instruments.collect(played((60, 64))), "short")


def test_time_that_is_up_ends_the_collecting() -> None:
    assert instruments.collect(played((60, 64)), lambda: True) == []


@pytest.mark.parametrize(("program", "octave"), [(40, 0), (73, 1), (0, 0)])
def test_a_line_keeps_its_pitch_and_its_swells_on_another_instrument(bank: Bank, program: int, octave: int) -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    vibrato = 0.4 * np.sin(2 * np.pi * 5 * time)
    turns = np.cumsum(hertz(64 + vibrato)) / SAMPLE_RATE
    swell = (0.1 + 0.3 * np.sin(np.pi * time / 2) ** 2) * np.clip((2 - time) / 0.05, 0, 1)
    line = (swell * np.sin(2 * np.pi * turns)).astype(np.float32)
    sound = np.concatenate(list(transfer(line, bank, program, octave)), axis=1)
    assert np.isfinite(sound).all() and 2.0 < sound.shape[1] / SAMPLE_RATE < 8
    first, second = follow(line), follow(sound.sum(axis=0)[: 2 * SAMPLE_RATE])
    inside = slice(25, 170)
    off = second.pitch[inside] - first.pitch[inside] - 12 * octave
    assert np.nanmedian(np.abs(off)) < 0.15
    if program == 40:
        assert np.corrcoef(second.level[inside], first.level[inside])[0, 1] > 0.8


def test_silence_cannot_be_played_by_another_instrument(bank: Bank) -> None:
    with pytest.raises(UserError, match="No note"):
        list(transfer(np.zeros(SAMPLE_RATE, dtype=np.float32), bank, 40))
