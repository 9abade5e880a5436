"""Remove and report what the recipe's rules refuse of a converted config, so that the result validates."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.resolve import read_recipe
from ptspec.starter.from_configs.draft import Draft

_FIELD = re.compile(r"/stages/(?P<stage>\d+)/(?P<part>config|adapter)/(?P<name>\w+)(?:/.*)?")
_SHARED = re.compile(r"/(?P<part>model|adapter|tracking|compute)/(?P<name>(?!path\b)\w+)(?:/.*)?")
_BATCH, _PASSES = "per_device_train_batch_size", "gradient_accumulation_steps"


def settled(recipe: dict[str, Any], drafts: Sequence[Draft], target: Path) -> dict[str, Any]:
    """Return `recipe`, as it would stand at `target`, without the fields that its rules refuse.

    Each is reported in the draft of its stage. Raises `InputError` with what is refused elsewhere.
    """
    while True:
        errors = read_recipe(target, text=json.dumps(recipe)).errors
        if not errors:
            return recipe
        changed = [_out(recipe, drafts, one) for one in errors]
        if not any(changed):
            files = Location(" and ".join(str(draft.file) for draft in drafts))
            raise InputError(*(replace(one, location=files, pointer=None) for one in errors))


def _out(recipe: dict[str, Any], drafts: Sequence[Draft], error: Diagnostic) -> bool:
    """Take the field of `error` out; False where it is none that can be, or is gone already."""
    match = _FIELD.fullmatch(error.pointer or "") or _SHARED.fullmatch(error.pointer or "")
    if match is None:
        return False
    part, name = match["part"], match["name"]
    index = int(match["stage"]) if "stage" in match.groupdict() else None
    holder = (recipe if index is None else recipe["stages"][index]).get(part, {})
    if name not in holder:
        return False
    place = f"/{part}/{name}"
    draft = drafts[index] if index is not None else _whose(place, drafts)
    if name == _BATCH and _rebatched(holder, draft, error):
        return True
    value = holder.pop(name)
    keys = [one.key for one in draft.carried if one.place == place] or [name]
    draft.carried[:] = [one for one in draft.carried if one.key not in keys]
    hint = f"; {error.hint}" if error.hint else ""
    for key in keys:
        draft.leave(key, value, f"{error.message}{hint}")
    return True


def _whose(place: str, drafts: Sequence[Draft]) -> Draft:
    """The draft that carried something to `place`."""
    return next((one for one in drafts if any(each.place == place for each in one.carried)), drafts[0])


def _rebatched(config: dict[str, Any], draft: Draft, error: Diagnostic) -> bool:
    """Make one row a pass two, with half the passes, where a method needs more than one."""
    passes = config.get(_PASSES, 1)
    if config[_BATCH] != 1 or passes % 2:
        return False
    config[_BATCH], config[_PASSES] = 2, passes // 2
    draft.differs.append(f"{_BATCH} 1 × {_PASSES} {passes} is 2 × {passes // 2} here: {error.message}")
    return True
