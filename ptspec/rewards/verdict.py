"""What a language model is asked that judges two answers, and how its reply is read. Sends nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ptspec.data.tokens.thoughts import after_thoughts
from ptspec.rewards.matching import content_of, text_of

PLACES = ("prompt", "a", "b")
PROMPT = Path(__file__).with_name("judge_prompt.txt")
REMINDER = "\n\nYour reply could not be read. Reply with exactly one of A, B, TIE, and nothing else."

_PLACE = re.compile(r"\{(prompt|a|b)\}")
# Matched against stripped text and anchored at both ends, so that reading a reply takes linear time.
_WORD = re.compile(r"[\s\"'`*.\[\]()]*(A|B|TIE)[\s\"'`*.\[\]()]*", re.IGNORECASE)
_FENCE = re.compile(r"```(?:json)?(.*)```", re.DOTALL)
_WINS = {"A": 1.0, "B": 0.0, "TIE": 0.5}
WORDS = tuple(_WINS)
"""What a reply may be."""


def missing_places(template: str) -> list[str]:
    """Which of {prompt}, {a} and {b} do not stand in `template`."""
    found = set(_PLACE.findall(template))
    return [f"{{{name}}}" for name in PLACES if name not in found]


def filled(template: str, prompt: str, a: str, b: str) -> str:
    """`template` with the three texts in their places. Braces inside the texts are left alone."""
    texts = {"prompt": prompt, "a": a, "b": b}
    return _PLACE.sub(lambda place: texts[place.group(1)], template)


def request_text(prompt: Any) -> str:
    """A prompt as text: a string or a single message by itself, a conversation with who says what."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return content_of(prompt[0])
    return "\n\n".join(f"{message.get('role', 'user')}: {content_of(message)}" for message in prompt)


def answer_text(completion: Any) -> str:
    return text_of(completion)


def win_of(reply: str | None) -> float | None:
    """P(A is better) that `reply` says: 1 for A, 0 for B, one half for TIE, None for anything else.

    Read strictly: the word alone, quoted or bold at most, or JSON {"winner": "A"}. What a reasoning model
    thinks first (<think>…</think> and its like) is passed over.
    """
    said = after_thoughts((reply or "").strip()).strip()
    if word := _WORD.fullmatch(said):
        return _WINS[word.group(1).upper()]
    winner = _winner(said)
    return _WINS.get(winner.strip().upper()) if isinstance(winner, str) else None


def _winner(said: str) -> object:
    fenced = _FENCE.fullmatch(said)
    try:
        value = json.loads(fenced.group(1) if fenced else said)
    except (ValueError, RecursionError):
        return None
    return value.get("winner") if isinstance(value, dict) else None
