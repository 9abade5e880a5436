"""Setups beyond plain LoRA over float32: 4-bit gradients, bf16, DoRA, rsLoRA, whole modules; memory."""

import math
from dataclasses import replace

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from support.handover_bench import FULL, LORA, OTHER, Bench, quantised
from support.small import ROOT, run_small

from ptspec import methods
from ptspec.diagnostics import InputError
from ptspec.model.adapters import lora_config
from ptspec.model.device import find_device
from ptspec.model.handover import changes_weights, prepare
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import Handover, ModelSpec, Stage

pytestmark = pytest.mark.slow

BF16 = 0.05
"""What bf16 weights leave of a margin that is 0, in nats: the merged weights are rounded to 8 bits."""


def gradients(model):
    from peft import get_peft_model

    torch.manual_seed(0)
    adapted = get_peft_model(model, lora_config(LORA)).train()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    ids = torch.arange(10, 74).reshape(4, 16)
    adapted(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([p.grad.flatten() for p in adapted.parameters() if p.grad is not None])


def test_an_evaluation_pass_does_not_change_the_gradients_through_4_bit_weights(bench):
    base = bench.bases.get(quantised(LORA))
    fresh = gradients(base.spawn())
    evaluated = base.spawn().eval()
    with torch.no_grad():
        evaluated(torch.arange(10, 74).reshape(4, 16))
    after = gradients(evaluated)
    assert torch.nn.functional.cosine_similarity(fresh, after, dim=0) > 0.9999
    assert after.norm() / fresh.norm() == pytest.approx(1, abs=1e-3)


@pytest.fixture(scope="module")
def first_stages(bench):
    """The SFT stage of an adapter, made when it is first asked for by its name."""
    made = {}

    def first(name, adapter):
        if name not in made:
            made[name], _ = bench.stage(f"{name}-sft", "sft", adapter, learning_rate=2e-3, max_steps=3)
        return made[name]

    return first


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("dora", {"use_dora": True}),
        ("rslora", {"use_rslora": True}),
        ("pissa", {"init_lora_weights": "pissa"}),
        ("fast pissa", {"init_lora_weights": "pissa_niter_4", "use_rslora": True}),
        ("olora", {"init_lora_weights": "olora"}),
        ("whole modules", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    ],
)
@pytest.mark.parametrize("hand_over", [Handover.CONTINUE, Handover.MERGE])
def test_other_adapters_are_carried_across_stages(bench, first_stages, name, fields, hand_over):
    adapter = replace(LORA, lora={**LORA.lora, **fields})
    first = first_stages(name, adapter)
    to = adapter if hand_over is Handover.CONTINUE else OTHER
    second, trained = bench.stage(f"{name}-{hand_over.value}", "dpo", to, hand_over, first)
    assert trained.beginning.handed_over < 1e-5 and trained.beginning.reference < 1e-5
    rows = bench.metrics(f"{name}-{hand_over.value}")
    assert all(abs(row["rewards/margins"]) < 1e-5 for row in rows)
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    moved = bench.logits(to, second) - bench.logits(adapter, first)
    assert moved.abs().max() < 1e-3


def test_an_adapter_on_the_embeddings_is_merged_into_whole_weights(bench, sft):
    adapter = replace(OTHER, lora={**OTHER.lora, "target_modules": ["q_proj", "embed_tokens"]})
    merged, trained = bench.stage("embeddings", "dpo", adapter, Handover.MERGE, sft)
    assert not merged.is_adapter
    assert trained.beginning.handed_over < 1e-5
    assert bench.distances["embeddings"] < 1e-5
    with pytest.raises(InputError, match="cannot stack its adapter"):
        bench.stage("stacked embeddings", "dpo", adapter, Handover.STACK, sft)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A bench over bf16 weights, and its SFT stage."""
    spec = ModelSpec(str(ROOT / "data/base_model"), local=True, dtype="bfloat16")
    made = Bench(tmp_path_factory.mktemp("half"), Bases(spec, find_device()))
    return made, made.stage("sft", "sft", LORA, learning_rate=2e-3, max_steps=3)[0]


@pytest.mark.parametrize(
    ("adapter", "hand_over"),
    [(LORA, Handover.CONTINUE), (OTHER, Handover.MERGE), (OTHER, Handover.STACK)],
    ids=["continue", "merge", "stack"],
)
def test_over_bf16_weights_the_reference_is_the_policy(half, adapter, hand_over):
    of_bf16, first = half
    name = hand_over.value
    of_bf16.stage(name, "dpo", adapter, hand_over, first, per_device_train_batch_size=2)
    assert all(abs(row["rewards/margins"]) < BF16 for row in of_bf16.metrics(name))


@pytest.mark.parametrize("hand_over", [Handover.CONTINUE, Handover.MERGE])
def test_new_tokens_are_carried_across_stages(tmp_path, hand_over):
    """A tag that the tokenizer did not have: learned with the embeddings, in every folder, in plain PEFT."""
    spec = ModelSpec(str(ROOT / "data/base_model"), local=True, additional_special_tokens=("<tag>", "<end>"))
    own = Bench(tmp_path, Bases(spec, find_device()))
    wide = replace(
        LORA, lora={**LORA.lora, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
    )
    base = own.bases.get(wide)
    new = base.tokenizer.convert_tokens_to_ids(["<tag>", "<end>"])
    assert (
        new == [len(base.tokenizer) - 2, len(base.tokenizer) - 1]
        and base.tokenizer.encode("<tag>") == new[:1]
    )
    first, _ = own.stage("sft", "sft", wide, learning_rate=2e-3, max_steps=2)
    to = wide if hand_over is Handover.CONTINUE else OTHER
    second, trained = own.stage("dpo", "dpo", to, hand_over, first)
    assert trained.beginning.handed_over < 1e-5 and trained.beginning.reference < 1e-5
    assert all(abs(row["rewards/margins"]) < 1e-5 for row in own.metrics("dpo"))
    assert (own.logits(to, second) - own.logits(wide, first)).abs().max() < 1e-3
    ours = own.bases.open(wide, first)[0](torch.tensor([[7, *new]])).logits
    opened = AutoPeftModelForCausalLM.from_pretrained(first.folder).eval()
    assert (opened(torch.tensor([[7, *new]])).logits - ours).abs().max() < 1e-5
    assert ours.shape[-1] == len(base.tokenizer)


def test_a_folder_with_new_tokens_opens_over_the_base_as_it_is(tmp_path):
    """As pt eval opens it, which knows no recipe."""
    path = str(ROOT / "data/base_model")
    grown = ModelSpec(path, local=True, additional_special_tokens=("<tag>",))
    own = Bench(tmp_path, Bases(grown, find_device()))
    first, _ = own.stage("sft", "sft", LORA, learning_rate=2e-3, max_steps=2)
    ids = torch.tensor([[7, 8, len(own.bases.get(LORA).tokenizer) - 1]])
    model, base = Bases(ModelSpec(path, local=True), find_device()).open(LORA, first)
    assert base.tokenizer.encode("<tag>") == ids[0, -1:].tolist()
    assert (model(ids).logits - own.bases.open(LORA, first)[0](ids).logits).abs().max() < 1e-5


def test_a_base_with_new_tokens_is_the_same_base_each_time():
    spec = ModelSpec(str(ROOT / "data/base_model"), local=True, additional_special_tokens=("<tag>",))
    made = [Bases(spec, find_device()).get(LORA).model.get_input_embeddings().weight for _ in range(2)]
    assert torch.equal(made[0], made[1])
    assert torch.allclose(made[0][-1], made[0][:-1].mean(0), atol=1e-6)


def test_memory_comes_back_between_stages(tmp_path):
    def ten_stages(recipe):
        recipe.pop("eval")
        first = recipe["stages"][0]
        first["config"] |= {"max_steps": 1, "per_device_train_batch_size": 2}
        recipe["stages"] = [{**first, "name": f"s{i}"} for i in range(10)]

    run = run_small(tmp_path, ten_stages)
    assert run.done.code == 0, run.done.stderr
    peaks = [run.record(f"s{i}")["peak_memory_bytes"] for i in range(10)]
    assert peaks[9] - peaks[2] < 40e6, [round(peak / 1e6) for peak in peaks]


def test_base_weights_stand_once(bench, sft):
    """Whatever a stage needs of the base, policy and reference share its tensors."""
    base = bench.bases.get(LORA)
    ours = {parameter.data_ptr() for parameter in base.model.parameters()}
    stage = Stage("dpo", methods.get("dpo"), "sft", Handover.CONTINUE, "train", LORA)
    policy = prepare(base, sft, stage, seed=1)
    shared = [p for name, p in policy.model.named_parameters() if "lora_" not in name]
    assert {parameter.data_ptr() for parameter in shared} == ours
    full = prepare(base, sft, replace(stage, adapter=FULL, handover=None), seed=1)
    reference = [p for name, p in full.reference_model.named_parameters() if "lora_" not in name]
    assert {parameter.data_ptr() for parameter in reference} == ours


@pytest.mark.parametrize(
    ("adapter", "hand_over", "method"),
    [(FULL, None, "sft"), (OTHER, Handover.MERGE, "dpo")],
    ids=["full", "merge"],
)
def test_weights_that_a_stage_changes_stand_once_and_are_loaded_anew(tmp_path, adapter, hand_over, method):
    """Nothing else reads them: no second copy lies beside them, and the base that follows is untouched."""
    own = Bench(tmp_path, Bases(ModelSpec(str(ROOT / "data/base_model"), local=True), find_device()))
    parent, _ = own.stage("sft", "sft", LORA, learning_rate=2e-3, max_steps=2)
    stage = Stage("next", methods.get(method), "sft", hand_over, "train", adapter)
    assert changes_weights(stage, parent)
    before = {name: tensor.clone() for name, tensor in own.bases.get(adapter).model.state_dict().items()}
    base = own.bases.give_away(adapter)
    assert base.given_away
    policy = prepare(base, parent, stage, seed=1)
    changed = {id(parameter) for name, parameter in policy.model.named_parameters() if "lora_" not in name}
    assert changed == {id(parameter) for parameter in base.model.parameters()}
    anew = own.bases.get(adapter).model.state_dict()
    assert all(torch.equal(anew[name], tensor) for name, tensor in before.items())


def test_weights_under_a_living_policy_are_not_given_away(tmp_path):
    bases = Bases(ModelSpec(str(ROOT / "data/base_model"), local=True), find_device())
    policy, base = bases.open(LORA, None)
    assert not bases.give_away(LORA).given_away
    del policy
    assert bases.give_away(LORA).given_away and bases.get(LORA).model is not base.model
