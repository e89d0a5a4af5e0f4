"""Candidates for a DAW from the server on this computer: bar by bar as they grow, and then whole.

events of a proposal ─┬─ notes of a bar ──► Growing ──► Drafted, as far as it is
                      └─ done ──► the candidates' files ──► Drafted, complete
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

from models.errors import Cancelled, UserError
from models.midi_file import read_midi, write_midi
from models.score import Note, Score

Words = dict[str, Any]
POLL_SECONDS = 0.03
MOST_SECONDS = 600.0  # without any event: others may be before us in the queue


class Drafted(NamedTuple):
    """The candidates as far as they are: whole scores, with new tracks behind those of the asked one."""

    scores: tuple[Score, ...]
    complete: bool


Ask = Callable[[Score, Words, Callable[[], bool]], Iterator[Drafted]]
"""ask(score, words, cancelled): the candidates as they grow; what comes last is complete. `words` as
asking.parse_words takes them. May raise UserError, and Cancelled soon after cancelled() turns true."""


def ask_nothing(score: Score, words: Words, cancelled: Callable[[], bool]) -> Iterator[Drafted]:
    """For whoever listens only to try a DAW out."""
    raise UserError("Descant is only trying the connection", "Start it with: descant serve")


class Growing:
    """A fill's candidates while they are written. Each grows by a bar at a time, from the region's first bar on."""

    def __init__(self, score: Score, tracks: frozenset[int], first: int) -> None:
        """tracks, first: the region's tracks and first bar, from 0."""
        self._score, self._tracks, self._first = score, tracks, first
        self._bars: dict[int, list[list[tuple[int, Note]]]] = {}

    @classmethod
    def of(cls, score: Score, words: Words) -> Growing | None:
        """For the words of a request; None where its new tracks are not known before it is done."""
        if words.get("operation") != "fill":
            return None
        tracks = frozenset(int(number) - 1 for number in str(words["tracks"]).split(","))
        return cls(score, tracks, int(str(words["bars"]).partition("-")[0]) - 1)

    def hear(self, event: dict[str, Any]) -> None:
        """Take in the bar that an event of the server tells; a candidate that is written again begins anew."""
        bars = self._bars.setdefault(event["candidate"], [])
        del bars[event["done"] - 1 :]
        bars.append([(track - 1, Note(*note)) for track, *note in event["notes"]])

    def drafted(self) -> Drafted:
        """The first candidates that have a bar, in order."""
        begun = (self._bars.get(number) for number in count(1))
        scores = []
        for bars in begun:
            if not bars:
                break
            scores.append(self._with(bars))
        return Drafted(tuple(scores), complete=False)

    def _with(self, bars: list[list[tuple[int, Note]]]) -> Score:
        start, end = self._score.bar(self._first).start, self._score.bar(self._first + len(bars) - 1).end
        tracks = list(self._score.tracks)
        for index in self._tracks:
            kept = [note for note in tracks[index].notes if not start <= note.start < end]
            new = [note for bar in bars for track, note in bar if track == index]
            tracks[index] = tracks[index].with_notes([*kept, *new])
        return self._score.with_tracks(tracks)


def ask_server(port: int, token: str) -> Ask:
    """Candidates from the server on this computer: its queue, its history, its engine."""
    sessions: list[int] = []

    def ask(score: Score, words: Words, cancelled: Callable[[], bool]) -> Iterator[Drafted]:
        from assistant.client import Client

        growing = Growing.of(score, words)
        words = dict(words)
        operation = words.pop("operation")
        with Client(port, token) as client:
            if not sessions:
                sessions.append(client.add_session("From the DAW").id)
            number = client.upload(write_midi(score), "From the DAW", sessions[0]).id
            for event in _events(port, token, (number, operation, words), cancelled):
                if event["type"] == "notes" and growing:
                    growing.hear(event)
                    if (drafted := growing.drafted()).scores:  # a later candidate may have its first bar first
                        yield drafted
                elif event["type"] == "failed":
                    error = event["result"]["error"]
                    raise UserError(error["message"], error["hint"])
                elif event["type"] == "cancelled":
                    raise Cancelled
                elif event["type"] == "done":
                    made = event["result"]
                    midis = [client.candidate_midi(made["id"], one["number"]) for one in made["candidates"]]
                    yield Drafted(tuple(read_midi(midi).score for midi in midis), complete=True)

    return ask


def _events(
    port: int, token: str, asked: tuple[int, str, Words], cancelled: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """The events of a proposal. It is called off when `cancelled()` turns true or nobody listens any more.

    The stream is read in a thread of its own: between two events nobody could be asked whether to go on.
    """
    from assistant.client import Client

    heard: queue.SimpleQueue[dict[str, Any] | UserError | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            with Client(port, token, MOST_SECONDS) as client:
                for event in client.follow(asked[0], asked[1], **asked[2]):
                    heard.put(event)
        except UserError as error:
            heard.put(error)
        else:
            heard.put(None)

    threading.Thread(target=read, name="daw events", daemon=True).start()
    proposal, ended = 0, False
    try:
        while not ended:
            if cancelled():
                raise Cancelled
            try:
                event = heard.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if event is None or isinstance(event, UserError):
                ended = True
                raise event or UserError("The server has gone", "See whether it still runs.")
            proposal = event["proposal"]
            ended = event["type"] in ("done", "failed", "cancelled")
            yield event
    finally:
        if proposal and not ended:
            with suppress(UserError), Client(port, token) as other:
                other.cancel(proposal)
