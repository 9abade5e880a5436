"""TRL's fused head on labelled positions only, on a CPU as on a GPU.

With Triton, `add_fused_lm_head` projects labelled positions only. Without, it projects all of them, prompts
and padding too, and masks them afterwards, to keep shapes static for a compiler. Uncompiled that costs a
product with the whole vocabulary, once forward and twice backward, for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CPU = "cpu"


@contextmanager
def labels_alone(is_chosen: bool = True) -> Iterator[None]:
    """Within the context, TRL's fused heads in this process score labelled positions only, on a CPU."""
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
