"""Carry keys that mean the same in every program.

A field of TRL's under its own name, of PEFT's, of bitsandbytes', or what `ptspec.recipe.other_programs` says
of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ptspec.methods import METHODS
from ptspec.methods.owned import OWNED, owned
from ptspec.recipe.hints import elsewhere
from ptspec.recipe.stage_evaluation import FIELDS as WHILE_TRAINING
from ptspec.recipe.trl_defaults import trl_defaults
from ptspec.shipped import schema
from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.values import as_schema, names

_LEAF = re.compile(r"goes to (?P<place>(?:/(?:model|tracking|compute/vllm)/\w+)|/seed)\b")
"""What is said of an owned field whose value can be written there as it is."""
_LISTS = ("target_modules", "modules_to_save", "target_parameters", "additional_special_tokens")


def carry_rest(draft: Draft) -> None:
    """Carry or leave every key that is left in `draft`."""
    for key in list(draft.rest):
        value = draft.take(key)
        if value is None:
            continue
        place = place_of(key, draft)
        if place is None:
            draft.leave(key, value, why_not(key, draft))
        elif place == "/tracking/report_to" and isinstance(value, bool):
            _switch(draft, key, value)
        elif place.startswith("/adapter/") and not draft.recipe.get("adapter", {}).get("use_lora"):
            draft.leave(key, value, "has no effect without an adapter")
        else:
            carry_to(draft, key, place, value)


def _switch(draft: Draft, key: str, on: bool) -> None:
    """Carry a tracker's switch: `use_swanlab`."""
    if on and key.startswith("use_"):
        carry_to(draft, key, "/tracking/report_to", key.removeprefix("use_"))
    else:
        draft.leave(key, on, "goes to /tracking/report_to: the tracker's name")


def carry_to(draft: Draft, key: str, place: str, value: Any) -> None:
    """Carry the value of `key` to `place`, in the type that the schema wants there.

    Two keys for one place are reported.
    """
    above, _, name = place.rpartition("/")
    if name in _LISTS and isinstance(value, str):
        value = "all-linear" if value in ("all", "all-linear") else names(value)
    value = as_schema(value, _schema_of(above, draft).get(name, {}))
    given = _given(draft, above, name)
    if given is not None and given != value:
        draft.leave(key, value, f"another key of the file says {_shown(place)} already: {given}")
        return
    draft.carry(key, place, value)


def place_of(key: str, draft: Draft) -> str | None:
    """The place for a `key` of any program; None where no place takes it as it stands."""
    meant = elsewhere(key)
    for name in (key, meant.name if meant else None, key.removeprefix("peft_")):
        if name is None:
            continue
        if name in draft.config_fields:
            return f"/config/{name}"
        if name in _lora():
            return f"/adapter/{name}"
        if name in _quantization():
            return f"/adapter/quantization/{name}"
        if name in draft.method.owned or name in OWNED:
            found = _LEAF.match(owned(draft.method)[name])
            return found["place"] if found else None
    place = meant.place if meant else None
    return place if place is not None and _takes_a_value(place) else None


def why_not(key: str, draft: Draft) -> str:
    """Why no place takes `key`, and what to do instead, as the errors of a recipe say it."""
    if key in owned(draft.method):
        return owned(draft.method)[key]
    meant = elsewhere(key)
    if meant is not None and (meant.words or meant.place):
        return meant.words or f"goes to {meant.place}{meant.extra}"
    if meant is not None and meant.name is not None:
        return f"{draft.method.name} has no {meant.name}"
    if key in WHILE_TRAINING:
        return 'needs "eval_data", held-out rows, in the stage'
    if any(key in trl_defaults(other) for other in METHODS):
        return f"is not a setting of {draft.method.name} in TRL 1.16"
    return "there is nothing like it here"


def _lora() -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema("peft/lora.schema.json")["properties"]
    return {name: described for name, described in found.items() if isinstance(described, Mapping)}


def _quantization() -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema("bnb/bitsandbytes.schema.json")["properties"]
    return {name: described for name, described in found.items() if isinstance(described, Mapping)}


def _schema_of(above: str, draft: Draft) -> Mapping[str, Any]:
    known = {"/config": draft.config_fields, "/adapter": _lora(), "/adapter/quantization": _quantization()}
    if above in known:
        return known[above]
    definitions = schema("recipe.schema.json")["$defs"]
    found: Mapping[str, Any] = definitions.get(above.strip("/"), {}).get("properties", {})
    return found


def _takes_a_value(place: str) -> bool:
    """Whether `place` is a field of the model, the adapter or the trackers, with a value of its own."""
    above, _, name = place.rpartition("/")
    if above == "/adapter":
        return name in _lora() and name not in ("use_lora", "use_qlora", "quantization")
    definitions = schema("recipe.schema.json")["$defs"]
    return above in ("/model", "/tracking") and name in definitions[above.strip("/")]["properties"]


def _given(draft: Draft, above: str, name: str) -> Any:
    inner: Any = draft.recipe
    for part in ["stage", "config"] if above == "/config" else [one for one in above.split("/") if one]:
        inner = inner.get(part, {})
    return inner.get(name)


def _shown(place: str) -> str:
    return place.removeprefix("/config/")
