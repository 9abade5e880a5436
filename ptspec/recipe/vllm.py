"""`compute.vllm` of a stage: what samples its completions, and how it gets the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptspec.recipe.plan import Stage

SERVER, COLOCATE = "server", "colocate"
LORA, NCCL = "lora", "nccl"
HOST, PORT = "0.0.0.0", 8000
"""TRL's defaults of an address."""

COLOCATE_FIELDS = (
    *(
        "gpu_memory_utilization",
        "max_model_length",
        "tensor_parallel_size",
        "enable_sleep_mode",
        "model_impl",
    ),
)
ADDRESS = ("server_base_url", "server_host", "server_port")
NCCL_FIELDS = ("server_timeout", "group_port")
LORA_FIELDS = ("adapter_folder", "api_key_env")


@dataclass(frozen=True)
class VLLMSpec:
    """A `compute.vllm`.

    `mode` and `weight_sync` as in the recipe or by default; `given`: all its keys, under TRL's names without
    `vllm_`.
    """

    mode: str
    weight_sync: str
    given: Mapping[str, Any]

    @property
    def is_plain_server(self) -> bool:
        """Whether a plain `vllm serve` samples, which loads the policy as an adapter."""
        return self.mode == SERVER and self.weight_sync == LORA

    @property
    def base_url(self) -> str:
        """The server's address."""
        address = f"http://{self.given.get('server_host', HOST)}:{self.given.get('server_port', PORT)}"
        return str(self.given.get("server_base_url", address))

    @property
    def words(self) -> str:
        """The sampler in words."""
        if self.mode == COLOCATE:
            return "vLLM in the training process (colocate)"
        how = "adapters" if self.weight_sync == LORA else "whole weights over NCCL"
        return f"the vLLM server at {self.base_url}, which is given {how}"

    @property
    def fields(self) -> tuple[str, ...]:
        """The keys that have an effect."""
        if self.mode == COLOCATE:
            return ("mode", *COLOCATE_FIELDS)
        own = LORA_FIELDS if self.weight_sync == LORA else NCCL_FIELDS
        return ("mode", "weight_sync", *ADDRESS, *own)

    def trl(self) -> dict[str, Any]:
        """The fields of TRL's config, if TRL itself calls vLLM."""
        own = {f"vllm_{name}": value for name, value in self.given.items() if name in self.fields}
        own.pop("vllm_weight_sync", None)
        return {"use_vllm": True, "vllm_mode": self.mode, **own}


def vllm_spec(given: Mapping[str, Any]) -> VLLMSpec:
    """Return the spec of a given `compute.vllm`."""
    return VLLMSpec(given.get("mode", SERVER), given.get("weight_sync", LORA), given)


def vllm_of(stage: Stage) -> VLLMSpec | None:
    """Return the sampler of `stage`; None if it samples nothing, or by itself."""
    if stage.compute.vllm is None or not stage.method.online:
        return None
    return vllm_spec(stage.compute.vllm)
