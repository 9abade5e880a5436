"""The page of a method: what `pt methods METHOD` tells, then each field of its config."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import field_tables
from schema_fields import Section

from ptspec.methods.merge import MERGE
from ptspec.methods.types import Feedback, Guide, Method

FEEDBACK = {
    Feedback.NONE: "no reward, no judge",
    Feedback.REWARDS: "`rewards`",
    Feedback.JUDGE_OR_REWARDS: "`judge` or `rewards`",
    Feedback.TEACHER: "`teacher`",
}


_LINK = re.compile(r"\]\((?![a-z]+:|#)")
_PICTURE = re.compile(r"^!\[.*\)$", re.MULTILINE)
_OF_WHAT = (
    "Real runs on the shipped base of 1 M parameters, whose rates are far too high for a real model "
    "(`python benchmarks/curves.py`)."
)
_CURVES = re.compile(r"^## Healthy and sick curves\n(.*?)(?=^## )", re.DOTALL | re.MULTILINE)


def page(method: Method, sections: list[Section], equations: str) -> str:
    """Markdown; `sections` are those of the schema of its config, `equations` is docs/methods.md."""
    parts = [*_guide(method), *_equation(method.name, equations), *_curves(method.name, equations)]
    return "\n\n".join([*parts, *_variants(method), *_fields(method, sections)]) + "\n"


def merge_page(equations: str) -> str:
    """The page of a merge, which trains nothing."""
    guide = MERGE.guide
    stage = json.dumps(json.loads(guide.example_stage), indent=2, ensure_ascii=False)
    parts = [
        f"# {MERGE.name}",
        f"{MERGE.title} ({MERGE.paper}).",
        *_words(guide),
        "**Needs.** Earlier stages, in `of`; no data, no config and no adapter. It yields a policy.",
        f"A stage:\n\n```json\n{stage}\n```",
        *_equation("merge", equations),
    ]
    return "\n\n".join(parts) + "\n"


def _section(name: str, equations: str) -> str:
    """What docs/methods.md says of a method, as it reads from a page in reference/."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", equations, re.DOTALL | re.MULTILINE)
    return _LINK.sub("](../", found[1].strip()) if found else ""


def _equation(name: str, equations: str) -> Iterator[str]:
    if text := _PICTURE.sub("", _section(name, equations)).strip():
        yield f"## The equation, and what is made of it\n\n{text}"


def _curves(name: str, equations: str) -> Iterator[str]:
    found = _CURVES.search(equations)
    for line in found[1].splitlines() if found else ():
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if name in re.split(r",\s*", names):
            healthy, sick = cells
            yield f"## Healthy and sick curves\n\n**Healthy.** {healthy}.\n\n**Sick.** {sick}."
            yield from _PICTURE.findall(_section(name, equations))
            yield _OF_WHAT


def _guide(method: Method) -> Iterator[str]:
    guide = method.guide
    yield f"# {method.name}"
    yield f"{method.title} ({method.paper})."
    yield from _words(guide)
    yield f"**Needs.** {_needs(method)}."
    yield f"A row:\n\n```json\n{guide.example_row}\n```"
    # The rate of `pt init`: TRL's default moves no LoRA.
    rate = {"learning_rate": method.starter.config["learning_rate"]}
    example = json.loads(guide.example_stage)
    example["config"] = {**rate, **example.get("config", {})}
    stage = json.dumps(example, indent=2, ensure_ascii=False)
    yield f"A stage, with a rate for LoRA:\n\n```json\n{stage}\n```"
    yield f"**Fields people change.** {', '.join(f'`{name}`' for name in guide.fields)}."
    if method.rates:
        full, lora = (f"{low:g} to {high:g}" for low, high in (method.rates.full, method.rates.lora))
        yield f"**Learning rates** with AdamW: {full}, with LoRA {lora} ({method.rates.source})."


def _words(guide: Guide) -> Iterator[str]:
    yield f"**When.** {field_tables.plain(guide.when)}"
    yield f"**How.** {field_tables.plain(guide.how)}"
    yield "**For**\n\n" + "\n".join(f"- {field_tables.plain(line)}" for line in guide.pros)
    yield "**Against**\n\n" + "\n".join(f"- {field_tables.plain(line)}" for line in guide.cons)


def _needs(method: Method) -> str:
    reference = "no reference policy"
    if method.reference:
        switch = method.reference.unless_zero
        unless = f", unless `{switch}` is 0" if switch else ""
        reference = f"a reference policy: the one that came in, frozen{unless}"
    needs = f"{method.rows.value} rows; {FEEDBACK[method.feedback]}; {reference}"
    return f"{needs[0].upper()}{needs[1:]}. It yields a {method.yields.value}"


def _variants(method: Method) -> Iterator[str]:
    if method.variants:
        rows = "\n".join(f"| {one.name} | {_settings(one.config)} | {one.paper} |" for one in method.variants)
        head = "| method | config | paper |\n|---|---|---|"
        yield f"## Published methods that are settings of it\n\n{head}\n{rows}"


def _settings(config: Mapping[str, object]) -> str:
    return ", ".join(f"`{json.dumps(name)}: {json.dumps(value)}`" for name, value in config.items())


def _fields(method: Method, sections: list[Section]) -> Iterator[str]:
    for section in sections:
        yield f"## Fields of `{section.path or method.config.partition(':')[2]}`"
        if not section.path and method.own_defaults:
            reasons = (f"- `{one.name}`: {field_tables.plain(one.reason)}" for one in method.own_defaults)
            yield "Defaults that are not TRL's:\n\n" + "\n".join(reasons)
        yield field_tables.fields(section)
        yield from field_tables.owned(section)
