"""A run for a list of runs, from its event log alone: how it ended and its headline. Imports no library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ptspec.events import Figure, MetricChange, StageComparison
from ptspec.recipe.plan import BASE
from ptspec.report.html.json_lines import read_lines
from ptspec.report.html.untrusted import Json, number, object_of, objects_of, text
from ptspec.report.view.policies import Policy, stage_lines, training_figures
from ptspec.store.files import folder_size
from ptspec.store.half_made import last_step
from ptspec.store.lock import Holder, writer_of
from ptspec.store.run_names import EVENTS
from ptspec.store.stage_folder import partial_folder


class RunState(str, Enum):
    """How the last session of a run ended, if it did."""

    FINISHED = "finished"
    RUNNING = "running"
    CHECK_FAILED = "check failed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    CUT_OFF = "cut off"
    """Unknown end: it was killed, or the machine went down."""


@dataclass(frozen=True)
class ListedRun:
    """A run in the list.

    `stages` are all of the recipe; `at`: the active one, saved up to `step` (None: nothing saved); `when`:
    time of the last event, ISO 8601; `why`: code of the error; `writer`: the process that writes it now.
    """

    name: str
    folder: str
    state: RunState
    stages: tuple[str, ...]
    headline: str
    when: str
    bytes: int
    at: str | None = None
    step: int | None = None
    why: str | None = None
    writer: Holder | None = None


class _Log:
    """The events of a run, and those of its last session.

    Read without the curves, for which `html.events` imports numpy.
    """

    def __init__(self, file: Path) -> None:
        self.events = list(read_lines(file))
        starts = [index for index, event in enumerate(self.events) if event.get("event") == "RunStarted"]
        self.session = self.events[starts[-1] :] if starts else self.events
        self.started: Json = self.session[0] if starts else {}
        self.stages = objects_of(self.started.get("stages"))

    def said(self, kind: str) -> Json:
        """Return the last event of `kind` in the last session; {} without."""
        return next((event for event in reversed(self.session) if event.get("event") == kind), {})

    def last(self, kind: str, stage: str) -> Json:
        """Return the last event of `kind` about `stage`, of any session."""
        found = (e for e in reversed(self.events) if e.get("event") == kind and e.get("stage") == stage)
        return next(found, {})


def listed_run(folder: Path) -> ListedRun:
    """Return the run in `folder`, without missing or damaged parts.

    Not for the process that runs it, which would give up its lock.
    """
    log = _Log(folder / EVENTS)
    writer = writer_of(folder)
    state = _state(log, writer)
    stages = tuple(str(one.get("name")) for one in log.stages)
    at = None if state is RunState.FINISHED else _under_way(log)
    return ListedRun(
        name=folder.name,
        folder=str(folder),
        state=state,
        stages=stages,
        headline=_headline(log),
        when=str(log.events[-1].get("time") or "") if log.events else "",
        bytes=_size(folder),
        at=at,
        step=last_step(partial_folder(folder, at)) if at is not None else None,
        why=text(log.said("RunStopped").get("code")) if state is RunState.FAILED else None,
        writer=writer,
    )


def newest_first(runs: Iterable[ListedRun]) -> list[ListedRun]:
    """Sort by the last event, and within the second that it tells by the time its file was written."""
    return sorted(runs, key=lambda run: (run.when, _written(Path(run.folder) / EVENTS)), reverse=True)


def _written(file: Path) -> int:
    """Return the modification time in nanoseconds; 0 without the file."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _state(log: _Log, writer: Holder | None) -> RunState:
    if writer is not None:
        return RunState.RUNNING
    if log.said("RunFinished"):
        return RunState.FINISHED
    checks = [event for event in log.session if event.get("event") == "CheckEvaluated"]
    if any(check.get("held") is False and check.get("on_fail") == "stop" for check in checks):
        return RunState.CHECK_FAILED
    stopped = log.said("RunStopped")
    if not stopped:
        return RunState.CUT_OFF
    return RunState.INTERRUPTED if stopped.get("asked") else RunState.FAILED


def _under_way(log: _Log) -> str | None:
    """Return the active stage at the end of the last session."""
    begun = ("StageStarted", "EvaluationStarted", "StageTrained", "CheckEvaluated")
    found = next((e for e in reversed(log.session) if e.get("event") in begun and text(e.get("stage"))), {})
    return text(found.get("stage"))


def _size(folder: Path) -> int:
    try:
        return folder_size(folder)
    except OSError:  # an active run writes and removes files
        return 0


def _headline(log: _Log) -> str:
    """Return the first key figure of the last evaluated stage, with its change; else training figures."""
    policies = list(_policies(log))
    given = log.started.get("trained_for")
    trained_for = [str(name) for name in given] if isinstance(given, list) else []
    if policies:
        found = stage_lines(policies, trained_for)
        for shown, column in zip(found.shown, found.columns, strict=True):
            if (cell := column[-1]) is not None:
                change = f" {cell.mark} {cell.change}" if cell.change else ""
                return f"{shown.brief} {cell.value}{change}"
    trained = next((e for e in reversed(log.events) if e.get("event") == "StageTrained"), {})
    logged = {key: number(value) for key, value in object_of(trained.get("metrics")).items()}
    known = {key: value for key, value in logged.items() if value is not None}
    return " · ".join(training_figures(known, _method(log, str(trained.get("stage"))), most=1))


def _policies(log: _Log) -> Iterator[Policy]:
    """Return the evaluated policies as last logged, in the order of the stages."""
    names = [BASE, *(str(one.get("name")) for one in log.stages)]
    for name in names:
        told = log.last("StageEvaluated", name)
        metrics = {
            key: figure for key, value in object_of(told.get("metrics")).items() if (figure := _figure(value))
        }
        if metrics:
            over, by = text(told.get("preference_over")), text(told.get("accuracy"))
            yield Policy(
                name, metrics, _comparison(object_of(told.get("comparison"))), over, _method(log, name), by
            )


def _comparison(told: Json) -> StageComparison | None:
    parent = text(told.get("parent"))
    if parent is None:
        return None
    changes = {
        name: MetricChange(difference, str(change.get("verdict")))
        for name, change in object_of(told.get("changes")).items()
        if isinstance(change, dict) and (difference := _figure(change.get("difference")))
    }
    return StageComparison(parent, 0, 0, "", changes)


def _figure(value: Any) -> Figure | None:
    told = object_of(value)
    mean = number(told.get("value"))
    if mean is None:
        return None
    return Figure(mean, number(told.get("low")), number(told.get("high")), told.get("is_share") is True)


def _method(log: _Log, name: str) -> str:
    return next((str(one.get("method")) for one in log.stages if one.get("name") == name), "")
