"""Whether a server generates the answers of a recipe's evaluation."""

from __future__ import annotations

from ptspec.recipe.plan import ComputeSpec, EvaluationSpec
from ptspec.recipe.vllm import VLLMSpec, vllm_spec

WITHOUT_ANSWERS = frozenset(
    ("loss", "perplexity", "bits_per_byte", "reward_margin", "raw_preference", "raw_margin")
)
"""Metrics that need no generated answers."""


def evaluation_vllm(evaluation: EvaluationSpec | None, compute: ComputeSpec) -> VLLMSpec | None:
    """Return the plain server of the recipe's `compute` if its evaluation needs answers, else None."""
    if evaluation is None or compute.vllm is None or not _asks_for_answers(evaluation):
        return None
    spec = vllm_spec(compute.vllm)
    return spec if spec.is_plain_server else None


def _asks_for_answers(spec: EvaluationSpec) -> bool:
    return spec.metrics is None or bool(set(spec.metrics) - WITHOUT_ANSWERS)
