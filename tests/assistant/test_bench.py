"""`descant bench`: what it says of a process is that process's own."""

import subprocess
import sys

from assistant.bench import Bar, Line, _environment, memory_used, table
from models.architecture import SIZES
from models.training.peer import sharing


def test_memory_is_the_programs_own() -> None:
    held = b"x" * 400_000_000
    code = "from assistant.bench import memory_used; print(memory_used())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=_environment()
    )
    assert 10 < float(done.stdout) < 300
    assert memory_used() > len(held) / 1e6


def test_a_table_has_a_row_for_every_figure_and_every_bar() -> None:
    lines = [Line("notes", "1/s", True, (1.0, 4.0, 2.0)), Line("memory", "MB", False, (5.0,))]
    rows = table("small", lines, [Bar("memory", "600 MB", "5 MB", True)]).splitlines()
    assert rows[0] == "small"
    assert rows[3].split() == ["notes", "1/s", "1.0", "2.0", "4.0", "1.5", "3"]
    assert rows[4].split() == ["memory", "MB", "5.0", "5.0", "5.0", "0.0", "1"]
    assert rows[-1].split() == ["memory", "600", "MB", "5", "MB", "yes"]


def test_a_peer_of_every_size_has_heads_that_share_its_width() -> None:
    for config in SIZES.values():
        heads = sharing(config.width, config.heads)
        assert 1 <= heads <= config.heads and config.width % heads == 0 and config.width // heads % 2 == 0
    assert sharing(640, 6) == 5 and sharing(192, 4) == 4
