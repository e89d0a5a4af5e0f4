"""From a Brief to everything of a sketch that needs no network: the empty score, who plays what part, the drum and
bass patterns of the style, the chord track with its cadence, and the ending.

Times are ticks of a score with TICKS to the quarter note. Pure functions of the Brief.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from models.form import Again, Form, Kind
from models.instruments import DRUMS_NAME, PROGRAM_NAMES, family_of
from models.piece import GRID
from models.score import KeySignature, Marker, Meter, Note, Score, Tempo, Track
from models.text.brief import Brief, Section
from models.text.chords import is_minor, numeral_chord, read_chords
from models.text.genres import CELL, FREE_BASS, KIT, STROKES, styles
from models.text.lexicon import DYNAMICS
from models.theory import Chord, Key, Progression, parse_key, place_progression, with_chord_track

TICKS = 480
CELL_TICKS = CELL * TICKS // GRID
BEAT = TICKS
LEAST_BARS_TO_END = 3  # from so many bars on, the last one is an ending
DRUM_CHANNEL = 9


class Role(Enum):
    """What a track does. SOLO plays melody and chords at once."""

    DRUMS = "drums"
    BASS = "bass"
    CHORDS = "chords"
    PAD = "pad"
    MELODY = "melody"
    SECOND = "second melody"
    SOLO = "solo"


# Where an instrument sounds well, lowest and highest pitch; a family where the instrument is not listed.
RANGES: dict[str, tuple[int, int]] = {
    "Violin": (57, 88), "Viola": (50, 77), "Cello": (36, 67), "Contrabass": (28, 50), "Tremolo Strings": (48, 79),
    "Pizzicato Strings": (48, 79), "Orchestral Harp": (43, 86), "Timpani": (40, 55), "Trumpet": (55, 80),
    "Trombone": (41, 67), "Tuba": (28, 50), "Muted Trumpet": (55, 80), "French Horn": (43, 70),
    "Brass Section": (48, 77), "Soprano Sax": (57, 84), "Alto Sax": (51, 79), "Tenor Sax": (46, 74),
    "Baritone Sax": (38, 65), "Oboe": (59, 84), "English Horn": (53, 77), "Bassoon": (36, 62),
    "Clarinet": (52, 82), "Piccolo": (74, 98), "Flute": (60, 88), "Recorder": (65, 88), "Pan Flute": (60, 84),
    "Shakuhachi": (57, 81), "Voice Oohs": (55, 77), "Choir Aahs": (48, 76), "Glockenspiel": (72, 96),
    "Celesta": (60, 96), "Music Box": (60, 91), "Tubular Bells": (60, 77), "Accordion": (53, 81),
    "Harmonica": (60, 84), "Church Organ": (41, 79), "Tango Accordion": (50, 81), "Banjo": (50, 77),
    "Koto": (50, 79),
    "Sitar": (50, 74), "Fiddle": (57, 88), "Bagpipe": (57, 76), "Synth Bass 2": (26, 46), "Acoustic Bass": (28, 50),
    "Piano": (45, 84), "Chromatic Percussion": (53, 86), "Organ": (45, 79), "Guitar": (43, 76), "Bass": (28, 50),
    "Strings": (48, 79), "Ensemble": (48, 79), "Brass": (48, 77), "Reed": (50, 79), "Pipe": (60, 86),
    "Synth Lead": (55, 86), "Synth Pad": (48, 76), "Synth Effects": (48, 79), "Ethnic": (50, 79),
    "Percussive": (48, 79), "Sound Effects": (48, 72),
}  # fmt: skip

_SINGERS = ("Reed", "Pipe", "Brass", "Synth Lead", "Ethnic")
_SOLO_STRINGS = ("Violin", "Viola", "Cello")
_ALSO_SINGING = (
    "Voice Oohs",
    "Synth Voice",
    "Music Box",
    "Glockenspiel",
    "Harmonica",
    "Steel Drums",
    "Calliope Lead",
)
_LOW = ("Contrabass", "Tuba", "Timpani", "Bassoon", "Cello", "Baritone Sax", "Trombone")
_PADS = ("Synth Pad", "Ensemble", "Synth Effects")


@dataclass(frozen=True, slots=True)
class Part:
    """One track of a sketch: its instrument's name, its role, and the pitches it keeps to."""

    name: str
    role: Role
    low: int
    high: int

    @property
    def program(self) -> int:
        return 0 if self.role is Role.DRUMS else PROGRAM_NAMES.index(self.name)


def roles(instruments: Sequence[str]) -> list[Role]:
    """A role for each instrument: at most one bass, and somebody who has the melody."""
    result: list[Role | None] = [Role.DRUMS if name == DRUMS_NAME else None for name in instruments]
    pitched = [index for index, role in enumerate(result) if role is None]
    families = {index: family_of(PROGRAM_NAMES.index(instruments[index])) for index in pitched}
    basses = [index for index in pitched if families[index] == "Bass"]
    if not basses and len(pitched) > 1:
        basses = sorted(
            (index for index in pitched if instruments[index] in _LOW),
            key=lambda index: (_LOW.index(instruments[index]), -index),
        )
    if basses:
        result[basses[0]] = Role.BASS
    free = [index for index in pitched if result[index] is None]
    singing = [
        index
        for index in free
        if families[index] in _SINGERS or instruments[index] in (*_SOLO_STRINGS, *_ALSO_SINGING)
    ]
    singing = [index for index in singing if instruments[index] != "Brass Section"] or singing
    for number, index in enumerate(singing):
        result[index] = Role.MELODY if number == 0 else Role.SECOND
    for index in free:
        if result[index] is None:
            result[index] = Role.PAD if families[index] in _PADS else Role.CHORDS
    if not singing and free:
        if len(free) == 1:
            result[free[0]] = Role.SOLO
        else:
            players = [index for index in free if result[index] is Role.CHORDS] or free
            result[players[-1] if len(players) > 1 else players[0]] = Role.MELODY
            if not any(result[index] in (Role.CHORDS, Role.PAD) for index in free):
                result[free[0]] = Role.SOLO
    return [role or Role.CHORDS for role in result]


def parts_of(brief: Brief) -> list[Part]:
    """The parts of a brief, with the pitches that instrument, role and register leave each."""
    steps = dict(brief.registers)
    result = []
    playing = roles(brief.instruments)
    for name, role in zip(brief.instruments, playing, strict=True):
        if role is Role.DRUMS:
            result.append(Part(name, role, 0, 127))
            continue
        low, high = RANGES.get(name) or RANGES[family_of(PROGRAM_NAMES.index(name))]
        shift = 5 * steps.get(name, brief.register if role is not Role.BASS or brief.register < 0 else 0)
        if role in (Role.CHORDS, Role.PAD):
            top = 67 if Role.MELODY in playing else 72
            low, high = (max(low, 48), min(high, top)) if min(high, top) - max(low, 48) >= 11 else (low, high)
        elif role is Role.MELODY:  # above the chords, and not at the top of the instrument for ever
            low, high = (max(low, high - 22), high - 3) if high - low >= 18 else (low, high)
            low = 60 if low < 60 <= high - 13 and Role.CHORDS in playing else low
        elif role is Role.SECOND:
            low = max(low, high - 31)
        elif role is Role.BASS:
            high = min(high, low + 22)
        low, high = low + shift, high + shift
        result.append(Part(name, role, max(0, min(low, 115)), max(12, min(127, high))))
    return result


# --- The empty score ----------------------------------------------------------------------------------


def empty_score(brief: Brief) -> Score:
    """Tracks without notes, on the tempo, meter, key and length of the brief, with its chord track and sections."""
    key = parse_key(brief.key)
    names: list[str] = []
    tracks: list[Track] = []
    channels = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    for part in parts_of(brief):
        count = sum(name == part.name or name.startswith(f"{part.name} ") for name in names)
        names.append(f"{part.name} {count + 1}" if count else part.name)
        drum = part.role is Role.DRUMS
        channel = DRUM_CHANNEL if drum else channels[len([t for t in tracks if not t.is_drum]) % len(channels)]
        tracks.append(Track(names[-1], part.program, drum, channel))
    numerator, denominator = brief.meter
    bar = TICKS * 4 * numerator // denominator
    score = Score(
        TICKS,
        tuple(tracks),
        (Tempo(0, round(60_000_000 / brief.tempo)),),
        (Meter(0, numerator, denominator),),
        (_signature(key),),
        tuple(Marker(bar * first, f"section {section.name}") for first, section in spans(brief) if section.name),
        length=bar * brief.bars,
    )
    return with_chord_track(score, place_progression(score, progression(brief), 0, brief.bars))


def _signature(key: Key) -> KeySignature:
    """The signature on the tonic itself, as a blues in A is written with that of A major."""
    minor = is_minor(key)
    return KeySignature(0, Key(key.tonic, "minor" if minor else "major").fifths, minor)


def spans(brief: Brief) -> list[tuple[int, Section]]:
    """(first bar, section), one nameless section where the brief has none; every section has its bars."""
    result, first = [], 0
    for section in brief.sections or (Section("", brief.bars),):
        result.append((first, section))
        first += section.bars
    return result


def progression(brief: Brief) -> Progression:
    """A chord list for every bar: the brief's, over and over, and home at the end.

    Where the chords are the style's and not the user's, the last bar is the tonic and the one before leads there; a
    loop's last bar leads to its first.
    """
    key = parse_key(brief.key)
    whole = read_chords(brief.chords, key)
    bars: Progression = []
    for first, section in spans(brief):
        chords = read_chords(section.chords, key) if section.chords else whole
        bars += [chords[(bar if len(chords) > section.bars else bar - first) % len(chords)]
                 for bar in range(first, first + section.bars)]  # fmt: skip
    if "chords" in brief.said:
        return bars
    home = tonic_chord(brief, key)
    bars[-1] = [_leading(key, home) if brief.loop and brief.bars > 1 else home]
    if brief.bars >= LEAST_BARS_TO_END:
        if not brief.loop:
            bars[-2] = [_leading(key, home)]
        if bars[0] and (is_minor(key) or bars[0][0] is None or bars[0][0].root != key.tonic):
            bars[0] = [home]  # what begins elsewhere is heard in another key
    return bars


def tonic_chord(brief: Brief, key: Key) -> Chord:
    """The style's own chord on the tonic; a plain triad where it has none, and where its minor seventh would make
    another key of it."""
    if is_minor(key):
        return numeral_chord("i", key)
    if key.mode in ("mixolydian", "blues"):
        return numeral_chord("I", key)
    for bar in read_chords(brief.chords, key):
        for chord in bar:
            if chord and chord.root == chord.bass == key.tonic and (key.tonic + 4) % 12 in chord.pitch_classes:
                return chord
    return numeral_chord("I", key)


def _leading(key: Key, home: Chord) -> Chord:
    """The chord before the last: the dominant, or what stands for it where the mode has no leading tone."""
    if key.mode in ("phrygian", "phrygian dominant", "locrian"):
        return numeral_chord("bII", key)
    if (key.tonic + 11) % 12 in key.pitch_classes or key.mode in ("mixolydian", "blues", "major pentatonic"):
        return numeral_chord("V7", key)
    del home
    return numeral_chord("v", key) if key.mode in ("aeolian", "minor pentatonic") else numeral_chord("V", key)


# --- Form ---------------------------------------------------------------------------------------------

PHRASE = 4  # bars
LETTERS = ("", "A", "AA", "AAB", "AABA")  # of so many phrases; more go round
SINGING = (Role.MELODY, Role.SECOND)


class Phrase(NamedTuple):
    """Bars of a section that belong together. like: the first bar of the phrase that it takes up."""

    first: int
    bars: int
    like: int | None = None


def phrases(brief: Brief) -> list[Phrase]:
    """The phrases of a sketch: of four bars, AABA in every section; a section takes up an earlier one of its name
    and kind."""
    result: list[Phrase] = []
    known: dict[tuple[object, ...], list[Phrase]] = {}
    for first, section in spans(brief):
        own = (section.name, section.bars, section.density, section.register)
        before = known.get(own, [])
        inside: list[Phrase] = []
        lengths = [PHRASE] * (section.bars // PHRASE)
        if (rest := section.bars % PHRASE) and lengths and rest == 1:
            lengths[-1] += 1
        elif rest:
            lengths.append(rest)
        for number, bars in enumerate(lengths):
            begin = first + sum(lengths[:number])
            letters = LETTERS[min(len(lengths), PHRASE)]
            letter = letters[number % PHRASE]
            model = next((p for p, other in zip(inside, letters * number, strict=False) if other == letter), None)
            if before:
                model = before[number]
            inside.append(Phrase(begin, bars, model.first if model else None))
        known.setdefault(own, inside)
        result += inside
    return result


def form(brief: Brief, parts: Sequence[Part], bars: int) -> Form:
    """What of the first `bars` bars takes up earlier ones: melodies come back with another ending, and go on in the
    rhythm that they began with; accompaniments keep their figure."""
    again: list[Again] = []
    for phrase in phrases(brief):
        for offset in range(phrase.bars):
            bar = phrase.first + offset
            for track, part in enumerate(parts):
                turn = _turn(phrase, offset, part.role)
                if turn is not None and bar < bars:
                    again.append(Again(bar, track, *turn))
    singing = frozenset(track for track, part in enumerate(parts) if part.role in SINGING)
    return Form(tuple(again), singing)


def _turn(phrase: Phrase, offset: int, role: Role) -> tuple[int, Kind] | None:
    """Which bar a bar of a phrase takes up, and how; None where it is new."""
    if role is Role.DRUMS:
        return None  # every fill is a new one
    last = offset == phrase.bars - 1 and phrase.bars > 1
    leads = role in (*SINGING, Role.SOLO)
    if phrase.like is not None and not (leads and last):
        return phrase.like + min(offset, PHRASE - 1), "varied" if role in SINGING and offset % 4 else "notes"
    if role in (Role.CHORDS, Role.PAD, Role.BASS) and offset > 1:
        return phrase.first + offset % 2, "rhythm"
    if leads and offset == 2 and not last:
        return phrase.first, "rhythm" if role is Role.SOLO else "contour"
    return None


# --- Patterns -----------------------------------------------------------------------------------------


def _cells(pattern: str, bar: int, cells: int) -> str:
    """A bar's characters of a pattern, which repeats by whole bars of its own, then by what fits."""
    own = len(pattern) if len(pattern) <= 16 else 24 if len(pattern) == 24 else 16
    if own == cells:
        count = max(1, len(pattern) // own)
        start = bar % count * own
        return pattern[start : start + own]
    return (pattern * (cells // len(pattern) + 1))[:cells]


def drum_notes(brief: Brief, bar: int, start: int, length: int) -> list[Note]:
    """The pattern of the brief's drums in a bar that begins at `start` ticks and is `length` long."""
    if brief.drums is None:
        return []
    lines = dict(styles().drums[feel_for(brief.drums, brief.meter)])
    cells = max(1, length // CELL_TICKS)
    notes = []
    for piece, pattern in lines.items():
        for place, stroke in enumerate(_cells(pattern, bar, cells)):
            if stroke in STROKES:
                if brief.density <= -2 and stroke == "o":
                    continue
                notes.append(Note(start + place * CELL_TICKS, KIT[piece], CELL_TICKS, STROKES[stroke]))
    return sorted(notes)


def feel_for(drums: str, meter: tuple[int, int]) -> str:
    """The pattern that plays a feel in a meter: compound meters and waltzes have patterns of their own."""
    lines = styles().drums[drums]
    own = max(map(len, lines.values()))
    cells = 16 * meter[0] // meter[1]
    if drums == "four on the floor" or own % cells == 0 or cells % 12:
        return drums
    if meter[1] == 8:
        return "twelve eight" if cells % 24 == 0 else "six eight"
    if meter == (3, 4):
        return "jazz waltz" if drums in ("swing", "brushes", "shuffle") else "waltz"
    return drums


def bass_pattern(brief: Brief, length: int) -> str | None:
    """The bass of a bar `length` ticks long as characters of genres.toml; None where the network plays freely."""
    if brief.bass == FREE_BASS:
        return None
    cells = max(1, length // CELL_TICKS)
    pattern = styles().bass[brief.bass]
    if brief.meter[1] == 8 and cells % 6 == 0:
        pattern = "R.....5....."
    elif brief.meter == (3, 4) and brief.bass != "waltz":
        pattern = "R...x...x..." if brief.bass in ("walking", "boogie") else "R.......5..."
    pattern = _cells(pattern, 0, cells)
    if brief.density <= -1:  # keep what stands on a beat
        pattern = "".join(char if place % 4 == 0 or char in "R5" else "." for place, char in enumerate(pattern))
    if pattern.strip(".") == "":
        pattern = "R" + pattern[1:]
    return pattern if _harmony(brief) else _told_chord(pattern)


def _harmony(brief: Brief) -> bool:
    """Whether another part than bass and drums plays."""
    return any(role not in (Role.BASS, Role.DRUMS) for role in roles(brief.instruments))


def _told_chord(pattern: str) -> str:
    """A pattern of roots that tells the whole chord, for a bass that plays alone."""
    places = [place for place, char in enumerate(pattern) if char != "."]
    if len(places) == 1:
        places.append(len(pattern) // 2 if places[0] < len(pattern) // 2 else 0)
    degrees = dict(zip(sorted(places)[1:], "5353R353R3535353", strict=False))
    first = min(places)
    return "".join("R" if place == first else degrees.get(place, ".") for place in range(len(pattern)))


def chord_pitch(chord: Chord | None, degree: str, key: Key, part: Part, near: int) -> int:
    """The root (R), third (3), fifth (5) or octave (8) of a chord in a part's range, as near as can be to a pitch.

    A tone outside the key gives way to the chord's next one inside it.
    """
    tonic = key.tonic if chord is None else chord.bass
    tones = sorted((tone - tonic) % 12 for tone in (key.pitch_classes if chord is None else chord.pitch_classes))
    inside = [step for step in tones if (tonic + step) % 12 in key.pitch_classes] or [0]
    third = next((step for step in (3, 4) if step in inside), inside[-1])
    wanted = {"5": 7, "3": third}.get(degree, 0)
    step = wanted if wanted in inside else inside[0]
    options = [pitch for pitch in range(part.low, part.high + 1) if pitch % 12 == (tonic + step) % 12]
    if not options:
        return part.low
    if degree == "8":
        return max(options)
    return min(options, key=lambda pitch: (abs(pitch - near), pitch))


# --- Feel ---------------------------------------------------------------------------------------------


def swung(tick: int) -> int:
    """Where a straight place is played in swing: offbeat eighths on the third triplet, sixteenths likewise.

    Places of triplets stay, so what is swung already is not swung twice.
    """
    beat, inside = divmod(tick, BEAT)
    third = BEAT // 3
    if min(inside % third, third - inside % third) <= BEAT // 48:
        return tick
    half = BEAT // 2
    moved = inside * 4 // 3 if inside <= half else 2 * third + (inside - half) * 2 // 3
    return beat * BEAT + moved


def swing_notes(notes: Sequence[Note]) -> list[Note]:
    result: dict[tuple[int, int], Note] = {}
    for note in notes:
        start, end = swung(note.start), swung(note.end)
        result.setdefault((start, note.pitch), note._replace(start=start, duration=max(1, end - start)))
    return sorted(result.values())


def levelled(notes: Sequence[Note], dynamics: str, steps: int = 0) -> list[Note]:
    """The notes with their mean velocity moved to a dynamic mark, `steps` marks higher, their accents kept."""
    if not notes:
        return []
    marks = list(DYNAMICS)
    target = DYNAMICS[marks[max(0, min(len(marks) - 1, marks.index(dynamics) + steps))]]
    mean = sum(note.velocity for note in notes) / len(notes)
    return [
        note._replace(velocity=max(8, min(127, round(target + 0.7 * (note.velocity - mean))))) for note in notes
    ]


def ending(
    part: Part, key: Key, chord: Chord | None, start: int, length: int, before: Sequence[Note]
) -> list[Note]:
    """The last bar of a part: the bass on the root, the melody on the tonic, the others on the chord."""
    near = before[-1].pitch if before else (part.low + part.high) // 2
    home = key.tonic if chord is None else chord.root
    tones = sorted(key.pitch_classes & (chord.pitch_classes if chord else {key.tonic})) or [key.tonic]

    def nearest(classes: Sequence[int], pitch: int) -> int:
        options = [p for p in range(part.low, part.high + 1) if p % 12 in classes]
        return min(options, key=lambda p: (abs(p - pitch), p)) if options else part.low

    if part.role in (Role.BASS, Role.MELODY, Role.SECOND):
        third = [tone for tone in tones if (tone - home) % 12 in (3, 4)]
        classes = (third or tones) if part.role is Role.SECOND else [home]
        return [Note(start, nearest(classes, near), length, 80)]
    middle = (part.low + part.high) // 2
    pitches = [nearest([tone], middle) for tone in tones][:4]
    if part.role is Role.SOLO:
        pitches.append(nearest([home], max(part.low + 5, middle - 14)))
    return [Note(start, pitch, length, 80) for pitch in sorted(set(pitches))]
