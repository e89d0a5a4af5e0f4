"""`descant render` and `descant play`: a score as a sound file, and out of the loudspeakers.

A recording is made in two passes: the synth's blocks go to a temporary file while their loudness is measured,
then they are brought to the loudness asked for, limited, resampled and written. Memory does not grow with
the length of the piece: the note cache (256 MB at most), one block of every track, and little else.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from assistant.instruments import Choices, chosen
from assistant.outputs import check_outputs, write_all
from assistant.overview import clock, printable
from assistant.playback import FluidSynth
from models.errors import UserError
from models.midi_file import read_midi
from models.score import Score
from models.synth.mix import Limiter, LoudnessMeter
from models.synth.network import Bank
from models.synth.render import blocks, synth_for
from models.synth.sound import SAMPLE_RATE, Floats

SUFFIXES = {".wav": "WAV", ".flac": "FLAC"}
BLOCK = 1 << 15  # samples
MOST_GAIN = 40.0  # dB that a quiet piece is made louder
PLAY_GAIN = 10 ** (6 / 20)  # what is played at once cannot be measured first
PROBE_SECONDS = 30.0
WEIGHTS_VARIABLE = "DESCANT_SYNTH_WEIGHTS"


def render(arguments: Namespace) -> None:
    """`descant render`."""
    check_sound_file(arguments.output, arguments)
    if arguments.stems and arguments.synth == "soundfont":
        raise UserError("Only the neural synth writes stems", "Leave --stems out, or --synth soundfont.")
    if arguments.instrument and arguments.synth == "soundfont":
        raise UserError("Only the neural synth plays your own instruments", "Leave --synth soundfont out.")
    source = read_midi(arguments.input)
    for warning in source.warnings[:3]:
        print(f"note: {printable(warning)}", flush=True)
    paths = record(
        source.score,
        arguments.output,
        loudness=arguments.loudness,
        rate=arguments.rate,
        stems=arguments.stems,
        font=FluidSynth.find(arguments.soundfont) if arguments.synth == "soundfont" else None,
        force=arguments.force,
        source=arguments.input,
        instruments=arguments.instrument,
    )
    print(f"the sound is in {paths[0]}" + (f", {len(paths) - 1} stems in {arguments.stems}" if paths[1:] else ""))


def play(arguments: Namespace) -> None:
    """`descant play`: through the sound card; without one, to a file beside the input."""
    if arguments.output:
        check_sound_file(arguments.output, arguments)
    font = FluidSynth.find(arguments.soundfont) if arguments.synth == "soundfont" else None
    source = read_midi(arguments.input)
    for warning in source.warnings[:3]:
        print(f"note: {printable(warning)}", flush=True)
    target: Path = arguments.output or arguments.input.with_suffix(".wav")
    if not arguments.output:
        print(f"playing {arguments.input}, {clock(source.score.seconds_at(source.score.end))}", flush=True)
        if font.play(source.score) if font else sound_out(source.score):
            return
        print("there is no sound card to play it with; writing a WAV file", flush=True)
        check_sound_file(target, arguments)
    record(source.score, target, font=font, force=arguments.force, source=arguments.input)
    print(f"the sound is in {target}")


def bank() -> Bank:
    """The weights that ship, or those of the folder that an environment variable names."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    return Bank.load(Path(folder)) if folder else Bank.load()


def record(
    score: Score,
    path: Path,
    *,
    loudness: float = -16.0,
    rate: int = SAMPLE_RATE,
    stems: Path | None = None,
    font: FluidSynth | None = None,
    force: bool = False,
    source: Path | None = None,
    instruments: Choices = (),
) -> list[Path]:
    """Write a score as a 24-bit WAV or FLAC file, whole or not at all; returns the files, the mix first.

    loudness: LUFS of the whole piece, true peaks kept below -1 dBTP. rate: samples a second. stems: a folder
    for every track by itself and the reverberation, which add up to the mix before its peaks are limited.
    font: FluidSynth in place of the neural synth. instruments: tracks that are played by the user's own, (track,
    instrument) each. Raises UserError for a score that cannot be played and files that cannot be written.
    """
    names = [path]
    if stems is not None:
        names += [stems / f"{name}{path.suffix}" for name in _stem_names(score)]
        if stems.exists() and not stems.is_dir():
            raise UserError(f"{stems} is not a folder", "Name a folder with --stems.")
        check_outputs([path], source or Path(), force)
    sound = _rendered(score, instruments) if font is None else _by_fluidsynth(score, font)
    write_sound(sound, names, loudness=loudness, rate=rate, stems=stems, force=force)
    return names


def write_sound(
    sound: Iterator[list[Floats]],
    names: list[Path],
    *,
    loudness: float = -16.0,
    rate: int = SAMPLE_RATE,
    stems: Path | None = None,
    force: bool = False,
) -> None:
    """Write blocks of sound, (2, samples) for each of `names`, all files or none; the first is the mix.

    loudness, rate, stems: as for `record`. Raises UserError for files that cannot be written.
    """
    path = names[0]
    with ExitStack() as stack:
        try:
            files: list[IO[bytes]] = [stack.enter_context(tempfile.TemporaryFile()) for _ in names]
            meter = LoudnessMeter()
            for block in sound:
                meter.add(block[0])
                for file, samples in zip(files, block, strict=False):
                    file.write(np.ascontiguousarray(samples.T, dtype="<f4").tobytes())
            measured = meter.loudness()
            gain = 10 ** (min(loudness - measured, MOST_GAIN) / 20) if np.isfinite(measured) else 1.0
            made = _make_folder(stems) if stems is not None else False
            try:
                writers = [
                    (name, partial(_write, file, gain, rate, name == path))
                    for name, file in zip(names, files, strict=True)
                ]
                write_all(writers, force)
            except BaseException:
                if made and stems is not None:
                    with suppress(OSError):
                        stems.rmdir()
                raise
        except OSError as error:
            hint = "Make room on the disk, or choose another folder."
            raise UserError(f"Cannot write {path}: {error.strerror or error}", hint) from error


def _rendered(score: Score, instruments: Choices) -> Iterator[list[Floats]]:
    """Blocks of the mix, of each track with notes, and of the reverberation; (2, samples) each."""
    heard = [index for index, track in enumerate(score.tracks) if track.notes]
    synth, programs = chosen(score, instruments, bank()) if instruments else (bank(), {})
    for dry, wet in blocks(synth_for(score, synth, programs=programs), BLOCK):
        yield [dry.sum(axis=0) + wet, *(dry[index] for index in heard), wet]


def _by_fluidsynth(score: Score, font: FluidSynth) -> Iterator[list[Floats]]:
    import soundfile
    import soxr

    with tempfile.TemporaryDirectory(prefix="descant-") as folder:
        made = Path(folder) / "sound.wav"
        font.render(score, made)
        with soundfile.SoundFile(made) as sound:
            stream = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 2, dtype="float32")
            left = sound.frames
            while left > 0:
                part = sound.read(BLOCK, dtype="float32", always_2d=True)
                left -= len(part)
                yield [stream.resample_chunk(part, last=left <= 0 or not len(part)).T]
                if not len(part):
                    return


def _write(file: IO[bytes], gain: float, rate: int, limited: bool, path: Path) -> None:
    """A temporary file of stereo float samples as a finished sound file at `path`."""
    import soundfile

    draft = path.parent / f".descant-{secrets.token_hex(8)}{path.suffix}"
    try:
        form = SUFFIXES[path.suffix.lower()]
        with soundfile.SoundFile(draft, "w", rate, 2, subtype="PCM_24", format=form) as sound:
            for samples in _at_rate(_finished(file, gain, limited), rate):
                sound.write(np.clip(samples, -1, 1))
        os.replace(draft, path)
    except soundfile.LibsndfileError as error:
        raise OSError(f"{path}: {error}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _finished(file: IO[bytes], gain: float, limited: bool) -> Iterator[Floats]:
    """(samples, 2), made louder and limited, as long as what went in."""
    file.seek(0)
    limiter = Limiter()
    skip = Limiter.delay if limited else 0
    while data := file.read(BLOCK * 8):
        samples = np.frombuffer(data, dtype="<f4").reshape(-1, 2) * np.float32(gain)
        if limited:
            samples = limiter.process(samples.T).T
            skip, samples = max(0, skip - len(samples)), samples[skip:]
        yield samples
    if limited:
        yield limiter.flush().T[skip:]


def _at_rate(parts: Iterator[Floats], rate: int) -> Iterator[Floats]:
    if rate == SAMPLE_RATE:
        yield from parts
        return
    import soxr

    stream = soxr.ResampleStream(SAMPLE_RATE, rate, 2, dtype="float32")
    for part in parts:
        yield stream.resample_chunk(np.ascontiguousarray(part))
    yield stream.resample_chunk(np.zeros((0, 2), dtype=np.float32), last=True)


def _stem_names(score: Score) -> list[str]:
    names = []
    for number, track in enumerate(score.tracks, start=1):
        if track.notes:
            plain = re.sub(r"[^\w \-]+", "", printable(track.name)).strip()[:40]
            names.append(f"{number:02d} {plain}".strip())
    return [*names, "reverb"]


def _make_folder(folder: Path) -> bool:
    """Make a folder if it is not there; True when it was made."""
    if folder.is_dir():
        return False
    try:
        folder.mkdir()
    except OSError as error:
        raise UserError(f"Cannot make the folder {folder}: {error.strerror}", "Choose another name.") from error
    return True


def check_sound_file(path: Path, arguments: Namespace) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path.name} does not end in .wav or .flac", f"Name it {path.stem or 'sound'}.wav.")
    check_outputs([path], arguments.input, arguments.force)


# --- The sound card -----------------------------------------------------------------------------------


_PROBE = f"import sounddevice; sounddevice.check_output_settings(channels=2, samplerate={SAMPLE_RATE})"


def sound_out(score: Score) -> bool:
    """Play a score and return when it has ended; False when there is no sound card to do it with."""
    synth = synth_for(score, bank(), ahead=4)
    if not _has_sound_card():
        return False
    import sounddevice

    limiter = Limiter()
    try:
        stream = sounddevice.OutputStream(samplerate=SAMPLE_RATE, channels=2, dtype="float32", latency="high")
        with stream:
            for dry, wet in blocks(synth, 1920):
                stream.write(np.ascontiguousarray(limiter.process((dry.sum(axis=0) + wet) * PLAY_GAIN).T))
            stream.write(np.ascontiguousarray(limiter.flush().T))
    except sounddevice.PortAudioError as error:
        hint = "See whether another program holds it, or write a file: descant render"
        raise UserError(f"The sound card stopped: {error.args[0]}", hint) from error
    return True


def _has_sound_card() -> bool:
    """Asked in a process of its own, for PortAudio ends the program that asks where sound is set up badly."""
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
