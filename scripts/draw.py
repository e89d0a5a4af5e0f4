"""Draw MIDI files as piano rolls, one under the other in one picture.

    python3 scripts/draw.py song.mid next-1.mid next-2.mid -o rolls.png --bars 9-24 --mark-from 17

Every track has its colour (from nine tracks on, every family of instruments), louder notes are darker, drums
have rows of their own below the pitches, and bars from `--mark-from` on are shaded: those that were written.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from models.errors import UserError
from models.instruments import DRUM_NOTES, family_of, instrument_of
from models.midi_file import read_midi
from models.score import Note, Score, Track
from models.theory import chord_symbol, chord_track, pitch_name

# Okabe and Ito's colours, told apart by the colour-blind too; the yellow is darkened to show on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#6A3D9A", "#B8A900")
DRUM_COLOUR = "#333333"
NEW_BARS = "#FFF3D6"
BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
WIDTH = 1400  # pixels of a picture
DPI = 100
ROLL = 0.88  # about how much of the width the rolls take
SEMITONE = 4.0  # pixels
DRUM_ROW = 2.5  # semitones, so that a name fits beside it
DRUM_HIT = 0.16  # quarter notes: how wide a hit is drawn, since its length means nothing
LEAST_SPAN = 24  # semitones shown at least


class Panel(NamedTuple):
    """One roll of a picture: a score and what stands above it. mark_from: its first shaded bar, from 0."""

    score: Score
    title: str = ""
    mark_from: int | None = None


@dataclass(frozen=True)
class Layout:
    """What the rolls of one picture share, so that equal notes lie at equal places.

    bars: those shown, from 0. low, high: the pitches shown. drums: drum notes that have a row, lowest first.
    colours: a colour for each group of tracks. by_family: groups are families of instruments, not tracks.
    """

    bars: range
    low: int
    high: int
    drums: tuple[int, ...]
    colours: dict[str, str]
    by_family: bool

    @property
    def bottom(self) -> float:
        return self.low - 1 - (1 + DRUM_ROW * len(self.drums) if self.drums else 0)

    @property
    def top(self) -> float:
        return self.high + 1

    def drum_row(self, pitch: int) -> float:
        """Where the row of a drum lies, in semitones."""
        return self.bottom + 0.5 + DRUM_ROW * (self.drums.index(pitch) + 0.5)

    def groups(self, score: Score) -> list[str]:
        """The group of each track of a score."""
        if self.by_family:
            return [family_of(track.program) for track in score.tracks]
        return track_names(score)


def track_names(score: Score) -> list[str]:
    """What each track is called, its instrument where it has no name; equal names are numbered."""
    names: list[str] = []
    for track in score.tracks:
        name = " ".join(track.name.split()) or instrument_of(track.program, track.is_drum).name
        same = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return names


def layout_of(scores: Sequence[Score], bars: range | None = None) -> Layout:
    """A layout that holds the notes of all scores in `bars` (from 0); None is everything."""
    if bars is None:
        bars = range(max(score.bar_at(max(0, score.last_note_start)).index for score in scores) + 1)
    pitched: set[int] = set()
    drums: set[int] = set()
    sounding: dict[str, int] = {}  # pitched tracks that are seen, and their programs
    for score in scores:
        for name, track in zip(track_names(score), score.tracks, strict=True):
            pitches = {note.pitch for note in visible_notes(score, track, bars)}
            (drums if track.is_drum else pitched).update(pitches)
            if pitches and not track.is_drum:
                sounding[name] = track.program
    by_family = len(sounding) > len(PALETTE)
    groups = dict.fromkeys(map(family_of, sounding.values()) if by_family else sounding)
    colours = {group: PALETTE[index % len(PALETTE)] for index, group in enumerate(groups)}
    return Layout(bars, *_span(pitched, bool(drums)), tuple(sorted(drums)), colours, by_family)


def _span(pitches: set[int], has_drums: bool) -> tuple[int, int]:
    """The lowest and highest pitch to show; none at all where there are only drums."""
    if not pitches:
        return (60, 59) if has_drums else (60, 60 + LEAST_SPAN)
    margin = 1 + max(0, LEAST_SPAN - (max(pitches) - min(pitches))) // 2
    return max(0, min(pitches) - margin), max(pitches) + margin


def visible_notes(score: Score, track: Track, bars: range) -> list[Note]:
    """The notes of a track that sound in `bars`."""
    start, end = score.bar(bars[0]).start, score.bar(bars[-1]).end
    return [note for note in track.notes if note.start < end and note.end > start]


def draw_score(ax: Axes, score: Score, layout: Layout, title: str = "", mark_from: int | None = None) -> None:
    """Draw one score. mark_from: bar, from 0, from which on the background is shaded."""
    quarter = score.ticks_per_quarter
    start, end = score.bar(layout.bars[0]).start, score.bar(layout.bars[-1]).end
    ax.set_xlim(start / quarter, end / quarter)
    ax.set_ylim(layout.bottom, layout.top)
    if mark_from is not None and mark_from <= layout.bars[-1]:
        first = max(start, score.bar(mark_from).start)
        ax.axvspan(first / quarter, end / quarter, color=NEW_BARS, linewidth=0, zorder=0)
        ax.axvline(first / quarter, color="#C77700", linewidth=1.6, zorder=1.6)
    _draw_rows(ax, layout)
    _draw_grid(ax, score, layout)
    for group, track in zip(layout.groups(score), score.tracks, strict=True):
        notes = visible_notes(score, track, layout.bars)
        if track.is_drum:
            _draw_drums(ax, notes, quarter, layout)
        elif notes:
            _draw_notes(ax, notes, quarter, layout.colours[group])
    has_chords = _draw_chords(ax, score, start, end)
    ax.set_title(title, loc="left", fontsize=9, fontweight="bold", pad=24 if has_chords else 14)


def _draw_rows(ax: Axes, layout: Layout) -> None:
    """Black keys, octave lines and the names of rows."""
    pitches = range(layout.low, layout.high + 1)
    for pitch in pitches:
        if pitch % 12 in BLACK_KEYS:
            ax.axhspan(pitch - 0.5, pitch + 0.5, color="#000000", alpha=0.045, linewidth=0, zorder=0.5)
        elif pitch % 12 == 0:
            ax.axhline(pitch - 0.5, color="#9A9A9A", linewidth=0.6, zorder=1)
    labels = {float(pitch): pitch_name(pitch) for pitch in pitches if pitch % 12 == 0}
    if layout.drums and pitches:
        ax.axhline(layout.low - 1, color="#666666", linewidth=0.8, zorder=2)
    for index, drum in enumerate(layout.drums):
        row = layout.drum_row(drum)
        labels[row] = DRUM_NOTES.get(drum, f"Drum {drum}")
        if index % 2:
            ax.axhspan(
                row - DRUM_ROW / 2, row + DRUM_ROW / 2, color="#000000", alpha=0.045, linewidth=0, zorder=0.5
            )
    ax.set_yticks(list(labels), list(labels.values()), fontsize=7)
    ax.tick_params(axis="y", length=0, pad=3)


def _draw_grid(ax: Axes, score: Score, layout: Layout) -> None:
    """Bar lines with numbers, and beats where there is room for them."""
    quarter = score.ticks_per_quarter
    bars = [score.bar(index) for index in layout.bars]
    left, right = ax.get_xlim()
    per_quarter = ROLL * WIDTH / (right - left)
    numbered = 1
    while numbered * per_quarter * (right - left) / len(bars) < 26:
        numbered *= 2
    for bar in bars:
        x = bar.start / quarter
        ax.axvline(x, color="#777777", linewidth=0.8, zorder=1.5)
        if bar.index % numbered == 0:
            ax.annotate(
                str(bar.index + 1), (x, 1), (2, 2), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=7, color="#555555",
            )  # fmt: skip
        beat = 4 / bar.denominator
        if beat * per_quarter >= 7:
            for index in range(1, bar.numerator):
                ax.axvline(x + index * beat, color="#BBBBBB", linewidth=0.5, zorder=1.2)
    ax.tick_params(axis="x", bottom=False, labelbottom=False)
    for side in ("top", "right", "left", "bottom"):
        ax.spines[side].set_color("#777777")


def _draw_notes(ax: Axes, notes: Sequence[Note], quarter: int, colour: str) -> None:
    left, right = ax.get_xlim()
    gap = 1.6 * (right - left) / (ROLL * WIDTH)  # so that repeated notes do not run together
    boxes = []
    for note in notes:
        begin, length = note.start / quarter, note.duration / quarter
        boxes.append(_box(begin, begin + max(length - gap, length / 2), note.pitch - 0.46, note.pitch + 0.46))
    faces = [(*to_rgb(colour), _opacity(note)) for note in notes]
    ax.add_collection(PolyCollection(boxes, facecolors=faces, linewidths=0, zorder=3))


def _draw_drums(ax: Axes, notes: Sequence[Note], quarter: int, layout: Layout) -> None:
    boxes = []
    for note in notes:
        row, x = layout.drum_row(note.pitch), note.start / quarter
        boxes.append(_box(x, x + DRUM_HIT, row - 0.38 * DRUM_ROW, row + 0.38 * DRUM_ROW))
    faces = [(*to_rgb(DRUM_COLOUR), _opacity(note)) for note in notes]
    ax.add_collection(PolyCollection(boxes, facecolors=faces, linewidths=0, zorder=3))


def _box(left: float, right: float, bottom: float, top: float) -> list[tuple[float, float]]:
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def _opacity(note: Note) -> float:
    return 0.2 + 0.8 * note.velocity / 127


def _draw_chords(ax: Axes, score: Score, start: int, end: int) -> bool:
    """Chord symbols above the roll, as many as fit beside each other. Returns whether there are any."""
    quarter = score.ticks_per_quarter
    room_from = float(start)
    tick_per_pixel = (end - start) / (ROLL * WIDTH)
    for change in chord_track(score):
        symbol = chord_symbol(change.chord)
        if start <= change.tick < end and change.tick >= room_from:
            ax.annotate(
                symbol, (change.tick / quarter, 1), (2, 10), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=7.5, color="#7A3E00",
            )  # fmt: skip
            room_from = change.tick + (7 * len(symbol) + 4) * tick_per_pixel
    return room_from > start


def draw_panels(panels: Sequence[Panel], title: str = "", bars: range | None = None) -> Figure:
    """A picture of all panels, one under the other, on one layout. bars: from 0; None is everything."""
    if not panels:
        raise UserError("There is nothing to draw", "Name at least one MIDI file.")
    layout = layout_of([panel.score for panel in panels], bars)
    roll = SEMITONE * (layout.top - layout.bottom)
    head, above, below = (48 if title else 28), 46, 4
    height = head + len(panels) * (above + roll + below) + 6
    # Names are shown as they are written, dollar signs included.
    with matplotlib.rc_context({"text.parse_math": False, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")
        left, width = (0.1, 0.89) if layout.drums else (0.035, 0.955)
        for index, panel in enumerate(panels):
            bottom = height - head - (index + 1) * (above + roll + below) + below
            ax = figure.add_axes((left, bottom / height, width, roll / height))
            draw_score(ax, panel.score, layout, panel.title, panel.mark_from)
        if title:
            figure.text(0.008, 1 - 15 / height, title, fontsize=12, fontweight="bold", va="center")
        _draw_legend(figure, layout, panels, 1 - (38 if title else 16) / height)
    return figure


def _draw_legend(figure: Figure, layout: Layout, panels: Sequence[Panel], y: float) -> None:
    handles = [Patch(color=colour, label=group) for group, colour in layout.colours.items()]
    if layout.drums:
        handles.append(Patch(color=DRUM_COLOUR, label="Drums"))
    if any(panel.mark_from is not None for panel in panels):
        handles.append(Patch(facecolor=NEW_BARS, edgecolor="#C77700", label="new bars"))
    figure.legend(
        handles=handles, loc="center left", bbox_to_anchor=(0.002, y), ncols=len(handles), fontsize=8,
        frameon=False, handlelength=1.1, columnspacing=1.4,
    )  # fmt: skip


def save_picture(figure: Figure, path: Path) -> None:
    """Write the picture; UserError where that cannot be done."""
    try:
        figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise UserError(f"Cannot write {path} ({error.strerror})", "Choose another file with -o.") from error


def parse_bars(text: str) -> range:
    """Bars "5-8" or "5", counted from 1, as a range from 0."""
    match = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", text.strip())
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= 100_000:
        raise UserError(f'"{text}" is not a range of bars', "Write first-last, such as 5-8, counted from 1.")
    return range(first - 1, last)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.mid")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.png")
    parser.add_argument("--bars", metavar="FIRST-LAST", help="the bars to show, from 1; without it all of them")
    parser.add_argument("--mark-from", type=int, metavar="BAR", help="shade this bar, from 1, and those after it")
    parser.add_argument("--title", default="", help="a line above the picture")
    args = parser.parse_args(arguments)
    mark_from = None if args.mark_from is None else max(0, args.mark_from - 1)
    try:
        bars = parse_bars(args.bars) if args.bars else None
        panels = [Panel(read_midi(path).score, path.name, mark_from) for path in args.files]
        save_picture(draw_panels(panels, args.title, bars), args.output)
    except UserError as error:
        print(f"{error.message}. {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
