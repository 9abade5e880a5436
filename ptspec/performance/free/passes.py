"""Rows per pass at constant rows per step: smaller passes pad less, larger ones have less overhead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptspec.performance.choice import ROW_ORDER, Choice, Effect, Lengths, Situation
from ptspec.performance.cost import NO_OVERHEAD, Cut, Overhead, cost, overhead
from ptspec.performance.exactness import rows_of_a_pass, why_passes_matter
from ptspec.performance.room import fits
from ptspec.recipe.batch_split import PASSES, ROWS

LEAST = 1.05
"""Minimum speed-up of a step for which its passes are changed."""
BY_LENGTH = "by length within a step"


def choose(situation: Situation) -> tuple[Choice, ...]:
    """Choose how a step's rows are split, if its loss does not depend on it.

    For a recipe that sets rows per pass or passes per step, only which rows share a pass.
    """
    given = situation.is_given(ROWS, PASSES)
    is_one = situation.alone.number(PASSES, 1) == 1
    if is_settled(situation) or (given and is_one and not situation.is_planned):
        return ()
    smaller = () if given else _smaller(situation)
    work = work_of(situation)
    if work is None:
        return smaller
    now = Cut(work.rows, sorted_rows=False)
    cuts = [Cut(rows, sorted_rows=True) for rows in rows_of_a_pass(situation)]
    same = [cut for cut in cuts if cut.rows == now.rows]
    best = work.best(same if given else [cut for cut in cuts if split_fits(situation, cut.rows) is not False])
    found = [_choice(work, now, best)] if best is not None and work.gain(now, best) >= LEAST else []
    other = work.best(cuts) if given else None
    if other is not None and work.gain(best if found and best is not None else now, other) >= LEAST:
        found.append(_left(work, now, other))
    return tuple(found) or smaller


def is_settled(situation: Situation) -> bool:
    """Return whether the rows of a step must not be split differently."""
    settings = situation.settings
    others = ("packing", "padding_free", "auto_find_batch_size")
    return (
        _step(situation) < 2
        or settings.value("train_sampling_strategy") != "random"
        or any(settings.value(name) for name in others)
        or why_passes_matter(situation) is not None
    )


def _smaller(situation: Situation) -> tuple[Choice, ...]:
    """Return the largest passes that fit, if those of the recipe do not."""
    rows, step = situation.alone.number(ROWS, 8), _step(situation)
    if fits(situation.needed(), situation.machine) is not False:
        return ()
    for fewer in rows_of_a_pass(situation):
        if fewer < rows and fits(situation.needed(**split(fewer, step)), situation.machine):
            reason = f"{rows} rows a pass do not fit the memory; {step} rows a step as before"
            return (Choice(split(fewer, step), _in_words(fewer, step), reason),)
    return ()


def _step(situation: Situation) -> int:
    return situation.alone.number(ROWS, 8) * situation.alone.number(PASSES, 1)


def split(rows: int, step: int) -> dict[str, int]:
    """Return the config fields of a step of `step` rows in passes of `rows`."""
    return {ROWS: rows, PASSES: step // rows}


def _in_words(rows: int, step: int) -> str:
    return f"{rows} row{'s' * (rows != 1)} a pass × {step // rows}"


@dataclass(frozen=True)
class Work:
    """A step of `rows` per pass × `passes`."""

    rows: int
    passes: int
    lengths: Lengths
    overhead: Overhead
    processes: int

    @property
    def step(self) -> int:
        """Rows of a step in this process."""
        return self.rows * self.passes

    def best(self, cuts: Sequence[Cut]) -> Cut | None:
        """Return the cheapest of `cuts`, None if there are none."""
        return min(cuts, key=self._cost, default=None)

    def gain(self, before: Cut, after: Cut) -> float:
        """Return the speed-up of `after` over `before`."""
        return self._cost(before) / self._cost(after)

    def saved(self, before: Cut, after: Cut) -> float:
        """Return the share of tokens, padding included, that `after` saves."""
        return 1 - self._padded(after) / self._padded(before)

    def _cost(self, cut: Cut) -> float:
        return cost(self.lengths, self.step, cut, self.overhead, self.processes)

    def _padded(self, cut: Cut) -> float:
        return cost(self.lengths, self.step, cut, NO_OVERHEAD, self.processes)


def work_of(situation: Situation) -> Work | None:
    """Return the present work of a step; None if nothing can be gained, or it is unknown."""
    alone, shape = situation.alone, situation.shape
    rows, passes = alone.number(ROWS, 8), alone.number(PASSES, 1)
    if shape is None:
        return None
    least = overhead(shape, situation.machine)
    longest = situation.settings.number("max_length") or shape.context
    if longest is not None and rows * longest <= least.tokens:
        return None  # for any lengths: they need not be measured
    lengths = situation.lengths
    return None if lengths is None else Work(rows, passes, lengths, least, situation.settings.processes)


def split_fits(situation: Situation, rows: int, **fields: object) -> bool | None:
    """Return whether passes of `rows` fit with `fields` in the config; None if unknown."""
    return fits(situation.needed(**split(rows, _step(situation)), **fields), situation.machine)


def _choice(work: Work, now: Cut, cut: Cut) -> Choice:
    order: dict[str, int | str] = {} if cut.rows == 1 else {ROW_ORDER: BY_LENGTH}
    saved = f"{100 * work.saved(now, cut):.0f} % fewer tokens, padding included"
    reason = f"{work.step} rows a step as before, {saved}"
    gain = work.gain(now, cut)
    if cut.rows == now.rows:
        return Choice(order, "rows of a length share a pass", reason, gain)
    return Choice({**split(cut.rows, work.step), **order}, _in_words(cut.rows, work.step), reason, gain)


def _left(work: Work, now: Cut, cut: Cut) -> Choice:
    reason = f"the recipe gives {now.rows} × {work.passes}, the same rows a step"
    words = _in_words(cut.rows, work.step)
    return Choice(split(cut.rows, work.step), words, reason, work.gain(now, cut), Effect.LEFT)
