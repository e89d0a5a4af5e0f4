from __future__ import annotations

import pytest

from models.errors import ControlError
from models.instruments import (
    ALIASES,
    DRUM_NOTES,
    DRUMS,
    FAMILIES,
    PROGRAM_NAMES,
    Instrument,
    family_of,
    instrument_of,
    parse_instrument,
)


def test_the_tables_are_those_of_general_midi() -> None:
    assert len(PROGRAM_NAMES) == len(set(PROGRAM_NAMES)) == 128
    assert [program for programs in FAMILIES.values() for program in programs] == list(range(128))
    assert list(DRUM_NOTES) == list(range(35, 82))
    assert len(set(DRUM_NOTES.values())) == 47


@pytest.mark.parametrize(
    ("program", "name", "family"),
    [
        (0, "Acoustic Grand Piano", "Piano"), (4, "Electric Piano 1", "Piano"),
        (11, "Vibraphone", "Chromatic Percussion"), (19, "Church Organ", "Organ"),
        (24, "Nylon Guitar", "Guitar"), (32, "Acoustic Bass", "Bass"), (42, "Cello", "Strings"),
        (48, "String Ensemble 1", "Ensemble"), (60, "French Horn", "Brass"), (66, "Tenor Sax", "Reed"),
        (73, "Flute", "Pipe"), (81, "Saw Lead", "Synth Lead"), (89, "Warm Pad", "Synth Pad"),
        (96, "Rain", "Synth Effects"), (110, "Fiddle", "Ethnic"), (114, "Steel Drums", "Percussive"),
        (127, "Gunshot", "Sound Effects"),
    ],
)  # fmt: skip
def test_landmarks(program: int, name: str, family: str) -> None:
    assert PROGRAM_NAMES[program] == name
    assert family_of(program) == family
    assert instrument_of(program) == Instrument(program, False, name)
    assert instrument_of(program, is_drum=True) == DRUMS


@pytest.mark.parametrize(
    ("note", "name"),
    [
        (35, "Acoustic Bass Drum"), (36, "Bass Drum"), (38, "Acoustic Snare"), (42, "Closed Hi-Hat"),
        (46, "Open Hi-Hat"), (49, "Crash Cymbal 1"), (51, "Ride Cymbal 1"), (56, "Cowbell"), (75, "Claves"),
        (81, "Open Triangle"),
    ],
)  # fmt: skip
def test_landmarks_of_the_drum_kit(note: int, name: str) -> None:
    assert DRUM_NOTES[note] == name


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("piano", 0), ("Piano", 0), ("Rhodes", 4), ("E-Piano", 4), ("e. piano", 4), ("organ", 16),
        ("Hammond B3", None), ("guitar", 25), ("electric guitar", 27), ("distorted guitar", 30),
        ("nylon string guitar", 24), ("upright bass", 32), ("bass", 33), ("electric bass", 33),
        ("synth bass", 38), ("808 bass", 39), ("double bass", 43), ("violin", 40), ("Violin 2", 40),
        ("the violin", 40), ("a cello", 42), ("strings", 48), ("choir", 52), ("vocals", 53), ("trumpet", 56),
        ("horns", 61), ("horn", 60), ("sax", 65), ("tenor sax", 66), ("flute", 73), ("synth", 81),
        ("pad", 89), ("vibes", 11), ("harp", 46), ("saw", 81), ("steel drums", 114), ("Electric Piano 2", 5),
        ("Honky-Tonk Piano", 3), ("  Slap   Bass ", 36), ("1", 0), ("34", 33), ("128", 127),
    ],
)  # fmt: skip
def test_instruments_by_the_names_musicians_use(text: str, program: int | None) -> None:
    if program is None:
        with pytest.raises(ControlError):
            parse_instrument(text)
    else:
        assert parse_instrument(text) == instrument_of(program)


@pytest.mark.parametrize("text", ["drums", "Drum Kit", "drumkit", "percussion", "808", "beat"])
def test_drums(text: str) -> None:
    assert parse_instrument(text) == DRUMS


@pytest.mark.parametrize("program", range(128))
def test_every_program_is_found_by_its_name(program: int) -> None:
    assert parse_instrument(PROGRAM_NAMES[program]).program == program


def test_no_two_instruments_share_a_name() -> None:
    names = [alias for aliases in ALIASES.values() for alias in aliases]
    assert len(names) == len(set(names))
    assert not set(names) & {name.casefold() for name in PROGRAM_NAMES}
    assert set(ALIASES) <= {*PROGRAM_NAMES, DRUMS.name}
    for name, aliases in ALIASES.items():
        for alias in aliases:
            assert parse_instrument(alias).name == name


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("saxaphone", "saxophone"), ("drms", "drums"), ("vioin", "violin"), ("", "piano"), ("qqqq", "piano"),
        ("0", "1 to 128"), ("129", "1 to 128"), ("999999999999999999999", "1 to 128"),
    ],
)  # fmt: skip
def test_what_is_no_instrument(text: str, hint: str) -> None:
    with pytest.raises(ControlError) as caught:
        parse_instrument(text)
    assert hint in caught.value.hint
