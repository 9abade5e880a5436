"""The effective value of a stage's config fields: the recipe's, the method's, the device's, TRL's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ptspec.methods.types import Method
from ptspec.recipe.batch_split import split
from ptspec.recipe.plan import ComputeSpec, Stage
from ptspec.recipe.trl_defaults import trl_defaults

KEPT_CHECKPOINTS = 2
"""Default of `save_total_limit`."""


def leaves_checkpoints(stage: Stage) -> bool:
    """Return whether a finished stage keeps its checkpoints, although nothing resumes from them.

    Those of an adapter are small; those of full weights are as large as the result, and kept only if the
    recipe says how many.
    """
    return stage.adapter.use_lora or "save_total_limit" in stage.config


CPU: Mapping[str, Any] = {"bf16": False, "gradient_checkpointing": False}
"""Values that differ on a CPU (`ptspec.model.device.training_defaults`)."""


@dataclass(frozen=True)
class EffectiveConfig:
    """A stage's config on a device, with the number of processes that share its batches."""

    stage: Stage
    compute: ComputeSpec
    gpu: bool

    @property
    def processes(self) -> int:
        """Number of processes on all nodes."""
        return self.compute.world

    @cached_property
    def shared(self) -> Mapping[str, int]:
        """Fields that differ from the recipe so that several processes share its rows."""
        return shared_fields(self.stage, self.compute)

    def value(self, name: str) -> Any:
        """Return the value of TRL's field `name` in each process; None if the method has no such field."""
        if name in self.shared:
            return self.shared[name]
        if name in self.stage.config:
            return self.stage.config[name]
        if name in ("bf16", "fp16") and self.compute.precision is not None:
            return self.compute.precision == name
        if name == "save_total_limit":
            return KEPT_CHECKPOINTS
        default = trl_defaults(self.stage.method.name).get(name)
        device = {} if self.gpu else CPU
        return {**device, **self.stage.method.defaults}.get(name, default)

    def number(self, name: str, default: int = 0) -> int:
        """Return an integer field; `default` if it is missing, None, or another type."""
        value = self.value(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    @property
    def mixed(self) -> bool:
        """Whether matrix products run in 16 bits, under autocast."""
        given = self.value("bf16")
        on_by_itself = given is None and self.gpu and not self.value("fp16")
        return bool(given) or bool(self.value("fp16")) or on_by_itself

    @property
    def autocasts_adapter(self) -> bool:
        """Whether autocast computes LoRA in 16 bits on the layer's own input.

        Dropout makes another input, DoRA needs its own dtype, and sharding engines compute without autocast.
        """
        adapter = self.stage.adapter
        others = adapter.lora.get("lora_dropout") or adapter.lora.get("use_dora")
        return adapter.use_lora and not others and self.mixed and not self.compute.is_sharded

    def numbers(self, dtype: str | None) -> Mapping[str, str]:
        """Return the dtypes of computation.

        Of the base's weights (`dtype`: the recipe's; `ptspec.model.base`), of dequantised 4-bit layers, and
        of matrix products in training.
        """
        adapter = self.stage.adapter
        found = {"weights": dtype or ("as stored" if self.gpu and adapter.use_lora else "float32")}
        found["training"] = ("fp16" if self.value("fp16") else "bf16") if self.mixed else "fp32"
        if adapter.use_qlora and not adapter.quantization.get("load_in_8bit"):
            default = "bfloat16" if self.gpu else "float32"
            found["4-bit weights"] = str(adapter.quantization.get("bnb_4bit_compute_dtype", default))
        return found


def shared_fields(stage: Stage, compute: ComputeSpec) -> Mapping[str, int]:
    """Return how a step's rows are split into passes over several processes.

    Empty for one process, and if each takes as many rows.
    """
    if compute.world == 1 or not compute.keep_effective_batch:
        return {}
    return split(config_of(stage), compute.world) or {}


def config_of(stage: Stage) -> Mapping[str, Any]:
    """Return the config fields of `stage` in one process on any device: the recipe's, the method's, TRL's."""
    return with_defaults(stage.method, stage.config)


def with_defaults(method: Method, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's `config` with the defaults of `method`, its own before TRL's."""
    return {**trl_defaults(method.name), **method.defaults, **config}


@dataclass(frozen=True)
class OwnDefault:
    """A method's default that differs from TRL's."""

    name: str
    value: object
    trl: object
    reason: str

    @property
    def words(self) -> str:
        """The default in words: "adam_beta1 0.0 (TRL: 0.9): why"."""
        return f"{self.name} {json.dumps(self.value)} (TRL: {json.dumps(self.trl)}): {self.reason}"


def own_defaults(method: Method, config: Mapping[str, Any]) -> Iterator[OwnDefault]:
    """Yield the defaults of `method` that differ from TRL's and apply with a recipe's `config`."""
    for default in method.own_defaults:
        if default.name not in config:
            trl = trl_defaults(method.name).get(default.name)
            yield OwnDefault(default.name, default.value, trl, default.reason)
