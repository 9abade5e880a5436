"""The number of rows of a stage, their lengths, and truncation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ptspec.data.checks.plan_data import LOOKED_AT
from ptspec.data.checks.source_pass import is_looked_at_in_part
from ptspec.data.readers.placed import PlacedRow
from ptspec.data.readers.scan import scan
from ptspec.data.tokens.cuts import Cuts, cuts
from ptspec.data.tokens.lengths import lengths, tokenised_by
from ptspec.data.tokens.template import FAST, TokenizerFiles
from ptspec.data.tokens.truncation import Truncation
from ptspec.estimate.shares import shares_and_rows
from ptspec.performance.choice import Lengths
from ptspec.performance.lengths import some_lengths
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import Plan
from ptspec.recipe.sources import Source

MOST = 5000
"""Rows tokenised per source; the first ones represent a longer one."""


@dataclass(frozen=True)
class Counted:
    """Counted rows.

    `rows`: in the source as the trainer gets them (a pair is two for KTO); `trained`: those left after
    dropping; `tokens_a_row`: mean over these. `exact`: every row was read. Unknown values are None; `why`
    gives the reason.
    """

    rows: int | None = None
    trained: int | None = None
    tokens_a_row: float | None = None
    longest: int | None = None
    cuts: tuple[Cuts, ...] = ()
    exact: bool = True
    why: str | None = None


class RowCounts:
    """The rows of the stages of `plan`, cached for stages that use them alike."""

    def __init__(self, plan: Plan, tokenizer: TokenizerFiles | None) -> None:
        self._plan = plan
        self._tokenizer = tokenizer
        self._counted: dict[str, Counted] = {}
        self._lengths: dict[str, Lengths | None] = {}

    def of(self, settings: EffectiveConfig) -> Counted:
        """Return the rows of the stage's source, or of the sources that it mixes."""
        source = self._plan.data[settings.stage.data]
        if isinstance(source, Source):
            return _packed(self._of_source(source, settings), settings)
        parts = {name: self._plan.data[name] for name in source.parts}
        counted = {n: self._of_source(p, settings) for n, p in parts.items() if isinstance(p, Source)}
        why = next((part.why for part in counted.values() if part.why), None)
        trained = {name: part.trained for name, part in counted.items() if part.trained is not None}
        if len(trained) < len(parts):
            return Counted(exact=False, why=why)
        shares, rows = shares_and_rows(source, trained)
        return _packed(_of_parts(counted, shares, rows, why), settings)

    def lengths(self, settings: EffectiveConfig) -> Lengths | None:
        """Return the lengths of some rows of the stage; None if unknown."""
        key = tokenised_by(settings.stage.data, settings)
        if key not in self._lengths:
            self._lengths[key] = some_lengths(self._plan, settings, self._tokenizer)
        return self._lengths[key]

    def _of_source(self, source: Source, settings: EffectiveConfig) -> Counted:
        key = tokenised_by(source.name, settings)
        if key not in self._counted:
            self._counted[key] = _source(source, settings, self._tokenizer)
        return self._counted[key]


def _source(source: Source, settings: EffectiveConfig, tokenizer: TokenizerFiles | None) -> Counted:
    if source.hub is not None:
        return Counted(why=f'data "{source.name}" is on the hub: its rows are counted when the run starts')
    if is_looked_at_in_part(source):
        return _of_first(source, settings, tokenizer)
    scanned = sum(isinstance(item, PlacedRow) for item in scan(source))
    if tokenizer is None or not tokenizer.can_count:
        return Counted(scanned, scanned, exact=False, why=f"tokens are not counted: the model has no {FAST}")
    found = cuts(lengths(source, settings, tokenizer, most=MOST), settings)
    if not found.rows:
        return Counted(scanned, scanned, exact=False, why=f'no row of data "{source.name}" can be tokenised')
    rows = round(scanned * found.rows / min(scanned, MOST))
    trained = round(rows * found.left / found.rows)
    longest = found.longest_prompt if settings.stage.method.online else found.longest
    mean = found.tokens / found.left if found.left else 0.0
    return Counted(rows, trained, mean, longest, (found,), scanned <= MOST)


def _of_first(source: Source, settings: EffectiveConfig, tokenizer: TokenizerFiles | None) -> Counted:
    """Return the counts from the first rows of a stream: lengths, but not the number of rows."""
    when = "streamed" if source.streaming else "read when the run starts"
    why = f'data "{source.name}" is {when}: its rows are not counted'
    if source.addresses or tokenizer is None or not tokenizer.can_count:
        return Counted(exact=False, why=why)
    found = cuts(lengths(source, settings, tokenizer, most=LOOKED_AT), settings)
    if not found.left:
        return Counted(exact=False, why=why)
    longest = found.longest_prompt if settings.stage.method.online else found.longest
    return Counted(None, None, found.tokens / found.left, longest, (found,), exact=False, why=why)


def _of_parts(known: dict[str, Counted], shares: Mapping[str, float], rows: int, why: str | None) -> Counted:
    """Return `rows` rows with each part's share."""
    tokens = [(part.tokens_a_row, shares[name]) for name, part in known.items()]
    mean = None if any(t is None for t, _ in tokens) else sum((t or 0) * weight for t, weight in tokens)
    longest = max((part.longest for part in known.values() if part.longest is not None), default=None)
    every = tuple(one for part in known.values() for one in part.cuts)
    return Counted(rows, rows, mean, longest, every, exact=False, why=why)


def _packed(counted: Counted, settings: EffectiveConfig) -> Counted:
    """Return the counts with packing: rows are sequences filled to `max_length` tokens."""
    length = settings.number("max_length")
    if not settings.value("packing") or not length or not counted.trained or counted.tokens_a_row is None:
        return counted
    tokens = counted.trained * counted.tokens_a_row
    packed = max(1, math.ceil(tokens / length))
    return Counted(packed, packed, tokens / packed, length, counted.cuts, exact=False, why=counted.why)


def cut_words(counted: Counted) -> str | None:
    """Return what is truncated, in words; None if nothing is."""
    touched = sum(one.rows - one.count(Truncation.WHOLE) for one in counted.cuts)
    if not touched:
        return None
    rows = sum(one.rows for one in counted.cuts)
    dropped = sum(one.count(Truncation.DROPPED) for one in counted.cuts)
    lost = sum(one.count(Truncation.LOST) for one in counted.cuts)
    limit = next(one.limit for one in counted.cuts)
    words = f"{touched:,} of {rows:,} rows are longer than max_length {limit}"
    if dropped:
        words += f"; {dropped:,} of them are dropped"
    return words + (f"; of {lost:,} no answer is left" if lost else "")
