"""What a model's files say before it is loaded; strings stay strings where there is no chat template."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from ptspec.checks.preflight import preflight
from ptspec.data.tokens.template import read_tokenizer
from ptspec.recipe import targets
from ptspec.recipe.headers import NoShape, read_header
from ptspec.recipe.shape import read_shape

ROOT = Path(__file__).parents[3]
BASE = ROOT / "data" / "base_model"


@pytest.fixture
def recipe(tmp_path):
    """A recipe over a copy of the shipped model, which a test may spoil."""
    shutil.copytree(BASE, tmp_path / "model")
    file = tmp_path / "recipe.json"
    data = {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 20}}
    stages = [{"name": "sft", "method": "sft", "data": "train"}]
    file.write_text(json.dumps({"model": str(tmp_path / "model"), "data": data, "stages": stages}))
    return file


def codes(recipe: Path, *overrides: str) -> list[str]:
    return [diagnostic.code for diagnostic in preflight(recipe, overrides).diagnostics]


def test_the_shipped_model_is_sound(recipe):
    assert codes(recipe) == []


def test_strings_stay_strings_without_a_chat_template(recipe):
    assert preflight(recipe).plan.data["train"].chat
    (recipe.parent / "model" / "chat_template.jinja").unlink()
    reading = preflight(recipe)
    assert not reading.diagnostics
    assert not reading.plan.data["train"].chat


def test_a_template_in_the_tokenizers_config_counts(recipe):
    model = recipe.parent / "model"
    template = (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").unlink()
    config = json.loads((model / "tokenizer_config.json").read_text())
    for given in (template, [{"name": "tool", "template": "x"}, {"name": "default", "template": template}]):
        (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": given}))
        assert read_tokenizer(model).template == template
        assert preflight(recipe).plan.data["train"].chat


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda model: (model / "model.safetensors").unlink(), "no-weights"),
        (lambda model: (model / "model.safetensors").write_bytes(b""), "no-weights"),
        (lambda model: (model / "model.safetensors").write_bytes(b"\xff" * 80), "no-weights"),
        (lambda model: (model / "config.json").write_text("[]"), "no-weights"),
        (lambda model: (model / "config.json").write_text("{"), "no-weights"),
        (lambda model: (model / "tokenizer.json").unlink(), "no-tokenizer"),
        (lambda model: (model / "tokenizer.json").write_text('{"version": '), "no-tokenizer"),
    ],
)
def test_a_damaged_model_is_reported_before_it_is_loaded(recipe, damage, code):
    damage(recipe.parent / "model")
    assert codes(recipe) == [code]


def test_a_shard_that_is_missing(recipe):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (recipe.parent / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert codes(recipe) == ["no-weights"]


@pytest.mark.parametrize("length", [0, 1, 2**40])
def test_a_header_of_a_wrong_length_is_refused(tmp_path, length):
    file = tmp_path / "x.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(NoShape):
        read_header(file)


def test_modules_are_matched_as_peft_does():
    shape = read_shape(BASE)
    assert len(targets.targeted({"target_modules": "all-linear"}, shape)) == 28
    assert len(targets.targeted({"target_modules": ["q_proj"]}, shape)) == 4
    assert targets.targeted({"target_modules": ["proj"]}, shape) == []
    with pytest.raises(targets.UnknownTargets):
        targets.targeted({"target_modules": "("}, shape)


def test_a_continued_adapter_is_not_checked_again(recipe):
    use = ["adapter.use_lora=true", 'adapter.target_modules=["q_proj", "nothing"]']
    use.append("stages.sft.config.learning_rate=2e-4")
    assert codes(recipe, *use) == ["no-such-module"]


def with_template(recipe: Path, name: str, **row: object) -> None:
    """A template of TRL's in the model's folder, and one chat as the data."""
    templates = Path(find_spec("trl").origin).parent / "chat_templates"
    shutil.copy(templates / name, recipe.parent / "model" / "chat_template.jinja")
    chat = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}]
    (recipe.parent / "d.jsonl").write_text(json.dumps({"messages": chat, **row}) + "\n")


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("llama3_1.jinja", ["no-generation-marks"]),
        ("llama3_2.jinja", ["no-generation-marks"]),
        ("gemma4.jinja", ["no-generation-marks"]),
        ("llama3.jinja", []),
        ("qwen3.jinja", []),
        ("qwen3_training.jinja", []),
    ],
)
def test_a_template_that_trl_cannot_mask_is_reported(recipe, template, found):
    with_template(recipe, template)
    use = [f"data.train.path={recipe.parent / 'd.jsonl'}", "stages.sft.config.assistant_only_loss=true"]
    assert [one for one in codes(recipe, *use) if one == "no-generation-marks"] == found


def test_a_chat_without_an_answer_is_no_row_for_the_assistant_alone(recipe):
    with_template(recipe, "qwen3.jinja", messages=[{"role": "user", "content": "Where?"}])
    use = [f"data.train.path={recipe.parent / 'd.jsonl'}", "stages.sft.config.assistant_only_loss=true"]
    told = {one.code: one.message for one in preflight(recipe, use).diagnostics}
    assert "the trainer refuses this row" in told["cannot-render"]


def test_a_long_template_counts(recipe):
    """Of rows that are short by their bytes, the template alone makes long ones."""
    with_template(recipe, "cohere2.jinja")
    use = [f"data.train.path={recipe.parent / 'd.jsonl'}", "stages.sft.config.max_length=300"]
    assert "rows-cut" in codes(recipe, *use)


def test_long_rows_are_reported_with_their_place(recipe):
    reading = preflight(recipe, ["stages.sft.config.max_length=20"])
    (told,) = reading.diagnostics
    assert told.code == "rows-cut"
    assert told.location.file.endswith("train.jsonl")
    assert reading.plan is not None
    assert preflight(recipe, ["stages.sft.config.max_length=2"]).plan is None


@pytest.mark.parametrize(("rows", "said"), [(3, "takes them all"), (300, "takes these; pt plan looks")])
def test_a_max_length_for_all_rows_is_named_where_all_were_looked_at(recipe, tmp_path, rows, said):
    """The longest row stands last: behind those that a check of so much text looks at."""
    lengths = [500] * (rows - 1) + [600]
    lines = [json.dumps({"prompt": f"{i}", "completion": "town " * n}) for i, n in enumerate(lengths)]
    (tmp_path / "long.jsonl").write_text("\n".join(lines))
    source = [f"data.train.path={tmp_path / 'long.jsonl'}", f"data.train.limit={rows}"]
    use = [*source, "stages.sft.config.max_length=100"]
    (told,) = [one for one in preflight(recipe, use).diagnostics if one.code == "rows-cut"]
    assert said in told.hint


def test_the_length_of_the_template_itself_counts(recipe):
    """Rows of twenty tokens behind a system prompt of the template's own that is longer than max_length."""
    template = (BASE / "chat_template.jinja").read_text()
    model = json.dumps({"path": str(BASE), "chat_template": "the town " * 220 + template})
    reading = preflight(recipe, [f"model={model}", "stages.sft.config.max_length=400"])
    assert [(d.code, d.severity.value) for d in reading.diagnostics] == [("rows-cut", "error")]


@pytest.mark.parametrize(
    "name",
    [
        *("model/config.json", "model/generation_config.json", "model/model.safetensors.index.json"),
        *("model/tokenizer_config.json", "model/special_tokens_map.json"),
        *("adapter/adapter_config.json", "rows/dataset_dict.json"),
    ],
)
def test_json_that_is_nested_too_deep_is_damaged_like_any_other(recipe, name):
    """Every file that `pt validate` opens beside the recipe; the decoder raises no ValueError there."""
    for folder in ("adapter", "rows"):
        (recipe.parent / folder).mkdir()
    (recipe.parent / "adapter/adapter_config.json").write_text('{"peft_type": "LORA"}')
    shutil.copy(ROOT / "data/train.jsonl", recipe.parent / "rows")
    given = json.loads(recipe.read_text())
    given["data"] = {"train": {"path": str(recipe.parent / "rows"), "limit": 20}}
    given["adapter"] = {"use_lora": True}
    given["stages"][0]["from"] = str(recipe.parent / "adapter")
    recipe.write_text(json.dumps(given))
    (recipe.parent / name).write_text("{}")
    expected = codes(recipe)
    (recipe.parent / name).write_text('{"a":' * 100_000)
    nested = codes(recipe)
    (recipe.parent / name).write_text("{")
    assert nested == codes(recipe)
    assert name == "model/config.json" or nested == expected
