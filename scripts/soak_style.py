"""The long tests of styles, and their bars of memory and speed.

    python scripts/soak_style.py                      a training killed 20 times, 10,000 files, memory, speed
    python scripts/soak_style.py --kills 3 --steps 40 --only kills

kills    a training in a process of its own, killed at random points and while it saves, and started again: what
         it learns and its curve are, bit for bit, those of one that nobody killed
files    a folder of 10,000 files with odd names in nested folders is read, with links that lead round and out:
         time, the most memory (bar: 2 GB), and what was opened outside of it (bar: nothing)
memory   the most memory of a training on the shipped weights after 60 steps (bar: 2 GB), and by how much it grew in
         the second half of them
speed    notes a second with a style against those without it (bar: at most 5 % fewer)

Ends with status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WEIGHTS, SAMPLE = ROOT / "models" / "weights" / "small", ROOT / "models" / "weights" / "sample"
PIECE = ROOT / "assistant" / "demo" / "aloha-oe.mid"
ODD_NAMES = (
    "line\nbreak",
    "'$(touch gone)\"",
    "-rf",
    " ",
    "ünï ♪",
    "x" * 240,
    os.fsdecode(b"\xff\xfe"),
    "CON",
    "%s%n",
)
MEMORY_STEPS = 60
MOST_MEGABYTES, LEAST_SPEED = 2000, 0.95
ROUNDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200, help="of the training that is killed")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--only", choices=["kills", "files", "memory", "speed"])
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        measures = {
            "kills": lambda: killed(folder, args.kills, args.steps),
            "files": lambda: many_files(folder, args.files),
            "memory": lambda: memory(folder),
            "speed": speed,
        }
        held = [measures[name]() for name in ([args.only] if args.only else measures)]
    return 0 if all(held) else 1


def said(name: str, figure: str, bar: str, held: bool) -> bool:
    print(f"{name:34} {figure:44} bar: {bar:24} {'held' if held else 'MISSED'}", flush=True)
    return held


def run_child(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--child", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


# --- Kills ----------------------------------------------------------------------------------------------


def killed(folder: Path, kills: int, steps: int, seed: int = 1) -> bool:
    """Train once undisturbed and once with kills; every third waits for a save to be under way."""
    rng = random.Random(seed)
    tiny_weights(folder / "weights")
    began = time.monotonic()
    alone = outcome(folder, "alone", steps)
    length = time.monotonic() - began
    done = while_saving = 0
    while done < kills:
        process = run_child("train", str(folder), "killed", str(steps))
        if done % 3 == 0 and (saving := caught_saving(folder / "killed", process)):
            while_saving += saving
        else:
            end = time.monotonic() + rng.uniform(0.3, 1.0) * max(3.0, length / 4)
            while time.monotonic() < end and process.poll() is None:
                time.sleep(0.01)
        if process.poll() is not None:  # it was over before it could be killed: the next training
            process.communicate()
            shutil.rmtree(folder / "killed")
            continue
        process.kill()
        process.communicate()
        done += 1
    same = outcome(folder, "killed", steps) == alone
    figure = f"{done} kills, {while_saving} while saving: {'the same bits' if same else 'another outcome'}"
    return said(f"training of {steps} steps", figure, "the same bits", same)


def caught_saving(run: Path, process: subprocess.Popen[str]) -> int:
    """Wait until a state is being written that `latest.json` does not name yet; 0 where the training ends first."""
    while process.poll() is None:
        states = {path.name for path in run.glob("state-*")}
        try:
            whole = json.loads((run / "latest.json").read_text("utf-8"))["state"]
        except (OSError, ValueError):
            whole = ""
        if states - {whole} and whole:
            return 1
        time.sleep(0.001)
    return 0


def outcome(folder: Path, name: str, steps: int) -> str:
    process = run_child("train", str(folder), name, str(steps))
    text = process.communicate()[0].strip()
    if process.returncode:
        raise SystemExit("a training failed that nobody killed")
    return text


def tiny_weights(folder: Path) -> None:
    import torch

    from models.architecture import SIZES
    from models.training.checkpoint import export_weights
    from models.transformer import MusicTransformer

    torch.manual_seed(1)
    export_weights(MusicTransformer(SIZES["tiny"]), folder, {})


# --- Files, memory, speed -------------------------------------------------------------------------------


def many_files(folder: Path, count: int) -> bool:
    """Copies of a piece, each with two other first notes and so another piece, in many folders."""
    from models.midi_file import read_midi, save_midi

    score = read_midi(PIECE).score
    track, *others = score.tracks
    music = folder / "music"
    for number in range(count):
        place = music if number < len(ODD_NAMES) else music / f"{number % 97} ♪" / f"deep {number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        first, second = (
            note._replace(pitch=pitch) for note, pitch in zip(track.notes, divmod(number, 128), strict=False)
        )
        made = score.with_tracks([track.with_notes([first, second, *track.notes[2:]]), *others])
        save_midi(made, place / f"piece {number}.mid")
    for number, name in enumerate(ODD_NAMES):
        (music / f"piece {number}.mid").rename(music / f"{name}.mid")
    (music / "loop").symlink_to(music, target_is_directory=True)
    (music / "up").symlink_to(folder, target_is_directory=True)
    (folder / "outside.mid").write_bytes((music / "-rf.mid").read_bytes())
    (music / "link.mid").symlink_to(folder / "outside.mid")
    process = run_child("read", str(music))
    facts = json.loads(process.communicate()[0])
    held = process.returncode == 0 and facts["megabytes"] <= MOST_MEGABYTES and not facts["outside"]
    outside = f"{facts['outside']} files outside opened"
    figure = f"{facts['pieces']:,} pieces, {facts['seconds']:.0f} s, {facts['megabytes']} MB, {outside}"
    return said(f"a folder of {count:,} files", figure, f"{MOST_MEGABYTES} MB, none outside", held)


def memory(folder: Path) -> bool:
    process = run_child("memory", str(folder / "memory"))
    facts = json.loads(process.communicate()[0])
    held = facts["megabytes"] <= MOST_MEGABYTES
    figure = f"{facts['megabytes']} MB, {facts['grown']} MB of them in the second half"
    return said(f"training of {facts['steps']} steps", figure, f"{MOST_MEGABYTES} MB", held)


def speed() -> bool:
    """The same bars with and without a style in turn; the median of the rounds' ratios."""
    import numpy as np
    from safetensors.numpy import load_file

    from models.adapters import Adapter
    from models.architecture import MODEL_FILE
    from models.drawing import Sampling
    from models.engine import Engine
    from models.generators import TransformerGenerator
    from models.training.evaluation_music import continuations
    from models.training.shards import read_shards

    plain = Engine(WEIGHTS)
    rng = np.random.default_rng(1)
    pairs = {}
    for name, weight in load_file(WEIGHTS / MODEL_FILE).items():
        if not name.startswith("blocks.") or weight.ndim != 2:
            continue
        thin = (rng.standard_normal((8, weight.shape[1])) * 1e-4).astype(np.float32)
        pairs[name] = (thin, rng.standard_normal((weight.shape[0], 8)).astype(np.float32) * 1e-2)
    rows, values = np.arange(1000), np.zeros((1000, plain.config.memory_width), np.float32)
    adapter = Adapter(plain.model_hash, "x", 1.0, pairs, rows, values, {"name": "x"})
    engines = plain, plain.styled([(adapter, 1.0)])
    task = continuations(list(read_shards(SAMPLE)), 1, 8, 8)[0].task
    rates: list[list[float]] = [[], []]
    for turn in range(ROUNDS + 1):
        for number, engine in enumerate(engines):
            began = time.process_time()
            generator = TransformerGenerator(engine)
            count = sum(
                len(progress.rows)
                for progress in generator.generate(task, [(1, n) for n in range(4)], Sampling(), lambda: False)
            )
            if turn:
                rates[number].append(count / (time.process_time() - began))
    share = float(np.median(np.divide(rates[1], rates[0])))
    figure = f"{np.median(rates[1]):.0f} notes a second, {np.median(rates[0]):.0f} without: {share:.1%}"
    return said("a styled engine", figure, f"{LEAST_SPEED:.0%}", share >= LEAST_SPEED)


# --- What runs in processes of its own --------------------------------------------------------------------


def child(words: Sequence[str]) -> int:
    task, folder = words[0], Path(words[1])
    facts: dict[str, float | int]
    if task == "read":
        facts = read(folder)
    elif task == "memory":
        facts = remembered(folder)
    else:
        print(trained(folder / "weights", folder / words[2], int(words[3]))[0])
        return 0
    facts["megabytes"] = megabytes()
    print(json.dumps(facts))
    return 0


def megabytes() -> int:
    """The most memory that this process has had."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def read(folder: Path) -> dict[str, float | int]:
    """Read a folder, and count the files that are opened outside of it meanwhile."""
    from models.training.style_intake import read_folder, split

    outside = 0

    def heard(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal outside
        if event == "open" and isinstance(arguments[0], str | bytes):
            outside += not Path(os.fsdecode(arguments[0])).resolve().is_relative_to(folder.resolve())

    read_folder(ROOT / "assistant" / "demo")  # what is only loaded once is loaded now
    sys.addaudithook(heard)
    began = time.monotonic()
    intake = read_folder(folder)
    split(intake)
    return {"pieces": len(intake.items), "seconds": time.monotonic() - began, "outside": outside}


class Enough(Exception):
    pass


def remembered(run: Path) -> dict[str, float | int]:
    """Train for MEMORY_STEPS, and tell by how much the most memory grew in the second half."""
    halves: dict[bool, int] = {}

    def heard(step: int) -> None:
        halves[step * 2 > MEMORY_STEPS] = megabytes()
        if step >= MEMORY_STEPS:
            raise Enough

    with suppress(Enough):
        trained(WEIGHTS, run, 10 * MEMORY_STEPS, heard)
    return {"steps": MEMORY_STEPS, "grown": halves[True] - halves[False]}


def trained(
    weights: Path, run: Path, steps: int, hear: Callable[[int], None] = lambda step: None
) -> tuple[str, int]:
    """A hash of everything that a training on the sample's pieces learns, and its steps. hear: is told them."""
    from models.training.shards import Item, read_shards
    from models.training.style import for_notes, train_style
    from models.training.style_intake import Parts

    sample = list(read_shards(SAMPLE))
    own = [item for item in sample if item.info["split"] == "train"][:12]
    parts = Parts(tuple(Item(item.piece, item.info) for item in own[:8]), (own[8], own[9]), (own[10], own[11]))
    config = replace(for_notes(30_000), total=steps, validate_every=max(2, steps // 20))
    if weights != WEIGHTS:
        config = replace(config, rows=1)
    made = train_style(weights, parts, sample, run, config, report=lambda step: hear(step.step))
    digest = hashlib.sha256(json.dumps(made.curve).encode())
    for name, tensor in sorted(made.tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return f"{digest.hexdigest()} {made.steps} {made.figures}", made.steps


if __name__ == "__main__":
    sys.exit(main())
