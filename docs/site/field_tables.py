"""Fields as Markdown tables, and plain text as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schema_fields import Section

HEAD = "| field | type | default | meaning |\n|---|---|---|---|"


def fields(section: Section) -> str:
    """A table with a row a field."""
    rows = (f"| `{f.name}` | {f.type} | {f.default} | {plain(f.meaning)} |" for f in section.fields)
    return "\n".join([HEAD, *rows])


def owned(section: Section) -> Iterator[str]:
    """Fields of the library's class that a recipe does not take, and where each is said."""
    if section.owned:
        rows = "\n".join(f"| `{name}` | {plain(where)} |" for name, where in section.owned.items())
        yield f"Not taken here:\n\n| field | instead |\n|---|---|\n{rows}"


def plain(text: str) -> str:
    """A description as Markdown: one line, nothing in it taken for markup but code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_\[\]|#])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;")
