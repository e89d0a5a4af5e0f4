"""A watched folder, for every DAW that has no script: `descant daw watch FOLDER`.

    FOLDER/song.mid             dropped there ──► FOLDER/song - Descant 1.mid, 2.mid ... beside it
    FOLDER/accompany/song.mid   the folder's name is what to do; without one, it is continued

The server makes the candidates. A file that cannot be read is answered by `song - Descant.txt`, which says why.
Nothing that lies there is ever changed, and what lay there at the start is left alone.
"""

from __future__ import annotations

import os
import re
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.bridges import DEFAULT_ADDED, DEFAULT_BARS
from assistant.outputs import MIDI_SUFFIXES, write_all
from models.errors import UserError

if TYPE_CHECKING:
    from assistant.client import Client

POLL_SECONDS = 0.4  # a file that has not changed from one look to the next is whole
MOST_BYTES = 10 << 20  # as the server takes
OPERATIONS = ("continue", "accompany", "vary", "humanise", "harmonise", "drumify")
MADE = ("continue", "accompany", "vary")  # folders that are there from the start
OURS = re.compile(r" - Descant( \d+)?$")
State = tuple[int, int]  # when a file was changed, and its size


class WatchedFolder:
    """What has been dropped into a folder, and the answers beside it."""

    def __init__(
        self, folder: Path, words: Mapping[str, Any], whole: bool = False, tell: Callable[[str], None] = print
    ) -> None:
        """words: of every request, as far as it has them. whole: candidates with the music they were made for.

        Raises UserError where there is no such folder.
        """
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}", "Make it first.")
        self.folder, self._words, self._whole, self._tell = folder, dict(words), whole, tell
        self._session = 0
        try:
            for name in MADE:
                (folder / name).mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot write in {folder}: {error.strerror}", "Choose another folder.") from error
        self._done: dict[Path, State] = dict(self._files())
        self._seen: dict[Path, State] = {}

    def dropped(self) -> list[Path]:
        """The files that are new or changed, and whole."""
        now = dict(self._files())
        new = [path for path, state in now.items() if self._done.get(path) != state]
        ready = [path for path in new if self._seen.get(path) == now[path] and now[path][1]]
        self._seen = now
        return sorted(ready)

    def answer(self, path: Path, client: Client) -> list[Path]:
        """Have candidates made for a file and write them beside it; what was written. UserError leaves nothing.

        A file is answered once, however that ends.
        """
        self._done[path] = self._seen[path]
        note = path.with_name(f"{path.stem} - Descant.txt")
        with suppress(FileNotFoundError):
            note.unlink()
        try:
            return self._written(path, client)
        except UserError as error:
            with suppress(OSError):
                note.write_text(f"{error.message}. {error.hint}\n", encoding="utf-8")
            raise

    def _written(self, path: Path, client: Client) -> list[Path]:
        if self._seen[path][1] > MOST_BYTES:
            raise UserError(f"{path.name} has more than {MOST_BYTES >> 20} MB", "Export fewer bars.")
        operation = path.parent.name if path.parent != self.folder else "continue"
        words = {"bars": DEFAULT_BARS, "add": DEFAULT_ADDED, **self._words}
        for name, owner in (("bars", "continue"), ("add", "accompany")):
            if operation != owner:
                del words[name]
        if not self._session:
            self._session = client.add_session(f"From the folder {self.folder.name}").id
        score = client.upload(path.read_bytes(), path.stem, self._session)
        made = client.propose(score.id, operation, **words)
        midis = [client.candidate_midi(made.id, one.number, not self._whole) for one in made.candidates]
        names = _free_names(path, len(midis))
        # Made under a name that no DAW shows, then renamed: nobody finds half a file.
        write_all([(name, partial(_write, midi)) for name, midi in zip(names, midis, strict=True)], force=False)
        return names

    def watch(self, connect: Callable[[], Client], stopped: Callable[[], bool] = lambda: False) -> None:
        """Answer whatever is dropped until `stopped()`. While no server runs, files wait for one."""
        waiting = False
        while not stopped():
            ready = self.dropped()
            if ready:
                try:
                    client = connect()
                except UserError as error:
                    if not waiting:
                        self._tell(f"{error.message}. {error.hint}; until then, files wait")
                    waiting = True
                else:
                    waiting = False
                    with client:
                        for path in ready:
                            self._answer_and_tell(path, client)
            time.sleep(POLL_SECONDS)

    def _answer_and_tell(self, path: Path, client: Client) -> None:
        try:
            made = self.answer(path, client)
        except UserError as error:
            self._tell(f"{path.name}: {error.message}. {error.hint}")
        except OSError as error:
            self._tell(f"{path.name}: {error.strerror or error}")
        else:
            self._tell(f"{path.name}: {len(made)} candidates beside it")

    def _files(self) -> Iterator[tuple[Path, State]]:
        folders = [self.folder, *(self.folder / name for name in OPERATIONS)]
        for folder in folders:
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    wanted = path.suffix.lower() in MIDI_SUFFIXES and not OURS.search(path.stem)
                    if wanted and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        found = entry.stat(follow_symlinks=False)
                        yield path, (found.st_mtime_ns, found.st_size)


def _free_names(path: Path, count: int) -> list[Path]:
    """Names beside a file whose numbers go on after those that are taken."""
    stem = f"{path.stem} - Descant "
    taken = [0]
    for other in path.parent.iterdir():
        if other.stem.startswith(stem) and (number := other.stem.removeprefix(stem)).isdecimal():
            taken.append(int(number))
    return [path.with_name(f"{stem}{max(taken) + number}.mid") for number in range(1, count + 1)]


def _write(midi: bytes, path: Path) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    try:
        draft.write_bytes(midi)
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise UserError(f"Cannot write {path}: {error.strerror}", "Make room, or choose another folder.") from error


def run(arguments: Namespace) -> None:
    """`descant daw watch`, until Ctrl-C."""
    from assistant.client import connect

    words = {name: getattr(arguments, name) for name in ("bars", "candidates", "key", "add")}
    given = {name: value for name, value in words.items() if value is not None}
    watched = WatchedFolder(arguments.folder, given, arguments.whole, partial(print, flush=True))
    print(f"Drop MIDI files into {arguments.folder}; Ctrl-C ends it.", flush=True)
    for name in MADE:
        print(f"  {name}/ is for files to {name}", flush=True)
    with suppress(KeyboardInterrupt):
        watched.watch(connect)
