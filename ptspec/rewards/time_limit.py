"""Score built-in rewards with user patterns under a time limit per completion.

Matching a pattern such as (a+)+b takes exponential time on some texts, which must not hang a run. Python's
`re` holds the interpreter lock, so that no thread can stop it, and signals reach the main thread only: the
reward runs in a separate process (`ptspec.rewards.worker`), which exits when a text takes too long. See
docs/decisions/0040-patterns-have-a-time-limit.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

SECONDS = 3.0
"""Time limit per completion, in wall-clock seconds."""

Warn = Callable[[str], None]
"""Receives a message about something that does not stop the run."""

_WORKER = "import sys; sys.path[:] = {path!r}; from ptspec.rewards.worker import main; main()"


class TimedScore:
    """`score(completion, gold)` of the built-in reward `name`; None for a completion that takes too long.

    `warn` receives the first of those. The process starts with the first completion and ends with this
    object. Raises `RuntimeError` if it cannot be started or fails.
    """

    def __init__(
        self, name: str, options: Mapping[str, Any], warn: Warn = warnings.warn, seconds: float = SECONDS
    ) -> None:
        self._task = {"reward": name, "options": dict(options), "seconds": seconds}
        self._warn = warn
        self._warned = False
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __call__(self, text: str, gold: str) -> float | None:
        """Return the score; None if it takes too long or the row cannot be scored. Raises `RuntimeError`."""
        with self._lock:
            reply = self._ask([text, gold])
        if reply is None:
            self._tell()
            return None
        return float(reply)

    def _ask(self, question: Any) -> Any:
        """Return the worker's reply; None if it ended without one."""
        process = self._process or self._started()
        try:
            reply = _exchange(process, question)
        except BrokenPipeError:
            reply = None
        if reply is None:
            self._process = None
            _end(process)
        return reply

    def _started(self) -> subprocess.Popen[str]:
        # Isolated mode with this process's module path: modules in the working directory are not imported.
        program = [sys.executable, "-I", "-c", _WORKER.format(path=sys.path)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe, encoding="ascii")
        weakref.finalize(self, _end, process)
        if _exchange(process, self._task) is None:
            assert process.stderr is not None
            raise RuntimeError(f"the process of the reward did not start: {process.stderr.read().strip()}")
        self._process = process
        return process

    def _tell(self) -> None:
        if not self._warned:
            self._warned = True
            reward, seconds = self._task["reward"], self._task["seconds"]
            options = json.dumps(self._task["options"], ensure_ascii=False)
            self._warn(
                f"the reward {reward} gave up on a completion after {seconds:g} s: {options} takes too long "
                "to match (a repetition inside a repetition?); it has no say (None) on such completions"
            )


def _exchange(process: subprocess.Popen[str], message: Any) -> Any:
    """Return the worker's answer to `message`; None if it has ended. JSON escapes non-ASCII characters."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    return json.loads(line) if line.endswith("\n") else None


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
