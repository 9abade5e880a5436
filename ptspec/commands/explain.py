"""The explain command: print the explanation of an error code."""

from __future__ import annotations

import re
import textwrap
from shutil import get_terminal_size
from typing import Annotated

import typer

from ptspec.commands.options import show
from ptspec.diagnostics import Diagnostic, InputError

WIDEST = 100
_CODE = re.compile(r"(?:error|warning|note)\[([^\]]*)\]")


def explain(
    code: Annotated[
        str | None, typer.Argument(metavar="CODE", help="What stands in brackets: unknown-key.")
    ] = None,
) -> None:
    """Say what an error means and what to do.

    Without a code it lists all of them.
    """
    from ptspec.explain.texts import by_topic, explanations
    from ptspec.recipe.hints import did_you_mean

    width = min(get_terminal_size((WIDEST, 24)).columns, WIDEST)
    if code is None:
        for topic, found in by_topic().items():
            show(topic)
            names = ", ".join(one.code for one in found)
            show(_wrapped(names, width, "  "))
        return
    found_in = _CODE.search(code)
    asked = found_in[1] if found_in else code.strip()
    known = explanations()
    if asked not in known:
        hint = did_you_mean(asked, known) or "pt explain lists them"
        raise InputError(Diagnostic("unknown-code", f'there is no error "{asked}"', hint=hint))
    show(f"{asked} · {known[asked].topic}\n")
    show(_wrapped(known[asked].text, width, ""))


def _wrapped(text: str, width: int, indent: str) -> str:
    """Wrap paragraphs between words."""
    filled = (
        textwrap.fill(one, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        for one in text.split("\n\n")
    )
    return "\n\n".join(filled)
