"""The server's own bench and its long tests.

    python scripts/soak_server.py            /health while generating, and how soon cancelled work has ended
    python scripts/soak_server.py --full     then the tests of the broken world in full: an hour or so

Prints a table of what was timed, in milliseconds, with the bar it is held to, and one of what was done to the
server and whether it held. Ends with status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from assistant.client import Client, is_running  # noqa: E402
from assistant.settings import Running, read_running, token  # noqa: E402

PIECE = ROOT / "assistant" / "demo" / "aloha-oe.mid"
HEALTH_MS, CANCEL_MS = 100.0, 500.0
FULL = {"DESCANT_MUTANTS": "20000", "DESCANT_ABORTS": "1000", "DESCANT_KILLS": "500"}
TESTS = ("tests/assistant/test_server_load.py", "tests/assistant/test_session.py")
# What a test of the broken world does, how often, and what it asserts of every time.
WORLDS = {
    "test_of_fifty_at_once_one_runs_eight_wait_and_the_rest_are_told_when_to_come": (
        "requests at the same moment",
        "50",
        "1 runs, 8 wait, 42 are told when to come",
    ),
    "test_fifty_uploads_and_looks_at_once_are_all_answered": ("uploads at the same moment", "50", "all answered"),
    "test_clients_that_leave_leave_no_job": ("clients that leave meanwhile", "1,000", "0 jobs left"),
    "test_an_engine_that_dies_fails_its_job_and_is_there_again": ("engine killed", "3", "there again"),
    "test_a_server_that_is_killed_leaves_no_engine_and_what_it_kept": ("server killed", "1", "nothing lost"),
    "test_no_kill_takes_away_what_was_saved": (
        "writer of the history killed",
        "500",
        "database whole, nothing acknowledged lost",
    ),
    "test_a_full_disk_is_said_and_nothing_that_was_kept_is_lost": ("disk full", "1", "said, nothing kept is lost"),
    "test_bad_files_are_scores_or_sentences": ("damaged files uploaded", "20,000", "each a score or a sentence"),
    "test_mutants_that_are_read_can_be_continued_or_say_why_not": (
        "damaged files continued",
        "1,000",
        "each an answer or a sentence",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the full counts of the tests too")
    parser.add_argument("--looks", type=int, default=2000, metavar="N", help="at /health (default: 2000)")
    parser.add_argument("--cancels", type=int, default=50, metavar="N", help="(default: 50)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = bench(Path(folder), arguments.looks, arguments.cancels)
    if arguments.full:
        good &= broken_worlds()
    return 0 if good else 1


def broken_worlds() -> bool:
    """Run the tests of the broken world with the full counts and print what held of each. Whether all of it did."""
    good = True
    for name, about in WORLDS.items():
        good &= _world(name, *about)
    return good


def _world(name: str, what: str, count: str, held: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-k", name, f"--junitxml={found}", *TESTS]
        ended = subprocess.run(command, cwd=ROOT, env={**os.environ, **FULL}, stdout=subprocess.PIPE, text=True)
        took = sum(float(case.attrib["time"]) for case in ElementTree.parse(found).iter("testcase"))
    if ended.returncode:
        print(ended.stdout)
    print(f"{what:30} {count:>7}  {'FAILED' if ended.returncode else held:42} {took:7.0f} s", flush=True)
    return not ended.returncode


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
