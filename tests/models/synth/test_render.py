"""The synth as a listener meets it: notes where they belong, blocks of any size alike, silence afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import UserError
from models.score import Event, Note, Score, Track
from models.synth import evaluation, measures
from models.synth.network import Bank
from models.synth.render import MOST_VOICES, ON, Synth, blocks, synth_for
from models.synth.sound import DRUM_KEYS, SAMPLE_RATE, Floats
from models.synth.voices import Tones


@pytest.fixture(scope="module")
def bank() -> Bank:
    """The weights that ship."""
    return Bank.load()


def played(synth: Synth, samples: int, size: int) -> tuple[Floats, Floats]:
    """Dry sound of all parts and the reverberation, (2, samples) each, made in blocks of `size`."""
    dry, wet = [], []
    for first in range(0, samples, size):
        block = synth.block(min(size, samples - first))
        dry.append(block[0].sum(axis=0))
        wet.append(block[1])
    return np.concatenate(dry, axis=1), np.concatenate(wet, axis=1)


notes = st.builds(
    Note,
    start=st.integers(0, 900),
    pitch=st.integers(0, 127),
    duration=st.integers(1, 600),
    velocity=st.integers(1, 127),
    release=st.just(64),
)
messages = st.one_of(
    st.tuples(st.just(0xB0), st.sampled_from([1, 7, 10, 11, 64, 91, 121, 123]), st.integers(0, 127)),
    st.tuples(st.just(0xE0), st.integers(0, 127), st.integers(0, 127)),
    st.tuples(st.just(0xC0), st.integers(0, 127)),
    st.tuples(st.just(0xD0), st.integers(0, 127)),
)
events = st.builds(Event, st.integers(0, 900), messages.map(bytes))
tracks = st.builds(
    lambda some, others, program, drum: Track(
        program=program, is_drum=drum, notes=tuple(sorted(some)), events=tuple(sorted(others))
    ),
    st.lists(notes, min_size=1, max_size=6),
    st.lists(events, max_size=4),
    st.integers(0, 127),
    st.booleans(),
)


@settings(max_examples=12)
@given(st.lists(tracks, min_size=1, max_size=2), st.integers(50, 3000))
def test_blocks_of_any_size_give_the_same_sound(bank: Bank, some: list[Track], size: int) -> None:
    score = Score(480, tuple(some))
    whole = played(synth_for(score, bank), SAMPLE_RATE, SAMPLE_RATE)
    parts = played(synth_for(score, bank), SAMPLE_RATE, size)
    for one, other in zip(whole, parts, strict=True):
        assert np.isfinite(one).all()
        assert np.abs(one - other).max() < 10 ** (-90 / 20)


def test_what_is_inaudible_is_left_out_alike_in_blocks_of_any_size(bank: Bank) -> None:
    note = Note(start=0, pitch=41, duration=53, velocity=13, release=64)
    score = Score(480, (Track(program=39, notes=(note,)),))
    whole, parts = (played(synth_for(score, bank), SAMPLE_RATE, size)[0] for size in (SAMPLE_RATE, 256))
    assert np.abs(whole).max() > 1e-3 and np.abs(whole - parts).max() < 1e-6


@pytest.mark.parametrize("start", [0, 1, 479, 480, 481, 12_345])
def test_a_note_starts_on_its_sample(bank: Bank, start: int) -> None:
    def sounded(at: int) -> Floats:
        synth = Synth(bank, 1)
        synth.schedule(at, 0, bytes([ON, 60, 100]))
        return played(synth, 20_000, 480)[0]

    first = sounded(0)
    assert np.array_equal(sounded(start)[:, start:], first[:, : 20_000 - start])
    assert not sounded(start)[:, :start].any()


def test_every_program_and_drum_sounds_and_is_louder_when_played_harder(bank: Bank) -> None:
    tones = Tones(bank)
    for drum, which in ((False, range(128)), (True, DRUM_KEYS)):
        for number in which:
            request = evaluation.Request(0 if drum else number, drum, number if drum else 60, 40, 0.3, 0.4)
            soft = evaluation.play_note(tones, request)
            hard = evaluation.play_note(tones, evaluation.replace(request, velocity=120))
            # Some keys of the kit are empty in the font it was learned from.
            if measures.level(hard) > -90:
                assert measures.level(hard) > measures.level(soft) + 3, (drum, number)
            assert drum or measures.level(hard) > -75, number


def test_what_needs_no_teacher_keeps_its_bars(bank: Bank) -> None:
    assert evaluation.velocity_order(bank) >= 0.98
    assert evaluation.bend_error(bank) <= 2
    assert evaluation.aliasing(bank) <= -80
    assert evaluation.worst_step(bank) <= 1.5
    assert evaluation.after_release(bank) <= -90


def test_the_note_cache_changes_nothing_and_stays_within_its_bound(bank: Bank) -> None:
    score = Score(480, (Track(program=48, notes=tuple(Note(60 * i, 40 + i % 30, 200, 80) for i in range(60))),))
    bound = 4 << 20
    cached, uncached = synth_for(score, bank, bound), synth_for(score, bank, 0)
    sounds = [played(synth, 4 * SAMPLE_RATE, 4800)[0] for synth in (cached, uncached)]
    # The network is asked for other notes together, which rounds otherwise.
    assert np.abs(sounds[0] - sounds[1]).max() < 10 ** (-90 / 20)
    cached.tones.get(0, 60, 80, False)
    assert cached.tones.nbytes <= bound


def test_a_thousand_notes_at_once_are_thinned_out(bank: Bank) -> None:
    chord = tuple(Note(0, i % 128, 480, 1 + i % 127) for i in range(1000))
    synth = synth_for(Score(480, (Track(notes=chord),)), bank)
    sound = played(synth, SAMPLE_RATE // 2, 4800)[0]
    assert np.isfinite(sound).all() and np.abs(sound).max() > 0.01
    assert synth.voices <= MOST_VOICES


def test_a_note_of_half_an_hour_takes_no_more_memory_than_a_short_one(bank: Bank) -> None:
    synth = Synth(bank, 1)
    synth.parts[0].program = 19
    synth.schedule(0, 0, bytes([ON, 60, 100]))
    for _ in range(30):
        late = synth.block(SAMPLE_RATE)[0]
    assert measures.level(late[0, 0]) > -60
    assert synth.tones.nbytes < 3 << 20


def test_a_score_ends_in_silence(bank: Bank) -> None:
    score = Score(480, (Track(program=0, notes=(Note(0, 60, 480, 127),)),))
    *_, (dry, wet) = blocks(synth_for(score, bank), 4800)
    assert np.abs(dry).max() < 1e-4 and np.abs(wet).max() < 1e-4


def test_what_cannot_be_played_is_said(bank: Bank) -> None:
    endless = Score(480, (Track(notes=(Note(0, 60, 480 * 20_000, 64),)),))
    for score, part in ((Score(), "no notes"), (endless, "longer than 2 hours")):
        with pytest.raises(UserError, match=part):
            synth_for(score, bank)
