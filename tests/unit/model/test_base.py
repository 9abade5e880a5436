"""The base weights stand once; no stage sees what another did to a module."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.tiny_base import tiny_base
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, FalconConfig, FalconForCausalLM

from ptspec.model.base import NF4, Base
from ptspec.model.handover import whole


@pytest.fixture
def base():
    return tiny_base(tie_word_embeddings=True)


def test_a_spawned_model_shares_all_storage_and_no_module(base):
    spawned = base.spawn()
    for ours, theirs in zip(spawned.parameters(), base.model.parameters(), strict=True):
        assert ours.data_ptr() == theirs.data_ptr()
        assert ours is not theirs
    assert not set(map(id, spawned.modules())) & set(map(id, base.model.modules()))
    assert spawned.lm_head.weight is spawned.model.embed_tokens.weight


def test_what_a_trainer_does_to_one_is_not_seen_by_the_next(base):
    first = base.spawn()
    first.forward = lambda *args, **kwargs: 0
    adapted = get_peft_model(first, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    ids = torch.arange(8)[None]
    with torch.no_grad():
        untouched = base.model(ids).logits
        assert torch.equal(base.spawn()(ids).logits, untouched)
    assert any("lora" in name for name, _ in adapted.named_parameters())
    assert not any("lora" in name for name, _ in base.spawn().named_parameters())


@pytest.mark.parametrize(
    "cast",
    [
        lambda model: model.to(torch.bfloat16),
        lambda model: get_peft_model(
            model, LoraConfig(target_modules="all-linear", init_lora_weights="pissa")
        ),
    ],
    ids=["cast", "pissa"],
)
def test_weights_that_are_replaced_in_one_stay_as_they_are_in_the_base(base, cast):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    cast(base.spawn())
    after = base.model.state_dict()
    assert all(tensor.dtype == torch.float32 for tensor in after.values())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_full_fine_tuning_gets_trainable_weights_of_its_own(base):
    base.spawn()
    own = base.spawn(own_weights=True)
    assert all(parameter.requires_grad for parameter in own.parameters())
    before = base.model.lm_head.weight.clone()
    with torch.no_grad():
        own.lm_head.weight.add_(1)
    assert torch.equal(base.model.lm_head.weight, before)


def test_of_a_model_that_bitsandbytes_leaves_alone_nothing_is_dequantised(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32}
    FalconForCausalLM(FalconConfig(**sizes, bos_token_id=0, eos_token_id=0)).save_pretrained(tmp_path)
    options = {"quantization_config": BitsAndBytesConfig(**NF4), "dtype": torch.float32}
    model = AutoModelForCausalLM.from_pretrained(tmp_path, **options).eval()
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(whole(Base(str(tmp_path), model, None, 0))(ids).logits, model(ids).logits)
