"""Open-R1's rewards for the form of an answer: <think>…</think>, <answer>…</answer>, each tag on a line."""

import re

FORM = re.compile(r"<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$", re.DOTALL | re.MULTILINE)
TAGS = ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>")


def _text(completion):
    return completion if isinstance(completion, str) else completion[0]["content"]


def format_reward(completions, **columns):
    """1 for thoughts and then the answer, and nothing before them."""
    return [float(FORM.match(_text(completion)) is not None) for completion in completions]


def tag_count_reward(completions, **columns):
    """A quarter for each tag that stands there exactly once."""
    texts = [_text(completion) for completion in completions]
    return [sum(text.count(tag) == 1 for tag in TAGS) / len(TAGS) for text in texts]
