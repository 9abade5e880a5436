"""log p(completion | prompt) of many sequences under one model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ptspec.evaluation.batching import in_shares, pad
from ptspec.evaluation.encoding import Encoded
from ptspec.evaluation.memory import scoring_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CPU_TOKENS = 1024
"""Tokens per batch on a CPU that fit its caches. With the shipped model half the time of 8192."""

LOGIT_BYTES = 256 * 2**20
"""A sequence with more logit bytes is computed in pieces; on a CPU also the limit of a batch."""

SOFTMAX_POSITIONS = 256
"""Positions converted to float32 at a time."""


def log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[Encoded],
    *,
    tokens: int | None = None,
    done: Callable[[int], None] = lambda count: None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[float]:
    """Return Σ_t log p(y_t | x, y_<t) over each sequence's completion tokens, in nats.

    The forward pass runs in the model's dtype, the log-softmax in float32. `tokens` limits a batch below the
    device's default; halved if memory runs out, with a message to `warn`. `done` receives the number of
    sequences of each batch.
    """

    def compute(batch: list[int]) -> list[float]:
        return _sums([sequences[i] for i in batch], model)

    lengths = [len(s.ids) for s in sequences]
    return in_shares(lengths, token_budget(model, tokens), compute, done=done, warn=warn)


def completion_logits(sequences: Sequence[Encoded], model: PreTrainedModel) -> list[Iterator[torch.Tensor]]:
    """Return for each sequence the logits that predict its completion, in pieces (positions, vocabulary).

    In the model's dtype. A single sequence whose logits exceed `LOGIT_BYTES` is computed lazily.
    """
    if len(sequences) == 1 and (piece := piece_of(sequences[0], model)) is not None:
        return [_by_pieces(sequences[0], model, piece)]
    logits, begin = _forward(sequences, model)
    whole = [logits[i, s.start - 1 - begin : len(s.ids) - 1 - begin] for i, s in enumerate(sequences)]
    return [iter(of_one.split(SOFTMAX_POSITIONS)) for of_one in whole]


def piece_of(sequence: Encoded, model: PreTrainedModel) -> int | None:
    """Return the positions per piece of a sequence with more than `LOGIT_BYTES` of logits, else None.

    None too for a model that cannot continue a cache with several tokens at once (state-space models).
    """
    most = max(SOFTMAX_POSITIONS, LOGIT_BYTES // _logit_bytes(model)) // SOFTMAX_POSITIONS * SOFTMAX_POSITIONS
    if sequence.completion_tokens <= most or not _takes_logits_to_keep(model):
        return None
    return None if getattr(_inner(model), "_is_stateful", False) else most


def _by_pieces(sequence: Encoded, model: PreTrainedModel, piece: int) -> Iterator[torch.Tensor]:
    """Yield the logits of a long completion, computed in pieces with a KV cache."""
    ids = torch.tensor([sequence.ids[:-1]], device=model.device)
    cache = None
    for begin, end in _ends(sequence.start, ids.shape[1], piece):
        keep = min(end - begin, end - sequence.start + 1)
        with torch.no_grad():
            output = model(
                input_ids=ids[:, begin:end], past_key_values=cache, use_cache=True, logits_to_keep=keep
            )
        cache = output.past_key_values
        yield from output.logits[0].split(SOFTMAX_POSITIONS)


def _ends(start: int, length: int, piece: int) -> Iterator[tuple[int, int]]:
    """Return the pieces' begins and ends: the prompt belongs to the first."""
    begin, end = 0, min(length, start - 1 + piece)
    while begin < length:
        yield begin, end
        begin, end = end, min(length, end + piece)


def _forward(sequences: Sequence[Encoded], model: PreTrainedModel) -> tuple[torch.Tensor, int]:
    """Return logits (batch, positions, vocabulary) from the first predicting position on, and that position.

    The last token predicts nothing and is not fed. Padding is on the right, which causal attention ignores:
    kernels without a mask are faster.
    """
    ids, _ = pad([s.ids[: max(1, len(s.ids) - 1)] for s in sequences], 0, model.device)
    first = min(s.start for s in sequences) - 1
    keep: dict[str, Any] = {"logits_to_keep": ids.shape[1] - first} if _takes_logits_to_keep(model) else {}
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False, **keep).logits
    return logits, ids.shape[1] - logits.shape[1]


def _sums(sequences: Sequence[Encoded], model: PreTrainedModel) -> list[float]:
    if len(sequences) == 1 and (piece := piece_of(sequences[0], model)) is not None:
        return [_long(sequences[0], model, piece)]
    values: list[float] = _batch(sequences, model).tolist()
    return values


def _long(sequence: Encoded, model: PreTrainedModel, piece: int) -> float:
    """Return Σ log-softmax of one long completion."""
    targets, at, total = torch.tensor(sequence.ids[sequence.start :], device=model.device), 0, 0.0
    for logits in _by_pieces(sequence, model, piece):
        total += float(_log_softmax(logits, targets[at : at + len(logits)]).double().sum())
        at += len(logits)
    return total


def _batch(sequences: Sequence[Encoded], model: PreTrainedModel) -> torch.Tensor:
    """Return (batch,) float64: Σ log-softmax at each completion's tokens.

    Computed over a limited number of positions at a time.
    """
    logits, begin = _forward(sequences, model)
    first = [s.start - 1 - begin for s in sequences]
    return of_completions(logits, first, [s.ids[s.start :] for s in sequences])


def of_completions(
    logits: torch.Tensor, first: Sequence[int], completions: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Return (batch,) float64: Σ log-softmax at the tokens of each completion.

    `logits` are (batch, positions, vocabulary); `first`: the index of the first predicting position.
    """
    width = logits.shape[1]
    places = [
        (row, row * width + start + at, token)
        for row, (start, completion) in enumerate(zip(first, completions, strict=True))
        for at, token in enumerate(completion)
    ]
    rows, flat, wanted = torch.tensor(places, device=logits.device).reshape(-1, 3).unbind(1)
    sums = torch.zeros(len(completions), dtype=torch.float64, device=logits.device)
    every = logits.reshape(-1, logits.shape[2])
    parts = zip(*(column.split(SOFTMAX_POSITIONS) for column in (rows, flat, wanted)), strict=True)
    for of, part, target in parts:
        sums.index_add_(0, of, _log_softmax(every[part], target).double())
    return sums


def _log_softmax(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    single = logits.float()
    return single.gather(1, targets[:, None])[:, 0] - single.logsumexp(1)


def token_budget(model: PreTrainedModel, tokens: int | None = None) -> int:
    """Return the tokens per batch: the fastest on a CPU, by free memory on a GPU, at most `tokens`."""
    if model.device.type == "cpu":
        budget = max(1, min(CPU_TOKENS, LOGIT_BYTES // _logit_bytes(model)))
    else:
        budget = scoring_tokens(model)
    return budget if tokens is None else min(tokens, budget)


def _logit_bytes(model: PreTrainedModel) -> int:
    """Return the bytes of one position's logits."""
    return int(model.get_output_embeddings().weight.shape[0]) * int(model.dtype.itemsize)


def _inner(model: PreTrainedModel) -> Any:
    """The model that an adapter is around."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _takes_logits_to_keep(model: PreTrainedModel) -> bool:
    return "logits_to_keep" in inspect.signature(_inner(model).forward).parameters
