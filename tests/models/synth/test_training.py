"""From recordings of the teacher to weights that play: the whole way, on a handful of notes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from models.errors import UserError
from models.synth import corpus, measures, training
from models.synth.analysis import GRID, analyse, stretched, tuning
from models.synth.network import Bank
from models.synth.sound import DRUM_KEYS, INSTRUMENTS, SAMPLE_RATE, Floats, Sound
from models.synth.tone import Tone
from models.synth.training import Sizes

FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")


def known_sound(cents: float, stretch: float) -> Sound:
    """A plucked tone of twelve partials over a little noise."""
    partials = np.full((32, 96), -120.0, dtype=np.float32)
    fall = np.linspace(0, 20, 32)[:, None]
    partials[:, :12] = -18 - 3 * np.arange(12)[None] - fall
    noise = np.full((32, 40), -85.0, dtype=np.float32)
    return Sound(stretched(GRID, 220.0, cents, stretch), partials, noise, 100.0)


@pytest.mark.parametrize(("cents", "stretch"), [(0.0, 0.0), (17.0, 0.0), (-8.0, 3e-4)])
def test_analysis_finds_what_was_synthesized(cents: float, stretch: float) -> None:
    sound = known_sound(cents, stretch)
    samples = Tone(sound).read(0, 4 * SAMPLE_RATE).astype(np.float64)
    found, off = analyse(samples, GRID, 220.0, 3.0)
    assert off == pytest.approx(cents, abs=0.5)
    assert found.frequencies[:12] == pytest.approx(sound.frequencies[:12], rel=1e-3)
    assert np.abs(found.partials[8:, :12] - sound.partials[8:, :12]).mean() < 0.5
    again = Tone(found).read(0, 2 * SAMPLE_RATE)
    assert measures.log_mel_distance(samples[: len(again)], again) < 1.5


def test_tuning_of_silence_is_no_accident() -> None:
    assert tuning(np.zeros(SAMPLE_RATE), GRID, 220.0, 1.0) == (0.0, 0.0)


def test_a_sound_is_no_distance_from_itself_and_some_from_another() -> None:
    def tone(hertz: float) -> Floats:
        return np.sin(2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)

    for distance in (measures.log_mel_distance, measures.spectral_distance):
        assert distance(tone(440), tone(440)) < 1e-3
        assert distance(tone(440), 0.1 * tone(440)) < 1e-2
        assert distance(tone(440), tone(660)) > 0.5


@pytest.mark.skipif(shutil.which("fluidsynth") is None or not FONT.exists(), reason="the teacher is not installed")
def test_weights_are_made_from_the_font_and_training_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "PITCHES", range(55, 66, 2))
    said: list[str] = []
    for instrument in range(INSTRUMENTS):
        if instrument not in (0, 73, 136):
            save_file({}, tmp_path / f"{instrument:03d}.safetensors")  # taken for done, and so left out
    corpus.make(FONT, tmp_path, said.append)
    assert [line.split()[0] for line in said] == ["0", "73", "136"]
    corpus.make(FONT, tmp_path, said.append)
    assert len(said) == 3
    for path in tmp_path.glob("*.safetensors"):
        if not load_file(path):
            path.unlink()
    torch.manual_seed(0)
    notes = training.read_notes(tmp_path)
    sizes = Sizes(latent=24, code=8, embedding=4, hidden=16)
    lines: list[str] = []
    training.train(notes, tmp_path / "fit", 20, 8, sizes=sizes, report=lines.append, save_every=10)
    training.train(notes, tmp_path / "fit", 40, 8, sizes=sizes, report=lines.append, save_every=10)
    assert any("going on from step 20" in line for line in lines)
    silent = np.zeros((len(DRUM_KEYS), 1000), dtype=np.float32)
    training.export(tmp_path / "fit", notes, np.full(INSTRUMENTS, 90.0, np.float32), silent, tmp_path / "out")
    bank = Bank.load(tmp_path / "out")
    for program in (0, 73):
        one = Tone(bank.sound(program, 60, 80)).read(0, SAMPLE_RATE)
        other = Tone(bank.sound(program, 61, 80)).read(0, SAMPLE_RATE)
        assert measures.level(one) > -60
        assert measures.log_mel_distance(one, other) > 0.3


def test_weights_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not a network")
    with pytest.raises(UserError, match="cannot be read"):
        Bank.load(tmp_path)
