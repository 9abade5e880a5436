"""The processes that train a stage together: this process's rank, and agreement between processes.

`current()` is a single process until `join` is called; its methods then return their argument at once.
Agreement uses a process group of its own (gloo, on the CPU) with a time limit long enough for one process to
train or measure alone while the others wait. A process that dies is noticed at once by its closed
connections.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from ptspec.diagnostics import CheckError, Diagnostic, InputError, Interrupted, PtError, StageError

T = TypeVar("T")
PATIENCE = timedelta(days=30)
"""Time limit for waiting for other processes that may be busy."""
ERRORS = {kind.exit: kind for kind in (StageError, InputError, CheckError, Interrupted)}


class Agreed(StageError):
    """An error raised by every process at the same place, so that they can still communicate."""


@dataclass(frozen=True)
class Processes:
    """Process number `index` of `size`; `group` is the torch process group for agreement.

    `ids`: host and process id of each.
    """

    index: int = 0
    size: int = 1
    group: Any = None
    ids: tuple[tuple[str, int], ...] = ()

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.size == 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.index == 0

    def gone(self) -> int | None:
        """Return the process id of a process of this machine that has ended, else None."""
        here = socket.gethostname()
        ended = (
            index for index, (host, process) in enumerate(self.ids) if host == here and has_ended(process)
        )
        return next(ended, None)

    def gathered(self, value: T) -> list[T]:
        """Gather `value` of every process, in the order of ranks."""
        if self.alone:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def of_first(self, value: T) -> T:
        """Broadcast `value` of rank 0."""
        if self.alone:
            return value
        import torch
        import torch.distributed as dist

        values = [value if self.is_first else None]
        dist.broadcast_object_list(values, src=0, group=self.group, device=torch.device("cpu"))
        return values[0]  # type: ignore[return-value]  # the first process's

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is set in any process."""
        if self.alone:
            return flag
        import torch
        import torch.distributed as dist

        told = torch.tensor([int(flag)])
        dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self.group)
        return bool(told.item())

    def by_first(self, work: Callable[[], T]) -> T:
        """Run `work` in rank 0 alone and return its result everywhere; its exception is raised everywhere."""
        if self.alone:
            return work()
        given: Any = None
        with self.agreed():
            if self.is_first:
                given = work()
        return self.of_first(given)  # type: ignore[no-any-return]  # what `work` gave

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Raise in every process the first `PtError` that one raises within the context.

        Code within must not communicate with other processes. Raises the error's own class, `InputError`,
        `StageError` or another.
        """
        if self.alone:
            yield
            return
        mine: PtError | None = None
        try:
            yield
        except PtError as error:
            mine = error
        told = self.gathered(None if mine is None else (mine.exit, mine.diagnostics))
        if mine is not None:
            raise mine
        for one in told:
            if one is not None:
                raise ERRORS[one[0]](*one[1])

    def agree(self, told: Diagnostic | None, *, first: bool = True) -> None:
        """Raise `Agreed` in every process if one passes a diagnostic; that of the lowest rank wins."""
        if not self.any(told is not None):
            return
        said = [(not ahead, one) for one, ahead in self.gathered((told, first)) if one is not None]
        raise Agreed(min(said, key=lambda one: one[0])[1])


def has_ended(process: int) -> bool:
    """Return whether a process of this machine has ended, a zombie included."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except (OSError, IndexError):
        return False


_joined = Processes()


def current() -> Processes:
    """Return the process group of this process."""
    return _joined


def join(timeout: timedelta) -> Processes:
    """Join the process group that the launcher's environment variables describe."""
    global _joined
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timeout)
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    met = Processes(dist.get_rank(), dist.get_world_size(), group)
    _joined = replace(met, ids=tuple(met.gathered((socket.gethostname(), os.getpid()))))
    return _joined


def leave() -> None:
    """Undoes `join`."""
    global _joined
    if not _joined.alone:
        import torch.distributed as dist

        _joined = Processes()
        dist.destroy_process_group()
