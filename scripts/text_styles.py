"""One sketch of every style, held against what the style is known for: drums, tempo, meter, bass and density.

What a style is known for is said here anew, as where in the bar its drums must strike; genres.toml is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.generators import Generator
from models.score import Score
from models.text.genres import styles
from models.text.reading import understand
from models.theory import parse_key
from text_music import bass_figures, drum_figures, line_figures, melody_of

KICK, SNARE, CLAVE, HAT = (35, 36), (38, 40, 37, 39), (75, 37), (42, 46, 51, 59, 82, 70, 54)
# Strokes that must be there: voice -> sixteenths of the bar (of two bars where one is 16 or more).
Strokes = dict[tuple[int, ...], tuple[int, ...]]
FOUR: Strokes = {KICK: (0, 4, 8, 12)}
BACK: Strokes = {SNARE: (4, 12)}
HALF: Strokes = {SNARE: (8,)}
SIGNATURES: dict[str, Strokes] = {
    **dict.fromkeys(("techno", "house", "trance", "disco", "edm", "synthwave"), FOUR),
    **dict.fromkeys(("pop", "rock", "grunge", "funk", "soul", "gospel", "motown", "krautrock", "hip hop",
    "drum and bass", "breakbeat", "uk garage", "surf rock", "blues", "rock and roll", "metal"), BACK),
    **dict.fromkeys(("trap", "dubstep"), HALF),
    "bossa nova": {CLAVE: (0, 6, 12, 20, 26)},
    "salsa": {CLAVE: (0, 6, 12, 20, 24)},
    "reggae": {KICK: (8,)},
    "reggaeton": {KICK: (0, 4, 8, 12), SNARE: (3, 6, 11, 14)},
    "ska": BACK | {HAT: (2, 6, 10, 14)},
    "samba": {(43, 41, 45): (4,)},
    "polka": {KICK: (0, 8), SNARE: (4, 12)},
    "march": {KICK: (0, 8)},
    "jazz": {(51, 59): (0, 4, 8, 12), (44, 42): (4, 12)},
    "bebop": {(51, 59): (0, 4, 8, 12), (44, 42): (4, 12)},
    "waltz": {SNARE + (42, 44): (4, 8)},
}  # fmt: skip
SWUNG = ("jazz", "bebop", "blues", "big band", "lo-fi", "rock and roll", "boogie woogie", "jazz waltz")
NO_DRUMS = ("ambient", "classical", "romantic", "baroque", "choral", "ragtime", "minimalism")
BASS_FROM, BASS_TO = 23, 60  # B0 to C4: where a bass is to stand


def signature(score: Score, strokes: Strokes) -> float:
    """Share of the bars, fills and the last bar left out, in which all strokes of a signature are there."""
    cell = score.ticks_per_quarter / 4
    heard: set[tuple[int, int, int]] = set()
    drums = [note for track in score.tracks if track.is_drum for note in track.notes]
    for note in drums:
        bar = score.bar_at(note.start)
        inside = (note.start - bar.start) / cell
        beat, rest = divmod(inside, 4)
        straight = round(2 if abs(rest - 8 / 3) < 0.2 else rest)  # swung eighths stand for straight ones
        heard.add((bar.index, round(4 * beat) + straight, note.pitch))
    last = max((number for number, _, _ in heard), default=0)
    numbers = [number for number in range(last) if (number + 1) % 4]
    right = 0
    for number in numbers:
        wanted = [
            (place % 16, keys)
            for keys, places in strokes.items()
            for place in places
            if max(places) < 16 or place // 16 == number % 2
        ]
        right += all(any((number, place, key) in heard for key in keys) for place, keys in wanted)
    return right / max(1, len(numbers))


def row_of(name: str, score: Score, brief_key: str) -> dict[str, Any]:
    """The facts of one sketch."""
    genre = styles().genres[name]
    bar = score.bar(0)
    drums, bass, melody = drum_figures(score), bass_figures(score), melody_of(score)
    line = line_figures(score, melody) if melody else {}
    notes = [note for track in score.tracks if not track.is_drum for note in track.notes]
    count = score.bar_at(max((n.start for t in score.tracks for n in t.notes), default=0)).index + 1
    swung = drums.get("triplets", 0.0) > 0.1
    bpm = score.tempo_at(0).bpm
    return {
        "bpm": round(bpm),
        "tempo": genre.tempo[0] - 0.5 <= bpm <= genre.tempo[1] + 0.5,
        "meter": f"{bar.numerator}/{bar.denominator}" in genre.meters,
        "drums": signature(score, SIGNATURES[name]) == 1 if name in SIGNATURES else None,
        "no drums": not drums if name in NO_DRUMS else None,
        "swing": swung if name in SWUNG and drums else None,
        "strokes": drums.get("strokes a bar"),
        "bass": f"{bass.get('bass lowest', 0):.0f}-{bass.get('bass highest', 0):.0f}",
        "bass register": bass.get("bass lowest", BASS_FROM) >= BASS_FROM and bass.get("bass highest", 0) <= BASS_TO
        if any(track.program in range(32, 40) and not track.is_drum for track in score.tracks)
        else None,
        "root": bass.get("root at changes"),
        "notes": len(notes) / count / max(1, sum(not track.is_drum for track in score.tracks)),
        "melody": line.get("notes a bar"),
        "in key": all(note.pitch % 12 in parse_key(brief_key).pitch_classes for note in notes),
    }


def style_table(
    sketched: Callable[[Any, Generator, int], Score],
    generator: Generator,
    names: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """A line for every style, and how many keep each fact."""
    table: dict[str, Any] = {}
    rows = []
    for number, name in enumerate(names or styles().genres):
        brief = understand(name, plain=True)
        rows.append(row_of(name, sketched(brief, generator, number), brief.key))
        table[name] = _line(rows[-1])
        say(f"{number + 1} {name}: {table[name]}")
    for fact in ("tempo", "meter", "drums", "no drums", "swing", "bass register", "in key"):
        held = [row[fact] for row in rows if row[fact] is not None]
        wrong = [name for name, row in zip(names or styles().genres, rows, strict=True) if row[fact] is False]
        table[f"all: {fact}"] = f"{sum(held)} of {len(held)}{'; not ' if wrong else ''}{', '.join(wrong)}"
    return table


def _line(row: dict[str, Any]) -> str:
    def shown(value: object) -> str:
        if value is None:
            return "-"
        if isinstance(value, bool):
            return "yes" if value else "NO"
        return f"{value:.1f}" if isinstance(value, float) else str(value)

    return "  ".join(f"{name} {shown(value)}" for name, value in row.items())
