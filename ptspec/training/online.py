"""The trainers of TRL that sample, by their names there, with our prompts, our decoding and our scoring."""

from __future__ import annotations

from functools import cache
from typing import Any

import trl

from ptspec.training.leaving_rows import LeavingRows
from ptspec.training.prompts_read_once import PromptsReadOnce
from ptspec.training.row_prompts import RowTemplates

WITH_LOGPS = ("GRPOTrainer",)
"""Trainers that want the log-probabilities of what was sampled beside it; None: not known."""


class _Sampling(RowTemplates, LeavingRows, PromptsReadOnce):
    """Prompts that are rendered as their rows say, and rows that leave once they have ended."""

    _wants_logps: bool

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, fields: Any, *more: Any, **named: Any
    ) -> Any:
        """Token ids of the completions, in the form that TRL's trainer gives them."""
        found = self._completions(prompt_ids, images, fields)
        if found is None:
            return super()._generate_single_turn(prompt_ids, images, fields, *more, **named)  # type: ignore[misc]
        return (found, None) if self._wants_logps else found


@cache
def _trainer(name: str) -> type:
    own = {"__module__": __name__, "_wants_logps": name in WITH_LOGPS}
    return type(name, (_Sampling, getattr(trl, name)), own)


def __getattr__(name: str) -> type:
    """TRL's trainer `name`, as it is here."""
    if not name.endswith("Trainer"):
        raise AttributeError(name)
    return _trainer(name)
