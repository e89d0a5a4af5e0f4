"""Sound files as they come in: mono at 48 kHz, bounded, with what is wrong with them said.

Memory does not grow beyond MOST_SECONDS of mono samples (115 MB) and one block, whatever the file holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import UserError
from models.synth.sound import SAMPLE_RATE, Floats

MOST_SECONDS = 600.0
LEAST_SECONDS = 0.1
MOST_CHANNELS = 32
RATES = (4000, 768_000)
BLOCK = 1 << 16
SILENT = -70.0  # dB of the loudest sample
CLIPPED = 0.999  # of full scale
MOST_CLIPPED = 0.002  # share of samples from which it is said
KINDS = "WAV, FLAC, OGG, MP3 and AIFF"


@dataclass(frozen=True, slots=True)
class Recording:
    """samples: mono at SAMPLE_RATE. notes: what the user should know about them, a sentence each."""

    samples: Floats
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def read_recording(path: Path, most: float = MOST_SECONDS) -> Recording:
    """Read a sound file. UserError when it cannot be read, is longer than `most` seconds or silent."""
    import soundfile
    import soxr

    if path.is_dir():
        raise UserError(f"{path} is a folder", "Name a sound file in it.")
    try:
        with path.open("rb") as raw:
            if not raw.read(1):
                raise UserError(f"{path} is empty", "Record it again.")
        with soundfile.SoundFile(path) as file:
            rate, channels, told = file.samplerate, file.channels, file.frames
            if not RATES[0] <= rate <= RATES[1] or channels > MOST_CHANNELS:
                raise UserError(f"{path} has {channels} channels at {rate} Hz", "Export it as 48 kHz stereo.")
            if told > most * rate and told < 1 << 50:
                raise _too_long(path, most, told / rate)
            stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            parts: list[Floats] = []
            seen = clipped = 0
            peak, whole = 0.0, True
            while True:
                try:
                    block = file.read(BLOCK, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError:
                    whole = False  # cut off inside a compressed block; what came before is good
                    break
                if not len(block):
                    break
                if not np.isfinite(block).all():
                    raise UserError(f"{path} holds values that are no numbers", "Export it again.")
                seen += len(block)
                if seen > most * rate:
                    raise _too_long(path, most, None)
                top = float(np.abs(block).max())
                clipped += int((np.abs(block).max(axis=1) >= CLIPPED).sum())
                peak = max(peak, top)
                parts.append(stream.resample_chunk(np.ascontiguousarray(block.mean(axis=1))))
            parts.append(stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
            subtype = file.subtype
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}", "Name a sound file.") from error
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path} is no sound file that can be read", f"It can be {KINDS}.") from error
    samples = np.concatenate(parts)
    if seen < LEAST_SECONDS * rate:
        raise UserError(f"{path} holds less than a tenth of a second of sound", "Record it again.")
    if 20 * np.log10(peak + 1e-9) < SILENT:
        raise UserError(f"{path} is silent", "See whether the right microphone was recorded.")
    notes = _remarks(path, told if whole else -1, seen, clipped / seen, subtype)
    if not whole or _is_cut_off(path, subtype, seen, channels):
        notes = (*notes, f"{path.name} is cut off; what is there of it is used")
    return Recording(samples, notes)


def _too_long(path: Path, most: float, seconds: float | None) -> UserError:
    length = f"{seconds / 60:.0f} minutes long" if seconds else "too long"
    return UserError(f"{path} is {length}", f"Cut it into parts of {most / 60:g} minutes at most.")


def _remarks(path: Path, told: int, seen: int, clipped: float, subtype: str) -> tuple[str, ...]:
    notes = []
    if clipped > MOST_CLIPPED:
        notes.append(f"{path.name} is clipped ({clipped:.1%} of it); a quieter recording gives better notes")
    if subtype in ("PCM_U8", "PCM_S8", "ULAW", "ALAW"):
        notes.append(f"{path.name} has 8 bits only, and so a hiss of its own")
    return tuple(notes)


def _is_cut_off(path: Path, subtype: str, seen: int, channels: int) -> bool:
    """Whether the header of a WAV file promises more than the file holds."""
    sizes = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "PCM_U8": 1}
    with path.open("rb") as file:
        head = file.read(1 << 12)
    place = head.find(b"data")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE" or place < 0 or subtype not in sizes:
        return False
    promised = int.from_bytes(head[place + 4 : place + 8], "little")
    # Programs that write to a pipe leave a size that means nothing.
    return 0 < promised < 0xFFFFF000 and promised >= (seen + 2) * channels * sizes[subtype]
