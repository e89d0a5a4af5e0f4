"""MIDI as sound through FluidSynth, an external program that is never trusted with time, memory or disk.

It gets a copy of the piece that our own reader and writer have been through, runs as a child process with
limits on all three, and is judged by what it left behind: its exit status is 0 even when it failed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from models.errors import UserError
from models.midi_file import save_midi
from models.score import Score

MOST_SECONDS = 2 * 60 * 60  # of music; as a WAV file 1.3 GB
MEMORY = 2 << 30  # bytes of address space on POSIX systems
MARGIN = 60.0  # seconds beyond the music that FluidSynth may take, to load a sound font and fade out
SAMPLE_RATE = 44_100
FRAME_BYTES = 4  # 16-bit stereo
LOG_BYTES = 256 << 20  # what it may write to any file but a WAV file of its own
GAIN = "0.5"

_INSTALL = {
    "linux": "Install it, on Debian and Ubuntu: sudo apt install fluidsynth fluid-soundfont-gm",
    "darwin": "Install it with Homebrew: brew install fluid-synth",
    "win32": "Install it with Chocolatey, choco install fluidsynth, or from fluidsynth.org.",
}
_FONT_HINT = "Install one (Debian and Ubuntu: fluid-soundfont-gm), or name a file with --soundfont."
_PREFERRED = ("default", "fluidr3_gm", "musescore_general", "generaluser", "gm")  # in names, best first


@dataclass(frozen=True, slots=True)
class FluidSynth:
    """The program, and the sound font it plays with."""

    program: str
    font: Path

    @classmethod
    def find(cls, soundfont: Path | None = None) -> FluidSynth:
        """What is installed. UserError, with how to install it, when something is missing.

        soundfont: an .sf2 or .sf3 file to use in place of one that is installed.
        """
        program = shutil.which("fluidsynth")
        if program is None:
            hint = _INSTALL.get(sys.platform, "Install it from fluidsynth.org.")
            raise UserError("FluidSynth, which makes the sound, is not installed", hint)
        return cls(program, _find_soundfont(soundfont).resolve())

    def play(self, score: Score) -> bool:
        """Sound the score and return when it has ended; False when there is no sound card to do it with.

        Raises UserError for a score without notes or of more than two hours, and when FluidSynth fails.
        """
        with _clean_copy(score) as piece:
            status, log = _run(self._command(piece), _time_limit(score), LOG_BYTES)
        if "Failed to create the audio driver" in log:
            return False
        _check(status, log)
        return True

    def render(self, score: Score, path: Path) -> None:
        """Write the score as a WAV file (16-bit stereo, 44.1 kHz), whole or not at all. Raises as `play` does."""
        draft = path.parent / f".descant-{secrets.token_hex(8)}.wav"
        room = int(_time_limit(score) * SAMPLE_RATE * FRAME_BYTES)
        form = ["-F", str(draft), "-T", "wav", "-O", "s16", "-r", str(SAMPLE_RATE)]
        try:
            with _clean_copy(score) as piece:
                _check(*_run(self._command(piece, *form), _time_limit(score), max(room, LOG_BYTES)))
            with wave.open(str(draft), "rb") as sound:
                if not sound.getnframes():
                    raise EOFError("it is empty")
            os.replace(draft, path)
        except (OSError, EOFError, wave.Error) as error:
            raise UserError(f"FluidSynth could not write {path}: {error}", "Choose another folder.") from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _command(self, piece: Path, *form: str) -> list[str]:
        # No MIDI input, no shell of its own, few messages.
        return [self.program, "-n", "-i", "-q", "-g", GAIN, *form, str(self.font), str(piece)]


def _time_limit(score: Score) -> float:
    return score.seconds_at(score.end) + MARGIN


@contextmanager
def _clean_copy(score: Score) -> Iterator[Path]:
    """The score as a file of our own making, for as long as the context lasts. UserError if it cannot sound."""
    if score.last_note_start < 0:
        raise UserError("The file has no notes to play", "Choose a file with at least one note.")
    if score.seconds_at(score.end) > MOST_SECONDS:
        hint = "Split the piece and play one part."
        raise UserError(f"The piece is longer than {MOST_SECONDS // 3600} hours", hint)
    with tempfile.TemporaryDirectory(prefix="descant-") as folder:
        piece = Path(folder) / "piece.mid"
        save_midi(score, piece)
        yield piece


def _check(status: int, log: str) -> None:
    """Raise UserError when FluidSynth's exit status or messages tell of a failure."""
    if "Failed to load the SoundFont" in log or "not a SoundFont" in log:
        raise UserError("FluidSynth could not load the sound font", "Name another with --soundfont.")
    if status != 0:
        said = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), f"status {status}")
        hint = "See whether `fluidsynth` works by itself; it may have to be installed again."
        raise UserError(f"FluidSynth stopped: {said}", hint)


# --- Sound fonts --------------------------------------------------------------------------------------


def _find_soundfont(asked: Path | None) -> Path:
    if asked is not None:
        try:
            with open(asked, "rb") as file:
                start = file.read(12)
        except OSError as error:
            raise UserError(f"Cannot read {asked}: {error.strerror}", "Check the name and the folder.") from error
        if start[:4] != b"RIFF" or start[8:] != b"sfbk":
            raise UserError(f"{asked} is not a sound font", "Name an .sf2 or .sf3 file.")
        return asked
    fonts = [path for folder in _font_folders() for path in _fonts_in(folder)]
    if not fonts:
        raise UserError("No General MIDI sound font was found", _FONT_HINT)
    return min(fonts, key=_rank)


def _font_folders() -> list[Path]:
    """Where packages and people put sound fonts, on every system."""
    home = Path.home()
    folders = [
        home / ".local/share/soundfonts",
        home / ".local/share/sounds/sf2",
        home / "Library/Audio/Sounds/Banks",
        *(
            Path(folder)
            for folder in (
                "/usr/share/sounds/sf2",
                "/usr/share/sounds/sf3",
                "/usr/share/soundfonts",
                "/usr/local/share/soundfonts",
                "/opt/homebrew/share/soundfonts",
                "/opt/homebrew/share/fluid-synth/sf2",
                "/usr/local/share/fluid-synth/sf2",
                "/Library/Audio/Sounds/Banks",
            )
        ),
    ]
    if sys.platform == "win32":
        folders.append(Path(os.environ.get("PROGRAMDATA", "C:/ProgramData")) / "soundfonts")
        folders.append(Path("C:/soundfonts"))
    return folders


def _fonts_in(folder: Path) -> list[Path]:
    with suppress(OSError):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return [path for path in files if path.suffix.lower() in (".sf2", ".sf3")]
    return []


def _rank(path: Path) -> int:
    name = path.name.lower()
    return next((rank for rank, part in enumerate(_PREFERRED) if part in name), len(_PREFERRED))


# --- The child process --------------------------------------------------------------------------------


def _run(command: Sequence[str], seconds: float, file_bytes: int) -> tuple[int, str]:
    """Run a program to its end: its exit status and the last of its messages.

    seconds: after which it is killed, which is a UserError. file_bytes: the most it may write to one file.
    """
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_limits(seconds, file_bytes),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(f"FluidSynth does not start: {error}", "Install it again.") from error
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            hint = "Try again when the computer is less busy."
            raise UserError("FluidSynth came to no end and was stopped", hint) from error
        finally:
            process.kill()
            process.wait()
        log.seek(max(0, log.seek(0, os.SEEK_END) - 10_000))
        return status, log.read().decode(errors="replace")


def _limits(seconds: float, file_bytes: int) -> Callable[[], None] | None:
    """What the child does to itself before it becomes FluidSynth; None where a system has no such limits."""
    if sys.platform == "win32":
        return None
    import resource

    wanted = {
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_CPU: int(seconds) + 1,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    limits = []
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        limits.append((kind, value if hard == resource.RLIM_INFINITY else min(value, hard)))

    def apply() -> None:
        for kind, value in limits:
            with suppress(OSError, ValueError):  # macOS knows of the limit on memory and refuses to set it
                resource.setrlimit(kind, (value, value))

    return apply
