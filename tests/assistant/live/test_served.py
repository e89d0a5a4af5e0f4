"""Live playing over HTTP and WebSocket: a real server, real ports, and a keyboard and a listener at them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.client import Client
from models.midi_file import read_midi
from models.score import Score
from scripts.midi_rig import Jack, Keyboard, Listener, listed, wait_for
from tests.served import Served, served

BPM = 200
PHRASE = (60, 64, 67, 65, 64, 62, 59, 60)
SOME = {"density": "3-8", "seed": 3}


@pytest.fixture(scope="module")
def server(jack: Jack, tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), weights_folder) as running:
        yield running


class Page:
    """What the page does: it asks over HTTP, and hears of everything over the WebSocket."""

    def __init__(self, server: Served, client: Client) -> None:
        self._server, self.client = server, client
        self.heard: list[dict[str, Any]] = []
        self._open = threading.Event()
        self._done = False
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._open.wait(30)

    def _listen(self) -> None:
        with self._server.client() as own, own.events() as events:
            for event in events:
                self._open.set()
                self.heard.append(event)
                if self._done:
                    return

    def close(self) -> None:
        """Listen no more after the next event."""
        self._done = True

    def live(self, verb: str = "", **words: Any) -> dict[str, Any]:
        if not verb:
            return self.client._object("GET", "/live")
        return self.client._object("PATCH" if verb == "settings" else "POST", f"/live/{verb}", words)

    def events(self, name: str, **values: Any) -> list[dict[str, Any]]:
        """The live events of that name so far that have these values."""
        return [
            event
            for event in list(self.heard)
            if event["type"] == "live"
            and event["event"] == name
            and all(event.get(key) == value for key, value in values.items())
        ]


@pytest.fixture
def page(server: Served) -> Iterator[Page]:
    """A page with live playing started; closed again after the test."""
    with server.client() as client:
        page = Page(server, client)
        state = page.live("start")
        assert state["running"] and state["problem"] is None
        page.live("settings", bpm=BPM)
        yield page
        page.close()
        page.live("close")
    wait_for(lambda: not listed("Descant Out"))


def play(keyboard: Keyboard) -> None:
    """Someone plays a phrase of eight quarter notes."""
    for pitch in PHRASE:
        keyboard.send(0x90, pitch, 90)
        time.sleep(30 / BPM)
        keyboard.send(0x80, pitch, 0)
        time.sleep(30 / BPM)


def pitches(score: Score) -> list[int]:
    return sorted(note.pitch for track in score.tracks for note in track.notes)


def heard(listener: Listener) -> list[int]:
    return sorted(item.data[1] for item in listener.notes())


def test_what_is_played_is_seen_captured_continued_and_heard(
    page: Page, keyboard: Keyboard, listener: Listener
) -> None:
    keyboard.connect()
    listener.connect()
    play(keyboard)
    wait_for(lambda: len(page.events("note", on=True)) == len(PHRASE))
    assert [event["pitch"] for event in page.events("note", on=True)] == list(PHRASE)
    assert page.live()["captured"]["notes"] == len(PHRASE)

    # Kept as a score, it is continued like any other, and played from the next bar on.
    score = page.client._object("POST", "/live/capture", {})
    assert pitches(read_midi(page.client.score_midi(score["id"])).score) == sorted(PHRASE)
    proposal = page.client.propose(score["id"], "continue", bars=1, candidates=1, **SOME)
    new = read_midi(page.client.candidate_midi(proposal.id, 1, only_new=True)).score
    begins = page.live("play", proposal=proposal.id, candidate=1)["begins"]
    assert begins % 4 == 0
    wait_for(lambda: heard(listener) == pitches(new) and not listener.sounding)
    assert wait_for(lambda: page.events("playing", state="ended"))


def test_it_continues_what_was_just_played_and_stop_and_panic_end_it(
    page: Page, keyboard: Keyboard, listener: Listener
) -> None:
    keyboard.connect()
    listener.connect()
    play(keyboard)
    wait_for(lambda: page.live()["captured"]["notes"] == len(PHRASE))
    state = page.live("continue", bars=2, **SOME)
    assert state["mode"] == "continue"
    wait_for(lambda: [event["bar"] for event in page.events("answer", state="ready")] == [1, 2])
    assert page.live()["answer"]["beat"] % 4 == 0
    wait_for(lambda: len(listener.notes()) >= 6 and not listener.sounding)
    wait_for(lambda: page.events("transport", rolling=True))

    for verb in ("stop", "panic"):
        page.live("continue", bars=8, **SOME)
        wait_for(lambda: listener.sounding)
        assert page.live(verb)["mode"] == "off"
        wait_for(lambda: not listener.sounding)
        count = len(listener.notes())
        time.sleep(0.5)
        assert len(listener.notes()) == count and not page.live()["playing"]
    silenced = {item.data[0] & 15 for item in listener.heard if item.data[:2] == bytes([item.data[0], 123])}
    assert silenced == set(range(16))


def test_call_and_response_until_it_is_stopped(page: Page, keyboard: Keyboard, listener: Listener) -> None:
    keyboard.connect()
    listener.connect()
    assert page.live("answer", bars=1, **SOME)["mode"] == "answer"
    for number in (1, 2):
        wait_for(lambda: not page.live()["playing"])
        play(keyboard)
        wait_for(lambda n=number: len(page.events("answer", state="ready")) >= n)  # type: ignore[misc]
        wait_for(lambda n=number: len(page.events("playing", state="ended")) >= n)  # type: ignore[misc]
        wait_for(lambda: not listener.sounding)
    assert len(listener.notes()) >= 6 and page.live()["mode"] == "answer"
    assert page.live("stop")["mode"] == "off"
    wait_for(lambda: page.events("mode", mode="off"))


def test_it_plays_along_with_the_instruments_asked_for(page: Page, keyboard: Keyboard, listener: Listener) -> None:
    keyboard.connect()
    listener.connect()
    page.live("settings", bpm=BPM / 2)  # a busy computer takes its time to write a bar
    page.live("accompany", add="bass, drums", key="C major", **SOME)
    until = time.perf_counter() + 60
    while {item.data[0] & 15 for item in listener.notes()} != {1, 9}:
        assert time.perf_counter() < until, page.events("answer")
        play(keyboard)
    page.live("stop")
    wait_for(lambda: not listener.sounding)
    assert {item.data[1] % 12 for item in listener.notes() if item.data[0] & 15 == 1} <= {0, 2, 4, 5, 7, 9, 11}


def test_its_own_transport_starts_locates_and_stops(page: Page) -> None:
    page.live("transport", do="locate", beat=8)
    page.live("transport", do="play")
    wait_for(lambda: page.live()["transport"]["rolling"] and page.live()["transport"]["beat"] > 9)
    page.live("transport", do="stop")
    wait_for(lambda: not page.live()["transport"]["rolling"])
    bars = [event["bar"] for event in page.events("transport", rolling=True)]
    assert bars and min(bars) == 3  # beat 8


def test_closed_ports_are_gone_and_come_back(page: Page, keyboard: Keyboard) -> None:
    assert page.live("close")["running"] is False
    wait_for(lambda: not listed("Descant Out"))
    assert page.live("start")["running"] and listed("Descant In") and listed("Descant Out")
    keyboard.connect()
    play(keyboard)
    wait_for(lambda: page.live()["captured"]["notes"] == len(PHRASE))
