"""Find the prompt that two answers share, if it is part of the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from ptspec.data.layouts.turns import LayoutError, Message

_DIALOGUE = re.compile(r"\s*Human:")
_MARK = re.compile(r"(?:\A|\n)\s*(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_LAST_ASSISTANT = "\n\nAssistant:"


def is_dialogue(text: object) -> bool:
    r"""Return whether `text` is an Anthropic/hh-rlhf dialogue: "\n\nHuman: … \n\nAssistant: …"."""
    return isinstance(text, str) and _DIALOGUE.match(text) is not None


def is_whole_dialogue(text: object) -> bool:
    """Return whether `text` is such a dialogue including an answer, rather than an answer alone."""
    return isinstance(text, str) and is_dialogue(text) and "\nAssistant:" in text


def turns_of_dialogue(text: str) -> list[Message]:
    """Return the turns of an hh-rlhf dialogue as messages, stripped."""
    marks = list(_MARK.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        {"role": _SPEAKERS[mark[1]], "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]


def split_conversations(
    chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Return the prompt of two whole conversations, and the answer of each.

    The prompt ends at the last assistant turn, or at the first turn that differs, which must be the
    assistant's too. Raises `LayoutError`.
    """
    for name, conversation in (("chosen", chosen), ("rejected", rejected)):
        if conversation and conversation[-1]["role"] != "assistant":
            message = f'"{name}" ends with a turn of the {conversation[-1]["role"]}, not of the assistant'
            raise LayoutError("role-order", message)
    if chosen[:-1] == rejected[:-1]:
        shared = len(chosen) - 1
    else:
        pairs = zip(chosen[:-1], rejected[:-1], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    prompt, answers = list(chosen[:shared]), (list(chosen[shared:]), list(rejected[shared:]))
    if not prompt:
        raise LayoutError("no-common-prompt", '"chosen" and "rejected" do not begin with the same turns')
    for name, answer in zip(("chosen", "rejected"), answers, strict=True):
        if not answer or answer[0]["role"] != "assistant":
            what = f"a turn of the {answer[0]['role']}" if answer else "nothing"
            message = f'"chosen" and "rejected" part before {what} of "{name}", not before an answer'
            raise LayoutError("no-common-prompt", message)
    return prompt, answers[0], answers[1]


def split_dialogues(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Return prompt and answers of two hh-rlhf dialogues as plain text.

    The prompt ends with the last "Assistant:", the answers begin with the space after it. Raises
    `LayoutError`.
    """
    cuts = [text.rfind(_LAST_ASSISTANT) + len(_LAST_ASSISTANT) for text in (chosen, rejected)]
    if chosen[: cuts[0]] == rejected[: cuts[1]] and min(cuts) >= len(_LAST_ASSISTANT):
        return chosen[: cuts[0]], chosen[cuts[0] :], rejected[cuts[1] :]
    return split_strings(chosen, rejected)


def split_strings(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Return prompt and answers of two texts with a common beginning.

    Split before the first different word, with the space before it in the answers, as in TRL. Raises
    `LayoutError` if they have no common beginning.
    """
    pairs = zip(chosen, rejected, strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    cut = shared
    while cut and not chosen[cut - 1].isspace():
        cut -= 1
    while cut and chosen[cut - 1].isspace():
        cut -= 1
    if not cut:
        raise LayoutError(
            "no-common-prompt",
            '"chosen" and "rejected" do not begin with the same words: no prompt is to be seen',
            'give a "prompt" column, or rename one: "columns": {"prompt": "its name here"}',
        )
    return chosen[:cut], chosen[cut:], rejected[cut:]
