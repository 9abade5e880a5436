"""`pt verify`: what differs from the manifest is named, and nothing else is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.small import pt

from ptspec.diagnostics import InputError
from ptspec.store.verify import verify as verified

pytestmark = pytest.mark.slow


@pytest.fixture
def run(small_run, tmp_path) -> Path:
    """A copy of the small run over copies of its data."""
    output = tmp_path / "out"
    shutil.copytree(small_run.output, output)
    manifest = json.loads((output / "manifest.json").read_text())
    for name, source in manifest["recipe"]["data"].items():
        source["path"] = str(shutil.copy(source["path"], tmp_path / f"{name}.jsonl"))
    manifest["recipe"]["model"]["path"] = manifest["model"]["path"] = str(tmp_path / "model")
    shutil.copytree(Path(__file__).parents[2] / "data" / "base_model", tmp_path / "model")
    (output / "manifest.json").write_text(json.dumps(manifest))
    return output


def verify(run: Path) -> list[str]:
    """The lines that tell of a difference."""
    return [line.text for line in verified(run) if line.differs]


def test_an_untouched_run(run):
    done = pt("verify", run)
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert all(line.endswith(": unchanged") for line in lines)
    flip(run / "dpo" / "adapter_model.safetensors")
    assert pt("verify", run).code == 1


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def link(file: Path) -> None:
    """The same contents, but elsewhere."""
    shutil.move(file, file.parents[2] / file.name)
    file.symlink_to(file.parents[2] / file.name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda run: flip(run / "dpo" / "adapter_model.safetensors"),
            "stage dpo: adapter_model.safetensors changed",
        ),
        (lambda run: flip(run / "sft" / "tokenizer.json"), "stage sft: tokenizer.json changed"),
        (lambda run: flip(run / "sft" / "metrics.jsonl"), "stage sft: metrics.jsonl changed"),
        (lambda run: flip(run / "base" / "model_comparison.png"), "evaluation of the base: model_comparison"),
        (
            lambda run: (run / "dpo" / "sample_responses.json").unlink(),
            "stage dpo: sample_responses.json gone",
        ),
        (lambda run: (run / "sft" / "model.bin").write_text(""), "stage sft: model.bin added"),
        (lambda run: (run / "sft" / ".hidden").write_text(""), "stage sft: .hidden added"),
        (lambda run: shutil.rmtree(run / "dpo" / "checkpoints"), "stage dpo: checkpoints/README.md, "),
        (lambda run: link(run / "sft" / "probes.json"), "stage sft: probes.json changed"),
        (lambda run: (run / "sft" / "stage.json").write_text("{"), "stage sft: is not there"),
        (lambda run: shutil.rmtree(run / "dpo"), "stage dpo: is not there"),
        (lambda run: flip(run.parent / "train.jsonl"), "data train"),
        (lambda run: (run.parent / "heldout.jsonl").unlink(), "data heldout"),
        (lambda run: flip(run.parent / "model" / "model.safetensors"), "model "),
        (lambda run: (run.parent / "model" / "generation_config.json").write_text("{}"), "model "),
        (lambda run: shutil.rmtree(run.parent / "model"), "model "),
    ],
)
def test_one_change_is_reported_and_nothing_else(run, change, told):
    change(run)
    (line,) = verify(run)
    assert line.startswith(told)


def test_a_run_that_was_moved(run, tmp_path):
    moved = shutil.move(run, tmp_path / "elsewhere")
    assert verify(moved) == []


def test_a_manifest_without_single_files_compares_what_it_has(run):
    manifest = json.loads((run / "manifest.json").read_text())
    for stage in manifest["stages"].values():
        del stage["files"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert verify(run) == []
    flip(run / "dpo" / "adapter_model.safetensors")
    assert verify(run)[0].startswith("stage dpo: has changed")


def test_a_manifest_of_another_version(run):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "format": 0}))
    for command in (["verify", run], ["report", run], ["eval", run], ["run", run / "manifest.json"]):
        done = pt(*command)
        assert (done.code, "format 0" in done.stderr) == (2, True), command


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 3, "data": [], "stages": null}'])
def test_a_damaged_manifest(run, text):
    (run / "manifest.json").write_text(text)
    with pytest.raises(InputError) as caught:
        verified(run)
    assert caught.value.diagnostics[0].code == "damaged-file"


def test_what_is_no_run(tmp_path):
    for folder, code in ((tmp_path, "not-a-run"), (tmp_path / "none", "no-such-run")):
        done = pt("verify", folder)
        assert (done.code, code in done.stderr) == (2, True)
