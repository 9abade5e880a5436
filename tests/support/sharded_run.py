"""Two processes of a run that is sharded on the CPU, which may be asked to stop at a step of its first stage.

accelerate shards with FSDP on accelerators only, and makes plain DDP elsewhere: here its state is told
otherwise, after which everything is FSDP2 as on GPUs, over gloo. DeepSpeed needs nothing of the kind.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import state
from safetensors.torch import load_file

from ptspec.launched import launched

_init = state.AcceleratorState.__init__


@functools.wraps(_init)
def _sharding(self: Any, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    _init(self, *args, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
    if self.__dict__.get("fsdp_plugin") and self.distributed_type == state.DistributedType.MULTI_CPU:
        self.distributed_type = state.DistributedType.FSDP


def sharded(recipe: Path, output: Path, *step: int) -> tuple[int, str]:
    """The exit code of the first of two processes, and what it told."""
    from support.small import two_ranks

    first, second = two_ranks(recipe, output, *step, main=main)
    code, (_, told) = first.wait(900), first.told
    second.wait(60)
    return code, told


def change_of(folder: Path, base: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What training changed: B·A of an adapter, or whole weights less those of `base`."""
    if (file := folder / "adapter_model.safetensors").exists():
        tensors = load_file(file)
        pairs = ((b, name) for name in tensors if "lora_A" in name for b in [name.replace("_A.", "_B.")])
        return torch.cat([(tensors[b] @ tensors[a]).flatten() for b, a in pairs]).double()
    trained = load_file(folder / "model.safetensors")
    assert trained.keys() == base.keys(), "tied weights are written once"
    return torch.cat([(trained[name] - base[name]).flatten() for name in base]).double()


def main(arguments: Sequence[str]) -> int:
    """`arguments`: recipe, output folder, and the step, if any."""
    from ptspec.events import StageStep
    from ptspec.run.ranks import announce, follow
    from support.small import run_here

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
        print(diagnostic, *diagnostic.notes, sep="\n", file=sys.stderr)
    return 1 if ran.error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
