"""The prompt that two answers share, where it stands in the answers themselves."""

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
    """Whether `text` is a dialogue of the form of Anthropic/hh-rlhf: "\\n\\nHuman: … \\n\\nAssistant: …"."""
    return isinstance(text, str) and _DIALOGUE.match(text) is not None


def is_whole_dialogue(text: object) -> bool:
    """Whether `text` is such a dialogue with an answer in it: no answer by itself."""
    return isinstance(text, str) and is_dialogue(text) and "\nAssistant:" in text


def turns_of_dialogue(text: str) -> list[Message]:
    """The turns of an hh-rlhf dialogue as messages, without the white space around them."""
    marks = list(_MARK.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        {"role": _SPEAKERS[mark[1]], "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]


def split_conversations(
    chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """The prompt of two whole conversations, and the answer of each.

    The prompt ends at the last turn of the assistant; where the conversations part before it, at the turn at
    which they part, which has to be the assistant's too. Raises `LayoutError`.
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
    """Prompt and answers of two hh-rlhf dialogues as plain text: the prompt ends with the last "Assistant:",
    the answers begin with the space after it. Raises `LayoutError`."""
    cuts = [text.rfind(_LAST_ASSISTANT) + len(_LAST_ASSISTANT) for text in (chosen, rejected)]
    if chosen[: cuts[0]] == rejected[: cuts[1]] and min(cuts) >= len(_LAST_ASSISTANT):
        return chosen[: cuts[0]], chosen[cuts[0] :], rejected[cuts[1] :]
    return split_strings(chosen, rejected)


def split_strings(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Prompt and answers of two texts that begin alike: cut before the first word that differs, the space
    before it with the answers, as TRL has it. Raises `LayoutError` where they do not begin alike."""
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
