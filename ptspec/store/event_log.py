"""`events.jsonl`: the events of a run, append-only."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from ptspec.events import EvaluationProgress, Event, StageStep
from ptspec.secrets import redacted
from ptspec.store.manifest import now
from ptspec.store.run_names import EVENTS as EVENTS


class EventLog:
    """A listener that appends each event as one JSON line, except progress.

    Steps are in `metrics.jsonl`, and progress of an evaluation is irrelevant once it is done.
    """

    def __init__(self, output: Path) -> None:
        path = output / EVENTS
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        self._file = path.open("a", encoding="utf-8")
        if not whole:
            # A run was killed while writing a line; start a new line.
            self._file.write("\n")

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *error: object) -> None:
        # A full disk was reported already by the failed write.
        with contextlib.suppress(OSError):
            self._file.close()

    def __call__(self, event: Event) -> None:
        """Append an event; ignore file errors, which the run's own files report."""
        if isinstance(event, StageStep | EvaluationProgress):
            return
        record = {"time": now(), "event": type(event).__name__, **dataclasses.asdict(event)}
        self._file.write(redacted(json.dumps(record, ensure_ascii=False)) + "\n")
        self._file.flush()
