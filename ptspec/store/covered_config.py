"""The part of a stage's config that its fingerprint covers.

What decides which rows a step learns from, and how.

How rows are split into passes and over devices, memory and output settings are left out, so that a stage that
ran out of memory resumes with smaller batches. Fields of a stage's own evaluation are covered separately, if
they decide something (`ptspec.store.fingerprint`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptspec.methods.types import Method
from ptspec.recipe.batch_split import split
from ptspec.recipe.effective_config import with_defaults
from ptspec.recipe.plan import ComputeSpec
from ptspec.recipe.stage_evaluation import FIELDS

WITHOUT_EFFECT = (
    "logging_",
    "log_",
    "save_",
    "report_to",
    "num_completions_to_print",
    "skip_memory_metrics",
    "include_num_input_tokens_seen",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
    "dataloader_persistent_workers",
    "dataset_num_proc",
    "gradient_checkpointing",
    "activation_",
    "torch_empty_cache_steps",
    "precompute_ref_batch_size",
    "ddp_timeout",
)
"""Prefixes of config fields that change output, memory or waiting times, but not what is learned."""

CUT = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "auto_find_batch_size",
    "steps_per_generation",
    "generation_batch_size",
    "dataloader_drop_last",
)
"""Config fields that split rows into passes; the fingerprint covers their result, `_rows_at_once`."""


def covered_config(method: Method, config: Mapping[str, Any], compute: ComputeSpec) -> dict[str, Any]:
    """Return a stage's `config` without the fields that do not change the result.

    The processes of `compute` share its batches, or take as many rows each.
    """
    given = {**method.defaults, **config}
    left_out = (*WITHOUT_EFFECT, *CUT, *FIELDS)
    kept = {name: value for name, value in given.items() if not name.startswith(left_out)}
    whole = with_defaults(method, config)
    if compute.world > 1 and compute.keep_effective_batch:
        whole |= split(whole, compute.world) or {}
    return kept | _rows_at_once(method, whole, compute.world)


def _rows_at_once(method: Method, config: Mapping[str, Any], processes: int) -> dict[str, int | str]:
    """Return the rows of an optimizer step and of a generation, over all passes and processes.

    The rows of a pass count if they decide what is learned: the last pass of an epoch is dropped, or a row's
    loss depends on the others.
    """
    own = _number(config, "per_device_train_batch_size")
    passes = _number(config, "gradient_accumulation_steps")
    rows = own * processes
    counted: dict[str, int | str] = {"rows of an optimizer step": rows * passes}
    if method.online:
        generated = rows * (_number(config, "steps_per_generation", 0) or passes)
        counted["rows of a generation"] = _number(config, "generation_batch_size", 0) or generated
    if method.compares_rows(config.get("loss_type")):
        counted["rows of a pass"] = own if processes == 1 else f"{own} in each of {processes} processes"
    elif config.get("dataloader_drop_last"):
        counted["rows of a pass"] = rows
    return counted


def _number(config: Mapping[str, Any], name: str, otherwise: int = 1) -> int:
    value = config.get(name)
    return value if isinstance(value, int) else otherwise
