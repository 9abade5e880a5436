"""Resize embeddings deterministically for new tokens: each new row is the mean of the old ones.

The mean gives a new token at most the probability of an average token (Hewitt 2021, "Initializing New Word
Embeddings for Pretrained Language Models"), and needs no random numbers, so that loading again gives the same
base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ptspec.recipe.headers import NoShape, read_header
from ptspec.recipe.shape import TOKEN_EMBEDDINGS
from ptspec.store.stage_folder import ADAPTER_WEIGHTS


def rows(model: Any) -> int:
    """Return the number of tokens that `model` has embeddings for."""
    return int(model.get_input_embeddings().weight.shape[0])


def grow(model: Any, tokens: int) -> None:
    """Extend the input and output embeddings of `model` to `tokens` tokens, if it has fewer."""
    before = rows(model)
    if tokens <= before:
        return
    model.resize_token_embeddings(tokens, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is not None:
                layer.weight[before:] = layer.weight[:before].float().mean(0).to(layer.weight.dtype)
                if getattr(layer, "bias", None) is not None:
                    layer.bias[before:] = layer.bias[:before].float().mean()


def rows_saved(adapter: Path) -> int:
    """Return the number of tokens of the embeddings in an adapter's folder; 0 if there are none."""
    try:
        header = read_header(adapter / ADAPTER_WEIGHTS)
    except NoShape:
        return 0
    ends = tuple(f"{name}.weight" for name in TOKEN_EMBEDDINGS)
    found = [header[name].shape[0] for name in header if name.endswith(ends)]
    return max(found, default=0)
