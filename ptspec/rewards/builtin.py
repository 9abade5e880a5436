"""The built-in reward functions, in TRL's signature: `reward(prompts, completions, **columns)`.

Light to import, so that a recipe's rewards and options can be checked without torch. Options are described
and checked by `schemas/rewards.schema.json`. Completions are strings or lists of messages; of messages the
last assistant one counts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.rewards import scorers, trl_rewards
from ptspec.rewards.contract import visible_columns
from ptspec.rewards.json_schemas import OptionFault, schema_fault
from ptspec.rewards.matching import text_of
from ptspec.rewards.right_answers import Golds, not_compared, right_answers
from ptspec.rewards.thoughts import without_thoughts
from ptspec.rewards.time_limit import TimedScore, Warn
from ptspec.rewards.trl_rewards import TRL, TrlReward

RewardFunction = Callable[..., Sequence[float | None]]
"""`reward(prompts, completions, **columns)`: one number per completion; None for a row that it cannot
score."""

Make = Callable[[scorers.Options], scorers.Score]


class Check(NamedTuple):
    """A check of an option beyond the schema: `fault` returns what is wrong with its value, or None."""

    option: str
    fault: Callable[[Any], OptionFault | None]
    hint: str


@dataclass(frozen=True)
class BuiltinReward:
    """A built-in reward: what it scores, and which column of the row it compares with.

    `columns` are tried in order unless the option `column` names one; empty: only the completion counts. With
    columns, thoughts (`<think>…</think>`) are removed from the completion. `timed`: its options hold
    patterns, so that scoring has a time limit. `silent` returns why it cannot score a right answer, or None.
    `module`: a required package. `is_graded`: its values are not only 0 and 1. `takes_json`: its right
    answers are JSON values, lists included. `reads_thoughts`: it uses the thoughts of a completion.
    """

    name: str
    summary: str
    make: Make
    columns: tuple[str, ...] = ()
    timed: bool = False
    check: Check | None = None
    silent: Callable[[str, scorers.Options], str | None] | None = None
    module: str | None = None
    is_graded: bool = False
    takes_json: bool = False
    reads_thoughts: bool = False


def option_faults(name: str, options: Mapping[str, Any], at: str = "") -> list[Diagnostic]:
    """Return errors of a built-in reward's `options` beyond the schema; they are at the pointer `at`.

    A pattern that does not compile, an invalid JSON Schema, a package that is not installed.
    """
    found = []
    reward = known_reward(name)
    if reward.module is not None and find_spec(reward.module) is None:
        message = f"{name} needs {reward.module.replace('_', '-')}, which is not installed"
        found.append(Diagnostic("missing-package", message, None, join(at, "function"), scorers.EXTRA))
    check = reward.check if isinstance(reward, BuiltinReward) else None
    if check is not None and check.option in options and (fault := check.fault(options[check.option])):
        where = join(at, check.option, *fault.steps)
        found.append(Diagnostic("wrong-reward", fault.message, None, where, check.hint))
    return found


def known_reward(name: str) -> BuiltinReward | TrlReward:
    """Return the built-in reward, or TRL's, called `name`. Raises `InputError` if there is none."""
    if (found := BUILTIN.get(name) or TRL.get(name)) is not None:
        return found
    names = (*BUILTIN, *TRL)
    hint = did_you_mean(name, names) or f"built in: {listed(names, len(names))}"
    raise InputError(Diagnostic("wrong-reward", f'"{name}" is not a built-in reward', hint=hint))


def _pattern_fault(pattern: str) -> OptionFault | None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return OptionFault(f"not a regular expression: {error}")
    return None


def builtin(
    name: str, options: Mapping[str, Any] | None = None, *, warn: Warn = warnings.warn
) -> RewardFunction:
    """Return the built-in reward `name`, or TRL's, with `options`, in TRL's signature.

    `warn` receives, once, completions that take too long, and right answers that it cannot compare with.
    Raises `InputError` if there is no such reward, or if `option_faults` finds any.
    """
    options = options or {}
    reward = known_reward(name)
    if faults := option_faults(name, options):
        raise InputError(*faults)
    columns = compared_columns(name, options)
    if isinstance(reward, TrlReward):
        function = partial(_of_trl, trl_rewards.made(name, options), columns, name)
    else:
        score = TimedScore(name, options, warn) if reward.timed else reward.make(options)
        function = partial(_reward, score, columns, reward, _Silence(reward, options, warn))
    function.__name__ = name  # type: ignore[attr-defined]  # TRL logs a reward function under its __name__
    return function


def compared_columns(name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns that the built-in reward `name` may compare with; the first existing one is used."""
    return (options["column"],) if "column" in options else known_reward(name).columns


def _reward(
    score: scorers.Score,
    columns: tuple[str, ...],
    reward: BuiltinReward,
    silence: _Silence,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    **given: Any,
) -> list[float | None]:
    texts = [text_of(completion) for completion in completions]
    if not columns:
        return [score(text, "") for text in texts]
    golds = _golds(columns, reward.name, given, reward.takes_json)
    silence.tell(golds)
    answers = [without_thoughts(text) for text in texts]
    return [
        None if gold is None else _best(score, text, gold) for text, gold in zip(answers, golds, strict=True)
    ]


def _best(score: scorers.Score, text: str, golds: tuple[str, ...]) -> float | None:
    """Return the best score over the right answers."""
    found = [value for gold in golds if (value := score(text, gold)) is not None]
    return max(found, default=None)


def _of_trl(
    score: Callable[..., list[float | None]],
    columns: tuple[str, ...],
    name: str,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    **given: Any,
) -> list[float | None]:
    golds = [gold and gold[0] for gold in _golds(columns, name, given, True)] if columns else None
    return score(completions, golds, completion_ids=given.get("completion_ids"))


class _Silence:
    """Warns, once, about rows whose right answers a reward cannot compare with."""

    def __init__(self, reward: BuiltinReward, options: scorers.Options, warn: Warn) -> None:
        self.reward, self.options, self.warn = reward, options, warn
        self.told = False

    def tell(self, golds: Golds) -> None:
        if self.told or (words := not_compared_with(self.reward, self.options, golds)) is None:
            return
        self.told = True
        self.warn(f"the reward {self.reward.name} cannot score {words}")


def not_compared_with(reward: BuiltinReward, options: scorers.Options, golds: Golds) -> str | None:
    """Return in words which of `golds` the `reward` cannot score; None if it can score all."""
    if (silent := reward.silent) is None:
        return None
    return not_compared(lambda gold: silent(gold, options), golds)


def _golds(columns: tuple[str, ...], name: str, given: Mapping[str, Any], takes_json: bool) -> Golds:
    """Return the first existing column of `columns` as texts; None in rows where it is empty."""
    column = next((column for column in columns if column in given), None)
    if column is None:
        raise InputError(_missing_column(columns, name, visible_columns(list(given))))
    return [right_answers(gold, takes_json) for gold in given[column]]


def _missing_column(columns: tuple[str, ...], name: str, there: list[str]) -> Diagnostic:
    return Diagnostic(
        "missing-column",
        f"the reward {name} compares with the column {' or '.join(columns)}, and a reward gets "
        f"{f'the columns {listed(there)}' if there else 'no column'} of this data",
        hint='name another with the option "column"; the column "completion" is reached when the source '
        f'renames it: "columns": {{"{columns[-1]}": "completion"}}',
    )


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
            "choice_letter",
            '1 where the completion chooses the right letter: (B), **B**, "The answer is B", "B. Because …"',
            scorers.choice_letter,
            columns=("answer", "output"),
            silent=scorers.no_letter,
        ),
        BuiltinReward(
            "choice_word",
            "1 where the completion chooses the right one of a few words, yes and no unless others are given",
            scorers.choice_word,
            columns=("answer", "output"),
            silent=scorers.no_word,
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
            is_graded=True,
        ),
        BuiltinReward(
            "json_schema",
            "1 where the completion is JSON that fits a schema",
            scorers.json_schema,
            timed=True,
            check=Check("schema", schema_fault, "see json-schema.org"),
        ),
        BuiltinReward(
            "json_answer",
            "1 where the completion is, or ends in, JSON that equals the right answer",
            scorers.json_answer,
            columns=("answer", "output"),
            silent=scorers.no_json,
            takes_json=True,
        ),
        BuiltinReward(
            "numeric_answer",
            "1 where the last number is the right one; expressions too where math-verify is installed",
            scorers.numeric_answer,
            columns=("answer", "output"),
            silent=scorers.no_number,
        ),
        BuiltinReward(
            "math_answer",
            "1 where the completion's expression equals the right answer, by math-verify",
            scorers.math_answer,
            columns=("answer", "output"),
            module=scorers.MATH_VERIFY,
        ),
        BuiltinReward(
            "format",
            "1 where the completion is the given tags in order, each once, with nothing between",
            scorers.tags,
            reads_thoughts=True,
        ),
    )
}
"""Every built-in reward by its name."""
