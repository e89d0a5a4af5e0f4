"""Bitwig's double with our script in it, under Node."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from integrations import bitwig
from integrations.base import TICKS, Selection
from integrations.memory import Clip, Song
from tests.integrations.bench import HERE, Notes, rows, until
from tests.integrations.bench_remote import Double, RemoteBench


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
        assert not violations, violations
