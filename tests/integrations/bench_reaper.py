"""REAPER's double with our script in it, under a real Lua."""

from __future__ import annotations

from typing import Any

from integrations import reaper
from integrations.memory import Song
from tests.integrations.bench import HERE, Notes, layout, rows
from tests.integrations.bench_remote import Double, RemoteBench


class ReaperBench(RemoteBench):
    name = "reaper"
    whole_clips = True

    environment: dict[str, str] | None = None
    leave_out: tuple[str, ...] = ()  # files that are not installed

    def load(self, song: Song, lanes: tuple[int, ...], start: int, end: int, cursor: int = 0) -> None:
        self.serve()
        scripts = self.install(reaper.SCRIPT)
        for name in self.leave_out:
            (scripts / name).unlink()
        double = ("lua5.4", str(HERE / "doubles" / "reaper.lua"), f"{scripts}/")
        self.double = Double.start(*double, environment=self.environment)
        self.double("load", cursor=cursor, **layout(song, lanes, start, end))
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
        assert not violations, violations
