"""Split a sequence's text into learned and other pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptspec.data.tokens.chat_tokenizer import ChatTokenizer
from ptspec.data.tokens.encoded import Encoded


@dataclass(frozen=True)
class Piece:
    """The text of consecutive tokens, all learned or none."""

    text: str
    learned: bool


def pieces(encoded: Encoded, tokenizer: ChatTokenizer) -> tuple[Piece, ...]:
    """Return the pieces of a sequence; joined they are its decoded text.

    The tokens before a boundary are decoded together: a tokenizer may put a space between two tokens or split
    a character over several, which a separate piece would lose.
    """
    flips = [n for n in range(1, len(encoded.ids)) if encoded.learned[n] is not encoded.learned[n - 1]]
    text = tokenizer.decode(encoded.ids)
    begins = [0, *(_length(text, tokenizer.decode(encoded.ids[:n])) for n in flips), len(text)]
    learned = [encoded.learned[n] for n in (0, *flips)] if encoded.ids else []
    return tuple(
        Piece(text[begin:end], is_learned)
        for begin, end, is_learned in zip(begins, begins[1:], learned, strict=False)
    )


def learned_texts(found: Sequence[Piece]) -> list[str]:
    """Return the text of each learned piece."""
    return [piece.text for piece in found if piece.learned]


def _length(text: str, begin: str) -> int:
    """Return the characters of `text` that `begin` decodes to.

    An incomplete character belongs to what follows.
    """
    if text.startswith(begin):
        return len(begin)
    return next(n for n, (a, b) in enumerate(zip(text + "\0", begin, strict=False)) if a != b)
