"""The guard's process, kept alive: started, heard, watched, and started again when it is gone or stands still."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from assistant.live.guard import be_quick
from assistant.live.wire import Sender, pack_json, read

ROOT = Path(__file__).resolve().parents[2]
SILENT_SECONDS = 5.0  # without a word from the guard: it hangs
LOADING_SECONDS = 30.0  # more than that until its first word, on a computer that is busy
RETRY_SECONDS = 1.0  # while there are no ports to be had
END_SECONDS = 3.0


class Processes:
    """The guard, which has the player. `hear` is told every message; `wanted` is asked at each start what to open.

    ledger: the file of sounding notes, the same for every guard.
    """

    def __init__(
        self, ledger: Path, wanted: Callable[[], dict[str, Any]], hear: Callable[[bytes, bytes], None]
    ) -> None:
        self._ledger, self._wanted, self._hear = ledger, wanted, hear
        self._guard: subprocess.Popen[bytes] | None = None
        self._spare: subprocess.Popen[bytes] | None = (
            None  # loaded and waiting, so that a new guard is there at once
        )
        self._sender: Sender | None = None
        self._heard = 0.0
        self._closing = False
        self._failing = False

    def start(self) -> None:
        for work in (self._keep, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def tell_guard(self, **command: Any) -> None:
        if self._sender is not None:
            self._sender.send(pack_json(b"G", command))

    def tell_player(self, **command: Any) -> None:
        if self._sender is not None:
            self._sender.send(pack_json(b"P", command))

    def give_up(self) -> None:
        """Start no other guard."""
        self._closing = True

    def failed(self) -> None:
        """The guard that runs could not open its ports: wait a while before the next one."""
        self._failing = True

    def close(self) -> None:
        """End the guard, which releases every note and ends the player."""
        self._closing = True
        if self._sender is not None:
            self._sender.close(0.5)
        if self._guard is not None:
            try:
                self._guard.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait()
        if self._spare is not None:
            self._spare.kill()
            self._spare.communicate()

    def _keep(self) -> None:
        while not self._closing:
            guard, self._spare = self._spare or self._spawn(), None
            sender = Sender(cast(BinaryIO, guard.stdin))
            events = cast(BinaryIO, guard.stdout)
            sender.send(pack_json(b"G", self._wanted()))
            self._heard, self._failing = time.perf_counter() + LOADING_SECONDS, False
            self._guard, self._sender = guard, sender
            while (message := read(events)) is not None:
                self._heard = time.perf_counter()
                with suppress(ValueError, KeyError):
                    self._hear(*message)
                if self._spare is None and not self._failing and not self._closing:
                    self._spare = self._spawn()
            guard.kill()
            guard.wait()
            sender.close(0.1)
            events.close()
            if self._failing and not self._closing:
                time.sleep(RETRY_SECONDS)
        if self._spare is not None:
            self._spare.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "assistant.live.guard", str(self._ledger)]
        environment = {**os.environ, "PYTHONPATH": path}
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        be_quick(guard.pid)  # while it loads, too
        return guard

    def _watch(self) -> None:
        """A guard that stands still is ended; the ledger tells the next one what sounds."""
        looked = time.perf_counter()
        while not self._closing:
            time.sleep(SILENT_SECONDS / 4)
            self.tell_guard(do="figures", asked=False)
            stood, looked = time.perf_counter() - looked > SILENT_SECONDS / 2, time.perf_counter()
            hangs = looked - self._heard > SILENT_SECONDS and not stood  # if it was us, the guard may be well
            if hangs and self._guard is not None:
                self._guard.kill()
