"""Adapter from a transformers tokenizer to `ChatTokenizer`, for runs and tokenizers without tokenizer.json.

Imports nothing heavy: the caller has loaded transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptspec.data.tokens.chat_tokenizer import CannotRender, Chat, Plain, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TransformersTokenizer:
    """A transformers `tokenizer`, called as TRL's trainers call it."""

    tokenizer: PreTrainedTokenizerBase

    @property
    def template(self) -> str | None:
        """The chat template's text; the default one of several."""
        found = self.tokenizer.chat_template
        return found.get("default") if isinstance(found, dict) else found

    @property
    def eos_token(self) -> str | None:
        """The end-of-sequence token, if any."""
        token: str | None = self.tokenizer.eos_token
        return token

    @property
    def eos_id(self) -> int | None:
        """The id of the end-of-sequence token, if any."""
        found: int | None = self.tokenizer.eos_token_id
        return found

    @property
    def bos_id(self) -> int | None:
        """The id of the beginning-of-sequence token, if any."""
        found: int | None = self.tokenizer.bos_token_id
        return found

    def rendered(self, chat: Chat) -> str:
        """Return the text of a chat. Raises `CannotRender`."""
        return str(self._apply(chat, tokenize=False, continue_final_message=chat.continued))

    def tokenise(self, parts: Sequence[Chat | Plain]) -> list[Tokens | CannotRender]:
        """Return the tokens of each part, or its error."""
        return [self._plain(part) if isinstance(part, Plain) else self._chat(part) for part in parts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, including special tokens."""
        return str(self.tokenizer.decode(list(ids)))

    def _plain(self, part: Plain) -> Tokens:
        return Tokens(self.tokenizer(text=part.text, add_special_tokens=part.special)["input_ids"])

    def _chat(self, chat: Chat) -> Tokens | CannotRender:
        try:
            found = self._apply(
                chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=chat.masked
            )
        except CannotRender as error:
            return error
        mask = found["assistant_masks"] if chat.masked else None
        return Tokens(found["input_ids"], None if mask is None else [bool(one) for one in mask])

    def _apply(self, chat: Chat, **how: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(
                list(chat.messages),
                tools=chat.tools,
                chat_template=chat.template,
                add_generation_prompt=chat.prompt,
                **how,
                **chat.variables,
            )
        except Exception as error:  # a template may raise any exception
            raise CannotRender(str(error)) from error
