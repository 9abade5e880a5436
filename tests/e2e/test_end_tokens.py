"""A base model that gets another chat template: its answers end, in the run and in plain transformers."""

from __future__ import annotations

import json

import torch
from support.small import ROOT, run_here
from transformers import AutoModelForCausalLM, AutoTokenizer

from ptspec.model.device import Device
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.store.stage_folder import open_artifact

BASE = ROOT / "data/base_model"
TOWNS = ("Tarn", "Oslo", "Rome", "Ur")


def trained(folder, model, adapter, steps):
    """The stage folder of an SFT that learns four answers by heart."""
    rows = [{"prompt": f"Where is {town}?", "completion": f"{town} is here."} for town in TOWNS]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"learning_rate": 3e-3, "max_steps": steps, "per_device_train_batch_size": 4}
    recipe = {
        "model": {"path": str(BASE), **model},
        "adapter": adapter,
        "data": {"rows": {"path": str(folder / "rows.jsonl")}},
        "stages": [{"name": "sft", "method": "sft", "data": "rows", "config": config}],
        "eval": {"data": "rows", "max_new_tokens": 24, "samples": 2, "sampled": 0},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    ran = run_here(folder / "recipe.json", folder / "out")
    assert ran.error is None
    return folder / "out/sft"


def answer(model, tokenizer):
    """What plain transformers says, by the model's own generation config, special tokens included."""
    chat = [{"role": "user", "content": "Where is Oslo?"}]
    given = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        said = model.generate(**given, max_new_tokens=24, do_sample=False)
    return tokenizer.decode(said[0, given["input_ids"].shape[1] :])


def test_a_full_model_ends_its_answers_with_a_new_token(tmp_path):
    model = {"chat_template": "chatml", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    folder = trained(tmp_path, model, {"use_lora": False}, steps=40)
    measured = json.loads((folder / "evaluation_stats.json").read_text())
    assert measured["metrics"]["finished"]["value"] == 1
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "<|end|>"
    assert answer(AutoModelForCausalLM.from_pretrained(folder), tokenizer).endswith(" is here.<|im_end|>")


def test_an_adapter_keeps_the_recipes_eos_token(tmp_path):
    """The template ends answers with a token of the tokenizer that is not its eos, as Llama-3's does."""
    template = (BASE / "chat_template.jinja").read_text().replace("eos_token", "'<|system|>'")
    model = {"chat_template": template, "eos_token": "<|system|>"}
    folder = trained(tmp_path, model, {"use_lora": True, "r": 4, "target_modules": "all-linear"}, steps=2)
    artifact = open_artifact(folder)
    policy, base = Bases(ModelSpec(artifact.weights, True), Device("cpu", "cpu")).open(
        AdapterSpec(True), artifact
    )
    assert base.tokenizer.eos_token == AutoTokenizer.from_pretrained(folder).eos_token == "<|system|>"
    assert policy.generation_config.eos_token_id == [base.tokenizer.eos_token_id, 2]
