"""Replies held to a few words, where a judge's server can: vLLM's structured outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ptspec.rewards.chat_client import ChatClient, EndpointError

STRUCTURED_SINCE = (0, 11)
"""The version of vLLM from which `structured_outputs` takes the place of `guided_choice`."""
TRIAL = "constrained"
"""A word that no model says by itself to the question below."""
QUESTION = "Which is better? Reply with A or B."
TRIAL_TOKENS = 32


@dataclass(frozen=True)
class Choice:
    """`fields` of a request that hold its reply to a choice; where there are none, `why_not`."""

    fields: dict[str, Any] = field(default_factory=dict)
    why_not: str | None = None


def choice_fields(client: ChatClient, model: str, words: Sequence[str]) -> Choice:
    """How `client`'s server is asked to reply with one of `words` and nothing else.

    Servers ignore fields that they do not know: one that says it is vLLM is asked for a reply that only the
    constraint explains. Raises `EndpointError` where nothing answers.
    """
    version = client.vllm_version()
    if version is None:
        return Choice(why_not="its server does not say that it is vLLM")
    try:
        reply = client.complete(
            model,
            [{"role": "user", "content": QUESTION}],
            max_tokens=TRIAL_TOKENS,
            **_fields(version, [TRIAL]),
        )
    except EndpointError as error:
        if error.passing:
            raise
        return Choice(why_not=f"vLLM {version} refuses that: {_said(error)}")
    if (reply.text or "").strip() != TRIAL:
        return Choice(why_not=f"vLLM {version} was asked to and did not")
    return Choice(_fields(version, words))


def _fields(version: str, words: Sequence[str]) -> dict[str, Any]:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers and numbers < STRUCTURED_SINCE:
        return {"guided_choice": list(words)}
    return {"structured_outputs": {"choice": list(words)}}


def _said(error: EndpointError) -> str:
    diagnostic = error.diagnostics[0]
    return next(iter(diagnostic.notes), diagnostic.message)
