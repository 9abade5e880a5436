"""The models that read growing rows of tokens, each with its own KV cache. Knows no sampling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ptspec.training.nash_md.reference import Reference


class Reader:
    """One model over the rows from `start` on. `inputs` are what `generate()` prepared for its first pass."""

    def __init__(
        self,
        model: Any,
        enter: Callable[[], AbstractContextManager[None]],
        inputs: dict[str, Any],
        start: int = 0,
    ) -> None:
        self.model = model
        self.enter = enter
        self.fixed = {name: value for name, value in inputs.items() if value is not None}
        self.cache = self.fixed.pop("past_key_values")
        self.mask: Tensor | None = _from(self.fixed.pop("attention_mask", None), start)
        self.positions: Tensor | None = _from(self.fixed.pop("position_ids", None), start)

    def logits(self, new: Tensor) -> Tensor:
        """Reads `new` (rows, tokens): float32 logits of the next token (rows, vocabulary)."""
        places = {} if self.positions is None else {"position_ids": self.positions}
        with self.enter():
            outputs = self.model(
                input_ids=new, attention_mask=self.mask, past_key_values=self.cache, **places, **self.fixed
            )
        self._advance()
        # A copy: a view would keep the logits of the whole prompt alive.
        logits: Tensor = outputs.logits[:, -1].to(torch.float32, copy=True)
        return logits

    def _advance(self) -> None:
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        if self.positions is not None:
            self.positions = self.positions[:, -1:] + 1

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows (a mask over the present ones) alone."""
        self.cache.batch_select_indices(rows.nonzero().squeeze(1))
        self.mask = self.mask[rows] if self.mask is not None else None
        self.positions = self.positions[rows] if self.positions is not None else None


def _from(values: Tensor | None, start: int) -> Tensor | None:
    return None if values is None else values[start:]


class Readers:
    """The model that reads every row, and a second that reads the last `mixed` of them too."""

    def __init__(self, first: Reader, second: Reader | None, coef: float, mixed: int, synced: bool) -> None:
        self.first = first
        self.second = second
        self.coef = coef
        self.mixed = mixed
        self.synced = synced

    def logits(self, new: Tensor) -> Tensor:
        """Logits of the next token (rows, vocabulary): the first model's, in the last `mixed` rows mixed."""
        logits = self.first.logits(new)
        if self.second is not None and self.mixed:
            # The normalisers of both are constants over the vocabulary: the mixture's softmax cancels them.
            logits[-self.mixed :].lerp_(self.second.logits(new[-self.mixed :]), self.coef)
        elif self.second is not None and self.synced:
            # Other processes still read with this model, whose shards are gathered by all or none.
            self.second.logits(new[-1:])
        return logits

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows (a mask over the present ones) alone."""
        self.first.keep(rows)
        if self.second is None or not self.mixed:
            return
        stay = rows[-self.mixed :].clone()
        self.mixed = int(stay.sum())
        if self.synced and not self.mixed:
            stay[-1] = True
        self.second.keep(stay)


def readers_of(
    policy: Any,
    reference: Reference | None,
    inputs: dict[str, Any],
    *,
    coef: float,
    rows: int,
    mixed: int,
    synced: bool,
) -> Readers:
    """Who must read: the policy alone without a reference, the reference alone where it has all weight."""
    if reference is None:
        return Readers(Reader(policy, nullcontext, inputs), None, 0.0, 0, synced)
    if coef == 1 and mixed == rows:
        return Readers(Reader(reference.model, reference.enter, inputs), None, 0.0, 0, synced)
    # Both caches start as the empty one that generate() made after the model's config.
    own = {**inputs, "past_key_values": copy.deepcopy(inputs["past_key_values"])}
    second = Reader(reference.model, reference.enter, own, start=rows - mixed)
    return Readers(Reader(policy, nullcontext, inputs), second, coef, mixed, synced)
