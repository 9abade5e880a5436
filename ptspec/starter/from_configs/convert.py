"""Convert config files to a recipe: read, recognise the program, carry keys over, join, check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.effective_config import with_defaults
from ptspec.starter.from_configs.chain import recipe_of
from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.fields import carry_rest
from ptspec.starter.from_configs.programs import method_of, program_of
from ptspec.starter.from_configs.settle import settled
from ptspec.starter.from_configs.shapes import check_shapes
from ptspec.starter.from_configs.yaml_file import read_config
from ptspec.starter.place import schema_key


@dataclass(frozen=True)
class Converted:
    """A recipe, and of each file what was carried, left and is otherwise (`drafts`, in the stages' order)."""

    recipe: dict[str, Any]
    drafts: tuple[Draft, ...]


def converted(files: Sequence[Path], asked: Sequence[str], target: Path) -> Converted:
    """Return the recipe of `files`, each of them a stage, checked as it would stand at `target`.

    `asked`: the methods that the user names for them, in their order, or none. Raises `InputError` if a file
    cannot be read, is of an unknown program, trains with an unsupported method, or makes no valid recipe.
    """
    drafts = [_draft(file, asked[index] if asked else None) for index, file in enumerate(files)]
    schema = schema_key()
    recipe = settled(schema | recipe_of(drafts), drafts, target)
    return Converted(recipe, tuple(drafts))


def _draft(file: Path, asked: str | None) -> Draft:
    values = read_config(file)
    program = program_of(values, file)
    check_shapes(values, file)
    draft = Draft(file, program.name, method_of(program, values, file, asked), dict(values))
    draft.write("/model", {})
    draft.part("config")
    program.fill(draft)
    if "data" not in draft.part("stage"):
        message = f"is of {program.name}, and names no rows to train on"
        told = Diagnostic("unreadable-config", message, Location(str(file)), hint="a config that trains")
        raise InputError(told)
    carry_rest(draft)
    known = {name: value for name, value in program.defaults.items() if name in draft.config_fields}
    config = draft.part("config")
    if config.get("max_steps", -1) > 0:
        known.pop("num_train_epochs", None)
        _drop_epochs(draft, config)
    draft.write_defaults("config", known, with_defaults(draft.method, {}))
    return draft


def _drop_epochs(draft: Draft, config: dict[str, Any]) -> None:
    """Leave the epochs out where the steps are given, which override them."""
    if (epochs := config.pop("num_train_epochs", None)) is not None:
        (key,) = [one.key for one in draft.carried if one.place == "/config/num_train_epochs"]
        draft.carried[:] = [one for one in draft.carried if one.key != key]
        draft.leave(key, epochs, "max_steps overrides it")
