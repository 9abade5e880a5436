"""Prompts that a model has read once, as KV caches for their continuations."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad as padded
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ptspec.evaluation.batching import batches, pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Prefixes:
    """The keys and values of `prefixes`, each without its last token, left-padded to one width.

    The last token is read with the continuation.
    """

    def __init__(self, model: PreTrainedModel, prefixes: Sequence[Sequence[int]], tokens: int) -> None:
        """Read them in batches of similar length, of at most `tokens` tokens.

        Each has at least two tokens.
        """
        self.model = model
        self.ids = [list(prefix) for prefix in prefixes]
        self.read = [len(prefix) - 1 for prefix in prefixes]
        self.width = max(self.read)
        order: list[int] = []
        parts: list[DynamicCache] = []
        for batch in batches(self.read, tokens):
            order += batch
            parts.append(self._read([self.ids[i][:-1] for i in batch]))
        places = torch.tensor(order, device=model.device).argsort()
        self.layers = [self._joined([part.layers[n] for part in parts], places) for n in range(len(parts[0]))]

    def _read(self, prefixes: Sequence[Sequence[int]]) -> DynamicCache:
        ids, mask = pad(prefixes, 0, self.model.device, left=True)
        places = (
            {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if _takes(self.model, "position_ids") else {}
        )
        cache = DynamicCache(config=inner(self.model).config)
        keep = {"logits_to_keep": 1} if _takes(self.model, "logits_to_keep") else {}
        with torch.no_grad():
            self.model(
                input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **places, **keep
            )
        return cache

    def _joined(self, layers: Sequence[Any], places: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of one layer, in the order of the prefixes.

        (prefixes, heads, width, size).
        """
        keys, values = (
            torch.cat([padded(one, (0, 0, self.width - one.shape[2], 0)) for one in each])[places]
            for each in ([layer.keys for layer in layers], [layer.values for layer in layers])
        )
        return keys, values

    def cache(self, rows: Sequence[int]) -> DynamicCache:
        """Return a separate cache with these prefixes, which may repeat."""
        chosen = torch.tensor(rows, device=self.model.device)
        made = DynamicCache(config=inner(self.model).config)
        for number, (keys, values) in enumerate(self.layers):
            made.update(keys[chosen], values[chosen], number)
        return made

    def mask(self, rows: Sequence[int], further: int) -> Tensor:
        """Return the attention mask of these prefixes and further tokens, (rows, width + further)."""
        lengths = torch.tensor([self.read[row] for row in rows], device=self.model.device)[:, None]
        places = torch.arange(self.width + further, device=self.model.device)
        return (places >= self.width - lengths).long()

    def prompts(self, rows: Sequence[int], filler: int) -> Tensor:
        """Return the ids of these prefixes with their last tokens: (rows, width + 1), left-padded."""
        lines = [[filler] * (self.width - self.read[row]) + self.ids[row] for row in rows]
        return torch.tensor(lines, device=self.model.device)

    def logits(self, rows: Sequence[int], continuations: Sequence[Sequence[int]]) -> Tensor:
        """Return logits after each prefix and after each token of its continuation but the last.

        (rows, tokens of the longest continuation, vocabulary); shorter ones are padded.
        """
        fed = [[self.ids[row][-1], *one[:-1]] for row, one in zip(rows, continuations, strict=True)]
        ids, _ = pad(fed, 0, self.model.device)
        start = torch.tensor([self.read[row] for row in rows], device=self.model.device)[:, None]
        last = torch.tensor([len(one) - 1 for one in fed], device=self.model.device)[:, None]
        # Padding stays within the model's positions.
        positions = start + torch.arange(ids.shape[1], device=self.model.device).minimum(last)
        places = {"position_ids": positions} if _takes(self.model, "position_ids") else {}
        with torch.no_grad():
            logits: Tensor = self.model(
                input_ids=ids,
                attention_mask=self.mask(rows, ids.shape[1]),
                past_key_values=self.cache(rows),
                use_cache=True,
                **places,
            ).logits
        return logits


def can_be_shared(model: PreTrainedModel) -> bool:
    """Return whether the model's state of a prompt consists of keys and values only."""
    own = inner(model)
    if getattr(own, "_is_stateful", False) or own.config.is_encoder_decoder:
        return False
    layers = DynamicCache(config=own.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def inner(model: Any) -> Any:
    """Return the model inside an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _takes(model: Any, name: str) -> bool:
    return name in inspect.signature(inner(model).forward).parameters
