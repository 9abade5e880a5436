"""The reference: a page with every key of a recipe, a page a method."""

from __future__ import annotations

from pathlib import Path

import field_tables
import method_page
from schema_fields import Schemas, Section

from ptspec.methods import METHODS, get

RECIPE = """# Every key of a recipe

Made from `schemas/recipe.schema.json` and the schemas that it refers to; `pt schema` prints them as one, for
editors. `NAME` stands for a name of your choice, `[]` for each item of a list. Any object may have the key
`"$comment"`. Fields of PEFT, bitsandbytes, accelerate and DeepSpeed have their own names and meanings; where
nothing stands beside one, their documentation tells.
"""


def pages(root: Path) -> dict[str, str]:
    """Markdown by address."""
    found = {"reference/recipe.md": _recipe(Schemas(root / "schemas").sections("recipe.schema.json"))}
    equations = (root / "docs" / "methods.md").read_text("utf-8")
    for name in METHODS:
        sections = Schemas(root / "schemas").sections(f"methods/{name}.schema.json")
        found[f"reference/{name}.md"] = method_page.page(get(name), sections, equations)
    found["reference/merge.md"] = method_page.merge_page(equations)
    return found


def _recipe(sections: list[Section]) -> str:
    parts = [RECIPE.strip()]
    for one in sections:
        parts += [_heading(one.path), field_tables.plain(one.meaning), field_tables.fields(one)]
        if one.path == "stages[]":
            links = ", ".join(f"[{name}]({name}.md)" for name in METHODS)
            parts.append(f"What `config` takes, by method: {links}. `merge` takes none.")
        parts += field_tables.owned(one)
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(path: str) -> str:
    where, _, variant = path.partition(": ")
    return f"## `{where}`{': ' + variant if variant else ''}" if path else "## The whole"
