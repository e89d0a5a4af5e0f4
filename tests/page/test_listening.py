"""The process that sounds things for the page: never silence in place of sound, and never another's sound."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from assistant.page_sound import Excerpt, Sounds, Speaker
from assistant.sound import WEIGHTS_VARIABLE
from models.errors import UserError
from models.midi_file import write_midi
from models.score import Note, Score, Track
from models.synth.network import MODEL_FILE, WEIGHTS
from models.synth.sound import SAMPLE_RATE


def piece(pitch: int, bars: int = 2) -> Score:
    return Score(tracks=(Track(notes=tuple(Note(start, pitch, 300, 90) for start in range(0, bars * 1920, 480))),))


def excerpt(score: Score) -> Excerpt:
    return Excerpt(write_midi(score))


async def heard(sounds: Sounds, score: Score) -> bytes:
    async with aclosing(sounds.listen(excerpt(score))) as blocks:
        return b"".join([block async for block in blocks])


def apart(work: Coroutine[Any, Any, None]) -> None:
    """Run it in a thread of its own: the browser's tests leave a loop running in this one."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, work).result()


def alike(left: bytes, right: bytes) -> bool:
    """Whether two sounds are the same; with other threads the last bit of a sample may be another."""
    samples = [np.frombuffer(sound, dtype="<i2").astype(int) for sound in (left, right)]
    return len(left) == len(right) and int(np.abs(samples[0] - samples[1]).max()) <= 2


def test_who_leaves_takes_nothing_from_who_comes() -> None:
    """However a listener is called off, the next one hears its own sound, whole, from the same process."""
    expected = b"".join(Speaker().samples(piece(72), 0, None))

    async def leave(sounds: Sounds, blocks: int, cancels: int, begun: asyncio.Event) -> None:
        async with aclosing(sounds.listen(excerpt(piece(48, 60)))) as listening:
            if not cancels:  # it reads some, and closes
                for _ in range(blocks):
                    await anext(listening)
                begun.set()
                return

            async def listen() -> None:
                for _ in range(blocks):
                    await anext(listening)
                begun.set()
                while True:
                    await anext(listening)

            task = asyncio.create_task(listen())
            await begun.wait()
            await asyncio.sleep(0.003 * cancels)
            while not task.done():  # as a web server does, again and again until it has ended
                task.cancel()
                await asyncio.sleep(0)
            assert task.cancelled()

    async def run() -> None:
        sounds = Sounds()
        try:
            for blocks, cancels in ((0, 1), (1, 0), (1, 1), (0, 9), (2, 2), (1, 5), (3, 3)):
                begun = asyncio.Event()
                leaving = asyncio.create_task(leave(sounds, blocks, cancels, begun))
                await begun.wait()
                assert alike(await heard(sounds, piece(72)), expected)
                await leaving
        finally:
            await sounds.close()

    apart(run())


def broken_weights(folder: Path) -> Path:
    """The weights that ship, but for one output of the network that is no number."""
    tensors = load_file(WEIGHTS / MODEL_FILE)
    tensors["bias"][17] = np.nan
    save_file(tensors, folder / MODEL_FILE)
    (folder / "config.json").write_bytes((WEIGHTS / "config.json").read_bytes())
    return folder


def test_no_numbers_are_an_error_and_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def run() -> None:
        sounds = Sounds()
        try:
            monkeypatch.setenv(WEIGHTS_VARIABLE, str(broken_weights(tmp_path)))
            with pytest.raises(UserError, match="is not made of numbers"):
                await heard(sounds, piece(60))
            assert "the timbre of a note that is not made of numbers; trying once more" in capfd.readouterr().err
            # What was broken is gone with its process.
            monkeypatch.delenv(WEIGHTS_VARIABLE)
            samples = np.frombuffer(await heard(sounds, piece(60)), dtype="<i2")
            assert np.abs(samples).max() > 1000 and len(samples) > 4 * 2 * SAMPLE_RATE
        finally:
            await sounds.close()

    apart(run())
