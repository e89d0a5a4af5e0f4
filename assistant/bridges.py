"""Answers the keys that a user presses inside a DAW: read the selection, ask, write the candidates beside it.

    script ── action ──► Bridges ── read ──► Selection ── words, Score ──► ask ──► Drafted ── write ──► script

Every key has a thread of its own, and one request runs a DAW at a time. A second key while one runs is told so,
cancel ends it, and a DAW that goes away ends it too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from assistant.daw_asking import Ask, Words
from integrations.base import ACTIONS, Closed, Daw, DawError, Part, Scale, Selection, Unsupported, Written
from integrations.links import FolderLink, SocketLink
from integrations.wire import Message, RemoteDaw
from models.errors import Cancelled, UserError
from models.score import Note, Score
from models.theory import MODES, Key

SOCKET_PORT = 8734
GROW_SECONDS = 0.8  # between two writes of candidates that grow
STOPPED = "Stopped; nothing was written."
DEFAULT_BARS = 4
DEFAULT_ADDED = "bass, drums"
_EARLY = 8  # a note up to an eighth of a bar before a bar line may belong to the bar it opens


def secret(token: str) -> str:
    """What scripts prove themselves with. It opens the bridges alone: a lost one is no way into the server."""
    return hmac.new(token.encode(), b"descant daw bridge", hashlib.sha256).hexdigest()


class Bridges:
    """Listens for DAWs from `start` to `close`. `connected` lists those that are there."""

    def __init__(self, folder: Path, token: str, ask: Ask, port: int = SOCKET_PORT) -> None:
        """folder: Descant's own; the watched folder is `daw` in it. port: of the socket, 0 for any free one."""
        self._folder = folder / "daw"
        self._secret = secret(token)
        self._ask = ask
        self._port = port
        self._desks: list[Desk] = []
        self._lock = threading.Lock()
        self._links: list[SocketLink | FolderLink] = []
        self.problems: list[UserError] = []

    @property
    def port(self) -> int:
        """The socket's port, 0 while there is none."""
        return next((link.port for link in self._links if isinstance(link, SocketLink)), 0)

    @property
    def connected(self) -> list[RemoteDaw]:
        with self._lock:
            return [desk.daw for desk in self._desks]

    def press(self, daw: str, action: str, options: Mapping[str, Any]) -> bool:
        """Do as if the user had pressed a key in a DAW; False where none of this name is there."""
        with self._lock:
            desks = [desk for desk in self._desks if desk.daw.name == daw]
        for desk in desks[:1]:
            desk.pressed({"action": action, "options": options})
        return bool(desks)

    def start(self) -> None:
        """Listen. What cannot be had (a port that is taken) is left out and told in `problems`."""
        for link in (
            lambda: FolderLink(self._folder, self._arrived),
            lambda: SocketLink(self._port, self._secret, self._arrived),
        ):
            try:
                self._links.append(link())
            except UserError as error:
                self.problems.append(error)

    def close(self) -> None:
        for link in self._links:
            link.close()
        with self._lock:
            desks = list(self._desks)
        for desk in desks:
            desk.cancel()
        self._links.clear()

    def _arrived(self, daw: RemoteDaw) -> None:
        desk = Desk(daw, self._ask)

        def left() -> None:
            desk.cancel()
            with self._lock, suppress(ValueError):
                self._desks.remove(desk)

        with self._lock:
            self._desks.append(desk)
        daw.conversation.on_close = left
        daw.conversation.on_action = desk.pressed
        if daw.conversation.closed:
            left()


class Desk:
    """One DAW and the request that runs for it, if any."""

    def __init__(self, daw: RemoteDaw, ask: Ask) -> None:
        self.daw = daw
        self._ask = ask
        self._keys: list[threading.Event] = []  # that are not answered yet, each with what stops it; the first runs
        self._lock = threading.Lock()  # of the keys, held for a moment
        self._word = threading.Lock()  # held while a key is refused or a request ends, until the user has been told

    def pressed(self, message: Message) -> None:
        """The user pressed a key; returns at once."""
        action, options = message.get("action"), message.get("options")
        if action == "cancel":
            if not self.cancel():  # what the user saw at work has ended since: its candidates are meant
                self._begin(self._drop)
        elif isinstance(action, str) and isinstance(options, Mapping | None):
            stop = threading.Event()
            with self._lock:
                self._keys.append(stop)  # here: a Cancel that follows at once must find it
            self._begin(self._answer, action, options or {}, stop)

    def cancel(self) -> bool:
        """Stop what runs; whether anything did."""
        with self._lock:
            for stop in self._keys:
                stop.set()
            return bool(self._keys)

    @staticmethod
    def _begin(work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, name="daw request", daemon=True).start()

    def _drop(self) -> None:
        with suppress(DawError), self._word:
            self.daw.cancel()

    def _answer(self, action: str, options: Message, stop: threading.Event) -> None:
        made, told = False, "Descant could not do it."
        with suppress(DawError):  # it has gone: nobody is there to be told
            with self._word:
                if self._keys[0] is not stop:
                    self._ended(stop)
                    self.daw.say("Descant is still at work; Cancel stops it.", done=False)
                    return
            try:
                made, told = self._propose(action, options, stop)
            finally:
                # Who hears of the end may press a key before our call has returned: it waits here, and is heard.
                with self._word:
                    if self._ended(stop) and made:
                        told = STOPPED
                        with suppress(DawError):
                            self.daw.cancel()
                    self.daw.say(told)

    def _ended(self, stop: threading.Event) -> bool:
        """A key is answered; whether it was cancelled before."""
        with self._lock:
            self._keys.remove(stop)
            return stop.is_set()

    def _propose(self, action: str, options: Message, stop: threading.Event) -> tuple[bool, str]:
        """Do what a key asks for: whether candidates are there now, and what the user is told."""
        try:
            self.daw.say("Descant is writing ...", done=False)
            made = propose_to(self.daw, action, options, self._ask, stop.is_set)
        except Cancelled:
            return False, STOPPED
        except UserError as error:
            return False, f"{error.message}. {error.hint}"
        told = f"{made.candidates} candidates. Next and Previous show them, Accept keeps one."
        return True, f"{told} {made.remark}" if made.remark else told


# --- From a key to candidates -------------------------------------------------------------------------


class Proposed(NamedTuple):
    """How many candidates were written, and a sentence for the user where there is something to know."""

    candidates: int
    remark: str = ""


def propose_to(
    daw: Daw, action: str, options: Message, ask: Ask, cancelled: Callable[[], bool] = lambda: False
) -> Proposed:
    """Read what is selected, have candidates made, write them beside it, as they grow where the DAW can do that.

    options: further words of the request (bars, candidates, key, text ...). Raises UserError (DawError from the
    DAW) or Cancelled; nothing of the candidates is in the DAW then.
    """
    if action not in ACTIONS:
        raise UserError(f'There is no action "{action[:40]}"', f"The actions are {', '.join(ACTIONS)}.")
    if action == "sketch" and not daw.capabilities.sketch:
        hint = "Sketch on the page of descant serve, and drag the tracks from there."
        raise Unsupported(f"The script in {daw.name} takes no sketches", hint)
    selection = daw.read(action)
    asked = request_words(selection, action, options)
    written, next_write = 0, 0.0
    try:
        for drafted in ask(selection.score, asked.words, cancelled):
            if cancelled():
                raise Cancelled
            if drafted.complete or (daw.capabilities.grows and time.monotonic() >= next_write):
                candidates = candidates_of(selection, drafted.scores, asked)
                if candidates or drafted.complete:
                    daw.write(selection, candidates, action, again=written > 0, whole=drafted.complete)
                    written = len(candidates)
                    next_write = time.monotonic() + GROW_SECONDS
    except Closed:
        raise  # nobody is there who could take anything away
    except (UserError, Cancelled) as error:
        if written and not isinstance(error, DawError):
            daw.cancel()
        raise
    return Proposed(written, asked.remark)


class Asked(NamedTuple):
    """A request: its words, the bars that it fills (last is -1: as many as there will be), a remark on it."""

    words: Words
    first: int
    last: int
    remark: str = ""


def request_words(selection: Selection, action: str, options: Message) -> Asked:
    words: Words = {name: value for name, value in options.items() if name not in ("use_scale", "operation")}
    bars, added, text = (words.pop(name, None) for name in ("bars", "add", "text"))
    key = key_of(selection.scale) if options.get("use_scale", True) and "key" not in words else None
    if action == "sketch":
        return _sketch_words(selection, words, text, key)
    if key:
        words["key"] = key.name
    first, last = selection.bars
    if action == "accompany":
        return Asked({"operation": "accompany", "add": added or DEFAULT_ADDED, **words}, 0, -1)
    if action == "continue":
        if type(bars) is not int:
            bars = DEFAULT_BARS
        _check_sounding(selection)
        first, last = last + 1, last + bars
    tracks = ",".join(str(track + 1) for track in selection.tracks)
    return Asked({"operation": "fill", "tracks": tracks, "bars": f"{first + 1}-{last + 1}", **words}, first, last)


def _sketch_words(selection: Selection, words: Words, text: Any, key: Key | None) -> Asked:
    """A sketch in the song's tempo, whatever its words say, and in its meter and key where they say none."""
    from models.text.brief import FASTEST, SLOWEST
    from models.text.reading import understand

    if not isinstance(text, str) or not text.strip():
        raise UserError("A sketch needs words", 'For example: "slow blues in A, 12 bars, piano and bass".')
    brief, remarks = understand(text), []
    bar, tempo = selection.score.bar_at(selection.start), selection.score.tempo_at(selection.start).bpm
    meter = (bar.numerator, bar.denominator)
    if "tempo" in brief.said and round(brief.tempo) != round(tempo):
        remarks.append(f"The song's {tempo:.4g} bpm hold, not {brief.tempo:.4g}.")
    if "meter" not in brief.said:
        brief = replace(brief, meter=meter)
    elif brief.meter != meter:
        remarks.append("It is in {}/{}, as the words say; the song is in {}/{} there.".format(*brief.meter, *meter))
    if key and "key" not in brief.said and "key" not in words:
        brief = replace(brief, key=key.name)
    brief = replace(brief, tempo=min(FASTEST, max(SLOWEST, tempo)))
    return Asked({"operation": "sketch", "brief": json.loads(brief.to_json()), **words}, 0, -1, " ".join(remarks))


def _check_sounding(selection: Selection) -> None:
    last = selection.bars[1]
    start = selection.score.bar(last).start
    if not any(start <= note.start or note.end > start for track in selection.score.tracks for note in track.notes):
        hint = "Select only as far as the music goes, or fill the empty bars."
        raise UserError("The selection ends in silence, so there is nothing to go on from", hint)


def key_of(scale: Scale | None) -> Key | None:
    """The key that has exactly a DAW's scale; None where there is none, and then nothing is locked."""
    if scale is None:
        return None
    return next(
        (key for mode in MODES if (key := Key(scale.root, mode)).pitch_classes == scale.pitch_classes), None
    )


def candidates_of(selection: Selection, scores: Sequence[Score], asked: Asked) -> list[Written]:
    """What a DAW is to write of some candidates. All of them have the same parts over the same span."""
    end_bar = asked.last
    if asked.last < 0:
        end_bar = max([asked.first, *(made.bar_at(max(0, made.end - 1)).index for made in scores)])
    return [
        Written(number, f"Descant {number}", parts_of(selection, made, asked.first, end_bar, asked.last < 0))
        for number, made in enumerate(scores, 1)
    ]


def parts_of(selection: Selection, made: Score, first: int, last: int, only_new: bool) -> tuple[Part, ...]:
    """What a candidate adds to the selection's score and what it leaves out, track by track.

    first, last: the bars it was asked for. only_new: it has new tracks alone. Nothing outside these bars, and no
    track that was not selected, is ever touched.
    """
    bar = made.bar(first)
    start, end = bar.start, made.bar(last).end
    early = start - (bar.length // _EARLY if first else 0)
    parts = []
    for index in () if only_new else selection.tracks:
        before, after = selection.score.tracks[index].notes, made.tracks[index].notes
        new, gone = _difference(after, before), _difference(before, after)
        if any(not early <= note.start < end for note in (*new, *gone)):
            raise UserError("A candidate would change bars that were not asked for", "Please report this.")
        # What leads into the first bar goes with it: a clip cannot hold a note before its start.
        new = [_within(note, start, end) for note in new]
        parts.append(Part(index, start, end, tuple(sorted(new)), tuple((note.start, note.pitch) for note in gone)))
    for track in made.tracks[len(selection.score.tracks) :]:
        notes = tuple(_within(note, start, end) for note in track.notes)
        parts.append(Part(None, start, end, notes, (), track.name, track.program, track.is_drum))
    return tuple(parts)


def _difference(some: Sequence[Note], others: Sequence[Note]) -> list[Note]:
    rest = Counter(note[:4] for note in some)
    rest.subtract(Counter(note[:4] for note in others))
    return sorted(Note(*note) for note, times in rest.items() for _ in range(times))


def _within(note: Note, start: int, end: int) -> Note:
    begin = max(start, note.start)
    return note._replace(start=begin, duration=max(1, min(note.end, end) - begin))
