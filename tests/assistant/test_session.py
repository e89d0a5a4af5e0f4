"""The history: what is kept, in which order it comes back, and that no crash takes any of it away."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from assistant.session import VERDICTS, Answer, DiskFull, History, Missing
from models.errors import UserError
from tests.served import ROOT

KILLS = int(os.environ.get("DESCANT_KILLS", "20"))
FACTS = {
    "notes": 3,
    "seed": 1,
    "model_hash": "m",
    "violations": [],
    "ms_to_first_bar": 1.0,
    "notes_per_second": 2.0,
}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path)
    yield history
    history.close()


def answers(count: int) -> list[Answer]:
    return [Answer(number, b"whole %d" % number, b"new %d" % number, FACTS) for number in range(1, count + 1)]


def proposal(history: History, count: int = 2) -> tuple[int, int]:
    """A finished proposal in a session of its own: numbers of both."""
    session = history.add_session("S").id
    score = history.add_score(session, "Song", b"MThd", {"bars": 4})
    number = history.add_proposal(session, score.id, {"operation": "continue"}).id
    history.finish(number, "done", {"bars": [5, 6]}, None, answers(count))
    return session, number


def test_a_session_is_there_again_after_closing(tmp_path: Path) -> None:
    history = History(tmp_path)
    session, number = proposal(history)
    history.decide(number, 2, "keep")
    before = (history.session(session), history.scores(session), history.proposal(number))
    history.close()
    for read_only in (False, True):
        again = History(tmp_path, read_only)
        assert (again.session(session), again.scores(session), again.proposal(number)) == before
        assert again.candidate_midi(number, 2) == b"whole 2" and again.candidate_midi(number, 2, True) == b"new 2"
        again.close()
    assert before[2].request == {"bars": [5, 6]} and before[2].candidates[1].verdict == "keep"


def test_reading_changes_nothing_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no history yet"):
        History(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    History(tmp_path).close()
    reader = History(tmp_path, read_only=True)
    with pytest.raises(UserError):
        reader.add_session("no")
    reader.close()


def test_what_there_is_not_is_a_sentence(history: History) -> None:
    calls = [
        lambda: history.session(1),
        lambda: history.score(1),
        lambda: history.scores(1),
        lambda: history.score_midi(1),
        lambda: history.proposal(1),
        lambda: history.candidate_midi(1, 1),
        lambda: history.decide(1, 1, "keep"),
        lambda: history.undo(1),
        lambda: history.add_score(1, "", b"", {}),
        lambda: history.proposals(1),
    ]
    for call in calls:
        with pytest.raises(Missing) as caught:
            call()
        assert caught.value.hint


def test_unfinished_work_of_a_server_that_is_gone_is_called_off(history: History) -> None:
    session, done = proposal(history)
    waiting = history.add_proposal(session, None, {}).id
    assert history.drop_unfinished() == 1 and history.drop_unfinished() == 0
    assert (history.proposal(done).state, history.proposal(waiting).state) == ("done", "cancelled")


def test_a_damaged_file_is_a_sentence(tmp_path: Path) -> None:
    History(tmp_path).close()
    path = tmp_path / "history.db"
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(UserError, match="damaged"):
        History(tmp_path)
    path.write_bytes(b"not a database, " * 500)
    with pytest.raises(UserError, match="damaged"):
        History(tmp_path)


def test_a_file_from_the_future_is_left_alone(tmp_path: Path) -> None:
    History(tmp_path).close()
    with sqlite3.connect(tmp_path / "history.db") as base:
        base.execute("PRAGMA user_version=99")
    with pytest.raises(UserError, match="another version"):
        History(tmp_path)


# --- Decisions against a plain model --------------------------------------------------------------------


class Decisions(RuleBasedStateMachine):
    """Verdicts, uploads and undo in any order: the current score and the verdicts are what a list would say."""

    numbers = Bundle("numbers")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.history = History(Path(self.folder.name))

    @initialize()
    def begin(self) -> None:
        self.session, self.number = proposal(self.history, 3)
        self.current = self.history.session(self.session).score
        self.made: list[tuple[str, int, int | None, int | None]] = []

    @rule(number=st.integers(1, 3), verdict=st.sampled_from(VERDICTS))
    def decide(self, number: int, verdict: Any) -> None:
        before = self.current
        decision = self.history.decide(self.number, number, verdict, "Song", {})
        if verdict == "accept":
            self.current = decision.score
            assert self.current is not None and self.current != before
            assert self.history.score_midi(self.current) == b"whole %d" % number
        assert decision.score == self.current
        self.made.append((verdict, number, before, self.current))

    @rule()
    def upload(self) -> None:
        self.current = self.history.add_score(self.session, "More", b"MThd", {}).id

    @rule()
    def undo(self) -> None:
        if not self.made:
            with pytest.raises(UserError, match="nothing to undo"):
                self.history.undo(self.session)
            return
        verdict, number, before, after = self.made.pop()
        if verdict == "accept" and self.current == after:
            self.current = before
        undone = self.history.undo(self.session)
        assert (undone.verdict, undone.candidate, undone.score) == (verdict, number, self.current)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "session"):
            return
        assert self.history.session(self.session).score == self.current
        last: dict[int, str] = {number: verdict for verdict, number, _, _ in self.made}
        verdicts = {c.number: c.verdict for c in self.history.proposal(self.number).candidates}
        assert verdicts == {number: last.get(number) for number in (1, 2, 3)}

    def teardown(self) -> None:
        self.history.close()
        self.folder.cleanup()


TestDecisions = Decisions.TestCase
TestDecisions.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


# --- Crashes ------------------------------------------------------------------------------------------

# Saves without end, and says what is saved once the call has returned.
SAVER = """
import sys
from pathlib import Path
from assistant.session import Answer, History
history = History(Path(sys.argv[1]))
facts = dict(notes=3, seed=1, model_hash="m", violations=[], ms_to_first_bar=1.0, notes_per_second=2.0)
session = history.add_session("S").id
while True:
    score = history.add_score(session, "Song", b"M" * 3000, {}).id
    print("score", score, flush=True)
    number = history.add_proposal(session, score, {}).id
    print("proposal", number, flush=True)
    history.finish(number, "done", {}, None, [Answer(n, b"W" * 9000, b"N" * 900, facts) for n in (1, 2, 3)])
    print("finished", number, flush=True)
    history.decide(number, 1, "accept", "Song", {})
    print("accepted", number, flush=True)
    if number % 3 == 0:
        history.undo(session)
        print("undone", number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there nothing is killed as hard as by SIGKILL")
def test_no_kill_takes_away_what_was_saved(tmp_path: Path) -> None:
    rng = random.Random(7)
    command = [sys.executable, "-P", "-c", SAVER, str(tmp_path)]
    environs = {**os.environ, "PYTHONPATH": str(ROOT)}
    said: list[tuple[str, int]] = []
    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environs, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        first = [process.stdout.readline() for _ in range(rng.randint(1, 8))]
        time.sleep(rng.random() * 0.01)
        process.kill()
        lines = "".join([*first, process.stdout.read()]).splitlines(keepends=True)
        process.wait()
        whole = [line.split() for line in lines if line.endswith("\n")]
        said += [(word, int(number)) for word, number in whole]
    with sqlite3.connect(tmp_path / "history.db") as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert base.execute("PRAGMA foreign_key_check").fetchall() == []
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    history = History(tmp_path, read_only=True)
    assert len(said) >= KILLS
    for word, number in said:
        if word == "score":
            assert history.score_midi(number) == b"M" * 3000
            continue
        info = history.proposal(number)
        if word == "finished":
            assert info.state == "done" and len(info.candidates) == 3
            assert history.candidate_midi(number, 3) == b"W" * 9000
        elif word == "accepted":
            undone = ("undone", number) in said or number % 3 == 0
            assert info.candidates[0].verdict == "accept" or undone
        elif word == "undone":
            assert info.candidates[0].verdict is None
    # Nothing is half there.
    for info in history.proposals(most=100_000):
        assert len(info.candidates) == (3 if info.state == "done" else 0)
    history.close()


LIMITED = """
import resource, signal, sys
from pathlib import Path
from assistant.session import DiskFull, History
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
history = History(Path(sys.argv[1]))
session = history.add_session("S").id
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
kept = 0
while True:
    try:
        history.add_score(session, "Song", bytes(50_000), {})
        kept += 1
    except DiskFull as error:
        break
small = history.session(session)
print(kept, len(history.scores(session)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there a process cannot limit itself")
def test_a_full_disk_is_said_and_what_was_kept_stays(tmp_path: Path) -> None:
    environs = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, env=environs, capture_output=True, text=True, check=True)
    kept, listed = map(int, done.stdout.split())
    assert kept == listed >= 1
    history = History(tmp_path)
    assert len(history.scores(1)) == kept and history.add_score(1, "More", bytes(50_000), {}).id
    history.close()
    assert issubclass(DiskFull, UserError)
