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
CPU_TOKENS = 1024
"""On a CPU: what still fits its caches. With the shipped model half the time of 8192."""

LOGIT_BYTES = 256 * 2**20
"""A batch's logits at completion positions stay under this, whatever the vocabulary's size."""

SOFTMAX_POSITIONS = 256
"""So many positions are in float32 at a time."""


def log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[Encoded],
    *,
    tokens: int | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> list[float]:
    """Σ_t log p(y_t | x, y_<t) over each sequence's completion tokens, in nats.

    The forward pass runs in the model's dtype, the log-softmax in float32. `tokens` bounds a batch (left
    out: what suits the device); `done` is told the number of sequences after each.
    """
    sums = [0.0] * len(sequences)
    for batch in batches([len(s.ids) for s in sequences], tokens or token_budget(model)):
        values = _batch([sequences[i] for i in batch], model)
        for index, value in zip(batch, values.tolist(), strict=True):
            sums[index] = value
        done(len(batch))
    return sums


def completion_logits(sequences: Sequence[Encoded], model: PreTrainedModel) -> list[torch.Tensor]:
    """For each sequence the logits that predict its completion, (completion tokens, vocabulary), in the
    model's dtype."""
    logits, begin = _forward(sequences, model)
    return [logits[i, s.start - 1 - begin : len(s.ids) - 1 - begin] for i, s in enumerate(sequences)]


def _forward(sequences: Sequence[Encoded], model: PreTrainedModel) -> tuple[torch.Tensor, int]:
    """Logits (batch, positions, vocabulary) from the earliest that predicts a completion's token on, and its
    position.

    The last token predicts nothing and is not fed. Padding is on the right, where causal attention does not
    look: without a mask the kernels for it are the faster ones.
    """
    ids, _ = pad([s.ids[: max(1, len(s.ids) - 1)] for s in sequences], 0, model.device)
    first = min(s.start for s in sequences) - 1
    keep: dict[str, Any] = {"logits_to_keep": ids.shape[1] - first} if _takes_logits_to_keep(model) else {}
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False, **keep).logits
    return logits, ids.shape[1] - logits.shape[1]


def _batch(sequences: Sequence[Encoded], model: PreTrainedModel) -> torch.Tensor:
    """(batch,) float64: Σ log-softmax at each completion's tokens. Positions of all sequences together, so
    many at a time."""
    logits, begin = _forward(sequences, model)
    width = logits.shape[1]
    places = [
        (row, row * width + at - 1 - begin, s.ids[at])
        for row, s in enumerate(sequences)
        for at in range(s.start, len(s.ids))
    ]
    rows, flat, wanted = torch.tensor(places, device=logits.device).reshape(-1, 3).unbind(1)
    sums = torch.zeros(len(sequences), dtype=torch.float64, device=logits.device)
    every = logits.reshape(-1, logits.shape[2])
    parts = zip(*(column.split(SOFTMAX_POSITIONS) for column in (rows, flat, wanted)), strict=True)
    for of, part, target in parts:
        sums.index_add_(0, of, _log_softmax(every[part], target).double())
    return sums


def _log_softmax(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    single = logits.float()
    return single.gather(1, targets[:, None])[:, 0] - single.logsumexp(1)


def token_budget(model: PreTrainedModel) -> int:
    """Tokens of a batch: what suits the device, and whose logits fit in `LOGIT_BYTES`."""
    most = CPU_TOKENS if model.device.type == "cpu" else TOKENS
    width = model.get_output_embeddings().weight.shape[0] * model.dtype.itemsize
    return max(1, min(most, LOGIT_BYTES // int(width)))


def _takes_logits_to_keep(model: PreTrainedModel) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
