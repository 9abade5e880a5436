"""Validate JSON against a user's schema.

Nothing is fetched: a `$ref` refers into the schema itself, or to a meta-schema that jsonschema ships.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ptspec.rewards.json_text import json_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Schema = dict[str, Any]


class OptionFault(NamedTuple):
    """An error in the value of an option, and the path to it."""

    message: str
    steps: tuple[str | int, ...] = ()


_REFERENCES = ("$ref", "$dynamicRef")


def validator_of(schema: Schema) -> Validator:
    """Return the validator of `schema`, which retrieves nothing from network or files."""
    from jsonschema.validators import validator_for
    from referencing import Registry

    made: Validator = validator_for(schema)(schema, registry=Registry())
    return made


def fits(validator: Validator, text: str) -> bool:
    """Return whether `text` is JSON that conforms.

    False for JSON that is nested too deep, or holds numbers too large to compute with.
    """
    found = json_of(text)
    try:
        return found is not None and validator.is_valid(found[0])
    except (ValueError, ArithmeticError, RecursionError):
        return False


def schema_fault(schema: Schema) -> OptionFault | None:
    """Return why `schema` is unusable: an invalid JSON Schema, or an unresolvable reference."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        return OptionFault(f"not a JSON Schema: {error.message}", tuple(error.absolute_path))
    except RecursionError:
        return OptionFault("nested too deep")
    return _lost_reference(schema)


def _lost_reference(schema: Schema) -> OptionFault | None:
    """Return a reachable reference that does not resolve, if any."""
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import SchemaResource, specification_with

    dialect = validator_for(schema).META_SCHEMA["$schema"]
    specification = specification_with(dialect)
    root: SchemaResource = specification.create_resource(schema)
    todo = [(root, REGISTRY.resolver_with_root(root))]
    seen = set()
    while todo:
        resource, resolver = todo.pop()
        if id(resource.contents) in seen:
            continue
        seen.add(id(resource.contents))
        todo += [(part, resolver.in_subresource(part)) for part in resource.subresources()]
        contents = resource.contents if isinstance(resource.contents, dict) else {}
        for keyword in _REFERENCES:
            if isinstance(reference := contents.get(keyword), str):
                try:
                    found = resolver.lookup(reference)
                except (Unresolvable, ValueError, TypeError):  # not an address, or a pointer through a number
                    steps = (*(_steps_to(contents, schema) or ()), keyword)
                    return OptionFault(
                        f'"{reference}" is nowhere in the schema, and nothing is fetched', steps
                    )
                todo.append((specification.create_resource(found.contents), found.resolver))
    return None


def _steps_to(part: object, whole: Any) -> tuple[str | int, ...] | None:
    """Return the keys from `whole` to the object `part`; None if it is not inside."""
    if part is whole:
        return ()
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(whole, dict):
        inner = whole.items()
    elif isinstance(whole, list):
        inner = enumerate(whole)
    for key, value in inner:
        if (below := _steps_to(part, value)) is not None:
            return (key, *below)
    return None
