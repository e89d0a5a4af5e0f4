"""Words to briefs: what is said is kept, what contradicts is named, and no string is too strange."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import UserError
from models.instruments import DRUMS_NAME, PROGRAM_NAMES
from models.text import reading, sentences
from models.text.brief import Brief, brief_from_json
from models.text.chords import is_minor, numeral_chord, read_chords
from models.text.edits import read_edit
from models.text.facts import read_facts
from models.text.genres import KIT, styles
from models.text.lexicon import TEMPO_WORDS
from models.text.plan import (
    Role,
    bass_pattern,
    chord_pitch,
    drum_notes,
    empty_score,
    parts_of,
    progression,
    roles,
    spans,
    swung,
)
from models.text.reading import WITHOUT_ENCODER, understand, words_of
from models.text.sentences import SHA256, SentenceEncoder, WordPiece, encoder_folder, installed_encoder
from models.theory import Key, chord_symbol, parse_chord, parse_key

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from scripts.text_checks import check_brief, read_prompts  # noqa: E402
from scripts.text_evaluation import explicit_facts, read_paraphrases, strange_strings  # noqa: E402


@pytest.mark.parametrize(
    ("text", "bpm"),
    [
        ("a tune at 96 bpm", 96),
        ("tempo: 72", 72),
        ("BPM 133, house", 133),
        ("one hundred and thirty beats per minute", 130),
        ("ninety-six bpm", 96),
        ("quarter = 88", 88),
        ("dotted quarter = 80 in 6/8", 120),
        ("around 100 bpm or so", 100),
        ("between 70 and 80 bpm", 75),
        ("120 pulsaciones por minuto", 120),
        ("house, F#m, 124", 124),
    ],
)
def test_a_tempo_in_numbers(text: str, bpm: float) -> None:
    assert read_facts(text).tempo == bpm


@pytest.mark.parametrize("word", ["largo", "allegretto", "presto", "slow", "very fast", "langsam", "rápido", "vif"])
def test_a_tempo_word_gives_its_range(word: str) -> None:
    brief = understand(f"{word}, piano", plain=True)
    low, high = TEMPO_WORDS[word]
    assert low <= brief.tempo <= high


@pytest.mark.parametrize("text", ["ambient with slow attack pads", "techno with fast hi-hats", "fast arpeggios"])
def test_fast_and_slow_things_are_no_tempo(text: str) -> None:
    assert read_facts(text).tempo_range is None


@pytest.mark.parametrize(
    ("text", "meter"),
    [
        ("groove in 7/8", (7, 8)),
        ("a waltz", (3, 4)),
        ("three-four time", (3, 4)),
        ("Sechsachteltakt", (6, 8)),
        ("3/4-Takt", (3, 4)),
        ("alla breve", (2, 2)),
        ("with 1/8 notes", None),
        ("C6/9 chord", None),
    ],
)
def test_meters(text: str, meter: tuple[int, int] | None) -> None:
    assert read_facts(text).meter == meter


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("D minor", "D minor"),
        ("d-moll", "D minor"),
        ("B-Dur", "Bb major"),
        ("H-Moll", "B minor"),
        ("fis-moll", "F# minor"),
        ("si bémol majeur", "Bb major"),
        ("re menor", "D minor"),
        ("la bemolle maggiore", "Ab major"),
        ("key of E flat major", "Eb major"),
        ("in A", "A major"),
        ("F# dorian", "F# dorian"),
        ("Bbm", "Bb minor"),
        ("C harmonic minor", "C harmonic minor"),
        ("piano in a flat minor", "Ab minor"),
    ],
)
def test_keys(text: str, key: str) -> None:
    assert parse_key(understand(text, plain=True).key) == parse_key(key)


@pytest.mark.parametrize("text", ["a minor change of mood", "a major key feel", "I want an A list song", "E bass"])
def test_what_only_looks_like_a_key(text: str) -> None:
    facts = read_facts(text)
    assert facts.key is None and facts.tonic is None


@pytest.mark.parametrize(
    ("text", "instruments", "without"),
    [
        ("piano, bass and drums", ("Acoustic Grand Piano", "Fingered Bass", DRUMS_NAME), ()),
        ("two flutes and a cello", ("Flute", "Flute", "Cello"), ()),
        ("string quartet", ("Violin", "Violin", "Viola", "Cello"), ()),
        ("Klavier und Geige ohne Schlagzeug", ("Acoustic Grand Piano", "Violin"), (DRUMS_NAME,)),
        ("drum and bass", (), ()),
        ("drumless jazz with vibes", ("Vibraphone",), (DRUMS_NAME,)),
        ("guitare et flûte, sans batterie", ("Steel Guitar", "Flute"), (DRUMS_NAME,)),
    ],
)
def test_instruments(text: str, instruments: tuple[str, ...], without: tuple[str, ...]) -> None:
    facts = read_facts(text)
    assert facts.instruments == instruments
    assert set(without) <= set(facts.without)


def test_a_negation_reaches_through_its_list() -> None:
    without = set(read_facts("ambient, no drums, bass or piano").without)
    assert {DRUMS_NAME, "Fingered Bass", "Acoustic Bass", "Acoustic Grand Piano"} <= without
    kept = read_facts("no drums and piano")
    assert kept.instruments == ("Acoustic Grand Piano",)


def test_chords_as_symbols_and_numerals() -> None:
    assert read_facts("Dm7 G7 Cmaj7, swing").chords == "Dm7 | G7 | Cmaj7"
    assert read_facts("Am - F - C - G").chords == "Am | F | C | G"
    assert read_facts("ii-V-I in Bb").chords == "ii | V | I"
    assert read_facts("Am | F G | C").chords == "Am | F G | C"
    bars = read_chords("ii7 | V7 | Imaj7 | bVII", parse_key("Bb major"))
    assert [chord_symbol(bar[0]) for bar in bars] == ["Cm7", "F7", "Bbmaj7", "Ab"]
    minor = read_chords("i | VI | III | VII", parse_key("A minor"))
    assert [chord_symbol(bar[0]) for bar in minor] == ["Am", "F", "C", "G"]
    assert numeral_chord("iiø7", Key(9, "minor")) == parse_chord("Bm7b5")


def test_contradictions_are_named_and_the_explicit_word_wins() -> None:
    brief = understand("allegro at 60 bpm, waltz in 4/4", plain=True)
    assert (brief.tempo, brief.meter) == (60, (4, 4))
    said = " ".join(brief.remarks)
    assert "allegro means 120-156 bpm" in said and "waltz is in 3/4" in said
    assert any("both asked for and ruled out" in r for r in understand("piano, no piano", plain=True).remarks)
    assert any("8 bars came first" in r for r in understand("8 bars, 12 bars", plain=True).remarks)
    assert any("usually" in r for r in understand("techno at 60 bpm... or 61", plain=True).remarks) is False
    assert any("techno is usually" in r for r in understand("techno at 90 bpm", plain=True).remarks)


def test_unknown_words_are_said() -> None:
    assert any("xyzzy" in remark for remark in understand("xyzzy blues", plain=True).remarks)
    assert WITHOUT_ENCODER in understand("a dusty tune", plain=True).remarks


@pytest.mark.parametrize(
    "text", ["999 bpm", "0 bars", "9999 bars", "17/3 and 40/4", "", "   ", "x" * 2001, "500 tracks", "0 seconds"]
)
def test_what_no_music_can_be_is_a_sentence(text: str) -> None:
    try:
        brief = understand(text, plain=True)
    except UserError as error:
        assert error.message and error.hint
    else:
        assert text == "17/3 and 40/4" and brief.meter == (4, 4)


def test_sections_have_bars_that_come_to_the_whole() -> None:
    brief = understand("piano, A then quieter B, 8 bars", plain=True)
    assert [(s.name, s.bars, s.dynamics) for s in brief.sections] == [("A", 4, 0), ("B", 4, -1)]
    form = understand("4 bar intro, 8 bar verse, 8 bar chorus", plain=True)
    assert [(s.name, s.bars) for s in form.sections] == [("intro", 4), ("verse", 8), ("chorus", 8)]
    assert form.bars == 20
    assert sum(s.bars for s in understand("AABA, 10 bars", plain=True).sections) == 10


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        (
            "verse in Am F C G, chorus in C G Am F, pop",
            [("verse", 4, "Am | F | C | G"), ("chorus", 4, "C | G | Am | F")],
        ),
        ("A: Dm7 G7, B: Cmaj7 Fmaj7, jazz, 8 bars", [("A", 4, "Dm7 | G7"), ("B", 4, "Cmaj7 | Fmaj7")]),
        (
            "8 bar verse on i VI III VII, 4 bar Chorus i iv",
            [("verse", 8, "i | VI | III | VII"), ("chorus", 4, "i | iv")],
        ),
        (
            "intro, verse Am | F G | C and chorus, 12 bars",
            [("intro", 4, ""), ("verse", 4, "Am | F G | C"), ("chorus", 4, "")],
        ),
    ],
)
def test_sections_have_their_own_chords(text: str, sections: list[tuple[str, int, str]]) -> None:
    brief = understand(text, plain=True)
    assert [(s.name, s.bars, s.chords) for s in brief.sections] == sections
    assert brief_from_json(brief.to_json()).sections == brief.sections
    laid = progression(brief)
    for first, section in spans(brief):
        own = read_chords(section.chords or brief.chords, parse_key(brief.key))
        assert laid[first] == own[0]


def test_chords_of_one_part_alone_are_the_pieces() -> None:
    brief = understand("verse Am F C G, synthwave", plain=True)
    assert (brief.chords, brief.sections, brief.key) == ("Am | F | C | G", (), "A minor")


@pytest.mark.parametrize("text", ["lo-fi loop in D minor", "a seamless techno groove", "pop, 8 bars, no ending"])
def test_a_loop_leads_back(text: str) -> None:
    brief = understand(text, plain=True)
    assert brief.loop and brief_from_json(brief.to_json()).loop
    last = progression(brief)[-1][0]
    assert last is not None and last.root != parse_key(brief.key).tonic
    assert not understand(text.split()[0], plain=True).loop


def test_the_network_is_told_the_words_or_an_edited_brief_in_words() -> None:
    brief = understand("slow jazz waltz for flute and cello, 90 bpm")
    assert words_of(brief) == brief.text
    edited = replace(brief, instruments=("Alto Sax",), tempo=120.0)
    assert "alto sax" in words_of(edited) and "120 bpm" in words_of(edited)
    assert words_of(Brief()).startswith("pop with acoustic grand piano")


def test_seconds_are_kept_exactly_where_the_tempo_is_free() -> None:
    brief = understand("piano tune, 30 seconds", plain=True)
    assert brief.bars * 4 * 60 / brief.tempo == pytest.approx(30, abs=0.05)


# --- The prompts, the wordings, the fuzz --------------------------------------------------------------


def test_every_fact_of_the_written_prompts_is_read() -> None:
    prompts = read_prompts()
    assert len(prompts) >= 300
    wrong = {}
    shares = []
    for prompt in prompts:
        checks = check_brief(prompt.facts, understand(prompt.text, plain=True))
        shares.append(sum(checks.values()) / len(checks))
        if not all(checks.values()):
            wrong[prompt.text] = [name for name, holds in checks.items() if not holds]
    assert np.mean(shares) >= 0.99, wrong


def test_wordings_of_the_same_facts_give_the_same_brief() -> None:
    groups = [group for group in read_paraphrases() if group]
    same = [
        explicit_facts(understand(text, plain=True)) == explicit_facts(understand(group[0], plain=True))
        for group in groups
        for text in group
    ]
    assert all(len(group) == 5 for group in groups)
    assert sum(same) / len(same) >= 0.98


def test_a_thousand_strange_strings_give_a_brief_or_a_sentence() -> None:
    longest = ["\ud800", "a" * 2000, "no " * 600, "1/" * 900, "A B " * 400, "in " * 600, "(((" * 600]
    for text in [*strange_strings(1000), *longest, "verse in A B " * 150, "A: B: C: " * 200]:
        try:
            brief = understand(text[:2000], plain=True)
        except UserError as error:
            assert error.message and not error.message.endswith(".")
        else:
            assert 1 <= brief.bars <= 256 and brief.instruments
            again = brief_from_json(brief.to_json())
            assert (again.tempo, again.key, again.instruments) == (brief.tempo, brief.key, brief.instruments)


@settings(max_examples=60)
@given(st.text(max_size=300))
def test_any_text_gives_a_brief_a_score_and_an_edit_or_a_sentence(text: str) -> None:
    for read in (lambda: empty_score(understand(text, plain=True)), lambda: read_edit(text)):
        try:
            assert read() is not None
        except UserError as error:
            assert error.message


# --- Briefs -------------------------------------------------------------------------------------------


def test_a_brief_goes_to_json_and_back() -> None:
    brief = understand("slow jazz waltz in D minor, low strings and flute, A then louder B, 16 bars", plain=True)
    again = brief_from_json(brief.to_json())
    assert replace(again, said=brief.said, remarks=brief.remarks) == brief
    assert brief_from_json(json.dumps({"brief": json.loads(brief.to_json())})).tempo == brief.tempo


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tempo": 5}, "tempo"),
        ({"meter": [4]}, "meter"),
        ({"meter": [40, 4]}, "40/4"),
        ({"key": "Z major"}, "key"),
        ({"bars": 2.5}, "bars"),
        ({"instruments": []}, "instruments"),
        ({"instruments": ["kazoo choir"]}, "instrument"),
        ({"chords": "Q | R"}, "chord"),
        ({"drums": "nothing"}, "drums"),
        ({"swing": "yes"}, "swing"),
        ({"density": 9}, "density"),
        ({"sections": [{"title": 1}]}, "sections"),
        ({"colour": "blue"}, "colour"),
        ({"genre": "polkacore"}, "genre"),
    ],
)
def test_a_wrong_brief_names_the_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(UserError) as caught:
        brief_from_json(json.dumps(change))
    assert named in caught.value.message and caught.value.hint


@pytest.mark.parametrize("text", ["[1]", "{", "null", '"text"', "[" * 100_000])
def test_what_is_no_brief_is_a_sentence(text: str) -> None:
    with pytest.raises(UserError):
        brief_from_json(text)


# --- Styles -------------------------------------------------------------------------------------------


def test_there_are_sixty_styles_and_each_makes_a_plan() -> None:
    known = styles()
    assert len(known.genres) >= 60
    for genre in known.genres.values():
        brief = understand(genre.name, plain=True)
        assert brief.genre == genre.name
        assert genre.tempo[0] <= brief.tempo <= genre.tempo[1]
        assert "{}/{}".format(*brief.meter) in genre.meters
        score = empty_score(brief)
        assert score.length == brief.bars * score.bar(0).length
        assert len(score.tracks) == len(brief.instruments)
        for text in (*genre.major, *genre.minor):
            for key in (Key(0, "major"), Key(9, "minor")):
                assert read_chords(text, key)


def test_a_plan_fits_its_style() -> None:
    techno = understand("techno", plain=True)
    kicks = [n.start % 480 for n in drum_notes(techno, 0, 0, 1920) if n.pitch == KIT["kick"]]
    assert kicks == [0, 0, 0, 0]
    lofi = understand("lo-fi", plain=True)
    assert lofi.swing and 70 <= lofi.tempo <= 90
    bossa = understand("bossa nova", plain=True)
    clave = [
        n.start // 120 for bar in (0, 1) for n in drum_notes(bossa, bar, bar * 1920, 1920) if n.pitch == KIT["rim"]
    ]
    assert clave == [0, 6, 12, 20, 26]
    assert bass_pattern(bossa, 1920) == "R.....5.5.....R."


@pytest.mark.parametrize("meter", [(3, 4), (4, 4), (5, 4), (7, 8), (6, 8), (12, 8), (2, 4), (9, 8)])
@pytest.mark.parametrize("drums", ["four on the floor", "rock", "swing", "bossa nova", "jazz waltz"])
def test_patterns_fill_any_meter(meter: tuple[int, int], drums: str) -> None:
    length = 1920 * meter[0] // meter[1]
    brief = Brief(meter=meter, drums=drums, instruments=(DRUMS_NAME, "Fingered Bass"), bass="root eighths")
    notes = drum_notes(brief, 0, 0, length)
    assert notes and all(0 <= note.start < length for note in notes)
    if drums == "four on the floor":
        assert {n.start for n in notes if n.pitch == KIT["kick"]} == set(range(0, length, 480))
    pattern = bass_pattern(brief, length)
    assert pattern is not None and len(pattern) == length // 120


@given(st.lists(st.sampled_from([*PROGRAM_NAMES, DRUMS_NAME]), min_size=1, max_size=8))
def test_somebody_always_has_the_melody_and_one_the_bass(instruments: list[str]) -> None:
    found = roles(instruments)
    assert found.count(Role.BASS) <= 1
    pitched = [role for role in found if role is not Role.DRUMS]
    if len([role for role in pitched if role is not Role.BASS]) >= 1:
        assert Role.MELODY in pitched or Role.SOLO in pitched
    for part in parts_of(Brief(instruments=tuple(instruments))):
        assert 0 <= part.low < part.high <= 127 and part.high - part.low >= 11


def test_swing_moves_offbeats_to_the_third_triplet_and_leaves_triplets() -> None:
    assert [swung(tick) for tick in (0, 120, 240, 360, 480, 720)] == [0, 160, 320, 400, 480, 800]
    assert [swung(tick) for tick in (160, 320, 640)] == [160, 320, 640]


def test_chord_tones_stay_in_range_and_key() -> None:
    part = parts_of(Brief(instruments=("Fingered Bass", "Flute")))[0]
    key = parse_key("A minor")
    for degree in "R358":
        pitch = chord_pitch(parse_chord("Am"), degree, key, part, 40)
        assert part.low <= pitch <= part.high and pitch % 12 in key.pitch_classes
    assert chord_pitch(parse_chord("Am"), "3", key, part, 40) % 12 == 0
    assert is_minor(key)


# --- The sentence encoder -----------------------------------------------------------------------------


def test_the_encoder_is_the_published_one_and_agrees_with_the_reference() -> None:
    """Against transformers' own BERT on the same files."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = encoder_folder()
    assert folder is not None, "install the extra `text`"
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == SHA256
    encoder = installed_encoder()
    assert encoder is not None
    texts = ["dusty jazz waltz, Rhodes & upright bass", "Übermäßig schöne Musik — 音楽 🎹", "a" * 150, "!!!"]
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=256)["input_ids"]
        assert encoder.tokenizer.encode(text) == ids
        with torch.no_grad():
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
        reference = (mean / mean.norm()).numpy()
        assert float(encoder([text])[0] @ reference) > 0.9999


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    (tmp_path / "vocab.txt").write_text("[UNK]\n")
    with pytest.raises(UserError, match="not the published ones"):
        SentenceEncoder(tmp_path)


def test_the_saved_style_vectors_are_the_encoders_own() -> None:
    encoder = installed_encoder()
    assert encoder is not None, "install the extra `text`"
    genre = styles().genres["bossa nova"]
    saved = reading._style_vectors(encoder, (reading._genre_text(genre),))[0]
    assert float(saved @ encoder([reading._genre_text(genre)])[0]) > 0.999
    likes = tuple(reading._genre_text(genre) for genre in styles().genres.values())
    from importlib import resources

    from safetensors.numpy import load

    names = load(resources.files("models.text").joinpath(reading.VECTORS).read_bytes())
    assert {reading._name(like) for like in likes} <= names.keys(), "write styles.safetensors anew"


@pytest.mark.parametrize(
    ("text", "genres"),
    [
        ("rainy evening beat to fall asleep to with vinyl crackle", {"lo-fi", "trip hop", "ambient"}),
        ("soldiers with trumpets and snare drums on parade", {"march"}),
        ("a haunted house full of dread", {"horror"}),
        ("headbanging double kick drums and screaming guitars", {"metal", "black metal", "grunge", "punk"}),
    ],
)
def test_descriptions_come_near_their_style(text: str, genres: set[str]) -> None:
    assert understand(text).genre in genres


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    ("text", "genre"),
    [
        ("string quartet in D minor, 8 bars", "classical"),
        ("wind quintet, allegro", "classical"),
        ("clarinet quintet", "classical"),
        ("violin and piano in A major, andante", "romantic"),
        ("brass quintet, 8 bars", "march"),
        ("orchestra in C minor", "cinematic"),
        ("electric guitar, bass and drums", "rock"),
        ("saxophone, upright bass and drums, 140 bpm", "jazz"),
        ("electric piano, bass and drums, 90 bpm", "soul"),
        ("steel drums", "calypso"),
        ("harpsichord, 16 bars", "baroque"),
        ("choir in A minor", "choral"),
        ("banjo and fiddle", "bluegrass"),
        ("drums, 4 bars", reading.DEFAULT_GENRE),
        ("8 bars in G", reading.DEFAULT_GENRE),
    ],
)
def test_where_no_word_speaks_of_a_style_the_instruments_do(text: str, genre: str, plain: bool) -> None:
    assert understand(text, plain=plain).genre == genre


@pytest.mark.parametrize(
    ("text", "instruments"),
    [
        ("reggae with trumpet, 8 bars", ("Trumpet", "Drums", "Fingered Bass", "Muted Guitar", "Drawbar Organ")),
        ("blues mit Klavier", ("Acoustic Grand Piano", "Drums", "Fingered Bass", "Clean Guitar")),
        ("upbeat funk with slap bass", ("Slap Bass 1", "Drums", "Muted Guitar", "Clavinet", "Brass Section")),
        ("metal with violin, no drums", ("Violin",)),
        ("jazz with only a saxophone", ("Alto Sax",)),
        ("trumpet reggae", ("Trumpet",)),
        ("funk with bass and drums", ("Fingered Bass", "Drums")),
        ("horror music box with tremolo strings", ("Music Box", "Tremolo Strings")),
        ("salsa with trumpet and flute", ("Trumpet", "Flute")),
        ("techno with a string quartet", ("Violin", "Violin", "Viola", "Cello")),
    ],
)
def test_one_instrument_with_a_style_joins_its_band(text: str, instruments: tuple[str, ...]) -> None:
    brief = understand(text, plain=True)
    assert brief.instruments == instruments
    joined = "Drums" in instruments and "drums" not in text
    assert any("say only" in remark for remark in brief.remarks) == joined


@pytest.mark.parametrize(
    ("text", "texture", "genre"),
    [
        ("broken chords on harp", "arpeggiated", "romantic"),
        ("staccato strings", "staccato", "cinematic"),
        ("arpeggio in C minor", "arpeggiated", reading.DEFAULT_GENRE),
    ],
)
def test_a_texture_that_is_named_is_no_style(text: str, texture: str, genre: str) -> None:
    brief = understand(text)
    assert brief.textures[0] == (texture, 1.0) and brief.genre == genre


def test_an_ensemble_that_is_called_jazz_names_the_style() -> None:
    brief = understand("jazz piano trio in F", plain=True)
    assert brief.genres[0] == ("jazz", 1.0) and brief.instruments[1:] == ("Acoustic Bass", "Drums")


def test_words_that_nobody_knows_say_nothing_of_a_style() -> None:
    brief = understand("xyzzy for piano")
    assert brief.genre == understand("piano").genre
    assert any("Not understood: xyzzy" in remark for remark in brief.remarks)


def test_instruments_have_a_say_beside_words_and_none_against_a_named_style() -> None:
    assert understand("sad string quartet in D minor").genre == "classical"
    assert understand("techno for a string quartet").genre == "techno"
    assert understand("string quartet, not classical").genre != "classical"


def test_without_the_encoder_words_are_matched_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "installed_encoder", lambda: None)
    brief = understand("loud electric guitars and attitude in a stadium")
    assert brief.genre == "rock" and WITHOUT_ENCODER in brief.remarks
    assert sentences.encoder_folder is encoder_folder


def test_word_pieces_are_greedy() -> None:
    pieces = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "syn", "##th", "##wave", "!", "cafe"])
    assert pieces.encode("Synthwave! café zz") == [2, 4, 5, 6, 7, 8, 1, 3]
    assert "cafe" in pieces and "synth" not in pieces
