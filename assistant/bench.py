"""How fast the engine answers on this computer: the figures of docs/engine.md, measured by anyone.

Everything runs on one thread. Rates are given by the clock and by the second of processor time that the program
received; ratios are of the latter, so that a busy computer does not blur them. What is compared is measured in
turns.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from assistant.pipeline import Options, Request, part_request, propose, task_of, warm, weights_folder
from models.constraints import Controls
from models.drawing import Desk, Sampling
from models.engine import CHUNK, Engine
from models.errors import Cancelled, UserError
from models.generators import TransformerGenerator
from models.graphs import STAGES
from models.lanes import LANES, Context, Lanes
from models.midi_file import read_midi
from models.score import Score
from models.tokens import FIELDS, Steps

PIECE = Path(__file__).parent / "demo" / "aloha-oe.mid"
FIRST_BAR, BARS = 13, 8  # of the piece: where all of its parts sound
NOTES_A_CELL = 6
PIECES = 24  # the same one, higher by a semitone each: a context that comes round again is forgotten by then
SHORT = (57, 33)  # notes to read and to write, of a request that gives a peer next to nothing to read
LOADED_SHARE = 0.8
SIZES = ("small", "base")


@dataclass(frozen=True)
class Line:
    """One thing that was measured, in its unit, a value a round. More is better where `rate`."""

    name: str
    unit: str
    rate: bool
    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        return median(self.values)


@dataclass(frozen=True)
class Bar:
    """What was promised, and what was found."""

    name: str
    wanted: str
    found: str
    met: bool


@dataclass(frozen=True)
class Spent:
    """Notes or tokens, steps of the network, seconds on the clock and of processor, and bytes of matrices read."""

    count: int
    steps: int
    wall: float
    cpu: float
    read: float = 0.0


class _Counting(Engine):
    """An engine that counts its steps, and the bytes of matrices that it reads."""

    steps, bytes_read = 0, 0.0

    def read(self, steps: Steps, after: Context | None = None) -> Any:
        self.bytes_read += -(-len(steps) // CHUNK) * self.bytes_a_step
        return super().read(steps, after)

    def step(self, lanes: Lanes, facts: Any, time: Any) -> Any:
        self.steps += 1
        self.bytes_read += self.bytes_a_step
        return super().step(lanes, facts, time)

    def draw(self, desk: Desk, stage: int) -> None:
        self.bytes_read += self.bytes_a_note * len(STAGES[stage]) / len(FIELDS)
        super().draw(desk, stage)


def _environment() -> dict[str, str]:
    """What other processes are started with: they find the program where this one did, and use one thread."""
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}


class Peer:
    """A process that generates tokens as others do."""

    def __init__(self, engine: Engine) -> None:
        c = engine.config
        shape = [engine.parameters, c.width, c.layers, c.heads]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "models.training.peer", "serve", *map(str, shape)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_environment(),
        )
        self.parameters = int(self._answer()["parameters"])
        self.write(10, 1)

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found

    def write(self, known: int, notes: int) -> Spent:
        """Read so many notes and write so many."""
        from models.training.peer import TOKENS_A_NOTE

        assert self._process.stdin is not None
        before, tokens = round(known * TOKENS_A_NOTE), round(notes * TOKENS_A_NOTE)
        self._process.stdin.write(f"{before} {tokens}\n")
        self._process.stdin.flush()
        return Spent(notes, tokens, **self._answer())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def request_for(candidates: int, higher: int = 0) -> Request:
    """The next 8 bars of 4 tracks, 6 notes in each cell, after 8 bars; `higher` semitones make it another piece."""
    score = read_midi(PIECE).score
    begin, end = score.bar(FIRST_BAR).start, score.bar(FIRST_BAR + BARS).start
    tracks = [
        track.with_notes(
            note._replace(start=note.start - begin, pitch=min(127, note.pitch + higher))
            for note in track.notes
            if begin <= note.start < end
        )
        for track in score.tracks
    ]
    context = Score(score.ticks_per_quarter, tempos=score.tempos[:1], meters=score.meters[:1])
    context = replace(context.with_tracks(tracks), length=end - begin)
    region = frozenset((bar, track) for bar in range(BARS, 2 * BARS) for track in range(len(tracks)))
    controls = Controls(density=(NOTES_A_CELL, NOTES_A_CELL))
    return part_request(context, region, Options(controls, candidates=candidates))


def write(engine: _Counting, candidates: int, higher: int = 0) -> Spent:
    """Have the network read the context of a request and write all of its notes."""
    generator, task = TransformerGenerator(engine), task_of(request_for(candidates, higher))
    engine.steps, engine.bytes_read = 0, 0.0
    clock, processor = time.perf_counter(), time.process_time()
    bars = generator.generate(task, [(0, number) for number in range(candidates)], Sampling())
    notes = sum(len(bar.rows) for bar in bars)
    spent = (time.perf_counter() - clock, time.process_time() - processor)
    return Spent(notes, engine.steps, *spent, engine.bytes_read)


def whole(engine: Engine, candidates: int) -> float:
    """Milliseconds from a request, its context known, until every candidate is a score."""
    generator, request = TransformerGenerator(engine), request_for(candidates)
    warm(request, generator)
    began = time.perf_counter()
    propose(request, generator)
    return 1000 * (time.perf_counter() - began)


def first_bar(engine: Engine, candidates: int, higher: int, warmed: bool) -> float:
    """Milliseconds from a request until its first bar is there."""
    generator, request = TransformerGenerator(engine), request_for(candidates, higher)
    if warmed:
        warm(request, generator)
    began = time.perf_counter()
    heard: list[float] = []

    def listen(_: object) -> None:
        heard.append(time.perf_counter() - began)

    with suppress(Cancelled):
        propose(request, generator, listen, lambda: bool(heard))
    return 1000 * heard[0]


def bandwidth() -> float:
    """Bytes a second that one core reads from memory, in products of a matrix and a vector."""
    rng = np.random.default_rng(0)
    matrix, vector = rng.random((4096, 8192), dtype=np.float32), rng.random(8192, dtype=np.float32)
    best = 0.0
    for _ in range(6):
        began = time.process_time()
        matrix @ vector
        best = max(best, matrix.nbytes / max(time.process_time() - began, 1e-9))
    return best


@contextmanager
def loaded_cores() -> Iterator[None]:
    """Every core kept busy by a process that does nothing else."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


_START = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from assistant.bench import memory_used, request_for
from assistant.pipeline import propose
from models.engine import Engine
from models.generators import TransformerGenerator
generator = TransformerGenerator(Engine(Path(sys.argv[1])))
ready = time.perf_counter() - began
propose(request_for(4), generator)
print(json.dumps({"ready": ready, "memory": memory_used()}))
"""


def memory_used() -> float:
    """The most memory that this process has held, in MB; 0 where the system does not say."""
    with suppress(OSError, StopIteration, ValueError):
        # Linux counts into the maximum below what the parent held when it started this process.
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def cold_start(folder: Path) -> dict[str, float]:
    """Seconds until a new process is ready to write, and the MB that it holds after four candidates."""
    command = [sys.executable, "-P", "-c", _START, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    found: dict[str, float] = json.loads(done.stdout)
    return found


def exactness(folder: Path) -> str:
    """A table of what eight bits cost, and whether the exact engine writes what the reference network would."""
    command = [sys.executable, "-P", "-m", "models.training.engine_checks", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=_environment())
    found: dict[str, float] = json.loads(done.stdout)
    exact, rounded = found["nats"], found["nats_in_eight_bits"]
    other = found["values"] - found["equal"] - found["close"]
    loss = rounded / exact - 1
    bars = [
        Bar("nats per note lost", "0.5 %", f"{100 * loss:.3f} %", loss < 0.005),
        Bar("values that differ", "0", f"{other:.0f}", not other),
    ]
    lines = [
        f"notes of held-out pieces          {found['notes']:,.0f}",
        f"nats per note in exact numbers    {exact:.5f}",
        f"nats per note in eight bits       {rounded:.5f}",
        f"requests written without chance   {found['requests']:.0f}",
        f"values in all                     {found['values']:,.0f}",
        f"equal to the reference's best     {found['equal']:,.0f}",
        f"another, less than 0.0001 behind  {found['close']:,.0f}",
    ]
    return "\n".join(["exactness", *lines, "", *_judged(bars)])


def _rates(spent: Sequence[Spent], name: str) -> list[Line]:
    return [
        Line(f"{name}, notes", "1/s", True, tuple(s.count / s.wall for s in spent)),
        Line(f"{name}, notes", "1/cpu s", True, tuple(s.count / s.cpu for s in spent)),
        Line(f"{name}, steps", "1/cpu s", True, tuple(s.steps / s.cpu for s in spent)),
    ]


def measure(folder: Path, rounds: int, peer_too: bool, say: Callable[[str], None]) -> tuple[list[Line], list[Bar]]:
    """All figures of a folder of weights, and what they mean for the bars."""
    engine = _Counting(folder)
    for candidates in (1, LANES):
        write(engine, candidates)
    pieces = itertools.cycle(range(1, PIECES + 1))
    peer = Peer(engine) if peer_too else None
    known = sum(len(track.notes) for track in request_for(1).score.tracks)
    ours: dict[int, list[Spent]] = {1: [], LANES: []}
    plain = _Counting(folder, bits=32)
    exactly: dict[int, list[Spent]] = {1: [], LANES: []}
    theirs: list[Spent] = []
    shortly: list[Spent] = []
    read: list[float] = []
    complete: dict[int, list[float]] = {1: [], LANES: []}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for candidates, spent in ours.items():
            spent.append(write(engine, candidates, next(pieces)))
            complete[candidates].append(whole(engine, candidates))
        for candidates, spent in exactly.items():
            spent.append(write(plain, candidates, next(pieces)))
        read.append(bandwidth())
        if peer:
            theirs.append(peer.write(known, ours[1][-1].count))
            shortly.append(peer.write(*SHORT))
    if peer:
        peer.close()
    latencies = {
        (count, warmed): [first_bar(engine, count, next(pieces), warmed) for _ in range(rounds)]
        for count in (1, LANES)
        for warmed in (False, True)
    }
    say("with every core kept busy")
    with loaded_cores():
        loaded = [write(engine, LANES) for _ in range(max(2, rounds // 2))]
    starts = [cold_start(folder) for _ in range(2)]

    lines = [*_rates(ours[1], "1 candidate"), *_rates(ours[LANES], f"{LANES} candidates")]
    for (count, warmed), values in latencies.items():
        name = f"first bar of {count}, {'warmed' if warmed else 'cold'}"
        lines.append(Line(name, "ms", False, tuple(values)))
    for count, times in complete.items():
        lines.append(Line(f"8 bars x 4 tracks, {count}", "ms", False, tuple(times)))
    lines += _rates(loaded, f"{LANES} candidates, cores busy")
    lines += [_rates(spent, f"float32, {count}")[1] for count, spent in exactly.items()]
    lines.append(Line("from nothing to ready", "ms", False, tuple(1000 * s["ready"] for s in starts)))
    lines.append(Line("memory after 4 candidates", "MB", False, tuple(s["memory"] for s in starts)))
    lines.append(Line("reading memory", "GB/s", True, tuple(value / 1e9 for value in read)))
    share = [s.read / s.cpu / value for s, value in zip(ours[LANES], read, strict=True)]
    lines.append(Line("share of that in weights", "%", True, tuple(100 * value for value in share)))

    bars = []
    if theirs:
        notes = [s.count / s.cpu for s in theirs]
        few = [s.count / s.cpu for s in shortly]
        lines.append(Line("peer, notes", "1/cpu s", True, tuple(notes)))
        lines.append(Line("peer with little to read, notes", "1/cpu s", True, tuple(few)))
        for count, wanted in ((1, 15), (LANES, 40)):
            found = median(s.count / s.cpu / n for s, n in zip(ours[count], notes, strict=True))
            bars.append(Bar(f"{count} over a peer", f"{wanted} x", f"{found:.1f} x", found >= wanted))
    bars.append(Bar("share of the limit", "25 %", f"{100 * median(share):.1f} %", median(share) >= 0.25))
    for warmed, wanted in ((True, 300), (False, 600)):
        found = median(latencies[1, warmed])
        name = f"first bar, {'warmed' if warmed else 'cold'}"
        bars.append(Bar(name, f"{wanted} ms", f"{found:.0f} ms", found <= wanted))
    kept = median(s.count / s.cpu for s in loaded) / median(s.count / s.cpu for s in ours[LANES])
    bars.append(Bar("rate kept, cores busy", f"{LOADED_SHARE:.0%}", f"{kept:.0%}", kept >= LOADED_SHARE))
    most = max(s["memory"] for s in starts)
    bars.append(Bar("memory", "600 MB", f"{most:.0f} MB", most <= 600))
    return lines, bars


def processor() -> str:
    """The processor's name, and which instructions for small numbers it has, as far as the system says."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in fields.items()}
    flags = facts.get("flags", "").split()
    has = [name for name in ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8") if name in flags]
    return f"{facts.get('model name', platform.machine())} ({', '.join(has) or 'nothing special'})"


def table(title: str, lines: Sequence[Line], bars: Sequence[Bar]) -> str:
    head = f"{'name':<34}{'unit':>8}{'min':>10}{'median':>10}{'max':>10}{'stddev':>10}{'rounds':>8}"
    rows = [title, head, "-" * len(head)]
    for line in lines:
        spread = stdev(line.values) if len(line.values) > 1 else 0.0
        figures = "".join(f"{v:>10.1f}" for v in (min(line.values), line.middle, max(line.values), spread))
        rows.append(f"{line.name:<34}{line.unit:>8}{figures}{len(line.values):>8}")
    return "\n".join([*rows, "", *_judged(bars)])


def _judged(bars: Sequence[Bar]) -> list[str]:
    rows = [f"{b.name:<34}{b.wanted:>10}{b.found:>12}  {'yes' if b.met else 'no'}" for b in bars]
    return [f"{'bar':<34}{'wanted':>10}{'found':>12}  met", *rows]


def run(sizes: Sequence[str], rounds: int, out: Path | None) -> None:
    """Measure, and print the tables; with `out` also write everything as JSON."""
    learning = bool(find_spec("torch") and find_spec("transformers"))
    print(f"{processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}")
    if not learning:
        print("Without the extra `train` there is no peer to be held against, and no network of size base.")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}\n" if hasattr(os, "getloadavg") else "")
    report: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "sizes": {}}
    with tempfile.TemporaryDirectory() as spare:
        for size in sizes:
            folder, note = weights_folder(), ""
            if size == "base":
                if not learning:
                    continue
                folder, note = Path(spare) / size, " (random weights)"
                command = [sys.executable, "-P", "-m", "models.training.peer", "weights", size, str(folder)]
                subprocess.run(command, check=True, env=_environment())
            say = _whisper(size)
            lines, bars = measure(folder, rounds, learning, say)
            say("")
            print(table(f"{size}{note}", lines, bars) + "\n", flush=True)
            report["sizes"][size] = {
                "lines": [asdict(line) | {"median": line.middle, "mean": mean(line.values)} for line in lines],
                "bars": [asdict(bar) for bar in bars],
            }
    if out:
        out.write_text(json.dumps(report, indent=1), "utf-8")


def _whisper(size: str) -> Callable[[str], None]:
    def say(what: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{size}: {what}" if what else "\r\x1b[K", end="", file=sys.stderr, flush=True)

    return say


def say_exactness() -> None:
    """Print how exact the engine is with the weights that ship."""
    if not (find_spec("torch") and find_spec("transformers")):
        raise UserError("There is no reference to be held against", 'Install Descant with the extra "train".')
    print(exactness(weights_folder()))
