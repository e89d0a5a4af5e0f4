"""`descant sketch` and `descant edit`: files that do what the words say, whatever the network writes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import pipeline
from assistant.cli import main
from assistant.editing import apply_exact, target_bars, target_tracks, thinned
from assistant.pipeline import Options
from assistant.sketching import finish, sketch, sketch_request
from models.constraints import Controls
from models.drawing import FROM_NOTHING
from models.errors import ControlError, UserError
from models.midi_file import read_midi, save_midi
from models.score import KeySignature, Note, Score, Track
from models.text.edits import Change, read_edit
from models.text.genres import KIT
from models.text.plan import parts_of
from models.text.reading import understand
from models.theory import parse_key
from tests.builders import AnyNotes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from scripts.text_checks import check_score, four_on_the_floor, names_of, swings

pytestmark = pytest.mark.usefixtures("weights")
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sketch_is_what_was_said_and_the_brief_is_echoed(here: Path, capsys: Captured) -> None:
    words = "slow blues in A, 5 bars, piano, bass and drums"
    assert main(["sketch", words, "-o", "blues.mid", "--candidates", "1", "--seed", "3"]) == 0
    score = read_midi("blues.mid").score
    facts = {"slow": "slow", "bars": "5", "ins": "Acoustic Grand Piano,Fingered Bass,Drums", "meter": "4/4"}
    assert all(check_score(facts, score).values())
    assert (score.keys[0].fifths, score.keys[0].minor) == (3, False)
    said = capsys.readouterr().out
    assert "style   blues" in said and "5 bars" in said and said.splitlines()[-1] == "--seed 3 repeats this"
    before = Path("blues.mid").read_bytes()
    assert main(["sketch", words, "-o", "again.mid", "--candidates", "1", "--seed", "3"]) == 0
    assert Path("again.mid").read_bytes() == before


def test_json_gives_a_brief_that_can_be_edited_and_passed_back(here: Path, capsys: Captured) -> None:
    assert main(["sketch", "waltz for flute, 3 bars", "-o", "a.mid", "--candidates", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [c["path"] for c in told["candidates"]] == ["a-1.mid", "a-2.mid"]
    assert told["brief"]["meter"] == [3, 4] and told["brief"]["instruments"] == ["Flute"]
    told["brief"] |= {"tempo": 77, "instruments": ["Cello"], "key": "C minor"}
    Path("brief.json").write_text(json.dumps(told), encoding="utf-8")
    assert main(["sketch", "--brief", "brief.json", "-o", "b.mid", "--candidates", "1"]) == 0
    score = read_midi("b.mid").score
    assert score.tempo_at(0).bpm == pytest.approx(77, abs=0.01)
    assert names_of(score) == {"Cello": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["sketch", "-o", "a.mid"], "what to sketch"),
        (["sketch", "x", "--brief", "b.json", "-o", "a.mid"], "b.json"),
        (["sketch", "--brief", "none.json", "-o", "a.mid"], "Cannot read none.json"),
        (["sketch", "9999 bars of piano", "-o", "a.mid"], "9,999 bars"),
        (["sketch", "", "-o", "a.mid"], "text is empty"),
        (["sketch", "piano", "-o", "a.txt"], "does not end in .mid"),
        (["sketch", "piano", "-o", "a.mid", "--render", "a.mp3"], "does not end in .wav"),
    ],
)
def test_what_makes_no_sense_is_a_sentence_and_writes_nothing(
    line: list[str], message: str, here: Path, capsys: Captured
) -> None:
    assert main(line) == 2
    assert message in capsys.readouterr().err
    assert not list(here.iterdir())


def test_flags_beat_words(here: Path) -> None:
    line = ["sketch", "pop in C, 16 bars, piano and flute", "-o", "a.mid", "--candidates", "1", "--bars", "2"]
    assert main([*line, "--key", "E minor", "--range", "C4-C6", "--max-polyphony", "1"]) == 0
    score = read_midi("a.mid").score
    scale = parse_key("E minor").pitch_classes
    notes = [note for track in score.tracks for note in track.notes]
    assert notes and all(60 <= n.pitch <= 84 and n.pitch % 12 in scale for n in notes)
    assert score.bar_at(max(n.end for n in notes) - 1).index + 1 == 2


TEXTS = (
    "techno, F minor, 4 bars",
    "bossa nova in D, no drums, 3 bars",
    "7/8 prog rock, B minor, 2 bars",
    "string quartet, 6/8, E major, 4 bars, very slow",
    "just drums, funk, 5 bars",
    "swing, tuba and banjo, 12/8, 2 bars",
    "march, A then louder B, 6 bars, in G",
    "four on the floor, flute, 5/4, 4 bars, 111 bpm",
    "Am | Dm | E7 | Am, accordion, 4 bars",
    "synth bass alone, house, C minor, 4 bars",
)


@pytest.mark.parametrize("text", TEXTS)
def test_facts_hold_whatever_notes_are_drawn(text: str) -> None:
    brief = understand(text, plain=True)
    made = sketch(brief, AnyNotes(), Options(candidates=2, seed=1, sampling=FROM_NOTHING))
    scale = parse_key(brief.key).pitch_classes
    for one in made:
        score = one.score
        assert score.tempo_at(0).bpm == pytest.approx(brief.tempo, rel=1e-4)
        bar = score.bar(0)
        assert (bar.numerator, bar.denominator) == brief.meter
        end = max(note.end for track in score.tracks for note in track.notes)
        assert score.bar_at(end - 1).index + 1 == brief.bars
        assert end <= score.length
        assert sorted(names_of(score).elements()) == sorted(brief.instruments)
        for part, track in zip(parts_of(brief), score.tracks, strict=True):
            if not track.is_drum:
                assert all(note.pitch % 12 in scale for note in track.notes), part
        assert one.candidate.violations == ()
    if "four on the floor" in text or "techno" in text:
        assert all(four_on_the_floor(one.score) for one in made)
    if "swing," in text:
        assert all(swings(one.score) for one in made)


def test_fills_keep_the_plan_and_the_kit() -> None:
    brief = understand("bossa nova drums only, 8 bars", plain=True)
    score = sketch(brief, AnyNotes(), Options(candidates=1, seed=2))[0].score
    strokes = [n for n in score.tracks[0].notes if n.pitch == KIT["rim"] and n.start < 4 * 1920]
    assert [n.start // 120 % 32 for n in strokes] == [0, 6, 12, 20, 26] * 2
    assert {n.pitch for n in score.tracks[0].notes} <= set(KIT.values())


def test_sections_differ_in_loudness() -> None:
    brief = understand("piano, A then louder B, 8 bars", plain=True)
    score = sketch(brief, AnyNotes(), Options(candidates=1, seed=2))[0].score
    middle = score.bar(4).start
    parts = [[n.velocity for n in score.tracks[0].notes if (n.start < middle) == first] for first in (True, False)]
    assert sum(parts[1]) / len(parts[1]) > sum(parts[0]) / len(parts[0]) + 8


def by_bar(score: Score, track: int) -> list[list[tuple[int, int]]]:
    """Place and pitch of a track's notes, by bar."""
    found: list[list[tuple[int, int]]] = [[] for _ in range(64)]
    for note in score.tracks[track].notes:
        bar = score.bar_at(note.start)
        found[bar.index].append((note.start - bar.start, note.pitch))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_melody_comes_back_with_another_ending(seed: int) -> None:
    brief = understand("waltz in G for flute, 16 bars, chords G | D | C | G", plain=True)
    made = sketch(brief, AnyNotes(), Options(candidates=1, seed=seed))[0]
    # As written, before a tonic chord is given its third; an early downbeat is no note of the bar that it ends.
    written = [
        [(place, pitch) for place, pitch in bar if place < 1440 - 32] for bar in by_bar(made.candidate.score, 0)
    ]
    assert written[4] == written[0] == written[12]
    for bar, source in ((5, 1), (6, 2), (13, 1)):
        strong, again = (
            {(round(place / 20), pitch) for place, pitch in written[number] if round(place / 20) % 36 == 0}
            for number in (source, bar)
        )
        assert strong <= again
        assert abs(len(written[bar]) - len(written[source])) <= 2
    bars = by_bar(made.score, 0)
    third, first = ([place for place, _ in bars[bar]] for bar in (2, 0))
    assert (
        third == first[: len(third)] and len(third) >= len(first) - 1
    )  # its last may give way to an early downbeat
    assert bars[8:11] != bars[:3]


@pytest.mark.parametrize("text", ["piano, 8 bars", "solo guitar, jazz, 4 bars", "boogie woogie piano in C, 8 bars"])
def test_one_player_has_two_hands_and_one_track(text: str) -> None:
    brief = understand(text, plain=True)
    made = sketch(brief, AnyNotes(), Options(candidates=1, seed=3))[0]
    assert len(made.score.tracks) == 1 and len(made.candidate.score.tracks) == 2
    request = sketch_request(brief)
    assert request is not None and request.form is not None and request.form.singing == frozenset({0})
    assert {note.pitch < 60 for note in made.score.tracks[0].notes} == {True, False}


def test_a_loop_goes_on_to_the_last_bar_and_a_piece_ends() -> None:
    piece, loop = (understand(f"piano and bass in C{word}, pop, 8 bars", plain=True) for word in ("", ", a loop"))
    ends, goes_on = (sketch(brief, AnyNotes(), Options(candidates=1, seed=4))[0].score for brief in (piece, loop))
    assert all(len({place for place, _ in by_bar(ends, track)[7]}) == 1 for track in (0, 1))
    assert any(len({place for place, _ in by_bar(goes_on, track)[7]}) > 1 for track in (0, 1))
    assert max(note.end for track in goes_on.tracks for note in track.notes) <= goes_on.length


def test_sections_sound_their_own_chords() -> None:
    brief = understand("verse in Am F, chorus in C G, bass and piano, pop, 8 bars", plain=True)
    score = sketch(brief, AnyNotes(), Options(candidates=1, seed=4))[0].score
    bass = brief.instruments.index("Fingered Bass")
    assert [bar[0][1] % 12 for bar in by_bar(score, bass)[:8]] == [9, 5, 9, 5, 0, 7, 0, 7]


def test_words_reach_the_networks_task() -> None:
    request = sketch_request(understand("dusty jazz waltz, flute, 4 bars"))
    assert request is not None and request.words == "dusty jazz waltz, flute, 4 bars"
    text = pipeline._prepare(request).task.text
    assert text.shape == (1, 384) and abs(float((text**2).sum()) - 1) < 1e-4
    assert pipeline._prepare(replace(request, words="")).task.text.shape == (0, 384)


def test_candidate_k_does_not_depend_on_how_many_are_asked_for() -> None:
    brief = understand("flute and cello, 3 bars, G major", plain=True)
    one, three = (sketch(brief, AnyNotes(), Options(candidates=n, seed=5)) for n in (1, 3))
    assert one[0].score == three[0].score


def test_the_request_leaves_the_patterns_out_of_the_region() -> None:
    brief = understand("techno, 9 bars", plain=True)
    request = sketch_request(brief, Options())
    assert request is not None
    drums = brief.instruments.index("Drums")
    assert {bar for bar, track in request.region if track == drums} == {3, 7}
    assert finish(brief, request.score).tracks[drums].notes


@settings(max_examples=25)
@given(
    st.integers(1, 5),
    st.sampled_from([(4, 4), (3, 4), (7, 8), (5, 4)]),
    st.sampled_from(["C major", "F# minor", "D dorian", "Bb mixolydian", "A minor pentatonic"]),
    st.lists(st.sampled_from(["Flute", "Drums", "Cello", "Acoustic Grand Piano", "Tuba"]), min_size=1, max_size=4),
    st.integers(0, 99),
)  # fmt: skip
def test_any_brief_gives_a_whole_score(
    bars: int, meter: tuple[int, int], key: str, instruments: list[str], seed: int
) -> None:
    brief = replace(
        understand("pop", plain=True), bars=bars, meter=meter, key=key, instruments=tuple(instruments), drums="rock"
    )
    score = sketch(brief, AnyNotes(), Options(candidates=1, seed=seed))[0].score
    assert sorted(names_of(score).elements()) == sorted(instruments)
    assert max(n.end for t in score.tracks for n in t.notes) <= score.length


# --- Edits --------------------------------------------------------------------------------------------


def song() -> Score:
    flute = tuple(Note(240 * i, 72 + (0, 4, 7, 4, 9, 5, 2, 11)[i % 8], 200, 60 + i % 20) for i in range(64))
    bass = tuple(Note(480 * i, 48 + i % 5, 400, 80) for i in range(32))
    drums = tuple(Note(240 * i, 42, 60, 70) for i in range(64))
    tracks = (
        Track("Flute", 73, False, 0, flute),
        Track("Bass", 33, False, 1, bass),
        Track("Drums", 0, True, 9, drums),
    )
    return Score(480, tracks, keys=(KeySignature(0, 0, False),), length=8 * 1920)


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("bars 5-8 sparser, keep the contour, move the bass down an octave", ["thin", "transpose"]),
        ("transpose up a minor third", ["transpose"]),
        ("the drums a bit louder; flute up an octave", ["velocity", "transpose"]),
        ("double time", ["tempo factor"]),
        ("make it 20% slower", ["tempo factor"]),
        ("tempo to 90", ["tempo"]),
        ("swing it", ["swing"]),
        ("remove the drums in the last 2 bars", ["remove"]),
        ("rewrite bars 3-4 of the flute, keep the rhythm", ["rewrite"]),
        ("bars 2-3 denser", ["denser"]),
        ("add strings", ["add"]),
        ("transpose to D minor", ["to key"]),
        ("bass staccato", ["length"]),
    ],
)
def test_edits_are_read(text: str, actions: list[str]) -> None:
    assert [change.action for change in read_edit(text)] == actions
    assert all(change.line for change in read_edit(text))


def test_the_example_of_the_help_is_read_whole() -> None:
    thin, down = read_edit("bars 5-8 sparser, keep the contour, move the bass down an octave")
    assert (thin.bars, thin.words, thin.keep) == ((5, 8), (), "contour")
    assert (down.bars, down.words, down.amount) == ((5, 8), ("bass",), -12)
    assert read_edit("bars 5-8 quieter; bass down an octave")[1].bars is None


@pytest.mark.parametrize("text", ["", "make it purple", "bars 0-3 louder", "bars 5-2 louder", "tempo to 9000"])
def test_edits_that_make_no_sense_are_sentences(text: str) -> None:
    with pytest.raises(UserError) as caught:
        read_edit(text)
    assert caught.value.hint


@settings(max_examples=40)
@given(st.integers(-24, 24), st.integers(1, 8), st.integers(0, 7))
def test_moving_is_exact_and_touches_nothing_else(steps: int, first: int, more: int) -> None:
    before = song()
    last = min(8, first + more)
    after = apply_exact(before, Change("transpose", steps, ("bass",), (first, last)))
    assert after.tracks[0] == before.tracks[0] and after.tracks[2] == before.tracks[2]
    begin, end = before.bar(first - 1).start, before.bar(last - 1).end
    for old, new in zip(before.tracks[1].notes, after.tracks[1].notes, strict=True):
        assert new == old._replace(pitch=old.pitch + (steps if begin <= old.start < end else 0))


def test_whole_transposition_takes_the_key_along_and_leaves_drums() -> None:
    after = apply_exact(song(), read_edit("transpose to D")[0])
    assert after.keys[0].fifths == 2
    assert [n.pitch for n in after.tracks[2].notes] == [42] * 64
    with pytest.raises(UserError, match="MIDI range"):
        apply_exact(song(), Change("transpose", 60))


def test_double_time_is_the_tempo_and_nothing_else() -> None:
    after = apply_exact(song(), read_edit("double time")[0])
    assert after.tempo_at(0).bpm == pytest.approx(240)
    assert after.tracks == song().tracks


def test_thinning_keeps_every_turn_of_the_line() -> None:
    notes = [
        Note(240 * i, pitch, 200, 80) for i, pitch in enumerate((60, 62, 64, 65, 67, 65, 64, 62, 60, 64, 67, 72))
    ]
    thin = thinned(notes, 480)
    assert 3 <= len(thin) < len(notes)
    assert [n.pitch for n in thin if n.pitch in (67, 60, 72)][:3] == [60, 67, 60]
    assert set(thin) <= set(notes)


def test_tracks_are_found_by_name_instrument_family_and_role() -> None:
    score = song()
    assert target_tracks(score, ["bass"]) == [1]
    assert target_tracks(score, ["drums"]) == [2]
    assert target_tracks(score, ["melody"]) == [0]
    assert target_tracks(score, ["flute", "2"]) == [0, 1]
    assert target_bars(score, (-2, -1)) == (6, 7)
    with pytest.raises(ControlError):
        target_tracks(score, ["trombone"])
    with pytest.raises(ControlError):
        target_bars(score, (30, 31))


def test_edit_writes_one_file_where_all_is_exact_and_proposals_where_not(here: Path, capsys: Captured) -> None:
    save_midi(song(), Path("song.mid"))
    assert main(["edit", "song.mid", "bars 5-8 quieter, bass down an octave", "-o", "a.mid"]) == 0
    assert Path("a.mid").exists() and "exact" in capsys.readouterr().out
    line = ["edit", "song.mid", "flute bars 2-3 denser; drums louder", "-o", "b.mid", "--candidates", "2", "--json"]
    assert main([*line, "--seed", "4"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [c["path"] for c in told["candidates"]] == ["b-1.mid", "b-2.mid"]
    before, after = song(), read_midi("b-1.mid").score
    count = [sum(1920 <= n.start < 5760 for n in s.tracks[0].notes) for s in (before, after)]
    assert count[1] > count[0]
    assert after.tracks[1].notes == before.tracks[1].notes
    assert main(["edit", "song.mid", "make it purple", "-o", "c.mid"]) == 2
    assert not Path("c.mid").exists()


def test_controls_narrow_a_sketch() -> None:
    brief = understand("piano and flute, 4 bars, C major", plain=True)
    asked = Options(Controls(density=(1, 3)), candidates=1, seed=1)
    score = sketch(brief, AnyNotes(), asked)[0].score
    for track in score.tracks:
        for bar in range(4):
            count = sum(1920 * bar <= note.start < 1920 * (bar + 1) for note in track.notes)
            assert count <= 3
