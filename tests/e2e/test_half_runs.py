"""Runs that are unfinished, half deleted or of another version: told, and nothing is overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def run(small_run, tmp_path) -> Path:
    output = tmp_path / "out"
    shutil.copytree(small_run.output, output)
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit(file: Path, change) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def unfinish(run: Path) -> None:
    """As a run that was killed in its second stage leaves it."""
    (run / "dpo").rename(run / ".dpo.partial")
    (run / ".dpo.partial" / "stage.json").unlink()
    edit(run / "manifest.json", lambda manifest: manifest["stages"].pop("dpo"))


HALVES = {
    "no stage.json": lambda run: (run / "dpo" / "stage.json").unlink(),
    "a torn stage.json": lambda run: (run / "dpo" / "stage.json").write_text('{"format":'),
    "no weights": lambda run: (run / "dpo" / "adapter_model.safetensors").unlink(),
    "no adapter_config.json": lambda run: (run / "dpo" / "adapter_config.json").unlink(),
    "cut weights": lambda run: (run / "dpo" / "adapter_model.safetensors").write_bytes(b"\x00" * 100),
    "weights as a pickle": lambda run: (run / "dpo" / "adapter_model.safetensors").rename(
        run / "dpo" / "adapter_model.bin"
    ),
    "no folder of the stage": lambda run: shutil.rmtree(run / "dpo"),
    "no manifest": lambda run: (run / "manifest.json").unlink(),
    "a manifest of another version": lambda run: edit(
        run / "manifest.json", lambda manifest: manifest.update(format=0)
    ),
    "unfinished": unfinish,
}


@pytest.mark.parametrize("half", HALVES)
def test_export_tells_and_writes_nothing(here, run, tmp_path, half):
    HALVES[half](run)
    before = contents(run)
    for command in (
        ["export", run, tmp_path / "model"],
        ["export", run, tmp_path / "model", "--adapter-only"],
    ):
        done = here(*command)
        assert (done.code, "error[" in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "model").exists()
    assert contents(run) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".model")]


@pytest.mark.parametrize("half", HALVES)
def test_verify_tells_and_writes_nothing(here, run, half):
    HALVES[half](run)
    before = contents(run)
    done = here("verify", run)
    is_no_run = half in ("no manifest", "a manifest of another version")
    assert done.code == (2 if is_no_run else 0 if half == "unfinished" else 1)
    if half == "unfinished":
        assert "stage dpo: not finished" in done.stdout
        return
    told = [line for line in done.stdout.splitlines() if not line.endswith(": unchanged")]
    assert "error[" in done.stderr if is_no_run else told[0].startswith("stage dpo:")
    assert contents(run) == before


@pytest.mark.parametrize("half", HALVES)
def test_report_tells_what_is_there_or_writes_nothing(here, run, half):
    HALVES[half](run)
    before = contents(run)
    done = here("report", run)
    if half in ("no manifest", "a manifest of another version"):
        assert (done.code, "error[" in done.stderr) == (2, True)
        assert contents(run) == before
    else:
        assert done.code == 0, done.stderr
        changed = {path for path, data in contents(run).items() if before.get(path) != data}
        assert changed <= {str(run / "report.html")}
