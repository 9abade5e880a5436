"""When a step's loss does not depend on which of its rows share a pass.

From TRL 1.16 and transformers 5.23. SFT divides the sum over a pass by the learned tokens of the whole step
(`num_items_in_batch`); DPO and the reward model take a mean over the rows of a pass, and the trainer the mean
over passes, which equals that over all rows if the passes have equal size. ORPO's likelihood is a mean over
the tokens of a pass, KTO's estimate of the KL needs the other rows of one, online methods pad to what was
generated together: their passes are not changed.
"""

from __future__ import annotations

from ptspec.methods.types import Mean
from ptspec.performance.choice import Situation
from ptspec.recipe.batch_split import PASSES, ROWS

EXPERTS = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts")
"""Config fields of a mixture of experts."""


def why_passes_matter(situation: Situation) -> str | None:
    """Return why the result depends on how a step's rows are split into passes, else None.

    None assumes passes of equal size.
    """
    settings, stage = situation.settings, situation.stage
    method = stage.method
    loss = settings.value("loss_type")
    if method.loss.mean is Mean.PASS:
        return f"the loss of {method.name} depends on the rows of a pass"
    losses = loss if isinstance(loss, list | tuple) else [loss]
    if method.compares_rows(loss) or any(one in method.loss.pools for one in losses):
        return f"the loss {loss} depends on the rows of a pass"
    if (
        method.loss.mean is Mean.TOKENS_OF_STEP
        and settings.processes > 1
        and settings.value("average_tokens_across_devices") is False
    ):
        return "tokens are averaged in each process"
    if why := why_draws_differ(situation):
        return why
    if situation.shape is None:
        return "the model is not known before it is loaded"
    if situation.shape.number(*EXPERTS):
        return "experts are balanced over the tokens of a pass"
    if settings.value("dataloader_drop_last"):
        return "the last rows of an epoch are dropped by the pass"
    return None


def why_draws_differ(situation: Situation) -> str | None:
    """Return why a row is computed with random noise, such as dropout; None if it is not."""
    if situation.stage.adapter.lora.get("lora_dropout"):
        return "lora_dropout draws anew in each pass"
    if situation.settings.value("neftune_noise_alpha"):
        return "neftune_noise_alpha draws anew in each pass"
    config = {} if situation.shape is None else situation.shape.config
    drops = [name for name, value in config.items() if _is_dropout(name, value)]
    return f"the model's {drops[0]} draws anew in each pass" if drops else None


def _is_dropout(name: str, value: object) -> bool:
    """Return whether a model's config field is an active dropout (`attn_pdrop`, `hidden_dropout`)."""
    named = "drop" in name or name.endswith("_pdrop")
    return named and isinstance(value, float) and value > 0


def rows_of_a_pass(situation: Situation) -> tuple[int, ...]:
    """Return the possible rows per pass with equal passes and the same loss, the largest first."""
    alone, processes = situation.alone, situation.settings.processes
    now, passes = alone.number(ROWS, 8), alone.number(PASSES, 1)
    step = now * passes
    shared = processes if situation.stage.compute.keep_effective_batch else 1
    found = [rows for rows in range(step, 0, -1) if step % rows == 0 and (step // rows) % shared == 0]
    # With the present passes, the last step of an epoch is split as it would be anyway.
    return tuple(
        rows for rows in found if rows == now or (rows < now and _ends_equally(situation, rows, step))
    )


def _ends_equally(situation: Situation, rows: int, step: int) -> bool:
    """Return whether the last step of an epoch also has passes of equal size."""
    of_tokens = situation.stage.method.loss.mean is Mean.TOKENS_OF_STEP
    if situation.settings.processes == 1 and (rows == 1 or of_tokens):
        return True
    left = None if situation.rows is None else situation.rows % step
    if situation.settings.processes > 1:
        return left == 0
    return left is not None and left % rows == 0
