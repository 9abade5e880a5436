"""The screen of `pt eval RUN`: one line of key figures per policy, as at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from ptspec.report.clean import clean
from ptspec.report.done import GAP, policy_lines
from ptspec.report.ending import below_stages
from ptspec.report.lines import as_text, columns
from ptspec.report.view.policies import Policy


def policies_text(policies: Sequence[Policy], width: int | None = None) -> str:
    """Return the lines as plain text, by default in the width of the terminal on stdout."""
    return as_text(policies_lines(policies, width or columns()))


def policies_lines(policies: Sequence[Policy], width: int) -> list[Text]:
    """Return a line per policy, the legend, and the descriptive metrics of the last."""
    names = [clean(policy.name) for policy in policies]
    room = max(map(len, names), default=0)
    lines, left_out, is_marked = policy_lines(policies, width - room - len(GAP))
    told = [
        Text.assemble((name.ljust(room), "bold"), GAP, line) for name, line in zip(names, lines, strict=True)
    ]
    return [*told, *below_stages(policies, width, left_out, is_marked=is_marked)]
