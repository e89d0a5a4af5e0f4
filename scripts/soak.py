"""Live MIDI for a long time, and in the worst of moments: prints the table of docs/live.md.

python3 scripts/soak.py                      everything, about an hour
python3 scripts/soak.py --only soak,clock    some of it
python3 scripts/soak.py --share 0.05         a twentieth of the counts

kills       processes killed with notes sounding: until the last one is released
lateness    from due to sent, while the network writes in another process
clock       an hour of MIDI clock with 5 ms of jitter, in virtual time
ahead       how early the bars of an accompaniment are ready at 120 bpm, on one core's time
first       how soon the first bar of an answer to eight bars is there, with the network warmed and without
soak        eight hours of playing in virtual time: every note ends, memory and descriptors stay
ardour      a conversation with a real DAW
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from assistant.live.answer import accompanying_bar, new_parts
from assistant.live.capture import Capture, Played
from assistant.live.clock import TICKS, Follower
from assistant.live.guard import Outlet
from assistant.live.ledger import Ledger
from assistant.live.live import Live
from assistant.live.live_settings import LiveSettings
from assistant.live.player import Player
from assistant.pipeline import Options, load_generator, propose
from midi_rig import Jack, Listener, jack_server, kill, listed, realtime, start_program, wait_for
from models.instruments import parse_instrument
from models.score import Note, Score, Track

KILLS = 200
HOURS = 8
NOTES = 500_000
BARS = 200
FIRSTS = 20
SECONDS = 120  # of playing for the lateness
BAR = 2.0  # seconds of 4/4 at 120 bpm
TICK_SECONDS = 0.5 / TICKS
JITTER = 0.005
RELEASE_MS, GUARD_RELEASE_MS = 50.0, 1000.0  # p99 after a kill
LATE_MS = (1.0, 10.0)  # p50, p99 from due to sent
DRIFT_MS = 1.0
AHEAD = 0.5  # bars, in 99 % of bars
GROWTH_MB, DESCRIPTORS = 20.0, 5

Part = Callable[[float, Path], bool]


def row(what: str, count: int, found: str, bar: str, met: bool) -> bool:
    """Print a line of the table: what, how often, what was found, the bar it is held to. Whether that is met."""
    print(f"{what:30} {count:>9,}  {found:57} {bar}{'' if met else '  MISSED'}", flush=True)
    return met


def spread(values: Sequence[float], unit: str = "ms") -> str:
    p50, p99, most = (percentile(values, part) for part in (0.5, 0.99, 1.0))
    return f"p50 {p50:.2f}, p99 {p99:.2f}, most {most:.2f} {unit}"


def percentile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def long_notes() -> Score:
    notes = tuple(Note(480 * beat, 48 + beat % 24, 480 * 8, 90) for beat in range(400))
    return Score(tracks=(Track(notes=notes),), length=480 * 400)


# --- Kills --------------------------------------------------------------------------------------------


def kills(share: float, folder: Path) -> bool:
    count = max(1, round(KILLS * share))
    rng = random.Random(1)
    fine = True
    listener = Listener()
    with Live(LiveSettings(api="jack", bpm=200, outputs=("listener",)), None, folder) as live:
        wait_for(lambda: live.state()["ports"]["connected"])
        for process, bar in (("player", RELEASE_MS), ("guard", GUARD_RELEASE_MS)):
            took = []
            for _ in range(count):
                live.play(long_notes())
                wait_for(lambda: listener.sounding > 1)
                time.sleep(rng.uniform(0, 0.2))
                before = live.state()["processes"][process]
                killed = kill(before)
                live.stop()  # else the next player goes on where this one was
                wait_for(lambda: not listener.sounding)
                took.append(1000 * (listener.silent_at - killed))
                wait_for(lambda b=before, p=process: live.state()["processes"][p] != b)  # type: ignore[misc]
                wait_for(lambda: live.state()["ports"]["connected"])
            fine &= report_kills(process, took, bar)
    took = []
    for _ in range(count):
        program = start_program(folder)
        listener.connect()
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
        wait_for(lambda: listener.sounding > 1)
        killed = kill(program.pid)
        program.wait()
        wait_for(lambda: not listener.sounding)
        took.append(1000 * (listener.silent_at - killed))
        wait_for(lambda: not listed("Descant Out"))
    listener.close()
    return report_kills("program", took, RELEASE_MS) and fine


def report_kills(process: str, took: Sequence[float], bar: float) -> bool:
    """What sounded has ended every time, or `wait_for` would have said so; how long that took."""
    found = f"released after {spread(took)}"
    return row(f"{process} killed", len(took), found, f"p99 {bar:.0f} ms", percentile(took, 0.99) <= bar)


# --- Lateness -----------------------------------------------------------------------------------------

WRITER = """
from assistant.pipeline import Options, continue_request, load_generator, propose
from models.midi_file import read_midi
import sys
generator = load_generator()
score = read_midi(sys.argv[1]).score
print("up", flush=True)
while True:
    propose(continue_request(score, 8, Options(candidates=4)), generator)
"""


def lateness(share: float, folder: Path) -> bool:
    seconds = max(5.0, SECONDS * share)
    root = Path(__file__).resolve().parents[1]
    piece = root / "assistant" / "demo" / "aloha-oe.mid"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(piece)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None and writer.stdout.readline() == "up\n"
        beats = round(seconds * 2)
        notes = tuple(Note(60 * step, 40 + step % 40, 50, 90) for step in range(8 * beats))
        with Live(LiveSettings(api="jack", bpm=120), None, folder) as live:
            live.figures(reset=True)
            live.play(Score(tracks=(Track(notes=notes),), length=480 * beats))
            time.sleep(seconds)
            figures = live.figures()
    finally:
        writer.kill()
        writer.wait()
    p50, p99, most = figures["ms"]
    found = f"p50 {p50:.2f}, p99 {p99:.2f}, most {most:.2f} ms"
    met = p50 <= LATE_MS[0] and p99 <= LATE_MS[1]
    return row("sent after it was due", figures["sent"], found, "p50 1, p99 10 ms", met)


# --- Clock --------------------------------------------------------------------------------------------


def clock(share: float, _: Path) -> bool:
    rng, follower, errors = random.Random(2), Follower(), []
    follower.start()
    for number in range(round(3600 / TICK_SECONDS * share)):
        follower.tick(100 + number * TICK_SECONDS + rng.uniform(-JITTER, JITTER))
        errors.append(1000 * (follower.line.time_of(number / TICKS) - 100 - number * TICK_SECONDS))
    minute = round(60 / TICK_SECONDS)
    drift = abs(statistics.fmean(errors[-minute:]))
    settled = [abs(error) for error in errors[10 * TICKS :]]
    row("clock ticks with 5 ms jitter", len(errors), f"off {spread(settled)}", "", True)
    hours = len(errors) * TICK_SECONDS / 3600
    found = f"after {hours:.2f} hours, mean of a minute: {drift:.3f} ms"
    return row("clock's drift", minute, found, f"{DRIFT_MS:g} ms", drift <= DRIFT_MS)


# --- Ahead --------------------------------------------------------------------------------------------


def someone_playing(bars: int) -> Iterator[Played]:
    """Chords and a line of eighth notes in 4/4 at 120 bpm."""
    for eighth in range(8 * bars):
        beat = eighth / 2
        pitches = [72 + (0, 2, 4, 5, 7, 5, 4, 2)[eighth % 8]]
        if eighth % 8 == 0:
            root = (48, 45, 53, 55)[eighth // 8 % 4]
            pitches += [root, root + 7, root + 12]
        for pitch in pitches:
            yield Played(beat / 2, beat, 1, bytes([0x90, pitch, 80]))
        for pitch in pitches:
            yield Played(beat / 2 + 0.2, beat + 0.4, 1, bytes([0x80, pitch, 64]))


def ahead(share: float, _: Path) -> bool:
    bars = max(8, round(BARS * share))
    generator, capture = load_generator(), Capture()
    for item in someone_playing(bars):
        capture.add(item)
    parts = new_parts([parse_instrument("bass"), parse_instrument("drums")])
    written: dict[int, Score] = {}
    early, walls = [], []
    for target in range(2, bars):
        began, began_here = time.perf_counter(), time.process_time()
        captured = capture.in_run(1, (4, 4), 120.0, 8, 4.0 * (target - 1))
        assert captured is not None
        request = accompanying_bar(captured, parts, written, target, Options(candidates=1))
        assert request is not None
        (candidate,) = propose(request, generator)
        written[target] = candidate.only_new()
        early.append(1 - (time.process_time() - began_here) / BAR)
        walls.append(1 - (time.perf_counter() - began) / BAR)
    p1, wall = percentile(early, 0.01), percentile(walls, 0.01)
    row(
        "bars ahead, by the clock",
        len(walls),
        f"99 %: {wall:.2f}, half: {statistics.median(walls):.2f} bars",
        "",
        True,
    )
    found = f"99 %: {p1:.2f}, half: {statistics.median(early):.2f} bars"
    return row("bars ahead, by one core's time", len(early), found, f"99 %: {AHEAD:g} bars", p1 >= AHEAD)


# --- First --------------------------------------------------------------------------------------------

# A program that is asked for a bar once, as Live asks: the seconds from then until it is written.
ASKER = """
import sys, time
from assistant.live.answer import continuing_bar
from assistant.live.capture import to_scores
from assistant.live.live import own_generator
from assistant.pipeline import Options
from soak import someone_playing
whole, known = (to_scores(list(someone_playing(8)), (4, 4), 120.0, until=until).quantised for until in (32.0, 28.0))
asked, before = (continuing_bar(score, (), Options(candidates=1, seed=1)) for score in (whole, known))
make, warm = own_generator()
for request in {"cold": (), "loaded": (None,), "read": (None, before)}[sys.argv[1]]:
    warm(request, lambda: False)
began = time.perf_counter()
make(asked, lambda: False)
print(time.perf_counter() - began)
"""


def first(share: float, _: Path) -> bool:
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "scripts")])}
    count = max(3, round(FIRSTS * share))
    for how, what in (
        ("cold", "first bar, nothing warmed"),
        ("loaded", "first bar, network loaded"),
        ("read", "first bar, seven bars read"),
    ):
        command = [sys.executable, "-c", ASKER, how]
        took = [
            1000 * float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
            for _ in range(count)
        ]
        row(what, count, f"after {spread(took)}", "", True)
    return True


# --- Soak ---------------------------------------------------------------------------------------------


def soak(share: float, folder: Path) -> bool:
    """Clock in, notes in and out, stops, locates and players that die, all in virtual time."""
    rng = random.Random(3)
    sounding: set[tuple[int, int]] = set()
    counts = {"on": 0, "off": 0, "twice": 0}

    def port(data: bytes) -> None:
        kind, key = data[0] & 0xF0, (data[0] & 15, data[1])
        if kind == 0x90:
            counts["on"] += 1
            counts["twice"] += key in sounding
            sounding.add(key)
        elif kind == 0x80 and key in sounding:
            counts["off"] += 1
            sounding.remove(key)

    ledger = Ledger(folder / "soak-notes")
    outlet, capture = Outlet(ledger, port), Capture()
    now = 1000.0

    def new_player() -> Player:
        player = Player(
            lambda due, data: outlet.send(data),
            lambda event: None,
            lambda at, beat, run, data: capture.add(Played(at, beat, run, data)),
        )
        command = {"sync": "auto", "meter": [4, 4], "offset_ms": 0.0, "count_in": 0, "bpm": 120.0}
        player.obey({"do": "settings", "song_position": "sixteenths", **command}, now)
        player.receive(now, 0, b"\xfa", now)
        return player

    bars = round(HOURS * 3600 / BAR * share)
    a_bar = math.ceil(NOTES / (HOURS * 3600 / BAR))
    player, bar, first_hour, descriptors = new_player(), 0, 0.0, 0
    for done in range(bars):
        at = 4.0 * (bar + 1)
        rows = [
            [rng.randrange(64) / 16, rng.choice([0.1, 0.25, 1, 3]), rng.randrange(4), rng.randrange(30, 90), 90, 64]
            for _ in range(a_bar)
        ]
        player.obey({"do": "play", "keep": True, "from": at, "at": at, "notes": rows, "events": []}, now)
        for tick in range(4 * TICKS):
            now += TICK_SECONDS
            player.receive(now + rng.uniform(0, JITTER), 0, b"\xf8", now + JITTER)
            if tick % 12 == 0:
                pitch = rng.randrange(40, 80)
                player.receive(now, 0, bytes([0x90, pitch, 80]), now)
                player.receive(now, 0, bytes([0x80, pitch, 64]), now)
            player.run(now + JITTER)
        bar += 1
        chance = rng.random()
        if chance < 0.01:
            bar = rng.randrange(100)
            player.receive(now, 0, b"\xfc", now)
            player.run(now)
            player.receive(now, 0, bytes([0xF2, bar * 16 & 127, bar * 16 >> 7]), now)
            player.receive(now, 0, b"\xfb", now)
        elif chance < 0.015:
            outlet.release()
            player, bar = new_player(), 0
        if done == bars // HOURS:
            first_hour, descriptors = memory_mb(), open_files()
    outlet.release()
    ledger.close()
    growth, files = memory_mb() - first_hour, open_files() - descriptors
    unended = len(sounding) + abs(counts["on"] - counts["off"])
    hours = f"{bars * BAR / 3600:.2f} hours: "
    fine = row(
        "notes played",
        counts["on"],
        f"{hours}{unended} without an end, {counts['twice']} begun twice",
        "0, 0",
        not unended and not counts["twice"],
    )
    fine &= row("memory since the first hour", 1, f"{growth:+.1f} MB", f"{GROWTH_MB:g} MB", growth <= GROWTH_MB)
    return row("descriptors", 1, f"{files:+d}", f"{DESCRIPTORS}", abs(files) <= DESCRIPTORS) and fine


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- Ardour -------------------------------------------------------------------------------------------


def ardour(_: float, folder: Path) -> bool:
    from ardour_session import TOLERANCE, converse

    fine = True
    for bpm, meter in ((97.0, (4, 4)), (140.0, (7, 8))):
        place = folder / f"ardour-{bpm:g}"
        place.mkdir()
        said = converse(place, bpm, meter, load_generator(), SERVER[0])
        pitches = [pitch for _, pitch in said.asked]
        for name, take in (("answer", said.first), ("located", said.again)):
            errors = [1000 * abs(error) for error in take.errors]
            right = take.pitches == pitches and not take.hanging
            found = f"{spread(errors)}, {take.hanging} hanging"
            if take.pitches != pitches:
                found = "WRONG PITCHES"
            what = f"Ardour {bpm:g} {meter[0]}/{meter[1]}, {name}"
            met = right and max(errors) <= 1000 * TOLERANCE
            fine &= row(what, len(errors), found, f"{1000 * TOLERANCE:.0f} ms, 0", met)
            print(f"{'':41}  offset {said.offset_ms:+.1f} ms; JACK lost time {take.xruns} times in this take")
    return fine


# --- All of it ----------------------------------------------------------------------------------------

PARTS: dict[str, Part] = {
    "kills": kills,
    "lateness": lateness,
    "clock": clock,
    "ahead": ahead,
    "first": first,
    "soak": soak,
    "ardour": ardour,
}
SERVER: list[Jack] = []


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts asked for; 0 when every one met its bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--share", type=float, default=1.0, help="of the full counts (default: 1)")
    arguments = parser.parse_args(argv)
    failed = []
    scheduling = "real time" if realtime()[0] == "--realtime" else "ordinary"
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, scheduling: {scheduling}", flush=True)
    with tempfile.TemporaryDirectory(prefix="descant-soak-") as name:
        folder = Path(name)
        with jack_server(f"descant-soak-{os.getpid()}", folder) as server:
            SERVER[:] = [server]
            for part in arguments.only.split(","):
                print(f"--- {part}, load {os.getloadavg()[0]:.1f}", flush=True)
                if not PARTS[part](arguments.share, folder):
                    failed.append(part)
    print("every bar is met" if not failed else f"NOT MET: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
