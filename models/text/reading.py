"""Words to a Brief: the facts they state, and the nearest style, moods and textures for all they leave open.

    words ─ facts.read_facts ─► Facts ─┐
          └ sentences (or plain words) ─► ranked genres, moods, textures ─┴─ complete ─► Brief

The sentence encoder ranks what no table settles: the ranking becomes instruments, chords, drum plans, cell
attributes and controls. The same sentence's vector is the network's own text slot (words_of).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save_file

from models.errors import UserError
from models.instruments import DRUMS_NAME, PROGRAM_NAMES, family_of
from models.text.brief import MOST_BARS, MOST_TRACKS, Brief, Facts, Ranked, Section
from models.text.chords import is_minor, is_numeral, read_chords
from models.text.facts import read_facts
from models.text.genres import Colour, Genre, Styles, styles
from models.text.lexicon import DYNAMICS
from models.text.sentences import Floats, SentenceEncoder, installed_encoder
from models.theory import Key, estimate_key, parse_key

DEFAULT_GENRE = "pop"
DEFAULT_BARS = 8
NEAR = 0.25  # a style that the words come nearer to than this is taken; below, the default
NEAR_MOOD = 0.30
SUITING = 0.2  # what instruments that suit a style are worth beside words that come near it
RANKED = 3
WITHOUT_ENCODER = (
    "Moods and styles are matched by plain words, since the sentence "
    "encoder is not installed (docs/text.md tells how)"
)
_TONICS = {"major": 0, "minor": 9, "dorian": 2, "phrygian": 4, "lydian": 5, "mixolydian": 7, "phrygian dominant": 4,
           "harmonic minor": 9, "minor pentatonic": 9, "locrian": 11}  # fmt: skip


def understand(text: str, encoder: SentenceEncoder | None = None, plain: bool = False) -> Brief:
    """The Brief of a text. UserError for what cannot be music at all (see read_facts).

    encoder: None takes the installed one. plain: match by words alone, whatever is installed.
    """
    facts = read_facts(text)
    encoder = None if plain else encoder or installed_encoder()
    known = styles()
    genres = _rank_genres(text, facts, known, encoder)
    moods = _rank(text, facts.moods, known.moods, encoder, facts.colours, NEAR_MOOD)
    textures = _rank(text, facts.textures, known.textures, encoder, facts.colours, 0.35)
    facts = replace(facts, remarks=(*facts.remarks, *_unknown_words(facts, encoder)))
    return complete(facts, text, genres, moods, textures)


def words_of(brief: Brief) -> str:
    """What the network is told of a brief: the user's words, as long as they still say what the brief does; else
    the brief in words as captions have them."""
    try:
        unchanged = bool(brief.text) and _plan_of(understand(brief.text)) == _plan_of(brief)
    except UserError:
        unchanged = False
    if unchanged:
        return brief.text
    moods = " ".join(name for name, _ in brief.moods[:1])
    listed = ", ".join(dict.fromkeys(name.lower().rstrip(" 12") for name in brief.instruments))
    return f"{moods} {brief.genre} with {listed}, {brief.tempo:.0f} bpm, {brief.meter[0]}/{brief.meter[1]}".strip()


def _plan_of(brief: Brief) -> tuple[object, ...]:
    """The fields of a brief that the network's words speak of."""
    return brief.genre, round(brief.tempo), brief.meter, brief.instruments, brief.moods[:1]


def _unknown_words(facts: Facts, encoder: SentenceEncoder | None) -> list[str]:
    """What is said about words that no table knows."""
    if not facts.colours:
        return [] if encoder else [WITHOUT_ENCODER]
    if encoder is None:
        words = {word for genre in styles().genres.values() for word in genre.like.lower().split()}
        strange = [word for word in facts.colours if word not in words]
        found = [WITHOUT_ENCODER]
    else:
        strange = [word for word in facts.colours if word not in encoder.tokenizer]
        found = []
        heard = [word for word in facts.colours if word not in strange]
        if heard:
            found.append(f"Heard as colour, not as a fact: {', '.join(heard[:12])}")
    if strange:
        found.append(f"Not understood: {', '.join(strange[:12])}")
    return found


# --- Ranking ------------------------------------------------------------------------------------------


VECTORS = "styles.safetensors"  # made by save_style_vectors, so that no sketch waits for a hundred sentences


@lru_cache(maxsize=64)
def _text_vector(encoder: SentenceEncoder, text: str) -> Floats:
    return encoder([text])[0]


@lru_cache(maxsize=8)
def _style_vectors(encoder: SentenceEncoder, likes: tuple[str, ...]) -> Floats:
    """Vectors of the descriptions in genres.toml: the saved ones, or new ones where a text has changed."""
    saved = load(resources.files("models.text").joinpath(VECTORS).read_bytes())
    missing = [like for like in likes if _name(like) not in saved]
    fresh = dict(zip(missing, encoder(missing), strict=True)) if missing else {}
    return np.stack([fresh[like] if like in fresh else saved[_name(like)].astype(np.float32) for like in likes])


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _genre_text(genre: Genre) -> str:
    return f"{genre.name} music: {genre.like}"


def save_style_vectors(encoder: SentenceEncoder, path: Path) -> None:
    """Write the vectors of all descriptions; scripts/evaluate.py text --write-vectors calls this."""
    known = styles()
    texts = [_genre_text(genre) for genre in known.genres.values()]
    texts += [colour.like for colours in (known.moods, known.textures) for colour in colours.values()]
    save_file({_name(text): row.astype(np.float16) for text, row in zip(texts, encoder(texts), strict=True)}, path)


def _nearness(text: str, likes: Sequence[str], encoder: SentenceEncoder | None) -> list[float]:
    """How near a text comes to each of some others: cosines, or the share of its words that they hold."""
    if encoder is not None:
        return [float(value) for value in _style_vectors(encoder, tuple(likes)) @ _text_vector(encoder, text)]
    words = set(re.findall(r"[^\W\d_]{3,}", text.lower()))
    return [len(words & set(re.findall(r"[^\W\d_]{3,}", like.lower()))) / max(4, len(words)) for like in likes]


def _rank_genres(text: str, facts: Facts, known: Styles, encoder: SentenceEncoder | None) -> Ranked:
    """Styles that are said, then those that the words come near to and the instruments suit. Words that all say
    something else, such as "string quartet in D minor", and words that nobody knows have no say in it."""
    genres = [genre for genre in known.genres.values() if genre.name not in facts.not_genres]
    found = _suiting(facts.instruments, genres, known)
    heard = facts.colours if encoder is None else [word for word in facts.colours if word in encoder.tokenizer]
    if heard or facts.moods or facts.genres or facts.drums or facts.swing:
        near = _nearness(text, [_genre_text(genre) for genre in genres], encoder)
        found = [score + SUITING * suits for score, suits in zip(near, found, strict=True)]
    scores = {genre.name: round(score, 3) for genre, score in zip(genres, found, strict=True)}
    said = [name for name in facts.genres if name in scores]
    rest = sorted((name for name in scores if name not in said), key=lambda name: -scores[name])
    ranked = [(name, 1.0) for name in said] + [(name, scores[name]) for name in rest if scores[name] >= NEAR]
    return tuple(ranked[:RANKED])


def _suiting(instruments: Sequence[str], genres: Sequence[Genre], known: Styles) -> list[float]:
    """How well instruments suit each of some styles, 0 to about 1: rare ones say more than those of every band, and
    drums alone say nothing."""
    named = dict.fromkeys(instruments)
    if not named.keys() - {DRUMS_NAME}:
        return [0.0] * len(genres)
    played = Counter(name for genre in known.genres.values() for name in {*genre.instruments, *genre.home})
    weights = {name: math.log((1 + len(known.genres)) / (1 + played[name])) for name in named}
    found = []
    for genre in genres:
        usual = set(genre.instruments)
        families = {_family(name) for name in usual - {DRUMS_NAME}}
        suits = sum(
            weight * (1.0 if name in genre.home else 0.7 if name in usual else 0.3 * (_family(name) in families))
            for name, weight in weights.items()
        )
        found.append((suits / sum(weights.values()) + 0.25 * len(usual & named.keys()) / len(usual)) / 1.25)
    return found


def _family(name: str) -> str:
    return DRUMS_NAME if name == DRUMS_NAME else family_of(PROGRAM_NAMES.index(name))


def _rank(text: str, said: Sequence[str], known: dict[str, Colour], encoder: SentenceEncoder | None,
          colours: Sequence[str], least: float) -> Ranked:  # fmt: skip
    ranked = [(name, 1.0) for name in said]
    if colours or encoder is None:
        near = _nearness(text, [colour.like for colour in known.values()], encoder)
        order = sorted(zip(known, near, strict=True), key=lambda pair: -pair[1])
        ranked += [(name, round(score, 3)) for name, score in order if score >= least and name not in said]
    return tuple(ranked[:RANKED])


# --- From facts and ranking to a plan -----------------------------------------------------------------


def complete(facts: Facts, text: str, genres: Ranked, moods: Ranked, textures: Ranked) -> Brief:
    """Fill in what the facts leave open, from the first genre and mood."""
    known = styles()
    genre = known.genres[genres[0][0] if genres else DEFAULT_GENRE]
    leading = [known.moods[name] for name, _ in moods]
    meter = facts.meter or _usual_meter(genre)
    tempo = _tempo(facts, genre, leading)
    bars = facts.bars
    if bars is None and facts.seconds is not None:
        bars, tempo = _bars_in(facts, tempo, meter)
    sections = facts.sections
    if bars is None:
        told = sum(section.bars for section in sections)
        bars = told if told and all(section.bars for section in sections) else _usual_bars(genre, facts, sections)
    sections, remark = lay_out(sections, bars := min(bars, MOST_BARS))
    instruments = _instruments(facts, genre)
    drums = (facts.drums or genre.drums or "backbeat") if DRUMS_NAME in instruments else None
    key = _key(facts, genre, leading)
    chords = facts.chords or _chords(genre, key, bars)
    mood = leading[0] if leading else Colour("", "")
    steps = list(DYNAMICS)
    level = steps.index(genre.dynamics) + round(mood.dynamics / 2 if mood.dynamics in (1, -1) else mood.dynamics)
    said = {
        "tempo": facts.tempo or facts.tempo_range, "meter": facts.meter,
        "key": facts.key or facts.tonic is not None,
        "bars": facts.bars or facts.seconds, "instruments": facts.instruments or facts.without or facts.tracks,
        "chords": facts.chords, "drums": facts.drums, "swing": facts.swing is not None, "genre": facts.genres,
        "density": facts.density is not None, "register": facts.register is not None,
        "registers": facts.registers, "dynamics": facts.dynamics, "sections": facts.sections, "mode": facts.mode,
        "loop": facts.loop,
    }  # fmt: skip
    return Brief(
        text=text,
        genre=genre.name,
        tempo=tempo,
        meter=meter,
        key=key.name,
        bars=bars,
        instruments=instruments,
        chords=chords,
        drums=drums,
        bass=genre.bass,
        swing=(genre.swing and meter[1] == 4 and not facts.drums) if facts.swing is None else facts.swing,
        density=_clip(genre.density + mood.density) if facts.density is None else facts.density,
        register=_clip(genre.register + mood.register) if facts.register is None else facts.register,
        registers=facts.registers,
        dynamics=facts.dynamics or steps[max(1, min(len(steps) - 2, level))],
        sections=sections,
        loop=facts.loop,
        genres=genres,
        moods=moods,
        textures=textures,
        said=tuple(name for name, value in said.items() if value),
        remarks=(*facts.remarks, *([remark] if remark else []), *_unusual(facts, genre), *_guests(facts, genre)),
    )


def _clip(level: int) -> int:
    return max(-2, min(2, level))


def _usual_meter(genre: Genre) -> tuple[int, int]:
    over, under = genre.meters[0].split("/")
    return int(over), int(under)


def _tempo(facts: Facts, genre: Genre, moods: Sequence[Colour]) -> float:
    """The tempo said; else the style's, where in its range the first mood lies; a word's range comes first."""
    if facts.tempo is not None:
        return facts.tempo
    low, high = genre.tempo
    if facts.tempo_range is not None:
        least, most = facts.tempo_range
        shared = max(low, least), min(high, most)
        low, high = shared if shared[0] <= shared[1] else (least, most)
    place = 0.5 + 0.5 * (moods[0].tempo if moods else 0.0)
    return float(round(low + (high - low) * max(0.0, min(1.0, place))))


def _bars_in(facts: Facts, tempo: float, meter: tuple[int, int]) -> tuple[int, float]:
    """Bars that come nearest to a length in seconds, and the tempo, which gives way where no number fixes it."""
    quarters = 4 * meter[0] / meter[1]
    seconds = facts.seconds or 1.0
    bars = max(1, min(MOST_BARS, round(seconds * tempo / 60 / quarters)))
    if facts.tempo is None:
        tempo = min(320.0, max(20.0, round(bars * quarters * 60 / seconds, 2)))
    return bars, tempo


def _usual_bars(genre: Genre, facts: Facts, sections: Sequence[Section]) -> int:
    if any(section.chords for section in sections):
        return sum(section.bars or _length_of(section.chords) for section in sections)
    if facts.chords and (count := len(read_chords(facts.chords, Key(0, "major")))) > 1:
        return max(count, DEFAULT_BARS // count * count)
    if sections:
        return 4 * len(sections)
    return 12 if genre.name == "blues" else DEFAULT_BARS


def _length_of(chords: str) -> int:
    """Bars of a section with some chords: as often as makes four."""
    count = len(read_chords(chords, Key(0, "major"))) if chords else 4
    return count * max(1, 4 // count)


def lay_out(sections: Sequence[Section], bars: int) -> tuple[tuple[Section, ...], str]:
    """The sections with their bars, which come to `bars` in all, and a sentence where they had to be changed."""
    if not sections or len(sections) > bars:
        return (), "The form has more sections than bars and is left out" if sections else ""
    remark = ""
    if all(section.bars for section in sections) and sum(section.bars for section in sections) != bars:
        remark = f"The sections are {sum(section.bars for section in sections)} bars long; {bars} bars count"
    weights = [section.bars or max(1, bars // len(sections)) for section in sections]
    edges = [round(bars * sum(weights[: n + 1]) / sum(weights)) for n in range(len(weights))]
    counts = [max(1, edge - before) for edge, before in zip(edges, [0, *edges], strict=False)]
    while sum(counts) > bars:
        counts[counts.index(max(counts))] -= 1
    return tuple(replace(s, bars=n) for s, n in zip(sections, counts, strict=True)), remark


def _instruments(facts: Facts, genre: Genre) -> tuple[str, ...]:
    """The instruments said, and no others; the style's where none are, where more tracks are asked for, or where
    the one that is said joins a band with drums."""
    usual = [name for name in genre.instruments if name not in facts.without]
    wanted = list(facts.instruments)
    if _joins(facts, genre):
        taken = {_family(name) for name in wanted}
        wanted += [name for name in usual if _family(name) not in taken]
    if facts.drums and DRUMS_NAME not in facts.without and DRUMS_NAME not in usual and not wanted:
        usual.insert(0, DRUMS_NAME)
    if not wanted:
        wanted = usual or [name for name in ("Acoustic Grand Piano", "Flute", "Violin", DRUMS_NAME)
                           if name not in facts.without][:1] or [_any_left(facts.without)]  # fmt: skip
    if facts.tracks:
        spare = [*usual, *(name for name in ("Warm Pad", "Vibraphone", "Clean Guitar", "Cello", "Flute", "Horn")
                           if name not in facts.without and name in PROGRAM_NAMES)]  # fmt: skip
        for name in spare:
            if len(wanted) < facts.tracks and name not in wanted:
                wanted.append(name)
        while len(wanted) < facts.tracks:
            wanted.append(wanted[len(wanted) % len(set(wanted))])
        if not facts.instruments:
            wanted = wanted[: facts.tracks]
    return tuple(wanted[:MOST_TRACKS])


def _joins(facts: Facts, genre: Genre) -> bool:
    band = DRUMS_NAME in genre.instruments and DRUMS_NAME not in facts.without
    return facts.joining and not facts.tracks and band


def _any_left(without: Sequence[str]) -> str:
    return next((name for name in PROGRAM_NAMES if name not in without), PROGRAM_NAMES[0])


def _key(facts: Facts, genre: Genre, moods: Sequence[Colour]) -> Key:
    if facts.key is not None:
        return parse_key(facts.key)
    mode = facts.mode or next((mood.mode for mood in moods if mood.mode), None)
    if facts.chords is not None:
        found = _key_of_chords(facts.chords, facts.tonic, mode or "major")
        if found is not None:
            return found if facts.mode is None else Key(found.tonic, facts.mode)
    if facts.tonic is not None:
        lean = genre.mode if genre.mode in ("mixolydian", "major") else "major"
        return Key(facts.tonic, facts.mode or lean)
    mode = mode or genre.mode
    if facts.mode is None and moods and moods[0].mode and is_minor(Key(0, genre.mode)) == is_minor(Key(0, mode)):
        mode = genre.mode
    return Key(_TONICS.get(mode, 2), mode)


def _key_of_chords(text: str, tonic: int | None, mode: str) -> Key | None:
    """The key in which a progression is at home; numerals say only whether it is minor."""
    words = re.findall(r"[^\s|]+", text)
    if all(map(is_numeral, words)):
        home = next((word for word in words if word.lstrip("b#♭♯") and re.match(r"(?:I|i)(?![IVXiv])", word)), None)
        minor = home is not None and home.startswith("i")
        kind = "minor" if minor else mode if home is None else "major"
        return Key(tonic if tonic is not None else (9 if minor else 0), kind)
    weights = [0.0] * 12
    chords = [chord for bar in read_chords(text, Key(0, "major")) for chord in bar if chord]
    for number, chord in enumerate(chords):
        for tone in chord.pitch_classes:
            weights[tone] += 1
        weights[chord.root] += 1.5 if number in (0, len(chords) - 1) else 0.5
    key, _ = estimate_key(weights)
    if tonic is None and chords and chords[0].root in (key.tonic, key.relative.tonic):
        minor = 3 in {(tone - chords[0].root) % 12 for tone in chords[0].pitch_classes}
        return Key(chords[0].root, "minor" if minor else "major") if chords[0].root != key.tonic else key
    return key if tonic is None else Key(tonic, key.mode if key.tonic == tonic else mode)


def _chords(genre: Genre, key: Key, bars: int) -> str:
    """A progression of the style; the one whose length suits the bars best, the first among equals."""
    options = genre.minor if is_minor(key) else genre.major
    return min(options, key=lambda text: (bars % (text.count("|") + 1) != 0, options.index(text)))


def _guests(facts: Facts, genre: Genre) -> list[str]:
    if not _joins(facts, genre):
        return []
    return [f"{facts.instruments[0]} beside what plays {genre.name}; say only for nothing else"]


def _unusual(facts: Facts, genre: Genre) -> list[str]:
    """Where explicit facts leave the style's ways; the facts count."""
    found = []
    low, high = genre.tempo
    if facts.genres and facts.tempo is not None and not 0.8 * low <= facts.tempo <= 1.25 * high:
        halves = any(0.8 * low <= facts.tempo * factor <= 1.25 * high for factor in (0.5, 2))
        if not halves:
            found.append(f"{genre.name} is usually {low}-{high} bpm; {facts.tempo:g} bpm counts")
    if len(facts.genres) > 1:
        found.append(f"Several styles are named; {facts.genres[0]} leads")
    return found
