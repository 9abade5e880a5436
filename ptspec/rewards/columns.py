"""Which columns of the data a reward cannot do without, told before anything starts. Runs no code."""

from __future__ import annotations

from ptspec.diagnostics import InputError
from ptspec.recipe.signals import RewardSpec
from ptspec.rewards.builtin import BUILTIN, compared_columns
from ptspec.rewards.contract import Columns, columns_of, takes_everything
from ptspec.rewards.source import is_user_function, locate, read_user_file
from ptspec.rewards.trl_rewards import TRL


def columns_needed(spec: RewardSpec) -> Columns | None:
    """The columns that the reward `spec` asks for, each as a group of names of which the data must have one.

    () where it asks for none: a reward model, or a built-in reward that looks at the completion alone. Of a
    choice by a column that column: the rewards that it chooses from ask for their own. None where that is not
    known before the code runs: a function of the user's that takes `**columns` and names none, that has a
    decorator, or that cannot be read (`ptspec.rewards.check` tells of that).
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
