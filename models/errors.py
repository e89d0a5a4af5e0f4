"""The errors a user may see: one sentence that says what is wrong, and a hint that says what to do."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend. Shown as `message` and `hint`; the command exits with status 2."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class MidiError(UserError):
    """Bytes that are not a MIDI file, or that break a limit. `offset` is the byte where it was noticed."""

    def __init__(self, message: str, hint: str = "", offset: int = 0) -> None:
        super().__init__(f"{message} (byte {offset})", hint)
        self.offset = offset


class ControlError(UserError):
    """Controls that cannot hold together, or that name what the score does not have."""


class Cancelled(Exception):
    """The work was stopped on request; never shown as a failure."""
