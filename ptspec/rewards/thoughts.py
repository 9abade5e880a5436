"""The answer of a completion, without the thoughts before it: `<think>…</think>` and its like."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ptspec.data.tokens.thoughts import KNOWN, Tags

ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)


def without_thoughts(text: str, own: Iterable[Tags] = (), opened: Tags | None = None) -> str:
    """`text` without its thoughts, by the `KNOWN` tags and those that are a model's `own`.

    Thoughts end at the last closing tag, whether or not the opening one is in `text`: some templates write it
    at the end of the prompt. Thoughts that do not end hold no answer: from an opening tag without its closing
    one on, nothing is left. `opened`: the tags that the prompt opened. Of `<answer>…</answer>`, which some
    prompts ask for, what is inside the last one is left.
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
