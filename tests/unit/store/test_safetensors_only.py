"""Weights as pickles are refused wherever they could come in, with a command that converts them."""

from __future__ import annotations

import json
import pickle
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.forked import Forked
from support.small import Finished, environment

from ptspec.checks.preflight import preflight
from ptspec.diagnostics import InputError
from ptspec.model.adapters import attach
from ptspec.store.safetensors_only import conversion_command, pickled_weights, refuse_pickles
from ptspec.store.stage_folder import open_artifact

BASE = Path(__file__).parents[3] / "data" / "base_model"


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def run(command: str) -> Finished:
    """In a fork of a process that has torch, which the command takes longer to import than to use."""
    program, option, code, *arguments = shlex.split(command)
    assert (program, option) == ("python", "-c")
    process = Forked(code, *arguments, cwd=Path.cwd(), environment=environment(), main=python)
    stdout, stderr = process.communicate(120)
    return Finished(process.wait(), stdout, stderr)


def python(arguments: Sequence[str]) -> None:
    """What `python -c` does."""
    code, *rest = arguments
    sys.argv = ["-c", *rest]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def command_of(hint: str) -> str:
    return hint.partition(": ")[2]


@pytest.fixture
def adapter(tmp_path) -> Path:
    """An adapter saved as a pickle, in a folder with a name that a shell would take apart."""
    folder = tmp_path / "an adapter's folder"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    torch.save({"a.lora_A.weight": torch.ones(2, 3)}, folder / "adapter_model.bin")
    return folder


def test_the_command_for_an_adapter_works(adapter):
    with pytest.raises(InputError) as caught:
        refuse_pickles(str(adapter), "/model")
    (told,) = caught.value.diagnostics
    assert (told.code, told.pointer) == ("pickled-weights", "/model")
    done = run(command_of(told.hint))
    assert done.code == 0, done.stderr
    refuse_pickles(str(adapter), "/model")
    assert torch.equal(load_file(adapter / "adapter_model.safetensors")["a.lora_A.weight"], torch.ones(2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_the_command_for_a_model_works(tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(BASE, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / name)
    pickle_file = pickled_weights(folder)
    assert pickle_file is not None
    done = run(command_of(conversion_command(pickle_file)))
    assert done.code == 0, done.stderr
    assert pickled_weights(folder) is None
    again = load_file(folder / "model.safetensors")
    assert all(torch.equal(again[key], weights[key]) for key in again)


def test_the_command_runs_no_code_of_the_pickle(adapter, tmp_path):
    mark = tmp_path / "was_run"
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps({"w": Bomb(mark)}))
    done = run(command_of(conversion_command(adapter / "adapter_model.bin")))
    assert done.code != 0
    assert not mark.exists()


def test_an_adapter_as_a_pickle_is_refused_wherever_it_comes_in(adapter, tmp_path):
    for opening in (
        lambda: open_artifact(adapter, "/stages/0/from"),
        lambda: attach(None, adapter, trainable=False),
    ):
        with pytest.raises(InputError) as caught:
            opening()
        assert caught.value.diagnostics[0].code == "pickled-weights"
    recipe = {
        "model": str(BASE),
        "adapter": {"use_lora": True},
        "data": {"train": {"path": str(BASE.parent / "train.jsonl")}},
        "stages": [{"name": "sft", "method": "sft", "data": "train", "from": str(adapter)}],
    }
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe))
    (fault,) = preflight(file).errors
    assert (fault.code, fault.pointer) == ("pickled-weights", "/stages/0/from")


def test_the_name_of_a_file_is_no_program(tmp_path):
    mark = tmp_path / "was_run"
    hostile = tmp_path / f"x'; open({mark.name!r}, 'w'); '.bin"
    torch.save({"w": torch.ones(1)}, hostile)
    assert run(command_of(conversion_command(hostile))).code == 0
    assert not mark.exists()
    assert not Path(mark.name).exists()
    assert (tmp_path / "model.safetensors").is_file()


def test_safetensors_of_something_else_do_not_hide_the_pickle(adapter):
    (adapter / "model.safetensors").write_bytes(b"")
    assert pickled_weights(adapter) == adapter / "adapter_model.bin"
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    assert pickled_weights(adapter) is None


def test_what_a_trainer_leaves_beside_weights_is_no_pickle_of_weights(tmp_path):
    (tmp_path / "training_args.bin").write_bytes(b"")
    assert pickled_weights(tmp_path) is None
    assert pickled_weights(tmp_path / "none") is None
