"""The options of a built-in function: their types, and what is wrong with those a recipe gives.

Imports nothing heavy, so that a recipe can be checked by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """An option of a built-in reward. `types` are Python's; a bool is never taken for a number."""

    types: tuple[type, ...]
    help: str
    required: bool = False

    def takes(self, value: object) -> bool:
        return isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))


_TYPE_WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_TYPE_WORDS |= {dict: "an object", list: "a list"}


@dataclass(frozen=True)
class OptionFault:
    """What is wrong with the options of a reward; `option` None: with the reward as a whole."""

    option: str | None
    message: str
    hint: str


@dataclass(frozen=True)
class Options:
    """The options of the function `owner`; of those in `one_of`, exactly one must be given."""

    owner: str
    known: Mapping[str, Option]
    one_of: tuple[str, ...] = ()

    def faults(self, given: Mapping[str, object]) -> list[OptionFault]:
        """Everything wrong with the options `given`."""
        return [
            *_unknown(self, given),
            *_wrong_types(self, given),
            *_missing(self, given),
            *_bad_values(given),
        ]


def _unknown(of: Options, given: Mapping[str, object]) -> list[OptionFault]:
    known = ", ".join(of.known) or "none"
    return [
        OptionFault(key, f'"{key}" is no option of {of.owner}', f"options: {known}")
        for key in given
        if key not in of.known
    ]


def _wrong_types(of: Options, given: Mapping[str, object]) -> list[OptionFault]:
    return [
        OptionFault(
            key,
            f"{key} of {of.owner} is {json.dumps(value, default=str)}, "
            f"not {' or '.join(_TYPE_WORDS[t] for t in option.types)}",
            option.help,
        )
        for key, value in given.items()
        if (option := of.known.get(key)) and not option.takes(value)
    ]


def _missing(of: Options, given: Mapping[str, object]) -> list[OptionFault]:
    faults = [
        OptionFault(None, f'{of.owner} needs the option "{key}"', option.help)
        for key, option in of.known.items()
        if option.required and key not in given
    ]
    chosen = [key for key in of.one_of if key in given]
    if of.one_of and len(chosen) != 1:
        choice = " or ".join(f'"{key}"' for key in of.one_of)
        faults.append(OptionFault(None, f"{of.owner} needs either {choice}", "give exactly one of them"))
    return faults


def _bad_values(given: Mapping[str, object]) -> list[OptionFault]:
    """Values of the right type that cannot be used; those of a wrong type are somebody else's fault."""
    return [
        OptionFault(name, message, hint)
        for name, (check, hint) in _VALUES.items()
        if name in given and (message := check(given[name])) is not None
    ]


def _pattern(value: object) -> str | None:
    try:
        if isinstance(value, str):
            re.compile(value)
    except re.error as error:
        return f"not a regular expression: {error}"
    return None


def _tags(value: object) -> str | None:
    if isinstance(value, list) and not (value and all(isinstance(tag, str) and tag for tag in value)):
        return "tags is not a list of names"
    return None


def _words(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        return f"{value} words is no length"
    return None


def _schema(value: object) -> str | None:
    import jsonschema

    try:
        if isinstance(value, dict):
            jsonschema.validators.validator_for(value).check_schema(value)
    except jsonschema.SchemaError as error:
        return f"not a JSON Schema: {error.message}"
    return None


_VALUES: Mapping[str, tuple[Callable[[object], str | None], str]] = {
    "pattern": (_pattern, "Python's re syntax"),
    "tags": (_tags, 'such as ["think", "answer"]'),
    "max": (_words, "a number of words above 0"),
    "target": (_words, "a number of words above 0"),
    "schema": (_schema, "see json-schema.org"),
}
