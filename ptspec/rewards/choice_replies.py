"""Constrain a judge's replies to a few words, if its server supports vLLM's structured outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ptspec.rewards.chat_client import ChatClient, EndpointError

STRUCTURED_SINCE = (0, 11)
"""The vLLM version that replaced `guided_choice` by `structured_outputs`."""
TRIAL = "constrained"
"""A word that no model replies unconstrained to the question below."""
QUESTION = "Which is better? Reply with A or B."
TRIAL_TOKENS = 32


@dataclass(frozen=True)
class Choice:
    """Request `fields` that constrain a reply to a choice; if there are none, `why_not`."""

    fields: dict[str, Any] = field(default_factory=dict)
    why_not: str | None = None


def choice_fields(client: ChatClient, model: str, words: Sequence[str]) -> Choice:
    """Return the request fields that make `client`'s server reply with one of `words`.

    Servers ignore unknown fields: one that identifies as vLLM is tested with a reply that only the constraint
    explains. Raises `EndpointError` if nothing answers.
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
