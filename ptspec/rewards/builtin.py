"""The built-in reward functions, in TRL's signature: `reward(prompts, completions, **columns)`.

Importing this costs nothing, so that a recipe's reward names and options can be checked without torch. Their
options are described and checked by `schemas/rewards.schema.json`. Completions arrive as strings or as lists
of messages; of messages the last assistant one counts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.rewards import scorers
from ptspec.rewards.contract import visible_columns
from ptspec.rewards.json_schemas import OptionFault, schema_fault
from ptspec.rewards.matching import text_of
from ptspec.rewards.time_limit import TimedScore, Warn

RewardFunction = Callable[..., Sequence[float | None]]
"""`reward(prompts, completions, **columns)`: one number a completion; None where the row has no say."""

Make = Callable[[scorers.Options], scorers.Score]


class Check(NamedTuple):
    """What the schema cannot see in an option: `fault` says what is wrong with its value, or None."""

    option: str
    fault: Callable[[Any], OptionFault | None]
    hint: str


@dataclass(frozen=True)
class BuiltinReward:
    """A built-in reward: what it pays, and which column of the row it compares with.

    `columns` are tried in order unless the option `column` names one; empty: the completion alone counts.
    `timed`: its options hold patterns, so that it is scored with a time limit.
    """

    name: str
    summary: str
    make: Make
    columns: tuple[str, ...] = ()
    timed: bool = False
    check: Check | None = None


def option_faults(name: str, options: Mapping[str, Any], at: str = "") -> list[Diagnostic]:
    """What the schema cannot see in the `options` of the built-in reward `name`, which stand at the pointer
    `at`: a pattern that does not compile, a JSON Schema that is none."""
    check = BUILTIN[name].check
    if check is None or check.option not in options or (fault := check.fault(options[check.option])) is None:
        return []
    return [Diagnostic("wrong-reward", fault.message, None, join(at, check.option, *fault.steps), check.hint)]


def _pattern_fault(pattern: str) -> OptionFault | None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return OptionFault(f"not a regular expression: {error}")
    return None


def builtin(
    name: str, options: Mapping[str, Any] | None = None, *, warn: Warn = warnings.warn
) -> RewardFunction:
    """The built-in reward `name` with `options`, in TRL's signature.

    `warn` is told, once, of completions that take too long to score. Raises `InputError` if there is no such
    reward, or if `option_faults` finds any.
    """
    options = options or {}
    if name not in BUILTIN:
        message = f'"{name}" is no built-in reward'
        hint = did_you_mean(name, BUILTIN) or f"built in: {listed(BUILTIN)}"
        raise InputError(Diagnostic("wrong-reward", message, hint=hint))
    if faults := option_faults(name, options):
        raise InputError(*faults)
    reward = BUILTIN[name]
    score = TimedScore(name, options, warn) if reward.timed else reward.make(options)
    function = partial(_reward, score, compared_columns(name, options), name)
    function.__name__ = name  # type: ignore[attr-defined]  # TRL logs a reward function under its __name__
    return function


def compared_columns(name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that the built-in reward `name` compares with: the first of them that the data has."""
    return (options["column"],) if "column" in options else BUILTIN[name].columns


def _reward(
    score: scorers.Score,
    columns: tuple[str, ...],
    name: str,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    **given: Any,
) -> list[float | None]:
    texts = [text_of(completion) for completion in completions]
    if not columns:
        return [score(text, "") for text in texts]
    golds = _golds(columns, name, given)
    return [None if gold is None else score(text, gold) for text, gold in zip(texts, golds, strict=True)]


def _golds(columns: tuple[str, ...], name: str, given: Mapping[str, Any]) -> list[str | None]:
    """The first of `columns` that the batch has, as text; None in rows where it is empty."""
    column = next((column for column in columns if column in given), None)
    if column is None:
        raise InputError(_missing_column(columns, name, visible_columns(list(given))))
    return [None if gold is None else _gold_text(gold) for gold in given[column]]


def _missing_column(columns: tuple[str, ...], name: str, there: list[str]) -> Diagnostic:
    return Diagnostic(
        "missing-column",
        f"the reward {name} compares with the column {' or '.join(columns)}, and a reward gets "
        f"{f'the columns {listed(there)}' if there else 'no column'} of this data",
        hint='name another with the option "column"; the column "completion" is reached when the source '
        f'renames it: "columns": {{"{columns[-1]}": "completion"}}',
    )


def _gold_text(gold: object) -> str:
    return text_of(gold) if isinstance(gold, list) else str(gold)


BUILTIN: Mapping[str, BuiltinReward] = {
    reward.name: reward
    for reward in (
        BuiltinReward(
            "exact_match",
            "1 where the completion is the right answer: case, spacing and punctuation around it aside",
            scorers.exact_match,
            columns=("output", "answer"),
        ),
        BuiltinReward(
            "contains_answer",
            "1 where the right answer stands in the completion as a whole word",
            scorers.contains_answer,
            columns=("answer",),
        ),
        BuiltinReward(
            "regex",
            "1 where the whole completion matches a pattern",
            scorers.regex,
            timed=True,
            check=Check("pattern", _pattern_fault, "Python's re syntax"),
        ),
        BuiltinReward(
            "length",
            "1 up to max words, then falling; or 1 at target words, falling on both sides",
            scorers.length,
        ),
        BuiltinReward(
            "json_schema",
            "1 where the completion is JSON that fits a schema",
            scorers.json_schema,
            timed=True,
            check=Check("schema", schema_fault, "see json-schema.org"),
        ),
        BuiltinReward(
            "numeric_answer",
            "1 where the last number is the right one; expressions too where math-verify is installed",
            scorers.numeric_answer,
            columns=("answer", "output"),
        ),
        BuiltinReward(
            "format",
            "1 where the completion is the given tags in order, each once, with nothing between",
            scorers.tags,
        ),
    )
}
"""Every built-in reward by its name."""
