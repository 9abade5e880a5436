"""Lengths of a source's rows in tokens, as a stage's trainer tokenises them. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ptspec.data.layouts.convert import reading_of, to_trl
from ptspec.data.layouts.table import BESIDE, Layout, layout_for
from ptspec.data.readers.placed import PlacedRow, Unreadable
from ptspec.data.readers.scan import scan
from ptspec.data.tokens.chat_tokenizer import CannotRender, ChatTokenizer
from ptspec.data.tokens.encode import ENCODED_BY, FAULTS, EncodedRow, TrlRow, encode_all
from ptspec.data.tokens.truncation import CUT_BY, Truncation
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.sources import Source

BATCH = 256
"""Rows tokenised at once."""

TOKENISED_BY = (*ENCODED_BY, *CUT_BY)
"""The fields of a stage's config that decide which rows are left, and their lengths."""

Items = Iterable[PlacedRow | Unreadable]


class Span(NamedTuple):
    """One sequence in tokens: its prompt (0 if the whole text is learned) and the total."""

    prompt: int
    total: int


class Row(NamedTuple):
    """A row as the trainer gets it, with one sequence or the two of a pair.

    `spans`: before truncation; `held`: the tokens of each that the trainer holds.
    """

    file: Path
    line: int
    spans: tuple[Span, ...]
    held: tuple[int, ...]
    truncation: Truncation

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, before truncation."""
        return max(span.total for span in self.spans)

    @property
    def prompt(self) -> int:
        """Tokens of the longest prompt."""
        return max(span.prompt for span in self.spans)

    @property
    def tokens(self) -> int:
        """Tokens of all sequences, before truncation."""
        return sum(span.total for span in self.spans)


def tokenised_by(data: str, settings: EffectiveConfig) -> str:
    """Return a key of what the tokens of `data` depend on in a stage: equal if stages tokenise alike."""
    asked = {name: settings.value(name) for name in TOKENISED_BY}
    return json.dumps([data, settings.stage.method.name, asked], default=str)


def lengths(
    source: Source, settings: EffectiveConfig, tokenizer: ChatTokenizer, *, most: int | None = None
) -> Iterator[Row]:
    """Yield the first `most` rows of a local source in tokens, in file order."""
    return lengths_of(islice(scan(source), most), source, settings, tokenizer)


def lengths_of(
    items: Items, source: Source, settings: EffectiveConfig, tokenizer: ChatTokenizer, *, at_least: int = 0
) -> Iterator[Row]:
    """Yield the rows of `source` in tokens, in order.

    `at_least`: rows whose bytes show that they are shorter are skipped untokenised. Rows that cannot be read
    or rendered are skipped: other checks report them.
    """
    for placed, found in _encoded(items, source, settings, tokenizer, at_least):
        if isinstance(found, EncodedRow):
            spans = tuple(Span(one.prompt, len(one.ids)) for one in found.whole)
            held = tuple(len(one.ids) for one in found.held)
            yield Row(placed.file, placed.line, spans, held, found.truncation)


def refused(
    items: Items, source: Source, settings: EffectiveConfig, tokenizer: ChatTokenizer
) -> Iterator[tuple[PlacedRow, CannotRender]]:
    """Yield the rows that the chat template or the trainer refuses, with the message."""
    told: PlacedRow | None = None
    for placed, found in _encoded(items, source, settings, tokenizer, 0):
        if isinstance(found, CannotRender) and placed is not told:
            told = placed
            yield placed, found


def _encoded(
    items: Items, source: Source, settings: EffectiveConfig, tokenizer: ChatTokenizer, at_least: int
) -> Iterator[tuple[PlacedRow, EncodedRow | Exception]]:
    for batch in _batches(_converted(items, source, settings, at_least)):
        rows = [row for _, row in batch]
        yield from zip((placed for placed, _ in batch), encode_all(rows, settings, tokenizer), strict=True)


def _converted(
    items: Items, source: Source, settings: EffectiveConfig, at_least: int
) -> Iterator[tuple[PlacedRow, TrlRow]]:
    layout, wanted, reading = None, settings.stage.method.rows, reading_of(source)
    for placed in items:
        if not isinstance(placed, PlacedRow):
            continue
        layout = layout or layout_for(wanted, frozenset(placed.values))
        if layout is None:
            return
        if at_least and _is_shorter(placed.values, layout, at_least - len((reading.system or "").encode())):
            continue
        try:
            rows = list(to_trl(placed.values, wanted, layout, reading))
        except FAULTS:
            continue  # reported by the row checks
        if at_least and max(map(_bytes, rows), default=0) < at_least:
            continue
        for row in rows:
            yield placed, row


FRAME = 40
"""Bytes of a text as a turn besides its own: of {'role': 'assistant', 'content': ''}."""


def _is_shorter(row: Mapping[str, Any], layout: Layout, size: int) -> bool:
    """Return whether the texts of `layout`'s columns, as turns, are together shorter than `size` bytes.

    False for a row with other values.
    """
    for name in (*layout.columns, *BESIDE):
        text = row.get(name)
        if type(text) is str:
            size -= FRAME + (len(text) if text.isascii() else len(text.encode()))
        elif text is not None and name != "label":
            return False
    return size > FRAME  # of the source's system prompt


def _bytes(row: Mapping[str, Any]) -> int:
    """Return an upper bound of a row's tokens in any sequence, without the template's own."""
    sizes = {
        name: len((value if isinstance(value, str) else repr(value)).encode()) for name, value in row.items()
    }
    answers = [sizes.pop(name) for name in ("chosen", "rejected") if name in sizes]
    return sum(sizes.values()) + max(answers, default=0)


def _batches(rows: Iterable[tuple[PlacedRow, TrlRow]]) -> Iterator[Sequence[tuple[PlacedRow, TrlRow]]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH)):
        yield batch
