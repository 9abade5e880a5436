"""The number of tokens per batch that fit free memory, from the size of the KV cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARE = {"cpu": 0.25, "cuda": 0.6}
"""Share of the free memory to use: a CPU's is also for other programs, and the estimate is incomplete."""

MOST = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Maximum tokens per batch."""

FALLBACK = 1 << 13
"""Tokens per batch if free memory or the size of a token is unknown."""

ACTIVATIONS = 20
"""Hidden-size vectors that the widest layer holds per token while reading prompts."""

SCORE_BYTES = 24
"""Bytes per vocabulary entry while sampling a token: scores, probabilities and their sums."""


def generation_tokens(model: PreTrainedModel, length: int) -> int:
    """Return the tokens per generation batch, prompts and new ones, for sequences of at least `length`."""
    kind, free, taken = model.device.type, free_bytes(model.device), bytes_of_token(model)
    if free is None or taken is None:
        return FALLBACK
    scores = int(model.get_output_embeddings().weight.shape[0]) * SCORE_BYTES // max(1, length)
    return max(1, min(MOST[kind], int(free * SHARE[kind]) // (taken + scores)))


def scoring_tokens(model: PreTrainedModel) -> int:
    """Return the tokens per scoring batch on a GPU, with the logits of each."""
    kind, free, taken = model.device.type, free_bytes(model.device), bytes_of_token(model)
    if free is None or taken is None:
        return FALLBACK
    logits = int(model.get_output_embeddings().weight.shape[0]) * int(model.dtype.itemsize)
    return max(1, min(MOST[kind], int(free * SHARE[kind]) // (taken + logits)))


def free_bytes(device: torch.device) -> int | None:
    """Return the free bytes on `device`, including torch's cached ones; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + int(kept)
    if device.type == "cpu":
        return _least(_available(), _left_to_container())
    return None


def bytes_of_token(model: PreTrainedModel) -> int | None:
    """Return the bytes per token: keys and values of every layer, and activations; None if unknown."""
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
    """Return the bytes that a new program may use without swapping (Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _left_to_container() -> int | None:
    """Return the bytes left of the control group's limit; None without a limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        return None if limit == "max" else int(limit) - int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None


def _least(*known: int | None) -> int | None:
    given = [number for number in known if number is not None]
    return max(0, min(given)) if given else None
