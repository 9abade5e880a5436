"""Rewards as built from a plan, in TRL's own GRPO trainer."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from ptspec.model.device import Device
from ptspec.rewards.builtin import builtin
from ptspec.rewards.checked import CheckedReward, in_data_form
from ptspec.rewards.models import open_reward_model

BASE = str(Path(__file__).parents[3] / "data" / "base_model")


@pytest.mark.slow
def test_grpo_calls_them_and_logs_them_by_their_names(tmp_path):
    seen = []

    def brevity(completions, answer, log_metric):
        log_metric("longest", max(map(len, completions)))
        seen.extend(zip(completions, answer, strict=True))
        return [None if n == 0 else 1 / (1 + len(text)) for n, text in enumerate(completions)]

    scorer = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=1, dtype=torch.float32)
    scorer.save_pretrained(tmp_path / "scorer")
    AutoTokenizer.from_pretrained(BASE).save_pretrained(tmp_path / "scorer")
    model = open_reward_model(str(tmp_path / "scorer"), Device("cpu", "cpu"), at="")
    rewards = [
        CheckedReward(in_data_form(brevity, True), "short", "/rewards/short"),
        CheckedReward(in_data_form(builtin("exact_match"), True), "right", "/rewards/right"),
        CheckedReward(model, "liked", "/rewards/liked"),
    ]
    rows = [
        {"prompt": [{"role": "user", "content": f"Where is {place}?"}], "answer": place, "kind": "where"}
        for place in ("Tarn", "Rome")
    ]
    config = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=6,
        max_steps=1,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        reward_weights=[1.0, 2.0, 0.5],
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(BASE),
        reward_funcs=rewards,
        args=config,
        train_dataset=Dataset.from_list(rows),
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    for name in ("short", "right", "liked"):
        assert torch.isfinite(torch.tensor(logged[f"rewards/{name}/mean"]))
    assert logged["rewards/liked/std"] > 0
    assert logged["longest"] == max(len(text) for text, _ in seen)
    assert len(seen) == 4
    assert all(isinstance(text, str) and answer in ("Tarn", "Rome") for text, answer in seen)
