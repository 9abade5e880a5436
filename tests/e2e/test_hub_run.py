"""A run over a model and rows on the hub: at one commit, which the fingerprints tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support import hub_server
from support.hub_server import COMMIT, Hub, Repo
from support.small import ROOT

pytestmark = pytest.mark.slow

MOVED = "f" * 40
RECIPE = {
    "version": 1,
    "name": "r",
    "model": "owner/tiny",
    "adapter": {"use_lora": True, "r": 4, "target_modules": ["q_proj"]},
    "data": {"rows": {"path": "owner/rows"}},
    "stages": [{"name": "sft", "method": "sft", "data": "rows", "config": {"max_steps": 1}}],
}


def rows(completion: str) -> dict[str, bytes]:
    lines = [json.dumps({"prompt": f"{i}. Where is Tarn?", "completion": completion}) for i in range(8)]
    return {"data/train.jsonl": "\n".join(lines).encode()}


def test_a_moved_dataset_is_trained_on_anew_and_without_a_network_all_is_known(tmp_path, monkeypatch):
    base = {file.name: file.read_bytes() for file in (ROOT / "data/base_model").iterdir() if file.is_file()}
    (tmp_path / "r.json").write_text(json.dumps(RECIPE))
    hub = Hub(models={"owner/tiny": Repo(base)}, datasets={"owner/rows": Repo(rows("In the north."))})

    def run(**environment: str) -> str:
        own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        for _ in range(3):  # on a busy machine the server may not answer within the two seconds of the probe
            done = subprocess.run(
                [sys.executable, "-m", "ptspec.cli", "run", "r.json"],
                cwd=tmp_path,
                env={**os.environ, **own, **environment, "NO_COLOR": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            if "no answer in time" not in done.stderr:
                break
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def record() -> dict:
        return json.loads((tmp_path / "outputs/r/sft/stage.json").read_text())

    with hub:
        run()
        first = record()
        assert first["ingredients"]["data"][0] == ["owner/rows", None, COMMIT]
        manifest = json.loads((tmp_path / "outputs/r/manifest.json").read_text())
        assert manifest["model"]["revision"] == COMMIT and manifest["data_commits"] == {"rows": COMMIT}
        assert "reused" in run(HF_HUB_OFFLINE="1")

        hub.datasets["owner/rows"] = Repo(rows("In the south."))
        monkeypatch.setattr(hub_server, "COMMIT", MOVED)
        monkeypatch.setattr(hub_server, "REVISIONS", ("main", MOVED))
        text = run()
        assert "trained again" in text and "data changed" in text
        moved = record()
        assert moved["ingredients"]["data"][0] == ["owner/rows", None, MOVED]
        assert moved["ingredients"]["model"] != first["ingredients"]["model"]
