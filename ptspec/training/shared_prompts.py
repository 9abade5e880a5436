"""Read a pair's prompt once for both answers in DPO's log-probabilities.

TRL's passes hold the chosen conversations, then the rejected ones: (2 × pairs, tokens). Here a pair becomes
one sequence: the prompt without its last token, the rest of the chosen conversation, the rest of the rejected
one, with a mask by which neither answer sees the other, and the original positions. Outputs are put back
where TRL has them, and its losses and metrics are computed unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from ptspec.training.joined_pairs import Joined, first_pair, joined

Tell = Callable[[str], None]
WITHIN = 1e-3
"""Tolerance of a first pair's log-probability against TRL's, in nats. A model that misinterprets mask or
positions is off by more; another order of float32 sums by a hundredth of it."""
ROWS = ("input_ids", "attention_mask", "labels")
TAKEN = {*ROWS, "use_cache", "fused_lm_head", "return_dict"}
"""Inputs that TRL's DPO gives a text model, and those PEFT adds."""


@contextmanager
def prompts_shared(is_chosen: bool, tell: Tell) -> Iterator[None]:
    """Within the context, models in TRL's DPO with the fused head read a pair's prompt once.

    `tell` receives the reason if one does not after all.
    """
    if not is_chosen:
        yield
        return
    from trl.trainer import dpo_trainer

    usual = dpo_trainer.add_fused_lm_head
    told: set[str] = set()

    def once(text: str) -> None:
        if text not in told:
            told.add(text)
            tell(text)

    def added(model: Any, *more: Any, **named: Any) -> None:
        usual(model, *more, **named)
        model.forward = MethodType(_forward(model, once), model)

    dpo_trainer.add_fused_lm_head = added
    try:
        yield
    finally:
        dpo_trainer.add_fused_lm_head = usual


def _forward(model: Any, tell: Tell) -> Callable[..., Any]:
    """Return the output of `model` with TRL's fused head, computed by pairs if its input is pairs."""
    fused, pairs = model.forward.__func__, _Pairs(tell)

    @functools.wraps(type(model).forward)  # `generate` reads its parameters
    def forward(self: Any, *args: Any, **named: Any) -> Any:
        usual = functools.partial(fused, self)  # of a copy of the model the copy's
        found = None if args or not named.get("fused_lm_head") else pairs.joined(usual, named)
        return usual(*args, **named) if found is None else _parted(usual, found)

    return forward


@dataclass
class _Pairs:
    """Whether a model computes pairs in one sequence correctly; None before the first pass."""

    tell: Tell
    agrees: bool | None = None

    def joined(self, usual: Callable[..., Any], named: dict[str, Any]) -> Joined | None:
        """Return the rows of a pass joined; None if they are computed as they are."""
        if self.agrees is False or not _is_text(named):
            return None
        rows = tuple(named[name] for name in ROWS)
        found = joined(*rows)
        if found is not None and self.agrees is None:
            self.agrees = _agree(usual, *first_pair(*rows))
            if not self.agrees:
                self.tell("the model does not take pairs in one sequence: each answer reads its prompt anew")
        return found if self.agrees else None


def _agree(usual: Callable[..., Any], ids: Tensor, mask: Tensor, labels: Tensor) -> bool:
    """Return whether a pair's log-probabilities are the same both ways."""
    pair = joined(ids, mask, labels, least=0.0)
    with torch.no_grad():
        alone = usual(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
        try:
            together = None if pair is None else _parted(usual, pair)
        except (IndexError, RuntimeError, TypeError, ValueError):  # of another shape than it unpacks
            return False
    apart = None if together is None else (together.log_probs - alone.log_probs).abs()
    return apart is not None and bool((apart <= WITHIN).all())


def _parted(usual: Callable[..., Any], pairs: Joined) -> Any:
    """Return TRL's output for the original rows."""
    output = usual(
        input_ids=pairs.ids,
        attention_mask=pairs.mask,
        position_ids=pairs.positions,
        shift_labels=pairs.targets,
        fused_lm_head=True,
    )
    values = {one.name: getattr(output, one.name) for one in fields(output)}
    tokens = {
        name: pairs.parted(value)
        for name, value in values.items()
        if isinstance(value, Tensor) and value.shape == pairs.targets.shape
    }
    return replace(output, **{**tokens, "label_mask": pairs.labelled})


def _is_text(named: dict[str, Any]) -> bool:
    """Return whether a model's input is rows of tokens only."""
    given = {name for name, value in named.items() if value is not None}
    return given.issuperset(ROWS) and given <= TAKEN
