"""Where the rows of a plan come from: files, the hub, and what is mixed or joined of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class OnBadRow(Enum):
    STOP = "stop"
    LEAVE_OUT = "leave_out"


class Until(Enum):
    """When an epoch of a mix ends: with the first of its sources that is used up, or with the last."""

    FIRST = "first"
    ALL = "all"


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    `paths` are the files to read (globs and folders expanded, sorted; only those of the splits that `split`
    names), or empty when `hub` is set, or `addresses` of fsspec ("s3://…", globs too). `streaming`: rows are
    read while a stage trains. `splits` are the files of each of these splits; {} where `split` is None.
    `columns` maps the name a method wants to the name in the file. `seed` is the recipe's: it decides which
    rows `shuffle` brings before `limit`. `system`: a system prompt for rows without one. `max_bad_rows` is a
    share of the rows, for `on_bad_row` "leave_out"."""

    name: str
    paths: tuple[Path, ...]
    hub: str | None = None
    addresses: tuple[str, ...] = ()
    config_name: str | None = None
    revision: str | None = None
    split: str | None = None
    splits: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    shuffle: bool = False
    streaming: bool = False
    chat: bool = True
    system: str | None = None
    on_bad_row: OnBadRow = OnBadRow.STOP
    max_bad_rows: float = 0.01
    seed: int = 42
    at: str = "/data"


@dataclass(frozen=True)
class Mix:
    """Rows drawn from other sources with these probabilities."""

    name: str
    weights: Mapping[str, float]
    until: Until = Until.FIRST
    at: str = "/data"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.weights)


@dataclass(frozen=True)
class Concat:
    """These fractions of other sources, one after the other, then shuffled by the seed."""

    name: str
    fractions: Mapping[str, float]
    at: str = "/data"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.fractions)


AnySource = Source | Mix | Concat


def parts_of(data: Mapping[str, AnySource], name: str) -> tuple[str, ...]:
    """The sources that `name` stands for: itself, or those that it is made of."""
    source = data[name]
    return (name,) if isinstance(source, Source) else source.parts


def is_streamed(data: Mapping[str, AnySource], name: str) -> bool:
    """Whether the rows of `name` are read while a stage trains: those of a part of it are.

    Of no data that the plan does not know."""
    parts = (data.get(part) for part in parts_of(data, name)) if name in data else ()
    return any(isinstance(part, Source) and part.streaming for part in parts)
