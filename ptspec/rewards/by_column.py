"""A reward that scores each row by the reward that a column's value selects, in TRL's signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.by_column import ByColumn, key_of
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.contract import visible_columns


@dataclass(frozen=True)
class RewardByColumn:
    """`parts` are the rewards that `by` selects from, by name.

    Each is called with its own rows only, and its score is multiplied by its weight. If a trainer logs, the
    unweighted mean of each part over its rows is `rewards/NAME/PART`.
    """

    name: str
    by: ByColumn
    parts: Mapping[str, RewardFunction]
    weights: Mapping[str, float]

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any
    ) -> list[float | None]:
        """Return one number per completion; None if no part can score it.

        Raises `InputError` if the column is missing, or a row's value is not in the recipe.
        """
        rows = self._rows_of(given)
        arguments = {"prompts": list(prompts), "completions": list(completions), **given}
        scores: list[float | None] = [None] * len(prompts)
        extra = _Extra(len(prompts))
        for part, places in rows.items():
            own = {name: _taken(value, places, len(prompts)) for name, value in arguments.items()}
            if "log_extra" in own:
                own["log_extra"] = extra.of(places)
            paid = self.parts[part](**own)
            for place, value in zip(places, paid, strict=True):
                scores[place] = None if value is None else value * self.weights[part]
            self._log(part, [value for value in paid if value is not None], given)
        extra.tell(given)
        return scores

    def _rows_of(self, given: Mapping[str, Any]) -> dict[str, list[int]]:
        """Return the rows of each part."""
        if self.by.column not in given:
            raise InputError(self._missing_column(visible_columns(list(given))))
        rows: dict[str, list[int]] = {}
        for place, value in enumerate(given[self.by.column]):
            if not self.by.is_told(value):
                raise InputError(value_without_reward(self.name, self.by, value))
            if (part := self.by.part_of(value)) is not None:
                rows.setdefault(part, []).append(place)
        return rows

    def _log(self, part: str, paid: Sequence[float], given: Mapping[str, Any]) -> None:
        if paid and "log_metric" in given:
            given["log_metric"](f"rewards/{self.name}/{part}", sum(paid) / len(paid))

    def _missing_column(self, there: list[str]) -> Diagnostic:
        has = listed(there) or "none beside the prompt"
        message = f'the reward "{self.name}" goes by the column "{self.by.column}", which the data has not'
        return Diagnostic(
            "missing-column", message, hint=did_you_mean(self.by.column, there) or f"columns: {has}"
        )


class _Extra:
    """Values that parts log per completion: a column has a place for every row, and a part fills its own."""

    def __init__(self, rows: int) -> None:
        self.rows, self.columns = rows, dict[str, list[Any]]()

    def of(self, places: Sequence[int]) -> Any:
        def log_extra(column: str, values: Sequence[Any]) -> None:
            found = self.columns.setdefault(column, [None] * self.rows)
            for place, value in zip(places, values, strict=True):
                found[place] = value

        return log_extra

    def tell(self, given: Mapping[str, Any]) -> None:
        for column, values in self.columns.items():
            given["log_extra"](column, values)


def value_without_reward(name: str, by: ByColumn, value: object) -> Diagnostic:
    """Return the error for a row whose value has no reward in the recipe."""
    key = key_of(value)
    rows = f'without "{by.column}"' if key is None else f'with "{key}" in the column "{by.column}"'
    message = f'the reward "{name}" names no reward for rows {rows}'
    there = listed(list(by.rewards))
    hint = f'name one in its "rewards" (there: {there}), or say "otherwise": a reward, or null for none'
    return Diagnostic("no-reward-for-value", message, hint=hint)


def _taken(value: Any, places: Sequence[int], rows: int) -> Any:
    """Return a column's values at `places`; other arguments unchanged."""
    is_column = isinstance(value, list | tuple) and len(value) == rows
    return [value[place] for place in places] if is_column else value
