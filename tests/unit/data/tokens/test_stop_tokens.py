"""Generation stops where the chat template ends an answer; eos_token and pad_token of the recipe."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.tokenizers_for import ENDS, family, model_for, tokenizer_for
from transformers import AutoTokenizer

from ptspec.diagnostics import InputError
from ptspec.evaluation.generation import end_tokens
from ptspec.model.base import load_base, load_tokenizer
from ptspec.model.device import Device
from ptspec.model.export import export_model
from ptspec.model.model_cache import Bases
from ptspec.recipe.chat_templates import CHATML, named_template
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.store.stage_folder import open_artifact

CPU = Device("cpu", "cpu")
LORA = AdapterSpec(True)


@pytest.fixture
def base_model(tmp_path):
    """A base model as Qwen2.5's: its texts end with <|endoftext|>, its template's answers with <|im_end|>."""
    return model_for(tokenizer_for(named_template("qwen2_5"), None, "<|endoftext|>"), tmp_path / "model")


def load(folder, **fields):
    return load_base(ModelSpec(str(folder), True, **fields), LORA, CPU)


def stops(base):
    ids = base.model.generation_config.eos_token_id
    return base.tokenizer.convert_ids_to_tokens([ids] if isinstance(ids, int) else ids)


def test_the_end_of_an_answer_is_added(base_model):
    base = load(base_model)
    assert stops(base) == ["<|endoftext|>", "<|im_end|>"]
    assert base.tokenizer.eos_token == "<|endoftext|>"
    assert end_tokens(base.spawn(), base.tokenizer) == set(base.model.generation_config.eos_token_id)


@pytest.mark.parametrize("name", ENDS)
def test_a_family_that_stops_already_stays_as_it_is(tmp_path, name):
    folder = family(name, tmp_path)
    given = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert load(folder).model.generation_config.eos_token_id == given


def test_eos_and_pad_of_the_recipe(base_model, tmp_path):
    base = load(base_model, eos_token="<|im_end|>", pad_token="<|im_end|>")
    end = base.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert stops(base) == ["<|im_end|>", "<|endoftext|>"]
    assert base.model.config.eos_token_id == base.tokenizer.eos_token_id == end
    assert base.model.config.pad_token_id == base.model.generation_config.pad_token_id == end
    base.tokenizer.save_pretrained(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert (saved.eos_token, saved.pad_token) == ("<|im_end|>", "<|im_end|>")


def test_eos_is_a_new_token(base_model):
    base = load(base_model, eos_token="<|over|>", additional_special_tokens=("<|over|>",))
    assert stops(base)[0] == "<|over|>"
    assert base.model.get_input_embeddings().weight.shape[0] > base.tokenizer.eos_token_id


def test_eos_that_the_tokenizer_does_not_have(base_model):
    with pytest.raises(InputError) as raised:
        load_tokenizer(ModelSpec(str(base_model), True, eos_token="<|im_ent|>"))
    (told,) = raised.value.diagnostics
    assert (told.code, told.pointer) == ("unknown-token", "/model/eos_token")
    assert "<|im_end|>" in told.hint


def test_tokens_that_the_embedding_has_no_row_for_get_one_when_named(tmp_path):
    """Their ids need not follow one another."""
    made = tokenizer_for(CHATML, None, "<|im_end|>")
    folder = model_for(made, tmp_path)
    made.add_tokens(["<think>", "</think>"])
    made.save_pretrained(folder)
    base = load(folder, additional_special_tokens=("<think>", "</think>"))
    ids = torch.tensor([base.tokenizer("<think>x</think>")["input_ids"]])
    assert base.model(ids).logits.shape[-1] == ids.max() + 1


def adapter_of(base, folder):
    """An adapter folder as plain PEFT leaves it, with the tokenizer beside it."""
    model = get_peft_model(base.spawn(), LoraConfig(target_modules="all-linear", init_lora_weights=False))
    model.peft_config["default"].base_model_name_or_path = base.path
    model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)


def test_an_adapter_with_a_template_of_its_own(tmp_path):
    """`pt eval`, `pt chat` and `pt export` open it over its bare base: all stop where its answers end."""
    made = tokenizer_for(CHATML, None, "<|endoftext|>")
    made.chat_template = None
    folder = model_for(made, tmp_path / "model")
    assert load(folder).model.generation_config.eos_token_id == made.eos_token_id
    adapter_of(load(folder, chat_template=CHATML), tmp_path / "adapter")
    artifact = open_artifact(tmp_path / "adapter")
    model, base = Bases(ModelSpec(str(folder), True), CPU).open(LORA, artifact)
    ends = {made.eos_token_id, made.convert_tokens_to_ids("<|im_end|>")}
    assert base.tokenizer.chat_template == CHATML
    assert end_tokens(model, base.tokenizer) == ends
    export_model(artifact, tmp_path / "whole")
    written = json.loads((tmp_path / "whole" / "generation_config.json").read_text())
    assert set(written["eos_token_id"]) == ends
