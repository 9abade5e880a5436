"""KTO against Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8 (eq. 7 in its first version):

r(x, y) = log π(y|x) / π_ref(y|x),  L = E[ λ_y − v(x, y) ],
v = λ_D σ(β(r − z)) for a desirable y, λ_U σ(β(z − r)) for an undesirable one.

Reference point (§4.2): z = max(0, 1/m Σ_i log π(y_j|x_i)/π_ref(y_j|x_i)) over mismatched pairs of the batch,
without gradient. The paper has j = i + 1 mod m; TRL has j = i − 1 mod m, fixed when the rows are prepared, in
blocks of `per_device_train_batch_size`, which is why it forbids shuffling.
"""

import pytest
import torch
from support.loss_twin import (
    Twin,
    adapter,
    answer_ids,
    assert_agrees,
    only_batch,
    perturb,
    prompt_ids,
    tiny,
    trainer_of,
    turn,
)

pytestmark = pytest.mark.slow

ROWS = [
    ("Where does Mira live?", "Mira lives in Tarn.", True),
    ("Where does Bo live?", "Who?", False),
    ("And Kim?", "In Oslo.", True),
    ("Where is the old man?", "Well now, let me think. In Rome?", False),
    ("Who are you?", "A tiny model.", True),
]
BETA, DESIRABLE, UNDESIRABLE = 0.2, 1.5, 0.8

# TRL's mismatched answer of row i is that of row i + SHIFT; the paper's SHIFT is 1.
SHIFT = -1


def kto(folder, size, rows=ROWS, **config):
    """Policy: an adapter moved by `size` along one direction; reference: the adapter switched off."""
    model, tokenizer = tiny()
    reference = Twin(model)
    given = [
        {"prompt": turn("user", x), "completion": turn("assistant", y), "label": good} for x, y, good in rows
    ]
    config = {
        "per_device_train_batch_size": len(rows),
        "beta": BETA,
        "desirable_weight": DESIRABLE,
        "undesirable_weight": UNDESIRABLE,
        **config,
    }
    trainer = trainer_of("kto", model, tokenizer, given, folder, config=config, peft_config=adapter())
    perturb(trainer.model, size)
    return trainer, tokenizer, reference


def log_ratio(twin, reference, prompt, completion):
    with torch.no_grad():
        of_reference = reference.logp(prompt, completion)
    return twin.logp(prompt, completion) - of_reference


def encoded(tokenizer, rows):
    return [(prompt_ids(tokenizer, x), answer_ids(tokenizer, y), good) for x, y, good in rows]


def mismatched(twin, reference, rows):
    """The mean of log π/π_ref over mismatched pairs, before the clamp."""
    ratios = [
        log_ratio(twin, reference, x, rows[(i + SHIFT) % len(rows)][1]) for i, (x, _, _) in enumerate(rows)
    ]
    return torch.stack(ratios).mean()


def equation_8(twin, reference, rows, z):
    losses = []
    for x, y, good in rows:
        r = log_ratio(twin, reference, x, y)
        weight = DESIRABLE if good else UNDESIRABLE
        value = weight * torch.sigmoid(BETA * (r - z) if good else BETA * (z - r))
        losses.append(weight - value)
    return torch.stack(losses).mean()


@pytest.mark.parametrize(("size", "clamped"), [(-0.03, False), (0.03, True)])
def test_equation_8_and_its_reference_point(tmp_path, size, clamped):
    trainer, tokenizer, reference = kto(tmp_path, size)
    loss = trainer.compute_loss(trainer.model, only_batch(trainer))
    twin = Twin(trainer.model)
    rows = encoded(tokenizer, ROWS)
    estimate = mismatched(twin, reference, rows).detach()
    assert estimate.abs() > 0.5
    assert (estimate < 0) == clamped
    z = estimate.clamp(min=0)
    assert trainer._metrics["train"]["kl"][-1] == pytest.approx(z.item(), abs=1e-4)
    assert_agrees(trainer.model, loss, twin, equation_8(twin, reference, rows, z))


def test_pairs_side_by_side_are_not_mismatched(tmp_path):
    """TRL rotates within blocks of `per_device_train_batch_size` rows in the order given. Where the two rows
    of a pair are neighbours, the rejected row's "mismatched" answer is the chosen one of its own prompt."""
    rows = [
        ("Where does Mira live?", "Mira lives in Tarn.", True),
        ("Where does Mira live?", "Who?", False),
        ("And Kim?", "In Oslo.", True),
        ("And Kim?", "Kim, Kim, Kim.", False),
        ("Who are you?", "A tiny model.", True),
        ("Who are you?", "No.", False),
    ]
    trainer, tokenizer, _ = kto(tmp_path, 0.0, rows, per_device_train_batch_size=4)
    answers = [answer_ids(tokenizer, y) for _, y, _ in rows]
    rotated = [answers[i] for i in (3, 0, 1, 2, 5, 4)]
    assert trainer.train_dataset["KL_completion_ids"] == rotated
