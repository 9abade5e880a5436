"""`events.jsonl` read back: what each session of a run said, the last one above all. Forgives a torn line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptspec.report.html.json_lines import Said, read_lines
from ptspec.report.html.model import CheckStory, Ending
from ptspec.report.view.checks import check_view, read_check


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
        stopped = any(check.stops for check in self.checks)
        return Ending.CHECK if stopped else Ending.OPEN

    @property
    def checks(self) -> tuple[CheckStory, ...]:
        found = [read_check(e) for e in self.session if e.get("event") == "CheckEvaluated"]
        return tuple(
            CheckStory(check_view(check), check.held, not check.held and check.on_fail == "stop")
            for check in found
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
