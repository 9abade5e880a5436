"""The processes that do a stage's job together: which one this is, and what they agree on.

`current()` is one process alone until `join` has been called, and then costs nothing: its methods give back
what they are given. What is agreed on goes over a group of its own (gloo, on the CPU), whose time limit is so
long that one process may train or measure alone while the others wait; that a process has died is noticed by
its closed connections, at once.
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
"""How long a process waits for the others where they may be busy."""
ERRORS = {kind.exit: kind for kind in (StageError, InputError, CheckError, Interrupted)}


class Agreed(StageError):
    """An error that every process raises at the same place: they can still do something together."""


@dataclass(frozen=True)
class Processes:
    """This process is number `index` of `size`; `group` is torch's, for what they agree on.

    `ids`: the host and the process id of each."""

    index: int = 0
    size: int = 1
    group: Any = None
    ids: tuple[tuple[str, int], ...] = ()

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def gone(self) -> int | None:
        """One of them that ran on this machine and has ended."""
        here = socket.gethostname()
        ended = (
            index for index, (host, process) in enumerate(self.ids) if host == here and has_ended(process)
        )
        return next(ended, None)

    def gathered(self, value: T) -> list[T]:
        """What each process has given, in their order."""
        if self.alone:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def of_first(self, value: T) -> T:
        """What the first process has given."""
        if self.alone:
            return value
        import torch
        import torch.distributed as dist

        values = [value if self.is_first else None]
        dist.broadcast_object_list(values, src=0, group=self.group, device=torch.device("cpu"))
        return values[0]  # type: ignore[return-value]  # the first process's

    def any(self, flag: bool) -> bool:
        """Whether one of them says so."""
        if self.alone:
            return flag
        import torch
        import torch.distributed as dist

        told = torch.tensor([int(flag)])
        dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self.group)
        return bool(told.item())

    def by_first(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, which alone does it; what it raises is raised in each."""
        if self.alone:
            return work()
        given: Any = None
        with self.agreed():
            if self.is_first:
                given = work()
        return self.of_first(given)  # type: ignore[no-any-return]  # what `work` gave

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Raises in every process the error of the first one that raises a `PtError` within.

        What is done within waits for no other process."""
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
        """Raises `Agreed` in every process where one of them has something to tell; of several that have, the
        first that says it comes first."""
        if not self.any(told is not None):
            return
        said = [(not ahead, one) for one, ahead in self.gathered((told, first)) if one is not None]
        raise Agreed(min(said, key=lambda one: one[0])[1])


def has_ended(process: int) -> bool:
    """Whether a process runs no longer; one that nobody has asked about since it ended does not."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except (OSError, IndexError):
        return False


_joined = Processes()


def current() -> Processes:
    """The processes that this one works with."""
    return _joined


def join(timeout: timedelta) -> Processes:
    """Makes this process one of those that a launcher has started, by what it left in the environment.

    `timeout`: how long they wait for one another while they train."""
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
