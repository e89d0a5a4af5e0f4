"""What was decided lasts: over a restart, over other weights, until it is taken back step by step."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from assistant.client import ServerError
from tests.builders import tiny_generator
from tests.served import command, environment, served

SMALL = {"bars": 1, "candidates": 3, "seed": 4}


def test_history_outlives_a_restart_and_the_weights(weights_folder: Path, tmp_path: Path, data_dir: Path) -> None:
    home, others, out = tmp_path / "home", tmp_path / "others", tmp_path / "out"
    others.mkdir()
    tiny_generator(others, seed=77)
    song = (data_dir / "piano-minuet.mid").read_bytes()

    with served(home, weights_folder) as server, server.client() as client:
        score = client.upload(song, "Minuet")
        first = client.propose(score.id, "continue", **SMALL)
        for number, verdict in ((1, "reject"), (2, "keep"), (3, "accept")):
            client.decide(first.id, number, verdict)
        accepted = client.session(score.session).score
        made = [client.candidate_midi(first.id, number) for number in (1, 2, 3)]
        again = server.ended(client, client.replay(first.id).id)
        assert [client.candidate_midi(again.id, number) for number in (1, 2, 3)] == made
        server.stop()

    # The same folder, and a network that the candidates are not of.
    with served(home, others) as server, server.client() as client:
        with pytest.raises(ServerError, match="other weights") as caught:  # at once, while they are still loaded
            client.replay(first.id)
        assert caught.value.hint
        server.wait_until_ready()
        with pytest.raises(ServerError, match="other weights"):
            client.replay(first.id)
        assert client.proposal(first.id).candidates[2].verdict == "accept"
        assert client.session(score.session).score == accepted
        assert [client.candidate_midi(first.id, number) for number in (1, 2, 3)] == made
        assert [client.undo(score.session).verdict for _ in range(3)] == ["accept", "keep", "reject"]
        assert client.session(score.session).score == score.id and client.score_midi(score.id) == song
        assert {candidate.verdict for candidate in client.proposal(first.id).candidates} == {None}
        anew = client.propose(score.id, "continue", **SMALL)
        assert anew.candidates[0].model_hash != first.candidates[0].model_hash
        server.stop()

    # With no server at all.
    done = subprocess.run(
        command("history", "export", str(first.id), "-o", str(out)),
        env=environment(home, others),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [Path(line).read_bytes() for line in done.stdout.splitlines()] == made
