"""Single notes that are locked stay byte for byte, whatever is written around them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.asking import build_request, describe_request, parse_words
from assistant.pipeline import load_generator, propose
from models.errors import UserError
from models.midi_file import read_midi
from models.score import Note, Score

Locked = tuple[int, Note]


def notes_within(score: Score, first: int, last: int) -> list[Locked]:
    begin, end = score.bar(first).start, score.bar(last).end
    return [
        (at, note) for at, track in enumerate(score.tracks) for note in track.notes if begin <= note.start < end
    ]


def words(locked: list[Locked], **more: object) -> dict[str, object]:
    lock = [f"{track + 1}:{note.start}:{note.pitch}" for track, note in locked]
    return {"operation": "fill", "bars": "2-3", "candidates": 2, "lock": lock or None} | more


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), piece=st.sampled_from(["string-quartet", "song-voice-piano", "piano-minuet"]))
def test_locked_notes_stay_as_they_are(weights: Path, data_dir: Path, data: st.DataObject, piece: str) -> None:
    score = read_midi(data_dir / f"{piece}.mid").score
    there = notes_within(score, 1, 2)
    locked = data.draw(st.lists(st.sampled_from(there), unique=True, max_size=12))
    seed = data.draw(st.integers(0, 1000))
    controls = data.draw(
        st.sampled_from([{}, {"key": "C major"}, {"max_polyphony": 4}, {"operation": "vary", "strength": 0.9}])
    )
    asked = build_request(parse_words(words(locked, seed=seed, **controls)), score)
    for candidate in propose(asked, load_generator()):
        for track, note in locked:
            assert note in candidate.score.tracks[track].notes
        assert not [found for found in candidate.violations if "lock" in found.lower()]
        for before, after in zip(score.tracks, candidate.score.tracks, strict=True):
            begin, end = score.bar(1).start, score.bar(2).end
            outside = [note for note in before.notes if not begin <= note.start < end]
            assert [note for note in after.notes if note in set(outside)] == outside


def test_something_is_written_around_them(weights: Path, data_dir: Path) -> None:
    score = read_midi(data_dir / "string-quartet.mid").score
    locked = notes_within(score, 1, 2)[::3]
    asked = build_request(parse_words(words(locked, seed=1)), score)
    written = describe_request("fill", asked)["lock"]
    assert len(written) == len(locked)
    for candidate in propose(asked, load_generator()):
        assert candidate.note_count
        assert not {(track, note) for track, note in candidate.written} & set(locked)


@pytest.mark.parametrize("lock", ["1:7:60", "x", "0:0:60", "1:0:128", "9:0:60"])
def test_what_cannot_be_locked_is_a_sentence(weights: Path, data_dir: Path, lock: str) -> None:
    score = read_midi(data_dir / "string-quartet.mid").score
    with pytest.raises(UserError) as caught:
        build_request(parse_words({"operation": "fill", "bars": "2-3", "lock": lock}), score)
    assert caught.value.hint
