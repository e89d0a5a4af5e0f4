"""A real browser in front of a real server, whose network has random weights.

Chromium is Debian's. No test may make it speak to anything but the server: `browser_page` checks that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pytest
from playwright.sync_api import (
    APIResponse,
    Browser,
    BrowserContext,
    Page,
    Playwright,
    Request,
    Route,
    sync_playwright,
)

from models.architecture import SIZES
from models.training.checkpoint import export_weights
from tests.builders import random_model
from tests.served import SECONDS, Served, served, wait_for

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
Opener = Callable[..., Page]
TRAFFIC: WeakKeyDictionary[Page, set[Request]] = WeakKeyDictionary()  # what each page waits for


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    export_weights(random_model(SIZES["tiny"], 1), folder, {})
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), weights) as running:
        running.wait_until_ready()
        yield running


class Held:
    """Requests that wait until `release`. made: they reach the server at once, and its answers wait."""

    def __init__(self, method: str, url: str, made: bool = False) -> None:
        """url: a regular expression."""
        self.routes: list[Route] = []
        self._answers: list[APIResponse | None] = []
        self._method, self._url, self._made, self._open = method, re.compile(url), made, False

    def begin(self, context: BrowserContext) -> None:
        context.route(self._url, self._hold)

    def _hold(self, route: Route) -> None:
        if self._open or route.request.method != self._method:
            route.fallback()
            return
        self._answers.append(route.fetch() if self._made else None)
        self.routes.append(route)

    def release(self) -> None:
        self._open = True
        for route, answer in zip(self.routes, self._answers, strict=True):
            if answer:
                route.fulfill(response=answer)
            else:
                route.continue_()


def settle(page: Page) -> None:
    """Wait until nothing is on its way and everything is painted, three looks in a row."""
    quiet = 0

    def look() -> bool:
        nonlocal quiet
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        quiet = 0 if TRAFFIC[page] else quiet + 1
        return quiet >= 3

    wait_for(look)


@contextmanager
def opened(browser: Browser, server: Served, held: Sequence[Held] = (), **options: Any) -> Iterator[Page]:
    """The page of a server, in a fresh profile. In the end nothing must have gone wrong in it unseen, and it must
    have spoken to nobody else. held: what waits from the beginning."""
    options = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options
    context = browser.new_context(**options)
    context.set_default_timeout(SECONDS * 1000)
    for requests in held:
        requests.begin(context)
    page = context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    waiting = TRAFFIC[page] = set()
    page.on("request", lambda request: waiting.add(request))
    page.on("requestfinished", lambda request: waiting.discard(request))
    page.on("requestfailed", lambda request: waiting.discard(request))
    page.on("pageerror", lambda error: faults.append(f"{error} {error.stack}"))
    with server.client() as client:
        page.goto(client.make_link())
    yield page
    context.close()
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {f"127.0.0.1:{server.port}"}
    assert faults == []


@pytest.fixture
def open_page(chromium: Browser, server: Served, data_dir: Path) -> Iterator[Opener]:
    """Opens the page with a piece on it: `open_page("string-quartet")`, and what a browser context takes."""
    stack: list[Any] = []

    def open_one(piece: str = "song-voice-piano", **options: Any) -> Page:
        manager = opened(chromium, server, **options)
        page = manager.__enter__()
        stack.append(manager)
        page.locator("nav").get_by_role("button", name="Open").wait_for()
        page.set_input_files("#file", data_dir / f"{piece}.mid")
        page.wait_for_function("() => !window.descant.state.loading")  # one of this name may have been there
        page.locator(".piece strong", has_text=piece).wait_for()
        page.locator(".go button.main:enabled").wait_for()
        return page

    yield open_one
    for manager in reversed(stack):
        manager.__exit__(None, None, None)
