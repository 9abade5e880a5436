"""RLOO against Ahmadian et al. 2024, arXiv 2402.14740: the leave-one-out estimator over k answers of a
prompt,

∇J = 1/k Σ_i [ R(y_i, x) − 1/(k−1) Σ_{j≠i} R(y_j, x) ] ∇ log π(y_i | x),
R(y, x) = r(y, x) − β log π(y | x) / π_ref(y | x),

a whole answer being one action: log π(y|x) is a sum over its tokens. The loss is −J. In R the policy is the
one that sampled, without gradient.

TRL 1.16 departs from the paper in PPO's clipping of the ratio π/π_old of whole answers, which with one
iteration is 1 and does nothing, and in taking every log-probability at the sampling temperature.
"""

import pytest
import torch
from support.loss_twin import Twin, adapter, assert_agrees, perturb, prompt_ids, tiny, trainer_of, turn

pytestmark = pytest.mark.slow

QUESTIONS = ["Where does Mira live?", "And Kim?"]
K, EPSILON, LONGEST = 4, 0.2, 24


def variety(completion_ids, **_):
    """A reward of its own scale for every completion, from its tokens."""
    return [len(set(ids)) + 0.01 * (sum(ids) % 37) for ids in completion_ids]


def rloo(folder, **config):
    """Policy: an adapter moved before anything is sampled; reference: the adapter switched off."""
    model, tokenizer = tiny()
    # Completions that end are of different lengths; a random model would not end any.
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] *= 3
    reference = Twin(model)
    sizes = {"per_device_train_batch_size": K * len(QUESTIONS), "num_generations": K}
    config = {**sizes, "max_completion_length": LONGEST, **config}
    rows = [{"prompt": turn("user", text)} for text in QUESTIONS]
    parts = {"reward_funcs": [variety], "peft_config": adapter()}
    trainer = trainer_of("rloo", model, tokenizer, rows, folder, config=config, **parts)
    perturb(trainer.model, 0.05)
    return trainer, tokenizer, reference


def sampled(trainer):
    """One generation, and the completions of its rows: (prompt, completion), without padding."""
    torch.manual_seed(11)
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer._step += 1
    sides = [
        [ids[mask.bool()].tolist() for ids, mask in zip(batch[f"{s}_ids"], batch[f"{s}_mask"], strict=True)]
        for s in ("prompt", "completion")
    ]
    return batch, list(zip(*sides, strict=True))


def advantages(rows, tokenizer, old, reference, beta):
    """R of every row less the mean of the R of the others with the same prompt."""
    total = []
    for x, y in rows:
        penalty = old.logp(x, y) - reference.logp(x, y)
        total.append(variety([y])[0] - beta * penalty.item())
    total = torch.tensor(total, dtype=torch.float64)
    found = torch.zeros_like(total)
    for text in QUESTIONS:
        group = [i for i, (x, _) in enumerate(rows) if x == prompt_ids(tokenizer, text)]
        assert len(group) == K
        for i in group:
            found[i] = total[i] - total[[j for j in group if j != i]].mean()
    return found


@pytest.mark.parametrize("beta", [0.0, 0.05, 0.5])
def test_the_leave_one_out_estimator(tmp_path, beta):
    trainer, tokenizer, reference = rloo(tmp_path, beta=beta)
    batch, rows = sampled(trainer)
    assert len({len(y) for _, y in rows}) > 2
    twin = Twin(trainer.model)
    gains = advantages(rows, tokenizer, twin, reference, beta)
    torch.testing.assert_close(batch["advantages"].double(), gains, rtol=1e-4, atol=1e-4)
    loss = trainer.compute_loss(trainer.model, batch)
    logps = torch.stack([twin.logp(x, y) for x, y in rows])
    # The value of TRL's loss is that of the ratio, which is 1: −mean(A). Its gradient is the estimator's.
    ratio = torch.exp(logps - logps.detach())
    assert_agrees(trainer.model, loss, twin, -(gains * ratio).mean())


def test_the_penalty_is_on_unless_it_is_switched_off(tmp_path):
    """TRL's default, on which `Stage.has_reference` goes."""
    trainer, tokenizer, reference = rloo(tmp_path)
    assert trainer.beta == 0.05
    batch, rows = sampled(trainer)
    gains = advantages(rows, tokenizer, Twin(trainer.model), reference, 0.05)
    torch.testing.assert_close(batch["advantages"].double(), gains, rtol=1e-4, atol=1e-4)


def test_the_ratio_of_whole_answers_is_clipped_on_the_second_iteration(tmp_path):
    trainer, tokenizer, reference = rloo(tmp_path, beta=0.1, num_iterations=2)
    batch, rows = sampled(trainer)
    old = Twin(trainer.model)
    gains = advantages(rows, tokenizer, old, reference, 0.1)
    perturb(trainer.model, 0.02, seed=2)
    loss = trainer.compute_loss(trainer.model, batch)
    twin = Twin(trainer.model)
    ratios = torch.stack([torch.exp(twin.logp(x, y) - old.logp(x, y).detach()) for x, y in rows])
    clipped = ratios.clamp(1 - EPSILON, 1 + EPSILON)
    assert 0 < (ratios != clipped).sum() < len(rows)
    assert_agrees(trainer.model, loss, twin, -torch.min(ratios * gains, clipped * gains).mean())
