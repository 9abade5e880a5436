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
"""On a CPU: what still fits its caches. With the shipped model half the time of 8192."""

LOGIT_BYTES = 256 * 2**20
"""A sequence whose logits are more is read in pieces; on a CPU a batch's stay under this, too."""

SOFTMAX_POSITIONS = 256
"""So many positions are in float32 at a time."""


def log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[Encoded],
    *,
    tokens: int | None = None,
    done: Callable[[int], None] = lambda count: None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[float]:
    """Σ_t log p(y_t | x, y_<t) over each sequence's completion tokens, in nats.

    The forward pass runs in the model's dtype, the log-softmax in float32. `tokens` bounds a batch below
    what suits the device; halved where memory runs out, which `warn` is told of. `done` is told the number
    of sequences after each.
    """

    def compute(batch: list[int]) -> list[float]:
        return _sums([sequences[i] for i in batch], model)

    lengths = [len(s.ids) for s in sequences]
    return in_shares(lengths, token_budget(model, tokens), compute, done=done, warn=warn)


def completion_logits(sequences: Sequence[Encoded], model: PreTrainedModel) -> list[Iterator[torch.Tensor]]:
    """For each sequence the logits that predict its completion, in the model's dtype, in pieces of
    (positions, vocabulary). A sequence alone whose logits exceed `LOGIT_BYTES` is read as they are asked for.
    """
    if len(sequences) == 1 and (piece := piece_of(sequences[0], model)) is not None:
        return [_by_pieces(sequences[0], model, piece)]
    logits, begin = _forward(sequences, model)
    whole = [logits[i, s.start - 1 - begin : len(s.ids) - 1 - begin] for i, s in enumerate(sequences)]
    return [iter(of_one.split(SOFTMAX_POSITIONS)) for of_one in whole]


def piece_of(sequence: Encoded, model: PreTrainedModel) -> int | None:
    """Positions of a piece of a sequence whose logits are more than `LOGIT_BYTES`; None where they are fewer,
    or where the model cannot go on from a cache with several tokens at once (state-space models)."""
    most = max(SOFTMAX_POSITIONS, LOGIT_BYTES // _logit_bytes(model)) // SOFTMAX_POSITIONS * SOFTMAX_POSITIONS
    if sequence.completion_tokens <= most or not _takes_logits_to_keep(model):
        return None
    return None if getattr(_inner(model), "_is_stateful", False) else most


def _by_pieces(sequence: Encoded, model: PreTrainedModel, piece: int) -> Iterator[torch.Tensor]:
    """The logits of a long completion: the sequence is read piece by piece, with the keys and values of what
    came before kept, so that no more than a piece's logits are there at once."""
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
    """Where the pieces of a sequence begin and end: the prompt goes with the first."""
    begin, end = 0, min(length, start - 1 + piece)
    while begin < length:
        yield begin, end
        begin, end = end, min(length, end + piece)


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


def _sums(sequences: Sequence[Encoded], model: PreTrainedModel) -> list[float]:
    if len(sequences) == 1 and (piece := piece_of(sequences[0], model)) is not None:
        return [_long(sequences[0], model, piece)]
    values: list[float] = _batch(sequences, model).tolist()
    return values


def _long(sequence: Encoded, model: PreTrainedModel, piece: int) -> float:
    """Σ log-softmax of one long completion."""
    targets, at, total = torch.tensor(sequence.ids[sequence.start :], device=model.device), 0, 0.0
    for logits in _by_pieces(sequence, model, piece):
        total += float(_log_softmax(logits, targets[at : at + len(logits)]).double().sum())
        at += len(logits)
    return total


def _batch(sequences: Sequence[Encoded], model: PreTrainedModel) -> torch.Tensor:
    """(batch,) float64: Σ log-softmax at each completion's tokens.

    Positions of all sequences together, so many at a time."""
    logits, begin = _forward(sequences, model)
    first = [s.start - 1 - begin for s in sequences]
    return of_completions(logits, first, [s.ids[s.start :] for s in sequences])


def of_completions(
    logits: torch.Tensor, first: Sequence[int], completions: Sequence[Sequence[int]]
) -> torch.Tensor:
    """(batch,) float64: Σ log-softmax at the tokens of each completion.

    `logits` are (batch, positions, vocabulary), and `first` is where those that predict a completion begin.
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
    """Tokens of a batch: what is fastest on a CPU, what the free memory holds on a GPU; `tokens` where
    that is less."""
    if model.device.type == "cpu":
        budget = max(1, min(CPU_TOKENS, LOGIT_BYTES // _logit_bytes(model)))
    else:
        budget = scoring_tokens(model)
    return budget if tokens is None else min(tokens, budget)


def _logit_bytes(model: PreTrainedModel) -> int:
    """Bytes of one position's logits."""
    return int(model.get_output_embeddings().weight.shape[0]) * int(model.dtype.itemsize)


def _inner(model: PreTrainedModel) -> Any:
    """The model that an adapter is around."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _takes_logits_to_keep(model: PreTrainedModel) -> bool:
    return "logits_to_keep" in inspect.signature(_inner(model).forward).parameters
