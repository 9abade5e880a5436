"""What a whole process costs, for benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """Seconds that passed, processor seconds, bytes of the largest resident set."""

    wall: float
    processor: float
    memory: int


def cost(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Of `command`, without a hub, with `environment` besides. Ends this process where it fails, with what it
    said.

    Bytecode is kept, as that of an installed package is: a first process compiles what is imported.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variables |= {"HF_HUB_OFFLINE": "1", **(environment or {})}
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"exit {process.returncode}: {' '.join(command)}\n{told}")
    return Cost(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
