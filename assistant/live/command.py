"""`descant live`: the ports, until Ctrl-C, with what happens told line by line."""

from __future__ import annotations

import secrets
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from assistant.live.live import Live
from assistant.live.live_options import settings_of
from models.errors import UserError

if TYPE_CHECKING:
    from assistant.pipeline import Options

NEW_SEEDS = 1_000_000


def run(arguments: Namespace) -> None:
    """Play along as the flags say until Ctrl-C, "quit" or the end of the input. UserError when it cannot begin."""
    live = Live(settings_of(arguments))
    live.start()
    try:
        if arguments.list:
            print("\n".join(port_lines(live)))
            return
        _play_along(live, arguments)
    except KeyboardInterrupt:
        print("\nstopped")
    finally:
        live.close()


def _play_along(live: Live, arguments: Namespace) -> None:
    bridge = _osc(live, arguments.osc)
    verb = _verb(live, arguments)
    live.subscribe(_tell)
    print("\n".join(port_lines(live)))
    print("listening; Enter, stop, panic, quit", flush=True)
    if arguments.answer or arguments.accompany:
        _do(verb)
    try:
        for line in sys.stdin:
            word = line.strip().lower()
            if word in ("q", "quit", "exit"):
                return
            _do({"": verb, "stop": live.stop, "panic": live.panic}.get(word, _unknown))
        threading.Event().wait()  # there is no keyboard: on until Ctrl-C
    finally:
        if bridge is not None:
            bridge.close()


def _osc(live: Live, port: int | None) -> Any:
    if port is None:
        return None
    from assistant.live.osc import OscBridge

    return OscBridge(live, port)


def _verb(live: Live, arguments: Namespace) -> Callable[[], None]:
    options = options_of(arguments)
    if arguments.accompany:
        return lambda: live.accompany(arguments.accompany, options)
    if arguments.answer:
        return lambda: live.answer(arguments.answer, options, arguments.phrase)
    return lambda: live.continue_played(arguments.continue_bars or 4, options)


def options_of(arguments: Namespace) -> Options:
    """What the flags ask of every answer. Raises UserError for a style that there is not."""
    from assistant.pipeline import Options
    from assistant.styles import load_styles
    from models.constraints import Controls

    load_styles(arguments.style)  # said at once, and not with the first answer
    options = Options(
        controls=Controls(key=arguments.key, density=arguments.density),
        candidates=1,
        seed=secrets.randbelow(NEW_SEEDS),
        styles=arguments.style,
    )
    if arguments.temperature is None:
        return options
    return replace(options, sampling=options.sampling._replace(temperature=arguments.temperature))


def _do(verb: Callable[[], Any]) -> None:
    try:
        verb()
    except UserError as error:
        _tell({"event": "problem", "message": error.message, "hint": error.hint})


def _unknown() -> None:
    raise UserError("That is not one of the words here", "They are stop, panic and quit; Enter alone goes on.")


def port_lines(live: Live) -> Sequence[str]:
    """The ports in words."""
    ports = live.state()["ports"]
    ours = f"{ports['in']}, {ports['out']}" if ports["virtual"] else "none of its own: Windows lends it loopMIDI's"
    return [
        f"ports of Descant: {ours}",
        f"to listen to: {', '.join(ports['sources']) or 'none'}",
        f"to play to: {', '.join(ports['targets']) or 'none'}",
    ]


def _tell(event: dict[str, Any]) -> None:
    """An event as a line, where it is news to a musician."""
    line = sentence(event)
    if line:
        print(line, flush=True)


_LEADERS = {"clock": "the DAW's clock", "own": "its own clock", "link": "Ableton Link"}


def sentence(event: dict[str, Any]) -> str:
    """What happened in a few words; empty for what happens all the time."""
    match event:
        case {"event": "transport", "rolling": bool(rolling), "changed": True}:
            state = f"bar {event['bar']}, {event['bpm']:.1f} bpm" if rolling else f"stopped at bar {event['bar']}"
            return f"{_LEADERS[event['source']]}: {state}"
        case {"event": "answer", "state": "ready", "bar": bar, "seconds": seconds}:
            return f"bar {bar} written in {seconds:.2f} s"
        case {"event": "answer", "state": "late", "bar": bar}:
            return f"bar {bar} came too late; the one before is played again"
        case {"event": "mode", "mode": mode}:
            return {"off": "listening"}.get(mode, f"{mode} ...")
        case {"event": "restarted", "which": which}:
            return f"the {which} was started anew"
        case {"event": "ports", "connected": connected}:
            return f"connected: {', '.join(connected)}" if connected else ""
        case {"event": "problem", "message": message, "hint": hint}:
            return f"{message}\nhint: {hint}" if hint else str(message)
    return ""
