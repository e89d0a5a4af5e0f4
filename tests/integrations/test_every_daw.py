"""One suite for every integration: what a user may rely on, whichever DAW it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from assistant.bridges import propose_to
from integrations.base import TICKS, Changed, NothingSelected, Selection, Unsupported
from integrations.memory import Clip, Song
from models.errors import UserError
from models.score import Meter, Note, Tempo
from tests.integrations.bench import Bench, Notes, lane, rows, scale, until
from tests.integrations.bench_ardour import ArdourBench, Program, program, script_folder
from tests.integrations.benches import BENCHES, bench_of
from tests.integrations.test_table import FIELDS, claimed

BAR = 4 * TICKS


@pytest.fixture(scope="module")
def ardour_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Program]]:
    """The program that serves all tests; a new one where the last has died."""
    scripts = script_folder()
    with ExitStack() as stack:
        running: list[Program] = []

        def alive() -> Program:
            if not running or running[-1].process.poll() is not None:
                stack.close()
                running.append(stack.enter_context(program(scripts, tmp_path_factory.mktemp("ardour"))))
            return running[-1]

        yield alive


@pytest.fixture(params=[*BENCHES, ArdourBench], ids=lambda kind: kind.name)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        if request.param is ArdourBench and request.function is test_two_hundred_tracks:
            # No Lua can take tracks away again: the tests after it would have them all.
            ArdourBench.running = stack.enter_context(program(script_folder(), tmp_path))
        elif request.param is ArdourBench:
            ArdourBench.running = request.getfixturevalue("ardour_program")()
        yield stack.enter_context(bench_of(request.param, tmp_path))


def plain(*clips: Clip, **song: object) -> Song:
    return Song((lane("Keys", *clips), lane("Bass", scale(0, 4, step=2 * TICKS))), **song)  # type: ignore[arg-type]


def ask(bench: Bench, action: str = "continue", **options: object) -> None:
    """The same as a key, but here, with its errors."""
    propose_to(bench.daw, action, {"candidates": 2, "seed": 5, **options}, bench.asked)


def actions(bench: Bench) -> list[str]:
    return ["continue", "fill", *(["accompany"] if bench.daw.capabilities.new_tracks else [])]


def new_notes(selection: Selection, bench: Bench, shift: int) -> list[dict[str, Notes]]:
    """What each candidate adds, lane by lane, moved by `shift` ticks."""
    found = []
    for score in bench.asked.scores:
        lanes = {}
        for index in selection.tracks:
            before = selection.score.tracks[index]
            added = set(rows(score.tracks[index].notes)) - set(rows(before.notes))
            lanes[before.name] = bench.snap(rows(added, shift))
        found.append(lanes)
    return found


# --- Reading ------------------------------------------------------------------------------------------


def test_a_selection_is_read_as_it_is(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    selection = bench.daw.read("continue")
    keys = selection.score.tracks[selection.tracks[0]]
    assert keys.name == "Keys"
    assert rows(keys.notes) == bench.own()["Keys"]
    assert (selection.start, selection.end, selection.bars) == (0, 2 * BAR, (0, 1))
    assert selection.score.tempo_at(0).bpm == pytest.approx(120)


def test_other_tracks_are_read_where_the_daw_shows_them(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    score = bench.daw.read("continue").score
    names = {track.name: rows(track.notes) for track in score.tracks}
    assert ("Bass" in names) is bench.daw.capabilities.context
    if bench.daw.capabilities.context:
        assert names["Bass"] == [note for note in bench.own()["Bass"] if note[0] < score.length]


def test_an_empty_selection_is_said(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (), 0, 0)
    with pytest.raises(NothingSelected):
        bench.daw.read("continue")
    with pytest.raises(NothingSelected):
        ask(bench)
    assert bench.asked.calls == [] and bench.candidates() == []


def test_a_meter_of_seven_eight_is_read(bench: Bench) -> None:
    bar = 7 * TICKS // 2
    bench.load(plain(scale(0, 2, bar, TICKS // 2), meters=(Meter(0, 7, 8),)), (0,), 0, 2 * bar)
    selection = bench.daw.read("fill")
    assert selection.bars == (0, 1)
    assert selection.score.bar(1)[1:] == (bar, bar, 7, 8)


def test_a_looped_clip_is_read_as_it_sounds(bench: Bench) -> None:
    bench.load(plain(scale(0, 4, period=BAR)), (0,), 0, 4 * BAR)
    selection = bench.daw.read("continue")
    found = rows(selection.score.tracks[selection.tracks[0]].notes)
    once = rows(scale(0, 1).notes)
    if not bench.origin_is_clip:
        assert found == sorted((start + BAR * time, *rest) for time in range(4) for start, *rest in once)
    else:
        assert found == once  # a launcher's clip is its loop


def test_a_tempo_change_inside_the_selection(bench: Bench) -> None:
    tempos = (Tempo(0, 500_000), Tempo(BAR, 400_000))
    bench.load(plain(scale(0, 2), tempos=tempos), (0,), 0, 2 * BAR)
    selection = bench.daw.read("fill")
    assert rows(selection.score.tracks[selection.tracks[0]].notes) == bench.own()["Keys"]
    if bench.daw.capabilities.tempo_map:
        assert selection.score.tempos == tempos
    else:
        assert len(selection.score.tempos) == 1


def test_two_hundred_tracks(bench: Bench) -> None:
    bench.load(Song(tuple(lane(f"Track {number}", scale(0, 2)) for number in range(1, 201))), (149,), 0, 2 * BAR)
    selection = bench.daw.read("fill")
    assert selection.score.tracks[selection.tracks[0]].name == "Track 150"
    assert len(selection.score.tracks) == (200 if bench.daw.capabilities.context else 1)
    ask(bench, "fill")
    assert [list(found) for found in bench.candidates()] == [["Track 150"]] * 2


# --- Writing ------------------------------------------------------------------------------------------


def test_candidates_lie_beside_the_users_notes(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    own, selection = bench.own(), bench.daw.read("continue")
    ask(bench, bars=2)
    shift = bench.where(selection, "continue")
    assert bench.candidates() == new_notes(selection, bench, shift)
    assert any(found["Keys"] for found in bench.candidates())
    for found in bench.candidates():
        assert all(2 * BAR <= start - shift < 4 * BAR for start, *_ in found["Keys"])
    assert bench.own() == own


def test_a_filled_bar_leaves_the_users_clip_as_it_is(bench: Bench) -> None:
    bench.load(plain(scale(0, 3)), (0,), BAR, 2 * BAR)
    own, selection = bench.own(), bench.daw.read("fill")
    ask(bench, "fill")
    assert bench.own() == own
    inside = {note for note in own["Keys"] if selection.start <= note[0] < selection.end}
    if not bench.whole_clips:
        assert bench.candidates() == new_notes(selection, bench, bench.where(selection, "fill"))
        return
    for found, score in zip(bench.candidates(), bench.asked.scores, strict=True):
        assert found["Keys"] == bench.snap(rows(score.tracks[selection.tracks[0]].notes))
        assert set(own["Keys"]) - inside <= set(found["Keys"])


def test_new_tracks_for_an_accompaniment(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    own = bench.own()
    if not bench.daw.capabilities.new_tracks:
        with pytest.raises(Unsupported):
            ask(bench, "accompany", add="bass, drums")
        assert bench.own() == own and bench.candidates() == []
        return
    ask(bench, "accompany", add="bass, drums")
    assert bench.own() == own
    made = [{track.name: rows(track.notes) for track in score.tracks[-2:]} for score in bench.asked.scores]
    assert bench.candidates() == made


def test_an_edit_meanwhile_and_nothing_is_written(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    bench.asked.door.clear()
    bench.press("continue", candidates=2)
    until(bench.asked.entered.is_set)
    bench.edit(0)
    own = bench.own()
    bench.asked.door.set()
    until(lambda: any("changed" in line for line in bench.said()))
    assert bench.own() == own and bench.candidates() == []


def test_an_edit_between_read_and_write_is_noticed(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    selection = bench.daw.read("continue")
    bench.edit(0)
    with pytest.raises(Changed):
        bench.daw.write(selection, [], "continue")


def test_a_key_brings_candidates_and_accept_keeps_one(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    own, selection = bench.own(), bench.daw.read("continue")
    bench.press("continue", candidates=2, bars=2)
    until(lambda: any("candidates" in line for line in bench.said()))
    assert bench.candidates() == new_notes(selection, bench, bench.where(selection, "continue"))
    bench.press("next")
    until(lambda: bench.shown() == 2)
    bench.press("accept")
    until(lambda: len(bench.candidates()) < 2)
    kept, made = bench.kept()["Keys"], new_notes(selection, bench, bench.where_kept(selection, "continue"))
    assert set(made[1]["Keys"]) <= set(kept)
    assert set(own["Keys"]) <= set(kept)


def test_a_sketch_from_words_lies_on_new_tracks(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    own, words = bench.own(), "dusty jazz waltz, 96 bpm, piano and upright bass, D minor, 4 bars"
    if not bench.daw.capabilities.sketch:
        with pytest.raises(Unsupported):
            ask(bench, "sketch", text=words)
        assert bench.own() == own and bench.candidates() == []
        return
    bench.press("sketch", text=words, candidates=2)
    until(lambda: len(bench.candidates()) == 2)
    made = [{track.name: rows(track.notes) for track in score.tracks} for score in bench.asked.scores]
    assert bench.candidates() == made and len(made[0]) == 2 and all(all(found.values()) for found in made)
    assert bench.own() == own
    asked = bench.asked.calls[-1][1]["brief"]
    assert (asked["meter"], asked["tempo"], asked["key"]) == ([3, 4], 120, "D minor")
    if bench.daw.capabilities.undo:
        bench.user_undo()
    else:
        until(lambda: any("candidates" in line for line in bench.said()))
        bench.daw.cancel()
    assert bench.candidates() == [] and bench.own() == own


def test_a_sketch_is_in_the_songs_meter_where_its_words_say_none(bench: Bench) -> None:
    bench.load(plain(scale(0, 2), meters=(Meter(0, 7, 8),)), (), 0, 0)
    if bench.daw.capabilities.sketch:
        ask(bench, "sketch", text="calm piano, 2 bars")
        assert bench.asked.calls[-1][1]["brief"]["meter"] == [7, 8]
        assert len(bench.candidates()) == 2
    with pytest.raises(UserError):
        ask(bench, "sketch", text=" ")


def grow(bench: Bench, action: str = "continue") -> None:
    """Ask, and hold the engine once its first bars are told."""
    bench.asked.last_door.clear()
    bench.press(action, candidates=3, bars=4)
    until(bench.asked.grown.is_set)


def test_the_first_bars_can_be_heard_while_others_are_written(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    own, selection = bench.own(), bench.daw.read("continue")
    grow(bench)
    if bench.daw.capabilities.grows:
        until(bench.candidates)
        first = bench.candidates()
        assert bench.shown() == 1 and bench.own() == own
    bench.asked.last_door.set()
    until(lambda: any("candidates" in line for line in bench.said()))
    whole = new_notes(selection, bench, bench.where(selection, "continue"))
    assert bench.candidates() == whole and bench.own() == own
    if bench.daw.capabilities.grows:
        assert 0 < len(first[0]["Keys"]) < len(whole[0]["Keys"])
        assert set(first[0]["Keys"]) <= set(whole[0]["Keys"])
        bench.user_undo()
        assert bench.candidates() == [] and bench.own() == own


def test_a_growing_fill_is_one_undo_step_too(bench: Bench) -> None:
    bench.load(plain(scale(0, 4)), (0,), BAR, 3 * BAR)
    own = bench.own()
    grow(bench, "fill")
    bench.asked.last_door.set()
    until(lambda: any("candidates" in line for line in bench.said()))
    assert len(bench.candidates()) == 3 and bench.own() == own
    if bench.daw.capabilities.grows:
        bench.user_undo()
        assert bench.candidates() == [] and bench.own() == own


def test_an_edit_while_candidates_grow_leaves_nothing_of_them(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    grow(bench)
    if bench.daw.capabilities.grows:
        until(bench.candidates)
    bench.edit(0)
    own = bench.own()
    bench.asked.last_door.set()
    until(lambda: any("changed" in line for line in bench.said()))
    assert bench.candidates() == [] and bench.own() == own


def test_candidates_that_are_taken_back_while_they_grow_stay_away(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    if not bench.daw.capabilities.grows:
        return  # there is nothing to take back before all are written
    own = bench.own()
    grow(bench)
    until(bench.candidates)
    bench.user_undo()
    bench.asked.last_door.set()
    until(lambda: any("taken back" in line for line in bench.said()))
    assert bench.candidates() == [] and bench.own() == own


def test_the_server_is_restarted_while_candidates_grow(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    own = bench.own()
    grow(bench)
    bench.restart_server()
    until(bench.asked.cancelled.is_set)
    until(lambda: any("nothing was written" in line or line == "Stopped" for line in bench.said()))
    until(lambda: not bench.candidates())
    assert bench.own() == own


def test_cancel_takes_every_candidate_away(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    own = bench.own()
    for action in actions(bench):
        ask(bench, action)
        assert bench.candidates()
        bench.daw.cancel()
        assert bench.candidates() == [] and bench.own() == own


def test_one_undo_takes_a_proposal_back(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    if not bench.daw.capabilities.undo:
        assert bench.daw.capabilities.place  # the table says so, and Cancel takes them away, as above
        return
    own = bench.own()
    for action in actions(bench):
        ask(bench, action)
        assert bench.candidates()
        bench.user_undo()
        assert bench.candidates() == [] and bench.own() == own


def test_seven_eight_and_a_tempo_change_are_filled_bar_by_bar(bench: Bench) -> None:
    bar = 7 * TICKS // 2
    song = plain(
        scale(0, 4, bar, TICKS // 2), meters=(Meter(0, 7, 8),), tempos=(Tempo(0, 500_000), Tempo(bar, 350_000))
    )
    bench.load(song, (0,), 0, 4 * bar)
    selection = bench.daw.read("fill")
    ask(bench, "fill")
    assert bench.asked.calls[-1][1]["bars"] == "1-4"
    assert bench.candidates() == new_notes(selection, bench, bench.where(selection, "fill"))


def test_a_looped_clip_is_continued(bench: Bench) -> None:
    bench.load(plain(scale(0, 4, period=BAR)), (0,), 0, 4 * BAR)
    own = bench.own()
    selection = bench.daw.read("continue")
    ask(bench, bars=2)
    assert bench.candidates() == new_notes(selection, bench, bench.where(selection, "continue"))
    assert bench.own() == own


def test_silence_cannot_be_continued(bench: Bench) -> None:
    bench.load(Song((lane("Keys", Clip(0, 4 * BAR, (Note(0, 60, TICKS, 80),))),)), (0,), 0, 4 * BAR)
    with pytest.raises(UserError, match="silence"):
        ask(bench)


def test_the_page_says_of_this_daw_what_its_script_says(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    if bench.name == "memory":
        return  # the page does not speak of it
    fields = set(FIELDS.values()) - bench.unlike
    said = {field: getattr(bench.daw.capabilities, field) for field in fields}
    assert said == {field: claimed(bench.name, field) for field in fields}


# --- When one side goes away --------------------------------------------------------------------------


def test_the_daw_is_closed_while_a_request_runs(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    bench.asked.door.clear()
    bench.press("continue")
    until(bench.asked.entered.is_set)
    bench.close_daw()
    until(bench.asked.cancelled.is_set)
    assert bench.asked.scores == []


def test_the_server_is_restarted_while_a_request_runs(bench: Bench) -> None:
    bench.load(plain(scale(0, 2)), (0,), 0, 2 * BAR)
    own = bench.own()
    bench.asked.door.clear()
    bench.press("continue")
    until(bench.asked.entered.is_set)
    bench.restart_server()
    until(bench.asked.cancelled.is_set)
    until(lambda: any("nothing was written" in line or line == "Stopped" for line in bench.said()))
    assert bench.own() == own and bench.candidates() == []
    bench.asked.door.set()
    if bench.name != "memory":
        bench.press("continue", candidates=2)  # and it works with the new one at once
        until(lambda: len(bench.candidates()) == 2)


# Last of all: Ardour's Lua sets a meter inside a song, and removes none.


def test_a_pickup_bar(bench: Bench) -> None:
    """The song begins with one quarter, which a time line shows as a bar of its own."""
    meters = (Meter(0, 1, 4), Meter(TICKS, 4, 4))
    pickup = Note(0, 67, TICKS // 2, 80)
    main = scale(0, 2)
    notes = (pickup, *(note._replace(start=note.start + TICKS) for note in main.notes))
    song = plain(Clip(0, TICKS + 2 * BAR, notes), meters=meters)
    bench.load(song, (0,), 0, TICKS + 2 * BAR)
    selection = bench.daw.read("continue")
    assert (
        rows(selection.score.tracks[selection.tracks[0]].notes, round(selection.origin * TICKS))
        == bench.own()["Keys"]
    )
    if bench.daw.capabilities.tempo_map:
        assert selection.score.bar(0).length == TICKS and selection.score.bar(1).start == TICKS
    ask(bench, bars=1)
    assert bench.candidates() == new_notes(selection, bench, bench.where(selection, "continue"))
