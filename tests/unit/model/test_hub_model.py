"""A model on the hub is loaded from the cache at once, or refused at once, where there is no network."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from support.hub_server import COMMIT

from ptspec.diagnostics import InputError
from ptspec.model.base import load_base
from ptspec.model.device import find_device
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.rewards.models import open_reward_model

BASE = Path(__file__).parents[3] / "data" / "base_model"
HUB_MODEL = ModelSpec("someone/tiny", local=False)


@pytest.fixture
def waits(monkeypatch):
    """Seconds that this thread waits to try once more; those of earlier tests may still try."""
    found, sleep, here = [], time.sleep, threading.get_ident()

    def wait(seconds):
        if threading.get_ident() != here:
            return sleep(seconds)
        return found.append(seconds)

    monkeypatch.setattr(time, "sleep", wait)
    return found


def test_a_model_that_is_nowhere_is_refused_at_once(no_hub, waits):
    with pytest.raises(InputError) as error:
        load_base(HUB_MODEL, AdapterSpec(use_lora=True), find_device())
    with pytest.raises(InputError) as of_reward:
        open_reward_model("someone/tiny", find_device(), at="/rewards/rm")
    assert waits == []
    assert error.value.diagnostics[0].code == of_reward.value.diagnostics[0].code == "hub-unreachable"
    assert of_reward.value.diagnostics[0].pointer == "/rewards/rm/model"


def test_a_cached_model_is_loaded_without_asking(no_hub, hub_environment, waits):
    folder = hub_environment / "hub" / "models--someone--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    shutil.copytree(BASE, folder / "snapshots" / COMMIT)
    base = load_base(HUB_MODEL, AdapterSpec(use_lora=True), find_device())
    assert waits == []
    assert base.parameters > 900_000
    with pytest.raises(InputError) as error:
        load_base(ModelSpec("someone/other", local=False), AdapterSpec(use_lora=True), find_device())
    assert "(no network)" in error.value.diagnostics[0].message, "nobody set HF_HUB_OFFLINE"
