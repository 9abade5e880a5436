"""Writes the schemas that follow from the libraries: `python -m ptspec.schemagen [--check]`.

`schemas/trl/<method>.schema.json` from each method's config dataclass, `schemas/peft/` from `LoraConfig`,
`schemas/bnb/` from `BitsAndBytesConfig`, and `schemas/methods.schema.json`, which ties a stage's `config`
to its `method`. A development tool: the only module of `pt validate`'s world that imports the libraries.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import chain
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from ptspec import methods
from ptspec.methods.merge import MERGE
from ptspec.methods.owned import owned

SCHEMAS = Path(__file__).parent.parent / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"

LARGEST = 2**53 - 1
"""Of an integer: what every reader of JSON takes exactly (RFC 8259, section 6)."""

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

# Where the annotation is looser than what the class takes, or says nothing.
_CORRECTIONS: dict[str, Schema] = {
    "LoraConfig.rank_pattern": _PATTERN,
    "LoraConfig.alpha_pattern": _PATTERN,
    "BitsAndBytesConfig.bnb_4bit_compute_dtype": {"type": ["string", "null"]},
    "BitsAndBytesConfig.bnb_4bit_quant_storage": {"type": ["string", "null"]},
    "BitsAndBytesConfig.llm_int8_skip_modules": {"type": ["array", "null"], "items": {"type": "string"}},
}

_DATA_PASS = "needs a pass over data before the adapter is put on, which is not made here"

_LOFTQ = "LoftQ puts quantised weights in place of the base's, and only over those is what it saves right"

# Values that the annotation allows and that cannot work here, and why.
_REFUSED: dict[str, dict[str, str]] = {
    "LoraConfig.init_lora_weights": {
        "eva": f"EVA {_DATA_PASS}",
        "corda": f"CorDA {_DATA_PASS}",
        "loftq": f"{_LOFTQ}: use_qlora with the default",
    },
}

# Set by the interpreter or by PEFT itself, or not for training a causal language model.
_LORA_OWNED = {
    "task_type": "set by the method; leave it out",
    "peft_type": "always LORA; leave it out",
    "auto_mapping": "set by PEFT; leave it out",
    "peft_version": "set by PEFT; leave it out",
    "base_model_name_or_path": "goes to /model/path",
    "revision": "goes to /model/revision",
    "inference_mode": "a stage trains its adapter; leave it out",
    "eva_config": f"EVA {_DATA_PASS}",
    "corda_config": f"CorDA {_DATA_PASS}",
    "loftq_config": _LOFTQ,
    "lora_ga_config": f"LoRA-GA {_DATA_PASS}",
    "kasa_config": "KaSA needs terms in the loss that no trainer here has",
    "monteclora_config": "MonteCLoRA needs a term in the loss that no trainer here has",
    "arrow_config": "Arrow routes between adapters that are trained already",
    "use_bdlora": "BD-LoRA cannot be merged or stacked here; leave it out",
    "runtime_config": "PEFT does not save it; leave it out",
}
# Keys of a recipe's adapter that stand beside the LoraConfig fields; recipe.schema.json describes them.
_BESIDE_LORA = ("use_lora", "use_qlora", "quantization")


def schema_of(hint: Any) -> Schema | None:
    """The JSON Schema of a type annotation, or None if JSON cannot express it."""
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
        name: {**schema, **_shown_default(default), **({"description": text} if text else {})}
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
    """Name, schema, default and help of each field of a config dataclass that JSON can express; `types` are
    the schemas of fields whose annotation says too little."""
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
    # An enum in "else", and not a pattern for all: one that is misspelt is told by the nearest value.
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


def _arguments_of(config: type) -> Iterator[tuple[str, Schema, Any, str]]:
    """The same for a class whose fields are the arguments of `__init__`; types follow the defaults."""
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


def config_schema(
    title: str,
    fields: Iterator[tuple[str, Schema, Any, str]],
    reserved: Mapping[str, str],
    beside: tuple[str, ...] = (),
) -> Schema:
    """An object schema with one property a field, the reserved ones under `x-owned` instead.

    `beside` are keys allowed here whose schema stands elsewhere.
    """
    properties: Schema = dict.fromkeys(("$comment", *beside), True)
    taken = {}
    for name, schema, default, text in fields:
        if name in reserved:
            taken[name] = reserved[name]
            continue
        properties[name] = {**schema, **_shown_default(default), **({"description": text} if text else {})}
    return {
        "$schema": DRAFT,
        "$comment": "generated by python -m ptspec.schemagen; do not edit",
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "x-owned": taken,
    }


def _shown_default(default: Any) -> Schema:
    value = default.value if isinstance(default, Enum) else default
    value = list(value) if isinstance(value, tuple | set) else value
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return {}
    return {"default": value}


_STOPPING: tuple[tuple[str, Schema, Any, str], ...] = (
    (
        "early_stopping_patience",
        {"type": ["integer", "null"], "minimum": 1, "maximum": LARGEST},
        None,
        "Ends the training after so many evaluations in a row in which metric_for_best_model is no better "
        "than it was. (transformers' EarlyStoppingCallback.)",
    ),
    (
        "early_stopping_threshold",
        {"type": "number", "minimum": 0},
        0.0,
        "How much metric_for_best_model must improve to count. (transformers' EarlyStoppingCallback.)",
    ),
)
"""Fields of a stage's config that stand in a callback of transformers, and in no config class."""


def stage_schema() -> Schema:
    """Which methods there are, and the schema of `config` for each."""
    titles = [f"{one.name}: {one.title}" for one in (*methods.all_of_them(), MERGE)]
    return {
        "$schema": DRAFT,
        "$comment": "generated by python -m ptspec.schemagen; do not edit",
        "title": "A stage's method and its config",
        "properties": {"method": {"enum": [*methods.METHODS, MERGE.name], "description": "; ".join(titles)}},
        "allOf": [_when(name) for name in methods.METHODS],
    }


def _when(method: str) -> Schema:
    return {
        "if": {"properties": {"method": {"const": method}}, "required": ["method"]},
        "then": {"properties": {"config": {"$ref": f"methods/{method}.schema.json"}}},
    }


def generate() -> dict[str, Schema]:
    """Path below `schemas/` -> content, for every generated file."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig

    files: dict[str, Callable[[], Schema]] = {
        "methods.schema.json": stage_schema,
        "peft/lora.schema.json": lambda: config_schema(
            "LoraConfig", fields_of(LoraConfig), _LORA_OWNED, _BESIDE_LORA
        ),
        "bnb/bitsandbytes.schema.json": lambda: config_schema(
            "BitsAndBytesConfig", _arguments_of(BitsAndBytesConfig), {}
        ),
    }
    generated = {path: make() for path, make in files.items()}
    for name in methods.METHODS:
        method = methods.get(name)
        config = resolve_name(method.config)
        generated[f"trl/{name}.schema.json"] = config_schema(
            config.__name__, chain(fields_of(config, method.field_types), _STOPPING), owned(method)
        )
    return generated


def render(schema: Schema) -> str:
    """One property a line: a diff after an upgrade shows what changed, and the file stays small."""
    head = {key: value for key, value in schema.items() if key not in ("properties", "x-owned")}
    parts = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    for key in ("properties", "x-owned"):
        if key in schema:
            lines = [
                f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in schema[key].items()
            ]
            parts.append(f" {json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def stale() -> list[str]:
    """The generated files that are not what the installed libraries give."""
    return [
        path
        for path, schema in generate().items()
        if not (SCHEMAS / path).is_file() or (SCHEMAS / path).read_text("utf-8") != render(schema)
    ]


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        paths = stale()
        for path in paths:
            print(f"schemas/{path} is not current: run python -m ptspec.schemagen", file=sys.stderr)
        return 1 if paths else 0
    for path, schema in generate().items():
        target = SCHEMAS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render(schema), "utf-8")
        print(f"schemas/{path}: {len(schema.get('properties', {}))} fields")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
