"""A model that reads growing rows of tokens, with its KV cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

Entered = Callable[[], AbstractContextManager[None]]


class Reader:
    """One model over some rows of the prompts.

    `inputs`: prepared by `generate()` for its first pass, with a cache that is empty or holds all tokens but
    the last; `rows`: those that it reads (None: all).
    """

    def __init__(
        self,
        model: Any,
        inputs: dict[str, Any],
        enter: Entered = nullcontext,
        rows: Tensor | None = None,
    ) -> None:
        self.model = model
        self.enter = enter
        self.fixed = {name: value for name, value in inputs.items() if value is not None}
        self.cache = self.fixed.pop("past_key_values")
        self.mask: Tensor | None = _of(self.fixed.pop("attention_mask", None), rows)
        self.positions: Tensor | None = _of(self.fixed.pop("position_ids", None), rows)
        self.begun = self.cache.get_seq_length() > 0

    def logits(self, new: Tensor, kinds: Sequence[object] = ()) -> Tensor:
        """Read `new` (rows, tokens) and return float32 next-token logits (rows, vocabulary).

        At the first call equal rows are read once, unless they are of different `kinds`.
        """
        if self.begun:
            last = self.positions if self.positions is None else self.positions[:, -1:]
            logits = self._read(new[:, -1:], self.mask, last)
        else:
            first, row_of = equal_rows(new, self.mask, kinds)
            logits = self._read(new[first], _of(self.mask, first), _of(self.positions, first))
            if len(first) < len(new):
                self.cache.reorder_cache(row_of)
                logits = logits[row_of]
            self.begun = True
        self._advance()
        return logits

    def _read(self, new: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        places = {} if positions is None else {"position_ids": positions}
        with self.enter():
            outputs = self.model(
                input_ids=new, attention_mask=mask, past_key_values=self.cache, **places, **self.fixed
            )
        # A copy: a view would keep the logits of the whole prompt alive.
        logits: Tensor = outputs.logits[:, -1].to(torch.float32, copy=True)
        return logits

    def _advance(self) -> None:
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        if self.positions is not None:
            self.positions = self.positions[:, -1:] + 1

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (a mask over the present ones)."""
        self.cache.reorder_cache(rows.nonzero().squeeze(1))
        self.mask = self.mask[rows] if self.mask is not None else None
        self.positions = self.positions[rows] if self.positions is not None else None


def equal_rows(ids: Tensor, mask: Tensor | None, kinds: Sequence[object] = ()) -> tuple[Tensor, Tensor]:
    """Return the index of the first of each set of equal rows, and each row's index among these."""
    parts = [ids.tolist(), [()] * len(ids) if mask is None else mask.tolist(), kinds or [None] * len(ids)]
    place: dict[object, int] = {}
    first: list[int] = []
    row_of: list[int] = []
    for row, (tokens, seen, kind) in enumerate(zip(*parts, strict=True)):
        key = (tuple(tokens), tuple(seen), kind)
        if key not in place:
            place[key] = len(first)
            first.append(row)
        row_of.append(place[key])
    return torch.tensor(first, device=ids.device), torch.tensor(row_of, device=ids.device)


def _of(values: Tensor | None, rows: Tensor | None) -> Tensor | None:
    return values if values is None or rows is None else values[rows]
