"""JSON Schemas of a class's fields from their annotations: dataclasses, and arguments of `__init__`."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

LARGEST = 2**53 - 1
"""Largest integer that every JSON reader represents exactly (RFC 8259, section 6)."""

Schema = dict[str, Any]

_JSON_TYPES: dict[Any, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    dict: "object",
    list: "array",
}

NONE: Mapping[str, Mapping[str, Any]] = {}
"""No field's type is stated beside its annotation."""

_ORDER = ("boolean", "integer", "number", "string", "array", "object", "null")

_PATTERN: Schema = {
    "type": ["object", "null"],
    "properties": {"$comment": True},
    "additionalProperties": {"type": "integer", "minimum": 1},
}

# Fields whose annotation is looser than what the class accepts.
_CORRECTIONS: dict[str, Schema] = {
    "LoraConfig.rank_pattern": _PATTERN,
    "LoraConfig.alpha_pattern": _PATTERN,
    "BitsAndBytesConfig.bnb_4bit_compute_dtype": {"type": ["string", "null"]},
    "BitsAndBytesConfig.bnb_4bit_quant_storage": {"type": ["string", "null"]},
    "BitsAndBytesConfig.llm_int8_skip_modules": {"type": ["array", "null"], "items": {"type": "string"}},
}

DATA_PASS = "needs a pass over data before the adapter is put on, which is not made here"

LOFTQ = "LoftQ puts quantised weights in place of the base's, and only over those is what it saves right"

# Values that the annotation allows and that are unsupported, with the reason.
_REFUSED: dict[str, dict[str, str]] = {
    "LoraConfig.init_lora_weights": {
        "eva": f"EVA {DATA_PASS}",
        "corda": f"CorDA {DATA_PASS}",
        "loftq": f"{LOFTQ}: use_qlora with the default",
    },
}


def schema_of(hint: Any) -> Schema | None:
    """Return the JSON Schema of a type annotation; None if JSON cannot express it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin in (typing.Union, types.UnionType):
        return _union([schema for arg in arguments if (schema := schema_of(arg)) is not None])
    if origin is typing.Literal:
        return _enumeration(list(arguments))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _nested(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enumeration([member.value for member in hint])
    if origin is list:
        return {"type": "array", **_items(arguments)}
    if origin is tuple:
        return {
            "type": "array",
            **_items(arguments[:1]),
            "minItems": len(arguments),
            "maxItems": len(arguments),
        }
    if origin is dict or origin is Mapping:
        values = schema_of(arguments[1])
        typed = {"properties": {"$comment": True}, "additionalProperties": values} if values else {}
        return {"type": "object", **typed}
    return {"type": _JSON_TYPES[hint]} if hint in _JSON_TYPES else None


def _items(arguments: tuple[Any, ...]) -> Schema:
    items = schema_of(arguments[0]) if arguments else None
    return {"items": items} if items else {}


def _enumeration(values: list[Any]) -> Schema:
    kinds = list(dict.fromkeys(_JSON_TYPES[type(value)] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}


def _nested(config: type) -> Schema:
    """A config within a config: an object with its fields."""
    fields = {
        name: {**schema, **shown_default(default), **({"description": text} if text else {})}
        for name, schema, default, text in fields_of(config)
    }
    return {
        "type": "object",
        "title": config.__name__,
        "additionalProperties": False,
        "properties": {"$comment": True, **fields},
    }


def _union(members: list[Schema]) -> Schema | None:
    """One schema with a list of types: `anyOf` would answer a mistake with one complaint a member."""
    if not members or {} in members:
        return {} if members else None
    merged: Schema = {"type": _types(members)}
    enums = [member.get("enum") for member in members]
    plain_string = any(member["type"] == "string" and "enum" not in member for member in members)
    # `SchedulerType | str` is what the command line needs: the string is a member's value.
    others = [m for m in members if "enum" not in m and m["type"] not in ("string", "null")]
    if any(enums) and not others:
        merged["enum"] = [value for enum in enums for value in enum or []]
        merged["enum"] += [None] if "null" in merged["type"] else []
    elif any(enums) and not plain_string:
        merged["enum"] = [value for enum in enums for value in enum or []] + [True, False]
    for keyword in ("title", "properties", "items", "additionalProperties", "minItems", "maxItems"):
        found = [member[keyword] for member in members if keyword in member]
        if len(found) == 1:
            merged[keyword] = found[0]
    return merged


def _types(members: list[Schema]) -> str | list[str]:
    """In a fixed order: `typing` caches unions by their members, in the order in which it met them first."""
    nested = [m["type"] if isinstance(m["type"], list) else [m["type"]] for m in members]
    found = {name for names in nested for name in names}
    ordered = [name for name in _ORDER if name in found]
    return ordered[0] if len(ordered) == 1 else ordered


def fields_of(
    config: type, types: Mapping[str, Mapping[str, Any]] = NONE
) -> Iterator[tuple[str, Schema, Any, str]]:
    """Yield name, schema, default and help of each field of a config dataclass.

    `types`: schemas of fields whose annotation is too loose. Fields that JSON cannot express are left out.
    """
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        if not field.init:
            continue
        key = f"{config.__name__}.{field.name}"
        stated = _CORRECTIONS.get(key) or types.get(field.name)
        schema = dict(stated) if stated is not None else schema_of(hints[field.name])
        if schema is None or schema.get("type") == "null":
            continue
        if "choices" in field.metadata and "enum" not in schema and stated is None:
            null = [None] if "null" in schema["type"] else []
            schema = {**schema, "enum": [*field.metadata["choices"], *null]}
        schema = _open_values(schema, _REFUSED.get(key, {}))
        yield field.name, _bounded(schema), _default(field), str(field.metadata.get("help") or "")


def _open_values(schema: Schema, refused: Mapping[str, str]) -> Schema:
    """`schema` without the values in `refused`; of a value such as "niter_[number]", any that fits it."""
    values = [value for value in schema.get("enum", ()) if value not in refused]
    forms = [value for value in values if isinstance(value, str) and "[" in value]
    if not (forms or refused):
        return schema
    # An enum in "else" instead of a pattern for all: a misspelling gets the nearest value as hint.
    pattern = "|".join(re.sub(r"\[[^]]*]", "[0-9]+", form) for form in forms)
    plain = [value for value in values if value not in forms]
    closed = {"enum": plain, "x-forms": forms, "x-refused": refused}
    rest = {key: value for key, value in schema.items() if key != "enum"}
    return {**rest, "if": {"type": "string", "pattern": f"^({pattern})$"}, "else": closed}


def _bounded(schema: Schema) -> Schema:
    """`schema` with a largest value for every integer that has none."""
    bounded = {
        key: _bounded(value)
        if isinstance(value, dict) and key in ("items", "additionalProperties")
        else value
        for key, value in schema.items()
    }
    kinds = schema.get("type", ())
    if "integer" in ([kinds] if isinstance(kinds, str) else kinds) and "enum" not in schema:
        bounded.setdefault("maximum", LARGEST)
    return bounded


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def arguments_of(config: type) -> Iterator[tuple[str, Schema, Any, str]]:
    """Yield the same for a class whose fields are arguments of `__init__`; types follow the defaults."""
    helps = _docstring_arguments(inspect.getdoc(config) or "")
    for name, parameter in inspect.signature(config).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        schema = _CORRECTIONS.get(f"{config.__name__}.{name}") or {
            "type": _JSON_TYPES[type(parameter.default)]
        }
        yield name, _bounded(schema), parameter.default, helps.get(name, "")


def _docstring_arguments(doc: str) -> dict[str, str]:
    found = re.findall(r"^    (\w+) \(.*\):\n((?:        .*\n?)+)", doc, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def shown_default(default: Any) -> Schema:
    """Return {"default": value} if JSON can express the default, else {}."""
    value = default.value if isinstance(default, Enum) else default
    value = list(value) if isinstance(value, tuple | set) else value
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return {}
    return {"default": value}
