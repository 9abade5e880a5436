"""A stage on the hub: what is pushed, its model card, and that nothing is pushed unasked or half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from support.hub_server import PUBLIC, Hub, Repo

pytestmark = pytest.mark.slow


def push(hub, home, *arguments, token="secret-token-of-a-user"):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CUDA"))}
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
    if token is not None:
        own["HF_TOKEN"] = token
    done = subprocess.run(
        [sys.executable, "-m", "ptspec.cli", "push", *map(str, arguments)],
        env={**kept, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    return SimpleNamespace(code=done.returncode, said=done.stderr, shown=done.stdout)


@pytest.fixture(scope="module")
def hub():
    with Hub() as hub:
        yield hub


def test_an_adapter_its_tokenizer_and_a_card_are_one_commit(small_run, hub, tmp_path):
    done = push(hub, tmp_path, small_run.output, "me/tiny-dpo", "--base", "owner/tiny")
    assert done.code == 0, done.said
    assert "dpo pushed to me/tiny-dpo (new, private), " in done.said
    assert f"{PUBLIC}/me/tiny-dpo/commit/" in done.said
    repo = hub.models["me/tiny-dpo"]
    assert (repo.private, repo.commits) == (True, ["dpo of small, by ptspec"])
    weights = (small_run.output / "dpo/adapter_model.safetensors").read_bytes()
    assert repo.files["adapter_model.safetensors"] == weights
    assert json.loads(repo.files["adapter_config.json"])["base_model_name_or_path"] == "owner/tiny"
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= repo.files.keys()
    card = repo.files["README.md"].decode()
    _, front, body = card.split("---\n", 2)
    told = yaml.safe_load(front)
    assert (told["base_model"], told["base_model_relation"]) == ("owner/tiny", "adapter")
    assert told["tags"] == ["ptspec", "trl", "sft", "dpo"] and "datasets" not in told
    assert "`sft` → `dpo`" in body and 'AutoPeftModelForCausalLM.from_pretrained("me/tiny-dpo")' in body
    evaluation = next(line for line in body.splitlines() if line.startswith("| preference accuracy"))
    stats = json.loads((small_run.output / "dpo/evaluation_stats.json").read_text())
    value = stats["metrics"]["preference_accuracy"]["value"]
    assert f"{value:.1%}".rstrip("%") in evaluation.split("|")[-2]
    assert json.loads(body.split("```json\n")[1].split("```")[0])["name"] == "small"


def test_whole_weights_of_a_stage_that_is_named(small_run, hub, tmp_path):
    """Into a repository that is there, which stays as visible as it is."""
    hub.models["me/tiny"] = Repo(private=False)
    done = push(hub, tmp_path, small_run.output, "me/tiny", "--stage", "sft", "--merged")
    assert done.code == 0, done.said
    assert "sft pushed to me/tiny, " in done.said
    repo = hub.models["me/tiny"]
    assert not repo.private and "model.safetensors" in repo.files and "config.json" in repo.files
    assert "adapter_model.safetensors" not in repo.files
    assert "library_name: transformers" in repo.files["README.md"].decode()


def test_a_dry_run_shows_the_card_and_asks_nothing(small_run, hub, tmp_path):
    before = list(hub.asked)
    done = push(hub, tmp_path, small_run.output, "me/new", "--base", "owner/tiny", "--dry-run")
    assert done.code == 0 and done.shown.startswith("---\nlibrary_name: peft\n")
    assert hub.asked == before and "me/new" not in hub.models


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["me/new"], "local-base"),
        (["new", "--base", "owner/tiny"], "wrong-usage"),
        (["me/new", "--base", "owner/tiny", "--dtype", "bfloat16"], "wrong-usage"),
        (["me/new", "--stage", "spo"], "no-such-run"),
    ],
)
def test_what_cannot_be_pushed_is_reported_before_anything_is_asked(
    small_run, hub, tmp_path, arguments, code
):
    before = list(hub.asked)
    done = push(hub, tmp_path, small_run.output, *arguments)
    assert (done.code, hub.asked) == (2, before)
    assert f"error[{code}]" in done.said and "Traceback" not in done.said


def test_a_hub_that_refuses_is_reported(small_run, hub, tmp_path):
    hub.may_write = False
    try:
        done = push(hub, tmp_path, small_run.output, "me/refused", "--base", "owner/tiny")
    finally:
        hub.may_write = True
    assert done.code == 1
    assert "error[not-pushed]: nothing was pushed to me/refused: this token may only read" in done.said
    assert "hf auth login" in done.said and "secret-token" not in done.said
    none = push(hub, tmp_path, small_run.output, "me/refused", "--base", "owner/tiny", token=None)
    assert none.code == 1 and "error[not-pushed]" in none.said and "hf auth login" in none.said
    assert "me/refused" not in hub.models


def test_an_adapter_is_copied_without_torch():
    """Which takes longer to import than all else that a push of an adapter does."""
    program = "import sys, ptspec.model.export_files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
