"""PiSSA and OLoRA over a base that stays: what PEFT learns, as a plain adapter of twice the rank."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.tiny_base import tiny_base
from torch.nn.functional import cosine_similarity

from ptspec.diagnostics import InputError
from ptspec.model import low_rank
from ptspec.model.split_adapter import split_adapter

IDS = torch.arange(24).reshape(2, 12)
SETTINGS = [
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "olora"},
    {"init_lora_weights": "pissa", "use_rslora": True, "lora_alpha": 3},
    {"init_lora_weights": "pissa", "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 16}},
    {"init_lora_weights": "olora", "use_dora": True},
    {"init_lora_weights": "pissa", "r": 20},
]


@pytest.fixture
def base():
    return tiny_base(seed=3)


def config(**fields):
    return LoraConfig(**{"r": 4, "target_modules": "all-linear", **fields})


def second_half(layer):
    rank = layer.r["default"] // 2
    return layer.lora_A["default"].weight[rank:], layer.lora_B["default"].weight[:, rank:]


@pytest.mark.parametrize("fields", SETTINGS, ids=str)
def test_it_begins_with_the_policy_below_and_learns_what_peft_learns(base, fields):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    peft = get_peft_model(copy.deepcopy(base.model), config(**fields))
    ours, _ = split_adapter(base.spawn(), config(**fields), seed=1, at="/adapter")
    for model in (peft, ours):
        output = model(input_ids=IDS, labels=IDS)
        assert (output.logits - base.model(IDS).logits).abs().max() < 1e-4
        output.loss.backward()
    theirs = low_rank.lora_layers(peft)
    for name, layer in low_rank.lora_layers(ours).items():
        a, _ = second_half(layer)
        rank = theirs[name].lora_A["default"].weight.shape[0]
        assert torch.allclose(a[:rank], theirs[name].lora_A["default"].weight, atol=1e-5)
        assert layer.scaling["default"] == pytest.approx(theirs[name].scaling["default"])
        half = layer.r["default"] // 2
        for weight, place in (("lora_A", slice(half, half + rank)), ("lora_B", slice(half, half + rank))):
            learnt = getattr(layer, weight)["default"].weight.grad
            learnt = learnt[place] if weight == "lora_A" else learnt[:, place]
            expected = getattr(theirs[name], weight)["default"].weight.grad
            assert torch.allclose(learnt, expected, rtol=1e-2, atol=1e-5)
            assert cosine_similarity(learnt.flatten(), expected.flatten(), dim=0) > 0.999
    after = base.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_first_half_is_kept_whatever_an_optimizer_does(base):
    model, frozen = split_adapter(base.spawn(), config(init_lora_weights="pissa"), seed=1, at="/adapter")
    layer = next(iter(low_rank.lora_layers(model).values()))
    weight = layer.lora_A["default"].weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    before = weight.detach().clone()
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert weight.grad[:4].abs().max() == 0 < weight.grad[4:].abs().max()
    optimizer.step()
    frozen.restore()
    assert torch.equal(weight[:4], before[:4]) and not torch.equal(weight[4:], before[4:])


def test_what_a_checkpoint_brought_is_kept(base):
    model, frozen = split_adapter(base.spawn(), config(init_lora_weights="pissa"), seed=1, at="/adapter")
    weight = next(iter(low_rank.lora_layers(model).values())).lora_A["default"].weight
    with torch.no_grad():
        weight.fill_(2.0)
        frozen.remember()
        weight.fill_(3.0)
    frozen.restore()
    assert (weight[:4] == 2.0).all() and (weight[4:] == 3.0).all()


def test_random_numbers_of_the_initialisation_come_from_the_seed(base):
    made = []
    for _ in range(2):
        torch.rand(5)
        fields = config(init_lora_weights="pissa_niter_2")
        model, _ = split_adapter(base.spawn(), fields, seed=5, at="/adapter")
        layer = next(iter(low_rank.lora_layers(model).values()))
        made.append(second_half(layer)[0].detach().clone())
    assert torch.equal(*made)


def test_a_layer_that_the_initialisation_does_not_know_is_reported(base):
    fields = config(init_lora_weights="pissa", target_modules=["embed_tokens"])
    with pytest.raises(InputError) as error:
        split_adapter(base.spawn(), fields, seed=1, at="/adapter")
    (told,) = error.value.diagnostics
    assert (told.code, told.pointer) == ("wrong-adapter", "/adapter")
    assert "embed_tokens" in told.message
