"""How Descant plays along, as a musician sets it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import NamedTuple

from models.errors import UserError

MOST_ANSWER_BARS = 64
SLOWEST, FASTEST = 20.0, 400.0  # bpm
APIS = ("auto", "alsa", "jack", "coremidi", "windows")
SYNCS = ("auto", "clock", "own", "link")
VERBS = ("continue", "answer", "accompany", "stop", "panic")
POSITION_TICKS = {"sixteenths": 6, "clocks": 1}  # clock messages in a step of the song position pointer


class Trigger(NamedTuple):
    """A key (kind "note"), pedal or controller ("cc") that does something when it goes down. None: any channel."""

    kind: str
    number: int
    verb: str
    channel: int | None = None

    def fits(self, data: bytes) -> bool:
        kind = {"note": 0x90, "cc": 0xB0}[self.kind]
        return (
            data[0] & 0xF0 == kind
            and data[1] == self.number
            and self.channel in (None, data[0] & 15)
            and data[2] >= (1 if kind == 0x90 else 64)
        )

    def belongs(self, data: bytes) -> bool:
        """Whether a message is this trigger's, pressed or let go; it is not part of the music."""
        kinds = {"note": (0x80, 0x90), "cc": (0xB0,)}[self.kind]
        return data[0] & 0xF0 in kinds and data[1] == self.number and self.channel in (None, data[0] & 15)


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How Descant plays along.

    inputs, outputs: parts of names of further ports. sync: who leads; "auto" is MIDI clock when it comes, else
    our own transport. bpm: of our own. meter: of both, since MIDI clock carries none. quantum: "bar" or "beat",
    where a proposal may begin. offset_ms: sent so much earlier. count_in: bars of clicks before our own starts.
    song_position: what the song position pointer counts; sixteenth notes by the standard, "clocks" in Ardour 7.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    api: str = "auto"
    sync: str = "auto"
    bpm: float = 120.0
    meter: tuple[int, int] = (4, 4)
    quantum: str = "bar"
    offset_ms: float = 0.0
    count_in: int = 0
    song_position: str = "sixteenths"
    triggers: tuple[Trigger, ...] = ()

    def check(self) -> None:
        """Raise UserError for what makes no sense."""
        if self.api not in APIS:
            raise UserError(f'There is no MIDI system "{self.api}"', f"Choose one of {', '.join(APIS)}.")
        if self.sync not in SYNCS:
            raise UserError(f'Nothing can lead that is called "{self.sync}"', f"Choose one of {', '.join(SYNCS)}.")
        if self.sync == "link" and importlib.util.find_spec("aalink") is None:
            raise UserError(
                "Ableton Link needs the package aalink", 'Install it with `pip install "descant[link]"`.'
            )
        if not SLOWEST <= self.bpm <= FASTEST:
            raise UserError(f"{self.bpm:g} bpm is out of reach", f"Choose {SLOWEST:g} to {FASTEST:g}.")
        if not (1 <= self.meter[0] <= 32 and self.meter[1] in (1, 2, 4, 8, 16, 32)):
            raise UserError(f"There is no meter {self.meter[0]}/{self.meter[1]}", "Write one like 4/4 or 7/8.")
        if self.quantum not in ("bar", "beat"):
            raise UserError(f'A proposal cannot begin on a "{self.quantum}"', "Choose bar or beat.")
        if not -500 <= self.offset_ms <= 500:
            raise UserError(f"An offset of {self.offset_ms:g} ms is too much", "Choose -500 to 500.")
        if not 0 <= self.count_in <= 8:
            raise UserError(f"{self.count_in} bars of count-in are too many", "Choose 0 to 8.")
        if self.song_position not in POSITION_TICKS:
            raise UserError(
                f'A song position is not counted in "{self.song_position}"', "Choose sixteenths or clocks."
            )
        for trigger in self.triggers:
            if trigger.kind not in ("note", "cc") or not 0 <= trigger.number <= 127 or trigger.verb not in VERBS:
                raise UserError(f"There is no trigger {tuple(trigger)}", f"It does one of {', '.join(VERBS)}.")

    @property
    def bar_beats(self) -> float:
        return 4 * self.meter[0] / self.meter[1]
