"""JSON against a schema of the user's.

Nothing is fetched: a `$ref` leads somewhere in the schema itself, or to a meta-schema that jsonschema ships.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ptspec.rewards.json_text import json_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Schema = dict[str, Any]


class OptionFault(NamedTuple):
    """What is wrong with the value of an option, and the steps from it to the place."""

    message: str
    steps: tuple[str | int, ...] = ()


_REFERENCES = ("$ref", "$dynamicRef")


def validator_of(schema: Schema) -> Validator:
    """The validator of `schema` that retrieves nothing, neither over a network nor from a file."""
    from jsonschema.validators import validator_for
    from referencing import Registry

    made: Validator = validator_for(schema)(schema, registry=Registry())
    return made


def fits(validator: Validator, text: str) -> bool:
    """Whether `text` is JSON that fits.

    What is nested too deep to be judged, or holds numbers that cannot be calculated with, does not."""
    found = json_of(text)
    try:
        return found is not None and validator.is_valid(found[0])
    except (ValueError, ArithmeticError, RecursionError):
        return False


def schema_fault(schema: Schema) -> OptionFault | None:
    """Why `schema` cannot be judged by: it is no JSON Schema, or a reference of it leads nowhere."""
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
    """A reference that does not resolve, of all that can be reached from `schema`."""
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
                except (Unresolvable, ValueError, TypeError):  # no address, or a pointer through a number
                    steps = (*(_steps_to(contents, schema) or ()), keyword)
                    return OptionFault(
                        f'"{reference}" is nowhere in the schema, and nothing is fetched', steps
                    )
                todo.append((specification.create_resource(found.contents), found.resolver))
    return None


def _steps_to(part: object, whole: Any) -> tuple[str | int, ...] | None:
    """The keys that lead from `whole` to `part`, the very object; None where it is not in there."""
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
