"""What is set aside is known by its number, its fingerprint and the hash of what was saved."""

import json

import pytest

from ptspec.store.content_hashes import hash_folder
from ptspec.store.half_made import (
    MARK,
    SAVED,
    is_as_saved_aside,
    is_set_aside,
    is_trained,
    kept_aside,
    last_step,
    number_aside,
    saved_in_words,
    set_finished_aside,
)


def aside(output, number, fingerprint="f", step=None, record=False):
    folder = output / f"dpo.set-aside-{number}"
    folder.mkdir()
    (folder / MARK).write_text(json.dumps({"fingerprint": fingerprint}))
    if record:
        (folder / "stage.json").write_text(json.dumps({"fingerprint": fingerprint}))
    if step is not None:
        (folder / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("name", "number"), [("dpo.set-aside-12", 12), ("dpo", 0), ("dpo.set-aside-x", 0), (".set-aside-1", 0)]
)
def test_the_number_of_a_folder_set_aside(tmp_path, name, number):
    assert number_aside(tmp_path / name) == number
    assert is_set_aside(tmp_path / name) is bool(number)


def test_the_one_that_came_furthest_is_taken_up_the_newest_of_equal_ones(tmp_path):
    assert kept_aside(tmp_path, "dpo", "f") is None
    aside(tmp_path, 1, step=3)
    aside(tmp_path, 2, step=5)
    newest = aside(tmp_path, 10, step=5)
    aside(tmp_path, 11, fingerprint="other", step=9)
    aside(tmp_path, 12)
    assert kept_aside(tmp_path, "dpo", "f") == newest
    trained = aside(tmp_path, 4, record=True)
    assert is_trained(trained, "f") and not is_trained(trained, "g") and not is_trained(newest, "f")
    assert kept_aside(tmp_path, "dpo", "f") == trained


def test_a_finished_stage_that_was_damaged_aside_is_not_taken_up(tmp_path):
    (tmp_path / "dpo").mkdir()
    (tmp_path / "dpo" / "adapter_model.safetensors").write_text("weights")
    (tmp_path / "dpo" / "stage.json").write_text('{"fingerprint": "f"}')
    folder = set_finished_aside(tmp_path, "dpo", hash_folder(tmp_path / "dpo"))
    assert folder.name == "dpo.set-aside-1" and not (tmp_path / "dpo").exists()
    assert is_as_saved_aside(folder) and kept_aside(tmp_path, "dpo", "f") == folder
    (folder / "adapter_model.safetensors").write_text("other")
    assert not is_as_saved_aside(folder) and kept_aside(tmp_path, "dpo", "f") is None
    (folder / SAVED).write_text('{"sha256": null}')
    assert is_as_saved_aside(folder), "nothing is known of what was saved"


def test_the_newest_checkpoint_counts(tmp_path):
    folder = aside(tmp_path, 1, step=9)
    (folder / "checkpoints" / "checkpoint-10").mkdir()
    (folder / "checkpoints" / "checkpoint-x").mkdir()
    assert last_step(folder) == 10
    assert saved_in_words("dpo", 10).startswith("dpo is saved up to step 10; ")
    assert saved_in_words("dpo", None).startswith("nothing of dpo is saved yet; ")
