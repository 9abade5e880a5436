"""A matrix in `pt plan`: a variant's values, a pick's criterion, and lines common to all variants."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ptspec.recipe.plan import Stage
from ptspec.report.view.selection import settings_in_words


def matrix_note(stage: Stage) -> str:
    """Return "beta 0.5, learning_rate 1e-06" for a variant; for a pick how it chooses."""
    if stage.pick is not None:
        keeps = f", of those that keep {len(stage.pick.keep)} checks" if stage.pick.keep else ""
        keeps = keeps.replace("1 checks", "1 check") if len(stage.pick.keep) == 1 else keeps
        return f"takes over the best {stage.pick.metric} of {len(stage.pick.variants)}{keeps}"
    return "" if stage.variant is None else settings_in_words(stage.variant.settings)


def once_a_matrix(lines: Iterable[str], stages: Sequence[Stage]) -> list[str]:
    """Return `lines` with those that are equal for several variants merged."""
    matrices = {stage.variant.of for stage in stages if stage.variant is not None}
    if not matrices:
        return list(lines)
    variant = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, matrices))})\.([1-9]\d*)(?![\w.])")
    numbers: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        found = variant.search(line)
        rest = line if found is None else f"{line[: found.start()]}\0{line[found.end() :]}"
        numbers.setdefault((found[1] if found else "", rest), []).append(int(found[2]) if found else 0)
    return [rest.replace("\0", _names(of, of_line)) for (of, rest), of_line in numbers.items()]


def _names(of: str, numbers: list[int]) -> str:
    """Return "dpo.3", "dpo.1 to dpo.6", "dpo.1, dpo.4"."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{of}.{numbers[0]} to {of}.{numbers[-1]}"
    return ", ".join(f"{of}.{number}" for number in numbers)
