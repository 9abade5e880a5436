"""Reward functions by name: TRL's own, a module's, a reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptspec.methods.types import Feedback
from ptspec.rewards.trl_rewards import TRL
from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.values import names

SCORED = (Feedback.REWARDS, Feedback.JUDGE_OR_REWARDS)
_SAME = {"accuracy": "accuracy_reward"}
"""Names of open-r1 for functions that TRL has since."""
_FILE = 'goes to /rewards: {"function": "file.py:name"}; no file of it is here, so the stage goes without it'


def carry_rewards(draft: Draft) -> None:
    """Carry `reward_funcs` with their `reward_weights`, and a reward model, to /rewards and the stage."""
    if draft.method.feedback not in SCORED:
        return
    weights = draft.take("reward_weights", [])
    rewards: dict[str, Any] = {}
    given = draft.take("reward_funcs", [])
    unknown = []
    for index, name in enumerate(names(given)):
        found = _function(name)
        if found is None:
            unknown.append(name)
            continue
        weight = {"weight": weights[index]} if index < len(weights) and weights[index] != 1 else {}
        rewards[name.rpartition(".")[2]] = {"function": found, **weight}
    if model := draft.take("reward_model_name_or_path"):
        index = len(names(given))
        weight = {"weight": weights[index]} if index < len(weights) and weights[index] != 1 else {}
        rewards["reward_model"] = {"model": model, **weight}
        draft.say("reward_model_name_or_path", "/rewards/reward_model/model")
    if unknown:
        draft.leave("reward_funcs", unknown, _FILE)
    if not rewards:
        comment = f"in the place of {', '.join(unknown) or 'the rewards, which the file does not name'}"
        rewards["short"] = {"$comment": comment, "function": "length", "max": 100}
        draft.differs.append(
            'none of the rewards could be carried over: /rewards has "short" in their place, so that the '
            "recipe validates; write yours there before you train"
        )
    renamed = {_label(name): reward for name, reward in rewards.items()}
    if given:
        draft.say("reward_funcs", "/rewards")
    if weights:
        draft.say("reward_weights", "/rewards")
    draft.recipe["rewards"] = renamed
    draft.write("/stage/rewards", list(renamed))


def _label(name: str) -> str:
    """A name that /rewards takes; "accuracy" is a metric's."""
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name).strip("_-")
    return "accuracy_reward" if plain == "accuracy" else plain or "own"


def _function(name: str) -> str | None:
    """The "function" for TRL's `name`: one that TRL ships, or that of a module that lies here."""
    name = _SAME.get(name, name)
    if name in TRL:
        return name
    module, _, function = name.rpartition(".")
    file = Path(*module.split(".")).with_suffix(".py") if module else None
    return f"{file.as_posix()}:{function}" if file is not None and file.is_file() else None
