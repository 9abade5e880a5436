"""Prompts of generating trainers with their rows' own tools and template arguments.

TRL 1.16 supports those of the stage only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trl.data_utils import is_conversational

from ptspec.data.layouts.convert import Context, context_of


class RowTemplates:
    """Mixin for a generating trainer: renders prompts with `tools` and `chat_template_kwargs` of the row.

    They take precedence over the stage's.
    """

    processing_class: Any
    chat_template_kwargs: Mapping[str, Any]
    _contexts: Sequence[Context] = ()

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._contexts = [context_of(row) for row in inputs]
        scored: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        return scored

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        return self._tokenize_with(prompts, self._contexts)

    def _tokenize_with(self, prompts: list[Any], contexts: Sequence[Context]) -> Any:
        """Return what TRL's `_tokenize_prompts` returns, with one context per prompt."""
        if not any(context.columns for context in contexts) or not is_conversational({"prompt": prompts[0]}):
            return super()._tokenize_prompts(prompts)  # type: ignore[misc]
        return [self._ids(*one) for one in zip(prompts, contexts, strict=True)], None, {}

    def _ids(self, prompt: list[Mapping[str, Any]], context: Context) -> list[int]:
        encoded = self.processing_class.apply_chat_template(
            prompt,
            tools=context.tools,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **{**self.chat_template_kwargs, **context.template_kwargs},
        )
        return list(encoded["input_ids"])
