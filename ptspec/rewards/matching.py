"""Equality of short texts: normalisation, whole words.

Shared by the built-in rewards and the evaluation's accuracy, so that training and evaluation agree on what is
right.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


def text_of(text: Any) -> str:
    """Return a string, or the text of the last assistant message (else the last message) of a list."""
    if isinstance(text, str):
        return text
    if not text:
        return ""
    assistant = [message for message in text if message.get("role") == "assistant"]
    return content_of((assistant or text)[-1])


def content_of(message: Mapping[str, Any]) -> str:
    """Return a message's content as a string; of a list of parts, the text parts."""
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        return "".join(str(part.get("text", "")) for part in content)
    return "" if content is None else str(content)


def completion_text(text: Any) -> str:
    """Return the text of a string or of messages: the contents, without role names."""
    return text if isinstance(text, str) else "".join(content_of(message) for message in text)


def _fold(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    return " ".join(folded.split())


def normalise(text: str) -> str:
    """Return `text` in NFKC, lower case, single spaces, without punctuation at the ends."""
    return _fold(text).strip(string.punctuation + " ")


def contains_word(text: str, gold: str) -> bool:
    """Return whether `text` contains `gold` as a whole word or words, ignoring case.

    "5" is not in "15", "5.2", "1,5" or "-5". An empty `gold` is in no text.
    """
    wanted = _fold(gold).rstrip(".,;:!?")
    if not wanted:
        return False
    before = r"(?<!\w)(?<!\d[.,])" if wanted[0].isalnum() else ""
    sign = r"(?<!\s-)" if wanted[0].isdigit() else ""
    after = r"(?!\w)(?![.,]\d)" if wanted[-1].isalnum() else ""
    return re.search(before + sign + re.escape(wanted) + after, " " + _fold(text)) is not None


def same_text(text: str, gold: str) -> bool:
    """Return whether two normalised texts are equal. Two empty texts are not."""
    wanted = normalise(gold)
    return bool(wanted) and normalise(text) == wanted
