"""Find held-out rows that the chat template refuses: the evaluation cannot encode them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptspec.data.checks.source_pass import Seen
from ptspec.data.layouts.convert import reading_of
from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.data.readers.placed import PlacedRow
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.look import render_row
from ptspec.data.tokens.template import TokenizerFiles
from ptspec.diagnostics import Diagnostic
from ptspec.recipe.plan import Plan
from ptspec.recipe.sources import Source, parts_of

Form = tuple[object, ...]
"""What templates distinguish rows by: the roles of the turns, and the other columns."""


def check_held_out(plan: Plan, tokenizer: TokenizerFiles, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield one report per source of the evaluation's refused rows.

    An error, unless they are to be left out. The first row of each form is rendered.
    """
    evaluation = plan.evaluation
    if evaluation is None or evaluation.data not in plan.data or not tokenizer.is_template:
        return
    for name in parts_of(plan.data, evaluation.data):
        source = plan.data[name]
        if isinstance(source, Source) and source.hub is None and source.chat and name in seen:
            yield from _refused(source, seen[name], tokenizer)


def _refused(source: Source, seen: Seen, tokenizer: TokenizerFiles) -> Iterator[Diagnostic]:
    errors: dict[Form, CannotRender | None] = {}
    found: list[tuple[PlacedRow, CannotRender, Mapping[str, Any]]] = []
    for row in seen.unusual:  # every sound row of a source that an evaluation reads
        if not isinstance(row, PlacedRow):
            continue
        for columns in evaluation_row(row.values, reading_of(source)).in_trl_columns():
            form = _form(columns)
            if form not in errors:
                errors[form] = _refusal(columns, tokenizer)
            if (error := errors[form]) is not None:
                found.append((row, error, columns))
                break
    if not found:
        return
    from ptspec.checks.refused_rows import Refused, refused_rows

    refused = [Refused(*one) for one in found]
    note = f"{len(found):,} of {seen.rows:,} rows are refused" if seen.rows > 1 else ""
    yield from refused_rows(source, refused, seen.rows, note, tokenizer, kind="held-out row")


def _form(columns: Mapping[str, Any]) -> Form:
    turns = (turn for value in columns.values() if isinstance(value, list) for turn in value)
    roles = tuple(
        (turn.get("role"), bool(turn.get("content")), bool(turn.get("tool_calls")))
        for turn in turns
        if isinstance(turn, dict)
    )
    return (roles, "tools" in columns, str(columns.get("chat_template_kwargs")))


def _refusal(columns: Mapping[str, Any], tokenizer: TokenizerFiles) -> CannotRender | None:
    try:
        render_row(columns, tokenizer)
    except CannotRender as error:
        return error
    return None
