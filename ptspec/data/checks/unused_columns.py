"""Columns with a meaning that no stage takes: what they hold would be lost without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ptspec.data.checks.row_checks import Use
from ptspec.data.layouts.table import CONTEXT, layout_for
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.methods.types import Rows
from ptspec.recipe.plan import Source

OTHER_NAMES: Mapping[str, str | None] = {
    "system_prompt": "system",
    "system_message": "system",
    "functions": "tools",
    "available_tools": "tools",
    "tool_schemas": "tools",
    "dialog_history": "history",
    "dialogue_history": "history",
    "conversation_history": "history",
    "chat_history": "history",
    "thinking": None,
    "reasoning": None,
    "reasoning_content": None,
    "rationale": None,
    "context": None,
}
"""Names that others give to a part of the text -> our name for it; None: it has none."""


def unused_columns(source: Source, uses: Sequence[Use], present: frozenset[str]) -> Iterator[Diagnostic]:
    """Warnings about columns of `source` that read as a part of the text and are none in any layout."""
    if all(use.rows is Rows.PROMPT_ONLY for use in uses):
        return  # rewards are given every column
    for name in sorted(present & OTHER_NAMES.keys()):
        ours = OTHER_NAMES[name]
        if ours is not None and ours not in present:
            yield _warning(source, name, f'"columns": {{"{ours}": "{name}"}} puts it into the prompt')
        elif ours is None:
            yield _warning(source, name, "write it into the prompt or the answer, if it is to be learned")
    if "input" in present and not any(_takes_input(use, present) for use in uses):
        yield _warning(source, "input", "write it into the prompt, if it belongs there")
    if not source.chat:
        for name in (one for one in CONTEXT if one in present):
            yield _warning(source, name, "it needs chat turns, and these rows stay plain strings")


def _takes_input(use: Use, present: frozenset[str]) -> bool:
    layout = None if use.rows is None else layout_for(use.rows, present)
    return layout is None or layout.prompt in ("instruction", "messages", "conversations")


def _warning(source: Source, name: str, hint: str) -> Diagnostic:
    message = f'the column "{name}" of "{source.name}" is not used'
    return Diagnostic("unused-column", message, None, source.at, hint, severity=Severity.WARNING)
