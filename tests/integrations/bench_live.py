"""Live's double with our script in it, on a thread that plays Live's main thread."""

from __future__ import annotations

import importlib.util
import queue
import sys
import threading
import time
from concurrent.futures import Future
from itertools import count
from typing import Any

from integrations import live
from integrations.base import TICKS, Selection
from integrations.memory import Clip, Song
from tests.integrations.bench import LONGEST, Notes, rows
from tests.integrations.bench_remote import RemoteBench
from tests.integrations.doubles import live as live_double

_scripts = count()  # that have been loaded


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
        over, under = next(((m.numerator, m.denominator) for m in reversed(song.meters)), (4, 4))
        self.rules.facts.update(signature_numerator=over, signature_denominator=under)
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
        name = f"descant_in_live_{next(_scripts)}"  # a name used before would find that script's modules
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
        if action == "sketch":  # it has no key: Live gives a script no place to write words in
            self.bridges.press("live", action, options)
            return
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
