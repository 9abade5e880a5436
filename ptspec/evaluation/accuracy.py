"""Correctness of responses, by the reward in `eval.accuracy` or one that suits the right answers.

Tool calls are compared as calls. Works on texts, without a model.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.evaluation.encoding import encode_completions
from ptspec.evaluation.generation import Response
from ptspec.recipe.signals import RewardSpec
from ptspec.rewards.builtin import RewardFunction, builtin, compared_columns, known_reward
from ptspec.rewards.checked import checked_reward
from ptspec.rewards.choose_scorer import choose
from ptspec.rewards.gold_of_row import gold_of
from ptspec.rewards.time_limit import Warn
from ptspec.rewards.tool_calls import calls_of, same_calls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ACCURACY = frozenset({"accuracy", "sampled_accuracy"})
ASKED = "named in eval.accuracy"
TOOL_CALLS = "tool calls"


@dataclass(frozen=True)
class Scorer:
    """Scores correctness with the reward `function` and its options, chosen for the reason `why`.

    `golds` holds the right answer of each row, as in its column; None for a row without. A row whose expected
    answer calls tools is correct if the same tools are called, unless it has a right answer. `function` None:
    there are only such rows.
    """

    function: RewardFunction | None
    name: str
    why: str
    golds: tuple[Any, ...]
    column: str | None
    reads_thoughts: bool

    def correct(
        self, rows: Sequence[EvaluationRow], responses: Mapping[int, Response], readable: frozenset[int]
    ) -> dict[int, bool | None]:
        """Return whether each response is correct, by row index; None if undecidable.

        `readable`: the rows whose tool calls can be parsed from the model's text of them.
        """
        found = dict.fromkeys(responses, None) | self._scored(responses)
        for i in responses:
            calls = calls_of(rows[i].expected)
            if calls and not self._has_gold(i):
                found[i] = same_calls(responses[i].text, calls) if i in readable else None
        return found

    def _scored(self, responses: Mapping[int, Response]) -> dict[int, bool | None]:
        asked = [i for i in responses if self._has_gold(i)]
        if self.function is None or not asked:
            return {}
        texts = [responses[i].text if self.reads_thoughts else responses[i].answer for i in asked]
        columns = {} if self.column is None else {self.column: [self.golds[i] for i in asked]}
        scores = checked_reward(self.function, "accuracy")(
            prompts=[""] * len(asked),
            completions=texts,
            completion_ids=[list(responses[i].ids) for i in asked],
            **columns,
        )
        return {i: None if score is None else score >= 1 for i, score in zip(asked, scores, strict=True)}

    def _has_gold(self, row: int) -> bool:
        return self.function is not None and (self.column is None or self.golds[row] is not None)


def scorer_of(
    asked: RewardSpec | None, rows: Sequence[EvaluationRow], *, warn: Warn = warnings.warn
) -> Scorer | None:
    """Return the scorer of `rows`; None without right answers, `asked` reward or tool calls.

    `warn` receives right answers that cannot be compared with. Raises `InputError` for invalid options.
    """
    calls = any(calls_of(row.expected) for row in rows)
    if asked is not None and asked.function is not None:
        return _made(asked.function, asked.options, ASKED, [gold_of(row, asked) for row in rows], warn)
    golds = tuple(gold_of(row) for row in rows)
    choice = choose([gold for gold in golds if gold is not None])
    if choice is not None:
        return _made(choice.function, choice.options, choice.why, golds, warn)
    return Scorer(None, TOOL_CALLS, "the expected answers call tools", golds, None, False) if calls else None


def _made(name: str, options: Mapping[str, Any], why: str, golds: Sequence[Any], warn: Warn) -> Scorer:
    reward = known_reward(name)
    columns = compared_columns(name, options)
    function = builtin(name, options, warn=lambda text: warn(f"accuracy: {text}"))
    return Scorer(function, name, why, tuple(golds), columns[0] if columns else None, reward.reads_thoughts)


def readable_calls(tokenizer: PreTrainedTokenizerBase, rows: Sequence[EvaluationRow]) -> frozenset[int]:
    """Return the rows whose rendered tool calls can be parsed, so that a model's calls can be too."""
    found = set()
    for i, row in enumerate(rows):
        if row.expected is not None and (calls := calls_of(row.expected)):
            (encoded,) = encode_completions(tokenizer, row.prompt, (row.expected,), row.context)
            text = tokenizer.decode(list(encoded.ids[encoded.start :]), skip_special_tokens=True)
            found |= {i} if same_calls(text, calls) else set()
    return frozenset(found)
