"""`descant history`: what was asked through the server, read from the file it keeps, whether it runs or not."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

from assistant.outputs import check_outputs, write_all
from assistant.overview import counted, printable
from assistant.session import History, ProposalInfo
from assistant.settings import home
from models.errors import UserError
from models.midi_file import read_midi, save_midi

_SAID = {"accept": "accepted", "keep": "kept", "reject": "rejected"}


def listing() -> list[str]:
    """A line a request, the newest first."""
    history = History(home(), read_only=True)
    try:
        found = history.proposals()
        lines = [_line(history, proposal) for proposal in found]
    finally:
        history.close()
    return lines or ["nothing was asked yet"]


def show(number: int) -> list[str]:
    """One request with its candidates."""
    history = History(home(), read_only=True)
    try:
        proposal = history.proposal(number)
        lines = [_line(history, proposal)]
    finally:
        history.close()
    words = {name: value for name, value in (proposal.request or proposal.words).items() if value is not None}
    lines += [f"  {name:14} {_plain(value)}" for name, value in words.items()]
    if proposal.error:
        lines.append(f"  {proposal.error['message']}")
    for candidate in proposal.candidates:
        broken = f", but {'; '.join(candidate.violations)}" if candidate.violations else ""
        verdict = f", {_SAID[candidate.verdict]}" if candidate.verdict else ""
        lines.append(f"  candidate {candidate.number}: {counted(candidate.notes, 'note')}{verdict}{broken}")
    return lines


def export(number: int, folder: Path, force: bool) -> None:
    """Write a request's candidates into a folder, which is made where it is missing."""
    history = History(home(), read_only=True)
    try:
        proposal = history.proposal(number)
        files = {c.number: history.candidate_midi(number, c.number) for c in proposal.candidates}
        name = _title(history, proposal)
    finally:
        history.close()
    if not files:
        raise UserError(f"Request {number} has no candidates", "`descant history` says how each request ended.")
    stem = "".join("_" if char in '/\\:*?"<>|' else char for char in name).strip(" .")[:80] or "candidate"
    paths = [folder / f"{stem} {number}-{candidate}.mid" for candidate in files]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {folder}: {error.strerror}", "Choose another with -o.") from error
    check_outputs(paths, folder, force)
    scores = [read_midi(midi).score for midi in files.values()]
    writers = [(path, partial(save_midi, score)) for path, score in zip(paths, scores, strict=True)]
    write_all(writers, force)
    for path in paths:
        print(path)


def _title(history: History, proposal: ProposalInfo) -> str:
    return printable(history.score(proposal.score).name) if proposal.score is not None else ""


def _line(history: History, proposal: ProposalInfo) -> str:
    when = datetime.fromtimestamp(proposal.created).strftime("%Y-%m-%d %H:%M")
    what = f"{proposal.words.get('operation')} {_title(history, proposal)}"
    verdicts = [f"{c.number} {_SAID[c.verdict]}" for c in proposal.candidates if c.verdict]
    ended = ", ".join([counted(len(proposal.candidates), "candidate"), *verdicts])
    return f"{proposal.id:5}  {when}  {what}: {ended if proposal.state == 'done' else proposal.state}"


def _plain(value: object) -> str:
    return printable(", ".join(map(str, value)) if isinstance(value, list) else str(value))
