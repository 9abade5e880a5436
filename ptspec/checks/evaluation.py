"""Check that the evaluation's rows can provide the requested metrics, before the run starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from ptspec.data.checks.source_pass import Seen
from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.diagnostics import Diagnostic
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan
from ptspec.recipe.signals import RewardSpec
from ptspec.recipe.sources import Mix, parts_of
from ptspec.rewards.builtin import compared_columns
from ptspec.rewards.gold_of_row import gold_of
from ptspec.rewards.tool_calls import calls_of


class Offer(Enum):
    """A row's part that a metric needs, in the words of a message."""

    PROMPT = "a prompt"
    EXPECTED = "an answer to compare with (completion, output, messages, text)"
    RIGHT = 'a right answer: a column "answer", or "accuracy" in eval to say by what'
    PAIR = "chosen and rejected"


NEEDS: Mapping[str, Offer] = {
    **dict.fromkeys(("loss", "perplexity", "bits_per_byte"), Offer.EXPECTED),
    **dict.fromkeys(("accuracy", "sampled_accuracy"), Offer.RIGHT),
    **dict.fromkeys(("preference_accuracy", "reward_margin", "pair_accuracy", "pair_margin"), Offer.PAIR),
}
"""Metric -> the part it needs. Other metrics, rewards included, need a prompt to answer."""


def mix_in_words(plan: Plan) -> Iterator[str]:
    """Say that an evaluation reads all of a mix: its weights apply to training only."""
    source = plan.data.get(plan.evaluation.data) if plan.evaluation is not None else None
    if isinstance(source, Mix):
        parts = ", ".join(source.parts)
        yield f'the evaluation reads every row of {parts}: the weights of "{source.name}" are not used'


def check_metrics(
    plan: Plan, seen: Mapping[str, Seen], rows: Sequence[EvaluationRow]
) -> Iterator[Diagnostic]:
    """Yield checks, metrics and clusters that no held-out row provides, if all sources were read."""
    evaluation = plan.evaluation
    if evaluation is None or evaluation.data not in plan.data:
        return
    if any(name not in seen for name in parts_of(plan.data, evaluation.data)):
        return
    if rows and evaluation.cluster is not None and not any(evaluation.cluster in row.columns for row in rows):
        yield _no_cluster(evaluation.cluster, rows)
    offered = {offer for row in rows for offer in _offers(row, evaluation.accuracy)}
    asked = [(name, join("/eval/metrics", index)) for index, name in enumerate(evaluation.metrics or ())]
    checks = [check for stage in plan.stages for check in stage.checks] + list(plan.checks)
    picks = [stage.pick for stage in plan.stages if stage.pick is not None]
    checks += [check for pick in picks for check in pick.keep]
    asked += [(pick.metric, join(pick.at, "metric")) for pick in picks]
    asked += [(check.metric, join(check.at, "metric")) for check in checks]
    for metric, where in asked:
        need = NEEDS.get(metric, Offer.PROMPT)
        if need not in offered and not _is_task(plan, metric):
            yield _unmeasurable(plan, metric, need, where)


def _no_cluster(cluster: str, rows: Sequence[EvaluationRow]) -> Diagnostic:
    columns = dict.fromkeys(name for row in rows for name in row.columns)
    message = f'no held-out row has a column "{cluster}" to cluster by'
    return Diagnostic("missing-column", message, None, "/eval/cluster", f"columns: {', '.join(columns)}")


def _offers(row: EvaluationRow, accuracy: RewardSpec | None) -> Iterator[Offer]:
    if row.prompt:
        yield Offer.PROMPT
    if row.expected is not None:
        yield Offer.EXPECTED
    if row.prompt and (
        _needs_no_gold(accuracy) or gold_of(row, accuracy) is not None or calls_of(row.expected)
    ):
        yield Offer.RIGHT
    if row.pair is not None:
        yield Offer.PAIR


def _needs_no_gold(accuracy: RewardSpec | None) -> bool:
    """Return whether the scorer reads the response alone."""
    if accuracy is None or accuracy.function is None:
        return False
    return not compared_columns(accuracy.function, accuracy.options)


def _is_task(plan: Plan, metric: str) -> bool:
    """Return whether a metric is a task of lm-evaluation-harness, which has its own rows."""
    tasks = plan.evaluation.lm_eval.tasks if plan.evaluation and plan.evaluation.lm_eval else ()
    return metric.partition("/")[0] in tasks


def _unmeasurable(plan: Plan, metric: str, need: Offer, where: str) -> Diagnostic:
    data = plan.evaluation.data if plan.evaluation else ""
    message = f'"{metric}" cannot be measured: the rows of "{data}" do not have {need.value}'
    hint = 'another metric, or "eval": {"data": …} with such rows'
    return Diagnostic("unmeasurable-metric", message, None, where, hint)
