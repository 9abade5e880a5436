"""`pt methods`: a line for every method, a screen for one. Plain text, from the methods' data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill, wrap
from typing import Any

from ptspec import methods
from ptspec.methods.merge import MERGE
from ptspec.methods.types import Feedback, Method, Rows, Yields
from ptspec.recipe.effective_config import own_defaults
from ptspec.recipe.hints import in_json
from ptspec.shipped import schema

_ROWS = {
    Rows.PROMPT_COMPLETION: "prompt, completion",
    Rows.PREFERENCE: "prompt, chosen, rejected",
    Rows.UNPAIRED_PREFERENCE: "prompt, completion, label",
    Rows.PROMPT_ONLY: "prompt",
}
_NEEDS = {one: "–" if one is Feedback.NONE else one.value.replace(" or ", "/") for one in Feedback}
_HEADER = ("method", "data", "after", "online", "needs", "reference", "paper")


def table(width: int) -> str:
    """Return one line per method, in at most `width` columns, without papers if there is no room."""
    rows = [_HEADER, *(_row(methods.get(name)) for name in methods.METHODS)]
    text = _columns(rows)
    if max(map(len, text.splitlines())) > width:
        text = _columns([row[:-1] for row in rows])
    merge = f"{MERGE.name}: {MERGE.title[0].lower()}{MERGE.title[1:]}, of stages or folders"
    named = "".join(f"{line}\n" for one in methods.all_of_them() for line in _named(one, width))
    more = "pt methods METHOD tells more of one, and the fields that make each of these."
    return f"{text}\n\n{merge}\n\n{named}\n{more}\n"


def _named(method: Method, width: int) -> list[str]:
    """Return the published methods that are `method` with other settings."""
    if not method.variants:
        return []
    head = f"settings of {method.name}: "
    names = ", ".join(one.name for one in method.variants)
    return wrap(head + names, width, subsequent_indent="  ", break_on_hyphens=False)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(method: Method) -> tuple[str, ...]:
    return (
        method.name,
        _ROWS[method.rows],
        method.guide.after,
        "yes" if method.online else "no",
        _NEEDS[method.feedback],
        "yes" if method.reference else "–",
        method.paper.partition(", ")[2],
    )


def merge_screen(width: int) -> str:
    """Return what a merge is, when to use it, what it takes, and a stage to paste, in `width` columns."""
    guide = MERGE.guide
    parts = [
        f"{MERGE.name}: {MERGE.title}\n{MERGE.paper}",
        _paragraph("when", guide.when, width),
        _paragraph("how", guide.how, width),
        _bullets("for", guide.pros, width),
        _bullets("against", guide.cons, width),
        _paragraph("takes", "name, method, of, checks, compute; no data, no config and no adapter.", width),
        f"a stage to paste\n{_json(guide.example_stage, width)}",
    ]
    return "\n\n".join(parts) + "\n"


def screen(method: Method, width: int) -> str:
    """Return the screen of a method in `width` columns.

    What, when, how, data, pros, cons, common fields, defaults that are not TRL's, a stage to paste.
    """
    guide = method.guide
    parts = [
        f"{method.name}: {method.title}\n{method.paper}",
        _paragraph("when", guide.when, width),
        _paragraph("how", guide.how, width),
        _bullets("for", guide.pros, width),
        _bullets("against", guide.cons, width),
        f"data: {_ROWS[method.rows]}\n{_json(guide.example_row, width)}",
        _paragraph("needs and yields", f"{_needs(method)}; yields {_yields(method)}.", width),
        "fields people change\n" + "\n".join(_fields(method, width)),
        _own_defaults(method, width),
        _variants(method, width),
        f"a stage to paste\n{_json(_stage(method), width)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _stage(method: Method) -> str:
    """Return the example with the rate of `pt init`: TRL's default is too low for LoRA."""
    stage = json.loads(method.guide.example_stage)
    rate = {"learning_rate": method.starter.config["learning_rate"]}
    return json.dumps({**stage, "config": {**rate, **stage.get("config", {})}}, ensure_ascii=False)


_ASKS = {
    Feedback.NONE: "No reward and no judge",
    Feedback.REWARDS: "A reward (a function or a reward model)",
    Feedback.JUDGE_OR_REWARDS: "A judge of two answers, or a reward",
    Feedback.TEACHER: "A teacher (a model with the same vocabulary, or an earlier stage)",
}


def _yields(method: Method) -> str:
    if method.yields is Yields.POLICY:
        return "a policy"
    learners = [
        one.name
        for one in methods.all_of_them()
        if one.feedback in (Feedback.REWARDS, Feedback.JUDGE_OR_REWARDS)
    ]
    return f"a reward model, for {', '.join(learners[:-1])} and {learners[-1]} to learn from"


def _needs(method: Method) -> str:
    reference = "no reference"
    if method.reference is not None:
        field = method.reference.unless_zero
        switch = f" where {field} is not 0" if field else ""
        reference = f"a reference policy: the one that came in, frozen{switch}"
    return f"{_ASKS[method.feedback]}; {reference}"


def _paragraph(title: str, text: str, width: int) -> str:
    return f"{title}\n" + fill(text, width, initial_indent="  ", subsequent_indent="  ")


def _json(text: str, width: int) -> str:
    """Return the object in `text` with as many members per line as fit `width` columns."""
    return f"  {_object(json.loads(text), width - 2, '   ')}"


def _object(value: Mapping[str, Any], room: int, indent: str) -> str:
    """Return `value` in lines of at most `room` columns, except for a single wider member.

    Lines after the first begin with `indent`, which is not counted.
    """
    lines, left = [""], room - 2
    for number, (key, item) in enumerate(value.items(), start=1):
        text = f"{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}"
        if isinstance(item, dict) and len(text) > room - 2:
            text = f"{json.dumps(key)}: {_object(item, room - 2, indent + ' ' * 2)}"
        text += "," if number < len(value) else ""
        if lines[-1] and len(text) >= left:
            lines.append("")
            left = room - 2
        lines[-1] += f" {text}" if lines[-1] else text
        left -= len(text) + 1
    return "{" + f"\n{indent}".join(lines) + "}"


def _bullets(title: str, lines: Iterable[str], width: int) -> str:
    return "\n".join(
        (title, *(fill(line, width, initial_indent="  - ", subsequent_indent="    ") for line in lines))
    )


def _variants(method: Method, width: int) -> str:
    """Return the published variants with their fields, one per line."""
    if not method.variants:
        return ""
    longest = max(len(one.name) for one in method.variants)
    lines = (
        fill(f"  {one.name:{longest}}  {in_json(one.config)}", width, subsequent_indent=" " * (longest + 4))
        for one in method.variants
    )
    return "published methods that are settings of it\n" + "\n".join(lines)


def _own_defaults(method: Method, width: int) -> str:
    lines = [default.words for default in own_defaults(method, {})]
    return _bullets("defaults that are not TRL's", lines, width) if lines else ""


def _fields(method: Method, width: int) -> Iterable[str]:
    known = schema(f"trl/{method.name}.schema.json")["properties"]
    defaults = {n: json.dumps(method.defaults.get(n, known[n].get("default"))) for n in method.guide.fields}
    longest, widest = max(map(len, defaults)), max(map(len, defaults.values()))
    for name, default in defaults.items():
        head = f"  {name:{longest}}  {default:{widest}}  "
        text = known[name].get("description", "").split(". ")[0].rstrip(".")
        yield fill(head + text, width, subsequent_indent=" " * len(head), max_lines=3, placeholder=" …")
