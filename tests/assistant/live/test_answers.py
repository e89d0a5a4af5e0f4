"""Continue, call and response, and playing along, on a real MIDI server with a network of random weights."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistant.live.live import Live
from assistant.pipeline import Candidate, Options, Request, propose, warm
from models.constraints import Controls
from models.generators import Generator
from models.instruments import parse_instrument
from models.theory import parse_key
from scripts.midi_rig import Keyboard, Listener, wait_for
from tests.assistant.live.conftest import StartLive
from tests.builders import tiny_generator

SOME = Options(controls=Controls(density=(3, 8)), candidates=1, seed=3)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return tiny_generator(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def make(generator: Generator) -> Callable[[Request, Callable[[], bool]], list[Candidate]]:
    return lambda request, cancelled: propose(request, generator, cancelled=cancelled)


class Hands(threading.Thread):
    """Someone who plays quarter notes until told to stop."""

    def __init__(self, keyboard: Keyboard, bpm: float) -> None:
        super().__init__(daemon=True)
        self._keyboard, self._beat, self.ending = keyboard, 60 / bpm, threading.Event()

    def run(self) -> None:
        number = 0
        while not self.ending.is_set() and not self._keyboard.closed:
            pitch = 60 + (0, 4, 7, 5)[number % 4]
            self._keyboard.send(0x90, pitch, 90)
            time.sleep(self._beat / 2)
            self._keyboard.send(0x80, pitch, 0)
            time.sleep(self._beat / 2)
            number += 1

    def end(self) -> None:
        self.ending.set()
        self.join()

    def end_when_asked(self, event: dict[str, Any]) -> None:
        """End as soon as an answer is begun: whoever goes on playing begins another call."""
        if event.get("state") == "asked":
            self.ending.set()


def collected(live: Live, name: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    live.subscribe(lambda event: events.append(event) if event["event"] == name else None)
    return events


def played(live: Live) -> list[int]:
    answer = live.last_answer()
    assert answer is not None
    notes = sorted(note for track in answer.score.tracks for note in track.notes)
    return [note.pitch for note in notes]


def test_it_goes_on_from_what_was_played_in_the_next_bar(
    start_live: StartLive, make: Any, keyboard: Keyboard, listener: Listener
) -> None:
    live = start_live(make, bpm=160)
    answers = collected(live, "answer")
    keyboard.connect()
    listener.connect()
    hands = Hands(keyboard, 160)
    hands.start()
    wait_for(lambda: live.state()["captured"]["notes"] >= 8)
    hands.end()
    live.continue_played(2, SOME)
    wait_for(lambda: live.state()["mode"] == "off")
    answer = live.last_answer()
    assert answer is not None and answer.start_beat % 4 == 0 and answer.model_hash
    assert [event["bar"] for event in answers if event["state"] == "ready"] == [1, 2]
    wait_for(lambda: len(listener.notes()) == len(played(live)) and not listener.sounding, 30)
    assert sorted(item.data[1] for item in listener.notes()) == sorted(played(live))


def test_call_and_response_answers_every_call(
    start_live: StartLive, make: Any, keyboard: Keyboard, listener: Listener
) -> None:
    live = start_live(make, bpm=150, meter=(3, 4))
    answers = collected(live, "answer")
    keyboard.connect()
    listener.connect()
    live.answer(1, SOME)
    for round_number in (1, 2):
        hands = Hands(keyboard, 150)
        end = live.subscribe(hands.end_when_asked)
        hands.start()
        wait_for(lambda n=round_number: sum(event["state"] == "ready" for event in answers) >= n)  # type: ignore[misc]
        hands.end()
        end()
        wait_for(lambda n=round_number: listener.ons >= 3 * n)  # type: ignore[misc]
        wait_for(lambda: not live.state()["playing"] and not listener.sounding)
        assert live.state()["mode"] == "answer"
    beats = [event["beat"] for event in answers if event["state"] == "ready"]
    assert all(beat % 3 == 0 for beat in beats) and beats[1] >= beats[0] + 6
    live.stop()
    assert live.state()["mode"] == "off"


def test_the_network_reads_along_while_a_call_is_played(
    start_live: StartLive, make: Any, generator: Generator, keyboard: Keyboard, listener: Listener
) -> None:
    asked: list[tuple[str, Request | None]] = []

    def read(request: Request | None, cancelled: Callable[[], bool]) -> None:
        asked.append(("read", request))
        if request is not None:
            warm(request, generator)

    def write(request: Request, cancelled: Callable[[], bool]) -> list[Candidate]:
        asked.append(("write", request))
        return list(make(request, cancelled))

    live = start_live(write, read, bpm=160)
    keyboard.connect()
    listener.connect()
    live.answer(2, SOME)
    assert wait_for(lambda: asked) == [("read", None)]  # it is loaded before anybody plays
    hands = Hands(keyboard, 160)
    hands.start()
    wait_for(lambda: any(kind == "write" for kind, _ in asked))
    hands.end()
    first = [kind for kind, _ in asked].index("write")
    before, answered = asked[first - 1][1], asked[first][1]
    assert before is not None and answered is not None
    read_notes = [(note.start, note.pitch) for note in before.score.tracks[0].notes]
    assert len(read_notes) >= 4 and read_notes[:4] == [
        (note.start, note.pitch) for note in answered.score.tracks[0].notes[:4]
    ]
    live.stop()
    wait_for(lambda: not listener.sounding)


def test_a_pause_ends_a_phrase(start_live: StartLive, make: Any, keyboard: Keyboard, listener: Listener) -> None:
    live = start_live(make, bpm=240)
    keyboard.connect()
    listener.connect()
    live.answer(1, SOME, phrase=True)
    hands = Hands(keyboard, 240)
    hands.start()
    wait_for(lambda: live.state()["captured"]["notes"] >= 6)
    assert live.last_answer() is None
    hands.end()
    wait_for(lambda: len(listener.notes()) >= 3)
    wait_for(lambda: not listener.sounding)


def test_it_plays_along_in_key_a_bar_ahead(
    start_live: StartLive, make: Any, keyboard: Keyboard, listener: Listener
) -> None:
    live = start_live(make, bpm=100)  # slow, so that a bar is written in time on a busy computer too
    answers = collected(live, "answer")
    keyboard.connect()
    listener.connect()
    key = parse_key("C major")
    options = Options(controls=Controls(key=key, density=(2, 6)), candidates=1, seed=4)
    live.accompany([parse_instrument("bass"), parse_instrument("drums")], options)
    hands = Hands(keyboard, 100)
    hands.start()
    wait_for(lambda: sum(event["state"] == "ready" for event in answers) >= 3)
    wait_for(lambda: {item.data[0] & 15 for item in listener.notes()} >= {1, 9})
    hands.end()
    bass = [item.data[1] for item in listener.notes() if item.data[0] & 15 == 1]
    drums = [item.data[1] for item in listener.notes() if item.data[0] & 15 == 9]
    assert bass and drums and {pitch % 12 for pitch in bass} <= key.pitch_classes
    live.stop()
    wait_for(lambda: not listener.sounding)
    figures = live.figures()
    assert figures["bars"] >= 3 and figures["sent"] > 0


def test_an_answer_that_is_late_lets_the_last_bar_come_again(
    start_live: StartLive, make: Any, keyboard: Keyboard, listener: Listener
) -> None:
    slow = threading.Event()

    def make_slowly(request: Request, cancelled: Callable[[], bool]) -> list[Candidate]:
        if slow.is_set():
            time.sleep(3.0)
        return list(make(request, cancelled))

    live = start_live(make_slowly, bpm=160)
    answers = collected(live, "answer")
    keyboard.connect()
    listener.connect()
    live.accompany([parse_instrument("bass")], SOME)
    hands = Hands(keyboard, 160)
    hands.start()
    wait_for(lambda: any(event["state"] == "ready" for event in answers), 60)
    slow.set()
    due = wait_for(lambda: next((event["beat"] for event in answers if event["state"] == "late"), 0), 60)
    slow.clear()
    wait_for(lambda: live.state()["transport"]["beat"] > due + 4)
    beat, now = live.state()["transport"]["beat"], time.perf_counter()
    hands.end()
    began = now - (beat - due) * 60 / 160
    in_bar = [item for item in listener.notes() if began - 0.1 < item.time < began + 4 * 60 / 160 + 0.1]
    assert len(in_bar) >= 3  # the bar that was late was not silent
    live.stop()
    wait_for(lambda: not listener.sounding)


def test_stop_cancels_an_answer_that_is_being_written(
    start_live: StartLive, keyboard: Keyboard, tmp_path: Path
) -> None:
    entered, left = threading.Event(), threading.Event()

    def never(request: Request, cancelled: Callable[[], bool]) -> list[Candidate]:
        entered.set()
        while not cancelled():
            time.sleep(0.005)
        left.set()
        return []

    live = start_live(never)
    keyboard.connect()
    keyboard.send(0x90, 60, 90)
    keyboard.send(0x80, 60, 0)
    wait_for(lambda: live.state()["captured"]["notes"])
    live.continue_played()
    assert entered.wait(10)
    live.stop()
    assert left.wait(10)
    assert live.state()["mode"] == "off"
