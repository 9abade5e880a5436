"""The conversion of one config: the parts of a recipe, and what is reported of each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptspec.methods.types import Method
from ptspec.shipped import schema


@dataclass(frozen=True)
class Carried:
    """A key of the file, and the place in the recipe of its value."""

    key: str
    place: str


@dataclass(frozen=True)
class Left:
    """A key of the file that could not be carried over: its value, the reason, and a hint."""

    key: str
    value: Any
    why: str


@dataclass
class Draft:
    """The conversion of one config. `rest` holds the keys that are not taken yet.

    `recipe` has the recipe's own shape, with one stage in /stage. `nothing`: keys that are empty or switched
    off, without equivalent here. `differs`: differences from the other program that no key expresses.
    """

    file: Path
    program: str
    method: Method
    rest: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)
    carried: list[Carried] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    nothing: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)

    @property
    def config_fields(self) -> Mapping[str, Any]:
        """TRL's fields of the method's config, with their schemas."""
        fields: Mapping[str, Any] = schema(f"trl/{self.method.name}.schema.json")["properties"]
        return {name: described for name, described in fields.items() if isinstance(described, Mapping)}

    def take(self, key: str, default: Any = None) -> Any:
        """Return and remove the value of `key`, which the caller must handle.

        `default` if absent or empty.
        """
        if key not in self.rest:
            return default
        value = self.rest.pop(key)
        if value is None or value in ("", [], {}):
            self.nothing.append(key)
            return default
        return value

    def carry(self, key: str, place: str, value: Any) -> None:
        """Write `value` at `place` ("/model/path", "/config/beta" of the stage) and say that it is `key`."""
        self.write(place, value)
        self.say(key, place)

    def say(self, key: str, place: str) -> None:
        """Say that `key` is at `place`, where more than one key makes what is written."""
        self.carried.append(Carried(key, place))

    def leave(self, key: str, value: Any, why: str) -> None:
        """Report that `key` is not carried over; nothing for None."""
        if value is False or value in ("", [], {}, "no"):
            self.nothing.append(key)
        elif value is not None:
            self.left.append(Left(key, value, why))

    def write(self, place: str, value: Any) -> None:
        """Write `value` at `place`, the objects on the way too."""
        *above, last = place.strip("/").split("/")
        if above and above[0] == "config":
            above = ["stage", *above]
        inner = self.recipe
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value

    def part(self, name: str) -> dict[str, Any]:
        """The object `name` of the recipe (of the stage: "config"), made where it is not there."""
        holder = self.recipe.setdefault("stage", {}) if name == "config" else self.recipe
        found: dict[str, Any] = holder.setdefault(name, {})
        return found

    def write_variant(self, name: str) -> None:
        """Write the settings that make the method what others call `name`: "ipo" is a loss of DPO's."""
        for variant in self.method.variants:
            if name in variant.aliases:
                for key, value in variant.config.items():
                    self.write(f"/config/{key}", value)

    def write_defaults(self, place: str, values: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        """Write the other program's defaults that differ from those `here`, and say so."""
        part = self.part(place)
        for name, value in values.items():
            if name not in part and here.get(name) != value:
                part[name] = value
                ours = f"; here {here[name]}" if here.get(name) is not None else ""
                self.differs.append(f"{name} {value} is {self.program}'s default, written out{ours}")
