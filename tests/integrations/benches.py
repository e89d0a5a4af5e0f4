"""One bench a DAW: the DAW itself or its double with our script in it, and the hands and eyes of a user.

A song is described once, as integrations.memory has it; every bench lays it out as its DAW would. Notes that a
bench reports are (start, pitch, duration, velocity) in ticks of the song.
"""

from __future__ import annotations

import importlib.util
import json
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from assistant.bridges import Bridges, propose_to, secret
from assistant.daws import plan_install
from integrations import bitwig, live, reaper
from integrations.base import TICKS, Daw, Selection
from integrations.memory import Clip, Lane, MemoryDaw, Song
from integrations.scripts import FOLDER, Connection, Script
from models.errors import Cancelled, UserError
from models.score import Note, Score
from tests.integrations.doubles import live as live_double

HERE = Path(__file__).resolve().parent
TOKEN = "0123456789abcdef" * 4
LONGEST = 60.0  # seconds for which a test waits for something that must come
Notes = list[tuple[int, int, int, int]]


class SomeNotes:
    """A generator without a network: a few notes wherever the rules allow some."""

    model_hash = "some"

    def generate(
        self, task: Any, seeds: Any, sampling: Any, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        from models.generators import Progress
        from models.tokens import END

        for candidate, seed in enumerate(seeds):
            rng = np.random.default_rng(list(seed))
            draft = task.rules.draft()
            for done, bar in enumerate(task.bars, 1):
                for track in np.flatnonzero(task.region[bar]).tolist():
                    draft.enter(bar, track)
                    for _ in range(4):
                        places = np.flatnonzero(draft.positions()[:END])
                        if not len(places):
                            break
                        position = int(rng.choice(places))
                        pitch = int(rng.choice(np.flatnonzero(draft.pitches(position))))
                        duration = int(rng.choice(np.flatnonzero(draft.durations(position, pitch))))
                        loud, late = (
                            int(rng.choice(np.flatnonzero(mask)))
                            for mask in (draft.velocities(), draft.micros(position))
                        )
                        draft.accept(position, pitch, duration, loud, late)
                yield Progress(candidate, bar, done, len(task.bars), [row for row in draft.rows if row[0] == bar])


class Asked:
    """What stands for the engine: the real pipeline with a generator that needs no network, and a door to hold."""

    def __init__(self) -> None:
        self.calls: list[tuple[Score, dict[str, Any]]] = []
        self.scores: list[Score] = []
        self.door = threading.Event()
        self.door.set()
        self.entered = threading.Event()
        self.cancelled = threading.Event()

    def __call__(self, score: Score, words: dict[str, Any], cancelled: Any) -> list[Score]:
        from assistant.asking import build_request, parse_words
        from assistant.pipeline import propose

        self.calls.append((score, words))
        self.entered.set()
        while not self.door.wait(0.005):
            if cancelled():
                self.cancelled.set()
                raise Cancelled
        request = build_request(parse_words(words), score)
        self.scores = [candidate.score for candidate in propose(request, SomeNotes(), cancelled=cancelled)]
        return self.scores


def rows(notes: Any, shift: int = 0) -> Notes:
    return sorted((round(n[0]) + shift, round(n[1]), round(n[2]), round(n[3])) for n in notes)


def until(true: Any) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + LONGEST
    while not true():
        if time.monotonic() > end:
            raise AssertionError("it never came")
        time.sleep(0.004)


class Bench:
    """What the tests ask of every DAW."""

    name = ""
    whole_clips = False  # a candidate of a filled clip holds the kept notes too
    origin_is_clip = False  # a launcher has no time line: a Score begins with the clip
    many_tracks = 200

    daw: Daw

    def __init__(self, folder: Path, asked: Asked) -> None:
        self.folder, self.asked = folder, asked

    def load(self, song: Song, lanes: tuple[int, ...], start: int, end: int) -> None:
        """Open a song and select. No lanes: nothing is selected."""
        raise NotImplementedError

    def where(self, selection: Selection, action: str) -> int:
        """What turns ticks of a Score into the ticks that `candidates` reports."""
        return round(selection.origin * TICKS)

    def snap(self, notes: Notes) -> Notes:
        """Notes on the DAW's finest grid."""
        return notes

    def where_kept(self, selection: Selection, action: str) -> int:
        """The same for what `kept` reports."""
        return self.where(selection, action)

    def edit(self, lane: int) -> None:
        """The user moves the first note of a lane's first clip up by a semitone."""
        raise NotImplementedError

    def own(self) -> dict[str, Notes]:
        """The user's notes, lane by lane, as they are written in the clips (loops not written out)."""
        raise NotImplementedError

    def candidates(self) -> list[dict[str, Notes]]:
        """The notes of every candidate beside them, lane by lane."""
        raise NotImplementedError

    def shown(self) -> int:
        """The candidate that is shown; 0 for the user's own."""
        raise NotImplementedError

    def kept(self) -> dict[str, Notes]:
        """Everything that is in the song once a candidate was accepted."""
        raise NotImplementedError

    def press(self, action: str, **options: Any) -> None:
        """The user presses a key; returns when the DAW has heard of it."""
        raise NotImplementedError

    def said(self) -> list[str]:
        raise NotImplementedError

    def user_undo(self) -> None:
        self.daw.undo()

    def close_daw(self) -> None:
        """The DAW ends, as when its window is closed."""

    def restart_server(self) -> None:
        """The program that DAWs talk to ends and starts again."""

    def close(self) -> None:
        """Leave nothing behind; fails when the DAW's rules were broken."""


# --- Memory -------------------------------------------------------------------------------------------


class MemoryBench(Bench):
    name = "memory"

    def load(self, song: Song, lanes: tuple[int, ...], start: int, end: int) -> None:
        self.memory = MemoryDaw(song, (lanes, start, end))
        self.daw = self.memory
        self.running: threading.Thread | None = None
        self.stopped = threading.Event()

    def edit(self, lane: int) -> None:
        clip = self.memory.song.lanes[lane].clips[0]
        first = clip.notes[0]._replace(pitch=clip.notes[0].pitch + 1)
        self.memory.edit(lane, 0, Clip(clip.start, clip.length, (first, *clip.notes[1:]), clip.period))

    def own(self) -> dict[str, Notes]:
        return {
            lane.name: rows([n._replace(start=n.start + clip.start) for clip in lane.clips for n in clip.notes])
            for lane in self.memory.song.lanes
            if lane.clips
        }

    def candidates(self) -> list[dict[str, Notes]]:
        found: dict[int, dict[str, Notes]] = {}
        for lane in self.memory.song.lanes:
            for number, clip, _ in lane.candidates:
                found.setdefault(number, {})[lane.name] = rows(clip.notes, clip.start)
        return [found[number] for number in sorted(found)]

    def shown(self) -> int:
        return self.memory.song.shown

    def kept(self) -> dict[str, Notes]:
        return self.own()

    def press(self, action: str, **options: Any) -> None:
        def run() -> None:
            try:
                propose_to(self.memory, action, options, self.asked, self.stopped.is_set)
                self.memory.say("candidates")
            except UserError as error:
                self.memory.say(error.message)
            except Cancelled:
                self.memory.say("Stopped")

        local = {"accept": self.memory.accept, "cancel": self.memory.cancel}
        if action in local:
            local[action]()
        elif action in ("next", "previous"):
            self.memory.audition(self.memory.song.shown + (1 if action == "next" else -1))
        else:
            self.running = threading.Thread(target=run)
            self.running.start()

    def said(self) -> list[str]:
        return self.memory.messages

    def close_daw(self) -> None:
        self.stopped.set()

    def restart_server(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        if self.running:
            self.running.join()


# --- Scripts in other interpreters ----------------------------------------------------------------------


@dataclass
class Double:
    """A DAW's double as a process that takes a JSON command a line and answers each with one."""

    process: subprocess.Popen[str]
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def start(cls, *command: str, environment: dict[str, str] | None = None) -> Self:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if environment is None else subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        return cls(process)

    def __call__(self, cmd: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        with self.lock:
            self._tell({"cmd": cmd, "now": time.monotonic(), **arguments})
            while True:
                line = self._read()
                if not line:
                    raise AssertionError(f"the double ended: {self.process.wait()}")
                answer: dict[str, Any] = json.loads(line)
                if "make" not in answer:
                    assert "failed" not in answer, answer["failed"]
                    return answer
                Path(answer["make"]).mkdir(parents=True, exist_ok=True)
                self._tell({})

    def _read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()


class RemoteBench(Bench):
    """A bench whose DAW talks to Bridges. Subclasses start the double and give it turns."""

    def serve(self) -> None:
        self.bridges = Bridges(self.folder / "home", TOKEN, self.asked, port=getattr(self, "port", 0))
        self.bridges.start()
        assert self.bridges.problems == []
        self.port = self.bridges.port

    def install(self, script: Script) -> Path:
        """Our folder among the DAW's scripts, as the command writes it."""
        connection = Connection(self.folder / "home" / "daw", self.port, secret(TOKEN))
        for path, content in plan_install(script, self.folder / "scripts", connection):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.folder / "scripts" / FOLDER

    def turn(self) -> None:
        """Let the DAW work for a moment."""
        raise NotImplementedError

    def go(self) -> None:
        """Give the DAW turns from now on, and wait until it has come to us."""
        self.stopping = threading.Event()
        self.turning = threading.Thread(target=self._turns, daemon=True)
        self.turning.start()
        until(lambda: self.bridges.connected)
        self.daw = self.bridges.connected[0]

    def _turns(self) -> None:
        while not self.stopping.is_set():
            self.turn()
            time.sleep(0.003)

    def stop_turns(self) -> None:
        self.stopping.set()
        self.turning.join()

    def restart_server(self) -> None:
        self.bridges.close()
        self.serve()
        until(lambda: self.bridges.connected)
        self.daw = self.bridges.connected[0]


class ReaperBench(RemoteBench):
    name = "reaper"
    whole_clips = True

    def load(self, song: Song, lanes: tuple[int, ...], start: int, end: int) -> None:
        self.serve()
        scripts = self.install(reaper.SCRIPT)
        self.double = Double.start("lua5.4", str(HERE / "doubles" / "reaper.lua"), f"{scripts}/")
        self.double("load", **layout(song, lanes, start, end))
        self.double("press", action="next")  # any key brings the script up
        self.go()

    def turn(self) -> None:
        self.double("step")

    def state(self) -> dict[str, Any]:
        return self.double("state")

    def edit(self, lane: int) -> None:
        self.double("edit", lane=lane, clip=0)

    def own(self) -> dict[str, Notes]:
        found: dict[str, Notes] = {}
        for track in self.state()["tracks"]:
            notes: Notes = []
            for item in track["items"]:
                if item["takes"][0]["name"] == "own":
                    notes += rows(item["takes"][0]["notes"], round(item["start"]))
            if notes:
                found[track["name"]] = sorted(notes)
        return found

    def candidates(self) -> list[dict[str, Notes]]:
        found: dict[str, dict[str, Notes]] = {}
        for track in self.state()["tracks"]:
            for item in track["items"]:
                for take in item["takes"]:
                    if take["name"].startswith("Descant"):
                        lanes = found.setdefault(take["name"], {})
                        lanes[track["name"]] = rows(take["notes"], round(item["start"]))
        return [found[name] for name in sorted(found)]

    def shown(self) -> int:
        for track in self.state()["tracks"]:
            for item in track["items"]:
                name = item["takes"][item["active"] - 1]["name"]
                if name.startswith("Descant"):
                    return int(name.split()[-1])
        return 0

    def kept(self) -> dict[str, Notes]:
        found: dict[str, Notes] = {}
        for track in self.state()["tracks"]:
            for item in track["items"]:
                take = item["takes"][item["active"] - 1]
                found.setdefault(track["name"], []).extend(rows(take["notes"], round(item["start"])))
        return found

    def press(self, action: str, **options: Any) -> None:
        text = options.pop("text", None)
        self.double("press", action=action, options=options, **({"text": text} if text else {}))

    def said(self) -> list[str]:
        said: list[str] = self.state()["said"]
        return said

    def user_undo(self) -> None:
        self.double("undo")

    def close_daw(self) -> None:
        self.double("quit")

    def close(self) -> None:
        self.stop_turns()
        violations = self.state()["violations"]
        self.double.end()
        self.bridges.close()
        assert violations == []


class LiveBench(RemoteBench):
    """Live with the clip in a slot of the session view."""

    name = "live session"
    whole_clips = True
    origin_is_clip = True
    in_arrangement = False

    def load(self, song: Song, lanes: tuple[int, ...], start: int, end: int) -> None:
        self.serve()
        folder = self.install(live.SCRIPT)
        self.rules = live_double.Rules()
        self.rules.facts["tempo"] = song.tempos[0].bpm if song.tempos else 120.0
        for index, lane in enumerate(song.lanes):
            track = live_double.Tracked(lane.name, self.rules.scenes)
            track.drums = lane.is_drum
            self.rules.tracks.append(track)
            if not lane.clips:
                continue
            clip = self._clip(song, lane.clips[0])
            if self.in_arrangement:
                track.arrangement.append(clip)
            else:
                track.slots[0] = clip
            if index in lanes:
                self.rules.selected = clip.pointer
                if (start, end) != (lane.clips[0].start, lane.clips[0].end):
                    spans = (note["start_time"] * TICKS + lane.clips[0].start for note in clip.notes)
                    chosen = [start <= at < end for at in spans]
                    self.rules.selected_notes = [n for n, is_in in zip(clip.notes, chosen, strict=True) if is_in]
        self.tasks: queue.SimpleQueue[tuple[Any, Future[Any]]] = queue.SimpleQueue()
        self.folder_of_script = folder
        self.surface: Any = None
        self.go()

    def where(self, selection: Selection, action: str) -> int:
        """A new clip in a slot begins at its own 0; the copy of a clip keeps the clip's beats."""
        if action == "fill":
            return super().where(selection, action)
        return -(selection.score.bar(selection.bars[1] + 1).start if action == "continue" else 0)

    def _clip(self, song: Song, clip: Clip) -> live_double.Clipped:
        length = (clip.period or clip.length) / TICKS
        over, under = next(((m.numerator, m.denominator) for m in reversed(song.meters)), (4, 4))
        data = live_double.Clipped(length, signature_numerator=over, signature_denominator=under)
        if len(song.meters) > 1:  # a pickup: what comes before the first whole bar is before the clip's own 1.1.1
            before = song.meters[-1].tick / TICKS
            data.facts.update(start_marker=-before, loop_start=0.0, loop_end=length - before)
        first = data.facts["start_marker"]
        if self.in_arrangement:
            data.facts.update(start_time=clip.start / TICKS, end_time=clip.end / TICKS)
            data.facts["looping"] = clip.period > 0
        for note in clip.notes:
            data.add(first + note.start / TICKS, note.pitch, note.duration / TICKS, note.velocity)
        return data

    def _turns(self) -> None:
        """Live's main thread: it starts the script, gives it turns, and does what the user does."""
        self.rules.main = threading.get_ident()
        sys.modules["Live"] = live_double.module(self.rules)
        self.instance = live_double.Instance(self.rules)
        name = f"descant_in_live_{id(self)}"
        place = self.folder_of_script / "__init__.py"
        spec = importlib.util.spec_from_file_location(name, place, submodule_search_locations=[str(place.parent)])
        assert spec and spec.loader
        package = importlib.util.module_from_spec(spec)
        sys.modules[name] = package
        spec.loader.exec_module(package)
        self.surface = package.create_instance(self.instance)
        while not self.stopping.is_set():
            while not self.tasks.empty():
                work, done = self.tasks.get()
                try:
                    done.set_result(work())
                except BaseException as error:
                    done.set_exception(error)
            if self.surface:
                self.surface.update_display()
            time.sleep(0.002)

    def on_main(self, work: Any) -> Any:
        done: Future[Any] = Future()
        self.tasks.put((work, done))
        return done.result(LONGEST)

    def _shift(self, clip: live_double.Clipped) -> int:
        if self.in_arrangement:
            return round((clip.facts["start_time"] - clip.facts["start_marker"]) * TICKS)
        return 0

    def _clips(self) -> list[tuple[str, live_double.Clipped]]:
        tracks = self.rules.tracks
        slots = [(track.name, clip) for track in tracks for clip in track.slots if clip is not None]
        return slots + [(track.name, clip) for track in tracks for clip in track.arrangement]

    def _notes(self, clip: live_double.Clipped, shift: int) -> Notes:
        return rows(
            [(n["start_time"] * TICKS, n["pitch"], n["duration"] * TICKS, n["velocity"]) for n in clip.notes], shift
        )

    def edit(self, lane: int) -> None:
        def work() -> None:
            self.rules.past.append(self.rules.snapshot())
            track = self.rules.tracks[lane]
            clip = track.arrangement[0] if self.in_arrangement else track.slots[0]
            assert clip
            clip.notes[0]["pitch"] += 1

        self.on_main(work)

    def own(self) -> dict[str, Notes]:
        return self.on_main(
            lambda: {
                name: self._notes(clip, self._shift(clip))
                for name, clip in self._clips()
                if not clip.facts["name"].startswith("Descant")
            }
        )

    def candidates(self) -> list[dict[str, Notes]]:
        def work() -> list[dict[str, Notes]]:
            found: dict[str, dict[str, Notes]] = {}
            for name, clip in self._clips():
                label = clip.facts["name"]
                if label.startswith("Descant"):
                    found.setdefault(label, {})[name] = self._notes(clip, 0)
            return [found[label] for label in sorted(found)]

        return self.on_main(work)

    def shown(self) -> int:
        return int(self.on_main(lambda: self.surface._set.shown))

    def kept(self) -> dict[str, Notes]:
        def work() -> dict[str, Notes]:
            found: dict[str, Notes] = {}
            for name, clip in self._clips():
                found.setdefault(name, []).extend(self._notes(clip, self._shift(clip)))
            return found

        return self.on_main(work)

    def press(self, action: str, **options: Any) -> None:
        keys = ("continue", "fill", "accompany", "next", "previous", "accept", "cancel")

        def work() -> None:
            self.surface.options.update(options)
            self.surface.receive_midi((0xBF, 102 + keys.index(action), 127))

        self.on_main(work)

    def said(self) -> list[str]:
        return self.on_main(lambda: list(self.instance.shown))

    def user_undo(self) -> None:
        self.on_main(lambda: live_double.Song(self.rules, -2).undo())

    def close_daw(self) -> None:
        def work() -> None:
            self.surface.disconnect()
            self.surface = None

        self.on_main(work)

    def close(self) -> None:
        self.stop_turns()
        if self.surface:
            self.surface.disconnect()
        self.bridges.close()
        assert self.rules.violations == [] and self.rules.open_step is None


class LiveArrangementBench(LiveBench):
    """Live with the clip on the time line; candidates still go into slots."""

    name = "live arrangement"
    in_arrangement = True
    origin_is_clip = False

    def where_kept(self, selection: Selection, action: str) -> int:
        return round(selection.origin * TICKS)


class BitwigBench(RemoteBench):
    """Bitwig with the clip in a launcher slot. A clip has no beats below 0: a pickup is its fourth beat."""

    name = "bitwig"
    whole_clips = True
    origin_is_clip = True
    keys: ClassVar[dict[str, str]] = {
        "continue": "Continue",
        "fill": "Fill clip",
        "next": "Next candidate",
        "previous": "Previous candidate",
        "accept": "Accept",
        "cancel": "Cancel",
    }

    def load(self, song: Song, lanes: tuple[int, ...], start: int, end: int) -> None:
        self.serve()
        folder = self.install(bitwig.SCRIPT)
        self.double = Double.start("node", str(HERE / "doubles" / "bitwig.js"), str(folder))
        over, under = next(((m.numerator, m.denominator) for m in reversed(song.meters)), (4, 4))
        tempo = song.tempos[0].bpm if song.tempos else 120.0
        laid = [{"name": lane.name, "clip": self._clip(song, lane.clips[0])} for lane in song.lanes]
        selected = lanes[0] if lanes else -1
        self.double("load", lanes=laid, tempo=tempo, over=over, under=under, selected=selected)
        self.double("start")
        until(lambda: self.bridges.connected)
        self.daw = self.bridges.connected[0]

    def _clip(self, song: Song, clip: Clip) -> dict[str, Any]:
        length = (clip.period or clip.length) / TICKS
        pickup = song.meters[-1].tick / TICKS if len(song.meters) > 1 else 0.0
        first = 4.0 - pickup if pickup else 0.0
        notes = [
            {
                "start": first + n.start / TICKS,
                "pitch": n.pitch,
                "duration": n.duration / TICKS,
                "velocity": n.velocity,
            }
            | {"channel": 0}
            for n in clip.notes
        ]
        loop = {"loopStart": first + pickup, "loopLength": length - pickup}
        return loop | {"playStart": first, "playStop": first + length, "notes": notes}

    def where(self, selection: Selection, action: str) -> int:
        after = selection.score.bar(selection.bars[1] + 1).start
        return -(after if action == "continue" else selection.start)

    def snap(self, notes: Notes) -> Notes:
        step = TICKS // 240
        return sorted(((at + step // 2) // step * step, *rest) for at, *rest in notes)  # type: ignore[misc]

    def _notes(self, ours: bool) -> list[tuple[str, str, Notes]]:
        found = []
        for track in self.double("state")["tracks"]:
            for clip in track["slots"]:
                if clip and clip["name"].startswith("Descant") is ours:
                    notes = [
                        (n["start"] * TICKS, n["pitch"], n["duration"] * TICKS, n["velocity"])
                        for n in clip["notes"]
                    ]
                    found.append((track["name"], clip["name"], rows(notes)))
        return found

    def edit(self, lane: int) -> None:
        self.double("edit", lane=lane)

    def own(self) -> dict[str, Notes]:
        return {name: notes for name, _, notes in self._notes(ours=False)}

    def candidates(self) -> list[dict[str, Notes]]:
        return [{name: notes} for name, label, notes in sorted(self._notes(ours=True), key=lambda entry: entry[1])]

    def kept(self) -> dict[str, Notes]:
        found: dict[str, Notes] = {}
        for name, _, notes in [*self._notes(ours=False), *self._notes(ours=True)]:
            found.setdefault(name, []).extend(notes)
        return found

    def shown(self) -> int:
        shown = [line for line in self.said() if re.fullmatch(r"Descant \d+", line)]
        return int(shown[-1].split()[1]) if shown else 0

    def press(self, action: str, **options: Any) -> None:
        numbers = {word.title(): value for word, value in options.items()}
        self.double("press", label=self.keys[action], numbers=numbers)

    def said(self) -> list[str]:
        said: list[str] = self.double("state")["said"]
        return said

    def close_daw(self) -> None:
        self.double("quit")

    def close(self) -> None:
        violations = self.double("state")["violations"]
        self.double.end()
        self.bridges.close()
        assert violations == []


def layout(song: Song, lanes: tuple[int, ...], start: int, end: int) -> dict[str, Any]:
    """A song as the doubles take it: markers of [quarter, bpm, over, under], lanes of clips, a time selection."""
    bpm, markers = 120.0, []
    changes = {tempo.tick for tempo in song.tempos} | {meter.tick for meter in song.meters} | {0}
    tempos = {tempo.tick: tempo.bpm for tempo in song.tempos}
    meters = {meter.tick: [meter.numerator, meter.denominator] for meter in song.meters}
    for tick in sorted(changes):
        bpm = tempos.get(tick, bpm)
        markers.append([tick / TICKS, bpm, *meters.get(tick, [4, 4] if tick == 0 else [None, None])])
    laid = []
    for index, lane in enumerate(song.lanes):
        clips = [
            {
                "start": clip.start,
                "length": clip.length,
                "period": clip.period,
                "notes": [list(note[:4]) for note in clip.notes],
                "selected": index in lanes and clip.start < end and clip.end > start,
            }
            for clip in lane.clips
        ]
        laid.append({"name": lane.name, "clips": clips, "drum": lane.is_drum, "program": lane.program})
    spans = [
        (clip["start"], clip["start"] + clip["length"])
        for lane in laid
        for clip in lane["clips"]
        if clip["selected"]
    ]
    whole = spans and (start, end) == (min(s for s, _ in spans), max(e for _, e in spans))
    return {"markers": markers, "lanes": laid, "time": [0, 0] if whole or not lanes else [start, end]}


BENCHES: list[type[Bench]] = [MemoryBench, ReaperBench, LiveBench, LiveArrangementBench, BitwigBench]


@contextmanager
def bench_of(kind: type[Bench], folder: Path) -> Iterator[Bench]:
    bench = kind(folder, Asked())
    try:
        yield bench
    finally:
        bench.asked.door.set()
        bench.close()


def lane(name: str, *clips: Clip, program: int = 0, drum: bool = False) -> Lane:
    return Lane(name, clips, program, drum)


def scale(start: int, bars: int, bar: int = 4 * TICKS, step: int = TICKS, period: int = 0) -> Clip:
    """A clip of quarter notes up and down, `bars` bars of `bar` ticks; `period`: looped after so many ticks."""
    length = bars * bar
    notes = [
        Note(at, 60 + 2 * (at // step % 5), step // 2, 70 + at // step % 20)
        for at in range(0, period or length, step)
    ]
    return Clip(start, length, tuple(notes), period)
