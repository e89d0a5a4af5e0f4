"""MIDI files <-> Score: lenient, bounded, lossless where it matters.

    read_midi(path or bytes) -> ReadResult(score, warnings)      or MidiError, never anything else
    write_midi(score)        -> bytes of a format 1 file         the same bytes for the same score
    save_midi(score, path)      written whole or not at all

How a file becomes a Score. A chunk is split into one Track per channel, in the order of the channels.
Tempo, meter, key, marker and cue events belong to the Score wherever they stand; when several chunks
speak for the same tick, the first chunk is believed, and within a chunk the last word. The first chunk
is the conductor when it holds no channel message: its name is the Score's name and all its other events
are the Score's events. In a first chunk of several channels (format 0) whatever has no channel belongs
to the Score as well. A later chunk that holds nothing but global events becomes no Track.

What a Score does not hold, and a file loses: the metronome bytes of a time signature, whether a marker
was a cue, the order of notes and controllers on one tick (written: note-offs, events, note-ons), and
the end-of-track ticks of single chunks.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from models.errors import MidiError, UserError
from models.midi_chunks import (
    DEFAULT_RELEASE,
    END_OF_TRACK,
    HINT_DAMAGED,
    HINT_SHORTER,
    MAX_EVENTS,
    MAX_SECONDS,
    MAX_TRACKS,
    META,
    Chunk,
    Header,
    RawEvent,
    RawNote,
    Warnings,
    longest_delta,
    read_chunks,
    read_header,
)
from models.score import DEFAULT_TEMPO, Event, KeySignature, Marker, Meter, Note, Score, Tempo, Track

MAX_BYTES = 10 * 1024 * 1024
MAX_BEATS = 16 * MAX_SECONDS  # 24 hours at 960 bpm: a tempo beyond all music must not make a piece endless
DRUM_CHANNEL = 9

_TRACK_NAME, _MARKER, _CUE, _CHANNEL_PREFIX = 0x03, 0x06, 0x07, 0x20
_TEMPO, _METER, _KEY = 0x51, 0x58, 0x59
_SCORE_META = {b"\xff\x00", b"\xff\x02", b"\xff\x54"}  # sequence number, copyright, SMPTE offset
_FILLER = b"\xff\x01"  # an empty text, written where a pause is longer than one delta can say


class ReadResult(NamedTuple):
    """A score and what had to be mended or left out to get it, one sentence each."""

    score: Score
    warnings: tuple[str, ...]


def read_midi(source: str | Path | bytes) -> ReadResult:
    """Read a MIDI file, or the bytes of one.

    Raises MidiError for bytes in which no event can be decoded or that break a limit, UserError for a
    path that cannot be read.
    """
    blob = source if isinstance(source, bytes) else _read_bytes(Path(source))
    if not blob:
        raise MidiError("The file is empty", "Choose another file, or export it again.")
    if len(blob) > MAX_BYTES:
        raise MidiError(f"The file is larger than {MAX_BYTES >> 20} MB", HINT_SHORTER, MAX_BYTES)
    warnings = Warnings()
    header = read_header(blob, warnings)
    builder = _ScoreBuilder(header, warnings)
    for chunk in read_chunks(blob, header, warnings):
        builder.add(chunk)
    return ReadResult(builder.score(len(blob)), warnings.sentences())


def write_midi(score: Score) -> bytes:
    """The score as a format 1 file: a conductor chunk, then one chunk per track.

    Whatever `read_midi` returned comes back equal. Where a track holds overlapping notes of one pitch, the
    first to begin must be the first to end, because that is how note-offs are understood.
    Raises ValueError for a score that no MIDI file can hold (a pitch of 128, a negative tick).
    """
    chunks = [_conductor_chunk(score)]
    chunks += [_track_chunk(track, score) for track in score.tracks]
    division = score.ticks_per_quarter
    if not 1 <= division <= 0x7FFF:
        raise ValueError(f"ticks_per_quarter {division} is not within 1..32767")
    if len(chunks) > MAX_TRACKS + 1:
        raise ValueError(f"{len(chunks) - 1} tracks, more than {MAX_TRACKS}")
    header = b"MThd\0\0\0\x06\0\x01" + len(chunks).to_bytes(2, "big") + division.to_bytes(2, "big")
    return header + b"".join(b"MTrk" + len(chunk).to_bytes(4, "big") + chunk for chunk in chunks)


def save_midi(score: Score, path: str | Path) -> None:
    """Write the score to `path`, replacing what is there. Afterwards the file is whole or untouched.

    Raises UserError when the folder is missing, not writable or full.
    """
    target, data = Path(path), write_midi(score)
    # Not tempfile: its files are readable by the owner only, and stay so after the replace.
    draft = target.parent / f".descant-{secrets.token_hex(8)}.tmp"
    try:
        try:
            with open(draft, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
        except BaseException:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"Cannot write {target}: {reason}", "Choose another folder or name.") from error


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system lets a folder be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder", "Name a .mid file inside it.")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a file", "Name a .mid file.")
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}", "Check the name and the folder.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"Cannot read {path}: {reason}", "Check the file's permissions.") from error


# ----------------------------------------------------------------------------------- chunks -> Score


class _Latin1(str):
    """Text that was not UTF-8 in its file. It is written back as the bytes it was, whatever they meant."""

    __slots__ = ()


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _Latin1(raw.decode("latin-1"))


def _encode(text: str) -> bytes:
    return text.encode("latin-1") if isinstance(text, _Latin1) else text.encode("utf-8", "replace")


class _ScoreBuilder:
    """Sorts the events of the chunks into tracks and what belongs to the whole score."""

    def __init__(self, header: Header, warnings: Warnings) -> None:
        self._header = header
        self._warnings = warnings
        self._tempos: dict[int, int] = {}
        self._meters: dict[int, tuple[int, int]] = {}
        self._keys: dict[int, tuple[int, bool]] = {}
        self._markers: dict[Marker, None] = {}  # an ordered set: some programs repeat them in each track
        self._events: list[RawEvent] = []
        self._tracks: list[Track] = []
        self._name = ""
        self._length = 0
        self._messages = 0

    def add(self, chunk: Chunk) -> None:
        name, events, is_global = self._take_globals(chunk)
        self._messages += chunk.messages
        ends = (start + duration for notes in chunk.notes for start, _, duration, _, _ in notes)
        self._length = max(self._length, chunk.length, max(ends, default=0))
        by_channel: dict[int, list[RawEvent]] = {c: [] for c in range(16) if chunk.notes[c]}
        for item in events:
            if item[1][0] < 0xF0:
                by_channel.setdefault(item[1][0] & 15, []).append(item)
        channels = sorted(by_channel)
        if chunk.number == 1 and len(channels) != 1:
            self._name, name = name, ""
            self._events += [item for item in events if item[1][0] >= 0xF0]
        else:
            self._events += [item for item in events if item[1][:2] in _SCORE_META]
            own = [item for item in events if item[1][:2] not in _SCORE_META]
            if channels:
                first = channels[0]
                by_channel[first] = [i for i in own if i[1][0] >= 0xF0 or i[1][0] & 15 == first]
            elif own or not (is_global or len(own) < len(events)):
                channels = [_prefixed_channel(own)]
                by_channel = {channels[0]: own}
        for channel in channels:
            self._tracks.append(_make_track(name, channel, chunk.notes[channel], by_channel[channel]))
        if len(self._tracks) > MAX_TRACKS:
            text = f"The file has more than {MAX_TRACKS} tracks, one for each channel in use"
            raise MidiError(text, HINT_SHORTER, chunk.offset)

    def _take_globals(self, chunk: Chunk) -> tuple[str, list[RawEvent], bool]:
        """(the chunk's name, its events that are not in the score's maps, whether others are)."""
        name, rest, is_global = "", [], False
        tempos: dict[int, int] = {}
        meters: dict[int, tuple[int, int]] = {}
        keys: dict[int, tuple[int, bool]] = {}
        where = f"track {chunk.number}"
        for item in chunk.events:
            tick, data = item
            kind = data[1] if data[0] == META else None
            if kind == _TRACK_NAME and not name:
                name = _decode(data[2:])
                continue
            if kind == _TEMPO:
                self._read_tempo(tempos, tick, data[2:], where)
            elif kind == _METER:
                self._read_meter(meters, tick, data[2:], where)
            elif kind == _KEY:
                self._read_key(keys, tick, data[2:], where)
            elif kind in (_MARKER, _CUE):
                self._markers.setdefault(Marker(tick, _decode(data[2:])))
            else:
                if data != _FILLER:
                    rest.append(item)
                continue
            is_global = True
        # The first chunk to speak for a tick is believed: parts repeat the meter, and transpose the key.
        for tick, tempo in tempos.items():
            self._tempos.setdefault(tick, tempo)
        for tick, meter in meters.items():
            self._meters.setdefault(tick, meter)
        for tick, key in keys.items():
            self._keys.setdefault(tick, key)
        return name, rest, is_global

    def _read_tempo(self, tempos: dict[int, int], tick: int, body: bytes, where: str) -> None:
        microseconds = int.from_bytes(body[:3], "big")
        if len(body) < 3 or not microseconds:
            self._warnings.add("Replaced an impossible tempo by 120 bpm", where)
            microseconds = DEFAULT_TEMPO
        tempos[tick] = microseconds

    def _read_meter(self, meters: dict[int, tuple[int, int]], tick: int, body: bytes, where: str) -> None:
        if len(body) < 2 or not body[0] or body[1] > 7:
            self._warnings.add("Ignored an impossible time signature", where)
        else:
            meters[tick] = body[0], 1 << body[1]

    def _read_key(self, keys: dict[int, tuple[int, bool]], tick: int, body: bytes, where: str) -> None:
        fifths = int.from_bytes(body[:1], "big", signed=True)
        if len(body) < 2 or abs(fifths) > 7 or body[1] > 1:
            self._warnings.add("Ignored an impossible key signature", where)
        else:
            keys[tick] = fifths, body[1] == 1

    def score(self, size: int) -> Score:
        """The finished score of a file of `size` bytes."""
        if not self._messages:
            raise MidiError("The file holds no event that can be read", HINT_DAMAGED, self._header.end)
        if self._header.fixed_tempo is not None:
            if self._tempos:
                self._warnings.add("Ignored tempos, which mean nothing to time in film frames", "header")
            self._tempos = {0: self._header.fixed_tempo}
        score = Score(
            ticks_per_quarter=self._header.ticks_per_quarter,
            tracks=tuple(self._tracks),
            tempos=tuple(Tempo(tick, tempo) for tick, tempo in sorted(self._tempos.items())),
            meters=tuple(Meter(tick, *meter) for tick, meter in sorted(self._meters.items())),
            keys=tuple(KeySignature(tick, *key) for tick, key in sorted(self._keys.items())),
            markers=tuple(sorted(self._markers, key=itemgetter(0))),
            events=_make_events(sorted(self._events, key=itemgetter(0))),
            name=self._name,
            length=self._length,
        )
        if score.length > MAX_BEATS * score.ticks_per_quarter or score.seconds_at(score.length) > MAX_SECONDS:
            raise MidiError("The piece is longer than 24 hours", HINT_DAMAGED, size)
        if _count_messages(score) > MAX_EVENTS:
            raise MidiError(f"The file has more than {MAX_EVENTS:,} events", HINT_SHORTER, size)
        return score


def _make_track(name: str, channel: int, notes: list[RawNote], events: list[RawEvent]) -> Track:
    notes.sort()  # before they become Notes, because plain tuples are compared three times as fast
    programs = (data[1] for _, data in events if data[0] >> 4 == 0xC)
    return Track(
        name=name,
        program=next(programs, 0),
        is_drum=channel == DRUM_CHANNEL,
        channel=channel,
        notes=tuple(map(partial(tuple.__new__, Note), notes)),
        events=_make_events(events),
    )


def _make_events(events: list[RawEvent]) -> tuple[Event, ...]:
    return tuple(map(partial(tuple.__new__, Event), events))


def _prefixed_channel(events: Iterable[RawEvent]) -> int:
    """The channel that a chunk without channel messages names in a channel prefix, else 0."""
    for _, data in events:
        if data[:2] == bytes((META, _CHANNEL_PREFIX)) and len(data) == 3 and data[2] < 16:
            return data[2]
    return 0


def _count_messages(score: Score) -> int:
    """How many events `write_midi` makes of a score, so that whatever was read can be read again."""
    parts = (score.tempos, score.meters, score.keys, score.markers, score.events)
    tracks = sum(2 * len(track.notes) + len(track.events) + 3 for track in score.tracks)
    return sum(map(len, parts)) + 2 + tracks  # the 2 and 3: a name, an end and perhaps a program


# ----------------------------------------------------------------------------------- Score -> chunks


def _conductor_chunk(score: Score) -> bytes:
    events: list[RawEvent] = [(0, b"\xff\x03" + _encode(score.name))] if score.name else []
    for meter in score.meters:
        exponent = meter.denominator.bit_length() - 1
        if meter.denominator != 1 << exponent or exponent > 7 or not 1 <= meter.numerator <= 255:
            raise ValueError(f"a MIDI file cannot hold the meter {meter.numerator}/{meter.denominator}")
        # A click per beat: three eighths in compound meters, else the denominator.
        compound = meter.denominator >= 8 and meter.numerator % 3 == 0
        clocks = max(1, 96 * (3 if compound else 1) // meter.denominator)
        events.append((meter.tick, bytes((META, _METER, meter.numerator, exponent, clocks, 8))))
    for key in score.keys:
        events.append((key.tick, bytes((META, _KEY, key.fifths & 0xFF, key.minor))))
    for tempo in score.tempos:
        if not 0 < tempo.microseconds < 1 << 24:
            raise ValueError(f"a MIDI file cannot hold a tempo of {tempo.microseconds} microseconds")
        events.append((tempo.tick, b"\xff\x51" + tempo.microseconds.to_bytes(3, "big")))
    if any(event.data[0] < 0xF0 for event in score.events):
        raise ValueError("an event with a channel belongs to a track, not to the score")
    events += score.events
    for marker in score.markers:
        events.append((marker.tick, b"\xff\x06" + _encode(marker.text)))
    events.sort(key=itemgetter(0))
    return _serialize(events, score)


def _track_chunk(track: Track, score: Score) -> bytes:
    channel = DRUM_CHANNEL if track.is_drum else track.channel
    if not 0 <= channel <= 15:
        raise ValueError(f"channel {channel} is not within 0..15")
    note_on, note_off = 0x90 | channel, 0x80 | channel
    events = _track_events(track, channel)
    # At one tick: note-offs, then events, then note-ons; each in the order of the track.
    ons: list[RawEvent] = []
    offs: list[RawEvent] = []
    for start, pitch, duration, velocity, release in track.notes:
        if start < 0 or duration < 1 or (pitch | velocity | release) & ~0x7F or not velocity:
            raise ValueError(f"not a note: {(start, pitch, duration, velocity, release)}")
        ons.append((start, bytes((note_on, pitch, velocity))))
        plain = release == DEFAULT_RELEASE  # then a note-on with velocity 0 says it in fewer bytes
        off = bytes((note_on, pitch, 0)) if plain else bytes((note_off, pitch, release))
        offs.append((start + duration, off))
    return _serialize(sorted(offs + events + ons, key=itemgetter(0)), score)


def _track_events(track: Track, channel: int) -> list[RawEvent]:
    """The track's events on its channel, preceded by its name and, where they do not say it, its program."""
    events: list[RawEvent] = [(0, b"\xff\x03" + _encode(track.name))] if track.name else []
    programmed, placed = False, bool(track.notes)
    body: list[RawEvent] = []
    for tick, data in track.events:
        if data[0] < 0xF0:
            placed = True
            if data[0] >> 4 == 0xC and not programmed:
                programmed = True
                data = bytes((0xC0 | channel, track.program & 0x7F))
            elif data[0] & 15 != channel:
                data = bytes((data[0] & 0xF0 | channel,)) + data[1:]
        body.append((tick, data))
    silent_elsewhere = not placed and _prefixed_channel(track.events) != channel
    if not programmed and (track.program or silent_elsewhere):
        events.append((0, bytes((0xC0 | channel, track.program & 0x7F))))
    return events + body


def _serialize(events: list[RawEvent], score: Score) -> bytes:
    """The body of a track chunk: events in order of time, with running status, and the end of the track."""
    chunk, now, running = bytearray(), 0, 0
    longest = longest_delta(score.ticks_per_quarter)
    for tick, data in (*events, (max(score.length, events[-1][0] if events else 0), END_OF_TRACK)):
        delta, now = tick - now, tick
        while delta > longest:
            chunk += _number(longest) + _FILLER + b"\0"
            delta, running = delta - longest, 0
        chunk += _number(delta)
        status = data[0]
        if status < 0xF0:
            chunk += data if status != running else data[1:]
            running = status
        else:
            head = 2 if status == META else 1
            chunk += data[:head] + _number(len(data) - head) + data[head:]
            running = 0
    return bytes(chunk)


def _number(value: int) -> bytes:
    """A variable-length number."""
    if value < 0x80:
        if value < 0:
            raise ValueError("a tick is negative")
        return bytes((value,))
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
