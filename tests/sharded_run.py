"""One of several processes of a run whose weights are sharded on the CPU, and which may be asked to stop at a
step of its first stage.

accelerate shards on accelerators only, and makes plain DDP elsewhere: here its state is told otherwise, after
which everything is FSDP2 as on GPUs, over gloo.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import state

from ptspec.launched import launched

_init = state.AcceleratorState.__init__


@functools.wraps(_init)
def _sharding(self: Any, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    _init(self, *args, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
    if self.__dict__.get("fsdp_plugin") and self.distributed_type == state.DistributedType.MULTI_CPU:
        self.distributed_type = state.DistributedType.FSDP


def main(arguments: Sequence[str]) -> int:
    """`arguments`: recipe, output folder, and the step, if any."""
    from small import run_here

    from ptspec.events import StageStep
    from ptspec.run.ranks import announce, follow

    recipe, output, *step = arguments
    state.AcceleratorState.__init__ = _sharding
    rank = launched()
    assert rank is not None
    announce(rank)
    if rank.index > 0:
        follow(rank)
        return 0

    def hear(event: object) -> None:
        if isinstance(event, StageStep) and [str(event.step)] == step:
            os.kill(os.getpid(), signal.SIGINT)

    ran = run_here(Path(recipe), Path(output), hear)
    for diagnostic in ran.error.diagnostics if ran.error else ():
        print(diagnostic, file=sys.stderr)
    return 1 if ran.error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
