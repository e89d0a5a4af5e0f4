"""`descant live` as a program, and its orders by OSC."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import ThreadingOSCUDPServer
from pythonosc.udp_client import SimpleUDPClient

from assistant.live.command import sentence
from assistant.live.live_options import settings_of
from assistant.live.live_settings import Trigger
from assistant.live.osc import OscBridge
from assistant.options import parse_arguments
from models.errors import UserError
from scripts.midi_rig import Jack, Keyboard, Listener, wait_for
from tests.assistant.live.conftest import StartLive

ROOT = Path(__file__).resolve().parents[3]


def start(folder: Path, weights: Path, *flags: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "DESCANT_HOME": str(folder), "DESCANT_WEIGHTS": str(weights)}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "assistant.cli", "live", "--api", "jack", *flags],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(program: subprocess.Popen[str], word: str) -> str:
    assert program.stdout is not None
    read = ""
    patience = threading.Timer(60, program.kill)
    patience.start()
    try:
        for line in program.stdout:
            read += line
            if word in line:
                return read
    finally:
        patience.cancel()
    raise AssertionError(f"{word!r} did not come: {read}")


def test_the_program_listens_answers_and_ends(
    jack: Jack, tmp_path: Path, weights_folder: Path, keyboard: Keyboard
) -> None:
    program = start(tmp_path, weights_folder, "--continue", "1", "--bpm", "200")
    try:
        assert program.stdin is not None
        read_until(program, "listening")
        keyboard.connect()
        program.stdin.write("\nfly\n")
        program.stdin.flush()
        assert "Nothing was played yet" in read_until(program, "not one of the words")
        for pitch in (60, 64, 67):
            keyboard.send(0x90, pitch, 80)
            keyboard.send(0x80, pitch, 0)
        read_until(program, "its own clock: bar 1, 200.0 bpm")
        program.stdin.write("\n")
        program.stdin.flush()
        read_until(program, "bar 1 written")
        program.stdin.write("quit\n")
        program.stdin.flush()
        assert program.wait(20) == 0
    finally:
        program.kill()
        program.wait()


def test_ctrl_c_ends_it_without_a_complaint(jack: Jack, tmp_path: Path, weights_folder: Path) -> None:
    program = start(tmp_path, weights_folder)
    try:
        read_until(program, "listening")
        program.send_signal(signal.SIGINT)
        out, _ = program.communicate(timeout=20)
        assert program.returncode == 0 and "Traceback" not in out
    finally:
        program.kill()
        program.wait()


def test_it_names_the_ports(jack: Jack, tmp_path: Path, weights_folder: Path, keyboard: Keyboard) -> None:
    out, _ = start(tmp_path, weights_folder, "--list").communicate(timeout=30)
    assert out.splitlines()[:2] == ["ports of Descant: Descant In, Descant Out", "to listen to: keyboard:out"]


def test_flags_become_settings() -> None:
    flags = ["--meter", "7/8", "--offset", "-4.5", "--trigger", "cc 64 channel 2=answer", "--input", "Keystation"]
    settings = settings_of(parse_arguments(["live", *flags]))
    assert (settings.meter, settings.offset_ms, settings.inputs) == ((7, 8), -4.5, ("Keystation",))
    assert settings.triggers == (Trigger("cc", 64, "answer", 1),)


@pytest.mark.parametrize(
    "flags",
    [
        ["--meter", "seven"],
        ["--trigger", "foot"],
        ["--offset", "1e9"],
        ["--answer", "0"],
        ["--bpm", "1"],
        ["--sync", "x"],
    ],
)
def test_flags_that_make_no_sense_are_refused(flags: list[str]) -> None:
    with pytest.raises(UserError):
        settings_of(parse_arguments(["live", *flags])).check()


def test_only_news_is_told() -> None:
    moving = {"event": "transport", "rolling": True, "changed": False, "bar": 2, "bpm": 97.0, "source": "clock"}
    assert sentence(moving) == ""
    assert sentence({**moving, "changed": True, "bar": 1}) == "the DAW's clock: bar 1, 97.0 bpm"
    assert sentence({"event": "note", "pitch": 60}) == ""


@pytest.fixture
def osc_port() -> Iterator[int]:
    """A UDP port that is free, as the one after it was a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = min(probe.getsockname()[1], 65_000)
    yield port


def test_osc_takes_orders_and_reports(start_live: StartLive, osc_port: int) -> None:
    live = start_live()
    controller = Controller(osc_port)
    bridge = OscBridge(live, osc_port)
    try:
        controller.say("tempo", 90)
        controller.say("meter", 7, 8)
        wait_for(lambda: (live.settings.bpm, live.settings.meter) == (90.0, (7, 8)))
        controller.say("start")
        controller.wait("transport", 1)
        for wrong in (("tempo", 9000), ("tempo", "fast"), ("continue", 4), ("other", 1)):
            controller.say(*wrong)
            controller.wait("problem")
        controller.say("accompany", "bass, drums")
        wait_for(lambda: live.state()["mode"] == "accompany")
        controller.say("panic")
        wait_for(lambda: live.state()["mode"] == "off")
    finally:
        bridge.close()
        controller.close()


class Controller:
    """A controller that speaks OSC: a mouth at Descant's port, an ear at the next one."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, tuple[object, ...]]] = []
        dispatcher = Dispatcher()
        dispatcher.set_default_handler(lambda address, *values: self.heard.append((address, values)))
        self._ear = ThreadingOSCUDPServer(("127.0.0.1", port + 1), dispatcher)
        threading.Thread(target=self._ear.serve_forever, daemon=True).start()
        self._mouth = SimpleUDPClient("127.0.0.1", port)

    def say(self, verb: str, *values: object) -> None:
        """Send an order; what was heard before it is forgotten."""
        self.heard.clear()
        self._mouth.send_message(f"/descant/{verb}", list(values))

    def wait(self, verb: str, *values: object) -> None:
        """Until a report comes that begins with these values."""
        wait_for(
            lambda: any(
                address == f"/descant/{verb}" and found[: len(values)] == values
                for address, found in list(self.heard)
            )
        )

    def close(self) -> None:
        self._ear.shutdown()
        self._ear.server_close()


def test_a_controller_can_do_all_that_the_keyboard_can(
    jack: Jack, tmp_path: Path, weights_folder: Path, keyboard: Keyboard, listener: Listener, osc_port: int
) -> None:
    controller = Controller(osc_port)
    program = start(tmp_path, weights_folder, "--osc", str(osc_port), "--bpm", "200", "--density", "3-6")
    try:
        read_until(program, "listening")
        keyboard.connect()
        listener.connect()
        for pitch in (60, 64, 67, 72):
            keyboard.send(0x90, pitch, 80)
            keyboard.send(0x80, pitch, 0)
        controller.wait("note", 72, 80, 1)
        controller.wait("note", 72, 0, 1)

        controller.say("continue", 1)
        controller.wait("answer", "asked")
        controller.wait("answer", "ready", 1)
        controller.wait("playing", 1)
        controller.wait("playing", 0)
        wait_for(lambda: len(listener.notes()) >= 3 and not listener.sounding)
        for verb in ("answer", "phrase"):
            controller.say(verb, 1)
            controller.wait("mode", "answer")
            controller.say("stop")
            controller.wait("mode", "off")
        controller.say("accompany", "bass, drums")
        controller.wait("mode", "accompany")
        controller.say("panic")
        controller.wait("mode", "off")

        controller.say("halt")
        controller.wait("transport", 0)
        controller.say("locate", 40.0)
        controller.say("start")
        controller.wait("transport", 1, 11)
        controller.say("offset", 9999)
        controller.wait("problem")
    finally:
        program.kill()
        program.wait()
        controller.close()
