"""What the recipe's rules refuse of a converted config, taken out and told, so that the result validates."""

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
_BATCH, _PASSES = "per_device_train_batch_size", "gradient_accumulation_steps"


def settled(recipe: dict[str, Any], drafts: Sequence[Draft], target: Path) -> dict[str, Any]:
    """`recipe`, as it would stand at `target`, without the fields that its rules refuse; each is told in the
    draft of its stage. Raises `InputError` with what is refused elsewhere."""
    while True:
        errors = read_recipe(target, text=json.dumps(recipe)).errors
        if not errors:
            return recipe
        refused = [(one, match) for one in errors if (match := _FIELD.fullmatch(one.pointer or ""))]
        changed = [_out(recipe, drafts, one, match) for one, match in refused]
        if not any(changed):
            files = Location(" and ".join(str(draft.file) for draft in drafts))
            raise InputError(*(replace(one, location=files, pointer=None) for one in errors))


def _out(recipe: dict[str, Any], drafts: Sequence[Draft], error: Diagnostic, match: re.Match[str]) -> bool:
    """Take the field of `error` out of its stage; False where it is gone already."""
    index, name = int(match["stage"]), match["name"]
    holder, draft = recipe["stages"][index].get(match["part"], {}), drafts[index]
    if name not in holder:
        return False
    passes = holder.get(_PASSES, 1)
    if name == _BATCH and holder[name] == 1 and passes % 2 == 0:
        holder[_BATCH], holder[_PASSES] = 2, passes // 2
        draft.differs.append(f"{_BATCH} 1 × {_PASSES} {passes} is 2 × {passes // 2} here: {error.message}")
        return True
    value = holder.pop(name)
    keys = [one.key for one in draft.carried if one.place.endswith(f"/{name}")] or [name]
    draft.carried[:] = [one for one in draft.carried if one.key not in keys]
    hint = f"; {error.hint}" if error.hint else ""
    draft.leave(keys[0], value, f"{error.message}{hint}")
    for other in keys[1:]:
        draft.leave(other, value, error.message)
    return True
