"""One file a method. `METHODS` is the whole list; adding a method adds its name here."""

from __future__ import annotations

from importlib import import_module

from ptspec.methods.types import Method, Yields

METHODS = ("sft", "dpo", "orpo", "cpo", "kto", "grpo", "rloo", "nash_md", "distillation", "reward")


def find(name: str | None) -> Method | None:
    """The method called `name`; None where there is none, as files of another version may name one."""
    return get(name) if name is not None and name in METHODS else None


def all_of_them() -> list[Method]:
    """Every method, in the order of `METHODS`."""
    return [get(name) for name in METHODS]


def trains_reward_model(name: str | None) -> bool:
    """Whether the method called `name` yields a reward model; false where there is no such method."""
    found = find(name)
    return found is not None and found.yields is Yields.REWARD_MODEL


def reward_methods() -> list[str]:
    """The names of the methods that yield a reward model."""
    return [name for name in METHODS if trains_reward_model(name)]


def get(name: str) -> Method:
    """The method called `name`; `KeyError` if there is none."""
    if name not in METHODS:
        raise KeyError(name)
    method: Method = import_module(f"ptspec.methods.{name}").METHOD
    return method
