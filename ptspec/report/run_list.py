"""The screen of `pt runs`: one line per run, the newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime

from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.view.listed_run import ListedRun, RunState


def as_json(runs: Sequence[ListedRun]) -> str:
    """Return one object per line."""
    return "".join(json.dumps(asdict(run), ensure_ascii=False) + "\n" for run in runs)


def as_text(runs: Sequence[ListedRun], today: date, width: int) -> str:
    """Return name, time, state, headline and size, aligned, truncated at the end of the line."""
    rows = [
        (clean(run.name), _when(run, today), state_in_words(run), run.headline, words.size(run.bytes))
        for run in runs
    ]
    sizes = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    # The size comes before the parts that may be truncated.
    order = (0, 1, 4, 2, 3)
    lines = []
    for row in rows:
        cells = [row[i].rjust(sizes[i]) if i == 4 else row[i].ljust(sizes[i]) for i in order]
        line = "   ".join(cells).rstrip()
        lines.append(line if len(line) <= width else line[: width - 1] + "…")
    return "".join(line + "\n" for line in lines)


def state_in_words(run: ListedRun) -> str:
    """Return "interrupted at dpo, step 12", "failed in sft (out-of-memory)"."""
    if run.state is RunState.FINISHED or run.at is None:
        return run.state.value
    step = f", step {run.step}" if run.step is not None else ""
    why = f" ({run.why})" if run.why else ""
    return clean(f"{run.state.value} at {run.at}{step}{why}")


def _when(run: ListedRun, today: date) -> str:
    """Return the moment in local time: "14:02" for today, else the date."""
    try:
        then = datetime.fromisoformat(run.when.replace("Z", "+00:00")).astimezone()
    except ValueError:
        return ""
    return f"{then:%H:%M}" if then.date() == today else f"{then:%Y-%m-%d}"
