"""`descant daw` and `descant doctor`: what is written, kept and taken away, and what is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant import doctor
from assistant.cli import main
from assistant.daws import find_script, install, listing, places_here, plan_install, remove, round_trip, state_of
from integrations.base import TICKS
from integrations.known import SCRIPTS
from integrations.memory import Song
from integrations.scripts import FOLDER, Connection, Script, System
from tests.integrations.benches import BENCHES, Bench, bench_of, lane, scale

CONNECTION = Connection(Path("/somewhere/daw"), 8734, "secret")
WHERE = {
    "linux": [".config/REAPER", "Bitwig Studio", ".config/ardour7", ".config/ardour8"],
    "darwin": [
        "Library/Application Support/REAPER",
        "Music/Ableton/User Library",
        "Documents/Bitwig Studio",
        "Library/Preferences/Ardour8",
    ],
    "win32": ["AppData/Roaming/REAPER", "Documents/Ableton/User Library", "Documents/Bitwig Studio"],
}


@pytest.mark.parametrize("platform", WHERE)
def test_the_daws_folders_are_found(platform: str, tmp_path: Path) -> None:
    system = System(platform, tmp_path, {})
    assert not [place for script in SCRIPTS for place in places_here(script, system)]
    for name in WHERE[platform]:
        (tmp_path / name).mkdir(parents=True)
    found = [place for script in SCRIPTS for place in places_here(script, system)]
    assert {place.parent.relative_to(tmp_path).as_posix() for place in found} == set(WHERE[platform])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_installed_and_removed_without_a_trace(script: Script, tmp_path: Path) -> None:
    (tmp_path / "of the user.lua").write_text("mine")
    assert state_of(script, tmp_path, CONNECTION) == "not installed"
    assert install(script, tmp_path, CONNECTION, tmp_path / "backups") is None
    assert state_of(script, tmp_path, CONNECTION) == "installed"
    assert all(path.is_relative_to(tmp_path) for path, _ in plan_install(script, tmp_path, CONNECTION))
    assert len(remove(script, tmp_path, CONNECTION)) == len(plan_install(script, tmp_path, CONNECTION))
    assert [path.name for path in tmp_path.iterdir()] == ["of the user.lua"]


def test_what_is_replaced_is_kept(tmp_path: Path) -> None:
    script = find_script("reaper")
    install(script, tmp_path, CONNECTION, tmp_path / "backups")
    (tmp_path / FOLDER / "descant.lua").write_text("changed by hand")
    assert state_of(script, tmp_path, CONNECTION) == "another version"
    kept = install(script, tmp_path, CONNECTION, tmp_path / "backups")
    assert kept and (kept / "descant.lua").read_text() == "changed by hand"
    assert state_of(script, tmp_path, CONNECTION) == "installed"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESCANT_HOME", str(tmp_path / "home"))
    return tmp_path


def test_the_command_shows_what_it_would_write_and_writes_it(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "scripts").mkdir()
    line = ["daw", "install", "bitwig", "--folder", str(own / "scripts")]
    assert main([*line, "--dry-run"]) == 0
    assert "descant.control.js" in capsys.readouterr().out and not list((own / "scripts").iterdir())
    assert main(line) == 0
    assert (own / "scripts" / FOLDER / "descant.control.js").is_file()
    assert main(["daw", "remove", "bitwig", "--folder", str(own / "scripts")]) == 0
    assert not list((own / "scripts").iterdir())


@pytest.mark.parametrize("name", ["reper", "cubase"])
def test_an_unknown_daw_is_said(own: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daw", "install", name]) == 2
    assert f'There is no script for "{name}"' in capsys.readouterr().err


def test_every_daw_is_listed(own: Path) -> None:
    lines = listing(System("linux", own, {}), own)
    assert all(any(script.title in line for line in lines) for script in SCRIPTS)


@pytest.mark.parametrize("kind", BENCHES, ids=lambda kind: kind.name)
def test_the_round_trip_passes_in_every_daw(kind: type[Bench], tmp_path: Path) -> None:
    with bench_of(kind, tmp_path) as bench:
        bench.load(Song((lane("Keys", scale(0, 2)),)), (0,), 0, 8 * TICKS)
        own = bench.own()
        assert [step.line for step in round_trip(bench.daw) if not step.passed] == []
        assert bench.own() == own and bench.candidates() == []


def test_the_doctor_looks_at_everything(own: Path) -> None:
    steps = {step.name.split(" ")[0]: step for step in doctor.examine(quick=True)}
    assert {"Python", "versions", "weights", "MIDI", "clock", "write", "server"} <= steps.keys()
    assert steps["weights"].passed and steps["write"].passed
    assert all(step.passed or step.note for step in steps.values())
