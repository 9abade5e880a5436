"""The data columns that a reward needs, found before the run starts. Runs no user code."""

from __future__ import annotations

from ptspec.diagnostics import InputError
from ptspec.recipe.signals import RewardSpec
from ptspec.rewards.builtin import BUILTIN, compared_columns
from ptspec.rewards.contract import Columns, columns_of, takes_everything
from ptspec.rewards.source import is_user_function, locate, read_user_file
from ptspec.rewards.trl_rewards import TRL


def columns_needed(spec: RewardSpec) -> Columns | None:
    """Return the columns that the reward `spec` needs, as groups of alternative names.

    () if it needs none: a reward model, or a built-in reward of the completion alone. For a choice by a
    column that column; the chosen rewards need their own. None if unknown before the code runs: a user
    function that takes `**columns` and names none, that is decorated, or that cannot be read
    (`ptspec.rewards.check` reports that).
    """
    if spec.by is not None:
        return ((spec.by.column,),)
    if spec.function is None:
        return ()
    if not is_user_function(spec.function):
        compared = compared_columns(spec.function, spec.options) if spec.function in (*BUILTIN, *TRL) else ()
        return (compared,) if compared else ()
    return _of_user_function(spec.function)


def _of_user_function(function: str) -> Columns | None:
    path, name = locate(function)
    try:
        signature = read_user_file(path).signature(name)
    except InputError:
        return None
    if signature is None:
        return None
    named = columns_of(signature)
    return None if takes_everything(signature) and not named else tuple((column,) for column in named)
