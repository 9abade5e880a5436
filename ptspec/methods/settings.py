"""Facts about a method's config: own defaults, published settings, values that exclude each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Default:
    """A default that differs from TRL's; `reason` says why, in one clause."""

    name: str
    value: object
    reason: str


@dataclass(frozen=True)
class Variant:
    """A published method that is this one with the settings `config`. `aliases`: its other names."""

    name: str
    paper: str
    config: Mapping[str, Any]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Is:
    """A condition: the field has one of `values`."""

    values: tuple[object, ...]

    def met_by(self, held: Sequence[object]) -> list[object]:
        """Return those of a field's values that meet the condition."""
        return [one for one in held if one in self.values]


@dataclass(frozen=True)
class IsNot:
    """A condition: the field has none of `values`."""

    values: tuple[object, ...]

    def met_by(self, held: Sequence[object]) -> list[object]:
        """Return those of a field's values that meet the condition."""
        return [one for one in held if one not in self.values]


@dataclass(frozen=True)
class Clash:
    """Values of config fields that exclude each other, reported at the first given field of `when`.

    A list meets a condition if one of its values does. "{field}" in `message` stands for the first value of
    that field that meets its condition. `is_ignored`: TRL ignores the field instead of refusing it.
    """

    when: Mapping[str, Is | IsNot]
    message: str
    hint: str
    is_ignored: bool = False
