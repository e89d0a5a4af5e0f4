"""`descant`: what each command does, from the words on the command line to an exit status.

    0    done
    1    a fault of the program itself: one sentence, or a traceback with DESCANT_DEBUG=1
    2    something the user can mend: one sentence and a hint
    130  stopped with Ctrl-C

NumPy and the network are loaded by the commands that need them, so that help and complaints come at once.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.options import parse_arguments
from assistant.outputs import check_outputs, midi_names, new_folder, write_all
from assistant.overview import clock, counted, find_tracks, overview, printable
from assistant.progress import ProgressBar
from models.errors import UserError
from models.midi_file import read_midi, save_midi
from models.score import Score
from models.theory import chord_symbol, pitch_name

if TYPE_CHECKING:
    from assistant.pipeline import Candidate, Options, Request

DEMO_PIECE = Path(__file__).parent / "demo" / "aloha-oe.mid"
DEMO_FOLDER = "descant-demo"
NEW_SEEDS = 1_000_000  # seeds that are chosen for the user stay short enough to type
MOST_WARNINGS = 3

MakeRequest = Callable[[Score, "Options"], "Request"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (sys.argv by default); returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names that the terminal's encoding lacks must not stop anything
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(parse_arguments(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return 0
    except UserError as error:
        _complain(error.message, error.hint)
        return 2
    except KeyboardInterrupt:
        _complain("stopped; no file was written")
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough; nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("DESCANT_DEBUG") == "1":
            traceback.print_exc()
        else:
            _complain(
                f"this should not have happened: {type(error).__name__}: {error}",
                "Please report it with this line and what you asked for; DESCANT_DEBUG=1 tells more.",
            )
        return 1


def _complain(message: str, hint: str = "") -> None:
    print(f"descant: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def _run(arguments: Namespace) -> None:
    commands: dict[str | None, Callable[[Namespace], None]] = {
        None: _demo,
        "continue": _continue,
        "fill": _fill,
        "accompany": _accompany,
        "play": _play,
        "info": _info,
    }
    if arguments.version:
        print(f"descant {_version()}")
    else:
        commands[arguments.command](arguments)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("descant")
    except PackageNotFoundError:
        return "from a source folder, not installed"


# --- Commands that write notes ------------------------------------------------------------------------


def _continue(arguments: Namespace) -> None:
    from assistant.pipeline import continue_request

    _generate(arguments, lambda score, options: continue_request(score, arguments.bars, options))


def _fill(arguments: Namespace) -> None:
    from assistant.pipeline import fill_request

    def request(score: Score, options: Options) -> Request:
        tracks = find_tracks(score, arguments.tracks) if arguments.tracks else range(len(score.tracks))
        first, last = arguments.bars
        return fill_request(score, tracks, first - 1, last - 1, options)

    _generate(arguments, request)


def _accompany(arguments: Namespace) -> None:
    from assistant.pipeline import accompany_request

    _generate(arguments, lambda score, options: accompany_request(score, arguments.add, options))


def _demo(_: Namespace) -> None:
    """Continue the piece that comes along, into a new folder here."""
    folder = new_folder(Path(DEMO_FOLDER))
    try:
        print("Continuing a piece that comes with Descant: Aloha Oe, by Queen Liliuokalani.", flush=True)
        _continue(parse_arguments(["continue", str(DEMO_PIECE), "-o", str(folder / DEMO_PIECE.name)]))
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise
    print("\nOpen them in your DAW. To continue a piece of your own:\n  descant continue song.mid -o next.mid")


def _generate(arguments: Namespace, make_request: MakeRequest) -> None:
    source = read_midi(arguments.input)
    paths = midi_names(arguments.output, arguments.candidates)
    check_outputs(paths, arguments.input, arguments.force)
    _warn(source.warnings)
    request = make_request(source.score, _options(arguments))
    candidates = _propose(request)
    scores = [candidate.only_new() if arguments.only_new else candidate.score for candidate in candidates]
    writers = [(path, partial(save_midi, score)) for path, score in zip(paths, scores, strict=True)]
    write_all(writers, arguments.force)
    if arguments.json:
        _print_json(arguments, request, candidates, paths, source.warnings)
    else:
        _print_summary(request, candidates, paths)


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings[:MOST_WARNINGS]:
        print(f"note: {printable(warning)}", file=sys.stderr)
    if len(warnings) > MOST_WARNINGS:
        print(f"note: and {len(warnings) - MOST_WARNINGS} more", file=sys.stderr)


def _options(arguments: Namespace) -> Options:
    from assistant.pipeline import Options
    from models.constraints import Controls
    from models.engine import Sampling

    controls = Controls(
        key=arguments.key,
        follow_chords=arguments.chords is not None,
        pitch_range=arguments.range,
        density=arguments.density,
        max_polyphony=arguments.max_polyphony,
    )
    chance = {"temperature": arguments.temperature, "top_p": arguments.top_p}
    return Options(
        controls=controls,
        progression=arguments.chords,
        candidates=arguments.candidates,
        seed=secrets.randbelow(NEW_SEEDS) if arguments.seed is None else arguments.seed,
        sampling=Sampling()._replace(**{name: value for name, value in chance.items() if value is not None}),
    )


def _propose(request: Request) -> list[Candidate]:
    from assistant.pipeline import load_generator, propose

    first, last = request.bars
    with ProgressBar(sys.stderr, request.options.candidates, last - first + 1) as bar:
        return propose(request, load_generator(), bar.show)


def _print_summary(request: Request, candidates: Sequence[Candidate], paths: Sequence[Path]) -> None:
    first, last = request.bars
    print(f"new notes in {f'bar {first + 1}' if first == last else f'bars {first + 1}-{last + 1}'}:")
    width = max(len(str(path)) for path in paths)
    for candidate, path in zip(candidates, paths, strict=True):
        broken = f", but {'; '.join(candidate.violations)}" if candidate.violations else ""
        print(f"  {str(path).ljust(width)}  {counted(candidate.note_count, 'note')}{broken}")
    print(f"--seed {request.options.seed} repeats this")


def _print_json(
    arguments: Namespace,
    request: Request,
    candidates: Sequence[Candidate],
    paths: Sequence[Path],
    warnings: Sequence[str],
) -> None:
    described = [
        {
            "number": candidate.number,
            "path": str(path),
            "seed": candidate.seed,
            "model_hash": candidate.model_hash,
            "violations": list(candidate.violations),
            "notes": candidate.note_count,
            "ms_to_first_bar": round(candidate.first_bar_ms, 1),
            "notes_per_second": round(candidate.notes_per_second, 1),
        }
        for candidate, path in zip(candidates, paths, strict=True)
    ]
    asked = _describe_request(arguments, request)
    print(json.dumps({"candidates": described, "request": asked, "warnings": list(warnings)}, indent=1))


def _describe_request(arguments: Namespace, request: Request) -> dict[str, Any]:
    """The request in the words of the command line; bars and tracks count from 1."""
    options = request.options
    controls, chords, span = options.controls, options.progression, options.controls.pitch_range
    return {
        "command": arguments.command,
        "input": str(arguments.input),
        "bars": [bar + 1 for bar in request.bars],
        "tracks": sorted({track + 1 for _, track in request.region}),
        "candidates": options.candidates,
        "seed": options.seed,
        "temperature": options.sampling.temperature,
        "top_p": options.sampling.top_p,
        "key": controls.key.name if controls.key else None,
        "chords": " | ".join(" ".join(map(chord_symbol, bar)) for bar in chords) if chords else None,
        "range": "-".join(map(pitch_name, span)) if span else None,
        "density": list(controls.density) if controls.density else None,
        "max_polyphony": controls.max_polyphony,
        "only_new": arguments.only_new,
    }


# --- Commands that look and listen --------------------------------------------------------------------


def _info(arguments: Namespace) -> None:
    source = read_midi(arguments.input)
    _warn(source.warnings)
    for line in overview(source.score):
        print(line)


def _play(arguments: Namespace) -> None:
    from assistant.playback import FluidSynth

    source = read_midi(arguments.input)
    target: Path = arguments.output or arguments.input.with_suffix(".wav")
    if arguments.output:
        _check_wav(target, arguments)
    synth = FluidSynth.find(arguments.soundfont)
    _warn(source.warnings)
    if not arguments.output:
        print(f"playing {arguments.input}, {clock(source.score.seconds_at(source.score.end))}", flush=True)
        if synth.play(source.score):
            return
        print("there is no sound card to play it with; writing a WAV file", flush=True)
        _check_wav(target, arguments)
    synth.render(source.score, target)
    print(f"the sound is in {target}")


def _check_wav(path: Path, arguments: Namespace) -> None:
    if path.suffix.lower() != ".wav":
        raise UserError(f"{path.name} does not end in .wav", f"Name it {path.stem or 'sound'}.wav, for example.")
    check_outputs([path], arguments.input, arguments.force)


if __name__ == "__main__":
    sys.exit(main())
