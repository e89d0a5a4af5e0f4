"""Requests and candidates as JSON, for the way to the engine's process and back.

    Note(0, 60, 480, 80)  <->  {"is": "models.score:Note", "of": [0, 60, 480, 80, 64]}

Only data classes, named tuples and enumerations of `models` and of the pipeline can be made from it: it holds
notes and wishes, never code.
"""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from typing import Any


def to_plain(value: Any) -> Any:
    """JSON-ready data for a value of those classes, tuples, lists, frozensets, dicts, bytes and plain values."""
    if value is None or isinstance(value, bool | str | float) or type(value) is int:
        return value
    if isinstance(value, Enum):
        return {"is": _name(type(value)), "value": value.value}
    if is_dataclass(value):
        parts = {field.name: to_plain(getattr(value, field.name)) for field in fields(value) if field.init}
        return {"is": _name(type(value)), "with": parts}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"is": _name(type(value)), "of": [to_plain(item) for item in value]}
    if isinstance(value, bytes):
        return {"is": "bytes", "of": b64encode(value).decode()}
    if isinstance(value, list | tuple | set | frozenset):
        return {"is": type(value).__name__, "of": [to_plain(item) for item in value]}
    if isinstance(value, dict):
        return {"is": "dict", "of": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    if hasattr(value, "item"):  # a number of NumPy's
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be sent to the engine")


def from_plain(data: Any) -> Any:
    """The value that `to_plain` was given. Raises ValueError for anything it cannot have made."""
    if not isinstance(data, dict):
        return data
    kind = data["is"]
    if kind == "bytes":
        return b64decode(data["of"])
    if kind == "dict":
        return {from_plain(key): from_plain(item) for key, item in data["of"]}
    plain = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    if kind in plain:
        return plain[kind](from_plain(item) for item in data["of"])
    made = _class(kind)
    if "with" in data:
        return made(**{name: from_plain(item) for name, item in data["with"].items()})
    return made(data["value"]) if "value" in data else made(*(from_plain(item) for item in data["of"]))


def _is_ours(module: str) -> bool:
    return module == "assistant.pipeline" or module.startswith("models.")


def _name(made: type) -> str:
    if not _is_ours(made.__module__):
        raise TypeError(f"{made.__module__}.{made.__name__} cannot be sent to the engine")
    return f"{made.__module__}:{made.__name__}"


def _class(name: str) -> Any:
    module, _, own = name.partition(":")
    if not _is_ours(module):
        raise ValueError(f"{name} is not data")
    found = getattr(sys.modules.get(module) or import_module(module), own, None)
    if not isinstance(found, type) or found.__module__ != module:
        raise ValueError(f"{name} is not data")
    if not (is_dataclass(found) or hasattr(found, "_fields") or issubclass(found, Enum)):
        raise ValueError(f"{name} is not data")
    return found
