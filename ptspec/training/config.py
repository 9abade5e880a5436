"""The trainer's arguments: the recipe's config, defaults for method and device, and fields set by ptspec."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.model.device import Device, training_defaults
from ptspec.recipe.effective_config import KEPT_CHECKPOINTS, shared_fields
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Stage
from ptspec.recipe.stage_evaluation import FIELDS, evaluation_of
from ptspec.recipe.vllm import vllm_of
from ptspec.training import batch_halving
from ptspec.training.engines import arguments_of
from ptspec.training.tracking import Watched

DEFAULTS: Mapping[str, Any] = {
    # A curve of a short stage needs every step; the cost is one scalar read a step.
    "logging_steps": 1,
    # A resumed run needs the last checkpoint, and the one before in case it is damaged.
    "save_total_limit": KEPT_CHECKPOINTS,
    # The trainer would replace a non-finite loss by the mean of the others.
    "logging_nan_inf_filter": False,
}


def resolved_config(stage: Stage, device: Device, precision: str | None) -> dict[str, Any]:
    """Return the config fields of `stage` that differ from TRL's defaults; the recipe's take precedence."""
    return {
        **DEFAULTS,
        **training_defaults(device, precision),
        **stage.method.defaults,
        **stage.config,
        **shared_fields(stage, stage.compute),
    }


def trainer_arguments(
    stage: Stage, device: Device, precision: str | None, watched: Watched, seed: int, checkpoints: Path
) -> Any:
    """Return TRL's config object for `stage`, with rows per pass halved as often as stored.

    Raises `InputError` with TRL's own message if it refuses a value.
    """
    config_class = resolve_name(stage.method.config)
    owned = {
        "output_dir": str(checkpoints),
        "seed": seed,
        "data_seed": seed,
        "report_to": list(watched.trackers),
        "run_name": watched.name,
        "disable_tqdm": True,
        batch_halving.FIELD: False,
    }
    config = resolved_config(stage, device, precision)
    config = {name: value for name, value in config.items() if name not in FIELDS}
    config |= evaluation.arguments() if (evaluation := evaluation_of(stage)) is not None else {}
    config |= batch_halving.halved(config, _defaults(config_class), batch_halving.halvings(checkpoints)) or {}
    owned |= arguments_of(stage.compute)
    vllm = vllm_of(stage)
    if vllm is not None and not vllm.is_plain_server:
        owned |= vllm.trl()  # TRL does not support a plain server: see ptspec.training.vllm
    if watched.spec.project is not None:
        owned["project"] = watched.spec.project
    try:
        return config_class(**{**config, **owned})
    except (TypeError, ValueError) as error:
        raise InputError(
            Diagnostic(
                "refused-config", f"{config_class.__name__}: {error}", pointer=join(stage.at, "config")
            )
        ) from error


def can_be_halved(stage: Stage, times: int) -> bool:
    """Return whether the rows per pass of `stage` may and can be halved so often."""
    defaults = _defaults(resolve_name(stage.method.config))
    config = {**stage.method.defaults, **stage.config, **shared_fields(stage, stage.compute)}
    return bool(config.get(batch_halving.FIELD)) and batch_halving.halved(config, defaults, times) is not None


def _defaults(config_class: type) -> Mapping[str, Any]:
    """Return the plain defaults of a config dataclass."""
    return {field.name: field.default for field in dataclasses.fields(config_class)}
