"""Policies that answer through a generation server: their weights are not loaded here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ptspec.chat.models import resolve_models
from ptspec.diagnostics import Diagnostic, InputError, StageError
from ptspec.evaluation.served import Asked, Host, Served, sampling_at
from ptspec.evaluation.targets import Target
from ptspec.generation_server.client import GenerationServer
from ptspec.model import probes
from ptspec.model.without_weights import outside_of
from ptspec.recipe.plan import ModelSpec


@dataclass(frozen=True)
class ServedChatModel:
    """A policy on a server.

    `context`: maximum tokens of the policy and the server; `ends`: token ids that end an answer.
    """

    name: str
    served: Served
    tokenizer: Any
    context: int | None
    ends: frozenset[int]

    @property
    def has_template(self) -> bool:
        """Whether prompts go through a chat template; else each prompt is continued as plain text."""
        return bool(self.tokenizer.chat_template)

    def continued(self, ids: Sequence[int], longest: int, temperature: float, seed: int) -> tuple[int, ...]:
        """Return the token ids generated after `ids`. Raises `ServerError`."""
        sampling = sampling_at(temperature, longest, self.ends)
        (made,) = self.served.server.complete([ids], self.served.name, sampling, [seed])
        return made.token_ids


@contextmanager
def served_models(
    paths: Sequence[str], server: GenerationServer, *, allow_code: bool = False
) -> Iterator[list[ServedChatModel]]:
    """Serve one policy per path on `server` within the context.

    A path is a run (its last stage), a stage, an adapter or a model. Raises `InputError` if a path holds no
    policy, needs code that is not allowed, or cannot be served; if the server refuses it, or serves another
    policy than the stage saved.
    """
    host = Host(server)
    with ExitStack() as kept:
        yield [_open(target, spec, host, kept) for target, spec in resolve_models(paths, allow_code)]


def _open(target: Target, spec: ModelSpec, host: Host, kept: ExitStack) -> ServedChatModel:
    policy = Asked(target.name, target.artifact, target.adapter, target.model)
    try:
        why_not = host.why_not(policy)
        if why_not is not None:
            raise InputError(_not_served(policy, host, why_not))
        outside = outside_of(spec, target.artifact)
        served = kept.enter_context(host.serving(policy))
        left = probes.load(target.artifact.folder) if target.artifact else None
        if left is not None:
            served.check_left(left)
    except StageError as error:
        raise InputError(*error.diagnostics) from error
    known = [limit for limit in (outside.context, served.max_length) if limit is not None]
    return ServedChatModel(target.name, served, outside.tokenizer, min(known, default=None), outside.ends)


def _not_served(policy: Asked, host: Host, why_not: str) -> Diagnostic:
    message = f"the server at {host.server.base_url} cannot answer for {policy.name}: {why_not}"
    return Diagnostic("not-served", message, hint="without --server it is loaded here")
