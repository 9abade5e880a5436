"""A reward model over the base: its weights, and a new head that scores a sequence."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, set_seed

from ptspec.model.base import Base

TASK = "SEQ_CLS"
HEAD = "score"


def classifier(base: Base, seed: int, *, own_weights: bool) -> Any:
    """A sequence classifier with one label whose backbone is that of `base`, its head drawn by `seed`."""
    config = copy.deepcopy(base.model.config)
    config.num_labels = 1
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, dtype=base.model.dtype)
    backbone = base.spawn(own_weights=own_weights)
    setattr(model, model.base_model_prefix, backbone.base_model)
    set_seed(seed)
    for name, module in model.named_children():
        if name != model.base_model_prefix:
            module.to_empty(device=base.model.device)
            module.apply(model._init_weights)
    model.config.name_or_path = base.path
    return model
