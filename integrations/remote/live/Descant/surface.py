"""What Live calls: turns of its main thread, and keys of a MIDI controller.

Keys are controllers 102 to 108 on channel 16 of the input that is chosen for Descant in Live's preferences.
"""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from .clips import LiveSet
from .connection import PROTOCOLS, SCRIPT_VERSION, Connection, Failure

KEYS = ("continue", "fill", "accompany", "next", "previous", "accept", "cancel")
VERBS = ("read", "write", "audition", "accept", "cancel", "undo")
FIRST_KEY = 102
CHANNEL = 15
CAPABILITIES = {
    "tempo_map": False,
    "arrangement": True,
    "launcher": True,
    "loops": True,
    "scale": True,
    "swing": True,
    "context": True,
    "new_tracks": True,
    "undo": True,
    "audition": True,
    "sketch": True,
    "place": "clip slots",
    "resolution": 960,
}


class Surface:
    def __init__(self, c_instance: Any) -> None:
        self._c = c_instance
        self._live = importlib.import_module("Live")  # exists inside Live only
        self.options = {"candidates": 4, "bars": 4}  # type: dict[str, Any]
        application = self._live.Application.get_application()
        version = (application.get_major_version(), application.get_minor_version())
        with open(os.path.join(os.path.dirname(__file__), "link.json"), encoding="utf-8") as file:
            link = json.load(file)
        self._set = LiveSet(application.get_document(), self._live)
        hello = {
            "daw": "live",
            "daw_version": "{}.{}".format(*version),
            "script_version": SCRIPT_VERSION,
            "protocols": PROTOCOLS,
            "capabilities": CAPABILITIES,
        }
        verbs = {name: getattr(self._set, name) for name in VERBS}
        self._connection = Connection(link["port"], hello, verbs, self._c.show_message, link["secret"])

    # Live's calls; all of them come on its main thread.

    def update_display(self) -> None:
        """About ten times a second."""
        self._connection.tick()

    def receive_midi(self, message: tuple[int, ...]) -> None:
        if len(message) == 3 and message[0] == 0xB0 + CHANNEL and message[2] >= 64:
            place = message[1] - FIRST_KEY
            if 0 <= place < len(KEYS):
                self.press(KEYS[place])

    def build_midi_map(self, handle: Any) -> None:
        for place in range(len(KEYS)):
            self._live.MidiMap.forward_midi_cc(self._c.handle(), handle, CHANNEL, FIRST_KEY + place)

    def disconnect(self) -> None:
        self._connection.close()

    def connect_script_instances(self, instances: Any) -> None:
        pass

    def refresh_state(self) -> None:
        pass

    def is_extension(self) -> bool:
        return False

    def can_lock_to_devices(self) -> bool:
        return False

    def suggest_input_port(self) -> str:
        return "Descant Out"

    def suggest_output_port(self) -> str:
        return ""

    def suggest_map_mode(self, cc_no: int, channel: int) -> int:
        return -1

    def press(self, action: str) -> None:
        """What a key does. Candidates are looked through without the program."""
        try:
            if action in ("next", "previous"):
                self._now(self._set.audition({"number": self._set.shown + (1 if action == "next" else -1)}))
            elif action == "accept":
                self._now(self._set.accept({}))
            elif action == "cancel" and not self._connection.asked:
                self._now(self._set.cancel({}))
            else:
                options = dict(self.options)
                if action != "continue":
                    options.pop("bars", None)
                self._connection.act(action, {} if action == "cancel" else options)
        except Failure as failure:
            self._c.show_message(f"{failure.message}. {failure.hint}")

    @staticmethod
    def _now(verb: Any) -> None:
        for _ in verb:
            pass
