"""How many tokens of a batch fit the memory that is free, by what each takes of a model's key-value cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARE = {"cpu": 0.25, "cuda": 0.6}
"""Of the free memory: a CPU's is other programs' too, and the estimate leaves out some of a GPU's."""

MOST = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Tokens of a batch, however much memory is free."""

FALLBACK = 1 << 13
"""Tokens of a batch where the free memory, or what a token takes, is not known."""

ACTIVATIONS = 20
"""Vectors of the hidden size that the widest layer holds of each token while the prompts are read."""

SCORE_BYTES = 24
"""Of each word of the vocabulary while a token is chosen or drawn: scores, probabilities and their sums."""


def generation_tokens(model: PreTrainedModel, length: int) -> int:
    """Tokens of a batch to generate with, prompts and new ones together: what the free memory holds of
    sequences that are at least `length` tokens long."""
    kind, free, taken = model.device.type, free_bytes(model.device), bytes_of_token(model)
    if free is None or taken is None:
        return FALLBACK
    scores = int(model.get_output_embeddings().weight.shape[0]) * SCORE_BYTES // max(1, length)
    return max(1, min(MOST[kind], int(free * SHARE[kind]) // (taken + scores)))


def scoring_tokens(model: PreTrainedModel) -> int:
    """Tokens of a batch to score on a GPU, with the logits of each: what the free memory holds."""
    kind, free, taken = model.device.type, free_bytes(model.device), bytes_of_token(model)
    if free is None or taken is None:
        return FALLBACK
    logits = int(model.get_output_embeddings().weight.shape[0]) * int(model.dtype.itemsize)
    return max(1, min(MOST[kind], int(free * SHARE[kind]) // (taken + logits)))


def free_bytes(device: torch.device) -> int | None:
    """Bytes that are free on `device`, those that torch keeps for later included; None where not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + int(kept)
    if device.type == "cpu":
        return _least(_available(), _left_to_container())
    return None


def bytes_of_token(model: PreTrainedModel) -> int | None:
    """Bytes that a token of a sequence takes: keys and values of every layer, and its part of the activations
    while the prompt is read. None where the config does not say."""
    config: Any = model.config.get_text_config()
    layers, hidden = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    heads = getattr(config, "num_attention_heads", None)
    if not all(isinstance(number, int) and number > 0 for number in (layers, hidden, heads)):
        return None
    assert layers and hidden and heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or hidden // heads
    return int((2 * layers * kept * width + ACTIVATIONS * hidden) * model.dtype.itemsize)


def _available() -> int | None:
    """Bytes that a new program may use without swapping (Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _left_to_container() -> int | None:
    """Bytes that the control group leaves; None where it sets no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        return None if limit == "max" else int(limit) - int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None


def _least(*known: int | None) -> int | None:
    given = [number for number in known if number is not None]
    return max(0, min(given)) if given else None
