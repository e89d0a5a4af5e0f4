from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ControlError
from models.midi_file import read_midi
from models.score import KeySignature, Marker, Meter, Note, Score, Track
from models.theory import (
    CHORD_TYPES,
    MODES,
    QUALITIES,
    Chord,
    ChordChange,
    ChordType,
    Key,
    chord_symbol,
    chord_track,
    estimate_key,
    key_from_signature,
    parse_chord,
    parse_key,
    parse_pitch,
    parse_pitch_range,
    parse_progression,
    pitch_class_weights,
    pitch_name,
    place_progression,
    try_chord,
    with_chord_track,
)

CHORDS = st.builds(Chord, st.integers(0, 11), st.sampled_from(QUALITIES), st.integers(0, 11))
KEYS = [Key(tonic, mode) for mode in MODES for tonic in range(12)]


# --- Pitches


@pytest.mark.parametrize(
    ("text", "pitch"),
    [
        ("C4", 60), ("C3", 48), ("c3", 48), ("C-1", 0), ("G9", 127), ("A4", 69), ("F#3", 54), ("Gb3", 54),
        ("Bb-1", 10), ("bb3", 58), ("b3", 59), ("B#3", 60), ("Cb4", 59), ("C##4", 62), ("Cx4", 62),
        ("Dbb4", 60), ("F♯3", 54), ("B♭2", 46), (" C4 ", 60), ("60", 60), ("0", 0), ("127", 127),
    ],
)  # fmt: skip
def test_pitches(text: str, pitch: int) -> None:
    assert parse_pitch(text) == pitch


@pytest.mark.parametrize("text", ["", "H3", "C", "C-2", "G#9", "128", "C4-C5", "c 4", "4C", "C100", "-1"])
def test_what_is_no_pitch(text: str) -> None:
    with pytest.raises(ControlError) as caught:
        parse_pitch(text)
    assert caught.value.hint


@pytest.mark.parametrize("pitch", range(128))
def test_every_pitch_name_reads_back(pitch: int) -> None:
    assert parse_pitch(pitch_name(pitch)) == pitch


@pytest.mark.parametrize(
    ("text", "pitches"),
    [
        ("C3-C5", (48, 72)), ("c3 - c5", (48, 72)), ("C-1-C5", (0, 72)), ("C-1--", None), ("C-1-G-1", (0, 7)),
        ("36-60", (36, 60)), ("E2–E4", (40, 64)), ("E2..E4", (40, 64)), ("E2 to E4", (40, 64)),
        ("A4-A4", (69, 69)), ("Bb1-F#3", (34, 54)), ("C3:C5", (48, 72)), ("C3", None), ("C3-", None),
        ("C3 C5", None), ("low-high", None),
    ],
)  # fmt: skip
def test_pitch_ranges(text: str, pitches: tuple[int, int] | None) -> None:
    if pitches is None:
        with pytest.raises(ControlError, match="range"):
            parse_pitch_range(text)
    else:
        assert parse_pitch_range(text) == pitches


def test_a_range_upside_down_is_turned_in_the_hint() -> None:
    with pytest.raises(ControlError, match="ends below its start") as caught:
        parse_pitch_range("C5-C3")
    assert "C3-C5" in caught.value.hint


# --- Chords


MUSICIANS = {
    "C": "C:maj", "Cm": "C:min", "C-": "C:min", "Cmin": "C:min", "Cmi": "C:min", "CM": "C:maj",
    "CMaj": "C:maj", "Dm7": "D:min7", "A-7": "A:min7", "Bbmaj7/D": "Bb:maj7/D", "CM7": "C:maj7",
    "CΔ7": "C:maj7", "CΔ": "C:maj7", "C^7": "C:maj7", "C7M": "C:maj7", "CMa7": "C:maj7", "CMAJ7": "C:maj7",
    "Cmaj9": "C:maj7", "Cmaj7#11": "C:maj7", "F#m7b5": "F#:hdim7", "F♯m7♭5": "F#:hdim7", "Cm7-5": "C:hdim7",
    "C-7b5": "C:hdim7", "Cø": "C:hdim7", "Cø7": "C:hdim7", "Do": "D:dim", "Co7": "C:dim7", "C°7": "C:dim7",
    "Cdim": "C:dim", "Cdim7": "C:dim7", "Gsus4": "G:sus4", "Gsus": "G:sus4", "Gsus2": "G:sus2",
    "G2": "G:sus2", "G4": "G:sus4", "G7sus4": "G:7sus4", "G7sus": "G:7sus4", "G9sus4": "G:7sus4",
    "Gsus4add7": "G:7sus4", "Gsus4add7add9": "G:7sus4", "C6": "C:maj6", "C6/9": "C:maj6", "C69": "C:maj6",
    "C6add9": "C:maj6", "C6/9/E": "C:maj6/E", "Am6": "A:min6", "E7": "E:7", "E7#9": "E:7",
    "E7(#5)(b9)": "E:7", "E7(#9,b13)": "E:7", "E7alt": "E:7", "Ealt": "E:7", "E9": "E:7", "E13#11": "E:7",
    "E7b9": "E:7", "E7-9": "E:7", "E7+9": "E:7", "E7/9": "E:7", "E11": "E:7", "Edom7": "E:7", "C+": "C:aug",
    "Caug": "C:aug", "C+7": "C:7", "Caug7": "C:7", "C7+": "C:7", "Cm(maj7)": "C:minmaj7", "CmM7": "C:minmaj7",
    "C-Δ7": "C:minmaj7", "Cmmaj7": "C:minmaj7", "Cm/maj7": "C:minmaj7", "Cadd9": "C:maj", "Amadd9": "A:min",
    "Cm9": "C:min7", "Cm11": "C:min7", "C5": "C:5", "Eb5": "Eb:5", "C(no3)": "C:5", "Cno3": "C:5",
    "A/C#": "A:maj/C#", "Gdim/Db": "G:dim/Db", "C/Bb": "C:maj/Bb", "Cb": "B:maj", "E#m": "F:min",
    "Bbb": "A:maj", "Ebdim7/Bbb": "Eb:dim7/A", "C/D": "C:maj/D", "C7 (b9)": "C:7",
}  # fmt: skip


@pytest.mark.parametrize("text", MUSICIANS)
def test_chords_as_musicians_write_them(text: str) -> None:
    chord = parse_chord(text)
    assert chord is not None and chord.harte == MUSICIANS[text]


HARTE = {
    "Eb:min": "Ebm", "C#:maj": "Db", "F:maj7/3": "Fmaj7/A", "Db:min(9)": "C#m", "Gb:maj6(b7)": "F#7",
    "Eb:7(#9)": "Eb7", "A:sus4(b7)": "A7sus4", "G:sus4(b7,9,13)": "G7sus4", "C:hdim7": "Cm7b5",
    "C:dim7": "Cdim7", "C:minmaj7": "Cm(maj7)", "G:(1,5)": "G5", "G:(1,b3,5)": "Gm", "G:(1,3,5,b7)": "G7",
    "A:min7/b7": "Am7/G", "D:min/5": "Dm/A", "C:1": "C5", "C:5": "C5", "E:1(b5,b7,3)/b5": "E7/Bb",
    "D:7(b9,#11)": "D7", "G:maj/b3": "G/Bb", "Bb:maj6(7,#11)": "Bbmaj7", "C:aug(b7)": "C7",
    "C:9(13,#11)": "C7", "C:maj(*3)": "C5", "E:min9/9": "Em7/F#", "F:sus2/3": "Fsus2/A", "B:min11": "Bm7",
    "A:min6": "Am6", "C:maj/E": "C/E", "F#:7/3": "F#7/A#",
}  # fmt: skip


@pytest.mark.parametrize("text", HARTE)
def test_chords_as_data_sets_write_them(text: str) -> None:
    assert chord_symbol(parse_chord(text)) == HARTE[text]


@pytest.mark.parametrize("text", ["N", "N.C.", "NC", "n.c.", "no chord", "No Chord", "X", " N "])
def test_no_chord(text: str) -> None:
    assert parse_chord(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "H7", "dm", "section:A verse", "section:A", "Intro", "Verse 1", "Bridge", "Break 2", "A verse",
        "A1", "B1", "Fine", "D.C.", "D.S.", "Coda", "Chorus", "End", "Dal segno", "Adagio", "Bass", "Am I",
        "C:", "C:xyz", "C/H", "Cm7b", "C(", "C)", "C()", "C(9", "C#b:foo", "C7#1000", "C:maj(*9999999)",
        "C:maj/99", "C" + "#9" * 30, "Allegro", "Grave", "Cantabile", "Ending", "Bolero", "Gsus4x", "Elision",
        "Conclusion", "A.", "B'", "\x00",
    ],
)  # fmt: skip
def test_what_is_no_chord(text: str) -> None:
    assert try_chord(text) is None
    with pytest.raises(ControlError, match="is not a chord") as caught:
        parse_chord(text)
    assert caught.value.hint


@pytest.mark.parametrize(("text", "hint"), [("dm7", "Dm7"), ("H7", "B7"), ("foo", "Bbmaj7")])
def test_hints_for_chords_say_what_was_meant(text: str, hint: str) -> None:
    with pytest.raises(ControlError) as caught:
        parse_chord(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["A", "G", "B2", "C5", "Do", "Go", "N", "X"])
def test_texts_that_may_be_something_else(text: str) -> None:
    reading = try_chord(text)
    assert reading is not None and not reading.certain


@pytest.mark.parametrize("text", ["Am", "Bb", "C7", "C:maj", "C/E", "N.C.", "no chord", "F#"])
def test_texts_that_can_only_be_chords(text: str) -> None:
    reading = try_chord(text)
    assert reading is not None and reading.certain


@pytest.mark.parametrize("quality", QUALITIES)
def test_every_chord_reads_back(quality: str) -> None:
    for root in range(12):
        for bass in range(12):
            chord = Chord(root, quality, bass)
            assert parse_chord(chord.symbol) == chord
            assert parse_chord(chord.harte) == chord


def test_the_order_of_the_qualities_is_fixed_for_the_models_that_were_trained_with_it() -> None:
    assert QUALITIES == (
        "maj", "min", "7", "maj7", "min7", "dim", "dim7", "hdim7", "aug", "sus4", "sus2", "maj6", "min6",
        "minmaj7", "5", "7sus4",
    )  # fmt: skip


@pytest.mark.parametrize("chord_type", CHORD_TYPES, ids=QUALITIES)
def test_pitch_classes_of_chords(chord_type: ChordType) -> None:
    name, _, intervals = chord_type
    assert Chord(0, name, 0).pitch_classes == set(intervals)
    assert Chord(7, name, 7).pitch_classes == {(7 + interval) % 12 for interval in intervals}
    assert Chord(0, name, 1).pitch_classes == {*intervals, 1}


@given(CHORDS, st.integers(-24, 24))
def test_transposed_chords_sound_transposed(chord: Chord, semitones: int) -> None:
    assert chord.transposed(semitones).pitch_classes == {(pc + semitones) % 12 for pc in chord.pitch_classes}


@given(st.text("ABCDEFGHabcdefg#b0123456789majinsudo()/:+-Δø, ", max_size=30))
def test_any_text_is_a_chord_or_is_refused(text: str) -> None:
    reading = try_chord(text)
    if reading is None:
        with pytest.raises(ControlError):
            parse_chord(text)
    elif reading.chord is not None:
        assert parse_chord(reading.chord.symbol) == reading.chord


# --- Progressions


@pytest.mark.parametrize(
    ("text", "bars"),
    [
        ("Dm | Gm A7 | Dm", "Dm|Gm A7|Dm"),
        ("Dm", "Dm"),
        ("| Dm | Gm |", "Dm|Gm"),
        ("Dm|%|A7", "Dm|Dm|A7"),
        ("Dm | | A7 |", "Dm|Dm|A7"),
        ("Dm A7 | % |  |", "Dm A7|Dm A7|Dm A7"),
        ("Dm || A7 ||", "Dm|A7"),
        ("Dm | N.C. | A7 N", "Dm|N.C.|A7 N.C."),
        ("Dm / / A7 |", "Dm Dm Dm A7"),
        ("| Dm | Gm |\n| A7 | Dm |\n\n", "Dm|Gm|A7|Dm"),
        ("Dm\nGm A7\r\nDm", "Dm|Gm A7|Dm"),
        ("D:min | A:7/3", "Dm|A7/C#"),
    ],
)
def test_progressions(text: str, bars: str) -> None:
    assert "|".join(" ".join(map(chord_symbol, bar)) for bar in parse_progression(text)) == bars


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" | ", "empty"),
        ("% | Dm", "Bar 1 has no bar before it"),
        ("| | Dm", "Bar 1 has no bar before it"),
        ("Dm | Gm X7 | Dm", '"X7" (bar 2, character 9) is not a chord'),
        ("Dm, Gm", '"Dm," (bar 1, character 1)'),
        ("Dm\nGm foo", '"foo" (bar 2, character 7)'),
        ("|Dm||Gm|hm", '"hm" (bar 3, character 9)'),
        ("/ Dm", '"/" (bar 1, character 1)'),
        ("Dm - Gm", '"-" (bar 1, character 4)'),
    ],
)
def test_progressions_that_cannot_be_read_say_where(text: str, message: str) -> None:
    with pytest.raises(ControlError) as caught:
        parse_progression(text)
    assert message in caught.value.message
    assert caught.value.hint


@given(st.lists(st.lists(CHORDS | st.none(), min_size=1, max_size=4), min_size=1, max_size=8))
def test_any_progression_reads_back(bars: list[list[Chord | None]]) -> None:
    text = " | ".join(" ".join(map(chord_symbol, bar)) for bar in bars)
    assert parse_progression(text) == bars


def test_a_progression_is_laid_over_the_bars_it_is_given() -> None:
    score = Score(ticks_per_quarter=480, meters=(Meter(0, 4, 4), Meter(3840, 7, 8)))
    dm, a7 = parse_chord("Dm"), parse_chord("A7")
    laid = place_progression(score, [[dm], [dm, a7], [None]], first_bar=1, bar_count=4)
    assert laid == (
        ChordChange(1920, dm),
        ChordChange(3840, dm),
        ChordChange(3840 + 840, a7),
        ChordChange(3840 + 1680, None),
        ChordChange(3840 + 2 * 1680, dm),
    )


def test_a_chord_that_is_repeated_in_its_bar_is_one_change() -> None:
    laid = place_progression(Score(), parse_progression("Dm / / A7"), 0, 1)
    assert [change.tick for change in laid] == [0, 1440]


# --- Chord tracks


def symbols_at(*texts: str) -> list[str]:
    score = Score(markers=tuple(Marker(tick, text) for tick, text in enumerate(texts)))
    return [f"{tick}:{chord_symbol(chord)}" for tick, chord in chord_track(score)]


@pytest.mark.parametrize(
    ("texts", "chords"),
    [
        (["Dm7", "G7"], ["0:Dm7", "1:G7"]),
        (["section:A verse", "Eb:min", "Bridge", "N"], ["1:Ebm", "3:N.C."]),
        (["C", "G", "Am", "F"], ["0:C", "1:G", "2:Am", "3:F"]),  # Am says that the letters are chords
        (["C", "G", "C", "F"], ["0:C", "1:G", "2:C", "3:F"]),  # nothing but chords
        (["A", "B", "C", "D"], []),  # nothing but sections
        (["A", "A", "B", "A"], []),
        (["A", "B", "C", "D", "E", "F", "G", "H"], []),
        (["C", "G", "C"], []),  # too few to tell
        (["Intro", "A", "B", "A", "Coda"], []),
        (["A", "N.C.", "B"], ["1:N.C."]),
        (["A2", "A4", "B2"], []),
        (["N", "O", "P"], []),
        ([], []),
    ],
)
def test_which_markers_are_chords(texts: list[str], chords: list[str]) -> None:
    assert symbols_at(*texts) == chords


def test_the_last_chord_at_a_tick_counts() -> None:
    score = Score(markers=(Marker(0, "Dm"), Marker(0, "Gm"), Marker(5, "A7")))
    assert chord_track(score) == (ChordChange(0, parse_chord("Gm")), ChordChange(5, parse_chord("A7")))


def test_writing_a_chord_track_replaces_chords_only() -> None:
    score = Score(markers=(Marker(0, "Intro"), Marker(0, "Dm"), Marker(960, "A7"), Marker(1920, "Verse 1")))
    changed = with_chord_track(score, [ChordChange(960, parse_chord("C/E")), ChordChange(480, None)])
    assert changed.markers == (
        Marker(0, "Intro"),
        Marker(480, "N.C."),
        Marker(960, "C/E"),
        Marker(1920, "Verse 1"),
    )
    assert chord_track(with_chord_track(score, [])) == ()


def test_chords_that_are_written_do_not_turn_rehearsal_letters_into_chords() -> None:
    score = Score(markers=(Marker(0, "A"), Marker(1920, "B")))
    changes = (ChordChange(0, parse_chord("Dm")), ChordChange(1920, parse_chord("G")))
    changed = with_chord_track(score, changes)
    assert chord_track(changed) == changes
    assert Marker(0, "section:A") in changed.markers


TEXTS = st.sampled_from(["A", "B", "C", "G2", "N", "N.C.", "Dm", "C:maj", "Verse", "section:A", "Go", "G7/B"])
MARKERS = st.lists(st.builds(Marker, st.integers(0, 50), TEXTS), max_size=8)


@given(MARKERS, st.dictionaries(st.integers(0, 50), CHORDS | st.none(), max_size=6))
def test_a_written_chord_track_reads_back(markers: list[Marker], changes: dict[int, Chord | None]) -> None:
    score = Score(markers=tuple(sorted(markers)))
    track = tuple(ChordChange(tick, changes[tick]) for tick in sorted(changes))
    written = with_chord_track(score, track)
    assert chord_track(written) == track
    assert with_chord_track(written, chord_track(written)).markers == written.markers
    verses = [marker for marker in score.markers if marker.text == "Verse"]
    assert [marker for marker in written.markers if marker.text == "Verse"] == verses


# --- Keys


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("D minor", "D minor"), ("Dm", "D minor"), ("D-", "D minor"), ("Dmin", "D minor"),
        ("D min", "D minor"), ("D", "D major"), ("DM", "D major"), ("D maj", "D major"), ("dm", "D minor"),
        ("d minor", "D minor"), ("F# dorian", "F# dorian"), ("F♯ Dorian", "F# dorian"),
        ("Bb major", "Bb major"), ("bb major", "Bb major"), ("B major", "B major"), ("b minor", "B minor"),
        ("B flat major", "Bb major"), ("B-flat major", "Bb major"), ("f sharp minor", "F# minor"),
        ("c harmonic minor", "C harmonic minor"), ("A aeolian", "A aeolian"),
        ("A natural minor", "A aeolian"), ("E phrygian dominant", "E phrygian dominant"), ("Ebm", "Eb minor"),
        ("Cm pentatonic", "C minor pentatonic"), ("C pentatonic", "C major pentatonic"),
        ("E blues", "E blues"), ("C pentatonic minor", "C minor pentatonic"),
        ("C whole-tone", "C whole tone"), ("C ionian", "C major"), ("C  melodic   minor", "C melodic minor"),
        ("G mixolydian scale", "G mixolydian"), ("E- major", "Eb major"), ("C chromatic", "C chromatic"),
        ("C# major", "Db major"), ("Gb major", "F# major"), ("Ab minor", "G# minor"), ("d-Moll", "D minor"),
        ("D-Dur", "D major"), ("Fis-Dur", "F# major"), ("fis moll", "F# minor"), ("B-Dur", "Bb major"),
        ("b-Moll", "Bb minor"), ("H-Moll", "B minor"), ("H-Dur", "B major"), ("Es-Dur", "Eb major"),
        ("as-Moll", "G# minor"), ("Des-Dur", "Db major"), ("Ces-Dur", "B major"), ("cis-Moll", "C# minor"),
        ("Hes-Dur", "Bb major"),
    ],
)  # fmt: skip
def test_keys(text: str, name: str) -> None:
    assert parse_key(text).name == name


@pytest.mark.parametrize("text", ["", "d", "H", "H minor", "D foo", "X major", "Ds-Dur", "minor", "D moll A"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ControlError) as caught:
        parse_key(text)
    assert caught.value.hint


@given(st.text("ABHabhd#b♭ -is" + "minorajl", max_size=16))
def test_any_text_is_a_key_or_is_refused(text: str) -> None:
    try:
        key = parse_key(text)
    except ControlError as error:
        assert error.hint
    else:
        assert parse_key(key.name) == key


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_reads_back(key: Key) -> None:
    assert parse_key(key.name) == key
    assert len(key.name.split()[0]) <= 2  # no double sharps or flats
    assert key.tonic in key.pitch_classes


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("C major", "C D E F G A B"), ("D minor", "D E F G A Bb C C#"), ("D aeolian", "D E F G A Bb C"),
        ("D dorian", "C D E F G A B"), ("E phrygian", "C D E F G A B"), ("F lydian", "C D E F G A B"),
        ("G mixolydian", "C D E F G A B"), ("B locrian", "C D E F G A B"),
        ("A harmonic minor", "A B C D E F G#"), ("A melodic minor", "A B C D E F# G#"),
        ("E phrygian dominant", "A B C D E F G#"), ("D lydian dominant", "A B C D E F# G#"),
        ("G# altered", "A B C D E F# G#"), ("C major pentatonic", "C D E G A"),
        ("A minor pentatonic", "C D E G A"), ("A blues", "A C D Eb E G"), ("C major blues", "A C D Eb E G"),
        ("C whole tone", "C D E F# G# A#"),
    ],
)  # fmt: skip
def test_scales(name: str, notes: str) -> None:
    assert parse_key(name).pitch_classes == {parse_pitch(f"{note}4") % 12 for note in notes.split()}


def test_the_chromatic_scale_holds_everything() -> None:
    assert parse_key("C chromatic").pitch_classes == set(range(12))


@pytest.mark.parametrize(
    ("name", "fifths"),
    [
        ("C major", 0), ("A minor", 0), ("D dorian", 0), ("E phrygian", 0), ("B locrian", 0), ("F major", -1),
        ("F# major", 6), ("Eb minor", -6), ("Db major", -5), ("B major", 5), ("G# minor", 5),
        ("C harmonic minor", -3), ("G lydian", 2),
    ],
)  # fmt: skip
def test_key_signatures_of_keys(name: str, fifths: int) -> None:
    assert parse_key(name).fifths == fifths


@pytest.mark.parametrize("fifths", range(-7, 8))
def test_keys_of_key_signatures(fifths: int) -> None:
    major, minor = (key_from_signature(KeySignature(0, fifths, mode)) for mode in (False, True))
    assert (major.fifths - fifths) % 12 == 0 and (minor.fifths - fifths) % 12 == 0
    assert major.relative == minor and minor.relative == major


def test_relations_of_keys() -> None:
    assert parse_key("C major").relative.name == "A minor"
    assert parse_key("D dorian").relative.name == "C major"
    assert parse_key("C major").parallel.name == "C minor"
    assert parse_key("C minor").parallel.name == "C major"
    assert parse_key("D minor").transposed(-2).name == "C minor"


# --- Estimating keys


def melody(*pitches: int, is_drum: bool = False) -> Track:
    return Track(is_drum=is_drum, notes=tuple(Note(480 * i, p, 480, 64) for i, p in enumerate(pitches)))


@pytest.mark.parametrize("semitones", range(12))
def test_a_cadence_tells_its_key(semitones: int) -> None:
    major = (60, 64, 67, 65, 69, 72, 67, 71, 74, 65, 60, 64, 67, 72)
    minor = (57, 60, 64, 62, 65, 69, 64, 68, 71, 62, 57, 60, 64, 69)
    for pitches, mode, tonic in ((major, "major", 0), (minor, "minor", 9)):
        key, lead = estimate_key(Score(tracks=(melody(*(pitch + semitones for pitch in pitches)),)))
        assert key == Key((tonic + semitones) % 12, mode)
        assert 0 < lead <= 2


def test_drums_have_no_key() -> None:
    drums = melody(36, 38, 42, 46, 36, 38, is_drum=True)
    tune = melody(62, 65, 69, 62, 67, 70, 61, 64, 69, 62)
    assert pitch_class_weights(Score(tracks=(drums,))) == [0.0] * 12
    assert estimate_key(Score(tracks=(drums, tune))) == estimate_key(Score(tracks=(tune,)))


def test_long_notes_weigh_more() -> None:
    track = Track(notes=(Note(0, 60, 960, 64), Note(960, 67, 120, 64)))
    weights = pitch_class_weights(Score(ticks_per_quarter=480, tracks=(track,)))
    assert (weights[0], weights[7]) == (2.0, 0.25)


@pytest.mark.parametrize("weights", [[0.0] * 12, [3.0] * 12])
def test_without_evidence_no_key_leads(weights: list[float]) -> None:
    assert estimate_key(weights) == (Key(0, "major"), 0.0)


def test_the_example_pieces_are_in_the_keys_their_files_name(data_dir: Path) -> None:
    for path in sorted(data_dir.glob("*.mid")):
        score = read_midi(path).score
        assert estimate_key(score)[0].fifths in {key.fifths for key in score.keys}, path.name
