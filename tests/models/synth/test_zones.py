"""Which recordings play a key, read off a sound font made here."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from models.errors import UserError
from models.synth.network import LOWEST
from models.synth.zones import recordings, shares


def generators(*parts: tuple[int, int, int]) -> bytes:
    return b"".join(struct.pack("<HBB", *part) for part in parts)


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def font(border: int) -> bytes:
    """Program 5: one recording up to `border`, another one from there on; a third for loud notes alone."""
    first = generators((43, 0, border - 1), (53, 0, 0))
    second = generators((43, border, 127), (53, 1, 0))
    loud = generators((44, 100, 127), (53, 2, 0))
    whole = generators((44, 0, 127))  # what all zones of the instrument begin with
    plays = generators((41, 0, 0))
    preset = b"".join(struct.pack("<20sHHHIII", b"", *numbers, 0, 0, 0) for numbers in ((5, 0, 0), (255, 255, 1)))
    inst = b"".join(struct.pack("<20sH", b"", bag) for bag in (0, 4))
    ends = [0]
    for part in (whole, first, second, loud):
        ends.append(ends[-1] + len(part) // 4)
    tables = [
        chunk(b"phdr", preset),
        chunk(b"pbag", struct.pack("<HHHH", 0, 0, 1, 0)),
        chunk(b"pmod", b""),
        chunk(b"pgen", plays + generators((0, 0, 0))),
        chunk(b"inst", inst),
        chunk(b"ibag", b"".join(struct.pack("<HH", end, 0) for end in ends)),
        chunk(b"igen", whole + first + second + loud + generators((0, 0, 0))),
    ]
    body = b"sfbk" + chunk(b"LIST", b"INFO") + chunk(b"LIST", b"sdta" + bytes(31))
    return chunk(b"RIFF", body + chunk(b"LIST", b"pdta" + b"".join(tables)))


@pytest.mark.parametrize(("above", "share"), [(0, 1), (1, 2), (2, 0), (3, 1)])
def test_a_pitch_between_two_nodes_goes_with_the_one_that_shares_its_recordings(
    tmp_path: Path, above: int, share: int
) -> None:
    """The border lies so many keys above the node."""
    path = tmp_path / "font.sf2"
    node = 10
    path.write_bytes(font(LOWEST + 2 * node + above))
    found = shares(path, 80)
    assert found[5, node] == share
    others = found.copy()
    others[5, node - 1 : node + 2] = 1
    assert (others == 1).all()


def test_zones_of_other_velocities_do_not_play(tmp_path: Path) -> None:
    path = tmp_path / "font.sf2"
    path.write_bytes(font(60))
    assert recordings(path, 80)[5][59:61] == [{(0, 0)}, {(0, 1)}]
    assert recordings(path, 110)[5][60] == {(0, 1), (0, 2)}


@pytest.mark.parametrize("cut", [0, 11, 60, 200, -30])
def test_what_is_no_sound_font_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "font.sf2"
    path.write_bytes(font(60)[:cut])
    with pytest.raises(UserError, match="no sound font"):
        shares(path, 80)


def test_random_damage_is_refused_or_read(tmp_path: Path) -> None:
    whole = bytearray(font(60))
    path = tmp_path / "font.sf2"
    for place in range(0, len(whole), 3):
        damaged = whole.copy()
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert shares(path, 80).shape[0] == 128
        except UserError as error:
            assert error.hint
