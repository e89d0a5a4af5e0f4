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
from scripts.midi_rig import Jack, Keyboard, wait_for
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
    heard: list[tuple[str, tuple[object, ...]]] = []
    dispatcher = Dispatcher()
    dispatcher.set_default_handler(lambda address, *values: heard.append((address, values)))
    ear = ThreadingOSCUDPServer(("127.0.0.1", osc_port + 1), dispatcher)
    threading.Thread(target=ear.serve_forever, daemon=True).start()
    bridge = OscBridge(live, osc_port)
    mouth = SimpleUDPClient("127.0.0.1", osc_port)
    try:
        mouth.send_message("/descant/tempo", 90)
        mouth.send_message("/descant/meter", [7, 8])
        wait_for(lambda: (live.settings.bpm, live.settings.meter) == (90.0, (7, 8)))
        mouth.send_message("/descant/start", [])
        wait_for(lambda: any(address == "/descant/transport" and values[0] for address, values in heard))
        for wrong in (
            ("/descant/tempo", 9000),
            ("/descant/tempo", "fast"),
            ("/descant/continue", 4),
            ("/other", 1),
        ):
            heard.clear()
            mouth.send_message(*wrong)
            wait_for(lambda: any(address == "/descant/problem" for address, _ in heard))
        mouth.send_message("/descant/accompany", "bass, drums")
        wait_for(lambda: live.state()["mode"] == "accompany")
        mouth.send_message("/descant/panic", [])
        wait_for(lambda: live.state()["mode"] == "off")
    finally:
        bridge.close()
        ear.shutdown()
        ear.server_close()
