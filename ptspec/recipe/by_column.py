"""Rewards chosen by a column: a row's value selects one of the recipe's rewards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

KEYS = ("by", "rewards", "otherwise")
"""Keys of a reward that chooses by a column."""


@dataclass(frozen=True)
class ByColumn:
    """A row is scored by the reward that `rewards` assigns to its value of `column`.

    Rows with other values by `otherwise`, or by none if that is null; if it is missing (`takes_others` False)
    such a row is an error. `only`: an evaluation measures this one reward, on its own rows.
    """

    column: str
    rewards: Mapping[str, str]
    otherwise: str | None = None
    takes_others: bool = False
    only: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the rewards that it chooses from, each once."""
        if self.only is not None:
            return (self.only,)
        others = () if self.otherwise is None else (self.otherwise,)
        return tuple(dict.fromkeys((*self.rewards.values(), *others)))

    def part_of(self, value: object) -> str | None:
        """Return the name of the reward for this value; None: the row is not scored."""
        key = key_of(value)
        part = self.rewards.get(key, self.otherwise) if key is not None else self.otherwise
        return part if self.only in (None, part) else None

    def is_told(self, value: object) -> bool:
        """Return whether the recipe assigns this value."""
        return self.takes_others or key_of(value) in self.rewards


def key_of(value: object) -> str | None:
    """Return a value as written in `rewards`: text unchanged, others as JSON (3, true, ["a"]).

    None for none.
    """
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
