"""What the tests of the assistant share: a small network with random weights, so that no test waits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from assistant.pipeline import WEIGHTS_VARIABLE
from models.architecture import SIZES
from models.training.checkpoint import export_weights
from models.transformer import MusicTransformer


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights that know no music, in the form of those that ship."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("weights")
    export_weights(MusicTransformer(SIZES["tiny"]), folder, {})
    return folder


@pytest.fixture
def weights(weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, and every command of the test uses it."""
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights_folder))
    return weights_folder
