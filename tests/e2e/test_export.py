"""`pt export`: what it writes computes what the adapter does, or nothing is written."""

from __future__ import annotations

import json

import pytest
from support.small import ROOT, pt_loaded

pytestmark = pytest.mark.slow


def logits(model):
    import torch

    with torch.no_grad():
        return model(torch.tensor([[1, 5, 9, 30, 7, 2, 40]])).logits.float()


@pytest.fixture(scope="module")
def policy(small_run):
    from peft import AutoPeftModelForCausalLM

    return logits(AutoPeftModelForCausalLM.from_pretrained(small_run.output / "dpo"))


def test_a_merged_model_loads_by_itself_and_gives_the_logits_of_the_adapter(small_run, policy, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    done = pt_loaded("export", small_run.output, tmp_path / "model")
    assert done.code == 0, done.stderr
    assert "compared with the adapter" in done.stderr
    assert "Warning" not in done.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert (logits(model) - policy).abs().max() < 1e-4
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template
    assert GenerationConfig.from_pretrained(tmp_path / "model").eos_token_id == 2
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 1.0), ("float16", 0.1), ("float32", 1e-4)])
def test_each_type_of_weights(small_run, tmp_path, dtype, bound):
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    assert pt_loaded("export", small_run.output / "sft", tmp_path / "m", "--dtype", dtype).code == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype="auto")
    assert model.dtype == getattr(torch, dtype)
    sft = AutoPeftModelForCausalLM.from_pretrained(small_run.output / "sft")
    assert (logits(model) - logits(sft)).abs().max() < bound


def test_the_adapter_alone(small_run, policy, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "adapter"
    assert pt_loaded("export", small_run.output, folder, "--adapter-only", "--base", "owner/name").code == 0
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/name"
    assert not (folder / "stage.json").exists()
    base = AutoModelForCausalLM.from_pretrained(ROOT / "data" / "base_model")
    assert (logits(PeftModel.from_pretrained(base, folder)) - policy).abs().max() < 1e-5
    assert pt_loaded("export", small_run.output, tmp_path / "as_is", "--adapter-only").code == 0
    kept = json.loads((tmp_path / "as_is" / "adapter_config.json").read_text())
    assert kept["base_model_name_or_path"] == str(ROOT / "data" / "base_model")


def test_nothing_is_overwritten(small_run, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("")
    for options in ((), ("--adapter-only",)):
        done = pt_loaded("export", small_run.output, full, *options)
        assert (done.code, "folder-in-use" in done.stderr) == (2, True)
    assert [path.name for path in full.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert pt_loaded("export", small_run.output, tmp_path / "empty", "--adapter-only").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((ROOT / "data",), "not-a-model"),
        ((ROOT / "data" / "base_model",), "not-a-model"),
        ((ROOT / "data" / "base_model", "--base", "a/b"), "wrong-usage"),
        ((ROOT / "data" / "base_model", "--adapter-only", "--dtype", "float32"), "wrong-usage"),
    ],
)
def test_what_cannot_be_exported(tmp_path, arguments, code):
    done = pt_loaded("export", arguments[0], tmp_path / "x", *arguments[1:])
    assert (done.code, code in done.stderr) == (2, True)
    assert not (tmp_path / "x").exists()


def test_whole_weights_are_exported_too(tmp_path):
    from ptspec.model.export import export_model
    from ptspec.model.export_files import export_adapter
    from ptspec.store.stage_folder import open_artifact

    artifact = open_artifact(ROOT / "data" / "base_model")
    assert export_model(artifact, tmp_path / "m", "float32").distance < 1e-6
    from ptspec.diagnostics import InputError

    with pytest.raises(InputError, match="whole weights"):
        export_adapter(artifact, tmp_path / "a")


def test_a_merge_that_goes_wrong_is_caught_and_nothing_is_left(small_run, tmp_path, monkeypatch):
    from peft import LoraModel

    from ptspec.diagnostics import StageError
    from ptspec.model.export import export_model
    from ptspec.store.stage_folder import open_artifact

    monkeypatch.setattr(LoraModel, "merge_and_unload", lambda model, **_: model.unload())
    with pytest.raises(StageError, match="not the policy"):
        export_model(open_artifact(small_run.output / "sft"), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
