"""On-policy distillation against Agarwal et al. 2024 (GKD), arXiv 2306.13649: for answers y that the policy π
samples, the divergence from the teacher π_T at each token, over the whole vocabulary,

L = E_y~π [ 1/|y| Σ_t D(π_T(·|x, y_<t), π(·|x, y_<t)) ],
D_JSD(β)(P‖Q) = β KL(P ‖ M) + (1−β) KL(Q ‖ M), M = β P + (1−β) Q   (eq. 1),

KL(P‖Q) (forward) and KL(Q‖P) (reverse) beside it; no gradient goes through the sampling.

Findings: TRL 1.16 takes one mean over the tokens of all answers of the step in place of the mean of means,
the forward KL for β = 0 and the reverse KL for β = 1 (the limits of D_JSD(β)/β and D_JSD(β)/(1−β)), and both
distributions at the sampling temperature.
"""

import pytest
import torch
from support.loss_twin import Twin, adapter, assert_agrees, perturb, tiny, trainer_of, turn

pytestmark = pytest.mark.slow

QUESTIONS = ["Where does Mira live?", "And Kim?", "Who?", "Where does Bo live?"]


def distillation(folder, **config):
    """Policy: an adapter moved before anything is sampled; teacher: a model of another seed and width."""
    model, tokenizer = tiny()
    # Completions that end are of different lengths; a random model would not end any.
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] *= 3
    teacher, _ = tiny(seed=5, hidden_size=48)
    config = {"per_device_train_batch_size": len(QUESTIONS), "max_completion_length": 24, **config}
    rows = [{"prompt": turn("user", text)} for text in QUESTIONS]
    parts = {"teacher_model": teacher, "peft_config": adapter()}
    trainer = trainer_of("distillation", model, tokenizer, rows, folder, config=config, **parts)
    perturb(trainer.model, 0.05)
    return trainer, Twin(teacher)


def sampled(trainer):
    """The micro-batches of one generation, and the (prompt, completion) of their rows without padding."""
    torch.manual_seed(11)
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    batches, loader = [], trainer.get_train_dataloader()
    for batch, _ in zip(loader, range(trainer.args.gradient_accumulation_steps), strict=False):
        batches.append(trainer._prepare_inputs(batch))
        trainer._step += 1
    rows = []
    for batch in batches:
        sides = [
            [ids[m.bool()].tolist() for ids, m in zip(batch[f"{s}_ids"], batch[f"{s}_mask"], strict=True)]
            for s in ("prompt", "completion")
        ]
        rows += zip(*sides, strict=True)
    return batches, rows


def distributions(twin, prompt, completion, temperature):
    """log π(· | x, y_<t) for each place of the completion: (tokens, vocabulary), float64."""
    logits = (twin._hidden([*prompt, *completion]) @ twin.head.T).double() / temperature
    return torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]


def divergence(log_p, log_q, beta):
    """D(P‖Q) a token; P is the teacher."""

    def kl(a, b):
        return (a.exp() * (a - b)).sum(-1)

    if beta == 0:
        return kl(log_p, log_q)
    if beta == 1:
        return kl(log_q, log_p)
    log_m = torch.log(beta * log_p.exp() + (1 - beta) * log_q.exp())
    return beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m)


def expected(twin, teacher, rows, beta, temperature=1.0):
    tokens = []
    for x, y in rows:
        log_p = distributions(teacher, x, y, temperature).detach()
        tokens.append(divergence(log_p, distributions(twin, x, y, temperature), beta))
    return torch.cat(tokens).mean()


@pytest.mark.parametrize(
    ("beta", "temperature"), [(0.0, 1.0), (0.3, 1.0), (0.5, 0.7), (1.0, 1.0), (1.0, 1.6)]
)
def test_equation_1(tmp_path, beta, temperature):
    trainer, teacher = distillation(tmp_path, beta=beta, temperature=temperature)
    (batch,), rows = sampled(trainer)
    assert len({len(y) for _, y in rows}) > 1
    loss = trainer.compute_loss(trainer.model, batch)
    twin = Twin(trainer.model)
    assert_agrees(trainer.model, loss, twin, expected(twin, teacher, rows, beta, temperature))


def test_the_mean_is_over_the_tokens_of_the_whole_step(tmp_path):
    trainer, teacher = distillation(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    assert trainer.beta == 1.0
    batches, rows = sampled(trainer)
    loss = sum(trainer.compute_loss(trainer.model, batch) for batch in batches)
    twin = Twin(trainer.model)
    assert_agrees(trainer.model, loss, twin, expected(twin, teacher, rows, 1.0))
