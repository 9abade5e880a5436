"""SFT: the cross-entropy of the completion, −Σ_t log π(y_t | x, y_<t).

Ouyang et al. 2022 (arXiv 2203.02155 §3.1) give no equation; this is the usual one, over the demonstration's
tokens. TRL takes the mean over all completion tokens of an optimizer step, so a long answer weighs more than
a short one, and gradient accumulation does not change the loss.
"""

import pytest
import torch
from support.loss_twin import (
    Twin,
    adapter,
    answer_ids,
    assert_agrees,
    perturb,
    prompt_ids,
    tiny,
    trainer_of,
    turn,
)

pytestmark = pytest.mark.slow

ROWS = [
    ("Where does Mira live?", "Tarn."),
    ("Where does Bo live?", "Bo lives in Fenholm, by the sea."),
    ("Who?", "Nobody knows."),
    ("And where does Kim live?", "In Oslo."),
]


def paper(twin, tokenizer):
    logps = [twin.token_logps(prompt_ids(tokenizer, x), answer_ids(tokenizer, y)) for x, y in ROWS]
    return -torch.cat(logps).mean()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_cross_entropy_of_the_completion_only(tmp_path, accumulation):
    model, tokenizer = tiny()
    rows = [{"prompt": turn("user", x), "completion": turn("assistant", y)} for x, y in ROWS]
    config = {
        "per_device_train_batch_size": len(ROWS) // accumulation,
        "gradient_accumulation_steps": accumulation,
    }
    trainer = trainer_of("sft", model, tokenizer, rows, tmp_path, config=config, peft_config=adapter())
    perturb(trainer.model, 0.05)
    batches, tokens = trainer.get_batch_samples(
        iter(trainer.get_train_dataloader()), accumulation, torch.device("cpu")
    )
    assert len(batches) == accumulation
    loss = sum(trainer.compute_loss(trainer.model, batch, num_items_in_batch=tokens) for batch in batches)
    twin = Twin(trainer.model)
    assert_agrees(trainer.model, loss, twin, paper(twin, tokenizer))
