"""What REAPER's users feel beyond what every DAW does, and the package that ReaPack would install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from integrations.base import TICKS
from integrations.memory import Song
from integrations.reapack import WITHIN, index
from integrations.reaper import ACTIONS
from integrations.scripts import REMOTE
from models.errors import UserError
from models.score import Meter
from tests.integrations.bench import HERE, Asked, lane, rows, scale, until
from tests.integrations.bench_reaper import ReaperBench

BAR = 4 * TICKS
ROOT = HERE.parents[1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ReaperBench]:
    made = ReaperBench(tmp_path, Asked())
    yield made
    made.asked.door.set()
    made.asked.last_door.set()
    made.close()


def takes(bench: ReaperBench, track: int = 0) -> list[list[str]]:
    """The names of the takes of every item of a track."""
    return [[take["name"] for take in item["takes"]] for item in bench.state()["tracks"][track]["items"]]


def test_an_accepted_fill_leaves_the_users_take_in_its_item(bench: ReaperBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 3)),)), (0,), BAR, 2 * BAR)
    own = bench.own()
    bench.press("fill", candidates=2)
    until(lambda: any("candidates" in line for line in bench.said()))
    bench.press("next")
    until(lambda: bench.shown() == 2)
    bench.press("accept")
    until(lambda: takes(bench) == [["own", "Descant 2"]])
    assert bench.own() == own
    bench.press("cancel")  # it is the user's now: there is no proposal that could be dropped
    until(lambda: any("no proposal" in line for line in bench.said()[-1:]))
    assert takes(bench) == [["own", "Descant 2"]]


def test_what_is_heard_stays_while_others_grow(bench: ReaperBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 4)),)), (0,), BAR, 3 * BAR)
    bench.asked.last_door.clear()
    bench.press("fill", candidates=3)
    until(lambda: bench.shown() == 1)
    bench.press("accept")
    until(lambda: any("still being written" in line for line in bench.said()))
    bench.press("previous")
    until(lambda: bench.shown() == 0)
    bench.asked.last_door.set()
    until(lambda: any("3 candidates" in line for line in bench.said()))
    assert bench.shown() == 0 and takes(bench) == [["own", "Descant 1", "Descant 2", "Descant 3"]]


def test_a_bar_that_is_cut_short_is_read_and_written_in_its_place(bench: ReaperBench) -> None:
    """A meter that begins within a bar: the project's own quarter notes count on."""
    song = Song((lane("Keys", scale(0, 3)),), meters=(Meter(0, 4, 4), Meter(BAR + 3 * TICKS, 3, 4)))
    bench.load(song, (0,), 0, 3 * BAR)
    selection = bench.daw.read("fill")
    assert rows(selection.score.tracks[0].notes) == bench.own()["Keys"]
    assert [selection.score.bar(number).start for number in range(3)] == [0, BAR, BAR + 3 * TICKS]
    bench.press("fill", candidates=2)
    until(lambda: len(bench.candidates()) == 2)
    for found, score in zip(bench.candidates(), bench.asked.scores, strict=True):
        assert found["Keys"] == rows(score.tracks[0].notes)


def test_a_sketch_begins_with_the_bar_of_the_edit_cursor(bench: ReaperBench) -> None:
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 2 * BAR, cursor=5 * BAR)
    bench.press("sketch", text="calm piano, 2 bars", candidates=1)
    until(lambda: len(bench.candidates()) == 1)
    starts = [note[0] for note in next(iter(bench.candidates()[0].values()))]
    assert min(starts) >= 5 * BAR and max(starts) < 7 * BAR
    until(lambda: any("candidates" in line for line in bench.said()))
    bench.press("sketch", text="fast waltz at 180 bpm, harp, 2 bars", candidates=1)
    until(lambda: any("120 bpm hold, not 180" in line and "3/4" in line for line in bench.said()))


def test_a_script_without_an_installed_folder_finds_the_programs_own(bench: ReaperBench) -> None:
    """As ReaPack would leave it: nothing there was written by `descant daw install`."""
    bench.environment = {**os.environ, "DESCANT_HOME": str(bench.folder / "home")}
    bench.leave_out = ("descant_folder.lua",)
    bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 2 * BAR)
    assert bench.daw.read("continue").bars == (0, 1)


# --- ReaPack ------------------------------------------------------------------------------------------

BASE = "https://example.com/descant"


def test_the_reapack_index_has_what_the_format_asks_for() -> None:
    root = Xml.fromstring(index(BASE + "/").encode())
    assert (root.tag, root.attrib) == ("index", {"version": "1", "name": "Descant"})
    (category,) = root
    (package,) = category
    (version,) = package
    assert (category.tag, package.tag, version.tag) == ("category", "reapack", "version")
    assert package.attrib["type"] == "script" and package.attrib["desc"] and category.attrib["name"]
    assert version.attrib["author"] == "Descant"
    # ReaPack's own rule for versions: numbers first, between dots.
    assert re.fullmatch(r"\d+(\.\w+)*", version.attrib["name"])
    assert {source.tag for source in version} == {"source"}
    assert all(source.attrib.keys() <= {"file", "main", "platform", "type"} for source in version)


def test_every_file_of_the_reapack_index_is_there_and_nothing_is_left_out() -> None:
    version = Xml.fromstring(index(BASE).encode())[0][0][0]
    paths = [ROOT / source.text.removeprefix(BASE + "/") for source in version if source.text]
    assert all(path.is_file() for path in paths)
    installed = [source.get("file", "descant.lua") for source in version]
    assert installed == [path.name for path in paths]
    assert {path for path in paths if WITHIN in path.as_posix()} == {
        *(REMOTE / "reaper").glob("*.lua"),
        REMOTE / "lua" / "descant_link.lua",
    }
    actions = {source.get("file") for source in version if source.get("main") == "main"}
    assert actions == {f"descant_{action}.lua" for action in ACTIONS}


def test_the_versions_of_all_scripts_agree() -> None:
    version = Xml.fromstring(index(BASE).encode())[0][0][0].attrib["name"]
    said = {
        re.search(pattern, (REMOTE / path).read_text(encoding="utf-8"))[1]  # type: ignore[index]
        for path, pattern in (
            ("lua/descant_link.lua", r'M\.VERSION = "(.+)"'),
            ("live/Descant/connection.py", r'SCRIPT_VERSION = "(.+)"'),
            ("bitwig/descant.control.js", r'SCRIPT_VERSION = "(.+)"'),
            ("bitwig/descant.control.js", r'defineController\("Descant", "Descant", "(.+?)"'),
        )
    }
    assert said == {version}


def test_the_reapack_index_is_printed_by_a_command() -> None:
    line = [sys.executable, "-m", "integrations.reapack"]
    done = subprocess.run([*line, BASE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == index(BASE)
    refused = subprocess.run([*line, "ftp://nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode and "https" in refused.stderr
    with pytest.raises(UserError):
        index("")


# --- The published API --------------------------------------------------------------------------------


def test_every_call_of_the_scripts_is_covered_by_the_double() -> None:
    """So that what the double says of the API at its top holds for all that the scripts call."""
    double = (HERE / "doubles" / "reaper.lua").read_text(encoding="utf-8")
    covered = set(re.findall(r'^define\("(\w+)"', double, re.MULTILINE))
    called = set()
    for path in (REMOTE / "reaper").glob("*.lua"):
        code = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        called |= set(re.findall(r"\b(?:r|reaper)\.(\w+)", code))
    assert (called - covered, covered - called) == (set(), set())
