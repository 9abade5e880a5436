"""A tokenizer's own thinking tags, and responses without thoughts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptspec.data.tokens.thoughts import KNOWN, Tags
from ptspec.rewards.thoughts import without_thoughts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEAR = 16
"""Tokens at the end of a prompt that may contain an opening tag."""

_THOUGHT, _ANSWER = "qzthoughtqz", "qzanswerqz"
_TAG = r"(?:<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\])"


@dataclass(frozen=True)
class Thoughts:
    """`own`: the chat template's thinking tags.

    `special`: some tags are special tokens, which a response's text lacks.
    """

    own: tuple[Tags, ...]
    special: bool

    def left_out(
        self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], said: Sequence[int], text: str
    ) -> str:
        """Return the response `said`, whose text is `text`, without thoughts.

        Including those the prompt opened.
        """
        before = tokenizer.decode(list(prompt[-NEAR:])).rstrip()
        tags = (*self.own, *KNOWN)
        opened = next((pair for pair in tags if before.endswith(pair[0])), None)
        if not self.special:
            return without_thoughts(text, self.own, opened)
        whole = without_thoughts(tokenizer.decode(list(said)), self.own, opened)
        for token in tokenizer.all_special_tokens:
            whole = whole.replace(token, "")
        return whole


def thoughts_of(tokenizer: PreTrainedTokenizerBase) -> Thoughts:
    """Return the tags of `tokenizer`, found by rendering a message with thoughts."""
    own = _rendered(tokenizer)
    specials = set(tokenizer.all_special_tokens)
    signs = [sign for pair in (*own, *KNOWN) for sign in re.findall(_TAG, "".join(pair))]
    return Thoughts(own, bool(specials.intersection(signs)))


def _rendered(tokenizer: PreTrainedTokenizerBase) -> tuple[Tags, ...]:
    if tokenizer.chat_template is None:
        return ()
    answer = {"role": "assistant", "content": _ANSWER, "reasoning_content": _THOUGHT, "thinking": _THOUGHT}
    chat: list[dict[str, Any]] = [{"role": "user", "content": "q"}, answer]
    try:
        text = str(tokenizer.apply_chat_template(chat, tokenize=False))
    except Exception:  # a template may refuse such a message
        return ()
    found = re.search(rf"({_TAG})\s*{_THOUGHT}\s*({_TAG})", text)
    known = any(opening in text for opening, _ in KNOWN)
    return ((found[1], found[2]),) if found and not known else ()
