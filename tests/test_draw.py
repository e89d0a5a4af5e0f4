"""scripts/draw.py: pictures show every note where it belongs, and bad input is told in a sentence."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from models.errors import UserError
from models.midi_file import save_midi
from models.score import Marker, Meter, Note, Score, Track
from scripts.draw import DRUM_ROW, PALETTE, WIDTH, Panel, draw_panels, layout_of, main, parse_bars, track_names

MELODY = Track("Voice", 53, notes=tuple(Note(480 * beat, 60 + beat, 480, 90) for beat in range(16)))
BASS = Track("Bass", 33, channel=1, notes=(Note(0, 36, 1920, 50), Note(1920, 38, 1920, 120)))
KIT = Track("Kit", 0, True, 9, tuple(Note(480 * beat, 36 + 2 * (beat % 2), 60, 100) for beat in range(16)))
SONG = Score(480, (MELODY, BASS, KIT), length=7680)


def boxes(figure: Figure, panel: int) -> list[tuple[float, float, float, float]]:
    """Left, bottom, right and top of everything drawn as a note in one panel."""
    found = []
    for collection in figure.axes[panel].collections:
        assert isinstance(collection, PolyCollection)
        for path in collection.get_paths():
            box = path.get_extents()
            found.append((box.x0, box.y0, box.x1, box.y1))
    return found


def test_every_note_lies_at_its_time_and_pitch() -> None:
    found = boxes(draw_panels([Panel(SONG)]), 0)
    assert len(found) == 16 + 2 + 16
    for beat, box in enumerate(found[:16]):
        assert box[0] == pytest.approx(beat)
        assert beat + 0.5 < box[2] <= beat + 1
        assert (box[1] + box[3]) / 2 == pytest.approx(60 + beat)


def test_only_the_bars_asked_for_are_drawn() -> None:
    figure = draw_panels([Panel(SONG)], bars=range(1, 2))
    assert len(boxes(figure, 0)) == 4 + 1 + 4
    assert figure.axes[0].get_xlim() == (4, 8)


def test_drums_have_rows_of_their_own_with_their_names() -> None:
    layout = layout_of([SONG])
    assert layout.drums == (36, 38)
    figure = draw_panels([Panel(SONG)])
    labels = dict(
        zip((t.get_text() for t in figure.axes[0].get_yticklabels()), figure.axes[0].get_yticks(), strict=True)
    )
    assert labels["Bass Drum"] < labels["Acoustic Snare"] < layout.low - DRUM_ROW / 2
    kick, snare = boxes(figure, 0)[18:20]
    assert kick[1] < labels["Bass Drum"] < kick[3]
    assert snare[1] < labels["Acoustic Snare"] < snare[3]


def test_panels_share_one_layout() -> None:
    higher = Score(960, (Track("Voice", 53, notes=(Note(0, 90, 960, 64),)),))
    figure = draw_panels([Panel(SONG), Panel(higher)])
    first, second = figure.axes
    assert first.get_ylim() == second.get_ylim()
    assert first.get_xlim() == second.get_xlim()
    assert boxes(figure, 1) == [pytest.approx((0, 89.54, 1, 90.46), abs=0.03)]


def test_louder_notes_are_darker() -> None:
    figure = draw_panels([Panel(SONG)])
    quiet, loud = figure.axes[0].collections[1].get_facecolor()
    assert quiet[3] < loud[3]
    assert tuple(quiet[:3]) == tuple(loud[:3])


def test_new_bars_are_shaded_from_their_first_bar_on() -> None:
    plain, marked = draw_panels([Panel(SONG)]), draw_panels([Panel(SONG, mark_from=2)])
    shades = [patch for patch in marked.axes[0].patches if patch.get_x() == 8 and patch.get_width() == 8]
    assert len(shades) == 1
    assert len(marked.axes[0].patches) == len(plain.axes[0].patches) + 1


def test_bar_numbers_follow_the_meters() -> None:
    changing = replace(SONG, meters=(Meter(0, 3, 4), Meter(2880, 7, 8)))
    figure = draw_panels([Panel(changing)], bars=range(4))
    numbers = {text.get_text(): text.xy[0] for text in figure.axes[0].texts}
    assert numbers == {"1": 0, "2": 3, "3": 6, "4": 9.5}


def test_few_tracks_have_a_colour_each_and_many_share_it_by_family() -> None:
    few = layout_of([SONG])
    assert list(few.colours) == ["Voice", "Bass"]
    assert len(set(few.colours.values())) == 2
    note = (Note(0, 60, 480, 64),)
    strings = [Track(f"Violin {index}", 40, notes=note) for index in range(len(PALETTE))]
    many = Score(480, (*strings, Track("Horn", 60, notes=note)))
    assert list(layout_of([many]).colours) == ["Strings", "Brass"]


def test_equal_names_are_told_apart() -> None:
    piano = Track("Piano")
    assert track_names(Score(480, (piano, piano, Track("", 40), piano))) == [
        "Piano", "Piano (2)", "Violin", "Piano (3)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "score",
    [
        Score(),
        Score(480, (Track(),)),
        Score(480, (KIT,)),
        Score(
            480, (Track("$x^2", notes=(Note(0, 0, 1, 1), Note(0, 127, 1, 127))),), markers=(Marker(0, "C#m7b5"),)
        ),
    ],
    ids=["nothing", "empty track", "drums alone", "odd name and extreme pitches"],
)
def test_any_score_can_be_drawn(score: Score, tmp_path: Path) -> None:
    save_midi(score, tmp_path / "in.mid")
    assert main([str(tmp_path / "in.mid"), "-o", str(tmp_path / "out.png"), "--title", "$"]) == 0


def test_the_picture_is_a_png_of_the_promised_width(tmp_path: Path, data_dir: Path) -> None:
    files = [str(path) for path in sorted(data_dir.glob("*.mid"))[:2]]
    picture = tmp_path / "out.png"
    assert main([*files, "-o", str(picture), "--bars", "1-8", "--mark-from", "5", "--title", "Two"]) == 0
    header = picture.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", header[16:20]) == (WIDTH,)


def test_what_cannot_be_drawn_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, picture = tmp_path / "good.mid", tmp_path / "bad.mid", tmp_path / "out.png"
    save_midi(SONG, good)
    bad.write_bytes(b"not MIDI")
    for arguments in (
        [str(bad), "-o", str(picture)],
        [str(tmp_path / "missing.mid"), "-o", str(picture)],
        [str(good), "-o", str(picture), "--bars", "8-5"],
        [str(good), "-o", str(tmp_path / "missing" / "out.png")],
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.endswith(".\n")
    assert not picture.exists()


def test_bars_are_counted_from_one() -> None:
    assert parse_bars("5-8") == range(4, 8)
    assert parse_bars("3") == range(2, 3)
    for text in ("", "0-4", "4-2", "a-b", "1-", "-3"):
        with pytest.raises(UserError):
            parse_bars(text)
