"""The synth: MIDI in, blocks of audio out. Offline rendering and live play are the same code.

    synth = Synth(Bank.load(), parts=2)
    synth.schedule(0, part=0, message=bytes([0x90, 60, 100]))
    block = synth.block(480)          # (parts, 2, 480) dry, and (2, 480) of reverberation

Each part is a channel of its own. Notes start and end on their exact sample; controllers take effect on a
grid of CONTROL samples and glide, so that blocks of any size give the same samples.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from models.errors import UserError
from models.score import Score
from models.synth.mix import Reverb
from models.synth.network import Asked, Bank
from models.synth.sound import SAMPLE_RATE, Floats, numbers
from models.synth.voices import CACHE_BYTES, Tones, Voice

MOST_VOICES = 160  # sounding at once; beyond that the oldest give way
CONTROL = 240  # samples
MOST_SECONDS = 2 * 60 * 60  # of a score
TAIL = 12.0  # seconds of sound after the last event at most
TAIL_LEVEL = 10 ** (-90 / 20)
HATS = (42, 44, 46)  # drums of which only one sounds at a time
LOOK_AHEAD = 64  # messages
SHORTEST = SAMPLE_RATE // 50  # samples a note is held at least
LONG = 1 << 40
VIBRATO_HERTZ, VIBRATO_CENTS = 5.5, 50.0  # of the modulation wheel at its end
SEND = 0.16  # of every part's sound into the reverberation, at the default of controller 91
DEFAULT_SEND = 40

OFF, ON, PRESSURE, CONTROLLER, PROGRAM, CHANNEL_PRESSURE, BEND = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0


@dataclass(slots=True)
class Part:
    """The state of one channel."""

    is_drum: bool = False
    program: int = 0
    fixed: bool = False  # to its program, whatever messages say
    volume: int = 100
    expression: int = 127
    pan: int = 64
    send: int = DEFAULT_SEND
    modulation: int = 0
    pressure: int = 0
    sustain: bool = False
    bend: float = 0.0  # -1..1
    bend_range: float = 2.0  # semitones
    parameter: tuple[int, int] = (127, 127)  # registered parameter number that data entry means
    voices: list[Voice] = field(default_factory=list)
    gains: Floats = field(default_factory=lambda: np.zeros(3, dtype=np.float32))  # left, right, send
    target: Floats = field(default_factory=lambda: np.zeros(3, dtype=np.float32))  # gains a grid step later

    def wanted(self) -> Floats:
        """Where the gains have to go: the usual squares, and a pan of constant power."""
        level = (self.volume / 127) ** 2 * (self.expression / 127) ** 2
        angle = (max(0, self.pan - 1) / 126) * np.pi / 2
        send = level * SEND * self.send / DEFAULT_SEND
        return np.array([level * np.cos(angle), level * np.sin(angle), send], dtype=np.float32)

    def rate(self, seconds: float) -> float:
        """Steps through a tone a sample: bend and vibrato."""
        cents = self.bend * self.bend_range * 100
        depth = max(self.modulation, self.pressure) / 127 * VIBRATO_CENTS
        if depth:
            cents += depth * np.sin(2 * np.pi * VIBRATO_HERTZ * seconds)
        return 1.0 if cents == 0 else float(2 ** (cents / 1200))


class Synth:
    """Plays scheduled MIDI messages. Memory is bounded by the note cache and the tones of MOST_VOICES voices.

    ahead: tones that are computed a little further in each block, so that live play has no peaks of work.
    """

    def __init__(self, bank: Bank, parts: int, cache_bytes: int = CACHE_BYTES, ahead: int = 0) -> None:
        # In live play a block must not take long: notes are asked for one by one.
        self.tones = Tones(bank, cache_bytes, None if ahead else self._coming)
        self.parts = [Part() for _ in range(parts)]
        for part in self.parts:
            part.gains = part.target = part.wanted()
        self.time = 0  # samples given out so far
        self._reverb = Reverb()
        self._queue: list[tuple[int, int, int, bytes]] = []
        self._controls: list[int] = []  # when controllers change
        self._order = 0
        self._ahead = ahead

    def schedule(self, time: int, part: int, message: bytes) -> None:
        """Let a channel message happen in `part` at sample `time`; what is past happens as soon as it can."""
        if message[0] & 0xF0 in (CONTROLLER, CHANNEL_PRESSURE, BEND):
            time = max(time // CONTROL, -(-self.time // CONTROL)) * CONTROL
            heapq.heappush(self._controls, time)
        heapq.heappush(self._queue, (max(time, self.time), self._order, part, message))
        self._order += 1

    def _coming(self) -> list[Asked]:
        """The next notes, as far as programs do not change before them."""
        return [
            (self.parts[part].program, message[1], message[2], self.parts[part].is_drum)
            for _, _, part, message in heapq.nsmallest(LOOK_AHEAD, self._queue)
            if message[0] & 0xF0 == ON and message[2]
        ]

    @property
    def voices(self) -> int:
        return sum(len(part.voices) for part in self.parts)

    @property
    def scheduled(self) -> int:
        """Messages still to come."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        return not self._queue and not self.voices

    def block(self, count: int) -> tuple[Floats, Floats]:
        """The next `count` samples: each part dry (parts, 2, count), and the reverberation (2, count).

        Raises NotNumbers rather than give out what would be heard as silence.
        """
        dry = np.zeros((len(self.parts), 2, count), dtype=np.float32)
        sent = np.zeros(count, dtype=np.float32)
        done = 0
        while done < count:
            step = min(count - done, self._stop() - self.time)
            self._segment(dry[:, :, done : done + step], sent[done : done + step])
            done += step
        if self._ahead:
            self._work_ahead()
        return numbers(dry, "a mix"), numbers(self._reverb.process(sent), "a reverberation")

    def _stop(self) -> int:
        """The sample up to which nothing but notes can change; what changes at this sample has changed then."""
        self._run_until(self.time + 1)
        if self.time % CONTROL == 0:
            for part in self.parts:
                wanted = part.wanted()
                part.gains, part.target = part.target if self.time else wanted, wanted
        while self._controls and self._controls[0] <= self.time:
            heapq.heappop(self._controls)
        grid = (self.time // CONTROL + 1) * CONTROL
        if any(part.modulation or part.pressure or (part.gains != part.target).any() for part in self.parts):
            return grid
        return self._controls[0] if self._controls else self.time + LONG

    def _run_until(self, time: int) -> None:
        while self._queue and self._queue[0][0] < time:
            when, _, part, message = heapq.heappop(self._queue)
            self._handle(when, part, message)

    def _segment(self, dry: Floats, sent: Floats) -> None:
        count = dry.shape[2]
        end = self.time + count
        self._run_until(end)
        for index, part in enumerate(self.parts):
            if not part.voices:
                continue
            mono = np.zeros(count, dtype=np.float32)
            rate = part.rate(self.time // CONTROL * CONTROL / SAMPLE_RATE)
            for voice in part.voices:
                voice.add_to(mono, self.time, rate)
            part.voices = [voice for voice in part.voices if not voice.ended(end)]
            if (part.gains == part.target).all():
                dry[index, 0], dry[index, 1] = mono * part.gains[0], mono * part.gains[1]
                sent += mono * part.gains[2]
            else:
                share = (np.arange(self.time % CONTROL, self.time % CONTROL + count) / CONTROL).astype(np.float32)
                gains = part.gains[:, None] + (part.target - part.gains)[:, None] * share
                dry[index] = mono * gains[:2]
                sent += mono * gains[2]
        self.time = end

    def _work_ahead(self) -> None:
        tones = {voice.tone for part in self.parts for voice in part.voices if voice.short}
        for tone in sorted(tones, key=lambda tone: tone.ready)[: self._ahead]:
            tone.extend()

    # --- Messages -----------------------------------------------------------------------------------------

    def _handle(self, time: int, index: int, message: bytes) -> None:
        part, kind = self.parts[index], message[0] & 0xF0
        if kind == ON and message[2]:
            self._note_on(time, index, message[1], message[2])
        elif kind in (ON, OFF):
            for voice in part.voices:
                if voice.pitch == message[1] and voice.released is None and not voice.held_by_pedal:
                    voice.held_by_pedal = part.sustain
                    if not part.sustain:
                        voice.let_go(time)
                    break
        elif kind == CONTROLLER:
            self._control(time, part, message[1], message[2])
        elif kind == PROGRAM and not part.fixed:
            part.program = message[1]
        elif kind == CHANNEL_PRESSURE:
            part.pressure = message[1]
        elif kind == BEND:
            part.bend = ((message[2] << 7 | message[1]) - 8192) / 8192

    def _note_on(self, time: int, index: int, pitch: int, velocity: int) -> None:
        part = self.parts[index]
        for voice in part.voices:
            if voice.pitch == pitch and not voice.stolen and (voice.released is None or part.is_drum):
                voice.rings = False
                voice.let_go(time)  # a key is struck again: its string does not sound twice
        self._make_room(time)
        tone, release, gain = self.tones.get(part.program, pitch, velocity, part.is_drum)
        part.voices.append(Voice(pitch, time, gain, tone, release, part.is_drum))
        if part.is_drum and pitch in HATS:
            for voice in part.voices[:-1]:
                if voice.pitch in HATS:
                    voice.rings = False
                    voice.let_go(time)

    def _make_room(self, time: int) -> None:
        """Let a voice give way if there are too many: one that is let go already, else the one that began first."""
        # By what sounds at this sample, not by what has been cleared away: blocks of any size decide alike.
        sounding = [v for part in self.parts for v in part.voices if not v.stolen and not v.ended(time)]
        if len(sounding) >= MOST_VOICES:
            min(sounding, key=lambda voice: (voice.released is None, voice.start)).steal(time)

    def _control(self, time: int, part: Part, number: int, value: int) -> None:
        if number == 1:
            part.modulation = value
        elif number == 6 and part.parameter == (0, 0):
            part.bend_range = float(min(value, 24))
        elif number == 7:
            part.volume = value
        elif number == 10:
            part.pan = value
        elif number == 11:
            part.expression = value
        elif number == 64:
            part.sustain = value >= 64
            if not part.sustain:
                for voice in part.voices:
                    if voice.held_by_pedal:
                        voice.held_by_pedal = False
                        voice.let_go(time)
        elif number == 91:
            part.send = value
        elif number in (98, 99):
            part.parameter = (127, 127)
        elif number == 100:
            part.parameter = (part.parameter[0], value)
        elif number == 101:
            part.parameter = (value, part.parameter[1])
        elif number == 120:
            for voice in part.voices:
                voice.steal(time)
        elif number == 121:
            part.modulation = part.pressure = 0
            part.expression, part.bend, part.parameter = 127, 0.0, (127, 127)
            self._control(time, part, 64, 0)
        elif number == 123:
            for voice in part.voices:
                voice.let_go(time)


# --- Scores -------------------------------------------------------------------------------------------


def synth_for(
    score: Score,
    bank: Bank,
    cache_bytes: int = CACHE_BYTES,
    ahead: int = 0,
    programs: Mapping[int, int] | None = None,
) -> Synth:
    """A synth with one part a track and the whole score scheduled. UserError for what cannot be played.

    programs: tracks that play another program than the score says, such as one of bank.learned.
    """
    if score.last_note_start < 0:
        raise UserError("The file has no notes to play", "Choose a file with at least one note.")
    if score.seconds_at(score.end) > MOST_SECONDS:
        raise UserError(f"The piece is longer than {MOST_SECONDS // 3600} hours", "Split it and render one part.")
    synth = Synth(bank, len(score.tracks), cache_bytes, ahead)
    for index, track in enumerate(score.tracks):
        part = synth.parts[index]
        part.is_drum, part.program = track.is_drum, (programs or {}).get(index, track.program)
        part.fixed = index in (programs or {})
        for tick, data in track.events:
            if data[0] < 0xF0:
                synth.schedule(_sample(score, tick), index, data)
        for note in track.notes:
            start = _sample(score, note.start)
            synth.schedule(start, index, bytes([ON, note.pitch, max(1, note.velocity)]))
            # Never before its own start, and never at once: a note of no length still speaks.
            end = max(_sample(score, note.end), start + SHORTEST)
            synth.schedule(end, index, bytes([OFF, note.pitch, note.release]))
    return synth


def blocks(synth: Synth, count: int = 1 << 15) -> Iterator[tuple[Floats, Floats]]:
    """Blocks of everything that is scheduled and of what rings on after it, until that has died away."""
    tail = 0
    while True:
        waiting = not synth.idle
        dry, wet = synth.block(count)
        yield dry, wet
        if not synth.scheduled:
            tail += count
            heard = max(float(np.abs(dry).max(initial=0.0)), float(np.abs(wet).max(initial=0.0)))
            if tail > TAIL * SAMPLE_RATE or (not waiting and heard < TAIL_LEVEL):
                return


def _sample(score: Score, tick: int) -> int:
    return round(score.seconds_at(tick) * SAMPLE_RATE)
