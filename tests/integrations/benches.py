"""Every bench that starts at once; Ardour's, which needs the program, is in bench_ardour.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integrations.bench import Asked, Bench
from tests.integrations.bench_bitwig import BitwigBench
from tests.integrations.bench_live import LiveArrangementBench, LiveBench
from tests.integrations.bench_memory import MemoryBench
from tests.integrations.bench_reaper import ReaperBench

BENCHES: list[type[Bench]] = [MemoryBench, ReaperBench, LiveBench, LiveArrangementBench, BitwigBench]


@contextmanager
def bench_of(kind: type[Bench], folder: Path) -> Iterator[Bench]:
    bench = kind(folder, Asked())
    try:
        yield bench
    finally:
        bench.asked.door.set()
        bench.close()
