"""Live MIDI: ports, a followed clock, a player that keeps time, and a guard that leaves no note sounding.

    Live (live.py) ── pipe ── note guard (guard.py, owns the ports) ── pipe ── player (player.py, owns time)
      │                          └ ledger of sounding notes, a memory-mapped file
      └ capture, answers: what was played, and what is played back

The guard and the player are processes of their own, so that neither the network's arithmetic nor a crash of
one of them makes a note late or leaves it hanging. They speak length-prefixed messages (wire.py).
"""
