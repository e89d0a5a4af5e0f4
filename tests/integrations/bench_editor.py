"""Ardour as a musician has it: the whole program with its editor, on a screen that nobody sees, and a user's hands.

Our scripts are installed as the command does it and registered as Ardour's Script Manager does it; keys are the
actions of Ardour's own menu, undo is its own undo. Nothing is imitated but the mouse.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from assistant.daws import install
from integrations import ardour
from integrations.scripts import Connection
from scripts.midi_rig import jack_server, with_us
from tests.integrations.bench import HERE, Notes, rows, until

HANDS = "ardour_hands.lua"
HOOKS = ("descant_background.lua", HANDS)
TIMER = 47  # the place of LuaSignal.LuaTimerDS among Ardour 7.3's signals
ENGINE = """<?xml version="1.0" encoding="UTF-8"?>
<Ardour>
  <Config>
    <Option name="try-autostart-engine" value="1"/>
    <Option name="check-announcements" value="0"/>
  </Config>
  <Extra><AudioMIDISetup><EngineStates>
    <State backend="JACK" driver="" device="" input-device="" output-device="" sample-rate="48000" buffer-size="256"
      n-periods="0" input-latency="0" output-latency="0" lm-input="" lm-output="" active="1" use-buffered-io="0"
      midi-option="" lru="1"><MIDIDevices/></State>
  </EngineStates></AudioMIDISetup></Extra>
</Ardour>
"""
_started = count()


class Editor:
    """A user in front of Ardour, who asks it for one thing at a time."""

    def __init__(self, program: subprocess.Popen[bytes], scripts: Path, log: Path) -> None:
        self._program, self._scripts, self._log = program, scripts, log

    def __call__(self, command: str, **arguments: Any) -> dict[str, Any]:
        draft, answer = self._scripts / "asked.tmp", self._scripts / "answer.json"
        draft.write_text(json.dumps({"cmd": command, **arguments}))
        os.replace(draft, self._scripts / "asked.json")
        until(lambda: answer.exists() or self._program.poll() is not None)
        assert answer.exists(), self._log.read_text(errors="replace")[-2000:]
        result: dict[str, Any] = json.loads(answer.read_text())
        answer.unlink()
        assert "failed" not in result, result["failed"]
        return result

    def press(self, action: str) -> None:
        """A key, by way of the action that Ardour's menu has for it."""
        self("act", group="LuaAction", name=f"script-{ardour.ACTIONS.index(action) + 1}")

    def undo(self) -> None:
        self("act", group="Editor", name="undo")

    def tracks(self) -> dict[str, list[tuple[str, bool, Notes]]]:
        """Name, muting and notes of every region, track by track."""
        return {
            track["name"]: [(region["name"], region["muted"], rows(region["notes"])) for region in track["regions"]]
            for track in self("state")["tracks"]
        }


@contextmanager
def editor(folder: Path, connection: Connection) -> Iterator[Editor]:
    """Ardour with an empty session, our scripts in it, and the hands that tests move."""
    with jack_server(f"descant-editor-{os.getpid()}-{next(_started)}", folder), _screen() as display:
        homes = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_DATA_HOME": "data"}
        environment = {**os.environ, "DISPLAY": display, "ARDOUR_TRY_AUTOSTART_ENGINE": "1"}
        for variable, name in homes.items():
            (folder / name).mkdir()
            environment[variable] = str(folder / name)
        settings = folder / "config" / "ardour7"
        scripts = settings / "scripts"
        scripts.mkdir(parents=True)
        install(ardour.SCRIPT, scripts, connection, folder / "backups")
        shutil.copy(HERE / "doubles" / HANDS, scripts)
        (settings / "config").write_text(ENGINE)
        (settings / ".a7").touch()  # no welcome, and no warning of a limit of memory
        (settings / "instant.xml").write_text("<instant><no-memory-warning/></instant>\n")
        (settings / "ui_scripts").write_text(_registered(folder, scripts, environment))
        log = folder / "ardour.log"
        with log.open("wb") as out:
            program = subprocess.Popen(
                [*with_us(), "ardour", "-a", "-n", "-d", str(folder / "song")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            hands = Editor(program, scripts, log)
            hands("state")  # it is up when it answers
            yield hands
        finally:
            program.kill()
            program.wait()


@contextmanager
def _screen() -> Iterator[str]:
    """A display of its own, whose number X chooses."""
    told, tell = os.pipe()
    command = [*with_us(), "Xvfb", "-displayfd", str(tell), "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[tell], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(tell)
    try:
        with os.fdopen(told) as lines:
            number = lines.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        process.terminate()
        process.wait()


def _registered(folder: Path, scripts: Path, environment: dict[str, str]) -> str:
    """What Ardour's Script Manager remembers of our scripts, in its own format; makes the session on the way."""
    paths = [scripts / name for name in (*HOOKS, *(f"descant_{action}.lua" for action in ardour.ACTIONS))]
    setup = ["ardour7-lua", HERE / "doubles" / "ardour_setup.lua", folder / "song", *paths]
    done = subprocess.run(list(map(str, setup)), env=environment, capture_output=True, text=True, errors="replace")
    lines = [line[5:].partition("|") for line in done.stdout.splitlines() if line.startswith("KEPT ")]
    assert len(lines) == len(paths), done.stdout[-2000:] + done.stderr[-2000:]
    kept = [(name, bytes.fromhex(digits)) for name, _, digits in lines]
    hooks = "".join(
        f'<LuaCallback lua="Lua 5.3" id="{9000 + number}" name="{name}" signals="1{TIMER * "0"}">'
        f"{_coded(b's = {} ' + text.replace(b'KEPT', b's'))}</LuaCallback>"
        for number, (name, text) in enumerate(kept[: len(HOOKS)])
    )
    actions = b"scripts = {} "
    for number, (_, text) in enumerate(kept[len(HOOKS) :], 1):
        actions += b"scripts[%d] = {} %s" % (number, text.replace(b"KEPT", b"scripts[%d]" % number))
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<UIScripts><ActionScript lua="Lua 5.3">{_coded(actions)}'
        f"</ActionScript><ActionHooks>{hooks}</ActionHooks></UIScripts>\n"
    )


def _coded(text: bytes) -> str:
    return base64.b64encode(text).decode("ascii")
