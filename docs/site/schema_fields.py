"""The fields that the JSON Schemas of a recipe describe, section by section."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Schema = Mapping[str, Any]
Key = tuple[str, str]

METHODS = "methods.schema.json"
"""Which config a method takes: these have pages of their own."""
ANY_NUMBER = 10**6
"""A bound from here on keeps out what nothing could mean, and is not worth a word."""
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

DEFINES = {"type", "enum", "properties", "then"}


@dataclass(frozen=True)
class Field:
    """A row of a table of fields."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """An object of a recipe: its `path`, such as "stages[].pick", and its fields.

    `owned`: fields of the library's class that a recipe sets elsewhere, and where.
    """

    path: str
    meaning: str
    fields: list[Field]
    owned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """A schema with its references followed, and the file that its own references are read from."""

    schema: Schema
    file: str
    key: Key | None


class Schemas:
    """The schema files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, Schema] = {}
        self._seen: set[Key] = set()

    def sections(self, file: str) -> list[Section]:
        """The object that `file` describes, then each object within it, once: where it stands least deep."""
        found: list[Section] = []
        waiting = [(self._node({"$ref": file}, ""), "")]
        while waiting:
            node, path = waiting.pop(0)
            if node.key is not None:
                if node.key in self._seen:
                    continue
                self._seen.add(node.key)
            parts = list(self._parts(node))
            fields = self._fields(parts)
            if fields:
                found.append(self._section(node, path, parts, fields))
            for name, one in fields.items():
                waiting += self._within(one, f"{path}.{name}" if path else name)
            for part in parts:
                waiting += self._variants(part, path, fields.keys())
        order = [one.name for one in found[0].fields]
        return found[:1] + sorted(found[1:], key=lambda one: (order.index(_first(one.path)), one.path))

    def _section(self, node: Node, path: str, parts: list[Node], fields: Mapping[str, Node]) -> Section:
        required = {name for part in parts for name in part.schema.get("required", ())}
        owned = {name: where for part in parts for name, where in part.schema.get("x-owned", {}).items()}
        rows = [self._field(name, found, name in required) for name, found in fields.items()]
        return Section(path, str(node.schema.get("description", "")), rows, owned)

    def _within(self, node: Node, path: str) -> Iterator[tuple[Node, str]]:
        """The objects that a field's value is, or that a list or a map of it holds, with their paths."""
        yield node, path
        for keyword, mark in (("items", "[]"), ("additionalProperties", ".NAME")):
            inner = node.schema.get(keyword)
            if isinstance(inner, dict):
                yield from self._within(self._node(inner, node.file), path + mark)

    def _variants(self, node: Node, path: str, known: Collection[str]) -> Iterator[tuple[Node, str]]:
        """What an object is under a condition."""
        conditional = [part for part in node.schema.get("allOf", ()) if "if" in part]
        for holder in [node.schema, *conditional]:
            several = bool(known) or {"then", "else"} <= holder.keys()
            for keyword in ("then", "else"):
                if keyword not in holder:
                    continue
                one = self._node(holder[keyword], node.file)
                own = {name for name, value in one.schema.get("properties", {}).items() if value is not True}
                title = one.schema.get("title")
                named = f"{path}: {title}" if title and several and not own <= set(known) else path
                if not own or not own <= set(known):
                    yield one, named

    def _parts(self, node: Node) -> Iterator[Node]:
        """`node`, and the schemas that it takes whole."""
        for part in node.schema.get("allOf", ()):
            if "if" not in part and part.get("$ref") != METHODS:
                yield from self._parts(self._node(part, node.file))
        yield node

    def _fields(self, parts: list[Node]) -> dict[str, Node]:
        """The fields of an object by name. A range alone, or what forbids a field, makes none."""
        fields: dict[str, Node] = {}
        for part in parts:
            for name, schema in part.schema.get("properties", {}).items():
                if not isinstance(schema, dict) or schema.get("not") == {}:
                    continue
                one, before = self._node(schema, part.file), fields.get(name)
                # Of the two, the schema written by hand alone has references, and it comes last.
                both = Node(_joined(before.schema, one.schema), one.file, before.key) if before else one
                fields[name] = both
        return {name: one for name, one in fields.items() if DEFINES & one.schema.keys()}

    def _node(self, schema: Schema, file: str) -> Node:
        """`schema` of `file` with `$ref` followed; what stands beside it wins."""
        key = None
        while "$ref" in schema:
            target, _, pointer = str(schema["$ref"]).partition("#")
            if target:
                file = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
            found: Any = self._file(file)
            for step in pointer.split("/")[1:]:
                found = found[step]
            beside = {name: value for name, value in schema.items() if name != "$ref"}
            key = (file, pointer)
            schema = _joined(found, beside)
        return Node(schema, file, key)

    def _file(self, file: str) -> Schema:
        if file not in self._read:
            self._read[file] = json.loads((self.folder / file).read_text("utf-8"))
        return self._read[file]

    def _field(self, name: str, node: Node, required: bool) -> Field:
        schema = node.schema
        default = "required" if required else _code(schema["default"]) if "default" in schema else "–"
        meaning = schema.get("description") or schema.get("x-elsewhere") or ""
        return Field(name, self._type(node), default, str(meaning))

    def _type(self, node: Node) -> str:
        schema = node.schema
        if "enum" in schema:
            return "one of " + ", ".join(_code(value) for value in schema["enum"])
        then = self._node(schema["then"], node.file).schema if "then" in schema else {}
        other = self._node(schema["else"], node.file).schema if "else" in schema else {}
        kinds = schema.get("type") or then.get("type") or ("object" if "properties" in then else "any")
        words = [self._kind(kind, node) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
        bounds = [
            f"{sign} {schema[keyword]}"
            for keyword, sign in BOUNDS.items()
            if keyword in schema and abs(schema[keyword]) < ANY_NUMBER
        ]
        values = then.get("enum") or other.get("enum") or ()
        values = [*values, *(form for form in other.get("x-forms", ()))]
        listed = ": " + ", ".join(_code(value) for value in values) if values else ""
        return " or ".join(words) + (" " + ", ".join(bounds) if bounds else "") + listed

    def _kind(self, kind: str, node: Node) -> str:
        items, values = node.schema.get("items"), node.schema.get("additionalProperties")
        if kind == "array" and isinstance(items, dict):
            return f"list of {self._type(self._node(items, node.file))}"
        if kind == "object" and isinstance(values, dict):
            inner = self._type(self._node(values, node.file))
            return "object" if inner in ("any", "object") else f"object of {inner}"
        return {"array": "list"}.get(kind, kind)


def _joined(first: Schema, second: Schema) -> Schema:
    """Both; the second wins, field by field."""
    both = {**first, **second}
    if "properties" in first and "properties" in second:
        own, other = first["properties"], second["properties"]
        shared = {name for name in own.keys() & other.keys() if isinstance(own[name], dict)}
        shared = {name for name in shared if isinstance(other[name], dict)}
        both["properties"] = {**own, **other, **{name: _joined(own[name], other[name]) for name in shared}}
    return both


def _first(path: str) -> str:
    """The key of a recipe that `path` begins with."""
    return re.split(r"[.\[:]", path)[0]


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"
