"""What a whole process costs, for benchmarks.

The system counts into a process's largest resident set what the process that started it held at that moment:
whoever measures must be small itself, without torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """The cost of a process.

    Wall seconds, processor seconds with those of its children, bytes of the largest resident set of one
    process among them.
    """

    wall: float
    processor: float
    memory: int


class Failed(Exception):
    """The process ended with another code than 0; what it said."""


def cost(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Of `command`, without a hub, with `environment` besides.

    Ends this process where it fails, with what it said.

    Bytecode is kept, as that of an installed package is: a first process compiles what is imported.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variables |= {"HF_HUB_OFFLINE": "1", **(environment or {})}
    try:
        return measured(command, variables, ROOT)
    except Failed as failed:
        sys.exit(f"{failed}: {' '.join(command)}\n{failed.__notes__[0]}")


def measured(
    command: Sequence[str], variables: Mapping[str, str], folder: Path, limit: float | None = None
) -> Cost:
    """Of `command`, run in `folder` with `variables` alone, for `limit` seconds at most.

    Raises Failed, with all that it said as its note.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=variables,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stderr is not None
    timer = threading.Timer(limit, process.kill) if limit else None
    if timer:
        timer.start()
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if timer:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        failed = Failed(f"exit {process.returncode}")
        failed.add_note(told)
        raise failed
    return Cost(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
