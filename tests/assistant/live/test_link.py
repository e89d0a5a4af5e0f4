"""Ableton Link: Descant and another program in one session, in a network of their own that has no way out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.midi_rig import Jack

ROOT = Path(__file__).resolve().parents[3]

# The other program leads at 97 bpm when Descant, which would play at 120, joins it.
PROGRAM = """
import asyncio, json, subprocess, sys, threading, time
from pathlib import Path

subprocess.run(["ip", "link", "set", "lo", "up"], capture_output=True)

import aalink
from assistant.live.live import Live
from assistant.live.live_settings import LiveSettings
from models.score import Note, Score, Track
from scripts.midi_rig import Listener, wait_for

peers = []

async def begin():
    link = aalink.Link(97)
    await asyncio.sleep(0.5)
    link.quantum, link.enabled = 3.0, True
    peers.append(link)

loop = asyncio.new_event_loop()
loop.create_task(begin())
threading.Thread(target=loop.run_forever, daemon=True).start()
(peer,) = wait_for(lambda: list(peers))
wait_for(lambda: peer.beat > 3)
said = {}
with Live(LiveSettings(api="jack", sync="link", bpm=120, meter=(3, 4)), None, Path(sys.argv[1])) as live:
    bpm = lambda: live.state()["transport"]["bpm"]
    wait_for(lambda: peer.num_peers == 1 and abs(bpm() - 97) < 0.1)
    time.sleep(2.0)
    said["peers"], said["bpm"] = peer.num_peers, bpm()
    said["leader"], said["rolling"] = live.state()["transport"]["source"], live.state()["transport"]["rolling"]
    listener = Listener()
    listener.connect()
    notes = [Note(480 * beat, 30 + beat, 240, 80) for beat in range(90)]
    here, beats = time.perf_counter(), peer.beat
    live.play(Score(tracks=(Track(notes=tuple(notes)),), length=480 * 90))
    wait_for(lambda: len(listener.notes()) >= 9)
    live.stop()
    wait_for(lambda: not listener.sounding)
    said["pitches"] = [item.data[1] for item in listener.notes()]
    said["beats"] = [beats + (item.time - here) * 97 / 60 for item in listener.notes()]
    peer.tempo = 140
    wait_for(lambda: abs(bpm() - 140) < 0.1)
    said["new_bpm"] = bpm()
    listener.close()
print(json.dumps(said), flush=True)
import os
os._exit(0)
"""


def alone(command: list[str]) -> list[str]:
    """The command in a network of its own, where the system gives one: no Link session of this house is joined."""
    cage = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*cage, "true"], capture_output=True).returncode == 0:
        return [*cage, *command]
    return command


def test_it_joins_a_session_and_plays_on_its_bars(jack: Jack, tmp_path: Path) -> None:
    if os.environ.get("CI") != "true":
        pytest.importorskip("aalink")
    done = subprocess.run(
        alone([sys.executable, "-c", PROGRAM, str(tmp_path)]),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["leader"], said["rolling"], said["peers"]) == ("link", True, 1)
    assert said["bpm"] == pytest.approx(97, abs=0.1) and said["new_bpm"] == pytest.approx(140, abs=0.1)
    # Without real-time scheduling, which this network of its own takes away, a busy computer may swallow a note.
    numbers = [pitch - 30 for pitch in said["pitches"]]
    assert numbers == sorted(set(numbers)) and len(numbers) >= 9
    # Every note on a beat of the other program, the first of each three on its bar line.
    begins = round(said["beats"][0] - numbers[0])
    assert begins % 3 == 0
    off = sorted(abs(beat - begins - number) for number, beat in zip(numbers, said["beats"], strict=True))
    assert off[len(off) // 2] < 0.05  # beats: 31 ms
