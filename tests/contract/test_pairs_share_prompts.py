"""A pair's prompt read once: DPO's losses, logged values and weights are what TRL comes to without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, GPT2Config, LlamaConfig

from ptspec.training import shared_prompts
from ptspec.training.labels_alone import labels_alone
from ptspec.training.shared_prompts import prompts_shared

BASE = Path(__file__).parents[2] / "data/base_model"
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": 1228}
SMALL = {"num_attention_heads": 2, "num_hidden_layers": 2, "hidden_size": 32}
LARGE = {"initializer_range": 0.2}
"""Of weights: so that what a token sees matters."""
MODELS = {
    "llama": LlamaConfig(**IDS, **SMALL, **LARGE, intermediate_size=64, num_key_value_heads=1),
    "gpt2": GPT2Config(
        **IDS, **LARGE, n_embd=32, n_layer=2, n_head=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
    ),
    "bloom": BloomConfig(**IDS, **LARGE, n_layer=2, n_head=2, hidden_size=32),
}
LORA = {"r": 4, "task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"]}
CASES = {
    "adapter": ("llama", LORA, {}),
    "whole model": ("llama", None, {}),
    "learned positions": ("gpt2", None, {}),
    "reference once": ("llama", LORA, {"precompute_ref_log_probs": True}),
    "weighted": ("llama", LORA, {"use_weighting": True}),
    "two losses": ("llama", LORA, {"loss_type": ["sigmoid", "sft"]}),
    "lengths desensitised": ("llama", LORA, {"ld_alpha": 0.5}),
    "cut": ("llama", LORA, {"max_length": 24}),
    "checkpointed": ("llama", LORA, {"gradient_checkpointing": True}),
}


def pairs() -> Dataset:
    answers = ["Tarn .", "Mira lives in Tarn , near the old mill .", "Mira lives far away ."]
    prompts = ["Where does Mira live ? " * (2 + number % 3) for number in range(16)]
    chosen, rejected = ([answers[(number + by) % 3] for number in range(16)] for by in (0, 1))
    return Dataset.from_dict({"prompt": prompts, "chosen": chosen, "rejected": rejected})


def trained(case: tuple, folder: Path, is_chosen: bool) -> tuple[list[dict], dict, list[int], list[str]]:
    """Three steps by stochastic gradient descent: what was logged, the weights, the tokens of each pass that
    learns, and what was told."""
    kind, adapter, given = case
    torch.manual_seed(0)
    fields: dict[str, Any] = {
        "output_dir": str(folder), "max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 0.01,
        "gradient_accumulation_steps": 2, "optim": "sgd", "bf16": False, "gradient_checkpointing": False,
        "logging_steps": 1, "report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    told: list[str] = []
    AutoModelForCausalLM.from_config(MODELS[kind]).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)  # the reference is read from there
    read: list[int] = []
    model.get_input_embeddings().register_forward_hook(
        lambda module, ids, output: read.append(ids[0].numel()) if torch.is_grad_enabled() else None
    )
    with prompts_shared(is_chosen, told.append), labels_alone():
        trainer = trl.DPOTrainer(
            model=model,
            args=trl.DPOConfig(**{**fields, **given}),
            train_dataset=pairs(),
            processing_class=AutoTokenizer.from_pretrained(BASE),
            peft_config=LoraConfig(**adapter) if adapter else None,
        )
        trainer.train()
    timed = ("runtime", "per_second")
    logged = [{k: v for k, v in one.items() if not k.endswith(timed)} for one in trainer.state.log_history]
    weights = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    return logged, weights, read, told


@pytest.mark.parametrize("case", CASES)
def test_what_is_trained_and_logged_is_trls(case, tmp_path):
    theirs, weights, every, _ = trained(CASES[case], tmp_path / "theirs", False)
    ours, again, read, told = trained(CASES[case], tmp_path / "ours", True)
    assert told == []
    assert sum(read) < 0.9 * sum(every)
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=5e-5, abs=5e-6)
    moved = 0.0
    for name, weight in weights.items():
        torch.testing.assert_close(again[name], weight, rtol=1e-4, atol=2e-6)
        moved += weight.sum().item()
    assert moved


def test_a_model_that_has_no_use_for_positions_reads_as_trl_has_it_and_says_so(tmp_path):
    """Bloom's attention goes by distances in the sequence (ALiBi)."""
    theirs, _, every, _ = trained(("bloom", None, {}), tmp_path / "theirs", False)
    ours, _, read, told = trained(("bloom", None, {}), tmp_path / "ours", True)
    assert len(told) == 1
    assert read == every
    assert [one.get("loss") for one in ours] == [one.get("loss") for one in theirs]


def test_a_wrong_mask_is_noticed(tmp_path, monkeypatch):
    usual = shared_prompts.joined

    def blind(*rows: Any, **given: Any) -> Any:
        found = usual(*rows, **given)
        if found is not None:
            found.mask[:] = torch.ones_like(found.mask).tril()
        return found

    monkeypatch.setattr(shared_prompts, "joined", blind)
    _, _, _, told = trained(CASES["whole model"], tmp_path, True)
    assert len(told) == 1


def test_trl_adds_its_own_head_afterwards():
    usual = trl.trainer.dpo_trainer.add_fused_lm_head
    with prompts_shared(True, print):
        assert trl.trainer.dpo_trainer.add_fused_lm_head is not usual
    assert trl.trainer.dpo_trainer.add_fused_lm_head is usual
