"""Check reward and judge functions at each call: as many numbers as rows, finite, probabilities.

The only such check, for user functions, built-in ones, and any passed to other modules. An error names the
function, its line, the row and the prompt.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, NoReturn

from ptspec.diagnostics import Diagnostic, Location, PtError, StageError, cut
from ptspec.recipe.hints import listed
from ptspec.rewards.contract import HOOKS, TEXTS, Kind, takes_everything, visible_columns
from ptspec.rewards.matching import content_of, text_of
from ptspec.rewards.user import place_of, raised_at

LARGEST = 3.4e38
"""TRL keeps rewards in float32, where a larger number is infinite."""


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


NO_TRAINER: Mapping[str, Any] = {**dict.fromkeys(HOOKS, _nothing), "trainer_state": None}
"""Values of TRL's own arguments without a trainer: in an evaluation."""


def in_data_form(function: Callable[..., Any], strings: bool) -> Callable[..., Any]:
    """Return `function` with its texts in the form of the data.

    With `strings` the data holds plain strings, which the loader made into chats: the function receives the
    user's text and the assistant's. Otherwise texts are passed unchanged.
    """
    if not strings:
        return function

    @wraps(function)
    def given_strings(*texts: Any, **named: Any) -> Any:
        unwrapped = {name: _strings(value) if name in TEXTS else value for name, value in named.items()}
        return function(*map(_strings, texts), **unwrapped)

    return given_strings


def _strings(texts: Sequence[Any]) -> list[str]:
    return [text if isinstance(text, str) else content_of(text[-1]) if text else "" for text in texts]


def name_of(function: Callable[..., Any]) -> str:
    """Return a judge's or reward's name for messages: its own, its class's, or of what `partial` wraps."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def checked_reward(function: Callable[..., Any], name: str | None = None) -> CheckedReward:
    """Return `function` with checks; unchanged if it has them already."""
    if isinstance(function, CheckedReward):
        return function
    return CheckedReward(function, name or name_of(function))


def checked_judge(function: Callable[..., Any], name: str | None = None) -> CheckedJudge:
    """Return `function` with checks; unchanged if it has them already."""
    if isinstance(function, CheckedJudge):
        return function
    return CheckedJudge(function, name or name_of(function))


@dataclass(frozen=True)
class CheckedReward:
    """A reward function under its name in the recipe, in TRL's signature.

    The function receives the columns and TRL arguments in its signature, or all with `**columns`. It may be
    `async`. Calls raise `StageError` for any error of the function.
    """

    function: Callable[..., Any]
    name: str
    at: str | None = None

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any
    ) -> list[float | None]:
        """Return one finite number per completion, or None. Raises `StageError`."""
        call = _Call(Kind.REWARD, self.function, self.name, self.at, prompts, {"completion": completions})
        arguments = call.asked({**NO_TRAINER, "prompts": prompts, "completions": completions, **given})
        scores = call.answers(arguments)
        return [None if score is None else call.reward(row, score) for row, score in enumerate(scores)]


@dataclass(frozen=True)
class CheckedJudge:
    """A judge function under its name in the recipe. Calls raise `StageError` for any error of it."""

    function: Callable[..., Any]
    name: str
    at: str | None = None

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def counters(self) -> Any:
        """The function's own counters, if it has any (`ptspec.rewards.judges.counted`)."""
        return getattr(self.function, "counters", None)

    def __call__(self, prompts: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> list[float]:
        """Return P(a beats b) for each row, in [0, 1]. Raises `StageError`."""
        call = _Call(Kind.JUDGE, self.function, self.name, self.at, prompts, {"a": a, "b": b})
        answers = call.answers({"prompts": prompts, "a": a, "b": b})
        return [call.probability(row, answer) for row, answer in enumerate(answers)]


@dataclass(frozen=True)
class _Call:
    """A call over a batch: `prompts`, and the scored texts by their display names."""

    kind: Kind
    function: Callable[..., Any]
    name: str
    at: str | None
    prompts: Sequence[Any]
    texts: Mapping[str, Sequence[Any]]

    def asked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of `given` in the function's signature; `StageError` if it needs others."""
        signature = _signature(self.function)
        if signature is None or takes_everything(signature):
            return dict(given)
        parameters = signature.parameters
        missing = [n for n, p in parameters.items() if n not in given and _is_required(p)]
        if missing:
            columns = visible_columns(list(given))
            self.fail(
                "missing-column",
                f'asks for the column "{missing[0]}", which the data has not',
                f"columns: {listed(columns) or 'none beside the prompt'}",
            )
        return {name: value for name, value in given.items() if name in parameters}

    def answers(self, arguments: Mapping[str, Any]) -> list[Any]:
        """Return the function's result as a list with an item per row."""
        try:
            returned = self._returned(arguments)
        except PtError as error:
            raise StageError(
                *(replace(d, pointer=d.pointer or self.at) for d in error.diagnostics)
            ) from error
        except Exception as error:
            self._failed(error, self._failing_row(arguments))
        if not _is_list(returned):
            self.fail(f"wrong-{self.kind.value}-count", f"returned {_worded(returned)}, not a list")
        answers = list(returned.tolist() if hasattr(returned, "tolist") else returned)
        if len(answers) != len(self.prompts):
            wrong = f"returned {len(answers)} numbers for {len(self.prompts)} rows"
            first = len(answers) if len(answers) < len(self.prompts) else None
            wrong += "" if first is None else f": row {first + 1} is the first without one"
            self.fail(f"wrong-{self.kind.value}-count", wrong, row=first)
        return answers

    def reward(self, row: int, answer: Any) -> float:
        number = _number(answer)
        if number is None or not abs(number) <= LARGEST:
            hint = "return a finite number, or None for a row that the reward cannot score"
            self.fail("wrong-reward", f"returned {_worded(answer)}{self._of(row)}", hint, row)
        return number

    def probability(self, row: int, answer: Any) -> float:
        number = _number(answer)
        if number is None or not 0 <= number <= 1:
            hint = "return the probability, from 0 to 1, that a is better than b"
            self.fail("wrong-judgement", f"returned {_worded(answer)}{self._of(row)}", hint, row)
        return number

    def fail(
        self,
        code: str,
        what: str,
        hint: str | None = None,
        row: int | None = None,
        place: Location | None = None,
    ) -> NoReturn:
        raise StageError(
            Diagnostic(
                code,
                f'the {self.kind.value} "{self.name}" {what}',
                place or place_of(self.function),
                self.at,
                hint or self.kind.signature,
                () if row is None else self._shown(row),
            )
        )

    def _returned(self, arguments: Mapping[str, Any]) -> Any:
        if self.kind is Kind.JUDGE:
            returned = self.function(*arguments.values())
        else:
            returned = self.function(**arguments)
        return asyncio.run(_awaited(returned)) if inspect.isawaitable(returned) else returned

    def _failing_row(self, arguments: Mapping[str, Any]) -> int | None:
        """Return the first row that fails alone, by calling the function row by row."""
        rows = len(self.prompts)
        for row in range(rows):
            alone = {k: [v[row]] if _is_column(v, rows) else v for k, v in arguments.items()}
            try:
                self._returned(alone)
            except Exception:
                return row
        return None

    def _failed(self, error: Exception, row: int | None) -> NoReturn:
        own = place_of(self.function)
        place = raised_at(error, own.file) if own else None
        what = f"failed with {type(error).__name__}: {_short(str(error))}{self._of(row)}"
        self.fail(f"failing-{self.kind.value}", what, row=row, place=place)

    def _of(self, row: int | None) -> str:
        return "" if row is None else f" for row {row + 1} of the {len(self.prompts)} in the batch"

    def _shown(self, row: int) -> tuple[str, ...]:
        prompt = self.prompts[row]
        asked = prompt if isinstance(prompt, str) else content_of(prompt[-1]) if prompt else ""
        said = [f"{name}: {_short(text_of(texts[row]))}" for name, texts in self.texts.items()]
        return (f"prompt: {_short(asked)}", *said)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL


def _is_column(value: Any, rows: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == rows


def _is_list(value: Any) -> bool:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        return False
    return getattr(value, "ndim", 1) == 1


def _number(value: Any) -> float | None:
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _worded(value: Any) -> str:
    """Return `value` for a message: a number unchanged, anything else with its type."""
    if value is None or isinstance(value, int | float):
        return repr(value)
    return f"a {type(value).__name__}, {_short(repr(value), 60)}"


def _short(text: str, width: int = 120) -> str:
    return cut(" ".join(text.split()), width)
