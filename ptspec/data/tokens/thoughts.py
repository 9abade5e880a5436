"""The tags between which models think, as chat templates write them: the one list of them."""

from __future__ import annotations

import re

Tags = tuple[str, str]
"""What opens a model's thoughts, and what closes them."""

FINAL = "<|channel|>final<|message|>"
"""gpt-oss: what ends its thoughts, and begins each of its answers, with or without thoughts before it."""

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
    """Whether a tag of thoughts, and of nothing else, stands in `text`."""
    return any(tag in text for tags in KNOWN for tag in tags if tag != FINAL)


def split_thoughts(text: str) -> tuple[list[tuple[Tags, str]], list[str]]:
    """The thoughts in `text`, each with its tags, and the texts before, between and after them."""
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
            unclosed.add(opening)  # nor is a later one: the text is searched once
            continue
        thoughts.append(((opening, closing), text[found.end() : end]))
        rest.append(text[at : found.start()])
        at = end + len(closing)
    return thoughts, [*rest, text[at:]]


def after_thoughts(text: str) -> str:
    """`text` without the thoughts that it begins with; as it is where it begins with none, or with thoughts
    that do not end."""
    for opening, closing in KNOWN:
        if text.startswith(opening) and closing in text:
            return text.partition(closing)[2]
    return text
