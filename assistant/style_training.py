"""Making a style: a folder is read, an adapter trained, what it is worth measured, and the style put in its place.

The command line calls `make_style`. The server starts `python -P -m assistant.style_training` instead, so that its
own process loads no torch: it gets one line of JSON (a StyleTask), answers with a line for each event, and ends
when the server does.

    reading ── {"intake": ...} ── training ── {"step": ...} ... ── {"proving": share} ... ── {"done": card}
                                                         or {"failed": {"message", "hint"}}
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.style_card import card
from assistant.styles import being_made, check_free, find_style, making_folder, new_style, remember_source
from models.adapters import read_adapter
from models.errors import UserError

if TYPE_CHECKING:
    from models.training.style import Step
    from models.training.style_intake import Intake, Parts

Event = dict[str, Any]
RUN, NOTE, PLAN = "run", "training.json", "task.json"
PROOF_SHARE, MOST_PROOF_SECONDS = 0.2, 120.0  # of the time, to measure what is written
MOST_SKIPPED = 200  # names that an event carries


@dataclass(frozen=True, slots=True)
class StyleTask:
    """What is to be made. start: the style to begin with. minutes: at most, the measuring included."""

    name: str
    folder: str
    minutes: float = 10.0
    start: str | None = None
    threads: int = 1
    force: bool = False


def check_installed() -> None:
    """Raises UserError where what training needs is not installed."""
    try:
        import torch  # noqa: F401
        import zstandard  # noqa: F401
    except ImportError as error:
        raise UserError(
            "Training needs PyTorch, which is not installed",
            'In a clone, `python3 scripts/run.py style train ...` installs it; else pip install "descant[style]".',
        ) from error


def make_style(task: StyleTask, hear: Callable[[Event], None]) -> dict[str, Any]:
    """Make a style and put it in its place; the same call goes on where an earlier one was stopped. Returns what
    its style.json says. Raises UserError."""
    check_free(task.name, task.force)
    check_installed()
    with being_made(task.name):
        return _make_style(task, hear)


def _make_style(task: StyleTask, hear: Callable[[Event], None]) -> dict[str, Any]:
    from assistant.pipeline import SAMPLE, weights_folder
    from models.training.lora import save_adapter
    from models.training.shards import read_shards
    from models.training.style import about, for_notes, train_style
    from models.training.style_intake import read_folder, split
    from models.training.style_proof import prove_adapter

    began = time.monotonic()
    intake = read_folder(Path(task.folder))
    hear({"intake": described_intake(intake, None)})
    parts = split(intake)
    hear({"intake": described_intake(intake, parts)})
    start = read_adapter(find_style(task.start)) if task.start else None
    weights = weights_folder()
    base = json.loads((weights / "config.json").read_text("utf-8"))["sha256"]
    making = making_folder(task.name)
    config = replace(for_notes(intake.notes), threads=task.threads)
    _same_training(making, intake, base, task)
    for_proof = min(MOST_PROOF_SECONDS, PROOF_SHARE * 60 * task.minutes)
    for_training = max(1.0, 60 * task.minutes - for_proof - (time.monotonic() - began))

    def show(step: Step) -> None:
        left = for_proof + (1 - step.share) * for_training
        facts: Event = {
            "step": step.step,
            "share": step.share,
            "nats": step.nats,
            "best": step.best,
            "seconds_left": left,
        }
        if step.own is not None:
            facts |= {"own": step.own, "other": step.other}
        hear(facts)

    sample = list(read_shards(SAMPLE))
    trained = train_style(weights, parts, sample, making / RUN, config, for_training, show, start)
    hear({"proving": 0.0, "seconds_left": for_proof})

    def prove_show(share: float) -> None:
        hear({"proving": share, "seconds_left": (1 - share) * for_proof})

    described = about(task.name, base, intake, parts, config, trained)
    described["threads"], described["minutes"] = task.threads, 0.0
    with tempfile.TemporaryDirectory(dir=making) as place:
        save_adapter(Path(place), trained.tensors, trained.memory, described)
        proof = prove_adapter(weights, Path(place), parts, for_proof, prove_show)
    described["written"] = None if proof is None else {**asdict(proof), "copies": proof.copies}
    described["minutes"] = round((time.monotonic() - began) / 60, 1)
    with new_style(task.name, task.force) as folder:
        save_adapter(folder, trained.tensors, trained.memory, described)
        (folder / "README.md").write_text(card(described), encoding="utf-8")
        remember_source(folder, task.folder)
    shutil.rmtree(making, ignore_errors=True)
    return described


def _same_training(making: Path, intake: Intake, base: str, task: StyleTask) -> None:
    """Go on only with a training of the same pieces for the same weights; another one begins anew."""
    from models.training.style_intake import fingerprint

    told = {
        "base": base,
        "pieces": sorted(fingerprint(item.piece) for item in intake.items),
        "from": task.start,
    }
    note = making / NOTE
    if not note.exists() or json.loads(note.read_text("utf-8")) != told:
        shutil.rmtree(making / RUN, ignore_errors=True)
        note.write_text(json.dumps(told), encoding="utf-8")


def described_intake(intake: Intake, parts: Parts | None) -> dict[str, Any]:
    """What was found in a folder, and how it was shared out, for a reader or a page."""
    found: dict[str, Any] = {
        "pieces": len(intake.items),
        "notes": intake.notes,
        "seconds": round(intake.seconds, 1),
        "keys": dict(intake.keys),
        "roles": dict(intake.roles),
        "tempos": [round(tempo, 1) for tempo in intake.tempos],
        "skipped": [{"name": name, "reason": reason} for name, reason in intake.skipped[:MOST_SKIPPED]],
        "skipped_in_all": len(intake.skipped),
    }
    if parts:
        for name in ("learning", "tuning", "held_out"):
            found[name] = [str(item.info["path"]) for item in getattr(parts, name)]
    return found


def error_of(error: UserError) -> dict[str, str]:
    return {"message": error.message, "hint": error.hint}


def task_from(said: Mapping[str, Any]) -> StyleTask:
    return StyleTask(**said)


def task_text(task: StyleTask) -> str:
    return json.dumps(asdict(task))


def main() -> None:
    """One training for the server."""
    task = task_from(json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_server, daemon=True).start()

    def say(event: Event) -> None:
        print(json.dumps(event), flush=True)

    try:
        say({"done": make_style(task, say)})
    except UserError as error:
        say({"failed": error_of(error)})
    except MemoryError:
        say({"failed": {"message": "There is not enough memory", "hint": "Close other programs and go on."}})
    except OSError as error:
        reason = error.strerror or str(error)
        say({"failed": {"message": f"The style cannot be written: {reason}", "hint": "Make room and go on."}})


def _end_with_server() -> None:
    """Stop at once, wherever the training stands: what it has saved is whole at every moment."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
