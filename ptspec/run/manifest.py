"""`manifest.json`: what was run, with what, and what came out. `events.jsonl`: what happened, append-only."""

from __future__ import annotations

import dataclasses
import json
import platform
import socket
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ptspec import __version__
from ptspec.events import Event, StageStep
from ptspec.recipe.plan import Plan
from ptspec.run.artifact import FORMAT, write_json
from ptspec.run.fingerprint import Hashes, versions

MANIFEST = "manifest.json"
EVENTS = "events.jsonl"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_manifest(
    plan: Plan,
    hashes: Hashes,
    device: str,
    stages: Mapping[str, Mapping[str, Any]],
    command: str | None = None,
) -> None:
    """`command` is what was typed; its relative paths hold in the working directory, which is kept too."""
    write_json(
        plan.output / MANIFEST,
        {
            "format": FORMAT,
            "ptspec": __version__,
            "name": plan.name,
            "written": now(),
            "recipe_file": str(plan.recipe),
            "command": command,
            "working_directory": str(Path.cwd()),
            "recipe": plan.document,
            "seed": plan.seed,
            "model": {"path": plan.model.path, "revision": plan.model.revision, "sha256": hashes.model()},
            "data": {name: hashes.source(name) for name in plan.data},
            "stages": stages,
            "versions": versions(),
            "environment": {
                "python": sys.version.split()[0],
                "platform": platform.platform(),
                "host": socket.gethostname(),
                "device": device,
            },
        },
    )


class EventLog:
    """A listener that appends each event as one JSON object a line. Steps are in `metrics.jsonl` already."""

    def __init__(self, output: Path) -> None:
        self._file = (output / EVENTS).open("a", encoding="utf-8")

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStep):
            return
        record = {"time": now(), "event": type(event).__name__, **dataclasses.asdict(event)}
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
