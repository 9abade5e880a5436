"""Tasks of lm-evaluation-harness on a loaded policy: extra `pip install ptspec[lm-eval]`.

Figures are like those of ptspec's metrics, named `task/metric`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.evaluation.aggregates import figure
from ptspec.evaluation.isolation import undisturbed
from ptspec.evaluation.stats.estimates import mean, resolve_one
from ptspec.events import Figure

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ptspec.recipe.plan import LmEvalSpec

BATCH = 8


@dataclass(frozen=True)
class Tasks:
    """`figures` by metric; `documents`: for each mean, the score of each document by its id."""

    figures: Mapping[str, Figure]
    documents: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class _Metric:
    """The harness's description of a metric."""

    name: str
    value: float
    scores: Mapping[str, float]


def measure_tasks(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: LmEvalSpec, *, seed: int
) -> Tasks:
    """Return the metrics of the tasks in `spec`, with 95 % intervals over their documents.

    A metric that is a mean over documents, or exp of minus one, gets an interval like ptspec's metrics; any
    other, and a group of tasks, has none. Raises `InputError` if there is no such task or the harness cannot
    prepare it.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    with undisturbed(model, seed):
        try:
            found = simple_evaluate(
                model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH),
                tasks=list(spec.tasks),
                num_fewshot=spec.num_fewshot,
                limit=spec.limit,
                apply_chat_template=spec.apply_chat_template,
                task_manager=_tasks(spec),
                log_samples=True,
                # Its bootstrap forks processes, which can deadlock after torch has started threads.
                bootstrap_iters=0,
                random_seed=seed,
                numpy_random_seed=seed,
                torch_random_seed=seed,
                fewshot_random_seed=seed,
            )
        except InputError:
            raise
        except Exception as error:  # tasks are third-party files with data anywhere
            first = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise InputError(_cannot(f"{type(error).__name__}: {first}", spec)) from error
    return _told([one for task in spec.tasks for one in _metrics(task, found)], seed)


def _told(metrics: Sequence[_Metric], seed: int) -> Tasks:
    figures = {m.name: _figure(m.value, list(m.scores.values()), seed) for m in metrics}
    means = {m.name: m.scores for m in metrics if m.scores and _same(_mean(m.scores.values()), m.value)}
    return Tasks(figures, means)


def _tasks(spec: LmEvalSpec) -> Any:
    """Return the tasks that the harness knows, including those of `include_path`."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=spec.include_path)
    if unknown := [name for name in spec.tasks if name not in manager.all_tasks]:
        raise InputError(_cannot(f'there is no task "{unknown[0]}"', spec))
    return manager


def _cannot(why: str, spec: LmEvalSpec) -> Diagnostic:
    hint = "lm_eval ls tasks lists them; include_path is a folder of your own"
    return Diagnostic("lm-eval", f"lm-evaluation-harness: {why}", pointer=spec.at, hint=hint)


def _metrics(task: str, found: Mapping[str, Any]) -> Iterator[_Metric]:
    values: Mapping[str, Any] = found["results"].get(task) or found.get("groups", {}).get(task) or {}
    for key, value in values.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        name = f"{task}/{metric}" + ("" if filter_name == "none" else f":{filter_name}")
        scores = dict(_scores(found.get("samples", {}).get(task, ()), metric, filter_name))
        yield _Metric(name, float(value), scores)


def _scores(
    samples: Sequence[Mapping[str, Any]], metric: str, filter_name: str
) -> Iterator[tuple[str, float]]:
    """Return each document's numeric metric; an id is its index and the hash of its contents."""
    for sample in samples:
        score = sample.get(metric)
        if sample.get("filter", "none") == filter_name and isinstance(score, bool | int | float):
            yield f"{sample['doc_id']}-{sample['doc_hash'][:12]}", float(score)


def _figure(value: float, scores: Sequence[float], seed: int) -> Figure:
    average = _mean(scores)
    is_mean = _same(average, value)
    # A perplexity of log-likelihoods.
    of_logarithms = not is_mean and value > 0 and _same(-average, math.log(value))
    if not (is_mean or of_logarithms):
        return Figure(value)
    is_share = is_mean and all(score in (0, 1) for score in scores)
    found = replace(figure(resolve_one(mean(scores), seed=seed)), is_share=is_share)
    if not of_logarithms or found.low is None or found.high is None:
        return replace(found, value=value)
    return Figure(value, math.exp(-found.high), math.exp(-found.low))


def _mean(scores: Collection[float]) -> float:
    return sum(scores) / len(scores) if scores else math.nan


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
