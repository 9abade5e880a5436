"""JSON that is nested deeper than Python can follow, in each file that a recipe brings along: told, or passed
over, never a bug."""

from __future__ import annotations

import json
import shutil

import pytest
from support.small import ROOT

BASE = ROOT / "data" / "base_model"
MODEL_FILES = [
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "chat_template.json"),
    *("model.safetensors.index.json", "preprocessor_config.json"),
]
DEPTHS = [400, 900, 100_000]
"""Below Python's limit, close to it, far beyond it."""
ROW = {"prompt": "Where is Tarn?", "completion": "In the north."}


def nested(depth: int) -> str:
    return '{"a": [' * (depth // 2) + "1" + "]}" * (depth // 2)


def with_deep(text: str, depth: int) -> str:
    """A JSON object with one more key, whose value is nested."""
    inside = text.strip()[1:-1].strip()
    return f'{{{inside}{", " if inside else ""}"deep": {nested(depth)}}}'


@pytest.fixture
def recipe(tmp_path):
    model, rows = tmp_path / "model", tmp_path / "rows.jsonl"
    shutil.copytree(BASE, model)
    rows.write_text(json.dumps(ROW) + "\n")
    value = {
        "version": 1,
        "model": str(model),
        "adapter": {"use_lora": True, "target_modules": "all-linear"},
        "data": {"rows": {"path": str(rows)}},
        "stages": [{"name": "sft", "method": "sft", "data": "rows", "config": {"max_steps": 1}}],
    }

    def write(**changed):
        (tmp_path / "recipe.json").write_text(json.dumps({**value, **changed}))
        return tmp_path / "recipe.json"

    return write


def looked_at(here, recipe) -> None:
    for command in ("validate", "plan"):
        assert here(command, recipe).code in (0, 2)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_file_of_the_model(here, recipe, tmp_path, name, depth):
    file = tmp_path / "model" / name
    file.write_text(with_deep(file.read_text() if file.is_file() else "{}", depth))
    looked_at(here, recipe())


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_header_of_the_weights(here, recipe, tmp_path, depth):
    file = tmp_path / "model" / "model.safetensors"
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = with_deep(whole[8 : 8 + length].decode(), depth).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
    looked_at(here, recipe())


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", ["adapter_config.json", "tokenizer_config.json", "stage.json"])
def test_a_file_of_an_adapter(here, recipe, tmp_path, name, depth):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for file in ("adapter_config.json", name):
        (adapter / file).write_text('{"peft_type": "LORA", "r": 8}')
    (adapter / name).write_text(with_deep((adapter / name).read_text(), depth))
    stage = {"name": "sft", "method": "sft", "data": "rows", "from": str(adapter)}
    looked_at(here, recipe(stages=[stage]))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("column", ["other", "completion", "tools", "chat_template_kwargs", "history"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_row_of_the_data(here, recipe, tmp_path, name, column, depth):
    row = f'{json.dumps(ROW)[:-1]}, "{column}": {nested(depth)}}}'
    (tmp_path / name).write_text(f"[{row}]" if name.endswith(".json") else row + "\n")
    looked_at(here, recipe(data={"rows": {"path": str(tmp_path / name)}}))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", ["dataset_infos.json", "state.json"])
def test_a_file_beside_the_data(here, recipe, tmp_path, name, depth):
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(tmp_path / "rows.jsonl", folder / "train.jsonl")
    (folder / name).write_text(with_deep("{}", depth))
    looked_at(here, recipe(data={"rows": {"path": str(folder)}}))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("place", ["/model", "/adapter", "/stages/0/config", "/rewards", ""])
def test_the_recipe(here, recipe, place, depth):
    file = recipe()
    value = json.loads(file.read_text())
    value.setdefault("rewards", {})
    found = value
    for step in place.split("/")[1:]:
        if isinstance(found[int(step) if step.isdigit() else step], str):
            found[step] = {"path": found[step]}
        found = found[int(step) if step.isdigit() else step]
    found["deep"] = "DEEP"
    file.write_text(json.dumps(value).replace('"DEEP"', nested(depth)))
    assert here("validate", file).code == 2
