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
from models.errors import UserError
from tests.integrations.bench import Bench, lane, scale
from tests.integrations.benches import BENCHES, bench_of

CONNECTION = Connection(Path("/somewhere/daw"), 8734, "secret")
# Where each program looks for scripts: (system, variables, script, folders below the home folder).
WHERE: list[tuple[str, dict[str, str], str, list[str]]] = [
    ("linux", {}, "reaper", [".config/REAPER/Scripts"]),
    ("linux", {"XDG_CONFIG_HOME": "HOME/elsewhere"}, "reaper", ["elsewhere/REAPER/Scripts"]),
    ("linux", {}, "live", []),  # it does not exist there
    ("linux", {}, "bitwig", ["Bitwig Studio/Controller Scripts"]),
    ("linux", {}, "ardour", [".config/ardour7/scripts", ".config/ardour8/scripts"]),
    ("darwin", {}, "reaper", ["Library/Application Support/REAPER/Scripts"]),
    ("darwin", {}, "live", ["Music/Ableton/User Library/Remote Scripts"]),
    ("darwin", {}, "bitwig", ["Documents/Bitwig Studio/Controller Scripts"]),
    ("darwin", {}, "ardour", ["Library/Preferences/Ardour7/scripts", "Library/Preferences/Ardour8/scripts"]),
    ("win32", {}, "reaper", ["AppData/Roaming/REAPER/Scripts"]),
    ("win32", {"APPDATA": "HOME/Roam"}, "reaper", ["Roam/REAPER/Scripts"]),
    ("win32", {}, "live", ["Documents/Ableton/User Library/Remote Scripts"]),
    ("win32", {}, "bitwig", ["Documents/Bitwig Studio/Controller Scripts"]),
    ("win32", {}, "ardour", ["AppData/Local/Ardour7/scripts", "AppData/Local/Ardour8/scripts"]),
    ("win32", {"LOCALAPPDATA": "HOME/Near"}, "ardour", ["Near/Ardour7/scripts", "Near/Ardour8/scripts"]),
]


@pytest.mark.parametrize(("platform", "variables", "name", "expected"), WHERE)
def test_the_daws_folders_are_found(
    platform: str, variables: dict[str, str], name: str, expected: list[str], tmp_path: Path
) -> None:
    environment = {key: value.replace("HOME", str(tmp_path)) for key, value in variables.items()}
    system, script = System(platform, tmp_path, environment), find_script(name)
    assert places_here(script, system) == []  # the program is not there
    for folder in expected:
        (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
    assert places_here(script, system) == [tmp_path / folder for folder in expected]


def test_every_system_and_daw_is_in_the_table_of_folders() -> None:
    rows = {(platform, name) for platform, _, name, _ in WHERE}
    assert rows == {(platform, script.name) for platform in ("linux", "darwin", "win32") for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_installed_and_removed_without_a_trace(script: Script, tmp_path: Path) -> None:
    (tmp_path / "of the user.lua").write_text("mine")
    assert state_of(script, tmp_path, CONNECTION) == "not installed"
    assert install(script, tmp_path, CONNECTION, tmp_path / "backups") is None
    assert state_of(script, tmp_path, CONNECTION) == "installed"
    assert all(path.is_relative_to(tmp_path) for path, _ in plan_install(script, tmp_path, CONNECTION))
    gone, kept = remove(script, tmp_path, CONNECTION, tmp_path / "backups")
    assert len(gone) == len(plan_install(script, tmp_path, CONNECTION)) and kept is None
    assert [path.name for path in tmp_path.iterdir()] == ["of the user.lua"]


def test_what_is_replaced_is_kept(tmp_path: Path) -> None:
    script = find_script("reaper")
    install(script, tmp_path, CONNECTION, tmp_path / "backups")
    (tmp_path / FOLDER / "descant.lua").write_text("changed by hand")
    assert state_of(script, tmp_path, CONNECTION) == "another version"
    kept = install(script, tmp_path, CONNECTION, tmp_path / "backups")
    assert kept and (kept / "descant.lua").read_text() == "changed by hand"
    assert state_of(script, tmp_path, CONNECTION) == "installed"
    (tmp_path / FOLDER / "descant_takes.lua").write_text("changed again")
    _, kept = remove(script, tmp_path, CONNECTION, tmp_path / "backups")
    assert kept and (kept / "descant_takes.lua").read_text() == "changed again"


def test_nothing_is_replaced_where_no_backup_can_be_made(tmp_path: Path) -> None:
    script = find_script("bitwig")
    install(script, tmp_path, CONNECTION, tmp_path / "backups")
    changed = tmp_path / FOLDER / "descant.control.js"
    changed.write_text("changed by hand")
    (tmp_path / "no folder").write_text("")
    for work in (install, remove):
        with pytest.raises(UserError, match="backup"):
            work(script, tmp_path, CONNECTION, tmp_path / "no folder")
        assert changed.read_text() == "changed by hand"


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
        steps = round_trip(bench.daw)
        assert [step.line for step in steps if not step.passed] == []
        assert ("undo it in one step" in [step.name for step in steps]) is bench.daw.capabilities.undo
        assert bench.own() == own and bench.candidates() == []


def test_the_doctor_looks_at_everything(own: Path) -> None:
    steps = {step.name.split(" ")[0]: step for step in doctor.examine()}
    assert {"Python", "versions", "weights", "MIDI", "clock", "write", "server", "sound", "latency"} <= steps.keys()
    assert steps["weights"].passed and steps["write"].passed
    assert "undo it in one step" in steps["write"].note
    assert "times as fast" in steps["sound"].note and "ms to the first bar" in steps["latency"].note
    assert all(step.passed or step.note for step in steps.values())


def test_the_doctor_says_what_to_do_about_a_script_and_about_weights(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(own))
    monkeypatch.setenv("HOME", str(own))
    monkeypatch.setenv("DESCANT_WEIGHTS", str(own / "nothing"))
    (own / "REAPER").mkdir()
    assert main(["doctor", "--quick"]) == 2
    said = capsys.readouterr().out
    assert "not installed; descant daw install reaper" in said and "install Descant again" in said
    assert main(["daw", "install", "reaper"]) == 0
    monkeypatch.delenv("DESCANT_WEIGHTS")
    capsys.readouterr()
    main(["doctor", "--quick"])  # MIDI ports may be missing on this computer
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("pass  script of REAPER") for line in lines)
    assert any(line.startswith("pass  weights") for line in lines)
