"""TRL's GRPO trainer with our prompts, our decoding and our scoring. Imported by GRPO's stages alone."""

from __future__ import annotations

from typing import Any

import trl

from ptspec.training.leaving_rows import LeavingRows
from ptspec.training.prompts_read_once import PromptsReadOnce
from ptspec.training.row_prompts import RowTemplates


class GRPOTrainer(RowTemplates, LeavingRows, PromptsReadOnce, trl.GRPOTrainer):  # type: ignore[misc]  # the library is untyped
    """TRL's GRPO, with prompts that are rendered as their rows say, and rows that leave once they have
    ended."""

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, fields: Any, *more: Any, **named: Any
    ) -> Any:
        """Token ids of the completions, and their log-probabilities (None: not known)."""
        found = self._completions(prompt_ids, images, fields)
        if found is None:
            return super()._generate_single_turn(prompt_ids, images, fields, *more, **named)
        return found, None
