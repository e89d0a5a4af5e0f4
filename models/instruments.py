"""General MIDI by name: programs, families, drum notes, and the words musicians use for instruments."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NamedTuple

from models.errors import ControlError

# The sixteen families of General MIDI 1, eight programs each, in order of program number.
_FAMILY_PROGRAMS: dict[str, tuple[str, ...]] = {
    "Piano": (
        "Acoustic Grand Piano", "Bright Acoustic Piano", "Electric Grand Piano", "Honky-tonk Piano",
        "Electric Piano 1", "Electric Piano 2", "Harpsichord", "Clavinet",
    ),
    "Chromatic Percussion": (
        "Celesta", "Glockenspiel", "Music Box", "Vibraphone", "Marimba", "Xylophone", "Tubular Bells",
        "Dulcimer",
    ),
    "Organ": (
        "Drawbar Organ", "Percussive Organ", "Rock Organ", "Church Organ", "Reed Organ", "Accordion",
        "Harmonica", "Tango Accordion",
    ),
    "Guitar": (
        "Nylon Guitar", "Steel Guitar", "Jazz Guitar", "Clean Guitar", "Muted Guitar", "Overdriven Guitar",
        "Distortion Guitar", "Guitar Harmonics",
    ),
    "Bass": (
        "Acoustic Bass", "Fingered Bass", "Picked Bass", "Fretless Bass", "Slap Bass 1", "Slap Bass 2",
        "Synth Bass 1", "Synth Bass 2",
    ),
    "Strings": (
        "Violin", "Viola", "Cello", "Contrabass", "Tremolo Strings", "Pizzicato Strings", "Orchestral Harp",
        "Timpani",
    ),
    "Ensemble": (
        "String Ensemble 1", "String Ensemble 2", "Synth Strings 1", "Synth Strings 2", "Choir Aahs",
        "Voice Oohs", "Synth Voice", "Orchestra Hit",
    ),
    "Brass": (
        "Trumpet", "Trombone", "Tuba", "Muted Trumpet", "French Horn", "Brass Section", "Synth Brass 1",
        "Synth Brass 2",
    ),
    "Reed": (
        "Soprano Sax", "Alto Sax", "Tenor Sax", "Baritone Sax", "Oboe", "English Horn", "Bassoon",
        "Clarinet",
    ),
    "Pipe": (
        "Piccolo", "Flute", "Recorder", "Pan Flute", "Blown Bottle", "Shakuhachi", "Whistle", "Ocarina",
    ),
    "Synth Lead": (
        "Square Lead", "Saw Lead", "Calliope Lead", "Chiff Lead", "Charang Lead", "Voice Lead",
        "Fifths Lead", "Bass Lead",
    ),
    "Synth Pad": (
        "New Age Pad", "Warm Pad", "Polysynth Pad", "Choir Pad", "Bowed Pad", "Metallic Pad", "Halo Pad",
        "Sweep Pad",
    ),
    "Synth Effects": (
        "Rain", "Soundtrack", "Crystal", "Atmosphere", "Brightness", "Goblins", "Echoes", "Sci-fi",
    ),
    "Ethnic": (
        "Sitar", "Banjo", "Shamisen", "Koto", "Kalimba", "Bagpipe", "Fiddle", "Shanai",
    ),
    "Percussive": (
        "Tinkle Bell", "Agogo", "Steel Drums", "Woodblock", "Taiko Drum", "Melodic Tom", "Synth Drum",
        "Reverse Cymbal",
    ),
    "Sound Effects": (
        "Guitar Fret Noise", "Breath Noise", "Seashore", "Bird Tweet", "Telephone Ring", "Helicopter",
        "Applause", "Gunshot",
    ),
}  # fmt: skip

PROGRAM_NAMES = tuple(name for programs in _FAMILY_PROGRAMS.values() for name in programs)
FAMILIES = {family: range(8 * index, 8 * index + 8) for index, family in enumerate(_FAMILY_PROGRAMS)}
DRUMS_NAME = "Drums"

DRUM_NOTES: dict[int, str] = dict(
    enumerate(
        (
            "Acoustic Bass Drum", "Bass Drum", "Side Stick", "Acoustic Snare", "Hand Clap", "Electric Snare",
            "Low Floor Tom", "Closed Hi-Hat", "High Floor Tom", "Pedal Hi-Hat", "Low Tom", "Open Hi-Hat",
            "Low-Mid Tom", "High-Mid Tom", "Crash Cymbal 1", "High Tom", "Ride Cymbal 1", "Chinese Cymbal",
            "Ride Bell", "Tambourine", "Splash Cymbal", "Cowbell", "Crash Cymbal 2", "Vibraslap",
            "Ride Cymbal 2", "High Bongo", "Low Bongo", "Mute High Conga", "Open High Conga", "Low Conga",
            "High Timbale", "Low Timbale", "High Agogo", "Low Agogo", "Cabasa", "Maracas", "Short Whistle",
            "Long Whistle", "Short Guiro", "Long Guiro", "Claves", "High Wood Block", "Low Wood Block",
            "Mute Cuica", "Open Cuica", "Mute Triangle", "Open Triangle",
        ),
        start=35,
    )
)  # fmt: skip


class Instrument(NamedTuple):
    """A General MIDI `program` 0..127 (0 and `is_drum` for the drum kit) and its English name."""

    program: int
    is_drum: bool
    name: str


DRUMS = Instrument(0, True, DRUMS_NAME)

# What else an instrument is called; the key is its name in PROGRAM_NAMES. Written in lower case, without
# hyphens. A bare family name ("bass", "strings") means the member that is heard most.
ALIASES: dict[str, tuple[str, ...]] = {
    "Acoustic Grand Piano": ("piano", "grand", "grand piano", "acoustic piano", "pianoforte", "keys",
                             "keyboard", "keyboards", "upright piano"),
    "Bright Acoustic Piano": ("bright piano", "pop piano"),
    "Electric Grand Piano": ("electric grand", "cp70", "cp80"),
    "Honky-tonk Piano": ("honky tonk", "saloon piano", "ragtime piano", "tack piano"),
    "Electric Piano 1": ("rhodes", "fender rhodes", "rhodes piano", "electric piano", "e piano", "epiano",
                         "ep", "wurlitzer", "wurli", "suitcase"),
    "Electric Piano 2": ("dx piano", "dx7", "dx7 piano", "fm piano", "digital piano"),
    "Harpsichord": ("cembalo", "clavecin", "spinet"),
    "Clavinet": ("clav", "clavi"),
    "Celesta": ("celeste",),
    "Glockenspiel": ("glock", "bells"),
    "Vibraphone": ("vibes", "vibe"),
    "Tubular Bells": ("chimes",),
    "Dulcimer": ("hammered dulcimer", "cimbalom", "santur"),
    "Drawbar Organ": ("organ", "hammond", "hammond organ", "b3", "jazz organ", "electric organ"),
    "Church Organ": ("pipe organ", "cathedral organ"),
    "Reed Organ": ("harmonium", "pump organ"),
    "Accordion": ("accordeon", "musette", "squeezebox"),
    "Harmonica": ("blues harp", "mouth organ"),
    "Tango Accordion": ("bandoneon", "concertina"),
    "Nylon Guitar": ("classical guitar", "spanish guitar", "nylon string guitar", "nylon string",
                     "acoustic guitar nylon", "ukulele", "uke", "flamenco guitar"),
    "Steel Guitar": ("guitar", "acoustic guitar", "steel string guitar", "acoustic guitar steel",
                     "folk guitar", "12 string guitar", "mandolin"),
    "Jazz Guitar": ("electric guitar jazz", "archtop", "hollow body guitar"),
    "Clean Guitar": ("electric guitar", "e guitar", "clean electric guitar", "electric guitar clean",
                     "rhythm guitar", "stratocaster", "strat", "telecaster", "tele"),
    "Muted Guitar": ("palm muted guitar", "palm mute", "electric guitar muted", "muted electric guitar",
                     "funk guitar"),
    "Overdriven Guitar": ("overdrive guitar", "crunch guitar", "rock guitar", "lead guitar"),
    "Distortion Guitar": ("distorted guitar", "metal guitar", "heavy guitar", "fuzz guitar"),
    "Acoustic Bass": ("upright bass", "double bass jazz", "standup bass", "stand up bass", "jazz bass",
                      "walking bass"),
    "Fingered Bass": ("bass", "electric bass", "e bass", "bass guitar", "finger bass", "fingerstyle bass",
                      "electric bass finger"),
    "Picked Bass": ("pick bass", "electric bass pick", "rock bass"),
    "Fretless Bass": ("fretless",),
    "Slap Bass 1": ("slap bass", "slap", "funk bass"),
    "Synth Bass 1": ("synth bass", "bass synth", "moog bass", "acid bass", "303", "analog bass"),
    "Synth Bass 2": ("sub bass", "808 bass", "fm bass"),
    "Violin": ("violins", "solo violin"),
    "Viola": ("violas",),
    "Cello": ("violoncello", "cellos", "celli"),
    "Contrabass": ("double bass", "string bass", "basses", "orchestral bass", "arco bass"),
    "Pizzicato Strings": ("pizzicato", "pizz"),
    "Orchestral Harp": ("harp",),
    "Timpani": ("kettledrum", "kettledrums", "timps"),
    "String Ensemble 1": ("strings", "string ensemble", "string section", "string orchestra", "orchestra",
                          "string quartet"),
    "String Ensemble 2": ("slow strings", "legato strings"),
    "Synth Strings 1": ("synth strings", "string machine", "solina", "mellotron"),
    "Choir Aahs": ("choir", "chorus", "aahs", "aah", "vocal ensemble"),
    "Voice Oohs": ("voice", "vocal", "vocals", "oohs", "ooh", "singer", "voices", "soprano", "alto", "tenor",
                   "baritone"),
    "Synth Voice": ("vox", "synth vox", "vocoder", "synth choir"),
    "Orchestra Hit": ("orchestral hit", "orch hit", "hit", "stab"),
    "Trumpet": ("trumpets", "cornet", "flugelhorn"),
    "Trombone": ("trombones",),
    "Tuba": ("sousaphone", "euphonium"),
    "Muted Trumpet": ("harmon mute",),
    "French Horn": ("horn", "horns in f", "french horns"),
    "Brass Section": ("brass", "horns", "horn section", "brass ensemble", "brass band"),
    "Synth Brass 1": ("synth brass",),
    "Soprano Sax": ("soprano saxophone",),
    "Alto Sax": ("sax", "saxophone", "alto saxophone", "saxes"),
    "Tenor Sax": ("tenor saxophone",),
    "Baritone Sax": ("baritone saxophone", "bari sax"),
    "English Horn": ("cor anglais",),
    "Bassoon": ("fagott", "contrabassoon"),
    "Clarinet": ("clarinets", "bass clarinet"),
    "Piccolo": ("piccolo flute",),
    "Flute": ("flutes", "woodwinds", "concert flute"),
    "Recorder": ("blockflute",),
    "Pan Flute": ("panpipes", "pan pipes"),
    "Blown Bottle": ("bottle",),
    "Whistle": ("tin whistle", "penny whistle"),
    "Square Lead": ("chiptune", "square wave", "8 bit lead", "square"),
    "Saw Lead": ("lead", "synth lead", "lead synth", "sawtooth", "saw", "synth", "synthesizer", "supersaw",
                 "sawtooth lead"),
    "Calliope Lead": ("calliope",),
    "Chiff Lead": ("chiff",),
    "Charang Lead": ("charang",),
    "New Age Pad": ("fantasia",),
    "Warm Pad": ("pad", "synth pad", "pads", "analog pad"),
    "Polysynth Pad": ("polysynth", "poly synth"),
    "Choir Pad": ("space voice",),
    "Bowed Pad": ("glass pad", "bowed glass"),
    "Sweep Pad": ("sweep",),
    "Rain": ("ice rain",),
    "Sci-fi": ("science fiction",),
    "Kalimba": ("thumb piano", "mbira"),
    "Bagpipe": ("bagpipes", "pipes"),
    "Fiddle": ("folk violin",),
    "Shanai": ("shehnai",),
    "Steel Drums": ("steel drum", "steelpan", "steel pan", "steel pans"),
    "Woodblock": ("wood block",),
    "Taiko Drum": ("taiko",),
    "Melodic Tom": ("toms",),
    "Synth Drum": ("electric tom",),
    DRUMS_NAME: ("drum", "drum kit", "drumkit", "drum set", "drumset", "drum machine", "percussion", "perc",
                 "beat", "beats", "kit", "batterie", "acoustic drums", "electronic drums", "808", "909"),
}  # fmt: skip


def instrument_of(program: int, is_drum: bool = False) -> Instrument:
    """The General MIDI instrument of a program 0..127; on a drum track the kit, whatever its program."""
    return DRUMS if is_drum else Instrument(program, False, PROGRAM_NAMES[program])


def family_of(program: int) -> str:
    """The General MIDI family of a program 0..127."""
    return tuple(FAMILIES)[program // 8]


def _plain(text: str) -> str:
    """Lower case words without punctuation, so that "E-Piano", "e piano" and "E. Piano" are the same."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _by_name() -> dict[str, Instrument]:
    names = {name: Instrument(program, False, name) for program, name in enumerate(PROGRAM_NAMES)}
    names[DRUMS_NAME] = DRUMS
    known = {_plain(name): instrument for name, instrument in names.items()}
    known.update((alias, names[name]) for name, aliases in ALIASES.items() for alias in aliases)
    return known


_KNOWN = _by_name()


def parse_instrument(text: str) -> Instrument:
    """The instrument of "upright bass", "Rhodes", "Violin 2", "strings", "drums" or a program number.

    Program numbers are 1..128, as General MIDI and DAWs show them. ControlError, with names that come
    near as its hint, when nothing is called so.
    """
    name = _plain(text)
    if name.isdecimal() and name not in _KNOWN:
        number = int(name)
        if not 1 <= number <= 128:
            raise ControlError(f"There is no program {number}", "General MIDI programs go from 1 to 128.")
        return instrument_of(number - 1)
    for candidate in (name, re.sub(r"^(?:an?|the|some|solo) ", "", name), re.sub(r" \d+$", "", name)):
        if candidate in _KNOWN:
            return _KNOWN[candidate]
    near = get_close_matches(name, _KNOWN, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Name a General MIDI instrument: piano, bass, drums."
    raise ControlError(f'There is no instrument "{text}"', hint)
