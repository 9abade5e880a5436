"""TRL's fused head on the positions that have a label, on a CPU as on a GPU.

`add_fused_lm_head` projects these positions alone where it has Triton. Elsewhere it projects all of them,
prompts and padding too, and masks them afterwards, so that tensors keep their shapes for a compiler. Where
nothing is compiled that costs a product with the whole vocabulary, forwards and twice backwards, for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CPU = "cpu"


@contextmanager
def labels_alone(is_chosen: bool = True) -> Iterator[None]:
    """Within, every fused head of TRL in this process scores labelled positions alone on a CPU."""
    if not is_chosen:
        yield
        return
    from trl.trainer import utils

    usual: Callable[[Any], bool] = utils._use_triton
    utils._use_triton = lambda device: device.type == CPU or usual(device)
    try:
        yield
    finally:
        utils._use_triton = usual
