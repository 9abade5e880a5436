"""Verdicts, p values and reasons in words, and the tones of verdicts."""

from __future__ import annotations

from ptspec.evaluation.comparison import Effect, Verdict, WinRate
from ptspec.report import words
from ptspec.report.view.measure import Measure

TONES = {
    Verdict.BETTER: "good",
    Verdict.WORSE: "bad",
    Verdict.NOT_SHOWN: "none",
    Verdict.TOO_FEW: "none",
    Verdict.DESCRIBED: "",
}
WORDS = {
    Verdict.BETTER: "better",
    Verdict.WORSE: "worse",
    Verdict.NOT_SHOWN: "not shown",
    Verdict.TOO_FEW: "too few prompts",
    Verdict.DESCRIBED: "",
}
LEVEL = 0.05


def verdict_of(text: str) -> Verdict:
    """Return the verdict with this name in a file; an unknown one is "described"."""
    return next((verdict for verdict in Verdict if verdict.value == text), Verdict.DESCRIBED)


def p_value(p: float | None) -> str:
    """Return "<.001", ".03", ".051": with enough decimals to be on the right side of .05."""
    if p is None:
        return ""
    if p < 0.001:
        return "<.001"
    if p >= 0.995:
        return "1"
    for decimals in (2, 3) if p >= 0.01 else (3,):
        text = f"{p:.{decimals}f}"
        if float(text) != LEVEL or p == LEVEL:
            return text.removeprefix("0")
    return "≤.05" if p <= LEVEL else ">.05"


def reason(effect: Effect | WinRate, shown: Measure) -> str:
    """Return the detectable difference if none was significant: "160 prompts show ≥ 4.1 points"."""
    if effect.verdict is not Verdict.NOT_SHOWN or effect.mde is None:
        return ""
    return f"{words.plural(effect.rows, 'prompt')} show ≥ {detectable(effect.mde, shown)}"


def detectable(mde: float, shown: Measure) -> str:
    """Return the minimal detectable effect, to two digits, in the unit of differences."""
    size = words.number(mde * (100 if shown.share else 1), ".2g")
    return " ".join(filter(None, (size, shown.difference_unit)))
