"""How many passes a batch of completions serves.

Knows no model, so that trainers that sample nothing load nothing for it."""

from __future__ import annotations

from typing import Any


def parts_of_a_generation(arguments: Any) -> int:
    """The parts that a batch of completions is cut into, one a pass: of a trainer without a field for that,
    the passes of an optimizer step."""
    steps: int = getattr(arguments, "steps_per_generation", None) or arguments.gradient_accumulation_steps
    return steps


def passes_of_a_generation(trainer: Any) -> int:
    """Forward and backward passes of a TRL trainer before it samples again."""
    return parts_of_a_generation(trainer.args) * int(getattr(trainer, "num_iterations", 1))
