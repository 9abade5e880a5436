"""Variants keep what they are when their numbers change, whenever the machine stops."""

import json
import os
from pathlib import Path

import pytest

from ptspec.diagnostics import StageError
from ptspec.store import picked
from ptspec.store.half_made import MARK, SAVED
from ptspec.store.output_hashes import OutputHashes
from ptspec.store.picked import take_over
from ptspec.store.stage_folder import PICKED
from ptspec.store.variant_folders import find_variant, renumber

CONFIG = '{"base_model_name_or_path": "x"}'


def finished(output: Path, name: str, fingerprint: str, **record) -> None:
    """A finished stage in `output`, whose weights are its fingerprint."""
    (output / name).mkdir()
    (output / name / "adapter_model.safetensors").write_text(fingerprint)
    (output / name / "adapter_config.json").write_text(CONFIG)
    (output / name / "evaluation_stats.json").write_text("{}")
    text = json.dumps({"fingerprint": fingerprint, "stage": name, "ingredients": {}, **record})
    (output / name / "stage.json").write_text(text)


def half_made(output: Path, name: str, fingerprint: str, step: int) -> None:
    (output / f".{name}.partial" / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
    (output / f".{name}.partial" / MARK).write_text(json.dumps({"fingerprint": fingerprint}))


def there(output: Path) -> dict[str, str]:
    """Finished stage -> its weights."""
    return {path.parent.name: path.read_text() for path in sorted(output.glob("*/adapter_model.safetensors"))}


def test_a_value_in_front_moves_all_the_others(tmp_path):
    finished(tmp_path, "dpo.1", "b")
    finished(tmp_path, "dpo.2", "c")
    half_made(tmp_path, "dpo.3", "d", 5)
    finished(tmp_path, "dpo", "c", **{PICKED: {"variant": "dpo.2"}})
    wanted = {"dpo.1": "a", "dpo.2": "b", "dpo.3": "c", "dpo.4": "d"}
    told = renumber(tmp_path, "dpo", wanted, OutputHashes(tmp_path))
    assert len(told) == 3
    assert there(tmp_path) == {"dpo": "c", "dpo.2": "b", "dpo.3": "c"}
    assert [path.name for path in tmp_path.glob(".*.partial")] == [".dpo.4.partial"]
    records = [json.loads((tmp_path / name / "stage.json").read_text()) for name in ("dpo.2", "dpo.3")]
    assert [record["stage"] for record in records] == ["dpo.2", "dpo.3"]
    assert not (tmp_path / "dpo.2" / SAVED).exists()
    assert (tmp_path / "dpo.2" / "evaluation_stats.json").exists()
    assert renumber(tmp_path, "dpo", wanted, OutputHashes(tmp_path)) == []


def test_two_that_change_places_do(tmp_path):
    finished(tmp_path, "dpo.1", "a")
    finished(tmp_path, "dpo.2", "b")
    renumber(tmp_path, "dpo", {"dpo.1": "b", "dpo.2": "a"}, OutputHashes(tmp_path))
    assert there(tmp_path) == {"dpo.1": "b", "dpo.2": "a"}


def test_what_nothing_wants_is_set_aside_and_comes_back(tmp_path):
    finished(tmp_path, "dpo.1", "a")
    finished(tmp_path, "dpo.2", "b")
    renumber(tmp_path, "dpo", {"dpo.1": "b"}, OutputHashes(tmp_path))
    assert there(tmp_path) == {"dpo.1": "b", "dpo.1.set-aside-1": "a"}
    renumber(tmp_path, "dpo", {"dpo.1": "a", "dpo.2": "b"}, OutputHashes(tmp_path))
    assert there(tmp_path) == {"dpo.1": "a", "dpo.2": "b"}


@pytest.mark.parametrize("rename", range(1, 5))
def test_a_crash_in_between_loses_nothing(tmp_path, monkeypatch, rename):
    finished(tmp_path, "dpo.1", "a")
    finished(tmp_path, "dpo.2", "b")
    wanted = {"dpo.1": "b", "dpo.2": "a"}
    whole, calls = Path.rename, []

    def crashing(self, target):
        calls.append(target)
        if len(calls) == rename:
            raise KeyboardInterrupt
        return whole(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crashing)
        with pytest.raises(KeyboardInterrupt):
            renumber(tmp_path, "dpo", wanted, OutputHashes(tmp_path))
    renumber(tmp_path, "dpo", wanted, OutputHashes(tmp_path))
    assert there(tmp_path) == {"dpo.1": "b", "dpo.2": "a"}


def test_a_stage_that_had_no_matrix_is_the_variant_that_it_is(tmp_path):
    finished(tmp_path, "dpo", "b")
    renumber(tmp_path, "dpo", {"dpo.1": "a", "dpo.2": "b"}, OutputHashes(tmp_path))
    assert there(tmp_path) == {"dpo.2": "b"}


def test_stages_with_names_alike_are_left_alone(tmp_path):
    finished(tmp_path, "dpo2.1", "a")
    finished(tmp_path, "x-dpo.1", "a")
    finished(tmp_path, "dpo.10", "b")
    assert find_variant(tmp_path, "dpo", "a", OutputHashes(tmp_path)) is None
    assert find_variant(tmp_path, "dpo", "b", OutputHashes(tmp_path)).folder.name == "dpo.10"


def test_half_of_a_taking_over_is_never_trained_on(tmp_path):
    (tmp_path / ".dpo.partial").mkdir()
    (tmp_path / ".dpo.partial" / "stage.json").write_text(json.dumps({"fingerprint": "a", PICKED: {}}))
    assert find_variant(tmp_path, "dpo", "a", OutputHashes(tmp_path)) is None


def test_what_is_taken_over_are_the_same_files_but_for_what_has_a_name_in_it(tmp_path):
    finished(tmp_path, "dpo.2", "b")
    (tmp_path / "dpo.2" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "dpo.2" / "checkpoints" / "checkpoint-1" / "weights").write_text("x")
    partial = tmp_path / ".dpo.partial"
    take_over(tmp_path / "dpo.2", partial, "dpo", {"variant": "dpo.2"})
    assert sorted(path.name for path in partial.iterdir()) == [
        *("adapter_config.json", "adapter_model.safetensors", "stage.json"),
    ]
    weights = "adapter_model.safetensors"
    assert (partial / weights).samefile(tmp_path / "dpo.2" / weights)
    record = json.loads((partial / "stage.json").read_text())
    assert (record["stage"], record["fingerprint"], record[PICKED]) == ("dpo", "b", {"variant": "dpo.2"})


def test_where_files_have_no_second_names_they_are_copied(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError("no links here")

    finished(tmp_path, "dpo.2", "b")
    monkeypatch.setattr(os, "link", refused)
    take_over(tmp_path / "dpo.2", tmp_path / ".dpo.partial", "dpo", {})
    copied = tmp_path / ".dpo.partial" / "adapter_model.safetensors"
    assert copied.read_text() == "b"
    assert not copied.samefile(tmp_path / "dpo.2" / "adapter_model.safetensors")


def test_a_policy_that_changed_meanwhile_is_not_handed_on(tmp_path, monkeypatch):
    finished(tmp_path, "dpo.2", "b")
    monkeypatch.setattr(picked, "hash_folder", str)
    with pytest.raises(StageError, match=r"not dpo\.2"):
        take_over(tmp_path / "dpo.2", tmp_path / ".dpo.partial", "dpo", {})
