"""Notes that sound: tones are shared through a cache, and a voice is one note's way through its tone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np

from models.synth.network import Asked, Bank, velocity_level
from models.synth.sound import SAMPLE_RATE, Floats, Sound, instrument_index
from models.synth.tone import STRETCH, Tone, seed_of

CACHE_BYTES = 256 << 20
VELOCITY_STEP = 4  # velocities are grouped by this many before the network is asked; levels stay exact
TOGETHER = 24  # notes that the network is asked for at a time
SILENT = -98.0  # dB at which a voice that was let go ends
LEAST_FADE = 24.0  # dB that it falls before that, at least
ENDLESS_RELEASE = 40.0  # dB a second, for what sustains and has no release of its own
OWN_RELEASE = 10.0  # dB a second from which on it has one
STEAL_SAMPLES = 240  # fade of a stolen voice
EASE = 192.0  # samples over which a release sets in


class Tones:
    """The note cache: tones by (program or drum key, pitch, velocity), the least recently used given up first.

    coming: notes that are about to be asked for; the network is asked for several of them together.
    """

    def __init__(
        self, bank: Bank, cache_bytes: int = CACHE_BYTES, coming: Callable[[], Iterable[Asked]] | None = None
    ) -> None:
        self._bank = bank
        self._most = cache_bytes
        self._coming = coming
        self._tones: OrderedDict[tuple[int, int, int], tuple[Tone, float]] = OrderedDict()
        self._sounds: dict[Asked, Sound] = {}

    def get(self, program: int, pitch: int, velocity: int, is_drum: bool) -> tuple[Tone, float, float]:
        """The tone of a note, its release in dB a second, and the gain that makes its velocity exact."""
        step = _step(velocity)
        index = instrument_index(program, pitch, is_drum)
        key = (index, pitch, step)
        found = self._tones.get(key)
        if found is None:
            sound = self._sound((program, pitch, step, is_drum))
            found = (Tone(sound, seed_of(index, pitch)), sound.release)
            if self._most:
                self._tones[key] = found
                self._shrink()
        else:
            self._tones.move_to_end(key)
        gain = 10 ** (float(velocity_level(velocity) - velocity_level(step)) / 20)
        return *found, gain

    def _sound(self, asked: Asked) -> Sound:
        if asked not in self._sounds:
            wanted = {asked: None}
            for program, pitch, velocity, is_drum in self._coming() if self._coming else ():
                wanted[program, pitch, _step(velocity), is_drum] = None
            together = [note for note in wanted if note == asked or not self._is_kept(note)][:TOGETHER]
            self._sounds = dict(zip(together, self._bank.sounds(together), strict=True))
        return self._sounds[asked] if self._most == 0 else self._sounds.pop(asked)

    def _is_kept(self, asked: Asked) -> bool:
        program, pitch, velocity, is_drum = asked
        return (instrument_index(program, pitch, is_drum), pitch, velocity) in self._tones

    def _shrink(self) -> None:
        total = sum(tone.nbytes for tone, _ in self._tones.values())
        while total > self._most and len(self._tones) > 1:
            _, (tone, _) = self._tones.popitem(last=False)
            total -= tone.nbytes

    def __len__(self) -> int:
        return len(self._tones)

    @property
    def nbytes(self) -> int:
        return sum(tone.nbytes for tone, _ in self._tones.values())


def _falling(start: float, count: int, rate: float) -> Floats:
    """Amplitudes of a straight fall of `rate` dB a sample, `start` samples after it began."""
    size = 128
    step = -rate * np.log(10) / 20
    fine = np.exp(step * np.arange(size)).astype(np.float32)
    coarse = np.exp(step * (start + np.arange(0, count, size))).astype(np.float32)
    return np.asarray((coarse[:, None] * fine).ravel()[:count])


def _step(velocity: int) -> int:
    return min(127, max(1, round(velocity / VELOCITY_STEP) * VELOCITY_STEP))


class Voice:
    """One sounding note. Times are samples since the synth began."""

    def __init__(self, pitch: int, start: int, gain: float, tone: Tone, release: float, rings: bool) -> None:
        self.pitch, self.start = pitch, start
        self.released: int | None = None
        self.held_by_pedal = False
        self.rings = rings  # a drum: letting go means nothing to it
        self.tone = tone
        self._gain = np.float32(gain)
        if tone.sustains and release < OWN_RELEASE:
            release = ENDLESS_RELEASE
        self._rate = max(release, 1e-3) / SAMPLE_RATE
        self._stolen: int | None = None
        self._fall = 0.0  # dB from where it was let go to silence
        self._place = 0.0
        self._straight = True  # every step so far was one sample, so that places are whole numbers

    def let_go(self, time: int) -> None:
        if self.released is None and not self.rings:
            self.released = max(time, self.start)
            level = self.tone.level(self.released - self.start) + 20 * np.log10(max(float(self._gain), 1e-6))
            self._fall = max(LEAST_FADE, level - SILENT)

    def steal(self, time: int) -> None:
        if self._stolen is None:
            self._stolen = time

    @property
    def stolen(self) -> bool:
        return self._stolen is not None

    @property
    def short(self) -> bool:
        """Whether its tone will soon have to be computed further."""
        return not self.tone.whole and self.tone.ready - self._place < 2 * STRETCH

    def ended(self, time: int) -> bool:
        """Whether nothing of it is left at `time`."""
        if self._stolen is not None and time >= self._stolen + STEAL_SAMPLES:
            return True
        if self.released is not None and (time - self.released - EASE / 2) * self._rate > self._fall:
            return True
        return self._place >= self.tone.end

    def add_to(self, mono: Floats, time: int, rate: float) -> None:
        """Add the samples from `time` on. rate: steps through the tone a sample; 1 is its own pitch."""
        first = max(0, self.start - time)
        count = len(mono) - first
        if count <= 0:
            return
        count = min(count, max(0, self._last_sample(time + first)))
        if count <= 0:
            return
        if rate == 1.0 and self._straight:
            place = int(self._place)
            samples = self.tone.read(place, count)
            self._place = place + count
        else:
            self._straight = False
            samples = self._warped(count, rate)
        samples = samples * self._gain
        time += first
        if self.released is not None and time + count > self.released:
            self._fade(samples, time)
        if self._stolen is not None:
            left = 1 - np.clip((np.arange(time, time + count) - self._stolen) / STEAL_SAMPLES, 0, 1)
            samples *= (left * left * (3 - 2 * left)).astype(np.float32)
        mono[first : first + count] += samples

    def _last_sample(self, time: int) -> int:
        """How many samples from `time` on there can be anything of it left to hear."""
        ends: list[float] = []
        if self._stolen is not None:
            ends.append(self._stolen + STEAL_SAMPLES)
        if self.released is not None:
            ends.append(self.released + EASE / 2 + self._fall / self._rate + 1)
        return int(min(ends) - time) + 1 if ends else 1 << 40

    def _fade(self, samples: Floats, time: int) -> None:
        assert self.released is not None
        begin = max(0, self.released - time)
        first, end = time + begin - self.released, time + len(samples) - self.released
        # The fall sets in over EASE samples, for a corner in the envelope can be heard.
        corner = int(np.clip(EASE - first, 0, end - first))
        since = np.arange(first, first + corner, dtype=np.float32)
        fade = np.empty(end - first, dtype=np.float32)
        fade[:corner] = np.exp(since * since * np.float32(-self._rate * np.log(10) / 40 / EASE))
        fade[corner:] = _falling(first + corner - EASE / 2, end - first - corner, self._rate)
        last = self._fall - (end - EASE / 2) * self._rate
        if last < 10:  # dB; to nothing at the end, which else would be a small step
            left = last + np.arange(len(fade), 0, -1, dtype=np.float32) * np.float32(self._rate)
            fade *= np.clip(left / 10, 0, 1)
        samples[begin:] *= fade

    def _warped(self, count: int, rate: float) -> Floats:
        """The tone read at another speed, by cubic interpolation (Catmull-Rom)."""
        places = self._place + rate * np.arange(count)
        self._place += rate * count
        whole = np.floor(places).astype(np.int64)
        share = (places - whole).astype(np.float32)
        begin = int(whole[0]) - 1
        source = self.tone.read(max(0, begin), int(whole[-1]) + 3 - max(0, begin))
        if begin < 0:
            source = np.concatenate([np.zeros(-begin, dtype=np.float32), source])
        at = whole - begin
        a, b, c, d = source[at - 1], source[at], source[at + 1], source[at + 2]
        return np.asarray(
            b + 0.5 * share * (c - a + share * (2 * a - 5 * b + 4 * c - d + share * (3 * (b - c) + d - a)))
        )
