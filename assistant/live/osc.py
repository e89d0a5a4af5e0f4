"""Open Sound Control for Max, Pd, TouchOSC and controllers: the verbs of Live in, what happens out.

Off unless asked for; both sides speak on this computer's own address alone. The addresses are listed in
docs/live.md.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

from assistant.live.live import Live
from models.errors import UserError
from models.instruments import parse_instrument

ADDRESS = "127.0.0.1"


class OscBridge:
    """Takes orders at UDP `port` and reports at the next one. UserError without python-osc or when it is taken."""

    def __init__(self, live: Live, port: int) -> None:
        try:
            from pythonosc.dispatcher import Dispatcher
            from pythonosc.osc_server import ThreadingOSCUDPServer
            from pythonosc.udp_client import SimpleUDPClient
        except ImportError as error:
            raise UserError(
                "OSC needs the package python-osc", "Install it with `pip install python-osc`."
            ) from error
        dispatcher = Dispatcher()
        for address, order in _orders(live).items():
            dispatcher.map(address, self._carefully(order))
        dispatcher.set_default_handler(self._unknown)
        self._client = SimpleUDPClient(ADDRESS, port + 1)
        try:
            self._server = ThreadingOSCUDPServer((ADDRESS, port), dispatcher)
        except OSError as error:
            raise UserError(f"UDP port {port} is used by another program", "Choose another with --osc.") from error
        self._end = live.subscribe(self._report)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _carefully(self, order: Callable[..., Any]) -> Callable[..., None]:
        def handle(_: str, *values: Any) -> None:
            try:
                order(*values)
            except UserError as error:
                self._send("/descant/problem", f"{error.message}. {error.hint}")
            except (TypeError, ValueError) as error:
                self._send("/descant/problem", f"The values do not fit: {error}")

        return handle

    def _unknown(self, address: str, *_: Any) -> None:
        self._send("/descant/problem", f"There is no {address}")

    def _send(self, address: str, *values: Any) -> None:
        self._client.send_message(address, list(values))

    def _report(self, event: dict[str, Any]) -> None:
        match event:
            case {"event": "transport"}:
                self._send("/descant/transport", int(event["rolling"]), event["bar"], event["beat"], event["bpm"])
            case {"event": "note"}:
                self._send("/descant/note", event["pitch"], event["velocity"] * event["on"], event["channel"] + 1)
            case {"event": "answer"}:
                self._send("/descant/answer", event["state"], event.get("bar", 0))
            case {"event": "mode"}:
                self._send("/descant/mode", event["mode"])
            case {"event": "playing"}:
                self._send("/descant/playing", int(event["state"] == "started"))
            case {"event": "problem"}:
                self._send("/descant/problem", f"{event['message']}. {event['hint']}")

    def close(self) -> None:
        self._end()
        self._server.shutdown()
        self._server.server_close()


def _orders(live: Live) -> dict[str, Callable[..., Any]]:
    """What each address does, with the values that follow it."""

    def accompany(names: str = "bass, drums") -> None:
        live.accompany([parse_instrument(name.strip()) for name in re.split(r"[,;]", str(names))])

    return {
        "/descant/continue": lambda bars=4: live.continue_played(int(bars)),
        "/descant/answer": lambda bars=4: live.answer(int(bars)),
        "/descant/phrase": lambda bars=4: live.answer(int(bars), phrase=True),
        "/descant/accompany": accompany,
        "/descant/stop": lambda *_: live.stop(),
        "/descant/panic": lambda *_: live.panic(),
        "/descant/start": lambda *_: live.play_transport(),
        "/descant/halt": lambda *_: live.stop_transport(),
        "/descant/locate": lambda beat: live.locate(float(beat)),
        "/descant/tempo": lambda bpm: live.configure(bpm=float(bpm)),
        "/descant/meter": lambda over, under: live.configure(meter=(int(over), int(under))),
        "/descant/offset": lambda ms: live.configure(offset_ms=float(ms)),
    }
