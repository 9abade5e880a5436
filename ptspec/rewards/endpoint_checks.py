"""Check an endpoint judge's address and template beyond the schema. Sends no request."""

from __future__ import annotations

from urllib.parse import urlsplit

from ptspec.diagnostics import Diagnostic
from ptspec.recipe.json_pointer import join
from ptspec.recipe.paths import Places
from ptspec.recipe.signals import JudgeSpec
from ptspec.rewards.verdict import PROMPT, missing_places


def endpoint_faults(spec: JudgeSpec, places: Places) -> list[Diagnostic]:
    """Return the errors of a judge's address and template. Repeats no value that may be a key."""
    found = (_address_fault(spec), _template_fault(spec, places))
    return [fault for fault in found if fault is not None]


def template_text(template: str | None, places: Places) -> str:
    """Return the user's template, or the default one."""
    found = PROMPT if template is None else places.find(template)
    assert found is not None, template
    return found.read_text(encoding="utf-8")


def _address_fault(spec: JudgeSpec) -> Diagnostic | None:
    try:
        address = urlsplit(spec.endpoint or "")
        whole = bool(address.hostname) and address.scheme in ("http", "https") and address.port != 0
    except ValueError:
        whole = False
    if not whole:
        hint = "such as http://localhost:8000/v1"
        return _fault(spec, "endpoint", "the endpoint is not the address of a server", hint)
    if "@" in address.netloc or address.query or address.fragment:
        message = "the endpoint holds more than an address (a user, a query, a fragment)"
        hint = 'a key stands in an environment variable, which "api_key_env" names'
        return _fault(spec, "endpoint", message, hint)
    return None


def _template_fault(spec: JudgeSpec, places: Places) -> Diagnostic | None:
    template = spec.options.get("template")
    if template is None:
        return None
    found = places.find(template)
    if found is None or not found.is_file():
        hint = places.nearest(template) or "a text file with {prompt}, {a} and {b}"
        return _fault(spec, "template", f'no such file: "{template}"', hint)
    try:
        missing = missing_places(found.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return _fault(spec, "template", f"{template} cannot be read as UTF-8 text: {error}", "a text file")
    if not missing:
        return None
    hint = "{prompt}, {a} and {b} stand where the texts go"
    return _fault(spec, "template", f"{template} has no {' and no '.join(missing)}", hint)


def _fault(spec: JudgeSpec, option: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic("wrong-judge", message, None, join(spec.at, option), hint)
