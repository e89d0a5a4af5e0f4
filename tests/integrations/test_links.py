"""What carries the messages: who is let in, who is told to go, and that nothing half-written is read."""

from __future__ import annotations

import ast
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.bridges import Bridges, secret
from assistant.daw_asking import ask_nothing
from integrations.base import Capabilities, DawError, Incompatible, agree, read_hello, stamp
from integrations.links import FolderLink, SocketLink, frame, receive
from integrations.wire import RemoteDaw, selection_from
from models.errors import UserError
from tests.integrations.bench import HERE, TOKEN, until

REMOTE = HERE.parents[1] / "integrations" / "remote"
HELLO = {"daw": "live", "daw_version": "12", "script_version": "0.1.0", "protocols": [1], "capabilities": {}}


@pytest.fixture
def link() -> Iterator[tuple[SocketLink, list[RemoteDaw]]]:
    arrived: list[RemoteDaw] = []
    made = SocketLink(0, "secret", arrived.append)
    yield made, arrived
    made.close()


def call(port: int, *messages: dict[str, object]) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    for message in messages:
        connection.sendall(frame(message))
    return connection


def test_a_script_with_the_secret_is_welcome(link: tuple[SocketLink, list[RemoteDaw]]) -> None:
    with call(link[0].port, {"secret": "secret", "hello": HELLO}) as connection:
        assert receive(connection)["welcome"]["protocol"] == 1
        until(lambda: link[1])
        assert link[1][0].name == "live"


@pytest.mark.parametrize("offered", ["", "Secret", None, 7])
def test_without_the_secret_nobody_is(link: tuple[SocketLink, list[RemoteDaw]], offered: object) -> None:
    with call(link[0].port, {"secret": offered, "hello": HELLO}) as connection:
        assert "refused" in receive(connection)
        assert connection.recv(1) == b""
    assert link[1] == []


def test_a_script_of_another_version_is_told_what_to_do(link: tuple[SocketLink, list[RemoteDaw]]) -> None:
    with call(link[0].port, {"secret": "secret", "hello": {**HELLO, "protocols": [99]}}) as connection:
        refused = receive(connection)["refused"]
    assert "another version" in refused["message"] and "descant daw install live" in refused["hint"]
    assert link[1] == []


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 5) + b"[1,2]", b"\xff" * 64])
def test_what_is_no_message_ends_the_connection(link: tuple[SocketLink, list[RemoteDaw]], data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", link[0].port), timeout=20) as connection:
        connection.sendall(data)
        with suppress(OSError):  # it may have been ended already
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):  # closed with data unread
            assert connection.recv(100) == b""
    assert link[1] == []


def test_the_socket_is_of_this_computer_only(link: tuple[SocketLink, list[RemoteDaw]]) -> None:
    assert link[0]._listener.getsockname()[0] == "127.0.0.1"


def test_a_second_header_is_passed_over(link: tuple[SocketLink, list[RemoteDaw]]) -> None:
    once = frame({"secret": "secret", "hello": HELLO})
    with socket.create_connection(("127.0.0.1", link[0].port), timeout=20) as connection:
        connection.sendall(struct.pack(">I", len(once)) + once)
        assert "welcome" in receive(connection)


def test_a_port_that_is_taken_is_told_and_the_folder_still_serves(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        bridges = Bridges(tmp_path, TOKEN, ask_nothing, port=other.getsockname()[1])
        bridges.start()
        try:
            assert ["is taken" in problem.message for problem in bridges.problems] == [True]
            assert (tmp_path / "daw" / "server.json").exists()
        finally:
            bridges.close()
    assert not (tmp_path / "daw" / "server.json").exists()


def test_the_bridges_secret_is_not_the_servers() -> None:
    assert TOKEN not in secret(TOKEN) and len(secret(TOKEN)) == 64


# --- The folder ---------------------------------------------------------------------------------------


def session(folder: Path, *messages: object) -> Path:
    place = folder / json.loads((folder / "server.json").read_text())["free"]
    for number, message in enumerate(messages, 1):
        (place / "draft").write_text(json.dumps(message))
        os.replace(place / "draft", place / f"in-{number}.json")
    return place


def test_a_script_comes_and_goes_through_the_folder(tmp_path: Path) -> None:
    arrived: list[RemoteDaw] = []
    link = FolderLink(tmp_path / "daw", arrived.append)
    try:
        place = session(tmp_path / "daw", {"hello": HELLO})
        until(lambda: arrived and (place / "out-1.json").exists())
        assert "welcome" in json.loads((place / "out-1.json").read_text())
        (place / "gone").touch()
        until(lambda: arrived[0].conversation.closed)
        until(lambda: not place.exists())
    finally:
        link.close()


def test_a_silent_script_counts_as_gone(tmp_path: Path) -> None:
    arrived: list[RemoteDaw] = []
    link = FolderLink(tmp_path / "daw", arrived.append, silent_seconds=0.2)
    try:
        session(tmp_path / "daw", {"hello": HELLO})
        until(lambda: arrived and arrived[0].conversation.closed)
    finally:
        link.close()


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    link = FolderLink(tmp_path / "daw", lambda _: None)
    link.close()
    assert stat.S_IMODE((tmp_path / "daw").stat().st_mode) == 0o700


# --- What is said -------------------------------------------------------------------------------------


def test_capabilities_that_are_not_known_are_passed_over() -> None:
    said = {"loops": True, "teleport": True, "undo": "yes", "resolution": 240}
    assert Capabilities.from_message(said) == Capabilities(loops=True, resolution=240)


def test_the_newest_common_protocol_is_agreed() -> None:
    assert agree(read_hello({**HELLO, "protocols": [1, 2, 3]}), (1, 2)) == 2
    with pytest.raises(Incompatible):
        agree(read_hello({**HELLO, "protocols": []}), (1, 2))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WORDS = ("tracks", "tempos", "meters", "length", "origin", "selection", "stamp", "scale", "swing")
GOOD = {
    "origin": 0.0,
    "length": 3840,
    "tempos": [[0, 500000]],
    "meters": [[0, 4, 4]],
    "tracks": [{"name": "Keys", "notes": [[0, 60, 960, 80]]}],
    "selection": {"start": 0, "end": 3840, "tracks": [0]},
    "stamp": "1",
}


def test_a_good_answer_is_read() -> None:
    assert selection_from(GOOD).score.tracks[0].notes[0].pitch == 60


@given(st.dictionaries(st.sampled_from(WORDS), ANY, min_size=1))
def test_whatever_a_script_answers_is_music_or_an_error(changes: dict[str, object]) -> None:
    try:
        selection = selection_from({**GOOD, **changes})
    except DawError:
        return
    assert selection.tracks and selection.start < selection.end


@given(st.dictionaries(st.text(max_size=8), ANY))
def test_whatever_a_script_says_first_is_a_greeting_or_refused(message: dict[str, object]) -> None:
    with pytest.raises(Incompatible):
        read_hello(message)


# --- The scripts' own language ------------------------------------------------------------------------

LUA = """
local M = dofile(arg[1])
for line in io.lines() do
  local value = M.decode(line)
  print(M.encode(value))
end
"""
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda text: "]" not in text)
PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, min_size=1, max_size=4),
    max_leaves=12,
)


@settings(max_examples=25)
@given(st.lists(PLAIN, min_size=1, max_size=20))
def test_json_of_the_lua_scripts(values: list[object]) -> None:
    lines = "".join(json.dumps({"value": value}) + "\n" for value in values)
    command = ["lua5.4", "-", str(REMOTE / "lua" / "descant_link.lua")]
    program = LUA.replace("io.lines()", f"([==[{lines}]==]):gmatch('[^\\n]+')")
    done = subprocess.run(command, input=program, capture_output=True, text=True, check=True, timeout=60)
    assert [json.loads(line)["value"] for line in done.stdout.splitlines()] == values


@given(st.lists(st.integers(-(2**40), 2**40), max_size=30))
def test_a_stamp_changes_with_any_number(numbers: list[int]) -> None:
    assert stamp(numbers) == stamp(list(numbers))
    assert all(
        stamp(numbers[:at] + [numbers[at] + 1] + numbers[at + 1 :]) != stamp(numbers) for at in range(len(numbers))
    )


LIVE = sorted((REMOTE / "live" / "Descant").glob("*.py"))


@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.name)
@pytest.mark.parametrize("minor", range(7, 12))
def test_the_live_script_is_grammar_that_lives_python_knows(path: Path, minor: int) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, minor))


@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.name)
def test_the_live_script_evaluates_nothing_newer_than_python_3_7(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden: set[int] = set()  # annotations are never evaluated, nor what is for type checkers only
    for node in ast.walk(tree):
        unseen: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef):
            arguments = node.args
            unseen = [node.returns, *(a.annotation for a in (*arguments.args, *arguments.kwonlyargs))]
        elif isinstance(node, ast.AnnAssign):
            unseen = [node.annotation]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            unseen = list(node.body)
        hidden |= {id(inner) for outer in unseen if outer is not None for inner in ast.walk(outer)}
    seen = [node for node in ast.walk(tree) if id(node) not in hidden]
    generic = {"list", "dict", "tuple", "set", "type", "deque"}
    assert not [n for n in seen if isinstance(n, ast.Subscript) and ast.unparse(n.value) in generic]
    modules = {alias.name for n in seen if isinstance(n, ast.Import) for alias in n.names}
    modules |= {n.module or "" for n in seen if isinstance(n, ast.ImportFrom) and not n.level}
    assert {name.partition(".")[0] for name in modules} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted(REMOTE.rglob("*.lua")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_lua_script_is_lua(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    done = subprocess.run(
        ["lua5.4", "-e", "assert(load(io.read('a')))"], input=text, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not [word for word in ("require", "io.popen", "os.execute", "socket") if f"{word}(" in text]


def test_errors_have_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        FolderLink(tmp_path / "file" / "daw", lambda _: None)
    assert caught.value.hint
