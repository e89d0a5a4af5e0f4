"""The real Ardour with its editor: a region is selected, a key pressed, and one undo takes all of it back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from assistant.bridges import Bridges
from assistant.daws import round_trip
from integrations.base import TICKS
from integrations.scripts import Connection
from integrations.wire import RemoteDaw
from models.midi_file import write_midi
from models.score import Score, Track
from tests.integrations.bench import TOKEN, Asked, Notes, rows, scale, until
from tests.integrations.bench_editor import Editor, editor
from tests.integrations.test_table import FIELDS, claimed

BAR = 4 * TICKS
OWN = rows(scale(0, 2).notes)
_songs = count(1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Editor, Path]]:
    folder = tmp_path_factory.mktemp("editor")
    with editor(folder, Connection(folder / "descant" / "daw", 0, "")) as made:
        yield made, folder


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def daw(running: tuple[Editor, Path], asked: Asked) -> Iterator[RemoteDaw]:
    """Ardour, as a program sees it that is started anew for every test."""
    bridges = Bridges(running[1] / "descant", TOKEN, asked, port=0)
    bridges.start()
    until(lambda: bridges.connected)
    yield bridges.connected[0]
    bridges.close()


@pytest.fixture
def song(running: tuple[Editor, Path], daw: RemoteDaw) -> str:
    """A track with one region of two bars, imported by Ardour and selected; its name. Its notes are OWN."""
    hands, folder = running
    before = set(hands.tracks())
    path = folder / f"Song{next(_songs)}.mid"
    path.write_bytes(write_midi(Score(TICKS, (Track("Keys", notes=scale(0, 2).notes),), length=2 * BAR)))
    hands("import", path=str(path))
    until(lambda: set(hands.tracks()) - before)
    (name,) = set(hands.tracks()) - before
    assert notes_of(hands, name) == OWN
    until(lambda: hands("select", track=name)["count"] == 1)
    return name


def notes_of(hands: Editor, track: str) -> Notes:
    """Of the user's own region."""
    ((_, _, notes),) = own(hands, track)
    return notes


def own(hands: Editor, track: str) -> list[tuple[str, bool, Notes]]:
    return [region for region in hands.tracks()[track] if not region[0].startswith("Descant")]


def candidates(hands: Editor, track: str) -> list[tuple[str, bool, Notes]]:
    return sorted(region for region in hands.tracks()[track] if region[0].startswith("Descant"))


def made(asked: Asked, name: str, bars: range) -> list[Notes]:
    """The notes of every candidate on a track in these bars."""
    tracks = [track for score in asked.scores for track in score.tracks if track.name == name]
    return [[note for note in rows(track.notes) if note[0] // BAR in bars] for track in tracks]


def test_candidates_land_in_the_session_and_one_undo_takes_them_back(
    running: tuple[Editor, Path], asked: Asked, song: str
) -> None:
    hands, _ = running
    hands.press("continue")
    until(lambda: len(candidates(hands, song)) == 4)
    found = candidates(hands, song)
    assert [notes for _, _, notes in found] == made(asked, song, range(2, 6)) and all(notes for *_, notes in found)
    assert [muted for _, muted, _ in found] == [False, True, True, True]
    hands.press("next")
    until(lambda: [muted for _, muted, _ in candidates(hands, song)] == [True, False, True, True])
    hands.undo()
    until(lambda: not candidates(hands, song))
    assert own(hands, song)[0][1:] == (False, OWN)


def test_a_fill_mutes_the_users_region_until_it_is_undone(
    running: tuple[Editor, Path], asked: Asked, song: str
) -> None:
    hands, _ = running
    hands.press("fill")
    until(lambda: len(candidates(hands, song)) == 4)
    assert [notes for _, _, notes in candidates(hands, song)] == made(asked, song, range(2))
    assert own(hands, song)[0][1:] == (True, OWN)
    hands.undo()
    until(lambda: not candidates(hands, song))
    assert own(hands, song)[0][1:] == (False, OWN)


def test_accept_keeps_the_one_that_is_heard_and_cancel_none(
    running: tuple[Editor, Path], asked: Asked, song: str
) -> None:
    hands, _ = running
    hands.press("continue")
    until(lambda: len(candidates(hands, song)) == 4)
    hands.press("cancel")
    until(lambda: not candidates(hands, song))
    hands.press("continue")
    until(lambda: len(candidates(hands, song)) == 4)
    hands.press("next")
    hands.press("accept")
    until(lambda: len(candidates(hands, song)) == 1)
    assert candidates(hands, song) == [("Descant 2", False, made(asked, song, range(2, 6))[1])]
    assert own(hands, song)[0][1:] == (False, OWN)


def test_an_accompaniment_lies_on_new_tracks(running: tuple[Editor, Path], asked: Asked, song: str) -> None:
    hands, _ = running
    before = set(hands.tracks())
    hands.press("accompany")
    until(lambda: len(asked.scores) == 4 and len(set(hands.tracks()) - before) == 2)
    new = sorted(set(hands.tracks()) - before)
    until(lambda: all(len(candidates(hands, name)) == 4 for name in new))
    heard = {track.name: rows(track.notes) for track in asked.scores[0].tracks[-2:]}
    assert {name: candidates(hands, name)[0][2] for name in new} == heard


def test_the_round_trip_passes_in_the_editor(daw: RemoteDaw, song: str) -> None:
    """`descant daw test ardour`: with Ardour's own undo."""
    steps = round_trip(daw)
    assert all(step.passed for step in steps), [step.line for step in steps]
    assert [step.name for step in steps][-2:] == ["take it back", "undo it in one step"]


def test_the_page_says_of_ardour_what_its_script_says_in_the_editor(daw: RemoteDaw) -> None:
    said = {field: getattr(daw.capabilities, field) for field in FIELDS.values()}
    assert said == {field: claimed("ardour", field) for field in FIELDS.values()}
