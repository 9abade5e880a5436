"""A check in words: "preference accuracy 95.6 % ≥ 75 %", "accuracy over sft +3.1 points ≥ −5"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptspec.events import CheckedBound, CheckEvaluated, Figure
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.view.measure import Measure, measure

TURNED = {"≥": "≤", "≤": "≥"}


@dataclass(frozen=True)
class CheckView:
    """A check's result.

    `state` is PASS, FAIL, or WARN if a failure does not stop the run; `where` the stage, or "run".
    """

    state: str
    where: str
    text: str

    @property
    def tone(self) -> str:
        """Its tone: "good", "bad" or "warn"."""
        return {"PASS": "good", "FAIL": "bad"}.get(self.state, "warn")


def check_view(check: CheckEvaluated) -> CheckView:
    """Return the check for display; from an earlier version's file, in that version's words."""
    state = "PASS" if check.held else "FAIL" if check.on_fail == "stop" else "WARN"
    failed = [bound for bound in check.bounds if not bound.held]
    text = "; ".join(_bound(bound) for bound in (failed or check.bounds)) or clean(check.text)
    return CheckView(state, clean(check.stage or "run"), text)


def read_check(event: Mapping[str, Any]) -> CheckEvaluated:
    """Return the check in a line of `events.jsonl` of any version; damaged bounds are left out."""
    given = event.get("bounds")
    bounds = [_read_bound(one) for one in given] if isinstance(given, list) else []
    return CheckEvaluated(
        None if event.get("stage") is None else str(event["stage"]),
        str(event.get("text") or ""),
        bool(event.get("held")),
        str(event.get("on_fail")),
        tuple(bound for bound in bounds if bound is not None),
    )


def _read_bound(given: Any) -> CheckedBound | None:
    try:
        end, confidence = given["end"], given["confidence"]
        return CheckedBound(
            metric=str(given["metric"]),
            value=float(given["value"]),
            relation={"≥": "≥", "≤": "≤"}[given["relation"]],
            bound=float(given["bound"]),
            held=bool(given["held"]),
            over=None if given["over"] is None else str(given["over"]),
            end=None if end is None or confidence is None else float(end),
            confidence=None if confidence is None else float(confidence),
            is_share=given["is_share"] is True,
        )
    except (KeyError, TypeError, ValueError):
        return None


def passed(checks: int, of: int) -> str:
    """Return "2 of 2 checks passed"."""
    return f"{checks} of {words.plural(of, 'check')} passed"


def _bound(bound: CheckedBound) -> str:
    shown = measure(bound.metric, [Figure(0.0, is_share=bound.is_share)])
    relation = TURNED[bound.relation] if shown.complement else bound.relation
    if bound.over is None:
        label, value, limit = shown.label, shown.value(bound.value), _limit(shown, bound)
    else:
        label = f"{shown.label} over {clean(bound.over)}"
        value, limit = shown.points(bound.value), words.signed(f"{_scaled(shown, bound.bound):g}")
    parts = [label, value, *([_end(shown, bound)] if bound.end is not None else []), relation, limit]
    return " ".join(parts) + _miss(shown, bound)


def _limit(shown: Measure, bound: CheckedBound) -> str:
    """Return the bound in the table's unit, with the recipe's number of digits."""
    value = 1 - bound.bound if shown.complement else bound.bound
    text = words.signed(f"{_rounded(value * 100 if shown.share else value):g}")
    return f"{text} %" if shown.share else text


def _scaled(shown: Measure, change: float) -> float:
    turned = -change if shown.complement else change
    return _rounded(turned * 100 if shown.share else turned)


def _rounded(value: float) -> float:
    return round(value, 9)


def _end(shown: Measure, bound: CheckedBound) -> str:
    """Return the compared end of the interval: "(at least 92.9 % with 95 % confidence)"."""
    assert bound.end is not None and bound.confidence is not None
    is_low = (bound.relation == "≥") != shown.complement
    end = shown.value(bound.end) if bound.over is None else shown.points(bound.end)
    return f"({'at least' if is_low else 'at most'} {end} with {bound.confidence * 100:g} % confidence)"


def _miss(shown: Measure, bound: CheckedBound) -> str:
    """Return by how much a bound is missed, if the table's decimals hide it."""
    if bound.held:
        return ""
    asked = bound.value if bound.end is None else bound.end
    miss = abs(asked - bound.bound) * (100 if shown.share else 1)
    unit = shown.difference_unit
    return f", missed by {words.number(miss, '.2g')}" + (f" {unit}" if unit else "")
