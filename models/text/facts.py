"""The explicit facts in a text: tempo, meter, key, length, instruments, chords and the rest that musicians say.

From the surest to the loosest: what has a form of its own first (bpm, meters, keys, chord progressions), then the
phrases of the tables. Nothing raises but for facts that no music can have.
"""

from __future__ import annotations

import re
from dataclasses import replace

from models.chord_symbols import pitch_class
from models.errors import UserError
from models.instruments import DRUMS_NAME
from models.text import lexicon
from models.text.brief import FASTEST, MOST_BARS, MOST_TRACKS, SLOWEST, Facts, Section, check_meter
from models.text.chords import is_numeral
from models.text.scanning import NUMBER, Phrase, Scanner, find_phrases, negations, number
from models.theory import Key, parse_key, try_chord


def read_facts(text: str) -> Facts:
    """What the text says outright. UserError for an empty or overlong text and for impossible facts."""
    scanner = Scanner(text)
    own_chords = _section_chords(scanner)
    chords = _chords(scanner)
    key, tonic, mode = _key(scanner)
    tempo = _tempo(scanner)
    meter = _meter(scanner)
    sections, common = _with_chords(_sections(scanner), own_chords)
    chords = chords or common
    bars, seconds = _length(scanner)
    tracks = _tracks(scanner)
    phrases = negations(scanner, list(find_phrases(scanner)))
    facts = Facts(tempo=tempo, meter=meter, key=key, tonic=tonic, bars=bars, seconds=seconds, tracks=tracks,
                  chords=chords, loop=_loops(scanner))  # fmt: skip
    facts = _apply(scanner, facts, phrases, mode, sections)
    return replace(facts, colours=_colours(scanner), remarks=tuple(scanner.remarks))


# --- What has a form of its own -----------------------------------------------------------------------

_CHORD_WORD = (
    r"[A-G][#b♯♭]?(?:maj|min|dim|aug|sus|add|m|M|Δ|ø|°|o|\+)?[0-9]{0,2}(?:(?:maj|"
    r"sus|add|b|#|/)[0-9]{1,2})*(?:/[A-G][#b]?)?"
)
_NUMERAL_WORD = r"[b#♭♯]?(?:VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(?:°7?|ø7?|maj7|M7|sus4|6|7|9)?"
_BETWEEN = r"\s*(?:->|→|>|-|\||/|,|\s)\s*"


def _chords(scanner: Scanner) -> str | None:
    """A progression: three chords in a row, or two with more than a space or comma between them."""
    for word, is_chord in ((_NUMERAL_WORD, is_numeral), (_CHORD_WORD, _is_symbol)):
        pattern = rf"(?<![\w#♯♭])\|?\s*{word}(?:{_BETWEEN}{word}(?![\w#♯♭']))+\s*\|?"
        for match in scanner.matches(pattern, cased=True):
            text = match[0].strip()
            words = [
                part for part in re.split(r"(?:->|→|>|\||,|\s|(?<=[^/])/(?![A-G]\b(?!\s*[-|]))|-)+", text) if part
            ]
            bare = all(re.fullmatch(r"[A-G]", item) for item in words) and not re.search(r"[-|>→]", text)
            strong = re.search(r"[-|>→]", text) is not None
            introduced = re.search(r"(?:chords?|progression|changes)\W*$", scanner.low[: match.start()]) is not None
            enough = len(words) >= 3 or (len(words) == 2 and (strong or introduced))
            if not enough or (bare and not introduced) or not all(map(is_chord, words)) or _is_form(words):
                scanner.unread(match)
                continue
            return _bars_of_chords(text, words)
    return None


def _section_chords(scanner: Scanner) -> dict[str, str]:
    """The chords that are told of parts of the form: "verse in Am F C G, chorus: C G"."""
    found: dict[str, str] = {}
    said = r"(?:\s+(?:is|are|in|on|over|with|uses|using|goes|plays|runs|has|chords?|progression|the|like|to|from))*"
    name = rf"(?:(?i:({_PARTS})s?)|([A-D])(?: (?:section|part))?(?=\s*[:=]))"
    for word, is_chord in ((_NUMERAL_WORD, is_numeral), (_CHORD_WORD, _is_symbol)):
        run = rf"{word}(?:{_BETWEEN}{word}(?![\w#♯♭'])(?!\s*[:=]))+"
        for match in scanner.matches(rf"(?<![\w-]){name}{said}\s*[:=]?\s*({run})(?![\w#♯♭'])", cased=True):
            scanner.unread(match)
            words = [part for part in re.split(r"(?:->|→|>|\||,|\s|-)+", match[3]) if part]
            if len(words) < 2 or not all(map(is_chord, words)) or _is_form(words):
                continue
            scanner.take(*match.span(3))
            found.setdefault((match[1] or match[2]).lower(), _bars_of_chords(match[3], words))
    return found


def _bars_of_chords(text: str, words: list[str]) -> str:
    """Bars as they are written with bar lines; a chord a bar without."""
    if "|" not in text:
        return " | ".join(words)
    return " | ".join(" ".join(re.split(r"[\s,-]+", bar.strip())) for bar in text.strip("| ").split("|"))


def _with_chords(sections: tuple[Section, ...], chords: dict[str, str]) -> tuple[tuple[Section, ...], str | None]:
    """The sections with their own chords, and all of those, to find the key by; chords of one part alone are the
    whole piece's."""
    if not chords:
        return sections, None
    if len(chords) > 1 and not sections:
        sections = tuple(Section(name.upper() if len(name) == 1 else name) for name in chords)
    sections = tuple(replace(section, chords=chords.get(section.name.lower(), "")) for section in sections)
    return sections, " | ".join(chords.values())


def _loops(scanner: Scanner) -> bool:
    """Whether what is asked for goes round and round."""
    words = r"\b(?:loop(?:s|able|ed|ing)?|seamless(?:ly)?|endless(?:ly)?|(?:no|without an?) ending)\b"
    return bool(list(scanner.matches(words)))


def _is_symbol(word: str) -> bool:
    reading = try_chord(word)
    return reading is not None and reading.chord is not None


def _is_form(words: list[str]) -> bool:
    return set(words) <= {"A", "B"}


_SIGN = r"(?:[ -]?(?:sharp|flat)|[#♯b♭])"
_MODE_AFTER = r"(?![\w'])(?!\s+(?:key|mode|feel|mood|tonality|scale|chords?|thirds?|sevenths?|pieces?)\b)"


def _key(scanner: Scanner) -> tuple[str | None, int | None, str | None]:
    """The key, or a tonic without a mode, or a mode without a tonic. The first of several counts."""
    found: list[Key] = []
    for match in scanner.matches(r"(?<!\w)([a-h])(is|es|s)?[\s-]{0,2}(dur|moll)(?!\w)"):
        found.append(parse_key(match[0]))
    notes, signs = "|".join(lexicon.LATIN_NOTES), "|".join(map(re.escape, lexicon.LATIN_SIGNS))
    for match in scanner.matches(rf"(?<!\w)({notes})\s?({signs})?\s+({'|'.join(lexicon.LATIN_MODES)})(?!\w)"):
        tonic = lexicon.LATIN_NOTES[match[1]] + lexicon.LATIN_SIGNS.get(match[2] or "", 0)
        found.append(Key(tonic % 12, lexicon.LATIN_MODES[match[3]]))
    modes = "|".join(lexicon.ENGLISH_MODES)
    for match in scanner.matches(rf"(?<![\w'])([a-g])({_SIGN})?[ -]{{0,2}}({modes}){_MODE_AFTER}"):
        written = scanner.text[match.start()]
        article = match[1] == "a" and written == "a" and not match[2]
        if article and not _after_article(scanner.low[: match.start()], scanner.low[match.end() :]):
            scanner.unread(match)
            continue
        sign = {"#": "#", "♯": "#", "b": "b", "♭": "b"}.get(match[2] or "", "")
        sign = sign or ("#" if "sharp" in (match[2] or "") else "b" if match[2] else "")
        mode = {"maj": "major", "min": "minor", "ionian": "major", "natural minor": "minor",
                "pentatonic": "major pentatonic"}.get(match[3], match[3])  # fmt: skip
        found.append(Key(pitch_class(match[1], sign), mode))
    for match in scanner.matches(r"(?<![\w#'])([A-G])([#♯b♭]?)(m|min|maj)(?![\w'])", cased=True):
        found.append(Key(pitch_class(match[1], match[2]), "major" if match[3] == "maj" else "minor"))
    tonics: list[int] = []
    lead = (
        r"(?:\b(?:in|key of|key is|key:|key|tonality of|tonic|around|en|"
        r"tonart|tono de|ton de)\s+(?:the key of\s+)?|key:\s*)"
    )
    for match in scanner.matches(rf"(?i:{lead})([A-G])((?i:[ -]?(?:sharp|flat)\b)|[#♯b♭])?(?![\w'])", cased=True):
        tonics.append(_tonic(match[1], match[2]))
    for match in scanner.matches(r"\bin ([b-g])([ -]?(?:sharp|flat)\b|[#♯♭])?(?=\s*(?:[,.;!]|$|at\b|with\b))"):
        tonics.append(_tonic(match[1], match[2]))
    for match in scanner.matches(r"\bin ([a-g])([ -]?(?:sharp|flat)\b|[#♯♭]|b\b)"):
        tonics.append(_tonic(match[1], match[2]))
    for match in scanner.matches(r"(?<![\w#'])([A-G])([#♯b♭])(?![\w'])", cased=True):
        tonics.append(_tonic(match[1], match[2]))
    for match in scanner.matches(r"(?:^|,)\s*([A-G])\s*(?=,)", cased=True):
        tonics.append(_tonic(match[1], None))
    for match in scanner.matches(r"(?<![\w#'])([B-G])(?=\s+(?:blues|boogie|jam|vamp|drone)\b)", cased=True):
        tonics.append(_tonic(match[1], None))
    if len({(key.tonic, key.mode) for key in found}) > 1:
        scanner.remark(f"Two keys are named; {found[0].name} came first and counts")
    if found:
        if tonics and tonics[0] != found[0].tonic:
            scanner.remark(f"Two keys are named; {found[0].name} counts")
        return found[0].name, None, None
    if not tonics:
        return None, None, None
    if len(set(tonics)) > 1:
        scanner.remark(f"Two tonics are named; {Key(tonics[0], 'major').name.split()[0]} came first and counts")
    return None, tonics[0], None


def _after_article(before: str, after: str) -> bool:
    """Whether "a minor" between two texts is a key and not "a" and an adjective."""
    if re.search(r"(?:\b(?:in|to|from|of|key)|[:,])\s*$", before):
        return True
    return not before.strip() and re.match(r"\s*(?:[,.;:]|$|\d|at\b|for\b|with\b)", after) is not None


def _tonic(letter: str, sign: str | None) -> int:
    word = (sign or "").strip(" -").lower()
    return pitch_class(letter, {"sharp": "#", "flat": "b"}.get(word, word))


_BPM = (
    r"(?:bpm|b\.p\.m\.?|beats (?:per|a|each|every|to the|to a) minute|"
    r"beats/min|ppm|schläge(?:n)? (?:pro|die) minute|"
    r"pulsaciones por minuto|pulsos por minuto|battiti al minuto|battements (?:par|à la) minute|clicks)"
)
_ABOUT = (
    r"(?:(?:of|is|at|around|about|roughly|approximately|ca\.?|circa|near|to|von|de|di|à|a|um|etwa|:|=|~|≈)\s*)*"
)


def _tempo(scanner: Scanner) -> float | None:
    found: list[float] = []
    for match in scanner.matches(rf"(\d{{2,3}})\s*(?:-|to|and|bis|bpm to)\s*(\d{{2,3}})\s*{_BPM}(?!\w)"):
        found.append((float(match[1]) + float(match[2])) / 2)
    for match in scanner.matches(
        rf"(?:(dotted[ -])?(?:quarter|crotchet)(?:[ -]?notes?)?|♩)(\.)?\s*(?:=|equals|at)\s*({NUMBER})"
    ):
        found.append(number(match[3]) * (1.5 if match[1] or match[2] else 1))
    for match in scanner.matches(rf"(?:half(?:[ -]?note)?|minim)\s*(?:=|equals)\s*({NUMBER})"):
        found.append(number(match[1]) * 2)
    for match in scanner.matches(
        rf"(?:bpm|tempo|metronome(?: mark(?:ing)?)?|mm|m\.m\.)\s*{_ABOUT}"
        rf"(\d{{2,4}}(?:[.,]\d+)?)(?!\w)(?:\s*{_BPM})?"
    ):
        found.append(number(match[1]))
    for match in scanner.matches(rf"(?<![\w.])({NUMBER})[\s-]*{_BPM}(?!\w)"):
        found.append(number(match[1]))
    beside = (
        r"(?!\s*(?:bars?|measures?|takte|seconds?|sec|minutes?|%|percent|"
        r"hz|khz|tracks?|instruments?|st\b|nd\b|th\b|:\d|/|-?\w*note))"
    )
    for match in scanner.matches(rf"(?:\bat|\bclocking in at|@)\s*{_ABOUT}(\d{{2,3}}(?:\.\d+)?)(?![\w/]){beside}"):
        found.append(number(match[1]))
    if not found:  # "house, F#m, 124": a number that stands alone
        for match in scanner.matches(r"(?:^|,)\s*(\d{2,3})\s*(?=,|$)"):
            if 40 <= int(match[1]) <= 240:
                found.append(number(match[1]))
    for bpm in found:
        if not SLOWEST <= bpm <= FASTEST:
            raise UserError(f"{bpm:g} bpm is no tempo to write in", f"Ask for {SLOWEST} to {FASTEST} bpm.")
    if len(set(found)) > 1:
        scanner.remark(f"Two tempi are named; {found[0]:g} bpm came first and counts")
    return found[0] if found else None


def _meter(scanner: Scanner) -> tuple[int, int] | None:
    found = []
    for match in scanner.matches(
        r"(?<![\w/.])(\d{1,2})\s?/\s?(1|2|4|8|16|32)(?![\w/])"
        r"(?:[\s-]*(?:time|meter|metre|takt|signature|groove|beat))?"
    ):
        if int(match[1]) == 1 and int(match[2]) > 2:  # "1/8 notes" is a note value
            scanner.unread(match)
            continue
        found.append(check_meter(int(match[1]), int(match[2])))
    for match in scanner.matches(
        r"\b(?:in|count(?:ed)? in|feel in) (3|5|7|three|five|seven|drei|fünf|sieben)"
        r"(?=\s*(?:[,.;]|$|\w+/|with|at|and))(?! \w*\s*(?:bars|parts|sections|keys))"
    ):
        beats = int(number(match[1]))
        found.append((beats, 4 if beats in (3, 5) else 8))
    if len(set(found)) > 1:
        scanner.remark("Two meters are named; {}/{} came first and counts".format(*found[0]))
    return found[0] if found else None


_PARTS = (
    r"intro|verse|chorus|bridge|outro|breakdown|drop|refrain|build-?up|strophe|estribillo|couplet|ending|coda|head|"
    r"solo section"
)


def _sections(scanner: Scanner) -> tuple[Section, ...]:
    """The form, where one is told: "AABA", "A then quieter B", "8 bar intro, 16 bar verse", "builds up"."""
    for match in scanner.matches(
        r"(?<![\w-])(A[A-D]{1,7}|A(?:[- ][A-D]){1,7})(?![\w'-])(?:[- ](?:form|structure))?", cased=True
    ):
        letters = re.findall(r"[A-D]", match[1])
        if "B" in letters:
            return tuple(Section(letter, 0, *((0, 0, 0) if letter == "A" else (1, 1, 0))) for letter in letters)
        scanner.unread(match)
    then = r"(?:,? ?(?:and )?then|,? ?followed by|, ?)\s+"
    part = r"(?: (?:section|part))?"
    pattern = rf"\bA\b{part}((?: \w+){{0,3}}?){then}(?:(?:an?|the) )?((?:\w+ ){{0,4}}?)B\b{part}"
    for match in scanner.matches(pattern, cased=True):
        return (Section("A", 0, *_steps(match[1])), Section("B", 0, *_steps(match[2])))
    for match in scanner.matches(
        r"\bfirst half ((?:(?!second half)[^.;])*?)[,;]? ?(?:and )?(?:the )?second half ((?:\w+ ?){1,3})"
    ):
        return (Section("first half", 0, *_steps(match[1])), Section("second half", 0, *_steps(match[2])))
    parts = []
    number_of_bars = rf"(?:({NUMBER})[\s-]+(?:bars?|measures?|takte|compases|mesures|battute)(?: of)?\s+(?:the )?)?"
    described = (
        r"((?:(?:quiet|soft|loud|sparse|dense|busy|big|full|gentle|huge|calm|stripped[- ]down|minimal|quieter|"
        r"louder|softer)\s+)?)"
    )
    after = rf"(?:\s*\(?(?:of\s+)?({NUMBER})[\s-]+(?:bars?|measures?)\)?)?"
    for match in scanner.matches(rf"\b{number_of_bars}{described}({_PARTS})s?\b{after}"):
        parts.append(match)
    told = [match for match in parts if match[1] or match[4] or match[2].strip()]
    if len(parts) >= 2 or told:
        result = []
        for match in parts:
            bars = int(number(match[1] or match[4] or "0"))
            density, register, dynamics = _steps(match[2])
            usual = {"chorus": 1, "drop": 1, "refrain": 1, "intro": -1, "outro": -1, "breakdown": -1}.get(
                match[3], 0
            )
            result.append(Section(match[3], bars, density or usual, register, dynamics or usual))
        if len(result) >= 2:
            return tuple(result)
    for match in parts:
        scanner.unread(match)
    rising = (
        r"(?:gradually |slowly )?(?:(?<!-)builds?(?: up| slowly| gradually)?|building(?: up)?|crescendo|swells?|"
        r"grow(?:s|ing)(?: louder| denser)?|get(?:s|ting) (?:louder|busier|bigger|denser))"
    )
    for _ in scanner.matches(rf"\b{rising}\b"):
        return tuple(Section(f"part {n + 1}", 0, n - 1, 0, n - 1) for n in range(3))
    for _ in scanner.matches(
        r"\b(?:fad(?:es|ing) (?:out|away)|diminuendo|decrescendo|dies away|dying away|winds down|thins out|"
        r"morendo)\b"
    ):
        return tuple(Section(f"part {n + 1}", 0, 1 - n, 0, 1 - n) for n in range(3))
    return ()


def _steps(words: str) -> tuple[int, int, int]:
    """Steps of density, register and dynamics that a few words ask for."""
    density = register = dynamics = 0
    text = words.lower().strip()
    for phrase, level in lexicon.DENSITY_WORDS.items():
        if re.search(rf"\b{re.escape(phrase)}\b", text):
            density = level
    for phrase, level in lexicon.REGISTER_WORDS.items():
        if re.search(rf"\b{re.escape(phrase)}\b", text):
            register = level
    for phrase, mark in lexicon.DYNAMIC_WORDS.items():
        if re.search(rf"\b{re.escape(phrase)}\b", text):
            dynamics = 1 if mark in ("f", "ff", "fff") else -1
    if re.search(r"\b(?:big|huge|bigger)\b", text):
        density, dynamics = density or 1, dynamics or 1
    if re.search(r"\b(?:calm|calmer)\b", text):
        density, dynamics = density or -1, dynamics or -1
    return density, register, dynamics


def _length(scanner: Scanner) -> tuple[int | None, float | None]:
    for match in scanner.matches(
        r"\b(?:every|each|in) (?:\d+|\w+)[ -]bars?(?: phrases?| loops?| units?)?|"
        r"\b\d+[- ]bar (?:phrases|fills?|units)"
    ):
        del match  # says how it moves, not how long it is
    words = "|".join(lexicon.BAR_WORDS)
    bars = [
        int(number(match[1])) for match in scanner.matches(rf"(?<![\w/])({NUMBER})[\s-]{{0,3}}(?:{words})(?!\w)")
    ]
    for count in bars:
        if not 1 <= count <= MOST_BARS:
            raise UserError(f"{count:,} bars cannot be written at once", f"Ask for 1 to {MOST_BARS}.")
    seconds = [
        60 * int(match[1]) + float(match[2]) for match in scanner.matches(r"(?<![\w:])(\d{1,2}):([0-5]\d)(?![\w:])")
    ]
    for _ in scanner.matches(
        r"\bhalf a minute\b|\beine halbe minute\b|\bmedio minuto\b|\bmezzo minuto\b|\bune demi-minute\b"
    ):
        seconds.append(30.0)
    units: tuple[tuple[tuple[str, ...], int], ...] = ((lexicon.SECOND_WORDS[:-1], 1), (lexicon.MINUTE_WORDS, 60))
    for names, scale in units:
        for match in scanner.matches(
            rf"(?<![\w/])({NUMBER}|an?)[\s-]?(?:{'|'.join(names)})(?!\w)"
            r"(?! (?:chord|inversion|half|verse|part|third))"
        ):
            seconds.append((1.0 if match[1] in ("a", "an") else number(match[1])) * scale)
    if any(value <= 0 or value > 3600 for value in seconds):
        raise UserError("That is no length for a sketch", "Ask for a second to an hour, or say it in bars.")
    if len(set(bars)) > 1:
        scanner.remark(f"Two lengths are named; {bars[0]} bars came first and count")
    if bars and seconds:
        scanner.remark(f"A length in bars and one in time are named; the {bars[0]} bars count")
    return (bars[0] if bars else None), (seconds[0] if seconds and not bars else None)


def _tracks(scanner: Scanner) -> int | None:
    for match in scanner.matches(
        rf"(?<![\w/])({NUMBER})[\s-](?:tracks?|instruments|spuren|pistas|pistes|tracce|players)(?!\w)"
    ):
        count = int(number(match[1]))
        if not 1 <= count <= MOST_TRACKS:
            raise UserError(f"{count:,} tracks cannot be written at once", f"Ask for 1 to {MOST_TRACKS}.")
        return count
    return None


def _apply(
    scanner: Scanner, facts: Facts, phrases: list[Phrase], mode: str | None, sections: tuple[Section, ...]
) -> Facts:
    """The facts with all that the phrases say."""
    instruments, without = _instruments(scanner, phrases)
    plain = [phrase for phrase in phrases if not phrase.negated]
    genres = [str(p.of("genre")) for p in plain if p.of("genre")]
    not_genres = [str(p.of("genre")) for p in phrases if p.negated and p.of("genre")]
    moods = [str(p.of("mood")) for p in plain if p.of("mood")]
    textures = [str(p.of("texture")) for p in plain if p.of("texture")]
    modes = [str(p.of("mode")) for p in plain if p.of("mode")]
    key, tonic = facts.key, facts.tonic
    mode = mode or (modes[0] if modes else None)
    if key is None and tonic is not None and mode is not None:
        key, tonic, mode = Key(tonic, mode).name, None, None
    meter = facts.meter
    for phrase in plain:
        value = phrase.of("meter")
        if isinstance(value, tuple):
            if meter is None:
                meter = (int(value[0]), int(value[1]))
            elif meter != value and not (phrase.text in lexicon.DANCE_METERS and meter[0] % 3 == 0):
                scanner.remark("{} is in {}/{}; {}/{} was written and counts".format(phrase.text, *value, *meter))
    swing, drums = _feel(scanner, phrases)
    if drums is not None and DRUMS_NAME not in instruments and instruments and DRUMS_NAME not in without:
        instruments = (*instruments, DRUMS_NAME)
    density, register, registers, dynamics = _levels(phrases)
    return replace(
        facts, key=key, tonic=tonic, mode=mode, meter=meter, instruments=instruments, without=without,
        joining=_joining(scanner, phrases, instruments),
        tempo_range=_tempo_words(scanner, plain, facts.tempo), genres=tuple(dict.fromkeys(genres)),
        not_genres=tuple(dict.fromkeys(not_genres)), moods=tuple(dict.fromkeys(moods)), swing=swing, drums=drums,
        textures=tuple(dict.fromkeys(textures)),
        density=density, register=register, registers=registers, dynamics=dynamics, sections=sections,
    )  # fmt: skip


_COUNT = re.compile(rf"(?<!\w)({NUMBER}|a pair of|dual|double)\s*$")


def _instruments(scanner: Scanner, phrases: list[Phrase]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The instruments asked for, in order, and those taken out."""
    wanted: list[str] = []
    without: list[str] = []
    for phrase in phrases:
        names = phrase.of("instruments")
        if not isinstance(names, tuple):
            continue
        if phrase.negated:
            without += [*names, *lexicon.family_members(phrase.text)]
            continue
        count = 1
        before = scanner.low[: phrase.start]
        if (match := _COUNT.search(before)) and phrase.text.endswith(("s", "i", "n", "e")):
            count = (
                2
                if not re.match(r"\d|[^\W\d]", match[1]) or match[1] in ("a pair of", "dual", "double")
                else int(number(match[1]))
            )
        elif re.match(r"\s+(?:duet|duo)\b", scanner.low[phrase.end :]) and not _shared_duo(
            scanner, phrases, phrase
        ):
            count = 2
        count = max(1, min(count, 4))
        if len(names) > 1:
            wanted += [name for name in names if names.count(name) > 1 or name not in wanted]
        elif names[0] not in wanted or count > 1:
            wanted += list(names) * (count - wanted.count(names[0]))
    taken = [name for name in wanted if name in without]
    if taken:
        name = taken[0]
        scanner.remark(f"{name} is both asked for and ruled out; it is left out")
    # "strings" beside "string quartet", or "drums" beside "brushes", is one wish and not two.
    return tuple(name for name in wanted if name not in without)[:MOST_TRACKS], tuple(dict.fromkeys(without))


def _joining(scanner: Scanner, phrases: list[Phrase], instruments: tuple[str, ...]) -> bool:
    """Whether the instrument is a guest of a style's band, as in "reggae with trumpet": one that is no drums, said
    after the style and a "with", and nothing that says it is all. Two are a band of their own."""
    if len(set(instruments)) != 1 or DRUMS_NAME in instruments:
        return False
    style = next((phrase.end for phrase in phrases if phrase.of("genre") and not phrase.negated), None)
    first = next(phrase.start for phrase in phrases if phrase.of("instruments") and not phrase.negated)
    if style is None or first < style:
        return False
    words = re.findall(r"[^\W\d_]+", scanner.low)
    between = re.findall(r"[^\W\d_]+", scanner.low[style:first])
    return not lexicon.JOINERS.isdisjoint(between) and lexicon.ALONE.isdisjoint(words)


def _shared_duo(scanner: Scanner, phrases: list[Phrase], phrase: Phrase) -> bool:
    """Whether a duo is one of two instruments: "trombone and guitar duo"."""
    before = [other for other in phrases if other.end < phrase.start and other.of("instruments")]
    return bool(before) and scanner.low[before[-1].end : phrase.start].strip() in (
        "and",
        "&",
        "+",
        "und",
        "y",
        "et",
        "e",
    )


def _feel(scanner: Scanner, phrases: list[Phrase]) -> tuple[bool | None, str | None]:
    swing: bool | None = None
    drums: str | None = None
    for phrase in phrases:
        feel = phrase.of("feel")
        if not isinstance(feel, tuple):
            continue
        if feel[0] is not None and drums is None:
            said = bool(feel[0]) != phrase.negated
            if swing is not None and swing != said:
                scanner.remark(
                    f"Swung and straight are both asked for; {'swung' if swing else 'straight'} came first"
                )
            elif swing is None:
                swing = said
        if feel[1] is not None and not phrase.negated and drums is None:
            drums = str(feel[1])
    return swing, drums


def _levels(
    phrases: list[Phrase],
) -> tuple[int | None, int | None, tuple[tuple[str, int], ...], str | None]:
    density = register = None
    dynamics: str | None = None
    registers: list[tuple[str, int]] = []
    for index, phrase in enumerate(phrases):
        value = phrase.of("density")
        if isinstance(value, int):
            density = -value if phrase.negated else value
        value = phrase.of("register")
        if isinstance(value, int):
            level = -value if phrase.negated else value
            following = phrases[index + 1] if index + 1 < len(phrases) else None
            names = following.of("instruments") if following else None
            if following and isinstance(names, tuple) and following.start - phrase.end <= 2:
                registers.append((str(names[0]), level))
            else:
                register = level
        value = phrase.of("dynamics")
        if isinstance(value, str):
            dynamics = {"f": "p", "ff": "mp", "p": "f", "pp": "mf"}.get(value, "mf") if phrase.negated else value
    return density, register, tuple(registers), dynamics


def _tempo_words(scanner: Scanner, phrases: list[Phrase], tempo: float | None) -> tuple[int, int] | None:
    """The range that the tempo words allow; None beside a number, which counts alone."""
    span: tuple[int, int] | None = None
    first = ""
    for phrase in phrases:
        value = phrase.of("tempo")
        if not isinstance(value, tuple):
            continue
        low, high = int(value[0]), int(value[1])
        if tempo is not None:
            if not 0.85 * low <= tempo <= 1.15 * high:
                scanner.remark(f"{phrase.text} means {low}-{high} bpm; {tempo:g} bpm was written and counts")
        elif span is None:
            span, first = (low, high), phrase.text
        elif max(low, span[0]) <= min(high, span[1]):
            span = (max(low, span[0]), min(high, span[1]))
        else:
            scanner.remark(f"{first} and {phrase.text} do not go together; {first} came first and counts")
    return span


def _colours(scanner: Scanner) -> tuple[str, ...]:
    """Words that no table knows and that are not small words."""
    found = []
    for match in re.finditer(r"[^\W\d_]+(?:'[^\W\d_]+)?", scanner.low):
        if (
            not scanner.read[match.start()]
            and match[0] not in lexicon.SMALL_WORDS
            and match[0] not in lexicon.LIST_WORDS
        ):
            if match[0] in lexicon.NEGATORS or match[0] in lexicon.NUMBERS or len(match[0]) < 2:
                continue
            found.append(match[0])
    return tuple(dict.fromkeys(found))
