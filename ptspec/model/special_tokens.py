"""A special token that the recipe names and the tokenizer does not have. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from ptspec.diagnostics import Diagnostic
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join


def unknown_token(model: str, key: str, token: str, special: Iterable[str]) -> Diagnostic:
    """The error at `key` ("eos_token", …) of the recipe's section `model`; `special` are the tokenizer's."""
    known = sorted(special)
    near = did_you_mean(token, known)
    hint = f"{near} " if near else f"its special tokens: {listed(known, 12)}; "
    hint += f'a new token is one of "additional_special_tokens": ["{token}"]'
    message = f'"{key}": the tokenizer has no token "{token}"'
    return Diagnostic("unknown-token", message, None, join(model, key), hint)
