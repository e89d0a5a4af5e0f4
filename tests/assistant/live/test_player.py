"""The player, the guard's outlet, the ledger and the capture in virtual time: every note ends, whatever happens."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.live import guard
from assistant.live.capture import Played, to_scores
from assistant.live.guard import Outlet, release_messages
from assistant.live.ledger import Ledger
from assistant.live.player import Player
from models.errors import UserError

TICK = 0.5 / 24


class Desk:
    """A player on virtual time, and what it sent."""

    def __init__(self, **settings: Any) -> None:
        self.now = 100.0
        self.sent: list[tuple[float, bytes]] = []
        self.placed: list[Played] = []
        self.events: list[dict[str, Any]] = []
        self.player = Player(
            lambda due, data: self.sent.append((self.now, data)),
            self.events.append,
            lambda at, beat, run, data: self.placed.append(Played(at, beat, run, data)),
        )
        usual = {"sync": "auto", "bpm": 120.0, "meter": [4, 4], "offset_ms": 0.0, "count_in": 0}
        self.obey(do="settings", song_position="sixteenths", **{**usual, **settings})

    def obey(self, **command: Any) -> None:
        self.player.obey(command, self.now)

    def play(self, rows: list[list[float]], at: float, keep: bool = False) -> None:
        self.obey(do="play", keep=keep, **{"from": at, "at": at, "notes": rows, "events": []})

    def receive(self, *data: int) -> None:
        self.player.receive(self.now, 0, bytes(data), self.now)

    def ticks(self, count: int, jitter: Callable[[], float] = lambda: 0.0) -> None:
        for _ in range(count):
            self.player.receive(self.now + jitter(), 0, b"\xf8", self.now)
            end = self.now + TICK
            while (again := self.player.run(self.now)) < end:
                self.now = max(again, self.now + 1e-4)
            self.now = end

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            again = self.player.run(self.now)
            self.now = min(end, max(again, self.now + 1e-4))

    def ons(self) -> list[int]:
        return [data[1] for _, data in self.sent if data[0] & 0xF0 == 0x90]

    def unended(self) -> Counter[int]:
        notes: Counter[int] = Counter()
        for _, data in self.sent:
            notes[data[1]] += {0x90: 1, 0x80: -1}.get(data[0] & 0xF0, 0)
        return +notes


def row(beat: float, pitch: int, beats: float = 0.5) -> list[float]:
    return [beat, beats, 0, pitch, 80, 64]


def test_notes_are_sent_when_they_are_due() -> None:
    desk = Desk()
    desk.play([row(beat, 60 + beat) for beat in range(8)], at=4)
    desk.receive(0xFA)
    began = desk.now
    desk.ticks(24 * 13)
    ons = [(at, data[1]) for at, data in desk.sent if data[0] & 0xF0 == 0x90]
    assert [pitch for _, pitch in ons] == list(range(60, 68))
    assert all(abs(at - began - (4 + number) / 2) < 0.002 for number, (at, _) in enumerate(ons))
    assert not desk.unended()


def test_an_offset_sends_everything_earlier() -> None:
    desk = Desk(offset_ms=20.0)
    desk.play([row(0, 60)], at=4)
    desk.receive(0xFA)
    began = desk.now
    desk.ticks(24 * 6)
    assert desk.sent[0][0] - began == pytest.approx(2 - 0.02, abs=0.002)


def test_our_own_transport_counts_in() -> None:
    desk = Desk(count_in=1, meter=[3, 4])
    desk.play([row(0, 60)], at=0)
    desk.obey(do="start", beat=0.0)
    began = desk.now
    desk.run(3)
    assert desk.ons() == [76, 77, 77, 60]
    assert desk.sent[-2][0] - began == pytest.approx(1.5, abs=0.01) and not desk.unended()


def test_locating_plays_what_lies_there_again_and_stopping_ends_what_sounds() -> None:
    desk = Desk()
    desk.play([row(beat, 60 + beat, 3) for beat in range(8)], at=0)
    desk.receive(0xFA)
    desk.ticks(24 * 3)
    desk.receive(0xFC)
    desk.run(0.01)
    assert desk.ons() == [60, 61, 62] and not desk.unended()
    desk.receive(0xF2, 4 * 5, 0)
    desk.receive(0xFB)
    desk.ticks(24)
    assert desk.ons()[3:] == [65]


def test_a_bar_that_comes_late_takes_the_place_of_what_was_there() -> None:
    desk = Desk()
    desk.play([row(beat, 60) for beat in range(4)], at=4)
    desk.receive(0xFA)
    desk.ticks(24 * 2)
    desk.play([row(beat, 70) for beat in range(4)], at=4, keep=True)
    desk.ticks(24 * 7)
    assert desk.ons() == [70] * 4
    desk.play([row(beat, 80) for beat in range(4)], at=8, keep=True)  # its first note is a beat late by now
    desk.ticks(24 * 4)
    assert desk.ons() == [70] * 4 + [80] * 3 and not desk.unended()


def test_ticks_that_stop_end_what_sounds_and_the_next_ones_go_on() -> None:
    desk = Desk()
    desk.play([row(beat, 60 + beat, 20) for beat in range(4)], at=0)
    desk.receive(0xFA)
    desk.ticks(30)
    desk.run(1.5)  # half a second of silence is taken for a pause in the clock, more for its end
    assert desk.ons() == [60, 61, 62] and not desk.unended()
    assert not desk.events[-1].get("rolling", False)
    desk.ticks(24)  # from where the ticks ended, a little after beat 1
    assert desk.ons() == [60, 61, 62, 62]


def test_the_first_note_starts_our_own_transport_and_silence_stops_it() -> None:
    desk = Desk()
    desk.receive(0x90, 60, 80)
    desk.run(1.0)
    desk.receive(0x80, 60, 0)
    assert [item.beat for item in desk.placed] == [0.0, pytest.approx(2.0, abs=0.01)]
    desk.run(20)
    assert not [event for event in desk.events if event["event"] == "transport"][-1]["rolling"]


def test_a_second_clock_waits_until_the_first_is_silent() -> None:
    desk = Desk()
    desk.receive(0xFA)
    for _ in range(48):
        desk.ticks(1)
        desk.player.receive(desk.now, 7, b"\xf8", desk.now)  # twice as many ticks in all
    line = [event for event in desk.events if event["event"] == "transport"][-1]
    assert line["beat"] < 2.1


@given(st.integers(0, 10**6))
def test_every_note_ends_whatever_the_transport_does(seed: int) -> None:
    rng = random.Random(seed)
    desk = Desk(offset_ms=rng.choice([-30.0, 0.0, 15.0]))
    for _ in range(12):
        match rng.randrange(7):
            case 0:
                desk.receive(0xFA)
            case 1:
                desk.receive(0xFC)
            case 2:
                desk.receive(0xF2, rng.randrange(64), 0)
                desk.receive(0xFB)
            case 3:
                at = rng.randrange(16)
                rows = [row(rng.random() * 8, rng.randrange(48, 60), rng.random() * 6) for _ in range(8)]
                desk.play(rows, at, keep=rng.random() < 0.5)
            case 4:
                desk.run(rng.random() * 2)
            case _:
                desk.ticks(rng.randrange(60), lambda: rng.uniform(0, 0.005))
    desk.obey(do="stop")
    assert not desk.unended()


# --- Outlet and ledger --------------------------------------------------------------------------------

messages = st.tuples(st.sampled_from([0x80, 0x90, 0x93, 0x83]), st.integers(60, 63), st.integers(0, 127)).map(bytes)


@given(st.lists(messages, max_size=60))
def test_the_outlet_pairs_every_note_on_with_a_note_off(stream: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sent: list[bytes] = []
        ledger = Ledger(Path(folder) / "ledger")
        outlet = Outlet(ledger, sent.append)
        for message in stream:
            outlet.send(message)
        held = set(ledger.sounding())
        for channel, pitch in held:
            outlet.send(bytes([0x80 | channel, pitch, 0]))
        on: set[tuple[int, int]] = set()
        for data in sent:
            key = (data[0] & 15, data[1])
            if data[0] & 0xF0 == 0x90 and data[2]:
                assert key not in on  # never begun twice
                on.add(key)
            else:
                assert key in on  # never ended twice
                on.discard(key)
        assert on <= held
        ledger.close()


def test_the_ledger_outlives_its_writer_and_has_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    first = Ledger(path)
    first.add(3, 60)
    first.add(3, 60)
    first.use(9)
    with pytest.raises(UserError, match="already live"):
        Ledger(path)
    first.close()
    second = Ledger(path)
    assert second.sounding() == [(3, 60)] and second.count(3, 60) == 2 and second.used() == [3, 9]
    sent: list[bytes] = []
    Outlet(second, sent.append).release()
    assert sent == release_messages([(3, 60)], [3, 9]) * 2 and not second.sounding()
    second.close()


class Killed(Exception):
    """A SIGKILL in virtual time."""


class Receiver:
    """What a synthesiser behind a MIDI system hears, one that knows nothing but note-ons and note-offs.

    What was sent last, up to `lost` messages, still lies in the memory of the sender and dies with it.
    """

    def __init__(self, lost: int) -> None:
        self.sounding: set[tuple[int, int]] = set()
        self._lost, self._under_way = lost, list[bytes]()

    def send(self, data: bytes) -> None:
        self._under_way.append(data)
        while len(self._under_way) > self._lost:
            self._hear(self._under_way.pop(0))

    def sender_died(self) -> None:
        self._under_way.clear()
        self._lost = 0

    def _hear(self, data: bytes) -> None:
        if data[0] & 0xF0 == 0x90 and data[2]:
            self.sounding.add((data[0] & 15, data[1]))
        elif data[0] & 0xF0 in (0x80, 0x90):
            self.sounding.discard((data[0] & 15, data[1]))


def dies_after(steps: int, ledger: Ledger, receiver: Receiver) -> Callable[[bytes], None]:
    """A way to send to `receiver`; whoever uses it is killed after so many bytes in the ledger and messages."""
    left = [steps]

    def step() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    class Pages:
        def __init__(self, pages: Any) -> None:
            self.pages = pages

        def __getitem__(self, place: Any) -> Any:
            return self.pages[place]

        def __setitem__(self, place: Any, value: Any) -> None:
            step()
            self.pages[place] = value

        def close(self) -> None:
            self.pages.close()

    ledger._bytes = Pages(ledger._bytes)  # type: ignore[assignment]

    def send(data: bytes) -> None:
        step()
        receiver.send(data)

    return send


@given(st.lists(messages, max_size=40), st.lists(st.integers(0, 60), max_size=3), st.integers(0, 8))
def test_whenever_guards_are_killed_the_next_one_ends_every_note(
    stream: list[bytes], kills: list[int], lost: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "REPEAT_SECONDS", 0.0)
        path, receiver = Path(folder) / "ledger", Receiver(lost)
        for number, steps in enumerate(kills):
            ledger = Ledger(path)
            try:
                outlet = Outlet(ledger, dies_after(steps, ledger, receiver))
                if number:
                    outlet.release()
                for message in stream:
                    outlet.send(message)
            except Killed:
                pass
            receiver.sender_died()
            ledger.close()
        last = Ledger(path)
        Outlet(last, receiver.send).release()
        assert not receiver.sounding
        last.close()


def test_a_note_off_counts_as_heard_only_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "ledger")
    sent: list[bytes] = []
    outlet = Outlet(ledger, sent.append)
    outlet.send(bytes([0x91, 60, 80]))
    outlet.send(bytes([0x81, 60, 30]))
    outlet.settle()
    assert ledger.unsettled() == [(1, 60)] and not ledger.sounding()
    outlet.repeat()
    assert sent[-1] == bytes([0x81, 60, 64]) and len(sent) == 3
    monkeypatch.setattr(guard, "SETTLED_SECONDS", 0.0)
    outlet.settle()
    assert not ledger.unsettled()
    outlet.repeat()
    assert len(sent) == 3
    ledger.close()


def test_a_port_that_opens_late_hears_what_ended_without_it_and_nothing_that_sounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outlet, "_silence_later", lambda *_: None)  # what is said again has no place in this test
    first = Ledger(tmp_path / "ledger")
    first.add(2, 50)
    first.close()
    ledger = Ledger(tmp_path / "ledger")
    sent: list[bytes] = []
    late: list[bytes] = []
    outlet = Outlet(ledger, sent.append)
    outlet.send(bytes([0x90, 60, 80]))
    outlet.greet(late.append)
    assert late == release_messages([(2, 50)], [0, 2]) and sent == [bytes([0x90, 60, 80])]
    outlet.greet(None)  # someone else at our own port: the channel that plays now is left alone
    assert sent[1:] == release_messages([(2, 50)], [2])


def test_a_note_that_begins_while_all_is_released_keeps_its_end(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    sent: list[bytes] = []

    def send(data: bytes) -> None:
        sent.append(data)
        if data == release_messages([], [0])[-1] and bytes([0x90, 62, 80]) not in sent:
            outlet.send(bytes([0x90, 62, 80]))  # the player does not know yet

    outlet = Outlet(ledger, send)
    outlet.send(bytes([0x90, 60, 80]))
    outlet.release()
    outlet.send(bytes([0x80, 62, 64]))
    assert sent[-1] == bytes([0x80, 62, 64])
    outlet.release(last=True)
    before = len(sent)
    outlet.send(bytes([0x90, 64, 80]))  # what a player had still said when it was ended
    assert len(sent) == before and not ledger.sounding()
    ledger.close()


def test_an_echo_is_known_once_for_each_message(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    outlet = Outlet(ledger, lambda data: None)
    outlet.send(bytes([0x90, 60, 80]))
    now = time.perf_counter()
    assert outlet.is_echo(bytes([0x90, 60, 80]), now)
    assert not outlet.is_echo(bytes([0x90, 60, 80]), now)
    outlet.send(bytes([0x80, 60, 64]))
    assert outlet.is_echo(bytes([0x90, 60, 0]), time.perf_counter())  # a note-off, as some DAWs write it
    outlet.send(bytes([0x90, 61, 80]))
    assert not outlet.is_echo(bytes([0x90, 61, 80]), time.perf_counter() + 1)
    ledger.close()


# --- Capture ------------------------------------------------------------------------------------------


def played(*notes: tuple[float, float, int]) -> list[Played]:
    items = [
        Played(beat / 2, beat, 1, bytes([status, pitch, 80]))
        for begin, end, pitch in notes
        for beat, status in ((begin, 0x90), (end, 0x80))
    ]
    return sorted(items, key=lambda item: item.beat)


def test_triplets_and_sixteenths_find_their_grids() -> None:
    triplets = [(number / 3 + 0.01, number / 3 + 0.2, 60) for number in range(3)]
    sixteenths = [(1 + number / 4 - 0.015, 1 + number / 4 + 0.2, 62) for number in range(4)]
    captured = to_scores(played(*triplets, *sixteenths), (4, 4), 120)
    assert captured is not None
    assert [note.start for note in captured.quantised.tracks[0].notes] == [0, 160, 320, 480, 600, 720, 840]
    assert captured.played.tracks[0].notes[0].start == 5


def test_an_early_downbeat_belongs_to_its_bar_and_a_held_key_is_cut() -> None:
    items = played((3.9, 4.5, 60))[:2] + [Played(2.5, 5.0, 1, bytes([0x90, 64, 80]))]
    captured = to_scores(items, (4, 4), 120, until=6.0)
    assert captured is not None and captured.start_beat == 4.0
    assert [(note.start, note.pitch) for note in captured.quantised.tracks[0].notes] == [(0, 60), (480, 64)]
    assert captured.quantised.tracks[0].notes[1].duration == 480
    assert captured.quantised.length == 1920


@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0.01, 5), st.integers(0, 127)), max_size=40),
    st.sampled_from([(4, 4), (7, 8), (3, 4)]),
)
def test_whatever_is_played_becomes_a_score(notes: list[tuple[float, float, int]], meter: tuple[int, int]) -> None:
    captured = to_scores(played(*((begin, begin + beats, pitch) for begin, beats, pitch in notes)), meter, 97.0)
    assert (captured is None) == (not notes)
    for score in (captured.played, captured.quantised) if captured else ():
        for track in score.tracks:
            ends: dict[int, int] = {}
            for note in track.notes:
                assert note.start >= ends.get(note.pitch, 0) and note.duration > 0
                ends[note.pitch] = note.end
