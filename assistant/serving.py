"""`descant serve`: one server on this computer, its page in the browser, until Ctrl-C."""

from __future__ import annotations

import secrets
import socket
import sys
import webbrowser
from contextlib import suppress

from assistant.settings import Running, home, read_running, read_settings, remove_running, save_running, token
from models.errors import UserError

ADDRESS = "127.0.0.1"


def serve(port: int | None = None, browser: bool | None = None, midi: bool = True) -> None:
    """Serve until interrupted. port: 0 for any that is free, None for the settings'. browser: open the page.
    midi: open virtual ports, where the system has them.

    Where a server of this folder runs already, its page is opened instead. Raises UserError when it runs on
    another port than the one asked for, and when the port is taken.
    """
    folder = home()
    settings = read_settings(folder)
    browser = settings.open_browser if browser is None else browser
    if _show_running(port, browser):
        return
    with _listen(settings.port if port is None else port) as listener:
        running = Running(listener.getsockname()[1], secrets.token_hex(16))
        _serve_on(listener, running, browser, midi)


def _show_running(port: int | None, browser: bool) -> bool:
    """Open the page of the server that runs already, if one does."""
    from assistant.client import Client, is_running

    folder = home()
    running = read_running(folder)
    if running is None or not is_running(running):
        return False
    if port not in (None, running.port):
        raise UserError(f"Descant runs already, at {running.address}", "Stop it first, or leave --port out.")
    with Client(running.port, token(folder)) as client:
        _show(f"Descant runs already, at {running.address}", client.make_link(), browser)
    return True


def _listen(port: int) -> socket.socket:
    # The protocol is named, so that asyncio sends an answer at once and not after its head was acknowledged.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":  # there SO_REUSEADDR would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UserError(
            f"Port {port} is used by another program", f"Choose another: descant serve --port {port + 1}"
        ) from error
    return listener


def _serve_on(listener: socket.socket, running: Running, browser: bool, midi: bool) -> None:
    import uvicorn

    from assistant.server import create_app
    from assistant.service import Service

    folder = home()
    service = Service(folder, running, midi)
    config = uvicorn.Config(
        create_app(service),
        http="h11",
        ws="websockets-sansio",
        ws_max_size=64 << 10,
        ws_max_queue=16,
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    save_running(folder, running)
    try:
        _show(f"Descant is at {running.address}; Ctrl-C stops it", service.link(), browser)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    finally:
        remove_running(folder, running)


def _show(sentence: str, link: str, browser: bool) -> None:
    print(sentence)
    if browser and webbrowser.open(link):
        print("Its page opens in your browser.", flush=True)
    else:
        print(f"Open this link within ten minutes; it works once:\n  {link}", flush=True)
