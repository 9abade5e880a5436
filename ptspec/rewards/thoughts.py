"""The answer of a completion without the thoughts before it: `<think>…</think>` and similar tags."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ptspec.data.tokens.thoughts import KNOWN, Tags

ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)


def without_thoughts(text: str, own: Iterable[Tags] = (), opened: Tags | None = None) -> str:
    """Return `text` without its thoughts, by the `KNOWN` tags and a model's `own`.

    Thoughts end at the last closing tag, with or without an opening one in `text`: some templates put it in
    the prompt. Unfinished thoughts contain no answer: everything after an unclosed opening tag is removed.
    `opened`: the tags that the prompt opened. Of `<answer>…</answer>`, which some prompts request, the
    content of the last one is kept.
    """
    if opened is not None and opened[1] not in text:
        return ""
    for opening, closing in dict.fromkeys((*own, *KNOWN)):
        if closing in text:
            text = text.rpartition(closing)[2]
        if opening in text:
            text = text.partition(opening)[0]
    inside = ANSWER.findall(text)
    return str(inside[-1]) if inside else text
