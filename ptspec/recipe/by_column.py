"""Rewards by a column: which of a recipe's rewards a row is paid by, told by a value of the row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

KEYS = ("by", "rewards", "otherwise")
"""Of a reward that chooses by a column."""


@dataclass(frozen=True)
class ByColumn:
    """A row is paid by the reward that `rewards` names for its value of `column`.

    One with another value: by that which `otherwise` names, or by none where it is null; where it is not
    there (`takes_others` false), such a row is an error. `only`: as an evaluation measures this one of the
    rewards, on its own rows."""

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
        """The name of the reward that pays a row with this value; None: no reward has a say."""
        key = key_of(value)
        part = self.rewards.get(key, self.otherwise) if key is not None else self.otherwise
        return part if self.only in (None, part) else None

    def is_told(self, value: object) -> bool:
        """Whether the recipe says what becomes of a row with this value."""
        return self.takes_others or key_of(value) in self.rewards


def key_of(value: object) -> str | None:
    """A value as it is written in `rewards`: a text as it is, another as JSON has it (3, true, ["a"]); None
    where the row has none."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
