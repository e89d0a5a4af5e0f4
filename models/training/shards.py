"""Token shards: every Piece of a data folder in a few compressed files, ready to be sampled from.

A shard is a zstandard-compressed safetensors file with the columns of many pieces laid end to end, and a
JSON file beside it with one object a piece (set, split, work, caption material). Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors.numpy import load, save

from models.piece import Piece
from models.tokens import TEXT_WIDTH

PIECES_PER_SHARD = 1500
TEXT_STEP = 1 / 400  # of a number of a sentence vector; they seldom lie beyond a quarter
NO_TEXTS = np.zeros((0, TEXT_WIDTH), dtype=np.int8)
_NOTE_TYPES = (np.uint16, np.uint8, np.uint8, np.uint8, np.uint8, np.uint8, np.int8)
_BAR_TYPES = (np.uint8, np.uint8, np.uint16, np.uint8)


@dataclass(frozen=True, slots=True)
class Item:
    """One piece and what is known of it. `info` holds at least `set`, `split`, `work` and `path`; `texts` the
    sentence vectors of captions, as many for every piece of a shard: [k, TEXT_WIDTH] in steps of TEXT_STEP."""

    piece: Piece
    info: dict[str, object]
    texts: NDArray[np.int8] = field(default_factory=lambda: NO_TEXTS)


def write_shards(items: Iterable[Item], folder: Path) -> int:
    """Write all items; returns how many there were."""
    folder.mkdir(parents=True, exist_ok=True)
    batch: list[Item] = []
    count = written = 0
    for item in items:
        batch.append(item)
        count += 1
        if len(batch) == PIECES_PER_SHARD:
            _write_shard(batch, folder / f"shard-{written:03d}")
            batch, written = [], written + 1
    if batch:
        _write_shard(batch, folder / f"shard-{written:03d}")
    return count


def _write_shard(items: list[Item], stem: Path) -> None:
    columns: dict[str, np.ndarray] = {
        "programs": np.concatenate([item.piece.programs for item in items]).astype(np.uint8),
        "chords": np.concatenate([item.piece.chords for item in items]).astype(np.uint16),
        "counts": np.array(
            [[len(i.piece.programs), len(i.piece.bars), len(i.piece.notes), len(i.piece.chords)] for i in items],
            dtype=np.int32,
        ),
        "texts": np.stack([item.texts for item in items]),
    }
    # One array a column: like lies beside like, which halves the compressed size.
    bars = np.concatenate([item.piece.bars for item in items])
    notes = np.concatenate([item.piece.notes for item in items])
    columns |= {f"bars.{i}": np.ascontiguousarray(bars[:, i]).astype(kind) for i, kind in enumerate(_BAR_TYPES)}
    columns |= {f"notes.{i}": np.ascontiguousarray(notes[:, i]).astype(kind) for i, kind in enumerate(_NOTE_TYPES)}
    packed = zstandard.ZstdCompressor(level=19).compress(save(columns))
    stem.with_suffix(".safetensors.zst").write_bytes(packed)
    stem.with_suffix(".json").write_text(json.dumps([item.info for item in items]), encoding="utf-8")


def read_shards(folder: Path) -> Iterator[Item]:
    """All items of a shard folder, in order."""
    for path in sorted(folder.glob("shard-*.safetensors.zst")):
        columns = load(zstandard.ZstdDecompressor().decompress(path.read_bytes()))
        infos = json.loads(path.with_name(path.name.replace(".safetensors.zst", ".json")).read_text("utf-8"))
        bars = np.stack([columns[f"bars.{i}"].astype(np.int32) for i in range(len(_BAR_TYPES))], axis=1)
        # Half the memory of int32, which is what code that computes with a piece expects (sampling.as_int32).
        notes: NDArray[Any] = np.stack(
            [columns[f"notes.{i}"].astype(np.int16) for i in range(len(_NOTE_TYPES))], axis=1
        )
        ends = np.concatenate([np.zeros((1, 4), np.int64), np.cumsum(columns["counts"], axis=0)])
        texts = columns.get("texts", np.zeros((len(infos), *NO_TEXTS.shape), np.int8))
        for index, info in enumerate(infos):
            (t, b, n, c), (t2, b2, n2, c2) = ends[index], ends[index + 1]
            yield Item(
                Piece(
                    programs=columns["programs"][t:t2].astype(np.int32),
                    bars=bars[b:b2],
                    notes=notes[n:n2],
                    chords=columns["chords"][c:c2].astype(np.int32),
                ),
                info,
                texts[index],
            )
