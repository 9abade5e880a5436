"""The KL divergence of a policy from another, on responses that it sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from ptspec.evaluation.batching import in_shares
from ptspec.evaluation.encoding import Encoded
from ptspec.evaluation.likelihood import completion_logits, token_budget

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def divergences(
    model: PreTrainedModel,
    base: PreTrainedModel,
    sequences: Sequence[Encoded],
    *,
    tokens: int | None = None,
    done: Callable[[int], None] = lambda count: None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[float] | None:
    """Return Σ_t KL(π(·|x, y_<t) ‖ base(·|x, y_<t)) over each sequence's completion, in nats.

    Each term is summed over the whole vocabulary, not estimated from the sampled token. With y sampled from π
    this is an unbiased estimate of the KL of the whole response, and never has more variance than Σ_t log
    π(y_t)/base(y_t) (Amini, Vieira and Cotterell 2025, arXiv 2504.10637). None if the two have different
    vocabularies. A batch is half as large as for likelihoods: two models' logits are held.
    """
    if not share_vocabulary(model, base):
        return None

    def compute(batch: list[int]) -> list[float]:
        asked = [sequences[i] for i in batch]
        pairs = zip(completion_logits(asked, model), completion_logits(asked, base), strict=True)
        return [divergence(policy, other) for policy, other in pairs]

    budget = max(1, token_budget(model, tokens) // 2)
    return in_shares([len(s.ids) for s in sequences], budget, compute, done=done, warn=warn)


def share_vocabulary(model: PreTrainedModel, base: PreTrainedModel) -> bool:
    """Return whether both models have distributions over the same number of tokens."""
    sizes = {int(one.get_output_embeddings().weight.shape[0]) for one in (model, base)}
    return len(sizes) == 1


def divergence(policy: Iterable[torch.Tensor], other: Iterable[torch.Tensor]) -> float:
    """Return Σ_t KL in nats, from both models' logits in pieces of (positions, vocabulary)."""
    total = 0.0
    for p, q in zip(policy, other, strict=True):
        log_p, log_q = p.float().log_softmax(-1), q.float().log_softmax(-1)
        total += float((log_p.exp() * (log_p - log_q)).sum(-1).double().sum())
    return max(0.0, total)
