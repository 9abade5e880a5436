"""Metrics that are asked for and that the evaluation's rows cannot give, told before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from ptspec.data.checks.source_pass import Seen
from ptspec.data.layouts.convert import reading_of
from ptspec.data.layouts.evaluation import EvaluationRow, evaluation_row
from ptspec.data.layouts.turns import LayoutError
from ptspec.data.readers.placed import PlacedRow
from ptspec.diagnostics import Diagnostic
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan, Source, parts_of


class Offer(Enum):
    """What a row must offer for a metric, in the words of a message."""

    PROMPT = "a prompt"
    EXPECTED = "an answer to compare with (completion, output, messages, text)"
    RIGHT = 'a right answer ("answer", or an answer to compare with)'
    PAIR = "chosen and rejected"


NEEDS: Mapping[str, Offer] = {
    **dict.fromkeys(("loss", "perplexity", "bits_per_byte"), Offer.EXPECTED),
    **dict.fromkeys(("accuracy", "sampled_accuracy"), Offer.RIGHT),
    **dict.fromkeys(("preference_accuracy", "reward_margin", "pair_accuracy", "pair_margin"), Offer.PAIR),
}
"""Other metrics, rewards among them, need a prompt to answer."""


def check_metrics(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Checks, metrics, clusters that no held-out row can serve; of sources that were looked at."""
    evaluation = plan.evaluation
    if evaluation is None or evaluation.data not in plan.data:
        return
    names = parts_of(plan.data, evaluation.data)
    if any(name not in seen for name in names):
        return
    read = [row for name in names for row in _rows(plan.data[name], seen[name])]
    if read and evaluation.cluster is not None and not any(evaluation.cluster in row.columns for row in read):
        yield _no_cluster(evaluation.cluster, read)
    offered = {offer for row in read for offer in _of_row(row)}
    asked = [(name, join("/eval/metrics", index)) for index, name in enumerate(evaluation.metrics or ())]
    checks = [check for stage in plan.stages for check in stage.checks] + list(plan.checks)
    asked += [(check.metric, join(check.at, "metric")) for check in checks]
    for metric, where in asked:
        need = NEEDS.get(metric, Offer.PROMPT)
        if need not in offered and not _is_task(plan, metric):
            yield _unmeasurable(plan, metric, need, where)


def _rows(source: object, seen: Seen) -> Iterator[EvaluationRow]:
    """The first rows of a source as the evaluation reads them."""
    assert isinstance(source, Source)
    for item in seen.first:
        if not isinstance(item, PlacedRow):
            continue
        try:
            yield evaluation_row(item.values, reading_of(source))
        except (LayoutError, KeyError, TypeError, ValueError, AttributeError):
            continue  # an error of the row, told by who checks rows


def _no_cluster(cluster: str, rows: Sequence[EvaluationRow]) -> Diagnostic:
    columns = dict.fromkeys(name for row in rows for name in row.columns)
    message = f'no held-out row has a column "{cluster}" to cluster by'
    return Diagnostic("missing-column", message, None, "/eval/cluster", f"columns: {', '.join(columns)}")


def _of_row(row: EvaluationRow) -> set[Offer]:
    given = {
        Offer.PROMPT: bool(row.prompt),
        Offer.EXPECTED: row.expected is not None,
        Offer.RIGHT: bool(row.prompt) and (row.answer is not None or row.expected is not None),
        Offer.PAIR: row.pair is not None,
    }
    return {offer for offer, is_given in given.items() if is_given}


def _is_task(plan: Plan, metric: str) -> bool:
    """Whether it is one of lm-evaluation-harness, which brings its own rows."""
    tasks = plan.evaluation.lm_eval.tasks if plan.evaluation and plan.evaluation.lm_eval else ()
    return metric.partition("/")[0] in tasks


def _unmeasurable(plan: Plan, metric: str, need: Offer, where: str) -> Diagnostic:
    data = plan.evaluation.data if plan.evaluation else ""
    message = f'"{metric}" cannot be measured: the rows of "{data}" do not have {need.value}'
    hint = 'another metric, or "eval": {"data": …} with such rows'
    return Diagnostic("unmeasurable-metric", message, None, where, hint)
