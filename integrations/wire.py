"""The messages between this program and a script in a DAW: JSON objects, whatever carries them.

    script -> program   {"hello": {...}}                      once
    program -> script   {"welcome": {...}} or {"refused": {"message", "hint"}}
    program -> script   {"id": 7, "do": "read", ...}          verbs of integrations.base.Daw
    script -> program   {"id": 7, "ok": {...}} or {"id": 7, "error": {"code", "message", "hint"}}
    script -> program   {"action": "continue", "options": {...}}   the user pressed a key

Notes travel as [start, pitch, duration, velocity], tempos as [tick, microseconds], meters as [tick, over, under].
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from integrations.base import (
    MOST_NOTES,
    MOST_TRACKS,
    TICKS,
    Closed,
    DawError,
    Hello,
    Scale,
    Selection,
    Written,
    bars_around,
    daw_error,
)
from models.score import Meter, Note, Score, Tempo, Track

Message = Mapping[str, Any]
PATIENCE = 20.0  # seconds for an answer: a DAW stands still while one of its windows asks something
MOST_TICKS = 1 << 31
_HINT = "Install the DAW's script again with descant daw install."


class Conversation:
    """Calls and their answers over any stream of messages. `send` may be called from any thread."""

    def __init__(
        self, send: Callable[[dict[str, Any]], None], on_action: Callable[[Message], None] = lambda _: None
    ) -> None:
        self.on_action = on_action
        self.on_close: Callable[[], None] = lambda: None
        self._send = send
        self._numbers = count(1)
        self._lock = threading.Condition()
        self._answers: dict[int, Message | None] = {}
        self.closed = False
        self.patience = PATIENCE

    def call(self, do: str, **arguments: Any) -> Message:
        """What the script answers. DawError as it reports it; Closed when it does not answer."""
        with self._lock:
            if self.closed:
                raise _gone()
            number = next(self._numbers)
            self._answers[number] = None
        try:
            self._send({"id": number, "do": do, **arguments})
            with self._lock:
                answered = self._lock.wait_for(
                    lambda: self._answers[number] is not None or self.closed, self.patience
                )
                answer = self._answers[number]
        except OSError:
            self.close()
            answered, answer = True, None
        finally:
            with self._lock:
                self._answers.pop(number, None)
        if answer is None:
            raise _gone() if answered else Closed("The DAW does not answer", "Close its dialogs, then ask again.")
        error = answer.get("error")
        if isinstance(error, Mapping):
            said = [str(error.get(word, ""))[:500] for word in ("code", "message", "hint")]
            raise daw_error(said[0], said[1] or "The DAW could not do it", said[2])
        ok = answer.get("ok")
        return ok if isinstance(ok, Mapping) else {}

    def received(self, message: Message) -> None:
        """Take one message that the script sent."""
        number = message.get("id")
        if isinstance(number, int):
            with self._lock:
                if number in self._answers:
                    self._answers[number] = message
                    self._lock.notify_all()
        elif "action" in message:
            self.on_action(message)

    def close(self) -> None:
        """The other side is gone: whoever waits is told."""
        with self._lock:
            first, self.closed = not self.closed, True
            self._lock.notify_all()
        if first:
            self.on_close()


def _gone() -> Closed:
    return Closed("The DAW is not connected any more", "Start it again, then ask again.")


class RemoteDaw:
    """integrations.base.Daw over a conversation with the script that runs inside the DAW."""

    def __init__(self, conversation: Conversation, hello: Hello) -> None:
        self.conversation = conversation
        self.hello = hello
        self.name = hello.daw
        self.capabilities = hello.capabilities

    def read(self, action: str) -> Selection:
        before, after = bars_around(action)
        return selection_from(
            self.conversation.call("read", action=action, before=before, after=after), action == "sketch"
        )

    def write(
        self,
        selection: Selection,
        candidates: Sequence[Written],
        action: str,
        again: bool = False,
        whole: bool = True,
    ) -> None:
        self.conversation.call(
            "write",
            action=action,
            again=again,
            whole=whole,
            stamp=selection.stamp,
            reference=selection.reference,
            candidates=[candidate_to(candidate) for candidate in candidates],
        )

    def audition(self, number: int) -> None:
        self.conversation.call("audition", number=number)

    def accept(self) -> None:
        self.conversation.call("accept")

    def cancel(self) -> None:
        self.conversation.call("cancel")

    def undo(self) -> None:
        self.conversation.call("undo")

    def say(self, text: str, done: bool = True) -> None:
        self.conversation.call("say", text=text, done=done)


# --- Music as messages --------------------------------------------------------------------------------


def selection_from(message: Message, without_tracks: bool = False) -> Selection:
    """A script's answer to "read", which has no tracks for a sketch. DawError where it makes no sense."""
    try:
        score = _score(message)
        chosen = message["selection"]
        start, end = (_tick(chosen[word]) for word in ("start", "end"))
        tracks = tuple(_whole(index, 0, len(score.tracks) - 1) for index in chosen["tracks"])
        if end <= start or bool(tracks) is without_tracks:
            raise ValueError("an empty selection")
        return Selection(
            score=score,
            origin=float(message["origin"]),
            start=start,
            end=end,
            tracks=tracks,
            stamp=str(message["stamp"])[:200],
            scale=_scale(message.get("scale")),
            swing=min(1.0, max(0.0, float(message.get("swing") or 0.0))),
            reference=message.get("reference"),
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise DawError(f"The DAW sent music that makes no sense ({error})", _HINT) from None


def _score(message: Message) -> Score:
    tracks = message["tracks"]
    if len(tracks) > MOST_TRACKS or sum(len(track["notes"]) for track in tracks) > MOST_NOTES:
        raise ValueError("too much of it")
    return Score(
        ticks_per_quarter=TICKS,
        tracks=tuple(_track(track) for track in tracks),
        tempos=tuple(sorted(Tempo(_tick(at), _whole(value, 1, 0xFFFFFF)) for at, value in message["tempos"])),
        meters=tuple(
            sorted(Meter(_tick(at), _whole(over, 1, 255), _power(under)) for at, over, under in message["meters"])
        ),
        length=_tick(message["length"]),
    )


def _track(said: Message) -> Track:
    notes = (
        Note(_tick(start), _whole(pitch, 0, 127), max(1, _tick(duration)), _whole(velocity, 1, 127))
        for start, pitch, duration, velocity in said["notes"]
    )
    is_drum = bool(said.get("drum"))
    channel = 9 if is_drum else _whole(said.get("channel") or 0, 0, 15)
    name = str(said.get("name") or "")[:200]
    return Track(name, _whole(said.get("program") or 0, 0, 127), is_drum, channel, tuple(sorted(notes)))


def _scale(said: Any) -> Scale | None:
    if not isinstance(said, Mapping):
        return None
    root = _whole(said["root"], 0, 11)
    intervals = [_whole(interval, 0, 127) for interval in said["intervals"]]
    return Scale(root, str(said.get("name", ""))[:60], frozenset((root + step) % 12 for step in intervals))


def _whole(value: Any, least: int, most: int) -> int:
    """A whole number within bounds; scripts whose language has only floats may send 60.0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise ValueError(f"{value!r} where a whole number belongs")
    if not least <= value <= most:
        raise ValueError(f"{value!r} is not within {least}..{most}")
    return int(value)


def _tick(value: Any) -> int:
    return _whole(value, 0, MOST_TICKS)


def _power(value: Any) -> int:
    """The lower number of a meter."""
    number = _whole(value, 1, 64)
    if number & (number - 1):
        raise ValueError(f"a meter over {number}")
    return number


def candidate_to(candidate: Written) -> dict[str, Any]:
    parts = [
        {
            "track": part.track,
            "start": part.start,
            "end": part.end,
            "notes": [list(note[:4]) for note in part.notes],
            "removed": [list(note) for note in part.removed],
            "name": part.name,
            "program": part.program,
            "drum": part.is_drum,
        }
        for part in candidate.parts
    ]
    return {"number": candidate.number, "label": candidate.label, "parts": parts}
