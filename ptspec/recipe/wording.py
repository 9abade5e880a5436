"""Messages for jsonschema's errors: what is wrong at which place, and a hint.

Uses the keywords of the shipped schemas: `title` names an object ("a stage", "DPOConfig"), `x-owned` lists
reserved keys and the fields to use, `x-words` describes a pattern, `x-missing` which key of several is
needed, `x-forms` values with a variable part, `x-refused` unsupported values and why, `x-elsewhere` where a
setting belongs, `x-secret` a value that may be a secret and is not repeated, with its hint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from ptspec.diagnostics import Diagnostic
from ptspec.methods import METHODS
from ptspec.methods.owned import OWNED
from ptspec.recipe.document import Document
from ptspec.recipe.hints import did_you_mean, elsewhere, listed, method_elsewhere
from ptspec.recipe.json_pointer import at, join, split
from ptspec.shipped import schema as shipped


class Complaint(Protocol):
    """The used parts of a `jsonschema.ValidationError`: the failed keyword, on what, and where."""

    validator: Any
    validator_value: Any
    instance: Any
    schema: Any

    @property
    def absolute_path(self) -> Iterable[Any]:
        """Steps to the value in the document."""
        ...

    @property
    def absolute_schema_path(self) -> Iterable[Any]:
        """Steps to the keyword in the schema."""
        ...


_KINDS = {
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object {…}",
    "null": "null",
}
_NUMBERS = {"number", "integer"}
SET = "--set"
"""File name shown for a value from the command line."""
_SWITCHES = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "greater than",
    "exclusiveMaximum": "less than",
}


def word(error: Complaint, document: Document) -> Iterator[Diagnostic]:
    """Yield the diagnostics of `error`; several if it names several keys."""
    keyword = str(error.validator)
    if "propertyNames" in list(error.absolute_schema_path):
        yield _bad_name(error, document)
    elif keyword == "additionalProperties":
        yield from _unknown_keys(error, document)
    elif keyword == "required":
        yield from _missing_keys(error, document)
    elif keyword in _BOUNDS:
        bound = f"must be {_BOUNDS[keyword]} {error.validator_value}"
        yield _fault("out-of-range", bound, error, document, _schema(error).get("x-words"))
    else:
        yield _WORDS.get(keyword, _other)(error, document)


def shown(value: Any) -> str:
    """Return a JSON value, shortened to fit a line."""
    if isinstance(value, dict | list):
        return "an object {…}" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 48 else f"{text[:45]}…{text[-1]}"


def subject(pointer: str) -> str:
    """Return the name of the value at `pointer`: "beta", loss_type[1]."""
    steps = split(pointer)
    if not steps:
        return "the recipe"
    if steps[-1].isdecimal() and len(steps) > 1:
        return f"{steps[-2]}[{steps[-1]}]"
    return f'"{steps[-1]}"'


def _pointer(error: Complaint) -> str:
    return join("", *error.absolute_path)


def _fault(
    code: str, predicate: str, error: Complaint, document: Document, hint: str | None = None
) -> Diagnostic:
    pointer, secret = _pointer(error), _schema(error).get("x-secret")
    value = "" if secret else f"{shown(error.instance)}, "
    message = f"{subject(pointer)} is {value}{predicate}"
    return Diagnostic(code, message, document.locate(pointer), pointer, secret or hint)


def _wrong_type(error: Complaint, document: Document) -> Diagnostic:
    wanted = error.validator_value
    kinds = [wanted] if isinstance(wanted, str) else list(wanted)
    if isinstance(error.instance, int) and not isinstance(error.instance, bool) and _NUMBERS & set(kinds):
        return _fault("out-of-range", "beyond what 64 bits hold", error, document)
    words = " or ".join(_KINDS[kind] for kind in kinds)
    hint = _write_instead(error, kinds) or _as_matrix(error, kinds, document)
    return _fault("wrong-type", f"not {words}", error, document, hint)


def _write_instead(error: Complaint, kinds: list[str]) -> str | None:
    value, schema = error.instance, error.schema
    if isinstance(value, str):
        if "boolean" in kinds and value.lower() in _SWITCHES:
            return f"write {_SWITCHES[value.lower()]}, without quotes"
        if _NUMBERS & set(kinds) and _is_number(value):
            return f"write {value}, without quotes"
        if "object" in kinds and isinstance(schema, dict) and schema.get("title") == "a source":
            return f'write {{"path": {json.dumps(value, ensure_ascii=False)}}}'
    if isinstance(value, float) and value.is_integer() and "integer" in kinds:
        return f"write {int(value)}"
    if kinds == ["string"] and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return f"write {json.dumps(value[0], ensure_ascii=False)}: one name, no list"
    if "array" in kinds and isinstance(value, str | dict):
        return "put it in a list: [ … ]"
    if "boolean" in kinds and value in (0, 1):
        return f"write {'true' if value else 'false'}"
    if value is None:
        return "leave the key out for the default"
    return None


def _as_matrix(error: Complaint, kinds: list[str], document: Document) -> str | None:
    """Return how to try several values of a config field."""
    pointer = _pointer(error)
    steps = split(pointer)
    if not isinstance(error.instance, list) or not error.instance or "array" in kinds:
        return None
    if not _in_config(steps) or len(steps) != 4:
        return None
    values = json.dumps(error.instance, ensure_ascii=False)
    values = values if len(values) <= 48 else "[…]"
    if document.locate(pointer).file == SET:
        stage = at(document.value, f"/stages/{steps[1]}/name") or steps[1]
        return f"to try each of them: --set 'stages.{stage}.matrix.{steps[3]}={values}'"
    return f'to try each of them: "matrix": {{"{steps[3]}": {values}}} in the stage, beside "config"'


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(json.loads(text)))
    except (ValueError, TypeError):
        return False


def _not_one_of(error: Complaint, document: Document) -> Diagnostic:
    schema = _schema(error)
    if (place := schema.get("x-elsewhere")) is not None:
        pointer = _pointer(error)
        message = f"{subject(pointer)} is not set here"
        return Diagnostic("owned-key", message, document.locate(pointer), pointer, place)
    allowed = [value for value in (*error.validator_value, *schema.get("x-forms", ())) if value is not None]
    near = did_you_mean(error.instance, map(str, allowed)) if isinstance(error.instance, str) else None
    near = schema.get("x-refused", {}).get(error.instance, near) if isinstance(error.instance, str) else near
    if list(error.absolute_path)[-1:] == ["method"]:
        near = method_elsewhere(str(error.instance)) or near
    choice = "one of " + listed((value if isinstance(value, str) else shown(value) for value in allowed), 40)
    pointer = _pointer(error)
    message = f"{subject(pointer)} is {shown(error.instance)}, which is not one of its values"
    notes = (choice,) if near and len(allowed) <= 12 else ()
    return Diagnostic("not-one-of", message, document.locate(pointer), pointer, near or choice, notes)


def _pattern(error: Complaint, document: Document) -> Diagnostic:
    words = _schema(error).get("x-words", error.validator_value)
    return _fault("bad-name", f"not {words}", error, document, _slug(error.instance))


def _bad_name(error: Complaint, document: Document) -> Diagnostic:
    pointer = join(_pointer(error), error.instance)
    words = _schema(error).get("x-words", "a name of that length")
    where = document.locate(pointer, key=True)
    return Diagnostic("bad-key", f"{subject(pointer)} is not {words}", where, pointer)


def _slug(text: str) -> str | None:
    made = "".join(
        char if (char.isascii() and char.isalnum()) or char in "-_" else "_" for char in text.lower()
    )
    return f'"{made.lstrip("-_")}" would do' if made.lstrip("-_") and "://" not in text else None


def _length(error: Complaint, document: Document) -> Diagnostic:
    pointer, bound = _pointer(error), error.validator_value
    least = str(error.validator).startswith("min")
    message = f"{subject(pointer)} is {'too short' if least else 'too long'}: "
    message += f"at {'least' if least else 'most'} {bound}"
    if least and not error.instance:
        message = f"{subject(pointer)} is empty"
    return Diagnostic("wrong-length", message, document.locate(pointer), pointer)


def _repeated(error: Complaint, document: Document) -> Diagnostic:
    """Yield the error at the first item that repeats an earlier one."""
    texts = [json.dumps(item, sort_keys=True) for item in error.instance]
    index = next(i for i, text in enumerate(texts) if text in texts[:i])
    above = _pointer(error)
    pointer = join(above, index)
    message = f"{shown(error.instance[index])} stands in {subject(above)} twice"
    return Diagnostic("repeated-item", message, document.locate(pointer), pointer, "keep one")


def _other(error: Complaint, document: Document) -> Diagnostic:
    return _fault("out-of-range", "which it may not be", error, document, _schema(error).get("x-words"))


def _schema(error: Complaint) -> dict[str, Any]:
    return error.schema if isinstance(error.schema, dict) else {}


def _missing_keys(error: Complaint, document: Document) -> Iterator[Diagnostic]:
    schema, pointer = _schema(error), _pointer(error)
    where, owner = document.locate(pointer), schema.get("title", "this object")
    if named := _name(error.instance, pointer):
        owner = f"{owner.rpartition(' ')[2]} {named}"
    if "x-missing" in schema:
        yield Diagnostic("missing-key", f"{owner} needs {schema['x-missing']}", where, pointer)
        return
    for key in error.validator_value:
        if key not in error.instance:
            described = schema.get("properties", {}).get(key, {}).get("description")
            hint = f'"{key}": {described}' if described else None
            yield Diagnostic("missing-key", f'{owner} needs "{key}"', where, pointer, hint)


def _name(instance: Any, pointer: str) -> str | None:
    """Return what identifies an object among its siblings: a stage's name, a source's key."""
    steps = split(pointer)
    if len(steps) == 2 and steps[0] in ("data", "rewards", "judges"):
        return f'"{steps[1]}"'
    name = instance.get("name") if isinstance(instance, dict) else None
    return f'"{name}"' if isinstance(name, str) and steps[:1] == ["stages"] else None


def _unknown_keys(error: Complaint, document: Document) -> Iterator[Diagnostic]:
    schema, above = _schema(error), _pointer(error)
    known = [key for key in schema.get("properties", {}) if not key.startswith("$")]
    title = schema.get("title", "this object")
    kind = "field" if title.endswith("Config") else "key"
    for key in error.instance:
        if key in schema.get("properties", {}):
            continue
        pointer = join(above, key)
        where = document.locate(pointer, key=True)
        if key in schema.get("x-owned", {}):
            place = schema["x-owned"][key]
            yield Diagnostic("owned-key", f'"{key}" is not set here', where, pointer, place)
        else:
            message = f'"{key}" is no {kind} of {title}'
            hint = _meant(key, known, pointer, document)
            yield Diagnostic("unknown-key", message, where, pointer, hint)


def _meant(key: str, known: list[str], pointer: str, document: Document) -> str | None:
    """Return the hint for an unknown key.

    A key of other programs is not a misspelling; options of rewards and judges are ptspec's own.
    """
    is_ours = split(pointer)[0] in ("rewards", "judges")
    if (other := elsewhere(key)) is not None and (not is_ours or other.name in known):
        renamed = other.name or key
        hint = other.hint(known, pointer) or _placed(renamed, pointer, document, named=renamed != key)
        if hint or _in_config(split(pointer)):
            return hint
    return (
        _placed(key, pointer, document)
        or OWNED.get(key)
        or did_you_mean(key, known)
        or (f"keys: {listed(known)}" if len(known) <= 16 else None)
    )


def _in_config(steps: list[str]) -> bool:
    return steps[0] == "stages" and len(steps) > 3 and steps[2] == "config"


def _placed(key: str, pointer: str, document: Document, *, named: bool = False) -> str | None:
    """Return where `key` is known: another object of the recipe, or another method's config.

    `named`: repeat the key.
    """
    steps, what = split(pointer), f'"{key}" ' if named else ""
    in_config = _in_config(steps)
    owners = [name for name in METHODS if key in shipped(f"trl/{name}.schema.json")["properties"]]
    if owners and in_config:
        return f"{what}belongs to {listed(owners)}"
    if owners and steps[0] == "stages" and len(steps) == 3:
        method = at(document.value, f"/stages/{steps[1]}/method")
        config = '"config"' if method in owners else f'the "config" of {listed(owners)}'
        return f"{what}goes to {config}"
    if owners and len(steps) == 1:
        return f'"{key}" goes to the "config" of a stage ({listed(owners)})'
    if key in shipped("peft/lora.schema.json")["properties"] and steps[-2:-1] != ["adapter"]:
        return f"{what}goes to /adapter"
    if key in shipped("bnb/bitsandbytes.schema.json")["properties"]:
        return f"{what}goes to /adapter/quantization"
    recipe = shipped("recipe.schema.json")
    if in_config and key in recipe["$defs"]["stage"]["properties"]:
        return f'{what}belongs to the stage, beside "config"'
    return f"goes to /{key}" if key in recipe["properties"] and len(steps) > 1 else None


_WORDS: dict[str, Callable[[Complaint, Document], Diagnostic]] = {
    "type": _wrong_type,
    "enum": _not_one_of,
    "pattern": _pattern,
    "uniqueItems": _repeated,
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _length
    ),
}
