"""A score as JSON: what a list says about it, and what a piano roll draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assistant.overview import bar_count, facts_of, track_name
from models.instruments import instrument_of
from models.score import Score

MOST_BARS = 20_000  # bar lines that are worth drawing
MOST_WARNINGS = 20


def score_facts(score: Score, warnings: Sequence[str]) -> dict[str, Any]:
    """The words of `descant info`, and numbers for other programs; bars and tracks count from 1."""
    return {
        **facts_of(score),
        "bars": bar_count(score),
        "seconds": round(score.seconds_at(score.end), 3),
        "bpm": round(score.tempo_at(0).bpm, 3),
        "tracks": [
            {
                "number": number,
                "name": track_name(track),
                "instrument": instrument_of(track.program, track.is_drum).name,
                "program": track.program + 1,
                "is_drum": track.is_drum,
                "notes": len(track.notes),
            }
            for number, track in enumerate(score.tracks, 1)
        ],
        "warnings": list(warnings[:MOST_WARNINGS]),
    }


def notes_of(score: Score) -> dict[str, Any]:
    """Notes as [start, pitch, duration, velocity] a track, in ticks; bars as [start, length, over, under]."""
    bars = [score.bar(index) for index in range(min(bar_count(score), MOST_BARS))]
    return {
        "ticks_per_quarter": score.ticks_per_quarter,
        "bars": [[bar.start, bar.length, bar.numerator, bar.denominator] for bar in bars],
        "tempos": [[tempo.tick, tempo.microseconds] for tempo in score.tempos],
        "tracks": [
            {
                "name": track_name(track),
                "program": track.program + 1,
                "is_drum": track.is_drum,
                "channel": track.channel + 1,
                "notes": [list(note[:4]) for note in track.notes],
            }
            for track in score.tracks
        ],
    }
