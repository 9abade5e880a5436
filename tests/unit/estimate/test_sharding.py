"""What each process holds and sends, against figures of papers and against figures by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import llama_8b, llama_sizes

from ptspec import methods
from ptspec.estimate.adapters import stage_adapter
from ptspec.estimate.held import Holder
from ptspec.estimate.memory import Work, memory
from ptspec.estimate.sharding import Engine, Sharding, elements, sharding_of
from ptspec.estimate.traffic import traffic
from ptspec.estimate.units import is_tied, units
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import Tensor
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, ModelSpec, Stage
from ptspec.recipe.shape import ModelShape

LORA = AdapterSpec(True, lora={"r": 16, "target_modules": "all-linear"})
FULL = AdapterSpec(False)
EIGHT_B = 8_030_261_248
ADAPTER = 41_943_040
"""Elements of LoRA r 16 on the linear layers of an 8B Llama: 16 · Σ (in + out)."""


def compute(processes: int, strategy: str | None = None, **options: object) -> ComputeSpec:
    return ComputeSpec("accelerate", processes, strategy=strategy, **options)


def zero(processes: int, stage: int, **options: object) -> ComputeSpec:
    return compute(processes, "deepspeed", deepspeed={"zero_optimization": {"stage": stage, **options}})


def holder(spec: ComputeSpec, adapter=FULL, method="sft", shape=None, *, gpu=True, dtype=None, **config):
    """A process of a stage with 64 passes a step, which the processes share, over an 8B Llama."""
    config = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 64, **config}
    stage = Stage("s", methods.get(method), "base", None, "train", adapter, config=config, compute=spec)
    shape = shape or llama_8b.shape()
    settings = EffectiveConfig(stage, spec, gpu)
    return Holder(settings, ModelSpec("8b", True, dtype=dtype), shape, stage_adapter(stage, shape, None))


def held(one: Holder) -> dict[str, int]:
    return {part.name: part.bytes for part in one.held()}


def sent(one: Holder) -> dict[str, int]:
    """Bytes that the process sends, by collective."""
    return {c.kind.value: c.sent(one.sharding.processes) for c in traffic(one)}


@pytest.mark.parametrize(("stage", "gigabytes"), [(1, 31.4), (2, 16.6), (3, 1.88)])
def test_states_are_those_of_the_zero_paper(stage, gigabytes):
    """Figure 1: 7.5 bn parameters, mixed precision, Adam (K = 12), 64 processes."""
    shape = ModelShape({"hidden_size": 1}, {"model.w": Tensor("BF16", (7_500_000_000,))})
    parts = held(holder(zero(64, stage), shape=shape))
    states = parts["weights"] + parts["gradients"] + parts["optimizer states"]
    assert states / 1e9 == pytest.approx(gigabytes, rel=0.005)


@pytest.mark.parametrize(("stage", "psi"), [(2, 2), (3, 3)])
def test_bytes_sent_are_those_of_the_zero_paper(stage, psi):
    """§7: 2 Ψ elements of one pass for stage 2, 3 Ψ for stage 3, where N is large."""
    one = holder(zero(64, stage))
    assert one.settings.number("gradient_accumulation_steps") == 1
    assert sum(sent(one).values()) == pytest.approx(psi * EIGHT_B * 2 * 63 / 64, rel=1e-6)


def test_each_pass_of_zero_reduces_its_gradients():
    one, two = (sent(holder(zero(64, 2), gradient_accumulation_steps=64 * n)) for n in (1, 2))
    assert two["reduce-scatter"] == 2 * one["reduce-scatter"]
    assert two["all-gather"] == one["all-gather"]


def test_ddp_holds_everything_and_its_gradients_twice():
    """By hand: P · 4 bytes of weights and gradients, twice that of Adam's states, and P · 4 of buckets."""
    parts = held(holder(compute(64)))
    assert parts["weights"] == parts["gradients"] == parts["gradient buckets"] == 4 * EIGHT_B
    assert parts["optimizer states"] == 8 * EIGHT_B
    assert "gradient buckets" not in held(holder(ComputeSpec()))


def test_ddp_sends_the_gradients_of_what_is_trained():
    """By hand: a ring all-reduce, 2 · 63 / 64 of the float32 gradients; of LoRA the adapter's alone."""
    assert sent(holder(compute(64))) == {"all-reduce": round(4 * EIGHT_B * 2 * 63 / 64)}
    assert sent(holder(compute(64), LORA)) == {"all-reduce": round(4 * ADAPTER * 2 * 63 / 64)}
    assert sent(holder(ComputeSpec(), LORA)) == {}


def test_fsdp_holds_a_64th():
    """By hand: every tensor of this model has a number of rows that 64 divides."""
    parts = held(holder(compute(64, "fsdp")))
    assert parts["weights"] == parts["gradients"] == 4 * EIGHT_B // 64
    assert parts["optimizer states"] == 8 * EIGHT_B // 64
    assert "16-bit copies" not in parts


def test_fsdp_trains_in_float32_what_comes_in_16_bits():
    """accelerate makes what is trained float32 in mixed precision; what is frozen stays as it is."""
    assert held(holder(compute(64, "fsdp"), dtype="bfloat16"))["weights"] == 4 * EIGHT_B // 64
    assert held(holder(compute(64, "fsdp"), LORA))["weights"] == 2 * EIGHT_B // 64


def test_a_tensor_of_fewer_rows_than_processes_is_not_cut_further():
    """A of LoRA has 16 rows: of 64 processes 16 hold one each."""
    fsdp = Sharding(Engine.FSDP, 64)
    assert fsdp.part([(16, 4096), (4096, 16), (100, 3)]) == [(1, 4096), (64, 16), (2, 3)]
    assert fsdp.padded([(16, 4096)]) == 64 * 4096
    assert Sharding(Engine.ZERO, 64, 3).part([(16, 4096), (10,)]) == [(1025,)]


def test_fsdp_gathers_weights_twice_a_pass_but_the_output_once():
    """By hand: layers and embeddings twice, the last norm and the head once, in 16 bits; gradients once."""
    head = 128_256 * 4096 + 4096
    one = holder(compute(64, "fsdp"))
    share = 63 / 64
    assert sent(one) == {
        "all-gather": round((2 * (EIGHT_B - head) + head) * 2 * share),
        "reduce-scatter": round(EIGHT_B * 2 * share),
    }
    twice = sent(holder(compute(64, "fsdp"), gradient_accumulation_steps=128))
    assert twice["all-gather"] == pytest.approx(2 * sent(one)["all-gather"], abs=1)
    assert twice["reduce-scatter"] == sent(one)["reduce-scatter"]
    kept = sent(holder(compute(64, "fsdp", fsdp={"reshard_after_forward": False})))
    assert kept["all-gather"] == round(EIGHT_B * 2 * share)


def test_under_fsdp_lora_gathers_the_frozen_weights_too():
    lora, full = (sent(holder(compute(8, "fsdp"), adapter)) for adapter in (LORA, FULL))
    assert lora["all-gather"] > full["all-gather"]
    assert lora["reduce-scatter"] == round(ADAPTER * 2 * 7 / 8)


def test_a_reference_is_gathered_as_well():
    plain, dpo = (sent(holder(compute(8, "fsdp"), FULL, m))["all-gather"] for m in ("sft", "dpo"))
    assert dpo - plain == pytest.approx(8 * EIGHT_B * 2 * 7 / 8, rel=1e-6), "8 passes, the whole of it once"
    before = holder(compute(8, "fsdp"), FULL, "dpo", precompute_ref_log_probs=True)
    assert sent(before)["all-gather"] == plain


def test_gradients_of_earlier_passes_are_whole_until_they_are_reduced():
    assert held(holder(compute(32, "fsdp")))["gradients of earlier passes"] == 2 * EIGHT_B
    assert "gradients of earlier passes" not in held(holder(compute(64, "fsdp")))


def test_weights_are_whole_while_they_are_opened():
    """8B in float32 is 32.1 GB before it is sharded, whatever the number of processes."""
    one = holder(compute(64, "fsdp"))
    found = memory(one.settings, one.model, one.shape, one.adapter, Work(2048))
    opened = {part.name: part.bytes for part in found.opened}
    assert opened == {"whole weights": 4 * EIGHT_B, "their parts": 4 * EIGHT_B // 64}
    assert found.total == sum(opened.values()) + found.process > found.while_training
    assert not memory(
        (ddp := holder(compute(64), LORA)).settings, ddp.model, ddp.shape, ddp.adapter, Work(2048)
    ).opened


def test_layers_are_gathered_one_at_a_time():
    gathered = {part.name: part.bytes for part in holder(compute(64, "fsdp")).gathered()}
    layer = (EIGHT_B - 2 * 128_256 * 4096 - 4096) // 32
    head = 128_256 * 4096 + 4096
    assert gathered["gathered weights"] == 2 * (3 * layer + head)
    assert not list(holder(compute(64)).gathered())


def test_units_of_a_model():
    tensors = {
        "model.embed_tokens.weight": (10, 4),
        "model.layers.0.mlp.up_proj.weight": (8, 4),
        "model.layers.1.mlp.up_proj.weight": (8, 4),
        "model.norm.weight": (4,),
        "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight": (2, 4),
    }
    assert is_tied(tensors)
    tied = units(tensors, tied=True)
    assert [elements(layer) for layer in tied.layers] == [32, 40]
    assert (elements(tied.embeddings), elements(tied.kept), tied.count) == (0, 44, 3)
    own = units({**tensors, "lm_head.weight": (10, 4)}, tied=False)
    assert (elements(own.embeddings), elements(own.kept), own.count) == (40, 44, 4)


def test_zero_offload_leaves_the_states_to_the_host():
    assert "optimizer" in sharding_of(zero(8, 2, offload_optimizer={"device": "cpu"})).on_host
    assert held(holder(zero(8, 2, offload_optimizer={"device": "cpu"})))["optimizer states"] == 0
    assert held(holder(zero(8, 2, offload_optimizer={"device": "none"})))["optimizer states"] > 0


def test_zero_offload_leaves_the_weights_to_the_host_in_stage_three_alone():
    given = {"offload_param": {"device": "cpu"}}
    assert held(holder(zero(8, 3, **given)))["weights"] == 0
    assert held(holder(zero(8, 2, **given)))["weights"] == 2 * EIGHT_B


def test_the_stage_of_zero_is_two_where_nothing_is_said():
    assert sharding_of(compute(8, "deepspeed")).words == "ZeRO-2"
    assert sharding_of(ComputeSpec(strategy="fsdp")) == Sharding()


@pytest.mark.parametrize("setup", llama_sizes.SETUPS)
@pytest.mark.parametrize("size", llama_sizes.SIZES)
def test_the_table_of_the_docs_is_what_is_counted(size, setup):
    lines = (Path(__file__).parents[3] / "docs/scaling.md").read_text("utf-8").splitlines()
    assert llama_sizes.row(size, setup) in lines


def test_a_sharded_base_is_let_go_and_its_parts_stay():
    import torch

    from ptspec.model.base import Base
    from ptspec.training.sharded import FreeBaseCallback

    base = Base("tiny", torch.nn.Linear(4, 4), None, 20)
    part = base.model.weight.detach()[:2].clone()
    FreeBaseCallback(base).on_train_begin()
    assert all(parameter.is_meta for parameter in base.model.parameters())
    assert part.abs().sum() > 0
