"""Common names of the columns that a method reads, and the rename that provides them.

Compares names only: values are checked with the rows. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ptspec.data.layouts.table import LAYOUTS, layout_for
from ptspec.methods.types import Rows

ALIASES: Mapping[str, Sequence[str]] = {
    "prompt": (
        *("question", "query", "problem", "instruction", "request", "user", "input"),
        *("frage", "pregunta", "domanda", "pergunta", "vraag"),
    ),
    "completion": (
        *("response", "solution", "answer", "output", "target", "reply", "canonical_solution"),
        *("assistant", "answers"),
        *("antwort", "réponse", "reponse", "respuesta", "risposta", "resposta", "antwoord"),
    ),
    "output": ("response", "answer", "completion", "target"),
    "chosen": ("preferred", "accepted", "response_chosen", "chosen_response", "better"),
    "rejected": ("dispreferred", "response_rejected", "rejected_response", "worse"),
    "label": ("liked", "is_good", "thumbs_up", "desirable"),
    "messages": ("conversation", "dialogue", "dialog", "chat"),
    "text": ("content", "document"),
}
"""Wanted name -> common other names of it, the likeliest first; those of other languages last."""


def renaming(present: frozenset[str], rows: Rows) -> Mapping[str, str] | None:
    """Return the "columns" of a source that would fit: wanted name -> name in the file.

    {} if the columns `present` fit already; None if no rename makes them fit.
    """
    if layout_for(rows, present):
        return {}
    found = (_renamed(layout.columns, present) for layout in LAYOUTS[rows])
    return next((columns for columns in found if columns is not None), None)


def rename_hint(present: frozenset[str], rows: Rows) -> str | None:
    """Return the rename as a hint: rename with "columns": {"prompt": "question"}."""
    columns = renaming(present, rows)
    return f'rename with "columns": {json.dumps(dict(columns), ensure_ascii=False)}' if columns else None


def _renamed(wanted: Sequence[str], present: frozenset[str]) -> Mapping[str, str] | None:
    found: dict[str, str] = {}
    for column in wanted:
        if column in present:
            continue
        free = {name.strip().lower(): name for name in sorted(present - {*wanted, *found.values()})}
        known = next((free[name] for name in (column, *ALIASES.get(column, ())) if name in free), None)
        if known is None:
            return None
        found[column] = known
    return found
