"""Validate a document with the shipped JSON Schemas and return all errors in file order.

`ptspec.recipe.wording` has the messages, `ptspec.recipe.resolve` the checks that span several places.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from sys import float_info
from typing import TYPE_CHECKING, Any

from ptspec.diagnostics import Diagnostic
from ptspec.methods import METHODS
from ptspec.recipe.document import Document
from ptspec.shipped import BASE, RECIPE, schema

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

COMMON = (
    RECIPE,
    "methods.schema.json",
    "trainer.schema.json",
    "sampling.schema.json",
    "deepspeed.schema.json",
    "rewards.schema.json",
    "judges.schema.json",
    "peft/lora.schema.json",
    "bnb/bitsandbytes.schema.json",
)
"""The schemas that every recipe is validated with."""

_BESIDE_A_VALUE = frozenset(("missing-key", "bad-key"))


def check(document: Document) -> list[Diagnostic]:
    """Return every schema error of `document`, in file order, one per place."""
    found: dict[tuple[str | None, str], Diagnostic] = {}
    errors = sorted(_validator(_methods(document)).iter_errors(document.value), key=_priority)
    if not errors:
        return []
    from ptspec.recipe.wording import word

    for error in errors:
        for diagnostic in word(error, document):
            kind = diagnostic.message if diagnostic.code in _BESIDE_A_VALUE else "value"
            found.setdefault((diagnostic.pointer, kind), diagnostic)
    return in_file_order(_without_echo(list(found.values())))


def _without_echo(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Drop missing keys that are present, but misspelt."""
    meant = {
        (diagnostic.pointer.rpartition("/")[0], diagnostic.hint)
        for diagnostic in diagnostics
        if diagnostic.code == "unknown-key" and diagnostic.pointer is not None
    }
    return [d for d in diagnostics if d.code != "missing-key" or (d.pointer, _misspelt(d)) not in meant]


def _misspelt(missing: Diagnostic) -> str:
    return f"did you mean {missing.message.rpartition(' needs ')[2]}?"


def in_file_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return the diagnostics by line and column; those without a line (an override, another file) last."""

    def place(diagnostic: Diagnostic) -> tuple[bool, int, int]:
        where = diagnostic.location
        if where is None or where.line is None:
            return True, 0, 0
        return False, where.line, where.column or 0

    return sorted(diagnostics, key=place)


def _methods(document: Document) -> frozenset[str]:
    """Return the recipe's methods: only their schemas are read."""
    stages = document.value.get("stages")
    given = [one.get("method") for one in stages if isinstance(one, dict)] if isinstance(stages, list) else []
    return frozenset(name for name in METHODS if name in given)


@cache
def _validator(methods: frozenset[str]) -> Validator:
    from jsonschema.validators import Draft202012Validator, extend
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    types = Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number})
    strict = extend(Draft202012Validator, type_checker=types)  # type: ignore[no-untyped-call]
    names = [*COMMON, *(f"{folder}/{name}.schema.json" for name in methods for folder in ("methods", "trl"))]
    # Given as a whole: a retrieving registry searches its contents at each reference.
    resources = [(f"{BASE}{name}", DRAFT202012.create_resource(schema(name))) for name in names]
    registry: Registry[Any] = Registry().with_resources(resources)
    validator: Validator = strict({"$ref": f"{BASE}{RECIPE}"}, registry=registry)
    return validator


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(_: object, value: object) -> bool:
    """Return whether a value is a number; an integer may exceed a double."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max


def _priority(error: Any) -> tuple[int, float]:
    """Return the order of errors about one value: a wrong type first, except for a number out of range."""
    if error.validator == "maximum":
        return 2, error.validator_value
    too_large = isinstance(error.instance, int) and not isinstance(error.instance, bool)
    return {"type": 4 if too_large else 0, "enum": 1, "const": 1}.get(error.validator, 3), 0
