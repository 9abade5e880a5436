"""The process that `ptspec.rewards.time_limit` starts: scores completions until its input ends.

Reads JSON lines: first the reward with its options and the time limit, then pairs of completion and gold.
Answers each with a JSON line.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path

from ptspec.rewards.builtin import BUILTIN


def main() -> None:
    """Score completions from stdin; exit when one exceeds the time limit."""
    # Interrupts and stop signals reach the whole group; the parent process decides what they mean.
    for request in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(request, signal.SIG_IGN)
    task = json.loads(sys.stdin.readline())
    score = BUILTIN[task["reward"]].make(task["options"])
    _answer("ready")
    with Path(os.devnull).open("w") as nowhere:
        for line in sys.stdin:
            # A C thread without the interpreter lock ends the process while it is matching.
            faulthandler.dump_traceback_later(task["seconds"], exit=True, file=nowhere)
            scored = score(*json.loads(line))
            faulthandler.cancel_dump_traceback_later()
            _answer(scored)


def _answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
