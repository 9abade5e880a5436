"""log p(completion | prompt) of many sequences under one model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ptspec.evaluation.batching import batches, pad
from ptspec.evaluation.encoding import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS = 8192
LOGIT_BYTES = 256 * 2**20
"""A batch's logits at completion positions stay under this, whatever the vocabulary's size."""

SOFTMAX_POSITIONS = 256
"""So many positions are in float32 at a time."""


def log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[Encoded],
    *,
    tokens: int = TOKENS,
    done: Callable[[int], None] = lambda count: None,
) -> list[float]:
    """Σ_t log p(y_t | x, y_<t) over each sequence's completion tokens, in nats.

    The forward pass runs in the model's dtype, the log-softmax in float32. `tokens` bounds a batch;
    `done` is told the number of sequences after each.
    """
    sums = [0.0] * len(sequences)
    for batch in batches([len(s.ids) for s in sequences], min(tokens, token_budget(model))):
        values = _batch([sequences[i] for i in batch], model)
        for index, value in zip(batch, values.tolist(), strict=True):
            sums[index] = value
        done(len(batch))
    return sums


def completion_logits(sequences: Sequence[Encoded], model: PreTrainedModel) -> list[torch.Tensor]:
    """For each sequence the logits that predict its completion, (completion tokens, vocabulary), in the
    model's dtype. Computed in one pass, from the earliest completion start on."""
    ids, mask = pad([s.ids for s in sequences], 0, model.device)
    first = min(s.start for s in sequences) - 1
    keep: dict[str, Any] = {"logits_to_keep": ids.shape[1] - first} if _takes_logits_to_keep(model) else {}
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **keep).logits
    offset = ids.shape[1] - logits.shape[1] + 1
    return [logits[i, s.start - offset : len(s.ids) - offset] for i, s in enumerate(sequences)]


def _batch(sequences: Sequence[Encoded], model: PreTrainedModel) -> torch.Tensor:
    """(batch,) float64 log-likelihoods."""
    pairs = zip(sequences, completion_logits(sequences, model), strict=True)
    return torch.stack([_completion(logits, sequence) for sequence, logits in pairs])


def _completion(logits: torch.Tensor, sequence: Encoded) -> torch.Tensor:
    """Σ log-softmax at the completion's tokens."""
    ids = torch.tensor(sequence.ids[sequence.start :], device=logits.device)
    parts = zip(logits.split(SOFTMAX_POSITIONS), ids.split(SOFTMAX_POSITIONS), strict=True)
    return torch.stack([_log_softmax_sum(part, wanted) for part, wanted in parts]).sum()


def _log_softmax_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    single = logits.float()
    return (single.gather(1, targets[:, None])[:, 0] - single.logsumexp(1)).double().sum()


def token_budget(model: PreTrainedModel) -> int:
    """Tokens whose logits fit in `LOGIT_BYTES`, at the model's dtype."""
    width = model.get_output_embeddings().weight.shape[0] * model.dtype.itemsize
    return max(1, LOGIT_BYTES // int(width))


def _takes_logits_to_keep(model: PreTrainedModel) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
