"""Styles on the musician's computer: the commands, the names, and files that come from elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.cli import main
from assistant.live import command as live_command
from assistant.only_one import Taken, only_one
from assistant.options import parse_arguments
from assistant.style_options import parse_styles
from assistant.styles import SOURCE, import_style, new_style, style_names, styles_folder
from models.adapters import ABOUT_FILE, TENSORS_FILE
from models.architecture import SIZES
from models.errors import UserError
from models.midi_file import save_midi
from models.training.checkpoint import export_weights
from tests.builders import random_model, simple_score
from tests.models.test_style import tune
from tests.served import command, environment

PIECE = Path(__file__).resolve().parents[1] / "data" / "piano-minuet.mid"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with weights, a folder of music, and the style "mine" made from it."""
    folder = tmp_path_factory.mktemp("home")
    export_weights(random_model(SIZES["tiny"]), folder / "weights", {})
    (folder / "music").mkdir()
    for number in range(5):
        save_midi(tune(number, 240), folder / "music" / f"{number}.mid")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        command = ["style", "train", "mine", str(folder / "music"), "--minutes", "0.05"]
        assert main(command) == 0
    return folder


@pytest.fixture(autouse=True)
def at_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, place)


def enter(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("DESCANT_HOME", str(folder / "own"))
    patch.setenv("DESCANT_WEIGHTS", str(folder / "weights"))


def test_training_leaves_a_whole_style_and_nothing_else(place: Path) -> None:
    folder = place / "own" / "styles"
    assert style_names() == ["mine"]
    assert sorted(path.name for path in folder.iterdir()) == [".making", "mine"]
    assert not list((folder / ".making").iterdir())
    about = json.loads((folder / "mine" / ABOUT_FILE).read_text("utf-8"))
    assert about["pieces"] == 5 and about["notes"] == 5 * 240 and len(about["held_out"]) == 1
    assert set(about["nats_per_note"]) == {"own_before", "own_after", "base_before", "base_after"}
    assert sum(path.stat().st_size for path in (folder / "mine").iterdir()) < 5_000_000


def test_a_style_is_made_again_by_its_name_alone(place: Path, tmp_path: Path) -> None:
    mine = place / "own" / "styles" / "mine"
    assert json.loads((mine / SOURCE).read_text("utf-8")) == {"folder": str(place / "music")}
    parcel = tmp_path / "mine.zip"
    assert main(["style", "export", "mine", "-o", str(parcel)]) == 0
    with zipfile.ZipFile(parcel) as archive:
        assert SOURCE not in archive.namelist()
        assert not any(str(place).encode() in archive.read(name) for name in archive.namelist())
    assert main(["style", "import", str(parcel), "--name", "elsewhere"]) == 0
    assert main(["style", "train", "elsewhere"]) == 2
    assert main(["style", "remove", "elsewhere"]) == 0
    before = json.loads((mine / ABOUT_FILE).read_text("utf-8"))
    assert main(["style", "train", "mine", "--minutes", "0.05"]) == 0
    after = json.loads((mine / ABOUT_FILE).read_text("utf-8"))
    assert after["held_out"] == before["held_out"] and style_names() == ["mine"]


def test_the_card_holds_the_proof(place: Path) -> None:
    folder = place / "own" / "styles" / "mine"
    about = json.loads((folder / ABOUT_FILE).read_text("utf-8"))
    written = about["written"]
    assert written["candidates"] >= 4 and 0 <= written["nearer"] <= 1
    assert all(0 <= written[name] <= 1 for name in ("copied_before", "copied_after", "human"))
    assert written["distance_before"] >= 0 and isinstance(written["copies"], bool)
    text = (folder / "README.md").read_text("utf-8")
    assert "distance to the musician's music" in text and "two-bar windows" in text


def test_show_list_and_compare(capsys: pytest.CaptureFixture[str]) -> None:
    for words, wanted in (
        (["list"], "mine"),
        (["show", "mine"], "nats per note"),
        (["compare", "mine", "mine"], "5 pieces"),
    ):
        assert main(["style", *words]) == 0
        assert wanted in capsys.readouterr().out


def continued(tmp_path: Path, name: str, *flags: str) -> bytes:
    out = tmp_path / f"{name}.mid"
    assert (
        main(["continue", str(PIECE), "-o", str(out), "--bars", "2", "--candidates", "1", "--seed", "3", *flags])
        == 0
    )
    return out.read_bytes()


def test_strength_0_gives_the_bytes_of_the_base(tmp_path: Path) -> None:
    plain = continued(tmp_path, "plain")
    assert continued(tmp_path, "none", "--style", "mine:0") == plain
    assert continued(tmp_path, "full", "--style", "mine") == continued(tmp_path, "again", "--style", "mine:1.0")


def test_what_is_played_live_is_in_the_style_too() -> None:
    options = live_command.options_of(parse_arguments(["live", "--style", "mine:0.5", "--key", "D minor"]))
    assert options.styles == (("mine", 0.5),)
    with pytest.raises(UserError, match='no style "nobody"'):
        live_command.options_of(parse_arguments(["live", "--style", "nobody"]))


def test_a_style_is_part_of_what_made_a_candidate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    continued(tmp_path, "plain", "--json")
    plain = json.loads(capsys.readouterr().out)
    continued(tmp_path, "styled", "--json", "--style", "mine:0.5")
    styled = json.loads(capsys.readouterr().out)
    assert plain["request"]["style"] is None and styled["request"]["style"] == "mine:0.5"
    assert plain["candidates"][0]["model_hash"] != styled["candidates"][0]["model_hash"]


def test_an_exported_style_comes_back_the_same(place: Path, tmp_path: Path) -> None:
    parcel = tmp_path / "mine.zip"
    assert main(["style", "export", "mine", "-o", str(parcel)]) == 0
    assert main(["style", "export", "mine", "-o", str(parcel)]) == 2
    assert main(["style", "import", str(parcel), "--name", "copy"]) == 0
    mine, copy = (place / "own" / "styles" / name for name in ("mine", "copy"))
    assert all(
        (copy / path.name).read_bytes() == path.read_bytes() for path in mine.iterdir() if path.name != SOURCE
    )
    assert main(["style", "import", str(parcel), "--name", "copy"]) == 2
    assert main(["style", "remove", "copy"]) == 0
    assert style_names() == ["mine"]


def parcel_with(tmp_path: Path, files: dict[str, bytes]) -> Path:
    path = tmp_path / "parcel.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_hostile_parcel_writes_nothing(place: Path, tmp_path: Path) -> None:
    mine = place / "own" / "styles" / "mine"
    whole = {path.name: path.read_bytes() for path in mine.iterdir()}
    about = json.loads(whole[ABOUT_FILE])
    before = sorted(place.rglob("*"))
    for files in (
        {},
        {ABOUT_FILE: b"{}"},
        {**whole, ABOUT_FILE: json.dumps(about | {"name": "../../evil"}).encode()},
        {**whole, TENSORS_FILE: b"\0" * 100},
        {**whole, TENSORS_FILE: b"\0" * 21_000_000},
        {name: content for name, content in whole.items() if name != TENSORS_FILE},
    ):
        with pytest.raises(UserError):
            import_style(parcel_with(tmp_path, files), None, True)
    (tmp_path / "no.zip").write_bytes(b"PK not a zip")
    with pytest.raises(UserError, match="does not hold a style"):
        import_style(tmp_path / "no.zip", None, False)
    traversing = {**whole, "../../../escaped.txt": b"x", "/etc/escaped.txt": b"x"}
    assert import_style(parcel_with(tmp_path, traversing), "safe", False) == "safe"
    assert main(["style", "remove", "safe"]) == 0
    assert sorted(place.rglob("*")) == before and not list(tmp_path.parent.rglob("escaped.txt"))


def test_a_half_written_style_is_never_seen(place: Path) -> None:
    with pytest.raises(UserError), new_style("half", False) as folder:
        (folder / ABOUT_FILE).write_text("{}")
    assert style_names() == ["mine"] and not list(styles_folder().glob(".new-*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["style", "train", "a/b", "."], "cannot be the name"),
        (["style", "train", "x", "nowhere"], "not a folder"),
        (["style", "train", "mine", "."], "already"),
        (["style", "show", "nobody"], 'no style "nobody"'),
        (["style", "train", "x", ".", "--from", "nobody"], 'no style "nobody"'),
        (["continue", str(PIECE), "-o", "x.mid", "--style", "nobody"], "There are mine"),
        (["continue", str(PIECE), "-o", "x.mid", "--style", "mine:9"], "out of range"),
        (["continue", str(PIECE), "-o", "x.mid", "--style", "mine,mine"], "named twice"),
    ],
)
def test_what_is_wrong_is_said(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        save_midi(tune(number, 300), tmp_path / f"{number}.mid")
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.mid").exists()


def test_a_folder_with_too_little_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_midi(simple_score(), tmp_path / "one.mid")
    assert main(["style", "train", "little", str(tmp_path)]) == 2
    assert "too little" in capsys.readouterr().err


def test_a_style_is_made_by_one_process_at_a_time_and_a_killed_one_is_in_nobodys_way(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["style", "train", "contended", str(place / "music"), "--minutes"]
    first = subprocess.Popen(
        command(*words, "10"),
        env=environment(place / "own", place / "weights"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stderr is not None
    try:
        assert any(line.startswith("step ") for line in first.stderr)
        first.send_signal(signal.SIGSTOP)  # so that it is not over too soon
        assert main([*words, "0.05"]) == 2
        assert 'The style "contended" is being made already' in capsys.readouterr().err
    finally:
        first.kill()
        first.communicate()
    assert main([*words, "0.05"]) == 0
    assert not list((place / "own" / "styles" / ".making").iterdir())
    assert main(["style", "remove", "contended"]) == 0


def test_only_one_is_ever_inside(tmp_path: Path) -> None:
    inside, most, turns = [0], [0], [0]

    def enter_often() -> None:
        for _ in range(200):
            try:
                with only_one(tmp_path / "lock"):
                    inside[0] += 1
                    most[0], turns[0] = max(most[0], inside[0]), turns[0] + 1
                    time.sleep(0)
                    inside[0] -= 1
            except Taken:
                time.sleep(0)

    threads = [threading.Thread(target=enter_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1 and turns[0] >= 1 and inside[0] == 0
    assert not list(tmp_path.iterdir())


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9 -]{0,10}[a-z]", fullmatch=True), st.floats(0, 1.5), min_size=1))
def test_mixtures_are_read_as_written(mixture: dict[str, float]) -> None:
    text = ", ".join(f"{name}:{strength!r}" for name, strength in mixture.items())
    assert dict(parse_styles(text)) == pytest.approx(mixture)
    assert all(strength == 1.0 for _, strength in parse_styles(",".join(mixture)))
    assert np.isfinite(sum(mixture.values()))
