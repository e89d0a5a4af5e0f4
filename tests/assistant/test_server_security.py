"""Who the server answers and who it does not, asked over plain sockets: nothing tidies these requests up."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.security import MAX_JSON, MAX_UPLOAD, Guard, OneTimeLinks, resolve_inside
from assistant.settings import token, token_path
from models.errors import UserError
from tests.served import SECONDS, Served, served

KEY = base64.b64encode(b"0123456789abcdef").decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), weights_folder) as running:
        yield running


def exchange(server: Served, request: bytes, finish: bool = False) -> tuple[int, bytes]:
    """Send bytes as they are; the status (0 for none) and everything that came back.

    finish: say that nothing follows, which a server may take for a client that has left.
    """
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as connection:
        answer = b""
        try:
            connection.sendall(request)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
                if b"101 Switching" in answer:
                    break
        except OSError as error:  # it has seen enough, and says no more; the line is down or about to be
            if not isinstance(error, ConnectionError) and error.errno != errno.ENOTCONN:
                raise
    match = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(match[1]) if match else 0, answer


def head(server: Served, method: str, path: str, *lines: str, host: str | None = "", **more: str) -> bytes:
    """A request's head. host: "" for the right one, None for none."""
    named = [] if host is None else [f"Host: {host or f'127.0.0.1:{server.port}'}"]
    named += [*lines, *(f"{name.replace('_', '-')}: {value}" for name, value in more.items()), "Connection: close"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *named, "", ""]).encode()


def upgrade(server: Served, *lines: str, host: str = "") -> bytes:
    wanted = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
    return head(server, "GET", "/events", *wanted, *lines, host=host).replace(
        b"Connection: close", b"Connection: Upgrade"
    )


HOSTS = [
    "127.0.0.1",
    "localhost",
    "127.0.0.1:{other}",
    "localhost:{other}",
    "127.0.0.1:{port}.evil.example",
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example:{port}",
    "LOCALHOST.:{port}",
    "0.0.0.0:{port}",
    "[::1]:{port}",
    "[::]:{port}",
    "127.1:{port}",
    "2130706433:{port}",
    "127.0.0.2:{port}",
    "192.168.0.1:{port}",
    "10.0.0.1:{port}",
    "169.254.169.254",
    "user@127.0.0.1:{port}",
    "127.0.0.1:{port},evil.example",
    "127.0.0.1:0{port}",
]
ORIGINS = [
    "null",
    "",
    "http://evil.example",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1",
    "http://127.0.0.1:{other}",
    "http://localhost:{other}",
    "http://localhost:{port}.evil.example",
    "http://localhost:{port}/",
    "http://192.168.0.1:{port}",
    "http://[::1]:{port}",
    "file://",
    "chrome-extension://abcdefghijklmnop",
    "HTTP://LOCALHOST:{port}",
    "http://127.0.0.1:{port} http://evil.example",
]
ROUTES = [("GET", "/health"), ("GET", "/"), ("POST", "/login"), ("GET", "/sessions"), ("GET", "/page/page.js")]


def filled(text: str, server: Served) -> str:
    return text.replace("{port}", str(server.port)).replace("{other}", str(server.port - 1))


def bearer(server: Served) -> str:
    return f"Authorization: Bearer {server.token}"


@pytest.mark.parametrize("host", HOSTS)
def test_a_foreign_host_is_refused_before_anything_else(server: Served, host: str) -> None:
    for method, path in ROUTES:
        refused, answer = exchange(server, head(server, method, path, bearer(server), host=filled(host, server)))
        assert refused == 403 and b'"error"' in answer
    assert exchange(server, upgrade(server, bearer(server), host=filled(host, server)))[0] == 403


def test_no_host_or_two_are_refused(server: Served) -> None:
    right = f"Host: 127.0.0.1:{server.port}"
    assert exchange(server, head(server, "GET", "/health", host=None))[0] in (400, 403)
    assert exchange(server, b"GET /health HTTP/1.0\r\n\r\n")[0] == 403
    assert exchange(server, head(server, "GET", "/health", "Host:", host=None))[0] in (400, 403)
    assert exchange(server, head(server, "GET", "/health", right))[0] in (400, 403)
    assert exchange(server, head(server, "GET", "/health", "Host: evil.example"))[0] in (400, 403)


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_foreign_origin_is_refused_even_with_the_token(server: Served, origin: str) -> None:
    named = f"Origin: {filled(origin, server)}"
    for method, path in ROUTES:
        assert exchange(server, head(server, method, path, bearer(server), named))[0] == 403
    assert exchange(server, upgrade(server, bearer(server), named))[0] == 403
    own = f"Origin: http://127.0.0.1:{server.port}"
    assert exchange(server, head(server, "GET", "/health", own, named))[0] == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_page_itself_is_welcome(server: Served, name: str) -> None:
    host = f"{name}:{server.port}"
    origin = f"Origin: http://{host}"
    assert exchange(server, head(server, "GET", "/health", origin, host=host))[0] == 200
    assert exchange(server, head(server, "GET", "/sessions", origin, bearer(server), host=host))[0] == 200
    protocols = f"Sec-WebSocket-Protocol: descant, bearer.{server.token}"
    status, answer = exchange(server, upgrade(server, origin, protocols, host=host))
    assert status == 101 and b"sec-websocket-protocol: descant\r\n" in answer.lower()
    assert server.token.encode() not in answer


def wrong_tokens(right: str) -> list[str]:
    return [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {right[:-1]}",
        f"Bearer {right}0",
        f"Bearer {right.upper() if right != right.upper() else right.lower()}",
        f"Bearer {'0' * 64}",
        f"Basic {base64.b64encode(f':{right}'.encode()).decode()}",
        f"Token {right}",
        right,
        f"Bearer {right}, Bearer {right}",
        "Bearer \xff\xfe",
    ]


def test_everything_but_health_and_the_page_wants_the_token(server: Served) -> None:
    with server.client() as client:
        described = json.loads(client._bytes("GET", "/openapi.json"))
    routes = [(method.upper(), path) for path, methods in described["paths"].items() for method in methods]
    routes += [("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/nothing")]
    routes += [("OPTIONS", "/sessions"), ("HEAD", "/scores")]
    open_routes = {("GET", "/health"), ("POST", "/login"), ("GET", "/files/{code}/{name}")}
    assert open_routes < set(routes)
    for method, path in set(routes) - open_routes:
        path = re.sub(r"\{\w+\}", "1", path)
        assert exchange(server, head(server, method, path))[0] == 401, (method, path)
    assert server.raw("GET", "/health")[0] == 200
    for wrong in wrong_tokens(server.token):
        request = head(server, "GET", "/sessions").replace(
            b"Connection", b"Authorization: " + wrong.encode("latin-1") + b"\r\nConnection", 1
        )
        status, answer = exchange(server, request)
        assert status == 401 and b"www-authenticate: bearer" in answer.lower(), wrong
    twice = head(server, "GET", "/sessions", bearer(server), bearer(server))
    assert exchange(server, twice)[0] == 401
    in_the_address = head(server, "GET", f"/sessions?token={server.token}")
    assert exchange(server, in_the_address)[0] == 401


def test_a_websocket_wants_the_token_too(server: Served) -> None:
    right = server.token
    assert exchange(server, upgrade(server, bearer(server)))[0] == 101
    for offered in ("descant", f"descant, bearer.{right[:-1]}", f"bearer.{right}, bearer.{'0' * 64}"):
        assert exchange(server, upgrade(server, f"Sec-WebSocket-Protocol: {offered}"))[0] == 401


def test_no_answer_invites_other_sites(server: Served) -> None:
    known = bearer(server)
    requests = [
        head(server, "GET", "/health"),
        head(server, "GET", "/"),
        head(server, "GET", "/sessions"),
        head(server, "GET", "/sessions", known),
        head(server, "GET", "/none", known),
        head(server, "OPTIONS", "/sessions", known, "Access-Control-Request-Method: GET"),
        head(server, "GET", "/health", "Origin: http://evil.example"),
    ]
    for request in requests:
        answer = exchange(server, request)[1]
        headers = answer.partition(b"\r\n\r\n")[0].lower().decode()
        assert "access-control-" not in headers and "\r\nserver:" not in headers and "set-cookie" not in headers
        policy = re.search(r"content-security-policy: (.*)", headers)
        assert policy and "default-src 'none'" in policy[1] and "unsafe" not in policy[1]
        origins = set(re.findall(r"[a-z]+://\S+?(?=[ ;\r]|$)", policy[1]))
        assert origins == {f"ws://127.0.0.1:{server.port}", f"ws://localhost:{server.port}"}
        for name in ("x-content-type-options: nosniff", "referrer-policy: no-referrer", "cache-control: no-store"):
            assert name in headers


# --- Bodies -------------------------------------------------------------------------------------------


def test_a_body_too_large_is_refused_before_it_is_read(server: Served) -> None:
    for path, most in (("/scores", MAX_UPLOAD), ("/proposals", MAX_JSON)):
        announced = head(server, "POST", path, bearer(server), f"Content-Length: {most + 1}")
        status, answer = exchange(server, announced)
        assert status == 413 and b"cannot be sent" in answer
    for length in ("-1", "1e9", "99999999999999999999", "0x10"):
        request = head(server, "POST", "/scores", bearer(server), f"Content-Length: {length}")
        assert exchange(server, request)[0] in (400, 413)


def test_a_body_that_does_not_say_its_length_is_counted(server: Served) -> None:
    chunk = b"%x\r\n%s\r\n" % (1 << 18, bytes(1 << 18))
    for path, chunks in (("/scores", 41), ("/proposals", 2), ("/login", 2)):
        lines = (bearer(server), "Transfer-Encoding: chunked", "Content-Type: application/json")
        request = head(server, "POST", path, *lines)
        status, _ = exchange(server, request + chunk * chunks + b"0\r\n\r\n")
        assert status == 413, path
    # One that stays below is read: it is refused for what it is.
    request = head(server, "POST", "/scores", bearer(server), "Transfer-Encoding: chunked")
    assert exchange(server, request + chunk + b"0\r\n\r\n")[0] == 422


def test_the_largest_upload_that_is_allowed(server: Served, data_dir: Path) -> None:
    song = (data_dir / "piano-minuet.mid").read_bytes()
    padded = song + b"JUNK" + (MAX_UPLOAD - len(song) - 8).to_bytes(4, "big") + bytes(MAX_UPLOAD - len(song) - 8)
    assert len(padded) == MAX_UPLOAD
    with server.client() as client:
        assert client.score_midi(client.upload(padded).id) == padded


BAD_BODIES = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"{",
    b"{}",
    b"\xff\xfe{\x00}\x00",
    b'{"score": "\xff"}',
    b'{"score": NaN}',
    b'{"score": 1e999, "operation": "continue"}',
    b'{"score": 1, "operation": "\\ud800"}',
    b'{"score": 1, "operation": "continue", "\\udfff": 1}',
    b'{"score": true, "operation": "continue", "bars": 1}',
    b'{"score": 1.5, "operation": "continue", "bars": 1}',
    b'{"score": 99999, "operation": "continue", "bars": 1}',
    b'{"score": 9223372036854775808, "operation": "continue", "bars": 1}',
    b'{"score": -1, "operation": "continue", "bars": 1}',
    b'{"operation": "continue", "bars": 1}',
    b'{"score": 1, "operation": ["continue"]}',
    b'{"score": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b'{"verdict": {}, "name": [], "code": {}, "candidates": []}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: body[:24].decode("ascii", "replace"))
def test_a_body_that_makes_no_sense_is_the_callers_fault(server: Served, body: bytes) -> None:
    paths = ["/proposals", "/proposals?follow=true", "/sessions", "/login", "/settings"]
    paths += ["/proposals/1/candidates/1/decision", "/proposals/1/candidates/1/file"]
    for path in paths:
        method = "PATCH" if path == "/settings" else "POST"
        lines = (bearer(server), "Content-Type: application/json", f"Content-Length: {len(body)}")
        status, answer = exchange(server, head(server, method, path, *lines) + body)
        fine = path in ("/sessions", "/settings") and status in (200, 201)
        assert fine or status in (400, 403, 404, 422), (path, status, answer[-300:])
        if not fine:
            error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
            assert set(error) == {"message", "hint"} and error["message"] and "Traceback" not in error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/sessions/0",
        "/sessions/-1",
        "/sessions/x",
        "/sessions/1e3",
        "/sessions/99999999999999999999999",
        "/proposals/99999999999999999999999",
        "/proposals/1/candidates/99999999999999999999999/midi",
        "/scores/9223372036854775807/midi",
        "/scores/9223372036854775808/notes",
        "/proposals?most=0",
        "/proposals?session=99999999999999999999999",
        "/proposals?session=%00",
        "/none",
        "/%00",
    ],
)
def test_addresses_that_lead_nowhere(server: Served, path: str) -> None:
    status, answer = exchange(server, head(server, "GET", path, bearer(server)))
    assert status in (404, 422) and b'"error"' in answer


def test_bytes_that_are_no_http_at_all(server: Served) -> None:
    noises = [b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100_000, b"GET " + b"a" * 200_000]
    for noise in (*noises, b"PRI * HTTP/2.0\r\n\r\n"):
        assert exchange(server, noise, finish=True)[0] in (0, 400, 403, 404, 414, 431)
    many = head(server, "GET", "/health", *(f"X-{i}: {'y' * 1000}" for i in range(200)))
    assert exchange(server, many)[0] in (400, 431)
    assert server.health()["status"] == "ok"


# --- Files --------------------------------------------------------------------------------------------

TRAVERSALS = [
    "/page/../server.py",
    "/page/%2e%2e/server.py",
    "/page/..%2fserver.py",
    "/page/%2e%2e%2fserver.py",
    "/page/%252e%252e/server.py",
    "/page/..\\server.py",
    "/page/..%5cserver.py",
    "/page//etc/passwd",
    "/page/%2fetc%2fpasswd",
    "/page/./page.js",
    "/page/page.js/",
    "/page/page.js%00.html",
    "/page/page.js::$DATA",
    "/page/page.js.",
    "/page/...",
    "/page/",
    "/page/%c0%ae%c0%ae/server.py",
    "/files/x/../../token",
    "/files/..%2f..%2ftoken/token",
    "//etc/passwd",
    "/../token",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_name_leads_out_of_the_page(server: Served, path: str) -> None:
    status, answer = exchange(server, head(server, "GET", path, bearer(server)))
    assert status in (400, 404, 422)
    assert server.token.encode() not in answer and b"create_app" not in answer and b"root:" not in answer


PARTS = st.sampled_from(["..", ".", "", "a", "b.mid", "link", "up", "...", "~", "\0", "\\", "C:", " ", "a ", "ü"])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join) | st.text(max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(name=NAMES)
def test_a_resolved_name_is_inside_or_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    if not root.exists():
        (root / "a").mkdir(parents=True)
        (tmp_path / "outside").mkdir()
        (root / "link").symlink_to(tmp_path / "outside")
        (root / "up").symlink_to("..")
    try:
        path = resolve_inside(root, name)
    except UserError as error:
        assert error.hint
        return
    assert path.is_relative_to(root.resolve()) and path != root.resolve()
    assert os.path.realpath(path) == str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="there the user's folder is private by itself")
def test_the_secrets_are_their_owners_alone(server: Served) -> None:
    for name in ("token", "server.json", "history.db"):
        assert stat.S_IMODE((server.folder / name).stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{64}", server.token)


def test_a_token_that_was_tampered_with_is_made_anew(tmp_path: Path) -> None:
    first = token(tmp_path)
    assert token(tmp_path) == first
    for damage in ("", first[:-1], first.upper() + "g", "\n" * 64):
        token_path(tmp_path).write_text(damage)
        assert re.fullmatch("[0-9a-f]{64}", token(tmp_path)) and token(tmp_path) != first


def test_links_end_and_are_few() -> None:
    now = [0.0]
    links = OneTimeLinks(lambda: now[0])
    late, code = links.make(), links.make()
    now[0] = 599.0
    assert links.take(code) and not links.take(code) and not links.take("")
    now[0] = 601.0
    assert not links.take(late)
    many = [links.make() for _ in range(OneTimeLinks.MOST + 1)]
    assert not links.take(many[0]) and links.take(many[1])


# --- Connections --------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="where each socket leads is read from /proc")
def test_no_socket_leaves_this_computer(server: Served, data_dir: Path) -> None:
    with server.client() as client:
        song = client.upload((data_dir / "piano-minuet.mid").read_bytes())
        client.propose(song.id, "continue", bars=1, candidates=1)
        listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
        pairs = [tuple(map(int, line.split())) for line in listed.splitlines()[1:]]
        family = {server.process.pid}
        family |= {pid for pid, parent in pairs if parent in family}
        inodes = set()
        for pid in family:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                if match := re.match(r"socket:\[(\d+)\]", os.readlink(link) if link.is_symlink() else ""):
                    inodes.add(match[1])
        ends = []
        for kind in ("tcp", "tcp6", "udp", "udp6"):
            for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in inodes:
                    ends += [fields[1].partition(":")[0], fields[2].partition(":")[0]]
        # The server's own address, on both ends of every connection; a listener's far end is empty.
        assert len(family) >= 2 and ends and set(ends) <= {"0100007F", "00000000"}
        assert ends.count("00000000") in (1, 2)  # it listens for the page and, where the port is free, for DAWs


def test_only_the_loopback_listens(server: Served) -> None:
    names = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in names - {"127.0.0.1"}:
        with pytest.raises(OSError):
            socket.create_connection((address, server.port), timeout=5).close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        pass


def test_the_guard_judges_every_kind_of_request_and_nothing_reaches_the_application() -> None:
    reached: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    guard = Guard(application, 8733, "secret", lambda method, path: path == "/open", lambda path: MAX_JSON)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    def call(kind: str, path: str, *headers: tuple[bytes, bytes]) -> None:
        scope = {"type": kind, "path": path, "headers": list(headers), "method": "GET"}
        if kind == "websocket":
            del scope["method"]
        asyncio.run(guard(scope, receive, send))

    host = (b"host", b"127.0.0.1:8733")
    call("http", "/open", (b"host", b"evil.example"))
    call("http", "/closed", host)
    call("websocket", "/open-not", host)
    call("websocket", "/events", (b"host", b"evil.example"), (b"authorization", b"Bearer secret"))
    assert reached == [] and [message.get("status") or message.get("code") for message in sent] == [
        403,
        None,
        401,
        None,
        1008,
        1008,
    ]
    call("http", "/open", host)
    call("http", "/closed", host, (b"authorization", b"bearer secret"))
    call("websocket", "/events", host, (b"sec-websocket-protocol", b"descant, bearer.secret"))
    assert reached == ["http", "http", "websocket"]
