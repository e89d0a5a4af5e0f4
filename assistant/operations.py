"""What else is asked of a piece, each in terms of the one operation that the network knows: fill cells under locks.

    vary        some of the notes written anew, as many as the strength says
    humanise    loudness and micro-timing drawn; pitches and places stay
    drumify     drums that strike where a part has its accents
    harmonise   a part in chords, and the chords as markers
    accompany   with chords that were found where the file names none

Transforms that need no network are in models/transforms.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from assistant.pipeline import (
    LONGEST_PIECE,
    MOST_BARS,
    Options,
    Request,
    accompany_request,
    fill_request,
)
from models.chord_finder import chord_changes, find_chords
from models.errors import ControlError
from models.instruments import DRUMS, Instrument, parse_instrument
from models.locks import Keep, Strike
from models.piece import to_piece
from models.score import Score
from models.theory import Chord, chord_track, pitch_name, with_chord_track

KEEPS = ("rhythm", "pitch", "contour")
LockedNote = tuple[int, int, int]  # track, start, pitch
BASSES = range(32, 40)  # General MIDI programs
CHORDAL = (*range(0, 8), *range(16, 24), *range(24, 32), *range(46, 47), *range(48, 56), *range(88, 96))
CHORD_VOICES = 3  # that a chordal instrument strikes where the chord changes


def vary_request(
    score: Score,
    tracks: Sequence[int],
    bars: tuple[int, int] | None,
    strength: float = 0.5,
    keep: str | None = None,
    options: Options = Options(),
    locked: Iterable[LockedNote] = (),
) -> Request:
    """Some tracks in bars first..last (from 0, both included; None: all of them), written anew in part.

    strength: the share of the onsets that change, 0..1; weak places change first, and notes that do not change stay
        to the tick. keep: what the notes that change keep: their "rhythm" (places, lengths and loudness), their
        "contour" (the same, and whether the line rises or falls), or their "pitch" in its order. locked: notes that
        stay whatever else changes.
    """
    if not 0 <= strength <= 1:
        raise ControlError(f"The strength cannot be {strength:g}", "It goes from 0 to 1.")
    if keep is not None and keep not in KEEPS:
        raise ControlError(f'There is no way to keep "{keep}"', f"Keep one of {', '.join(KEEPS)}.")
    first, last = bars or _all_bars(score)
    request = fill_request(score, tracks, first, last, options)
    begin, end = score.bar(first).start, score.bar(last).end
    if not any(begin <= note.start < end for track in tracks for note in score.tracks[track].notes):
        raise ControlError("There are no notes to vary there", "Choose other bars or tracks.")
    return replace(request, keep=Keep(keep or "notes", strength, locked=_found(request, locked)))


def fill_around(request: Request, locked: Iterable[LockedNote]) -> Request:
    """A request to fill that leaves single notes as they are. ControlError for a note that is not in its cells."""
    found = _found(request, locked)
    return replace(request, keep=Keep("locked", locked=found)) if found else request


def _found(request: Request, locked: Iterable[LockedNote]) -> frozenset[LockedNote]:
    """The notes that are to be locked, once each of them is known to be there."""
    wanted, tracks = frozenset(locked), {track for _, track in request.region}
    score, (first, last) = request.score, request.bars
    begin, end = score.bar(first).start, score.bar(last).end
    there = {
        (track, note.start, note.pitch)
        for track in tracks
        for note in score.tracks[track].notes
        if begin <= note.start < end
    }
    if missing := sorted(wanted - there):
        track, start, pitch = missing[0]
        raise ControlError(
            f"There is no note {pitch_name(pitch)} at tick {start} of track {track + 1} in what is to be written",
            "Lock notes of the bars and tracks that are written anew, as track:tick:pitch.",
        )
    return wanted


def humanise_request(
    score: Score, tracks: Sequence[int], amount: float = 1.0, options: Options = Options()
) -> Request:
    """Some tracks played by hand: loudness and micro-timing are drawn; pitches, lengths and places stay.

    amount: how far the notes move from what they were, 0..1.
    """
    if not 0 <= amount <= 1:
        raise ControlError(f"The strength cannot be {amount:g}", "It goes from 0 to 1.")
    request = fill_request(score, tracks, *_all_bars(score), options)
    return replace(request, keep=Keep("place", amount=amount), played=True)


def drumify_request(score: Score, parts: Sequence[int], options: Options = Options()) -> Request:
    """A new drum track that strikes wherever one of the parts has an accent."""
    if not parts or any(not 0 <= part < len(score.tracks) for part in parts):
        raise ControlError("There is no such track", f"The file has tracks 1 to {len(score.tracks)}.")
    accents = sorted({tick for part in parts for tick in accents_of(score, part)})
    request = accompany_request(score, [DRUMS], options)
    end = score.bar(request.bars[1]).end
    strikes = tuple((tick, None) for tick in accents if tick < end)
    return replace(request, keep=Keep(accents=tuple((track, strikes) for track in request.new_tracks)))


def accents_of(score: Score, track: int) -> list[int]:
    """Ticks at which a part has its accents: in every bar, the onsets that are at least as strong as the mean of
    the bar's, going by loudness, length, number of notes, and the beat; one an eighth at most."""
    quarter = score.ticks_per_quarter
    strengths: dict[int, dict[int, float]] = {}
    for note in score.tracks[track].notes:
        bar = score.bar_at(note.start)
        onsets = strengths.setdefault(bar.start, {})
        before = onsets.get(note.start)
        if before is None:
            offset = note.start - bar.start
            beat = 0.5 if offset == 0 else 0.25 if offset % quarter == 0 else 0.0
            onsets[note.start] = beat + note.velocity / 127 + min(1.0, note.duration / quarter)
        else:
            onsets[note.start] = before + 0.2
    accents: list[int] = []
    for _, onsets in sorted(strengths.items()):
        mean = sum(onsets.values()) / len(onsets)
        for tick in sorted(onsets):
            if onsets[tick] >= mean - 1e-9 and (not accents or tick - accents[-1] >= quarter // 2):
                accents.append(tick)
    return accents


def harmonise_request(score: Score, instrument: Instrument | None = None, options: Options = Options()) -> Request:
    """A new track (a piano by default) that plays the harmony: the chords asked for, else those the file names,
    else ones found to fit its notes. Every chord is struck where it begins, and becomes a marker."""
    instrument = instrument or parse_instrument("piano")
    return accompany_with_chords(score, [instrument], options, struck=True)


def accompany_with_chords(
    score: Score, instruments: Sequence[Instrument], options: Options = Options(), struck: bool = False
) -> Request:
    """New tracks that keep to the chords: those asked for, else the file's, else ones found in its notes.

    A bass plays the root wherever a chord begins. struck: chordal instruments sound the chord there.
    """
    if options.progression is None:
        if not chord_track(score):
            pitched = [track for track in score.tracks if not track.is_drum and track.notes]
            found = find_chords(score, by_bar=len(pitched) == 1)
            if not found:
                raise ControlError(
                    "The file has no pitched notes to find chords in", 'Name them: --chords "Dm | G".'
                )
            score = with_chord_track(score, chord_changes(found))
        options = replace(options, controls=replace(options.controls, follow_chords=True))
    request = accompany_request(score, instruments, options)
    new = sorted(request.new_tracks)
    end = request.score.bar(request.bars[1]).end
    changes = [change for change in chord_track(request.score) if change.chord and change.tick < end]
    accents: dict[int, tuple[Strike, ...]] = {}
    for index, instrument in zip(new, instruments, strict=True):
        most = options.controls.max_polyphony or CHORD_VOICES
        voices = min(CHORD_VOICES, most) if instrument.program in CHORDAL else 1
        if instrument.is_drum:
            continue
        if instrument.program in BASSES:
            accents[index] = tuple((change.tick, _bass_of(change.chord)) for change in changes if change.chord)
        elif struck:
            accents[index] = tuple((change.tick, None) for change in changes for _ in range(voices))
    return replace(request, keep=Keep(accents=tuple(accents.items()))) if accents else request


def _bass_of(chord: Chord) -> int:
    """The pitch class that a bass plays: the chord's own bass where that is one of its tones, else its root."""
    return chord.bass if chord.bass in chord._replace(bass=chord.root).pitch_classes else chord.root


def _all_bars(score: Score) -> tuple[int, int]:
    """First and last bar of the music, an early downbeat counted to the bar it opens."""
    _, grid, membership = to_piece(score)
    count = 1 + max((grid[int(bars.max())].score_bar for bars in membership if len(bars)), default=0)
    if count > min(MOST_BARS, LONGEST_PIECE):
        raise ControlError(
            f"{count} bars cannot be written at once", f"Choose at most {MOST_BARS} of them with --bars."
        )
    return 0, count - 1
