"""How long the rows of a source are in tokens, as TRL will tokenise them for a method. Imports no torch.

TRL 1.16: a chat goes through the tokenizer's template, plain text through the tokenizer as it is, with the
end-of-sequence token behind it; the completion begins where prompt and prompt + completion part. (ORPO puts
a beginning-of-sequence token before plain text as well, which is not counted here.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ptspec.data.layouts import Shape, shape_for, to_trl
from ptspec.data.readers.scan import PlacedRow, Unreadable, scan
from ptspec.data.tokens.template import CannotRender, TokenizerFiles
from ptspec.methods.types import Rows
from ptspec.recipe.plan import Source

BATCH = 256
"""Rows tokenised at once."""


@dataclass(frozen=True)
class Span:
    """One sequence in tokens: its prompt (0 where the whole text is learned) and all of it."""

    prompt: int
    total: int


@dataclass(frozen=True)
class Row:
    """A row as the trainer gets it: one sequence, or the two of a pair."""

    file: Path
    line: int
    spans: tuple[Span, ...]

    @property
    def longest(self) -> int:
        return max(span.total for span in self.spans)

    @property
    def prompt(self) -> int:
        return max(span.prompt for span in self.spans)

    @property
    def tokens(self) -> int:
        return sum(span.total for span in self.spans)


def lengths(
    source: Source, rows: Rows, tokenizer: TokenizerFiles, *, most: int | None = None
) -> Iterator[Row]:
    """The first `most` rows of a local source in tokens, in file order."""
    return lengths_of(islice(scan(source), most), source.chat, rows, tokenizer)


def lengths_of(
    items: Iterable[PlacedRow | Unreadable],
    chat: bool,
    rows: Rows,
    tokenizer: TokenizerFiles,
    *,
    at_least: int = 0,
) -> Iterator[Row]:
    """Rows of one source in tokens, in their order; `chat` makes turns of strings.

    `at_least`: rows whose bytes show that they are shorter than so many tokens are left out, untokenised.
    Rows that cannot be read or rendered are left out: others tell their faults.
    """
    for batch in _batches(_texts(items, chat, rows, tokenizer, at_least)):
        yield from _counted(batch, tokenizer)


@dataclass(frozen=True)
class _Text:
    """Prompt and whole text of each sequence of a row; `special`: the tokenizer adds its own tokens."""

    file: Path
    line: int
    pairs: tuple[tuple[str, str], ...]
    special: bool


def _texts(
    items: Iterable[PlacedRow | Unreadable],
    chat: bool,
    rows: Rows,
    tokenizer: TokenizerFiles,
    at_least: int,
) -> Iterator[_Text]:
    shape = None
    for placed in items:
        if not isinstance(placed, PlacedRow):
            continue
        shape = shape or shape_for(rows, frozenset(placed.values))
        if shape is None:
            return
        if at_least and _bytes(placed.values, shape) < at_least:
            continue
        try:
            converted = list(to_trl(placed.values, rows, shape, chat))
            made = [_text(placed, one, tokenizer) for one in converted]
        except (CannotRender, KeyError, TypeError, ValueError, AttributeError, IndexError):
            continue
        yield from made


def _bytes(values: Mapping[str, Any], shape: Shape) -> int:
    """At least as many as the row has tokens in any one sequence, a template's own apart."""
    texts = [values.get(name) for name in (*shape.columns, "input", "tools")]
    return sum(len(text.encode() if isinstance(text, str) else repr(text)) for text in texts if text)


def _text(placed: PlacedRow, row: Mapping[str, Any], tokenizer: TokenizerFiles) -> _Text:
    answers = [row[name] for name in ("completion", "chosen", "rejected") if name in row]
    if "messages" in row:
        whole = tokenizer.render(row["messages"], tools=row.get("tools"))
        return _Text(placed.file, placed.line, (("", whole),), special=False)
    if "text" in row:
        return _Text(placed.file, placed.line, (("", row["text"] + _end(tokenizer)),), special=True)
    prompt = row["prompt"]
    if isinstance(prompt, str):
        pairs = [(prompt, prompt + answer + _end(tokenizer)) for answer in answers] or [(prompt, prompt)]
        return _Text(placed.file, placed.line, tuple(pairs), special=True)
    head = tokenizer.render(prompt, prompt=True) if prompt else ""
    whole_texts = [tokenizer.render([*prompt, *answer]) for answer in answers] or [head]
    return _Text(placed.file, placed.line, tuple((head, whole) for whole in whole_texts), special=False)


def _end(tokenizer: TokenizerFiles) -> str:
    return tokenizer.special.get("eos_token", "")


def _batches(texts: Iterable[_Text]) -> Iterator[list[_Text]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _counted(texts: Sequence[_Text], tokenizer: TokenizerFiles) -> Iterator[Row]:
    counts: dict[bool, Iterator[list[int]]] = {}
    for special in (False, True):
        flat = [part for text in texts if text.special is special for pair in text.pairs for part in pair]
        counts[special] = iter(tokenizer.ids(flat, special=special)) if flat else iter(())
    for text in texts:
        found = []
        for _ in text.pairs:
            prompt, whole = next(counts[text.special]), next(counts[text.special])
            found.append(Span(_shared(prompt, whole), len(whole)))
        yield Row(text.file, text.line, tuple(found))


def _shared(prompt: Sequence[int], whole: Sequence[int]) -> int:
    """Leading tokens that both have."""
    return next(
        (i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b),
        min(len(prompt), len(whole)),
    )
