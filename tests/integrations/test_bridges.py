"""Keys that come quickly: none is lost, whoever presses it and however busy the computer is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from assistant.bridges import Desk
from integrations.base import TICKS
from integrations.links import SILENT_SECONDS, FolderLink
from integrations.memory import MemoryDaw, Song
from integrations.wire import RemoteDaw
from tests.integrations.bench import Asked, lane, scale, until
from tests.integrations.bench_reaper import ReaperBench

BAR = 4 * TICKS
SONG = Song((lane("Keys", scale(0, 2)),))
KEY = {"action": "continue", "options": {"candidates": 2, "bars": 2}}


CANCEL = {"action": "cancel"}


class QuickUser(MemoryDaw):
    """Presses a key the moment something is told, or written."""

    desk: Desk

    def __init__(self, when_told: dict[str, Any] | None = None, when_written: dict[str, Any] | None = None) -> None:
        super().__init__(SONG, ((0,), 0, 2 * BAR))
        self.when_told, self.when_written = when_told, when_written
        self.ends = 0

    def say(self, text: str, done: bool = True) -> None:
        super().say(text, done)
        self.ends += done
        if done and self.ends == 1 and self.when_told:
            self.desk.pressed(self.when_told)

    def write(self, *arguments: Any, again: bool = False, whole: bool = True) -> None:
        super().write(*arguments, again=again, whole=whole)
        if whole and self.when_written:
            self.desk.pressed(self.when_written)

    @property
    def candidates(self) -> int:
        return max(len(lane.candidates) for lane in self.song.lanes)


def desk_of(daw: MemoryDaw, asked: Asked) -> Desk:
    return Desk(cast(RemoteDaw, daw), asked)


def test_the_next_key_is_heard_as_soon_as_the_end_is_told() -> None:
    daw = QuickUser(when_told=KEY)
    daw.desk = desk_of(daw, Asked())
    daw.desk.pressed(KEY)
    until(lambda: daw.ends == 2)
    assert [line.partition(" ")[0] for line in daw.messages] == ["Descant", "2", "Descant", "2"]


def test_a_cancel_as_soon_as_candidates_are_seen_takes_them_away() -> None:
    daw = QuickUser(when_written=CANCEL)
    daw.desk = desk_of(daw, Asked())
    daw.desk.pressed(KEY)
    until(lambda: daw.ends == 1)
    assert "Stopped" in daw.messages[-1] and daw.candidates == 0


def test_a_cancel_while_the_end_is_being_told_takes_them_away_too() -> None:
    daw = QuickUser(when_told=CANCEL)
    daw.desk = desk_of(daw, Asked())
    daw.desk.pressed(KEY)
    until(lambda: daw.ends == 1 and daw.candidates == 0)
    assert "2 candidates" in daw.messages[-1]


def test_a_cancel_right_behind_a_key_stops_it() -> None:
    daw = MemoryDaw(SONG, ((0,), 0, 2 * BAR))
    asked = Asked()
    asked.door.clear()
    desk = desk_of(daw, asked)
    desk.pressed(KEY)
    desk.pressed(CANCEL)
    until(lambda: any("Stopped" in line for line in daw.messages))
    assert not any(lane.candidates for lane in daw.song.lanes)


def test_a_key_while_another_runs_is_told_so_and_the_first_goes_on() -> None:
    daw = MemoryDaw(SONG, ((0,), 0, 2 * BAR))
    asked = Asked()
    asked.door.clear()
    desk = desk_of(daw, asked)
    desk.pressed(KEY)
    until(asked.entered.is_set)
    desk.pressed(KEY)
    until(lambda: any("still at work" in line for line in daw.messages))
    asked.door.set()
    until(lambda: any("2 candidates" in line for line in daw.messages))
    assert len(asked.calls) == 1


def test_a_key_after_reaper_stood_still_for_long_is_heard(tmp_path: Path) -> None:
    """Behind a dialog its scripts get no turns, until the program takes it for closed."""
    bench = ReaperBench(tmp_path, Asked())
    bench.load(SONG, (0,), 0, 2 * BAR)
    try:
        bench.stop_turns()
        (folder,) = [link for link in bench.bridges._links if isinstance(link, FolderLink)]
        for session in folder._sessions.values():
            session.seen -= 2 * SILENT_SECONDS
        until(lambda: not bench.bridges.connected)
        bench.press("continue", candidates=2, bars=2)
        bench.go()
        until(lambda: len(bench.candidates()) == 2)
        assert not any("closed" in line for line in bench.said())
    finally:
        bench.close()


def test_a_request_that_was_dropped_while_reaper_stood_still_is_told(tmp_path: Path) -> None:
    bench = ReaperBench(tmp_path, Asked())
    bench.load(SONG, (0,), 0, 2 * BAR)
    bench.asked.door.clear()
    try:
        bench.press("continue", candidates=2)
        until(bench.asked.entered.is_set)
        bench.stop_turns()
        (folder,) = [link for link in bench.bridges._links if isinstance(link, FolderLink)]
        for session in folder._sessions.values():
            session.seen -= 2 * SILENT_SECONDS
        until(bench.asked.cancelled.is_set)
        bench.go()
        until(lambda: any("nothing was written" in line for line in bench.said()))
        assert bench.candidates() == []
    finally:
        bench.asked.door.set()
        bench.close()


def test_two_keys_in_one_turn_of_reaper_are_both_heard(tmp_path: Path) -> None:
    bench = ReaperBench(tmp_path, Asked())
    bench.load(SONG, (0,), 0, 2 * BAR)
    bench.asked.door.clear()
    try:
        bench.stop_turns()
        bench.press("continue", candidates=2)
        bench.press("fill", candidates=2)
        bench.go()
        until(lambda: any("still at work" in line for line in bench.said()))
        until(bench.asked.entered.is_set)
        assert bench.asked.calls[0][1]["bars"] == "3-6"
    finally:
        bench.asked.door.set()
        bench.close()
