"""What a machine lacks is a warning where a recipe is checked, and an error where it is to run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptspec import accelerator
from ptspec.checks.preflight import preflight
from ptspec.cli import main
from ptspec.diagnostics import Severity

ROOT = Path(__file__).parents[3]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    value = json.loads((ROOT / "recipes/sft.json").read_text())
    value["model"] = str(ROOT / "data/base_model")
    value["data"] = {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 8}}
    value.pop("eval", None)
    value["stages"][0].pop("checks", None)

    def recipe(**changes) -> Path:
        value["stages"][0]["config"] = {"learning_rate": 2e-4, **changes.pop("config", {})}
        Path("recipe.json").write_text(json.dumps(value | changes))
        return Path("recipe.json")

    return recipe


LACKS = [
    {"config": {"fp16": True}},
    {"compute": {"precision": "fp16"}},
    {"compute": {"launcher": "ray"}},
    {"config": {"optim": "lomo"}},
]


@pytest.mark.parametrize("changes", LACKS, ids=str)
def test_a_warning_here_an_error_where_it_starts(recipe, changes, monkeypatch):
    monkeypatch.setattr("ptspec.checks.machine._has", lambda package: False)
    file = recipe(**changes)
    (warning,) = preflight(file).diagnostics
    (error,) = preflight(file, starts=True).diagnostics
    assert (warning.code, error.code) == ("not-here", "not-here")
    assert (warning.severity, error.severity) == (Severity.WARNING, Severity.ERROR)
    assert warning.location.line is not None
    assert preflight(file).plan is not None
    assert preflight(file, starts=True).plan is None


def test_processes_that_find_no_gpu_of_their_own_are_reported(recipe, monkeypatch):
    monkeypatch.setattr(accelerator, "_kept", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    compute = {"launcher": "accelerate", "processes": 2}
    (error,) = preflight(recipe(compute=compute), starts=True).diagnostics
    assert (error.code, error.pointer) == ("not-here", "/compute/processes")
    assert "2 processes take a GPU each, and 1 is visible" in error.message
    # srun may have shown each process its own alone.
    for name, text in {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, text)
    assert not preflight(recipe(compute=compute), starts=True).diagnostics


def test_a_run_that_lacks_something_writes_nothing(recipe, capsys):
    file = recipe(config={"fp16": True})
    with pytest.raises(SystemExit) as ended:
        main(["run", str(file)])
    assert ended.value.code == 2
    assert "needs a GPU" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["recipe.json"]


def test_nothing_is_lacking_for_the_shipped_recipes(monkeypatch):
    monkeypatch.chdir(ROOT)
    for file in sorted(Path("recipes").glob("*.json")):
        assert not preflight(file, starts=True).diagnostics


@pytest.mark.parametrize("wanted", ["flash_attention_2", "flash_attention_3", "flash_attention_4"])
def test_a_kernel_needs_a_gpu_and_its_package_or_the_hubs(recipe, monkeypatch, wanted):
    model = {"path": str(ROOT / "data/base_model"), "attn_implementation": wanted}
    (told,) = preflight(recipe(model=model)).diagnostics
    assert told.message == f'"{wanted}" needs a GPU, and this machine has none'
    monkeypatch.setattr("ptspec.checks.machine.has_accelerator", lambda: True)
    (told,) = preflight(recipe(model=model)).diagnostics
    assert "kernels, which fetches it from the hub" in told.message
    monkeypatch.setattr("ptspec.checks.machine.FROM_THE_HUB", "torch")
    assert preflight(recipe(model=model)).diagnostics == ()
