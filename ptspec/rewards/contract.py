"""The signatures of rewards and judges, and the columns that a signature requests.

A reward is called by keyword, as in TRL; a judge by position. `ptspec.rewards.checked` checks return values.
"""

from __future__ import annotations

import inspect
from enum import Enum

from ptspec.data.layouts.table import WITHHELD

TEXTS = ("prompts", "completions", "a", "b")
"""The arguments that hold texts."""

HOOKS = ("trainer_state", "log_extra", "log_metric")
"""TRL's arguments of a reward besides texts and columns."""

Columns = tuple[tuple[str, ...], ...]
"""Columns that the data must have: one of each group."""


class Kind(Enum):
    """The purpose of a function: reward or judge."""

    REWARD = "reward"
    JUDGE = "judge"

    @property
    def signature(self) -> str:
        """The signature to write, in words."""
        return _SIGNATURES[self]


_SIGNATURES = {
    Kind.REWARD: "its signature is reward(prompts, completions, **columns) -> list[float | None]",
    Kind.JUDGE: "its signature is judge(prompts, a, b) -> list[float]",
}


def signature_fault(signature: inspect.Signature, kind: Kind) -> str | None:
    """Return why a function with `signature` cannot be called as a reward or judge, or None."""
    if kind is Kind.JUDGE:
        try:
            signature.bind("prompts", "a", "b")
        except TypeError as error:
            return f"it cannot be called with three arguments: {error}"
        return None
    parameters = signature.parameters.values()
    by_name = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unnamed = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if unnamed:
        return f'"{unnamed[0]}" cannot be given by name'
    if "completions" not in by_name and not takes_everything(signature):
        return 'it takes no "completions"'
    return None


def takes_everything(signature: inspect.Signature) -> bool:
    """Return whether the signature ends in `**columns`."""
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


def columns_of(signature: inspect.Signature) -> tuple[str, ...]:
    """Return the columns that a reward with `signature` requires, in its order."""
    given = (*TEXTS[:2], *HOOKS, "completion_ids")
    return tuple(
        p.name
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in given
    )


def visible_columns(given: list[str]) -> list[str]:
    """Return those of a reward's argument names that are columns of the data."""
    return [name for name in given if name not in (*TEXTS, *HOOKS, *WITHHELD)]
