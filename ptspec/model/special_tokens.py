"""The error for a special token of the recipe that the tokenizer lacks. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from ptspec.diagnostics import Diagnostic
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join


def unknown_token(model: str, key: str, token: str, special: Iterable[str]) -> Diagnostic:
    """Return the error at `key` ("eos_token", …) of the recipe's `model`; `special`.

    The tokenizer's tokens.
    """
    known = sorted(special)
    near = did_you_mean(token, known)
    hint = f"{near} " if near else f"its special tokens: {listed(known, 12)}; "
    hint += f'a new token is one of "additional_special_tokens": ["{token}"]'
    message = f'"{key}": the tokenizer has no token "{token}"'
    return Diagnostic("unknown-token", message, None, join(model, key), hint)
