"""`pt verify`: what differs from the manifest is named, and nothing else is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import pt

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


def verify(run: Path) -> tuple[int, list[str]]:
    """Exit code, and the lines that tell of a difference."""
    done = pt("verify", run)
    assert "Traceback" not in done.stderr
    return done.code, [line for line in done.stdout.splitlines() if not line.endswith(": unchanged")]


def test_an_untouched_run(run):
    assert verify(run) == (0, [])
    assert len(pt("verify", run).stdout.splitlines()) == 5


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: flip(run / "dpo" / "adapter_model.safetensors"), "stage dpo: has changed"),
        (lambda run: flip(run / "sft" / "tokenizer.json"), "stage sft: has changed"),
        (lambda run: (run / "sft" / "stage.json").write_text("{"), "stage sft: is not there"),
        (lambda run: shutil.rmtree(run / "dpo"), "stage dpo: is not there"),
        (lambda run: flip(run.parent / "train.jsonl"), "data train"),
        (lambda run: (run.parent / "heldout.jsonl").unlink(), "data heldout"),
        (lambda run: flip(run.parent / "model" / "model.safetensors"), "model "),
        (lambda run: shutil.rmtree(run.parent / "model"), "model "),
    ],
)
def test_one_change_is_told_and_nothing_else(run, change, told):
    change(run)
    code, lines = verify(run)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(told)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 3, "data": [], "stages": null}'])
def test_a_damaged_manifest(run, text):
    (run / "manifest.json").write_text(text)
    done = pt("verify", run)
    assert (done.code, "damaged-file" in done.stderr) == (2, True)


def test_what_is_no_run(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        done = pt("verify", folder)
        assert (done.code, "not-a-run" in done.stderr) == (2, True)
