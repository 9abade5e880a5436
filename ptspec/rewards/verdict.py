"""The prompt of a judging language model, and how its reply is parsed. Sends nothing."""

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
"""The possible replies."""


def missing_places(template: str) -> list[str]:
    """Return which of {prompt}, {a} and {b} are missing in `template`."""
    found = set(_PLACE.findall(template))
    return [f"{{{name}}}" for name in PLACES if name not in found]


def filled(template: str, prompt: str, a: str, b: str) -> str:
    """Return `template` with the three texts inserted. Braces inside the texts are left unchanged."""
    texts = {"prompt": prompt, "a": a, "b": b}
    return _PLACE.sub(lambda place: texts[place.group(1)], template)


def request_text(prompt: Any) -> str:
    """Return a prompt as text: a string or single message unchanged, a conversation with role names."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return content_of(prompt[0])
    return "\n\n".join(f"{message.get('role', 'user')}: {content_of(message)}" for message in prompt)


def answer_text(completion: Any) -> str:
    """Return a completion as text."""
    return text_of(completion)


def win_of(reply: str | None) -> float | None:
    """Return P(A is better) of `reply`: 1 for A, 0 for B, one half for TIE, None for anything else.

    Strict: the word alone, at most quoted or bold, or JSON {"winner": "A"}. A reasoning model's thoughts
    (<think>…</think> and similar) are skipped.
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
