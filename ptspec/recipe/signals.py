"""What stages learn from besides their rows: rewards, judges, and frozen models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptspec.recipe.by_column import ByColumn


@dataclass(frozen=True)
class SecondModel:
    """A frozen model besides the policy: a reward model, a teacher.

    `path`: a stage's name, a folder (absolute), or a hub id at `revision` (None: main). `shares_base`: it is
    the base itself, or the recipe's adapter over it.
    """

    path: str
    revision: str | None = None
    at: str = "/stages"
    shares_base: bool = False


@dataclass(frozen=True)
class RewardSpec:
    """A reward: exactly one of `function`, `model`, `by`.

    `function` (built in, or "file.py:name"), `model` (a path, a hub id, or a reward stage), or `by`: others
    of the recipe, chosen row by row. `options`: the built-in function's arguments (a `pattern`, a
    `max_length`, …), or a model's `revision`.
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
        """Branch, tag or commit of a hub model; None for its main branch."""
        return self.options.get("revision")

    @property
    def second(self) -> SecondModel | None:
        """The model that scores; None for a function."""
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
