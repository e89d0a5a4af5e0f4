"""The engine's own process: `python -P -m assistant.worker`. It owns the weights and makes one request at a time.

Messages go both ways as a length of four bytes and that much JSON, never anything that could hold code:

    in    {"do": "propose", "job": 7, "words": {...}, "midi": BASE64 or null}    {"do": "cancel", "job": 7}
          {"do": "propose", "job": 7, "request": what plain.py makes of a Request, "warm": whether only to read
          what that builds on; then the request may be null}
    out   {"type": "ready", "model_hash": ...}, then for every job: request, notes ..., candidate ... (or
          written ...), and one of done, cancelled, failed

Two threads: one reads, so that a cancel is seen at once and the process ends with the server; one works.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, BinaryIO, cast

MAX_MESSAGE = 1 << 30  # bytes; a candidate of the largest piece has some 30 MB
FAULT_HINT = "Please report it with this line and what you asked for; DESCANT_DEBUG=1 tells more."

Message = dict[str, Any]


def read_message(stream: BinaryIO) -> Message | None:
    """The next message; None at the end of the stream."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    body = stream.read(int.from_bytes(head, "big"))
    message: Message = json.loads(body)
    return message


def pack(message: Message) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


class Worker:
    """Reads from and writes to two byte streams."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._jobs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stopped: set[int] = set()  # jobs that were called off

    def run(self) -> None:
        """Work until the process is ended from outside."""
        threading.Thread(target=self._read, daemon=True).start()
        if self._load():
            while True:
                self._work(self._jobs.get())

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            while message := read_message(self._source):
                if message["do"] == "cancel":
                    self._stopped.add(message["job"])
                else:
                    self._jobs.put(message)
        os._exit(0)  # the server is gone; whatever is being made has nobody to go to

    def _send(self, message: Message) -> None:
        try:
            self._sink.write(pack(message))
            self._sink.flush()
        except OSError:
            os._exit(0)

    def _load(self) -> bool:
        """Load the weights; False after a report of what is wrong with them."""
        from assistant.pipeline import load_generator

        try:
            self._generator = load_generator()
        except Exception as error:
            self._send({"type": "broken", "error": _explain(error)})
            return False
        self._send({"type": "ready", "model_hash": self._generator.model_hash})
        return True

    def _work(self, message: Message) -> None:
        from models.errors import Cancelled

        job = message["job"]
        try:
            self._propose(job, message)
            self._send({"type": "done", "job": job})
        except Cancelled:
            self._send({"type": "cancelled", "job": job})
        except Exception as error:
            self._send({"type": "failed", "job": job, "error": _explain(error)})
        finally:
            self._stopped.discard(job)

    def _propose(self, job: int, message: Message) -> None:
        from models.generators import Progress
        from models.score import Note

        def cancelled() -> bool:
            return job in self._stopped

        def listen(progress: Progress, notes: list[tuple[int, Note]]) -> None:
            self._send(
                {
                    "type": "notes",
                    "job": job,
                    "candidate": progress.candidate + 1,
                    "done": progress.done,
                    "total": progress.total,
                    "notes": [(track + 1, *note[:4]) for track, note in notes],
                }
            )

        def understood(request: Message) -> None:
            self._send({"type": "request", "job": job, "request": request})

        if "request" in message:
            if message.get("warm"):
                self._read_ahead(message["request"])
            else:
                self._write(job, message["request"], cancelled)
            return
        from assistant.answering import answers

        midi = b64decode(message["midi"]) if message["midi"] else None
        for answer in answers(message["words"], midi, self._generator, understood, listen, cancelled):
            midis = {name: b64encode(getattr(answer, name)).decode() for name in ("midi", "new_midi")}
            self._send(
                {"type": "candidate", "job": job, "number": answer.number, "facts": dict(answer.facts), **midis}
            )

    def _read_ahead(self, request: Any) -> None:
        from assistant.pipeline import warm
        from assistant.plain import from_plain

        if request is not None:
            warm(from_plain(request), self._generator)

    def _write(self, job: int, request: Any, cancelled: Callable[[], bool]) -> None:
        """A request of the pipeline's own kind, answered in kind: what live playing asks for."""
        from assistant.pipeline import propose
        from assistant.plain import from_plain, to_plain

        asked = from_plain(request)
        for candidate in propose(asked, self._generator, cancelled=cancelled):
            without = replace(candidate, request=cast(Any, None))  # the asker has it
            self._send({"type": "written", "job": job, "candidate": to_plain(without)})


def _explain(error: Exception) -> dict[str, str]:
    from models.errors import UserError

    if isinstance(error, UserError):
        return {"message": error.message, "hint": error.hint}
    if os.environ.get("DESCANT_DEBUG") == "1":
        traceback.print_exc()
    if isinstance(error, MemoryError):
        return {"message": "There is not enough memory for this", "hint": "Ask for fewer bars, or a shorter piece."}
    return {"message": f"This should not have happened: {type(error).__name__}: {error}", "hint": FAULT_HINT}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server too, which ends this process
    # Nothing that prints may get between the messages.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    Worker(sys.stdin.buffer, sink).run()


if __name__ == "__main__":
    main()
