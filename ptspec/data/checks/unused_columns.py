"""Warn about meaningful columns that a stage does not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptspec.data.checks.row_checks import Use
from ptspec.data.layouts.table import CHATS, CONTEXT, PROMPTS, layout_for
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.methods.types import Rows
from ptspec.recipe.json_pointer import join
from ptspec.recipe.sources import Source

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
"""Common names of text columns -> ptspec's name; None: there is none."""


_PROMPTS = (*PROMPTS, "chosen")
"""Columns of which an evaluation makes prompts."""


def unused_columns(
    source: Source, uses: Sequence[Use], first: Mapping[str, Any], names: frozenset[str]
) -> Iterator[Diagnostic]:
    """Yield warnings about columns of `source` that look like text and are not used.

    `first` is its first row, which decides the layout; `names` are the columns of the first rows.
    """
    yield from _without_chat(source, uses, first, names)
    if all(use.rows is Rows.PROMPT_ONLY for use in uses):
        return  # rewards receive every column
    for name in sorted(names & OTHER_NAMES.keys()):
        ours = OTHER_NAMES[name]
        if ours is not None and ours not in names:
            yield _warning(source, name, f'"columns": {{"{ours}": "{name}"}} puts it into the prompt')
        elif ours is None:
            yield _warning(source, name, "write it into the prompt or the answer, if it is to be learned")
    if "input" in names and not any(_takes_input(use, frozenset(first)) for use in uses):
        yield _warning(source, "input", "write it into the prompt, if it belongs there")


def _without_chat(
    source: Source, uses: Sequence[Use], first: Mapping[str, Any], names: frozenset[str]
) -> Iterator[Diagnostic]:
    """Yield chat columns of rows that a use does not read as a chat."""
    if all(_is_chat(source, use, first) for use in uses):
        return
    for name in (one for one in CONTEXT if one in names):
        yield _warning(source, name, "it needs chat turns, and these rows stay plain strings")
    if source.system is not None:
        message = f'"system" has no effect: the rows of "{source.name}" stay plain strings'
        where = join(source.at, "system")
        yield Diagnostic("unused-key", message, None, where, "it needs chat turns", severity=Severity.WARNING)


def _is_chat(source: Source, use: Use, first: Mapping[str, Any]) -> bool:
    """Return whether rows like `first` use the chat template; True for rows without a layout."""
    if use.rows is None:
        columns: Sequence[str] = [name for name in _PROMPTS if first.get(name) is not None] or ["text"]
    else:
        layout = layout_for(use.rows, frozenset(first))
        if layout is None:
            return True
        columns = layout.columns
    if tuple(columns) == ("text",):
        return False
    return source.chat or any(isinstance(first.get(name), list | dict) for name in columns)


def _takes_input(use: Use, present: frozenset[str]) -> bool:
    layout = None if use.rows is None else layout_for(use.rows, present)
    return layout is None or layout.prompt in ("instruction", *CHATS)


def _warning(source: Source, name: str, hint: str) -> Diagnostic:
    message = f'the column "{name}" of "{source.name}" is not used'
    return Diagnostic("unused-column", message, None, source.at, hint, severity=Severity.WARNING)
