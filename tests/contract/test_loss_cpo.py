"""CPO against Xu et al. 2024, arXiv 2401.08417, eqs. 3-5, and SimPO against Meng et al. 2024, arXiv
2405.14734, eq. 6:

L_CPO = −E[log σ(β log π(y_w|x) − β log π(y_l|x))] − E[log π(y_w|x)]
L_SimPO = −E[log σ(β/|y_w| log π(y_w|x) − β/|y_l| log π(y_l|x) − γ)]

Finding: the second term of L_CPO in TRL is weighted by `cpo_alpha` and is a mean over the tokens of all
chosen answers of the micro-batch, in place of the mean of their sums. SimPO has no such term: TRL adds it
all the same unless `cpo_alpha` is 0.
"""

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

from ptspec import methods

pytestmark = pytest.mark.slow


def made(folder, **config):
    """A trainer whose adapter has moved, its loss of all rows, and the twin of its policy with their ids."""
    model, tokenizer = tiny()
    config = {"per_device_train_batch_size": len(PAIRS), **config}
    trainer = trainer_of("cpo", model, tokenizer, pair_rows(), folder, config=config, peft_config=adapter())
    perturb(trainer.model, 0.05)
    loss = trainer.compute_loss(trainer.model, only_batch(trainer))
    ids = [(prompt_ids(tokenizer, x), *(answer_ids(tokenizer, y) for y in both)) for x, *both in PAIRS]
    return trainer, loss, Twin(trainer.model), ids


def mean_of_chosen_tokens(twin, ids):
    return -torch.cat([twin.token_logps(x, y_w) for x, y_w, _ in ids]).mean()


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.4])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_equations_3_to_5(tmp_path, alpha, smoothing):
    beta = 0.3
    trainer, loss, twin, ids = made(tmp_path, beta=beta, cpo_alpha=alpha, label_smoothing=smoothing)
    margins = torch.stack([beta * (twin.logp(x, y_w) - twin.logp(x, y_l)) for x, y_w, y_l in ids])
    prefer = -(logsigmoid(margins) * (1 - smoothing) + logsigmoid(-margins) * smoothing).mean()
    assert_agrees(trainer.model, loss, twin, prefer + alpha * mean_of_chosen_tokens(twin, ids))


def simpo(twin, ids, beta, gamma):
    margins = torch.stack(
        [beta * (twin.token_logps(x, y_w).mean() - twin.token_logps(x, y_l).mean()) for x, y_w, y_l in ids]
    )
    return -logsigmoid(margins - gamma).mean()


def test_simpo_as_pt_methods_names_it(tmp_path):
    variants = {variant.name: variant.config for variant in methods.get("cpo").variants}
    config = variants["SimPO"]
    trainer, loss, twin, ids = made(tmp_path, **config)
    expected = simpo(twin, ids, config["beta"], config["simpo_gamma"])
    assert_agrees(trainer.model, loss, twin, expected)
    by_sums = torch.stack([config["beta"] * (twin.logp(x, y_w) - twin.logp(x, y_l)) for x, y_w, y_l in ids])
    assert abs(expected.item() + logsigmoid(by_sums - config["simpo_gamma"]).mean().item()) > 1e-2


def test_simpo_with_the_likelihood_of_the_chosen_answer(tmp_path):
    trainer, loss, twin, ids = made(tmp_path, loss_type="simpo", beta=2.5, simpo_gamma=0.5)
    expected = simpo(twin, ids, 2.5, 0.5) + mean_of_chosen_tokens(twin, ids)
    assert_agrees(trainer.model, loss, twin, expected)
