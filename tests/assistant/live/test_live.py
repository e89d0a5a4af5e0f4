"""Live playing on a real MIDI server: what comes in, what goes out, and that nothing is left sounding."""

from __future__ import annotations

import os
import random
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from assistant.live.live import Live
from assistant.live.live_settings import LiveSettings, Trigger
from models.errors import UserError
from models.score import Note, Score, Track
from scripts.midi_rig import (
    SERVER_VARIABLE,
    Jack,
    Keyboard,
    Listener,
    connect,
    jack_server,
    listed,
    start_program,
    wait_for,
)
from tests.assistant.live.conftest import StartLive
from tests.builders import simple_score

KILLS = 5  # of each process; scripts/soak.py does 200


def held_notes(beats: int = 400) -> Score:
    """Long notes, so that some sound at any moment."""
    notes = [Note(480 * beat, 48 + beat % 24, 480 * 8, 90) for beat in range(beats)]
    return Score(tracks=(Track(notes=tuple(notes)),), length=480 * beats)


def pitches(listener: Listener) -> list[int]:
    return [item.data[1] for item in listener.notes()]


def restarted(live: Live, process: str, before: int) -> int:
    """The number of the process that took over."""

    def other() -> int:
        now = int(live.state()["processes"].get(process, before))
        return now if now != before else 0

    return int(wait_for(other, 30))


def test_a_proposal_sounds_beat_for_beat_and_every_note_ends(start_live: StartLive, listener: Listener) -> None:
    live = start_live(bpm=240)
    listener.connect()
    begin = live.play(simple_score(bars=2))
    assert begin == 0
    wait_for(lambda: listener.ons == 8 and not listener.sounding)
    assert pitches(listener) == [60, 62, 64, 65, 67, 69, 71, 72]
    times = [item.time for item in listener.notes()]
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    assert gaps[len(gaps) // 2] == pytest.approx(0.25, abs=0.05)


def test_what_is_played_is_captured_on_the_grid_and_as_it_was(
    start_live: StartLive, keyboard: Keyboard, tmp_path: Path
) -> None:
    live = start_live(bpm=120)
    keyboard.connect()
    for pitch in (60, 64, 67):
        keyboard.send(0x90, pitch, 77)
        time.sleep(0.2)
        keyboard.send(0x80, pitch, 0)
        time.sleep(0.3)
    wait_for(lambda: live.state()["captured"]["notes"] == 3)
    captured = live.capture()
    (track,) = captured.quantised.tracks
    assert [note.pitch for note in track.notes] == [60, 64, 67]
    assert all(note.start % 80 == 0 or note.start % 60 == 0 for note in track.notes)
    assert {note.velocity for note in captured.played.tracks[0].notes} == {77}
    assert live.state()["transport"]["rolling"]  # the first note began bar 1
    assert captured.start_beat == 0


def test_nothing_was_played(start_live: StartLive) -> None:
    live = start_live()
    with pytest.raises(UserError, match="Nothing was played"):
        live.capture()
    with pytest.raises(UserError, match="Nothing was played"):
        live.continue_played()


def test_a_second_descant_says_that_one_is_live(start_live: StartLive, tmp_path: Path) -> None:
    start_live()
    with pytest.raises(UserError, match="already live"):
        Live(LiveSettings(api="jack"), None, tmp_path).start()


def test_without_a_midi_server_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "descant-no-such-server")
    with pytest.raises(UserError, match="does not answer"):
        Live(LiveSettings(api="jack"), None, tmp_path).start()


@pytest.mark.parametrize("process", ["player", "guard"])
def test_a_process_killed_with_notes_sounding_leaves_none(
    process: str, start_live: StartLive, listener: Listener
) -> None:
    # The listener's port is asked for by name, so that a guard that had to start anew finds it again.
    live = start_live(bpm=200, outputs=("listener",))
    wait_for(lambda: live.state()["ports"]["connected"] == ["listener:in"])
    rng = random.Random(process)
    for _ in range(KILLS):
        live.play(held_notes())
        wait_for(lambda: listener.sounding > 0)
        time.sleep(rng.uniform(0, 0.1))
        before = int(live.state()["processes"][process])
        live._clips.clear()  # so that what comes after cannot be taken for what was left
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: not listener.sounding)
        restarted(live, process, before)
        wait_for(lambda: live.state()["ports"]["connected"] == ["listener:in"])
    live.play(simple_score(bars=1))
    listener.forget()
    wait_for(lambda: len(listener.notes()) >= 4 and not listener.sounding)


def test_whoever_was_connected_by_hand_is_again_when_the_guard_was_killed(
    start_live: StartLive, listener: Listener, keyboard: Keyboard
) -> None:
    live = start_live(bpm=200)
    listener.connect()
    keyboard.connect()
    wait_for(lambda: live._peers == {"heard_by": ["listener:in"], "fed_by": ["keyboard:out"]})
    live.play(held_notes())
    wait_for(lambda: listener.sounding > 1)
    before = int(live.state()["processes"]["guard"])
    live._clips.clear()
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: not listener.sounding)
    restarted(live, "guard", before)
    wait_for(lambda: live._peers == {"heard_by": ["listener:in"], "fed_by": ["keyboard:out"]})
    keyboard.send(0x90, 50, 60)
    keyboard.send(0x80, 50, 0)
    wait_for(lambda: live.state()["captured"]["notes"] == 1)


def test_note_offs_are_sent_again_when_the_midi_system_has_lost_time(
    start_live: StartLive, listener: Listener, jack: Jack
) -> None:
    live = start_live(bpm=240)
    listener.connect()
    live.play(
        Score(tracks=(Track(notes=tuple(Note(480 * beat, 20 + beat % 100, 240, 90) for beat in range(400))),))
    )
    wait_for(lambda: listener.ons >= 4)

    def ended_again() -> bool:
        heard = [item.data[:2] for item in list(listener.heard)]
        offs = [place for place, data in enumerate(heard) if data[0] == 0x80]
        return any(heard[place] in heard[: place - 1] for place in offs)

    jack.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    jack.process.send_signal(signal.SIGCONT)
    wait_for(ended_again)
    live.stop()
    wait_for(lambda: not listener.sounding)


def test_a_killed_program_leaves_no_note_and_no_process(jack: Jack, listener: Listener, tmp_path: Path) -> None:
    for _ in range(2):
        parent = start_program(tmp_path)
        listener.connect()
        assert parent.stdin is not None
        parent.stdin.write("\n")
        parent.stdin.flush()
        wait_for(lambda: listener.sounding > 1)
        parent.kill()
        parent.wait()
        wait_for(lambda: not listener.sounding)
        # The ledger is free again as soon as the guard has ended.
        wait_for(lambda: not listed("Descant Out"))


def test_stop_and_panic_end_everything(start_live: StartLive, listener: Listener) -> None:
    live = start_live(bpm=240)
    listener.connect()
    live.play(held_notes())
    wait_for(lambda: listener.sounding > 2)
    live.stop()
    wait_for(lambda: not listener.sounding)
    live.play(held_notes())
    wait_for(lambda: listener.sounding > 2)
    listener.forget()
    live.panic()
    wait_for(lambda: not listener.sounding)
    sent = wait_for(lambda: {item.data[:2] for item in list(listener.heard) if item.data[0] & 0xF0 == 0xB0})
    time.sleep(0.2)
    sent = {item.data[:2] for item in listener.heard if item.data[0] & 0xF0 == 0xB0}
    assert {bytes([0xB0 | channel, 123]) for channel in range(16)} <= sent


def test_a_loop_from_out_to_in_feeds_nothing_back(
    start_live: StartLive, listener: Listener, keyboard: Keyboard
) -> None:
    live = start_live(bpm=300)
    listener.connect()
    keyboard.connect()
    assert connect("Descant Out:Descant Out", "Descant In:Descant In")
    live.play(simple_score(bars=3))
    wait_for(lambda: listener.ons == 12 and not listener.sounding)
    time.sleep(0.3)
    assert live.state()["captured"]["notes"] == 0
    keyboard.send(0x90, 30, 99)
    keyboard.send(0x80, 30, 0)
    wait_for(lambda: live.state()["captured"]["notes"] == 1)


def test_a_port_that_vanishes_and_returns_is_found_again(start_live: StartLive, jack: Jack) -> None:
    live = start_live(bpm=240, outputs=("synth",), inputs=("synth keys",))
    for _ in range(2):
        synth, keys = Listener("synth"), Keyboard("synth keys")
        wait_for(lambda: len(live.state()["ports"]["connected"]) == 2)
        live.play(simple_score(bars=1))
        wait_for(lambda synth=synth: synth.ons == 4 and not synth.sounding)  # type: ignore[misc]
        played = live.state()["captured"]["notes"]
        keys.send(0x90, 50, 60)
        keys.send(0x80, 50, 0)
        wait_for(lambda played=played: live.state()["captured"]["notes"] > played)  # type: ignore[misc]
        live.stop()
        synth.close()
        keys.close()
        wait_for(lambda: not live.state()["ports"]["connected"])


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_midi_server_that_ends_and_comes_back_is_played_to_again(
    signal_number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"descant-restart-{os.getpid()}"
    monkeypatch.setenv(SERVER_VARIABLE, name)
    live = Live(LiveSettings(api="jack", bpm=240, outputs=("synth",)), None, tmp_path)
    events: list[dict[str, Any]] = []
    live.subscribe(events.append)
    try:
        with jack_server(name, tmp_path) as server:
            live.start()
            live.play(held_notes())
            wait_for(lambda: live.state()["playing"])
            before = int(live.state()["processes"]["guard"])
            server.process.send_signal(signal_number)
            server.process.wait()
            wait_for(lambda: any(event["event"] == "lost" for event in events))
            problems = wait_for(lambda: [event for event in events if event["event"] == "problem"])
            assert "does not answer" in problems[0]["message"] and problems[0]["hint"]
        with jack_server(name, tmp_path):
            restarted(live, "guard", before)
            synth = Listener("synth")
            wait_for(lambda: live.state()["ports"]["connected"] == ["synth:in"])
            wait_for(lambda: synth.sounding > 1)  # the song went on meanwhile
            live.stop()
            wait_for(lambda: not synth.sounding)
            synth.forget()
            live.play(simple_score(bars=1))
            wait_for(lambda: pitches(synth) == [60, 62, 64, 65] and not synth.sounding)
            synth.close()
            live.close()
            wait_for(lambda: not listed("Descant Out"))
    finally:
        live.close()


def test_it_follows_midi_clock_through_stop_locate_and_continue(
    start_live: StartLive, keyboard: Keyboard, listener: Listener
) -> None:
    live = start_live(meter=(3, 4))
    keyboard.connect()
    listener.connect()
    period = 60 / 200 / 24

    def run(ticks: int) -> None:
        begin = time.perf_counter()
        for number in range(ticks):
            time.sleep(max(0.0, begin + number * period - time.perf_counter()))
            keyboard.send(0xF8)

    keyboard.send(0xFA)
    run(24)
    state = live.state()["transport"]
    assert state["source"] == "clock" and state["rolling"]
    begin = live.play(simple_score(bars=1))
    assert begin == 3  # the next bar of 3/4
    run(24 * 7)
    wait_for(lambda: len(listener.notes()) == 4)
    assert not listener.sounding
    keyboard.send(0xFC)
    wait_for(lambda: not live.state()["transport"]["rolling"])
    listener.forget()
    keyboard.send(0xF2, 8, 0)  # the second beat of four: beat 2
    keyboard.send(0xFB)
    run(24 * 3 - 8)  # well before beat 5
    keyboard.send(0xFC)
    wait_for(lambda: not live.state()["transport"]["rolling"] and not listener.sounding)
    assert pitches(listener) == [60, 62]  # what lies at beats 3 and 4 is heard again


def test_a_pedal_pulls_a_trigger_and_is_no_music(start_live: StartLive, keyboard: Keyboard) -> None:
    live = start_live(triggers=(Trigger("cc", 64, "continue"),))
    events: list[dict[str, Any]] = []
    live.subscribe(events.append)
    keyboard.connect()
    keyboard.send(0xB0, 64, 127)
    keyboard.send(0xB0, 64, 0)
    wait_for(lambda: any(event["event"] == "problem" for event in events))
    assert [event["message"] for event in events if event["event"] == "problem"] == ["Nothing was played yet"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"bpm": 5},
        {"meter": (4, 3)},
        {"meter": (0, 4)},
        {"quantum": "year"},
        {"offset_ms": 9000},
        {"sync": "sun"},
        {"count_in": 99},
        {"api": "smoke"},
        {"triggers": (Trigger("cc", 999, "stop"),)},
        {"triggers": (Trigger("cc", 64, "fly"),)},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        LiveSettings(**wrong).check()
