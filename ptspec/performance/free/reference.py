"""Compute the reference's log-probabilities once before the first step, if rows are seen repeatedly."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Situation
from ptspec.performance.exactness import why_draws_differ
from ptspec.recipe.batch_split import PASSES, ROWS

FIELD = "precompute_ref_log_probs"
SEEN = 1.25
"""Mean number of times rows must be seen: the extra pass over all rows and hashing weights come first."""


def choose(situation: Situation) -> tuple[Choice, ...]:
    """Choose `precompute_ref_log_probs` for fixed answers (DPO) and a fixed reference."""
    stage, settings = situation.stage, situation.settings
    reference = stage.method.reference
    stays = reference is not None and reference.once and stage.has_reference
    if not stays or situation.is_given(FIELD) or settings.value("sync_ref_model"):
        return ()
    if situation.rows is None or stage.compute.engine is not None or why_draws_differ(situation):
        return ()
    seen = _times_seen(situation, situation.rows)
    if seen < SEEN:
        return ()
    # Forward and backward of the policy (two thirds of full cost over a frozen base), and the reference.
    policy = 2 if stage.adapter.use_lora else 3
    gain = (policy + 1) / (policy + 1 / seen)
    values: dict[str, object] = {FIELD: True}
    if situation.machine.is_cpu and not situation.is_given("precompute_ref_batch_size"):
        values["precompute_ref_batch_size"] = 1  # rows come unsorted: nothing is padded
    reason = f"each row is seen {seen:.3g} times, the reference stays as it is"
    return (Choice(values, "reference log-probabilities once", reason, gain),)


def _times_seen(situation: Situation, rows: int) -> float:
    alone = situation.alone
    epochs = alone.value("num_train_epochs")
    most = alone.number("max_steps", -1)
    if most > 0:
        shared = 1 if situation.stage.compute.keep_effective_batch else situation.settings.processes
        return most * alone.number(ROWS, 8) * alone.number(PASSES, 1) * shared / max(rows, 1)
    return float(epochs if epochs is not None else 3)
