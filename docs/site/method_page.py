"""The page of a method: what `pt methods METHOD` tells, then each field of its config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import field_tables
from schema_fields import Section

from ptspec.methods.types import Feedback, Method

FEEDBACK = {
    Feedback.NONE: "no reward, no judge",
    Feedback.REWARDS: "`rewards`",
    Feedback.JUDGE_OR_REWARDS: "`judge` or `rewards`",
    Feedback.TEACHER: "`teacher`",
}


def page(method: Method, sections: list[Section]) -> str:
    """Markdown; `sections` are those of the schema of its config."""
    return "\n\n".join([*_guide(method), *_variants(method), *_fields(method, sections)]) + "\n"


def _guide(method: Method) -> Iterator[str]:
    guide = method.guide
    yield f"# {method.name}"
    yield f"{method.title} ({method.paper}). What TRL makes of its equation: {_equation(method.name)}."
    yield f"**When.** {field_tables.plain(guide.when)}"
    yield f"**How.** {field_tables.plain(guide.how)}"
    yield "**For**\n\n" + "\n".join(f"- {field_tables.plain(line)}" for line in guide.pros)
    yield "**Against**\n\n" + "\n".join(f"- {field_tables.plain(line)}" for line in guide.cons)
    yield f"**Needs.** {_needs(method)}."
    yield f"A row:\n\n```json\n{guide.example_row}\n```"
    stage = json.dumps(json.loads(guide.example_stage), indent=2, ensure_ascii=False)
    yield f"A stage:\n\n```json\n{stage}\n```"
    yield f"**Fields people change.** {', '.join(f'`{name}`' for name in guide.fields)}."
    if method.rates:
        full, lora = (f"{low:g} to {high:g}" for low, high in (method.rates.full, method.rates.lora))
        yield f"**Learning rates** with AdamW: {full}, with LoRA {lora} ({method.rates.source})."


def _equation(name: str) -> str:
    return "[Nash-MD](../nash_md.md)" if name == "nash_md" else f"[methods](../methods.md#{name})"


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
