"""DPO against Rafailov et al. 2023, arXiv 2305.18290, eq. 7:

L = −E log σ( β log π(y_w|x)/π_ref(y_w|x) − β log π(y_l|x)/π_ref(y_l|x) ).

For each of the three ways in which TRL comes by π_ref: the adapter switched off, the frozen copy "ref" of an
adapter that came in (a stage with hand-over "continue"), and a second model (full fine-tuning).
"""

import copy

import pytest
import torch
from support.loss_twin import (
    PAIRS,
    Twin,
    adapter,
    answer_ids,
    assert_agrees,
    only_batch,
    pair_rows,
    perturb,
    prompt_ids,
    tiny,
    trainer_of,
)
from torch.nn.functional import logsigmoid

pytestmark = pytest.mark.slow

BETA = 0.3


def new_adapter(folder, **config):
    """Policy: a new adapter, moved; reference: the bare base."""
    model, tokenizer = tiny()
    reference = Twin(model)
    trainer = dpo(model, tokenizer, folder, config, peft_config=adapter())
    return trainer, tokenizer, reference


def adapter_that_came_in(folder, **config):
    """Policy: the adapter trained on; reference: the adapter as it came, not the base."""
    from peft import get_peft_model

    model, tokenizer = tiny()
    model = get_peft_model(model, adapter())
    perturb(model, 0.05, seed=5)
    reference = Twin(model)
    return dpo(model, tokenizer, folder, config), tokenizer, reference


def full_model(folder, **config):
    model, tokenizer = tiny()
    reference = Twin(model)
    return dpo(model, tokenizer, folder, config, ref_model=copy.deepcopy(model)), tokenizer, reference


def dpo(model, tokenizer, folder, config, **parts):
    rows = pair_rows()
    config = {"per_device_train_batch_size": len(PAIRS), "beta": BETA, **config}
    trainer = trainer_of("dpo", model, tokenizer, rows, folder, config=config, **parts)
    perturb(trainer.model, 0.02)
    return trainer


def margins(twin, reference, tokenizer):
    """What stands in the σ of eq. 7, over β, for each pair."""
    found = []
    for x, y_w, y_l in PAIRS:
        prompt = prompt_ids(tokenizer, x)
        chosen, rejected = answer_ids(tokenizer, y_w), answer_ids(tokenizer, y_l)
        with torch.no_grad():
            ref_w, ref_l = reference.logp(prompt, chosen), reference.logp(prompt, rejected)
        found.append((twin.logp(prompt, chosen) - ref_w) - (twin.logp(prompt, rejected) - ref_l))
    return torch.stack(found)


def sft_term(twin, tokenizer):
    """−log π(y_w|x) a token, mean over the chosen tokens of the batch (not a mean of the rows' means)."""
    logps = [twin.token_logps(prompt_ids(tokenizer, x), answer_ids(tokenizer, y_w)) for x, y_w, _ in PAIRS]
    return -torch.cat(logps).mean()


def loss_of(trainer):
    return trainer.compute_loss(trainer.model, only_batch(trainer))


@pytest.mark.parametrize("setting", [new_adapter, adapter_that_came_in, full_model])
def test_equation_7(tmp_path, setting):
    trainer, tokenizer, reference = setting(tmp_path)
    loss = loss_of(trainer)
    twin = Twin(trainer.model)
    inside = BETA * margins(twin, reference, tokenizer)
    assert inside.abs().max() > 0.1
    assert_agrees(trainer.model, loss, twin, -logsigmoid(inside).mean())


@pytest.mark.parametrize("weights", [None, [1.0, 0.25]])
def test_sigmoid_with_the_sft_term(tmp_path, weights):
    """`loss_type ["sigmoid", "sft"]`, as the shipped recipes have it; `loss_weights` is 1 each by default."""
    trainer, tokenizer, reference = new_adapter(tmp_path, loss_type=["sigmoid", "sft"], loss_weights=weights)
    loss = loss_of(trainer)
    twin = Twin(trainer.model)
    preference = -logsigmoid(BETA * margins(twin, reference, tokenizer)).mean()
    sft = sft_term(twin, tokenizer)
    of_preference, of_sft = weights or (1.0, 1.0)
    assert_agrees(trainer.model, loss, twin, of_preference * preference + of_sft * sft)


SMOOTHING = 0.2


def test_label_smoothing_does_nothing_to_the_sigmoid_loss(tmp_path):
    """TRL 1.16 reads `label_smoothing` in "robust", "exo_pair" and "aot" only. The conservative DPO of older
    versions, −(1−ε) log σ(h) − ε log σ(−h), is gone, and "sigmoid" says nothing about being given an ε."""
    trainer, tokenizer, reference = new_adapter(tmp_path, label_smoothing=SMOOTHING)
    loss = loss_of(trainer)
    twin = Twin(trainer.model)
    inside = BETA * margins(twin, reference, tokenizer)
    assert_agrees(trainer.model, loss, twin, -logsigmoid(inside).mean())
    conservative = -((1 - SMOOTHING) * logsigmoid(inside) + SMOOTHING * logsigmoid(-inside)).mean()
    assert abs(conservative.item() - loss.item()) > 1e-3


def test_label_smoothing_in_the_robust_loss(tmp_path):
    """Chowdhury et al. 2024, arXiv 2403.00409, eq. 10: [(1−ε) l(w, l) − ε l(l, w)] / (1 − 2ε)."""
    trainer, tokenizer, reference = new_adapter(tmp_path, loss_type="robust", label_smoothing=SMOOTHING)
    loss = loss_of(trainer)
    twin = Twin(trainer.model)
    inside = BETA * margins(twin, reference, tokenizer)
    right, flipped = -logsigmoid(inside), -logsigmoid(-inside)
    robust = ((1 - SMOOTHING) * right - SMOOTHING * flipped) / (1 - 2 * SMOOTHING)
    assert_agrees(trainer.model, loss, twin, robust.mean())
