"""The DAW that exists only in memory, as a bench."""

from __future__ import annotations

import threading
from typing import Any

from assistant.bridges import propose_to
from integrations.memory import Clip, MemoryDaw, Song
from models.errors import Cancelled, UserError
from tests.integrations.bench import Bench, Notes, rows


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
