"""ONNX graphs written as bytes, with nothing but NumPy: what a runtime needs to be told, and no more of the format.

    graph = Graph()
    x = graph.input("x", np.float32, ("rows", 64))
    graph.op("Relu", graph.op("MatMul", x, graph.constant(weights)), names=["y"])
    graph.output("y", np.float32, ("rows", 32))
    session = InferenceSession(graph.to_bytes())

The format is Protocol Buffers, after https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 20
IR_VERSION = 9
CONTRIB = "com.microsoft"
_TYPES = {
    np.dtype(kind): number
    for kind, number in [
        (np.float32, 1),
        (np.uint8, 2),
        (np.int8, 3),
        (np.int32, 6),
        (np.int64, 7),
        (np.bool_, 9),
        (np.float16, 10),
        (np.uint32, 12),
    ]
}
_CONTRIBUTED = (
    *("MatMulNBits", "GroupQueryAttention", "GatherBlockQuantized", "QuickGelu", "RotaryEmbedding"),
    *("DynamicQuantizeMatMul", "SkipSimplifiedLayerNormalization"),
)
Shape = Sequence[int | str]
Attribute = int | float | str | Sequence[int]


def type_number(dtype: Any) -> int:
    """The number that ONNX knows a NumPy type by."""
    return _TYPES[np.dtype(dtype)]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _chunk(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        body = _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1)
    elif isinstance(value, str):
        body = _chunk(4, value) + _number(20, 3)
    elif isinstance(value, int):
        body = _number(3, value) + _number(20, 2)
    else:
        body = b"".join(_number(8, item) for item in value) + _number(20, 7)
    return _chunk(5, _chunk(1, name) + body)


def _described(name: str, dtype: Any, shape: Shape) -> bytes:
    dims = b"".join(_chunk(1, _number(1, d) if isinstance(d, int) else _chunk(2, d)) for d in shape)
    return _chunk(1, name) + _chunk(2, _chunk(1, _number(1, type_number(dtype)) + _chunk(2, dims)))


class Graph:
    """A graph while it is written. Values go by name; equal constants are kept once."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._count = 0

    def input(self, name: str, dtype: Any, shape: Shape) -> str:
        """A value that is given with every run; a dimension with a name may vary."""
        self._inputs.append(_described(name, dtype, shape))
        return name

    def output(self, name: str, dtype: Any, shape: Shape) -> None:
        """Give away the result that has this name."""
        self._outputs.append(_described(name, dtype, shape))

    def constant(self, value: NDArray[Any]) -> str:
        value = np.asarray(value, order="C")
        key = (value.dtype.str, value.shape, value.tobytes())
        return self._constants.setdefault(key, f"c{len(self._constants)}")

    def op(
        self, kind: str, *inputs: str, outputs: int = 1, names: Sequence[str] = (), **attributes: Attribute
    ) -> Any:
        """The name of an operation's result; a list of them where there are several. An empty name stands for a
        value that is not given, or a result that is not wanted."""
        if not names:
            names = [f"v{self._count + i}" for i in range(outputs)]
            self._count += outputs
        body = b"".join(_chunk(1, name) for name in inputs) + b"".join(_chunk(2, name) for name in names)
        body += _chunk(4, kind) + b"".join(_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(body + _chunk(7, CONTRIB if kind in _CONTRIBUTED else ""))
        return names[0] if len(names) == 1 else list(names)

    def to_bytes(self) -> bytes:
        parts = [_chunk(1, node) for node in self._nodes] + [_chunk(2, "network")]
        for (dtype, shape, data), name in self._constants.items():
            dims = b"".join(_number(1, size) for size in shape)
            parts.append(_chunk(5, dims + _number(2, type_number(dtype)) + _chunk(8, name) + _chunk(9, data)))
        parts += [_chunk(11, value) for value in self._inputs] + [_chunk(12, value) for value in self._outputs]
        opsets = [_chunk(8, _chunk(1, domain) + _number(2, n)) for domain, n in (("", OPSET), (CONTRIB, 1))]
        return _number(1, IR_VERSION) + b"".join(opsets) + _chunk(7, b"".join(parts))
