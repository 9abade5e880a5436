"""One file per method. `METHODS` is the complete list; a new method is added here."""

from __future__ import annotations

from importlib import import_module

from ptspec.methods.types import Method, Yields

METHODS = ("sft", "dpo", "orpo", "cpo", "kto", "grpo", "rloo", "nash_md", "distillation", "reward")


def find(name: str | None) -> Method | None:
    """Return the method called `name`; None if there is none, as in files of another version."""
    return get(name) if name is not None and name in METHODS else None


def all_of_them() -> list[Method]:
    """Return every method, in the order of `METHODS`."""
    return [get(name) for name in METHODS]


def trains_reward_model(name: str | None) -> bool:
    """Return whether the method called `name` yields a reward model; False if unknown."""
    found = find(name)
    return found is not None and found.yields is Yields.REWARD_MODEL


def reward_methods() -> list[str]:
    """Return the names of the methods that yield a reward model."""
    return [name for name in METHODS if trains_reward_model(name)]


def get(name: str) -> Method:
    """Return the method called `name`. Raises `KeyError` if there is none."""
    if name not in METHODS:
        raise KeyError(name)
    method: Method = import_module(f"ptspec.methods.{name}").METHOD
    return method
