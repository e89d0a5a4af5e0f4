"""A sketch: from a Brief to notes, through the pipeline's one operation on an empty score.

    Brief ─ plan ─► score with the style's drum and bass patterns, chord track ─ sketch_request ─► Request
          ─ propose ─► Candidate ─ finish (plan kept, ending, swing, dynamics) ─► Sketch

The patterns stand in the score before the network begins, so that what it writes hears them. It writes the rest,
every fourth bar of the drums included, each track held to its role's range, voices and density.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from assistant.pipeline import Candidate, Options, Request, part_request, propose
from models.constraints import Controls, Limits, Spot
from models.drawing import FROM_NOTHING
from models.generators import Generator, Progress
from models.score import Note, Score, Track
from models.text.brief import Brief
from models.text.genres import KIT, styles
from models.text.plan import (
    CELL_TICKS,
    LEAST_BARS_TO_END,
    PHRASE,
    SINGING,
    TICKS,
    Part,
    Role,
    bass_pattern,
    chord_pitch,
    drum_notes,
    empty_score,
    ending,
    feel_for,
    form,
    levelled,
    parts_of,
    phrases,
    spans,
    swing_notes,
)
from models.text.reading import words_of
from models.theory import Chord, ChordChange, Key, chord_track, parse_key

FILL_EVERY = 4  # bars; the network writes the last of so many drum bars
BOOGIE = "boogie"  # a bass that pianists play with their left hand
WALKING = 3  # notes of a bass pattern's bar that are the network's, from which on it walks
_FILL_PIECES = ("kick", "snare", "hat", "open", "floor", "low_tom", "tom", "high_tom", "crash", "ride")
_OPTIONAL = ("hat", "ride", "open", "shaker", "tambourine", "pedal")  # what a fill may leave out of the pattern
# Least and most notes of a 4/4 bar, by role, for density -2 to 2.
_DENSITY: dict[Role, tuple[tuple[int, int], ...]] = {
    Role.BASS: ((1, 2), (1, 4), (2, 6), (4, 8), (6, 10)),
    Role.CHORDS: ((1, 4), (2, 6), (4, 14), (6, 18), (8, 24)),
    Role.PAD: ((2, 4), (2, 5), (3, 7), (3, 9), (4, 12)),
    Role.MELODY: ((1, 3), (1, 4), (3, 8), (5, 12), (8, 16)),
    Role.SECOND: ((0, 3), (1, 4), (2, 7), (3, 10), (5, 14)),
    Role.SOLO: ((3, 8), (4, 12), (6, 18), (8, 24), (12, 32)),
}
_VOICES = {Role.BASS: 1, Role.CHORDS: 4, Role.PAD: 4, Role.MELODY: 1, Role.SECOND: 1, Role.SOLO: 5}
_LEAPS = {Role.MELODY: 2, Role.SECOND: 2}
_HANDS = (60, 24)  # where the hands of one player part, and the least range for two


@dataclass(frozen=True, slots=True)
class Sketch:
    """One sketch: the finished score, the brief it follows, and the candidate it was made from."""

    brief: Brief
    score: Score
    candidate: Candidate

    @property
    def note_count(self) -> int:
        return sum(len(track.notes) for track in self.score.tracks)


class Player(NamedTuple):
    """What plays one of the network's tracks: a part of the sketch, or a hand of it. place: the part's."""

    place: int
    part: Part


def players(brief: Brief, asked: Controls) -> list[Player]:
    """Who plays: the parts, and after them the left hands of those that play melody and chords at once."""
    parts = narrowed(parts_of(brief), asked)
    result = [Player(index, part) for index, part in enumerate(parts)]
    textures = [styles().textures[name] for name, _ in brief.textures[:1]]
    single = any(texture.polyphony == 1 for texture in textures) or (asked.max_polyphony or 4) < 4
    split, least = _HANDS
    for index, part in enumerate(parts):
        if part.role is Role.SOLO and not single and part.high - part.low >= least and not asked.density:
            middle = max(part.low + 12, min(part.high - 12, split))
            alone = all(other.role is not Role.BASS for other in parts)
            left = replace(part, role=Role.CHORDS, low=max(part.low, middle - (22 if alone else 14)), high=middle)
            if alone and brief.bass == BOOGIE:
                left = replace(part, role=Role.BASS, low=max(28, part.low - 12), high=middle - 7)
            result[index] = Player(index, replace(part, role=Role.MELODY, low=middle, high=min(part.high, 81)))
            result.append(Player(index, left))
    return result


def sketch_request(brief: Brief, options: Options = Options()) -> Request | None:
    """The request for what the network writes of a sketch; None where the patterns leave it nothing to write.

    The key, range, density and voices of `options` narrow what the roles allow.
    """
    score, asked, key = empty_score(brief), options.controls, parse_key(brief.key)
    playing = players(brief, asked)
    last = brief.bars - 1 if _ends(brief, asked) else brief.bars
    region: set[tuple[int, int]] = set()
    tracks = [score.tracks[player.place] for player in playing]
    spots: list[Spot] = []
    for index, (_, part) in enumerate(playing):
        if part.role is Role.DRUMS:
            notes, fills = _drums(brief, score)
            tracks[index] = tracks[index].with_notes(notes)
            region |= {(bar, index) for bar in fills}
            continue
        if part.role is Role.BASS and (line := _whole_bass(brief, score, part, key, asked)) is not None:
            tracks[index] = tracks[index].with_notes(line)
            continue
        region |= {(bar, index) for bar in range(last)}
        spots += _spots(brief, part, index, score, asked)
    if not region:
        return None
    shape = form(brief, [player.part for player in playing], last)
    controls = Controls(key=asked.key or key, follow_chords=True, spots=tuple(spots), passing=shape.singing)
    options = replace(options, controls=controls, progression=None)
    new = frozenset(track for _, track in region if not tracks[track].notes)
    request = part_request(score.with_tracks(tracks), frozenset(region), options, new)
    return replace(request, words=words_of(brief), form=shape)


def sketch(
    brief: Brief,
    generator: Generator,
    options: Options = Options(sampling=FROM_NOTHING),
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Sketch]:
    """All candidates of a brief. Raises ControlError where its facts leave no music; Cancelled when stopped."""
    request = sketch_request(brief, options)
    if request is None:
        request = _nothing_to_write(brief, options)
        candidates = [
            Candidate(number + 1, request.score, request, (), (), options.seed, generator.model_hash, 0.0, 0.0)
            for number in range(options.candidates)
        ]
    else:
        candidates = propose(request, generator, on_progress, cancelled=cancelled)
    return [Sketch(brief, finish(brief, c.score, options.controls), c) for c in candidates]


def narrowed(parts: Sequence[Part], asked: Controls) -> list[Part]:
    """The parts inside the range asked for; a part that it leaves less than an octave takes all of it."""
    if asked.pitch_range is None:
        return list(parts)
    least, most = asked.pitch_range
    result = []
    for part in parts:
        low, high = max(part.low, least), min(part.high, most)
        low, high = (low, high) if high - low >= 11 else (least, most)
        result.append(part if part.role is Role.DRUMS else replace(part, low=low, high=high))
    return result


def _nothing_to_write(brief: Brief, options: Options) -> Request:
    """A sketch that is all pattern, such as one bar of drums."""
    score, asked, key = empty_score(brief), options.controls, parse_key(brief.key)
    parts = narrowed(parts_of(brief), asked)
    tracks = list(score.tracks)
    for index, part in enumerate(parts):
        drums = part.role is Role.DRUMS
        notes = _drums(brief, score)[0] if drums else _whole_bass(brief, score, part, key, asked) or []
        tracks[index] = tracks[index].with_notes(notes)
    region = frozenset((bar, track) for bar in range(brief.bars) for track in range(len(tracks)))
    return Request(score.with_tracks(tracks), region, options)


def _ends(brief: Brief, asked: Controls) -> bool:
    """Whether the last bar is an ending, which has one chord and so no density of its own."""
    return brief.bars >= LEAST_BARS_TO_END and asked.density is None and not brief.loop


def _drums(brief: Brief, score: Score) -> tuple[list[Note], list[int]]:
    """The pattern in all bars but those that the network fills, and the numbers of those."""
    fills = list(range(FILL_EVERY - 1, brief.bars - (not brief.loop), FILL_EVERY))
    notes = []
    for index in range(brief.bars):
        if index not in fills:
            bar = score.bar(index)
            notes += drum_notes(brief, index, bar.start, bar.length)
    return notes, fills


def _whole_bass(brief: Brief, score: Score, part: Part, key: Key, asked: Controls) -> list[Note] | None:
    """The bass of a style whose pattern says every note; None where the network has a say in it."""
    pattern = bass_pattern(brief, score.bar(0).length)
    if pattern is None or "x" in pattern or asked.density is not None:
        return None
    return _patterned_bass(score, part, key, pattern, brief.bars, [])


def _spots(brief: Brief, part: Part, index: int, score: Score, asked: Controls) -> list[Spot]:
    """What a part keeps to in every section, narrowed by what was asked for the whole."""
    spots = []
    bar = score.bar(0).length / (4 * TICKS)
    textures = [styles().textures[name] for name, _ in brief.textures]
    texture = textures[0] if textures and part.role in (Role.CHORDS, Role.SOLO, Role.PAD) else None
    for first, section in spans(brief):
        lead = styles().genres[brief.genre].lead if part.role in SINGING else 0
        level = max(-2, min(2, brief.density + lead + section.density + (texture.density // 2 if texture else 0)))
        least, most = _DENSITY[part.role][level + 2]
        density = (int(least * bar), max(1, round(most * bar)))
        voices = _VOICES[part.role]
        if texture and texture.polyphony:
            voices = min(voices, texture.polyphony)
        if part.role is Role.BASS and (pattern := bass_pattern(brief, score.bar(0).length)):
            count = sum(char != "." for char in pattern)
            density = (max(1, count // 2), count + 1)
        shift = 5 * section.register if part.role is not Role.BASS else 0
        low, high = max(0, part.low + shift), min(127, part.high + shift)
        if asked.pitch_range:
            low, high = part.low, part.high
        if asked.max_polyphony:
            voices = min(voices, asked.max_polyphony)
        limits = Limits((low, high), asked.density or density, voices, asked.leaps or _LEAPS.get(part.role),
                        asked.syncopation)  # fmt: skip
        spots.append(Spot(limits, frozenset({index}), (first, first + section.bars - 1)))
        if part.role in SINGING and not asked.density:  # phrases breathe at their ends
            ends = [p.first + p.bars - 1 for p in phrases(brief) if p.bars >= PHRASE]
            calm = limits._replace(density=(density[0] // 2, max(2, round(0.6 * density[1]))))
            spots += [
                Spot(calm, frozenset({index}), (bar, bar)) for bar in ends if first <= bar < first + section.bars
            ]
    return spots


# --- Afterwards ---------------------------------------------------------------------------------------


def finish(brief: Brief, score: Score, asked: Controls = Controls()) -> Score:
    """The candidate's score with its plan kept: bass on the roots, chords of three voices where they change, fills
    that fit the pattern, ending, swing and dynamics. Both hands of a player are one track again. Notes lie inside
    the sketch's bars."""
    playing, key = players(brief, asked), parse_key(brief.key)
    parts = [player.part for player in playing]
    chords = chord_track(score)
    below = [part for part in parts if part.role in (Role.CHORDS, Role.PAD)]
    lowest = min(below, key=lambda part: part.low) if below and Role.BASS not in [p.role for p in parts] else None
    lines: list[list[Note]] = []
    for part, track in zip(parts, score.tracks, strict=True):
        notes = list(track.notes)
        if part.role is Role.DRUMS:
            notes = _kept_plan(brief, score, notes)
        elif part.role is Role.BASS:
            notes = _bass(brief, score, part, key, notes, asked)
        elif part.role in (Role.CHORDS, Role.PAD) and asked.density is None and (asked.max_polyphony or 4) >= 3:
            notes = _voiced(brief, part, key, notes, chords)
        notes = _sustained(notes, part.role, score)
        if _ends(brief, asked):
            notes = _with_ending(brief, score, part, key, notes, chords)
            if asked.max_polyphony and part.role is not Role.DRUMS:
                last = [note for note in notes if note.start >= score.bar(brief.bars - 1).start]
                notes = [note for note in notes if note not in last[asked.max_polyphony :]]
        lines.append(_rooted(part, key, notes, chords) if part is lowest else notes)
    lines = _with_thirds(parts, key, lines, chords, score.length)
    tracks: list[Track] = []
    for index in range(len(brief.instruments)):
        own = [note for player, line in zip(playing, lines, strict=True) if player.place == index for note in line]
        played = swing_notes(own) if brief.swing else own
        tracks.append(score.tracks[index].with_notes(_levels(brief, score, _inside(played, score.length))))
    return score.with_tracks(tracks)


def _sustained(notes: Sequence[Note], role: Role, score: Score) -> list[Note]:
    """Notes that last as their part wants: pads until their next onset, others at least for most of the time to it,
    up to a part of a beat."""
    least = {Role.PAD: 4 * TICKS, Role.CHORDS: TICKS // 2, Role.MELODY: 3 * TICKS // 4, Role.SECOND: 3 * TICKS // 4}
    onsets = sorted({note.start for note in notes})
    following = dict(pairwise(onsets))
    result = []
    for note in notes:
        bar = score.bar_at(note.start)
        gap = following.get(note.start, bar.end) - note.start
        result.append(note._replace(duration=max(note.duration, min(gap, least.get(role, 0)))))
    return result


def _with_thirds(
    parts: Sequence[Part], key: Key, lines: Sequence[list[Note]], chords: Sequence[ChordChange], end: int
) -> list[list[Note]]:
    """The lines with the third of every tonic chord that lasts a bar or so sounding in one of them, which tells
    major from minor: where none has it, one root or fifth becomes it."""
    third = next((step for step in (3, 4) if (key.tonic + step) % 12 in key.pitch_classes), None)
    result = [list(line) for line in lines]
    pitched = [index for index, part in enumerate(parts) if part.role is not Role.DRUMS]
    order = sorted(pitched, key=lambda index: (parts[index].role is Role.BASS, parts[index].role is Role.MELODY))
    spans_of = [
        (c, following.tick) for c, following in zip(chords, [*chords[1:], ChordChange(end, None)], strict=True)
    ]
    for change, stop in spans_of if third is not None else ():
        if change.chord is None or change.chord.root != key.tonic or stop - change.tick < 2 * TICKS:
            continue
        wanted = (key.tonic + (third or 0)) % 12
        inside = [(i, n) for i in pitched for n in result[i] if change.tick <= n.start < stop]
        if wanted not in change.chord.pitch_classes or any(note.pitch % 12 == wanted for _, note in inside):
            continue
        for index in order:
            options = [
                n
                for i, n in inside
                if i == index
                and (n.start > change.tick or parts[i].role is not Role.BASS)
                and (n.end < end or parts[i].role is not Role.MELODY)  # a melody ends at home
            ]
            if not options:
                continue
            part = parts[index]
            fifths = [n for n in options if n.pitch % 12 != key.tonic]
            note = max(fifths, key=lambda n: n.duration) if fifths else min(options, key=lambda n: n.duration)
            places = [p for p in range(part.low, part.high + 1) if p % 12 == wanted]
            taken = {n.pitch for n in result[index] if n is not note and n.start < note.end and n.end > note.start}
            places = [p for p in places if p not in taken]
            if places:
                pitch = min(places, key=lambda p: abs(p - note.pitch))
                result[index] = [n._replace(pitch=pitch) if n == note else n for n in result[index]]
                break
    return result


def _inside(notes: Sequence[Note], length: int) -> list[Note]:
    """The notes that begin inside the sketch, cut at its end, one of a pitch at a time."""
    result: list[Note] = []
    sounding: dict[int, int] = {}
    for note in sorted(notes):
        if not 0 <= note.start < length:
            continue
        if (last := sounding.get(note.pitch)) is not None and result[last].end > note.start:
            if result[last].start == note.start:
                continue
            result[last] = result[last]._replace(duration=note.start - result[last].start)
        sounding[note.pitch] = len(result)
        result.append(note._replace(duration=max(1, min(note.duration, length - note.start))))
    return result


def _levels(brief: Brief, score: Score, notes: Sequence[Note]) -> list[Note]:
    """Every section at its own loudness."""
    result = []
    for first, section in spans(brief):
        begin, end = score.bar(first).start, score.bar(first + section.bars - 1).end
        result += levelled([n for n in notes if begin <= n.start < end], brief.dynamics, section.dynamics)
    return result


def _kept_plan(brief: Brief, score: Score, notes: Sequence[Note]) -> list[Note]:
    """The drums with every fill inside the kit and the plan: the pattern's kick, snare and clave are struck in it
    too, and what no drummer of the style would hit there is gone."""
    if brief.drums is None:
        return []
    own = styles().drums[feel_for(brief.drums, brief.meter)]
    kit = {KIT[piece] for piece in (*_FILL_PIECES, *own)}
    firm = {KIT[piece] for piece in own if piece not in _OPTIONAL}
    result = []
    for index in range(brief.bars):
        bar = score.bar(index)
        inside = [n for n in notes if bar.start <= n.start < bar.end]
        if (index + 1) % FILL_EVERY or (index == brief.bars - 1 and not brief.loop):
            result += inside
            continue
        plan = drum_notes(brief, index, bar.start, bar.length)
        half = bar.start + bar.length // 2
        fill = [
            _on_grid(n) for n in inside if n.pitch in kit and n.pitch not in firm and n.start >= half - CELL_TICKS
        ]
        free = {n.start for n in plan}
        extra = [n for n in fill if n.start not in free or n.pitch not in {KIT["hat"], KIT["ride"], KIT["open"]}]
        result += [n for n in plan if n.pitch in firm or n.start < half or not extra]
        result += extra[:10]
    return result


def _on_grid(note: Note) -> Note:
    """A stroke on the sixteenth or the triplet it is nearest to."""
    places = [round(note.start / step) * step for step in (CELL_TICKS, TICKS // 3)]
    return note._replace(start=min(places, key=lambda place: abs(place - note.start)), duration=CELL_TICKS)


def _voiced(brief: Brief, part: Part, key: Key, notes: Sequence[Note], chords: Sequence[ChordChange]) -> list[Note]:
    """Three voices at the first stroke of every chord, where the network gave it one or two, so that the harmony is
    heard; a texture of single notes stays one."""
    if any(styles().textures[name].polyphony == 1 for name, _ in brief.textures[:1]):
        return list(notes)
    result = list(notes)
    for place, change in enumerate(chords):
        end = chords[place + 1].tick if place + 1 < len(chords) else None
        inside = [n for n in notes if n.start >= change.tick and (end is None or n.start < end)]
        if not inside or change.chord is None:
            continue
        first = inside[0].start
        stroke = [note for note in inside if note.start == first]
        held = {note.pitch for note in notes if note.start <= first < note.end}
        centre = sum(note.pitch for note in stroke) / len(stroke)
        tones = (change.chord.pitch_classes & key.pitch_classes) - {pitch % 12 for pitch in held}
        wanted = sorted(
            (min((p for p in range(part.low, part.high + 1) if p % 12 == tone), key=lambda p: abs(p - centre),
            default=-1)
             for tone in tones), key=lambda pitch: abs(pitch - centre))  # fmt: skip
        for pitch in [pitch for pitch in wanted if pitch >= 0][: max(0, 3 - len(held))]:
            result.append(stroke[0]._replace(pitch=pitch))
    return sorted(result)


def _rooted(part: Part, key: Key, notes: Sequence[Note], chords: Sequence[ChordChange]) -> list[Note]:
    """The notes with the chord's root lowest where it changes, as somebody plays where there is no bass."""
    result = list(notes)
    for place, change in enumerate(chords):
        end = chords[place + 1].tick if place + 1 < len(chords) else None
        inside = [n for n in notes if n.start >= change.tick and (end is None or n.start < end)]
        if not inside or change.chord is None:
            continue
        stroke = [note for note in inside if note.start == inside[0].start]
        pitches = {note.pitch for note in stroke}
        root = chord_pitch(change.chord, "R", key, part, min(min(pitches), part.low + 12))
        if root in pitches:
            result = [n for n in result if n not in stroke or n.pitch >= root]
        else:
            result.remove(stroke[0])
            result = [n for n in result if n not in stroke or n.pitch > root]
            result.append(stroke[0]._replace(pitch=root))
    return sorted(result)


def _bass(brief: Brief, score: Score, part: Part, key: Key, notes: Sequence[Note], asked: Controls) -> list[Note]:
    """The bass in the pattern of the style, or as it was written with the root at every change of chord."""
    if asked.density is not None:
        return list(notes)
    pattern = bass_pattern(brief, score.bar(0).length)
    if pattern is not None:
        return _patterned_bass(score, part, key, pattern, brief.bars, notes)
    chords = chord_track(score)
    result = {note.start: note for note in notes}
    for place, change in enumerate(chords):
        end = chords[place + 1].tick if place + 1 < len(chords) else score.length
        first = min((n for n in notes if change.tick <= n.start < end), default=None)
        near = first.pitch if first else part.low + 7
        root = chord_pitch(change.chord, "R", key, part, near)
        if first is None or first.start > change.tick + TICKS // 2:
            until = first.start if first else end
            result[change.tick] = Note(change.tick, root, max(1, min(until - change.tick, 2 * TICKS)), 84)
        else:
            result[first.start] = first._replace(pitch=root)
    return sorted(result.values())


def _patterned_bass(
    score: Score, part: Part, key: Key, pattern: str, bars: int, notes: Sequence[Note]
) -> list[Note]:
    """A bass line in a pattern's rhythm: its roots, fifths and octaves, and at each "x" the pitch that was written
    nearest to it."""
    chords = chord_track(score)
    result: list[Note] = []
    near = part.low + 9
    for index in range(bars):
        bar = score.bar(index)
        inside = [note for note in notes if bar.start <= note.start < bar.end]
        places = [place for place, char in enumerate(pattern) if char != "."]
        for number, place in enumerate(places):
            tick = bar.start + place * CELL_TICKS
            chord = _chord_at(chords, tick)
            following = bar.start + places[number + 1] * CELL_TICKS if number + 1 < len(places) else bar.end
            degree = pattern[place]
            if degree == "x":
                choice = min(inside, key=lambda note: abs(note.start - tick), default=None)
                pitch = chord_pitch(chord, "5", key, part, near) if choice is None else choice.pitch
                if pattern.count("x") >= WALKING:
                    root = chord_pitch(_chord_at(chords, bar.end), "R", key, part, part.low + 8)
                    pitch = _walked(pitch, near, root, number + 1 == len(places), key, part)
            else:
                pitch = chord_pitch(chord, degree, key, part, near if degree != "R" else part.low + 8)
            near = pitch
            accent = 92 if place == 0 else 82
            result.append(Note(tick, pitch, max(CELL_TICKS, (following - tick) * 9 // 10), accent))
    return result


def _walked(pitch: int, before: int, root: int, last: bool, key: Key, part: Part) -> int:
    """The pitch, or the nearest for a walking bass, which never stays and reaches the next root by a step."""
    scale = [p for p in range(part.low, part.high + 1) if p % 12 in key.pitch_classes and p != before]
    if last:
        steps = [p for p in scale if 0 < abs(p - root) <= 2]
        scale = steps or scale
    return min(scale, key=lambda p: (abs(p - pitch), abs(p - root)), default=pitch)


def _chord_at(chords: Sequence[ChordChange], tick: int) -> Chord | None:
    before = [change.chord for change in chords if change.tick <= tick]
    return before[-1] if before else None


def _with_ending(
    brief: Brief, score: Score, part: Part, key: Key, notes: Sequence[Note], chords: Sequence[ChordChange]
) -> list[Note]:
    """The notes with the last bar's in place of what stands there, and nothing that hangs over into it."""
    bar = score.bar(brief.bars - 1)
    before = [
        note._replace(duration=min(note.duration, bar.start - note.start))
        for note in notes
        if note.start < bar.start
    ]
    if part.role is Role.DRUMS:
        first = list(drum_notes(brief, brief.bars - 1, bar.start, bar.length))
        if brief.drums == "four on the floor" or brief.drums in ("techno", "house", "trance", "disco"):
            return [*before, *first]
        return [
            *before,
            *(note for note in first if note.start == bar.start),
            Note(bar.start, KIT["crash"], TICKS, 90),
        ]
    return [*before, *ending(part, key, _chord_at(chords, bar.start), bar.start, bar.length, before)]
