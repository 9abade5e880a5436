"""Log-probabilities of completions with one prefill per prompt, for passes without gradients.

For eight completions of one prompt TRL reads the prompt eight times, for the log-probabilities of the
sampling policy and for those of the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ptspec.model.decoding.loop import decodes_by_rows
from ptspec.model.decoding.reader import equal_rows


class PromptsReadOnce:
    """Mixin for a TRL trainer that scores completions."""

    accelerator: Any
    generation_config: Any
    _is_synced: Callable[[], bool]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *more: Any,
        **named: Any,
    ) -> Any:
        """Like TRL's: log-probabilities of the last `logits_to_keep` tokens, and further outputs."""
        if not torch.is_grad_enabled() and not named.get("compute_entropy") and len(more) < 2:
            found = self._by_prompts(model, input_ids, attention_mask, logits_to_keep, *more, **named)
            if found is not None:
                return found, None, None
        return super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
            model, input_ids, attention_mask, logits_to_keep, *more, **named
        )

    def _by_prompts(
        self,
        model: Any,
        ids: Tensor,
        mask: Tensor,
        tokens: int,
        batch_size: int | None = None,
        **further: Any,
    ) -> Tensor | None:
        """Return log-probabilities of the last `tokens` tokens with one prefill per prompt.

        None if rows share no prompt, or the processes of a sharded model must make the same passes.
        """
        inner = _causal(self.accelerator.unwrap_model(model))
        is_text = all(value is None or value is False for value in further.values())
        prompt = ids.shape[1] - tokens
        if (
            not is_text
            or prompt < 2
            or self._is_synced()
            or not decodes_by_rows(inner, self.generation_config)
        ):
            return None
        size = batch_size or len(ids)
        chunks = [(ids[at : at + size], mask[at : at + size]) for at in range(0, len(ids), size)]
        shared = [equal_rows(some[:, :prompt], seen[:, :prompt]) for some, seen in chunks]
        if sum(len(first) for first, _ in shared) == len(ids):
            return None
        with self.accelerator.autocast():
            each = [
                _scored(model, inner, *chunk, prompt, *equal)
                for chunk, equal in zip(chunks, shared, strict=True)
            ]
        return torch.cat(each)


def _causal(model: Any) -> Any:
    """Return the model inside an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _scored(
    model: Any, inner: Any, ids: Tensor, mask: Tensor, prompt: int, first: Tensor, row_of: Tensor
) -> Tensor:
    """Return log-probabilities of the tokens after the first `prompt` tokens of each row.

    `first`: the rows whose prompts are read; `row_of`: the index of each row's prompt among them.
    """
    cache = DynamicCache(config=inner.config)
    inner.base_model(
        input_ids=ids[first, : prompt - 1],
        attention_mask=mask[first, : prompt - 1],
        past_key_values=cache,
        use_cache=True,
    )
    cache.reorder_cache(row_of)
    fed = ids[:, prompt - 1 :]
    labels = fed.masked_fill(mask[:, prompt - 1 :] == 0, -100)
    labels[:, 0] = -100
    outputs = model(
        input_ids=fed, attention_mask=mask, past_key_values=cache, labels=labels, fused_lm_head=True
    )
    log_probs: Tensor = outputs.log_probs
    return log_probs
