"""What the running engine's arithmetic costs, and whether its exact form is the reference's.

    python -P -m models.training.engine_checks WEIGHTS [--requests N]

A line of JSON: nats per note of the engine in eight bits and in exact numbers, on the held-out pieces of the sample
that comes along, the first half of each window read as a context and the rest step by step, as what is written is;
and how many of the values that the exact engine writes without any chance, over some requests,
are the best that the reference network knows at that place. Values whose rivals are closer than CLOSE may differ.
`descant bench --exactness` runs this as a process of its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.drawing import Desk, Sampling
from models.engine import Engine
from models.generators import TransformerGenerator
from models.graphs import STAGES
from models.lanes import LANES, Lanes
from models.piece import MAX_BAR
from models.tokens import END, WIDTH, Steps
from models.training.checkpoint import load_weights
from models.training.evaluation_music import Excerpt, continuations, fills
from models.training.sampling import fixed_windows
from models.training.shards import Item, read_shards
from models.transformer import MusicTransformer

SAMPLE = Path(__file__).resolve().parents[1] / "weights" / "sample"
CLOSE = 1e-4
WINDOW, WINDOWS_A_PIECE = 640, 2


def _states(engine: Engine, windows: Sequence[Steps]) -> list[NDArray[np.float32]]:
    """The states of every window, up to LANES of them."""
    middle = [len(steps) // 2 for steps in windows]
    begun = [engine.read(steps.part(0, half)) for steps, half in zip(windows, middle, strict=True)]
    lanes = Lanes(engine, [context for context, _ in begun], WINDOW)
    found = [[states] for _, states in begun]
    facts, time = np.zeros((LANES, WIDTH), dtype=np.int32), np.zeros(LANES, dtype=np.int32)
    for index in range(WINDOW):
        for lane, (steps, half) in enumerate(zip(windows, middle, strict=True)):
            if half + index < len(steps):
                facts[lane], time[lane] = steps.facts[half + index], steps.time[half + index]
        states = Engine.step(engine, lanes, facts, time)  # not one that listens
        for lane, (steps, half) in enumerate(zip(windows, middle, strict=True)):
            if half + index < len(steps):
                found[lane].append(states[lane : lane + 1].copy())
    return [np.concatenate(parts) for parts in found]


def nats(engine: Engine, windows: list[Steps]) -> float:
    """Nats per note over windows of music."""
    total, notes = 0.0, 0
    groups = [windows[first : first + LANES] for first in range(0, len(windows), LANES)]
    for steps, states in ((w, s) for group in groups for w, s in zip(group, _states(engine, group), strict=True)):
        asked = np.flatnonzero(steps.targets[:, 0] >= 0)
        targets = steps.targets[asked]
        logits = engine.logits(states[asked], targets, steps.chord[asked], steps.hints[asked], steps.onsets[asked])
        is_note = targets[:, 0] != END
        notes += int(is_note.sum())
        for field, said in enumerate(logits):
            there = is_note & (targets[:, field] >= 0) if field else np.ones(len(asked), dtype=bool)
            best = said.max(axis=1, keepdims=True).astype(np.float64)
            whole = np.log(np.exp(said - best).sum(axis=1)) + best[:, 0]
            total += float((whole - said[np.arange(len(said)), np.maximum(targets[:, field], 0)])[there].sum())
    return total / notes


class Followed(Engine):
    """An engine that remembers what its first lane read, what it drew, and from what."""

    def prefill(self, steps: Steps, after: Any = None) -> Any:
        self.context, self.fed, self.draws = steps, [], []
        return super().prefill(steps, after)

    def step(self, lanes: Lanes, facts: Any, time: Any) -> Any:
        self.fed.append((facts[0].copy(), int(time[0])))
        return super().step(lanes, facts, time)

    def draw(self, desk: Desk, stage: int) -> None:
        super().draw(desk, stage)
        if stage == 0:
            self.draws.append({"at": len(self.fed) - 1, "added": []})
        draw = self.draws[-1]
        draw["added"] += [desk.masks[field][0, :-1].copy() for field in STAGES[stage]]
        draw |= {"hints": desk.hints[0].copy(), "onsets": desk.onsets[0, :, :MAX_BAR].copy()}
        draw |= {"chord": int(desk.chord[0]), "values": desk.drawn[:, 0, 0].copy(), "fields": STAGES[stage][-1] + 1}

    context: Steps
    fed: list[tuple[NDArray[np.int32], int]]
    draws: list[dict[str, Any]]


def greedy(engine: Followed, model: MusicTransformer, excerpts: list[Excerpt]) -> dict[str, int]:
    """Values that the engine wrote, how many of them are the reference's best, and how many others are as good."""
    sampling = Sampling(temperature=0.0)
    found = {"requests": 0, "values": 0, "equal": 0, "close": 0}
    for excerpt in excerpts:
        for _ in TransformerGenerator(engine).generate(excerpt.task, [(0,)], sampling):
            pass
        found["requests"] += 1
        for draw, logits in _reference(engine, model, sampling):
            for field in range(draw["fields"]):
                said = logits[field] + draw["added"][field] / sampling.sharpness
                behind = float(said.max() - said[draw["values"][field]])
                found["values"] += 1
                found["equal"] += behind == 0
                found["close"] += 0 < behind < CLOSE
                if not field and draw["values"][0] == END:
                    break
    return found


def _reference(
    engine: Followed, model: MusicTransformer, sampling: Sampling
) -> Iterator[tuple[dict[str, Any], list[NDArray[np.float32]]]]:
    """Every draw of the stretch that was written last, with the reference's logits for it."""
    draws, known = engine.draws, len(engine.context)
    if not draws:
        return
    facts = np.concatenate([engine.context.facts, np.stack([facts for facts, _ in engine.fed])])
    time = np.concatenate([engine.context.time, np.array([time for _, time in engine.fed], dtype=np.int32)])
    rows = [known + draw["at"] for draw in draws]
    given = [
        np.stack([draw["values"] for draw in draws]),
        np.array([draw["chord"] for draw in draws]),
        np.stack([draw["hints"] for draw in draws]).astype(np.int64),
        np.stack([draw["onsets"] for draw in draws]),
    ]
    with torch.no_grad():
        states = model(torch.from_numpy(facts).long()[None], torch.from_numpy(time)[None])[0, rows]
        logits = [table.numpy() for table in model.fields(states, *map(torch.from_numpy, given))]
    for index, draw in enumerate(draws):
        yield draw, [table[index] for table in logits]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    items: list[Item] = list(read_shards(SAMPLE))
    heldout = [item for item in items if item.info["split"] == "valid"]
    windows = [steps for _, steps in fixed_windows(heldout, WINDOW, WINDOWS_A_PIECE)]
    engine = Followed(args.weights, bits=32)
    result: dict[str, float] = {
        "nats": nats(engine, windows),
        "nats_in_eight_bits": nats(Engine(args.weights), windows),
    }
    notes = sum(int(((steps.targets[:, 0] >= 0) & (steps.targets[:, 0] != END)).sum()) for steps in windows)
    half = args.requests // 2
    excerpts = [*continuations(items, half), *fills(items, args.requests - half)]
    result |= {"notes": notes, **greedy(engine, load_weights(args.weights), excerpts)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
