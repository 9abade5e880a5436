"""A language model behind an OpenAI-compatible server as a judge: P(a beats b).

Each pair is compared in both orders (`swap`) and P is the mean, so that position bias cancels: P(a, b) + P(b,
a) = 1. Questions of a run are cached.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.json_pointer import join
from ptspec.recipe.paths import Places
from ptspec.recipe.signals import JudgeSpec
from ptspec.rewards.chat_client import ChatClient
from ptspec.rewards.choice_replies import choice_fields
from ptspec.rewards.endpoint_checks import endpoint_faults, template_text
from ptspec.rewards.time_limit import Warn
from ptspec.rewards.verdict import REMINDER, WORDS, answer_text, filled, request_text, win_of

Question = tuple[str, str, str]
"""The texts of a prompt, of the answer shown as A, and of the one shown as B."""


@dataclass(frozen=True)
class EndpointOptions:
    """Options of an endpoint judge; `schemas/judges.schema.json` describes and checks them."""

    api_key_env: str | None = None
    template: str | None = None
    swap: bool = True
    temperature: float | None = 0.0
    max_tokens: int = 64
    max_concurrency: int = 8
    timeout: float = 60.0
    retries: int = 5
    structured_outputs: bool = True


@dataclass
class Counters:
    """Statistics of a judge in this run.

    `asked`: questions sent to the model; `retried`: requests repeated because of the server or the
    connection; `unparsed`: questions answered twice with neither A, B nor TIE (refusals too), which count as
    ties; `pairs`: those compared in both orders; `disagreed`: those where the order decided.
    """

    asked: int = 0
    retried: int = 0
    unparsed: int = 0
    pairs: int = 0
    disagreed: int = 0

    def metrics(self) -> dict[str, float]:
        """Return numbers to log: the counts, and the shares of unparsed replies and of order disagreement."""
        return {
            "judge/asked": float(self.asked),
            "judge/retried": float(self.retried),
            "judge/unparsed": self.unparsed / max(1, self.asked),
            "judge/order_disagreement": self.disagreed / max(1, self.pairs),
        }


@dataclass(frozen=True)
class _Answer:
    win: float
    retried: int
    parsed: bool


@dataclass
class EndpointJudge:
    """`judge(prompts, a, b)` through a server.

    `counters` may be read at any time; `warn` is called once if a server cannot constrain replies to a
    choice.
    """

    name: str
    client: ChatClient
    model: str
    template: str = field(repr=False)
    options: EndpointOptions
    counters: Counters = field(default_factory=Counters)
    warn: Warn = field(default=warnings.warn, repr=False)
    _choice: dict[str, Any] | None = field(default=None, repr=False)
    _wins: dict[str, float] = field(default_factory=dict, repr=False)
    _compared: set[str] = field(default_factory=set, repr=False)

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, prompts: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> list[float]:
        """Return P(a beats b) for each row. Raises `StageError` if the server does not answer."""
        rows = zip(prompts, a, b, strict=True)
        questions = [(request_text(p), answer_text(x), answer_text(y)) for p, x, y in rows]
        self._ask([order for question in questions for order in self._orders(question)])
        return [self._win(question) for question in questions]

    def memory(self) -> dict[str, Any]:
        """Return the cached questions and answers as JSON, for a resumed run.

        Questions are stored as digests, to keep it small.
        """
        return {
            "answers": self._wins,
            "compared": sorted(self._compared),
            "counters": asdict(self.counters),
        }

    def recall(self, memory: dict[str, Any]) -> None:
        """Add what `memory` returned to the cache, in another process too."""
        self._wins = {**memory["answers"], **self._wins}
        self._compared |= set(memory["compared"])
        counted = asdict(self.counters)
        self.counters = Counters(**{name: counted[name] + more for name, more in memory["counters"].items()})

    def _orders(self, question: Question) -> list[Question]:
        prompt, a, b = question
        if a == b:
            return []
        return [question, (prompt, b, a)] if self.options.swap else [question]

    def _ask(self, questions: Sequence[Question]) -> None:
        """Ask the uncached questions, several at a time; the first failure ends all."""
        new = [question for question in dict.fromkeys(questions) if _digest(question) not in self._wins]
        if not new:
            return
        self.client.resume()
        if self._choice is None:
            self._choice = self._choice_fields()
        with ThreadPoolExecutor(max_workers=self.options.max_concurrency) as pool:
            asked = {pool.submit(self._answer, question): question for question in new}
            try:
                for done in as_completed(asked):
                    self._keep(asked[done], done.result())
            except BaseException:
                self.client.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _answer(self, question: Question) -> _Answer:
        # A lone surrogate, which JSON in a file can hold, cannot be sent.
        text = filled(self.template, *question).encode("utf-8", "replace").decode("utf-8")
        retried = 0
        for content in (text, text + REMINDER):
            reply = self.client.complete(
                self.model, [{"role": "user", "content": content}], **self._sampling(), **(self._choice or {})
            )
            retried += reply.tries - 1
            win = win_of(reply.text)
            if win is not None:
                return _Answer(win, retried, parsed=True)
        return _Answer(0.5, retried, parsed=False)

    def _choice_fields(self) -> dict[str, Any]:
        """Return the request fields that constrain replies; none if not requested or not supported."""
        if not self.options.structured_outputs:
            return {}
        found = choice_fields(self.client, self.model, WORDS)
        if found.why_not is not None:
            self.warn(
                f"judge {self.name}: replies are read as they come, not held to {', '.join(WORDS)}: "
                f"{found.why_not}"
            )
        return found.fields

    def _sampling(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"max_tokens": self.options.max_tokens}
        if self.options.temperature is not None:
            fields["temperature"] = self.options.temperature
        return fields

    def _keep(self, question: Question, answer: _Answer) -> None:
        self._wins[_digest(question)] = answer.win
        self.counters.asked += 1
        self.counters.retried += answer.retried
        self.counters.unparsed += not answer.parsed

    def _win(self, question: Question) -> float:
        asked = [_digest(order) for order in self._orders(question)]
        wins = [self._wins[digest] for digest in asked]
        if not wins:
            return 0.5
        if len(wins) == 1:
            return wins[0]
        there, back = wins
        pair = min(asked)
        if pair not in self._compared:
            self._compared.add(pair)
            self.counters.pairs += 1
            self.counters.disagreed += there != 1 - back
        return (there + 1 - back) / 2


def _digest(question: Question) -> str:
    """Return a 128-bit digest of a question: 32 characters instead of three texts."""
    return hashlib.blake2b(json.dumps(question).encode(), digest_size=16).hexdigest()


def endpoint_judge(spec: JudgeSpec, places: Places, warn: Warn = warnings.warn) -> EndpointJudge:
    """Return the judge of `spec`; sends no request yet.

    Raises `InputError` for an invalid address or template, a missing API key, or if httpx is not installed.
    """
    if faults := endpoint_faults(spec, places):
        raise InputError(*faults)
    assert spec.endpoint is not None and spec.model is not None
    options = EndpointOptions(**spec.options)
    client = ChatClient(
        spec.endpoint,
        at=spec.at,
        key=_key(options.api_key_env, spec.at),
        timeout=options.timeout,
        retries=options.retries,
    )
    template = template_text(options.template, places)
    return EndpointJudge(spec.name, client, spec.model, template, options, warn=warn)


def _key(variable: str | None, at: str) -> str | None:
    """Return the API key from the environment, stripped of white space."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if key and key.isascii() and key.isprintable():
        return key
    what = "holds characters that no key has" if key else "is not set"
    raise InputError(
        Diagnostic(
            "missing-key",
            f"the environment variable {variable} {what}",
            pointer=join(at, "api_key_env"),
            hint=f"export {variable}=…, then the same command again",
        )
    )
