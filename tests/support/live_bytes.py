"""How many bytes of tensors stand at once while a block runs, on a CPU."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations of the block return, each until it is freed; `peak` is the most."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for one in tree_iter(found):
            if isinstance(one, torch.Tensor) and (key := one.untyped_storage()._cdata) not in self.live:
                self.live[key] = one.untyped_storage().nbytes()
                weakref.finalize(one.untyped_storage(), self.live.pop, key)
        self.peak = max(self.peak, sum(self.live.values()))
        return found
