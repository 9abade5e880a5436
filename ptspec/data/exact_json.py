"""Rows as an Arrow table that returns every value as it was written.

Arrow gives a column one type, and every struct the keys of all others: a tool call of one row would get the
arguments of the next. A column therefore holds strings, booleans, or the JSON text of each value.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import uuid4

import datasets
import pyarrow as pa
from datasets.features.features import register_feature

from ptspec.diagnostics import Diagnostic, InputError

BATCH = 1000
"""Rows converted to Arrow at once."""

DEFAULTS: Mapping[str, Any] = {"chat_template_kwargs": {}}
"""Values of a row without a column that others have, for columns that TRL unpacks. Null otherwise."""


@dataclass
class ExactJson(datasets.Json):  # type: ignore[misc]  # datasets has no types
    """`datasets.Json` with Python's parser: that of `datasets` rounds numbers and refuses large ones."""

    _type: str = field(default="ExactJson", init=False, repr=False)

    def encode_example(self, value: Any) -> str | None:
        """Return the JSON text of a value; None for None."""
        return None if value is None else json.dumps(value)

    def decode_example(self, value: str | None, token_per_repo_id: Any = None) -> Any:
        """Return the value of a JSON text; None for None."""
        return None if value is None else json.loads(value)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is marked as experimental
    register_feature(ExactJson, "ExactJson")


class Kind(Enum):
    """How a column's values are stored. NATIVE: types that JSON lacks (dates, bytes), in Arrow's types."""

    STRING = "string"
    BOOL = "bool"
    JSON = "json"
    NATIVE = "native"


@dataclass
class _Column:
    kind: Kind
    chunks: list[pa.Array] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    """All values of a NATIVE column."""

    def add(self, batch: Sequence[Any]) -> None:
        kind = _kind(batch)
        if kind is not self.kind and not all(value is None for value in batch):
            self.become(_common(self.kind, kind))
        if self.kind is not Kind.NATIVE:
            if (array := _array(batch, self.kind)) is not None:
                self.chunks.append(array)
                return
            self.become(Kind.NATIVE)
        self.values += batch

    def become(self, kind: Kind) -> None:
        """Store the same values as another kind."""
        if kind is self.kind:
            return
        values = [value for chunk in self.chunks for value in _values(chunk, self.kind)]
        self.kind, self.chunks = kind, []
        if kind is Kind.NATIVE:
            self.values = values
        elif values:
            self.chunks = [_array(values[i : i + BATCH], kind) for i in range(0, len(values), BATCH)]

    def finished(self, name: str) -> tuple[pa.ChunkedArray, Any]:
        """Return the column and its feature. Raises `InputError` for incompatible values."""
        match self.kind:
            case Kind.STRING:
                return pa.chunked_array(self.chunks, pa.string()), datasets.Value("string")
            case Kind.BOOL:
                return pa.chunked_array(self.chunks, pa.bool_()), datasets.Value("bool")
            case Kind.JSON:
                typed = [pa.ExtensionArray.from_storage(pa.json_(), chunk) for chunk in self.chunks]
                return pa.chunked_array(typed, pa.json_()), ExactJson()
        try:
            native = pa.chunked_array([pa.array(self.values)])
        except pa.ArrowException as error:
            types = sorted({type(value).__name__ for value in self.values if value is not None})
            message = f'the column "{name}" holds values of the types {", ".join(types)}'
            hint = "write them as text, or leave the column out"
            raise InputError(Diagnostic("mixed-types", message, hint=hint)) from error
        return native, datasets.Features.from_arrow_schema(pa.schema([("it", native.type)]))["it"]


class Table:
    """Rows added one by one; every column of any row is a column of the table."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._waiting: list[Mapping[str, Any]] = []
        self._rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._waiting.append(row)
        if len(self._waiting) == BATCH:
            self._flush()

    @property
    def kinds(self) -> dict[str, Kind]:
        """Return how each column is stored."""
        self._flush()
        return {name: column.kind for name, column in self._columns.items()}

    def dataset(self, kinds: Mapping[str, Kind]) -> datasets.Dataset:
        """Return the rows with the columns `kinds`, which include those of the table."""
        self._flush()
        for name, kind in kinds.items():
            if name not in self._columns:
                self._columns[name] = self._absent(name, kind)
            self._columns[name].become(kind)
        finished = {name: self._columns[name].finished(name) for name in kinds}
        features = datasets.Features({name: feature for name, (_, feature) in finished.items()})
        arrays = [array for array, _ in finished.values()]
        table = pa.Table.from_arrays(arrays, names=list(finished))
        # Without a fingerprint of its own, `datasets` hashes a pickled copy of the table.
        info, fingerprint = datasets.DatasetInfo(features=features), uuid4().hex[:16]
        return datasets.Dataset(table, info=info, fingerprint=fingerprint)

    def _flush(self) -> None:
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        for name in dict.fromkeys(name for row in batch for name in row):
            values = [row.get(name, DEFAULTS.get(name)) for row in batch]
            if name not in self._columns:
                self._columns[name] = self._absent(name, _kind(values))
            self._columns[name].add(values)
        for name, column in self._columns.items():
            if not any(name in row for row in batch):
                column.add([DEFAULTS.get(name)] * len(batch))
        self._rows += len(batch)

    def _absent(self, name: str, kind: Kind) -> _Column:
        """Return a column that no row so far has."""
        column = _Column(kind)
        if self._rows:
            column.add([DEFAULTS.get(name)] * self._rows)
        return column


def common_kinds(tables: Iterable[Table]) -> dict[str, Kind]:
    """Return the columns of `tables` with kinds that can hold the values of all of them."""
    found: dict[str, Kind] = {}
    for table in tables:
        for name, kind in table.kinds.items():
            found[name] = _common(found.get(name, kind), kind)
    return found


def _kind(values: Sequence[Any]) -> Kind:
    """Return the simplest kind for values of these types; JSON compatibility is found when writing."""
    types = {type(value) for value in values if value is not None}
    if types <= {str}:
        return Kind.STRING
    return Kind.BOOL if types == {bool} else Kind.JSON


def _common(one: Kind, other: Kind) -> Kind:
    if one is other:
        return one
    return Kind.NATIVE if Kind.NATIVE in (one, other) else Kind.JSON


def _array(values: Sequence[Any], kind: Kind) -> pa.Array | None:
    """Return the values as an Arrow array of `kind`; None if JSON cannot express them."""
    if kind is not Kind.JSON:
        return pa.array(values, pa.bool_() if kind is Kind.BOOL else pa.string())
    try:
        texts = [None if value is None else json.dumps(value) for value in values]
    except (TypeError, ValueError):
        return None
    return pa.array(texts, pa.string())


def _values(chunk: pa.Array, kind: Kind) -> list[Any]:
    found = chunk.to_pylist()
    if kind is not Kind.JSON:
        return list(found)
    return [None if value is None else json.loads(value) for value in found]
