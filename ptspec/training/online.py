"""TRL's sampling trainers, under their names, with ptspec's prompts, decoding and scoring."""

from __future__ import annotations

from functools import cache
from typing import Any

import trl

from ptspec.training.leaving_rows import LeavingRows
from ptspec.training.prompts_read_once import PromptsReadOnce
from ptspec.training.row_prompts import RowTemplates

WITH_LOGPS = ("GRPOTrainer",)
"""Trainers that need the log-probabilities of sampled tokens; None: unknown."""


class _Sampling(RowTemplates, LeavingRows, PromptsReadOnce):
    """Render prompts per row and let finished rows leave the batch."""

    _wants_logps: bool

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, fields: Any, *more: Any, **named: Any
    ) -> Any:
        """Return the token ids of completions in the form of TRL's trainer."""
        found = self._completions(prompt_ids, images, fields)
        if found is None:
            return super()._generate_single_turn(prompt_ids, images, fields, *more, **named)  # type: ignore[misc]
        return (found, None) if self._wants_logps else found


@cache
def _trainer(name: str) -> type:
    own = {"__module__": __name__, "_wants_logps": name in WITH_LOGPS}
    return type(name, (_Sampling, getattr(trl, name)), own)


def __getattr__(name: str) -> type:
    """Return TRL's trainer `name` with these mixins."""
    if not name.endswith("Trainer"):
        raise AttributeError(name)
    return _trainer(name)
