"""The reward model against Bradley and Terry as Ouyang et al. 2022, arXiv 2203.02155, eq. 1, has it:

L = −E log σ( r(x, y_w) − r(x, y_l) ),

each pair a term of its own (the paper averages the K(K−1)/2 pairs of one prompt; a row here is one pair).
`center_rewards_coefficient` adds c · E (r_w + r_l)² (Eisenstein et al. 2023, arXiv 2312.09244, eq. 2).
"""

import pytest
import torch
from support.loss_twin import (
    PAIRS,
    Twin,
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


def classifier():
    from transformers import LlamaForSequenceClassification

    model, tokenizer = tiny()
    settings = model.config
    settings.num_labels = 1
    torch.manual_seed(3)
    return LlamaForSequenceClassification(settings), tokenizer


@pytest.mark.parametrize("centering", [None, 0.05])
def test_bradley_terry(tmp_path, centering):
    model, tokenizer = classifier()
    config = {"per_device_train_batch_size": len(PAIRS), "center_rewards_coefficient": centering}
    rows = pair_rows()
    trainer = trainer_of("reward", model, tokenizer, rows, tmp_path, config=config)
    perturb(trainer.model, 0.02)
    loss = trainer.compute_loss(trainer.model, only_batch(trainer))
    twin = Twin(trainer.model)
    pairs = [
        [twin.reward(prompt_ids(tokenizer, x) + answer_ids(tokenizer, y)) for y in (y_w, y_l)]
        for x, y_w, y_l in PAIRS
    ]
    chosen, rejected = (torch.stack(side) for side in zip(*pairs, strict=True))
    ours = -logsigmoid(chosen - rejected).mean()
    if centering is not None:
        ours = ours + centering * ((chosen + rejected) ** 2).mean()
    assert_agrees(trainer.model, loss, twin, ours)
