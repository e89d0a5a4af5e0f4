"""What the page plays: a piece from any place on, sounded by the neural synth in a process of its own.

    Sounds.listen ─► `python -P -m assistant.page_sound` ─► 16-bit stereo samples, block by block

The process keeps the tones it has made, so the second candidate of a proposal takes a fraction of the time of the
first. What is short is measured before its first sample leaves, so that candidates are equally loud; of what is
long only the beginning is. A listener that reads slowly makes it wait; one that leaves stops it.

What cannot be sounded is an error, never silence: the synth refuses numbers that are none (models/synth/sound.py),
and then its process ends, with all that it has kept, and the next one tries once more.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from asyncio.subprocess import PIPE, Process
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from assistant.worker import Message, pack, read_message
from models.errors import UserError
from models.score import Score

if TYPE_CHECKING:
    from models.synth.sound import Floats
    from models.synth.voices import Tones

ROOT = Path(__file__).resolve().parents[1]
LOUDNESS = -18.0  # LUFS of everything that is heard on the page
MOST_GAIN = 40.0  # dB
MEASURED_WHOLE = 90.0  # seconds of music up to which all of it is measured before it is heard
MEASURED_START = 6.0  # seconds that are measured of longer music
RINGS_ON = 1.5  # seconds after the last note that may be heard
FADE = 0.3  # seconds, at its end
HELD = 0.25  # seconds that a note from before the beginning has to go on to be struck there
BLOCK = 1 << 13  # samples
PATIENCE = 5.0  # seconds in which a process has to leave a job that was called off
TRIES = 2  # for a sound of which nothing has been heard yet
GONE = UserError("The synth ended unexpectedly", "Play it once more.")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What is to be heard: MIDI from one tick to another (None: the end), without the tracks that are silent
    (from 0)."""

    midi: bytes
    begin: int = 0
    end: int | None = None
    silent: tuple[int, ...] = ()


class Broken(UserError):
    """The synth computed what are no numbers."""


class Sounds:
    """The synth as the server sees it. Its process starts with the first listener."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._jobs = 0
        self._coming: asyncio.Task[tuple[Message, bytes]] | None = None

    async def close(self) -> None:
        process, self._process = self._process, None
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        if process and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def listen(self, excerpt: Excerpt) -> AsyncGenerator[bytes, None]:
        """Little-endian 16-bit stereo samples at 48 kHz. Raises UserError for what cannot be played.

        One is made at a time; the next waits until the one before has ended or was left.
        """
        asked = {
            "do": "play",
            "midi": b64encode(excerpt.midi).decode(),
            "begin": excerpt.begin,
            "end": excerpt.end,
            "silent": list(excerpt.silent),
        }
        async with self._turn:
            for tried in range(1, TRIES + 1):
                heard = False
                try:
                    async with aclosing(self._samples(asked)) as blocks:
                        async for samples in blocks:
                            heard = True
                            yield samples
                    return
                except Broken as error:
                    if heard or tried == TRIES:
                        raise UserError(error.message, error.hint) from error
                    print(f"descant: {error.message}; trying once more", file=sys.stderr, flush=True)

    async def _samples(self, asked: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """What the process answers to one job. It is left without a job, or not at all."""
        self._jobs += 1
        job, process = self._jobs, await self._running()
        assert process.stdin is not None  # it was started with pipes
        ended = False
        try:
            process.stdin.write(pack({**asked, "job": job}))
            await process.stdin.drain()
            while True:
                message, samples = await self._receive(process)
                if message["job"] != job:
                    continue
                ended = message["type"] != "sound"
                if message["type"] == "failed":
                    if message["broken"]:
                        await self.close()
                    raise (Broken if message["broken"] else UserError)(message["message"], message["hint"])
                if ended:
                    return
                yield samples
        except (OSError, asyncio.IncompleteReadError) as error:
            ended = True
            await self.close()
            raise GONE from error
        finally:
            if not ended:
                await _whatever_happens(self._stop(process, job))

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await _start()
        return self._process

    async def _stop(self, process: Process, job: int) -> None:
        """Call a job off and read what is left of it. A process that goes on all the same is ended."""
        try:
            async with asyncio.timeout(PATIENCE):
                assert process.stdin is not None
                process.stdin.write(pack({"do": "stop", "job": job}))
                await process.stdin.drain()
                while True:
                    message, _ = await self._receive(process)
                    if message["job"] == job and message["type"] != "sound":
                        return
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            await self.close()

    async def _receive(self, process: Process) -> tuple[Message, bytes]:
        """The next message. Whoever is called off while it comes leaves the rest of it to who reads next."""
        coming = self._coming = self._coming or asyncio.create_task(_receive(process))
        try:
            return await asyncio.shield(coming)
        finally:
            if coming.done() and self._coming is coming:
                self._coming = None


async def _whatever_happens(work: Coroutine[Any, Any, None]) -> None:
    """Wait until work has ended, even if the task that waits is cancelled, over and over: else the next listener
    would read beside it."""
    task, cancelled = asyncio.create_task(work), False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def _receive(process: Process) -> tuple[Message, bytes]:
    assert process.stdout is not None
    size = int.from_bytes(await process.stdout.readexactly(4), "big")
    message: Message = json.loads(await process.stdout.readexactly(size))
    return message, await process.stdout.readexactly(message["bytes"])


async def _start() -> Process:
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
    )
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "assistant.page_sound"),
        stdin=PIPE,
        stdout=PIPE,
        env={**os.environ, **threads, "PYTHONPATH": paths},
    )


# --- In the process -----------------------------------------------------------------------------------


def excerpt_of(score: Score, begin: int, end: int | None, silent: Sequence[int] = ()) -> Score:
    """The score from tick `begin` to `end`, moved to its start. Controllers stand as they stood there, and notes
    that still sound are struck again."""
    from models.score import Event, Tempo

    least = score.seconds_at(begin) + HELD
    tracks = []
    for index, track in enumerate(score.tracks):
        notes = []
        for note in track.notes if index not in silent else ():
            if note.start >= (score.end + 1 if end is None else end):
                continue
            if note.start >= begin:
                notes.append(note._replace(start=note.start - begin))
            elif score.seconds_at(note.end) > least:
                notes.append(note._replace(start=0, duration=note.end - begin))
        events = tuple(
            Event(max(0, event.tick - begin), event.data)
            for event in track.events
            if end is None or event.tick < end
        )
        tracks.append(replace(track, notes=(), events=events).with_notes(notes))
    tempos = [Tempo(0, score.tempo_at(begin).microseconds)]
    tempos += [tempo._replace(tick=tempo.tick - begin) for tempo in score.tempos if tempo.tick > begin]
    return Score(ticks_per_quarter=score.ticks_per_quarter, tracks=tuple(tracks), tempos=tuple(tempos))


class Speaker:
    """Makes samples of excerpts; the tones stay from one to the next."""

    def __init__(self) -> None:
        from assistant.sound import bank

        self._bank = bank()
        self._tones: Tones | None = None

    def samples(self, score: Score, begin: int, end: int | None, silent: Sequence[int] = ()) -> Iterator[bytes]:
        """Blocks of 16-bit stereo, brought to LOUDNESS. Raises UserError for what cannot be played."""
        import numpy as np

        from models.synth.mix import Limiter, LoudnessMeter
        from models.synth.sound import SAMPLE_RATE

        heard = excerpt_of(score, begin, end, silent)
        last = score.end if end is None else end
        seconds = score.seconds_at(last) - score.seconds_at(begin)
        least = MEASURED_WHOLE if seconds <= MEASURED_WHOLE else MEASURED_START
        blocks = self._blocks(heard, round((seconds + RINGS_ON) * SAMPLE_RATE))
        meter, first = LoudnessMeter(), []
        for block in blocks:
            meter.add(block)
            first.append(block)
            if len(first) * BLOCK >= least * SAMPLE_RATE and np.isfinite(meter.loudness()):
                break
        measured = meter.loudness()
        gain = 10 ** (min(LOUDNESS - measured, MOST_GAIN) / 20) if np.isfinite(measured) else 1.0
        limiter, skip = Limiter(), Limiter.delay

        def finished(block: Floats) -> bytes:
            nonlocal skip
            left = block[:, skip:]
            skip = max(0, skip - block.shape[1])
            return (np.clip(left.T, -1, 1) * 32767).astype("<i2").tobytes()

        def more() -> Iterator[Floats]:
            yield from first
            first.clear()
            yield from blocks

        for block in more():
            yield finished(limiter.process(block * np.float32(gain)))
        yield finished(limiter.flush())

    def _blocks(self, score: Score, most: int) -> Iterator[Floats]:
        """The mix, (2, BLOCK) at a time, faded out over the last FADE seconds of `most` samples."""
        import numpy as np

        from models.synth.render import blocks, synth_for
        from models.synth.sound import SAMPLE_RATE

        if score.last_note_start < 0:
            yield np.zeros((2, most), dtype=np.float32)
            return
        synth = synth_for(score, self._bank)
        if self._tones is None:
            self._tones = synth.tones
        synth.tones = self._tones
        done, fade = 0, round(FADE * SAMPLE_RATE)
        for dry, wet in blocks(synth, BLOCK):
            block = (dry.sum(axis=0) + wet)[:, : most - done]
            left = most - done - np.arange(block.shape[1])
            yield np.asarray(block * np.minimum(1.0, left / fade), dtype=np.float32)
            done += block.shape[1]
            if done >= most:
                return


class Worker:
    """Reads what to play from one byte stream and writes sound to another, one job after the other."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        import queue

        self._source, self._sink = source, sink
        self._asked: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stopped = 0  # the last job that was called off

    def run(self) -> None:
        from models.synth.sound import NotNumbers

        threading.Thread(target=self._read, daemon=True).start()
        speaker: Speaker | None = None
        while True:
            asked = self._asked.get()
            try:
                speaker = speaker or Speaker()
                self._play(speaker, asked)
                self._send(asked, "ended")
            except Exception as error:
                hint = error.hint if isinstance(error, UserError) else "Please report it with this line."
                message = error.message if isinstance(error, UserError) else f"The synth failed: {error}"
                broken = isinstance(error, NotNumbers)
                self._send(asked, "failed", message=message, hint=hint, broken=broken)
                if broken:  # nothing that it keeps can be believed any more
                    os._exit(1)

    def _play(self, speaker: Speaker, asked: Message) -> None:
        from models.midi_file import read_midi

        if self._stopped >= asked["job"]:
            return
        score = read_midi(b64decode(asked["midi"])).score
        for samples in speaker.samples(score, asked["begin"], asked["end"], asked["silent"]):
            if self._stopped >= asked["job"]:
                return
            if samples:
                self._send(asked, "sound", samples)

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            while message := read_message(self._source):
                if message["do"] == "stop":
                    self._stopped = message["job"]
                else:
                    self._asked.put(message)
        os._exit(0)  # the server is gone

    def _send(self, asked: Message, what: str, samples: bytes = b"", **more: Any) -> None:
        message = {"type": what, "job": asked["job"], "bytes": len(samples), **more}
        try:
            self._sink.write(pack(message) + samples)
            self._sink.flush()
        except OSError:
            os._exit(0)


def main() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server too, which ends this process
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    Worker(sys.stdin.buffer, sink).run()


if __name__ == "__main__":
    main()
