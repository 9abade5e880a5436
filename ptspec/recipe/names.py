"""Names in a recipe: those a stage may refer to, and valid names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ptspec.methods import trains_reward_model
from ptspec.recipe.findings import Findings
from ptspec.recipe.headers import NoShape
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import BASE, Stage
from ptspec.recipe.shape import ModelShape, read_shape

Value = dict[str, Any]

WINDOWS_DEVICES = frozenset(("con", "prn", "aux", "nul")) | {
    f"{d}{n}" for d in ("com", "lpt") for n in range(10)
}


class Names(NamedTuple):
    """Names that a stage may use: keys of /data, /rewards and /judges."""

    data: Sequence[str]
    rewards: Sequence[str]
    judges: Sequence[str]


@dataclass
class Chain:
    """The stages resolved so far, by name.

    `methods`: the method of each stage, None if invalid; `model`: the folder of the base model, None for a
    hub model. `matrix_of`: variant -> its stage with the matrix; `without_pick`: stages with a matrix without
    pick.
    """

    methods: Mapping[str, str | None]
    model: Path | None = None
    done: dict[str, Stage] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    matrix_of: Mapping[str, str] = field(default_factory=dict)
    without_pick: Sequence[str] = ()

    def policies(self, stage: str) -> list[str]:
        """Return the earlier stages that yield a policy, or may (invalid method).

        Of a matrix its own variants.
        """
        names = (self.own(name) for name in self.before if not trains_reward_model(self.methods[name]))
        return [name for name in dict.fromkeys(names) if name != self.own(stage)]

    def own(self, stage: str) -> str:
        """Return the stage's name in the recipe: of a variant the stage with the matrix."""
        return self.matrix_of.get(stage, stage)

    @cached_property
    def shape(self) -> ModelShape | None:
        """Return the base model's shape; None if unknown before loading."""
        try:
            return read_shape(self.model) if self.model is not None else None
        except NoShape:
            return None


def named(value: Sequence[Any]) -> Iterator[tuple[int, str, Value]]:
    """Yield index, name and value of each stage that has a name."""
    for index, given in enumerate(value):
        if isinstance(given, dict) and isinstance(given.get("name"), str):
            yield index, given["name"], given


def check_slug(name: str, at: str, findings: Findings, kind: str) -> None:
    """Report a reserved name of a folder; the schema checks the letters."""
    if name in WINDOWS_DEVICES:
        findings.error("reserved-name", at, f'"{name}" cannot be a folder on Windows', "choose another name")
    elif kind == "stage" and name == BASE:
        findings.error("reserved-name", at, f'"{BASE}" is the base model\'s own name', "choose another name")


def each(value: str | list[Any] | None, at: str) -> Iterator[tuple[str, str]]:
    """Yield pointer and text of a name, or of each of a list of names."""
    if isinstance(value, str):
        yield at, value
    for index, name in enumerate(value if isinstance(value, list) else []):
        if isinstance(name, str):
            yield join(at, index), name


_SECTIONS = {"unknown-data": "/data", "unknown-reward": "/rewards", "unknown-judge": "/judges"}


def check_known(name: str, at: str, code: str, known: Sequence[str], findings: Findings) -> None:
    """Report a `name` that is not a key of the section that `code` is about."""
    if name not in known:
        section = _SECTIONS[code]
        there = f"there: {listed(known)}" if known else f"{section} is empty"
        message = f'"{name}" is not in {section}'
        findings.error(code, at, message, did_you_mean(name, known) or there)
