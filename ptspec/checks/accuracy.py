"""Which scorer decides that a held-out response is correct, checked before the run starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ptspec.data.checks.source_pass import Seen
from ptspec.data.layouts.convert import reading_of
from ptspec.data.layouts.evaluation import EvaluationRow, evaluation_row
from ptspec.data.layouts.turns import LayoutError
from ptspec.data.readers.placed import PlacedRow
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan
from ptspec.recipe.signals import RewardSpec
from ptspec.recipe.sources import Source, parts_of
from ptspec.rewards.builtin import BUILTIN, compared_columns, not_compared_with
from ptspec.rewards.choose_scorer import Choice, choose
from ptspec.rewards.gold_of_row import gold_of
from ptspec.rewards.right_answers import right_answers
from ptspec.rewards.tool_calls import calls_of

ACCURACY = ("accuracy", "sampled_accuracy")
RIGHT = "answer"
"""The column of right answers."""


def accuracy_in_words(plan: Plan, seen: Mapping[str, Seen], rows: Sequence[EvaluationRow]) -> Iterator[str]:
    """Say which scorer counts responses as correct, if accuracy is measured and the recipe names none.

    If there is no scorer, say that there is no accuracy. Judged by the held-out `rows` that were read.
    """
    evaluation = plan.evaluation
    if evaluation is None or not rows or not any(row.prompt for row in rows):
        return
    if evaluation.metrics is not None and not set(ACCURACY) & set(evaluation.metrics):
        return
    if evaluation.accuracy is not None:
        yield f"accuracy by {evaluation.accuracy.function}, which eval.accuracy names"
        return
    choice = _choice(rows)
    if choice is not None:
        whole = sum(seen[name].rows for name in parts_of(plan.data, evaluation.data)) <= len(rows)
        of = "" if whole else f" (of the first {len(rows):,} rows; all of them decide)"
        yield f"accuracy by {choice.function}: {choice.why}{of} (to change it: eval.accuracy)"
    elif any(calls_of(row.expected) for row in rows):
        yield "accuracy by tool calls: those of the expected answer, in any order of arguments"
    else:
        yield f"no accuracy: {_without_answers(plan, evaluation.data)}, and eval.accuracy names no reward"


def _without_answers(plan: Plan, data: str) -> str:
    """Why nothing says what is right; the file may have a column "answer" that the recipe renames."""
    sources = (plan.data[name] for name in parts_of(plan.data, data))
    columns = [pair for one in sources if isinstance(one, Source) for pair in one.columns.items()]
    read_as = next((new for new, old in columns if old == RIGHT), None)
    if read_as is not None:
        return f'the column "{RIGHT}" is read as "{read_as}"'
    return f'the rows have no column "{RIGHT}"'


def check_accuracy(plan: Plan, rows: Sequence[EvaluationRow]) -> Iterator[Diagnostic]:
    """Yield errors for a missing column of right answers, and for answers that cannot be compared."""
    evaluation = plan.evaluation
    if evaluation is None or not rows:
        return
    asked = evaluation.accuracy
    if asked is None or asked.function is None:
        choice = _choice(rows)
        if choice is not None:
            yield from _not_compared(
                choice.function, choice.options, [gold_of(row) for row in rows], "/eval/data"
            )
        return
    golds = [gold_of(row, asked) for row in rows]
    if compared_columns(asked.function, asked.options) and all(gold is None for gold in golds):
        yield _no_gold(asked, rows)
        return
    yield from _not_compared(asked.function, asked.options, golds, asked.at)


def held_out_rows(plan: Plan, seen: Mapping[str, Seen]) -> list[EvaluationRow]:
    """Return the first rows of the held-out sources; empty if a source was not read."""
    evaluation = plan.evaluation
    if evaluation is None or evaluation.data not in plan.data:
        return []
    names = parts_of(plan.data, evaluation.data)
    if any(name not in seen for name in names):
        return []
    return list(chain.from_iterable(_rows(plan.data[name], seen[name]) for name in names))


def _rows(source: object, seen: Seen) -> Iterator[EvaluationRow]:
    assert isinstance(source, Source)
    for item in seen.first:
        if not isinstance(item, PlacedRow):
            continue
        try:
            yield evaluation_row(item.values, reading_of(source))
        except (LayoutError, KeyError, TypeError, ValueError, AttributeError):
            continue  # reported by the row checks


def _choice(rows: Sequence[EvaluationRow]) -> Choice | None:
    return choose([gold for row in rows if (gold := gold_of(row)) is not None])


def _not_compared(
    function: str, options: Mapping[str, Any], golds: list[Any], at: str
) -> Iterator[Diagnostic]:
    reward = BUILTIN.get(function)
    if reward is None:
        return
    answers = [right_answers(gold, reward.takes_json) for gold in golds]
    if words := not_compared_with(reward, options, answers):
        message = f"{function} cannot score {words}: such rows have no accuracy"
        hint = '"eval": {"accuracy": {"function": …}} names another reward'
        yield Diagnostic("not-compared", message, None, at, hint, (), Severity.WARNING)


def _no_gold(asked: RewardSpec, rows: Sequence[EvaluationRow]) -> Diagnostic:
    columns = sorted({name for row in rows for name in row.columns})
    wanted = asked.options.get("column")
    if wanted is None:
        message = (
            f"{asked.function} compares with a right answer, and the rows of the held-out data have none"
        )
        return Diagnostic("missing-column", message, None, asked.at, 'rename one: "columns": {"answer": …}')
    message = f'{asked.function} compares with the column "{wanted}", which the held-out data has not'
    hint = did_you_mean(wanted, columns) or f"columns: {listed(columns)}"
    return Diagnostic("missing-column", message, None, join(asked.at, "column"), hint)
