"""Knows music and networks: scores, their files, and the generators that write new notes."""

import os

# One thread by default: two collapse as soon as a DAW keeps the cores busy, and results stay the same from
# machine to machine of a kind. NumPy's libraries read these when they are first loaded, so they stand here.
for _variable in ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_variable, "1")
