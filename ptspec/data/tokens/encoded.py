"""A sequence of tokens as a trainer holds it."""

from __future__ import annotations

from typing import NamedTuple


class Encoded(NamedTuple):
    """A sequence: its tokens, the mask of the loss, and the number of prompt tokens.

    The prompt ends where the ids of the prompt alone and of the whole differ. A reward model's trainer
    computes no loss over tokens and has no prompt; an online method has the prompt only.
    """

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    prompt: int

    def first(self, tokens: int) -> Encoded:
        """Return the first `tokens` tokens."""
        if len(self.ids) <= tokens:
            return self
        return Encoded(self.ids[:tokens], self.learned[:tokens], min(self.prompt, tokens))

    def last(self, tokens: int) -> Encoded:
        """Return the last `tokens` tokens."""
        cut = max(0, len(self.ids) - tokens)
        return Encoded(self.ids[cut:], self.learned[cut:], max(0, self.prompt - cut))


Sequences = tuple[Encoded, ...]
