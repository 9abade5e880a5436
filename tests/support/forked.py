"""`pt` in a process of its own that has its libraries already: a fork of a server that has loaded them once.

Such a process has memory, streams, signals and a session of its own. What it shares with the others is the
import, which takes longer than a small run, what checks of a shipped recipe read of the libraries' source,
and the seed of string hashes: it is compared with this process.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
import tempfile
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path
from unittest import mock

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["support.preloaded"])
TESTS = str(Path(__file__).parents[1])
ALONE = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
"""Tiny models run as fast on one thread, beside one another; no test asks the real hub."""
_FOUND = {**os.environ, **ALONE}
"""What the server imports under, whatever the test that needs it first has set: libraries read variables."""

Main = Callable[[Sequence[str]], "int | None"]
"""What a process does with its arguments; gives its exit code."""


class Forked:
    """`pt` with `arguments`, in a session of its own; what `subprocess.Popen` says of a process.

    Without `streams` (descriptors of its stdin, stdout, stderr) its stdin is empty, and `communicate` gives
    what it printed. A stdin that is a terminal becomes the one that it belongs to. `ignores` are signals, as
    `nohup` has its command ignore one. `main` is called in place of `pt`'s.
    """

    def __init__(
        self,
        *arguments: object,
        cwd: Path,
        environment: Mapping[str, str],
        streams: Sequence[int] | None = None,
        ignores: Sequence[int] = (),
        main: Main | None = None,
    ) -> None:
        path = [TESTS, *filter(None, [_FOUND.get("PYTHONPATH")])]
        with mock.patch.dict(os.environ, {**_FOUND, "PYTHONPATH": os.pathsep.join(path)}, clear=True):
            forkserver.ensure_running()
        self._printed = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        with Path(os.devnull).open() as nothing:
            given = streams or (nothing.fileno(), *(file.fileno() for file in self._printed))
            typed, streamed = tuple(map(str, arguments)), _Streams(tuple(given))
            command = _Command(typed, cwd, dict(environment), streamed, tuple(ignores), main)
            self._process = _CONTEXT.Process(target=command)
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"still running after {timeout} s: {self.told}")
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it printed to stdout and stderr, once it has ended."""
        self.wait(timeout)
        return self.told

    @property
    def told(self) -> tuple[str, str]:
        """What it has printed by now."""
        sizes = [os.fstat(file.fileno()).st_size for file in self._printed]
        texts = [os.pread(file.fileno(), size, 0) for file, size in zip(self._printed, sizes, strict=True)]
        return texts[0].decode(), texts[1].decode()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Streams:
    """Three descriptors, on their way to the process that is begun."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._descriptors = descriptors

    def __getstate__(self) -> list[DupFd]:
        return [DupFd(descriptor) for descriptor in self._descriptors]

    def __setstate__(self, sent: list[DupFd]) -> None:
        self._descriptors = [descriptor.detach() for descriptor in sent]

    def take(self) -> None:
        """Makes them the streams of this process."""
        for number, descriptor in enumerate(self._descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


@dataclass(frozen=True)
class _Command:
    arguments: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str]
    streams: _Streams
    ignores: tuple[int, ...]
    main: Main | None

    def __call__(self) -> None:
        from ptspec import cli

        # A worker of pytest-xdist ignores SIGINT, one under nohup SIGHUP, and what it starts inherits that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for number in self.ignores:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        self.streams.take()
        os.chdir(self.cwd)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv = ["pt", *self.arguments]
        sys.exit((self.main or cli.main)(self.arguments))
