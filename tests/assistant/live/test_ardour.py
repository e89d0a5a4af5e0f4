"""A real DAW: Ardour plays what was recorded in it, Descant answers from the next bar, and Ardour records that.

scripts/soak.py --only ardour prints the figures.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from scripts.midi_rig import Jack
from tests.builders import tiny_generator

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def daw(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/ardour_session.py, which imports its neighbours by their names."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("ardour_session")


@pytest.mark.parametrize(("bpm", "meter"), [(97.0, (4, 4)), (140.0, (7, 8))])
def test_an_answer_is_recorded_on_the_grid(
    bpm: float, meter: tuple[int, int], daw: ModuleType, jack: Jack, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    generator = tiny_generator(tmp_path / "weights")
    said = daw.converse(tmp_path, bpm, meter, generator, jack)
    assert len(said.asked) >= 8
    assert said.first.pitches == said.again.pitches == [pitch for _, pitch in said.asked]
    assert not said.first.hanging and not said.again.hanging
    # A take in which JACK lost time, and the song with it, was taken again; any other has to be right at once.
    assert max(map(abs, said.first.errors)) <= daw.TOLERANCE
    assert max(map(abs, said.again.errors)) <= daw.TOLERANCE
