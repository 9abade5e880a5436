"""What `pt eval` refuses before anything is loaded."""

import json
import shutil
from pathlib import Path

import pytest

from ptspec.data.dataset import load_evaluation
from ptspec.diagnostics import InputError
from ptspec.evaluation.request import evaluate_targets, make_request
from ptspec.store.manifest import MANIFEST

ROOT = Path(__file__).parents[3]
STAGES = (("sft", "sft"), ("rm", "reward"))


@pytest.fixture
def run(tmp_path):
    """A run with a policy and a reward model, as far as their records go."""
    out = tmp_path / "out"
    stages = [{"name": name, "method": method, "data": "train"} for name, method in STAGES]
    data = {"train": {"path": str(ROOT / "data/train.jsonl")}}
    recipe = {"model": {"path": str(ROOT / "data/base_model")}, "data": data, "stages": stages}
    for stage in stages:
        folder = out / stage["name"]
        folder.mkdir(parents=True)
        (folder / "stage.json").write_text(json.dumps({"method": stage["method"], "parent": "base"}))
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base"}))
        (folder / "adapter_model.safetensors").write_bytes(b"")
    kept = {"format": 1, "ptspec": "0", "written": "", "recipe_file": "r.json", "recipe": recipe, "data": {}}
    model = {"path": "base", "sha256": ""}
    rest = {"stages": {"sft": {}, "rm": {}}, "versions": {}, "environment": {}}
    (out / MANIFEST).write_text(json.dumps({**kept, "model": model, **rest}))
    (tmp_path / "held.jsonl").write_text('{"prompt": "q", "answer": "a"}\n')
    return tmp_path


def question(run, *paths, compare=False, output=None):
    return make_request([str(run / path) for path in paths], run / "held.jsonl", compare, output, None)


def test_a_reward_model_answers_no_prompts(run):
    assert [target.name for target in question(run, "out").targets] == ["base", "sft"]
    with pytest.raises(InputError, match="rm is a reward model"):
        question(run, "out/rm")
    with pytest.raises(InputError, match="two or more policies"):
        question(run, "out/sft", "out/rm", compare=True)


def test_what_was_not_evaluated_needs_data(run):
    with pytest.raises(InputError, match="sft has no evaluation of its own"):
        make_request([str(run / "out/sft")], None, False, None, None)


def test_a_file_is_read_with_the_columns_that_the_recipe_has_for_it(run):
    manifest = json.loads((run / "out" / MANIFEST).read_text())
    train = {"path": str(run / "mine.jsonl"), "columns": {"prompt": "Frage", "completion": "Antwort"}}
    manifest["recipe"]["data"]["train"] = train
    (run / "out" / MANIFEST).write_text(json.dumps(manifest))
    for name in ("mine.jsonl", "like_it.jsonl"):
        (run / name).write_text('{"Frage": "q", "Antwort": "a"}\n')
        asked = make_request([str(run / "out/sft")], run / name, False, None, None)
        assert asked.held is not None and asked.held.source.columns == train["columns"]


def test_an_output_with_something_else_is_refused(run):
    with pytest.raises(InputError, match="holds something else"):
        question(run, "out/sft", output=run)
    assert question(run, "out/sft", output=run / "new").output == run / "new"


@pytest.mark.parametrize(
    ("row", "asked"), [({"question": "q", "answer": "a"}, "q"), ({"prompt": "p", "answer": "a"}, "p")]
)
def test_data_is_read_as_the_recipe_reads_its_held_out_rows(run, row, asked):
    manifest = run / "out" / MANIFEST
    kept = json.loads(manifest.read_text())
    source = {"path": "eval.jsonl", "columns": {"prompt": "question"}, "system": "Be brief.", "split": "test"}
    kept["recipe"]["data"]["heldout"], kept["recipe"]["eval"] = source, {"data": "heldout"}
    manifest.write_text(json.dumps(kept))
    (run / "held.jsonl").write_text(json.dumps(row) + "\n")
    (held,) = load_evaluation({"data": question(run, "out/sft").held.source}, "data")
    assert held.prompt == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": asked},
    ]


def test_rows_that_the_template_refuses_are_reported_with_their_lines(tmp_path):
    model = shutil.copytree(ROOT / "data/base_model", tmp_path / "model")
    template = model / "chat_template.jinja"
    refuses = "{%- if messages[0].role == 'system' -%}{{- raise_exception('no system here') -}}{%- endif -%}"
    template.write_text(refuses + template.read_text())
    plain = {"prompt": "Where is it?", "completion": "Here."}
    rows = [plain, {**plain, "system": "Be brief."}, {**plain, "system": "Be kind."}]
    data = tmp_path / "held.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = make_request([str(model)], data, False, None, 4)
    with pytest.raises(InputError) as told:
        evaluate_targets(request, lambda event: None)
    (found,) = told.value.diagnostics
    assert found.code == "cannot-render" and "no system here" in found.message
    assert (found.location.file.rpartition("/")[2], found.location.line) == ("held.jsonl", 2)
    assert found.notes[0] == "2 rows of 3 have this error: lines 2, 3"
