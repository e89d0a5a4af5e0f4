"""What was asked, answered and decided, kept in one SQLite file that survives a crash at any moment.

    session ─┬─ score ── proposal ── candidate ── decision
             └─ its current score: what the next request goes on from; accepting moves it, undo moves it back

Scores and candidates are kept as the MIDI files they are, so that they outlive the weights that made them.
A call that returned is on the disk (write-ahead log, synchronous=FULL). One History belongs to one thread.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.errors import UserError

FILE = "history.db"
LAYOUT = 1  # of the tables, kept in user_version

State = Literal["queued", "running", "done", "failed", "cancelled"]
Verdict = Literal["accept", "keep", "reject"]
VERDICTS: tuple[Verdict, ...] = ("accept", "keep", "reject")
UNFINISHED = ("queued", "running")

_TABLES = """
CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    created REAL NOT NULL,
    score INTEGER REFERENCES score(id)
);
CREATE TABLE score (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES session(id),
    name TEXT NOT NULL,
    midi BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    facts TEXT NOT NULL,
    candidate INTEGER REFERENCES candidate(id),
    created REAL NOT NULL
);
CREATE TABLE proposal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES session(id),
    score INTEGER REFERENCES score(id),
    words TEXT NOT NULL,
    request TEXT,
    state TEXT NOT NULL,
    error TEXT,
    replay_of INTEGER REFERENCES proposal(id),
    created REAL NOT NULL,
    finished REAL
);
CREATE TABLE candidate (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    proposal INTEGER NOT NULL REFERENCES proposal(id),
    number INTEGER NOT NULL,
    midi BLOB NOT NULL,
    new_midi BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    facts TEXT NOT NULL,
    UNIQUE (proposal, number)
);
CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES session(id),
    candidate INTEGER NOT NULL REFERENCES candidate(id),
    verdict TEXT NOT NULL,
    score_before INTEGER REFERENCES score(id),
    score_after INTEGER REFERENCES score(id),
    created REAL NOT NULL,
    undone REAL
);
CREATE INDEX score_of ON score(session);
CREATE INDEX proposal_of ON proposal(session);
CREATE INDEX decision_of ON decision(session);
CREATE INDEX decision_on ON decision(candidate);
"""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One sitting. score: what the next request goes on from. Times are seconds since 1970."""

    id: int
    name: str
    created: float
    score: int | None


@dataclass(frozen=True, slots=True)
class ScoreInfo:
    """A piece that was uploaded, or that came of accepting candidate number `candidate` of `proposal`."""

    id: int
    session: int
    name: str
    sha256: str
    created: float
    facts: dict[str, Any] = field(default_factory=dict)
    proposal: int | None = None
    candidate: int | None = None


@dataclass(frozen=True, slots=True)
class CandidateInfo:
    """One answer. sha256: of its MIDI file. verdict: the last one that was not undone. originality: the longest
    runs of notes that it shares with what is known, where that was looked at."""

    number: int
    sha256: str
    notes: int
    seed: int
    model_hash: str
    violations: list[str]
    ms_to_first_bar: float
    notes_per_second: float
    verdict: str | None = None
    originality: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ProposalInfo:
    """A request and its candidates. words: as it was asked. request: as it was understood, once that is known."""

    id: int
    session: int
    score: int | None
    state: str
    words: dict[str, Any]
    created: float
    request: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    replay_of: int | None = None
    finished: float | None = None
    candidates: list[CandidateInfo] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DecisionInfo:
    """A verdict on a candidate. score: the session's current score after it, or after it was undone."""

    session: int
    proposal: int
    candidate: int
    verdict: str
    undone: bool
    score: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished candidate on its way into the history. midi: the whole piece; new_midi: the new notes alone."""

    number: int
    midi: bytes
    new_midi: bytes
    facts: Mapping[str, Any]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class History:
    """The history in a folder. Every method raises UserError when the disk is full or the file is damaged."""

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        """Open the history of a folder, and make it unless `read_only`, where a missing one is a UserError."""
        self.path = folder / FILE
        if read_only and not self.path.exists():
            raise UserError("There is no history yet", "It begins with the first request to `descant serve`.")
        with self._sentences():
            self._base = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
            try:
                self._base.row_factory = sqlite3.Row
                self._base.execute("PRAGMA foreign_keys=ON")
                if read_only:
                    self._base.execute("PRAGMA query_only=ON")
                else:
                    self.path.chmod(0o600)
                    self._base.execute("PRAGMA journal_mode=WAL")
                    self._base.execute("PRAGMA synchronous=FULL")
                self._check_layout(read_only)
            except BaseException:
                self._base.close()
                raise

    def _check_layout(self, read_only: bool) -> None:
        layout = self._base.execute("PRAGMA user_version").fetchone()[0]
        if layout == 0 and not read_only:
            with self._writing():
                # Another process may have made the tables while this one waited for the lock.
                if self._base.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _TABLES.split(";"):
                        self._base.execute(statement)
                    self._base.execute(f"PRAGMA user_version={LAYOUT}")
        elif layout != LAYOUT:
            raise UserError(f"{self.path} is from another version of Descant", "Move it away to begin a new one.")

    def close(self) -> None:
        self._base.close()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """SQLite's errors as sentences."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise DiskFull(self.path) from error
            raise UserError(f"Cannot use {self.path}: {error}", "Check the folder's rights and space.") from error
        except sqlite3.DatabaseError as error:
            hint = "Move it away; a new one is begun, and the old one may be mended with the sqlite3 program."
            raise UserError(f"{self.path} is damaged: {error}", hint) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction: all of it is on the disk afterwards, or nothing."""
        with self._sentences():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def _add(self, statement: str, *values: Any) -> int:
        number = self._base.execute(statement, values).lastrowid
        assert number is not None  # every statement here inserts a row
        return number

    def _one(self, statement: str, *values: Any) -> sqlite3.Row | None:
        with self._sentences():
            row: sqlite3.Row | None = self._base.execute(statement, values).fetchone()
            return row

    def _all(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self._sentences():
            return self._base.execute(statement, values).fetchall()

    # --- Sessions and scores ------------------------------------------------------------------------------

    def add_session(self, name: str) -> SessionInfo:
        with self._writing():
            number = self._add("INSERT INTO session(name, created) VALUES (?, ?)", name, time.time())
        return self.session(number)

    def session(self, number: int) -> SessionInfo:
        row = self._one("SELECT * FROM session WHERE id = ?", number)
        if row is None:
            raise Missing("session", number)
        return SessionInfo(**dict(row))

    def sessions(self) -> list[SessionInfo]:
        """All of them, the newest first."""
        return [SessionInfo(**dict(row)) for row in self._all("SELECT * FROM session ORDER BY id DESC")]

    def add_score(self, session: int, name: str, midi: bytes, facts: Mapping[str, Any]) -> ScoreInfo:
        """Keep a piece, and make it its session's current score. facts: JSON-ready, kept as they are."""
        self.session(session)
        with self._writing():
            number = self._insert_score(session, name, midi, facts, None)
            self._base.execute("UPDATE session SET score = ? WHERE id = ?", (number, session))
        return self.score(number)

    def _insert_score(
        self, session: int, name: str, midi: bytes, facts: Mapping[str, Any], candidate: int | None
    ) -> int:
        return self._add(
            "INSERT INTO score(session, name, midi, sha256, facts, candidate, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(session, name, midi, digest(midi), json.dumps(facts), candidate, time.time()),
        )

    def score(self, number: int) -> ScoreInfo:
        found = self._scores("score.id = ?", number)
        if not found:
            raise Missing("score", number)
        return found[0]

    def scores(self, session: int) -> list[ScoreInfo]:
        self.session(session)
        return self._scores("score.session = ?", session)

    def _scores(self, condition: str, value: int) -> list[ScoreInfo]:
        rows = self._all(
            "SELECT score.id, score.session, score.name, score.sha256, score.created, score.facts,"
            " candidate.proposal, candidate.number AS candidate FROM score"
            f" LEFT JOIN candidate ON candidate.id = score.candidate WHERE {condition} ORDER BY score.id",
            value,
        )
        return [ScoreInfo(**{**dict(row), "facts": json.loads(row["facts"])}) for row in rows]

    def score_midi(self, number: int) -> bytes:
        row = self._one("SELECT midi FROM score WHERE id = ?", number)
        if row is None:
            raise Missing("score", number)
        return bytes(row["midi"])

    # --- Proposals ----------------------------------------------------------------------------------------

    def add_proposal(
        self, session: int, score: int | None, words: Mapping[str, Any], replay_of: int | None = None
    ) -> ProposalInfo:
        with self._writing():
            number = self._add(
                "INSERT INTO proposal(session, score, words, state, replay_of, created) VALUES (?, ?, ?, ?, ?, ?)",
                *(session, score, json.dumps(words), "queued", replay_of, time.time()),
            )
        return self.proposal(number)

    def finish(
        self,
        number: int,
        state: State,
        request: Mapping[str, Any] | None = None,
        error: Mapping[str, str] | None = None,
        answers: Sequence[Answer] = (),
    ) -> ProposalInfo:
        """Say how a proposal ended, and keep its candidates with it."""
        with self._writing():
            self._base.execute(
                "UPDATE proposal SET state = ?, request = ?, error = ?, finished = ? WHERE id = ?",
                (state, _json(request), _json(error), time.time(), number),
            )
            for answer in answers:
                self._add(
                    "INSERT INTO candidate(proposal, number, midi, new_midi, sha256, facts)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    *(number, answer.number, answer.midi, answer.new_midi),
                    *(digest(answer.midi), json.dumps(answer.facts)),
                )
        return self.proposal(number)

    def drop_unfinished(self) -> int:
        """Call off what a server that is gone has left unfinished; how many those were."""
        error = {"message": "The server ended before this was done", "hint": "Ask again."}
        with self._writing():
            done = self._base.execute(
                "UPDATE proposal SET state = 'cancelled', error = ?, finished = ? WHERE state IN (?, ?)",
                (json.dumps(error), time.time(), *UNFINISHED),
            )
        return done.rowcount

    def proposal(self, number: int) -> ProposalInfo:
        row = self._one("SELECT * FROM proposal WHERE id = ?", number)
        if row is None:
            raise Missing("proposal", number)
        return self._proposal(row)

    def proposals(self, session: int | None = None, most: int = 1000) -> list[ProposalInfo]:
        """Those of a session, or of all sessions, the newest first."""
        if session is not None:
            self.session(session)
        return [
            self._proposal(row)
            for row in self._all(
                "SELECT * FROM proposal WHERE ?1 IS NULL OR session = ?1 ORDER BY id DESC LIMIT ?2", session, most
            )
        ]

    def _proposal(self, row: sqlite3.Row) -> ProposalInfo:
        rows = self._all(
            "SELECT candidate.number, candidate.sha256, candidate.facts, (SELECT verdict FROM decision"
            " WHERE decision.candidate = candidate.id AND undone IS NULL ORDER BY decision.id DESC LIMIT 1)"
            " AS verdict FROM candidate WHERE proposal = ? ORDER BY number",
            row["id"],
        )
        candidates = [
            CandidateInfo(number=c["number"], sha256=c["sha256"], verdict=c["verdict"], **json.loads(c["facts"]))
            for c in rows
        ]
        texts = {
            name: None if row[name] is None else json.loads(row[name]) for name in ("words", "request", "error")
        }
        return ProposalInfo(**{**dict(row), **texts, "candidates": candidates})

    def candidate_midi(self, proposal: int, number: int, only_new: bool = False) -> bytes:
        row = self._one(
            f"SELECT {'new_midi' if only_new else 'midi'} AS midi FROM candidate WHERE proposal = ? AND number = ?",
            *(proposal, number),
        )
        if row is None:
            raise Missing("candidate", number)
        return bytes(row["midi"])

    # --- Decisions ----------------------------------------------------------------------------------------

    def decide(
        self, proposal: int, number: int, verdict: Verdict, name: str = "", facts: Mapping[str, Any] | None = None
    ) -> DecisionInfo:
        """Say what becomes of a candidate. One that is accepted becomes the session's current score.

        name, facts: of that score, as for `add_score`.
        """
        row = self._one("SELECT * FROM candidate WHERE proposal = ? AND number = ?", proposal, number)
        if row is None:
            raise Missing("candidate", number)
        with self._writing():
            session = self._one(
                "SELECT session.* FROM session JOIN proposal ON proposal.session = session.id"
                " WHERE proposal.id = ?",
                proposal,
            )
            assert session is not None  # the tables' references hold
            before = after = session["score"]
            if verdict == "accept":
                after = self._insert_score(session["id"], name, row["midi"], facts or {}, row["id"])
                self._base.execute("UPDATE session SET score = ? WHERE id = ?", (after, session["id"]))
            self._add(
                "INSERT INTO decision(session, candidate, verdict, score_before, score_after, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                *(session["id"], row["id"], verdict, before, after, time.time()),
            )
        return DecisionInfo(session["id"], proposal, number, verdict, False, after)

    def undo(self, session: int) -> DecisionInfo:
        """Take back the last decision of a session that still stands. UserError when there is none."""
        self.session(session)
        with self._writing():
            row = self._one(
                "SELECT decision.*, candidate.proposal, candidate.number FROM decision"
                " JOIN candidate ON candidate.id = decision.candidate"
                " WHERE decision.session = ? AND undone IS NULL ORDER BY decision.id DESC LIMIT 1",
                session,
            )
            if row is None:
                raise UserError("There is nothing to undo", "Decisions are undone one by one, the last one first.")
            self._base.execute("UPDATE decision SET undone = ? WHERE id = ?", (time.time(), row["id"]))
            if row["verdict"] == "accept":  # unless another piece has become the current one since
                self._base.execute(
                    "UPDATE session SET score = ? WHERE id = ? AND score = ?",
                    (row["score_before"], session, row["score_after"]),
                )
        now = self.session(session).score
        return DecisionInfo(session, row["proposal"], row["number"], row["verdict"], True, now)


class Missing(UserError):
    """A session, score, proposal or candidate that there is not."""

    def __init__(self, kind: str, number: int) -> None:
        super().__init__(f"There is no {kind} {number}", "`descant history` lists what there is.")


class DiskFull(UserError):
    """Nothing of what was to be kept has been kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} could not be written: the disk is full", "Make room and try again.")


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)
