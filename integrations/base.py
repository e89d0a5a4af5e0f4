"""What every DAW can be asked for, in one protocol, and what a DAW says about itself.

    read(action) ─► Selection: a Score of the bars around, the selected tracks and bars, a stamp
    write(selection, candidates)   beside the user's notes, one undo step; Changed if the stamp no longer holds
    write(..., again=True)         the same proposal, further on: what was there of it is replaced, still one step
    audition(number) ─► accept() or cancel()     undo()     say(text)

A Score begins on a bar line of the DAW's time line, `origin` quarter notes after its start. Ticks are counted
from there, TICKS to the quarter note, so that no bar of the song before it has to be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from models.errors import UserError
from models.score import Note, Score

TICKS = 960  # to the quarter note, in every Score that crosses to or from a DAW
PROTOCOLS = (1,)  # of the messages that this version understands, the newest last
ACTIONS = ("continue", "fill", "accompany", "sketch")
BARS_BEFORE, BARS_AFTER = 32, 8  # what the network looks at around a selection
MOST_NOTES = 1_000_000
MOST_TRACKS = 1_000


def bars_around(action: str) -> tuple[int, int]:
    """How many bars before and after a selection are read for an action: none where all of it is one piece."""
    return (0, 0) if action in ("accompany", "sketch") else (BARS_BEFORE, BARS_AFTER)


class DawError(UserError):
    """Something that a DAW cannot do now. `code` is one word for programs."""

    code = "failed"


class Changed(DawError):
    """The user has edited what was read: nothing was written."""

    code = "changed"


class NothingSelected(DawError):
    code = "empty"


class Closed(DawError):
    """The DAW, or the script in it, is gone."""

    code = "closed"


class Unsupported(DawError):
    code = "unsupported"


class Incompatible(DawError):
    """A script of another version than this program."""

    code = "version"


_ERRORS = {kind.code: kind for kind in (DawError, Changed, NothingSelected, Closed, Unsupported, Incompatible)}


def daw_error(code: str, message: str, hint: str) -> DawError:
    """The error that a script reported by its code."""
    return _ERRORS.get(code, DawError)(message, hint)


def changed() -> Changed:
    return Changed(
        "The music was changed after it was read, so nothing was written",
        "Ask again; the candidates that were made are kept.",
    )


def taken_back() -> DawError:
    return DawError("The candidates were taken back, so Descant stopped writing", "Ask again for others.")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a DAW's script can do. Every field stands in the table of docs/daws.md.

    tempo_map: all tempos of the song are read, not just the one in force. arrangement, launcher: clips on the
    time line, clips in slots. loops: a looped clip is read as it sounds. scale: the DAW's own root and scale.
    swing: its swing setting. context: other tracks are read too. new_tracks: it can add tracks. undo: a proposal
    is one step of the DAW's own undo. audition: it can switch from one candidate to the next. grows: candidates
    may be written while they are still being made. sketch: it takes a piece made from words. place: where
    candidates go, in the DAW's own word. resolution: finest step of a note's start, in parts of a quarter note.
    """

    tempo_map: bool = False
    arrangement: bool = False
    launcher: bool = False
    loops: bool = False
    scale: bool = False
    swing: bool = False
    context: bool = False
    new_tracks: bool = False
    undo: bool = False
    audition: bool = False
    grows: bool = False
    sketch: bool = False
    place: str = "clips"
    resolution: int = TICKS

    @classmethod
    def from_message(cls, said: object) -> Capabilities:
        """What a script says, as far as this version knows the words; what it does not say, it cannot do."""
        known: dict[str, Any] = {}
        for field in fields(cls):
            value = said.get(field.name) if isinstance(said, Mapping) else None
            if type(value) is type(field.default):
                known[field.name] = value
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Scale:
    """The DAW's own scale: a root 0..11 and its pitch classes; `name` as the DAW shows it."""

    root: int
    name: str
    pitch_classes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Selection:
    """What was read. `tracks` are the selected ones (indices of `score.tracks`), `start` and `end` in ticks.

    For a sketch there are no tracks, and the Score begins with the bar where it goes.

    origin: quarter notes from the song's start to the Score's. stamp: the script's word for the state of what is
    selected. reference: how the script finds it again; nobody else looks inside.
    """

    score: Score
    origin: float
    start: int
    end: int
    tracks: tuple[int, ...]
    stamp: str
    scale: Scale | None = None
    swing: float = 0.0
    reference: Any = None

    @property
    def bars(self) -> tuple[int, int]:
        """First and last bar of the Score that the selection touches."""
        return self.score.bar_at(self.start).index, self.score.bar_at(max(self.start, self.end - 1)).index


@dataclass(frozen=True, slots=True)
class Part:
    """One track of a candidate.

    track: index of a track of the Selection's score, or None for a new one, then named and sounded as said.
    start, end: ticks of the span it was written for. notes: the new ones. removed: (start, pitch) of the user's
    notes that it stands for; in the user's own clip they stay where they are.
    """

    track: int | None
    start: int
    end: int
    notes: tuple[Note, ...]
    removed: tuple[tuple[int, int], ...] = ()
    name: str = ""
    program: int = 0
    is_drum: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A candidate as it goes into a DAW: a number from 1, the name its clip gets, and its parts."""

    number: int
    label: str
    parts: tuple[Part, ...]


class Daw(Protocol):
    """One DAW that is running. Every method may raise a DawError, Closed first of all."""

    name: str
    capabilities: Capabilities

    def read(self, action: str) -> Selection:
        """What the user has selected, and the music around it. NothingSelected when there is nothing."""

    def write(
        self,
        selection: Selection,
        candidates: Sequence[Written],
        action: str,
        again: bool = False,
        whole: bool = True,
    ) -> None:
        """Put all candidates beside the user's notes in one undo step and show the first.

        again: where `capabilities.grows`, they take the place of what was written of them before, the one that is
        shown stays shown, and both writes are one undo step. whole: none of them will be written again.

        Raises Changed, with nothing written and nothing left of them, when the selection no longer is what was
        read; DawError when the user has taken them back.
        """

    def audition(self, number: int) -> None:
        """Show and sound one candidate of the last proposal, 0 for the user's own."""

    def accept(self) -> None:
        """Keep the candidate that is shown and drop the others, in one undo step."""

    def cancel(self) -> None:
        """Drop all candidates of the last proposal."""

    def undo(self) -> None:
        """The DAW's own undo, once."""

    def say(self, text: str, done: bool = True) -> None:
        """Show one line to the user where this DAW has a place for it. done: the request has ended with it."""


# --- Handshake ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """What a script says first."""

    daw: str
    daw_version: str
    script_version: str
    protocols: tuple[int, ...]
    capabilities: Capabilities


def read_hello(message: Mapping[str, Any]) -> Hello:
    """The script's first message. Incompatible when it is none."""
    try:
        return Hello(
            daw=str(message["daw"])[:40],
            daw_version=str(message.get("daw_version", ""))[:80],
            script_version=str(message["script_version"])[:40],
            protocols=tuple(int(number) for number in message["protocols"][:20]),
            capabilities=Capabilities.from_message(message.get("capabilities")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Incompatible("A DAW sent words that are no greeting", "Install its script again.") from None


def agree(hello: Hello, ours: Iterable[int] = PROTOCOLS) -> int:
    """The newest protocol that both sides know. Incompatible when there is none."""
    common = set(ours) & set(hello.protocols)
    if not common:
        raise Incompatible(
            f"The script in {hello.daw} is of another version ({hello.script_version}) than this program",
            f"Run descant daw install {hello.daw}, then start {hello.daw} again.",
        )
    return max(common)


# --- Stamps -------------------------------------------------------------------------------------------


def stamp(values: Iterable[int]) -> str:
    """A 64-bit FNV-1a hash of whole numbers, for scripts and DAWs written in Python.

    It notices an edit; it is no protection against somebody who looks for two sessions with one stamp.
    """
    state = 0xCBF29CE484222325
    for value in values:
        for byte in b"%d;" % value:
            state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{state:016x}"
