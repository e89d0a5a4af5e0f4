"""The bytes of a MIDI file -> its chunks, decoded as far as they can be.

Real files are cut off, mended by hand and sent through mail programs, so a fault costs the bytes around
it and not the file. A chunk's length is believed when another chunk or the end of the file follows it;
else the chunk goes on to its end-of-track event, or to the next thing that looks like a track. An event
that cannot be is skipped, and reading goes on where several events in a row make sense again. All work is
linear in the size of the file, and every fault leaves a warning.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from models.errors import MidiError

MAX_EVENTS = 1_000_000
MAX_TRACKS = 256  # a conductor does not count
MAX_SECONDS = 24 * 60 * 60
MAX_VLQ = 0x0FFFFFFF  # the largest number of four bytes, the most a MIDI file may use
MAX_FAULTS = 1_000  # damaged places in one file; beyond that the rest of a track is noise
MAX_PROBES = 20_000  # places tried in one file to get in step again

DEFAULT_RELEASE = 64  # the release velocity that a note-on with velocity 0 stands for

_SEARCH_BYTES = 64 * 1024  # how far into a file its header is looked for
_PROBE_EVENTS = 6  # this many sound events in a row mean that we are in step again
_NEAR = 8  # bytes behind a fault within which running status may still hold

META = 0xFF
END_OF_TRACK = b"\xff\x2f"

HINT_DAMAGED = "The file may be damaged or cut off; export it again."
HINT_SHORTER = "Split the piece and work on one part."
_OTHER_FILES = (
    (b"PK\x03\x04", "a zip archive (or a compressed score)", "Unpack it, or export the score as MIDI."),
    (b"\x1f\x8b", "a gzip archive or a DAW's project", "Unpack it, or export the project as MIDI."),
    (b"ID3", "an MP3 recording", "Audio cannot be read; export the notes as MIDI."),
    (b"\xff\xfb", "an MP3 recording", "Audio cannot be read; export the notes as MIDI."),
    (b"OggS", "an Ogg recording", "Audio cannot be read; export the notes as MIDI."),
    (b"fLaC", "a FLAC recording", "Audio cannot be read; export the notes as MIDI."),
    (b"FORM", "an AIFF recording", "Audio cannot be read; export the notes as MIDI."),
    (b"RIFF", "a WAV recording", "Audio cannot be read; export the notes as MIDI."),
    (b"<?xml", "an XML document", "Export the score as MIDI."),
    (b"<REAPER", "a REAPER project", "In REAPER: File > Export project MIDI."),
    (b"%PDF", "a PDF document", "Export the score as MIDI."),
    (b"\x89PNG", "a picture", "Choose a .mid file."),
)

# Where reading may go on: a short delta and an event with a status byte of its own. Longer deltas are rare,
# and after a damaged place they are mostly made of its remains, which would push the rest of a track out.
_LONG_DELTA = 0xA0  # the first byte of deltas of 4,096 ticks and more
_EXPLICIT_EVENT = re.compile(
    rb"[\x81-\x9f]?[\x00-\x7f]"
    rb"(?:[\x80-\xbf\xe0-\xef][\x00-\x7f]{2}|[\xc0-\xdf][\x00-\x7f]|\xff[\x00-\x7f]|[\xf0\xf7])",
)

RawNote = tuple[int, int, int, int, int]
RawEvent = tuple[int, bytes]


class Warnings:
    """Collects warnings; the same one a thousand times is one sentence."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, str]] = {}

    def add(self, text: str, where: str, times: int = 1) -> None:
        count, first = self._seen.get(text, (0, where))
        self._seen[text] = (count + times, first)

    def sentences(self) -> tuple[str, ...]:
        return tuple(
            f"{text} ({where})." if count == 1 else f"{text} ({count} times, first in {where})."
            for text, (count, where) in self._seen.items()
        )


class Header(NamedTuple):
    ticks_per_quarter: int
    fixed_tempo: int | None  # microseconds per quarter, when the file counts in film frames
    end: int


class Chunk(NamedTuple):
    """A decoded track chunk: per channel its notes, and every other event in file order."""

    number: int
    offset: int  # where its first event stands in the file
    notes: list[list[RawNote]]
    events: list[RawEvent]
    messages: int
    length: int  # tick of its end
    size: int  # bytes up to and with its end
    ended: bool  # by an end-of-track event


def read_header(blob: bytes, warnings: Warnings) -> Header:
    """The header chunk, wherever it stands. Raises MidiError when there is none that can be used."""
    wrapped = blob[:4] == b"RIFF" and blob[8:12] == b"RMID"  # the RIFF form of a MIDI file
    start = blob.find(b"MThd", 0, _SEARCH_BYTES)
    if start != 0 and not wrapped:
        _refuse_other_files(blob)
        if start > 0:
            warnings.add("Skipped what stands before the MIDI header", f"byte {start}")
    body, end = _find_header(blob, start, warnings)
    kind = int.from_bytes(blob[body : body + 2], "big")
    if kind == 2:
        warnings.add("Independent patterns (format 2) are read as tracks that play together", "header")
    elif kind > 2:
        warnings.add(f"Unknown format {kind} is read as format 1", "header")
    ticks_per_quarter, fixed_tempo = _read_division(blob, body + 4, warnings)
    return Header(ticks_per_quarter, fixed_tempo, end)


def _find_header(blob: bytes, start: int, warnings: Warnings) -> tuple[int, int]:
    """(where the header's six bytes begin, where the chunk after it begins); `start` is its name or -1."""
    if start >= 0:
        body = start + 8
        if len(blob) < body + 6:
            raise MidiError("The file ends inside its header", HINT_DAMAGED, len(blob))
        end = body + int.from_bytes(blob[start + 4 : body], "big")
        if end == body + 6 or (end > body + 6 and blob[end : end + 4] == b"MTrk"):
            return body, end
    # Its name or length is missing or wrong: the six bytes before the first track are it.
    start = max(start, 0)
    end = blob.find(b"MTrk", start, start + _SEARCH_BYTES)
    if end < start + 10:
        raise MidiError("This is not a MIDI file", "Choose a .mid file.", start)
    warnings.add("Mended a damaged MIDI header", f"byte {start}")
    return end - 6, end


def _refuse_other_files(blob: bytes) -> None:
    for signature, kind, hint in _OTHER_FILES:
        if blob.startswith(signature):
            raise MidiError(f"This is not a MIDI file but {kind}", hint)


def _read_division(blob: bytes, pos: int, warnings: Warnings) -> tuple[int, int | None]:
    """(ticks per quarter, tempo that is in force throughout or None)."""
    division = int.from_bytes(blob[pos : pos + 2], "big")
    frames, ticks_per_frame = 256 - (division >> 8), division & 0xFF
    if division & 0x8000 and frames in (24, 25, 29, 30) and ticks_per_frame:
        warnings.add("Time in film frames was converted to beats at about 120 bpm", "header")
        ticks_per_second = ticks_per_frame * (30_000 / 1_001 if frames == 29 else frames)
        ticks_per_quarter = int(ticks_per_second / 2)
        return ticks_per_quarter, round(ticks_per_quarter / ticks_per_second * 1e6)
    if division & 0x8000:
        warnings.add("Mended an impossible division of time", "header")
    if not division & 0x7FFF:
        raise MidiError("The file divides a beat into 0 ticks", HINT_DAMAGED, pos)
    return division & 0x7FFF, None


def read_chunks(blob: bytes, header: Header, warnings: Warnings) -> Iterator[Chunk]:
    """Every track chunk, found by length where lengths are right and by sight where they are not."""
    pos, number, budget, size = header.end, 0, MAX_EVENTS, len(blob)
    reader = _TrackReader(header.ticks_per_quarter, warnings)
    while pos + 8 <= size:
        name, body = blob[pos : pos + 4], pos + 8
        declared = body + int.from_bytes(blob[pos + 4 : body], "big")
        if not _is_track(name):
            if name.isalnum() and declared <= size:
                pos = declared  # an unknown chunk, which the format tells us to skip
                continue
            found = blob.find(b"MTrk", pos + 1)
            if found >= 0 or any(blob[pos:]):  # many programs fill up a file with zeros
                warnings.add("Skipped bytes that belong to no track", f"byte {pos}")
            pos = found if found >= 0 else size
            continue
        if number > MAX_TRACKS:
            raise MidiError(f"The file has more than {MAX_TRACKS} tracks", HINT_SHORTER, pos)
        number += 1
        if name != b"MTrk":
            warnings.add("Mended the name of a track's chunk", f"byte {pos}")
        trusted = declared == size or (declared < size and _is_track(blob[declared : declared + 4]))
        following = blob.find(b"MTrk", body)
        limit = declared if trusted else (following if following >= 0 else size)
        chunk = reader.read(blob[body:limit], body, number, budget)
        budget -= chunk.messages
        stop = body + chunk.size
        if stop != declared:
            text = "A track is cut off" if limit == size < declared else "A track is not as long as it says"
            warnings.add(text, f"track {number}")
        elif not chunk.ended:
            warnings.add("A track has no end", f"track {number}")
        pos = declared if trusted else stop
        yield chunk
    if not number:
        raise MidiError("The file has no track", HINT_DAMAGED, min(pos, size))


def _is_track(name: bytes) -> bool:
    """Whether this is the name of a track chunk, with one damaged letter at most."""
    return name == b"MTrk" or sum(a == b for a, b in zip(name, b"MTrk", strict=False)) == 3


class _TrackReader:
    """Decodes track chunks; keeps count of the damage over the whole file."""

    def __init__(self, ticks_per_quarter: int, warnings: Warnings) -> None:
        self._warnings = warnings
        self._faults = 0
        self._probes = 0
        self._max_delta = longest_delta(ticks_per_quarter)

    def read(self, data: bytes, offset: int, number: int, budget: int) -> Chunk:
        """Decode one chunk of at most `budget` events; `offset` is where it stands in the file.

        One long loop on local names, because it runs for every event of every file.
        """
        notes: list[list[RawNote]] = [[] for _ in range(16)]
        waiting: list[list[deque[tuple[int, int]]]] = [[] for _ in range(16)]
        events: list[RawEvent] = []
        queues: list[deque[tuple[int, int]]] = []
        max_delta, add_event, add_note = self._max_delta, events.append, notes[0].append
        pos = begin = tick = status = kind = last_status = messages = 0
        faults_before = self._faults
        ended = False
        try:
            for messages in range(budget + 1):  # noqa: B007 - the count is wanted after the loop
                begin = pos
                delta = data[pos]
                pos += 1
                if delta & 0x80:
                    byte = data[pos]
                    pos += 1
                    delta = (delta & 0x7F) << 7 | byte & 0x7F
                    if byte & 0x80:
                        delta, pos = _rest_of_number(data, pos, delta)
                        if not 0 <= delta <= max_delta:
                            pos, status = self._resume(data, begin, begin, last_status, offset)
                            continue
                tick += delta
                byte = data[pos]
                if byte < 0x80:
                    if not status:
                        # Some programs go on with running status after a meta event.
                        if not last_status or not _in_step(data, begin, last_status):
                            pos, status = self._resume(data, begin, begin, last_status, offset)
                            continue
                        status = last_status
                elif byte < 0xF0:
                    pos += 1
                    if byte != status:
                        status = last_status = byte
                        kind = byte >> 4
                        add_note = notes[byte & 15].append
                        queues = waiting[byte & 15]
                        if not queues:
                            queues.extend(deque() for _ in range(128))
                else:
                    status = 0
                    head, body, end = _system_event(data, pos)
                    if end < 0:
                        pos, status = self._resume(data, begin, begin, last_status, offset)
                        continue
                    event = data[pos:head] + data[body:end]
                    pos = end
                    if event[:2] == END_OF_TRACK:
                        ended = True
                        break
                    add_event((tick, event))
                    continue

                first = data[pos]
                if kind == 0x9:
                    second = data[pos + 1]
                    pos += 2
                    if (first | second) & 0x80:
                        pos, status = self._resume(data, begin, pos, status, offset)
                    elif second:
                        queues[first].append((tick, second))
                    elif queues[first]:
                        start, velocity = queues[first].popleft()
                        add_note((start, first, tick - start or 1, velocity, DEFAULT_RELEASE))
                elif kind == 0x8:
                    second = data[pos + 1]
                    pos += 2
                    if (first | second) & 0x80:
                        pos, status = self._resume(data, begin, pos, status, offset)
                    elif queues[first]:
                        start, velocity = queues[first].popleft()
                        add_note((start, first, tick - start or 1, velocity, second))
                elif kind == 0xC or kind == 0xD:
                    pos += 1
                    if first & 0x80:
                        pos, status = self._resume(data, begin, pos, status, offset)
                    else:
                        add_event((tick, bytes((status, first))))
                else:
                    second = data[pos + 1]
                    pos += 2
                    if (first | second) & 0x80:
                        pos, status = self._resume(data, begin, pos, status, offset)
                    else:
                        add_event((tick, bytes((status, first, second))))
            else:
                raise MidiError(f"The file has more than {MAX_EVENTS:,} events", HINT_SHORTER, offset + pos)
        except IndexError:
            pos = len(data)
        messages += ended - (self._faults - faults_before)
        self._close(notes, waiting, tick, number)
        return Chunk(number, offset, notes, events, messages, tick, pos, ended)

    def _resume(self, data: bytes, begin: int, after: int, status: int, offset: int) -> tuple[int, int]:
        """Where to go on after the damaged event at `begin`, and the status in force there.

        The event's data bytes may be all that is wrong, then reading goes on `after` it, if that is known.
        Otherwise the next place is sought from which events can be read in a row.
        """
        self._warnings.add("Skipped damaged bytes", f"byte {offset + begin}")
        self._faults += 1
        if self._faults > MAX_FAULTS:
            return len(data), 0
        if status and after > begin and _in_step(data, after, status):
            return after, status
        explicit = self._find_explicit(data, begin + 1)
        if status:
            for pos in range(begin + 1, min(begin + _NEAR, explicit)):
                if data[pos] < _LONG_DELTA and _in_step(data, pos, status):
                    return pos, status
        return explicit, 0

    def _find_explicit(self, data: bytes, pos: int) -> int:
        """The first place from `pos` on where events begin that say their own status, else the end."""
        while (match := _EXPLICIT_EVENT.search(data, pos)) and self._probes < MAX_PROBES:
            self._probes += 1
            if _in_step(data, match.start(), 0):
                return match.start()
            pos = match.start() + 1
        return len(data)

    def _close(
        self,
        notes: list[list[RawNote]],
        waiting: list[list[deque[tuple[int, int]]]],
        end: int,
        number: int,
    ) -> None:
        for channel, queues in enumerate(waiting):
            for pitch, queue in enumerate(queues):
                for start, velocity in queue:
                    notes[channel].append((start, pitch, end - start or 1, velocity, DEFAULT_RELEASE))
                if queue:
                    text = "Closed a note that never ended at the end of its track"
                    self._warnings.add(text, f"track {number}", len(queue))


def longest_delta(ticks_per_quarter: int) -> int:
    """The longest pause between two events that is not taken for damage: a day at 120 bpm, or four bytes."""
    return min(MAX_VLQ, ticks_per_quarter * 2 * MAX_SECONDS)


def _rest_of_number(data: bytes, pos: int, high: int) -> tuple[int, int]:
    """Go on with a variable-length number after its first two bytes; -1 when it has more than four."""
    for _ in range(2):
        byte = data[pos]
        pos += 1
        high = high << 7 | byte & 0x7F
        if not byte & 0x80:
            return high, pos
    return -1, pos


def _system_event(data: bytes, pos: int) -> tuple[int, int, int]:
    """Where the status (and type), the payload and the whole of the meta event or SysEx at `pos` end.

    That is (end of status, begin of payload, end of payload); the last is -1 when it is damaged.
    """
    head = pos + 1
    if data[pos] == META:
        head += 1
        if data[pos + 1] & 0x80:
            return head, head, -1
    elif data[pos] not in (0xF0, 0xF7):
        return head, head, -1  # realtime messages have no place in a file
    body, length = head, 0
    for _ in range(4):
        byte = data[body]
        body += 1
        length = length << 7 | byte & 0x7F
        if not byte & 0x80:
            end = body + length
            return head, body, end if end <= len(data) else -1
    return head, body, -1


def _in_step(data: bytes, pos: int, status: int) -> bool:
    """Whether several sound events in a row, or the end of the track, can be read from `pos`."""
    try:
        for _ in range(_PROBE_EVENTS):
            for _ in range(3):
                pos += 1
                if not data[pos - 1] & 0x80:
                    break
            else:
                return False
            byte = data[pos]
            if byte >= 0xF0:
                head, _, end = _system_event(data, pos)
                if end < 0 or data[pos:head] == END_OF_TRACK:
                    return end >= 0
                pos, status = end, 0
                continue
            if byte & 0x80:
                status = byte
                pos += 1
            if not status or data[pos] & 0x80:
                return False
            pos += 1
            if status >> 4 not in (0xC, 0xD):
                if data[pos] & 0x80:
                    return False
                pos += 1
    except IndexError:
        return False
    return True
