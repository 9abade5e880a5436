"""Convert frozen dataclasses to JSON and back: jobs, events and diagnostics for processes and files.

`to_json` writes an object's class under "kind", to read unions back; elsewhere "kind" is optional. A method
is written as its name, a hub model as its folder: the reader knows both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ptspec import methods
from ptspec.methods.merge import MERGE
from ptspec.methods.types import Method
from ptspec.recipe.plan import HubModel

KIND = "kind"
T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return `value` as JSON: dataclasses, enums, paths, mappings, sequences and plain values.

    Raises `TypeError` for other values.
    """
    match value:
        case Method():
            return value.name
        case HubModel():
            return str(value.folder)
        case Enum():
            return value.value
        case Path():
            return str(value)
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
        case None | bool() | str() | int():
            return value
        case float():
            return float(value)
    if dataclasses.is_dataclass(value):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {KIND: type(value).__name__, **fields}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def from_json(hint: type[T], value: Any) -> T:
    """Return the value of type `hint` that `to_json` wrote. Raises `TypeError` or `ValueError` otherwise."""
    return cast("T", _read(hint, value))


def _read(hint: Any, value: Any) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _of_union(get_args(hint), value)
    if origin is tuple:
        return _tuple(get_args(hint), value)
    if origin is not None:  # a mapping
        return {key: _read(get_args(hint)[1], item) for key, item in _checked(dict, value).items()}
    if hint is Method:
        return MERGE if value == MERGE.name else methods.get(_checked(str, value))
    if hint is HubModel:
        return HubModel(Path(_checked(str, value)))
    if dataclasses.is_dataclass(hint):
        return _dataclass(cast("type", hint), value)
    if issubclass(hint, Enum):
        return hint(value)
    if issubclass(hint, Path):
        return Path(_checked(str, value))
    if hint is float and type(value) is int:
        return float(value)
    return _checked(hint, value)


def _of_union(members: Sequence[Any], value: Any) -> Any:
    if value is None and types.NoneType in members:
        return None
    for member in (member for member in members if member is not types.NoneType):
        with contextlib.suppress(TypeError, ValueError, KeyError):
            return _read(member, value)
    raise TypeError(f"{type(value).__name__} is none of {', '.join(map(str, members))}")


def _tuple(members: Sequence[Any], value: Any) -> tuple[Any, ...]:
    items = _checked(list, value)
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(_read(members[0], item) for item in items)
    return tuple(_read(member, item) for member, item in zip(members, items, strict=True))


def _dataclass(kind: type, value: Any) -> Any:
    given = _checked(dict, value)
    if (written := given.get(KIND, kind.__name__)) != kind.__name__:
        raise TypeError(f"{written} is no {kind.__name__}")
    hints = _hints(kind)
    return kind(**{name: _read(hints[name], given[name]) for name in hints if name in given})


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _checked(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} is no {kind.__name__}")
    return value
