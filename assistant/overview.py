"""A piece as a musician sees it: its tracks by name and number, and its bars, tempo, meter, key and chords."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from models.errors import ControlError
from models.instruments import instrument_of
from models.score import Score, Track
from models.theory import chord_symbol, chord_track, estimate_key, key_from_signature, pitch_name

MOST_IN_HINT = 8  # tracks that a hint lists
MOST_CHORDS = 48  # chord changes that an overview lists
MOST_CHANGES = 8  # meters and keys that an overview lists


def printable(text: str) -> str:
    """The text in one line, without what could move a terminal's cursor or change its colours."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def track_name(track: Track) -> str:
    """What a track is called: its name, or its instrument where it has none."""
    return printable(track.name) or instrument_of(track.program, track.is_drum).name


def clock(seconds: float) -> str:
    """A time as minutes and seconds, "3:07"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def bar_count(score: Score) -> int:
    """Bars up to the one in which the last note ends; 0 for a piece without notes."""
    end = max((note.end for track in score.tracks for note in track.notes), default=0)
    return score.bar_at(end - 1).index + 1 if end else 0


def find_tracks(score: Score, words: Sequence[str]) -> list[int]:
    """Indices of the tracks that words name: a number from 1, a name, or the beginning of just one name.

    Raises ControlError for a word that fits no track, or several.
    """
    return sorted({_find_track(score, word) for word in words})


def _find_track(score: Score, word: str) -> int:
    names = [track_name(track).casefold() for track in score.tracks]
    wanted = printable(word).casefold()
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    fitting = [index for index, name in enumerate(names) if name == wanted]
    fitting = fitting or [index for index, name in enumerate(names) if name.startswith(wanted)]
    if not fitting:
        hint = f"The tracks are {_listed(score, range(len(names)))}." if names else "The file has no tracks."
        raise ControlError(f'There is no track "{word}"', hint)
    if len(fitting) > 1:
        raise ControlError(f'"{word}" fits several tracks', f"Use a number: {_listed(score, fitting)}.")
    return fitting[0]


def _listed(score: Score, indices: Iterable[int]) -> str:
    names = [f"{index + 1} {track_name(score.tracks[index])}" for index in indices]
    more = [f"{len(names) - MOST_IN_HINT} more"] if len(names) > MOST_IN_HINT else []
    return ", ".join(names[:MOST_IN_HINT] + more)


def facts_of(score: Score) -> dict[str, str]:
    """What holds for the whole piece, in words; a fact that is not known is empty."""
    return {
        "length": f"{counted(bar_count(score), 'bar')}, {clock(score.seconds_at(score.end))}",
        "tempo": _tempo(score),
        "meter": _meter(score),
        "key": _key(score),
        "chords": _chords(score),
    }


def overview(score: Score) -> list[str]:
    """The lines that `descant info` prints about a piece."""
    facts = facts_of(score)
    rows: list[tuple[str, ...]] = [("", "name", "instrument", "notes", "bars", "range")]
    rows += [_row(score, index) for index in range(len(score.tracks))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    return [*(f"{fact:7} {text}" for fact, text in facts.items() if text), "", *table]


def counted(number: int, thing: str) -> str:
    """ "1 note", "2,000 notes"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _tempo(score: Score) -> str:
    speeds = [score.tempo_at(0).bpm, *(tempo.bpm for tempo in score.tempos)]
    text = f"{speeds[0]:.4g} bpm"
    slowest, fastest = min(speeds), max(speeds)
    return text if slowest == fastest else f"{text} at first, then {slowest:.4g} to {fastest:.4g}"


def _meter(score: Score) -> str:
    bars = dict.fromkeys([0, *(score.bar_at(meter.tick).index for meter in score.meters)])
    first, *later = [score.bar(index) for index in bars]
    texts = [f"{first.numerator}/{first.denominator}"]
    texts += [f"{bar.numerator}/{bar.denominator} from bar {bar.index + 1}" for bar in later]
    return _shortened(texts)


def _key(score: Score) -> str:
    if score.keys:
        first, *later = score.keys
        texts = [key_from_signature(first).name]
        texts += [f"{key_from_signature(key).name} from bar {score.bar_at(key.tick).index + 1}" for key in later]
        return _shortened(texts)
    key, lead = estimate_key(score)
    return f"{key.name}, judging by the notes" if lead > 0 else ""


def _shortened(texts: list[str]) -> str:
    more = [f"and {len(texts) - MOST_CHANGES} more"] if len(texts) > MOST_CHANGES else []
    return ", ".join(texts[:MOST_CHANGES] + more)


def _chords(score: Score) -> str:
    """The chord track with a bar line wherever a chord falls into another bar than the one before it."""
    changes = chord_track(score)
    words: list[str] = []
    bar = -1
    for tick, chord in changes[:MOST_CHORDS]:
        here = score.bar_at(tick).index
        if here != bar and words:
            words.append("|")
        words.append(chord_symbol(chord))
        bar = here
    return " ".join(words) + (" ..." if len(changes) > MOST_CHORDS else "")


def _row(score: Score, index: int) -> tuple[str, ...]:
    track = score.tracks[index]
    instrument = instrument_of(track.program, track.is_drum).name
    heading = (str(index + 1), track_name(track), instrument, f"{len(track.notes):,}")
    if not track.notes:
        return (*heading, "", "")
    first = score.bar_at(track.notes[0].start).index + 1
    last = score.bar_at(track.notes[-1].start).index + 1
    pitches = [note.pitch for note in track.notes]
    reach = "" if track.is_drum else f"{pitch_name(min(pitches))}-{pitch_name(max(pitches))}"
    return (*heading, f"{first}-{last}", reach)
