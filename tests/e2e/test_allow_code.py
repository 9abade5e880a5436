"""Code that a recipe or a model brings along runs with --allow-code, and at no other time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.small import ROOT, pt_loaded, write_recipe

from ptspec.diagnostics import InputError
from ptspec.recipe.plan import AdapterSpec
from ptspec.recipe.resolve import load_plan

MARKED = "from pathlib import Path\nPath(__file__).with_name('was_run').touch()\n"
CONFIGURATION = """
from transformers import LlamaConfig
class TinyConfig(LlamaConfig):
    model_type = "tiny_of_its_own"
"""
MODELING = """
from transformers import LlamaForCausalLM
from .configuration_tiny import TinyConfig
class TinyForCausalLM(LlamaForCausalLM):
    config_class = TinyConfig
"""


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    """The shipped base as an architecture of its own, whose code leaves a mark when it is imported."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "data" / "base_model", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "tiny_of_its_own",
        "architectures": ["TinyForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_tiny.TinyConfig",
            "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    mark = f"from pathlib import Path\nPath({str(tmp_path / 'was_run')!r}).touch()\n"
    (folder / "configuration_tiny.py").write_text(mark + CONFIGURATION)
    (folder / "modeling_tiny.py").write_text(mark + MODELING)
    return folder


def short(recipe: dict) -> None:
    del recipe["eval"]
    del recipe["data"]["heldout"]
    recipe["data"]["train"]["limit"] = 16
    recipe["stages"] = recipe["stages"][:1]
    recipe["stages"][0]["config"]["max_steps"] = 1


def with_model(folder: Path, model: Path, trust: bool) -> Path:
    def change(recipe: dict) -> None:
        short(recipe)
        recipe["model"] = {"path": str(model)} | ({"trust_remote_code": True} if trust else {})

    return write_recipe(folder, change)


@pytest.mark.slow
def test_a_models_own_code_runs_where_recipe_and_command_line_both_say_so(model, tmp_path, here):
    from ptspec.model.base import load_base
    from ptspec.model.device import find_device

    was_run, output = tmp_path / "was_run", tmp_path / "out"
    recipe = with_model(tmp_path, model, trust=False)
    with pytest.raises(InputError) as caught:
        load_base(load_plan(recipe).model, AdapterSpec(True), find_device())
    assert caught.value.diagnostics[0].code == "cannot-load-model"
    assert '"trust_remote_code": true in the recipe, and --allow-code' in caught.value.diagnostics[0].hint
    assert not was_run.exists()
    recipe = with_model(tmp_path, model, trust=True)
    line = next(i for i, x in enumerate(recipe.read_text().splitlines(), 1) if "trust_remote_code" in x)
    for command in (["validate", recipe], ["plan", recipe], ["run", recipe, "--output", output]):
        told = here(*command)
        assert not was_run.exists(), command
        said = f"pt run needs --allow-code: it runs the code of {model}\n" in told.stderr
        assert said == (command[0] != "run")
        assert not output.exists()
    assert told.code == 2
    assert f"{recipe}:{line}:" in told.stderr
    assert "code-not-allowed" in told.stderr
    done = pt_loaded("run", recipe, "--output", output, "--allow-code")
    assert (done.code, was_run.exists()) == (0, True), done.stderr
    was_run.unlink()
    rows = ROOT / "data" / "eval.jsonl"
    for command in (
        ["eval", output, "--data", rows],
        ["export", output, tmp_path / "merged"],
        ["chat", output],
    ):
        told = here(*command)
        assert (told.code, "code-not-allowed" in told.stderr, was_run.exists()) == (2, True, False), command
    again = here("run", output / "manifest.json")
    assert (again.code, "code-not-allowed" in again.stderr, was_run.exists()) == (2, True, False)


def test_a_kernel_of_the_hub_is_code(tmp_path, here):
    def change(recipe: dict) -> None:
        short(recipe)
        recipe["model"]["attn_implementation"] = "somebody/attention"

    told = here("run", write_recipe(tmp_path, change), "--output", tmp_path / "out")
    assert (told.code, "code-not-allowed" in told.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("used", ["by a stage", "by the evaluation", "as a judge"])
def test_a_recipes_own_python_is_not_imported_without_leave(tmp_path, here, used):
    """`validate`, `plan`, a dry run, and a run without --allow-code: none of them runs the file."""
    (tmp_path / "mine.py").write_text(
        MARKED
        + "def brief(prompts, completions, **columns):\n    return [0.0 for _ in prompts]\n"
        + "def judge(prompts, a, b):\n    return [0.5 for _ in prompts]\n"
    )

    def change(recipe: dict) -> None:
        recipe["stages"] = recipe["stages"][:1]
        if used == "as a judge":
            recipe["judges"] = {"mine": {"function": "mine.py:judge"}}
            recipe["stages"][0] = {"name": "n", "method": "nash_md", "data": "train", "judge": "mine"}
            return
        recipe["rewards"] = {"mine": {"function": "mine.py:brief"}}
        if used == "by a stage":
            recipe["stages"][0] = {"name": "g", "method": "grpo", "data": "train", "rewards": ["mine"]}

    recipe, output = write_recipe(tmp_path, change), tmp_path / "out"
    for options in (["validate"], ["plan"], ["run", "--dry-run"]):
        done = here(options[0], recipe, *options[1:])
        assert done.code == 0, done.stderr
        own = tmp_path / f"mine.py:{'judge' if used == 'as a judge' else 'brief'}"
        assert f"pt run needs --allow-code: it runs the code of {own}\n" in done.stderr
        assert not (tmp_path / "was_run").exists()
    told = here("run", recipe, "--output", output)
    line = next(i for i, x in enumerate(recipe.read_text().splitlines(), 1) if "mine.py:" in x)
    assert told.code == 2
    assert f"{recipe}:{line}:" in told.stderr
    assert "code-not-allowed" in told.stderr
    assert not output.exists()
    assert not (tmp_path / "was_run").exists()
