"""Checkpoints: sealed, renamed, looked at before they are read."""

import json

import pytest

from ptspec.training.checkpoints import SEAL, WRITING, last_sound, publish_checkpoint, rotate


def made(folder, step, weights=b"weights"):
    written = folder / WRITING / f"checkpoint-{step}"
    written.mkdir(parents=True)
    (written / "adapter_model.safetensors").write_bytes(weights)
    (written / "optimizer.pt").write_bytes(b"moments")
    publish_checkpoint(written, folder)
    return folder / written.name


def test_a_checkpoint_gets_its_name_when_it_is_whole(tmp_path):
    first = made(tmp_path, 5)
    assert set(json.loads((first / SEAL).read_text())) == {"adapter_model.safetensors", "optimizer.pt"}
    assert last_sound(tmp_path) == (first, [])
    assert not list((tmp_path / WRITING).iterdir())


def test_one_of_the_same_step_stays(tmp_path):
    first = made(tmp_path, 5)
    assert made(tmp_path, 5, b"other") == first
    assert (first / "adapter_model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "add", "unseal", "no JSON", "no object"])
def test_a_damaged_one_is_set_aside_and_the_one_before_is_used(tmp_path, damage):
    before, newest = made(tmp_path, 9), made(tmp_path, 10)
    victim = newest / "optimizer.pt"
    match damage:
        case "flip":
            victim.write_bytes(b"momentt")
        case "cut":
            victim.write_bytes(b"momen")
        case "delete":
            victim.unlink()
        case "add":
            (newest / "rng_state.pth").write_bytes(b"not ours")
        case "unseal":
            (newest / SEAL).unlink()
        case "no JSON":
            (newest / SEAL).write_text("{")
        case "no object":
            (newest / SEAL).write_text("[]")
    sound, (told,) = last_sound(tmp_path)
    assert sound == before
    assert told.startswith("checkpoint-10 ") and told.endswith("was set aside as damaged-checkpoint-10")
    again = made(tmp_path, 10)
    (again / SEAL).unlink()
    assert last_sound(tmp_path)[1][0].endswith("was set aside as damaged-checkpoint-10.2")


def test_the_newest_are_kept(tmp_path):
    kept = [made(tmp_path, step) for step in (2, 9, 10)][1:]
    rotate(tmp_path, None)
    assert len(list(tmp_path.glob("checkpoint-*"))) == 3
    rotate(tmp_path, 2)
    assert sorted(tmp_path.glob("checkpoint-*")) == sorted(kept)
