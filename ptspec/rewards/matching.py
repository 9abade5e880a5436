"""When two short texts say the same: normalising, whole words.

Knows text only. The built-in rewards and the evaluation's accuracy share it, so that what training
rewards and what evaluation counts as right never drift apart.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


def text_of(text: Any) -> str:
    """The text of a string, or of the last assistant message (else the last message) of a list of them."""
    if isinstance(text, str):
        return text
    if not text:
        return ""
    assistant = [message for message in text if message.get("role") == "assistant"]
    return content_of((assistant or text)[-1])


def content_of(message: Mapping[str, Any]) -> str:
    """A message's content as a string; of a list of parts, those that are text."""
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        return "".join(str(part.get("text", "")) for part in content)
    return "" if content is None else str(content)


def completion_text(text: Any) -> str:
    """What a model has to say for `text`, a string or messages: the contents, without role names."""
    return text if isinstance(text, str) else "".join(content_of(message) for message in text)


def _fold(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    return " ".join(folded.split())


def normalise(text: str) -> str:
    """Unicode NFKC, lower case, single spaces, no punctuation at either end."""
    return _fold(text).strip(string.punctuation + " ")


def contains_word(text: str, gold: str) -> bool:
    """Whether `gold` stands in `text` as a whole word or words, case aside.

    "5" does not stand in "15", "5.2", "1,5" or "-5". An empty `gold` stands nowhere.
    """
    wanted = _fold(gold).rstrip(".,;:!?")
    if not wanted:
        return False
    before = r"(?<!\w)(?<!\d[.,])" if wanted[0].isalnum() else ""
    sign = r"(?<!\s-)" if wanted[0].isdigit() else ""
    after = r"(?!\w)(?![.,]\d)" if wanted[-1].isalnum() else ""
    return re.search(before + sign + re.escape(wanted) + after, " " + _fold(text)) is not None


def same_text(text: str, gold: str) -> bool:
    """Whether the two are equal once normalised. Two empty texts are not."""
    wanted = normalise(gold)
    return bool(wanted) and normalise(text) == wanted
