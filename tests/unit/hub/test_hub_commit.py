"""The commit of a model on the hub, as huggingface_hub leaves it in its cache."""

import shutil
from pathlib import Path

import pytest

from ptspec.hub.cache import commit
from ptspec.recipe.plan import ModelSpec
from ptspec.store.content_hashes import hash_model, hub_commit

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40
MODEL = Path(__file__).parents[3] / "data" / "base_model"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache as a download of owner/tiny leaves it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owner--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    shutil.copytree(MODEL, folder / "snapshots" / COMMIT)
    return folder


def test_the_commit_that_is_loaded_is_the_one_that_is_reported(cache):
    from huggingface_hub import snapshot_download

    loaded = Path(snapshot_download("owner/tiny", cache_dir=cache.parent, local_files_only=True))
    assert commit("owner/tiny", None) == loaded.name == COMMIT


def test_a_moved_branch_is_another_model_and_a_pinned_one_is_the_same(cache):
    before = hash_model(ModelSpec("owner/tiny", local=False))
    assert hash_model(ModelSpec("owner/tiny", local=False, revision=COMMIT)) == before
    (cache / "refs" / "main").write_text(OTHER)
    assert hash_model(ModelSpec("owner/tiny", local=False)) != before
    assert hash_model(ModelSpec("owner/tiny", local=False, revision=COMMIT)) == before


def test_what_was_never_loaded_has_none(cache):
    assert commit("owner/other", None) is None
    assert commit("owner/tiny", "v2") is None
    assert commit("owner/tiny", None, "dataset") is None
    assert hub_commit(ModelSpec("owner/other", local=False, revision="v2")) == "v2"
    (cache / "refs" / "main").write_text("not a hash")
    assert commit("owner/tiny", None) is None
