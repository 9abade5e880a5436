"""Read `events.jsonl`: the sessions of a run, above all the last one. Skips damaged lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptspec.report.html.json_lines import Said, read_lines
from ptspec.report.html.model import CheckRecord, Ending
from ptspec.report.view.checks import check_view, read_check


@dataclass(frozen=True)
class Log:
    """All events of a run; from `begin` on those of its last session."""

    events: tuple[Said, ...]
    begin: int

    @property
    def session(self) -> tuple[Said, ...]:
        """The events of the last session."""
        return self.events[self.begin :]

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return sum(event.get("event") == "RunStarted" for event in self.events)

    @property
    def started(self) -> Said:
        """The last `RunStarted`; {} without."""
        first = self.events[self.begin] if self.events else {}
        return first if first.get("event") == "RunStarted" else {}

    @property
    def finished(self) -> Said:
        """The last session's `RunFinished`; {} without."""
        return next((e for e in self.session if e.get("event") == "RunFinished"), {})

    @property
    def ending(self) -> Ending:
        """How the last session ended."""
        if self.finished:
            return Ending.FINISHED
        stopped = any(check.stops for check in self.checks)
        return Ending.CHECK if stopped else Ending.OPEN

    @property
    def checks(self) -> tuple[CheckRecord, ...]:
        """The last session's check results."""
        found = [read_check(e) for e in self.session if e.get("event") == "CheckEvaluated"]
        return tuple(
            CheckRecord(check_view(check), check.held, not check.held and check.on_fail == "stop")
            for check in found
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """The last session's warnings."""
        return tuple(
            f"{e['stage']}: {e.get('text')}" if e.get("stage") else str(e.get("text"))
            for e in self.session
            if e.get("event") == "Warned"
        )

    def last(self, kind: str, stage: str) -> Said:
        """Return the last event of `kind` about `stage`, of any session; {} without."""
        found = (e for e in reversed(self.events) if e.get("event") == kind and e.get("stage") == stage)
        return next(found, {})

    def in_last_session(self, kind: str, stage: str) -> bool:
        """Return whether the last session has an event of `kind` about `stage`."""
        return any(e.get("event") == kind and e.get("stage") == stage for e in self.session)


def read_log(path: Path) -> Log:
    """Read the events in `path`."""
    events = tuple(read_lines(path))
    starts = [index for index, event in enumerate(events) if event.get("event") == "RunStarted"]
    return Log(events, starts[-1] if starts else 0)
