"""Score <-> the objects that musicians who program already hold.

    from_mido          to_mido             mido.MidiFile
    from_pretty_midi   to_pretty_midi      pretty_midi.PrettyMIDI
    from_miditoolkit   to_miditoolkit      miditoolkit.MidiFile
    from_symusic       to_symusic          symusic.Score (ticks, quarters or seconds)

The libraries are optional: pip install "descant[interchange]". Without the one that is asked for, a
function raises UserError.

What each library holds of a Score, and therefore what comes back:

    all                notes (start, pitch, duration, velocity), track names, programs and drums,
                       controllers, pitch bends, lyrics, tempos, meters, keys and the tick grid
    mido               everything, by way of the bytes of a MIDI file; F7 SysEx packets become F0 ones
    pretty_midi        also plain texts; no markers, so no chord track; spells keys its own way (Gb major
                       is F# major); leaves out a tempo that repeats the one before; holds seconds, which
                       are put back on the nearest tick, and no piece of ten million ticks
    miditoolkit        also markers and the declared length
    symusic            also markers; times of 32 bits
    all but mido       no channels, release velocities, program changes after the first, aftertouch or
                       SysEx; the length becomes the end of the last event; pretty_midi and miditoolkit
                       say the tempo of 120 at the start that a Score may leave unsaid
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from itertools import cycle
from typing import Any

from models.errors import UserError
from models.midi_file import read_midi, write_midi
from models.score import DEFAULT_TEMPO, Event, KeySignature, Marker, Meter, Note, Score, Tempo, Track
from models.theory import Key

DRUM_CHANNEL = 9
MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
SUSTAIN = 64
_CONTROL, _BEND = 0xB0, 0xE0
_TEXT, _LYRIC = 0x01, 0x05
_LETTERS_BY_FIFTHS = "FCGDAEB"

Control = tuple[int, int, int]  # tick, controller number, value
Bend = tuple[int, int]  # tick, -8192..8191
Text = tuple[int, str]


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        hint = 'Install it with: pip install "descant[interchange]"'
        raise UserError(f"The Python package {name} is not installed", hint) from error


# --- mido -----------------------------------------------------------------------------------------------


def to_mido(score: Score) -> Any:
    """The score as a mido.MidiFile of format 1."""
    mido, data = _library("mido"), write_midi(score)
    try:
        try:
            return mido.MidiFile(file=io.BytesIO(data), charset="utf-8")
        except UnicodeDecodeError:  # a text that was not UTF-8 in the file it came from
            return mido.MidiFile(file=io.BytesIO(data), charset="latin1")
    except (ValueError, TypeError, IndexError, OSError, EOFError) as error:
        raise UserError(f"mido cannot hold an event of this score: {error}") from error


def from_mido(midi: Any) -> Score:
    """The score of a mido.MidiFile of any format."""
    _library("mido")
    data = io.BytesIO()
    try:
        midi.save(file=data)
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise UserError(f"mido cannot write this file: {error}", "Times in a MIDI file are whole ticks.") from error
    return read_midi(data.getvalue()).score


# --- pretty_midi ----------------------------------------------------------------------------------------


def to_pretty_midi(score: Score) -> Any:
    """The score as a pretty_midi.PrettyMIDI with the same resolution and tempo map."""
    pretty_midi = _library("pretty_midi")
    conductor = replace(score, tracks=(), markers=(), events=(), name="", length=0)
    try:
        midi = pretty_midi.PrettyMIDI(io.BytesIO(write_midi(conductor)))
        midi.tick_to_time(score.end)  # sizes the table of times once, instead of growing it note by note
    except (ValueError, IndexError) as error:
        raise UserError(f"pretty_midi cannot hold this score: {error}", "Export a shorter part.") from error
    seconds = midi.tick_to_time
    midi.lyrics = [pretty_midi.Lyric(text, seconds(tick)) for tick, text in _texts(score, _LYRIC)]
    midi.text_events = [pretty_midi.Text(text, seconds(tick)) for tick, text in _texts(score, _TEXT)]
    for track in score.tracks:
        instrument = pretty_midi.Instrument(track.program, track.is_drum, track.name)
        for note in track.notes:
            times = seconds(note.start), seconds(note.end)
            instrument.notes.append(pretty_midi.Note(note.velocity, note.pitch, *times))
        for tick, number, value in _controls(track):
            instrument.control_changes.append(pretty_midi.ControlChange(number, value, seconds(tick)))
        for tick, bend in _bends(track):
            instrument.pitch_bends.append(pretty_midi.PitchBend(bend, seconds(tick)))
        midi.instruments.append(instrument)
    return midi


def from_pretty_midi(midi: Any) -> Score:
    """The score of a pretty_midi.PrettyMIDI, on its own tick grid."""
    _library("pretty_midi")

    def tick(time: float) -> int:
        return int(midi.time_to_tick(time))

    channels = _Channels()
    tracks = [
        _make_track(
            instrument,
            channels,
            ((tick(n.start), n.pitch, tick(n.end), n.velocity) for n in instrument.notes),
            [(tick(c.time), c.number, c.value) for c in instrument.control_changes],
            [(tick(b.time), b.pitch) for b in instrument.pitch_bends],
        )
        for instrument in midi.instruments
    ]
    keys = []
    for signature in midi.key_signature_changes:
        key = Key(signature.key_number % 12, "minor" if signature.key_number >= 12 else "major")
        keys.append(KeySignature(tick(signature.time), key.fifths, key.mode == "minor"))
    lyrics = [_text_event(tick(lyric.time), _LYRIC, lyric.text) for lyric in midi.lyrics]
    texts = [_text_event(tick(text.time), _TEXT, text.text) for text in midi.text_events]
    return _make_score(
        ticks_per_quarter=midi.resolution,
        tracks=tracks,
        tempos=[Tempo(tick(t), round(6e7 / bpm)) for t, bpm in zip(*midi.get_tempo_changes(), strict=True)],
        meters=[Meter(tick(m.time), m.numerator, m.denominator) for m in midi.time_signature_changes],
        keys=keys,
        events=lyrics + texts,
        length=tick(midi.get_end_time()),
    )


# --- miditoolkit ----------------------------------------------------------------------------------------


def to_miditoolkit(score: Score) -> Any:
    """The score as a miditoolkit.MidiFile, one Instrument per track."""
    _library("miditoolkit")
    parser, parts = import_module("miditoolkit.midi.parser"), import_module("miditoolkit.midi.containers")
    midi = parser.MidiFile(ticks_per_beat=score.ticks_per_quarter)
    midi.max_tick = score.end + 1  # as if it had been read from a file
    midi.tempo_changes = [parts.TempoChange(tempo.bpm, tempo.tick) for tempo in _from_zero(score.tempos)]
    midi.time_signature_changes = [parts.TimeSignature(m.numerator, m.denominator, m.tick) for m in score.meters]
    midi.key_signature_changes = [parts.KeySignature(_mido_key(key), key.tick) for key in score.keys]
    midi.lyrics = [parts.Lyric(text, tick) for tick, text in _texts(score, _LYRIC)]
    midi.markers = [parts.Marker(marker.text, marker.tick) for marker in score.markers]
    for track in score.tracks:
        midi.instruments.append(
            parts.Instrument(
                track.program,
                track.is_drum,
                track.name,
                notes=[parts.Note(n.velocity, n.pitch, n.start, n.end) for n in track.notes],
                pitch_bends=[parts.PitchBend(bend, tick) for tick, bend in _bends(track)],
                control_changes=[
                    parts.ControlChange(number, value, tick) for tick, number, value in _controls(track)
                ],
                pedals=[parts.Pedal(start, end) for start, end in _pedals(track)],
            )
        )
    return midi


def from_miditoolkit(midi: Any) -> Score:
    """The score of a miditoolkit.MidiFile."""
    _library("miditoolkit")
    channels = _Channels()
    tracks = [
        _make_track(
            instrument,
            channels,
            ((n.start, n.pitch, n.end, n.velocity) for n in instrument.notes),
            [(c.time, c.number, c.value) for c in instrument.control_changes],
            [(b.time, b.pitch) for b in instrument.pitch_bends],
            [(pedal.start, pedal.end) for pedal in instrument.pedals],
        )
        for instrument in midi.instruments
    ]
    return _make_score(
        ticks_per_quarter=midi.ticks_per_beat,
        tracks=tracks,
        tempos=[Tempo(tempo.time, round(6e7 / tempo.tempo)) for tempo in midi.tempo_changes],
        meters=[Meter(m.time, m.numerator, m.denominator) for m in midi.time_signature_changes],
        keys=[_key_of_miditoolkit(key) for key in midi.key_signature_changes],
        markers=[Marker(marker.time, marker.text) for marker in midi.markers],
        events=[_text_event(lyric.time, _LYRIC, lyric.text) for lyric in midi.lyrics],
        length=max(0, midi.max_tick - 1),
    )


# --- symusic --------------------------------------------------------------------------------------------


def to_symusic(score: Score) -> Any:
    """The score as a symusic.Score in ticks."""
    symusic = _library("symusic")
    result = symusic.Score(score.ticks_per_quarter)
    result.tempos.extend([symusic.Tempo(tempo.tick, mspq=tempo.microseconds) for tempo in score.tempos])
    result.time_signatures.extend(
        [symusic.TimeSignature(meter.tick, meter.numerator, meter.denominator) for meter in score.meters]
    )
    result.key_signatures.extend([symusic.KeySignature(key.tick, key.fifths, int(key.minor)) for key in score.keys])
    result.markers.extend([symusic.TextMeta(marker.tick, marker.text) for marker in score.markers])
    loose_lyrics = list(_lyrics(score.events))
    for index, track in enumerate(score.tracks):
        part = symusic.Track(track.name, track.program, track.is_drum)
        part.notes.extend([symusic.Note(n.start, n.duration, n.pitch, n.velocity) for n in track.notes])
        part.controls.extend([symusic.ControlChange(*control) for control in _controls(track)])
        part.pedals.extend([symusic.Pedal(start, end - start) for start, end in _pedals(track)])
        part.pitch_bends.extend([symusic.PitchBend(*bend) for bend in _bends(track)])
        lyrics = sorted([*_lyrics(track.events), *(loose_lyrics if index == 0 else ())])
        part.lyrics.extend([symusic.TextMeta(tick, text) for tick, text in lyrics])
        result.tracks.append(part)
    return result


def from_symusic(score: Any) -> Score:
    """The score of a symusic.Score of any time unit."""
    symusic = _library("symusic")
    if score.ttype != symusic.TimeUnit.tick:
        score = score.to(symusic.TimeUnit.tick)
    channels, tracks = _Channels(), []
    for part in score.tracks:
        track = _make_track(
            part,
            channels,
            ((n.time, n.pitch, n.time + n.duration, n.velocity) for n in part.notes),
            [(c.time, c.number, c.value) for c in part.controls],
            [(b.time, b.value) for b in part.pitch_bends],
            [(pedal.time, pedal.time + pedal.duration) for pedal in part.pedals],
        )
        lyrics = [_text_event(lyric.time, _LYRIC, lyric.text) for lyric in part.lyrics]
        tracks.append(replace(track, events=tuple(sorted([*track.events, *lyrics], key=_tick))))
    return _make_score(
        ticks_per_quarter=score.ticks_per_quarter,
        tracks=tracks,
        tempos=[Tempo(tempo.time, tempo.mspq) for tempo in score.tempos],
        meters=[Meter(m.time, m.numerator, m.denominator) for m in score.time_signatures],
        keys=[KeySignature(key.time, key.key, bool(key.tonality)) for key in score.key_signatures],
        markers=[Marker(marker.time, marker.text) for marker in score.markers],
        length=score.end(),
    )


# --- what they share ------------------------------------------------------------------------------------


class _Channels:
    """Hands out channels to tracks that came without: 10 to drums, the others in turn to the rest."""

    def __init__(self) -> None:
        self._melodic: Iterator[int] = cycle(MELODIC_CHANNELS)

    def take(self, is_drum: bool) -> int:
        return DRUM_CHANNEL if is_drum else next(self._melodic)


def _make_track(
    instrument: Any,
    channels: _Channels,
    notes: Iterable[tuple[int, int, int, int]],
    controls: list[Control],
    bends: list[Bend],
    pedals: Iterable[tuple[int, int]] = (),
) -> Track:
    """A track from an object with `name`, `program` and `is_drum`; notes are (start, pitch, end, velocity).

    Pedals are another view of controller 64 in some libraries, and count where that is absent.
    """
    name, is_drum = str(instrument.name), bool(instrument.is_drum)
    channel = channels.take(is_drum)
    if not any(number == SUSTAIN for _, number, _ in controls):
        for start, end in pedals:
            controls = [*controls, (start, SUSTAIN, 127), (end, SUSTAIN, 0)]
    events = []
    for tick, number, value in controls:
        events.append(Event(tick, bytes((_CONTROL | channel, _clamp(number), _clamp(value)))))
    for tick, bend in bends:
        position = _clamp(bend + 8192, 0x3FFF)
        events.append(Event(tick, bytes((_BEND | channel, position & 0x7F, position >> 7))))
    kept = []
    for start, pitch, end, velocity in notes:
        if not 0 <= pitch <= 127 or start < 0:
            raise UserError(f'The track "{name}" holds a note that MIDI cannot: pitch {pitch} at tick {start}')
        kept.append(Note(int(start), int(pitch), max(1, int(end - start)), max(1, _clamp(velocity))))
    return Track(
        name=name,
        program=int(instrument.program),
        is_drum=is_drum,
        channel=channel,
        notes=tuple(sorted(kept)),
        events=tuple(sorted(events, key=_tick)),
    )


def _make_score(
    ticks_per_quarter: int,
    tracks: Iterable[Track],
    tempos: Iterable[Tempo],
    meters: Iterable[Meter],
    keys: Iterable[KeySignature],
    length: int,
    markers: Iterable[Marker] = (),
    events: Iterable[Event] = (),
) -> Score:
    return Score(
        ticks_per_quarter=int(ticks_per_quarter),
        tracks=tuple(tracks),
        tempos=tuple(sorted(tempos, key=_tick)),
        meters=tuple(sorted(meters, key=_tick)),
        keys=tuple(sorted(keys, key=_tick)),
        markers=tuple(sorted(markers, key=_tick)),
        events=tuple(sorted(events, key=_tick)),
        length=int(length),
    )


def _clamp(value: int, highest: int = 127) -> int:
    return min(highest, max(0, int(value)))


def _tick(item: Event | Tempo | Meter | KeySignature | Marker) -> int:
    return item.tick


def _controls(track: Track) -> Iterator[Control]:
    for tick, data in track.events:
        if data[0] & 0xF0 == _CONTROL:
            yield tick, data[1], data[2]


def _bends(track: Track) -> Iterator[Bend]:
    for tick, data in track.events:
        if data[0] & 0xF0 == _BEND:
            yield tick, (data[1] | data[2] << 7) - 8192


def _pedals(track: Track) -> Iterator[tuple[int, int]]:
    """(down, up) in ticks of the sustain pedal; one that is never lifted lasts to the last event."""
    down = None
    for tick, number, value in _controls(track):
        if number != SUSTAIN:
            continue
        if value >= 64 and down is None:
            down = tick
        elif value < 64 and down is not None:
            yield down, tick
            down = None
    if down is not None:
        yield down, max([down, *(note.end for note in track.notes), *(event.tick for event in track.events)])


def _texts(score: Score, kind: int) -> list[Text]:
    """The meta texts of one kind in the whole score, by tick."""
    groups = (score.events, *(track.events for track in score.tracks))
    return sorted(text for events in groups for text in _texts_of(events, kind))


def _lyrics(events: Iterable[Event]) -> Iterator[Text]:
    return _texts_of(events, _LYRIC)


def _texts_of(events: Iterable[Event], kind: int) -> Iterator[Text]:
    for tick, data in events:
        if data[:2] == bytes((0xFF, kind)):
            try:
                yield tick, data[2:].decode("utf-8")
            except UnicodeDecodeError:
                yield tick, data[2:].decode("latin-1")


def _text_event(tick: int, kind: int, text: str) -> Event:
    return Event(tick, bytes((0xFF, kind)) + text.encode("utf-8", "replace"))


def _from_zero(tempos: tuple[Tempo, ...]) -> tuple[Tempo, ...]:
    """The tempo map with the tempo at its start said."""
    if tempos and tempos[0].tick <= 0:
        return tempos
    return (Tempo(0, DEFAULT_TEMPO), *tempos)


def _mido_key(key: KeySignature) -> str:
    """The name that mido and miditoolkit have for a key signature: "Cb", "F#m"."""
    position = key.fifths + (4 if key.minor else 1)  # along the line of fifths, from F
    sharps = position // 7
    return f"{_LETTERS_BY_FIFTHS[position % 7]}{'#' * sharps}{'b' * -sharps}{'m' if key.minor else ''}"


def _key_of_miditoolkit(key: Any) -> KeySignature:
    """Its number says which key (12 and up are minor), its name how to spell it."""
    minor = key.key_number >= 12
    sign = {"#": 7, "b": -7}.get(key.key_name[1:2], 0)
    position = _LETTERS_BY_FIFTHS.index(key.key_name[0].upper()) + sign
    fifths = position - (4 if minor else 1)
    if abs(fifths) > 7:  # such as G# major, which has no signature
        fifths = Key(key.key_number % 12, "minor" if minor else "major").fifths
    return KeySignature(key.time, fifths, minor)
