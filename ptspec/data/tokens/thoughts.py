"""The tags of models' thoughts in chat templates: the only list of them."""

from __future__ import annotations

import re

Tags = tuple[str, str]
"""The opening and the closing tag of thoughts."""

FINAL = "<|channel|>final<|message|>"
"""gpt-oss: ends its thoughts and starts each of its answers, with or without thoughts before it."""

KNOWN: tuple[Tags, ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", FINAL),
)
"""DeepSeek, Qwen and most others; Seed; Magistral; Command A; OpenThinker; gpt-oss."""

_CLOSING = dict(KNOWN)
_OPENING = re.compile("|".join(map(re.escape, _CLOSING)))


def has_tag(text: str) -> bool:
    """Return whether `text` contains a tag of thoughts."""
    return any(tag in text for tags in KNOWN for tag in tags if tag != FINAL)


def split_thoughts(text: str) -> tuple[list[tuple[Tags, str]], list[str]]:
    """Return the thoughts in `text` with their tags, and the texts before, between and after them."""
    thoughts: list[tuple[Tags, str]] = []
    rest: list[str] = []
    unclosed: set[str] = set()
    at = 0
    for found in _OPENING.finditer(text):
        opening, closing = found[0], _CLOSING[found[0]]
        if found.start() < at or opening in unclosed:
            continue
        end = text.find(closing, found.end())
        if end < 0:
            unclosed.add(opening)  # nor does a later one: the text is searched once
            continue
        thoughts.append(((opening, closing), text[found.end() : end]))
        rest.append(text[at : found.start()])
        at = end + len(closing)
    return thoughts, [*rest, text[at:]]


def after_thoughts(text: str) -> str:
    """Return `text` without leading thoughts; unchanged if it has none, or they do not end."""
    for opening, closing in KNOWN:
        if text.startswith(opening) and closing in text:
            return text.partition(closing)[2]
    return text
