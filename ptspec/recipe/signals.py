"""What stages learn from beside their rows: rewards, judges, and models that no step changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptspec.recipe.by_column import ByColumn


@dataclass(frozen=True)
class SecondModel:
    """A model beside the policy, which no step changes: a reward model, a teacher.

    `path`: the name of a stage of the recipe, a folder (absolute), or a hub id, there at `revision` (None:
    its main branch). `shares_base`: whether it is the base itself, or an adapter of the recipe's over it."""

    path: str
    revision: str | None = None
    at: str = "/stages"
    shares_base: bool = False


@dataclass(frozen=True)
class RewardSpec:
    """`function` (built in, or "file.py:name"), `model` (a path, a hub id, or a reward stage), or `by`:
    others of the recipe, chosen row by row.

    `options` are the built-in function's own arguments (a `pattern`, a `max_length`, …), or a model's
    `revision`.
    """

    name: str
    function: str | None = None
    model: str | None = None
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    at: str = "/rewards"
    by: ByColumn | None = None

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit of a model on the hub; None for its main branch."""
        return self.options.get("revision")

    @property
    def second(self) -> SecondModel | None:
        """The model that scores; None of a function."""
        return None if self.model is None else SecondModel(self.model, self.revision, f"{self.at}/model")


@dataclass(frozen=True)
class JudgeSpec:
    """A pairwise preference P(a beats b): exactly one of `function`, `reward`, `endpoint` is set."""

    name: str
    function: str | None = None
    reward: str | None = None
    endpoint: str | None = None
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    at: str = "/judges"
