"""The server's own bench and its long tests.

    python scripts/soak_server.py            /health while generating, and how soon cancelled work has ended
    python scripts/soak_server.py --full     then the tests of the broken world in full: an hour or so

Prints one line a figure: what, how often, p50, p99 and the most, in milliseconds, and the bar it is held to.
Ends with status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from assistant.client import Client, is_running  # noqa: E402
from assistant.settings import Running, read_running, token  # noqa: E402

PIECE = ROOT / "assistant" / "demo" / "aloha-oe.mid"
HEALTH_MS, CANCEL_MS = 100.0, 500.0
FULL = {"DESCANT_MUTANTS": "20000", "DESCANT_ABORTS": "1000", "DESCANT_KILLS": "500"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the full counts of the tests too")
    parser.add_argument("--looks", type=int, default=2000, metavar="N", help="at /health (default: 2000)")
    parser.add_argument("--cancels", type=int, default=50, metavar="N", help="(default: 50)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = bench(Path(folder), arguments.looks, arguments.cancels)
    if arguments.full:
        tests = ["tests/assistant/test_server_load.py", "tests/assistant/test_session.py"]
        command = [sys.executable, "-m", "pytest", "-q", "--durations=0", *tests]
        good &= subprocess.run(command, cwd=ROOT, env={**os.environ, **FULL}).returncode == 0
    return 0 if good else 1


def bench(folder: Path, looks: int, cancels: int) -> bool:
    """Start a server with the shipped weights in `folder` and time it. Whether every bar was met."""
    environment = {**os.environ, "DESCANT_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    words = ["serve", "--no-browser", "--no-midi", "--port", "18733"]
    command = [sys.executable, "-m", "assistant.cli", *words]
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        running = _wait_for_server(folder)
        with Client(running.port, token(folder)) as client:
            score = client.upload(PIECE.read_bytes(), "Aloha Oe").id
            client.propose(score, "continue", bars=1, candidates=1)
            good = _report("/health while generating", _health(client, running, folder, score, looks), HEALTH_MS)
            ends = [
                _cancelled(client, score, wait) for wait in (0.0, 0.02, 0.3, 1.0, 2.0) for _ in range(cancels // 5)
            ]
            return _report("cancelled work has ended", ends, CANCEL_MS, most=True) and good
    finally:
        process.terminate()
        process.wait()


def _wait_for_server(folder: Path) -> Running:
    while True:
        running = read_running(folder)
        if running and is_running(running):
            return running
        time.sleep(0.1)


def _health(client: Client, running: Running, folder: Path, score: int, looks: int) -> list[float]:
    """Milliseconds of looks at /health, 20 a second, while four candidates of 64 bars are written."""
    done = threading.Event()

    def generate() -> None:
        with Client(running.port, token(folder)) as own:
            while not done.is_set():
                for _ in own.follow(score, "continue", bars=64, candidates=4):
                    if done.is_set():
                        break

    thread = threading.Thread(target=generate)
    thread.start()
    found = []
    try:
        for _ in range(looks):
            began = time.perf_counter()
            client.health()
            found.append(1000 * (time.perf_counter() - began))
            time.sleep(0.05)
    finally:
        done.set()
        thread.join()
    return found


def _cancelled(client: Client, score: int, wait: float) -> float:
    """Milliseconds from asking for a cancel, `wait` seconds after the request, until the work has ended."""
    asked = client.ask(score, "continue", bars=64, candidates=4)
    time.sleep(wait)
    began = time.perf_counter()
    client.cancel(asked.id)
    took = 1000 * (time.perf_counter() - began)
    while client.health()["engine"]["state"] != "ready":  # one that had to be killed is back
        time.sleep(0.05)
    return took


def _report(what: str, found: Sequence[float], bar: float, most: bool = False) -> bool:
    """Print a line of figures. most: the largest is held to the bar, else the 99th percentile."""
    ordered = sorted(found)
    p50, p99, largest = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]
    met = (largest if most else p99) <= bar
    figures = f"p50 {p50:.1f}  p99 {p99:.1f}  most {largest:.1f} ms"
    print(f"{what:26} {len(found):5} times  {figures}  (bar: {'most' if most else 'p99'} {bar:g} ms)", end="")
    print("" if met else "  MISSED", flush=True)
    return met


if __name__ == "__main__":
    sys.exit(main())
