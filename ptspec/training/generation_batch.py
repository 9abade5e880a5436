"""How many passes one batch of completions serves.

Imports no model code, so that trainers without sampling load nothing for it.
"""

from __future__ import annotations

from typing import Any


def parts_of_a_generation(arguments: Any) -> int:
    """Return into how many parts, one per pass, a batch of completions is split.

    For a trainer without such a field, the passes of an optimizer step.
    """
    steps: int = getattr(arguments, "steps_per_generation", None) or arguments.gradient_accumulation_steps
    return steps


def passes_of_a_generation(trainer: Any) -> int:
    """Return the forward and backward passes of a TRL trainer between two generations."""
    return parts_of_a_generation(trainer.args) * int(getattr(trainer, "num_iterations", 1))
