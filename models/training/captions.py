"""Captions: what a musician might have typed to get a piece, from what is known of it and what its notes show.

    facts_of   metadata + notes -> facts, each a list of ways to say it
    caption    facts -> one text: some facts, in some order, in one of several ways of talking

No two visits to a piece need the same words: facts are dropped, synonyms and forms are drawn. A fact is only
taken from where it can be relied on: a default tempo is not mentioned, a guessed instrument neither; moods that
nobody wrote down are derived from mode, tempo and loudness, and said less often.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.instruments import instrument_of
from models.piece import DRUMS, GRID, Piece

Facts = dict[str, list[str]]
TRUSTED_TEMPOS = ("score", "file", "click track", "beat_midi", "tempo word", "hand-shaped")
MOST_INSTRUMENTS = 6

# What a set is, for pieces that say no more about themselves.
OF_SET: dict[str, list[str]] = {
    "pop909": ["pop song", "pop ballad", "Mandopop song", "pop tune with piano", "Chinese pop", "C-pop"],
    "freedoom-music": ["game soundtrack", "video game music", "shooter soundtrack", "rock and metal for a game"],
    "lmms-demos": ["electronic track", "electronica", "synth track", "dance track"],
    "mcgill-billboard-chords": ["pop chords", "a chord chart", "chords of a hit", "pop/rock progression"],
    "free-midi-chords": ["chord progression", "chord loop", "four chords", "progression to write over"],
    "openscore-lieder": ["art song", "lied", "classical song", "song for voice and piano", "romantic song"],
    "openscore-quartets": ["string quartet", "chamber music for strings", "quartet movement", "classical quartet"],
    "openscore-orchestra": ["orchestral piece", "symphony movement", "symphonic music", "full orchestra"],
    "piano-midi-de": ["classical piano", "solo piano piece", "concert piano", "piano recital piece"],
    "tavern": ["theme and variations", "variations for piano", "classical piano variations"],
    "groove-midi": ["drum groove", "drum take", "drum performance", "drums played live", "beat"],
    "hydrogen-drum-patterns": ["drum pattern", "drum loop", "beat", "programmed drums"],
    "mma-backing-tracks": ["backing track", "rhythm section", "accompaniment", "play-along", "band backing"],
}
# Words inside a label (lower case) and what musicians call it.
STYLES: dict[str, list[str]] = {
    "neworleans": ["New Orleans", "second line", "Mardi Gras"],
    "secondline": ["second line", "New Orleans street beat"],
    "purdieshuffle": ["Purdie shuffle", "half-time shuffle"],
    "halftime": ["half-time feel", "half time"],
    "hiphop": ["hip-hop", "hip hop", "boom bap", "rap beat"],
    "r-n-b": ["R&B", "rhythm and blues", "rnb"],
    "afro": ["afro-cuban", "Afro-Cuban groove"],
    "rhumba": ["rumba", "rhumba"],
    "bembe": ["bembe", "6/8 Afro-Cuban"],
    "brazil": ["Brazilian", "from Brazil"],
    "samba": ["samba", "Brazilian samba"],
    "bossa": ["bossa nova", "bossa"],
    "songo": ["songo", "Cuban songo"],
    "salsa": ["salsa", "salsa band"],
    "mambo": ["mambo"],
    "cha-cha": ["cha-cha-cha", "cha cha"],
    "chacha": ["cha-cha-cha", "cha cha"],
    "tango": ["tango", "Argentine tango"],
    "beguine": ["beguine"],
    "merengue": ["merengue"],
    "reggae": ["reggae", "one drop", "Jamaican groove"],
    "ska": ["ska"],
    "calypso": ["calypso", "Caribbean"],
    "motown": ["Motown", "sixties soul"],
    "soul": ["soul", "soul music"],
    "gospel": ["gospel", "church gospel"],
    "hymn": ["hymn", "church hymn"],
    "funk": ["funk", "funky", "funk groove"],
    "disco": ["disco", "seventies disco"],
    "breakbeat": ["breakbeat", "breaks"],
    "techno": ["techno"],
    "house": ["house"],
    "trance": ["trance"],
    "metal": ["metal", "heavy"],
    "punk": ["punk", "punk rock"],
    "50srock": ["fifties rock and roll", "rock'n'roll", "50s rock"],
    "rocknroll": ["rock and roll", "rock'n'roll"],
    "rock": ["rock", "rock band", "rock feel"],
    "indie": ["indie", "indie rock"],
    "rock/prog": ["progressive rock", "prog"],
    "boogie": ["boogie", "boogie-woogie"],
    "boggie": ["boogie", "boogie-woogie"],
    "blues": ["blues", "bluesy", "twelve-bar feel"],
    "shuffle": ["shuffle", "shuffled"],
    "swing": ["swing", "swinging", "swing feel"],
    "bebop": ["bebop", "fast jazz"],
    "gypsyjazz": ["gypsy jazz", "jazz manouche", "Django style"],
    "mellowjazz": ["mellow jazz", "late-night jazz"],
    "evansish": ["jazz waltz ballad", "Bill Evans feel"],
    "jazz": ["jazz", "jazzy", "jazz combo"],
    "dixie": ["dixieland", "trad jazz"],
    "charleston": ["charleston", "twenties dance"],
    "ragtime": ["ragtime"],
    "foxtrot": ["foxtrot", "ballroom"],
    "quickstep": ["quickstep", "ballroom"],
    "twostep": ["two-step"],
    "jive": ["jive"],
    "twist": ["twist", "sixties twist"],
    "waltz": ["waltz", "in waltz time", "a waltz"],
    "polka": ["polka"],
    "mazurka": ["mazurka", "Polish dance"],
    "polonaise": ["polonaise", "Polish dance"],
    "krakowiak": ["krakowiak", "Polish dance"],
    "march": ["march", "marching"],
    "country": ["country", "country and western"],
    "westernswing": ["western swing", "Texas swing"],
    "bluegrass": ["bluegrass"],
    "folk": ["folk", "folk song"],
    "celtic": ["Celtic"],
    "ballad": ["ballad", "slow ballad"],
    "lullaby": ["lullaby", "cradle song", "berceuse"],
    "showtune": ["show tune", "Broadway", "musical theatre"],
    "stage": ["show tune", "from a musical"],
    "fusion": ["fusion", "jazz fusion"],
    "klezmer": ["klezmer"],
    "pop": ["pop", "pop music"],
    "slow": ["slow", "slow dance"],
    "electronic": ["electronic", "electronica"],
    "fantasy": ["fantasy game music", "dark fantasy"],
    "nocturne": ["nocturne", "night piece"],
    "prelude": ["prelude"],
    "etude": ["étude", "study"],
    "scherzo": ["scherzo"],
    "sonata": ["sonata", "sonata movement"],
    "rondo": ["rondo"],
    "fugue": ["fugue", "counterpoint"],
    "minuet": ["minuet", "courtly dance"],
    "variations": ["variations", "theme and variations"],
    "requiem": ["requiem", "mass for the dead"],
    "mass": ["mass", "setting of the mass"],
    "vespers": ["vespers", "psalm setting"],
    "motet": ["motet", "sacred choral music"],
    "oratorio": ["oratorio"],
    "opera": ["opera", "from an opera"],
    "sacred": ["sacred music", "church music"],
    "secular": ["concert music"],
    "baroque": ["baroque", "in baroque style"],
    "classical": ["classical", "in the classical style"],
    "romantic": ["romantic", "19th century"],
    "renaissance": ["renaissance", "early music"],
    "modern": ["modern classical", "20th century"],
}
SYNONYMS: dict[str, list[str]] = {
    "Acoustic Grand Piano": ["piano", "grand piano", "acoustic piano"],
    "Bright Acoustic Piano": ["bright piano", "piano"],
    "Electric Piano 1": ["Rhodes", "electric piano", "e-piano"],
    "Electric Piano 2": ["DX piano", "electric piano"],
    "Drawbar Organ": ["Hammond organ", "organ"],
    "Church Organ": ["pipe organ", "church organ", "organ"],
    "Nylon Guitar": ["nylon guitar", "classical guitar", "acoustic guitar"],
    "Steel Guitar": ["steel-string guitar", "acoustic guitar"],
    "Jazz Guitar": ["jazz guitar", "archtop guitar", "guitar"],
    "Clean Guitar": ["clean electric guitar", "electric guitar"],
    "Muted Guitar": ["palm-muted guitar", "muted guitar"],
    "Overdriven Guitar": ["overdriven guitar", "crunchy guitar"],
    "Distortion Guitar": ["distorted guitar", "heavy guitars"],
    "Acoustic Bass": ["upright bass", "double bass", "acoustic bass"],
    "Fingered Bass": ["bass guitar", "electric bass", "bass"],
    "Picked Bass": ["picked bass", "bass"],
    "Fretless Bass": ["fretless bass", "bass"],
    "String Ensemble 1": ["strings", "string section"],
    "String Ensemble 2": ["slow strings", "strings"],
    "Voice Oohs": ["voice", "vocals", "singing voice"],
    "Choir Aahs": ["choir"],
    "French Horn": ["horn", "French horn"],
    "Brass Section": ["brass", "horn section"],
    "Drums": ["drums", "drum kit", "drum set"],
}
TEMPO_WORDS = (
    (50, ["very slow", "largo", "grave"]),
    (70, ["slow", "adagio", "unhurried"]),
    (95, ["relaxed", "andante", "walking pace"]),
    (118, ["moderate", "moderato", "mid-tempo"]),
    (140, ["lively", "allegretto", "upbeat"]),
    (172, ["fast", "allegro", "driving"]),
    (1000, ["very fast", "presto", "breakneck"]),
)
PERIODS = ((1600, "renaissance"), (1750, "baroque"), (1820, "classical"), (1910, "romantic"), (3000, "modern"))
MAJOR_MOODS = {"slow": ["tender", "peaceful", "hopeful"], "fast": ["joyful", "bright", "triumphant"]}
MINOR_MOODS = {"slow": ["sad", "melancholy", "sombre"], "fast": ["restless", "dramatic", "stormy"]}
ENSEMBLES: dict[frozenset[str], list[str]] = {
    frozenset({"Acoustic Grand Piano"}): ["solo piano", "piano solo", "for piano"],
    frozenset({"Drums"}): ["drums only", "just drums", "a drum part"],
    frozenset({"Nylon Guitar"}): ["solo guitar", "classical guitar solo"],
    frozenset({"Church Organ"}): ["organ solo", "for organ"],
    frozenset({"Voice Oohs"}): ["a cappella choir", "choir", "vocal ensemble"],
    frozenset({"Voice Oohs", "Acoustic Grand Piano"}): ["voice and piano", "singer with piano"],
    frozenset({"Violin", "Viola", "Cello"}): ["string quartet", "quartet for strings"],
    frozenset({"Violin", "Acoustic Grand Piano"}): ["violin and piano", "violin sonata"],
}
REQUESTS = (
    "{}", "{}", "write {}", "make me {}", "I need {}", "give me {}", "something like {}", "compose {}",
    "please write {}", "could you do {}", "let's have {}", "an idea: {}", "looking for {}", "can I get {}",
    "sketch {}", "we want {}", "start with {}", "how about {}",
)  # fmt: skip
CORES = ("{style}", "a {style} piece", "{style} music", "some {style}", "a bit of {style}", "a {style} thing")
WITH = (" with {}", ", {}", " for {}", " played by {}", " on {}", ": {}", " featuring {}")
IN_KEY = (" in {}", ", {}", ", key of {}")
TAIL = (", {}", ", {}", " and {}", "; {}", ". {}", " - {}")


def facts_of(info: Mapping[str, Any], piece: Piece) -> Facts:
    """What can be said of a piece; every fact comes with its wordings. info: as shards have it."""
    facts: Facts = {}

    def say(name: str, wordings: Sequence[str]) -> None:
        if wordings:
            facts[name] = list(wordings)

    say("style", _styles(info))
    programs = dict.fromkeys(int(program) for program in piece.programs)
    names = ["Drums" if program == DRUMS else instrument_of(program).name for program in programs]
    say("ensemble", ENSEMBLES.get(frozenset(names), []))
    if len(names) <= MOST_INSTRUMENTS and str(info.get("set")) != "pop909":  # its programs are guesses
        say("instruments", ["\0".join(names)])
    bpm = float(np.median(piece.bars[:, 2])) if len(piece.bars) else 0.0
    trusted = str(info.get("tempo_source", "")).startswith(TRUSTED_TEMPOS) and bpm > 0
    if trusted:
        say("bpm", [f"{bpm:.0f} bpm", f"{bpm:.0f} BPM", f"at {bpm:.0f}", f"tempo {bpm:.0f}"])
        say("tempo", next(words for limit, words in TEMPO_WORDS if bpm < limit))
    say("tempo words", [str(word).split("(")[0].strip(" .").lower() for word in info.get("tempo_words", ())][:1])
    meter = str(info.get("meter", ""))
    if re.fullmatch(r"\d+/\d+", meter):
        say("meter", [meter, f"in {meter}", f"{meter} time"])
    key = str(info.get("key", ""))
    if re.fullmatch(r"[A-G][#b♯♭]? (major|minor)", key):
        root, mode = key.split()
        say("key", [key, f"{root} {mode[:3]}", root + ("m" if mode == "minor" else "")])
        say("mode", [mode, f"{mode} key", "in a minor key" if mode == "minor" else "major tonality"])
        moods = (MINOR_MOODS if mode == "minor" else MAJOR_MOODS)["fast" if bpm >= 110 else "slow"]
        say("inferred mood", moods if trusted else [])
    say("mood", [str(mood).lower() for mood in info.get("mood", ())])
    say("rendering", {"arpeggio": ["arpeggiated", "broken chords"], "block": ["block chords", "held chords"]}.get(
        str(info.get("rendering")), []))  # fmt: skip
    say("progression", [str(info["roman"]).replace(" ", "-"), str(info["roman"])] if info.get("roman") else [])
    say("composer", _composers(str(info.get("composer", ""))))
    say("texture", _textures(piece))
    say("feel", _feel(piece))
    return facts


def caption(facts: Facts, rng: np.random.Generator) -> str:
    """One text; never empty where anything is known."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    keep = rng.uniform(0.25, 0.9)
    chance = {"inferred mood": 0.25, "composer": 0.3, "mode": 0.3}
    kept = {name: words for name, words in facts.items() if rng.random() < chance.get(name, 1.0) * keep}
    if not kept and facts:
        kept = dict([list(facts.items())[int(rng.integers(len(facts)))]])
    said = {name: pick(words) for name, words in kept.items()}
    if "instruments" in said:
        said["instruments"] = _drawn_listing(said["instruments"].split("\0"), rng)
    if "bpm" in said and "tempo" in said and rng.random() < 0.5:
        del said["tempo"]
    if rng.random() < 0.3:  # tags
        words = list(said.values())
        rng.shuffle(words)
        text = pick((", ", " ", " / ", "; ")).join(words)
    else:
        mood = said.pop("mood", said.pop("inferred mood", ""))
        core = said.pop("style", "") or said.pop("ensemble", "") or "music"
        core = f"{mood} {core}".strip()
        if not re.match(r"(a|an|in|for|from|of) ", core):
            core = pick(CORES).format(style=core)
        for name, forms in (("instruments", WITH), ("ensemble", WITH), ("key", IN_KEY)):
            if name in said:
                core += pick(forms).format(said.pop(name))
        rest = list(said.values())
        rng.shuffle(rest)
        text = pick(REQUESTS).format(core + "".join(pick(TAIL).format(word) for word in rest))
    text = re.sub(r"\b(\w+)((?:,? a)? \1\b)+", r"\1", text)  # "music music"
    style = rng.random()
    if style < 0.35:
        return text.lower()
    return text[:1].upper() + text[1:] + (pick((".", "", "!")) if style > 0.6 else "")


def _styles(info: Mapping[str, Any]) -> list[str]:
    labels = [str(info.get("genre") or ""), str(info.get("groove_file") or "")]
    labels += [str(label) for label in (*info.get("genres", ()), *info.get("styles", ()))]
    text = " ".join(labels).lower()
    found = [word for label, words in STYLES.items() if label in text for word in words]
    if period := _period(str(info.get("date", ""))):
        found.append(period)
    general = OF_SET.get(str(info.get("set")), [])
    return found + general[: max(1, len(general) // (2 if found else 1))]


def _period(date: str) -> str:
    year = re.search(r"1[3-9]\d\d|20\d\d", date)
    return next(name for limit, name in PERIODS if int(year[0]) < limit) if year else ""


def _composers(name: str) -> list[str]:
    name = re.sub(r"\(.*?\)", "", name).strip()
    if not name or re.search(r"anon|tradit|drummer|contribut|\[|phelipot", name, re.IGNORECASE):
        return []
    last = name.split(",")[0] if "," in name else name.split()[-1]
    return [f"in the style of {last}", f"like {last}", f"{last} style", f"after {last}"]


def _drawn_listing(names: Sequence[str], rng: np.random.Generator) -> str:
    """Some of the instruments, in some order, by the names that come to mind."""
    chosen = [names[i] for i in rng.permutation(len(names))[: max(1, int(rng.integers(1, len(names) + 1)))]]
    return _listing([str(rng.choice(SYNONYMS.get(name, [name.lower().rstrip(" 12")]))) for name in chosen])


def _listing(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _textures(piece: Piece) -> list[str]:
    """What the ear says of density, range and how many notes sound at once."""
    notes = piece.notes
    words: list[str] = []
    if not len(notes):
        return words
    quarters = max(1.0, float(piece.bars[:, 0].sum()) / GRID)
    pitched = notes[piece.programs[notes[:, 1]] != DRUMS]
    rate = len(notes) / quarters / max(1, len(piece.programs))
    if rate < 0.8:
        words += ["sparse", "spacious", "with long notes"]
    elif rate > 3.0:
        words += ["busy", "dense", "lots of notes"]
    if len(pitched):
        middle = float(np.median(pitched[:, 3]))
        if middle < 52:
            words += ["low", "dark and low"]
        elif middle > 72:
            words += ["high", "in a high register"]
        onsets = len(np.unique(pitched[:, :3], axis=0))
        size = len(pitched) / max(1, onsets)
        if size > 2.4:
            words += ["chordal", "thick chords"]
        elif size < 1.05 and len(piece.programs) == 1:
            words += ["a single line", "monophonic", "melody alone"]
    return words


def _feel(piece: Piece) -> list[str]:
    """How it is played: by hand or on the grid, straight or swung, soft or loud."""
    notes = piece.notes
    words: list[str] = []
    if not len(notes):
        return words
    if np.mean(notes[:, 6] != 0) > 0.2:
        words += ["human feel", "played by hand", "loose timing"]
    place = notes[:, 2] % GRID
    off, late = np.mean(place == GRID // 2), np.mean(place == 2 * GRID // 3)
    if late > 0.1 and late > 2 * off:
        words += ["swung eighths", "triplet feel"]
    if np.mean(notes[:, 2] % (GRID // 2) == GRID // 4) > 0.2:
        words += ["sixteenth-note movement", "syncopated sixteenths"]
    loud = float(np.mean(notes[:, 5]))
    if loud > 25:
        words += ["loud", "powerful"]
    elif loud < 12:
        words += ["soft", "quiet", "gentle"]
    return words
