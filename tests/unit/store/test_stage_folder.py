"""A folder appears whole or not at all, and what lies in it is told without loading it."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ptspec.diagnostics import InputError
from ptspec.store.files import flush_folder, whole_file, write_json
from ptspec.store.lock import lock
from ptspec.store.stage_folder import open_artifact, publish, recover, strip_pickles


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


def test_publish_replaces_and_recover_puts_back(tmp_path):
    final, partial = tmp_path / "sft", tmp_path / ".sft.partial"
    for folder, text in ((final, "old"), (partial, "new")):
        folder.mkdir()
        (folder / "x").write_text(text)
    publish(partial, final)
    assert (final / "x").read_text() == "new"
    assert names(tmp_path) == ["sft"]
    final.rename(tmp_path / ".sft.old")
    recover(final)
    assert (final / "x").read_text() == "new"


def test_no_pickle_is_left_in_checkpoints(tmp_path):
    checkpoint = tmp_path / "checkpoint-5"
    checkpoint.mkdir()
    for name in ("optimizer.pt", "rng_state.pth", "rng_state_0.pth", "training_args.bin", "scheduler.pt"):
        (checkpoint / name).write_bytes(b"x")
    (checkpoint / "adapter_model.safetensors").write_bytes(b"x")
    strip_pickles(tmp_path)
    assert names(checkpoint) == ["adapter_model.safetensors"]


def test_adapter_model_or_neither(tmp_path):
    adapter, model, nothing = tmp_path / "adapter", tmp_path / "model", tmp_path / "nothing"
    for folder in (adapter, model, nothing):
        folder.mkdir()
    write_json(adapter / "adapter_config.json", {"base_model_name_or_path": "/base"})
    write_json(model / "config.json", {})
    assert open_artifact(adapter).weights == "/base"
    assert open_artifact(model).weights == str(model)
    with pytest.raises(InputError, match="neither"):
        open_artifact(nothing)


def test_a_folder_has_one_writer_and_a_dead_one_does_not_count(tmp_path):
    holder = textwrap.dedent(f"""
        import sys, pathlib
        from ptspec.store.lock import lock
        with lock(pathlib.Path({str(tmp_path)!r})):
            print("held", flush=True)
            sys.stdin.readline()
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {process.pid}"), lock(tmp_path):
        pass
    process.kill()
    process.wait()
    with lock(tmp_path):
        pass


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_permissions_are_those_of_the_umask(tmp_path, umask, mode):
    """Weights too: safetensors writes them for their owner alone."""
    code = f"""
        import os, pathlib
        os.umask({umask})
        import numpy
        from safetensors.numpy import save_file
        from ptspec.store.files import write_json
        from ptspec.store.stage_folder import publish
        output = pathlib.Path({str(tmp_path)!r})
        (output / ".sft.partial").mkdir()
        save_file({{"a": numpy.ones(2)}}, output / ".sft.partial" / "model.safetensors")
        write_json(output / ".sft.partial" / "stage.json", {{}})
        publish(output / ".sft.partial", output / "sft")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "sft").iterdir()} == {mode}


def test_a_folder_that_cannot_be_flushed_is_described():
    assert flush_folder(Path("/proc/self")) is False
    assert flush_folder(Path("/tmp")) is True
