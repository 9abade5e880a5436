"""A sequence of tokens as a trainer holds it."""

from __future__ import annotations

from typing import NamedTuple


class Encoded(NamedTuple):
    """A sequence: its tokens, which of them the loss is taken over, and how many are the prompt's.

    The prompt ends where the ids of the prompt alone and of the whole part. A reward model's trainer takes
    no loss over tokens and knows no prompt; of an online method there is the prompt alone.
    """

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    prompt: int

    def first(self, tokens: int) -> Encoded:
        if len(self.ids) <= tokens:
            return self
        return Encoded(self.ids[:tokens], self.learned[:tokens], min(self.prompt, tokens))

    def last(self, tokens: int) -> Encoded:
        cut = max(0, len(self.ids) - tokens)
        return Encoded(self.ids[cut:], self.learned[cut:], max(0, self.prompt - cut))


Sequences = tuple[Encoded, ...]
