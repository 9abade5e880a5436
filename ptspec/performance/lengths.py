"""Lengths of some rows of a stage, for the choices: the first rows of each source."""

from __future__ import annotations

from collections.abc import Iterator

from ptspec.data.tokens.chat_tokenizer import ChatTokenizer
from ptspec.data.tokens.lengths import Row, lengths
from ptspec.data.tokens.template import TokenizerFiles
from ptspec.data.tokens.truncation import Truncation
from ptspec.performance.choice import Lengths
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import Plan
from ptspec.recipe.sources import Source, parts_of

SAMPLE = 256
"""Rows measured per source."""


def some_lengths(plan: Plan, settings: EffectiveConfig, tokenizer: TokenizerFiles | None) -> Lengths | None:
    """Return lengths of the first rows of the stage's data; None without local rows or tokenizer."""
    if tokenizer is None or not tokenizer.can_count:
        return None
    rows = list(_rows(plan, settings, tokenizer))
    if not rows:
        return None
    return Lengths(tuple(max(row.held) for row in rows), tuple(sum(row.held) for row in rows))


def _rows(plan: Plan, settings: EffectiveConfig, tokenizer: ChatTokenizer) -> Iterator[Row]:
    for name in parts_of(plan.data, settings.stage.data):
        source = plan.data[name]
        if not isinstance(source, Source) or source.hub is not None or source.addresses:
            continue
        found = lengths(source, settings, tokenizer, most=SAMPLE)
        yield from (row for row in found if row.truncation is not Truncation.DROPPED and row.held)
