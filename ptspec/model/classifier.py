"""A reward model over the base: its weights, and a new scalar head."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, set_seed

from ptspec.model.base import Base
from ptspec.store.files import read_json
from ptspec.store.stage_folder import ADAPTER_CONFIG, MODEL_CONFIG

TASK = "SEQ_CLS"
HEAD = "score"


def is_reward_model(folder: Path) -> bool:
    """Return whether `folder` holds a classifier, or an adapter over one.

    Raises `InputError` for a damaged config.
    """
    if (folder / ADAPTER_CONFIG).is_file():
        return read_json(folder / ADAPTER_CONFIG).get("task_type") == TASK
    config = read_json(folder / MODEL_CONFIG) if (folder / MODEL_CONFIG).is_file() else {}
    return any("SequenceClassification" in str(kind) for kind in config.get("architectures") or ())


def classifier_over(base: Base, *, own_weights: bool = False) -> Any | None:
    """Return a one-label sequence classifier over `base`, sharing or copying its tensors.

    Its head is uninitialised. None if the architecture's classifier is not a decoder and `score`. Uses no
    random numbers.
    """
    config = copy.deepcopy(base.model.config)
    config.num_labels = 1
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)
    except ValueError:  # transformers has none for this type of model
        return None
    decoder = base.spawn(own_weights=own_weights).base_model
    if not isinstance(getattr(model, HEAD, None), torch.nn.Linear):
        return None
    if type(decoder) is not type(model.base_model):
        return None
    setattr(model, model.base_model_prefix, decoder)
    model.score = model.score.to(base.model.dtype).to_empty(device=base.model.device)
    model.config.name_or_path = base.path
    return model


def draw_head(model: Any, seed: int) -> None:
    """Initialise the head as transformers does, with `seed`."""
    set_seed(seed)
    model.score.apply(model._init_weights)
