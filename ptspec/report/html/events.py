"""`events.jsonl` read back: what each session of a run said, the last one above all. Forgives a torn line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.report.html.model import CheckStory, Ending
from ptspec.report.view.checks import check_view, read_check

Said = Mapping[str, Any]


def read_lines(path: Path) -> list[Said]:
    """The JSON objects in `path`, one a line; a line that is none (the run was cut off in it) is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    rows: list[Said] = []
    for line in text.split("\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


@dataclass(frozen=True)
class Log:
    """All events of a run, and from `begin` on those of its last session."""

    events: tuple[Said, ...]
    begin: int

    @property
    def session(self) -> tuple[Said, ...]:
        return self.events[self.begin :]

    @property
    def sessions(self) -> int:
        return sum(event.get("event") == "RunStarted" for event in self.events)

    @property
    def started(self) -> Said:
        """The last `RunStarted`; empty where there is none."""
        first = self.events[self.begin] if self.events else {}
        return first if first.get("event") == "RunStarted" else {}

    @property
    def finished(self) -> Said:
        return next((e for e in self.session if e.get("event") == "RunFinished"), {})

    @property
    def ending(self) -> Ending:
        if self.finished:
            return Ending.FINISHED
        stopped = any(not check.held and check.on_fail == "stop" for check in self.checks)
        return Ending.CHECK if stopped else Ending.OPEN

    @property
    def checks(self) -> tuple[CheckStory, ...]:
        found = [read_check(e) for e in self.session if e.get("event") == "CheckEvaluated"]
        return tuple(
            CheckStory(view.where, view.text, check.held, check.on_fail)
            for check, view in zip(found, map(check_view, found), strict=True)
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(
            f"{e['stage']}: {e.get('text')}" if e.get("stage") else str(e.get("text"))
            for e in self.session
            if e.get("event") == "Warned"
        )

    def last(self, kind: str, stage: str) -> Said:
        """The last event of `kind` about `stage`, of any session; empty where there is none."""
        found = (e for e in reversed(self.events) if e.get("event") == kind and e.get("stage") == stage)
        return next(found, {})

    def said_now(self, kind: str, stage: str) -> bool:
        """Whether the last session said `kind` about `stage`."""
        return any(e.get("event") == kind and e.get("stage") == stage for e in self.session)


def read_log(path: Path) -> Log:
    events = tuple(read_lines(path))
    starts = [index for index, event in enumerate(events) if event.get("event") == "RunStarted"]
    return Log(events, starts[-1] if starts else 0)
