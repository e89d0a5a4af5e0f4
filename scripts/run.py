"""Starts Descant from a clone: `python3 scripts/run.py ARGUMENTS` is `descant ARGUMENTS`, set up if need be.

The current folder stays what it was, so file names are meant as the user typed them.
"""

import os
import subprocess
import sys

from environment import SECONDS_TO_RUN, SECONDS_TO_TRAIN, Environment, SetupError


def main() -> int:
    environment = Environment()
    try:
        train = sys.argv[1:3] == ["style", "train"]
        extras: frozenset[str] = frozenset({"style"}) if train else frozenset()
        environment.ensure(extras, SECONDS_TO_TRAIN if train else SECONDS_TO_RUN)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    command = [str(environment.command("descant")), *sys.argv[1:]]
    if os.name == "nt":  # there exec returns to the prompt before the program has ended
        return subprocess.call(command)
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
