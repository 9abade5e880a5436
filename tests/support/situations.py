"""Stages on machines, for tests of one choice each: an 8B Llama or a model of a megabyte, without weights."""

from __future__ import annotations

from typing import Any

from ptspec import methods
from ptspec.estimate.adapters import stage_adapter
from ptspec.estimate.memory import Work, memory
from ptspec.performance.choice import Lengths, Situation
from ptspec.performance.machine import Machine
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import Tensor
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, Handover, ModelSpec, Stage
from ptspec.recipe.shape import ModelShape
from support import llama_8b

LORA = AdapterSpec(True, lora={"r": 16, "target_modules": "all-linear"})
FULL = AdapterSpec(False)
ALONE, MODEL = ComputeSpec(), ModelSpec("m", True)
CPU = Machine("cpu", 32 * 10**9, cores=2, threads=1)
H100 = Machine("cuda", 80 * 10**9, cores=16, threads=16, capability=(9, 0))
UNEVEN = Lengths((20, 30, 25, 400, 22, 18, 35, 28) * 32, (20,) * 256)
"""Rows of which one in eight is long."""
EVEN = Lengths((2048,) * 256, (2048,) * 256)


def tiny() -> ModelShape:
    config = {"model_type": "llama", "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
    config |= {"vocab_size": 1000, "max_position_embeddings": 512, "intermediate_size": 384}
    return ModelShape(config, {"model.embed_tokens.weight": Tensor("F32", (8000, 128))})


def situation(
    method: str = "sft",
    machine: Machine = CPU,
    *,
    shape: ModelShape | None = None,
    adapter: AdapterSpec = LORA,
    rows: int | None = 1024,
    lengths: Lengths | None = UNEVEN,
    compute: ComputeSpec = ALONE,
    model: ModelSpec = MODEL,
    need: Any = lambda stage: None,
    **config: object,
) -> Situation:
    handover = Handover.CONTINUE if adapter.use_lora and method == "dpo" else None
    stage = Stage("s", methods.get(method), "sft", handover, "train", adapter, config=config, compute=compute)
    whole = tiny() if shape is None else shape
    return Situation(stage, model, machine, whole, rows, lambda: lengths, need)


def of_8b(method: str = "sft", machine: Machine = H100, longest: int = 2048, **given: Any) -> Situation:
    """An 8B Llama whose memory is counted as `pt plan` does."""
    shape = llama_8b.shape()

    def need(stage: Stage) -> int:
        alone = Stage("s", stage.method, "base", None, "train", stage.adapter, config=stage.config)
        settings = EffectiveConfig(alone, stage.compute, gpu=not machine.is_cpu)
        adapter = stage_adapter(alone, shape, None)
        return memory(settings, ModelSpec("8b", True), shape, adapter, Work(longest)).total

    given = {"lengths": Lengths((longest,) * 64, (longest,) * 64), **given}
    return situation(method, machine, shape=shape, need=need, max_length=longest, **given)
