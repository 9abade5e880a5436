"""Say that a run needs permission for code, before any of it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.recipe.plan import ModelSpec, Plan
from ptspec.rewards.used import user_functions


def code_in_words(plan: Plan) -> Iterator[str]:
    """Yield why a run of the plan needs --allow-code."""
    own = plan.model.path if plan.model.trust_remote_code else None
    kernel = plan.model.attn_implementation if is_kernel(plan.model) else None
    if code := list(dict.fromkeys(filter(None, (own, kernel, *map(_in_words, user_functions(plan)))))):
        yield f"pt run needs --allow-code: it runs the code of {', '.join(code)}"


def _in_words(function: str) -> str:
    file, _, name = function.rpartition(":")
    return f"{shown(Path(file))}:{name}"


def is_kernel(spec: ModelSpec) -> bool:
    """Return whether the attention implementation is a hub kernel, which is code."""
    return "/" in (spec.attn_implementation or "")
