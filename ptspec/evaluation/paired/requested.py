"""Run the requested comparison: measure where needed, and judge if there is a judge."""

from __future__ import annotations

from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.measurement import Measurement
from ptspec.evaluation.paired.compare import compare
from ptspec.evaluation.paired.pairing import Judgement
from ptspec.evaluation.request import EvaluationRequest, evaluate_targets, judge_name
from ptspec.events import Listener, Warned


def compare_requested(
    request: EvaluationRequest, listen: Listener, judge: str | None, prompts: int | None, by: str | None
) -> tuple[Comparison, list[Measurement]]:
    """Return the comparison of the policies of `request`, and their measurements.

    `judge`: of the runs' recipe, or "file.py:name"; "none": none; None: the recipe's own. Raises `InputError`
    for what cannot be compared.
    """
    measured, said = _measured(request, listen, judge)
    return compare(measured, judgement=said, prompts=prompts, by=by), measured


def is_heavy(request: EvaluationRequest, judge: str | None) -> bool:
    """Return whether the comparison imports torch."""
    return request.held is not None or judge_name(request.targets, judge) is not None


def _measured(
    request: EvaluationRequest, listen: Listener, judge: str | None
) -> tuple[list[Measurement], Judgement | None]:
    name = judge_name(request.targets, judge)
    if name is None:
        return evaluate_targets(request, listen), None
    # Imported here: it loads torch.
    from ptspec.evaluation.choose_judge import choose, judgement

    chosen = choose(request.targets, name, request.allow_code, warn=lambda text: listen(Warned(text)))
    measured = evaluate_targets(request, listen)
    return measured, judgement(chosen, measured)
