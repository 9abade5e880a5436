"""The built-in reward functions, in TRL's signature: `reward(prompts, completions, **columns)`.

Pure Python. Importing this costs nothing, so that a recipe's reward names and options can be checked
without torch; jsonschema and math-verify are imported by the one function that needs each.
Completions arrive as strings or as lists of messages; of messages the last assistant one counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.rewards.matching import contains_word, last_number, same_text, text_of

RewardFunction = Callable[..., Sequence[float | None]]
"""`reward(prompts, completions, **columns)`: one number a completion; None where the row has no say."""

Scorer = Callable[[Mapping[str, Any]], Callable[[str, str], float]]


@dataclass(frozen=True)
class Option:
    """An option of a built-in reward. `types` are Python's; a bool is never taken for a number."""

    types: tuple[type, ...]
    help: str
    required: bool = False

    def takes(self, value: object) -> bool:
        return isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))


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
    needs_one_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptionFault:
    """What is wrong with the options of a reward; `option` None: with the reward as a whole."""

    option: str | None
    message: str
    hint: str


def option_faults(name: str, options: Mapping[str, object]) -> list[OptionFault]:
    """Everything wrong with `options` of the built-in reward `name`; an unknown name is one fault."""
    reward = BUILTIN.get(name)
    if reward is None:
        return [OptionFault(None, f'"{name}" is no built-in reward', f"built in: {', '.join(BUILTIN)}")]
    return [
        *_unknown_options(reward, options),
        *_wrong_types(reward, options),
        *_missing_options(reward, options),
        *_bad_values(options),
    ]


def _unknown_options(reward: BuiltinReward, options: Mapping[str, object]) -> list[OptionFault]:
    known = ", ".join(reward.options) or "none"
    return [
        OptionFault(key, f'"{key}" is no option of {reward.name}', f"options: {known}")
        for key in options
        if key not in reward.options
    ]


def _wrong_types(reward: BuiltinReward, options: Mapping[str, object]) -> list[OptionFault]:
    return [
        OptionFault(
            key,
            f"{key} of {reward.name} is {json.dumps(value, default=str)}, "
            f"not {' or '.join(_TYPE_WORDS[t] for t in option.types)}",
            option.help,
        )
        for key, value in options.items()
        if (option := reward.options.get(key)) and not option.takes(value)
    ]


def _missing_options(reward: BuiltinReward, options: Mapping[str, object]) -> list[OptionFault]:
    faults = [
        OptionFault(None, f'{reward.name} needs the option "{key}"', option.help)
        for key, option in reward.options.items()
        if option.required and key not in options
    ]
    given = [key for key in reward.needs_one_of if key in options]
    if reward.needs_one_of and len(given) != 1:
        choice = " or ".join(f'"{key}"' for key in reward.needs_one_of)
        faults.append(OptionFault(None, f"{reward.name} needs either {choice}", "give exactly one of them"))
    return faults


def _bad_values(options: Mapping[str, object]) -> list[OptionFault]:
    faults = []
    pattern, tags = options.get("pattern"), options.get("tags")
    if isinstance(pattern, str):
        try:
            re.compile(pattern)
        except re.error as error:
            faults.append(OptionFault("pattern", f"not a regular expression: {error}", "Python's re syntax"))
    if isinstance(tags, list) and not (tags and all(isinstance(tag, str) and tag for tag in tags)):
        faults.append(OptionFault("tags", "tags is not a list of names", 'such as ["think", "answer"]'))
    for key in ("max", "target"):
        value = options.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
            faults.append(OptionFault(key, f"{key} is {value}", "a number of words above 0"))
    return faults


def builtin(name: str, options: Mapping[str, Any] | None = None) -> RewardFunction:
    """The built-in reward `name` with `options`, in TRL's signature.

    Raises `InputError` if there is no such reward or its options are wrong.
    """
    options = options or {}
    if faults := option_faults(name, options):
        raise InputError(*(Diagnostic("reward-options", f.message, hint=f.hint) for f in faults))
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

    kind = jsonschema.validators.validator_for(options["schema"])
    try:
        kind.check_schema(options["schema"])
    except jsonschema.SchemaError as error:
        raise InputError(
            Diagnostic("reward-options", f"not a JSON Schema: {error.message}", hint="the option schema")
        ) from error
    validator = kind(options["schema"])

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
        said, wanted = last_number(text), last_number(gold)
        if said is not None and wanted is not None and abs(said - wanted) <= tolerance:
            return 1.0
        return float(symbolic(text, gold)) if symbolic else 0.0

    return score


def _math_verify() -> Callable[[str, str], bool]:
    """Equality of expressions. Without its time-outs, which work in the main thread only."""
    from math_verify import parse, verify  # type: ignore[import-not-found, unused-ignore]

    def equal(text: str, gold: str) -> bool:
        wanted, said = parse(gold, parsing_timeout=None), parse(text, parsing_timeout=None)
        return bool(wanted and said and verify(wanted, said, timeout_seconds=None))

    return equal


def _format(options: Mapping[str, Any]) -> Callable[[str, str], float]:
    tags = options.get("tags", ["think", "answer"])
    pattern = re.compile(r"\s*".join(_element(tag) for tag in tags), re.DOTALL)
    return lambda text, gold: float(pattern.fullmatch(text.strip()) is not None)


def _element(tag: str) -> str:
    """<tag>…</tag> with neither of the two inside."""
    opening, closing = re.escape(f"<{tag}>"), re.escape(f"</{tag}>")
    return f"{opening}(?:(?!{opening}|{closing}).)*{closing}"


_TYPE_WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_TYPE_WORDS |= {dict: "an object", list: "a list"}
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
            needs_one_of=("max", "target"),
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
