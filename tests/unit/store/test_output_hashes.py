"""A stage's files are held to the manifest's hashes as long as its fingerprint is the manifest's."""

import json

import pytest

from ptspec.store.content_hashes import hash_folder
from ptspec.store.output_hashes import OutputHashes, files_in

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def output(tmp_path, monkeypatch):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / WEIGHTS).write_text("weights")
    (tmp_path / "sft" / "adapter_config.json").write_text("{}")
    (tmp_path / "sft" / "stage.json").write_text(json.dumps({"fingerprint": "f", "stage": "sft"}))
    return tmp_path


def hashes_of(output, monkeypatch, **folders):
    from ptspec.store import output_hashes
    from ptspec.store.manifest import KeptFolder

    kept = {name: KeptFolder(*value) for name, value in folders.items()}
    monkeypatch.setattr(output_hashes, "_kept_folders", lambda folder: kept)
    return OutputHashes(output)


def test_what_has_changed_since_it_was_saved_is_seen(output, monkeypatch):
    saved = hash_folder(output / "sft")
    hashes = hashes_of(output, monkeypatch, sft=("f", saved, files_in(output / "sft")))
    assert hashes.is_as_saved("sft") and hashes.saved("sft") == saved
    (output / "sft" / WEIGHTS).write_text("others")
    assert not hashes.is_as_saved("sft")


@pytest.mark.parametrize("kept", [None, ("g", "another", {}), ("f", None, {})])
def test_what_the_manifest_does_not_know_is_taken_as_it_is(output, monkeypatch, kept):
    """Finished after the manifest was written, or made for other settings, or without a hash."""
    hashes = hashes_of(output, monkeypatch, **({"sft": kept} if kept else {}))
    assert hashes.is_as_saved("sft")
    assert hashes.saved("sft") == (kept[1] if kept else None)


def test_a_folder_that_was_written_is_hashed_anew(output, monkeypatch):
    old = ("f", "old", {"x": "y"})
    hashes = hashes_of(output, monkeypatch, sft=old, dpo=("g", "other", {}))
    assert hashes.stage("sft", "f") == {"fingerprint": "f", "sha256": "old", "files": {"x": "y"}}
    hashes.written("sft")
    assert hashes.saved("sft") is None and hashes.saved("dpo") == "other"
    found = hashes.stage("sft", "f")
    assert found["sha256"] == hash_folder(output / "sft") and WEIGHTS in found["files"]
    hashes.written("never there")


def test_a_link_counts_by_where_it_leads(output):
    (output / "sft" / "link").symlink_to(WEIGHTS)
    assert files_in(output / "sft")["link"] == f"link to {WEIGHTS}"
