"""The options of a judge behind an endpoint, checked before anything is asked. Imports no HTTP client."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.places import Places
from ptspec.recipe.plan import JudgeSpec
from ptspec.rewards.options import OptionFault
from ptspec.rewards.verdict import PROMPT, missing_places


@dataclass(frozen=True)
class EndpointOptions:
    """`timeout` is in seconds and for one request; `retries` are tries after the first. `temperature` None
    leaves it out, for models that take none."""

    api_key_env: str | None = None
    template: str | None = None
    temperature: float | None = 0.0
    max_tokens: int = 64
    max_concurrency: int = 8
    timeout: float = 60.0
    retries: int = 5
    swap: bool = True


def endpoint_options(spec: JudgeSpec) -> EndpointOptions:
    """The options of a judge in which `endpoint_faults` finds no fault."""
    return EndpointOptions(**spec.options)


def endpoint_faults(spec: JudgeSpec, places: Places) -> list[OptionFault]:
    """Everything wrong with a judge's endpoint, model and options. Repeats no value that may be a key."""
    return [
        *_address_faults(spec.endpoint or ""),
        *_model_faults(spec),
        *_option_faults(spec.options),
        *_template_faults(spec.options.get("template"), places),
    ]


def template_text(template: str | None, places: Places) -> str:
    """The user's template, or the one that comes with the package."""
    found = PROMPT if template is None else places.find(template)
    assert found is not None, template
    return found.read_text(encoding="utf-8")


def _address_faults(endpoint: str) -> Iterator[OptionFault]:
    try:
        address = urlsplit(endpoint)
        whole = bool(address.hostname) and address.scheme in ("http", "https") and address.port != 0
    except ValueError:
        whole = False
    if not whole:
        hint = "such as http://localhost:8000/v1"
        yield OptionFault("endpoint", "the endpoint is no address of a server", hint)
    elif "@" in address.netloc or address.query or address.fragment:
        message = "the endpoint holds more than an address (a user, a query, a fragment)"
        yield OptionFault("endpoint", message, 'a key goes into an environment variable: "api_key_env"')


def _model_faults(spec: JudgeSpec) -> Iterator[OptionFault]:
    if spec.model is None:
        hint = '"model": the name that the server knows the model by'
        yield OptionFault(None, f'judge "{spec.name}" does not say which model to ask', hint)


def _option_faults(options: Mapping[str, Any]) -> Iterator[OptionFault]:
    known = [field.name for field in fields(EndpointOptions)]
    for key, value in options.items():
        if key in ("api_key", "key", "token", "headers"):
            message = f'"{key}" does not belong in a recipe'
            yield OptionFault(
                key, message, '"api_key_env": the name of the environment variable that holds it'
            )
        elif key not in known:
            hint = did_you_mean(key, known) or f"options: {listed(known)}"
            yield OptionFault(key, f'"{key}" is no option of a judge behind an endpoint', hint)
        elif not _RULES[key].holds(value):
            shown = "" if key == "api_key_env" else f" is {json.dumps(value, default=str)},"
            yield OptionFault(key, f"{key}{shown or ' is'} not {_RULES[key].words}", _RULES[key].hint)


def _template_faults(template: object, places: Places) -> Iterator[OptionFault]:
    if not isinstance(template, str):
        return
    found = places.find(template)
    if found is None or not found.is_file():
        yield OptionFault(
            "template", f'no such file: "{template}"', places.nearest(template) or "a text file"
        )
        return
    try:
        missing = missing_places(found.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield OptionFault("template", f"{template} cannot be read as UTF-8 text: {error}", "a text file")
        return
    if missing:
        hint = "{prompt}, {a} and {b} stand where the texts go"
        yield OptionFault("template", f"{template} has no {' and no '.join(missing)}", hint)


@dataclass(frozen=True)
class _Rule:
    holds: Callable[[Any], bool]
    words: str
    hint: str


def _number(low: float, whole: bool = False, above: bool = False) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return False
        return math.isfinite(value) and (value > low if above else value >= low)

    return holds


_FROM_1 = "a whole number from 1"
_RULES: Mapping[str, _Rule] = {
    "api_key_env": _Rule(
        lambda value: isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) is not None,
        "the name of an environment variable",
        "the key itself does not belong in a recipe",
    ),
    "template": _Rule(lambda value: isinstance(value, str), "a file", "a text with {prompt}, {a} and {b}"),
    "temperature": _Rule(
        lambda value: value is None or _number(0)(value), "a number from 0", "null leaves it out"
    ),
    "max_tokens": _Rule(_number(1, whole=True), _FROM_1, "of a reply; more for a model that reasons first"),
    "max_concurrency": _Rule(_number(1, whole=True), _FROM_1, "requests at the same time"),
    "timeout": _Rule(_number(0, above=True), "a number above 0", "seconds for one request"),
    "retries": _Rule(_number(0, whole=True), "a whole number from 0", "tries after the first"),
    "swap": _Rule(lambda value: isinstance(value, bool), "true or false", "true: each pair in both orders"),
}
