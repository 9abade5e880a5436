"""Preferences between two completions: the type of a judge, Bradley-Terry from rewards, and their checks.

Knows no model and no trainer. Prompts and completions are as TRL hands them to reward functions: strings, or
lists of messages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.rewards.builtin import RewardFunction

Judge = Callable[[list[Any], list[Any], list[Any]], Sequence[float]]
"""`judge(prompts, a, b)`: for each row, the probability in [0, 1] that completion a is preferred to b."""


class Counts(Protocol):
    """What a judge counts of its own work; a user's judge may have such a `counters` too."""

    def metrics(self) -> Mapping[str, float]:
        """Numbers to log, under the names to log them."""


def counted(judge: Judge) -> Mapping[str, float]:
    """What `judge` has counted so far; nothing for one that does not count."""
    counters: Counts | None = getattr(judge, "counters", None)
    return counters.metrics() if counters is not None else {}


def name_of(function: Callable[..., Any]) -> str:
    """What to call a judge or reward in a message: its name, its class's, or of what `partial` wraps."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def ask(judge: Judge, prompts: list[Any], a: list[Any], b: list[Any]) -> list[float]:
    """P(a ≻ b) for each row. Raises `StageError` that names the judge, and the row of a wrong answer."""
    answers = called(judge, "judge", len(prompts), prompts, a, b)
    for row, answer in enumerate(answers):
        if not _is_number(answer) or not 0 <= answer <= 1:
            raise StageError(
                Diagnostic(
                    "wrong-judgement",
                    f'the judge "{name_of(judge)}" answered {answer!r} for row {row}, not one from 0 to 1',
                    hint="a judge returns, for each row, the probability that a is better than b",
                    notes=_row(prompts[row], a[row], b[row]),
                )
            )
    return [float(answer) for answer in answers]


def called(function: Callable[..., Any], kind: str, rows: int, *args: Any, **kwargs: Any) -> list[Any]:
    """The answers of a user's function, one for each of `rows`. Raises `StageError` for any other outcome."""
    try:
        answers = function(*args, **kwargs)
    except StageError:
        raise
    except Exception as error:
        raise StageError(
            Diagnostic(
                f"failing-{kind}",
                f'the {kind} "{name_of(function)}" failed: {type(error).__name__}: {error}',
                hint=SIGNATURES[kind],
            )
        ) from error
    if (
        isinstance(answers, str | Mapping)
        or not hasattr(answers, "__len__")
        or not hasattr(answers, "__iter__")
    ):
        raise _wrong_count(function, kind, f"a {type(answers).__name__}", rows)
    if len(answers) != rows:
        raise _wrong_count(function, kind, f"{len(answers)} values", rows)
    return list(answers.tolist() if hasattr(answers, "tolist") else answers)


SIGNATURES = {
    "judge": "its signature is judge(prompts, a, b) -> list[float]",
    "reward": "its signature is reward(prompts, completions, **columns) -> list[float | None]",
}


def _wrong_count(function: Callable[..., Any], kind: str, got: str, rows: int) -> StageError:
    message = f'the {kind} "{name_of(function)}" returned {got} for {rows} rows'
    if got.split()[0].isdigit():
        message += f": row {min(int(got.split()[0]), rows)} is the first without its own"
    return StageError(Diagnostic(f"wrong-{kind}-count", message, hint=SIGNATURES[kind]))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _row(prompt: Any, a: Any, b: Any) -> tuple[str, ...]:
    return (f"prompt: {_short(prompt)}", f"a: {_short(a)}", f"b: {_short(b)}")


def _short(value: Any, width: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"


Scores = list[list[float | None]]
"""For each reward function, its score of each completion; None where it has no say."""


@dataclass(frozen=True)
class BradleyTerry:
    """P(a ≻ b) = σ(Σ_k w_k·(r_k(a) − r_k(b))), Bradley and Terry (1952), with `weights` w over the rewards r.

    A reward that has no say (None) on one side does not count for that pair.
    """

    rewards: tuple[RewardFunction, ...]
    weights: tuple[float, ...]

    @property
    def __name__(self) -> str:
        return "bradley_terry"

    def __call__(self, prompts: list[Any], a: list[Any], b: list[Any], **columns: Any) -> list[float]:
        """As a `Judge`. A row on which no reward has a say is a draw, one half."""
        scores_a, scores_b = self.scores(prompts, a, **columns), self.scores(prompts, b, **columns)
        wins = (self.probability(scores_a, row, scores_b, row) for row in range(len(prompts)))
        return [0.5 if win is None else win for win in wins]

    def scores(self, prompts: list[Any], completions: list[Any], **columns: Any) -> Scores:
        """r_k of each completion. `StageError` names the function and the row of a wrong score."""
        return [self._scored(reward, prompts, completions, columns) for reward in self.rewards]

    def _scored(
        self, reward: RewardFunction, prompts: list[Any], completions: list[Any], columns: Mapping[str, Any]
    ) -> list[float | None]:
        scores = called(reward, "reward", len(prompts), prompts=prompts, completions=completions, **columns)
        for row, score in enumerate(scores):
            if score is not None and not _is_number(score):
                raise StageError(
                    Diagnostic(
                        "wrong-reward",
                        f'the reward "{name_of(reward)}" returned {score!r} for row {row}, not a number',
                        hint="return None for a row the reward has no say on",
                        notes=(f"prompt: {_short(prompts[row])}", f"completion: {_short(completions[row])}"),
                    )
                )
        return scores

    def probability(self, a: Scores, row_a: int, b: Scores, row_b: int) -> float | None:
        """P(completion `row_a` of `a` ≻ `row_b` of `b`); None where no reward has a say on both."""
        pairs = zip(
            self.weights, (scores[row_a] for scores in a), (scores[row_b] for scores in b), strict=True
        )
        margins = [
            weight * (left - right) for weight, left, right in pairs if left is not None and right is not None
        ]
        return sigmoid(sum(margins)) if margins else None


def sigmoid(x: float) -> float:
    """The logistic function, without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
