"""Rows whose column value has no reward assigned, if rewards are chosen by that column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ptspec.data.checks.fault import SHOWN_LINES
from ptspec.data.checks.plan_data import looked_at
from ptspec.data.checks.source_pass import Seen
from ptspec.data.readers.placed import PlacedRow, shown
from ptspec.diagnostics import Diagnostic, InputError, Location, Severity
from ptspec.recipe.by_column import ByColumn, key_of
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan
from ptspec.recipe.reward_parts import measured_rewards, own_rewards
from ptspec.recipe.signals import RewardSpec
from ptspec.recipe.sources import Source, parts_of


@dataclass
class _Rows:
    """Rows of one value: how many, and where the first of them are."""

    count: int = 0
    lines: list[tuple[str, int]] = field(default_factory=list)

    def add(self, item: PlacedRow) -> None:
        self.count += 1
        if len(self.lines) < SHOWN_LINES:
            self.lines.append((shown(item.file), item.line))


Values = dict[str | None, _Rows]


def check_reward_values(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield rows whose value has no reward, and values that no row has.

    An error if a stage trains on such a row or the evaluation's judge needs the reward; a warning if the
    reward is only measured.
    """
    values: dict[tuple[str, str], Values] = {}
    for data, spec, is_warning in _asked(plan):
        by = spec.by
        if by is None or data not in plan.data:
            continue
        found: Values = {}
        for part in parts_of(plan.data, data):
            if part in seen:
                key = part, by.column
                values[key] = values.get(key) or _values(plan, part, by.column)
                for value, rows in values[key].items():
                    mine = found.setdefault(value, _Rows())
                    mine.count += rows.count
                    mine.lines += rows.lines[: SHOWN_LINES - len(mine.lines)]
        if all(value is None for value in found):
            continue  # a missing column is reported elsewhere
        yield from _untold(spec, by, found, is_warning)
        if not is_warning and all(part in seen and seen[part].is_whole for part in parts_of(plan.data, data)):
            yield from _unused(spec, by, found, data)


def _asked(plan: Plan) -> Iterator[tuple[str, RewardSpec, bool]]:
    """Return the data that each reward by column scores, and whether it is only measured there."""
    asked = {(stage.data, name): False for stage in plan.trained for name in own_rewards(stage, plan.judges)}
    if (evaluation := plan.evaluation) is not None:
        judge = plan.judges.get(evaluation.judge or "")
        if judge is not None and judge.reward is not None:
            asked[evaluation.data, judge.reward] = False
        for name, spec in measured_rewards(plan).items():
            if spec.by is not None and spec.by.only is None:
                asked.setdefault((evaluation.data, name), True)
    for (data, name), is_warning in asked.items():
        if name in plan.rewards:
            yield data, plan.rewards[name], is_warning


def _values(plan: Plan, part: str, column: str) -> Values:
    source = plan.data[part]
    found: Values = {}
    if not isinstance(source, Source):
        return found
    try:
        for item in looked_at(source):
            if isinstance(item, PlacedRow):
                found.setdefault(key_of(item.values.get(column)), _Rows()).add(item)
    except InputError:
        return found  # reported by the row checks
    return found


def _untold(spec: RewardSpec, by: ByColumn, found: Values, is_warning: bool) -> Iterator[Diagnostic]:
    from ptspec.rewards.by_column import value_without_reward

    missing = {value: rows for value, rows in found.items() if not by.is_told(value)}
    total = sum(rows.count for rows in found.values())
    for value, rows in list(missing.items())[:SHOWN_LINES]:
        told = value_without_reward(spec.name, by, value)
        (file, line), *_ = rows.lines
        more = ", …" if rows.count > len(rows.lines) else ""
        lines = ", ".join(str(line) for _, line in rows.lines)
        notes = () if rows.count == 1 else (f"{rows.count:,} rows of {total:,} have it: lines {lines}{more}",)
        severity = Severity.WARNING if is_warning else Severity.ERROR
        yield replace(told, location=Location(file, line), pointer=spec.at, notes=notes, severity=severity)
    if len(missing) > SHOWN_LINES:
        message = f'"{by.column}" has {len(missing):,} values for which "{spec.name}" names no reward'
        severity = Severity.WARNING if is_warning else Severity.ERROR
        yield Diagnostic("no-reward-for-value", message, None, join(spec.at, "rewards"), severity=severity)


def _unused(spec: RewardSpec, by: ByColumn, found: Values, data: str) -> Iterator[Diagnostic]:
    there = [value for value in found if value is not None]
    for value in by.rewards:
        if value not in found:
            message = f'no row of "{data}" has "{value}" in the column "{by.column}"'
            hint = did_you_mean(value, there) or f"values there: {listed(there)}"
            where = join(spec.at, "rewards", value)
            yield Diagnostic("value-not-there", message, None, where, hint, severity=Severity.WARNING)
