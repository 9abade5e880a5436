"""One file a method. `METHODS` is the whole list; adding a method adds its name here."""

from __future__ import annotations

from importlib import import_module

from ptspec.methods.types import Method

METHODS = ("sft", "dpo", "orpo", "kto", "grpo", "nash_md", "reward")


def find(name: str | None) -> Method | None:
    """The method called `name`; None where there is none, as files of another version may name one."""
    return get(name) if name is not None and name in METHODS else None


def get(name: str) -> Method:
    """The method called `name`; `KeyError` if there is none."""
    if name not in METHODS:
        raise KeyError(name)
    method: Method = import_module(f"ptspec.methods.{name}").METHOD
    return method
