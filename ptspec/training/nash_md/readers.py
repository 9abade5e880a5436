"""Models that compute the next-token logits of a mixture: one, two, or one with an adapter for some rows."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ptspec.model.decoding.adapter_rows import AdapterRows
from ptspec.model.decoding.reader import Reader, equal_rows
from ptspec.training.nash_md.reference import Reference


class Readers:
    """The model for every row, and a second one for the last `mixed` rows."""

    def __init__(self, first: Reader, second: Reader | None, coef: float, mixed: int, synced: bool) -> None:
        self.first = first
        self.second = second
        self.coef = coef
        self.mixed = mixed
        self.synced = synced

    def logits(self, new: Tensor) -> Tensor:
        """Return next-token logits (rows, vocabulary), mixed in the last `mixed` rows."""
        logits = self.first.logits(new)
        if self.second is not None and self.mixed:
            # The normalisers of both are constants over the vocabulary: the mixture's softmax cancels them.
            logits[-self.mixed :].lerp_(self.second.logits(new[-self.mixed :]), self.coef)
        elif self.second is not None and self.synced:
            # Other processes still use this model, whose shards all processes must gather together.
            self.second.logits(new[-1:])
        return logits

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (a mask over the present ones)."""
        self.first.keep(rows)
        if self.second is None or not self.mixed:
            return
        stay = rows[-self.mixed :].clone()
        self.mixed = int(stay.sum())
        if self.synced and not self.mixed:
            stay[-1] = True
        self.second.keep(stay)


class SideBySide:
    """One LoRA model that computes the last `mixed` rows twice in a pass, the second time as reference.

    Use within `by_rows(model, adapters)`.
    """

    def __init__(self, reader: Reader, adapters: AdapterRows, coef: float, mixed: int) -> None:
        self.reader = reader
        self.adapters = adapters
        self.coef = coef
        self.mixed = mixed

    def logits(self, new: Tensor) -> Tensor:
        """Return next-token logits (rows, vocabulary), mixed in the last `mixed` rows."""
        rows = len(new)
        both = torch.cat([new, new[rows - self.mixed :]]) if self.mixed else new
        kinds = [*(["policy"] * rows), *(["reference"] * self.mixed)]
        first = None if self.reader.begun else equal_rows(both, self.reader.mask, kinds)[0]
        if first is None:
            self.adapters.are(len(both), rows)
        else:
            self.adapters.are(len(first), int((first < rows).sum()))
        logits = self.reader.logits(both, kinds)
        own = logits[:rows]
        if self.mixed:
            own[-self.mixed :].lerp_(logits[rows:], self.coef)
        return own

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (a mask over the present ones)."""
        self.reader.keep(torch.cat([rows, rows[len(rows) - self.mixed :]]) if self.mixed else rows)
        self.mixed = int(rows[len(rows) - self.mixed :].sum()) if self.mixed else 0


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
    """Return the needed models: only the policy without a reference, only the reference at c = 1."""
    if reference is None:
        return Readers(Reader(policy, inputs), None, 0.0, 0, synced)
    if coef == 1 and mixed == rows:
        return Readers(Reader(reference.model, inputs, reference.enter), None, 0.0, 0, synced)
    # Both caches start as copies of the empty one that generate() made.
    own = {**inputs, "past_key_values": copy.deepcopy(inputs["past_key_values"])}
    second = Reader(reference.model, own, reference.enter, torch.arange(rows - mixed, rows))
    return Readers(Reader(policy, inputs), second, coef, mixed, synced)


def side_by_side(
    policy: Any, adapters: AdapterRows, inputs: dict[str, Any], *, coef: float, rows: int, mixed: int
) -> SideBySide:
    """Return one reader of all rows as the policy, and of the last `mixed` as the reference."""
    every = torch.cat([torch.arange(rows), torch.arange(rows - mixed, rows)])
    return SideBySide(Reader(policy, inputs, rows=every), adapters, coef, mixed)
