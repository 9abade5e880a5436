"""Read a pair's prompt once for both answers, for DPO on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptspec.methods.types import Encoding
from ptspec.performance.choice import PROMPTS, SHARED, Choice, Effect, Situation
from ptspec.performance.exactness import EXPERTS, why_draws_differ

OTHER_ATTENTION = ("alibi", "sliding_window", "attention_chunk_size", "attn_logit_softcapping")


def choose(situation: Situation) -> tuple[Choice, ...]:
    """Choose one sequence per pair, with a mask by which neither answer sees the other.

    Not on a GPU: it was not measured there, and kernels without custom masks are faster.
    """
    method = situation.stage.method
    is_pair = method.tokens.encoding is Encoding.ANSWERS and method.loss.sequences == 2
    if not is_pair or not situation.machine.is_cpu:
        return ()
    if why := _why_not(situation):
        return (Choice({PROMPTS: "each"}, "a prompt read for each answer", why, effect=Effect.KEPT),)
    return (Choice({PROMPTS: SHARED}, "a pair's prompt read once", "both answers begin alike"),)


def _why_not(situation: Situation) -> str | None:
    """Return why answers must not share a sequence."""
    settings, stage = situation.settings, situation.stage
    if situation.shape is None:
        return "the model is not known before it is loaded"
    if stage.compute.engine is not None:
        return "its processes hold parts of the model"
    if settings.value("padding_free") or settings.value("torch_compile"):
        return "padding_free and torch_compile have sequences of their own"
    if situation.model.attn_implementation not in (None, "sdpa"):
        return f"{situation.model.attn_implementation} takes no mask of one's own"
    if settings.mixed or settings.numbers(situation.model.dtype)["weights"] not in ("float32", "as stored"):
        return "16-bit numbers would round otherwise"
    return why_draws_differ(situation) or _other_attention(situation.shape.config)


def _other_attention(config: Mapping[str, Any]) -> str | None:
    """Return why a model of `config` may use more than mask and position to attend."""
    kinds = set(config.get("layer_types") or ()) | set(config.get("layers_block_type") or ())
    if kinds - {"full_attention"}:
        return f"the model has layers of {', '.join(sorted(kinds - {'full_attention'}))}"
    if any(config.get(name) for name in EXPERTS):
        return "experts are balanced over the tokens of a pass"
    if config.get("use_sliding_window") is False:
        config = {**config, "sliding_window": None}
    names = [name for name in OTHER_ATTENTION if config.get(name)]
    return f"the model's attention has {names[0]}" if names else None
