"""Captions: they say what is true of the piece, in many ways, and nothing that cannot be relied on."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.training.captions import STYLES, SYNONYMS, caption, facts_of
from tests.builders import random_piece

seeds = st.integers(0, 2**32 - 1)
WALTZ = {
    "set": "mutopia",
    "genre": "Waltz",
    "tempo_source": "file",
    "meter": "3/4",
    "key": "D minor",
    "composer": "Chopin, Frederic",
    "date": "1830",
}


def texts(info: dict[str, object], count: int = 300, **changes: object) -> list[str]:
    rng = np.random.default_rng(0)
    piece = replace(random_piece(rng, 8, 2, 6), **changes)
    facts = facts_of(info, piece)
    return [caption(facts, rng) for _ in range(count)]


def test_wordings_vary() -> None:
    said = texts(WALTZ)
    assert len(set(said)) > 280
    assert min(map(len, said)) < 20 and max(map(len, said)) > 80
    assert any(text.islower() for text in said) and any(text[0].isupper() for text in said)


def test_what_is_known_is_said_and_sometimes_left_out() -> None:
    said = [text.lower() for text in texts(WALTZ)]
    for words in (r"waltz", r"3/4", r"d min|\bdm\b", r"chopin", r"romantic", r"minor"):
        share = np.mean([bool(re.search(words, text)) for text in said])
        assert 0.03 < share < 0.9, words


def test_a_default_tempo_is_not_mentioned() -> None:
    bars = random_piece(np.random.default_rng(0), 8, 2, 6).bars.copy()
    bars[:, 2] = 131
    assert any("131" in text for text in texts(WALTZ, bars=bars))
    assert not any("131" in text for text in texts(WALTZ | {"tempo_source": "default"}, bars=bars))


def test_guessed_instruments_are_not_mentioned() -> None:
    programs = np.array([73, 42], dtype=np.int32)
    assert any("flute" in text.lower() for text in texts(WALTZ, programs=programs))
    assert not any("flute" in text.lower() for text in texts({"set": "pop909"}, programs=programs))


@given(seeds)
def test_every_piece_gets_a_text(seed: int) -> None:
    rng = np.random.default_rng(seed)
    piece = random_piece(rng, 4, int(rng.integers(1, 6)), int(rng.integers(0, 12)))
    info: dict[str, object] = {"set": str(rng.choice(["groove-midi", "polish-scores", "new set"]))}
    text = caption(facts_of(info, piece), rng)
    assert text.strip() and "{" not in text and "\0" not in text and "  " not in text
    assert not re.search(r"\b(\w+) \1\b", text)


def test_no_wording_is_empty_or_said_twice() -> None:
    for words in (*STYLES.values(), *SYNONYMS.values()):
        assert all(words) and len(set(words)) == len(words)
