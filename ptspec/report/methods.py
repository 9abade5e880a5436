"""What each method is: a line for all of them, a screen for one. Plain text, from the methods' own data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from textwrap import fill

from ptspec import methods
from ptspec.methods.types import Feedback, Method, Rows, Yields
from ptspec.shipped import schema

_ROWS = {
    Rows.PROMPT_COMPLETION: "prompt, completion",
    Rows.PREFERENCE: "prompt, chosen, rejected",
    Rows.UNPAIRED_PREFERENCE: "prompt, completion, label",
    Rows.PROMPT_ONLY: "prompt",
}
_NEEDS = {Feedback.NONE: "–", Feedback.REWARDS: "rewards", Feedback.JUDGE_OR_REWARDS: "judge or rewards"}
_HEADER = ("method", "data", "online", "needs", "reference", "yields", "paper")


def table() -> str:
    """One line a method."""
    rows = [_HEADER, *(_row(methods.get(name)) for name in methods.METHODS)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines) + "\n\npt methods METHOD tells more of one.\n"


def _row(method: Method) -> tuple[str, ...]:
    return (
        method.name,
        _ROWS[method.rows],
        "yes" if method.online else "no",
        _NEEDS[method.feedback],
        "yes" if method.reference else "–",
        "a policy" if method.yields is Yields.POLICY else "a reward model",
        method.paper,
    )


def screen(method: Method, width: int = 100) -> str:
    """What, when, how, data, pros and cons, the fields people change, a stage to paste."""
    guide = method.guide
    parts = [
        f"{method.name}: {method.title}\n{method.paper}",
        _paragraph("when", guide.when, width),
        _paragraph("how", guide.how, width),
        _bullets("for", guide.pros, width),
        _bullets("against", guide.cons, width),
        f"data: {_ROWS[method.rows]}\n  {guide.example_row}",
        f"needs: {_NEEDS[method.feedback]}" if method.feedback is not Feedback.NONE else "",
        "fields people change\n" + "\n".join(_fields(method, width)),
        f"a stage to paste\n  {guide.example_stage}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _paragraph(title: str, text: str, width: int) -> str:
    return f"{title}\n" + fill(text, width, initial_indent="  ", subsequent_indent="  ")


def _bullets(title: str, lines: Iterable[str], width: int) -> str:
    return "\n".join(
        (title, *(fill(line, width, initial_indent="  - ", subsequent_indent="    ") for line in lines))
    )


def _fields(method: Method, width: int) -> Iterable[str]:
    known = schema(f"trl/{method.name}.schema.json")["properties"]
    longest = max(len(name) for name in method.guide.fields)
    for name in method.guide.fields:
        given = {**known[name], **({"default": method.defaults[name]} if name in method.defaults else {})}
        head = f"  {name:{longest}}  {json.dumps(given.get('default')):<8} "
        text = given.get("description", "").split(". ")[0].rstrip(".")
        yield fill(head + text, width, subsequent_indent=" " * len(head), max_lines=2, placeholder=" …")
