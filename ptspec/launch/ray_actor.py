"""A Ray actor that runs one worker of a job on a node: starts, reads and ends its process.

The process is that of other launchers (`ptspec.worker`) with the same rank variables. Its job file and what
it leaves (`ptspec.launch.several`) lie in a folder of the node.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import ray

from ptspec import __version__
from ptspec.launch.child import JOB, started
from ptspec.launch.protocol import Failed, Stop, line
from ptspec.launch.several import FOLDER, Left, ending_silent_ones
from ptspec.launched import LAUNCHERS
from ptspec.store.fingerprint import versions


@dataclass(frozen=True)
class Seen:
    """A node and what it lacks: `missing` paths; `is_shared`: it reads files of the controller."""

    node: str
    name: str
    address: str
    is_shared: bool
    missing: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Over:
    """How a worker ended. `failed`: its error and the time."""

    code: int
    failed: tuple[float, Failed] | None
    is_silent: bool


@dataclass(frozen=True)
class Messages:
    """The worker's lines since the last call; `over` once it has ended."""

    lines: tuple[bytes, ...]
    over: Over | None = None


class Worker:
    """The actor. `messages` blocks; other calls are answered in their own threads."""

    def __init__(self) -> None:
        self._heard: SimpleQueue[bytes | Over] = SimpleQueue()
        self._pipe: int | None = None
        self._process: int | None = None
        self._reason: str | None = None

    def see(self, token: str, text: str, paths: Sequence[str]) -> Seen:
        """Inspect the node: whether `token` holds `text` there, and which of `paths` are missing."""
        here = ray.get_runtime_context().get_node_id()
        is_shared = False
        with contextlib.suppress(OSError):
            is_shared = Path(token).read_text(encoding="utf-8") == text
        missing = tuple(path for path in paths if not Path(path).exists())
        found = {"ptspec": __version__, **versions()}
        return Seen(here, socket.gethostname(), ray.util.get_node_ip_address(), is_shared, missing, found)

    def free_port(self) -> int:
        """Return a free TCP port of the node."""
        with socket.socket() as free:
            free.bind(("", 0))
            return int(free.getsockname()[1])

    def begin(self, job: str, folder: str, log: str, variables: Mapping[str, str]) -> None:
        """Start the process: `job` is the text of its file, `variables` are added to the environment."""
        own = {name for launcher in LAUNCHERS for name in launcher[1:]}
        environment = {name: text for name, text in os.environ.items() if name not in own}
        run = (job, Path(folder), Path(log), {**environment, **variables})
        Thread(target=self._run, args=run, name="ptspec-worker", daemon=True).start()

    def messages(self) -> Messages:
        """Wait for the process's next lines or its end."""
        lines = []
        said: bytes | Over = self._heard.get()
        while not isinstance(said, Over):
            lines.append(said)
            try:
                said = self._heard.get_nowait()
            except Empty:
                return Messages(tuple(lines))
        return Messages(tuple(lines), said)

    def stop(self, reason: str) -> None:
        """Ask the process to save and end, also one that is about to start."""
        self._reason = reason
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                os.write(self._pipe, line(Stop(reason)))

    def end(self) -> None:
        """Kill the process."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process, 9)

    def _run(self, job: str, folder: Path, log: Path, environment: Mapping[str, str]) -> None:
        with tempfile.TemporaryDirectory(prefix="ptspec-") as name:
            file, left = Path(name) / JOB, Left(Path(name) / FOLDER)
            left.folder.mkdir()
            file.write_text(job, encoding="utf-8")
            command = [sys.executable, "-m", "ptspec.worker", str(file), "--controlled"]
            with started(command, log, environment, folder) as worker, ending_silent_ones(left) as silent:
                assert worker.stdin is not None and worker.stdout is not None
                self._pipe, self._process = worker.stdin.fileno(), worker.pid
                if self._reason is not None:
                    self.stop(self._reason)
                for said in worker.stdout:
                    self._heard.put(said)
                code = worker.wait()
                self._pipe = self._process = None
            failures = [(time, failed) for time, _, failed in left.failures()]
            self._heard.put(Over(code, min(failures, key=lambda one: one[0], default=None), bool(silent)))
