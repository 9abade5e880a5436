"""Recognise a config's program and its method."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.methods import METHODS, all_of_them, find
from ptspec.methods.types import Method
from ptspec.recipe.hints import listed, method_elsewhere
from ptspec.recipe.trl_defaults import trl_defaults
from ptspec.starter.from_configs import axolotl, handbook, llamafactory, trl
from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.rewards import SCORED

Values = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """One of the programs.

    Whether a file is of it, how its file names the method (None: it does not), what is its own in a file, and
    its defaults.
    """

    name: str
    knows: Callable[[Values], bool]
    method: Callable[[Mapping[str, Any]], str | None] | None
    fill: Callable[[Draft], None]
    defaults: Mapping[str, Any]


PROGRAMS = (
    Program(axolotl.NAME, axolotl.knows, axolotl.method, axolotl.fill, axolotl.DEFAULTS),
    Program(
        llamafactory.NAME, llamafactory.knows, llamafactory.method, llamafactory.fill, llamafactory.DEFAULTS
    ),
    Program(handbook.NAME, handbook.knows, None, handbook.fill, {}),
    Program(trl.NAME, trl.knows, None, trl.fill, {}),
)
"""The first that knows a file is taken."""


def program_of(values: Values, file: Path) -> Program:
    """The program whose config has these keys. Raises `InputError` where none has."""
    found = next((one for one in PROGRAMS if one.knows(values)), None)
    if found is None:
        names = ", ".join(one.name for one in PROGRAMS)
        message = f"is a config of none of {names}: its keys are {listed(values, 8)}"
        hint = "they name a model: base_model (axolotl), model_name_or_path (the others)"
        raise InputError(Diagnostic("unreadable-config", message, Location(str(file)), hint=hint))
    return found


def method_of(program: Program, values: Values, file: Path, asked: str | None) -> Method:
    """The method of a file: what it says, `asked` where it says nothing, else by its path and keys.

    Raises `InputError` where nothing tells, or there is no such method here.
    """
    said = program.method(values) if program.method is not None else None
    name = said or asked or _told_by(values, file)
    if name is None:
        hint = f"add --method: {listed(METHODS)} (in TRL the command says it)"
        message = "does not say what it trains with"
        raise InputError(Diagnostic("unknown-method", message, Location(str(file)), hint=hint))
    found = _method(name)
    if found is None:
        hint = method_elsewhere(name) or f"methods: {listed(METHODS)}"
        message = f'trains with "{name}", and there is no such method here'
        raise InputError(Diagnostic("unknown-method", message, Location(str(file)), hint=hint))
    if asked is not None and asked != found.name:
        message = f'trains with {found.name}, and --method says "{asked}"'
        raise InputError(Diagnostic("wrong-usage", message, Location(str(file)), hint="leave --method out"))
    return found


def _method(name: str) -> Method | None:
    """The method that others call `name`: by its name, or as what it is with other settings."""
    known = all_of_them()
    aliases = (
        (one, (*one.aliases, *(word for each in one.variants for word in each.aliases))) for one in known
    )
    return find(name) or next((one for one, words in aliases if name in words), None)


def _told_by(values: Values, file: Path) -> str | None:
    """Return the method in the file's name, else in its folder's.

    Else the one whose config alone has its keys.
    """
    whole = file.resolve()
    for name in (whole.stem, whole.parent.name):
        words = re.split(r"[^a-z]+", name.lower())
        if found := next((one for one in METHODS if one in words), None):
            return found
    scored = "reward_funcs" in values
    known = {
        one.name: trl_defaults(one.name) for one in all_of_them() if not scored or one.feedback in SCORED
    }
    fields = [key for key in values if any(key in defaults for defaults in known.values())]
    fitting = [name for name, defaults in known.items() if all(key in defaults for key in fields)]
    return fitting[0] if len(fitting) == 1 else None
