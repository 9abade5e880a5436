"""Report rows that the chat template refuses, once per source: an error unless they are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptspec.data.checks.bad_rows import is_too_many, too_many
from ptspec.data.readers.placed import PlacedRow, shown
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.remedies import remedy
from ptspec.data.tokens.template import TokenizerFiles
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.recipe.sources import OnBadRow, Source


@dataclass(frozen=True)
class Refused:
    """A row, the template's message, and the row in TRL's columns."""

    row: PlacedRow
    error: CannotRender
    columns: Mapping[str, Any]


def refused_rows(
    source: Source,
    refused: Sequence[Refused],
    rows: int,
    note: str,
    tokenizer: TokenizerFiles,
    *,
    who: str = "",
    kind: str = "row",
) -> Iterator[Diagnostic]:
    """Yield the report of the `refused` rows among the `rows` of `source`, if any.

    `note` says how many were read, `who` names the stage or the evaluation, `kind` is the word for a row.
    """
    if not refused:
        return
    first = refused[0]
    is_left_out = source.on_bad_row is OnBadRow.LEAVE_OUT and len(refused) < rows
    known = None if first.error.own else remedy(first.columns, tokenizer)
    leave_out_hint = f'"on_bad_row": "leave_out" in {source.at} leaves such rows out'
    does = "refuses" if first.error.own else "cannot render"
    yield Diagnostic(
        "cannot-render",
        f"{who}the chat template {does} this {kind}: {first.error}",
        Location(shown(first.row.file), first.row.line),
        source.at,
        known if is_left_out else "; or ".join(filter(None, (known, leave_out_hint))),
        (note,) if note else (),
        Severity.WARNING if is_left_out else Severity.ERROR,
    )
    if is_left_out and is_too_many(source, len(refused), rows):
        yield too_many(source, len(refused), rows)
