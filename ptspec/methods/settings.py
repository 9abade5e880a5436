"""What is said of a method's config: its own defaults, published settings, values that do not go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Default:
    """A config value that a method takes where the recipe is silent and TRL's default does not fit; `reason`
    says why, in one clause."""

    name: str
    value: object
    reason: str


@dataclass(frozen=True)
class Variant:
    """A published method that is this one with other settings, `config`. `aliases`: what others call it."""

    name: str
    paper: str
    config: Mapping[str, Any]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Is:
    """Met by a field that holds one of `values`."""

    values: tuple[object, ...]

    def met_by(self, held: Sequence[object]) -> list[object]:
        """Those of what a field holds that meet the condition."""
        return [one for one in held if one in self.values]


@dataclass(frozen=True)
class IsNot:
    """Met by a field that holds anything but `values`."""

    values: tuple[object, ...]

    def met_by(self, held: Sequence[object]) -> list[object]:
        """Those of what a field holds that meet the condition."""
        return [one for one in held if one not in self.values]


@dataclass(frozen=True)
class Clash:
    """Values of config fields that do not go together, told at the first of the fields of `when` that a
    recipe gives.

    A field that holds a list meets a condition where one of its values does. "{field}" in `message` stands
    for the first value of that field that meets its condition. `is_ignored`: TRL passes over the field in
    place of refusing it.
    """

    when: Mapping[str, Is | IsNot]
    message: str
    hint: str
    is_ignored: bool = False
