"""What a stage saved is compared with what it trained."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from support import games
from support.tiny_base import tiny_llama

from ptspec import methods
from ptspec.diagnostics import StageError
from ptspec.model import probes
from ptspec.recipe.plan import AdapterSpec, Stage
from ptspec.training.start_checks import check_beginning, check_saved

STAGE = Stage("s", methods.get("sft"), "base", None, "train", AdapterSpec(False))
IDS = ((1, 2, 3, 4),)


@pytest.mark.parametrize("change", [1.0, float("nan")])
def test_what_was_saved_is_another_policy(change):
    model = tiny_llama()
    trained = probes.measure(model, IDS)
    assert check_saved(STAGE, model, trained) == 0
    with torch.no_grad():
        model.lm_head.weight[0] += change
    with pytest.raises(StageError, match=r"nats a token, 0\.0001 is what rounding explains") as caught:
        check_saved(STAGE, model, trained)
    assert caught.value.diagnostics[0].code == "saved-differs"


def test_full_fine_tuning_whose_trainer_has_no_reference_is_refused():
    model, stage = tiny_llama(), replace(STAGE, method=methods.get("dpo"))
    expected = probes.measure(model, IDS)

    def begins_with(reference):
        trainer = SimpleNamespace(model=model, ref_model=reference, accelerator=Accelerator(cpu=True))
        return check_beginning(trainer, stage, expected)

    assert begins_with(model).reference == 0
    with pytest.raises(StageError, match="would train without a reference"):
        begins_with(None)


def test_a_prompt_of_one_token_can_be_compared():
    """The first token of a sequence has no log-probability: alone it would leave nothing, and no distance."""
    tokenizer = games.tokenizer_of(["<pad>", "<end>", "<unk>", "play"])
    ids = probes.sequences(tokenizer, [{"prompt": "play"}, {"prompt": ""}], prompts_only=True)
    assert ids == ((3, 3),)
    model = tiny_llama()
    assert check_saved(STAGE, model, probes.measure(model, ids)) == 0
