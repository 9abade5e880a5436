"""Log-probabilities of completions without those of their prompts.

TRL's fused head scores only the positions that have a label where it has a Triton kernel. Elsewhere, on a CPU,
it scores all, prompts and their padding too: a matrix product with the whole vocabulary, forwards and back, for
what is then masked out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from trl.kernels.chunked_logprob import _use_triton


class ScoredPositions:
    """Mixed into a trainer of TRL that scores completions."""

    accelerator: Any

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *more: Any,
        **named: Any,
    ) -> Any:
        """As in TRL: the log-probabilities of the last `logits_to_keep` tokens, and what else is asked for."""
        cut = nullcontext() if _use_triton(input_ids.device) else self._cut(model, logits_to_keep)
        with cut:
            return super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                model, input_ids, attention_mask, logits_to_keep, *more, **named
            )

    @contextmanager
    def _cut(self, model: nn.Module, tokens: int) -> Iterator[None]:
        """Within, the head of `model` sees the last `tokens` tokens, and the position before them."""
        own = self.accelerator.unwrap_model(model)
        inner = own.get_base_model() if hasattr(own, "get_base_model") else own
        hooks = [
            model.register_forward_pre_hook(
                lambda module, args, named: (args, {**named, "labels": named["labels"][:, -tokens - 1 :]}),
                with_kwargs=True,
            ),
            inner.base_model.register_forward_hook(lambda module, args, output: _last(output, tokens + 1)),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _last(output: Any, positions: int) -> Any:
    output.last_hidden_state = output.last_hidden_state[:, -positions:]
    return output
