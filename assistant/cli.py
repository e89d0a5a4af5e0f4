"""`descant`: what each command does, from the words on the command line to an exit status.

    0    done
    1    a fault of the program itself: one sentence, or a traceback with DESCANT_DEBUG=1
    2    something the user can mend: one sentence and a hint
    130  stopped with Ctrl-C

NumPy and the network are loaded by the commands that need them, so that help and complaints come at once.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from assistant.asking import build_request, describe_request
from assistant.options import parse_arguments
from assistant.outputs import check_outputs, midi_names, new_folder, write_all
from assistant.overview import counted, overview, printable
from assistant.progress import ProgressBar
from assistant.settings import program_version
from models.drum_maps import GENERAL_MIDI, from_general_midi, to_general_midi
from models.errors import UserError
from models.midi_file import read_midi, save_midi
from models.score import Score

if TYPE_CHECKING:
    from assistant.pipeline import Candidate, Request

DEMO_PIECE = Path(__file__).parent / "demo" / "aloha-oe.mid"
DEMO_FOLDER = "descant-demo"
MOST_WARNINGS = 3
IMPORT_WAIT = 0.05  # seconds until Ctrl-C is tried again


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (sys.argv by default); returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names that the terminal's encoding lacks must not stop anything
            stream.reconfigure(errors="backslashreplace")
    try:
        with _interrupts_after_imports():
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


@contextmanager
def _interrupts_after_imports() -> Iterator[None]:
    """Ctrl-C waits for a module that is being loaded: compiled ones make other errors of it."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        inner = frame
        while inner:
            if inner.f_globals.get("__name__") == "importlib._bootstrap":
                again = threading.Timer(IMPORT_WAIT, _thread.interrupt_main)
                again.daemon = True
                again.start()
                return
            inner = inner.f_back
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _complain(message: str, hint: str = "") -> None:
    print(f"descant: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def _run(arguments: Namespace) -> None:
    commands: dict[str | None, Callable[[Namespace], None]] = {
        None: _start,
        "continue": _generate,
        "fill": _generate,
        "accompany": _generate,
        "vary": _generate,
        "humanise": _generate,
        "drumify": _generate,
        "harmonise": _generate,
        "groove": _transform,
        "interpolate": _transform,
        "chords": _transform,
        "sketch": _sketch,
        "edit": _edit,
        "style": _style,
        "hum": _hum,
        "timbre": _timbre,
        "instrument": _instrument,
        "demo": _demo,
        "play": _play,
        "render": _render,
        "info": _info,
        "live": _live,
        "serve": _serve,
        "daw": _daw,
        "doctor": _doctor,
        "bench": _bench,
        "history": _history,
        "token": _token,
    }
    if arguments.version:
        print(f"descant {program_version()}")
    else:
        commands[arguments.command](arguments)


# --- Commands that write notes ------------------------------------------------------------------------


def _demo(_: Namespace) -> None:
    """Continue the piece that comes along, into a new folder here."""
    folder = new_folder(Path(DEMO_FOLDER))
    try:
        print("Continuing a piece that comes with Descant: Aloha Oe, by Queen Liliuokalani.", flush=True)
        _generate(parse_arguments(["continue", str(DEMO_PIECE), "-o", str(folder / DEMO_PIECE.name)]))
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise
    print("\nOpen them in your DAW. `descant serve` shows the page that does this in the browser.")
    print("To continue a piece of your own here:\n  descant continue song.mid -o next.mid")


def _generate(arguments: Namespace) -> None:
    source = read_midi(arguments.input)
    paths = midi_names(arguments.output, arguments.candidates)
    check_outputs(paths, arguments.input, arguments.force)
    _warn(source.warnings)
    keys = arguments.drum_map or GENERAL_MIDI
    request = build_request(arguments, to_general_midi(source.score, keys))
    candidates = _propose(request)
    scores = [
        from_general_midi(candidate.only_new(), keys, Score())
        if arguments.only_new
        else from_general_midi(candidate.score, keys, source.score)
        for candidate in candidates
    ]
    writers = [(path, partial(save_midi, score)) for path, score in zip(paths, scores, strict=True)]
    write_all(writers, arguments.force)
    if arguments.json:
        _print_json(arguments, request, candidates, paths, source.warnings)
    else:
        _print_summary(request, candidates, paths)


def _transform(arguments: Namespace) -> None:
    from assistant import operation_commands

    commands = {
        "groove": operation_commands.run_groove,
        "interpolate": operation_commands.run_interpolate,
        "chords": operation_commands.run_chords,
    }
    commands[arguments.command](arguments)


def _sketch(arguments: Namespace) -> None:
    from assistant.sketch_commands import run_sketch

    run_sketch(arguments)


def _edit(arguments: Namespace) -> None:
    from assistant.sketch_commands import run_edit

    run_edit(arguments)


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings[:MOST_WARNINGS]:
        print(f"note: {printable(warning)}", file=sys.stderr)
    if len(warnings) > MOST_WARNINGS:
        print(f"note: and {len(warnings) - MOST_WARNINGS} more", file=sys.stderr)


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
        if candidate.originality and candidate.originality.training.notes:
            print(f"  {' ' * width}  {candidate.originality.sentence()}")
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
            "originality": candidate.originality and candidate.originality.as_json(),
        }
        for candidate, path in zip(candidates, paths, strict=True)
    ]
    asked = describe_request(arguments.command, request)
    asked |= {"input": str(arguments.input), "only_new": arguments.only_new}
    print(json.dumps({"candidates": described, "request": asked, "warnings": list(warnings)}, indent=1))


# --- Commands that look and listen --------------------------------------------------------------------


def _style(arguments: Namespace) -> None:
    from assistant.style_commands import run

    run(arguments)


def _hum(arguments: Namespace) -> None:
    from assistant.audio_commands import run_hum

    run_hum(arguments)


def _timbre(arguments: Namespace) -> None:
    from assistant.audio_commands import run_timbre

    run_timbre(arguments)


def _instrument(arguments: Namespace) -> None:
    from assistant.instrument_commands import run

    run(arguments)


def _info(arguments: Namespace) -> None:
    source = read_midi(arguments.input)
    _warn(source.warnings)
    for line in overview(source.score):
        print(line)


def _play(arguments: Namespace) -> None:
    from assistant import sound

    sound.play(arguments)


def _render(arguments: Namespace) -> None:
    from assistant import sound

    sound.render(arguments)


# --- The server and what it keeps ---------------------------------------------------------------------


def _start(arguments: Namespace) -> None:
    """Without a command: the page where there is a screen to show it on, else the demo."""
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen:
        _serve(parse_arguments(["serve"]))
    else:
        _demo(arguments)


def _live(arguments: Namespace) -> None:
    from assistant.live.command import run

    run(arguments)


def _daw(arguments: Namespace) -> None:
    from assistant.daws import run

    run(arguments)


def _bench(arguments: Namespace) -> None:
    from assistant.bench import SIZES, run, say_exactness

    if arguments.exactness:
        say_exactness()
    else:
        run(arguments.size or SIZES, max(1, arguments.rounds), arguments.json)


def _doctor(arguments: Namespace) -> None:
    from assistant.doctor import run

    run(arguments)


def _serve(arguments: Namespace) -> None:
    from assistant.serving import serve

    serve(arguments.port, arguments.browser, arguments.midi)


def _token(_: Namespace) -> None:
    from assistant.settings import home, token, token_path

    folder = home()
    token(folder)
    print(token_path(folder))


def _history(arguments: Namespace) -> None:
    from assistant.looking_back import export, listing, show

    if arguments.action == "export":
        export(arguments.number, arguments.output, arguments.force)
    else:
        lines = listing() if arguments.action == "list" else show(arguments.number)
        print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
