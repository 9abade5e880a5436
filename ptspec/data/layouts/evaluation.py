"""Convert a held-out row for an evaluation, by the same code as training rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ptspec.data.layouts.convert import (
    Context,
    Exchange,
    Reading,
    Row,
    context_of,
    demonstration,
    preference,
    prompt_of,
    split_messages,
)
from ptspec.data.layouts.table import layout_for
from ptspec.data.layouts.turns import Text
from ptspec.methods.types import Rows


class EvaluationRow(NamedTuple):
    """The parts of a held-out row; None for parts that its columns lack.

    `prompt` is answered, `expected` is the reference answer to it; `pair` has its own prompt. They are
    messages or strings as the model will see them; `answer` is the short right answer; `context` holds
    arguments of the chat template; `columns` is the row as in the file, for rewards.
    """

    prompt: Text | None
    expected: Text | None
    pair: Exchange | None
    answer: str | None
    context: Context
    columns: Row

    def in_trl_columns(self) -> Iterator[dict[str, Any]]:
        """Yield what the chat template renders: the prompt with its answer, and the pair."""
        if self.prompt is not None or self.expected is not None:
            answer = {} if self.expected is None else {"completion": self.expected}
            yield {"prompt": self.prompt, **answer, **self.context.columns}
        if self.pair is not None:
            given = {"prompt": self.pair.prompt, "chosen": self.pair.chosen, "rejected": self.pair.rejected}
            yield {**given, **self.context.columns}


def _answer_text(answer: object) -> str:
    """Return a right answer as text: lists and objects as JSON."""
    if isinstance(answer, list | dict):
        return json.dumps(answer, ensure_ascii=False, default=str)
    return str(answer)


def evaluation_row(row: Row, reading: Reading = Reading()) -> EvaluationRow:
    """Return the parts of `row` for an evaluation. Raises `LayoutError`."""
    present = frozenset(name for name, value in row.items() if value is not None)
    pair = prompt = expected = None
    if layout := layout_for(Rows.PREFERENCE, present):
        pair = preference(row, layout, reading)
        prompt = pair.prompt
    if layout := layout_for(Rows.PROMPT_COMPLETION, present):
        given = demonstration(row, layout, reading)
        if "messages" in given:
            prompt, expected = split_messages(given["messages"])
        elif "text" in given:
            expected = given["text"]
        else:
            prompt, expected = given["prompt"], given["completion"]
    elif prompt is None and (layout := layout_for(Rows.PROMPT_ONLY, present)):
        prompt = prompt_of(row, layout, reading)
    answer = row.get("answer")
    return EvaluationRow(
        prompt=prompt,
        expected=expected or None,
        pair=pair,
        answer=None if answer is None else _answer_text(answer),
        context=context_of(row),
        columns=row,
    )
