"""The built-in reward functions, in TRL's signature: `reward(prompts, completions, **columns)`.

Pure Python. Importing this costs nothing, so that a recipe's reward names and options can be checked
without torch; jsonschema and math-verify are imported by the one function that needs each.
Completions arrive as strings or as lists of messages; of messages the last assistant one counts.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.rewards.matching import contains_word, last_number, same_text, text_of
from ptspec.rewards.options import Option, OptionFault, Options

RewardFunction = Callable[..., Sequence[float | None]]
"""`reward(prompts, completions, **columns)`: one number a completion; None where the row has no say."""

MATH_SECONDS = 3
Scorer = Callable[[Mapping[str, Any]], Callable[[str, str], float]]


@dataclass(frozen=True)
class BuiltinReward:
    """A built-in reward: what it pays, its options, and which column of the row it compares with.

    `columns` are tried in order unless the option `column` names one; empty: the completion alone counts.
    `make` turns the options into `score(completion, gold)`.
    """

    name: str
    summary: str
    make: Scorer
    options: Mapping[str, Option]
    columns: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()


def option_faults(name: str, options: Mapping[str, object]) -> list[OptionFault]:
    """Everything wrong with `options` of the built-in reward `name`; an unknown name is one fault."""
    reward = BUILTIN.get(name)
    if reward is None:
        return [OptionFault(None, f'"{name}" is no built-in reward', f"built in: {', '.join(BUILTIN)}")]
    return Options(name, reward.options, reward.one_of).faults(options)


def builtin(name: str, options: Mapping[str, Any] | None = None) -> RewardFunction:
    """The built-in reward `name` with `options`, in TRL's signature.

    Raises `InputError` if there is no such reward or its options are wrong.
    """
    options = options or {}
    if faults := option_faults(name, options):
        raise InputError(*(Diagnostic("wrong-reward", f.message, hint=f.hint) for f in faults))
    reward = BUILTIN[name]
    columns = (options["column"],) if "column" in options else reward.columns
    function = partial(_reward, reward.make(options), columns, name)
    function.__name__ = name  # type: ignore[attr-defined]  # TRL logs a reward function under its __name__
    return function


def _reward(
    score: Callable[[str, str], float],
    columns: tuple[str, ...],
    name: str,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    **given: Any,
) -> list[float | None]:
    texts = [text_of(completion) for completion in completions]
    if not columns:
        return [score(text, "") for text in texts]
    golds = _golds(columns, name, given)
    return [None if gold is None else score(text, gold) for text, gold in zip(texts, golds, strict=True)]


def _golds(columns: tuple[str, ...], name: str, given: Mapping[str, Any]) -> list[str | None]:
    """The first of `columns` that the batch has, as text; None in rows where it is empty."""
    column = next((column for column in columns if column in given), None)
    if column is None:
        raise InputError(
            Diagnostic(
                "missing-column",
                f"the reward {name} compares with the column {' or '.join(columns)}, and the data has neither"
                if len(columns) > 1
                else f"the reward {name} compares with the column {columns[0]}, and the data has none",
                hint='add it to the data, or name another with the option "column"',
            )
        )
    return [None if gold is None else _gold_text(gold) for gold in given[column]]


def _gold_text(gold: object) -> str:
    return text_of(gold) if isinstance(gold, list) else str(gold)


def _exact_match(options: Mapping[str, Any]) -> Callable[[str, str], float]:
    return lambda text, gold: float(same_text(text, gold))


def _contains_answer(options: Mapping[str, Any]) -> Callable[[str, str], float]:
    return lambda text, gold: float(contains_word(text, gold))


def _regex(options: Mapping[str, Any]) -> Callable[[str, str], float]:
    pattern = re.compile(options["pattern"])
    match = pattern.search if options.get("search", False) else pattern.fullmatch
    return lambda text, gold: float(match(text.strip()) is not None)


def _length(options: Mapping[str, Any]) -> Callable[[str, str], float]:
    if "max" in options:
        return lambda text, gold: _up_to(len(text.split()), options["max"])
    return lambda text, gold: _near(len(text.split()), options["target"])


def _up_to(words: int, most: float) -> float:
    """1 up to `most` words, then most/words. Nothing said is worth nothing."""
    return 0.0 if words == 0 else min(1.0, most / words)


def _near(words: int, target: float) -> float:
    """1 at `target` words, falling evenly to 0 at none and at twice as many."""
    return max(0.0, 1.0 - abs(words - target) / target)


def _json_schema(options: Mapping[str, Any]) -> Callable[[str, str], float]:
    import jsonschema

    validator = jsonschema.validators.validator_for(options["schema"])(options["schema"])

    def score(text: str, gold: str) -> float:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return 0.0
        return float(validator.is_valid(value))

    return score


def _numeric_answer(options: Mapping[str, Any]) -> Callable[[str, str], float]:
    tolerance = Decimal(str(options.get("tolerance", 0)))
    symbolic = _math_verify() if find_spec("math_verify") else None

    def score(text: str, gold: str) -> float:
        if symbolic and symbolic(text, gold):
            return 1.0
        if symbolic and any(sign in gold for sign in "$\\"):
            return 0.0  # an expression: its last number alone says nothing
        said, wanted = last_number(text), last_number(gold)
        return float(said is not None and wanted is not None and abs(said - wanted) <= tolerance)

    return score


def _math_verify() -> Callable[[str, str], bool]:
    """Equality of expressions, given up after a few seconds: what a model writes may take for ever.

    math-verify's time-outs are signals, which only the main thread can have; in another there are none.
    """
    from math_verify import parse, verify  # type: ignore[import-not-found, unused-ignore]

    def equal(text: str, gold: str) -> bool:
        seconds = MATH_SECONDS if threading.current_thread() is threading.main_thread() else None
        wanted, said = (parse(one, parsing_timeout=seconds) for one in (gold, text))
        return bool(wanted and said and verify(wanted, said, timeout_seconds=seconds))

    return equal


def _format(options: Mapping[str, Any]) -> Callable[[str, str], float]:
    tags = options.get("tags", ["think", "answer"])
    pattern = re.compile(r"\s*".join(_element(tag) for tag in tags), re.DOTALL)
    return lambda text, gold: float(pattern.fullmatch(text.strip()) is not None)


def _element(tag: str) -> str:
    """<tag>…</tag> with neither of the two inside."""
    opening, closing = re.escape(f"<{tag}>"), re.escape(f"</{tag}>")
    return f"{opening}(?:(?!{opening}|{closing}).)*{closing}"


_COLUMN = Option((str,), "the column that holds the right answer")

BUILTIN: Mapping[str, BuiltinReward] = {
    reward.name: reward
    for reward in (
        BuiltinReward(
            "exact_match",
            "1 where the completion is the right answer: case, spacing and punctuation around it aside",
            _exact_match,
            {"column": _COLUMN},
            columns=("output", "answer"),
        ),
        BuiltinReward(
            "contains_answer",
            "1 where the right answer stands in the completion as a whole word",
            _contains_answer,
            {"column": _COLUMN},
            columns=("answer",),
        ),
        BuiltinReward(
            "regex",
            "1 where the whole completion matches a pattern",
            _regex,
            {
                "pattern": Option((str,), "a regular expression, Python's syntax", required=True),
                "search": Option((bool,), "true: a match anywhere will do"),
            },
        ),
        BuiltinReward(
            "length",
            "1 up to max words, then falling; or 1 at target words, falling on both sides",
            _length,
            {
                "max": Option((int, float), "words that are still worth 1"),
                "target": Option((int, float), "the number of words worth 1"),
            },
            one_of=("max", "target"),
        ),
        BuiltinReward(
            "json_schema",
            "1 where the completion is JSON that fits a schema",
            _json_schema,
            {"schema": Option((dict,), "a JSON Schema", required=True)},
        ),
        BuiltinReward(
            "numeric_answer",
            "1 where the last number is the right one; expressions too where math-verify is installed",
            _numeric_answer,
            {"column": _COLUMN, "tolerance": Option((int, float), "how far off still counts; 0")},
            columns=("answer", "output"),
        ),
        BuiltinReward(
            "format",
            "1 where the completion is the given tags in order, each once, with nothing between",
            _format,
            {"tags": Option((list,), 'tag names in order; ["think", "answer"]')},
        ),
    )
}
"""Every built-in reward by its name."""
