"""Changes in words to a piece that exists: exact ones are arithmetic, the others one request each.

text ─ read_edit ─► Changes ─ one after the other ─► apply_exact (a Score) or propose (Candidates)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from assistant.overview import bar_count, find_tracks, track_name
from assistant.pipeline import Options, accompany_request, fill_request, propose
from models.constraints import Limits, Spot
from models.errors import ControlError, UserError
from models.generators import Generator, Progress
from models.instruments import DRUMS_NAME, family_of, parse_instrument
from models.locks import Keep
from models.score import KeySignature, Note, Score, Tempo, Track
from models.text.edits import Change
from models.text.lexicon import family_members, instrument_words
from models.text.plan import swung
from models.theory import Key, chord_track, estimate_key, key_from_signature, with_chord_track

FASTEST, SLOWEST = 320, 20


@dataclass(frozen=True, slots=True)
class Edited:
    """One answer: the score, how it was made where the network had a part in it, and what it breaks."""

    score: Score
    model_hash: str = ""
    violations: tuple[str, ...] = ()


def edit(
    score: Score,
    changes: Sequence[Change],
    make_generator: Callable[[], Generator],
    options: Options,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Edited]:
    """The piece with all changes, once where all are exact, else `options.candidates` times."""
    answers = [Edited(score)]
    generator: Generator | None = None
    for change in changes:
        if change.exact:
            answers = [replace(answer, score=apply_exact(answer.score, change)) for answer in answers]
            continue
        generator = generator or make_generator()
        count = options.candidates if len(answers) == 1 else 1
        result = []
        for number, answer in enumerate(answers):
            result += _write(
                answer,
                change,
                generator,
                replace(options, candidates=count, seed=options.seed + number),
                on_progress,
            )
        answers = result
    return answers


def _write(
    answer: Edited,
    change: Change,
    generator: Generator,
    options: Options,
    on_progress: Callable[[Progress], None] | None,
) -> list[Edited]:
    score = answer.score
    if change.action == "add":
        request = accompany_request(
            score, [parse_instrument(instrument_words()[word]) for word in change.words], options
        )
    else:
        tracks = [index for index in target_tracks(score, change.words) if score.tracks[index].notes]
        first, last = target_bars(score, change.bars)
        if change.action in ("sparser", "denser"):
            spots = tuple(_density(score, index, first, last, change.action) for index in tracks)
            options = replace(options, controls=replace(options.controls, spots=(*options.controls.spots, *spots)))
        request = fill_request(score, tracks, first, last, options)
        if change.keep and change.action != "denser":
            request = replace(request, keep=Keep(change.keep))
    candidates = propose(request, generator, on_progress)
    return [Edited(c.score, c.model_hash, (*answer.violations, *c.violations)) for c in candidates]


def _density(score: Score, track: int, first: int, last: int, action: str) -> Spot:
    """Fewer or more notes a bar than a track has there now."""
    begin, end = score.bar(first).start, score.bar(last).end
    count = sum(begin <= note.start < end for note in score.tracks[track].notes)
    mean = count / (last - first + 1)
    least, most = (0, max(1, int(mean * 0.6))) if action == "sparser" else (int(mean * 1.3) + 1, int(mean * 2) + 3)
    return Spot(Limits(density=(min(least, 150), min(most, 160))), frozenset({track}), (first, last))


# --- Which cells --------------------------------------------------------------------------------------


def target_tracks(score: Score, words: Sequence[str]) -> list[int]:
    """Tracks that words name: by name or number, instrument, family, or "melody". All where none are named."""
    if not words:
        return list(range(len(score.tracks)))
    found: set[int] = set()
    for word in words:
        found |= _named(score, word)
    return sorted(found)


def _named(score: Score, word: str) -> set[int]:
    if word == "melody":
        return {_melody(score)}
    name = instrument_words().get(word)
    pitched = {index: family_of(track.program) for index, track in enumerate(score.tracks) if not track.is_drum}
    if name == DRUMS_NAME:
        found = {index for index, track in enumerate(score.tracks) if track.is_drum}
    elif name is not None:
        program = parse_instrument(name).program
        found = {index for index in pitched if score.tracks[index].program == program}
        family = family_of(program)
        members = family_members(word) or family_members(word.rstrip("s"))
        if not found and (members or word.split()[-1] in ("bass", "guitar", "piano", "organ")):
            found = {index for index in pitched if pitched[index] == family}
        if word == "bass" or (not found and name == "Fingered Bass"):
            found |= {index for index in pitched if pitched[index] == "Bass"}
            found |= set() if found else {i for i in pitched if score.tracks[i].program in (43, 58)}
    else:
        found = set()
    if found:
        return found
    try:
        return set(find_tracks(score, [word]))
    except ControlError:
        names = ", ".join(f"{number} {track_name(track)}" for number, track in enumerate(score.tracks, 1))
        raise ControlError(f'No track is a "{word}"', f"The tracks are {names}.") from None


def _melody(score: Score) -> int:
    """The track with the highest single line."""
    means = {
        index: sum(note.pitch for note in track.notes) / len(track.notes)
        for index, track in enumerate(score.tracks)
        if track.notes and not track.is_drum
    }
    if not means:
        raise ControlError("The piece has no melody", "Name a track by its number.")
    return max(means, key=lambda index: means[index])


def target_bars(score: Score, bars: tuple[int, int] | None) -> tuple[int, int]:
    """First and last bar from 0. ControlError where the piece has no such bars."""
    count = max(1, bar_count(score))
    if bars is None:
        return 0, count - 1
    first, last = bars
    if first < 0:
        return max(0, count + first), count - 1
    if first > count:
        raise ControlError(f"The piece ends with bar {count}", f"Name bars from 1 to {count}.")
    return first - 1, min(last, count) - 1


# --- Exact changes ------------------------------------------------------------------------------------


def apply_exact(score: Score, change: Change) -> Score:
    """The score with an exact change, and everything outside its tracks and bars as it was."""
    if change.action in ("tempo", "tempo factor"):
        return _at_tempo(score, change)
    if change.action == "to key" and change.key:
        home = key_from_signature(score.keys[0]) if score.keys else estimate_key(score)[0]
        steps = (change.key.tonic - home.tonic + 5) % 12 - 5
        change = replace(change, action="transpose", amount=float(steps))
    tracks = target_tracks(score, change.words)
    first, last = target_bars(score, change.bars)
    begin, end = score.bar(first).start, score.bar(last).end
    result = list(score.tracks)
    for index in tracks:
        track = score.tracks[index]
        if change.action == "transpose" and track.is_drum:
            continue
        inside = [note for note in track.notes if begin <= note.start < end]
        outside = [note for note in track.notes if not begin <= note.start < end]
        result[index] = track.with_notes([*outside, *_changed(score, track, inside, change)])
    whole = not change.words and change.bars is None
    changed = score.with_tracks(result)
    return _with_keys_moved(changed, int(change.amount)) if whole and change.action == "transpose" else changed


def _changed(score: Score, track: Track, notes: Sequence[Note], change: Change) -> list[Note]:
    ticks = score.ticks_per_quarter
    if change.action == "remove":
        return []
    if change.action == "transpose":
        moved = [note._replace(pitch=note.pitch + int(change.amount)) for note in notes]
        if any(not 0 <= note.pitch <= 127 for note in moved):
            raise UserError(f"{track_name(track)} would leave the MIDI range", "Move it less far.")
        return moved
    if change.action == "velocity":
        return [note._replace(velocity=max(1, min(127, round(note.velocity * change.amount)))) for note in notes]
    if change.action == "length":
        return _lengthened(notes, change.amount)
    if change.action == "thin":
        return list(notes) if track.is_drum else thinned(notes, ticks)
    if change.action in ("swing", "straighten"):
        return [_moved(note, ticks, change.action) for note in notes]
    raise ValueError(change.action)


def _moved(note: Note, ticks: int, action: str) -> Note:
    """A note with its start and end on the swung, or the straight, grid."""

    def place(tick: int) -> int:
        if action == "swing":
            return round(swung(round(tick * 480 / ticks)) * ticks / 480)
        beat, inside = divmod(tick, ticks)
        third = ticks * 2 / 3
        return beat * ticks + (round(ticks / 2) if abs(inside - third) <= ticks / 24 else inside)

    start = place(note.start)
    return note._replace(start=start, duration=max(1, place(note.end) - start))


def _lengthened(notes: Sequence[Note], factor: float) -> list[Note]:
    """Notes times a factor; a longer one ends where the next of its pitch begins."""
    result = []
    for index, note in enumerate(notes):
        duration = max(1, round(note.duration * factor))
        following = [other.start for other in notes[index + 1 :] if other.pitch == note.pitch]
        if following:
            duration = max(1, min(duration, following[0] - note.start))
        result.append(note._replace(duration=duration))
    return result


def thinned(notes: Sequence[Note], ticks: int) -> list[Note]:
    """Fewer notes with the same rise and fall: of every onset's top line the turning points, the first and the last
    stay; of the others those that stand on a beat. Of a chord the outer voices stay."""
    onsets: dict[int, list[Note]] = {}
    for note in notes:
        onsets.setdefault(note.start, []).append(note)
    starts = sorted(onsets)
    tops = [max(note.pitch for note in onsets[start]) for start in starts]
    result: list[Note] = []
    for place, start in enumerate(starts):
        turning = (
            place in (0, len(starts) - 1) or (tops[place] - tops[place - 1]) * (tops[place + 1] - tops[place]) < 0
        )
        if turning or (start % ticks == 0 and place % 2 == 0):
            chord = sorted(onsets[start], key=lambda note: note.pitch)
            result += chord if len(chord) < 3 else [chord[0], chord[-1]]
    if len(result) == len(notes) and len(starts) > 2:  # all turns: every other onset gives way
        dropped = set(starts[1:-1:2])
        result = [note for note in result if note.start not in dropped]
    return result


def _at_tempo(score: Score, change: Change) -> Score:
    """The tempo map times a factor, or with its first tempo at a number and the rest in proportion."""
    if change.bars is not None:
        raise ControlError("A tempo is changed for the whole piece", "Leave the bars out.")
    factor = change.amount if change.action == "tempo factor" else change.amount / score.tempo_at(0).bpm
    old = score.tempos if score.tempos and score.tempos[0].tick == 0 else (score.tempo_at(0), *score.tempos)
    tempos = tuple(Tempo(tempo.tick, round(tempo.microseconds / factor)) for tempo in old)
    if any(not 10 <= tempo.bpm <= 500 for tempo in tempos):
        raise ControlError("That would be no tempo", f"Stay between {SLOWEST} and {FASTEST} bpm.")
    return replace(score, tempos=tempos)


def _with_keys_moved(score: Score, steps: int) -> Score:
    """Key signatures and chord symbols that go with notes which were all transposed."""
    keys = []
    for signature in score.keys:
        key = key_from_signature(signature)
        moved = Key((key.tonic + steps) % 12, key.mode)
        keys.append(KeySignature(signature.tick, moved.fifths, signature.minor))
    changes = [
        change._replace(chord=change.chord.transposed(steps) if change.chord else None)
        for change in chord_track(score)
    ]
    moved_score = replace(score, keys=tuple(keys))
    return with_chord_track(moved_score, changes) if changes else moved_score
