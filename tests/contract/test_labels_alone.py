"""Labels alone through TRL's head: losses, logged values and weights are what TRL comes to without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
import trl.trainer.utils
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
)

from ptspec.training.labels_alone import labels_alone

BASE = Path(__file__).parents[2] / "data/base_model"
TINY = {
    "vocab_size": 1228, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "use_cache": False,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS = {
    "llama": LlamaConfig(**TINY),
    "softcapped": Gemma2Config(**TINY, head_dim=16, final_logit_softcapping=2.0, tie_word_embeddings=True),
    "divided": GraniteConfig(**TINY, logits_scaling=4.0),
    "multiplied": CohereConfig(**TINY, logit_scale=0.25),
}
LORA = {"r": 4, "task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"]}
HEAD = {**LORA, "modules_to_save": ["lm_head"]}
CASES = {
    "sft": ("sft", "llama", LORA, {}),
    "sft, whole model": ("sft", "llama", None, {}),
    "sft, head saved": ("sft", "llama", HEAD, {}),
    "sft, prompts learned": ("sft", "llama", LORA, {"completion_only_loss": False}),
    "sft, packed": ("sft", "llama", LORA, {"packing": True, "max_length": 64}),
    "sft, dft": ("sft", "llama", LORA, {"loss_type": "dft"}),
    "sft, smoothed": ("sft", "llama", LORA, {"label_smoothing_factor": 0.1}),
    "sft, checkpointed": ("sft", "llama", LORA, {"gradient_checkpointing": True}),
    "dpo": ("dpo", "llama", LORA, {}),
    "dpo, reference once": ("dpo", "llama", LORA, {"precompute_ref_log_probs": True}),
    "dpo, weighted": ("dpo", "llama", LORA, {"use_weighting": True}),
    "kto": ("kto", "llama", LORA, {}),
    **{f"sft, {name}": ("sft", name, None, {}) for name in ("softcapped", "divided", "multiplied")},
}


def rows(method: str) -> Dataset:
    answers = ["Tarn .", "Mira lives in Tarn , near the old mill .", "Nobody knows ."]
    found = []
    for number in range(16):
        prompt = "Where does Mira live ? " * (1 + number % 3)
        answer, other = answers[number % 3], answers[(number + 1) % 3]
        found.append(
            {
                "sft": {"prompt": prompt, "completion": answer},
                "dpo": {"prompt": prompt, "chosen": answer, "rejected": other},
                "kto": {"prompt": prompt, "completion": answer, "label": number % 2 == 0},
            }[method]
        )
    return Dataset.from_list(found)


def trained(case: str, folder: Path, is_chosen: bool, monkeypatch: Any) -> tuple[list[dict], dict, int]:
    """Three steps of two passes by stochastic gradient descent: what was logged, the weights, and how many
    positions the head has scored."""
    method, kind, adapter, given = CASES[case]
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "output_dir": str(folder), "max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 0.05,
        "gradient_accumulation_steps": 2, "optim": "sgd", "bf16": False, "gradient_checkpointing": False,
        "logging_steps": 1, "report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no",
    }  # fmt: skip
    trainer = getattr(trl, f"{method.upper()}Trainer")(
        model=AutoModelForCausalLM.from_config(MODELS[kind]),
        args=getattr(trl, f"{method.upper()}Config")(**{**arguments, **given}),
        train_dataset=rows(method),
        processing_class=AutoTokenizer.from_pretrained(BASE),
        peft_config=LoraConfig(**adapter) if adapter else None,
    )
    scored = 0
    usual = trl.trainer.utils._ChunkedLogProbFunction.apply

    def counted(hidden: torch.Tensor, *more: Any) -> Any:
        nonlocal scored
        scored += len(hidden)
        return usual(hidden, *more)

    monkeypatch.setattr(trl.trainer.utils._ChunkedLogProbFunction, "apply", counted)
    with labels_alone(is_chosen):
        trainer.train()
    monkeypatch.undo()
    timed = ("runtime", "per_second")
    logged = [{k: v for k, v in one.items() if not k.endswith(timed)} for one in trainer.state.log_history]
    return (
        logged,
        {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()},
        scored,
    )


@pytest.mark.parametrize("case", CASES)
def test_what_is_trained_and_logged_is_trls(case, tmp_path, monkeypatch):
    theirs, weights, every = trained(case, tmp_path / "theirs", False, monkeypatch)
    ours, again, labelled = trained(case, tmp_path / "ours", True, monkeypatch)
    assert labelled < every
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=2e-5, abs=2e-6)
    assert "entropy" in ours[0]
    for name, weight in weights.items():
        torch.testing.assert_close(again[name], weight, rtol=1e-5, atol=1e-6)


def test_a_pass_without_labels_is_a_loss_of_zero_with_a_gradient():
    model = AutoModelForCausalLM.from_config(MODELS["llama"])
    trl.trainer.utils.add_fused_lm_head(model)
    ids = torch.arange(10, 18)[None]
    with labels_alone():
        found = model(input_ids=ids, labels=torch.full_like(ids, -100), fused_lm_head=True)
        found.loss.backward()
    assert found.loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_trl_decides_again_afterwards():
    usual = trl.trainer.utils._use_triton
    with pytest.raises(KeyError), labels_alone():
        assert trl.trainer.utils._use_triton(torch.device("cpu"))
        assert not trl.trainer.utils._use_triton(torch.device("meta"))
        raise KeyError
    assert trl.trainer.utils._use_triton is usual
