"""Checkpoints that are not whole, and releases that are quantised: told before anything trains, or opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ptspec.checks.preflight import preflight
from ptspec.diagnostics import InputError
from ptspec.model.base import load_base
from ptspec.model.device import Device
from ptspec.model.model_cache import Bases
from ptspec.recipe.headers import NoShape, read_headers
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.recipe.shape import read_shape

ROOT = Path(__file__).parents[3]
BASE = ROOT / "data" / "base_model"
LORA = AdapterSpec(True, lora={"target_modules": "all-linear"})


@pytest.fixture
def model(tmp_path):
    """A copy of the shipped model, which a test may spoil."""
    shutil.copytree(BASE, tmp_path / "model")
    return tmp_path / "model"


def told(model: Path, **adapter: object) -> list[str]:
    recipe = model.parent / "recipe.json"
    data = {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 4}}
    stages = [{"name": "sft", "method": "sft", "data": "train"}]
    recipe.write_text(json.dumps({"model": str(model), "adapter": adapter, "data": data, "stages": stages}))
    return [f"{one.code}: {one.message}" for one in preflight(recipe).diagnostics]


def change(model: Path, edit) -> None:
    tensors = load_file(model / "model.safetensors")
    save_file(edit(tensors), model / "model.safetensors", metadata={"format": "pt"})


def configure(model: Path, **fields: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **fields}))


def refused(model: Path) -> str:
    with pytest.raises(InputError) as error:
        load_base(ModelSpec(str(model), True), LORA, Device("cpu", "CPU"))
    (found,) = error.value.diagnostics
    return f"{found.code}: {found.message}"


def test_a_layer_without_its_mlp(model):
    change(model, lambda tensors: {n: t for n, t in tensors.items() if ".2.mlp." not in n})
    (found,) = told(model)
    assert found.startswith("missing-tensors: the weights are not whole: model.layers.2 lacks mlp.down_proj")
    found = refused(model)
    assert found.startswith("missing-tensors")
    assert "model.layers.2.mlp.down_proj.weight" in found


def test_a_layer_that_is_not_there(model):
    change(model, lambda tensors: {n: t for n, t in tensors.items() if ".layers.3." not in n})
    assert "the config has 4 layers, and model.layers.3 is not there" in told(model)[0]
    assert "missing-tensors" in refused(model)


def test_what_no_look_at_names_can_tell_is_told_by_the_loading(model):
    change(model, lambda tensors: {n: t for n, t in tensors.items() if n != "model.norm.weight"})
    assert told(model) == []
    assert refused(model).endswith("the checkpoint does not have model.norm.weight")


def test_an_untied_head_that_is_not_there(model):
    configure(model, tie_word_embeddings=False)
    assert told(model) == [
        'missing-tensors: the weights are not whole: "tie_word_embeddings" is false, and there is no '
        "lm_head.weight"
    ]
    assert "lm_head.weight" in refused(model)


def test_a_tied_head_that_is_saved_all_the_same_counts_once(model):
    parameters = read_shape(model).parameters
    change(model, lambda t: {**t, "lm_head.weight": t["model.embed_tokens.weight"].clone()})
    assert told(model) == []
    assert read_shape(model).parameters == parameters


def test_embeddings_of_another_vocabulary(model):
    rows = json.loads((model / "config.json").read_text())["vocab_size"]
    configure(model, vocab_size=rows + 1)
    assert told(model)[0].startswith(
        "shape-mismatch: the weights contradict the config: model.embed_tokens has"
    )
    assert refused(model).startswith("shape-mismatch")
    configure(model, vocab_size=rows, intermediate_size=8)
    assert told(model) == []
    assert "mlp.down_proj.weight" in refused(model)


def test_layers_that_the_config_does_not_count_are_left_out(model):
    configure(model, num_hidden_layers=3)
    (found,) = told(model)
    assert found.startswith("left-out: 9 tensors of the checkpoint")
    assert found.endswith("model.layers.3")
    assert not any(".layers.3." in name for name in read_shape(model).tensors)


def test_a_file_that_is_cut_short(model):
    file = model / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    size, expected = f"{len(whole) - 1:,}", f"{len(whole):,}"
    (found,) = told(model)
    assert found.endswith(f"model.safetensors is cut short: it has {size} bytes of {expected}")


def test_an_index_that_lists_what_is_not_there(model):
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(NoShape, match="lists files that are not there: model-00001-of-00002"):
        read_headers(model)
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}))
    with pytest.raises(NoShape, match="lists 2 tensors that no file holds, among them a"):
        read_headers(model)


@pytest.fixture
def quantised(tmp_path):
    """Makes a tiny release whose weights are quantised: fp8 in blocks, mxfp4 experts."""

    def quantised(method: str) -> Path:
        small = {"vocab_size": 1306, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
        small |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
        if method == "mxfp4":
            config = transformers.GptOssConfig(
                **small, num_local_experts=2, num_experts_per_tok=1, layer_types=["full_attention"]
            )
        else:
            config = transformers.LlamaConfig(**small)
        model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
        folder = tmp_path / "model"
        model.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(BASE / name, folder / name)
        change(folder, {"fp8": in_fp8, "mxfp4": in_mxfp4}[method])
        configure(folder, quantization_config={"quant_method": method})
        return folder

    return quantised


def in_fp8(tensors):
    made = {}
    for name, tensor in tensors.items():
        if "_proj" in name:
            made[name] = tensor.to(torch.float8_e4m3fn)
            made[f"{name}_scale_inv"] = torch.ones(1, 1)
        else:
            made[name] = tensor
    return made


def in_mxfp4(tensors):
    made = {}
    for name, tensor in tensors.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, into, out = tensor.shape
            made[f"{name}_blocks"] = torch.randint(0, 256, (experts, out, into // 32, 16), dtype=torch.uint8)
            made[f"{name}_scales"] = torch.full((experts, out, into // 32), 120, dtype=torch.uint8)
        else:
            made[name] = tensor
    return made


@pytest.mark.parametrize("method", ["fp8", "mxfp4"])
def test_lora_goes_over_a_quantised_release(quantised, method):
    folder = quantised(method)
    assert told(folder, use_lora=True, target_modules=["q_proj"]) == []
    base = load_base(ModelSpec(str(folder), True), LORA, Device("cpu", "CPU"))
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.bfloat16}
    theirs = {name: tuple(parameter.shape) for name, parameter in base.model.named_parameters()}
    assert {name: tensor.shape for name, tensor in read_shape(folder).tensors.items()} == theirs
    model = base.spawn()
    model.requires_grad_(True)
    loss = model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss
    loss.backward()
    assert model.get_input_embeddings().weight.grad.isfinite().all()


def test_what_does_not_go_over_a_quantised_release(quantised):
    folder = quantised("fp8")
    assert told(folder, use_lora=True, use_qlora=True)[0].startswith(
        "already-quantised: the weights are quantised"
    )
    assert "full fine-tuning would train them" in told(folder)[0]


def test_what_is_left_out_of_a_model_with_code_of_its_own_is_told_once_it_is_loaded(model, monkeypatch):
    """Nothing but transformers' own loading can tell."""
    cache = str(model.parent / "modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", cache)
    change(model, lambda tensors: {**tensors, "visual.weight": torch.zeros(4, 4)})
    (model / "configuration_own.py").write_text(
        "from transformers import LlamaConfig\nclass OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    )
    (model / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\nfrom .configuration_own import OwnConfig\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    names = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
    }
    configure(model, model_type="own", architectures=["OwnForCausalLM"], auto_map=names)
    heard: list[str] = []
    spec = ModelSpec(str(model), True, trust_remote_code=True)
    bases = Bases(spec, Device("cpu", "CPU"), heard.append)
    bases.get(LORA)
    bases.get(AdapterSpec(False))
    assert heard == ["tensors of the checkpoint that are not part of the model are left out: visual.weight"]
